"""What a private Pushpin leaves behind: nothing. In the place of Pushpin is a shell script."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from flychat import private_pushpin
from flychat.errors import Misconfigured
from flychat.private_pushpin import PushpinChild, _free_port, guard
from tests.proof.simulation.virtual import in_virtual_time
from tests.support.program import PATIENCE
from tests.support.pushpin_proxy import DEPLOY, eventually

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


@pytest.fixture
def pushpin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A program that says it is Pushpin, and writes down its process. Its directories are in `tmp_path`, too."""
    program = tmp_path / "pushpin"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && exec echo pushpin 1.41.0\n'
        f"trap 'echo asked > {tmp_path}/asked; exit' TERM\necho $$ >> {tmp_path}/pids\nsleep 1000 & wait\n"
    )
    program.chmod(0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return str(program)


def pids(directory: Path) -> list[int]:
    path = directory / "pids"
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


@pytest.mark.gen_test
async def test_a_start_that_fails_leaves_nothing_running(pushpin, tmp_path, monkeypatch):
    async def serving(*_: object) -> None:
        tried = len(pids(tmp_path))
        await eventually(lambda: len(pids(tmp_path)) > tried)
        raise Misconfigured("not on this machine")

    monkeypatch.setattr(private_pushpin, "_serving", serving)
    with pytest.raises(Misconfigured, match="this machine"):
        await PushpinChild.start(DEPLOY, ["127.0.0.1:1"], program=pushpin)
    assert len(pids(tmp_path)) == 2, "its ports might have been taken: it was tried again"
    assert not set(pids(tmp_path)) & set(guard._pids())
    assert not list(tmp_path.glob("flychat-*"))


@pytest.mark.gen_test
async def test_each_has_a_key_of_its_own_and_its_directory_goes_also_if_it_was_killed(
    pushpin, tmp_path, monkeypatch
):
    async def serving(*_: object) -> None:
        """At once."""

    monkeypatch.setattr(private_pushpin, "_serving", serving)
    keys = set()
    for _ in range(2):
        child = await PushpinChild.start(DEPLOY, ["127.0.0.1:1"], program=pushpin)
        keys.add(parse_qs(urlsplit(child.grip_url).query)["verify-key"][0])
        os.kill(child.pid, signal.SIGKILL)
        await child.ended()
        await child.stop()
        assert not list(tmp_path.glob("flychat-*")), "it has the key"
    assert len(keys) == 2


@pytest.mark.gen_test
async def test_it_is_asked_to_end_before_it_is_killed(pushpin, tmp_path, monkeypatch):
    async def serving(*_: object) -> None:
        await eventually(lambda: len(pids(tmp_path)) == 1)

    monkeypatch.setattr(private_pushpin, "_serving", serving)
    monkeypatch.setattr(private_pushpin, "STOPPING_SECONDS", float(PATIENCE))
    child = await PushpinChild.start(DEPLOY, ["127.0.0.1:1"], program=pushpin)
    await child.stop()
    assert (tmp_path / "asked").exists()


def test_a_port_is_free_while_connections_of_its_last_owner_fade():
    """For a minute after one that the server has closed, the system says that the port is in use."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with socket.create_connection(address) as client:
            server.accept()[0].close()
            assert client.recv(1) == b""
    assert _free_port(*address) == address[1]


@pytest.mark.gen_test
async def test_it_serves_when_a_message_has_arrived_and_no_proxy_of_the_system_is_asked(monkeypatch):
    """A proxy could not reach this machine's own ports; and the first message of all may be lost."""
    published: list[bytes] = []
    clients: list[asyncio.StreamWriter] = []
    streams: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.append(writer)
        asked = await reader.readuntil(b"\r\n\r\n")
        if asked.startswith(b"GET /_ready/stream "):
            streams.append(writer)
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[stream opened]\n")
            return
        if asked.startswith(b"POST /publish/ "):
            (item,) = json.loads(await reader.readuntil(b"]}"))["items"]
            published.append(item["http-stream"]["content"].encode())
            if len(published) > 1:
                streams[-1].write(published[-1])
            streams[-1].close()
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await asyncio.wait_for(private_pushpin._serving(f"http://127.0.0.1:{port}", port), PATIENCE)
        for client in clients:
            await client.wait_closed()
    assert len(published) == 2


@in_virtual_time
async def test_a_slow_machine_is_given_twice_the_time_at_each_try(monkeypatch):
    asked = []

    async def arrives(*_: object) -> None:
        asked.append(asyncio.get_running_loop().time())
        await asyncio.Event().wait()

    monkeypatch.setattr(private_pushpin, "_arrives", arrives)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(private_pushpin._serving("http://127.0.0.1:1", 1), 20)
    assert [round(later - before) for before, later in pairwise(asked)] == [1, 2, 4, 8]
