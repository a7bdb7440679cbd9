"""How a room that is not in memory is read: no more than those who ask need, and once for all of them."""

import asyncio
import contextlib
import itertools

import pytest

from flychat.commits import Commit
from flychat.log import MessageLog
from flychat.log.view import FIRST, NEAR
from flychat.messages import Draft
from flychat.storage import Unknown
from flychat.storage.sqlite import SqliteEngine
from flychat.streams import HISTORY, REPLAY, StreamRequest
from tests.support.fakes import FaultyEngine, MemoryEngine

TAIL = 140


def draft(text="hi", room="room") -> Draft:
    return Draft.create(room, {"from": "ann", "text": text}, now=0.0)


async def fill(engine, number=TAIL, *, first=1, commits=(1, 5, 2)):
    sizes = itertools.cycle(commits)
    while first <= number:
        size = min(next(sizes), number + 1 - first)
        await engine.put(Commit.of(first, [draft() for _ in range(size)]))
        first += size


async def cleared(engine):
    """Cleared at 100, and gone on from there."""
    await fill(engine, 99)
    await engine.put(Commit("room", (), void=(100, 1)))
    await fill(engine, first=101)


async def holed(engine):
    await fill(engine, 90)
    await fill(engine, first=95)


async def without_beginning(engine):
    await fill(engine, first=61)


async def long(engine):
    await fill(engine, REPLAY + 200, commits=(64, 1))


LOGS = {"whole": fill, "cleared": cleared, "holed": holed, "cut": without_beginning, "long": long}
POSITIONS = [None, 0, 1, 60, 90, 93, 99, 100, 101, 120, TAIL - 1, TAIL, TAIL + 1, REPLAY, 10**17]


@contextlib.asynccontextmanager
async def opened(kind="whole"):
    """An engine with a log in it that several MessageLogs may read."""
    engine = FaultyEngine(await SqliteEngine.open(":memory:"))
    await LOGS[kind](engine.engine)
    yield engine
    await engine.engine.close()


def fresh(engine, *, memory=True):
    return MessageLog(engine, memory=memory)


async def plans_of(log):
    """What a log answers to who is alone, at each position."""
    return {position: await log.plan(StreamRequest("room", position)) for position in POSITIONS}


@pytest.mark.parametrize("kind", LOGS)
@pytest.mark.gen_test
async def test_whoever_warms_a_room_everybody_is_given_what_the_store_would_give(kind):
    async with opened(kind) as engine:
        reference = fresh(engine, memory=False)
        plans = await plans_of(reference)
        for first, second in itertools.product(POSITIONS, POSITIONS):
            log = fresh(engine)
            assert await log.plan(StreamRequest("room", first)) == plans[first]
            assert await log.plan(StreamRequest("room", second)) == plans[second], (first, second)
            assert log.plan_at_once(StreamRequest("room", second)) == plans[second]
            assert (await log.page("room")).messages == (await reference.page("room")).messages


@pytest.mark.parametrize("kind", LOGS)
@pytest.mark.gen_test
async def test_those_who_share_a_reading_are_each_given_what_they_would_be_given_alone(kind):
    async with opened(kind) as engine:
        plans = await plans_of(fresh(engine, memory=False))
        for both in itertools.product(POSITIONS, POSITIONS):
            log = fresh(engine, memory=False)
            together = await asyncio.gather(*(log.plan(StreamRequest("room", each)) for each in both))
            assert together == [plans[each] for each in both], both


@pytest.mark.gen_test
async def test_the_clients_of_a_room_share_a_reading_wherever_they_are():
    """After a restart some have missed a message more than others."""
    async with opened() as engine:
        log = fresh(engine, memory=False)
        positions = [TAIL - 1, TAIL - 9, TAIL, TAIL - 3]
        plans = await asyncio.gather(*(log.plan(StreamRequest("room", each)) for each in positions))
        assert [len(plan.messages) for plan in plans] == [1, 9, 0, 3]
        assert engine.calls == {"after": 1}


@pytest.mark.gen_test
async def test_one_who_is_too_far_behind_does_not_have_the_others_read_alone(monkeypatch):
    """300 streams of one address that came back at different positions took 3 s, with 1 MB for each."""
    monkeypatch.setattr("flychat.streams.REPLAY", 60)
    monkeypatch.setattr("flychat.log.reading.REPLAY", 60)
    positions = [0, TAIL - 61, *range(TAIL - 60, TAIL + 1, 7)]
    async with opened() as engine:
        log = fresh(engine, memory=False)
        alone = [await log.plan(StreamRequest("room", each)) for each in positions]
        engine.calls.clear()
        assert await asyncio.gather(*(log.plan(StreamRequest("room", each)) for each in positions)) == alone
        assert engine.calls == {"after": 1, "tail": 1}


@pytest.mark.gen_test
async def test_a_reading_begins_where_those_who_share_it_are_and_not_where_others_before_them_were():
    async with opened() as engine:
        log, after, read = fresh(engine, memory=False), engine.after, []
        begun, go = asyncio.Event(), asyncio.Event()

        async def noted(room, id, limit):
            read.append(id)
            begun.set()
            await go.wait()
            return await after(room, id, limit)

        engine.after = noted
        plans = [asyncio.create_task(log.plan(StreamRequest("room", 1)))]
        await begun.wait()
        plans += [asyncio.create_task(log.plan(StreamRequest("room", TAIL - n))) for n in (1, 2)]
        await asyncio.sleep(0)
        go.set()
        assert [len(plan.messages) for plan in await asyncio.gather(*plans)] == [TAIL - 1, 1, 2]
        assert read == [1, TAIL - 2]


@pytest.mark.gen_test
async def test_a_client_that_comes_back_has_no_more_read_than_it_missed_and_a_few():
    async with opened() as engine:
        log = fresh(engine)
        await log.plan(StreamRequest("room", TAIL - 3))
        assert engine.calls == {"after": 1}
        assert len(log._rooms["room"].window.messages) <= NEAR + 3 + 5


@pytest.mark.gen_test
async def test_a_newcomer_to_a_room_of_which_little_is_known_has_the_history_read():
    async with opened("long") as engine:
        log = fresh(engine)
        await log.plan(StreamRequest("room", REPLAY + 200))
        plan = await log.plan(StreamRequest("room"))
        assert len(plan.messages) == HISTORY
        assert engine.calls == {"after": 1, "before": 1}
        assert len(log._rooms["room"].window.messages) < FIRST + 2 * 64 + NEAR, (
            "and not all that can be replayed"
        )


@pytest.mark.gen_test
async def test_those_who_need_little_and_much_of_the_past_at_once_are_each_given_all():
    async with opened("long") as engine:
        log = fresh(engine)
        await log.plan(StreamRequest("room", REPLAY + 200))
        positions = [REPLAY + 150, 300, None, 250]
        plans = await asyncio.gather(*(log.plan(StreamRequest("room", each)) for each in positions))
        assert [len(plan.messages) for plan in plans] == [50, 900, HISTORY, 950]


async def reading_the_past(engine):
    """A log whose room's past is read when `go` is set, for a first stream; a second one has the next reading."""
    log, before, begun, go = fresh(engine), engine.before, asyncio.Event(), asyncio.Event()

    async def slow(*asked):
        begun.set()
        await go.wait()
        return await before(*asked)

    await log.plan(StreamRequest("room", REPLAY + 200))
    engine.before = slow
    first = asyncio.ensure_future(log.plan(StreamRequest("room", REPLAY + 150)))
    await begun.wait()
    second = asyncio.ensure_future(log.plan(StreamRequest("room", REPLAY + 140)))
    await asyncio.sleep(0)  # it waits for the first one's reading to end
    return log, go, first, second


@pytest.mark.gen_test
async def test_who_shares_a_reading_of_the_past_that_was_asked_for_before_another_ended_is_given_all():
    async with opened("long") as engine:
        log, go, first, second = await reading_the_past(engine)
        go.set()
        await first
        third = await log.plan(StreamRequest("room", 300))
        assert [len(plan.messages) for plan in (await first, await second, third)] == [50, 60, 900]
        assert not third.opening[1:], "no reset"


@pytest.mark.gen_test
async def test_a_room_that_was_made_smaller_while_its_past_was_read_is_read_for_who_comes_then():
    async with opened("long") as engine:
        log, go, first, second = await reading_the_past(engine)
        log._rooms["room"].shorten(0)
        third = asyncio.ensure_future(log.plan(StreamRequest("room", 300)))
        await asyncio.sleep(0)
        go.set()
        plans = await asyncio.gather(first, second, third)
        assert [len(plan.messages) for plan in plans] == [50, 60, 900]


@pytest.mark.gen_test
async def test_who_comes_while_a_cold_room_is_read_has_it_read_no_second_time():
    """In a storm the clients of a room come one after the other."""
    async with opened() as engine:
        log = fresh(engine)
        reading = [asyncio.ensure_future(log.plan(StreamRequest("room", TAIL)))]
        while not engine.calls:  # noqa: ASYNC110 - each turn of the loop counts
            await asyncio.sleep(0)
        reading += [asyncio.ensure_future(log.plan(StreamRequest("room", TAIL))) for _ in range(4)]
        await asyncio.gather(*reading)
        assert engine.calls == {"after": 1}


@pytest.mark.parametrize("memory", [True, False])
@pytest.mark.gen_test
async def test_a_message_for_a_cold_room_does_not_wait_for_those_who_want_to_read(memory):
    """After a restart all turns are taken, and thousands wait for theirs; some for this very room."""
    async with opened() as engine:
        log, after, answers = fresh(engine, memory=memory), engine.after, asyncio.Event()

        async def slow(*asked):
            await answers.wait()
            return await after(*asked)

        engine.after = slow
        rooms = [*(f"room {number}" for number in range(engine.reads)), "room", "room"]
        streams = [asyncio.ensure_future(log.plan(StreamRequest(room, 1))) for room in rooms]
        stored = await log.submit(draft("written meanwhile"))
        assert (stored.id, stored.text) == (TAIL + 1, "written meanwhile")
        assert not any(stream.done() for stream in streams[: engine.reads])
        answers.set()
        plans = await asyncio.gather(*streams)
        assert [plan.messages[-1].text for plan in plans[engine.reads :]] == ["written meanwhile"] * 2


@pytest.mark.gen_test
async def test_what_is_in_doubt_is_looked_for_among_the_newest_whoever_asks_first():
    """Else a client that is ahead of it would have the doubt forgotten, and nobody told."""
    engine = FaultyEngine(MemoryEngine())
    published = []
    log = MessageLog(engine, memory=True, committed=published.append)
    await fill(engine.engine, 20)
    room = log._rooms.use("room")
    lost = engine.engine.commits["room", 1].messages[0]
    room._doubtful = {lost.key}
    await log.plan(StreamRequest("room", 20))
    assert [commit.first for commit in published] == [1]
    await log.close()


@pytest.mark.gen_test
async def test_a_cold_room_is_read_when_the_store_has_recovered():
    async with opened() as engine:
        log = fresh(engine)
        engine.read_faults.extend([Unknown()] * 3)
        assert len((await log.plan(StreamRequest("room", TAIL - 3))).messages) == 3


@pytest.mark.gen_test
async def test_sqlite_reads_on_at_a_position_without_reading_what_is_before_it(monkeypatch):
    """The commit that holds an id may begin at any of 64 places; a reader of single messages would read them all."""
    async with opened() as engine:
        read, once = [], Commit.read
        monkeypatch.setattr(
            Commit, "read", lambda room, first, *rest: read.append(first) or once(room, first, *rest)
        )
        commits = await engine.after("room", TAIL - 3, 100)
        assert commits[0].first <= TAIL - 3 <= commits[0].last
        assert len(read) == len(commits)
