"""Which rooms are in memory: those that are in use to the last, and all of them within their bytes."""

import asyncio
import contextlib
import itertools
import time

import pytest

from flychat.commits import Commit
from flychat.log import MessageLog
from flychat.log import memory as memory_module
from flychat.log.memory import BUSY, IDLE, ROOM_BYTES
from flychat.log.room import Room
from flychat.log.view import FIRST
from flychat.messages import Draft
from flychat.streams import StreamRequest
from tests.proof.simulation.virtual import in_virtual_time
from tests.support.fakes import FaultyEngine, MemoryEngine

FLOOD = 200  # rooms
BYTES = 100 * ROOM_BYTES  # far less than they take


@contextlib.asynccontextmanager
async def opened(most_bytes=BYTES):
    engine = FaultyEngine(MemoryEngine())
    log = MessageLog(engine, memory=True, most_bytes=most_bytes)
    try:
        yield log, engine
    finally:
        await log.close()


def draft(room, text="hi") -> Draft:
    return Draft.create(room, {"from": "ann", "text": text}, now=0.0)


async def fill(engine, room, number, text="hi"):
    for first in range(1, number + 1, 50):
        drafts = [draft(room, text) for _ in range(min(50, number + 1 - first))]
        await engine.engine.put(Commit.of(first, drafts))


async def flood(log, number=FLOOD):
    for n in range(number):
        await log.plan(StreamRequest(f"flood {n}"))


def known(log, room, last_id=None):
    """Whether the room's streams are opened without a reading."""
    return log.plan_at_once(StreamRequest(room, last_id)) is not None


@pytest.mark.gen_test
async def test_a_flood_of_other_rooms_leaves_a_room_with_held_streams_in_memory():
    async with opened() as (log, _):
        for room in ("held", "free"):
            await log.plan(StreamRequest(room))
        log.note_held("held", True)
        await flood(log)
        assert known(log, "held")
        assert not known(log, "free")


@in_virtual_time
async def test_a_room_leaves_that_nobody_has_used_for_long_and_no_other():
    async with opened() as (log, _):
        for room in ("left", "used"):
            await log.plan(StreamRequest(room))
        await asyncio.sleep(IDLE - 1)
        await log.plan(StreamRequest("used"))
        await log.plan(StreamRequest("other"))
        assert list(log._rooms) == ["left", "used", "other"]
        await asyncio.sleep(2)
        await log.plan(StreamRequest("other"))
        assert list(log._rooms) == ["used", "other"]


@pytest.mark.gen_test
async def test_of_too_many_rooms_those_leave_that_were_used_longest_ago():
    async with opened(10 * ROOM_BYTES) as (log, _):
        for room in ("one", "two", "one"):
            await log.plan(StreamRequest(room))
        others = itertools.count()
        while {"one", "two"} <= set(log._rooms):
            await log.plan(StreamRequest(f"other {next(others)}"))
        assert "one" in log._rooms, "it was used once more"


@pytest.mark.gen_test
async def test_a_room_with_held_streams_may_be_quiet_for_any_time(monkeypatch):
    async with opened() as (log, _):
        for room in ("held", "free"):
            await log.plan(StreamRequest(room))
        log.note_held("held", True)
        monkeypatch.setattr(memory_module, "IDLE", -1.0)
        await log.plan(StreamRequest("other"))
        assert known(log, "held")
        assert not known(log, "free")


@pytest.mark.gen_test
async def test_a_room_that_is_held_before_it_is_in_memory_counts_as_held():
    async with opened() as (log, _):
        log.note_held("held", True)
        await log.plan(StreamRequest("held"))
        await flood(log)
        assert known(log, "held")


@pytest.mark.gen_test
async def test_once_its_last_stream_has_gone_a_room_leaves_like_others():
    async with opened() as (log, _):
        await log.plan(StreamRequest("held"))
        log.note_held("held", True)
        log.note_held("held", False)
        assert known(log, "held")
        await flood(log)
        assert not known(log, "held")


@pytest.mark.gen_test
async def test_rooms_are_bounded_in_bytes_and_not_in_number():
    async with opened(most_bytes=64 << 20) as (log, engine):
        await flood(log, 2500)
        reads = engine.calls.copy()
        await flood(log, 2500)
        assert engine.calls == reads


@pytest.mark.gen_test
@pytest.mark.parametrize("held", [False, True])
async def test_rooms_without_a_message_fill_memory_too(held):
    """Else whoever asks for a room after the other would have a server use all that there is."""
    async with opened() as (log, _):
        for n in range(FLOOD):
            await log.plan(StreamRequest(f"room {n}"))
            log.note_held(f"room {n}", held)
            assert log._rooms.bytes <= BYTES + ROOM_BYTES + (4 << 10)
        assert len(log._rooms) <= BYTES / ROOM_BYTES


@pytest.mark.gen_test
async def test_the_past_of_rooms_with_held_streams_gives_way_before_the_rooms_do():
    """First rooms that nobody holds leave; then what is deep in the windows of the others; then these."""
    async with opened(most_bytes=2 << 20) as (log, engine):
        for room in ("one", "two"):
            await fill(engine, room, 500)
            await log.plan(StreamRequest(room, 0))
            log.note_held(room, True)
        await log.plan(StreamRequest("free"))
        rooms = log._rooms
        assert len(rooms["one"].window.messages) == 500
        for n in itertools.count():
            if len(rooms["one"].window.messages) < 500:
                break
            await log.plan(StreamRequest(f"another {n}"))
            log.note_held(f"another {n}", True)
        assert "free" not in rooms
        assert len(rooms["one"].window.messages) == FIRST
        assert known(log, "one", 500 - FIRST)
        assert known(log, "one")
        assert known(log, "two", 0), "it was used later"
        deep = (await log.plan(StreamRequest("one", 0))).messages
        assert [message.id for message in deep] == list(range(1, 501)), "it is read again"


@pytest.mark.gen_test
async def test_rooms_with_held_streams_leave_when_nothing_else_is_left():
    async with opened() as (log, _):
        for n in range(FLOOD):
            await log.plan(StreamRequest(f"room {n}"))
            log.note_held(f"room {n}", True)
        assert not known(log, "room 0")
        assert known(log, f"room {FLOOD - 1}")
        await log.plan(StreamRequest("room 0"))
        assert known(log, "room 0"), "it is read again, and is the one that was used last"


@contextlib.asynccontextmanager
async def opened_deep():
    """A log with 200 messages of a room in its window, in which streams are held."""
    async with opened(most_bytes=1 << 20) as (log, engine):
        await fill(engine, "room", 200)
        await log.plan(StreamRequest("room", 0))
        log.note_held("room", True)
        yield log, engine


@pytest.mark.gen_test
async def test_a_shortened_window_says_of_no_draft_that_it_is_new():
    """A draft whose message has left memory is known by its key, and its message is read from the log."""
    async with opened_deep() as (log, engine):
        first = engine.engine.commits["room", 1].messages[0]
        log._rooms["room"].shorten(FIRST)
        again = Draft("room", first.sender, first.text, first.date, first.provisional_id, since=0)
        assert (await log.submit(again)).id == 1
        assert (await log.submit(draft("room"))).id == 201


@pytest.mark.gen_test
async def test_the_past_is_read_for_a_shortened_window_too_while_it_is_read_for_the_one_before():
    """It was read for one of the two: who used the other was told of a reset, and nothing followed."""
    async with opened() as (log, engine):
        await fill(engine, "room", 200)
        await log.plan(StreamRequest("room"))

        async def shorten():
            log._rooms["room"].shorten(0)

        late, few, newest = StreamRequest("room", 0), StreamRequest("room", 190), StreamRequest("room")
        plans = await asyncio.gather(log.plan(late), shorten(), log.plan(few), log.plan(newest))
        assert [[m.id for m in plan.messages] for plan in plans if plan] == [
            list(range(1, 201)),
            list(range(191, 201)),
            list(range(151, 201)),
        ]


@pytest.mark.gen_test
async def test_who_joins_a_reading_of_the_past_that_waits_for_its_turn_is_given_all_that_he_missed(
    monkeypatch,
):
    """It read what had been read meanwhile, and what it was joined for was told as a reset."""
    async with opened(most_bytes=8 << 20) as (log, engine):
        await fill(engine, "room", 1000)
        await log.plan(StreamRequest("room"))
        begun, go_on, before, turns = asyncio.Event(), asyncio.Event(), engine.before, log._reader._turns

        async def slow(*asked):
            begun.set()
            await go_on.wait()
            for _ in range(10):  # turns of the loop, as a real store takes
                await asyncio.sleep(0)
            return await before(*asked)

        async def others_take_all_turns():
            for _ in range(engine.reads):
                await turns.acquire()

        monkeypatch.setattr(engine, "before", slow)
        near = asyncio.create_task(log.plan(StreamRequest("room", 890)))
        await begun.wait()
        far = asyncio.create_task(log.plan(StreamRequest("room", 100)))
        others = asyncio.create_task(others_take_all_turns())
        await asyncio.sleep(0)
        go_on.set()
        plans = [await near]
        await others
        joins = asyncio.create_task(log.plan(StreamRequest("room", 500)))
        await asyncio.sleep(0)
        for _ in range(engine.reads):
            turns.release()
        plans += [await far, await joins]
        assert [[m.id for m in plan.messages] for plan in plans] == [
            list(range(891, 1001)),
            list(range(101, 1001)),
            list(range(501, 1001)),
        ]


@pytest.mark.gen_test
async def test_a_draft_without_a_position_reads_nothing_where_the_window_was_shortened():
    """Else a busy server whose memory is full reads all rooms again and again."""
    async with opened_deep() as (log, engine):
        window = log._rooms["room"].window
        log._rooms["room"].shorten(FIRST)
        assert len(log._rooms["room"].window.messages) < len(window.messages) == 200
        reads = engine.calls["before"], engine.calls["after"], engine.calls["tail"]
        assert isinstance(await log.recall(draft("room")), Draft)
        newest = draft("room")
        assert (await log.submit(newest)).id == 201
        assert (engine.calls["before"], engine.calls["after"], engine.calls["tail"]) == reads
        assert len(window.messages) == window.tail == 200, "who uses it has it as it was"
        assert window.find(newest) == 201, "but for the keys, which are the room's"


async def write(log, rooms, rounds):
    """So many messages into each room, by turns, as of now."""
    for _ in range(rounds):
        for room in rooms:
            await log.submit(Draft.create(room, {"from": "ann", "text": "hi"}, now=time.time()))


def readings(engine):
    return sum(engine.calls[kind] for kind in ("before", "after", "tail", "find"))


@pytest.mark.gen_test
async def test_a_busy_server_whose_memory_is_full_reads_nothing_for_its_messages():
    """Else each message has the keys of two minutes read again, and takes fifty times as long."""
    rooms = [f"room {n}" for n in range(20)]
    async with opened(most_bytes=1 << 20) as (log, engine):
        await write(log, rooms, 1)
        before = readings(engine)
        await write(log, rooms, 150)
        assert readings(engine) == before
        assert log._rooms.bytes <= 1 << 20
        assert sum(len(room.window.messages) for room in log._rooms.values()) < 20 * 151


@pytest.mark.gen_test
async def test_of_a_room_that_was_written_to_lately_the_keys_stay_longest():
    async with opened(most_bytes=240 << 10) as (log, _):
        await write(log, ["written"], 200)
        written = log._rooms["written"]
        oldest = written.window.messages[0]
        seen = set()
        for n in itertools.count():
            seen.add(len(written.window.messages))
            if 0 in seen:
                break
            log.note_held(f"held {n}", True)
            await log.plan(StreamRequest(f"held {n}"))
        assert seen == {200, FIRST, 0}, "first the deep past goes, then the other messages"
        again = Draft("written", oldest.sender, oldest.text, oldest.date, oldest.provisional_id)
        assert (await log.submit(again)).id == 1, "it is known, and read from the log"
        assert not known(log, "written")
        assert len((await log.plan(StreamRequest("written"))).messages) == 50


@pytest.mark.gen_test
async def test_a_flood_of_rooms_that_nobody_uses_costs_a_room_that_was_written_to_lately_its_deep_past():
    async with opened() as (log, _):
        await write(log, ["deep"], 121)
        await write(log, ["not deep"], 70)
        await flood(log)
        windows = log._rooms["deep"].window, log._rooms["not deep"].window
        assert [(len(window.messages), len(window.keys)) for window in windows] == [(FIRST, 121), (70, 70)]


@pytest.mark.gen_test
async def test_a_room_that_was_written_to_long_ago_leaves_as_one_that_nobody_uses():
    async with opened() as (log, engine):
        await fill(engine, "once", 70)
        await log.plan(StreamRequest("once"))
        await flood(log)
        assert "once" not in log._rooms


@pytest.mark.gen_test
async def test_rooms_that_are_being_written_are_passed_over_some_at_a_time(monkeypatch):
    """Else each use of a room would look at all of them, for as long as the store does not answer."""
    async with opened() as (log, _):
        asked = []
        monkeypatch.setattr(Room, "busy", property(lambda room: asked.append(room.name) or True))
        for n in range(FLOOD):
            log.note_held(f"busy {n}", n % 2 == 0)
            log._rooms.use(f"busy {n}")
        assert len(log._rooms) == FLOOD
        asked.clear()
        log._rooms.use("one more")
        assert 0 < len(asked) <= 1 + 4 * BUSY
        monkeypatch.undo()
        log._rooms.use("one more")
        assert log._rooms.bytes <= BYTES
