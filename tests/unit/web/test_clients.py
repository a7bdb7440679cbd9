"""Connections between requests: who is waited for, who is told of, and who is given up."""

import asyncio
import contextlib
import socket
import struct

import pytest

from flychat.web import clients, turns
from flychat.web.accepting import Client
from flychat.web.clients import ClientListener
from flychat.web.shedding import Shedding, Turn
from tests.support.served import WAIT


class Clock:
    """The loop, with a time of the test's own; `later` are its timers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now, self.later, self._loop = 100.0, [], loop

    def __getattr__(self, name):
        return getattr(self._loop, name)

    def time(self) -> float:
        return self.now

    def call_later(self, delay, *call) -> asyncio.TimerHandle:
        self.later.append((delay, *call))
        return self._loop.call_later(1000.0, *call)


class Noting(ClientListener):
    """Notes what is asked. With `busy_with` the answers are under way; else it waits for the next request."""

    def initialize(self, **options) -> None:
        super().initialize(lambda request: None, shedding=Shedding(), **options)
        self.asked, self.told, self.busy_with = [], [], False

    def serve(self, client, data) -> None:
        client.socket.recv(len(data))
        self.asked.append(data)
        (self.busy if self.busy_with else self.wait_for)(client)

    def interrupted(self, client, *, gone) -> None:
        self.told.append(gone)
        self.forget(client)


@contextlib.asynccontextmanager
async def noting(**options):
    """A listener, its clock, and a function that gives both sides of a connection, looked at once."""
    listener = Noting(**options)
    clock = listener._loop = Clock(listener._loop)
    with socket.create_server(("127.0.0.1", 0)) as listening, contextlib.ExitStack() as ours:

        def connect(data: bytes = b"") -> tuple[socket.socket, Client]:
            sock = ours.enter_context(socket.create_connection(listening.getsockname()))
            accepted, address = listening.accept()
            sock.send(data)
            accepted.setblocking(False)
            client = Client(accepted, address)
            listener.look(client)
            return sock, client

        try:
            yield listener, clock, connect
        finally:
            await listener.close_all_connections()


async def until(condition) -> None:
    async with asyncio.timeout(WAIT):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)


async def says(listener, sock, data=b"x") -> None:
    before = len(listener.asked)
    sock.send(data)
    await until(lambda: len(listener.asked) > before)


def closed(client) -> bool:
    return client.socket.fileno() < 0


@pytest.mark.gen_test
async def test_who_has_said_nothing_for_too_long_is_given_up_and_nobody_else():
    async with noting(idle_connection_timeout=10) as (listener, clock, connect):
        (sock, first), (_, second), (_, third), (partly, part) = connect(), connect(), connect(), connect()
        listener.wait_for_all(part, 100)
        partly.send(b"a part")
        for each in (second, third):
            clock.now += 1
            listener.wait_for(each)
        listener.busy_with = True
        busy, answered = connect()
        await says(listener, busy)
        listener.busy_with = False
        clock.now += 1
        await says(listener, sock)  # so it is the one that has been silent for the shortest
        for now, left in (
            (109.9, (first, second, third, part)),
            (110.5, (first, second, third)),
            (111.5, (first, third)),
            (112.5, (first,)),
        ):
            clock.now = now
            listener._tick()
            assert [each for each in (first, second, third, part) if not closed(each)] == list(left)
        clock.now = 200.0
        sock.send(b"y")  # it is there, but nobody has looked: the process was frozen
        listener._tick()
        assert not closed(first)
        await until(lambda: listener.asked[-1] == b"y")
        first.due = True  # its turn comes
        clock.now = 300.0
        listener._tick()
        assert not closed(first)
        first.due = False
        listener._tick()
        assert closed(first)
        assert not closed(answered), "it waits for us"
        assert clock.later[-1] == (clients.TICK, listener._tick), "and so it goes on"


@pytest.mark.gen_test
@pytest.mark.parametrize("reset", [False, True])
async def test_who_has_gone_is_forgotten(reset, caplog):
    async with noting() as (listener, _, connect):
        sock, client = connect()
        await says(listener, sock)
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        await until(lambda: closed(client))
        assert not listener._idle
        assert not client.watched
    assert not caplog.records


@pytest.mark.gen_test
async def test_who_is_answered_is_not_served_but_told_of_if_more_comes_or_the_client_goes():
    async with noting() as (listener, _, connect):
        listener.busy_with = True
        (sock, client), (other, gone) = connect(b"x"), connect()
        await says(listener, other)
        listener.look(client)  # nothing is there
        assert client.answered
        sock.send(b"more")
        await until(lambda: listener.told == [False])
        other.close()
        await until(lambda: listener.told == [False, True])
        assert listener.asked == [b"x", b"x"]
        listener.wait_for(client)
        await until(lambda: listener.asked[2:] == [b"more"])
        listener.drop(gone)


@pytest.mark.gen_test
async def test_who_is_somebody_elses_by_the_time_of_its_turn_is_let_alone():
    async with noting() as (listener, _, connect):
        sock, client = connect()
        sock.send(b"x")
        listener._due.append("127.0.0.1", client)
        listener.forget(client)
        listener._ready()
        assert not listener.asked
        listener.drop(client)


@pytest.mark.gen_test
async def test_of_a_request_that_is_there_in_part_the_rest_is_waited_for():
    async with noting() as (listener, _, connect):
        sock, client = connect()
        listener.wait_for_all(client, 4)
        assert client.turn is Turn.NEW, "it is the first of its connection, still"
        sock.send(b"ab")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await until(lambda: listener.asked)
        assert not listener.asked
        await says(listener, sock, b"cd")
        assert listener.asked == [b"abcd"]
        assert client.turn is Turn.DUE
        assert listener.waited_for_all(client)
        assert not listener.waited_for_all(client)
        await says(listener, sock, b"e")


@pytest.mark.gen_test
async def test_who_pauses_is_not_heard_and_one_timer_is_for_all_of_them():
    async with noting() as (listener, clock, connect):
        listener.shedding.lets_in = lambda: False
        clients_ = [connect()[1] for _ in range(3)]
        for client in clients_:
            listener.pause(client)
            clock.now += 1
        assert clock.later == [(clients.PAUSES, listener._go_on)]
        assert not any(client.watched for client in clients_)
        assert [client.since for client in clients_] == [100 + n + clients.UNSEEN for n in range(3)]
        assert list(listener._paused) == clients_
        listener.shedding.lets_in = lambda: True
        sock, client = connect()
        listener.pause(client)
        await says(listener, sock)


@pytest.mark.gen_test
async def test_how_long_a_request_has_waited_is_known_from_when_we_asked_or_from_the_kernel(monkeypatch):
    monkeypatch.setattr(clients, "waited", lambda sock: (60.0, True))
    async with noting() as (listener, clock, connect):
        rounds = []
        monkeypatch.setattr(listener.shedding, "served", lambda *told: rounds.append(told))
        (_, new), (sock, due), (other, _) = connect(), connect(), connect()
        await says(listener, sock)
        await says(listener, other)
        listener._ready()
        rounds.clear()
        sock.send(b"x")
        other.send(b"x")
        clock.now = 105.0
        monkeypatch.setattr(clients, "SERVED_AT_ONCE", 1)
        listener._ready()
        assert not rounds, "one of the two has not been served"
        clock.now = 105.125
        listener._ready()
        assert rounds == [(2, 0.125)]
        sock.send(b"x")
        clock.now = 105.25
        listener._ready()
        assert due.told == 105.125
        clock.now = 105.375
        assert listener.waited(due) == (0.25, False), "it has come since we asked the time before"
        assert listener.waited(new) == (60.0, True)
        clock.now = 106.0
        assert listener.waited(due) == (0.75, True), "no longer than we have been waiting for it"
        listener.forget(due)
        clock.now = 105.375
        assert listener.waited(due) == (0.125, True), "we do not wait for it"
        due.socket.close()


@pytest.mark.gen_test
async def test_who_says_something_waits_for_few_of_those_of_an_address_that_says_much(monkeypatch):
    """Also for who comes while these are being served: 3,000 that did kept it waiting for 0.15 s."""
    monkeypatch.setattr(turns, "FEW", 2)
    monkeypatch.setattr(clients, "SERVED_AT_ONCE", 3)
    async with noting() as (listener, clock, connect):
        many = [connect() for _ in range(20)]
        friends = [connect() for _ in range(2)]
        served = []
        listener.look = lambda client: (served.append(client), client.socket.recv(1))
        for (sock, client), number in zip(friends, (1, 2), strict=True):
            client.address = f"192.0.2.{number}", 0
            if number == 1:
                sock.send(b"x")
        for sock, _ in many:
            sock.send(b"x")
        clock.now += 1
        listener._ready()
        listener._ready()
        assert friends[0][1] in served, "it was there together with them"
        friends[1][0].send(b"x")
        clock.now += 1.1 * clients.AGAIN
        listener._ready()
        listener._ready()
        assert friends[1][1] in served, "it has come since"
        assert len(served) == 12
        while len(served) < 22:
            listener._ready()
        assert len(set(served)) == 22


@pytest.mark.gen_test
async def test_what_takes_long_leaves_others_to_the_next_turn_of_the_loop(monkeypatch):
    async with noting() as (listener, clock, connect):
        served = []

        def look(client):
            served.append(client)
            client.socket.recv(1)
            clock.now += clients.SERVED_SECONDS * 0.6

        connected = [connect() for _ in range(4)]
        listener.look = look
        for sock, _ in connected:
            sock.send(b"x")
        listener._ready()
        assert len(served) == 2
        listener._ready()
        assert len(served) == 4


@pytest.mark.gen_test
async def test_who_is_handed_over_is_not_watched_here_and_waits_for_its_turn_if_nothing_is_left(monkeypatch):
    async with noting() as (listener, _, connect):
        taken, turns = [], []
        monkeypatch.setattr(listener, "take", lambda *given, **named: taken.append((*given, named)))
        monkeypatch.setattr(listener.turns, "wait", lambda address, work: turns.append((address, work)))
        (_, first), (_, second) = connect(), connect()
        listener.hand_over(first, b"rest")
        assert taken == [(first.socket, first.address, b"rest", {})]
        second.turn = Turn.EARLY
        listener.hand_over(second)
        assert not first.watched
        assert not second.watched
        [(address, begin)] = turns
        begin()
        assert address == "127.0.0.1"
        assert taken[1:] == [(second.socket, second.address, {"turn": Turn.EARLY})]
        for client in (first, second):
            client.socket.close()


@pytest.mark.gen_test
async def test_nothing_is_left_of_a_listener_that_has_ended(monkeypatch):
    async with noting() as (listener, _, connect):
        ended = []
        monkeypatch.setattr(listener.turns, "end", lambda: ended.append(True))
        (_, watched), (_, paused) = connect(), connect()
        listener.shedding.lets_in = lambda: False
        listener.pause(paused)
        timer, selector = listener._idle_timer, listener._selector
    assert closed(watched)
    assert closed(paused)
    assert not listener._paused
    assert timer.cancelled()
    assert selector.get_map() is None
    assert ended


@pytest.mark.gen_test
async def test_who_waits_for_its_turn_when_the_listener_ends_is_let_go_and_not_served():
    """14,000 of them, which an address can have waiting in ten seconds, kept a server from ending in time."""
    async with noting() as (listener, _, connect):
        while listener.turns.take():
            pass
        served = []
        listener.handle_stream = lambda *given: served.append(given)
        (_, first), (_, second) = connect(), connect()
        listener.hand_over(first)
        listener.hand_over(second)
        assert not closed(first)
    assert closed(first)
    assert closed(second)
    assert not served


@pytest.mark.gen_test
async def test_where_no_more_files_may_be_open_the_address_with_most_idle_connections_loses_half_of_them():
    """Else connections that say nothing, as many as may be open, kept all others out for 20 s, and again."""
    async with noting() as (listener, _, connect):
        assert not listener.makes_room()
        many = [connect() for _ in range(6)]
        friends = [connect()[1] for _ in range(2)]
        for client in friends:
            client.address = "192.0.2.1", 0
        busy_sock, _ = many[0]
        listener.busy_with = True
        await says(listener, busy_sock)
        many[1][1].due = True
        assert listener.makes_room()
        assert [closed(client) for _, client in many] == [False, False, True, True, False, False]
        assert not any(map(closed, friends))


@pytest.mark.gen_test
async def test_of_one_address_only_so_many_requests_wait_for_tornado(monkeypatch, caplog):
    monkeypatch.setattr(clients, "MOST_WAITING", 2)
    async with noting() as (listener, _, connect):
        while listener.turns.take():
            pass
        given = [connect()[1] for _ in range(4)]
        given[3].address = "192.0.2.1", 0
        for client in given:
            listener.hand_over(client)
        assert [closed(client) for client in given] == [False, False, True, False]
    assert "2 requests of one address wait" in caplog.text
