"""Removing messages: the log first, then the store, and what is mended where that was interrupted."""

import asyncio
import contextlib
import uuid
from dataclasses import replace
from types import SimpleNamespace

import pytest

from flychat.commits import COMMIT_MESSAGES, Commit
from flychat.errors import Conflict, Invalid, NotFound, Unavailable
from flychat.fields import REMOVES, iso_date
from flychat.log import MessageLog
from flychat.log.reading import messages_of
from flychat.log.removal import Removals, without
from flychat.messages import ERASED, Draft
from flychat.storage import Taken
from flychat.storage.sqlite import SqliteEngine
from flychat.streams import StreamRequest
from tests.support.fakes import FaultyEngine, MemoryEngine, empty
from tests.support.served import all_leave

gen_test = pytest.mark.gen_test


def draft(text="hi", user=None) -> Draft:
    fields = {"from": "ann", "text": text, "provisionalId": str(uuid.uuid4())}
    return Draft.create("room", fields, now=0, user=user)


def removal(*ids: int, user="mod", erases=False, **fields) -> Draft:
    return Draft.removal("room", ids, fields, now=0, user=user, name="Mod", erases=erases)


def anything(message) -> None:
    """Everybody may remove it."""


@contextlib.asynccontextmanager
async def opened(*, memory: bool, texts: int = 6, engine: FaultyEngine | None = None):
    """A log with as many messages, `text 1` and on, some in one commit."""
    engine = engine or FaultyEngine(MemoryEngine(shared=not memory))
    told: list[Commit] = []
    log = MessageLog(engine, memory=memory, committed=told.append)
    log.told, log.engine = told, engine
    try:
        await asyncio.gather(*(log.submit(draft(f"text {n}")) for n in range(1, texts + 1)))
        yield log
    finally:
        await log.close(0.1)


def stored(log) -> dict[int, str]:
    """The texts in the store, by id."""
    return {m.id: m.text for c in log.engine.engine.of("room") for m in c.messages}


def test_what_was_erased_has_no_name_whoever_removed_it_as_well():
    """Nor where the store still has it: the entries are written first."""
    first = Commit.of(1, [draft(user="ann")])
    for entries in ([removal(1, erases=True), removal(1)], [removal(1), removal(1, erases=True)]):
        tombstone = messages_of([first, Commit.of(2, entries)])[0]
        assert (tombstone.sender, tombstone.user, tombstone.text) == (ERASED, None, "")


each_mode = pytest.mark.parametrize("memory", [True, False], ids=["standalone", "grip"])


@each_mode
@gen_test
async def test_a_removed_message_is_a_tombstone_everywhere_and_the_others_stay(memory):
    async with opened(memory=memory) as log:
        await log.plan(StreamRequest("room"))
        entry = await log.upkeep.remove(removal(2, 4), anything)
        assert (entry.id, entry.sender, entry.text, entry.user) == (7, "Mod", "(removed a message)", "mod")
        assert entry.removes == (2, 4)
        assert stored(log) == {
            1: "text 1",
            2: "",
            3: "text 3",
            4: "",
            5: "text 5",
            6: "text 6",
            7: "(removed a message)",
        }
        plan, resumed = await log.plan(StreamRequest("room")), await log.plan(StreamRequest("room", 1))
        pages = [await log.page("room"), await log.page("room", 5), await log.page("room", after=1)]
        for messages in (plan.messages, resumed.messages, *(page.messages for page in pages)):
            marks = {m.id: m.removed for m in messages}
            assert (marks[2], marks[3], marks[4]) == (7, None, 7)
            assert not {"text 2", "text 4"} & {m.text for m in messages}
        assert [c.last for c in log.told][-1] == 7, "it is published as any message"
        again = await log.submit(draft("after"))
        assert again.id == 8, "ids go on"


@each_mode
@gen_test
async def test_a_second_removal_gets_the_first_ones_entry_whoever_asks(memory):
    async with opened(memory=memory) as log:
        first = await log.upkeep.remove(removal(2), anything)
        second = await log.upkeep.remove(removal(3), anything)
        for again in (removal(2), removal(2, user="other"), removal(2, provisionalId=str(uuid.uuid4()))):
            assert await log.upkeep.remove(again, anything) == first
        assert await log.upkeep.remove(removal(3), anything) == second
        assert (await log.page("room")).last_id == 8


@each_mode
@gen_test
async def test_where_only_some_are_removed_already_the_others_are_removed_now(memory):
    async with opened(memory=memory) as log:
        first = await log.upkeep.remove(removal(2), anything)
        second = await log.upkeep.remove(removal(2, 4), anything)
        marks = {m.id: m.removed for m in (await log.page("room")).messages}
        assert (marks[2], marks[4]) == (first.id, second.id)
        assert stored(log)[4] == ""


@each_mode
@gen_test
async def test_a_removal_that_is_asked_for_again_gets_its_own_entry_though_some_were_removed_before(memory):
    async with opened(memory=memory) as log:
        one = await log.upkeep.remove(removal(1), anything)
        some = await log.upkeep.remove(removal(1, 3, 4), anything)
        two = await log.upkeep.remove(removal(2, 4), anything)
        for again, entry in ((removal(1), one), (removal(1, 3, 4), some), (removal(2, 4), two)):
            assert await log.upkeep.remove(again, anything) == entry


@each_mode
@gen_test
async def test_an_erasure_takes_the_name_of_what_is_removed_already(memory):
    async with opened(memory=memory) as log:
        first = await log.upkeep.remove(removal(2), anything)
        erasure = await log.upkeep.remove(removal(2, erases=True), anything)
        assert erasure.id > first.id
        message = (await log.page("room")).messages[1]
        assert (message.id, message.sender, message.removed) == (2, "[erased]", first.id)
        assert [m.sender for c in log.engine.engine.of("room") for m in c.messages if m.id == 2] == [
            "[erased]"
        ]


@gen_test
async def test_two_removals_at_once_of_one_message_are_one():
    async with opened(memory=True) as log:
        entries = await asyncio.gather(
            *(log.upkeep.remove(removal(2, user=f"{n}"), anything) for n in range(5))
        )
        assert len(set(entries)) == 1


@gen_test
async def test_removals_at_once_of_messages_in_one_commit_are_all_done():
    async with opened(memory=False, texts=20) as log:
        await asyncio.gather(*(log.upkeep.remove(removal(n), anything) for n in range(1, 21)))
        others = [MessageLog(log.engine, memory=False) for _ in range(2)]
        assert not any(text.startswith("text") for text in stored(log).values())
        for other in others:
            await other._common.reader.newest("room", 1)


@gen_test
async def test_processes_that_remove_from_one_commit_do_not_undo_each_other():
    async with opened(memory=False, texts=20) as log:
        others = [log, *(MessageLog(log.engine, memory=False) for _ in range(3))]
        await asyncio.gather(*(others[n % 4].upkeep.remove(removal(n), anything) for n in range(1, 21)))
        assert not any(text.startswith("text") for text in stored(log).values())


@pytest.mark.parametrize("ids", [(9,), (7,), (2, 99), (10**17,)])
@each_mode
@gen_test
async def test_what_is_not_in_the_log_cannot_be_removed_and_nothing_is(memory, ids):
    async with opened(memory=memory) as log:
        with pytest.raises(NotFound):
            await log.upkeep.remove(removal(*ids), anything)
        assert len(log.engine.stored) == len(log.told)
        assert stored(log)[2] == "text 2"


@gen_test
async def test_what_was_cleared_cannot_be_removed():
    async with opened(memory=False) as log:
        await log.engine.put(Commit("room", (), void=(7, 1)))
        await empty(log.engine, "room", 7)
        with pytest.raises(NotFound):
            await log.upkeep.remove(removal(2), anything)


@gen_test
async def test_each_target_is_asked_for_before_anything_is_done():
    def only_the_first(message):
        if message.id > 1:
            raise Invalid("id", "no")

    async with opened(memory=True) as log:
        with pytest.raises(Invalid):
            await log.upkeep.remove(removal(1, 2), only_the_first)
        assert stored(log)[1] == "text 1"
        assert (await log.page("room")).last_id == 6


@pytest.mark.parametrize("fault", ["lose", "break"])
@each_mode
@gen_test
async def test_what_fails_after_the_entry_is_unavailable_and_the_same_again_finishes_it(
    memory, fault, monkeypatch
):
    monkeypatch.setattr("flychat.log.reading.RETRY_SECONDS", 0.0)
    async with opened(memory=memory) as log:
        log.engine.rewrite_faults.extend([fault])
        with pytest.raises(Unavailable):
            await log.upkeep.remove(removal(2), anything)
        assert stored(log)[2] == "text 2", "the log first"
        assert stored(log)[7] == "(removed a message)"
        assert [m.text for m in (await log.page("room")).messages][1] == "", "nobody is shown it"
        entry = await log.upkeep.remove(removal(2), anything)
        assert entry.id == 7, "and no second entry"
        assert stored(log)[2] == ""


@pytest.mark.parametrize("fault", ["lose", "drop", "throttle"])
@gen_test
async def test_a_rewrite_without_an_answer_is_tried_again(fault):
    async with opened(memory=True) as log:
        log.engine.rewrite_faults.extend([fault, fault])
        assert (await log.upkeep.remove(removal(2), anything)).id == 7
        assert stored(log)[2] == ""


@gen_test
async def test_the_entry_is_in_the_log_before_a_text_is_gone():
    async with opened(memory=True) as log:
        log.engine.faults = iter(["break"] * 3)
        with pytest.raises(Unavailable):
            await log.upkeep.remove(removal(2), anything)
        assert stored(log)[2] == "text 2"


@each_mode
@gen_test
async def test_a_process_that_loads_the_room_finishes_what_another_one_left(memory):
    async with opened(memory=memory, texts=200) as log:
        entry = await log.submit(removal(2, 150))  # and no rewrite
        assert stored(log)[150] == "text 150"
        other = MessageLog(log.engine, memory=memory)
        try:
            assert "text 150" not in [m.text for m in (await other.page("room")).messages]
            await other.submit(draft("loads it"))
            while other._common.tasks:
                await asyncio.wait(other._common.tasks)
            assert stored(log)[2] == stored(log)[150] == ""
            assert {
                m.removed for c in log.engine.engine.of("room") for m in c.messages if m.id in (2, 150)
            } == {entry.id}
        finally:
            await other.close(0.1)


@each_mode
@gen_test
async def test_what_is_shown_of_a_message_that_two_have_removed_is_what_the_store_has(memory):
    """It is the one that rewrote the message, which need not be the first in the log."""
    async with opened(memory=memory) as log:
        await log.submit(removal(2, user="one"))  # and no rewrite
        other = MessageLog(log.engine, memory=memory)
        try:
            log.engine.rewrite_faults.append("break")
            await other.submit(draft("loads it"))
            await asyncio.wait(other._common.tasks)
            second = await other.upkeep.remove(removal(2, user="two"), anything)
            [shown] = (await other.page("room", 3, 1)).messages
            assert shown.removed == second.id
            assert shown in [m for c in log.engine.engine.of("room") for m in c.messages]
        finally:
            await other.close(0.1)


@each_mode
@gen_test
async def test_an_erasure_that_was_left_undone_is_finished_with_the_names(memory):
    async with opened(memory=memory, texts=0) as log:
        for user in ("ann", "ann", None):
            await log.submit(draft("a secret", user))
        await log.upkeep.remove(removal(2), anything)  # it is a tombstone already
        entry = await log.submit(removal(1, 2, erases=True))  # and no rewrite
        assert "ann" in log.engine.engine.of("room")[0].payload
        other = MessageLog(log.engine, memory=memory)
        try:
            page = (await other.page("room")).messages
            assert [(m.sender, m.user, m.removed) for m in page[:3]] == [
                ("[erased]", None, entry.id),
                ("[erased]", None, 4),
                ("ann", None, None),
            ], "as it is read, before it is rewritten"
            await other.submit(draft("loads it"))
            while other._common.tasks:
                await asyncio.wait(other._common.tasks)
            payloads = "".join(commit.payload for commit in log.engine.engine.of("room"))
            assert '"u":"ann"' not in payloads
            assert payloads.count('"[erased]"') == 2
        finally:
            await other.close(0.1)


@each_mode
@gen_test
async def test_an_erasure_goes_on_in_steps_and_does_nothing_twice(memory, monkeypatch):
    async with opened(memory=memory, texts=0) as log:
        everything = log.engine.engine.everything

        async def some_of_it(room, above):
            return (await everything(room, above))[:10]

        monkeypatch.setattr(log.engine.engine, "everything", some_of_it)
        for _ in range(3):
            await asyncio.gather(*(log.submit(draft("a secret", "ann")) for _ in range(500)))
        above, erased, steps = 0, 0, 0
        while above is not None:
            some, above = await log.upkeep.erase(
                "room", lambda m: m.is_by("ann", None), lambda ids: removal(*ids, erases=True), above
            )
            erased, steps = erased + some, steps + 1
        assert erased == 1500
        assert steps > 1
        assert {text for id, text in stored(log).items() if id <= 1500} == {""}
        entries = [m for c in log.engine.engine.of("room") for m in c.messages if m.removes]
        assert sorted(id for entry in entries for id in entry.removes) == list(range(1, 1501))


class Expiring(MemoryEngine):
    """As DynamoDB: what has expired is not read any more, and is deleted some time."""

    expired = 0

    def of(self, room):
        commits = super().of(room)
        return commits if self.expired is None else [c for c in commits if c.last > self.expired]

    async def everything(self, room, above):
        return [commit for commit in super().of(room) if commit.first > above]


@gen_test
async def test_what_has_expired_and_is_not_deleted_yet_is_erased_too():
    async with opened(memory=False, texts=0, engine=FaultyEngine(engine := Expiring(shared=True))) as log:
        for text in ("a secret", "of ann", "and more"):
            await log.submit(draft(text, "ann"))
        engine.expired = 2

        def erase(above):
            entry = lambda ids: removal(*ids, erases=True)  # noqa: E731
            return log.upkeep.erase("room", lambda m: m.is_by("ann", None), entry, above)

        assert await erase(0) == (3, None)
        stored = {first: commit for (_, first), commit in engine.commits.items()}
        assert [stored[first].messages for first in (1, 2)] == [(), ()]
        assert "ann" not in "".join(commit.payload for commit in stored.values())
        assert stored[4].messages[0].removes == (3,), "what is read has its entry"
        assert await erase(3) == (0, None)


@gen_test
async def test_what_expires_while_it_is_erased_is_looked_for_again():
    async with opened(memory=False, texts=0, engine=FaultyEngine(engine := Expiring(shared=True))) as log:
        for text in ("a secret", "and more"):
            await log.submit(draft(text, "ann"))

        def entry(ids):
            engine.expired = 1  # between the readings
            return removal(*ids, erases=True)

        assert await log.upkeep.erase("room", lambda m: m.is_by("ann", None), entry, 0) == (2, None)
        assert "ann" not in "".join(commit.payload for commit in engine.commits.values())


@each_mode
@gen_test
async def test_a_room_that_is_cleared_is_empty_at_once_and_told_before_it_is_emptied(memory):
    async with opened(memory=memory, texts=3) as log:
        plan = await log.plan(StreamRequest("room"))
        log.engine.rewrite_faults.extend(["break"])
        with pytest.raises(Unavailable):
            await log.upkeep.clear("room")
        assert (log.told[-1].void, log.told[-1].last) == ((4, 1), 4), "it is published as a commit is"
        assert (await log.page("room")).messages == ()
        resumed = await log.plan(StreamRequest("room", plan.position))
        assert [event.name for event in resumed.opening] == ["stream-open", "stream-reset"]
        assert await log.upkeep.clear("room") == 4, "the same again empties the rest"
        assert stored(log) == {}
        assert (await log.submit(draft("after"))).id == 5


@gen_test
async def test_what_is_known_to_be_done_is_not_looked_at_again():
    async with opened(memory=True) as log:
        await log.upkeep.remove(removal(2), anything)
        reads = log.engine.calls["before"]
        for _ in range(3):
            all_leave(log)
            await log.plan(StreamRequest("room"))
            while log._common.tasks:
                await asyncio.wait(log._common.tasks)
        assert log.engine.calls["before"] == reads


@gen_test
async def test_what_was_done_in_a_room_that_was_forgotten_is_not_known_of_the_one_that_has_its_ids():
    async with opened(memory=False) as log:
        assert (await log.upkeep.remove(removal(2), anything)).id == 7
        log.engine.engine.commits.clear()  # by an operator: clear --forget
        all_leave(log)
        await asyncio.gather(*(log.submit(draft(f"text {n}")) for n in range(1, 7)))
        entry = await log.submit(replace(removal(2), date=iso_date(9)))  # by another process, and no rewrite
        assert (entry.id, stored(log)[2]) == (7, "text 2")
        all_leave(log)
        await log.submit(draft("loads it"))
        while log._common.tasks:
            await asyncio.wait(log._common.tasks)
        assert stored(log)[2] == ""


@gen_test
async def test_what_is_known_to_be_done_is_bounded(monkeypatch):
    monkeypatch.setattr("flychat.log.removal.REMEMBERED", 2)
    async with opened(memory=True) as log:
        for id in range(1, 7):
            await log.upkeep.remove(removal(id), anything)
            assert len(log.upkeep._removals._done) <= 2


@each_mode
@gen_test
async def test_the_authors_late_retry_gets_the_tombstone(memory):
    async with opened(memory=memory, texts=0) as log:
        mine = draft("mine", user="ann")
        await log.submit(mine)
        for n in range(300):
            await log.submit(draft(f"{n}"))
        await log.upkeep.remove(removal(1), anything)
        for again in (replace(mine, since=0), replace(mine, since=0, text="another")):
            assert (await log.submit(again)).removed == 302
        with pytest.raises(Conflict):
            await log.submit(replace(removal(1), removes=(2,)))


@gen_test
async def test_what_is_deleted_as_too_old_while_it_is_removed_is_gone_and_that_will_do(monkeypatch):
    async with opened(memory=True) as log:
        engine = log.engine.engine
        rewrite = engine.rewrite

        async def too_late(old, new):
            await engine.delete(old)
            await rewrite(old, new)

        monkeypatch.setattr(engine, "rewrite", too_late)
        assert (await log.upkeep.remove(removal(1), anything)).removes == (1,)
        assert 1 not in stored(log)


@gen_test
async def test_many_messages_are_read_some_at_a_time_and_all_removed():
    async with opened(memory=False, texts=0) as log:
        for start in range(1, 400, 5):
            await log.engine.put(Commit.of(start, [draft(f"text {n}") for n in range(start, start + 5)]))
        ids = tuple(range(3, 400, 3))
        log.engine.calls.clear()
        await log.upkeep.remove(removal(*ids), anything)
        assert {id for id, text in stored(log).items() if not text} == set(ids)
        assert log.engine.calls["before"] < 40


@each_mode
@gen_test
async def test_what_stands_in_a_file_for_removed_messages_does_not_cut_a_replay_or_a_page_short(memory):
    """As many blanks, of which 300 removed messages have more than a reading may have bytes."""
    engine = await SqliteEngine.open(":memory:")
    log = MessageLog(engine, memory=memory)
    try:
        commits = [Commit.of(first, [draft("\N{UNICORN FACE}" * 2048)] * 5) for first in range(1, 300, 5)]
        (entry,) = Commit.of(301, [removal(*range(1, 301))]).messages
        for commit in commits:
            await engine.put(commit)
            await engine.rewrite(commit, without(commit, entry))
        await engine.put(Commit("room", (entry,)))
        plan = await log.plan(StreamRequest("room", 1))
        assert [m.id for m in plan.messages] == list(range(2, 302))
        assert (plan.position, [event.name for event in plan.opening]) == (301, ["stream-open"])
        page = await log.page("room", 302, 200)
        assert (len(page.messages), page.more) == (200, None)
    finally:
        await log.close()


@gen_test
async def test_messages_that_are_far_apart_are_found_in_a_moment():
    """To look for each commit among all the ids took three times as long."""
    compared = 0

    class Counting(int):
        def __lt__(self, other):
            nonlocal compared
            compared += 1
            return int(self) < other

        def __le__(self, other):
            nonlocal compared
            compared += 1
            return int(self) <= other

    class Reader:
        async def before(self, room, end, limit):
            return everything[end - 1 - limit : end - 1]

    everything = [Commit.of(id, [draft()]) for id in range(1, 65 * REMOVES)]
    ids = [Counting(id) for id in range(COMMIT_MESSAGES, 65 * REMOVES, COMMIT_MESSAGES)][:REMOVES]
    found = await Removals(SimpleNamespace(reader=Reader()), None, None).holding("room", ids)
    assert [commit.first for commit in found] == ids
    assert compared < 12 * COMMIT_MESSAGES * REMOVES


def test_a_commit_without_what_an_entry_removes_takes_the_same_place():
    commit = Commit.of(5, [draft(f"{n}") for n in range(COMMIT_MESSAGES)])
    entry = Commit.of(100, [removal(5, 68, 99)]).messages[0]
    new = without(commit, entry)
    assert (new.first, new.last, new.room) == (commit.first, commit.last, "room")
    assert [m.removed for m in new.messages if m.removed] == [100, 100]
    assert without(new, entry) is None


@gen_test
async def test_a_commit_that_others_rewrite_all_the_time_is_given_up():
    class Hostile(MemoryEngine):
        async def rewrite(self, old, new):
            raise Taken

    async with opened(memory=False, engine=FaultyEngine(Hostile(shared=True))) as log:
        with pytest.raises(Unavailable):
            await log.upkeep.remove(removal(2), anything)


@pytest.mark.parametrize("memory", [True, False], ids=["standalone", "grip"])
@pytest.mark.parametrize("text", ["once", "another one"])
@pytest.mark.parametrize("since", [None, 6])
@gen_test
async def test_an_author_gets_what_others_have_left_of_a_message_and_not_what_is_remembered(
    memory, text, since
):
    engine = FaultyEngine(MemoryEngine(shared=True))
    log, others = (MessageLog(engine, memory=memory) for _ in range(2))
    first = replace(draft("once"), since=since)
    message = await log.submit(first)
    again = replace(first, text=text)
    await others.upkeep.remove(removal(1), anything)
    left = await log.recall(again)
    assert (left.id, left.text, left.removed) == (message.id, "", 2)
    await others.upkeep.clear("room")
    assert (await log.submit(await log.recall(again))).id == 4
    await log.close(0.1)
    await others.close(0.1)
