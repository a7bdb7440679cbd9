"""Who is refused when more comes than can be done: the rule, and what it does to requests."""

import asyncio
import contextlib
import socket

import pytest

from flychat.web import clients, shedding
from flychat.web.plain import is_whole_post
from flychat.web.shedding import LATE, NEW, Shedding, waited
from tests.support.served import WAIT
from tests.support.two_ports import two_ports

HALF = LATE / 2
POST = b"POST /rooms/room/messages/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
FORM = b"from=ann&text=hello"
GOOD = (
    b"POST /rooms/room/messages/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(FORM), FORM)
)
JSON_PAGE = b"GET /rooms/room/messages/ HTTP/1.1\r\nHost: x\r\n\r\n"
PAGE = b"GET /room?user=ann HTTP/1.1\r\nHost: x\r\n\r\n"
STREAM = b"GET /rooms/room/messages/ HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"
UNUSUAL_STREAM = STREAM.replace(b"Host: x\r\n", b"Host: x\r\nX-Odd: 1\r\n")
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"

# What happens at which second: a request that has waited for so long, perhaps a new one, and whether it is refused.
TABLE = {
    "all is well": [(0, 0, False, False), (1, HALF, False, False), (2, LATE * 0.99, False, False)],
    "one pause": [(0, 60, False, False), (LATE * 0.9, 60, False, False)],
    "behind for long": [(0, LATE, False, False), (LATE, LATE, False, True), (9, LATE * 2, False, True)],
    "refused is only who is late": [(0, LATE, False, False), (1, LATE * 0.9, False, False), (2, LATE, False, True)],
    "it is over": [(0, LATE, False, False), (1, HALF * 0.9, False, False), (2, LATE, False, False), (3, LATE, False, True)],
    "after a restart": [(0, NEW * 0.9, True, False), (2, NEW * 0.9, True, False)],
    "new ones, too late": [(0, NEW, True, False), (LATE, NEW, True, True), (1, NEW * 0.9, True, True)],
    "new ones, where others are late as well": [(0, LATE, False, False), (LATE, LATE, True, True), (1, 0, True, False)],
    "a new one that did not wait says nothing": [(0, LATE, False, False), (0.4, 0, True, False), (LATE, LATE, False, True)],
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_who_is_refused(name):
    clock = [0.0]
    rule = Shedding(lambda: clock[0])
    for clock[0], seconds, new, refused in TABLE[name]:
        assert rule.refuses(seconds, new=new) is refused, (clock, seconds)


@pytest.mark.skipif(not shedding._KNOWN, reason="this system does not tell how long bytes have waited")
def test_the_kernel_tells_how_long_a_request_has_waited_and_that_its_client_has_gone():
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = stack.enter_context(socket.create_connection(listening.getsockname()))
        server = stack.enter_context(listening.accept()[0])
        client.send(b"x")
        seconds, gone = 0.0, False
        while seconds < 0.05:
            assert not gone
            seconds, gone = waited(server)
        client.send(b"x")
        while waited(server)[0] >= seconds:
            pass
        client.close()
        while not waited(server)[1]:
            pass


def test_nothing_has_waited_where_the_kernel_does_not_tell(monkeypatch):
    one, other = socket.socketpair()
    with one, other:
        assert waited(one) == (0.0, False)
        monkeypatch.setattr(shedding, "_KNOWN", False)
        assert waited(one) == (0.0, False)


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (POST, True),
        (GOOD, True),
        (POST.replace(b"Host: x\r\n", b"Host: x\r\nConnection: keep-alive\r\nX-Odd: 1\r\n"), True),
        (POST[:-1], False),
        (POST + b"x", False),
        (POST[:60], False),
        (POST.replace(b"Content-Length: 2\r\n", b""), False),
        (POST.replace(b"Content-Length: 2\r\n", b"Content-Length: 2\r\nContent-Length: 2\r\n"), False),
        (POST.replace(b"Host: x\r\n", b"Transfer-Encoding: chunked\r\n"), False),
        (POST.replace(b"Host: x\r\n", b"Expect: 100-continue\r\n"), False),
        (POST.replace(b"Host: x\r\n", b"Connection: close\r\n"), False),
        (POST.replace(b"HTTP/1.1", b"HTTP/1.0"), False),
        (POST.replace(b"POST", b"GET"), False),
    ],
)
def test_a_post_is_refused_unread_only_where_its_end_is_plain(data, whole):
    assert is_whole_post(data) is whole


class Late:
    """Every request has waited for a minute; `gone` says that its client has closed the connection."""

    def __init__(self, monkeypatch, chat) -> None:
        self.gone = False
        chat.application.shedding.refuses = lambda seconds, new: True
        for module in ("flychat.web.clients", "flychat.web.listener"):
            monkeypatch.setattr(f"{module}.waited", lambda sock: (60.0, self.gone))


async def ask(port: int, *requests: bytes) -> list[bytes]:
    """The answers' heads, one after the other on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    heads = []
    for request in requests:
        writer.write(request)
        heads.append(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT))
        if length := [line for line in heads[-1].split(b"\r\n") if line.startswith(b"Content-Length: ")]:
            await asyncio.wait_for(reader.readexactly(int(length[0][16:])), WAIT)
    writer.close()
    return heads


@pytest.mark.gen_test
@pytest.mark.parametrize("shortened", [True, False])
async def test_late_messages_and_pages_are_refused_and_streams_are_not(shortened, monkeypatch):
    monkeypatch.setattr(clients, "PAUSE", 0.0)
    async with two_ports() as (chat, port, _):
        Late(monkeypatch, chat)
        unusual = GOOD.replace(b"Host: x\r\n", b"Host: x\r\nConnection: Upgrade\r\n")
        for request in (GOOD, POST, unusual, JSON_PAGE, PAGE):
            for head in await ask(port if shortened else chat.port, request, request):
                assert head.startswith(b"HTTP/1.1 503 "), request
                assert b"Retry-After: 2\r\n" in head
        for request in (STREAM, UNUSUAL_STREAM, HEALTH):
            assert (await ask(port if shortened else chat.port, request))[0].startswith(b"HTTP/1.1 200 "), (
                request
            )
        assert (await chat.log.page("room")).last_id == 3
        assert chat.application.idle.is_set()


FROM_A_FRIEND = b"Host: x\r\nORIGIN:  https://Friend.example \r\n"
ORIGINS = {
    "none": GOOD,
    "ours": GOOD.replace(b"Host: x\r\n", b"Host: x\r\nOrigin: http://x\r\n"),
    "a listed one": GOOD.replace(b"Host: x\r\n", FROM_A_FRIEND),
    "a listed one, twice": GOOD.replace(b"Host: x\r\n", 2 * FROM_A_FRIEND[9:] + b"Host: x\r\n"),
    "one that is not listed": GOOD.replace(b"Host: x\r\n", b"Host: x\r\nOrigin: https://foe.example\r\n"),
    "in the body": POST.replace(b"2\r\n\r\n{}", b"33\r\n\r\n{\r\nOrigin: https://friend.example}"),
}


@pytest.mark.gen_test
@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("origin", ORIGINS)
async def test_a_refusal_by_the_shortcut_is_tornados_to_the_byte(origin, listed, monkeypatch):
    monkeypatch.setattr("flychat.web.application.Seldom.tell", lambda *_: False)  # which gives it an id
    async with two_ports() as (chat, port, _):
        chat.application.cors_origins = frozenset(["https://friend.example"] * listed)
        Late(monkeypatch, chat)
        ours = (await ask(port, ORIGINS[origin]))[0]
        theirs = (await ask(chat.port, ORIGINS[origin]))[0]
        assert (b"Access-Control-Allow-Origin" in ours) is (listed and origin == "a listed one")
        assert [line for line in ours.split(b"\r\n") if not line.startswith(b"Date")] == [
            line for line in theirs.split(b"\r\n") if not line.startswith(b"Date")
        ]


@pytest.mark.gen_test
async def test_a_late_message_whose_client_has_gone_is_not_answered(monkeypatch):
    async with two_ports() as (chat, port, _):
        Late(monkeypatch, chat).gone = True
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GOOD)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), WAIT) == b""
        writer.close()
        assert (await chat.log.page("room")).last_id == 3


@pytest.mark.gen_test
async def test_who_was_refused_is_not_looked_at_for_a_while(monkeypatch):
    monkeypatch.setattr(clients, "PAUSE", 1000.0)
    async with two_ports() as (chat, port, _):
        Late(monkeypatch, chat)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GOOD)
        assert b" 503 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT)
        writer.write(GOOD)
        del chat.application.shedding.refuses
        assert (await ask(port, GOOD))[0].startswith(b"HTTP/1.1 200 ")  # somebody else is served meanwhile
        assert (await chat.log.page("room")).last_id == 4
        writer.close()


@pytest.mark.gen_test
async def test_after_the_pause_a_request_has_waited_for_nothing(monkeypatch):
    """Else who was refused once would be too late for ever."""
    monkeypatch.setattr(clients, "PAUSE", 0.01)
    async with two_ports() as (chat, port, _):
        asked = []
        refuses = lambda seconds, new: asked.append(seconds) or len(asked) < 2  # noqa: E731
        chat.application.shedding.refuses = refuses
        monkeypatch.setattr("flychat.web.clients.waited", lambda sock: (60.0, False))
        heads = await ask(port, GOOD, GOOD)
        assert [head[9:12] for head in heads] == [b"503", b"200"]
        assert asked[1] < 30
