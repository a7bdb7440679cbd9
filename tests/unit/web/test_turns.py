"""Who asks for much keeps nobody else waiting: requests begin in turns, of one address after the other."""

import asyncio
import contextlib
import math
import socket
import struct
from collections import Counter
from types import SimpleNamespace

import pytest
from tornado.iostream import IOStream

from flychat.messages import Draft
from flychat.web import shortcut, turns
from flychat.web.listener import CHUNKS, Connection
from flychat.web.shedding import Turn
from flychat.web.turns import FEW, FREE, MOST, SECONDS, Fair, Places, Queue, Turns
from tests.support.pushpin_proxy import eventually
from tests.support.served import WAIT
from tests.support.started import started

ASK = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
MANY = 100


@contextlib.contextmanager
def begun(monkeypatch):
    """The addresses of those whose requests are Tornado's, and whole, in their order."""
    addresses = []
    has_request = Connection.has_request

    def counted(self):
        addresses.append(self.address[0])
        has_request(self)

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "has_request", counted)
        yield addresses


@contextlib.asynccontextmanager
async def connecting():
    """A function that connects from an address, without a turn of the loop; and the server."""
    async with started() as (server, _clients):
        sockets = []

        def connect(source="127.0.0.1"):
            sock = socket.create_connection(
                ("127.0.0.1", int(server.url.rstrip("/").rsplit(":", 1)[1])), 5, (source, 0)
            )
            sock.setblocking(False)
            sockets.append(sock)
            return sock

        try:
            yield connect, server
        finally:
            for sock in sockets:
                sock.close()


async def answered(sock) -> bytes:
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 65_536), WAIT)


def test_each_address_has_one_turn_after_the_other():
    queue: Fair[str] = Fair()
    for client in ("10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.2", "2001:db8::1", "2001:db8::2"):
        queue.append(client, client)
    assert len(queue) == len(list(queue)) == 7
    order = [queue.popleft() for _ in range(7)]
    assert order[:3] == ["10.0.0.1", "10.0.0.2", "2001:db8::1"]
    assert order[3:] == ["10.0.0.1", "10.0.0.2", "2001:db8::2", "10.0.0.1"]
    assert not queue


@pytest.mark.gen_test
async def test_a_few_begin_in_each_turn_of_the_loop_and_fewer_when_they_take_long(monkeypatch):
    loop, done = asyncio.get_running_loop(), []
    now = 0.0
    monkeypatch.setattr(loop, "time", lambda: now)
    taken = Turns()
    for number in range(10 * MOST):
        taken.wait("10.0.0.1", lambda number=number: done.append(number))
    assert len(done) == MOST
    now += 2 * SECONDS
    taken._next()
    assert len(done) == MOST + MOST // 2
    taken._next()
    assert len(done) == 2 * MOST + 1
    taken.end()
    assert len(done) == 10 * MOST


@pytest.mark.gen_test
async def test_those_who_have_gone_take_no_turn(monkeypatch):
    """Who asks, and goes, over and over, would have a file open for each that waits for its turn."""
    monkeypatch.setattr(turns, "FREE", 50)
    asked, done, rounds = [], [], 0
    taken = Turns()
    while taken.take():
        pass
    for number in range(100):
        taken.wait("10.0.0.1", lambda number=number: asked.append(number) or False)
    taken.wait("10.0.0.1", lambda: done.append(1))
    while not done:
        rounds += 1
        await asyncio.sleep(0)
    assert rounds == 2
    assert asked == list(range(100))
    taken.end()


@pytest.mark.gen_test
async def test_a_turn_is_followed_by_one_whatever_had_nothing_to_do_in_it():
    turns, soon = Turns(), []
    turns._loop = SimpleNamespace(call_soon=soon.append, time=lambda: 0.0)
    for _ in range(MOST + FREE):
        turns.wait("192.0.2.1", lambda: False)
    assert (turns.waiting("192.0.2.1"), len(soon)) == (FREE, 1)
    soon.pop()()
    assert (turns.waiting("192.0.2.1"), len(soon)) == (0, 1)


@pytest.mark.parametrize(("each", "at_last"), [(2.0, {1}), (0.6, {1, 2})])
@pytest.mark.gen_test
async def test_what_takes_long_is_counted_from_the_first_in_a_turn_and_one_begins_however_long_it_takes(
    monkeypatch, each, at_last
):
    loop, now, done = asyncio.get_running_loop(), 0.0, 0
    monkeypatch.setattr(loop, "time", lambda: now)

    def work():
        nonlocal now, done
        now += each * SECONDS
        done += 1

    taken = Turns()
    for _ in range(10 * MOST):
        taken.wait("10.0.0.1", work)
    begun = []
    for _ in range(20):
        done = 0
        taken._next()
        begun.append(done)
    assert set(begun[10:]) == at_last
    taken.end()


@pytest.mark.gen_test
async def test_who_asks_over_one_connection_waits_for_few_of_those_who_ask_over_many(monkeypatch):
    async with connecting() as (connect, _server):
        with begun(monkeypatch) as addresses:
            for _ in range(MANY):
                connect().send(ASK)
            other = connect("127.0.0.2")
            other.send(ASK)
            assert (await answered(other)).startswith(b"HTTP/1.1 200 ")
            assert addresses.index("127.0.0.2") < MANY // 2


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "request_",
    [
        "GET /{}?user=ann HTTP/1.1",
        "HEAD /rooms/{}/messages/ HTTP/1.1",
        "GET /rooms/{}/messages/?provisional=no HTTP/1.1\r\nAccept: text/event-stream",
    ],
    ids=["pages", "JSON", "streams that are not plain"],
)
async def test_who_has_many_rooms_read_keeps_nobody_waiting_but_for_few_of_them(request_):
    """1,500 requests of one address for as many rooms kept a page of another one waiting for 2 to 3 s."""
    async with connecting() as (connect, server):
        server.application.readings = Places(2)
        engine, read, go = server.log._common.engine, [], asyncio.Event()
        tail = engine.tail

        async def noted(room, limit):
            read.append(room)
            await go.wait()
            return await tail(room, limit)

        engine.tail = noted
        for number in range(20):
            connect().send(f"{request_.format(f'r{number}')}\r\nHost: x\r\n\r\n".encode())
        await eventually(lambda: len(server.application._busy) == 20)
        other = connect("127.0.0.2")
        other.send(f"{request_.format('mine')}\r\nHost: x\r\n\r\n".encode())
        await eventually(lambda: len(server.application._busy) == 21)
        assert len(read) == 2
        go.set()
        assert (await answered(other)).startswith(b"HTTP/1.1 200 ")
        assert read.index("mine") <= 4


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "request_",
    [
        "GET /mine?user=ann HTTP/1.1",
        "GET /rooms/mine/messages/?limit=200 HTTP/1.1",
        "GET /rooms/mine/messages/?before=4 HTTP/1.1",
        "GET /rooms/mine/messages/?after=1 HTTP/1.1",
        "GET /rooms/mine/messages/?provisional=no HTTP/1.1\r\nAccept: text/event-stream",
    ],
    ids=["a page", "JSON", "what was before", "what comes after", "a stream that is not plain"],
)
async def test_what_is_in_memory_waits_for_no_reading_of_the_store(request_):
    """While it did not answer, and 32 requests waited for that, pages of rooms in memory came after 2 s."""
    async with connecting() as (connect, server):
        for number in range(5):
            draft = Draft.create("mine", {"from": "ann", "text": f"number {number}"}, now=1.7e9)
            await server.application.chat.post(draft)
        server.application.readings = Places(2)
        begun, never = [], asyncio.Event()

        async def hanging(room, limit):
            begun.append(room)
            await never.wait()

        server.log._common.engine.tail = hanging
        for number in range(3):
            connect().send(f"GET /r{number}?user=bob HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await eventually(lambda: len(server.application._busy) == 3 and len(begun) == 2)
        mine = connect()
        mine.send(f"{request_}\r\nHost: x\r\n\r\n".encode())
        assert (await answered(mine)).startswith(b"HTTP/1.1 200 ")
        never.set()


@pytest.mark.gen_test
async def test_a_place_of_who_has_gone_is_given_to_the_next():
    places, done = Places(1), []

    async def work(name, address="10.0.0.1"):
        async with places.one(address):
            done.append(name)
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(work(number)) for number in range(6)]
    await asyncio.sleep(0)
    tasks[1].cancel()  # it waits
    await asyncio.sleep(0)
    tasks[2].cancel()  # it was given the place in this turn
    tasks.append(asyncio.create_task(work("other", "10.0.0.2")))
    await asyncio.wait(tasks)
    assert done == [0, 3, 4, "other", 5]
    async with places.one("10.0.0.1"):
        assert places._free == 0
    assert places._free == 1


@pytest.mark.gen_test
async def test_so_it_is_on_connections_that_were_there_before(monkeypatch):
    async with connecting() as (connect, _server):
        with begun(monkeypatch) as addresses:
            greedy = [connect() for _ in range(MANY)]
            other = connect("127.0.0.2")
            for _ in range(2):
                addresses.clear()
                for sock in (*greedy, other):
                    sock.send(ASK)
                assert (await answered(other)).startswith(b"HTTP/1.1 200 ")
                assert addresses.index("127.0.0.2") < MANY // 2
                for sock in greedy:
                    assert (await answered(sock)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.gen_test
async def test_each_request_of_a_connection_waits_for_its_turn_where_it_has_none_at_once(monkeypatch):
    async with connecting() as (connect, server):
        waited, own = [], server.http.turns
        given = SimpleNamespace(
            take=lambda: False,
            wait=lambda *args: waited.append(args) or own.wait(*args),
            waiting=own.waiting,
            end=own.end,
        )
        monkeypatch.setattr(server.http, "turns", given)
        turns, has_request = [], Connection.has_request
        monkeypatch.setattr(
            Connection, "has_request", lambda self: (turns.append(self.turn), has_request(self))
        )
        client = connect()
        for number in (1, 2, 3):
            client.send(ASK)
            assert (await answered(client)).startswith(b"HTTP/1.1 200 ")
            assert len(waited) == number
        assert turns == [Turn.NEW, Turn.DUE, Turn.DUE]


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("begin", "piece", "end"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: ", b"a", b"\r\n\r\n"),
        (b"POST /session HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n", b"a", b"b"),
    ],
    ids=["heads", "bodies"],
)
async def test_requests_that_come_byte_by_byte_are_read_on_in_turns(begin, piece, end, monkeypatch):
    """A byte takes a tenth of the time of a request: thousands at once kept others waiting for 0.1 s and more."""
    async with connecting() as (connect, server):
        loop, turn, reads = asyncio.get_running_loop(), 0, Counter()

        def tick():
            nonlocal turn
            turn += 1
            loop.call_soon(tick)

        read_from_fd = IOStream.read_from_fd

        def counted(self, buf):
            read = read_from_fd(self, buf)
            reads[turn] += bool(read)
            return read

        tick()
        greedy = [connect() for _ in range(MANY)]
        for sock in greedy:
            sock.send(begin)
        await eventually(
            lambda: [each.stream.received for each in server.http._connections].count(len(begin)) == MANY
        )
        monkeypatch.setattr(IOStream, "read_from_fd", counted)
        for sent in (piece, end):
            reads.clear()
            for sock in greedy:
                sock.send(sent)
            await eventually(lambda: reads.total() == MANY)
            assert max(reads.values()) <= MOST + 1
        for sock in greedy:
            assert (await answered(sock)).startswith(b"HTTP/1.1 ")


@pytest.mark.gen_test
async def test_a_head_in_two_pieces_is_one_request_whatever_the_second_piece_looks_like():
    """Else who can set a header of what a proxy sends could have another request answered in its place."""
    async with connecting() as (connect, server):
        client = connect()
        client.send(ASK)
        assert (await answered(client)).startswith(b"HTTP/1.1 200 ")
        [connection] = server.http._connections
        client.send(b"GET /healthz HTTP/1.1\r\nX: ")
        async with asyncio.timeout(WAIT):
            while not connection.stream._read_buffer_size:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.001)
        client.send(b"GET /rooms/room/messages/ HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
        answer = await answered(client)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"event-stream" not in answer


@pytest.mark.gen_test
async def test_requests_that_are_sent_at_once_wait_for_their_turns_too(monkeypatch):
    async with connecting() as (connect, server):
        waited, wait = [], server.http.turns.wait
        monkeypatch.setattr(server.http.turns, "wait", lambda *args: waited.append(args) or wait(*args))
        greedy = connect()
        greedy.send(20 * ASK)
        answers = b""
        while answers.count(b"HTTP/1.1 200 ") < 20:
            answers += await answered(greedy)
        assert len(waited) == 20


@pytest.mark.gen_test
@pytest.mark.parametrize("path", ["/room", "/rooms/room/messages/"])
async def test_a_body_in_many_chunks_waits_for_turns(path, monkeypatch):
    """65,536 bytes one by one took 0.2 s, and the loop did not turn meanwhile."""
    async with connecting() as (connect, server):
        waited, wait = [], server.http.turns.wait
        monkeypatch.setattr(server.http.turns, "wait", lambda *args: waited.append(args) or wait(*args))
        greedy = connect()
        greedy.send(f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        greedy.send(b"1\r\nx\r\n" * 4 * CHUNKS + b"0\r\n\r\n")
        assert (await answered(greedy)).startswith(b"HTTP/1.1 4")
        assert len(waited) == 1 + 4


@pytest.mark.gen_test
async def test_a_body_whose_time_ends_before_its_turn_is_dropped(monkeypatch, caplog):
    monkeypatch.setattr("flychat.server.BODY_SECONDS", 0.2)
    async with connecting() as (connect, server):
        greedy = connect()
        greedy.send(b"POST /room HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        async with asyncio.timeout(WAIT):
            while not server.http.unread_bytes:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.001)
        server.http.turns._begun = math.inf  # nobody has a turn
        greedy.send(b"1\r\nx\r\n" * 2 * CHUNKS)
        assert not await answered(greedy)
        server.http.turns.end()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.gen_test
async def test_who_has_gone_before_its_turn_is_not_served(monkeypatch):
    async with connecting() as (connect, _server):
        with begun(monkeypatch) as addresses:
            for _ in range(MANY):
                sock = connect()
                sock.send(ASK)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
            last = connect()
            last.send(ASK)
            await answered(last)
            assert len(addresses) == 1


@pytest.mark.gen_test
async def test_what_was_sent_along_is_not_served_for_who_has_gone(monkeypatch):
    """A server that had thousands of such requests did not end."""
    async with connecting() as (connect, server):
        with begun(monkeypatch) as addresses:
            greedy = connect()
            greedy.send(ASK)
            await answered(greedy)
            wait = server.http.turns.wait
            monkeypatch.setattr(server.http.turns, "wait", lambda *args: (cut(), wait(*args)))

            def cut():
                for connection in list(server.http._connections):
                    connection.stream.close()

            greedy.send(20 * ASK)
            assert await answered(greedy)
            assert not await answered(greedy)
            async with asyncio.timeout(WAIT):
                while server.http._connections:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.001)
            assert len(addresses) == 2


@pytest.mark.gen_test
async def test_connections_that_say_nothing_do_not_stay_with_tornado(monkeypatch):
    """There each takes 10 kB more."""
    monkeypatch.setattr(shortcut, "TORNADOS", 2)
    async with connecting() as (connect, server):
        clients = [connect() for _ in range(10)]
        for _ in range(2):
            for client in clients:
                client.send(ASK)
                assert (await answered(client)).startswith(b"HTTP/1.1 200 ")
            async with asyncio.timeout(WAIT):
                while len(server.http._connections) > 2:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.001)


def test_who_comes_while_a_queue_is_long_is_not_before_those_of_the_same_address():
    """In a rush some were served at once, and others refused because they had waited for too long."""
    queue: Queue[int] = Queue()
    for number in range(FEW + 2):
        queue.append("a", number)
    first = [queue.popleft() for _ in range(FEW)]
    queue.append("a", FEW + 2)
    assert [*first, *(queue.popleft() for _ in range(3))] == list(range(FEW + 3))
