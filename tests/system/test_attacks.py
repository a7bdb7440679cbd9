"""Clients that are not friends: slow, greedy, or both. What they held is free again when they are gone."""

import asyncio
import contextlib
import os
import socket
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from flychat.server import HEAD_SECONDS
from tests.support.program import PATIENCE, Program, running
from tests.support.served import Client, draft
from tests.support.started import connect, started, stream

HEAD = "Host: x\r\n"


def files() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident(program: Program) -> int:
    """Bytes in memory."""
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


async def until_closed(clients: list[Client]) -> None:
    for client in clients:
        with contextlib.suppress(ConnectionError):
            await client.at_end()


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("request_", "rest"),
    [
        ("GET /default", "X-Slow: "),
        ("POST /rooms/room/messages/", "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"),
        (
            "POST /rooms/room/messages/",
            "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n",
        ),
        ("GET /healthz", "\r\n"),
    ],
    ids=["a head without an end", "a body without an end", "chunks without an end", "an idle connection"],
)
async def test_who_does_not_go_on_is_cut_and_others_are_served_meanwhile(request_, rest, monkeypatch):
    monkeypatch.setattr("flychat.server.HEAD_SECONDS", 0.5)
    monkeypatch.setattr("flychat.server.BODY_SECONDS", 0.5)
    async with started() as (server, clients):
        before = files()
        attackers = [await connect(server, clients, request_, rest) for _ in range(100)]
        friend = await stream(server, clients)
        await until_closed(attackers)
        for attacker in attackers:
            attacker.close()
        friend.close()
        await until_closed([friend])
        assert not server.application._busy, "nothing waits for those who have gone"
        while files() > before + 2:  # noqa: ASYNC110 - the sockets of the friend, at the most
            await asyncio.sleep(0)


def test_a_connection_that_says_nothing_keeps_nobody_waiting(tmp_path):
    """Browsers open such ones in advance. The kernel hands them over after a while (TCP_DEFER_ACCEPT)."""
    with running("--standalone", "--port", "0", "--store", "sqlite::memory:", cwd=tmp_path) as program:
        host, port = program.url.removeprefix("http://").rsplit(":", 1)
        held = Path(f"/proc/{program.process.pid}/fd")
        before = len(list(held.iterdir()))
        with socket.create_connection((host, int(port))):
            deadline = time.monotonic() + PATIENCE
            while len(list(held.iterdir())) == before:
                assert time.monotonic() < deadline, "it is never accepted"
            with urllib.request.urlopen(program.url + "/healthz", timeout=0.75 * HEAD_SECONDS) as response:
                assert response.status == 200


def test_when_no_more_files_may_be_open_who_waits_is_served_later(tmp_path):
    limited = ("sh", "-c", 'ulimit -n 40 && exec "$0" "$@"', sys.executable)
    with running("--standalone", "--port", "0", cwd=tmp_path, python=limited) as program:
        host, port = program.url.removeprefix("http://").rsplit(":", 1)
        greedy = [socket.create_connection((host, int(port)), timeout=PATIENCE) for _ in range(60)]
        for connection in greedy:
            connection.sendall(
                b"GET /rooms/room/messages/ HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"
            )
        assert b"stream-open" in greedy[0].recv(4096)
        for connection in greedy:
            connection.close()
        with urllib.request.urlopen(program.url + "/healthz", timeout=PATIENCE) as response:
            assert response.status == 200
        code, log = program.end()
        assert code == 0
        assert "no connection can be accepted" in log
        assert log.count("\n") < 20


@pytest.mark.gen_test
async def test_a_reader_that_took_the_shortcut_and_reads_nothing_keeps_nobody_waiting():
    async with started() as (server, clients):
        friend = await stream(server, clients)
        await stream(server, clients)  # reads no more than its opening
        lagging = server.hub.connections._lagging
        count = 0
        while not lagging:
            count = (await server.log.submit(draft("x" * 4000))).id
            await friend.until_id(count)
        assert friend.ids == list(range(1, count + 1))


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("size", "body"), [("Content-Length: 1048577", b""), ("Transfer-Encoding: chunked", b"100001\r\n")]
)
async def test_a_body_over_a_megabyte_is_refused_as_all_bodies_that_are_too_large(size, body):
    async with started() as (server, clients):
        client = await connect(server, clients, "POST /session", f"{size}\r\n\r\n")
        client.writer.write(body)
        answer = await client.at_end()
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b'{"error":{"code":"too_large"' in answer


@pytest.mark.gen_test
async def test_a_head_that_is_too_large_is_refused_and_closed():
    async with started() as (server, clients):
        for request, rest in (
            ("GET /default", f"X-Large: {'x' * 70_000}\r\n\r\n"),
            (f"GET /{'x' * 70_000}", "\r\n"),
        ):
            client = await connect(server, clients, request, rest)
            assert (await client.at_end()).startswith(b"HTTP/1.1 431 ")


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5 5\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding : chunked\r\n",
        "X: a\0b\r\n",
    ],
)
async def test_what_could_be_read_in_two_ways_is_answered_with_400_and_closed(head):
    """So that no request can be smuggled past a proxy."""
    async with started() as (server, clients):
        body = "\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        client = await connect(server, clients, "POST /rooms/room/messages/", head + body)
        with contextlib.suppress(ConnectionError):
            answer = await client.at_end()
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.gen_test(timeout=600)
async def test_a_flood_of_room_names_does_not_grow_the_memory(tmp_path):
    """Read and streamed: rooms that nobody is in leave again, from 16 MB on, which is some 6,000 empty ones."""
    options = ("--port", "0", "--store", "sqlite::memory:", "--memory", "16")
    with running("--standalone", *options, cwd=tmp_path) as program:
        host, port = program.url.removeprefix("http://").rsplit(":", 1)

        async def flood(name: str, count: int) -> None:
            reader, writer = await asyncio.open_connection(host, int(port))
            for n in range(count):
                writer.write(f"GET /rooms/{name}{n}/messages/ HTTP/1.1\r\n{HEAD}\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split()[0]))
            writer.close()
            for n in range(count // 20):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(
                    f"GET /rooms/{name}s{n}/messages/ HTTP/1.1\r\n{HEAD}Accept: text/event-stream\r\n\r\n".encode()
                )
                await reader.readuntil(b"\n\n")
                writer.close()

        await asyncio.gather(*(flood(f"warm{n}-", 2000) for n in range(4)))
        before = resident(program)
        await asyncio.gather(*(flood(f"more{n}-", 400) for n in range(4)))
        assert resident(program) < before + 4_000_000
        assert program.end() == (0, "")
