"""Streams that a proxy holds, and what it recovers of them: the same answers as Tornado's, without it."""

import asyncio
import contextlib
import random
import socket
import struct

import pytest

from flychat.access import Rules
from flychat.access.gate import Access
from flychat.errors import Conflict, Full, Overloaded, TooMany, Unavailable
from flychat.hub import recoveries
from flychat.hub.grip import read_grip_last
from flychat.storage import Broken, Unknown
from flychat.web.held import HeldByProxy
from flychat.web.plain import PlainStream, plain_recovery
from flychat.web.turns import Places
from tests.support.pushpin_proxy import eventually
from tests.support.served import WAIT
from tests.support.two_ports import (
    MADE_UP,
    SIGNATURE,
    SIGNING,
    Connection,
    asked,
    proxies,
    raising,
    through_tornado,
    two_ports,
)

HEALTHZ = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
REFUSALS = [
    Unavailable("mute"),
    Broken("away"),
    Unknown(),
    Full("full"),
    Overloaded(),
    TooMany(1.5),
    Conflict("no"),
]

# As Pushpin 1.41 and 1.36 ask, which say 1 and 2 here.
OF_141 = (
    "Host: chat.example\r\nGrip-Last: messages-room; last-id=1\r\nGrip-Sig: {sig}\r\n"
    "Grip-Feature: status, session, link:next, link:gone\r\nX-Forwarded-For: \r\n\r\n"
)
OF_136 = (
    "Host: chat.example\r\nAccept: */*\r\nAccept-Encoding: deflate, gzip, br, zstd\r\n"
    "Grip-Last: messages-room; last-id=2\r\nGrip-Sig: {sig}\r\nGrip-Feature: status, session, link:next\r\n\r\n"
)


def recovery(head: str = OF_141, path: str = "/recover/", sig: str = SIGNATURE) -> bytes:
    return f"GET {path} HTTP/1.1\r\n{head}".replace("{sig}", sig).encode()


def a_stream(more: str = f"Grip-Sig: {SIGNATURE}\r\nX-Forwarded-For: 192.0.2.1\r\n") -> bytes:
    return (
        f"GET /rooms/room/messages/ HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n{more}\r\n".encode()
    )


@contextlib.asynccontextmanager
async def behind_proxies(query: str = SIGNING, **options):
    """A chat behind proxies that sign, with and without the shortcut; none of its messages is young."""
    async with proxies(query) as hub, two_ports(proxies=hub, **options) as parts:
        yield parts


@pytest.mark.gen_test
@pytest.mark.parametrize("request_", [recovery(), recovery(path="/recover/official"), a_stream()])
async def test_a_store_that_does_not_answer_is_told_the_proxy_once_and_its_connection_stays(
    request_, monkeypatch
):
    monkeypatch.setattr("flychat.log.reading.RETRY_SECONDS", 0)
    async with behind_proxies() as (chat, port, _):
        counted, answers = through_tornado(chat), []
        for each in (port, chat.port):
            chat.engine.calls.clear()
            chat.engine.read_faults.append(Unknown())
            answers.append(await asked(each, request_))
            assert chat.engine.calls.total() == 1
        assert answers[0] == answers[1]
        assert answers[0].startswith(b"HTTP/1.1 503 ")
        assert counted.total() == 1
        connection = await Connection.open(port)
        chat.engine.read_faults.append(Unknown())
        assert (await connection.ask(request_)).startswith(b"HTTP/1.1 503 ")
        assert (await connection.ask(request_)).startswith(b"HTTP/1.1 200 ")
        assert chat.application.idle.is_set()


@pytest.mark.gen_test
@pytest.mark.parametrize("head", [OF_141, OF_136])
@pytest.mark.parametrize("path", ["/recover/", "/recover/official"])
async def test_what_pushpin_recovers_is_answered_without_tornado(head, path):
    async with behind_proxies() as (chat, port, held):
        counted = through_tornado(chat)
        connection = await Connection.open(port)
        for number in range(1, 4):
            got = await connection.ask(recovery(head, path))
            assert got.startswith(b"HTTP/1.1 200 ")
            assert b"Grip-Channel: messages-room; prev-id=3" in got
            assert (b"provisional-room" in got) == (path == "/recover/")
            assert got.count(b"\nid: ") == (2 if head == OF_141 else 1)
            assert [plan.position for plan in held] == [3] * number
        assert not counted


# What the heads of the differential test are made of: what is ordinary first, then what lies just beside it.
PATHS = [
    "/recover/", "/recover/official", "/rooms/room/messages/", "/rooms/room/messages", "/rooms/cold/messages/",
    "/rooms/room/messages/?lastEventId=2", "/rooms/room/messages/?provisional=no", "/recover", "/recover/x",
    "/recover/?a=b", "/recover/official/", "/rooms/%ff/messages/", "/rooms/room/messages/?lastEventId=x",
]  # fmt: skip
LAST = [
    "messages-room; last-id=1", "messages-room; last-id=3", "messages-room;last-id=0", "messages-room; last-id=99",
    "messages-cold; last-id=0", "messages-caf%C3%A9; last-id=0", "messages-room; last-id=2, pass-abc; last-id=5",
    "provisional-room; last-id=4", "messages-room", "messages-room; last-id=x", "messages-; last-id=1", "", ";;,",
    "messages-%ff; last-id=1", "messages-room; last-id=1, messages-other; last-id=2", "pass-a; last-id=1",
]  # fmt: skip
HEADERS = {
    "Host": ["x", "[::1]:80", "x@y", "a b", ""],
    "Accept": ["text/event-stream", "*/*", "application/json", "text/html"],
    "Grip-Last": LAST,
    "Grip-Sig": [SIGNATURE, f" {SIGNATURE} ", "x", "", SIGNATURE[:-2]],
    "Grip-Feature": ["status, session, link:next", ""],
    "X-Forwarded-For": ["", "192.0.2.1", "junk", "1.2.3.4, 2001:db8::1"],
    "Last-Event-ID": ["2", "x", "99"],
    "Connection": ["keep-alive", "close", "Upgrade", "Keep-Alive"],
    "Accept-Encoding": ["deflate, gzip, br, zstd"],
    "Cookie": ["flychat_user=ann", "flychat=x"],
    "Origin": ["https://a.example", "http://x"],
    "User-Agent": ["Mozilla/5.0"],
    "Authorization": ["Bearer x"],
    "X-Tomorrow": ["1"],
    "Content-Length": ["0"],
}
USUAL = ["Host", "Accept", "Grip-Last", "Grip-Sig", "Grip-Feature"]


def made_up(chance: random.Random) -> bytes:
    """A head of a stream or a recovery, with something odd in it, or nothing."""

    def some(values, odd=0.1):
        return chance.choice(values) if chance.random() < odd else values[0]

    path = some(PATHS, 0.5)
    names = [name for name in USUAL if chance.random() > 0.04]
    if not path.startswith("/recover") and "Grip-Last" in names and chance.random() < 0.9:
        names.remove("Grip-Last")
    names += [name for name in HEADERS if chance.random() < 0.04]
    chance.shuffle(names)
    lines = [f"{name}: {some(HEADERS[name], 0.6 if name == 'Grip-Last' else 0.12)}" for name in names]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode()


def with_rights(application) -> None:
    """Some rooms are public, and tokens are taken."""
    application.access = Access(Rules.of_rules([("room", frozenset("rw")), ("caf\u00e9", frozenset("r"))]))


@pytest.mark.gen_test(timeout=600)
@pytest.mark.parametrize("access", [False, True], ids=["all public", "some private"])
@pytest.mark.parametrize("query", [SIGNING, ""], ids=["signed", "named"])
async def test_what_the_shortcut_takes_tornado_would_have_answered_alike(access, query):
    """Each of the four with heads of its own."""
    chance, statuses = random.Random(f"8 {access} {query}"), set()
    async with behind_proxies(query) as (chat, port, held):
        await chat.post(room="caf\u00e9")
        chat.application.cors_origins = frozenset(["https://a.example"])
        if access:
            with_rights(chat.application)
        for _ in range(1200):
            request = made_up(chance)
            got, expected = await asked(port, request), await asked(chat.port, request)
            assert got == expected, request
            statuses.add(got[9:12])
        assert chat.application.idle.is_set()
    recovered = [plan for plan in held if plan.request.recover]
    assert len(held) - len(recovered) > 50
    assert len(recovered) > 50 if query or not access else not recovered
    assert ("cold" in {plan.request.room for plan in held}) != access
    assert statuses >= {b"200", b"400", b"404"}


@pytest.mark.gen_test
async def test_a_recovery_is_believed_only_where_everybody_may_read_or_a_proxy_has_signed_it():
    async with behind_proxies("") as (chat, port, held):
        assert (await asked(port, recovery(sig="x"))).startswith(b"HTTP/1.1 200 ")
        with_rights(chat.application)
        assert (await asked(port, recovery(sig="x"))).startswith(b"HTTP/1.1 404 ")
        assert len(held) == 1
    async with behind_proxies() as (chat, port, held):
        with_rights(chat.application)
        assert (await asked(port, recovery(sig="x"))).startswith(b"HTTP/1.1 404 ")
        assert (await asked(port, recovery())).startswith(b"HTTP/1.1 200 ")
        private = recovery().replace(b"messages-room", b"messages-tea")
        assert b"stream-end" in await asked(port, private)
        assert len(held) == 1


@pytest.mark.gen_test
async def test_a_stream_around_the_proxy_is_refused_by_tornado():
    async with behind_proxies() as (chat, port, held):
        counted = through_tornado(chat)
        assert (await asked(port, a_stream(""))).startswith(b"HTTP/1.1 501 ")
        assert (await asked(port, a_stream("Grip-Sig: x\r\n"))).startswith(b"HTTP/1.1 501 ")
        assert counted["requests"] == 2
        assert (await asked(port, a_stream())).startswith(b"HTTP/1.1 200 ")
        assert counted["requests"] == 2
        assert [plan.request.recover for plan in held] == [False]


@pytest.mark.gen_test
@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: type(error).__name__)
async def test_whatever_is_against_a_plan_is_told_as_tornado_tells_it_and_the_connection_stays(error):
    async with behind_proxies() as (chat, port, held):
        counted, plan = through_tornado(chat), chat.application.chat.plan
        for request in (recovery(), recovery(path="/recover/official"), a_stream()):
            chat.application.chat.plan = raising(error)
            connection = await Connection.open(port)
            got = MADE_UP.sub(b"", await connection.ask(request))
            assert not counted
            assert got == await asked(chat.port, request)
            assert not got.startswith(b"HTTP/1.1 200 ")
            counted.clear()
            chat.application.chat.plan = plan
            assert (await connection.ask(request)).startswith(b"HTTP/1.1 200 ")
        assert len(held) == 3
        assert chat.application.idle.is_set()


@pytest.mark.gen_test
async def test_who_asks_for_pages_is_refused_with_one():
    async with behind_proxies() as (chat, port, held):
        for accept, is_page in (("text/html", True), ("*/*", False), ("text/html;q=0.1, */*", False)):
            request = recovery(f"Accept: {accept}\r\n{OF_141}")
            assert (await asked(port, request)).startswith(b"HTTP/1.1 200 ")
            plan, chat.application.chat.plan = chat.application.chat.plan, raising(REFUSALS[0])
            got = await asked(port, request)
            assert got == await asked(chat.port, request)
            assert (b"<html" in got) == is_page
            chat.application.chat.plan = plan
        assert len(held) == 2


@contextlib.asynccontextmanager
async def reading(chat):
    """Readings of the store wait until `go` is set; `begun` tells of the first."""
    begun, go, after = asyncio.Event(), asyncio.Event(), chat.engine.after

    async def slow(*arguments):
        begun.set()
        await go.wait()
        return await after(*arguments)

    chat.engine.after = slow
    try:
        yield begun, go
    finally:
        go.set()


@pytest.mark.gen_test
async def test_a_recovery_is_a_request_under_way_and_its_connection_is_not_looked_at_meanwhile():
    async with behind_proxies() as (chat, port, held), reading(chat) as (begun, go):
        connection = await Connection.open(port)
        asking = asyncio.create_task(connection.ask(recovery()))
        await begun.wait()
        assert not chat.application.idle.is_set()
        connection.writer.write(recovery(OF_136))  # comes behind, and waits for its turn
        chat.application.draining = True  # the first is answered all the same
        go.set()
        assert (await asking).startswith(b"HTTP/1.1 200 ")
        assert b"\nid: 3\n" in await connection.answer()
        await asyncio.wait_for(chat.application.idle.wait(), WAIT)
        assert len(held) == 1, "who is draining leaves the second one to Tornado"


@pytest.mark.gen_test
async def test_rooms_are_read_for_each_address_that_the_proxy_tells_in_its_turn():
    def into(room: str, address: int) -> bytes:
        more = f"Grip-Sig: {SIGNATURE}\r\nX-Forwarded-For: 192.0.2.{address}\r\nLast-Event-ID: 0\r\n"
        return a_stream(more).replace(b"/room/", f"/{room}/".encode())

    async with behind_proxies() as (chat, port, _), reading(chat) as (_, go):
        chat.application.readings = Places(1)
        read, after = [], chat.engine.after

        async def noted(room, *more):
            read.append(room)
            return await after(room, *more)

        chat.engine.after = noted
        connections = []
        for number, request in enumerate(
            [*(into(f"r{n}", 1) for n in (0, 1, 2, 3, 3, 3)), into("mine", 2)], 1
        ):
            connections.append(await Connection.open(port))
            connections[-1].writer.write(request)
            await eventually(lambda number=number: len(chat.application._busy) == number)
        go.set()
        for connection in connections:
            assert (await connection.answer()).startswith(b"HTTP/1.1 200 ")
        assert read == ["r0", "r1", "mine", "r2", "r3"], "those who wait for one room share its reading"
        assert chat.application.idle.is_set()


@pytest.mark.gen_test
async def test_what_comes_on_a_connection_while_a_plan_is_made_is_not_looked_at_before_the_answer():
    async with behind_proxies() as (chat, port, _):
        connection, plan, planned = await Connection.open(port), chat.application.chat.plan, []

        def noted(request, client):
            planned.append(request.last_id)
            return plan(request, client)

        chat.application.chat.plan = noted
        await connection.ask(recovery())  # from now on the connection is watched
        async with reading(chat) as (begun, go):
            connection.writer.write(recovery())
            await begun.wait()
            connection.writer.write(recovery(OF_136))
            await asked(port, HEALTHZ)  # it has come by now
            assert planned == [1, 1]
            go.set()
            assert b"\nid: 2\n" in await connection.answer()
            assert b"\nid: 2\n" not in await connection.answer()
        assert planned == [1, 1, 2]


async def waiting(port: int, begun: asyncio.Event) -> Connection:
    """One that has asked for a recovery, of which the reading has begun."""
    connection = await Connection.open(port)
    connection.writer.write(recovery())
    await begun.wait()
    return connection


@pytest.mark.gen_test
async def test_a_proxy_that_has_ended_its_side_is_answered_all_the_same():
    async with behind_proxies() as (chat, port, _), reading(chat) as (begun, go):
        connection = await waiting(port, begun)
        connection.writer.write_eof()
        await asked(port, HEALTHZ)  # it has been seen by now
        go.set()
        assert (await connection.answer()).startswith(b"HTTP/1.1 200 ")
        assert await asyncio.wait_for(connection.reader.read(), WAIT) == b""


@pytest.mark.gen_test
@pytest.mark.parametrize("rudely", [False, True])
async def test_a_proxy_that_has_gone_meanwhile_does_no_harm(rudely):
    async with behind_proxies() as (chat, port, _), reading(chat) as (begun, go):
        connection = await waiting(port, begun)
        if rudely:
            sock = connection.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.writer.close()
        go.set()
        await asyncio.wait_for(chat.application.idle.wait(), WAIT)
        assert (await asked(port, recovery())).startswith(b"HTTP/1.1 200 ")


@pytest.mark.gen_test
async def test_a_proxy_whose_reset_comes_just_when_its_request_is_consumed_does_no_harm(monkeypatch):
    monkeypatch.setattr(HeldByProxy, "consume", lambda self, client, size: bool(self.drop(client)))
    async with behind_proxies() as (chat, port, held):
        connection = await Connection.open(port)
        connection.writer.write(recovery())
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(connection.reader.read(), WAIT) == b""
        assert not held
        assert chat.application.idle.is_set()


@pytest.mark.gen_test
async def test_who_waits_when_the_server_ends_is_let_go():
    async with behind_proxies() as (chat, port, _), reading(chat) as (begun, _go):
        connection = await waiting(port, begun)
    assert await asyncio.wait_for(connection.reader.read(), WAIT) == b""
    await eventually(chat.application.idle.is_set)


@pytest.mark.gen_test
async def test_what_was_published_before_a_recovery_is_in_its_answer_however_young(monkeypatch):
    """A young message is left to its publication, unless the proxy had that before it asked."""
    async with behind_proxies() as (chat, port, held):
        monkeypatch.setattr(recoveries, "YOUNG_SECONDS", 100 * 365 * 86_400)  # of those in 1970
        for each in (port, chat.port):
            monkeypatch.setattr(recoveries, "SENDING_SECONDS", 3600)
            assert b"\nid: " not in await asked(each, recovery())
            monkeypatch.setattr(recoveries, "SENDING_SECONDS", -1)  # as if that had been a second ago
            assert (await asked(each, recovery())).count(b"\nid: ") == 2
        assert len(held) == 2, "the others by Tornado"


@pytest.mark.gen_test
async def test_an_answer_that_the_proxy_does_not_take_at_once_is_sent_as_a_whole():
    async with behind_proxies(send=4096) as (chat, port, held):
        for _ in range(60):
            await chat.post("x" * 4000)
        connection = await Connection.open(port, limit=1 << 20)
        for _ in range(3):
            got = await connection.ask(recovery())
            assert got.count(b"\nid: ") == 62
        assert len(held) == 2, "the first one after that is Tornado's, which sends the rest"


@pytest.mark.parametrize("change", [b"", b"x", b"\r\n", b"GET"])
def test_a_recovery_is_plain_only_as_a_whole(change):
    whole = recovery()

    def plain(data: bytes) -> PlainStream | None:
        return plain_recovery(data, read_grip_last)

    assert plain(whole) is not None
    assert plain(whole + change) is None or not change
    assert plain(change + whole) is None or not change
    assert plain(whole[:-2] + change) is None or change == b"\r\n"
    assert plain(whole.replace(b"Grip-Last", b"Last")) is None
    assert plain(whole.replace(b"Host", b"Hosts")) is None
    assert plain(whole.replace(b"Host: ", b"Grip-Last: messages-a; last-id=1\r\nHost: ")) is None
