"""What an operator does to the store: export, clear, retention. Ids go on, and streams stay right."""

import asyncio
import contextlib
import errno
import io
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import types
import uuid
from collections import Counter
from functools import partial

import pytest
from botocore.exceptions import ClientError

from flychat.commits import Commit
from flychat.errors import Misconfigured
from flychat.fields import iso_date
from flychat.hub import local as local_module
from flychat.log import MessageLog
from flychat.log import view as view_module
from flychat.log.clearing import forget
from flychat.messages import Draft
from flychat.server import sweep
from flychat.sse import BEYOND_ANY_LOG
from flychat.storage import Taken, Throttled, Unknown, sqlite_backup
from flychat.storage.dynamodb import DynamoEngine
from flychat.storage.dynamodb_table import create_table
from flychat.storage.sqlite import SqliteEngine
from flychat.storage.sqlite_backup import back_up
from flychat.streams import StreamRequest
from flychat.tools import exporting
from flychat.tools.clearing import clear
from flychat.tools.exporting import export
from flychat.tools.listing import listed
from flychat.tools.stores import patiently
from tests.support.engines import KINDS, empty_engine
from tests.support.fakes import FaultyEngine, empty
from tests.support.program import (
    PATIENCE,
    STANDALONE,
    command,
    environment,
    messages,
    post,
    ran,
    refused,
    running,
)
from tests.support.served import WAIT, draft, fields, served

DAY = 86_400
SLOW_DOWN = {"Error": {"Code": "ThrottlingException"}, "ResponseMetadata": {"HTTPStatusCode": 400}}


@pytest.fixture(params=KINDS)
def engine(request, io_loop):
    """Both engines, empty."""
    engine = io_loop.run_sync(lambda: empty_engine(request))
    yield engine
    io_loop.run_sync(engine.close)


async def fill(engine, count: int) -> None:
    log = MessageLog(engine, memory=False)
    await asyncio.gather(*(log.submit(draft(f"{n}")) for n in range(1, count + 1)))


@pytest.mark.gen_test
async def test_all_messages_are_exported_in_order(engine, monkeypatch):
    monkeypatch.setattr("flychat.tools.exporting.PAGE", 100)
    assert [message async for message in export(engine, "room")] == []
    await fill(engine, 333)
    exported = [message async for message in export(engine, "room")]
    assert [message.id for message in exported] == list(range(1, 334))
    assert {message.text for message in exported} == {f"{n}" for n in range(1, 334)}


@pytest.mark.gen_test
async def test_a_cleared_room_is_empty_and_its_ids_go_on(engine):
    assert await clear(engine, "room") == 0
    await fill(engine, 150)
    await fill_other(engine)
    assert await clear(engine, "room") == 151
    assert await clear(engine, "room") == 151, "again is nothing more"
    assert [message async for message in export(engine, "room")] == []
    commits = await engine.after("room", 0, 10**6)
    assert not any(commit.messages for commit in commits), "what was cleared is gone from the store"
    assert [commit.last for commit in commits[:-1]] == [commit.first - 1 for commit in commits[1:]]
    for memory in (False, True):
        log = MessageLog(engine, memory=memory)
        page = await log.page("room")
        assert (page.messages, page.last_id) == ((), 151)
        assert (await log.page("room", before=100)).messages == ()
        for last_id, names in (
            (None, ["stream-open"]),
            (151, ["stream-open"]),
            (150, ["stream-open", "stream-reset"]),
        ):
            plan = await log.plan(StreamRequest("room", last_id))
            assert ([event.name for event in plan.opening], plan.position) == (names, 151)
    message = await MessageLog(engine, memory=False).submit(draft("new"))
    assert message.id == 152
    log = MessageLog(engine, memory=False)
    assert [m.text for m in (await log.page("room")).messages] == ["new"]
    assert [m.id for m in (await log.plan(StreamRequest("room", 151))).messages] == [152]
    assert len([m async for m in export(engine, "other")]) == 1, "another room is not concerned"


@pytest.mark.gen_test
async def test_a_room_that_is_forgotten_begins_again_and_others_stay(engine):
    await fill(engine, 150)
    await fill_other(engine)
    assert await clear(engine, "room") == 151
    assert await forget(engine, "room", patiently)
    assert await forget(engine, "room", patiently), "again is nothing more"
    assert [room.room for room in await engine.rooms()] == ["other"]
    log = MessageLog(engine, memory=False)
    plan = await log.plan(StreamRequest("room", 151))
    assert json.loads(plan.opening[1].data) == {"reason": "ahead", "lastEventId": 0}
    assert (await log.submit(draft("new"))).id == 1


@pytest.mark.gen_test
async def test_what_is_written_while_a_room_is_forgotten_stays_and_its_ids_go_on(engine):
    await fill(engine, 3)
    assert await clear(engine, "room") == 4
    deleted, delete = [], engine.delete

    async def meanwhile(commit):
        deleted.append(commit)
        await delete(commit)
        if commit.last == 4:
            await engine.put(Commit.of(5, [draft("faster")]))  # by somebody who has read the end before

    engine.delete = meanwhile
    assert not await forget(engine, "room", patiently)
    assert [commit.last for commit in deleted][-1] == 4, "from the oldest on"
    log = MessageLog(engine, memory=False)
    assert [m.id for m in (await log.page("room")).messages] == [5]
    assert (await log.submit(draft("new"))).id == 6


async def fill_other(engine) -> None:
    await MessageLog(engine, memory=False).submit(draft("other", room="other"))


@pytest.mark.gen_test
async def test_writers_that_know_the_room_go_on_behind_what_was_cleared():
    store = await SqliteEngine.open(":memory:")
    writers = [MessageLog(store, memory=memory) for memory in (False, True)]
    for writer in writers:
        await writer.submit(draft("old"))
    assert await clear(store, "room") == 3
    assert [(await writer.submit(draft("new"))).id for writer in writers] == [4, 5]
    for writer in writers:
        assert [m.id for m in (await writer.page("room")).messages][-1] in (4, 5)
        assert "old" not in [m.text for m in (await writer.page("room")).messages]
    await store.close()


@pytest.mark.gen_test
async def test_clearing_goes_on_after_lost_races_and_lost_answers():
    store = await SqliteEngine.open(":memory:")
    await fill(store, 3)
    engine = FaultyEngine(store, ["drop"])
    assert await clear(engine, "room") == 4
    assert not any(commit.messages for commit in await store.after("room", 0, 100))

    class Raced(FaultyEngine):
        async def put(self, commit):
            if not self.stored:
                self.stored.append(commit)
                await self.engine.put(Commit.of(commit.first, [draft("faster")]))
                raise Taken(None)
            await super().put(commit)

    await fill(store, 1)
    assert await clear(Raced(store), "room") == 7
    assert [message async for message in export(store, "room")] == []
    await store.close()


class Impatient(FaultyEngine):
    """What is asked of it fails at first, and each time somebody writes meanwhile."""

    def __init__(self, engine, error) -> None:
        super().__init__(engine)
        self.error, self.failures = error, Counter()
        self.done_all_the_same = False

    async def _fail(self, name, call, times=2):
        self.failures[name] += 1
        if self.failures[name] <= times:
            if self.done_all_the_same:
                await call()
            await fill(self.engine, 1)
            raise self.error
        return await call()

    async def put(self, commit):
        await self._fail("put", partial(super().put, commit))

    async def tail(self, room, limit):
        return await self._fail("tail", partial(super().tail, room, limit), 1)

    async def rewrite(self, old, new):
        await self._fail("rewrite", partial(super().rewrite, old, new))


@pytest.mark.parametrize(
    ("error", "applied"),
    [(Throttled("slow down"), False), (Unknown("no answer"), False), (Unknown("no answer"), True)],
    ids=["throttled", "lost", "applied"],
)
@pytest.mark.gen_test
async def test_a_clearing_that_is_tried_again_takes_one_id_and_spares_what_came_after_it(
    engine, error, applied, monkeypatch
):
    monkeypatch.setattr("flychat.tools.stores.PAUSE", 0.0)
    await fill(engine, 3)
    impatient = Impatient(engine, error)
    impatient.done_all_the_same = applied
    last = await clear(impatient, "room")
    assert min(impatient.failures.values()) >= 2
    commits = await engine.after("room", 0, 999)
    assert (commits[0].first, commits[-1].last) == (1, sum(commit.ids for commit in commits))
    assert last in [commit.first for commit in commits]
    assert not any(commit.messages for commit in commits if commit.first <= last)
    assert all(commit.messages for commit in commits if commit.first > last)
    assert commits[-1].last > last, "somebody wrote meanwhile"


@pytest.mark.gen_test
async def test_a_clearing_that_is_never_answered_ends(engine, monkeypatch):
    monkeypatch.setattr("flychat.tools.stores.PAUSE", 0.0)
    await fill(engine, 3)
    faulty = FaultyEngine(engine, ["throttle"] * 99)
    with pytest.raises(Throttled):
        await clear(faulty, "room")
    assert len([message async for message in export(engine, "room")]) == 3


@pytest.mark.gen_test
async def test_an_export_and_a_list_of_rooms_are_patient_with_the_store(engine, monkeypatch):
    monkeypatch.setattr("flychat.tools.exporting.PAGE", 2)
    monkeypatch.setattr("flychat.tools.stores.PAUSE", 0.0)
    for first in (1, 2, 3, 7, 8):
        await store_at(engine, "room", first, time.time())
    faulty = FaultyEngine(engine)
    faulty.read_faults.extend([Throttled(), None, Unknown(), Throttled(), None, None, Throttled()])
    assert [message.id async for message in export(faulty, "room")] == [1, 2, 3, 7, 8]
    faulty.read_faults.extend([Throttled(), Unknown()])
    assert [room.messages for room in await listed(faulty)] == [5]


@pytest.mark.gen_test
async def test_an_export_goes_on_behind_a_hole_and_says_what_is_missing(engine, monkeypatch):
    monkeypatch.setattr("flychat.tools.exporting.PAGE", 2)
    for first in (1, 2, 3, 7, 8, 20, 21):
        await store_at(engine, "room", first, time.time())
    missing = []
    exported = [message async for message in export(engine, "room", lambda *ids: missing.append(ids))]
    assert [message.id for message in exported] == [1, 2, 3, 7, 8, 20, 21]
    assert missing == [(4, 6), (9, 19)]


@pytest.mark.gen_test
async def test_live_pages_are_reset_when_another_process_clears_their_room(monkeypatch):
    monkeypatch.setattr(local_module, "TICK", 0.02)
    monkeypatch.setattr(local_module, "POLL_SECONDS", 0.05)
    async with served(shared=True) as chat:
        for n in range(3):
            await chat.post(f"{n}")
        client = await chat.stream()
        await client.until_id(3)
        await clear(chat.engine.engine, "room")
        reset = await client.next("keep-alive")
        assert (reset.type, fields(reset)) == ("stream-reset", {"reason": "behind", "lastEventId": 4})
        await chat.post("new")
        assert await client.until_id(5) == [1, 2, 3, 5]


async def store_at(engine, room: str, first: int, seconds: float) -> None:
    one = Draft.create(room, {"from": "ann", "text": f"{first}"}, now=seconds)
    await engine.put(Commit.of(first, [one]))


async def ends_given(engine: DynamoEngine) -> None:
    await asyncio.gather(*engine._ending.values())


async def ends(engine: DynamoEngine, room: str = "room") -> dict[int, int | None]:
    """The ends of a room's commits, by place."""
    items, more = await engine._page(engine._query(room, 1, BEYOND_ANY_LOG))
    assert not more
    return {int(item["seq"]["N"]): int(item["exp"]["N"]) if "exp" in item else None for item in items}


@pytest.fixture
def retaining(io_loop, dynamo_environ):
    """Opens engines with a retention of a week, or another, all on one new table."""
    table, engines = f"flychat-{uuid.uuid4()}", []

    async def open(retention=7 * DAY):
        await create_table(table, dynamo_environ)
        engines.append(await DynamoEngine.open(table, dynamo_environ, retention=retention))
        return engines[-1]

    yield open
    for engine in engines:
        io_loop.run_sync(engine.close)


@pytest.mark.gen_test
async def test_what_is_cleared_keeps_its_end(retaining):
    """Else the voids would stay, below what expires: a hole, and a log that seems to end there for ever."""
    engine = await retaining()
    now = time.time()
    for first in range(1, 7):
        await store_at(engine, "room", first, now - first)
        await ends_given(engine)
    given = await ends(engine)
    assert None not in list(given.values())[:-1]
    await empty(engine, "room", 6)
    assert await ends(engine) == given
    assert [len(commit.messages) for commit in await engine.after("room", 0, 99)] == [0, 0, 0, 0, 0, 1]


@pytest.mark.gen_test
async def test_what_has_expired_and_is_not_deleted_yet_is_cleared_too(retaining):
    engine = await retaining()
    for first in range(1, 4):
        await store_at(engine, "room", first, time.time() - 30 * DAY)
        await ends_given(engine)
    await store_at(engine, "room", 4, time.time())
    await ends_given(engine)
    await clear(engine, "room")
    items, _ = await engine._page(engine._query("room", 1, BEYOND_ANY_LOG))
    assert [item["m"]["S"] for item in items] == ["[]"] * 5


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.gen_test
async def test_ends_never_decrease_whoever_writes_clears_and_gives_ends_at_once(retaining, seed, monkeypatch):
    """Two processes with clocks that differ, and throttled now and then."""
    chance = random.Random(seed)
    engines = [await retaining(), await retaining()]

    def unsteady(call):
        async def unsteadily(**arguments):
            await asyncio.sleep(chance.choice((0, 0, 0.01)))
            if chance.random() < 0.3:
                answer = {
                    "Error": {"Code": "ThrottlingException"},
                    "ResponseMetadata": {"HTTPStatusCode": 400},
                }
                raise ClientError(answer, "UpdateItem")
            return await call(**arguments)

        return unsteadily

    monkeypatch.setattr("flychat.storage.dynamodb_items.time", Clock(chance))
    monkeypatch.setattr("flychat.tools.stores.PAUSE", 0.0)
    monkeypatch.setattr("flychat.tools.stores.TRIES", 99)
    for engine in engines:
        monkeypatch.setattr(engine._client, "update_item", unsteady(engine._client.update_item))
    logs = [MessageLog(engine, memory=False) for engine in engines]

    async def write() -> None:
        for n in range(12):
            await chance.choice(logs).submit(draft(f"{n}"))

    async def clear_twice() -> None:
        for _ in range(2):
            await asyncio.sleep(0.05)
            await clear(chance.choice(engines), "room")

    await asyncio.gather(write(), clear_twice())
    for engine in engines:
        await ends_given(engine)
    given = list((await ends(engines[0])).values())
    assert None in given
    started = given[: given.index(None)]
    assert started == sorted(started)
    assert not any(given[len(started) :]), "what has no end has nothing with an end behind it"


@pytest.mark.gen_test
async def test_an_end_that_was_given_is_not_changed_by_another_process(retaining, monkeypatch):
    """Else a late one, whose clock is ahead, would give the first commit a later end than the second has."""
    plain, late, other = await retaining(None), await retaining(), await retaining()
    for first in (1, 2):
        await plain.put(Commit("room", (), void=(first, 1)))
    update, listed, go = late._client.update_item, asyncio.Event(), asyncio.Event()

    async def once_and_late(**arguments):
        if listed.is_set():
            raise ClientError(SLOW_DOWN, "UpdateItem")
        listed.set()
        await go.wait()
        return await update(**arguments)

    monkeypatch.setattr(late._client, "update_item", once_and_late)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "flychat.storage.dynamodb_items.time", types.SimpleNamespace(time=lambda: time.time() + 100)
        )
        await store_at(late, "room", 3, time.time())
        await listed.wait()
    await store_at(other, "room", 4, time.time())
    await ends_given(other)
    go.set()
    await ends_given(late)
    given = list((await ends(other)).values())
    assert given[:3] == sorted(given[:3])
    assert given[3] is None


class Clock:
    """The time as some process has it, which is not exactly that of another."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def time(self) -> float:
        return time.time() + self._chance.uniform(-5, 5)


@pytest.mark.gen_test
async def test_sqlite_expires_what_is_old_but_for_the_end_of_a_room():
    engine = await SqliteEngine.open(":memory:")
    now = time.time()
    for first, age in enumerate((30, 20, 6, 1), 1):
        await store_at(engine, "room", first, now - age * DAY)
        await store_at(engine, "quiet", first, now - (age + 100) * DAY)
    log = MessageLog(engine, memory=True)
    assert len((await log.page("room")).messages) == 4
    await log.upkeep.expire(iso_date(now - 7 * DAY))
    assert [m.id for m in (await log.page("room")).messages] == [3, 4], "from memory as well"
    assert [m.id for m in (await log.page("quiet")).messages] == [4], "so that ids go on"
    plan = await log.plan(StreamRequest("room", 1))
    assert [event.name for event in plan.opening] == ["stream-open", "stream-reset"]
    await engine.close()


@pytest.mark.parametrize("batch", [1, 3, 500])
@pytest.mark.gen_test
async def test_sqlite_expires_a_beginning_and_no_more_whatever_the_clock_said(monkeypatch, batch):
    """Messages whose dates are too old, in the middle, stay until those before them go."""
    monkeypatch.setattr("flychat.storage.sqlite.BATCH", batch)
    monkeypatch.setattr("flychat.storage.sqlite.REST_SECONDS", 0.0)
    now = time.time()
    for wrong, old, kept in ((range(11, 14), 0, 1), (range(11, 14), 4, 5), (range(4, 8), 5, 8), ((), 30, 20)):
        engine = await SqliteEngine.open(":memory:")
        for room in ("room", "another"):
            for first in range(1, 21):
                age = 30 if first in wrong or first <= old else 1
                await store_at(engine, room, first, now - age * DAY)
        await engine.expire(iso_date(now - 7 * DAY))
        for room in ("room", "another"):
            assert [commit.first for commit in await engine.after(room, 0, 99)] == list(range(kept, 21))
        await engine.close()


@pytest.mark.gen_test
async def test_dynamodb_expires_by_the_tables_ttl_and_readers_do_not_wait_for_it(dynamo_environ, monkeypatch):
    table = f"flychat-{uuid.uuid4()}"
    await create_table(table, dynamo_environ)
    for _ in range(2):  # to turn it on twice is an error on AWS
        engine = await DynamoEngine.open(table, dynamo_environ, retention=7 * DAY)
        ttl = await engine._client.describe_time_to_live(TableName=table)
        assert ttl["TimeToLiveDescription"]["AttributeName"] == "exp"
        assert ttl["TimeToLiveDescription"]["TimeToLiveStatus"] == "ENABLED"
        await engine.close()
    engine = await DynamoEngine.open(table, dynamo_environ, retention=7 * DAY)
    now = time.time()
    for first, age in enumerate((30, 20, 6, 1), 1):
        await store_at(engine, "room", first, now - age * DAY)
        await store_at(engine, "quiet", first, now - (age + 100) * DAY)
        await ends_given(engine)
    for room, kept in (("room", [3, 4]), ("quiet", [4])):  # the newest stays, so that ids go on
        for read in (engine.tail(room, 9), engine.after(room, 0, 9), engine.before(room, 9, 9)):
            assert [commit.first for commit in await read] == kept
    await engine.expire("2000-01-01")
    await engine.close()


@pytest.mark.gen_test
async def test_what_was_left_without_an_end_is_given_one_by_the_next_message(dynamo_environ):
    table = f"flychat-{uuid.uuid4()}"
    await create_table(table, dynamo_environ)
    engine = await DynamoEngine.open(table, dynamo_environ)
    for first in (1, 2):
        await store_at(engine, "room", first, time.time() - 30 * DAY)
    await engine.close()
    engine = await DynamoEngine.open(table, dynamo_environ, retention=7 * DAY)
    assert [commit.first for commit in await engine.tail("room", 9)] == [1, 2]
    await store_at(engine, "room", 3, time.time())
    await ends_given(engine)
    assert [commit.first for commit in await engine.tail("room", 9)] == [3]
    await engine.close()


@pytest.mark.gen_test
@pytest.mark.parametrize("trouble", ["the option is new", "throttled", "interrupted", "cleared", "clock"])
async def test_a_log_expires_from_its_beginning_whatever_happens(
    dynamo_environ, monkeypatch, trouble, caplog
):
    """Else a reader would take what is before a gap for all there is."""
    table = f"flychat-{uuid.uuid4()}"
    await create_table(table, dynamo_environ)
    retention = None if trouble == "the option is new" else 7 * DAY
    engine = await DynamoEngine.open(table, dynamo_environ, retention=retention)
    update = engine._client.update_item
    updates = 0

    async def throttled(**_):
        raise ClientError(SLOW_DOWN, "UpdateItem")

    async def interrupted(**arguments):
        nonlocal updates
        updates += 1
        return await (update if updates % 3 else throttled)(**arguments)

    for first in range(1, 26):
        if trouble == "throttled":
            monkeypatch.setattr(engine._client, "update_item", throttled if 5 <= first <= 20 else update)
        elif trouble == "interrupted":
            monkeypatch.setattr(engine._client, "update_item", interrupted)
        ahead = 60 if trouble == "clock" and first % 5 == 0 else 0
        await store_at(engine, "room", first, time.time() - (30 - ahead) * DAY)
        await ends_given(engine)
    if trouble == "cleared":
        await clear(engine, "room")
    await engine.close()
    engine = await DynamoEngine.open(table, dynamo_environ, retention=7 * DAY)
    first = (await engine.tail("room", 1))[-1].last + 1
    for id in range(first, first + 2):
        await store_at(engine, "room", id, time.time())
        await ends_given(engine)
    newest = [commit.first for commit in await engine.tail("room", 99)]
    assert newest[-2:] == [first, first + 1]
    assert [commit.first for commit in await engine.after("room", 0, 99)] == newest
    assert [message.id async for message in export(engine, "room")][-2:] == [first, first + 1]
    await engine.close()


@pytest.mark.gen_test
async def test_a_stream_over_a_log_that_expired_while_its_client_was_away_has_no_silent_gap(dynamo_environ):
    table = f"flychat-{uuid.uuid4()}"
    await create_table(table, dynamo_environ)
    engine = await DynamoEngine.open(table, dynamo_environ, retention=7 * DAY)
    log = MessageLog(engine, memory=False)
    for first in (1, 2, 3, 4):
        await store_at(engine, "room", first, time.time() - 30 * DAY)
        await ends_given(engine)
    for id in (5, 6):
        late = Draft.create("room", {"from": "ann", "text": "late"}, now=time.time())
        assert (await log.submit(late)).id == id
        await ends_given(engine)
    for position, names in ((4, ["stream-open"]), (3, ["stream-open", "stream-reset"])):
        plan = await log.plan(StreamRequest("room", position))
        assert [event.name for event in plan.opening] == names
        assert [message.id for message in plan.messages] == [5, 6]
    await log.close()


@pytest.mark.gen_test
async def test_a_tail_that_was_not_looked_at_for_long_is_looked_at_before_it_is_used(monkeypatch):
    """All of a room may have expired meanwhile, and then its ids begin anew, for every writer."""
    engine = FaultyEngine(await SqliteEngine.open(":memory:"))
    log = MessageLog(engine, memory=False)
    assert [(await log.submit(draft())).id for _ in range(2)] == [1, 2]
    await engine.engine._run(engine.engine._sql, "DELETE FROM log")
    monkeypatch.setattr(view_module, "TAIL_SECONDS", -1.0)
    engine.calls.clear()
    waiting = asyncio.ensure_future(log.submit(draft()))
    while not engine.calls["after"]:  # noqa: ASYNC110 - the engine tells nobody
        await asyncio.sleep(0)
    monkeypatch.setattr(view_module, "TAIL_SECONDS", 3600.0)
    assert (await waiting).id == 1
    await log.close()


@pytest.mark.gen_test
async def test_the_sweep_goes_on_when_the_store_does_not_answer(monkeypatch, caplog):
    monkeypatch.setattr("flychat.server.SWEEP_SECONDS", 0.0)
    swept, outcomes = asyncio.Event(), iter([Unknown("away"), None])

    class Engine:
        shared, reads = False, 1

        async def expire(self, before):
            if (error := next(outcomes)) is not None:
                raise error
            swept.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(sweep(MessageLog(Engine(), memory=True), 7 * DAY))
    await asyncio.wait_for(swept.wait(), WAIT)
    task.cancel()
    assert "could not be deleted" in caplog.text


class Written(io.StringIO):
    """A stdout that remembers what was written in one go; it is `closed_after` so many."""

    def __init__(self, closed_after: int = 99) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self._closed_after = closed_after

    def write(self, text: str) -> int:
        if len(self.pieces) == self._closed_after:
            raise BrokenPipeError
        if text:
            self.pieces.append(text)
        return len(text)

    @property
    def ids(self) -> list[int]:
        assert all(piece.endswith("\n") for piece in self.pieces), "whole lines"
        return [json.loads(line)["id"] for line in "".join(self.pieces).splitlines()]


@pytest.mark.gen_test
async def test_an_export_is_written_a_page_at_a_time_and_in_whole_lines(monkeypatch):
    """A write for each message was half of its time. Whatever ends it, nothing is left half-written."""
    monkeypatch.setattr(exporting, "PAGE", 10)
    engine = FaultyEngine(await SqliteEngine.open(":memory:"))
    await fill(engine.engine, 25)
    monkeypatch.setattr(sys, "stdout", Written())
    await exporting._export(engine, "room")
    assert sys.stdout.ids == list(range(1, 26))
    assert len(sys.stdout.pieces) <= 4

    monkeypatch.setattr(sys, "stdout", Written(closed_after=1))
    with pytest.raises(BrokenPipeError):
        await exporting._export(engine, "room")
    assert sys.stdout.ids == list(range(1, 11))

    async def interrupted(engine, room, missing):
        for message in [message async for message in export(engine, room)][:13]:
            yield message
        raise asyncio.CancelledError

    monkeypatch.setattr(sys, "stdout", Written())
    monkeypatch.setattr(exporting, "export", interrupted)
    with pytest.raises(asyncio.CancelledError):
        await exporting._export(engine, "room")
    assert sys.stdout.ids == list(range(1, 14)), "what has been read is written all the same"
    await engine.close()


def test_rooms_are_exported_and_cleared_from_the_command_line(tmp_path):
    with running(*STANDALONE, "--retention", "7", cwd=tmp_path) as program:
        written = [post(program, f"{n}", "a%20b") for n in range(3)]
        in_use = ran("clear", "a b", cwd=tmp_path)
        assert (in_use.returncode, in_use.stdout) == (2, "")
        assert "another flychat is using it" in in_use.stderr
        beside = ran("export", "a b", cwd=tmp_path)
        assert [json.loads(line) for line in beside.stdout.splitlines()] == written
        written.append(post(program, "after", "a%20b"))
    exported = ran("export", "a b", cwd=tmp_path)
    assert [json.loads(line) for line in exported.stdout.splitlines()] == written
    cleared = ran("clear", "a b", "--store", "sqlite:flychat.db", cwd=tmp_path)
    assert (cleared.returncode, cleared.stdout.count("\n")) == (0, 1)
    for room in ("a b", "A b"):  # cleared, and mistyped
        empty = ran("export", room, cwd=tmp_path)
        assert (empty.returncode, empty.stdout) == (0, "")
        assert empty.stderr == f"flychat: {room} has no messages\n"
    with running(*STANDALONE, cwd=tmp_path) as program:
        assert messages(program, "a%20b") == []
        assert post(program, "new", "a%20b")["id"] == 6
    assert ran("clear", "nobody", cwd=tmp_path).stdout == "flychat: there was nothing to clear\n"
    for arguments in (
        ("clear", "a/b"),
        ("export", "healthz"),
        ("clear", "x", "--store", "x:y"),
        ("clear", "x", "--stor", "sqlite:flychat.db"),
        ("export", "x", "--store", "sqlite:typo.db"),
        ("clear",),
    ):
        refusal = ran(*arguments, cwd=tmp_path)
        assert (refusal.returncode, refusal.stdout) == (2, ""), arguments
    assert not list(tmp_path.glob("typo*"))
    assert "--retention" in refused("--standalone", "--retention", "3", cwd=tmp_path)


@pytest.mark.gen_test
async def test_an_export_from_the_command_line_says_on_stderr_what_is_missing(tmp_path):
    engine = await SqliteEngine.open(str(tmp_path / "flychat.db"))
    for first in (1, 2, 5):
        await store_at(engine, "tea", first, time.time())
    await engine.close()
    exported = await asyncio.to_thread(ran, "export", "tea", cwd=tmp_path)
    assert [json.loads(line)["id"] for line in exported.stdout.splitlines()] == [1, 2, 5]
    assert exported.stderr == "flychat: messages 3 to 4 are missing in the store\n"
    assert exported.returncode == 0


async def much(log: MessageLog) -> None:
    """12 MB. At once, the last of them would wait for too long for a slow disk, and be refused."""
    for _ in range(30):
        await asyncio.gather(*(log.submit(draft("x" * 4000)) for _ in range(100)))


@pytest.mark.gen_test
async def test_a_backup_ends_while_people_write_and_is_whole_and_a_store(tmp_path):
    """Made beside the server, as the guide says."""
    path, copy = tmp_path / "flychat.db", tmp_path / "backup.db"
    engine = await SqliteEngine.open(str(path))
    log = MessageLog(engine, memory=False)
    await much(log)
    await log.close()
    with running(*STANDALONE, "--rate-limit", "0", cwd=tmp_path) as program:
        known = (await asyncio.to_thread(post, program, "before"))["id"]
        backup = asyncio.create_task(asyncio.to_thread(ran, "backup", "backup.db", cwd=tmp_path))
        meanwhile = 0
        while not backup.done():
            await asyncio.to_thread(post, program, "x" * 4000)
            meanwhile += 1
        told = await backup
        assert (told.returncode, told.stderr) == (0, "")
        assert told.stdout == f"flychat: backup.db is a copy of the store, of {copy.stat().st_size:,} bytes\n"
        assert meanwhile > 3
        again = await asyncio.to_thread(ran, "backup", "backup.db", cwd=tmp_path)
        assert (again.returncode, "a new name" in again.stderr) == (2, True)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob("*.unfinished*"))
    copy.rename(tmp_path / "restored.db")
    with running(*STANDALONE, "--store", "sqlite:restored.db", cwd=tmp_path) as program:
        last = post(program, "goes on")["id"]
    assert known < last <= known + meanwhile + 1
    exported = ran("export", "room", "--store", "sqlite:restored.db", cwd=tmp_path).stdout
    assert [json.loads(line)["id"] for line in exported.splitlines()] == list(range(1, last + 1))


def test_a_store_that_no_server_has_is_backed_up_too_and_stays_as_it_is(tmp_path):
    with running(*STANDALONE, cwd=tmp_path) as program:
        post(program, "hi")
    before = (tmp_path / "flychat.db").read_bytes()
    assert ran("backup", "a copy.db", cwd=tmp_path).returncode == 0
    assert (tmp_path / "flychat.db").read_bytes() == before
    assert ran("export", "room", "--store", "sqlite:a copy.db", cwd=tmp_path).stdout != ""


@pytest.mark.parametrize(
    ("file", "store", "status", "says"),
    [
        ("flychat.db", "sqlite:flychat.db", 2, "a new name"),
        ("link.db", "sqlite:flychat.db", 2, "a new name"),
        ("no/such/folder.db", "sqlite:flychat.db", 2, '"no/such/folder.db" cannot be made: No such file'),
        ("", "sqlite:flychat.db", 2, "no name of a file"),
        ("copy.db", "sqlite:typo.db", 2, "there is no file"),
        ("copy.db", "sqlite:other.db", 2, "another program"),
        ("copy.db", "sqlite:text.db", 1, "not a database"),
        ("copy.db", "sqlite::memory:", 2, "there is no file"),
        ("copy.db", "dynamodb:table", 2, "point-in-time recovery"),
    ],
)
def test_what_cannot_be_backed_up_is_said_in_one_line_and_nothing_is_left(
    file, store, status, says, tmp_path
):
    with running(*STANDALONE, cwd=tmp_path) as program:
        post(program, "hi")
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as db:
        db.execute("CREATE TABLE other (a)")
    (tmp_path / "link.db").symlink_to("nowhere")
    (tmp_path / "text.db").write_text("no database, but a text that is long enough" * 99)
    there = sorted(tmp_path.iterdir())
    told = ran("backup", file, "--store", store, cwd=tmp_path)
    assert (told.returncode, told.stdout, told.stderr.count("\n")) == (status, "", 1)
    assert says in told.stderr
    assert [each for each in sorted(tmp_path.iterdir()) if "other.db-" not in each.name] == there


@pytest.mark.gen_test
async def test_a_backup_that_is_broken_off_leaves_nothing(tmp_path):
    engine = await SqliteEngine.open(str(tmp_path / "flychat.db"))
    log = MessageLog(engine, memory=False)
    await much(log)
    begun = asyncio.create_task(back_up(str(tmp_path / "flychat.db"), str(tmp_path / "copy.db")))
    while not list(tmp_path.glob("copy.db.*")):  # noqa: ASYNC110 - the thread tells nobody
        await asyncio.sleep(0)
    begun.cancel()
    with pytest.raises(asyncio.CancelledError):
        await begun
    assert not list(tmp_path.glob("copy*"))
    await log.close()


@pytest.mark.gen_test
async def test_who_breaks_a_backup_off_waits_for_the_thread_that_makes_it(tmp_path, monkeypatch):
    steps, going = [], threading.Event()

    def execute(*statement):
        steps.append("begins")
        steps.append("is interrupted" if going.wait(PATIENCE) else "goes on")
        time.sleep(0.1)  # it takes SQLite a while
        steps.append("ends")

    db = types.SimpleNamespace(execute=execute, interrupt=going.set, close=lambda: steps.append("closed"))
    monkeypatch.setattr(sqlite_backup, "read_only", lambda path: db)
    monkeypatch.setattr(sqlite_backup, "check", lambda db, path: 1)
    begun = asyncio.create_task(back_up("flychat.db", str(tmp_path / "copy.db")))
    while not steps:  # noqa: ASYNC110 - the thread tells nobody
        await asyncio.sleep(0.001)
    begun.cancel()
    await asyncio.wait([begun])
    assert begun.cancelled()
    assert steps == ["begins", "is interrupted", "ends", "closed"]


@pytest.mark.gen_test
@pytest.mark.parametrize(("good", "left"), [(0, []), (1, ["copy.db"])], ids=["file", "folder"])
async def test_a_backup_that_may_not_be_on_the_disk_is_not_said_to_be_done(good, left, tmp_path, monkeypatch):
    answers = iter([None] * good)

    def fsync(descriptor):
        if next(answers, "broken") is not None:
            raise OSError(errno.EIO, "the disk is broken")

    await (await SqliteEngine.open(str(tmp_path / "flychat.db"))).close()
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="broken"):
        await back_up(str(tmp_path / "flychat.db"), str(tmp_path / "copy.db"))
    assert [each.name for each in tmp_path.glob("copy*")] == left


@pytest.mark.gen_test
@pytest.mark.parametrize("has_links", [True, False])
async def test_a_backup_replaces_nothing_that_has_come_meanwhile(has_links, tmp_path, monkeypatch):
    def refused(*arguments):
        raise PermissionError(errno.EPERM, "no hard links on this file system")

    if not has_links:
        monkeypatch.setattr(os, "link", refused)
    await (await SqliteEngine.open(str(tmp_path / "flychat.db"))).close()
    first, second = (
        asyncio.create_task(back_up(str(tmp_path / "flychat.db"), str(tmp_path / "copy.db")))
        for _ in range(2)
    )
    done = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(each) for each in done if isinstance(each, Exception)] == [Misconfigured]
    assert [each.name for each in tmp_path.glob("copy*")] == ["copy.db"]
    assert (tmp_path / "copy.db").stat().st_nlink == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_backup_that_is_told_to_end_leaves_nothing(number, tmp_path):
    with running(*STANDALONE, cwd=tmp_path) as program:
        post(program, "hi")
        program.end()
    assert ran("backup", "store.db", cwd=tmp_path).returncode == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        arguments = command("backup", "copy.db", "--store", "sqlite:store.db")
        with subprocess.Popen(arguments, cwd=tmp_path, env=environment()) as backup:
            while not list(tmp_path.glob("copy.db.*")):
                assert backup.poll() is None
                time.sleep(0.01)
            backup.send_signal(number)
            other.execute("ROLLBACK")
            assert backup.wait(PATIENCE) == 1
    assert not list(tmp_path.glob("copy*"))
