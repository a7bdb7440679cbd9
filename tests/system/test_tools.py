"""The table of commands: how each of them ends when it is asked for wrongly, interrupted, or read no more."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flychat import tools
from tests.support.program import PATIENCE, Program, command, environment, post, refused, running

AWS = {"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
ON_DYNAMO = ("--store", "dynamodb:table")
WRONG = {
    "check": ("check", "ftp://x"),
    "tail": ("tail", "http://x/tea", "--since", "x"),
    "say": ("say", "http://x/tea", "--form", "ann"),
    "rooms": ("rooms", "tea"),
    "export": ("export", "tea", "coffee"),
    "copy": ("copy", "tea", "--to", "sqlite:x.db"),
    "import": ("import",),
    "backup": ("backup",),
    "clear": ("clear", "tea", "--no-such-option"),
    "remove": ("remove", "tea"),
    "erase": ("erase", "--user", "ann", "--from", "Ann"),
    "create-table": ("create-table", "flychat-messages"),
    "token": ("token", "--no-such-option"),
    "password": ("password", "--no-such-option"),
    "revoke": ("revoke",),
}
ASKS_NOBODY = {"backup", "token", "password"}  # so there is nothing to wait for
ASKED = {"password"}  # of who sits at the terminal
SILENT = {  # URL stands for a server that takes connections, and never answers
    "check": ("check", "URL", "--quick"),
    "tail": ("tail", "URL/tea"),
    "say": ("say", "URL/tea", "hello"),
    "rooms": ("rooms", *ON_DYNAMO),
    "export": ("export", "tea", *ON_DYNAMO),
    "copy": ("copy", "--from", "dynamodb:table", "--to", "sqlite:x.db"),
    "import": ("import", "tea", "/dev/null", *ON_DYNAMO),
    "clear": ("clear", "tea", *ON_DYNAMO),
    "remove": ("remove", "tea", "1", *ON_DYNAMO),
    "erase": ("erase", "--user", "ann", *ON_DYNAMO),
    "create-table": ("--create-table", *ON_DYNAMO),
    "revoke": ("revoke", "ann", *ON_DYNAMO),
}
READ_NO_MORE = {  # URL stands for a server with a message in the room "room"; the file has one, too
    "check": ("check", "URL", "--quick"),
    "tail": ("tail", "URL/room", "--count", "1"),
    "say": ("say", "URL/room", "hello"),
    "rooms": ("rooms", "--store", "sqlite:stopped.db"),
    "export": ("export", "room", "--store", "sqlite:stopped.db"),
    "copy": ("copy", "--from", "sqlite:stopped.db", "--to", "sqlite:copy.db"),
    "import": ("import", "tea", "/dev/null", "--store", "sqlite:new.db"),
    "backup": ("backup", "backup.db", "--store", "sqlite:stopped.db"),
    "clear": ("clear", "room", "--store", "sqlite:stopped.db"),
    "remove": ("remove", "room", "1", "--store", "sqlite:stopped.db"),
    "erase": ("erase", "--user", "ann", "--store", "sqlite:stopped.db"),
    "create-table": ("create-table", *ON_DYNAMO),
    "token": ("token", "--secret", "secret", "--name", "Ann"),
    "revoke": ("revoke", "ann", "--store", "sqlite:stopped.db"),
}


def test_the_tables_have_every_command():
    assert WRONG.keys() == tools.COMMANDS.keys()
    assert SILENT.keys() == tools.COMMANDS.keys() - ASKS_NOBODY
    assert READ_NO_MORE.keys() == tools.COMMANDS.keys() - ASKED


@contextlib.contextmanager
def started(*arguments: str, cwd: Path, **options) -> Iterator[subprocess.Popen]:
    environ = environment({**AWS, **options.pop("environ", {})})
    with subprocess.Popen(
        command(*arguments), cwd=cwd, env=environ, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, **options
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("name", WRONG)
def test_what_was_asked_for_wrongly_ends_with_2_and_says_how_to_ask(name, tmp_path):
    with started(*WRONG[name], cwd=tmp_path, stdout=subprocess.PIPE) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (2, b"")
    assert err.startswith(f"usage: python -m flychat {name} ".encode())


def test_a_store_without_tables_has_none_created(tmp_path):
    for spelled in ("--create-table", "create-table"):
        assert "dynamodb:TABLE" in refused(spelled, "--store", "sqlite:x.db", cwd=tmp_path)


@pytest.mark.parametrize("name", SILENT)
def test_ctrl_c_ends_it_with_1_and_without_a_word(name, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        arguments = [word.replace("URL", url) for word in SILENT[name]]
        environ = {"AWS_ENDPOINT_URL_DYNAMODB": url}
        with started(*arguments, cwd=tmp_path, environ=environ, stdout=subprocess.DEVNULL) as process:
            silent.settimeout(PATIENCE)
            with silent.accept()[0]:
                process.send_signal(signal.SIGINT)
                assert (process.wait(PATIENCE), process.stderr.read()) == (1, b"")


@pytest.mark.parametrize("name", READ_NO_MORE)
def test_it_ends_with_1_and_without_a_word_when_nobody_reads_it(name, tmp_path, dynamo_environ):
    chosen = READ_NO_MORE[name]
    (tmp_path / "secret").write_text("a key that is known to the tests, 32 bytes or more\n")
    with contextlib.ExitStack() as ends:
        if "URL" in " ".join(chosen):
            url = ends.enter_context(with_a_message("sqlite::memory:", tmp_path)).url
            chosen = [word.replace("URL", url) for word in chosen]
        elif "sqlite:stopped.db" in chosen:
            with with_a_message("sqlite:stopped.db", tmp_path) as program:
                program.end()
        reading, writing = os.pipe()
        os.close(reading)
        process = ends.enter_context(started(*chosen, cwd=tmp_path, environ=dynamo_environ, stdout=writing))
        os.close(writing)
        assert (process.wait(PATIENCE), process.stderr.read()) == (1, b"")


@contextlib.contextmanager
def with_a_message(store: str, directory: Path) -> Iterator[Program]:
    with running("--standalone", "--port", "0", "--store", store, cwd=directory) as program:
        post(program, "hello")
        yield program


def test_an_error_without_a_text_is_told_by_its_name(monkeypatch, capsys):
    def run(_: object) -> int:
        raise ConnectionResetError

    monkeypatch.setattr(tools, "read", lambda _: (None, run))
    monkeypatch.setattr(tools, "prepare_log", lambda: None)
    assert tools.main(["tail"]) == 1
    assert capsys.readouterr().err == "flychat: ConnectionResetError\n"
