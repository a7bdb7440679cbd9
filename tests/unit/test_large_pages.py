"""Large pages are asked for by beginning again, once, and with nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from flychat import large_pages
from tests.support.program import ROOT

GLIBC = "glibc 2.35"


@pytest.fixture
def given(tmp_path):
    path = tmp_path / "enabled"
    path.write_text("always [madvise] never\n")
    return path


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    for name in large_pages.VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("library", [GLIBC, "glibc 2.100", "glibc 3.0"])
def test_who_asks_is_given_some(given, monkeypatch, library):
    monkeypatch.setattr(os, "confstr", lambda name: library)
    assert large_pages.are_to_be_had({}, given)


@pytest.mark.parametrize("library", ["glibc 2.34", "musl 2.35", "", None, "glibc", "glibc x.y"])
def test_not_of_another_library(given, monkeypatch, library):
    monkeypatch.setattr(os, "confstr", lambda name: library)
    assert not large_pages.are_to_be_had({}, given)


@pytest.mark.parametrize("text", ["[always] madvise never", "always madvise [never]", ""])
def test_not_where_the_kernel_gives_them_to_all_or_to_nobody(given, monkeypatch, text):
    monkeypatch.setattr(os, "confstr", lambda name: GLIBC)
    given.write_text(text)
    assert not large_pages.are_to_be_had({}, given)
    assert not large_pages.are_to_be_had({}, given.with_name("another system"))


def test_not_where_the_user_has_said_what_to_do_about_memory(given, monkeypatch):
    monkeypatch.setattr(os, "confstr", lambda name: GLIBC)
    assert not large_pages.are_to_be_had({"PYTHONMALLOC": "pymalloc"}, given)
    assert not large_pages.are_to_be_had({"GLIBC_TUNABLES": "glibc.malloc.check=3"}, given)
    monkeypatch.setattr(sys, "abiflags", "t")
    assert not large_pages.are_to_be_had({}, given), "this Python has but one allocator"
    monkeypatch.setattr(sys, "abiflags", "")
    assert large_pages.are_to_be_had({}, given)
    monkeypatch.setattr(sys, "executable", "")
    assert not large_pages.are_to_be_had({}, given), "it does not know what it is"


PROGRAM = """if True:
    import os, signal, sys
    from pathlib import Path
    from flychat import large_pages

    os.confstr = lambda name: "glibc 2.35"
    print("begins", sys.argv[1:], flush=True)
    signal.signal(signal.SIGTERM, lambda *_: print("is told to end", flush=True))
    if "PYTHONMALLOC" not in os.environ:  # the first time
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        os.kill(os.getpid(), signal.SIGTERM)
    large_pages.ask(Path(sys.argv[1]))
    print("goes on", sorted(large_pages.VARIABLES.keys() & os.environ.keys()), os.environ["OTHER"])
"""


def test_it_begins_once_more_as_it_was_and_hears_of_what_came_meanwhile(given):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(given)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OTHER": "as it was"},
    )
    begins = f"begins ['{given}']"
    assert done.stdout.splitlines() == [begins, begins, "is told to end", "goes on [] as it was"]


def test_where_it_cannot_begin_again_it_goes_on(given, monkeypatch):
    blocked = []

    def execve(*asked):
        blocked.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))
        raise PermissionError

    monkeypatch.setattr(os, "confstr", lambda name: GLIBC)
    monkeypatch.setattr(os, "execve", execve)
    large_pages.ask(given)
    assert blocked == [{signal.SIGTERM}]
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
