"""The local hub: the one rule, through real sockets; and what notices when it is broken."""

import asyncio
import contextlib
import itertools
import re
import socket

import pytest

from flychat.access import Pass
from flychat.commits import Commit
from flychat.errors import Unavailable
from flychat.hub import local as local_module
from flychat.hub import sockets as sockets_module
from flychat.hub.local import LocalHub, _Room
from flychat.hub.sockets import Audience, Connections
from flychat.log import MessageLog
from flychat.sse import Event
from flychat.storage import Unknown
from flychat.streams import Page, StreamRequest, committed, plan_stream, provisional
from tests.proof.local_rules import MUTATIONS
from tests.support.fakes import MemoryEngine
from tests.support.pushpin_proxy import eventually
from tests.support.served import WAIT, Client, Served, all_leave, draft, fields, served
from tests.support.sse_parser import parse


@pytest.mark.gen_test
async def test_a_lost_publication_is_made_good_by_the_next_one():
    async with served() as chat:
        clients = [await chat.stream() for _ in range(3)]
        publish, chat.committed = chat.committed, lambda commit: None
        await chat.post()
        chat.committed = publish
        await chat.post()
        for client in clients:
            assert await client.until_id(2) == [1, 2]


@pytest.mark.gen_test
async def test_publications_doubled_or_out_of_order_are_delivered_once_in_order():
    async with served() as chat:
        client = await chat.stream()
        commits = []
        chat.committed = commits.append
        for _ in range(4):
            await chat.post()
        for n in (1, 0, 1, 3, 2, 3, 0):
            chat.hub.publish(committed(commits[n]))
        assert await client.until_id(4) == [1, 2, 3, 4]
        chat.hub.publish(committed(commits[1]))
        chat.hub.publish(provisional(draft("after all")))
        assert fields(await client.next())["text"] == "after all"


@pytest.mark.gen_test
async def test_what_is_known_already_asks_for_nothing():
    async with served() as chat:
        client = await chat.stream()
        commits = []
        chat.committed = commits.append
        for _ in range(2):
            await chat.post()
        for commit in commits:
            chat.hub.publish(committed(commit))
        assert await client.until_id(2) == [1, 2]
        asked, plan = [], chat.hub.plan
        chat.hub.plan = lambda request: (asked.append(request), plan(request))[1]
        for commit in commits:
            chat.hub.publish(committed(commit))
        chat.hub.publish(provisional(draft("the last")))
        assert fields(await client.next())["text"] == "the last"
        assert asked == []


@pytest.mark.gen_test
async def test_what_has_no_id_keeps_nobody_from_being_kept_alive(monkeypatch):
    monkeypatch.setattr(local_module, "TICK", 0.01)
    async with served(keep_alive=0.1) as chat:
        both = await chat.stream()
        quiet = await chat.request(
            "GET /rooms/room/messages/?provisional=no HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
        )
        await quiet.opened()
        assert (await quiet.next()).type == "stream-open"

        async def talk() -> None:
            while True:
                chat.hub.publish(provisional(draft()))
                await asyncio.sleep(0.01)

        talking = asyncio.create_task(talk())
        try:
            assert (await quiet.next()).type == "keep-alive"
            assert (await both.next("keep-alive")).type == "message"
            assert (await both.next("message")).type == "keep-alive", "nor these themselves"
        finally:
            talking.cancel()


@pytest.mark.gen_test
async def test_a_shared_store_is_read_once_in_a_while_and_not_at_every_tick(monkeypatch):
    monkeypatch.setattr(local_module, "TICK", 0.001)
    async with served(shared=True) as chat:
        await chat.stream()
        (room,) = chat.hub.rooms.values()
        while room._recovering:  # noqa: ASYNC110 - as the first of its room
            await asyncio.sleep(0)
        asked, ticked, plan = [], asyncio.Event(), chat.hub.plan

        async def counted(request):
            asked.append(request)
            return await plan(request)

        chat.hub.plan = counted
        ticks = itertools.count()
        chat.hub.connections.cut_stalled = lambda: ticked.set() if next(ticks) > 20 else None
        room.polled -= local_module.POLL_SECONDS
        await asyncio.wait_for(ticked.wait(), WAIT)
        assert asked == [StreamRequest("room", 0, recover=True)]


@pytest.mark.gen_test
async def test_a_publication_between_the_plan_and_the_hold_is_not_missed(monkeypatch):
    """The first listener of a room: nobody was there to be published to."""
    async with served() as chat:
        plan = chat.log.plan

        async def overtaken(request):
            result = await plan(request)
            chat.log.plan = plan
            await chat.post()
            return result

        chat.log.plan, chat.log.plan_at_once = overtaken, lambda request: None
        client = await chat.stream()
        assert await client.until_id(1) == [1]


@pytest.mark.gen_test
@pytest.mark.parametrize("shared", [False, True])
async def test_the_first_listener_of_a_room_asks_for_nothing_where_the_log_is_known_to_end_there(shared):
    """Where other processes write as well, it is never known."""
    async with served(shared=shared) as chat:
        await chat.post()
        asked, plan = [], chat.hub.plan
        chat.hub.plan = lambda request: (asked.append(request), plan(request))[1]
        client = await chat.stream()
        await chat.post()
        assert await client.until_id(2) == [1, 2]
        assert bool(asked) is shared


@pytest.mark.gen_test
async def test_a_hold_that_is_behind_its_room_is_brought_up_before_it_joins():
    async with served() as chat:
        first = await chat.stream()
        plan = chat.log.plan

        async def overtaken(request):
            result = await plan(request)
            chat.log.plan = plan
            await chat.post()
            await first.until_id(1)
            return result

        chat.log.plan, chat.log.plan_at_once = overtaken, lambda request: None
        client = await chat.stream()
        await chat.post()
        assert await client.until_id(2) == [1, 2]
        assert await first.until_id(2) == [1, 2]


@pytest.mark.gen_test
async def test_a_hold_on_its_way_in_keeps_its_room_when_the_last_member_leaves(monkeypatch):
    """Else the room would be forgotten, the hold would join it all the same, and nobody would publish to it."""
    async with served() as chat:
        first = await chat.stream()
        (room,) = chat.hub.rooms.values()
        publish, chat.committed = chat.committed, lambda commit: None
        await chat.post()  # so that the next hold is ahead of the room
        chat.committed = publish
        (member,) = (member for audience in room.audiences for member in audience.members)
        hold = LocalHub.hold_socket

        def hold_and_lose_the_other(self, *arguments, **options):
            hold(self, *arguments, **options)
            self.connections.cut(member, "left")

        monkeypatch.setattr(LocalHub, "hold_socket", hold_and_lose_the_other)
        second = await chat.stream()
        await first.at_end()
        await chat.post()
        assert await second.until_id(2) == [1, 2]


@pytest.mark.gen_test
async def test_a_hold_that_is_ahead_of_its_room_shows_that_the_room_is_behind():
    async with served() as chat:
        first = await chat.stream()
        commits = []
        publish, chat.committed = chat.committed, commits.append
        await chat.post()
        second = await chat.stream()
        assert await first.until_id(1) == [1]
        publish(commits[0])  # only late, not lost
        chat.committed = publish
        await chat.post()
        assert await first.until_id(2) == [1, 2]
        assert await second.until_id(2) == [1, 2]


@pytest.mark.gen_test
async def test_a_recovery_waits_for_a_store_that_is_down():
    async with served() as chat:
        client = await chat.stream()
        publish, chat.committed = chat.committed, lambda commit: None
        await chat.post()
        chat.committed = publish
        all_leave(chat.log)  # what was warm is cold
        chat.engine.read_faults.extend([Unknown()] * 3)
        await chat.post()
        assert await client.until_id(2) == [1, 2]


@pytest.mark.gen_test
async def test_while_the_store_is_given_up_a_recovery_is_tried_again_after_longer_and_longer_pauses(
    monkeypatch,
):
    pauses: list[float] = []
    async with served() as chat:
        await chat.post()
        plan, failures = chat.hub.plan, [Unavailable()] * 6

        async def failing(request):
            if failures:
                raise failures.pop()
            return await plan(request)

        async def pause(seconds):
            pauses.append(seconds)

        chat.hub.plan = failing
        with monkeypatch.context() as patch:
            patch.setattr(asyncio, "sleep", pause)
            recovered = await chat.hub.recovered(StreamRequest("room", recover=True), 0)
        assert [message.id for message in recovered.messages] == [1]
        assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0]


@pytest.mark.gen_test
async def test_a_recovery_that_ends_when_the_room_is_empty_disturbs_nobody():
    async with served() as chat:
        client = await chat.stream()
        (room,) = chat.hub.rooms.values()
        begun, go_on, plan = asyncio.Event(), asyncio.Event(), chat.hub.plan

        async def slow(request):
            begun.set()
            await go_on.wait()
            return await plan(request)

        chat.hub.plan, chat.committed = slow, lambda commit: None
        await chat.post()
        recovering = room.recover()
        await begun.wait()
        client.close()
        await eventually(lambda: not chat.hub.rooms)
        go_on.set()
        await recovering
        assert not chat.hub.rooms


@pytest.mark.gen_test
async def test_a_hold_that_goes_while_it_is_on_its_way_in_leaves_no_room_behind():
    async with served() as chat:
        planned = await chat.log.plan(StreamRequest("room"))
        await chat.post()
        client = await chat.stream()
        begun, go_on, plan = asyncio.Event(), asyncio.Event(), chat.hub.plan

        async def slow(request):
            begun.set()
            await go_on.wait()
            return await plan(request)

        chat.hub.plan = slow
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        chat.hub.hold_socket(planned, ours, b"", "ann")
        await begun.wait()
        theirs.close()
        client.close()
        await eventually(lambda: not len(chat.hub.connections))
        assert chat.hub.rooms, "it is expected"
        go_on.set()
        await eventually(lambda: not chat.hub.rooms)


@pytest.mark.gen_test
async def test_a_client_that_has_gone_before_it_is_answered_leaves_nothing_behind():
    async with served() as chat:
        await chat.stream()
        (room,) = chat.hub.rooms.values()
        (audience,) = room.audiences
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.close()
        plan = await chat.log.plan(StreamRequest("room"))
        chat.hub.hold_socket(plan, ours, b"", "ann", pass_=Pass("a" * 22, 0, 1 << 40))
        assert len(audience.members) == len(chat.hub.connections) == 1
        assert len(chat.hub.passes._carried) == 0


@pytest.mark.gen_test
async def test_of_a_client_with_a_pass_nothing_is_left_when_it_goes():
    async with served() as chat:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        plan = await chat.log.plan(StreamRequest("room"))
        chat.hub.hold_socket(plan, ours, b"", "ann", pass_=Pass("a" * 22, 0, 1 << 40))
        assert len(chat.hub.passes._carried) == 1
        theirs.close()
        await eventually(lambda: len(chat.hub.connections) == 0)
        assert len(chat.hub.passes._carried) == 0


@pytest.mark.gen_test
async def test_for_a_client_that_went_while_it_was_on_its_way_in_the_log_is_not_read_again():
    async with served() as chat:
        client = await chat.stream()
        planned, recovered, asked = await chat.log.plan(StreamRequest("room")), asyncio.Event(), []
        await chat.post()
        await client.until_id(1)
        plan = chat.hub.plan

        async def slow(request):
            asked.append(request.last_id)
            await recovered.wait()
            return await plan(request)

        chat.hub.plan = slow
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        chat.hub.hold_socket(planned, ours, b"", "ann")
        await eventually(lambda: asked)
        theirs.close()
        await eventually(lambda: len(chat.hub.connections) == 1)
        chat.committed = lambda commit: None  # else the room would be where the plan is then
        await chat.post()
        recovered.set()
        await eventually(lambda: not chat.hub.tasks)
        assert asked == [0]


@pytest.mark.gen_test
async def test_where_nobody_listens_there_is_nobody_to_keep_alive(monkeypatch):
    async with served() as chat:
        calls = []
        with monkeypatch.context() as patch:
            patch.setattr(chat.hub.loop, "call_soon", lambda *call: calls.append(call))
            chat.hub._feed_quiet()
        assert calls == []


@pytest.mark.gen_test
async def test_the_log_is_told_when_a_room_has_its_first_stream_and_when_it_has_none():
    async with served() as chat:
        told = []
        chat.hub.note_held = lambda *news: told.append(news)
        clients = [await chat.stream(room=room) for room in ("tea", "tea", "milk")]
        assert told == [("tea", True), ("milk", True)]
        clients[0].close()
        clients[2].close()
        await eventually(lambda: len(told) > 2)
        clients[1].close()
        await eventually(lambda: len(told) > 3)
        assert told[2:] == [("milk", False), ("tea", False)]


@pytest.mark.gen_test
async def test_a_room_whose_streams_are_held_stays_in_memory():
    async with served() as chat:
        await chat.stream(room="tea")
        chat.log._rooms._most = 2 * chat.log._rooms.bytes
        for number in range(9):
            await chat.log.plan(StreamRequest(f"other {number}"))
        assert list(chat.log._rooms) == ["tea", "other 8"]


@pytest.mark.gen_test
async def test_many_quiet_rooms_are_kept_alive_some_in_each_turn_of_the_loop(monkeypatch):
    monkeypatch.setattr(local_module, "STREAMS_AT_ONCE", 2)
    async with served(keep_alive=60) as chat:
        names = [f"room {number}" for number in range(5)]
        clients = [await chat.stream(room=name.replace(" ", "%20")) for name in names]
        for room in chat.hub.rooms.values():
            room.fed -= 61
        await chat.post("not quiet", room="room 1")
        kept, feed = [], _Room.feed
        monkeypatch.setattr(_Room, "feed", lambda room, block: (kept.append(room.name), feed(room, block)))
        with monkeypatch.context() as patch:
            patch.setattr(Event, "encode", None)  # it has been encoded once, for all rooms
            chat.hub._feed_quiet()
        assert kept == ["room 0", "room 2"]
        while len(kept) < 4:  # noqa: ASYNC110 - each turn of the loop counts
            await asyncio.sleep(0)
        assert kept == ["room 0", "room 2", "room 3", "room 4"]
        for client in (clients[0], *clients[2:]):
            assert (await client.next()).type == "keep-alive"
        assert list(chat.hub.rooms) == ["room 1", *kept]


@pytest.mark.gen_test
async def test_it_is_streams_and_not_rooms_that_are_counted_where_quiet_rooms_are_kept_alive(monkeypatch):
    """Else a hundred rooms of a hundred listeners would be given theirs in one turn, for 70 ms."""
    monkeypatch.setattr(local_module, "STREAMS_AT_ONCE", 3)
    async with served(keep_alive=60) as chat:
        for number, listeners in enumerate((2, 2, 4, 1)):
            for _ in range(listeners):
                await chat.stream(room=f"room-{number}")
        for room in chat.hub.rooms.values():
            room.fed -= 61
        kept, feed = [], _Room.feed
        monkeypatch.setattr(_Room, "feed", lambda room, block: (kept.append(room.name), feed(room, block)))
        chat.hub._feed_quiet()
        assert kept == ["room-0", "room-1"]
        await asyncio.sleep(0)
        assert kept == ["room-0", "room-1", "room-2"]


@pytest.mark.gen_test
async def test_rooms_that_were_opened_together_are_not_polled_together(monkeypatch):
    async with served(shared=True) as chat:
        for number in range(20):
            await chat.stream(room=f"room-{number}")
        polled = sorted(room.polled for room in chat.hub.rooms.values())
        assert polled[-1] - polled[0] > local_module.POLL_SECONDS / 4


@pytest.fixture
def polling(monkeypatch):
    monkeypatch.setattr(local_module, "TICK", 0.02)
    monkeypatch.setattr(local_module, "POLL_SECONDS", 0.05)


@pytest.mark.gen_test
async def test_messages_that_other_processes_wrote_arrive(polling):
    async with served(shared=True, keep_alive=60) as chat:
        client = await chat.stream()
        other = MessageLog(chat.engine.engine, memory=False)
        await other.submit(draft("foreign"))
        assert fields(await client.next())["text"] == "foreign"
        chat.engine.read_faults.extend([Unknown()] * 3)
        await other.submit(draft("again"))
        assert fields(await client.next())["text"] == "again"


@pytest.mark.gen_test
async def test_messages_of_other_processes_are_in_the_next_stream_and_in_the_next_page():
    async with served(shared=True) as chat:
        first = await chat.stream()  # the room is held, and was read when it was empty
        message = await MessageLog(chat.engine.engine, memory=False).submit(draft("foreign"))
        assert (await chat.log.page("room")).messages == (message,)
        client = await chat.stream(last_id=1)
        await chat.post("ours")
        assert fields(await client.next())["text"] == "ours"
        assert client.ids == [2], "it is not reset"
        assert await first.until_id(2) == [1, 2]


@pytest.mark.gen_test
async def test_a_shared_log_that_was_wiped_resets_its_streams(polling):
    async with served(shared=True) as chat:
        await chat.post()
        client = await chat.stream()
        await client.until_id(1)
        chat.engine.engine = MemoryEngine(shared=True)
        reset = await client.next("keep-alive")
        assert (reset.type, fields(reset)) == ("stream-reset", {"reason": "ahead", "lastEventId": 0})


@pytest.mark.gen_test
async def test_what_is_published_together_is_one_send_for_each_client(monkeypatch):
    sends = []
    send = Connections.send
    monkeypatch.setattr(Connections, "send", lambda self, h, data: (sends.append(h), send(self, h, data))[1])
    async with served() as chat:
        clients = [await chat.stream() for _ in range(5)]
        sends.clear()
        for n in range(20):
            chat.hub.publish(provisional(draft(f"{n}")))
        for client in clients:
            assert [fields(await client.next())["text"] for _ in range(20)] == [f"{n}" for n in range(20)]
        assert len(sends) == len(set(sends)) == 5


@pytest.mark.gen_test
async def test_a_pass_over_many_clients_lets_the_loop_have_its_turn(monkeypatch):
    monkeypatch.setattr(sockets_module, "SLICE", 2)
    async with served() as chat:
        clients = [await chat.stream() for _ in range(9)]
        await chat.post("one")
        await asyncio.sleep(0)
        await chat.post("two")  # while the first pass is under way
        for client in clients:
            assert await client.until_id(2) == [1, 2]


@pytest.mark.gen_test
async def test_a_slow_client_catches_up_from_the_backlog_and_costs_a_cursor(monkeypatch):
    monkeypatch.setattr(sockets_module, "BACKLOG_BYTES", 64 << 20)
    async with served() as chat:
        quick, slow = await chat.stream(), await chat.stream(receive=4096)
        (room,) = chat.hub.rooms.values()
        count = 0
        while not chat.hub.connections._lagging:
            count = await chat.post("x" * 4000)
            await quick.until_id(count)
        (lagging,) = chat.hub.connections._lagging
        for _ in range(100):
            count = await chat.post("x" * 4000)
        await quick.until_id(count)
        assert not lagging.owed, "no copy is kept for it"
        (audience,) = room.audiences
        assert audience.backlog.end - audience.backlog.start > 100 * 4000
        assert await slow.until_id(count) == list(range(1, count + 1))
        await chat.post()
        assert await slow.until_id(count + 1) == await quick.until_id(count + 1)
        assert not chat.hub.connections._lagging
        assert audience.backlog.end == audience.backlog.start, "the backlog is kept only for those that lag"


@pytest.mark.gen_test
async def test_a_client_that_the_backlog_has_passed_is_cut_and_comes_back_without_a_gap(monkeypatch):
    monkeypatch.setattr(sockets_module, "BACKLOG_BYTES", 50_000)
    async with served() as chat:
        quick, slow = await chat.stream(), await chat.stream(receive=4096)
        count = 0
        while len(chat.hub.connections) > 1:
            count = await chat.post("x" * 4000)
            await quick.until_id(count)
        rest = await slow.at_end()
        whole = [int(event.last_id) for event in parse(rest)]
        assert whole == list(range(1, len(whole) + 1))
        back = await chat.stream(last_id=whole[-1])
        assert await back.until_id(count) == list(range(whole[-1] + 1, count + 1))
        assert quick.ids == list(range(1, count + 1))


async def quick_and_slow(chat: Served, **slow: str) -> tuple[Client, Client]:
    """Two clients: one that keeps up, and one that is 50 messages behind and lags."""
    quick = await chat.stream()
    for _ in range(50):
        await chat.post("x" * 4000)
    return quick, await chat.stream(last_id=0, receive=4096, **slow)


@pytest.mark.gen_test
async def test_nothing_is_kept_from_before_what_the_slowest_client_has():
    async with served(send=4096) as chat:
        quick, slow = await quick_and_slow(chat)
        (room,) = chat.hub.rooms.values()
        (audience,) = room.audiences
        (lagging,) = chat.hub.connections._lagging
        await eventually(lambda: len(audience.members) == 2)
        first = lagging.cursor
        count = await chat.post("x" * 4000)
        await quick.until_id(count)
        await eventually(lambda: not audience._passing)
        assert audience.backlog.start == first
        assert chat.hub.connections.backlogs.bytes == audience.backlog.end - first
        assert await slow.until_id(count) == list(range(1, count + 1))


@pytest.mark.gen_test
async def test_when_the_last_slow_client_of_its_kind_has_gone_nothing_is_kept_for_it():
    """Others keep the room: what was kept for slow clients of HTTP/1.0 would stay as long as they do."""
    async with served(send=4096) as chat:
        quick, slow = await quick_and_slow(chat, http="HTTP/1.0")
        count = await chat.post("x" * 4000)
        await quick.until_id(count)
        assert chat.hub.connections.backlogs.bytes >= 4000
        slow.close()
        await eventually(lambda: len(chat.hub.connections) == 1)
        await eventually(lambda: chat.hub.connections.backlogs.bytes == 0)
        assert quick.ids == list(range(1, count + 1))


@pytest.mark.gen_test
async def test_where_much_is_kept_for_slow_clients_of_all_rooms_they_are_cut(monkeypatch):
    """Else one in each of a thousand rooms would take a gigabyte."""
    monkeypatch.setattr(sockets_module, "BACKLOGS_BYTES", 100_000)
    monkeypatch.setattr(sockets_module, "STALL", 3600.0)  # else they are cut where all take 30 s
    async with served(send=4096) as chat:
        for room in map(str, range(10)):
            for _ in range(50):
                await chat.post("x" * 4000, room)
            await chat.stream(0, room, receive=4096)
        first = len(chat.hub.connections._lagging)
        assert first == 10
        while len(chat.hub.connections) == first:
            for room in map(str, range(10)):
                await chat.post("x" * 4000, room)
                assert chat.hub.connections.backlogs.bytes <= 100_000 + 20_000
        await eventually(lambda: chat.hub.connections.backlogs.bytes <= 100_000)
        assert len(chat.hub.connections) >= 5, "no more are cut than need be"


@pytest.mark.gen_test
async def test_a_client_that_takes_nothing_for_long_is_cut(monkeypatch):
    monkeypatch.setattr(sockets_module, "STALL", 0.2)
    monkeypatch.setattr(local_module, "TICK", 0.02)
    async with served() as chat:
        await chat.stream(receive=4096)
        gone = asyncio.Event()
        cut = chat.hub.connections.cut
        chat.hub.connections.cut = lambda held, why: (cut(held, why), gone.set())
        while not (chat.hub.connections._lagging or gone.is_set()):
            await chat.post("x" * 4000)
        await asyncio.wait_for(gone.wait(), WAIT)
        assert len(chat.hub.connections) == 0


@pytest.mark.gen_test
async def test_a_long_replay_to_a_slow_client_is_whole():
    async with served() as chat:
        await asyncio.gather(*(chat.post("x" * 1000) for _ in range(900)))
        slow = await chat.stream(last_id=0, receive=4096)
        live = asyncio.create_task(chat.post("live"))
        assert await slow.until_id(901) == list(range(1, 902))
        assert await live == 901


@pytest.mark.gen_test
@pytest.mark.parametrize("shared", [False, True])
async def test_a_close_is_noticed_at_once_and_frees_everything(shared):
    async with served(shared=shared) as chat:
        gone = asyncio.Event()
        cut = chat.hub.connections.cut
        chat.hub.connections.cut = lambda held, why: (cut(held, why), len(chat.hub.connections) or gone.set())
        clients = [await chat.stream(room=room) for room in ("a", "a", "b")]
        assert len(chat.hub.connections) == 3
        assert len(chat.hub.rooms) == 2
        clients[0].close()
        clients[1].writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
        )
        clients[1].writer.transport.abort()  # a reset, not an end
        clients[2].writer.write_eof()
        await asyncio.wait_for(gone.wait(), WAIT)
        await eventually(lambda: not chat.hub.tasks)  # those that let a hold in
        assert not chat.hub.rooms


@pytest.mark.gen_test
async def test_what_a_held_client_sends_is_dropped():
    async with served() as chat:
        client = await chat.stream()
        client.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        await client.writer.drain()
        await chat.post()
        assert await client.until_id(1) == [1]


@pytest.mark.gen_test
async def test_at_the_end_streams_close_cleanly_and_their_return_is_spread():
    async with served() as chat:
        clients = [await chat.stream(http=http) for http in ("HTTP/1.0", "HTTP/1.1") for _ in range(10)]
        await chat.hub.close()
        endings = [await client.at_end() for client in clients]
        farewell = re.compile(rb"retry: [0-9]{4}\nevent: keep-alive\ndata: \{\}\n\n")
        assert all(map(farewell.fullmatch, endings))
        assert len(set(endings)) > 10
        assert [client.body.ended for client in clients] == [False] * 10 + [True] * 10
        chat.hub.close = chat.log.check  # it is closed already


@pytest.mark.gen_test
async def test_at_the_end_streams_are_given_what_was_published_before(monkeypatch):
    monkeypatch.setattr(sockets_module, "MANY", 1)
    monkeypatch.setattr(sockets_module, "GATHER", 60)
    async with served() as chat:
        clients = [await chat.stream() for _ in range(3)]
        await chat.post()
        await chat.hub.close()
        for client in clients:
            assert await client.until_id(1) == [1]
            assert (await client.at_end()).startswith(b"retry: ")
        chat.hub.close = chat.log.check  # it is closed already


@pytest.mark.gen_test
async def test_what_is_published_between_two_slices_of_a_pass_reaches_those_that_were_served_already(
    monkeypatch,
):
    monkeypatch.setattr(sockets_module, "SLICE", 2)
    async with served() as chat:
        clients = [await chat.stream() for _ in range(9)]
        for turns in range(12):
            texts = [f"first of {turns}", f"second of {turns}"]
            chat.hub.publish(provisional(draft(texts[0])))
            for _ in range(turns):
                await asyncio.sleep(0)
            chat.hub.publish(provisional(draft(texts[1])))
            for client in clients:  # and nothing more is published before they have it
                assert [fields(await client.next())["text"] for _ in texts] == texts


@pytest.mark.gen_test
async def test_what_comes_in_its_place_while_a_gap_is_mended_does_not_leave_the_gap_open():
    """What was read for it does not fit any more; and nothing else is published."""
    async with served() as chat:
        client, commits = await chat.stream(), []
        (room,) = chat.hub.rooms.values()
        while room._recovering:  # noqa: ASYNC110 - as the first of its room
            await asyncio.sleep(0)
        chat.committed = commits.append
        for _ in range(3):
            await chat.post()
        plan, read, go_on = chat.hub.plan, asyncio.Event(), asyncio.Event()

        async def slow(request):
            answer = await plan(request)
            read.set()
            await go_on.wait()
            return answer

        chat.hub.plan = slow
        chat.hub.publish(committed(commits[2]))
        await read.wait()
        chat.hub.publish(committed(commits[0]))
        go_on.set()
        assert await client.until_id(3) == [1, 2, 3]


@pytest.mark.gen_test
async def test_a_hub_that_is_closed_asks_for_nothing_any_more():
    async def down(request):
        raise Unavailable("the log is closed")

    hub = LocalHub(down)
    asking = hub.spawn(hub.recovered(StreamRequest("room", recover=True), 0))
    await asyncio.sleep(0)
    await hub.close()
    await asyncio.wait([asking], timeout=60)
    assert asking.cancelled()


@pytest.mark.gen_test
async def test_nothing_overtakes_what_a_client_is_owed():
    """Neither what it is owed then, nor what its room is fed, though it has read and has room again."""
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = opened.enter_context(socket.create_connection(listener.getsockname()))
        sock = opened.enter_context(listener.accept()[0])
        client.setblocking(False)
        sock.setblocking(False)
        connections, given, read = Connections(), bytearray(), bytearray()
        opened.callback(connections.close, lambda: b"")

        def take():
            with contextlib.suppress(BlockingIOError):
                while data := client.recv(1 << 20):
                    read.extend(data)

        room = Audience(connections, lambda held: None, chunked=False)
        held = connections.hold(sock, "client", room)
        for number in range(4):
            part, mended, fed = f"{number}".encode() * (8 << 20), f"mended {number}".encode(), b"fed"
            given += part + mended + fed
            connections.owe(held, b"", (part,), len(part))
            take()  # and the loop has had no turn to notice
            connections.owe(held, b"", (mended,), len(mended))
            if not number:
                room.join(held)
            take()
            room.feed(fed)
            while len(read) < len(given):
                await asyncio.sleep(0)
                take()
            assert read == given


def nobody_goes_in_circles(hub: LocalHub) -> None:
    """A hub that asks for plans again and again, without a turn for anybody else, fails."""
    plan, asked = hub.plan, itertools.count()

    async def counted(request):
        assert next(asked) < 1000, "nobody else has a turn"
        return await plan(request)

    hub.plan = counted


@pytest.mark.gen_test
async def test_a_hold_that_comes_to_a_room_that_is_ahead_of_the_log_waits_for_nobody_else():
    """The room has published what the log has lost since: nobody is to go round in circles until it is looked at."""
    async with served() as chat:
        first = await chat.stream()
        chat.hub.publish(committed(Commit.of(1, [draft("lost")])))
        assert await first.until_id(1) == [1]
        nobody_goes_in_circles(chat.hub)
        second = await chat.stream()
        assert (await first.next()).type == "stream-reset"
        await chat.post()
        assert await second.until_id(1) == [1]
        assert fields(await first.next())["text"] == "hi"


@pytest.mark.gen_test
async def test_a_hold_that_is_ahead_of_a_log_that_was_replaced_is_reset_and_joins():
    """Its plan was made before; to recover its room does not help it, however often."""
    async with served() as chat:
        first = await chat.stream()
        (room,) = chat.hub.rooms.values()
        while room._recovering:  # noqa: ASYNC110 - as the first of its room
            await asyncio.sleep(0)
        nobody_goes_in_circles(chat.hub)
        gone = plan_stream(StreamRequest("room", 0), Page(Commit.of(1, [draft("gone")]).messages, 1))
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        chat.hub.hold_socket(gone, ours, b"", "127.0.0.1", chunked=False)
        reader, writer = await asyncio.open_connection(sock=theirs)
        await asyncio.wait_for(reader.readuntil(b"event: stream-reset\n"), WAIT)
        await chat.post("new")
        await asyncio.wait_for(reader.readuntil(b'"text":"new"'), WAIT)
        assert fields(await first.next())["text"] == "new"
        writer.close()


@pytest.mark.gen_test
async def test_a_gap_that_shows_during_a_recovery_is_mended_after_it_though_nothing_follows():
    async with served() as chat:
        client = await chat.stream()
        (room,) = chat.hub.rooms.values()
        while room._recovering:  # noqa: ASYNC110 - as the first of its room
            await asyncio.sleep(0)
        begun, go_on = asyncio.Event(), asyncio.Event()
        plan = chat.hub.plan

        async def slow(request):
            result = await plan(request)
            begun.set()
            await go_on.wait()
            return result

        chat.hub.plan = slow
        publish, chat.committed = chat.committed, lambda commit: None
        await chat.post()
        chat.committed = publish
        await chat.post()  # shows the gap
        await begun.wait()
        await chat.post()  # shows it too, when the log has been read already
        go_on.set()
        assert await client.until_id(3) == [1, 2, 3]


@pytest.mark.gen_test
@pytest.mark.parametrize(("mutation", "test"), MUTATIONS)
async def test_a_rule_that_is_switched_off_is_noticed(mutation, test, monkeypatch):
    mutation(monkeypatch)
    monkeypatch.setattr("tests.support.served.WAIT", 0.5)
    function = globals()[test]
    arguments = [monkeypatch] if function.__code__.co_argcount else []
    with pytest.raises((AssertionError, TimeoutError)):
        await function(*arguments)


def test_the_hub_is_what_its_port_promises():
    from flychat.hub import Hub

    assert all(hasattr(LocalHub, name) for name in vars(Hub) if not name.startswith("_"))
