"""When all come back at once: who is let in first, and streams that wait for a room, which one of them has read."""

import asyncio
import contextlib
import socket
import struct

import pytest

from flychat.storage import Broken
from flychat.web.accepting import LET_IN_AT_ONCE
from flychat.web.turns import Places
from tests.support.pushpin_proxy import eventually
from tests.support.served import WAIT, all_leave
from tests.support.two_ports import GOOD, STREAM, Connection, raising, two_ports


@contextlib.asynccontextmanager
async def waiting(count, served=two_ports):
    """So many clients whose streams wait for a room that is being read; `go` has the reading end."""
    async with served() as (chat, chat.port, held):
        all_leave(chat.log)
        chat.engine.calls.clear()
        go, tail = asyncio.Event(), chat.engine.tail

        async def slow(room, limit):
            await go.wait()
            return await tail(room, limit)

        chat.engine.tail = slow
        streams = [asyncio.create_task(chat.stream()) for _ in range(count)]
        await eventually(lambda: len(chat.application._busy) == count)
        yield chat, held, go, streams


def tasks_of_the_shortcut():
    names = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]
    return [name for name in names if name.startswith("ColdRooms")]


def into(room: str, address: str) -> bytes:
    """A request for the stream of another room, for a client at this address."""
    return STREAM.replace(b"/room/", f"/{room}/".encode()).replace(
        b"\r\n\r\n", f"\r\nX-Forwarded-For: {address}\r\n\r\n".encode()
    )


@contextlib.contextmanager
def asking(port, *requests):
    """Clients that have connected and asked before the server looks."""
    with contextlib.ExitStack() as clients:
        sockets = []
        for request in requests:
            sockets.append(clients.enter_context(socket.create_connection(("127.0.0.1", port), WAIT)))
            sockets[-1].send(request)
        yield sockets


@pytest.mark.gen_test
async def test_all_are_accepted_and_let_in_some_in_a_turn_and_who_comes_to_write_before_those_who_wait():
    count = 3 * LET_IN_AT_ONCE
    async with two_ports() as (chat, port, held):
        submit, before = chat.application.chat.submit, []

        def noted(*draft):
            before.append(len(held))
            return submit(*draft)

        chat.application.chat.submit = noted
        with asking(port, *([STREAM] * count), GOOD):
            seen = {0}
            while len(held) < count or not before:
                await asyncio.sleep(0)
                seen.add(len(held))
            assert before == [LET_IN_AT_ONCE]
            assert seen == {0, LET_IN_AT_ONCE, 2 * LET_IN_AT_ONCE, count}


@pytest.mark.gen_test
async def test_who_has_gone_before_it_is_let_in_is_given_nothing_though_its_request_is_here():
    async with two_ports() as (chat, port, held):
        with asking(port, *([STREAM] * 2 * LET_IN_AT_ONCE)) as clients:
            for client in clients[LET_IN_AT_ONCE:]:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
            chat.port = port
            assert await (await chat.stream()).until_id(3) == [1, 2, 3]
            assert len(held) == LET_IN_AT_ONCE + 1


@pytest.mark.gen_test
async def test_those_who_have_gone_are_not_counted_when_others_are_let_in():
    """Else who asks, and goes, faster than that has one file after the other opened here."""
    async with two_ports() as (_, port, held):
        with asking(port, *([STREAM] * 7 * LET_IN_AT_ONCE)) as clients:
            for client in clients[LET_IN_AT_ONCE : 6 * LET_IN_AT_ONCE]:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
            turns = 0
            while len(held) < 2 * LET_IN_AT_ONCE:
                turns += len(held) == LET_IN_AT_ONCE
                await asyncio.sleep(0)
            assert turns <= 2


@pytest.mark.gen_test
async def test_who_was_accepted_and_not_let_in_yet_is_let_go_when_the_server_ends():
    async with contextlib.AsyncExitStack() as server:
        _, port, held = await server.enter_async_context(two_ports())
        with asking(port, *([STREAM] * 3 * LET_IN_AT_ONCE)) as clients:
            while not held:  # noqa: ASYNC110 - each turn of the loop counts
                await asyncio.sleep(0)
            assert len(held) == LET_IN_AT_ONCE
            await server.aclose()
            for client in clients:
                with contextlib.suppress(ConnectionResetError):
                    while client.recv(65536):
                        pass
            assert len(held) == LET_IN_AT_ONCE


@pytest.mark.gen_test
async def test_those_who_wait_for_one_room_are_one_task_and_are_answered_some_in_a_turn():
    count = 3 * LET_IN_AT_ONCE
    async with waiting(count) as (chat, held, go, streams):
        assert tasks_of_the_shortcut() == ["ColdRooms._lead"]
        go.set()
        seen = {len(held)}
        while len(held) < count:
            await asyncio.sleep(0)
            seen.add(len(held))
        assert sorted(seen - {0, 1}) == [1 + LET_IN_AT_ONCE, 1 + 2 * LET_IN_AT_ONCE, count]
        assert chat.engine.calls["tail"] == 1
        for stream in await asyncio.gather(*streams):
            assert await stream.until_id(3) == [1, 2, 3]
        assert chat.application.idle.is_set()


@pytest.mark.gen_test
async def test_those_who_wait_for_one_whose_reading_failed_have_the_room_read_for_themselves():
    async with waiting(5) as (chat, held, go, streams):
        chat.engine.read_faults.append(Broken("away"))
        go.set()
        first, *others = await asyncio.gather(*streams, return_exceptions=True)
        assert "503" in str(first)
        for stream in others:
            assert await stream.until_id(3) == [1, 2, 3]
        assert len(held) == 4
        assert chat.engine.calls["tail"] == 2
        assert chat.application.idle.is_set()


@pytest.mark.gen_test
async def test_who_may_not_be_held_by_the_time_is_refused_and_nobody_else():
    async with waiting(5) as (chat, held, go, streams):
        chat.hub._most = 3
        go.set()
        answers = await asyncio.gather(*streams, return_exceptions=True)
        assert len(held) == 3
        assert sum(isinstance(each, AssertionError) and "503" in str(each) for each in answers) == 2
        assert chat.application.idle.is_set()


@pytest.mark.gen_test
@pytest.mark.parametrize("network", ["192.0.2.", "2001:db8:0:"])
async def test_who_asks_for_many_rooms_keeps_nobody_waiting_but_for_few_of_them(network):
    """3,000 streams of one address into as many rooms kept that of another one waiting for 0.8 s."""
    async with two_ports() as (chat, port, held):
        chat.application.readings = Places(2)
        read, go, tail = [], asyncio.Event(), chat.engine.tail

        async def noted(room, limit):
            read.append(room)
            await go.wait()
            return await tail(room, limit)

        chat.engine.tail = noted
        one, two, three = (network + end + "::1" * (":" in network) for end in "123")
        mine = [into(f"r{number}", one) for number in range(20)]
        with asking(port, *mine):
            await eventually(lambda: len(chat.application._busy) == 20)
            others = into("mine", two), into("r15", three), into("other", three)
            with asking(port, *others):
                await eventually(lambda: len(chat.application._busy) == 23)
                assert len(read) == 2
                go.set()
                await eventually(lambda: len(held) == 23)
        assert len(read) == len(set(read)) == 22, "each is read once"
        assert {"mine", "r15", "other"} < set(read[:8])
        assert chat.application.idle.is_set()


@pytest.mark.gen_test
async def test_who_waits_for_the_turn_of_a_room_is_let_go_as_well_when_the_server_ends():
    with contextlib.ExitStack() as clients:
        async with two_ports() as (chat, port, held):
            chat.application.readings = Places(0)
            [client] = clients.enter_context(asking(port, into("other", "192.0.2.1")))
            await eventually(lambda: chat.application._busy)
        assert client.recv(1) == b""
    assert not held
    assert chat.application.idle.is_set()


@pytest.mark.gen_test
async def test_who_waits_is_let_go_by_a_mistake_of_ours_which_is_told(monkeypatch):
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, about: told.append(about["exception"]))
    async with two_ports() as (chat, port, held):
        chat.log._rooms.clear()
        monkeypatch.setattr(chat.application.chat, "plan", raising(ZeroDivisionError()))
        connection = await Connection.open(port)
        connection.writer.write(STREAM)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(connection.reader.read(), WAIT) == b""
        await eventually(lambda: [type(error) for error in told] == [ZeroDivisionError])
        assert not held
        assert chat.application.idle.is_set()


@pytest.mark.gen_test
async def test_all_who_wait_are_let_go_when_the_server_ends():
    async with waiting(5) as (chat, held, _, streams):
        pass
    assert not held
    assert not tasks_of_the_shortcut()
    assert all(isinstance(each, Exception) for each in await asyncio.gather(*streams, return_exceptions=True))
    assert chat.application.idle.is_set()
