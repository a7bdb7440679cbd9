"""A room is cleared, and forgotten: whoever writes meanwhile, and whatever answer is lost."""

import uuid

import pytest

from flychat.commits import Commit
from flychat.log.clearing import clear, forget
from flychat.messages import Draft
from flychat.storage import Taken, Unknown
from tests.support.fakes import FaultyEngine, MemoryEngine

gen_test = pytest.mark.gen_test


def commit(first: int, count: int = 1) -> Commit:
    drafts = [
        Draft("tea", "Ann", "hello", "2026-01-31T12:00:00.123Z", str(uuid.uuid4())) for _ in range(count)
    ]
    return Commit.of(first, drafts)


async def patiently(call):
    while True:
        try:
            return await call()
        except Unknown:
            pass


class Parts(MemoryEngine):
    """It shows four commits at once. `lost` is the number of deletions that are done, and not answered."""

    lost = 0

    async def everything(self, room, above):
        return (await super().everything(room, above))[:4]

    async def delete(self, commit):
        await super().delete(commit)
        if self.lost:
            self.lost -= 1
            raise Unknown("no answer")


async def with_messages() -> Parts:
    engine = Parts()
    for first, count in ((1, 1), (2, 3), (5, 1), (6, 2), (8, 1)):
        await engine.put(commit(first, count))
    return engine


def places(engine) -> list[tuple[int, int, int]]:
    """Of each commit its first id, how many ids it has, and how many messages."""
    return [(each.first, each.ids, len(each.messages)) for each in engine.of("tea")]


CLEARED = [(1, 1, 0), (2, 3, 0), (5, 1, 0), (6, 2, 0), (8, 1, 0), (9, 1, 0)]


@gen_test
async def test_a_cleared_room_keeps_its_ids_and_takes_one_more():
    engine, told = await with_messages(), []
    assert await clear(engine, "tea", patiently, told.append) == 9
    assert places(engine) == CLEARED
    assert [void.first for void in told] == [9]


@gen_test
async def test_what_never_was_is_not_made_and_what_is_cleared_takes_no_further_id():
    engine = await with_messages()
    assert await clear(engine, "coffee", patiently) == 0
    for _ in range(2):
        assert await clear(engine, "tea", patiently) == 9
    assert [each for each in engine.commits if each[0] != "tea"] == []
    assert places(engine) == CLEARED


@gen_test
async def test_what_is_empty_already_is_not_written_again():
    engine = FaultyEngine(await with_messages())
    for _ in range(2):
        await clear(engine, "tea", patiently)
        assert engine.calls["rewrite"] == 5, "one for each commit that had messages"


@gen_test
async def test_who_was_stopped_goes_on_where_the_room_has_messages_still():
    engine = await with_messages()
    await engine.put(Commit("tea", (), void=(9, 1)))
    assert await clear(engine, "tea", patiently) == 9
    assert places(engine) == CLEARED


@pytest.mark.parametrize("hides_winner", [True, False])
@pytest.mark.parametrize("messages", [1, 0])
@gen_test
async def test_somebody_may_be_faster(hides_winner, messages):
    """A writer: then behind him. One who clears the room as well: then that is done."""
    engine = FaultyEngine(await with_messages())
    engine.hides_winner = hides_winner
    tail = engine.tail

    async def late(room, limit):
        engine.tail = tail
        seen = await tail(room, limit)
        await engine.engine.put(commit(9) if messages else Commit("tea", (), void=(9, 1)))
        return seen

    engine.tail = late
    assert await clear(engine, "tea", patiently) == (10 if messages else 9)
    assert places(engine.engine) == CLEARED + [(10, 1, 0)] * messages


@gen_test
async def test_what_is_written_after_the_room_was_cleared_stays():
    engine = await with_messages()
    written = commit(10)
    await clear(engine, "tea", patiently, lambda void: engine.commits.update({("tea", 10): written}))
    assert places(engine) == [*CLEARED, (10, 1, 1)]


@gen_test
async def test_a_commit_that_somebody_rewrites_meanwhile_is_emptied_as_well():
    engine = await with_messages()
    everything = engine.everything

    async def before_it_changes(room, above):
        engine.everything = everything
        read = await everything(room, above)
        engine.commits["tea", 2] = commit(2, 3)
        return read

    engine.everything = before_it_changes
    assert await clear(engine, "tea", patiently) == 9
    assert places(engine) == CLEARED


@pytest.mark.parametrize("fault", ["lose", "drop"])
@gen_test
async def test_answers_may_be_lost(fault):
    engine = FaultyEngine(await with_messages(), [fault] * 2)
    engine.rewrite_faults.extend([fault, "pass", fault, fault, fault])
    assert await clear(engine, "tea", patiently) == 9
    assert places(engine.engine) == CLEARED


@gen_test
async def test_what_is_left_of_a_cleared_room_can_be_forgotten():
    engine = await with_messages()
    await clear(engine, "tea", patiently)
    engine.lost = 2
    assert await forget(engine, "tea", patiently)
    assert not engine.commits


@gen_test
async def test_what_was_written_meanwhile_is_not_forgotten():
    engine = await with_messages()
    await clear(engine, "tea", patiently)
    await engine.put(commit(10))
    assert not await forget(engine, "tea", patiently)
    assert places(engine) == [(10, 1, 1)]


@gen_test
async def test_a_room_that_another_operator_forgets_meanwhile_is_clear():
    class Forgotten(MemoryEngine):
        async def put(self, commit):
            if commit.messages:
                return await super().put(commit)
            self.commits.clear()  # another one's void commit was there, and is gone
            raise Taken  # by a server that does not tell by whom

    engine = Forgotten()
    await engine.put(commit(1))
    assert await clear(engine, "tea", patiently) == 0
