"""The message log: the rules of log.py, one by one, on SQLite in memory behind an engine that misbehaves."""

import asyncio
import contextlib
import gc
import itertools
import random
import uuid
from collections import Counter
from dataclasses import replace
from functools import partial

import pytest

from flychat.commits import COMMIT_BYTES, Commit
from flychat.errors import Conflict, Unavailable, Unstorable
from flychat.log import MessageLog
from flychat.log import memory as memory_module
from flychat.log import reading as reading_module
from flychat.log import room as room_module
from flychat.log import view as view_module
from flychat.log.memory import ROOM_BYTES
from flychat.log.reading import SharedReads
from flychat.messages import Draft, Message
from flychat.storage import Broken, Taken, Throttled, Unknown
from flychat.storage.sqlite import SqliteEngine
from flychat.streams import REPLAY, StreamRequest
from tests.proof.simulation.virtual import in_virtual_time
from tests.support.cancelling import like_python_3_14
from tests.support.fakes import FaultyEngine, MemoryEngine
from tests.support.served import WAIT

numbers = itertools.count(1)


def draft(text="hi", *, sender="ann", room="room", provisional_id=None) -> Draft:
    fields = {"from": sender, "text": text, "provisionalId": provisional_id or str(uuid.uuid4())}
    return Draft.create(room, fields, now=0)


class GatedEngine(FaultyEngine):
    """Its puts and reads wait while the gate is closed."""

    def __init__(self, engine, faults=()):
        super().__init__(engine, faults)
        self.gate = asyncio.Event()
        self.gate.set()
        self.at_gate = asyncio.Event()

    async def _pass(self):
        self.at_gate.set()
        await self.gate.wait()

    async def put(self, commit):
        await self._pass()
        await super().put(commit)

    async def tail(self, room, limit):
        result = await super().tail(room, limit)  # what was read before the gate may be old behind it
        await self._pass()
        return result


@contextlib.asynccontextmanager
async def opened(*faults, **options):
    """(log, engine, published commits)"""
    engine = GatedEngine(await SqliteEngine.open(":memory:"), faults)
    published: list[Commit] = []
    log = MessageLog(engine, **{"memory": False, **options}, committed=published.append)
    try:
        yield log, engine, published
    finally:
        engine.gate.set()
        await log.close()


async def stored(engine, room="room"):
    return [message for commit in await engine.engine.after(room, 0, 10**6) for message in commit.messages]


@pytest.mark.gen_test
async def test_drafts_become_messages_with_the_next_ids():
    async with opened() as (log, engine, published):
        messages = [await log.submit(draft(f"text {n}")) for n in range(3)]
        assert [(m.id, m.text) for m in messages] == [(1, "text 0"), (2, "text 1"), (3, "text 2")]
        assert await stored(engine) == messages
        assert [m for commit in published for m in commit.messages] == messages


@pytest.mark.gen_test
async def test_what_waits_during_a_put_is_put_together_64_at_a_time():
    async with opened() as (log, engine, published):
        await log.submit(draft())
        engine.gate.clear()
        engine.at_gate.clear()
        first = asyncio.ensure_future(log.submit(draft()))
        await engine.at_gate.wait()
        others = [asyncio.ensure_future(log.submit(draft(f"{n}"))) for n in range(150)]
        await asyncio.sleep(0)
        engine.gate.set()
        await first
        messages = await asyncio.gather(*others)
        assert [m.text for m in sorted(messages, key=lambda m: m.id)] == [f"{n}" for n in range(150)]
        assert [len(commit.messages) for commit in engine.stored] == [1, 1, 64, 64, 22]
        assert published == engine.stored


@pytest.mark.gen_test
async def test_a_commit_stays_within_its_bytes():
    async with opened() as (log, engine, _):
        await asyncio.gather(*(log.submit(draft("\N{GRINNING FACE}" * 4000)) for _ in range(9)))
        assert max(len(commit.messages) for commit in engine.stored) == 4
        assert all(commit.size <= COMMIT_BYTES for commit in engine.stored)
        assert len(await stored(engine)) == 9


@pytest.mark.gen_test
@pytest.mark.parametrize("memory", [False, True])
async def test_a_draft_that_is_sent_again_is_answered_with_its_message_and_not_stored_again(memory):
    async with opened(memory=memory) as (log, engine, published):
        one = draft()
        message = await log.submit(one)
        assert await log.submit(one) == message
        assert await log.recall(one) == message
        assert await asyncio.gather(*(log.submit(one) for _ in range(5))) == [message] * 5
        assert await stored(engine) == [message]
        assert len(published) == 1


@pytest.mark.gen_test
async def test_the_same_draft_twice_in_one_batch_is_one_message():
    async with opened() as (log, engine, _):
        one = draft()
        first, second = await asyncio.gather(log.submit(one), log.submit(one))
        assert first == second
        assert await stored(engine) == [first]


@pytest.mark.gen_test
async def test_a_provisional_id_with_another_text_is_a_conflict():
    async with opened() as (log, engine, _):
        one = draft("one")
        message = await log.submit(one)
        other = draft("other", provisional_id=one.provisional_id)
        with pytest.raises(Conflict):
            await log.submit(other)
        with pytest.raises(Conflict):
            await log.recall(other)
        results = await asyncio.gather(
            log.submit(twice := draft("a")),
            log.submit(draft("b", provisional_id=twice.provisional_id)),
            return_exceptions=True,
        )
        assert results[0].text == "a"
        assert isinstance(results[1], Conflict)
        assert await stored(engine) == [message, results[0]]


@pytest.mark.gen_test
async def test_the_sender_is_part_of_the_key():
    async with opened() as (log, engine, _):
        one = draft("one", sender="ann")
        other = draft("other", sender="bob", provisional_id=one.provisional_id)
        messages = await asyncio.gather(log.submit(one), log.submit(other))
        assert [m.sender for m in messages] == ["ann", "bob"]
        assert len(await stored(engine)) == 2


@pytest.mark.gen_test
@pytest.mark.parametrize("forged_first", [True, False])
async def test_a_forged_provisional_id_is_no_conflict_for_the_author_and_a_message_of_its_own(forged_first):
    """Everybody sees a provisional id before it is stored, so anybody can post another text under it."""
    async with opened() as (log, engine, _):
        by_ann = draft("one")
        by_ann = replace(by_ann, user="ann@example.org")
        forged = [replace(by_ann, user=user, text="not that") for user in (None, "eve")]
        order = [*forged, by_ann] if forged_first else [by_ann, *forged]
        messages = [await log.submit(each) for each in order]
        assert [(m.user, m.text) for m in messages] == [(each.user, each.text) for each in order]
        assert await log.recall(by_ann) == await log.submit(by_ann) == messages[order.index(by_ann)]
        together = [replace(each, provisional_id=str(uuid.uuid4())) for each in order]
        messages += await asyncio.gather(*map(log.submit, together))
        assert await stored(engine) == messages
        with pytest.raises(Conflict):
            await log.submit(replace(by_ann, text="nor that"))


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "faults", [["lose"], ["drop"], ["lose", "lose", "drop"], ["throttle"], ["throttle", "drop"]]
)
async def test_an_unknown_outcome_is_tried_again_at_the_same_place(faults):
    async with opened(*faults) as (log, engine, published):
        message = await log.submit(draft())
        assert await stored(engine) == [message]
        assert {commit.first for commit in engine.tried} == {1}
        assert [m for commit in published for m in commit.messages] == [message]


@pytest.mark.gen_test
async def test_a_late_put_is_recognised_whether_it_comes_first_or_in_vain():
    one = draft()
    async with opened("late", "lose") as (log, engine, published):
        engine.late_after = 1
        message = await log.submit(one)
        assert len(engine.tried) == 3, "the late put came before the second one; the third met it"
        assert await stored(engine) == [message]
        assert published == engine.stored
    async with opened("late") as (log, engine, _):
        message = await log.submit(one)
        await engine.release()
        assert engine.suffered["late in vain"] == 1
        assert await stored(engine) == [message]


@pytest.mark.gen_test
@pytest.mark.parametrize("hidden", [False, True])
async def test_a_lost_race_is_folded_in_and_the_next_place_is_tried(hidden):
    async with opened() as (log, engine, published):
        engine.hides_winner = hidden
        other = MessageLog(engine.engine, memory=False)
        await log.submit(draft())
        for n in range(3):
            await other.submit(draft(f"foreign {n}", sender="bob"))
        message = await log.submit(draft("mine"))
        assert message.id == 5
        assert [m.text for m in await stored(engine)] == ["hi", "foreign 0", "foreign 1", "foreign 2", "mine"]
        assert [(c.first, c.last) for c in published] == [(1, 1), (5, 5)], "others publish what they write"


@pytest.mark.gen_test
async def test_a_message_that_another_process_stored_is_recognised_when_its_client_sends_it_here():
    async with opened() as (log, engine, published):
        await log.submit(draft())
        other = MessageLog(engine.engine, memory=False)
        message = await other.submit(one := draft("mine"))
        assert await log.submit(one) == message
        assert len(await stored(engine)) == 2
        assert published[-1].last == message.id, "whoever wrote it may have died before publishing"


@pytest.mark.gen_test
async def test_after_the_deadline_the_draft_is_refused_and_published_if_it_is_found_in_the_log(monkeypatch):
    async with opened("drop", *["lose"] * 50) as (log, engine, published):
        found = asyncio.Event()
        log._common.committed = lambda commit: (published.append(commit), found.set())
        # an engine that hides the place: every further attempt is lost, so the log must be read again
        posting = asyncio.ensure_future(log.submit(one := draft()))
        while not engine.tried:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        monkeypatch.setattr(room_module, "DEADLINE", 0.0)
        with pytest.raises(Unavailable):
            await posting
        monkeypatch.undo()
        await found.wait()
        assert published == engine.stored
        assert await log.submit(one) == engine.stored[0].messages[0], "to send again is safe"
        assert len(await stored(engine)) == 1


@pytest.mark.gen_test
async def test_the_deadline_holds_for_a_writer_that_only_loses_too(monkeypatch):
    monkeypatch.setattr(room_module, "DEADLINE", 0.5)

    class Greedy(FaultyEngine):
        async def put(self, commit):
            raise Taken()

    log = MessageLog(Greedy(await SqliteEngine.open(":memory:")), memory=False)
    with pytest.raises(Unavailable):
        await log.submit(draft())
    await log.close(0.01)


@pytest.mark.parametrize("submitted", [True, False], ids=["submitted", "by the writer"])
@in_virtual_time
async def test_too_many_drafts_for_the_store_are_refused_and_nothing_is_forgotten(submitted):
    class Slow(FaultyEngine):
        async def put(self, commit):
            await asyncio.sleep(room_module.DEADLINE + 1)
            await super().put(commit)

    log = MessageLog(engine := Slow(MemoryEngine(shared=not submitted)), memory=False)
    await log._rooms.use("room").warm()
    engine.calls.clear()
    outcomes = await asyncio.gather(*(log.submit(draft()) for _ in range(200)), return_exceptions=True)
    stored = 1 if submitted else 64  # the first one is put at once, before the others come
    assert [m.id for m in outcomes if isinstance(m, Message)] == list(range(1, stored + 1))
    assert {str(error) for error in outcomes[stored:]} == {"too many messages are waiting for the store"}
    assert engine.calls == {"put": 1}
    await log.close()


@pytest.mark.gen_test
async def test_a_draft_that_was_refused_and_not_stored_can_be_sent_again(monkeypatch):
    monkeypatch.setattr(room_module, "DEADLINE", 0.5)
    async with opened(*["lose"] * 8) as (log, engine, _):
        with pytest.raises(Unavailable):
            await log.submit(one := draft())
        while True:
            with contextlib.suppress(Unavailable):
                message = await log.submit(one)
                break
        assert await stored(engine) == [message]


@pytest.mark.gen_test
async def test_a_poisonous_message_fails_alone():
    async with opened() as (log, engine, _):
        engine.rejects_over = 2000
        drafts = [draft("x" * (3000 if n == 5 else 10)) for n in range(12)]
        results = await asyncio.gather(*map(log.submit, drafts), return_exceptions=True)
        assert isinstance(results.pop(5), Unstorable)
        assert await stored(engine) == sorted(results, key=lambda m: m.id)
        assert len(results) == 11


@pytest.mark.gen_test
async def test_a_misconfigured_store_fails_at_once():
    async with opened("break") as (log, engine, _):
        with pytest.raises(Unavailable):
            await log.submit(draft())
        assert len(engine.tried) == 1
    async with opened() as (log, engine, _):
        engine.read_faults.append(Broken("no such table"))
        with pytest.raises(Broken):
            await log.plan(StreamRequest("room"))


@pytest.mark.gen_test
async def test_a_put_goes_on_when_its_request_is_gone():
    async with opened() as (log, engine, published):
        engine.gate.clear()
        request = asyncio.ensure_future(log.submit(draft()))
        await engine.at_gate.wait()
        behind = log.submit(draft("behind"))
        request.cancel()
        await asyncio.wait([request])
        engine.gate.set()
        assert (await behind).id == 2, "it is no harm to others"
        await log.close()
        assert [c.last for c in engine.stored] == [c.last for c in published] == [2]


@pytest.mark.gen_test
async def test_closing_waits_for_what_is_being_written_and_refuses_the_rest():
    async with opened() as (log, engine, _):
        engine.gate.clear()
        request = asyncio.ensure_future(log.submit(draft()))
        await engine.at_gate.wait()
        await log.close(0.01)
        with pytest.raises(Unavailable):
            await request


class SlowPuts(FaultyEngine):
    """Each of its puts takes a second."""

    async def put(self, commit):
        await asyncio.sleep(1)
        await super().put(commit)


@in_virtual_time
async def test_closing_waits_for_a_put_that_has_no_writer():
    log = MessageLog(SlowPuts(MemoryEngine()), memory=True)
    await log.submit(draft())
    flying = log.submit(draft())  # the end of the log is known
    began = asyncio.get_running_loop().time()
    await log.close()
    assert asyncio.get_running_loop().time() - began == 1
    assert flying.result().id == 2


@in_virtual_time
async def test_a_put_that_closing_does_not_wait_for_is_refused_with_all_that_waits_behind_it():
    published: list[Commit] = []
    log = MessageLog(SlowPuts(MemoryEngine()), memory=True, committed=published.append)
    await log.submit(draft())
    gone, *late = [log.submit(draft()) for _ in range(3)]
    gone.cancel()
    await log.close(0.5)
    for each in late:
        with pytest.raises(Unavailable):
            await each
    await asyncio.sleep(2)
    assert [commit.last for commit in published] == [1], "nobody is told of it any more"


@in_virtual_time
async def test_who_sends_the_same_again_and_goes_takes_nothing_back_of_what_is_being_stored():
    log = MessageLog(SlowPuts(MemoryEngine()), memory=True)
    await log.submit(draft())
    log.submit(draft())  # the two wait behind it
    one = draft("once")
    first, second = log.submit(one), log.submit(again := replace(one))
    await asyncio.sleep(1.5)
    log.withdraw(again)
    assert await first == await second
    await log.close()


@in_virtual_time
async def test_closing_does_not_wait_for_a_look_at_what_was_given_up():
    """It may be in the log, and a store that is down does not tell: the next process finds it there, if it is."""
    loop, engine = asyncio.get_running_loop(), FaultyEngine(MemoryEngine(), ["lose"] * 1000)
    log = MessageLog(engine, memory=True)
    await log.plan(StreamRequest("room"))
    engine.read_faults.extend([Unknown("down")] * 1000)
    with pytest.raises(Unavailable):
        await log.submit(draft())
    assert log._rooms["room"].writing
    began = loop.time()
    await log.close()
    assert loop.time() - began < room_module.DEADLINE / 2


@pytest.mark.gen_test
async def test_a_writer_that_ends_with_an_error_leaves_nobody_waiting(monkeypatch):
    monkeypatch.setattr(room_module, "DEADLINE", 1000.0)
    asyncio.get_running_loop().set_exception_handler(None)  # which logs the error

    class Wrong(FaultyEngine):
        async def put(self, commit):
            raise ZeroDivisionError("no store fails like this")

    log = MessageLog(Wrong(MemoryEngine(shared=True)), memory=False)
    async with asyncio.timeout(WAIT):
        outcomes = await asyncio.gather(*(log.submit(draft()) for _ in range(3)), return_exceptions=True)
        with pytest.raises(Unavailable):
            await log.submit(draft())
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 3
    await log.close()


@pytest.mark.gen_test
async def test_it_is_the_draft_that_nobody_waits_for_that_is_withdrawn():
    async with opened() as (log, engine, _):
        engine.gate.clear()
        drafts = [draft(f"text {n}") for n in range(3)]
        first, gone, last = map(log.submit, drafts)
        await engine.at_gate.wait()
        log.withdraw(drafts[1])
        engine.gate.set()
        with pytest.raises(Unavailable):
            await gone
        messages = [await first, await last]
        assert await stored(engine) == messages


@in_virtual_time
async def test_a_store_that_stays_misconfigured_is_asked_once_a_second():
    engine = FaultyEngine(MemoryEngine(), ["break"])
    log = MessageLog(engine, memory=False)
    with pytest.raises(Unavailable):
        await log.submit(draft())
    engine.read_faults.extend([Broken("no such table")] * 100)  # it is looked whether the draft is there
    await asyncio.sleep(5.5)
    assert engine.calls["tail"] == 6
    await log.close(0)


@pytest.mark.gen_test
async def test_once_it_closes_nothing_is_written_any_more():
    """A request may still come, on a connection that is open: it is refused, and not stored unseen."""
    async with opened() as (log, engine, _):
        await log.submit(draft())
        await log.close()
        with pytest.raises(Unavailable):
            await log.submit(draft("too late"))
        assert engine.calls["put"] == 1


@pytest.mark.gen_test
async def test_a_read_that_is_tried_again_ends_when_the_log_closes():
    async with opened() as (log, engine, _):
        engine.read_faults.extend([Unknown()] * 3)
        reading = asyncio.create_task(log.page("room"))
        while engine.calls["tail"] < 2:  # noqa: ASYNC110 - a few turns of the loop
            await asyncio.sleep(0)
        await log.close()
        with pytest.raises(Unavailable):
            await reading
        assert engine.calls["tail"] == 2


@pytest.mark.gen_test
async def test_a_reading_in_two_steps_ends_when_the_log_closes_between_them():
    async with opened() as (log, engine, _):
        await log.submit(draft())
        begun, go_on = asyncio.Event(), asyncio.Event()
        after = engine.after

        async def slow(*arguments):
            begun.set()
            await go_on.wait()
            return await after(*arguments)

        engine.after = slow
        reading = asyncio.create_task(log.plan(StreamRequest("room", 10**6)))  # then the newest are read
        await begun.wait()
        engine.engine.close, close = lambda: asyncio.sleep(0), engine.engine.close
        await log.close()
        go_on.set()
        with pytest.raises(Unavailable):
            await reading
        assert engine.calls["tail"] == 1  # of the writer
        await close()


@pytest.mark.gen_test
async def test_a_reading_that_takes_a_store_several_steps_ends_when_the_log_closes_between_them():
    engine = await SqliteEngine.open(":memory:")
    for id in range(1, 101):
        await engine.put(Commit.of(id, [draft()]))
    log = MessageLog(engine, memory=False)
    begun, go_on, ask = asyncio.Event(), asyncio.Event(), engine._worker.ask

    async def slow(question):
        answer = await ask(question)
        begun.set()
        await go_on.wait()
        return answer

    engine._worker.ask = slow
    reading = asyncio.create_task(log.plan(StreamRequest("room", 0)))
    await begun.wait()
    await log.close()
    go_on.set()
    with pytest.raises(Unavailable):
        await reading


@in_virtual_time
async def test_writers_who_contend_for_a_room_take_turns():
    """Who wins lets others go first: else the one that is quickest to know of its win wins again."""

    class Distant(FaultyEngine):
        async def put(self, commit):
            await asyncio.sleep(0.005)
            try:
                await super().put(commit)
            finally:
                await asyncio.sleep(0.005 + 0.001 * self.number)

    store, written = MemoryEngine(shared=True), Counter()
    logs = []
    for number in range(3):
        engine = Distant(store)
        engine.number = number
        logs.append(MessageLog(engine, memory=False, rng=random.Random(number)))

    async def keep_saying(number):
        while asyncio.get_running_loop().time() < 10:
            with contextlib.suppress(Unavailable):
                await logs[number].submit(draft())
                written[number] += 1

    await asyncio.gather(*(keep_saying(number) for number in range(3) for _ in range(16)))
    assert min(written.values()) > max(written.values()) / 3, written
    await asyncio.gather(*(log.close() for log in logs))


@in_virtual_time
async def test_a_writer_whose_tail_is_old_sees_that_the_log_has_lost_its_beginning():
    """Its place may be free: what is put there gets an id that was given already, and is in no page."""
    engine = MemoryEngine(shared=True)
    one, other = (MessageLog(engine, memory=False) for _ in range(2))
    assert (await one.submit(draft())).id == 1
    for _ in range(3):
        await other.submit(draft())
    for place in (1, 2):
        del engine.commits["room", place]
    await asyncio.sleep(view_module.TAIL_SECONDS + 1)
    assert (await one.submit(draft("late"))).id == 5
    assert [m.id for m in (await other.page("room")).messages] == [3, 4, 5]


@in_virtual_time
async def test_what_was_given_up_stays_in_doubt_when_more_is_given_up():
    engine = FaultyEngine(MemoryEngine(), ["drop", *["lose"] * 100])
    published: list[Commit] = []
    log = MessageLog(engine, memory=False, committed=published.append)
    first = log.submit(draft("stored, and the answer lost"))
    await asyncio.sleep(1)
    second = log.submit(draft("given up a second later"))
    with pytest.raises(Unavailable):
        await first
    engine.read_faults.extend([Unknown("no answer")] * 100)
    with pytest.raises(Unavailable):
        await second
    engine.read_faults.clear()
    await asyncio.sleep(5)
    assert [m.text for commit in published for m in commit.messages] == ["stored, and the answer lost"]


@in_virtual_time
async def test_a_room_is_not_read_again_and_again_for_a_draft_that_was_never_put():
    """While the store is away, each room in which somebody writes would be, once a second, and could not leave."""
    engine = FaultyEngine(MemoryEngine())
    log = MessageLog(engine, memory=True)
    engine.tail = failing
    with pytest.raises(Unavailable):
        await log.submit(draft())
    await asyncio.sleep(5)
    assert [room.busy for room in log._rooms.values()] == [False]
    await log.close()


async def failing(*arguments):
    raise Unknown("no answer")


@in_virtual_time
async def test_a_reading_that_was_overtaken_does_not_take_the_window_back():
    class Slow(FaultyEngine):
        async def tail(self, room, limit):
            result = await super().tail(room, limit)
            if self.calls["tail"] == 1:
                await asyncio.sleep(1)
            return result

    log = MessageLog(Slow(MemoryEngine()), memory=True)
    reading = asyncio.create_task(log.page("room"))
    await asyncio.sleep(0.5)
    message = await log.submit(draft())  # which reads for itself
    assert (await reading).messages == (message,)
    assert (await log.page("room")).messages == (message,)
    await log.close()


@pytest.mark.gen_test
async def test_a_room_that_is_being_written_does_not_leave_memory():
    """Else there would be two of it, and the one that is read would not learn what the other writes."""
    async with opened(memory=True, most_bytes=1) as (log, engine, _):
        await log.submit(draft())
        engine.gate.clear()
        engine.at_gate.clear()
        writing = asyncio.ensure_future(log.submit(draft("two")))
        await engine.at_gate.wait()
        for room in ("a", "b"):
            reading = asyncio.create_task(log.page(room))
            await asyncio.sleep(0)
            reading.cancel()
        again = asyncio.create_task(log.page("room"))
        for _ in range(5):
            await asyncio.sleep(0)
        engine.gate.set()
        await again
        assert (await writing).id == 2
        assert [m.id for m in (await log.page("room")).messages] == [1, 2]


@pytest.mark.gen_test
async def test_with_memory_a_warm_room_is_read_from_memory_only():
    async with opened(memory=True) as (log, engine, _):
        await asyncio.gather(*(log.submit(draft(f"{n}")) for n in range(300)))
        reads = engine.calls.copy()
        await log.page("room")
        await log.page("room", before=200, limit=100)
        for last_id in (None, 0, 17, 250, 300, 301):
            await log.plan(StreamRequest("room", last_id))
        assert engine.calls == reads


@pytest.mark.gen_test
async def test_the_log_is_known_to_end_at_its_last_id_and_at_no_other():
    async with opened(memory=True) as (log, _, _):
        for _ in range(2):
            await log.submit(draft())
        assert [id for id in range(4) if log.ends_at("room", id)] == [2]
        assert not log.ends_at("another room", 0)


@pytest.mark.gen_test
async def test_both_ways_of_reading_give_the_same_plans_and_pages():
    async with opened(memory=True) as (warm, engine, _):
        cold = MessageLog(engine, memory=False)
        for size in (1, 64, 3, 640, 1, 500):
            await asyncio.gather(*(warm.submit(draft(f"{n}")) for n in range(size)))
            tail = (await cold.page("room", limit=1)).last_id
            for last_id in (
                None,
                0,
                1,
                2,
                60,
                64,
                65,
                70,
                tail - REPLAY,
                tail - REPLAY - 1,
                tail - 1,
                tail,
                tail + 1,
                10**18,
            ):
                for recover in (False, True):
                    request = StreamRequest("room", last_id, recover)
                    assert await warm.plan(request) == await cold.plan(request), request
            for before in (None, 0, 1, 2, 40, 65, 66, tail, tail + 1, tail + 2, 10**18):
                for limit in (1, 50, 200):
                    page = await cold.page("room", before, limit)
                    assert await warm.page("room", before, limit) == page, (before, limit)
                    end = tail if before is None else max(0, min(tail, before - 1))
                    assert [m.id for m in page.messages] == list(range(max(1, end - limit + 1), end + 1))


@pytest.mark.gen_test
async def test_without_memory_equal_readers_share_one_reading_that_began_after_they_asked():
    async with opened() as (log, engine, _):
        await log.submit(draft())
        engine.gate.clear()
        engine.at_gate.clear()
        reads = engine.calls["tail"]
        early = [asyncio.create_task(log.plan(StreamRequest("room"))) for _ in range(20)]
        await engine.at_gate.wait()  # their reading has happened, and is on its way back
        await MessageLog(engine.engine, memory=False).submit(draft())
        late = [asyncio.create_task(log.plan(StreamRequest("room"))) for _ in range(20)]
        await asyncio.sleep(0)
        engine.gate.set()
        assert {plan.position for plan in await asyncio.gather(*early)} == {1}
        assert {plan.position for plan in await asyncio.gather(*late)} == {2}
        assert engine.calls["tail"] == reads + 2


@pytest.mark.gen_test
async def test_while_a_reading_goes_on_all_who_ask_for_the_same_wait_for_one_more():
    async with opened() as (log, engine, _):
        engine.gate.clear()
        asked = []
        for _ in range(4):
            asked.append(asyncio.ensure_future(log.plan(StreamRequest("room"))))
            await engine.at_gate.wait()
            for _ in range(5):
                await asyncio.sleep(0)
        engine.gate.set()
        await asyncio.gather(*asked)
        assert engine.calls["tail"] == 2


@pytest.mark.gen_test
@pytest.mark.parametrize("fails", [False, True])
async def test_of_readings_that_have_ended_nothing_is_kept(fails):
    async with opened() as (log, engine, _):
        if fails:
            engine.read_faults.append(Broken("no such table"))
        with pytest.raises(Broken) if fails else contextlib.nullcontext():
            await log.plan(StreamRequest("room"))
        await asyncio.gather(*(log.plan(StreamRequest(f"room {n % 3}", n)) for n in range(9)))
        reader = log._reader
        left = reader._shared._next, reader._shared._running, reader._under_way, reader._positions
        assert [len(each) for each in left] == [0, 0, 0, 0]


@pytest.mark.gen_test
async def test_a_failed_reading_is_shared_too_and_the_next_one_is_new():
    reads = SharedReads()
    outcomes = iter([Unavailable("first"), "second"])

    async def read():
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    asked = partial(reads.get, "key", read, contextlib.nullcontext())
    results = await asyncio.gather(*(asked() for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 3
    assert await asked() == "second"


async def a_few_turns() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.mark.gen_test
@pytest.mark.parametrize("begun", [True, False])
async def test_if_who_reads_is_cancelled_all_others_have_it_read_once_more_and_nobody_is_left_behind(begun):
    reads, turns, calls, go = SharedReads(), asyncio.Semaphore(1), [], asyncio.Event()

    async def read():
        calls.append("read")
        await go.wait()
        return len(calls)

    ask = partial(reads.get, "key", read, turns)
    if not begun:
        await turns.acquire()
    asked = [asyncio.create_task(ask()) for _ in range(4)]
    await a_few_turns()
    assert len(calls) == begun
    late = [asyncio.create_task(ask())]
    await a_few_turns()
    for task in asked[:2]:
        task.cancel()
    await asyncio.wait(asked[:2])
    assert all(task.cancelled() for task in asked[:2])
    await a_few_turns()
    late.append(asyncio.create_task(ask()))
    await a_few_turns()
    if not begun:
        turns.release()
    go.set()
    assert await asyncio.gather(*asked[2:]) == [1 + begun] * 2
    assert await asyncio.gather(*late) == [3 if begun else 1] * 2
    await a_few_turns()
    assert [*reads._next, *reads._running, *reads._tasks] == []
    assert not turns.locked()


@pytest.mark.gen_test
async def test_a_read_that_fails_for_the_others_of_one_who_was_cancelled_fails_for_all_of_them():
    reads, begun = SharedReads(), asyncio.Event()

    async def read():
        if begun.is_set():
            raise Unavailable("now")
        begun.set()
        await asyncio.Event().wait()

    asked = [asyncio.create_task(reads.get("key", read, contextlib.nullcontext())) for _ in range(3)]
    await begun.wait()
    asked[0].cancel()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError, Unavailable, Unavailable]


@pytest.mark.gen_test
async def test_that_a_read_failed_for_which_nobody_waits_any_more_is_not_told_as_unheard(monkeypatch):
    like_python_3_14(monkeypatch)
    told, reads, go = [], SharedReads(), asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))

    async def read():
        await go.wait()
        raise Unavailable("now")

    asked = [asyncio.create_task(reads.get("key", read, contextlib.nullcontext())) for _ in range(2)]
    await a_few_turns()
    for task in asked:
        task.cancel()
        await a_few_turns()
    go.set()
    while reads._tasks:  # noqa: ASYNC110 - each turn of the loop counts
        await asyncio.sleep(0)
    del task, asked  # which keep what they waited for
    gc.collect()
    assert not told


@pytest.mark.gen_test
async def test_who_reads_for_nobody_else_and_is_cancelled_is_not_read_for_and_keeps_nobody_waiting():
    reads, calls = SharedReads(), []

    async def read(name, go):
        calls.append(name)
        await go.wait()
        return name

    def ask(name, go):
        return asyncio.create_task(reads.get("key", partial(read, name, go), contextlib.nullcontext()))

    never, now = asyncio.Event(), asyncio.Event()
    now.set()
    first, other = ask("first", never), ask("other", never)
    await a_few_turns()
    other.cancel()  # who shares it
    second = ask("second", never)
    await a_few_turns()
    second.cancel()  # while it waits for the end of the first
    await asyncio.wait([second, other])
    third = ask("third", now)
    await a_few_turns()
    first.cancel()
    assert await third == "third"
    assert calls == ["first", "third"]
    assert [*reads._next, *reads._running, *reads._tasks] == []


@pytest.mark.gen_test
@pytest.mark.parametrize("memory", [False, True])
async def test_a_read_survives_a_passing_fault_and_gives_up_when_it_lasts(memory, monkeypatch):
    async with opened(memory=memory) as (log, engine, _):
        engine.read_faults.extend([Unknown(), Throttled()])
        assert (await log.plan(StreamRequest("room"))).position == 0
        monkeypatch.setattr(reading_module, "RETRY_SECONDS", 0.1)
        engine.read_faults.extend([Unknown()] * 1000)
        with pytest.raises(Unavailable):
            await log.plan(StreamRequest("another"))
        with pytest.raises(Unavailable):
            await log.check()
        engine.read_faults.clear()
        monkeypatch.undo()
        await log.check()


@pytest.mark.gen_test
async def test_a_recovery_at_the_head_of_the_log_is_one_small_read():
    async with opened() as (log, engine, _):
        await asyncio.gather(*(log.submit(draft()) for _ in range(300)))
        engine.calls.clear()
        plan = await log.plan(StreamRequest("room", 300, recover=True))
        assert (plan.parts, plan.position) == ((), 300)
        assert engine.calls == {"after": 1}


@pytest.mark.gen_test
async def test_a_warm_room_whose_log_begins_late_is_read_from_memory_only_as_well():
    async with opened(memory=True) as (log, engine, _):
        await engine.put(Commit("room", (), void=(1, 7)))
        assert (await log.submit(draft())).id == 8
        engine.calls.clear()
        assert [m.id for m in (await log.page("room")).messages] == [8]
        assert (await log.page("room", before=8)).messages == ()
        assert not engine.calls


@pytest.mark.gen_test
async def test_a_store_that_others_write_to_is_read_and_not_remembered():
    engine = FaultyEngine(MemoryEngine(shared=True))
    log = MessageLog(engine, memory=True)
    await log.submit(draft())
    await MessageLog(engine.engine, memory=False).submit(draft("of another process"))
    assert log.plan_at_once(StreamRequest("room")) is None
    assert (await log.page("room")).last_id == 2
    assert (await log.page("room", after=1)).last_id == 2
    assert (await log.plan(StreamRequest("room", 2))).opening[-1].name == "stream-open"
    engine.engine.commits.clear()
    plan = await log.plan(StreamRequest("room", 2, recover=True))
    assert [event.name for event in plan.opening] == ["stream-reset"]
    assert plan.position == 0
    await log.close()


@pytest.mark.gen_test
async def test_unused_rooms_leave_memory_and_busy_ones_stay(monkeypatch):
    async with opened(memory=True, most_bytes=4 * ROOM_BYTES) as (log, engine, _):
        engine.gate.clear()
        busy = asyncio.ensure_future(log.submit(draft(room="busy")))
        await engine.at_gate.wait()
        engine.gate.set()
        for n in range(10):
            await log.plan(StreamRequest(f"room {n}"))
        assert len(log._rooms) <= 4
        assert (await busy).id == 1
        engine.calls.clear()
        await log.plan(StreamRequest("room 9"))
        assert not engine.calls
        monkeypatch.setattr(memory_module, "IDLE", -1.0)
        await log.plan(StreamRequest("room 9"))
        assert list(log._rooms) == ["room 9"]
