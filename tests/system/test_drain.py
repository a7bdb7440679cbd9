"""The end of a server: whatever hangs, it is gone in time, and what it has answered is stored and published."""

import asyncio
import json
import resource
import socket
import time
import uuid
from urllib.parse import urlencode

import jwt
import pytest

from flychat.access.passwords import hashed
from flychat.errors import Unavailable
from flychat.server import Server
from tests.support import rights
from tests.support.asking import FORM, JSON
from tests.support.fakes import FaultyEngine
from tests.support.issuer import AUDIENCE, token
from tests.support.served import Client
from tests.support.started import connect, started, stream

SECONDS = 60.0  # what keeps the server does so for longer, or for ever


async def post(server: Server, clients: list[Client], text: str) -> Client:
    body = urlencode({"from": "ann", "text": text, "provisionalId": str(uuid.uuid4())})
    head = f"Content-Type: {FORM}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return await connect(server, clients, "POST /rooms/room/messages/", head + body)


def gate_puts(server: Server) -> tuple[asyncio.Event, asyncio.Event]:
    """(set when a put has come, to be set to let puts pass)"""
    come, go = asyncio.Event(), asyncio.Event()
    engine = server.log._common.engine
    put = engine.put

    async def gated(commit):
        come.set()
        await go.wait()
        await put(commit)

    engine.put, engine.submit = gated, lambda commit, done: False
    return come, go


@pytest.mark.gen_test
async def test_posts_under_way_are_stored_published_and_answered_before_the_streams_end():
    async with started() as (server, clients):
        listener = await stream(server, clients)
        come, go = gate_puts(server)
        posts = [await post(server, clients, f"{n}") for n in range(5)]
        assert {(await listener.next()).last_id for _ in posts} == {""}, "the provisional ones"
        await come.wait()
        stopping = asyncio.create_task(server.stop())
        go.set()
        for client in posts:
            assert (await client.at_end()).startswith(b"HTTP/1.1 200 ")
        assert await listener.until_id(5) == [1, 2, 3, 4, 5]
        ending = await listener.at_end()
        assert ending.startswith(b"retry: ")
        await stopping


@pytest.mark.gen_test
async def test_while_it_ends_it_says_on_open_connections_that_it_is_not_ready():
    async with started() as (server, clients):
        balancer = await connect(server, clients, "GET /readyz", "\r\n")
        await balancer.opened()
        assert balancer.head.startswith(b"HTTP/1.1 200 ")
        come, go = gate_puts(server)
        await post(server, clients, "hi")
        await come.wait()
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0)
        await balancer.reader.readuntil(b"}\n")
        balancer.writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        await balancer.opened()
        assert balancer.head.startswith(b"HTTP/1.1 503 ")
        go.set()
        await stopping


@pytest.mark.gen_test
async def test_a_store_that_hangs_does_not_keep_the_server(monkeypatch):
    monkeypatch.setattr("flychat.server.DRAIN_SECONDS", 0.3)
    async with started() as (server, clients):
        listener = await stream(server, clients)
        come, go = gate_puts(server)
        client = await post(server, clients, "hi")
        await come.wait()
        await asyncio.wait_for(server.stop(), SECONDS)
        assert (await client.at_end()).startswith(b"HTTP/1.1 503 ")
        rest = await listener.at_end()
        assert b"event: retraction" in rest
        assert b"retry: " in rest
        go.set()


@pytest.mark.gen_test
async def test_1000_held_streams_end_cleanly_and_their_return_is_spread():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip("not enough files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        async with started() as (server, clients):
            server.hub._keep_alive = 3600.0  # else some have one before the end, where a thousand take 20 s
            listeners = [await stream(server, clients) for _ in range(1000)]
            await asyncio.wait_for(server.stop(), SECONDS)
            endings = [await listener.at_end() for listener in listeners]
            assert all(ending.startswith(b"retry: ") and ending.endswith(b"\n\n") for ending in endings)
            assert len(set(endings)) > 500
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.gen_test
async def test_after_its_end_the_log_is_asked_nothing_more():
    async with started() as (server, _):
        await server.stop()
        with pytest.raises(Unavailable):
            await server.log.check()


@pytest.mark.gen_test
async def test_a_store_that_does_not_answer_keeps_nobody_either(monkeypatch):
    """Drafts that were given up are looked for in the log, but not at the end."""
    monkeypatch.setattr("flychat.log.room.DEADLINE", 0.5)
    monkeypatch.setattr("flychat.server.DRAIN_SECONDS", 0.3)
    async with started() as (server, clients):
        server.log._common.engine = FaultyEngine(server.log._common.engine, ["lose"] * 1000)
        client = await post(server, clients, "hi")
        assert (await client.at_end()).startswith(b"HTTP/1.1 503 ")
        began = time.monotonic()
        await server.stop()
        assert time.monotonic() - began < SECONDS


SIGNED = jwt.encode({"exp": time.time() + rights.LIFE}, rights.KEY, "HS256")
SESSION = json.dumps({"token": rights.token()})
PASSWORD = "password=open+sesame&room=staff"


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("request_line", "rest"),
    [
        ("GET /recover/", f"Grip-Sig: {SIGNED}\r\nGrip-Last: messages-staff; last-id=0\r\n\r\n"),
        ("POST /session", f"Content-Type: {JSON}\r\nContent-Length: {len(SESSION)}\r\n\r\n{SESSION}"),
        ("POST /session", f"Content-Type: {FORM}\r\nContent-Length: {len(PASSWORD)}\r\n\r\n{PASSWORD}"),
    ],
)
async def test_nobody_waits_to_be_told_what_is_revoked_whose_connection_has_ended(
    tmp_path, monkeypatch, request_line, rest
):
    """Else that would be cancelled with the process, as the last thing: Tornado calls it a 500, and it is logged."""
    grip = ("--grip", "--grip-url", f"http://127.0.0.1:1/?verify-key={rights.KEY.replace(' ', '%20')}")
    password = ("--password", f"staff={hashed('open sesame')}")
    async with started(*rights.options(tmp_path, *password), mode=grip) as (server, clients):
        asked, ended = asyncio.Event(), asyncio.Event()

        async def never(age: float = 0) -> None:
            asked.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        monkeypatch.setattr(server.application.keeper, "fresh", never)
        client = await connect(server, clients, request_line, rest)
        await asked.wait()
        client.close()
        await ended.wait()


@pytest.mark.gen_test
async def test_who_waits_for_an_issuer_that_does_not_answer_is_answered_at_the_end():
    with socket.create_server(("127.0.0.1", 0)) as issuer:
        url = f"http://127.0.0.1:{issuer.getsockname()[1]}/keys"
        async with started("--jwks", url, "--audience", AUDIENCE, "--access", "staff=") as (server, clients):
            asking = f"Authorization: Bearer {token()}\r\nConnection: close\r\n\r\n"
            client = await connect(server, clients, "GET /rooms/staff/messages/", asking)
            while server.application.idle.is_set():  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)
            await server.stop()
            assert (await client.at_end()).startswith(b"HTTP/1.1 503 ")
