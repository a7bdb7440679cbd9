"""What a private Pushpin leaves behind: nothing. In the place of Pushpin is a shell script."""

from __future__ import annotations

import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flychat.private_pushpin import guard
from tests.support.program import PATIENCE

GUARD = "import sys; from flychat.private_pushpin import guard; guard.GRACE = {}; sys.exit(guard.main({!r}, {!r}))"
Guarded = Callable[..., subprocess.Popen]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    """Runs a script beneath the guard, and returns when it has written `ready`."""
    started = []

    def run(script: str, grace: float = PATIENCE) -> subprocess.Popen:
        code = GUARD.format(grace, str(tmp_path), ["sh", "-c", script])
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process

    yield run
    for process in started:
        guard.kill_session(process.pid)
        process.kill()
        with process:
            pass  # closes its pipes


def all_ended(process: subprocess.Popen) -> bool:
    """All of them have the same pipe."""
    readable, _, _ = select.select([process.stdout], [], [], PATIENCE)
    return bool(readable) and process.stdout.read() == b""


def test_when_the_program_ends_so_does_what_it_has_started(guarded, tmp_path):
    process = guarded("sleep 1000 & echo ready; exit 3")
    assert all_ended(process)
    assert process.wait(PATIENCE) == 3
    assert tmp_path.exists(), "it has the logs, which say why"


def test_without_its_parent_the_program_ends_and_its_directory_goes(guarded, tmp_path):
    process = guarded("trap 'echo asked; exit 0' TERM; echo ready; sleep 1000 & wait")
    process.stdin.close()
    assert process.stdout.readline() == b"asked\n"
    assert all_ended(process)
    assert process.wait(PATIENCE) == 0
    assert not tmp_path.exists()


def test_a_program_that_does_not_end_when_it_is_asked_to_is_killed(guarded, tmp_path):
    process = guarded("trap '' TERM; echo ready; while :; do sleep 1000; done", grace=0.01)
    process.stdin.close()
    assert all_ended(process)
    process.wait(PATIENCE)
    assert not tmp_path.exists()
