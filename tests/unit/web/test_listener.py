"""The HTTP server beneath the handlers: what waits unread, what cannot be read, and targets in every form."""

import asyncio
import contextlib
import gc
import json
import math
import socket
import struct
import time
import weakref
from types import SimpleNamespace

import pytest
from tornado.http1connection import HTTP1Connection
from tornado.web import RequestHandler

from flychat.server import HEAD_BYTES
from flychat.web import lingering, listener
from tests.support.served import WAIT, Client, served

HEAD = "HTTP/1.1\r\nHost: x\r\n"
FULL = "/rooms/full/messages/?limit=200"


async def fill(chat) -> None:
    """A page of 256 KiB; and from now on the kernel takes no more than a little of an answer."""
    for sock in chat.server._sockets.values():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
    await asyncio.gather(*(chat.post("x" * 4000, room="full") for _ in range(80)))


async def answer(client: Client) -> bytes:
    """All that comes, also where it ends with a reset."""
    with contextlib.suppress(ConnectionError):
        return await client.at_end()
    return b""


async def until(condition) -> None:
    async with asyncio.timeout(WAIT):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)


def given_up() -> tuple[float, float]:
    """Answers, and requests, since the beginning."""
    return listener.UNREAD._value.get(), listener.UNENDED._value.get()


@pytest.mark.gen_test
async def test_an_answer_that_its_client_does_not_take_is_given_up(monkeypatch):
    monkeypatch.setattr(listener, "TICK", 0.02)
    now = [0.0]
    monkeypatch.setattr(listener, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def later() -> bool:
        now[0] += 1
        return not chat.server.unread_bytes

    async with served() as chat:
        await fill(chat)
        unread, unended = given_up()
        for number in (1, 2):
            stuck = await chat.request(f"GET {FULL} {HEAD}", receive=4096)
            await until(lambda: chat.server.unread_bytes)
            await until(later)
            with pytest.raises(ConnectionResetError):  # what the kernel had for it is dropped, too
                await stuck.reader.readexactly(200_000)
            assert not chat.server._connections, "nothing of it is left"
            await until(lambda: chat.server._timer is None)
            assert given_up() == (unread + number, unended)


@pytest.mark.gen_test
async def test_an_answer_that_is_taken_slowly_is_not_given_up(monkeypatch):
    monkeypatch.setattr(listener, "TICK", 0.02)
    now = [0.0]
    monkeypatch.setattr(listener, "time", SimpleNamespace(monotonic=lambda: now[0]))
    async with served() as chat:
        await fill(chat)
        slow = await chat.request(f"GET {FULL} {HEAD}Connection: close\r\n", receive=4096)
        got = b""
        while piece := await slow.reader.read(8192):
            got += piece
            now[0] += listener.STALL / 10
            await asyncio.sleep(2 * listener.TICK)  # and each time it is looked whether the client takes it
        assert now[0] > 2 * listener.STALL
        head, _, body = got.partition(b"\r\n\r\n")
        assert len(body) == int(head.lower().split(b"content-length: ")[1].split()[0])
        assert not chat.server.unread_bytes


@pytest.mark.gen_test
async def test_answers_that_wait_are_bounded_at_the_cost_of_those_who_have_most_of_them(monkeypatch):
    monkeypatch.setattr(listener, "UNREAD_BYTES", 1_300_000)
    reading, taken = set(), {}  # who reads all the time: when the kernel lets us know is its affair
    took = property(lambda self: math.inf if self in reading else taken.get(self, 0.0), taken.__setitem__)
    monkeypatch.setattr(listener.Connection, "took", took, raising=False)
    async with served() as chat:
        await fill(chat)
        request = f"GET {FULL} {HEAD}Connection: close\r\n"
        # A modest client that has stalled.
        idle = await chat.request(request, receive=4096, source="127.0.0.2")
        await idle.reader.read(1)
        others = set(chat.server._connections)
        friend = await chat.request(request, receive=4096)  # one that reads, at the greedy one's address
        await friend.reader.read(1)
        reading |= {connection.stream for connection in set(chat.server._connections) - others}
        for _ in range(20):
            greedy = await chat.request(request, receive=4096)
            await greedy.reader.read(1)
            await friend.reader.readexactly(10_000)  # so it has less left than any of them
        assert len(chat.server._connections) < 10
        assert chat.server.unread_bytes <= 1_300_000
        newcomer = await chat.request(request, receive=4096)
        for reader in (newcomer, friend, idle):
            assert (await answer(reader)).endswith(b"}\n")
        assert len(reading) == 1


@pytest.mark.gen_test
@pytest.mark.parametrize("path", ["/session", "/room", "/rooms/room/messages/"])
async def test_requests_that_do_not_end_are_bounded_at_the_cost_of_those_who_sent_most_of_them(
    path, monkeypatch
):
    monkeypatch.setattr(listener, "UNREAD_BYTES", 400_000)
    begun = f"POST {path} {HEAD}Content-Type: application/json\r\nContent-Length: 60000\r\n"
    async with served() as chat:
        modest = await chat.request(begun, source="127.0.0.2")
        modest.writer.write(b" " * 50_000)
        await until(lambda: chat.server.unread_bytes > 50_000)
        greedy = [await chat.request(begun) for _ in range(20)]
        for client in greedy:
            client.writer.write(b" " * 50_000)
        await until(lambda: len(chat.server._connections) < 4)
        assert chat.server.unread_bytes <= 400_000
        modest.writer.write(b" " * 10_000)
        assert (await modest.reader.readline()).startswith(b"HTTP/1.1 4"), "it is whole, and is answered"


PARTIAL = f"POST /room {HEAD}Content-Type: application/json\r\nContent-Length: 60000\r\n"


async def begun(chat, size: int, source: str = "127.0.0.1") -> Client:
    """A request that is not whole: so many bytes of its body are there."""
    before = chat.server.unread_bytes
    client = await chat.request(PARTIAL, source=source)
    client.writer.write(b" " * size)
    await until(lambda: chat.server.unread_bytes == before + costs(PARTIAL, size))
    return client


def costs(head: str, size: int) -> int:
    return 2 * (len(head) + 2 + size) + listener.PART_BYTES


@pytest.mark.gen_test
async def test_of_requests_that_do_not_end_the_one_that_has_said_nothing_for_longest_is_given_up(monkeypatch):
    async with served() as chat:
        first, second, third = [await begun(chat, 50_000) for _ in range(3)]
        before = chat.server.unread_bytes
        first.writer.write(b" ")
        await until(lambda: chat.server.unread_bytes == before + 2)
        monkeypatch.setattr(listener, "UNREAD_BYTES", 400_000)
        unread, unended = given_up()
        last = await chat.request(PARTIAL)
        last.writer.write(b" " * 50_000)
        assert await answer(second) == b""
        assert given_up() == (unread, unended + 1)
        for client, rest in ((first, 9_999), (third, 10_000), (last, 10_000)):
            client.writer.write(b" " * rest)
            assert (await client.reader.readline()).startswith(b"HTTP/1.1 4")


@pytest.mark.gen_test
async def test_while_too_much_waits_nothing_is_read(monkeypatch):
    monkeypatch.setattr(listener, "UNREAD_BYTES", 100_000)
    monkeypatch.setattr(listener.Listener, "_relieve", lambda self: None)
    async with served() as chat:
        await begun(chat, 50_000)
        others = [await chat.request(PARTIAL) for _ in range(10)]
        for client in others:
            client.writer.write(b" " * 50_000)
        await until(lambda: len(chat.server._connections) == 11)
        for _ in range(100):
            await asyncio.sleep(0)
        assert chat.server.unread_bytes == costs(PARTIAL, 50_000)


@pytest.mark.gen_test
async def test_a_request_that_does_not_end_is_no_answer_that_is_not_taken(monkeypatch):
    ticks, tick = [], listener.Listener._give_up_stalled
    monkeypatch.setattr(listener, "TICK", 0.01)
    monkeypatch.setattr(listener, "STALL", 0.02)
    monkeypatch.setattr(
        listener.Listener, "_give_up_stalled", lambda self: (ticks.append(time.monotonic()), tick(self))
    )
    async with served() as chat:
        client = await begun(chat, 50_000)
        await until(lambda: ticks and ticks[-1] - ticks[0] > 0.1)
        client.writer.write(b" " * 10_000)
        assert (await client.reader.readline()).startswith(b"HTTP/1.1 4")


@pytest.mark.gen_test
async def test_what_a_request_costs_is_all_its_bytes_but_of_a_large_one_no_more_than_are_kept(monkeypatch):
    whole, has_request = [], listener.Connection.has_request
    monkeypatch.setattr(
        listener.Connection,
        "has_request",
        lambda self: (has_request(self), whole.append((self.received, self.waits))),
    )
    async with served() as chat:
        client = await begun(chat, 20_000)
        before = chat.server.unread_bytes
        client.writer.write(b" " * 5_000)  # in another piece
        await until(lambda: chat.server.unread_bytes == before + 10_000)
        client.writer.write(b" " * 35_000)
        assert (await client.reader.readline()).startswith(b"HTTP/1.1 4")
        assert whole == [(len(PARTIAL) + 2 + 60_000,) * 2], "whole, it is there once"
        await until(lambda: not chat.server.unread_bytes)
        along = await chat.request(f"GET /healthz {HEAD}")  # and what is sent along with another
        along.writer.write(f"{PARTIAL}\r\n".encode() + b" " * 20_000)
        await until(lambda: chat.server.unread_bytes == costs(PARTIAL, 20_000))
        monkeypatch.setattr(listener, "KEPT_BYTES", 30_000)
        along.writer.write(b" " * 30_000)
        await until(lambda: chat.server.unread_bytes == 2 * 30_000 + listener.PART_BYTES)


@pytest.mark.gen_test
async def test_what_was_answered_waits_no_more():
    async with served() as chat:
        client = await chat.request(
            f"POST /rooms/room/messages/ {HEAD}X-Unusual: 1\r\nContent-Length: 40000\r\n"
        )
        client.writer.write(b" " * 30_000)
        await until(lambda: chat.server.unread_bytes > 30_000)
        client.writer.write(b" " * 10_000)
        assert (await client.reader.readline()).startswith(b"HTTP/1.1 415 ")
        await until(lambda: not chat.server.unread_bytes)
        assert len(chat.server._connections) == 1


POST = "POST /rooms/room/messages/ HTTP/1.1\r\nHost: x\r\n"
LEFT = {  # what is sent, and after its head; None: what is sent is answered
    "a body": (f"{POST}Content-Length: 60000\r\n", "x" * 50_000),
    "a body in chunks": (f"{POST}Transfer-Encoding: chunked\r\n", "1\r\nx\r\n3000\r\nx"),
    "chunks of a short body": (
        f"POST /session {HEAD}Transfer-Encoding: chunked\r\n",
        "1\r\nx\r\n3000\r\nx",
    ),
    "a head": ("GET / HTTP/1.1", ""),
    "a head that is too large": (f"GET / {HEAD}X: {'x' * HEAD_BYTES}", None),
    "a stream": (f"GET /rooms/room/messages/ {HEAD}X-Unusual: 1\r\nAccept: text/event-stream\r\n", None),
    "an idle connection": (f"GET /healthz {HEAD}", None),
}


@pytest.mark.gen_test
@pytest.mark.parametrize("name", LEFT)
async def test_nothing_of_who_has_gone_waits_for_the_garbage_collector(name):
    """It looks for what has been in use for a while once an hour."""
    head, body = LEFT[name]
    kinds = (listener.Connection, HTTP1Connection, RequestHandler)
    made = weakref.WeakSet()

    def counted(kind, init):
        def initialised(self, *args, **kwargs):
            made.add(self)
            init(self, *args, **kwargs)

        return initialised

    async with served() as chat:
        with pytest.MonkeyPatch.context() as patch:
            for kind in kinds:
                patch.setattr(kind, "__init__", counted(kind, kind.__init__))
            gc.disable()
            try:
                client = await chat.request(head)
                if body is None:
                    await client.reader.read(1)
                else:
                    client.writer.write(body.encode())
                    sent = 2 * len(head + "\r\n" + body) + listener.PART_BYTES
                    await until(lambda: chat.server.unread_bytes == sent)
                client.close()
                await until(lambda: not made)
            finally:
                gc.enable()


@pytest.mark.gen_test
@pytest.mark.parametrize("size", [HEAD_BYTES + 1, 70_000, 1_000_000])
@pytest.mark.parametrize(
    "head", ["GET /room HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n", "GET /{} HTTP/1.1\r\nHost: x\r\n"]
)
async def test_a_head_that_is_too_large_is_answered_with_431_and_closed(head, size, monkeypatch):
    monkeypatch.setattr(lingering, "LINGER", 1000.0)
    async with served() as chat:
        client = await chat.request(head.format("x" * size))
        assert (await client.at_end()).startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
        [(timer, _)] = chat.server.lingering._left.values()
        client.close()
        await until(lambda: not chat.server.lingering)
        assert timer.cancelled()


@pytest.mark.gen_test
async def test_so_is_one_that_comes_after_another_request():
    async with served() as chat:
        client = await chat.request(f"GET /healthz {HEAD}")
        await client.opened()
        client.writer.write(f"GET /healthz {HEAD}X: {'x' * HEAD_BYTES}\r\n\r\n".encode())
        assert b"HTTP/1.1 431 Request Header Fields Too Large\r\n" in await client.reader.read()


@pytest.mark.gen_test
async def test_who_says_nothing_more_but_does_not_go_is_cut(monkeypatch):
    monkeypatch.setattr(lingering, "LINGER", 0.05)
    async with served() as chat:
        client = await chat.request(f"GET /{'x' * 70_000} {HEAD}")
        assert (await client.at_end()).startswith(b"HTTP/1.1 431 ")
        await until(lambda: not chat.server.lingering)


@pytest.mark.gen_test
async def test_a_head_at_the_limit_is_read():
    async with served() as chat:
        head = f"GET /healthz {HEAD}Connection: close\r\nCookie: "
        client = await chat.request(head + "x" * (HEAD_BYTES - len(head) - 4) + "\r\n")
        assert (await client.at_end()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.gen_test
async def test_who_never_stops_sending_a_head_is_cut(monkeypatch):
    monkeypatch.setattr(lingering, "LINGER_BYTES", 200_000)
    monkeypatch.setattr(lingering, "LINGER", 1000.0)
    async with served() as chat:
        client = await chat.request("GET /room HTTP/1.1\r\nCookie: ")
        with contextlib.suppress(ConnectionError):
            while True:
                client.writer.write(b"x" * 65_536)
                await client.writer.drain()
                await asyncio.sleep(0)
        await until(lambda: not chat.server.lingering)


@pytest.mark.gen_test
async def test_who_resets_its_connection_after_it_was_refused_is_waited_for_no_longer(monkeypatch):
    monkeypatch.setattr(lingering, "LINGER", 1000.0)
    async with served() as chat:
        client = await chat.request("GET /room HTTP/1.1\r\nCookie: " + 70_000 * "x")
        await until(lambda: bool(chat.server.lingering))
        sock = client.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.writer.transport.abort()
        await until(lambda: not chat.server.lingering)


@pytest.mark.gen_test
async def test_a_chunk_without_a_size_is_answered_with_400():
    async with served() as chat:
        client = await chat.request(
            f"POST /rooms/room/messages/ {HEAD}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
        )
        client.writer.write(b"1" * 100)
        assert (await client.at_end()).startswith(b"HTTP/1.1 400 Bad Request\r\n")


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("request_", "body", "status", "code"),
    [
        (f"GET /{'x' * 17_000} {HEAD}", b"", 431, "request_header_fields_too_large"),
        ("GET /room HTTP/1.1\r\n", b"", 400, "bad_request"),
        (f"GET /room {HEAD}: x\r\n", b"", 400, "bad_request"),
        (f"POST /rooms/a/messages/ {HEAD}Transfer-Encoding: chunked\r\n", b"800001\r\n", 413, "too_large"),
        (f"POST /rooms/a/messages/ {HEAD}Transfer-Encoding: chunked\r\n", b"x\r\n", 400, "bad_request"),
        (f"POST /rooms/a/messages/ {HEAD}Transfer-Encoding: chunked\r\n", b"1" * 100, 400, "bad_request"),
    ],
)
async def test_what_cannot_be_read_is_answered_as_all_errors_are(request_, body, status, code):
    async with served() as chat:
        client = await chat.request(request_)
        client.writer.write(body)
        head, _, told = (await client.at_end()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert b"\r\nConnection: close" in head
        assert b"\r\nContent-Length: %d" % len(told) in head
        assert json.loads(told)["error"]["code"] == code


@pytest.mark.gen_test
async def test_a_refusal_arrives_though_the_client_is_still_sending():
    async with served() as chat:
        for head in (
            "GET /rooms/room/messages/ HTTP/1.1\r\nbad header\r\n",
            f"POST /rooms/room/messages/ {HEAD}Content-Length: {10**12}\r\n",
        ):
            client = await chat.request(head)
            client.writer.write(b"x" * 500_000)
            assert (await client.at_end()).startswith(b"HTTP/1.1 4")


@pytest.mark.gen_test
async def test_connections_that_linger_end_with_the_server(monkeypatch):
    monkeypatch.setattr(lingering, "LINGER", 1000.0)
    async with served() as chat:
        client = await chat.request(f"GET /{'x' * 70_000} {HEAD}")
        await client.at_end()
        chat.clients.remove(client)  # it does not go
        [sock] = chat.server.lingering._left
    assert not chat.server.lingering
    assert sock.fileno() == -1
    client.close()


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "target",
    [
        b"/rooms/caf\xc3\xa9/messages/",
        b"/rooms/cafe\xcc\x81/messages/",
        b"http://x/rooms/caf%C3%A9/messages/",
        b"HTTPS://x:443/rooms/caf\xc3\xa9/messages/?limit=9",
        b"/rooms/caf%c3%a9/messages/?x=\xff",
    ],
)
async def test_a_target_is_the_same_room_however_it_is_written(target):
    async with served() as chat:
        await chat.post("hi", room="caf\u00e9")
        client = await chat.request("")
        client.writer.write(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head, _, body = (await client.at_end()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        assert [message["text"] for message in json.loads(body)["messages"]] == ["hi"]


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://x", "Host: x", b"302"),
        ("http://x?room=tea", "Host: x", b"302"),
        ("http://x/healthz", "Host: other.example", b"200"),
        ("http://x/healthz", "", b"400"),
        ("http://x/healthz", "Host: x\r\nHost: x", b"400"),
        ("http://u@x/healthz", "Host: x", b"400"),
        ("http:///healthz", "Host: x", b"200"),
        ("ftp://x/healthz", "Host: x", b"404"),
        ("/healthz", f"Host: x:{'9' * 5000}", b"400"),
        ("/healthz", f"Host: {'x' * 400}", b"400"),
    ],
)
async def test_the_host_of_an_absolute_target_counts_and_one_that_is_none_is_refused(
    target, host, status, caplog
):
    async with served() as chat:
        client = await chat.request(
            f"GET {target} HTTP/1.1\r\n{host}{host and chr(13) + chr(10)}Connection: close\r\n"
        )
        assert (await client.at_end())[9:12] == status
        assert not caplog.records, "it is not our fault"


@pytest.mark.gen_test
async def test_a_long_target_is_read_in_a_moment():
    async with served() as chat:
        began = time.process_time()
        client = await chat.request(f"GET http://{'x' * (HEAD_BYTES - 200)}# {HEAD}Connection: close\r\n")
        assert (await client.at_end())[9:12] == b"404"
        assert time.process_time() - began < 0.07  # it took ten times as long


@pytest.mark.gen_test
async def test_a_page_may_post_to_the_host_of_an_absolute_target():
    async with served() as chat:
        body = '{"from": "ann", "text": "hi"}'
        for origin, status in (
            ("http://a.example", b"200"),
            ("HTTPS://A.example", b"200"),
            ("http://b.example", b"403"),
        ):
            client = await chat.request(
                f"POST http://a.Example/rooms/room/messages/ HTTP/1.1\r\nHost: b.example\r\nOrigin: {origin}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
            )
            client.writer.write(body.encode())
            assert (await client.at_end())[9:12] == status
