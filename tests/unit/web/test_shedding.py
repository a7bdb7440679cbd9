"""Who is refused when more comes than can be done: the rule, and what it does to requests."""

import asyncio
import contextlib
import math
import socket
import time
from collections import Counter, deque
from types import SimpleNamespace

import pytest

from flychat.web import clients, shedding
from flychat.web.plain import is_whole_post, origin_of
from flychat.web.problems import RETRY_AFTER
from flychat.web.shedding import CALM, LATE, MEMORY, ROUND, START, Shedding, Turn, waited
from flychat.web.shedding import NEW as LATE_NEW
from flychat.web.shortcut import Shortcut
from tests.support.served import WAIT
from tests.support.two_ports import GOOD, STREAM, proxies, two_ports

POST = b"POST /rooms/room/messages/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
JSON_PAGE = b"GET /rooms/room/messages/ HTTP/1.1\r\nHost: x\r\n\r\n"
PAGE = b"GET /room?user=ann HTTP/1.1\r\nHost: x\r\n\r\n"
UNUSUAL_STREAM = STREAM.replace(b"Host: x\r\n", b"Host: x\r\nX-Odd: 1\r\n")
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"

DUE, NEW, EARLY = Turn.DUE, Turn.NEW, Turn.EARLY
BEHIND = [(n * CALM / 2, LATE, DUE, n * CALM / 2 >= START) for n in range(9)]  # up to second 1

# What happens at which second: a request that has waited for so long, its turn, and whether it is refused.
TABLE = {
    "all is well": [(0, 0, DUE, False), (1, LATE / 2, DUE, False), (2, LATE * 0.99, DUE, False)],
    "one pause": [(0, 60, DUE, False), (START / 2, 60, DUE, False), (START * 0.9, 60, DUE, False)],
    "now and then": [(n * CALM, LATE, DUE, False) for n in range(20)],
    "behind for long": BEHIND,
    "refused is only who is late": [*BEHIND, (1, LATE * 0.9, DUE, False), (1, LATE, DUE, True)],
    "it is remembered": [*BEHIND, (0.9 + MEMORY, LATE, DUE, True), (0.8 + 2 * MEMORY, LATE, DUE, True)],
    "it is over": [*BEHIND, (1 + MEMORY, LATE, DUE, False), (1.1 + MEMORY, LATE, DUE, False)],
    "after a restart": [(n * CALM / 2, LATE_NEW * 0.9, NEW, False) for n in range(20)],
    "new ones, too late": [(n * CALM / 2, LATE_NEW, NEW, n * CALM / 2 >= START) for n in range(20)],
    "new ones, where others are late": [*BEHIND, (1, LATE, NEW, True), (1, LATE * 0.9, NEW, False)],
    "early ones": [(0, LATE, EARLY, True), (0, LATE * 0.9, EARLY, False)],
    "early ones say nothing of the others": [*((n * CALM / 2, 60, EARLY, True) for n in range(9)), (1, LATE, DUE, False)],
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_who_is_refused(name):
    clock = [0.0]
    rule = Shedding(lambda: clock[0])
    for clock[0], seconds, turn, refused in TABLE[name]:
        assert rule.refuses(seconds, turn) is refused, (clock, seconds)


@pytest.mark.parametrize(
    ("served", "seconds", "room"),
    [(100, ROUND / 2, 100), (100, ROUND / 1.255, 25), (100, ROUND, 0), (100, 2 * ROUND, 0), (0, 1, 999), (9, 0, 999)],
)  # fmt: skip
def test_there_is_room_for_as_many_as_can_be_served_soon(served, seconds, room):
    rule = Shedding()
    rule.served(served, seconds)
    taken = 0
    while taken < 999 and rule.lets_in():
        taken += 1
    assert taken == room


@pytest.mark.skipif(not shedding._KNOWN, reason="this system does not tell how long bytes have waited")
def test_the_kernel_tells_how_long_a_request_has_waited_and_that_its_client_has_gone():
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = stack.enter_context(socket.create_connection(listening.getsockname()))
        server = stack.enter_context(listening.accept()[0])
        began = time.monotonic()
        client.send(b"x")
        sent = time.monotonic()
        seconds, gone, exact = 0.0, False, 0.02  # it counts in ticks of up to 10 ms
        while seconds < 0.05:
            assert not gone
            asked = time.monotonic()
            seconds, gone = waited(server)
            assert asked - sent - exact <= seconds <= time.monotonic() - began + exact
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
        chat.application.shedding.refuses = lambda *_: True
        for module in ("flychat.web.base", "flychat.web.clients"):
            monkeypatch.setattr(f"{module}.waited", lambda sock: (60.0, self.gone))


async def head_of(request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The head of the answer to it; the body is read, too."""
    writer.write(request)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT)
    if length := [line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")]:
        await asyncio.wait_for(reader.readexactly(int(length[0][16:])), WAIT)
    return head


async def answer_to(request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The status of the answer."""
    return (await head_of(request, reader, writer))[9:12]


async def ask(port: int, *requests: bytes) -> list[bytes]:
    """The answers' heads, one after the other on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    heads = [await head_of(request, reader, writer) for request in requests]
    writer.close()
    return heads


@pytest.mark.gen_test
@pytest.mark.parametrize("shortened", [True, False])
async def test_late_messages_and_pages_are_refused_and_streams_are_not(shortened, monkeypatch):
    monkeypatch.setattr(clients, "UNSEEN", 0.001)
    async with two_ports() as (chat, port, _):
        Late(monkeypatch, chat)
        unusual = GOOD.replace(b"Host: x\r\n", b"Host: x\r\nConnection: Upgrade\r\n")
        for request in (GOOD, POST, unusual, JSON_PAGE, PAGE):
            for head in await ask(port if shortened else chat.port, request, request):
                assert head.startswith(b"HTTP/1.1 503 "), request
                assert b"Retry-After: %d\r\n" % RETRY_AFTER in head
        for request in (STREAM, UNUSUAL_STREAM, HEALTH):
            assert (await ask(port if shortened else chat.port, request))[0].startswith(b"HTTP/1.1 200 "), (
                request
            )
        assert (await chat.log.page("room")).last_id == 3
        assert chat.application.idle.is_set()


@pytest.mark.gen_test
@pytest.mark.parametrize(("gone", "why"), [(True, "gone"), (False, "refused")])
async def test_who_is_refused_by_tornado_is_judged_by_its_turn_and_counted(gone, why, monkeypatch):
    async with two_ports() as (chat, _, _):
        Late(monkeypatch, chat).gone = gone
        turns, before = [], shedding.SHED.labels(why)._value.get()
        chat.application.shedding.refuses = lambda seconds, turn: (
            turns.append((seconds, turn)) or len(turns) < 3
        )
        heads = await ask(chat.port, PAGE, PAGE, PAGE)
        assert [head[9:12] for head in heads] == [b"503", b"503", b"200"]
        assert turns == [(60.0, NEW), (60.0, DUE), (60.0, DUE)]
        assert shedding.SHED.labels(why)._value.get() - before == 2


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


class Overload:
    """The server is behind while `lasts`, and has `room`; a request that is looked at has waited for `seconds`."""

    def __init__(self, monkeypatch, chat) -> None:
        self.lasts, self.seconds, self.turns = True, 60.0, []
        rule = chat.application.shedding
        self.room = 0.0
        monkeypatch.setattr(rule, "served", lambda *_: setattr(rule, "room", self.room))
        monkeypatch.setattr(rule, "refuses", self.refuses)
        monkeypatch.setattr("flychat.web.clients.waited", lambda sock: (self.seconds, False))

    def refuses(self, seconds, turn):
        self.turns.append(turn)
        return (turn is EARLY and seconds >= LATE) or self.lasts


@pytest.mark.gen_test
async def test_a_late_message_whose_client_goes_while_it_is_refused_is_dropped_without_an_error(monkeypatch):
    monkeypatch.setattr(Shedding, "refuses", lambda self, seconds, turn: True)
    shed = Shortcut._shed

    class Gone:
        """Its reset comes between two looks."""

        def __init__(self, sock):
            self._socket = sock

        def __getattr__(self, name):
            return getattr(self._socket, name)

        def recv(self, *_):
            raise ConnectionResetError

    def gone(self, client, data, **how):
        client.socket = Gone(client.socket)
        return shed(self, client, data, **how)

    monkeypatch.setattr(Shortcut, "_shed", gone)
    async with two_ports() as (_, port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(POST)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), WAIT) == b""
        writer.close()


@pytest.mark.gen_test
async def test_a_proxys_connection_does_not_pause_since_others_come_on_it(monkeypatch):
    monkeypatch.setattr(clients, "UNSEEN", 1000.0)
    async with proxies() as hub, two_ports(proxies=hub) as (chat, port, _):
        overload = Overload(monkeypatch, chat)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await answer_to(GOOD, reader, writer) == b"503"
        overload.lasts = False
        assert await answer_to(GOOD, reader, writer) == b"200"
        writer.close()


@pytest.mark.gen_test
async def test_who_was_refused_is_not_looked_at_for_a_while(monkeypatch):
    monkeypatch.setattr(clients, "UNSEEN", 1000.0)
    async with two_ports() as (chat, port, _):
        overload = Overload(monkeypatch, chat)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GOOD)
        assert b" 503 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT)
        writer.write(GOOD)
        overload.lasts = False
        assert (await ask(port, GOOD))[0].startswith(b"HTTP/1.1 200 ")  # somebody else is served meanwhile
        assert (await chat.log.page("room")).last_id == 4
        assert overload.turns == [NEW, NEW]
        writer.close()


@pytest.mark.gen_test
async def test_what_is_asked_too_early_is_refused_when_the_pause_is_over_and_again_until_there_is_room(
    monkeypatch,
):
    monkeypatch.setattr(clients, "UNSEEN", 1000.0)
    pause, paused = clients.ClientListener.pause, []

    def noted(listener, client):
        pause(listener, client)
        paused[:] = listener._paused

    monkeypatch.setattr(clients.ClientListener, "pause", noted)
    async with two_ports() as (chat, port, _):
        overload = Overload(monkeypatch, chat)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def answered_after_the_pause():
            writer.write(GOOD)  # before it is over, however slow this machine is
            for client in paused:
                client.since = 0.0
            return await answer_to(b"", reader, writer)

        assert [await answered_after_the_pause() for _ in range(4)] == [b"503"] * 4
        assert overload.turns == [NEW, EARLY, EARLY, EARLY]
        overload.room, overload.lasts = 1.0, False
        assert [await answered_after_the_pause() for _ in range(2)] == [b"503", b"200"]
        assert overload.turns[4:] == [EARLY, DUE]
        assert (await chat.log.page("room")).last_id == 4
        writer.close()


@pytest.mark.gen_test
@pytest.mark.parametrize("seconds", [0.1, 60.0])
async def test_after_the_rush_a_client_that_came_early_is_refused_once_more_if_it_is_late_and_served_then(
    seconds, monkeypatch
):
    """Its pause ends when there is room, however long it is; and nobody who was refused once is refused for ever."""
    monkeypatch.setattr(clients, "UNSEEN", 1000.0)
    async with two_ports() as (chat, port, _):
        overload = Overload(monkeypatch, chat)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        assert await answer_to(GOOD, reader, writer) == b"503"
        writer.write(GOOD)
        overload.seconds, overload.lasts, overload.room = seconds, False, math.inf
        if seconds > LATE:
            assert await answer_to(b"", reader, writer) == b"503"
            writer.write(GOOD)
        assert await answer_to(b"", reader, writer) == b"200"
        assert overload.turns.count(EARLY) == 1
        assert overload.turns[-1] is DUE, "it is served in its turn, and not before those who did not pause"
        writer.close()


def test_clients_that_were_refused_together_are_not_looked_at_together_for_ever():
    """Or else in some tenths of each round of pauses all the server does is to refuse."""
    now, looked = 0.0, []

    def look(client):
        looked.append((now, now - client.refused))
        client.refused, client.since = now, now + clients.UNSEEN
        paused.append(client)

    paused = deque(SimpleNamespace(refused=0.0, since=clients.UNSEEN) for _ in range(1000))
    loop = SimpleNamespace(time=lambda: now, call_later=lambda *_: None)
    shedding = SimpleNamespace(room=0.0)
    listener = SimpleNamespace(
        _paused=paused, _due=[None], _loop=loop, shedding=shedding, look=look, _go_on=None, _going_on=True
    )
    while now < 12 * clients.UNSEEN:
        now += clients.PAUSES
        clients.ClientListener._go_on(listener)
    pauses = [pause for _, pause in looked]
    assert min(pauses) > clients.UNSEEN - clients.SPREAD
    assert max(pauses) < clients.UNSEEN + 2 * clients.PAUSES
    late = Counter(int(at / clients.UNSEEN * 10) for at, _ in looked if at >= 11 * clients.UNSEEN)
    assert max(late.values()) < 2 * len(paused) / 10, "in a tenth of a round"


def test_clients_that_pause_are_looked_for_by_one_timer():
    timers = []
    client = SimpleNamespace(since=0.0)
    listener = SimpleNamespace(
        _paused=deque(),
        _going_on=False,
        _due=[None],
        _loop=SimpleNamespace(time=lambda: 0.0, call_later=lambda _, call: timers.append(call)),
        shedding=SimpleNamespace(room=0.0, lets_in=lambda: False),
        forget=lambda client: None,
        look=lambda client: clients.ClientListener.pause(listener, client),
        _go_on=lambda: clients.ClientListener._go_on(listener),
    )
    listener.look(client)
    for _ in range(5):
        client.since = 0.0  # its pause is over, and it is refused again
        [timer] = timers
        timers.clear()
        timer()
    listener._paused.clear()
    timers.pop()()
    assert not timers
    listener.look(client)
    assert len(timers) == 1


def test_an_origin_is_found_in_a_moment_however_many_blanks_are_around_it():
    head = b"POST / HTTP/1.1\r\nX: y\r\nOrigin:%b\r\n\r\n"
    assert origin_of(head % b" https://Friend.example  ") == "https://Friend.example"
    for strange in (b" a\r\norigin: b", b" \x80", b""):
        assert origin_of(head % strange) == ""
    began = time.process_time()
    for _ in range(100):
        assert origin_of(head % (b" " * 8000 + b"\x80")) == ""
    assert time.process_time() - began < 0.5


@pytest.mark.gen_test
async def test_a_server_that_ends_while_clients_pause_thinks_of_them_no_more(monkeypatch, caplog):
    for name, seconds in (("UNSEEN", 1000.0), ("PAUSES", 0.0)):
        monkeypatch.setattr(clients, name, seconds)
    async with two_ports() as (chat, port, _):
        Overload(monkeypatch, chat)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await answer_to(GOOD, reader, writer) == b"503"
    for _ in range(3):
        await asyncio.sleep(0)
    assert not caplog.records
    assert await asyncio.wait_for(reader.read(), WAIT) == b""
    writer.close()
