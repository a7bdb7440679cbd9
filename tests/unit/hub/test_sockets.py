"""How bytes leave: framed for HTTP/1.1 and 1.0, of a bounded number in a turn, and waiting without a copy."""

import asyncio
import contextlib
import errno
import http.client
import itertools
import re
import socket
import tracemalloc
import types
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flychat import soon as soon_module
from flychat.commits import Commit
from flychat.hub import local as local_module
from flychat.hub import sockets as sockets_module
from flychat.hub import waiting as waiting_module
from flychat.hub.sockets import Audience, Connections
from flychat.hub.waiting import (
    LAST_CHUNK,
    PLACE_BYTES,
    Backlog,
    Backlogs,
    Owed,
    bare,
    batches,
    chunk,
    owed_bytes,
)
from flychat.streams import provisional
from tests.support.http_body import Body
from tests.support.served import WAIT, Served, draft, served
from tests.support.two_ports import two_ports

LARGE = "\U0001f600" * 4096  # 16.5 kB on the wire
ASK = "GET /rooms/room/messages/?lastEventId={} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"


def once(chat: Served, condition: Callable[[], bool]) -> asyncio.Event:
    """Set when a connection has gone after which the condition holds."""
    event, cut = asyncio.Event(), chat.hub.connections.cut

    def watched(held, why):
        cut(held, why)
        if condition():
            event.set()

    chat.hub.connections.cut = watched
    return event


@pytest.mark.gen_test
async def test_http_1_1_is_answered_in_chunks_and_http_1_0_bare():
    async with served() as chat:
        await chat.post("history")
        heads = {}
        clients = {}
        for http in ("HTTP/1.1", "HTTP/1.0"):
            clients[http] = await chat.stream(http=http)
            head = re.sub(rb"(?m)^Date: .*\r$", b"Date: now\r", clients[http].head)  # a second passes
            heads[http] = {line.lower() for line in head.split(b"\r\n") if line}
        framing = {b"transfer-encoding: chunked"}, {b"connection: close"}
        assert heads["HTTP/1.1"] - heads["HTTP/1.0"] == framing[0]
        assert heads["HTTP/1.0"] - heads["HTTP/1.1"] == framing[1]
        await chat.post("live")
        chat.hub.publish(provisional(draft("soon")))
        for client in clients.values():
            assert await client.until_id(2) == [1, 2]
            await client.next()
        assert clients["HTTP/1.0"].blocks == clients["HTTP/1.1"].blocks


@pytest.mark.gen_test
async def test_a_block_is_framed_once_for_all_who_are_sent_it_alike(monkeypatch):
    async with served() as chat:
        clients = [await chat.stream(http=http) for http in ("HTTP/1.0", "HTTP/1.1") for _ in range(3)]
        framed = []
        (room,) = chat.hub.rooms.values()
        for audience in room.audiences:
            audience.frame = lambda block, frame=audience.frame: (framed.append(block), frame(block))[1]
        await chat.post()
        for client in clients:
            assert await client.until_id(1) == [1]
        assert len(framed) == 2
        assert framed[0] is framed[1]


@contextlib.contextmanager
def lagging():
    """(client's socket, connections, held): one that is owed more than its socket takes."""
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = opened.enter_context(socket.create_connection(listener.getsockname()))
        sock = opened.enter_context(listener.accept()[0])
        client.settimeout(WAIT)
        sock.setblocking(False)
        connections = Connections()
        held = connections.hold(sock, "client", Audience(connections, lambda held: None, chunked=False))
        size = 1000 * waiting_module.SEND_BYTES
        connections.owe(held, b"", (b"x" * waiting_module.SEND_BYTES,) * 1000, size)
        while not held.owed:
            connections.owe(held, b"", (b"x" * size,), size)
        yield client, connections, held


@pytest.mark.gen_test
async def test_the_farewell_is_not_put_into_the_middle_of_what_a_slow_client_is_sent():
    with lagging() as (client, connections, held):
        held.audience.join(held)
        read = client.recv(1 << 24)  # now there is room
        connections.close(lambda: b"farewell")
        while data := client.recv(1 << 20):
            read += data
        assert set(read) == set(b"x"), "it is a cut, and the client comes back for the rest"


@pytest.mark.gen_test
async def test_a_client_that_takes_little_but_steadily_is_not_cut():
    with lagging() as (client, connections, held):
        now = 0.0
        connections.loop = types.SimpleNamespace(
            time=lambda: now, remove_reader=connections.loop.remove_reader
        )
        held.took = now
        for _ in range(5):
            now += sockets_module.STALL - 1
            read = 0
            while read < 1 << 21:  # so that it took some, whatever the kernel has
                read += len(client.recv(1 << 20))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            connections.cut_stalled()
            assert not held.closed
        now += sockets_module.STALL + 1
        connections.cut_stalled()
        assert held.closed
        connections.close(lambda: b"")


@pytest.mark.gen_test
async def test_a_slow_client_that_is_found_gone_when_it_is_sent_more_leaves_nothing_behind():
    with lagging() as (_, connections, held):

        class Gone:
            fileno, close = held.socket.fileno, held.socket.close

            def send(self, data):
                raise ConnectionResetError

        held.socket = Gone()
        assert connections._catch_up(held) == 0
        assert held.closed
        assert len(connections) == len(connections._lagging) == 0
        assert not connections.clients
        connections.close(lambda: b"")


@pytest.mark.gen_test
async def test_a_stream_that_is_cut_has_no_last_chunk():
    async with served() as chat:
        client = await chat.stream()
        (held,) = (key.data for key in chat.hub.connections._selector.get_map().values())
        chat.hub.connections.cut(held, "stalled")
        assert await client.at_end() == b""
        assert not client.body.ended


@pytest.mark.gen_test
async def test_at_the_end_nobody_waits_for_those_who_do_not_read_and_their_streams_do_not_seem_to_end():
    async with served(send=4096) as chat:
        for _ in range(50):
            await chat.post(LARGE)
        unread = [await chat.stream(0, receive=4096) for _ in range(10)]
        clients = [await chat.stream(50) for _ in range(10)]
        await asyncio.wait_for(chat.hub.close(), WAIT)
        for client in clients:
            assert (await client.at_end()).startswith(b"retry: ")
            assert client.body.ended
        for client in unread:
            assert not (await client.at_end()).endswith(b"event: keep-alive\ndata: {}\n\n")
            assert not client.body.ended
        chat.hub.close = chat.log.check  # it is closed already


@pytest.mark.gen_test
async def test_a_client_of_the_standard_library_hears_every_event_at_once():
    """An unframed body reached some clients late, as they waited for a full buffer."""
    async with served() as chat:
        connection = http.client.HTTPConnection("127.0.0.1", chat.port, timeout=60)
        path, headers = "/rooms/room/messages/", {"Accept": "text/event-stream"}
        await asyncio.to_thread(connection.request, "GET", path, headers=headers)
        answer = await asyncio.to_thread(connection.getresponse)
        for text in ("one", "two"):
            await chat.post(text)
            while text.encode() not in await asyncio.to_thread(answer.readline):
                pass
        connection.close()


@pytest.mark.gen_test
async def test_slow_clients_that_ask_alike_wait_for_the_same_bytes():
    async with served(send=4096) as chat:
        await asyncio.gather(*(chat.post("x" * 4000) for _ in range(200)))
        slow = [await chat.stream(last_id=n, receive=4096) for n in range(3)]
        owed = [held.owed[0].parts for held in chat.hub.connections._lagging]
        assert [len(parts) for parts in owed] == [201, 200, 199]
        assert len({id(part) for parts in owed for part in parts[1:]}) == 200, "the messages' own blocks"
        for n, client in enumerate(slow):
            assert await client.until_id(200) == list(range(n + 1, 201))


@pytest.mark.gen_test
async def test_clients_that_do_not_read_cost_no_copy_of_what_waits_for_them(monkeypatch):
    """A large message is 4,096 emoji, 16.5 kB; 60 of them wait for each of 100 clients, at 50 positions."""
    monkeypatch.setattr(sockets_module, "STALL", 3600.0)  # else they are cut where all take 30 s
    async with served(send=4096) as chat:
        for _ in range(60):
            await chat.post(LARGE)
        await (await chat.stream(last_id=0)).until_id(60)  # what is made once, is made
        idle = []
        tracemalloc.start()
        try:
            for n in range(100):
                sock = socket.socket()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.setblocking(False)
                await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", chat.port))
                sock.sendall(f"{ASK.format(n // 2)}\r\n".encode())
                await asyncio.get_running_loop().sock_recv(sock, 1)
                idle.append(sock)
            assert len(chat.hub.connections._lagging) == 100
            assert tracemalloc.get_traced_memory()[0] < 2_000_000
        finally:
            tracemalloc.stop()
            for sock in idle:
                sock.close()


@pytest.mark.gen_test
async def test_where_many_hold_a_stream_each_is_sent_all_that_is_published(monkeypatch):
    monkeypatch.setattr(sockets_module, "MANY", 2)
    async with served() as chat:
        clients = [await chat.stream() for _ in range(3)]
        for last in (1, 2, 3):
            await chat.post()
            for client in clients:
                assert await client.until_id(last) == list(range(1, last + 1))


@pytest.mark.gen_test
async def test_who_goes_just_when_it_could_be_sent_more_harms_nobody():
    """The selector tells both at once."""
    async with served(send=4096) as chat:
        for _ in range(60):
            await chat.post(LARGE)
        with socket.socket() as leaving:
            leaving.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            leaving.connect(("127.0.0.1", chat.port))
            leaving.setblocking(False)
            leaving.send(f"{ASK.format(0)}\r\n".encode())
            while not chat.hub.connections._lagging:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)
            gone = once(chat, lambda: not len(chat.hub.connections))
            with contextlib.suppress(BlockingIOError):
                while True:
                    leaving.recv(1 << 20)
            leaving.shutdown(socket.SHUT_WR)
            await asyncio.wait_for(gone.wait(), WAIT)
            assert not chat.hub.connections._lagging


@pytest.mark.gen_test
async def test_where_much_waits_for_clients_those_that_take_nothing_are_cut_sooner(monkeypatch):
    """Else rooms that have left memory would be kept by those who do not read them."""
    monkeypatch.setattr(sockets_module, "OWED_BYTES", 300_000)
    monkeypatch.setattr(sockets_module, "HURRY", 0.1)
    monkeypatch.setattr(local_module, "TICK", 0.02)
    async with served(send=4096) as chat:
        for room in ("one", "two"):
            for _ in range(50):
                await chat.post("x" * 4000, room)
        for _ in range(3):
            await chat.stream(0, "one", receive=4096)
        await asyncio.sleep(0.3)
        assert len(chat.hub.connections) == 3, "they wait for the same bytes"
        gone = once(chat, lambda: len(chat.hub.connections) == 1)
        await chat.stream(0, "two", receive=4096)
        await asyncio.wait_for(gone.wait(), WAIT)


@pytest.mark.gen_test
async def test_what_waits_of_a_room_that_was_read_again_meanwhile_counts_twice(monkeypatch):
    """Who has some rooms read again and again, and reads none of them, would fill the memory."""
    monkeypatch.setattr(sockets_module, "OWED_BYTES", 300_000)
    monkeypatch.setattr(sockets_module, "HURRY", 0.1)
    monkeypatch.setattr(local_module, "TICK", 0.02)
    async with served(send=4096) as chat:
        for _ in range(50):
            await chat.post("x" * 4000)
        gone = once(chat, lambda: len(chat.hub.connections) == 1)
        for position in (0, 5):
            await chat.stream(position, receive=4096)
            chat.log._rooms["room"].forget()
        await asyncio.wait_for(gone.wait(), WAIT)


def test_what_several_wait_for_is_counted_once_and_its_place_in_each_plan():
    def message(id: int) -> bytes:
        return b"%d" % id * 1000

    def owed(*parts: bytes) -> Owed:
        return Owed(bare, b"", parts, sum(map(len, parts)))

    log, again = ([message(id) for id in range(10, 20)] for _ in range(2))
    all_ = owed(b"open", b"reset", *log)
    assert owed_bytes([]) == owed_bytes([owed()]) == 0
    alone = owed_bytes([all_])
    assert alone == 20_009 + 12 * PLACE_BYTES
    assert owed_bytes([all_, Owed(bare, b"", all_.parts, all_.size)]) == alone, "it is the same plan"
    assert owed_bytes([owed(b"open", *log[6:]), all_]) == alone + 5 * PLACE_BYTES
    assert owed_bytes([all_, owed(b"open", *log[8:], message(20))]) == alone + 4 * PLACE_BYTES
    twice = alone + 20_004 + 11 * PLACE_BYTES
    assert owed_bytes([all_, owed(b"open", *again)]) == twice, "the room was read again"
    assert owed_bytes([all_, owed(b"open", *again[:8], *log[8:])]) == twice, "but for its newest messages"


@pytest.mark.gen_test
@pytest.mark.parametrize("by_the_shortcut", [True, False])
async def test_a_turn_of_the_loop_sends_a_bounded_number_of_bytes(by_the_shortcut, monkeypatch):
    sent, turn = Counter(), 0
    send = Connections.send

    def counted(self, held, data):
        sent[turn] += (size := send(self, held, data))
        return size

    def next_turn():
        nonlocal turn
        turn += 1
        ticking[0] = asyncio.get_running_loop().call_soon(next_turn)

    monkeypatch.setattr(Connections, "send", counted)
    async with two_ports() as (chat, port, _held):
        chat.port = port if by_the_shortcut else chat.port
        while await chat.post(LARGE) < 50:
            pass
        ticking = [asyncio.get_running_loop().call_soon(next_turn)]
        clients = await asyncio.gather(*(chat.stream(0) for _ in range(30)))
        await asyncio.gather(*(client.until_id(50) for client in clients))
        for _ in range(4):
            asyncio.get_running_loop().call_soon(chat.committed, Commit.of(51, [draft("x" * 4000)] * 64))
        await asyncio.gather(*(client.until_id(51) for client in clients))
        ticking[0].cancel()
        assert sum(sent.values()) > 30 * 47 * 16_000
        assert max(sent.values()) < 2 * sockets_module.TURN_BYTES + 500_000


@pytest.mark.gen_test
@pytest.mark.parametrize(("option", "value"), [("TCP_NODELAY", 1), ("TCP_USER_TIMEOUT", 30_000)])
async def test_a_held_connection_has_the_options_of_the_socket_that_accepted_it(option, value):
    if not hasattr(socket, option):
        pytest.skip(f"no {option} here")
    async with two_ports() as (chat, port, held):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(ASK.format(3).encode() + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        [sock] = [key.fileobj for key in chat.hub.connections._selector.get_map().values()]
        assert held
        assert sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, option)) == value
        writer.close()


@pytest.mark.gen_test
async def test_both_events_of_a_message_that_a_store_in_memory_has_leave_in_one_send_behind_the_answer(
    monkeypatch,
):
    monkeypatch.setattr("flychat.soon.LATE", 3600)  # however slow the machine is
    sent, send = [], Connections.send
    monkeypatch.setattr(
        Connections, "send", lambda self, held, data: (sent.append(data), send(self, held, data))[1]
    )
    async with served() as chat:
        chat.engine.submit = chat.engine.engine.submit  # without faults it is done in the loop
        await chat.post("the room is in memory")
        clients = [await chat.stream(1) for _ in range(3)]
        sent.clear()
        chat.application.chat.submit(draft("hi"), done=lambda stored: sent.append(stored.result().id))
        for client in clients:
            assert await client.until_id(2) == [2]
        answer, *blocks = sent
        assert answer == 2
        assert [block.count(b"event: message") for block in blocks] == [2, 2, 2]


@pytest.mark.gen_test
@pytest.mark.parametrize(("late", "first"), [(60, (1, b"abc")), (-60, (0, b"ab"))])
async def test_a_pass_waits_for_more_once_where_turns_are_short(late, first, monkeypatch):
    monkeypatch.setattr(soon_module, "LATE", late)
    sent, turns = [], 0
    connections = Connections()
    connections.send = lambda held, data: (sent.append((turns, data)), len(data))[1]
    audience = Audience(connections, lambda held: None, chunked=False)
    ours, theirs = socket.socketpair()
    audience.join(connections.hold(ours, "client", audience))
    audience.feed(b"a")
    for block in b"bcd":
        audience.feed(bytes([block]))
        await asyncio.sleep(0)
        turns += 1
    assert sent[0] == first
    connections.close(lambda: b"")
    theirs.close()


@pytest.mark.gen_test
async def test_a_socket_that_cannot_be_watched_is_closed_and_leaves_nothing_behind(monkeypatch):
    async with served() as chat:

        def full(*arguments):
            raise OSError(errno.ENOSPC, "no space")

        monkeypatch.setattr(chat.hub.connections._selector, "register", full)
        client = await chat.request(ASK.format(0))
        assert await client.at_end() == b""
        assert not chat.hub.connections.clients
        assert not chat.hub.rooms


@given(
    st.lists(st.binary(min_size=1, max_size=9)), st.integers(0, 60), st.integers(0, 60), st.integers(0, 60)
)
def test_a_backlog_gives_all_that_follows_an_offset(blocks, upto, keep, offset):
    backlogs = Backlogs()
    backlog, whole = Backlog(backlogs), b"".join(blocks)
    for block in blocks:
        backlog.append(block)
    backlog.trim(upto, keep)
    assert backlog.end == len(whole)
    assert backlogs.bytes == backlog.end - backlog.start
    assert backlog.start <= min(upto, len(whole))
    if offset >= backlog.start:
        assert backlog.read(offset) == whole[offset:]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(waiting_module, "SEND_BYTES", keep + 1)
            batch = backlog.batch(offset)
        assert whole[offset:].startswith(batch)
        assert batch == whole[offset:] or keep + 1 <= len(batch) <= keep + 9


@given(
    st.lists(st.binary(min_size=1, max_size=9)),
    st.sampled_from([b"", b"head\r\n\r\n"]),
    st.sampled_from([bare, chunk]),
    st.integers(1, 40),
    st.lists(st.integers(0, 20)),
)
def test_what_is_owed_is_sent_once_and_whole_however_little_is_taken_at_a_time(
    parts, head, frame, most, takes
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting_module, "SEND_BYTES", most)
        owed, sent, done = Owed(frame, head, tuple(parts), sum(map(len, parts))), b"", not (parts or head)
        taking = itertools.cycle([*takes, 1])
        while not done:
            offered = owed.next()
            assert 0 < len(offered) <= len(head) + most + 9 + len(chunk(b"")) + 1
            taken = min(next(taking), len(offered))
            sent += offered[:taken]
            done = owed.took(taken, len(offered))
        assert sent == head + b"".join(map(frame, batches(parts)))
        assert b"".join(batches(parts)) == b"".join(parts)


@given(st.lists(st.binary(min_size=1, max_size=300)), st.integers(1, 50))
def test_chunks_are_read_back_by_the_standard(blocks, at_once):
    body = Body(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked")
    framed = b"".join(map(chunk, blocks))
    data = framed + LAST_CHUNK
    read = b"".join(body.take(data[at : at + at_once]) for at in range(0, len(data), at_once))
    assert (read, body.ended) == (b"".join(blocks), True)
