"""What the log does about its past: late repeats, holes, sizes, memory, sleep, and readings that wait."""

import asyncio
import contextlib
import itertools
import time
import uuid
from collections import deque
from dataclasses import replace

import pytest

from flychat import log as log_module
from flychat.commits import Commit
from flychat.errors import Conflict, Overloaded, TooOld, Unavailable
from flychat.fields import TEXT_CHARACTERS
from flychat.log import MessageLog
from flychat.log import reading as reading_module
from flychat.log import view as view_module
from flychat.log import window as window_module
from flychat.log.memory import ROOM_BYTES
from flychat.log.view import FIRST
from flychat.messages import Draft
from flychat.storage import Hole, Unknown
from flychat.storage.sqlite import SqliteEngine
from flychat.streams import HISTORY, REPLAY, REPLAY_BYTES, StreamRequest, size
from tests.proof.simulation.virtual import in_virtual_time
from tests.support.fakes import FaultyEngine, MemoryEngine, empty
from tests.support.served import WAIT

LARGE = "\N{GRINNING FACE}" * TEXT_CHARACTERS
modes = pytest.mark.parametrize("memory", [False, True])


def draft(text="hi", *, since=None, room="room", provisional_id=None, now=0.0) -> Draft:
    fields = {"from": "ann", "text": text, "provisionalId": provisional_id or str(uuid.uuid4())}
    return Draft.create(room, {**fields, "lastEventId": since}, now=now)


class Store(FaultyEngine):
    """SQLite in memory, which several logs share and none closes."""

    async def close(self):
        pass


class SlowSearch(Store):
    """A search in it takes until `go_on`."""

    def __init__(self, engine):
        super().__init__(engine)
        self.searched, self.go_on = asyncio.Event(), asyncio.Event()

    async def find(self, *arguments):
        self.searched.set()
        await self.go_on.wait()
        return await super().find(*arguments)


@contextlib.asynccontextmanager
async def opened(memory, **options):
    engine = Store(await SqliteEngine.open(":memory:"))
    log = MessageLog(engine, memory=memory, **options)
    try:
        yield log, engine
    finally:
        await log.close()
        await engine.engine.close()


async def fill(engine, number, *, text="hi", now=0.0, first=1, room="room"):
    """So many messages in commits of 64, without a log."""
    drafts = [draft(text, now=now, room=room) for _ in range(number)]
    for at in range(0, number, 64):
        await engine.engine.put(Commit.of(first + at, drafts[at : at + 64]))


async def ids_of(engine, one):
    return [
        m.id
        for c in await engine.engine.find("room", 0, 10**4, one.provisional_id)
        for m in c.messages
        if m.key == one.key
    ]


# Exactly once, however late


@modes
@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.gen_test
async def test_a_draft_with_a_position_is_recognised_after_thousands_of_messages(memory, warm):
    async with opened(memory) as (log, engine):
        await fill(engine, 5)
        one = draft("once", since=5)
        message = await log.submit(one)
        await fill(engine, 6000, first=7)
        late = MessageLog(engine, memory=memory)
        if warm:
            await late.submit(draft(since=6006))
        assert await late.submit(one) == message
        assert await ids_of(engine, one) == [6]
        await late.close()


@modes
@pytest.mark.gen_test
async def test_what_is_known_to_be_in_the_log_is_told_before_it_is_shown(memory):
    """A provisional event of a message that is stored would stay for ever where the message is not known."""
    async with opened(memory) as (log, engine):
        message = await log.submit(one := draft("once", since=0))
        await fill(engine, 3000, first=2)
        await log.submit(draft(since=3001))
        assert await log.recall(one) == message
        with pytest.raises(Conflict):
            await log.recall(draft("other", since=0, provisional_id=one.provisional_id))


@pytest.mark.gen_test
async def test_a_draft_that_has_to_be_searched_for_again_at_once_is_answered(monkeypatch):
    """The window has moved on while the log was searched, and does not reach back to where that ended."""
    async with opened(True) as (log, engine):
        await fill(engine, 1000)
        await log.page("room")
        find, searches, begun, goes_on = engine.find, [], asyncio.Event(), asyncio.Event()

        async def slow(*asked):
            searches.append(asked)
            begun.set()
            await goes_on.wait()
            return await find(*asked)

        monkeypatch.setattr(engine, "find", slow)
        waiting = asyncio.ensure_future(log.submit(one := draft("once", since=0)))
        await begun.wait()
        await fill(engine, 1000, first=1001)
        log._rooms["room"].forget()
        await log.submit(draft(since=2000))
        goes_on.set()
        async with asyncio.timeout(WAIT):
            message = await waiting
        assert (message.text, len(searches)) == ("once", 2)
        assert await ids_of(engine, one) == [message.id]


@modes
@pytest.mark.gen_test
async def test_what_another_user_stored_under_the_same_provisional_id_is_not_found_in_the_log(memory):
    async with opened(memory) as (log, engine):
        one = replace(draft("once", since=0), user="ann")
        forged = [await log.submit(replace(one, user=user, text="not that")) for user in (None, "eve")]
        message = await log.submit(one)
        await fill(engine, 6000, first=4)
        late = MessageLog(engine, memory=memory)
        await late.submit(draft(since=6003))
        assert await late.submit(one) == await late.recall(one) == message
        new = replace(one, user="bob", text="a third one")
        assert (await late.submit(new)).id == 6005
        assert [message.id for message in forged] == [1, 2]
        await late.close()


@modes
@in_virtual_time
async def test_a_search_that_fails_leaves_a_doubt_that_is_looked_into_and_nobody_spins(memory):
    """The draft may be in the log from an attempt before. The writer that has nothing else to do reads it again."""
    asked = itertools.count()

    def now():
        if next(asked) > 10_000:
            raise AssertionError("the writer goes round and round, and the loop has no turn")
        return 0.0

    engine = FaultyEngine(MemoryEngine())
    published = []
    log = MessageLog(engine, memory=memory, committed=published.append, now=now)
    await fill(engine, 3000)
    await log.submit(draft(since=3000))
    engine.find = failing
    late = draft("an attempt before was late", since=7)
    searching = asyncio.ensure_future(log.submit(late))
    await asyncio.sleep(1)
    await engine.engine.put(Commit.of(3002, [late]))
    with pytest.raises(Unavailable):
        await searching
    await asyncio.sleep(5)
    assert [m.text for commit in published[1:] for m in commit.messages] == [late.text]
    await log.submit(draft(since=3002))
    await asyncio.sleep(5)
    assert next(asked) < 1000
    await log.close()


async def failing(*arguments):
    raise Unknown("no answer")


@modes
@pytest.mark.gen_test
async def test_a_late_draft_that_is_not_in_the_log_is_stored_and_searched_for_once(memory):
    async with opened(memory) as (log, engine):
        await fill(engine, 3000)
        await log.submit(draft(since=3000))
        engine.calls.clear()
        found = await log.recall(one := draft("new", since=7))
        assert engine.calls == {"find": 1}
        assert (await log.submit(found)).text == "new"
        assert engine.calls == {"find": 1, "put": 1}
        assert await ids_of(engine, one) == [3002]


@modes
@pytest.mark.gen_test
async def test_an_ordinary_first_attempt_costs_no_reading(memory):
    async with opened(memory) as (log, engine):
        await fill(engine, 500, now=time.time())
        await log.submit(draft(since=500))
        engine.calls.clear()
        for n in range(100):
            one = await log.recall(draft(since=480 + n))
            await log.submit(one)
        assert engine.calls == {"put": 100}


@modes
@pytest.mark.gen_test
async def test_a_draft_that_would_be_looked_for_too_far_back_is_refused_and_not_stored(memory, monkeypatch):
    monkeypatch.setattr(view_module, "SEARCHED", 1000)
    async with opened(memory) as (log, engine):
        await fill(engine, 3000)
        for one in (draft(since=100), draft(since=0)):
            with pytest.raises(TooOld):
                await log.submit(one)
            with pytest.raises(TooOld):
                await log.recall(one)
            assert await ids_of(engine, one) == []
        assert (await log.submit(draft(since=2500))).id == 3001


@modes
@pytest.mark.gen_test
async def test_without_a_position_no_more_than_so_many_messages_are_read_however_young(memory, monkeypatch):
    """Or else a clock that was set back by hours had the log of hours read for one message."""
    monkeypatch.setattr(view_module, "SEARCHED", 500)
    async with opened(memory) as (log, engine):
        await fill(engine, 5000, now=time.time() + 3600)
        assert (await log.submit(draft())).id == 5001
        assert engine.calls["before"] < 5


@modes
@pytest.mark.gen_test
async def test_without_a_position_a_draft_is_recognised_for_two_minutes_in_a_busy_room(memory):
    async with opened(memory) as (log, engine):
        message = await log.submit(one := draft("once", now=time.time() - 60))
        await fill(engine, 2000, first=2, now=time.time() - 30)
        for log_ in (log, MessageLog(engine, memory=memory)):
            assert await log_.submit(one) == message
        assert await ids_of(engine, one) == [1]


@modes
@pytest.mark.gen_test
async def test_without_a_position_a_draft_is_recognised_for_256_messages_in_a_quiet_room(memory):
    async with opened(memory) as (log, engine):
        message = await log.submit(one := draft("once"))
        await fill(engine, 255, first=2)
        for log_ in (log, MessageLog(engine, memory=memory)):
            assert await log_.submit(one) == message
        assert await ids_of(engine, one) == [1]


@modes
@pytest.mark.gen_test
async def test_others_do_not_wait_while_the_log_is_searched(memory):
    engine = SlowSearch(await SqliteEngine.open(":memory:"))
    await fill(engine, 3000)
    log = MessageLog(engine, memory=memory)
    late = asyncio.ensure_future(log.submit(draft("late", since=1)))
    await engine.searched.wait()
    assert (await log.submit(draft(since=3000))).id == 3001
    assert log._rooms["room"].busy, "it does not leave memory meanwhile"
    engine.go_on.set()
    assert (await late).id == 3002
    await log.close()
    await engine.engine.close()


@modes
@pytest.mark.gen_test
async def test_what_another_process_has_stored_while_the_log_is_searched_for_it_is_published(memory):
    """Whoever stored it may have died before publishing, and its author waits here."""
    engine, published = SlowSearch(await SqliteEngine.open(":memory:")), []
    await fill(engine, 3000)
    log = MessageLog(engine, memory=memory, committed=published.append)
    waiting = asyncio.ensure_future(log.submit(one := draft("once", since=7)))
    await engine.searched.wait()
    await engine.engine.put(Commit.of(3001, [one]))
    assert (await log.submit(draft(since=3000))).id == 3002
    assert [commit.first for commit in published] == [3001, 3002]
    engine.go_on.set()
    assert (await waiting).id == 3001
    await log.close()
    await engine.engine.close()


@pytest.mark.parametrize("ask", ["submit", "recall"])
@in_virtual_time
async def test_a_search_that_takes_too_long_is_given_up(ask):
    class Stuck(FaultyEngine):
        async def find(self, *arguments):
            await asyncio.Event().wait()

    engine = Stuck(MemoryEngine())
    for first in range(1, 600):
        await engine.engine.put(Commit.of(first, [draft()]))
    log = MessageLog(engine, memory=True)
    await log.plan(StreamRequest("room"))
    with pytest.raises(Unavailable, match="slow"):
        await getattr(log, ask)(draft(since=1))
    assert asyncio.get_running_loop().time() == view_module.SEARCH_SECONDS
    await log.close()


@pytest.mark.gen_test
async def test_what_is_known_by_its_key_only_is_read_from_the_log():
    async with opened(memory=True) as (log, _):
        drafts = [draft(f"text {n}") for n in range(3)]
        messages = [await log.submit(each) for each in drafts]
        log._rooms["room"].shorten(0)
        for sent, message in zip(drafts, messages, strict=True):
            assert log.recall_at_once(sent) is None
            assert await log.recall(sent) == message
        assert [await log.submit(each) for each in drafts] == messages


@pytest.mark.gen_test
async def test_a_draft_that_is_withdrawn_while_it_is_searched_for_is_not_stored():
    engine = SlowSearch(await SqliteEngine.open(":memory:"))
    await fill(engine, 3000)
    log, late = MessageLog(engine, memory=True), draft(since=1)
    refused = log.submit(late)
    await engine.searched.wait()
    log.withdraw(late)
    engine.go_on.set()
    with pytest.raises(Unavailable):
        await refused
    await asyncio.gather(*log._common.tasks)
    assert (await log.submit(draft())).id == 3001, "the next one"
    await log.close()
    await engine.engine.close()


@pytest.mark.gen_test
async def test_a_search_under_way_ends_with_the_log_and_its_draft_is_refused():
    engine = SlowSearch(await SqliteEngine.open(":memory:"))
    await fill(engine, 3000)
    log = MessageLog(engine, memory=True)
    late = asyncio.ensure_future(log.submit(draft(since=1)))
    await engine.searched.wait()
    await log.close(0.1)
    with pytest.raises(Unavailable):
        await late
    await engine.engine.close()


@pytest.mark.gen_test
async def test_what_a_search_does_not_find_is_not_stored_any_more_when_the_log_is_closed():
    """It begins as a put ends for which closing has waited; the store is closed when it has an answer."""
    engine, put, go_on = SlowSearch(MemoryEngine()), asyncio.Event(), asyncio.Event()
    await fill(engine, 3000)
    log = MessageLog(engine, memory=True)
    await log.submit(draft(since=3000))

    async def slow(commit):
        put.set()
        await (go_on if commit.room == "room" else engine.searched).wait()
        await SlowSearch.put(engine, commit)

    engine.put = slow
    other = log.submit(draft(room="other"))  # closing waits for it, too: until the search has begun
    under_way = log.submit(draft(since=3001))
    await put.wait()
    late = log.submit(draft(since=7))  # waits for the put of its room
    closing = asyncio.ensure_future(log.close())
    await asyncio.sleep(0)
    go_on.set()
    await engine.searched.wait()
    await closing
    engine.go_on.set()
    assert ((await under_way).id, (await other).id) == (3002, 1)
    with pytest.raises(Unavailable):
        await late
    assert [commit.first for commit in engine.stored if commit.room == "room"] == [3001, 3002]


@modes
@pytest.mark.gen_test
async def test_a_put_that_was_applied_and_then_overtaken_by_hundreds_is_answered_without_a_search(memory):
    """The winner is not named, so the log is read: the window moves past the draft's own message."""
    async with opened(memory) as (log, engine):
        await log.submit(draft(since=0))
        engine.hides_winner = True
        one = draft("once", since=1)
        engine.faults = itertools.chain(["drop"], itertools.repeat("pass"))
        overtake = engine.engine.put

        async def overtaken(commit):
            await overtake(commit)
            engine.engine.put = overtake
            await fill(engine, 900, first=commit.last + 1)

        engine.engine.put = overtaken
        assert (await log.submit(one)).id == 2
        assert not engine.calls["find"]
        assert await ids_of(engine, one) == [2]


@pytest.mark.gen_test
async def test_a_room_that_others_cleared_does_not_answer_with_what_is_gone():
    async with opened(False) as (log, engine):
        one = draft("once")
        await log.submit(one)
        for _ in range(200):
            await log.submit(draft())
        await engine.put(Commit("room", (), void=(202, 1)))
        await empty(engine.engine, "room", 202)
        assert (await log.submit(one)).id == 203


# Holes


async def with_a_hole(engine):
    await fill(engine, 30)
    await fill(engine, 100, first=41)


@modes
@pytest.mark.gen_test
async def test_a_hole_is_never_taken_for_the_end_of_the_log(memory):
    async with opened(memory) as (log, engine):
        await with_a_hole(engine)
        for last_id in (0, 5, 29, 30, 35, 39):
            plan = await log.plan(StreamRequest("room", last_id, recover=True))
            assert [event.name for event in plan.opening] == ["stream-reset"], last_id
            assert [m.id for m in plan.messages] == list(range(91, 141))
            assert plan.position == 140
        plan = await log.plan(StreamRequest("room", 40))
        assert [m.id for m in plan.messages] == list(range(41, 141))


@modes
@pytest.mark.gen_test
async def test_a_writer_whose_tail_is_below_a_hole_goes_on_at_the_end(memory):
    async with opened(memory) as (log, engine):
        await fill(engine, 30)
        await log.submit(draft(since=30))
        await engine.engine.put(Commit.of(32, [draft()]))
        await fill(engine, 100, first=41)
        log._rooms["room"]._known = -2 * view_module.TAIL_SECONDS, log._rooms["room"]._known[1]
        assert (await log.submit(draft(since=31))).id == 141


@modes
@pytest.mark.gen_test
async def test_the_past_can_be_paged_across_a_hole_forwards(memory):
    async with opened(memory) as (log, engine):
        await with_a_hole(engine)
        page = await log.page("room", after=10, limit=50)
        assert ([m.id for m in page.messages], page.more) == (list(range(11, 31)), 40)
        page = await log.page("room", after=40, limit=50)
        assert ([m.id for m in page.messages], page.more) == (list(range(41, 91)), 90)
        page = await log.page("room", after=90, limit=50)
        assert ([m.id for m in page.messages], page.more) == (list(range(91, 141)), None)
        page = await log.page("room", after=140, limit=50)
        assert (page.messages, page.more, page.last_id) == ((), None, 140)


# What was cleared


@modes
@pytest.mark.parametrize("number", [0, 1, 20, 700])
@pytest.mark.parametrize("cleared", [10, 300])
@pytest.mark.gen_test
async def test_the_past_is_paged_forwards_from_behind_what_was_cleared(memory, number, cleared):
    async with opened(memory) as (log, engine):
        await fill(engine, cleared)
        await log.upkeep.clear("room")
        first = cleared + 2
        for id in range(first, first + number):
            await engine.engine.put(Commit.of(id, [draft()]))
        seen, after, pages = [], 0, 0
        while after is not None:
            page = await log.page("room", after=after, limit=50)
            assert page.last_id == first + number - 1
            seen += [m.id for m in page.messages]
            after, pages = page.more, pages + 1
        assert seen == list(range(first, first + number))
        assert pages == max(1, -(-number // 50))


@modes
@pytest.mark.gen_test
async def test_no_page_forwards_ends_between_what_was_cleared_and_a_hole(memory):
    async with opened(memory) as (log, engine):
        await fill(engine, 300)
        await log.upkeep.clear("room")
        await fill(engine, 10, first=302)
        await fill(engine, 10, first=400)
        seen, after = [], 0
        while after is not None:
            page = await log.page("room", after=after, limit=50)
            seen += [m.id for m in page.messages]
            after = page.more
        assert seen == [*range(302, 312), *range(400, 410)]


@pytest.mark.parametrize("way", [{"after": 0}, {"before": 1000}])
@pytest.mark.gen_test
async def test_no_page_has_messages_beyond_the_last_id_that_it_tells(way):
    async with opened(False) as (log, engine):
        await log.submit(draft())
        read = engine.engine.after if "after" in way else engine.engine.before

        async def late(room, *edges):
            if edges[0] in way.values():  # the last id has been read by now
                await fill(engine, 1, first=2)
            return await read(room, *edges)

        setattr(engine.engine, read.__name__, late)
        page = await log.page("room", **way)
        assert ([m.id for m in page.messages], page.last_id, page.more) == ([1, 2], 2, None)


# Sizes


@modes
@pytest.mark.gen_test
async def test_a_replay_has_a_megabyte_at_the_most_and_so_has_an_opening(memory):
    async with opened(memory) as (log, engine):
        await fill(engine, 400, text=LARGE, first=1)
        near = await log.plan(StreamRequest("room", 340))
        assert [m.id for m in near.messages] == list(range(341, 401))
        for last_id in (0, 330):
            plan = await log.plan(StreamRequest("room", last_id))
            assert [event.name for event in plan.opening] == ["stream-open", "stream-reset"]
            assert [m.id for m in plan.messages] == list(range(351, 401))
        assert size((await log.plan(StreamRequest("room"))).messages) <= REPLAY_BYTES


@pytest.mark.gen_test
async def test_a_reading_from_a_position_that_ends_with_its_bytes_is_not_taken_for_the_end_of_the_log():
    """Few messages, so that all of them would be read at once if they were not so large."""
    async with opened(memory=True) as (log, engine):
        for id in range(1, FIRST):
            await engine.engine.put(Commit.of(id, [replace(draft(LARGE), data={"more": "x" * 4000})]))
        assert (await log.plan(StreamRequest("room", 0))).position == FIRST - 1
        assert (await log.submit(draft(since=FIRST - 1))).id == FIRST


@modes
@pytest.mark.gen_test
async def test_an_opening_of_messages_that_are_mostly_escapes_is_shorter_than_50(memory):
    async with opened(memory) as (log, engine):
        await fill(engine, 60, text="\u2028" * TEXT_CHARACTERS)
        plan = await log.plan(StreamRequest("room"))
        assert 40 <= len(plan.messages) < HISTORY
        assert size(plan.messages) <= REPLAY_BYTES
        assert plan.messages[-1].id == plan.position == 60


@modes
@pytest.mark.gen_test
async def test_a_page_is_bounded_in_bytes_and_says_where_it_goes_on(memory):
    async with opened(memory) as (log, engine):
        await fill(engine, 300, text=LARGE)
        seen, before = [], None
        while before is None or before > 1:
            page = await log.page("room", before, 200)
            assert size(page.messages) <= log_module.PAGE_BYTES
            assert page.last_id == 300
            seen[:0] = [m.id for m in page.messages]
            assert page.more == (seen[0] if seen[0] > 1 else None)
            before = seen[0]
        assert seen == list(range(1, 301))
        seen, after = [], 0
        while after is not None:
            page = await log.page("room", after=after, limit=200)
            assert size(page.messages) <= log_module.PAGE_BYTES
            seen += [m.id for m in page.messages]
            after = page.more
        assert seen == list(range(1, 301))


@modes
@pytest.mark.gen_test
async def test_a_page_that_is_not_cut_says_nothing(memory):
    async with opened(memory) as (log, engine):
        await fill(engine, 300)
        assert (await log.page("room", limit=200)).more is None
        assert (await log.page("room", before=20)).more is None
        assert (await log.page("empty", after=0)).more is None


# Memory


@modes
@in_virtual_time
async def test_a_room_that_turns_out_large_has_another_one_leave_at_once(memory):
    engine = FaultyEngine(MemoryEngine())
    log = MessageLog(engine, memory=memory, most_bytes=100_000)
    await log.submit(draft(room="small"))
    await fill(engine, 64, text="x" * 2000, room="large")
    late = draft(room="large", since=64)
    await log.submit(late)
    asked = engine.calls["tail"]
    await log.submit(draft(room="small"))
    assert engine.calls["tail"] == asked + 1, "it had left memory, and is read again"
    await log.close()


@modes
@pytest.mark.gen_test
async def test_all_rooms_together_keep_to_their_bytes_and_the_least_used_leaves(memory):
    most = 8 << 20
    async with opened(memory, most_bytes=most) as (log, engine):
        for n in range(60):
            await fill(engine, 40, text=LARGE, room=f"room {n}")
            await log.plan(StreamRequest(f"room {n}", 0))
            await log.submit(draft(room=f"room {n}", since=40))
            assert log._rooms.bytes == sum(room.bytes for room in log._rooms.values())
            assert log._rooms.bytes <= most + window_module.WINDOW_BYTES
        assert "room 0" not in log._rooms
        assert "room 59" in log._rooms
        engine.calls.clear()
        await log.submit(draft(room="room 59", since=41))
        assert engine.calls == {"put": 1}
        assert (await log.submit(draft(room="room 0", since=41))).id == 42, "it is read again"


@pytest.mark.gen_test
async def test_a_room_that_was_forgotten_weighs_no_more_than_an_empty_one():
    async with opened(True) as (log, engine):
        await fill(engine, 50)
        await log.plan(StreamRequest("room"))
        assert log._rooms.bytes == log._rooms["room"].bytes > ROOM_BYTES
        log._rooms["room"].forget()
        assert log._rooms.bytes == log._rooms["room"].bytes == ROOM_BYTES


@pytest.mark.gen_test
async def test_a_cold_room_reads_what_is_needed_and_a_long_resume_reads_more():
    async with opened(True) as (log, engine):
        await fill(engine, 900)
        await log.plan(StreamRequest("room"))
        assert len(log._rooms["room"].window.messages) <= view_module.FIRST + 64
        assert log.plan_at_once(StreamRequest("room", 100)) is None
        plan = await log.plan(StreamRequest("room", 100))
        assert [m.id for m in plan.messages] == list(range(101, 901))
        engine.calls.clear()
        assert log.plan_at_once(StreamRequest("room", 101)).messages == plan.messages[1:]
        assert not engine.calls


@pytest.mark.gen_test
async def test_those_who_come_back_to_a_cold_room_together_share_its_reading():
    async with opened(True) as (log, engine):
        await fill(engine, 900)
        plans = await asyncio.gather(*(log.plan(StreamRequest("room", n)) for n in range(0, 800, 100)))
        assert [plan.messages[0].id for plan in plans] == list(range(1, 801, 100))
        assert engine.calls["tail"] == 1
        assert engine.calls["before"] <= 2


# Sleep


@modes
@pytest.mark.gen_test
async def test_a_process_that_slept_does_not_put_at_a_place_that_has_been_freed(memory):
    """The loop's clock stands still while a machine sleeps; the log may have expired up to its last commit."""
    clock = [1_000_000.0]
    async with opened(memory, now=lambda: clock[0]) as (log, engine):
        await log.submit(draft(since=0))
        await fill(engine, 10, first=2)
        emptied = await SqliteEngine.open(":memory:")
        await emptied.put(Commit.of(11, [draft()]))
        old, engine.engine = engine.engine, emptied
        await old.close()
        clock[0] += 8 * 86_400
        message = await log.submit(draft("after the sleep", since=1))
        assert message.id == 12
        assert (await log.page("room")).messages[-1] == message


@modes
@in_virtual_time
async def test_an_answer_that_lay_there_while_the_machine_slept_is_old(memory):
    engine, clock = MemoryEngine(shared=True), [1_000_000.0]
    log = MessageLog(engine, memory=memory, now=lambda: clock[0])
    tail = engine.tail

    async def answered_before_the_sleep(*arguments):
        answer = await tail(*arguments)
        engine.tail = tail
        clock[0] += 8 * 86_400
        engine.commits["room", 11] = Commit.of(11, [draft()])  # by another process; 1 to 10 have expired
        return answer

    engine.tail = answered_before_the_sleep
    assert (await log.submit(draft("after the sleep"))).id == 12


@in_virtual_time
async def test_a_clock_that_was_set_back_by_hours_has_the_tail_looked_at():
    """Nobody knows how long it was: the time may have been wrong before, or be wrong now."""
    engine, clock = FaultyEngine(MemoryEngine(shared=True)), [1_000_000.0]
    log = MessageLog(engine, memory=False, now=lambda: clock[0])
    await log.submit(draft())
    clock[0] -= 2 * view_module.TAIL_SECONDS
    await log.submit(draft())
    assert engine.calls["after"] == 1
    await log.close()


# Readings that wait


class Gate(Store):
    """Its readings wait while it is closed, as in a long queue."""

    def __init__(self, engine):
        super().__init__(engine)
        self.open = asyncio.Event()
        self.entered = asyncio.Event()

    async def tail(self, room, limit):
        self.entered.set()
        await self.open.wait()
        return await super().tail(room, limit)


@modes
@pytest.mark.gen_test
async def test_a_queue_is_no_dead_store_and_who_waits_in_it_is_served(memory, monkeypatch):
    monkeypatch.setattr(reading_module, "RETRY_SECONDS", 0.01)
    engine = Gate(await SqliteEngine.open(":memory:"))
    log = MessageLog(engine, memory=memory)
    reading = asyncio.create_task(log.plan(StreamRequest("room")))
    await engine.entered.wait()
    done, _ = await asyncio.wait([reading], timeout=0.1)
    assert not done, "it has waited for longer than a store may take, and the store has not begun"
    engine.open.set()
    assert (await reading).position == 0
    await log.close()
    await engine.engine.close()


@modes
@pytest.mark.gen_test
async def test_while_the_oldest_reading_has_waited_for_long_another_is_refused_before_it_is_begun(
    memory, monkeypatch
):
    engine = Gate(await SqliteEngine.open(":memory:"))
    log = MessageLog(engine, memory=memory)
    reading = asyncio.create_task(log.plan(StreamRequest("room")))
    await engine.entered.wait()
    monkeypatch.setattr(reading_module, "OVERLOAD_SECONDS", -1.0)
    with pytest.raises(Overloaded):
        await log.plan(StreamRequest("another"))
    with pytest.raises(Overloaded):
        await log.recall(draft(room="another"))
    assert engine.calls["tail"] == 0, "even the first waits at the gate"
    engine.open.set()
    await reading
    assert (await log.plan(StreamRequest("another"))).position == 0, "as soon as that one is served"
    await log.close()
    await engine.engine.close()


@modes
@pytest.mark.gen_test
async def test_a_store_that_does_not_answer_in_its_time_is_told_so_at_once(memory, monkeypatch):
    """The engine took RETRY_SECONDS to say that it does not know: there is no time for another attempt."""
    monkeypatch.setattr(reading_module, "RETRY_SECONDS", 0.1)

    class Dead(Store):
        async def tail(self, room, limit):
            self.calls["tail"] += 1
            await asyncio.sleep(reading_module.RETRY_SECONDS)
            raise Unknown("no answer")

    engine = Dead(await SqliteEngine.open(":memory:"))
    log = MessageLog(engine, memory=memory)
    with pytest.raises(Unavailable):
        await log.plan(StreamRequest("room"))
    assert engine.calls["tail"] == 1
    await log.close()
    await engine.engine.close()


@modes
@pytest.mark.parametrize("at_once", [50, 5])
@in_virtual_time
async def test_all_who_wait_for_a_mute_store_are_told_so_together_and_not_a_few_at_a_time(memory, at_once):
    """Also those who ask when others have been told: they waited elsewhere, for their turn."""

    class Dead(FaultyEngine):
        reads = 2

        async def tail(self, room, limit):
            await asyncio.sleep(reading_module.RETRY_SECONDS)
            raise Unknown("no answer")

        async def after(self, room, id, limit):
            return await self.tail(room, limit)

    log = MessageLog(Dead(MemoryEngine()), memory=memory)
    began = asyncio.get_running_loop().time()
    turns = asyncio.Semaphore(at_once)

    async def asked(n):
        async with turns:
            await log.plan(StreamRequest(f"room {n}", n % 2 or None))

    refused = await asyncio.gather(*map(asked, range(50)), return_exceptions=True)
    assert {type(error) for error in refused} == {Unavailable}
    assert not log._reader._positions
    assert asyncio.get_running_loop().time() - began <= 2 * reading_module.RETRY_SECONDS
    await log.close()


@modes
@in_virtual_time
async def test_a_room_that_cannot_be_read_has_nobody_refused_who_waits_for_another(memory):
    """The store answers, if not for every room: one may be throttled."""

    class Throttling(FaultyEngine):
        reads = 2

        async def tail(self, room, limit):
            await asyncio.sleep(0.2)
            if room == "hot":
                raise Unknown("throttled")
            return await super().tail(room, limit)

    log = MessageLog(Throttling(MemoryEngine()), memory=memory)
    rooms = ["hot", *(f"room {n}" for n in range(50))]
    answers = await asyncio.gather(*(log.plan(StreamRequest(room)) for room in rooms), return_exceptions=True)
    assert [type(answer) is Unavailable for answer in answers] == [True] + [False] * 50
    await log.close()


@modes
@in_virtual_time
async def test_those_who_wait_for_their_turn_share_what_has_not_begun(memory):
    """After a restart the clients of a room come one after the other, while others are read."""

    class Far(FaultyEngine):
        reads, at_once, most = 3, 0, 0

        async def tail(self, room, limit):
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            await asyncio.sleep(0.01)
            self.at_once -= 1
            return await super().tail(room, limit)

    engine = Far(MemoryEngine())
    log = MessageLog(engine, memory=memory)
    asked = []
    for n in range(300 * 5):  # those of a room are far from each other
        asked.append(asyncio.ensure_future(log.plan(StreamRequest(f"room {n % 300}"))))
        await asyncio.sleep(0.0005)
    await asyncio.gather(*asked)
    assert engine.most == 3
    assert engine.calls["tail"] <= 2 * 300, "and not once for each of the 1,500"
    await log.close()


@pytest.mark.gen_test
async def test_a_hole_is_not_hidden_by_the_readings_that_are_shared():
    async with opened(False) as (log, engine):
        await with_a_hole(engine)
        engine.read_faults = deque([Unknown("once")])
        with pytest.raises(Hole):
            await log._reader.patient(lambda: engine.after("room", 5, REPLAY))
