"""What an operator does to the store: export, clear, retention. Ids go on, and streams stay right."""

import asyncio
import json
import subprocess
import time
import uuid

import pytest
from botocore.exceptions import ClientError

from flychat import log as log_module
from flychat.errors import Taken, Unknown
from flychat.hub import local as local_module
from flychat.log import MessageLog
from flychat.maintenance import clear, export
from flychat.messages import Commit, Draft, iso_date
from flychat.server import sweep
from flychat.storage.dynamodb import DynamoEngine, create_table
from flychat.storage.sqlite import SqliteEngine
from flychat.streams import StreamRequest
from tests.fakes import FaultyEngine
from tests.program import command, environment, refused, running
from tests.served import draft, fields, served
from tests.test_server import STANDALONE, messages, post

DAY = 86_400


@pytest.fixture(params=["sqlite", "dynamodb"])
def engine(request, io_loop):
    """Both engines, empty."""

    async def opened():
        if request.param == "sqlite":
            return await SqliteEngine.open(":memory:")
        environ, table = request.getfixturevalue("dynamo_environ"), f"flychat-{uuid.uuid4()}"
        await create_table(table, environ)
        return await DynamoEngine.open(table, environ)

    engine = io_loop.run_sync(opened)
    yield engine
    io_loop.run_sync(engine.close)


async def fill(engine, count: int) -> None:
    log = MessageLog(engine, memory=False)
    await asyncio.gather(*(log.commit(draft(f"{n}")) for n in range(1, count + 1)))


@pytest.mark.gen_test(timeout=30)
async def test_all_messages_are_exported_in_order(engine, monkeypatch):
    monkeypatch.setattr("flychat.maintenance.PAGE", 100)
    assert [message async for message in export(engine, "room")] == []
    await fill(engine, 333)
    exported = [message async for message in export(engine, "room")]
    assert [message.id for message in exported] == list(range(1, 334))
    assert {message.text for message in exported} == {f"{n}" for n in range(1, 334)}


@pytest.mark.gen_test(timeout=30)
async def test_a_cleared_room_is_empty_and_its_ids_go_on(engine):
    assert await clear(engine, "room") == 0
    await fill(engine, 150)
    await fill_other(engine)
    assert await clear(engine, "room") == 151
    assert await clear(engine, "room") == 151, "again is nothing more"
    assert [message async for message in export(engine, "room")] == []
    commits = await engine.after("room", 0, 10**6)
    assert not any(commit.messages for commit in commits), "what was erased is gone from the store"
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
    message = await MessageLog(engine, memory=False).commit(draft("new"))
    assert message.id == 152
    log = MessageLog(engine, memory=False)
    assert [m.text for m in (await log.page("room")).messages] == ["new"]
    assert [m.id for m in (await log.plan(StreamRequest("room", 151))).messages] == [152]
    assert len([m async for m in export(engine, "other")]) == 1, "another room is not concerned"


async def fill_other(engine) -> None:
    await MessageLog(engine, memory=False).commit(draft("other", room="other"))


@pytest.mark.gen_test(timeout=30)
async def test_writers_that_know_the_room_go_on_behind_what_was_cleared():
    store = await SqliteEngine.open(":memory:")
    writers = [MessageLog(store, memory=memory) for memory in (False, True)]
    for writer in writers:
        await writer.commit(draft("old"))
    assert await clear(store, "room") == 3
    assert [(await writer.commit(draft("new"))).id for writer in writers] == [4, 5]
    for writer in writers:
        assert [m.id for m in (await writer.page("room")).messages][-1] in (4, 5)
        assert "old" not in [m.text for m in (await writer.page("room")).messages]
    await store.close()


@pytest.mark.gen_test(timeout=30)
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


@pytest.mark.gen_test(timeout=30)
async def test_live_pages_are_reset_when_another_process_clears_their_room(monkeypatch):
    monkeypatch.setattr(local_module, "TICK", 0.02)
    async with served(look=True, keep_alive=0.1) as chat:
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


@pytest.mark.gen_test(timeout=30)
async def test_sqlite_expires_what_is_old_but_for_the_end_of_a_room():
    engine = await SqliteEngine.open(":memory:")
    now = time.time()
    for first, age in enumerate((30, 20, 6, 1), 1):
        await store_at(engine, "room", first, now - age * DAY)
        await store_at(engine, "quiet", first, now - (age + 100) * DAY)
    log = MessageLog(engine, memory=True)
    assert len((await log.page("room")).messages) == 4
    await log.expire(iso_date(now - 7 * DAY))
    assert [m.id for m in (await log.page("room")).messages] == [3, 4], "from memory as well"
    assert [m.id for m in (await log.page("quiet")).messages] == [4], "so that ids go on"
    plan = await log.plan(StreamRequest("room", 1))
    assert [event.name for event in plan.opening] == ["stream-open", "stream-reset"]
    await engine.close()


@pytest.mark.gen_test(timeout=30)
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


@pytest.mark.gen_test(timeout=30)
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


@pytest.mark.gen_test(timeout=30)
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
        answer = {"Error": {"Code": "ThrottlingException"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
        raise ClientError(answer, "UpdateItem")

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


@pytest.mark.gen_test(timeout=30)
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
        assert (await log.commit(late)).id == id
        await ends_given(engine)
    for position, names in ((4, ["stream-open"]), (3, ["stream-open", "stream-reset"])):
        plan = await log.plan(StreamRequest("room", position))
        assert [event.name for event in plan.opening] == names
        assert [message.id for message in plan.messages] == [5, 6]
    await log.close()


@pytest.mark.gen_test(timeout=30)
async def test_a_tail_that_was_not_looked_at_for_long_is_looked_at_before_it_is_used(monkeypatch):
    """All of a room may have expired meanwhile, and then its ids begin anew, for every writer."""
    engine = FaultyEngine(await SqliteEngine.open(":memory:"))
    log = MessageLog(engine, memory=False)
    assert [(await log.commit(draft())).id for _ in range(2)] == [1, 2]
    await engine.engine._idle(engine.engine._sql, "DELETE FROM log")
    monkeypatch.setattr(log_module, "TAIL_SECONDS", -1.0)
    engine.calls.clear()
    waiting = asyncio.create_task(log.commit(draft()))
    while not engine.calls["after"]:  # noqa: ASYNC110 - the engine tells nobody
        await asyncio.sleep(0)
    monkeypatch.setattr(log_module, "TAIL_SECONDS", 3600.0)
    assert (await waiting).id == 1
    await log.close()


@pytest.mark.gen_test
async def test_the_sweep_goes_on_when_the_store_does_not_answer(monkeypatch, caplog):
    monkeypatch.setattr("flychat.server.SWEEP_SECONDS", 0.0)
    swept, outcomes = asyncio.Event(), iter([Unknown("away"), None])

    class Engine:
        async def expire(self, before):
            if (error := next(outcomes)) is not None:
                raise error
            swept.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(sweep(MessageLog(Engine(), memory=True), 7 * DAY))
    await asyncio.wait_for(swept.wait(), 5)
    task.cancel()
    assert "could not be deleted" in caplog.text


def maintain(*arguments: str, cwd) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_rooms_are_exported_and_cleared_from_the_command_line(tmp_path):
    with running(*STANDALONE, "--retention", "7", cwd=tmp_path) as program:
        written = [post(program, f"{n}", "a%20b") for n in range(3)]
        in_use = maintain("export", "a b", cwd=tmp_path)
        assert (in_use.returncode, in_use.stdout) == (2, "")
        assert "in use" in in_use.stderr or "using it" in in_use.stderr
    exported = maintain("export", "a b", cwd=tmp_path)
    assert [json.loads(line) for line in exported.stdout.splitlines()] == written
    cleared = maintain("clear", "a b", "--store", "sqlite:flychat.db", cwd=tmp_path)
    assert (cleared.returncode, cleared.stdout.count("\n")) == (0, 1)
    assert maintain("export", "a b", cwd=tmp_path).stdout == ""
    with running(*STANDALONE, cwd=tmp_path) as program:
        assert messages(program, "a%20b") == []
        assert post(program, "new", "a%20b")["id"] == 5
    assert maintain("clear", "nobody", cwd=tmp_path).stdout == "flychat: there was nothing to clear\n"
    for arguments in (
        ("clear", "a/b"),
        ("export", "healthz"),
        ("clear", "x", "--store", "x:y"),
        ("clear", "x", "--stor", "sqlite:flychat.db"),
        ("export", "x", "--store", "sqlite:typo.db"),
        ("clear",),
    ):
        refusal = maintain(*arguments, cwd=tmp_path)
        assert (refusal.returncode, refusal.stdout) == (2, ""), arguments
    assert not list(tmp_path.glob("typo*"))
    assert "--retention" in refused("--standalone", "--retention", "3", cwd=tmp_path)
