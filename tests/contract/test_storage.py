"""The promises of the storage port, on every engine; then what is particular to each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flychat.commits import Commit
from flychat.errors import Misconfigured
from flychat.log import MessageLog
from flychat.messages import ERASED, Draft, Message
from flychat.sse import BEYOND_ANY_LOG
from flychat.storage import (
    READ_BYTES,
    Broken,
    Hole,
    Rejected,
    Run,
    StoreFailed,
    Summary,
    Taken,
    Throttled,
    Unknown,
    sqlite_put,
)
from flychat.storage.sqlite import READ_ROWS, SqliteEngine
from flychat.storage.sqlite_backup import back_up
from flychat.storage.sqlite_database import BUSY_MS, read_only
from flychat.storage.sqlite_put import as_stored
from flychat.streams import StreamRequest
from flychat.tools.exporting import export
from flychat.values import kept
from tests.conftest import ENDPOINT, dynamo_environment, need
from tests.support.cancelling import like_python_3_14
from tests.support.dynamo_proxy import DynamoProxy
from tests.support.fakes import FaultyEngine, empty

gen_test = pytest.mark.gen_test

DATE = "2026-01-31T12:00:00.123Z"


def commit(first: int, n: int = 1, room: str = "room", text: str = "hello", sender: str = "Ann") -> Commit:
    drafts = [Draft(room, sender, f"{text} {i}", DATE, str(uuid.uuid4())) for i in range(n)]
    return Commit.of(first, drafts)


def log_of(*sizes: int, room: str = "room") -> list[Commit]:
    """Commits of these sizes, in a row."""
    commits: list[Commit] = []
    for size in sizes:
        commits.append(commit(commits[-1].last + 1 if commits else 1, size, room))
    return commits


async def outcome(put) -> StoreFailed | None:
    try:
        await put
    except StoreFailed as failure:
        return failure
    return None


def expect_after(log: list[Commit], id: int, limit: int) -> list[Commit]:
    return [c for c in log if c.last >= id and c.first <= id + limit]


def expect_before(log: list[Commit], id: int, limit: int) -> list[Commit]:
    end = min(id, log[-1].last + 1)
    return [c for c in log if c.first < end and c.last >= end - limit]


# Every engine


@pytest.fixture
def dynamo(io_loop, request):
    """Opens DynamoEngines, each on a new table (or `table`), and closes them."""
    need("aioboto3")
    from flychat.storage.dynamodb import DynamoEngine
    from flychat.storage.dynamodb_table import create_table

    engines = []

    async def open(environ, table: str | None = None):
        if table is None:
            table = f"flychat-{uuid.uuid4()}"
            await create_table(table, environ)
        engines.append(await DynamoEngine.open(table, environ))
        return engines[-1]

    yield open
    for engine in engines:
        io_loop.run_sync(engine.close)


@pytest.fixture
def proxied(io_loop, moto_endpoint):
    """A DynamoProxy in front of moto, and the environment to use it."""
    proxy = io_loop.run_sync(lambda: DynamoProxy.start(moto_endpoint))
    yield proxy, dynamo_environment(proxy.url)
    io_loop.run_sync(proxy.close)


DIRECT = {"FLYCHAT_DYNAMODB": "direct"}
both_ways = pytest.mark.parametrize("way", [{}, DIRECT], ids=["aioboto3", "direct"])

ENGINES = [
    "sqlite file",
    "sqlite memory",
    "moto",
    "moto, called directly",
    "moto that hides the winner",
    "dynalite",
    *(["endpoint"] * bool(ENDPOINT)),
]


@pytest.fixture(params=ENGINES)
def engine(request, io_loop, tmp_path):
    """A new store of each kind."""
    if request.param.startswith("sqlite"):
        path = str(tmp_path / "chat.db") if request.param == "sqlite file" else ":memory:"
        engine = io_loop.run_sync(lambda: SqliteEngine.open(path))
        yield engine
        io_loop.run_sync(engine.close)
        return
    if request.param == "endpoint":
        environ = dynamo_environment(ENDPOINT)
    elif request.param == "dynalite":
        environ = dynamo_environment(request.getfixturevalue("dynalite_endpoint"))
    elif request.param == "moto":
        environ = dynamo_environment(request.getfixturevalue("moto_endpoint"))
    elif request.param == "moto, called directly":
        environ = dynamo_environment(request.getfixturevalue("moto_endpoint")) | DIRECT
    else:
        proxy, environ = request.getfixturevalue("proxied")
        proxy.strip_item = True
    open = request.getfixturevalue("dynamo")
    yield io_loop.run_sync(lambda: open(environ))


@gen_test
async def test_an_empty_room_has_no_commits(engine):
    await engine.check()
    assert await engine.tail("room", 50) == []
    assert await engine.after("room", 0, 50) == []
    assert await engine.after("room", 5, 50) == []
    assert await engine.before("room", 5, 50) == []


@gen_test
async def test_a_commit_is_read_back_equal_as_soon_as_it_is_put(engine):
    for stored in log_of(1, 3, 64, 1):
        await engine.put(stored)
        assert (await engine.tail("room", 1))[-1] == stored
        assert (await engine.after("room", stored.last, 1))[-1] == stored


@gen_test
async def test_a_log_that_a_later_version_has_written_is_read(engine):
    """In a roll-out both versions write to one table."""
    message = ["ann", "hi", "2026-01-31T12:00:00.000Z", str(uuid.uuid4())]
    payload = json.dumps([[*message, {"removes": [1], "u": "ann", "data": {"a": 1}}, 7]])
    later = commit(1)
    kept(later, "_payload", payload)
    await engine.put(later)
    log = MessageLog(engine, memory=False)
    newer = Draft.create("room", {"from": "ann", "text": "newer"}, now=0)
    assert (await log.submit(newer)).id == 2
    plan = await log.plan(StreamRequest("room", 0))
    assert [(m.id, m.text) for m in plan.messages] == [(1, "hi"), (2, "newer")]
    assert plan.messages[0].extra == {"removes": [1], "data": {"a": 1}}
    assert [(m.id, m.user) async for m in export(engine, "room")] == [(1, "ann"), (2, None)]


@gen_test
async def test_reads_give_the_fewest_whole_commits_that_hold_the_limit_at_every_position(engine):
    log = log_of(64, 1, 64, 2)
    for each in log:
        await engine.put(each)
    edges = {0, 1, 2, 63, 64, 65, 66, 67, 100, 128, 129, 130, 131, 132, 133}
    for id in sorted(edges):
        for limit in (1, 2, 65):
            assert await engine.after("room", id, limit) == expect_after(log, id, limit), (id, limit)
            assert await engine.before("room", id, limit) == expect_before(log, id, limit), (id, limit)
    assert await engine.tail("room", 3) == log[2:]
    assert await engine.tail("room", 1000) == log


@gen_test
async def test_reads_of_a_long_log_of_random_commits_agree_with_a_list(engine):
    chance = random.Random(7)
    log = log_of(*chance.choices([1, 1, 1, 2, 7, 30, 64], k=120))
    for each in log:
        await engine.put(each)
    last = log[-1].last
    for limit in (1, 8, 50, 200, 1000, last, last + 1):
        assert await engine.tail("room", limit) == expect_before(log, last + 1, limit)
    for _ in range(25):
        id, limit = chance.randint(0, last + 3), chance.choice([1, 8, 50, 200, 1000])
        assert await engine.after("room", id, limit) == expect_after(log, id, limit), (id, limit)
        assert await engine.before("room", id, limit) == expect_before(log, id, limit), (id, limit)


@gen_test
async def test_after_an_id_beyond_the_log_there_is_nothing(engine):
    await engine.put(commit(1, 3))
    for id in (4, 60, 70, 10**9, BEYOND_ANY_LOG):
        assert await engine.after("room", id, 50) == []
        assert [c.last for c in await engine.before("room", id, 50)] == [3]


@gen_test
async def test_a_taken_place_keeps_its_commit_and_names_it_if_the_server_does(engine, request):
    winner = commit(1, 2, text="first")
    await engine.put(winner)
    with pytest.raises(Taken) as taken:
        await engine.put(commit(1, 1, text="second"))
    hides = request.node.callspec.params["engine"] in ("moto that hides the winner", "dynalite", "endpoint")
    assert taken.value.winner == winner or (hides and taken.value.winner is None)
    assert await engine.tail("room", 50) == [winner]


@gen_test
async def test_of_concurrent_puts_at_one_place_exactly_one_wins(engine):
    commits = [commit(1, text=str(i)) for i in range(8)]
    failures = await asyncio.gather(*(outcome(engine.put(c)) for c in commits))
    [winner] = [c for c, failure in zip(commits, failures, strict=True) if failure is None]
    assert [type(failure) for failure in failures if failure] == [Taken] * 7
    assert all(f.winner in (winner, None) for f in failures if f)
    assert await engine.tail("room", 50) == [winner]


@gen_test
async def test_concurrent_puts_in_many_rooms_do_not_meet(engine):
    commits = [commit(1, room=f"room {i}") for i in range(50)]
    await asyncio.gather(*(engine.put(c) for c in commits))
    for each in commits[::7]:
        assert await engine.tail(each.room, 50) == [each]


ROOMS = [
    "'; DROP TABLE log; --",
    '"',
    "%",
    "_",
    "a b",
    "A",
    "a",
    "é",
    "日本語",
    "\U0001f984" * 64,
    ":edge",
    "..",
    "\\",
]


@gen_test
async def test_a_room_may_have_any_name(engine):
    commits = [commit(1, room=room) for room in ROOMS]
    for each in commits:
        await engine.put(each)
    for each in commits:
        assert await engine.tail(each.room, 50) == [each]


@gen_test
async def test_any_text_comes_back_as_it_was(engine):
    for text in (
        "\U0001f468\u200d\U0001f469" * 1365,
        "\u0085\u2028\ufeff\uffff\u202e",
        "tab\tline\n",
        "\\u0041\"'",
    ):
        room = f"room {len(text)}"
        stored = commit(1, room=room, text=text, sender="Ĺudmila \U0001f984")
        await engine.put(stored)
        assert await engine.tail(room, 1) == [stored]


@gen_test
async def test_payloads_of_64_kb_are_read_across_pages(engine):
    log = [commit(first, 64, text="x" * 900) for first in range(1, 1 + 64 * 17, 64)]
    assert 60_000 < len(log[0].payload) < 65_536
    for each in log:
        await engine.put(each)
    assert await engine.after("room", 0, 10_000) == log
    assert await engine.tail("room", 10_000) == log


@gen_test
async def test_what_precedes_an_id_is_as_much_as_is_asked_for_where_the_log_ends_long_before_it(engine):
    log = log_of(*[1] * 60)
    for each in log:
        await engine.put(each)
    for id in (62, 100, 150, 200):
        assert await engine.before("room", id, 30) == log[30:], id
    await engine.put(commit(200))
    assert await engine.before("room", 150, 30) == log[30:], "or has a hole"


@gen_test
async def test_a_reading_never_takes_a_hole_for_the_end_of_the_log(engine):
    """Which no writer makes; but if there is one, it is there for ever, and so would be the mistake."""
    one, two, far, end = commit(1, 2), commit(3, 2), commit(6, 2), commit(8, 1)
    for each in (one, two, far, end):
        await engine.put(each)
    for position, before in ((0, [one, two]), (1, [one, two]), (2, [one, two]), (4, [two])):
        hole = await outcome(engine.after("room", position, 50))
        assert isinstance(hole, Hole)
        assert (hole.commits, hole.beyond) == (before, 6)
    assert await engine.after("room", 0, 3) == [one, two], "which is all that was asked for"
    assert await engine.after("room", 5, 50) == [far, end], "as of a log that lost its beginning"
    assert await engine.tail("room", 50) == [far, end]
    assert await engine.before("room", 9, 50) == [far, end]
    assert await engine.before("room", 6, 50) == [one, two]


@gen_test
async def test_a_void_commit_keeps_its_ids(engine):
    """Also one that was emptied: or else the next one would not follow it."""
    void, end = Commit("room", (), void=(1, 64)), commit(129)
    for each in (void, commit(65, 64), end):
        await engine.put(each)
    assert (await engine.after("room", 0, 50))[0] == void
    full = (await engine.after("room", 64, 64))[-1]
    await engine.rewrite(full, full.emptied())
    log = await engine.after("room", 0, 999)
    assert [(c.first, c.ids, len(c.messages)) for c in log] == [(1, 64, 0), (65, 64, 0), (129, 1, 1)]


@gen_test
async def test_a_commit_is_rewritten_at_its_place_if_it_is_stored_as_it_was_read(engine):
    one, two = log_of(1, 2)
    for each in (one, two):
        await engine.put(each)
    await engine.rewrite(two, other := commit(2, 2, text="instead"))
    assert await engine.after("room", 0, 50) == [one, other]
    assert type(await outcome(engine.rewrite(two, two.emptied()))) is Taken, "it is another one now"
    assert type(await outcome(engine.rewrite(commit(4), commit(4).emptied()))) is Taken, "there is none"
    assert await engine.after("room", 0, 50) == [one, other]
    assert type(await outcome(engine.put(two))) is Taken, "the place stays taken"


@gen_test
async def test_a_commit_is_deleted_if_it_is_stored_as_it_was_read(engine):
    one, two = log_of(1, 2)
    for each in (one, two):
        await engine.put(each)
    assert type(await outcome(engine.delete(commit(2, 2, text="instead")))) is Taken
    await engine.delete(two)
    assert await engine.after("room", 0, 50) == [one]
    assert type(await outcome(engine.delete(two))) is Taken, "there is none"
    await engine.put(two)
    assert await engine.after("room", 0, 50) == [one, two], "its place was free"


@gen_test
async def test_a_commit_that_another_version_has_written_is_rewritten_as_well(engine):
    """It is compared as it is stored, and not as this version would have written it."""
    payload = json.dumps([["Ann", "\N{GRINNING FACE}", DATE, str(uuid.uuid4()), {"a": 1}, "and more"]])
    await engine.put(Commit.read("room", 1, payload))
    [old] = await engine.tail("room", 1)
    await engine.rewrite(old, old.emptied())
    assert [(c.first, c.ids, c.messages) for c in await engine.tail("room", 1)] == [(1, 1, ())]


def tries_to_empty(engine: SqliteEngine) -> list[int]:
    """Is given an item each time that the engine tries to empty its write-ahead log."""
    tried, empty_wal = [], engine._empty_wal
    engine._empty_wal = lambda: tried.append(1) or empty_wal()
    return tried


def in_files(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.iterdir())


async def contents(engine, directory: Path) -> bytes:
    """All that the store holds, free space included."""
    if isinstance(engine, SqliteEngine):
        return engine._db.serialize() if engine._path == ":memory:" else in_files(directory)
    answer = await engine._client.scan(TableName=engine._table)
    return json.dumps(answer["Items"], ensure_ascii=False).encode()


@gen_test
async def test_a_damaged_row_harms_no_other_room(tmp_path):
    """Old messages are deleted, and rooms are listed, but for what is damaged: that stays to be looked at."""
    path = tmp_path / "chat.db"
    store = await SqliteEngine.open(str(path))
    for room in ("ant", "bee", "cat"):
        for first in (1, 2, 3):
            await store.put(commit(first, room=room))
    await store.close()
    db = sqlite3.connect(path)
    db.execute("UPDATE log SET m = '[[' WHERE room = 'bee' AND seq = 2")
    db.commit()
    db.close()
    store = await SqliteEngine.open(str(path))
    assert [(room.room, room.last, room.newest) for room in await store.rooms()] == [
        (room, 3, DATE) for room in ("ant", "bee", "cat")
    ]
    await store.expire("2027-01-01T00:00:00.000Z")
    assert [(room.room, room.messages) for room in await store.rooms()] == [
        ("ant", 1),
        ("bee", 2),
        ("cat", 1),
    ]
    with pytest.raises(Broken):
        await store.tail("bee", 9)
    await store.close()


@gen_test
async def test_where_sqlite_has_no_memory_a_put_may_be_tried_again(tmp_path, monkeypatch):
    """It is a MemoryError then, and the thread goes on."""
    store = await SqliteEngine.open(str(tmp_path / "chat.db"))

    def fail(*_):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("flychat.storage.sqlite.put", fail)
        with pytest.raises(Unknown):
            await store.put(commit(1))
    await store.put(commit(1))
    assert len(await store.tail("room", 9)) == 1
    await store.close()


@gen_test
async def test_of_many_removed_texts_none_is_in_a_file_that_has_grown_since(tmp_path):
    """SQLite moves rows of a table that is kept in the order of its key, and leaves copies behind."""
    chance, store = random.Random(3), await SqliteEngine.open(str(tmp_path / "chat.db"))
    last, put = dict.fromkeys("abcd", 0), []
    for number in range(1200):
        room = chance.choice("abcd")
        last[room] += 1
        text = f"text {number:05} {'x' * chance.choice([10, 10, 300, 3000])}"
        put.append(Commit.of(last[room], [Draft(room, "ann", text, DATE, str(uuid.uuid4()))]))
    for some in range(0, 1200, 16):
        await asyncio.gather(*map(store.put, put[some : some + 16]))
    removed = chance.sample(range(1200), 300)
    for number in removed:
        await store.rewrite(put[number], put[number].emptied())
    await store.close()
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert [number for number in removed if f"text {number:05} ".encode() in content] == []


@pytest.mark.parametrize(
    ("seed", "commits", "many", "length"),
    [(None, 60, 3, 2720), (None, 60, 6, 2679), (37, 300, 3, 12), (35, 300, 4, 9)],
    ids=["long ones, the first of each", "longer ones", "short ones, some of them", "shorter ones"],
)
@gen_test
async def test_nothing_is_left_where_commits_lose_one_message_after_the_other(
    tmp_path, seed, commits, many, length
):
    """A row that changed its size had its neighbours moved, and what they lost later was in the copies."""
    store = await SqliteEngine.open(str(tmp_path / "chat.db"))
    there, gone = dict[int, Commit](), set[bytes]()
    for number in range(commits):
        texts = [f"_{number:03} {place}_".ljust(length, "x") for place in range(many)]
        drafts = [
            Draft("room", "Bo", text, DATE, str(uuid.UUID(int=place))) for place, text in enumerate(texts)
        ]
        there[number] = Commit.of(many * number + 1, drafts)
    await asyncio.gather(*map(store.put, there.values()))
    places = [(number, place) for number in range(commits) for place in range(many)]
    some = places[::many] if seed is None else random.Random(seed).sample(places, len(places) // 2)
    for number, place in some:
        old = there[number]
        text = old.messages[place].text
        left = replace(old.messages[place], sender=ERASED, text="", removed=999_999)
        new = Commit("room", (*old.messages[:place], left, *old.messages[place + 1 :]))
        await store.rewrite(old, new)
        [there[number]] = await store.before("room", old.last + 1, 1)
        assert there[number] == new
        gone.add(text.encode())
    await store.close()
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    found = re.findall(rb"_\d{3} \d_", content)
    assert not {text[:7] for text in gone} & {*found}
    assert len(found) == len({*found}), "nor is a copy of anything else there, that is removed next"


@gen_test
async def test_a_removed_text_is_nowhere_in_the_store_once_that_is_answered(engine, tmp_path):
    """Also one of several pages of the file, and what was said with it; the others are there, and the same ids."""
    secrets = ["secret zero", "secret one " * 370, "secret two", "secret three " * 300]
    log = MessageLog(engine, memory=False)
    for place, secret in enumerate(secrets):
        fields = {"from": "ann", "text": secret, "data": {"a": f"secret {place}"}}
        one = Draft.create("room", fields, now=0, user="ann")
        await engine.put(Commit.of(3 * place + 1, [one, _other(1), _other(2)]))
    assert b"secret" in await contents(engine, tmp_path)
    entry = await log.upkeep.remove(
        Draft.removal("room", (1, 4, 7, 10), {}, now=0, user="mod", name=None), lambda message: None
    )
    held = await contents(engine, tmp_path)
    assert b"secret" not in held
    assert b"other 2" in held
    messages = [m for c in await engine.after("room", 0, 99) for m in c.messages]
    assert [m.id for m in messages] == list(range(1, 14))
    assert [m.id for m in messages if m.removed == entry.id] == [1, 4, 7, 10]
    assert [m.user for m in messages if m.removed] == ["ann"] * 4
    assert messages[-1] == entry


@gen_test
async def test_a_reader_beside_the_server_keeps_a_removed_text_for_no_longer_than_it_reads(
    sqlite, tmp_path, monkeypatch
):
    """A backup or an export holds what it began with; nobody waits for it, and after it both files are without."""
    monkeypatch.setattr("flychat.storage.sqlite.EMPTY_SECONDS", 0.01)
    tried = tries_to_empty(sqlite)
    old, other = commit(1, text="a secret " * 900), commit(2)
    await sqlite.put(old)
    await sqlite.put(other)
    with contextlib.closing(read_only(str(tmp_path / "chat.db"))) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM log").fetchone() == (2,)
        assert sqlite._emptying is None, "nothing was to be emptied yet"
        await sqlite.rewrite(old, old.emptied())
        emptying = sqlite._emptying
        await sqlite.rewrite(other, other.emptied())
        await sqlite.put(commit(3, text="goes on"))
        await sqlite.expire("2000")
        assert sqlite._emptying is emptying is not None
        tries = len(tried)
        while len(tried) < tries + 2:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.01)
        assert b"a secret" in in_files(tmp_path)
        assert "a secret" in reader.execute("SELECT m FROM log").fetchone()[0], "as it was when it began"
        assert await sqlite._run(sqlite._sql, "PRAGMA busy_timeout") == [(BUSY_MS,)]
    while sqlite._emptying is not None:  # noqa: ASYNC110 - nobody is told
        await asyncio.sleep(0.01)
    assert b"a secret" not in in_files(tmp_path)
    assert [m.text for c in await sqlite.tail("room", 9) for m in c.messages] == ["goes on 0"]


@gen_test
async def test_while_a_reader_keeps_a_removed_text_the_file_is_not_tried_all_the_time(
    sqlite, tmp_path, monkeypatch
):
    monkeypatch.setattr("flychat.storage.sqlite.EMPTY_SECONDS", 1000.0)
    tried = tries_to_empty(sqlite)
    await sqlite.put(old := commit(1))
    with contextlib.closing(read_only(str(tmp_path / "chat.db"))) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM log").fetchone()
        await sqlite.rewrite(old, old.emptied())
        for _ in range(20):  # each behind the next try, if there were one
            await sqlite._run(sqlite._sql, "SELECT 1")
        assert len(tried) == 1


@gen_test
async def test_a_server_ends_though_a_reader_is_beside_it_and_leaves_nothing_that_goes_on(tmp_path):
    engine = await SqliteEngine.open(str(tmp_path / "chat.db"))
    await engine.put(old := commit(1))
    with contextlib.closing(read_only(str(tmp_path / "chat.db"))) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM log").fetchone()
        await engine.rewrite(old, old.emptied())
        await engine.close()
    await asyncio.wait([engine._emptying])
    assert engine._emptying.cancelled()


@pytest.mark.parametrize("turns", range(4))
@gen_test
async def test_what_is_erased_while_the_store_is_closed_leaves_nothing_that_goes_on(
    tmp_path, monkeypatch, turns
):
    monkeypatch.setattr("flychat.storage.sqlite.EMPTY_SECONDS", 0)
    engine = await SqliteEngine.open(str(tmp_path / "chat.db"))
    await engine.put(old := commit(1))
    erasing = asyncio.create_task(engine.rewrite(old, old.emptied()))
    for _ in range(turns):
        await asyncio.sleep(0)
    erasing.cancel()
    await engine.close()
    await asyncio.wait([erasing], timeout=60)
    assert erasing.done()
    if engine._emptying is not None:
        await asyncio.wait([engine._emptying])
        assert engine._emptying.cancelled()


@gen_test
async def test_what_a_process_erased_that_was_killed_then_leaves_both_files_when_the_next_one_starts(
    sqlite, tmp_path, monkeypatch
):
    """Between the rewrite and the emptying of the log; who asks again finds it erased, and has nothing to do."""
    monkeypatch.setattr("flychat.storage.sqlite.EMPTY_SECONDS", 0.01)
    monkeypatch.setattr(sqlite, "_overwrite", lambda: asyncio.sleep(0))
    left = tmp_path / "left"
    left.mkdir()
    await sqlite.put(old := commit(1, text="a secret " * 900))
    await sqlite.rewrite(old, old.emptied())
    for name in ("chat.db", "chat.db-wal"):
        shutil.copy(tmp_path / name, left / name)
    assert b"a secret" in in_files(left)
    engine = await SqliteEngine.open(str(left / "chat.db"))
    try:
        assert b"a secret" not in in_files(left)
        assert await engine.tail("room", 1) == [old.emptied()]
    finally:
        await engine.close()


@gen_test
async def test_what_was_erased_while_the_disk_fails_leaves_both_files_when_it_works(
    sqlite, tmp_path, monkeypatch
):
    """The rewrite itself is done: it would be Taken if it was repeated, and the log left as it is."""
    monkeypatch.setattr("flychat.storage.sqlite.EMPTY_SECONDS", 0.01)
    empty_wal, failures = sqlite._empty_wal, [Unknown("the disk is full")] * 2
    monkeypatch.setattr(sqlite, "_empty_wal", lambda: empty_wal() if not failures else _raise(failures.pop()))
    await sqlite.put(old := commit(1, text="a secret " * 900))
    await sqlite.rewrite(old, old.emptied())
    assert b"a secret" in in_files(tmp_path)
    while sqlite._emptying is not None:  # noqa: ASYNC110 - nobody is told
        await asyncio.sleep(0.01)
    assert b"a secret" not in in_files(tmp_path)


@gen_test
async def test_what_was_erased_without_an_answer_leaves_both_files_before_it_is_said_to_be_gone(
    sqlite, tmp_path, monkeypatch
):
    """A disk that is slow: whoever tries again is told Taken, finds it erased, and has nothing to do."""
    put = sqlite._worker.put

    async def unanswered(change):
        await put(change)
        raise Unknown("the disk does not answer")

    await sqlite.put(old := commit(1, text="a secret " * 900))
    monkeypatch.setattr(sqlite._worker, "put", unanswered)
    with pytest.raises(Unknown):
        await sqlite.rewrite(old, old.emptied())
    monkeypatch.undo()
    with pytest.raises(Taken):
        await sqlite.rewrite(old, old.emptied())
    assert b"a secret" not in in_files(tmp_path)


def _raise(error: Exception) -> None:
    raise error


def _other(number: int) -> Draft:
    return Draft.create("room", {"from": "bob", "text": f"other {number}"}, now=0)


@gen_test
async def test_what_is_submitted_is_put_and_its_outcome_is_told_once_and_later(engine):
    """Where the engine can: who cannot says so, and has done nothing."""
    loop, told = asyncio.get_running_loop(), []

    async def submitted(each):
        outcome = loop.create_future()
        took = engine.submit(each, lambda failure: (told.append(failure), outcome.set_result(failure)))
        assert not told, "within the call"
        return await outcome if took else None

    if await submitted(commit(1)) is None and not told:
        assert engine.shared
        assert await engine.tail("room", 1) == []
        return
    assert told == [None]
    told.clear()
    failure = await submitted(other := commit(1, text="another"))
    assert type(failure) is Taken
    assert failure.winner != other
    assert told == [failure]


@gen_test
async def test_all_that_is_stored_is_shown_behind_holes_as_well_and_in_the_end_nothing(engine):
    log = [commit(first, 2) for first in (1, 3, 11, 13, 200)]
    for each in log:
        await engine.put(each)
    shown, above = [], 0
    while some := await engine.everything("room", above):
        shown += some
        above = some[-1].first
    assert shown == log
    assert await engine.everything("elsewhere", 0) == []


async def whole(engine, room: str) -> list[Commit]:
    """All commits of a room: a slow machine is given them in parts."""
    commits: list[Commit] = []
    while some := await engine.everything(room, commits[-1].first if commits else 0):
        commits += some
    return commits


@gen_test
async def test_rooms_are_told_with_what_is_in_them_by_their_names(engine):
    assert await engine.rooms() == []
    names = sorted([*ROOMS, "/rules"])
    for name in reversed(names):
        await engine.put(commit(1, 2, name))
    await engine.put(commit(3, 64, names[0], text="\N{GRINNING FACE}" * 200))
    await engine.put(Commit(names[0], (), void=(67, 1)))
    for each in await whole(engine, names[1]):
        await engine.rewrite(each, each.emptied())
    rooms = await engine.rooms()
    assert [room.room for room in rooms] == names
    stored = [each for name in names for each in await whole(engine, name)]
    for room in rooms:
        its = [each for each in stored if each.room == room.room]
        assert room.last == its[-1].last
        assert room.bytes == sum(len(each.payload.encode()) for each in its)
    assert (rooms[0].messages, rooms[0].last, rooms[0].newest) == (66, 67, DATE)
    assert (rooms[1].messages, rooms[1].last, rooms[1].newest) == (0, 2, None)
    assert {(room.messages, room.last, room.newest) for room in rooms[2:]} == {(2, 2, DATE)}


@gen_test
async def test_rooms_of_more_than_one_page_are_told_once(engine, monkeypatch):
    monkeypatch.setattr("flychat.storage.worker.PART_SECONDS", 0.0)  # a part for each commit
    full = [commit(first, 64, text="x" * 900) for first in range(1, 1 + 64 * 20, 64)]
    for each in [*full, commit(1, room="other")]:
        await engine.put(each)
    assert sum(each.size for each in full) > 1 << 20, "as much as a page of DynamoDB has"
    told = [(room.room, room.messages, room.last) for room in await engine.rooms()]
    assert told == [("other", 1, 1), ("room", 20 * 64, 20 * 64)]


@gen_test
async def test_a_reading_stops_at_its_bytes_whatever_the_limit(engine):
    """One that stops so has more than 1 MiB of messages past the position."""
    log = [commit(first, 64, text="\N{GRINNING FACE}" * 220) for first in range(1, 1 + 64 * 20, 64)]
    assert all(60_000 < each.size < 65_536 for each in log)
    for each in log:
        await engine.put(each)
    for read in (await engine.after("room", 63, 10_000), await engine.tail("room", 10_000)):
        assert 1 << 20 < sum(each.size for each in read[1:]) < READ_BYTES
        assert sum(each.size for each in read[:-1]) < READ_BYTES <= sum(each.size for each in read)
    read = await engine.after("room", 63, 10_000)
    assert read + await engine.after("room", read[-1].last + 1, 10_000) == log


@gen_test
async def test_what_follows_an_id_is_whole_where_the_newest_commits_are_small_and_others_large(engine):
    """Of DynamoDB a page has 1 MB: that as many bytes are left as the newest have cannot be known."""
    log = [commit(first, text="x" * 60_000 if first <= 20 else "x") for first in range(1, 42)]
    for each in log:
        await engine.put(each)
    read = await engine.after("room", 0, 41)
    assert read == log[: len(read)]
    assert len(read) >= 18


@gen_test
async def test_a_message_is_found_by_its_provisional_id_in_a_range_of_the_log(engine):
    log = [commit(first, 64, text="Grüße") for first in range(1, 1 + 64 * 12, 64)]
    for each in log:
        await engine.put(each)
    wanted = log[5].messages[7]
    await engine.put(commit(769, text=wanted.provisional_id[:-1]))
    await engine.put(commit(770, text=f',"{wanted.provisional_id}"'))  # which quotes it, and is not it
    for above, below, found in (
        (0, 10**6, [log[5]]),
        (wanted.id - 1, wanted.id + 1, [log[5]]),
        (log[5].last, 10**6, []),
        (0, log[5].first, []),
        (50, 50, []),
    ):
        assert await engine.find("room", above, below, wanted.provisional_id) == found, (above, below)
    assert await engine.find("other", 0, 10**6, wanted.provisional_id) == []


@gen_test
async def test_a_log_that_lost_its_beginning_answers_from_its_oldest_commit(engine):
    log = [commit(200, 3), commit(203, 2)]
    for each in log:
        await engine.put(each)
    assert await engine.after("room", 10, 4) == log
    assert await engine.tail("room", 50) == log


@both_ways
@gen_test
async def test_close_waits_for_the_puts_under_way(io_loop, tmp_path, proxied, dynamo, way):
    proxy, environ = proxied
    proxy.delay = 0.05
    for engine in (await SqliteEngine.open(str(tmp_path / "chat.db")), await dynamo(environ | way)):
        puts = [asyncio.ensure_future(outcome(engine.put(commit(1, room=f"{i}")))) for i in range(3)]
        await asyncio.sleep(0)  # let them begin
        await engine.close()
        assert await asyncio.gather(*puts) == [None] * 3


@given(st.lists(st.integers(1, 64), min_size=1, max_size=9), st.data())
def test_a_run_is_the_shortest_that_holds_the_limit(sizes, data):
    log = log_of(*sizes)
    id, limit = data.draw(st.integers(0, log[-1].last + 2)), data.draw(st.integers(1, 300))
    ahead, back = Run(limit, above=id), Run(limit, below=id)
    all(ahead.take(c) for c in log)
    all(back.take(c) for c in reversed(log) if c.first < id)
    assert ahead.oldest_first() == expect_after(log, id, limit)
    assert back.oldest_first() == expect_before(log, id, limit)


# SQLite

WRITER = """
import asyncio, sys
from flychat.commits import Commit
from flychat.messages import Message
from flychat.storage.sqlite import SqliteEngine

async def write(engine, room):
    for id in range(1, 10**9):
        await engine.put(Commit(room, (Message(id, "Ann", "hi", "now", ""),)))
        print(room, id, flush=True)

async def main():
    engine = await SqliteEngine.open(sys.argv[1])
    await asyncio.gather(write(engine, "a"), write(engine, "b"), write(engine, "c"))

asyncio.run(main())
"""


def python(*arguments: str, **options) -> subprocess.Popen:
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=root, text=True, stdout=subprocess.PIPE, **options
    )


@pytest.fixture
def sqlite(io_loop, tmp_path):
    """An engine on tmp_path / "chat.db"."""
    engine = io_loop.run_sync(lambda: SqliteEngine.open(str(tmp_path / "chat.db")))
    yield engine
    io_loop.run_sync(engine.close)


async def refusal(path: Path | str, *, reading: bool = False) -> str:
    """Why SqliteEngine does not open `path`, in one line."""
    with pytest.raises(Misconfigured) as refused:
        await SqliteEngine.open(str(path), reading=reading)
    line = str(refused.value)
    assert "\n" not in line
    assert line.count(f'"{path}"') == 1
    return line


@gen_test
async def test_what_was_acknowledged_survives_kill_9(tmp_path):
    path = str(tmp_path / "chat.db")
    acknowledged = {"a": 0, "b": 0, "c": 0}
    with python("-c", WRITER, path) as writer:
        for _ in range(600):
            room, id = writer.stdout.readline().split()
            acknowledged[room] = int(id)
        writer.send_signal(signal.SIGKILL)
        for line in writer.stdout.read().splitlines():
            if len(line.split()) == 2:
                acknowledged[line[0]] = max(acknowledged[line[0]], int(line.split()[1]))
    engine = await SqliteEngine.open(path)
    for room, last in acknowledged.items():
        ids = [c.first for c in await engine.after(room, 0, 10**9)]
        assert ids == list(range(1, len(ids) + 1))
        assert len(ids) - last in (0, 1)  # the last may be stored without having been acknowledged
    await engine.close()


@gen_test
async def test_the_log_is_there_after_closing_and_opening(tmp_path):
    for stored in log_of(1, 5):
        engine = await SqliteEngine.open(str(tmp_path / "chat.db"))
        await engine.put(stored)
        await engine.close()
    engine = await SqliteEngine.open(str(tmp_path / "chat.db"))
    assert [(c.first, c.last) for c in await engine.tail("room", 50)] == [(1, 1), (2, 6)]
    await engine.close()


@gen_test
async def test_a_second_process_is_refused_in_one_line_until_the_first_ends(sqlite, tmp_path):
    path = tmp_path / "chat.db"
    with python("-c", WRITER, str(path), stderr=subprocess.PIPE) as second:
        watchdog = threading.Timer(60, second.kill)  # should it not be refused, it writes for ever
        watchdog.start()
        _, errors = second.communicate()
        watchdog.cancel()
    line = errors.splitlines()[-1]
    assert line.startswith("flychat.errors.Misconfigured: ")
    assert "another flychat is using it" in line
    assert str(path) in line
    link = tmp_path / "link.db"
    link.symlink_to(path)
    assert "another flychat" in await refusal(link)  # the same file by another name


@pytest.mark.parametrize(("rooms", "inserts"), [(50, 1), (63, 1), (64, 2), (130, 3)])
@gen_test
async def test_the_commits_of_all_rooms_that_wait_share_one_transaction(sqlite, rooms, inserts):
    """It is one statement; a few, where they are too many for that."""
    statements = await traced(sqlite)
    held, go = threading.Event(), threading.Event()
    first = asyncio.ensure_future(sqlite._run(lambda: (held.set(), go.wait())))
    await asyncio.to_thread(held.wait)
    under_way = asyncio.ensure_future(sqlite.put(commit(1)))
    await asyncio.sleep(0)
    puts = [asyncio.ensure_future(sqlite.put(commit(1, room=f"room {i}"))) for i in range(rooms)]
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(first, under_way, *puts)
    assert statements.count("BEGIN IMMEDIATE") == statements.count("COMMIT") == (inserts > 1)
    assert sum(s.startswith("INSERT") for s in statements) == inserts
    assert len(await sqlite.rooms()) == 1 + rooms


@gen_test
async def test_a_cancelled_put_does_not_disturb_those_in_its_transaction(sqlite):
    puts = [asyncio.ensure_future(sqlite.put(commit(1, room=f"room {i}"))) for i in range(3)]
    await asyncio.sleep(0)
    puts[0].cancel()
    await asyncio.gather(*puts[1:])
    assert puts[0].cancelled()
    for i in (1, 2):
        assert len(await sqlite.tail(f"room {i}", 1)) == 1


@gen_test
async def test_a_read_does_not_overtake_a_put_that_was_given_up(sqlite):
    """Else the put would be applied when nobody looks for it any more: stored, and never published."""
    held, go = threading.Event(), threading.Event()
    first = asyncio.ensure_future(sqlite._run(lambda: (held.set(), go.wait())))
    await asyncio.to_thread(held.wait)
    under_way = asyncio.ensure_future(sqlite.put(commit(1)))
    await asyncio.sleep(0)
    given_up = asyncio.ensure_future(sqlite.put(commit(2)))
    await asyncio.sleep(0)
    given_up.cancel()
    read = asyncio.ensure_future(sqlite.tail("room", 9))
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(first, under_way)
    assert [c.first for c in await read] == [1, 2]


@pytest.mark.parametrize(("taken", "last"), [(1, 3), (3, 3), (1, 100), (100, 100)])
@gen_test
async def test_a_taken_place_does_not_disturb_those_in_its_transaction(sqlite, taken, last):
    await sqlite.put(commit(taken))
    ids = range(1, last + 1)
    outcomes = await asyncio.gather(*(outcome(sqlite.put(commit(id))) for id in ids))
    assert [type(o) for o in outcomes] == [Taken if id == taken else type(None) for id in ids]
    assert [c.first for c in await sqlite.tail("room", 200)] == list(ids)


@gen_test
async def test_a_full_disk_leaves_all_puts_of_the_transaction_unknown_and_none_applied(sqlite):
    await sqlite.put(commit(1))
    pages = await sqlite._run(lambda: sqlite._db.execute("PRAGMA page_count").fetchone()[0])
    await sqlite._run(lambda: sqlite._db.execute(f"PRAGMA max_page_count = {pages + 1}"))
    outcomes = await asyncio.gather(
        outcome(sqlite.put(commit(2))), outcome(sqlite.put(commit(1, 64, room="large", text="x" * 900)))
    )
    assert [type(o) for o in outcomes] == [Unknown] * 2
    assert len(await sqlite.tail("room", 50)) == 1
    await sqlite._run(lambda: sqlite._db.execute("PRAGMA max_page_count = 100000"))
    await sqlite.put(commit(2))
    assert len(await sqlite.tail("room", 50)) == 2


@gen_test
async def test_what_is_written_together_is_written_as_a_whole_or_not_at_all(sqlite):
    await sqlite.put(old := commit(1))
    db = sqlite._db
    broken = "CREATE TEMP TRIGGER broken BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'broken'); END"
    await sqlite._run(lambda: db.execute(broken))

    def put() -> None:
        with pytest.raises(sqlite3.IntegrityError, match="broken"):
            sqlite_put.put(db, [(commit(2), None), (old.emptied(), old)])

    await sqlite._run(put)
    assert await sqlite.tail("room", 9) == [old]


@gen_test
async def test_puts_do_not_hold_up_a_shutdown_while_another_program_has_the_file_locked(tmp_path):
    engine = await SqliteEngine.open(str(tmp_path / "chat.db"))
    with contextlib.closing(sqlite3.connect(tmp_path / "chat.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        puts = [asyncio.ensure_future(outcome(engine.put(commit(1))))]
        await asyncio.sleep(0)  # its transaction is under way
        puts.append(asyncio.ensure_future(outcome(engine.put(commit(1, room="other")))))
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await engine.close()
        assert all(isinstance(each, Unknown) for each in await asyncio.gather(*puts))


@gen_test
async def test_a_put_is_unknown_while_another_program_has_the_file_locked(sqlite, tmp_path):
    await sqlite._run(lambda: sqlite._db.execute("PRAGMA busy_timeout = 0"))
    other = sqlite3.connect(tmp_path / "chat.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert isinstance(await outcome(sqlite.put(commit(1))), Unknown)
    assert await sqlite.tail("room", 1) == []  # readers are not locked out
    other.execute("ROLLBACK")
    other.close()
    await sqlite.put(commit(1))


@gen_test
async def test_a_corrupt_database_is_broken(tmp_path):
    path = tmp_path / "chat.db"
    engine = await SqliteEngine.open(str(path))
    for each in log_of(64, 64, 64):
        await engine.put(each)
    await engine.close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    engine = await SqliteEngine.open(str(path))
    assert isinstance(await outcome(engine.put(commit(1))), Broken)
    assert isinstance(await outcome(engine.tail("room", 1)), Broken)
    assert isinstance(await outcome(engine.check()), Broken)
    await engine.close()


@gen_test
async def test_a_row_that_is_no_commit_is_broken(sqlite):
    for seq, payload in enumerate(["[[1]]", "{", "null", commit(1).payload + "]"], 1):
        values = (f"room {seq}", 1, 1, payload)
        await sqlite._run(lambda: sqlite._db.execute("INSERT INTO log VALUES (?, ?, ?, ?)", values))  # noqa: B023
        assert isinstance(await outcome(sqlite.tail(f"room {seq}", 1)), Broken)
    assert isinstance(await outcome(sqlite.put(commit(1, room="room 1"))), Broken)


@pytest.mark.parametrize("payload", [b'[["ann","a secret\xff', b"[]\nsecret as told", b'[["ann"]] secret'])
@gen_test
async def test_what_is_said_of_a_row_that_is_no_commit_is_not_what_it_says(sqlite, payload):
    """It goes into the log, which never has the texts of messages."""
    await sqlite._run(sqlite._sql, "INSERT INTO log VALUES ('room', 1, 1, CAST(? AS TEXT))", (payload,))
    calls = (sqlite.tail("room", 1), sqlite.everything("room", 0), sqlite.put(commit(1)))
    for failed in [await outcome(call) for call in calls]:
        assert isinstance(failed, Broken)
        assert "secret" not in str(failed)
    assert "secret" not in str(await sqlite.rooms())


async def traced(sqlite: SqliteEngine) -> list[str]:
    """The statements that it executes from now on."""
    statements: list[str] = []
    await sqlite._run(lambda: sqlite._db.set_trace_callback(statements.append))
    return statements


@pytest.mark.parametrize("name", ["chat.db", "chat.db-wal", "chat.db-shm", "chat.db-lock"])
@pytest.mark.parametrize("replaced", [False, True])
@gen_test
async def test_nothing_is_acknowledged_once_a_file_was_removed_or_replaced(sqlite, tmp_path, name, replaced):
    await sqlite.put(commit(1))
    path = tmp_path / name
    aside = path.rename(tmp_path / "aside")
    if replaced:
        path.write_bytes(aside.read_bytes())
    for call in (sqlite.put(commit(2)), sqlite.put(commit(1, room="other")), sqlite.check()):
        failure = await outcome(call)
        assert type(failure) is Broken
        assert f'"{path}" was removed or replaced' in str(failure)
        assert "\n" not in str(failure)
    aside.replace(path)
    await sqlite.check()
    await sqlite.put(commit(3))


@gen_test
async def test_what_was_put_in_the_place_of_a_file_in_use_is_whole_after_a_restart(tmp_path):
    """The write-ahead log of the one before is of other pages: what is in it would ruin the new one."""
    path, copy = tmp_path / "chat.db", tmp_path / "copy.db"
    engine = await SqliteEngine.open(str(path))
    log = [commit(first, 8, room=room, text="x" * 90) for first in range(1, 1500, 8) for room in "abc"]
    for each in log[:400]:
        await engine.put(each)
    await back_up(str(path), str(copy))
    await engine._run(engine._sql, "PRAGMA wal_checkpoint")
    for each in log[400:]:
        await engine.put(each)
    copy.replace(path)
    assert "start flychat again" in str(await outcome(engine.check()))
    await engine.close()
    engine = await SqliteEngine.open(str(path))
    assert [each for room in "abc" for each in await engine.after(room, 0, 10**9)] == sorted(
        log[:400], key=lambda each: each.room
    )
    assert await engine._run(engine._sql, "PRAGMA integrity_check") == [("ok",)]
    await engine.close()


@gen_test
async def test_a_file_that_is_removed_while_it_is_written_is_not_acknowledged(sqlite, tmp_path, monkeypatch):
    def meanwhile(db, changes):
        (tmp_path / "chat.db").unlink()
        return sqlite_put.put(db, changes)

    monkeypatch.setattr("flychat.storage.sqlite.put", meanwhile)
    assert type(await outcome(sqlite.put(commit(1)))) is Broken


@gen_test
async def test_an_acknowledged_put_survives_a_power_cut_and_what_was_cleared_is_not_in_the_file(tmp_path):
    path = tmp_path / "chat.db"
    sqlite = await SqliteEngine.open(str(path))
    settings = {"synchronous": 2, "fullfsync": 1, "secure_delete": 1, "journal_mode": "wal"}

    async def check() -> None:
        for name, value in settings.items():
            assert await sqlite._run(sqlite._sql, f"PRAGMA {name}") == [(value,)], name

    await check()
    for first in range(1, 1300, 64):
        await sqlite.put(commit(first, 64, text="a secret"))
    await sqlite._run(sqlite._sql, "PRAGMA wal_checkpoint")  # so that it is in both files
    await sqlite.put(commit(1345, text="an old word"))
    assert any(b"a secret" in name.read_bytes() for name in tmp_path.iterdir())
    await empty(sqlite, "room", 1345)
    assert not any(b"a secret" in name.read_bytes() for name in tmp_path.iterdir())
    await sqlite.put(commit(1346, text="a new word"))
    await sqlite.expire("2027")
    assert not any(b"an old word" in name.read_bytes() for name in tmp_path.iterdir())
    assert [m.text for c in await sqlite.tail("room", 9999) for m in c.messages] == ["a new word 0"]
    await check()
    await sqlite.close()


@gen_test
async def test_even_a_sweep_that_fails_leaves_puts_synchronous(sqlite):
    for each in log_of(1, 1):
        await sqlite.put(each)
    await sqlite._run(
        sqlite._sql, "CREATE TRIGGER full BEFORE DELETE ON log BEGIN SELECT RAISE(FAIL, 'x'); END"
    )
    assert type(await outcome(sqlite.expire("2027"))) is Broken
    assert await sqlite._run(sqlite._sql, "PRAGMA synchronous") == [(2,)]


async def put_during(sqlite: SqliteEngine, statement: str, job) -> list[str]:
    """The first words of the statements of the job, when a put comes during the first `statement` of it."""
    words: list[str] = []
    held, go = threading.Event(), threading.Event()

    def trace(executed: str) -> None:
        words.append(executed.split()[0])
        if executed.startswith(statement) and not held.is_set():
            held.set()
            go.wait()

    await sqlite._run(lambda: sqlite._db.set_trace_callback(trace))
    task = asyncio.ensure_future(job)
    await asyncio.to_thread(held.wait)
    put = asyncio.ensure_future(sqlite.put(commit(1, room=f"{uuid.uuid4()}")))
    for _ in range(3):
        await asyncio.sleep(0)
    go.set()
    await asyncio.gather(task, put)
    await sqlite._run(lambda: sqlite._db.set_trace_callback(None))
    return words


@pytest.mark.parametrize("bound", ["BATCH", "BATCH_BYTES"])
@gen_test
async def test_a_put_passes_between_the_batches_of_a_sweep(sqlite, monkeypatch, bound):
    ten = {"BATCH": 10, "BATCH_BYTES": 10 * len(as_stored(commit(1))) - 1}  # commits
    monkeypatch.setattr(f"flychat.storage.sqlite.{bound}", ten[bound])
    monkeypatch.setattr("flychat.storage.worker.PART_SECONDS", 60.0)
    for each in log_of(*[1] * 101):
        await sqlite.put(each)
    words = await put_during(sqlite, "DELETE", sqlite.expire("2027"))
    assert [word for word in words if word in ("DELETE", "INSERT")] == ["DELETE", "INSERT", *["DELETE"] * 9]
    assert [c.first for c in await sqlite.tail("room", 99)] == [101]


@gen_test
async def test_a_sweep_ends_with_a_write_ahead_log_that_is_empty(sqlite, tmp_path):
    # As if readers had kept it from being emptied.
    await sqlite._run(sqlite._sql, "PRAGMA wal_autocheckpoint = 0")
    for each in log_of(*[64] * 12):
        await sqlite.put(each)
    wal = tmp_path / "chat.db-wal"
    assert wal.stat().st_size > 0
    await sqlite.expire("2027")
    assert wal.stat().st_size == 0


@gen_test
async def test_what_follows_an_id_is_read_without_unpacking_what_is_before_it(engine, monkeypatch):
    """The commit that holds an id may begin at any of 64 places, and single messages fill them all."""
    log = log_of(*[1] * 70)
    for each in log:
        await engine.put(each)
    unpacked, read = [], Commit.read
    monkeypatch.setattr(Commit, "read", lambda *given: unpacked.append(given[1]) or read(*given))
    assert await engine.after("room", 68, 99) == log[67:]
    assert unpacked == [68, 69, 70]


@gen_test
async def test_the_write_ahead_log_does_not_keep_the_size_that_it_once_had(sqlite, tmp_path):
    """A large transaction, or a reader that was long at it, would leave it as large until the end."""
    await sqlite._run(sqlite._sql, "PRAGMA wal_autocheckpoint = 0")
    log = [commit(first, text="x" * 60_000) for first in range(1, 91)]
    for each in log[:88]:
        await sqlite.put(each)
    wal = tmp_path / "chat.db-wal"
    assert wal.stat().st_size > 5 << 20
    await sqlite._run(sqlite._sql, "PRAGMA wal_autocheckpoint = 1000")
    for each in log[88:]:
        await sqlite.put(each)
    assert wal.stat().st_size <= 4 << 20


@gen_test
async def test_a_sweep_that_finds_nothing_takes_no_longer_for_more_messages(sqlite):
    """It looks at the oldest commit of each room. (Counted are the instructions of SQLite's machine.)"""
    ticks: list[int] = []
    counts = []
    await sqlite._run(lambda: sqlite._db.set_progress_handler(lambda: ticks.append(1), 1))
    for first in (1, 6, 201):
        for place in range(first, first + (195 if first == 6 else 5)):
            for room in range(5):
                await sqlite.put(commit(place, room=f"room {room}"))
        ticks.clear()
        await sqlite.expire("2025")
        counts.append(len(ticks))
    assert (
        0 < max(counts) < 1.1 * min(counts)
    )  # SQLite 3.40 takes as many each time, 3.53 a hundredth more or less


@gen_test
async def test_a_room_of_any_age_does_not_hide_the_age_of_another(sqlite):
    """The newest commit of each room stays, whatever ids other rooms have reached."""
    for room, count in (("a", 3), ("b", 30), ("c", 2)):
        for each in log_of(*[1] * count, room=room):
            await sqlite.put(each)
    await sqlite.expire("2027")
    assert [(await sqlite.tail(room, 99))[0].first for room in "abc"] == [3, 30, 2]
    assert [len(await sqlite.tail(room, 99)) for room in "abc"] == [1, 1, 1]


@gen_test
async def test_a_put_goes_before_the_readings_that_wait(sqlite):
    statements = await traced(sqlite)
    held, go = threading.Event(), threading.Event()
    first = asyncio.ensure_future(sqlite._run(lambda: (held.set(), go.wait())))
    await asyncio.to_thread(held.wait)
    reads = [asyncio.ensure_future(sqlite.tail(f"room {n}", 50)) for n in range(9)]
    await asyncio.sleep(0)
    put = asyncio.ensure_future(sqlite.put(commit(1)))
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(first, put, *reads)
    assert next(s for s in statements if s.startswith(("INSERT", "SELECT"))).startswith("INSERT")


@gen_test
async def test_a_reading_that_was_given_up_is_not_made(sqlite):
    for each in log_of(*[64] * 30):
        await sqlite.put(each)
    statements = await traced(sqlite)
    held, go = threading.Event(), threading.Event()
    first = asyncio.ensure_future(sqlite._run(lambda: (held.set(), go.wait())))
    await asyncio.to_thread(held.wait)
    reads = [sqlite.tail("room", 1000), sqlite.after("room", 0, 1000), sqlite.find("room", 0, 1000, "x")]
    tasks = [asyncio.ensure_future(read) for read in reads]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    go.set()
    await first
    await sqlite.tail("other", 1)
    assert sum(s.startswith("SELECT") for s in statements) == 1


@gen_test
async def test_what_is_read_at_once_of_several_rooms_is_one_statement_and_a_damaged_row_harms_its_own(
    tmp_path,
):
    """Statements are compared before their parameters are filled in, each question's own."""
    path = tmp_path / "chat.db"
    store = await SqliteEngine.open(str(path))
    rooms = ["ant", "bee", "cat", "dog"]
    for number, room in enumerate(rooms):
        for first in range(1, 5 + number):
            await store.put(commit(first, room=room))
    statements = await traced(store)

    async def at_once() -> list[object]:
        held, go = threading.Event(), threading.Event()
        first = asyncio.ensure_future(store._run(lambda: (held.set(), go.wait())))
        await asyncio.to_thread(held.wait)
        reads = [store.after(room, 3, 9) for room in rooms] + [store.tail(room, 2) for room in rooms]
        tasks = [asyncio.ensure_future(read) for read in reads]
        await asyncio.sleep(0)
        statements.clear()
        go.set()
        read = await asyncio.gather(*tasks, return_exceptions=True)
        await first
        return [each if isinstance(each, Broken) else [c.first for c in each] for each in read]

    await at_once()  # the first questions are asked one by one
    good = [[3, 4], [3, 4, 5], [3, 4, 5, 6], [3, 4, 5, 6, 7], [3, 4], [4, 5], [5, 6], [6, 7]]
    assert await at_once() == good
    assert [s.count("group_concat") for s in statements] == [4, 4]
    db = sqlite3.connect(path)
    db.execute("UPDATE log SET m = CAST(x'ff' AS TEXT) WHERE room = 'cat' AND seq = 5")
    db.commit()
    db.close()
    read = await at_once()
    assert [type(each) for each in (read[2], read[6])] == [Broken, Broken]
    assert [each for each in read if not isinstance(each, Broken)] == good[:2] + good[3:6] + good[7:]
    await store.close()


@gen_test
async def test_a_put_passes_between_the_parts_of_a_long_reading(sqlite, monkeypatch):
    log = log_of(*[1] * 40)
    for each in log:
        await sqlite.put(each)
    monkeypatch.setattr("flychat.storage.worker.PART_SECONDS", 0.0)
    monkeypatch.setattr("flychat.storage.sqlite.FIND", 1)
    monkeypatch.setattr("flychat.storage.sqlite.READ_ROWS", 1)
    results = []

    async def read(call) -> None:
        results.append(await call)

    wanted = log[30].messages[0].provisional_id
    for call in (
        sqlite.after("room", 0, 99),
        sqlite.before("room", 41, 99),
        sqlite.find("room", 0, 41, wanted),
        whole(sqlite, "room"),
        sqlite.rooms(),
    ):
        words = await put_during(sqlite, "SELECT", read(call))
        kinds = [word for word in words if word in ("SELECT", "INSERT")]
        assert kinds.index("INSERT") == 1, "after the first part"
        assert len(kinds) > 40
    *commits, rooms = results
    assert commits == [log, log, [log[30]], log]
    assert (
        Summary("room").with_these(40, 40, sum(len(each.payload.encode()) for each in commits[0]), DATE)
        in rooms
    )


@gen_test
async def test_a_reading_asks_for_no_more_rows_than_it_wants_and_a_part_has(sqlite, monkeypatch):
    """However quick the machine is."""
    log = log_of(*[1] * 200)
    for each in log:
        await sqlite.put(each)
    monkeypatch.setattr("flychat.storage.worker.PART_SECONDS", 60.0)
    monkeypatch.setattr("flychat.storage.sqlite.BATCH", 50)
    monkeypatch.setattr("flychat.storage.sqlite.FIND", 10)
    asked, ask = [], sqlite._worker.ask
    monkeypatch.setattr(
        sqlite._worker, "ask", lambda question: asked.append(question.values[2]) or ask(question)
    )
    assert await sqlite.tail("room", 1) == log[199:]
    assert await sqlite.after("room", 160, 99) == log[159:]
    assert asked == [2, READ_ROWS, READ_ROWS], "one more than is wanted says whether there is more"
    statements = await traced(sqlite)
    for call, count in (
        (whole(sqlite, "room"), 200 // 50 + 1),
        (sqlite.rooms(), 1),
        (sqlite.find("room", 100, 107, "x"), 7),  # from the first commit that may hold id 101 to the last
    ):
        statements.clear()
        await call
        assert len(statements) == count


@gen_test
async def test_a_search_ends_where_enough_was_found(sqlite, monkeypatch):
    log = [
        Commit("room", (replace(log_of(1)[0].messages[0], id=id, provisional_id="x"),)) for id in (1, 2, 3)
    ]
    for each in log:
        await sqlite.put(each)
    monkeypatch.setattr("flychat.storage.sqlite.FIND", 1)
    found = await sqlite.find("room", 0, 9, "x")
    assert found == log
    monkeypatch.setattr("flychat.storage.sqlite.READ_BYTES", found[0].size + 1)
    assert await sqlite.find("room", 0, 9, "x") == log[:2]


@pytest.mark.parametrize(("seconds", "turns"), [(-1.0, 20), (60.0, 1)])
@gen_test
async def test_while_much_is_unpacked_the_loop_turns(sqlite, monkeypatch, seconds, turns):
    for each in log_of(*[1] * 20):
        await sqlite.put(each)
    monkeypatch.setattr("flychat.storage.worker.PART_SECONDS", seconds)
    loop, turn, read, seen = asyncio.get_running_loop(), [0], Commit.read, []

    def count() -> None:
        turn[0] += 1
        loop.call_soon(count)

    loop.call_soon(count)
    monkeypatch.setattr(Commit, "read", lambda *given: seen.append(turn[0]) or read(*given))
    assert len(await sqlite.tail("room", 99)) == 20
    assert len(set(seen)) == turns


@gen_test
async def test_payloads_are_stored_as_utf_8_and_those_in_ascii_are_still_read(sqlite):
    new = commit(1, text="日本語 \N{UNICORN FACE}")
    old = commit(2, text="\N{UNICORN FACE}")
    await sqlite.put(new)
    ascii = json.dumps(json.loads(old.payload), separators=(",", ":"))
    values = ("room", 2, 1, ascii)
    await sqlite._run(sqlite._sql, "INSERT INTO log VALUES (?, ?, ?, ?)", values)
    sizes = await sqlite._run(sqlite._sql, "SELECT length(CAST(m AS BLOB)) FROM log")
    assert sizes == [(len(as_stored(new).encode()),), (len(ascii),)]
    assert await sqlite.tail("room", 9) == [new, old]
    assert await sqlite.find("room", 0, 9, old.messages[0].provisional_id) == [old]


@gen_test
async def test_a_read_leaves_no_snapshot_open(sqlite, tmp_path):
    """Or the write-ahead log could not be emptied, and would grow for ever."""
    for each in log_of(*[1] * 20):
        await sqlite.put(each)
    await sqlite.tail("room", 1)
    await sqlite.after("room", 3, 1)
    await sqlite.put(commit(21))
    blocked, *_ = await sqlite._run(lambda: sqlite._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone())
    assert not blocked
    assert (tmp_path / "chat.db-wal").stat().st_size == 0


@gen_test
async def test_a_missing_directory_is_named(tmp_path):
    assert "its directory does not exist" in await refusal(tmp_path / "nowhere" / "chat.db")


@gen_test
async def test_a_directory_is_no_store(tmp_path):
    await refusal(tmp_path)


@gen_test
async def test_a_disk_without_room_for_the_files_beside_it_is_told_as_full(tmp_path):
    """SQLite calls that an I/O error, which sounds like a broken disk. The limit stands for a disk that is full."""
    path = tmp_path / "chat.db"
    await (await SqliteEngine.open(str(path))).close()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, limits[1]))  # the -shm file needs 32 kB
    try:
        assert "the disk is full" in await refusal(path)
        with pytest.raises(Unknown, match="the disk is full"):
            await back_up(str(path), str(tmp_path / "copy.db"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@gen_test
async def test_a_file_that_is_no_database_is_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database, " * 100)
    assert "file is not a database" in await refusal(path)
    assert path.read_text() == "not a database, " * 100


@gen_test
async def test_the_database_of_another_program_is_left_alone(tmp_path):
    for schema in ("CREATE TABLE users (name TEXT)", "CREATE TABLE log (room TEXT, line TEXT)"):
        path = tmp_path / f"{len(schema)}.db"
        db = sqlite3.connect(path)
        db.execute(schema)
        db.close()
        before = path.read_bytes()
        for reading in (False, True):
            assert "another program" in await refusal(path, reading=reading)
        assert path.read_bytes() == before


def user_version(path, version: int | None = None) -> int:
    with contextlib.closing(sqlite3.connect(path)) as db:
        if version is not None:
            db.execute(f"PRAGMA user_version = {version}")
        return db.execute("PRAGMA user_version").fetchone()[0]


@gen_test
async def test_a_file_says_the_version_of_its_format_and_a_later_one_is_left_alone(tmp_path):
    path, one = tmp_path / "chat.db", commit(1)
    for before in (None, 0):  # a new file, and one of before there was a version
        engine = await SqliteEngine.open(str(path))
        if before is None:
            await engine.put(one)
        assert await engine.tail("room", 1) == [one]
        await engine.close()
        assert user_version(path) == 1
        user_version(path, 0)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
    user_version(path, 2)
    before = path.read_bytes()
    for reading in (False, True):
        assert "a later version of flychat has written it" in await refusal(path, reading=reading)
    assert path.read_bytes() == before


@gen_test
async def test_who_only_reads_may_while_another_process_writes_and_cannot_write(tmp_path):
    path, (one, two, three) = str(tmp_path / "chat.db"), log_of(1, 1, 1)
    owner = await SqliteEngine.open(path)
    await owner.put(one)
    assert "another flychat is using it" in await refusal(path)
    reader = await SqliteEngine.open(path, reading=True)
    assert await reader.tail("room", 9) == [one]
    await owner.put(two)
    assert await reader.after("room", 0, 9) == [one, two], "it sees what is written meanwhile"
    assert type(await outcome(reader.put(three))) is Broken
    assert type(await outcome(reader.rewrite(one, one.emptied()))) is Broken
    await owner.put(three)
    await owner.check()
    await owner.close()
    assert await reader.tail("room", 9) == [one, two, three]
    await reader.close()
    owner = await SqliteEngine.open(path)
    assert await owner.tail("room", 9) == [one, two, three]
    await owner.close()


@pytest.mark.parametrize("old", [False, True], ids=["", "before SQLite 3.36"])
@gen_test
async def test_each_store_in_memory_is_one_of_its_own(monkeypatch, old):
    connect, asked = sqlite3.connect, []

    def connected(place, **how):
        asked.append(place)
        if old and "vfs" in place:
            raise sqlite3.OperationalError("no such vfs: memdb")
        return connect(place, **how)

    monkeypatch.setattr(sqlite3, "connect", connected)
    first, second = [await SqliteEngine.open(":memory:") for _ in range(2)]
    await first.put(commit(1))
    assert (len(await first.rooms()), len(await second.rooms())) == (1, 0)
    assert (":memory:" in asked) == old, "its puts take longer, the more it holds"
    for engine in (first, second):
        await engine.close()


@gen_test
async def test_an_empty_file_is_an_empty_store_for_who_only_reads_too(tmp_path):
    """As it is in the moment in which a server makes it."""
    (tmp_path / "chat.db").touch()
    reader = await SqliteEngine.open(str(tmp_path / "chat.db"), reading=True)
    assert await reader.rooms() == []
    await reader.close()


@pytest.mark.parametrize("name", ["file:chat.db", "chat.db?mode=memory", "chat#1%20.db"])
@gen_test
async def test_a_name_that_looks_like_an_address_is_one_of_a_file(tmp_path, name, monkeypatch):
    """SQLite would go to another file than the one that is locked, and looked after."""
    monkeypatch.chdir(tmp_path)
    engine, one = await SqliteEngine.open(name), commit(1)
    await engine.put(one)
    reader = await SqliteEngine.open(name, reading=True)
    assert await reader.tail("room", 1) == [one]
    await reader.close()
    await engine.close()
    assert {path.name for path in tmp_path.iterdir()} == {name, f"{name}-lock"}
    assert (tmp_path / name).stat().st_size > 0


@gen_test
async def test_who_only_reads_keeps_no_server_from_starting_and_changes_nothing(tmp_path):
    """Also in a file that was killed amid writing, and in one of SQLite's other mode, as a backup is."""
    path, copy, (one, two) = tmp_path / "chat.db", tmp_path / "copy.db", log_of(1, 1)
    with python("-c", WRITER, str(path)) as writer:
        writer.stdout.readline()
        writer.kill()
    await back_up(str(path), str(copy))
    for file in path, copy:
        before = file.read_bytes()
        reader = await SqliteEngine.open(str(file), reading=True)
        read = await reader.after("a", 0, 10**9)
        assert read
        assert file.read_bytes() == before
        owner = await SqliteEngine.open(str(file))
        await owner.put(one)
        assert await reader.after("a", 0, 10**9) == read
        assert await reader.tail("room", 1) == [one]
        await owner.put(two)
        await owner.close()
        assert await reader.tail("room", 1) == [two]
        await reader.close()


@gen_test
async def test_a_backup_that_is_interrupted_leaves_nothing_and_tells_nobody(tmp_path, monkeypatch):
    """A program of the terminal ends without a trace of Python."""
    like_python_3_14(monkeypatch)
    told, begun = [], asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))

    class Slow:
        def execute(self, *statement):
            loop.call_soon_threadsafe(begun.set)
            assert interrupted.wait(60)
            raise sqlite3.OperationalError("interrupted")

        def interrupt(self):
            interrupted.set()

        def close(self):
            pass

    loop, interrupted = asyncio.get_running_loop(), threading.Event()
    monkeypatch.setattr("flychat.storage.sqlite_backup.read_only", lambda path: Slow())
    monkeypatch.setattr("flychat.storage.sqlite_backup.check", lambda db, path: 1)
    backup = asyncio.create_task(back_up("chat.db", str(tmp_path / "copy.db")))
    await begun.wait()
    backup.cancel()
    await asyncio.wait([backup])
    await asyncio.sleep(0)
    assert backup.cancelled()
    assert (told, list(tmp_path.iterdir())) == ([], [])


@gen_test
async def test_a_file_with_the_columns_of_another_version_is_read_and_written(tmp_path):
    path = tmp_path / "chat.db"
    one, two = log_of(1, 1)
    db = sqlite3.connect(path)
    db.execute(
        "CREATE TABLE log (room TEXT, seq INTEGER, n INTEGER, m TEXT, w TEXT, later TEXT, PRIMARY KEY (room, seq)) "
        "WITHOUT ROWID"
    )
    db.execute("INSERT INTO log VALUES (?, 1, 1, ?, 'earlier', 'later')", ("room", one.payload))
    db.commit()
    db.close()
    sqlite_ = await SqliteEngine.open(str(path))
    await sqlite_.put(two)
    assert await sqlite_.tail("room", 9) == [one, two]
    await sqlite_.close()


@pytest.fixture
def unprivileged():
    """A directory of a user who is not root (whom no file mode keeps out)."""
    with tempfile.TemporaryDirectory() as name:
        root = os.geteuid() == 0
        if root:
            os.chown(name, 65534, 65534)
            os.seteuid(65534)
        yield Path(name)
        if root:
            os.seteuid(0)


@gen_test
async def test_a_read_only_file_or_directory_is_refused(unprivileged):
    path = unprivileged / "chat.db"
    await (await SqliteEngine.open(str(path))).close()
    path.chmod(0o444)
    assert "readonly" in await refusal(path)
    unprivileged.chmod(0o555)
    assert "no file can be created beside it" in await refusal(unprivileged / "new.db")
    unprivileged.chmod(0o755)


@gen_test
async def test_a_file_that_is_mounted_alone_is_refused_as_its_log_would_stay_behind(tmp_path, monkeypatch):
    (folder := tmp_path / "a \\ b").mkdir()
    path, mounts = folder / "chat.db", tmp_path / "mountinfo"
    monkeypatch.setattr("flychat.storage.files.MOUNTS", mounts)
    escaped = str(path).replace("\\", "\\134").replace(" ", "\\040")
    line = "36 35 98:0 /mnt1 {} rw,noatime master:1 - ext3 /dev/root rw\n"
    mounts.write_text(line.format("/") + line.format(escaped))
    assert "mount its directory instead" in await refusal(path)
    assert list(folder.iterdir()) == []
    path.write_bytes(b"mounted")
    with pytest.raises(Misconfigured, match="mount its directory instead"):
        await SqliteEngine.open(str(path), reading=True)
    with pytest.raises(Misconfigured, match="mount its directory instead"):
        await back_up(str(path), str(folder / "copy.db"))
    path.unlink()
    mounts.write_text(line.format("/") + line.format(escaped.removesuffix("/chat.db")))
    await (await SqliteEngine.open(str(path))).close()
    mounts.unlink()  # it is not Linux
    await (await SqliteEngine.open(str(path))).close()


@gen_test
async def test_what_root_has_done_with_a_file_keeps_out_nobody_to_whom_it_belongs(unprivileged):
    """A restored backup, in which an operator has erased somebody before the service is started."""
    path, user = unprivileged / "chat.db", os.geteuid()
    with contextlib.suppress(PermissionError):  # the tests may be somebody else's
        os.seteuid(0)
    await (await SqliteEngine.open(str(path))).close()
    os.chown(path, user, -1)
    os.seteuid(user)
    await (await SqliteEngine.open(str(path))).close()
    (unprivileged / "chat.db-lock").chmod(0)
    assert 'chat.db-lock" cannot be opened' in await refusal(path)


@gen_test
async def test_why_a_file_on_a_disk_that_is_read_only_cannot_even_be_read_is_told(unprivileged):
    path = unprivileged / "chat.db"
    await (await SqliteEngine.open(str(path))).close()
    unprivileged.chmod(0o500)
    try:
        assert "cannot make the files beside it" in await refusal(path, reading=True)
    finally:
        unprivileged.chmod(0o700)


@gen_test
async def test_a_failed_start_leaves_neither_a_lock_nor_a_thread(tmp_path):
    path, before = tmp_path / "chat.db", set(threading.enumerate())
    path.write_text("not a database, " * 100)
    await refusal(path)
    assert set(threading.enumerate()) <= before
    path.unlink()
    await (await SqliteEngine.open(str(path))).close()


@gen_test
async def test_a_start_that_the_store_does_not_answer_is_told_in_one_line(tmp_path, monkeypatch):
    def opened(path, *, reading):
        raise MemoryError

    monkeypatch.setattr("flychat.storage.sqlite.opened", opened)
    assert "out of memory" in await refusal(tmp_path / "chat.db")


# DynamoDB


@pytest.mark.parametrize(
    ("fault", "error", "applied"),
    [
        ("lose", Unknown, False),
        ("drop", Unknown, True),
        ("hang", Unknown, True),
        ("error", Unknown, True),
        ("unavailable", Unknown, False),
        ("throttle", Throttled, False),
        ("slow down", Throttled, False),
        ("limit", Throttled, False),
        ("deny", Broken, False),
    ],
)
@both_ways
@gen_test
async def test_each_fault_has_its_class_and_the_put_is_sent_once(
    proxied, dynamo, way, fault, error, applied, monkeypatch
):
    proxy, environ = proxied
    if fault == "hang":
        monkeypatch.setattr("flychat.storage.dynamodb.PUT_SECONDS", 0.2)
    engine = await dynamo(environ | way)
    proxy.script("PutItem", fault)
    failure = await outcome(engine.put(commit(1)))
    assert type(failure) is error
    assert str(failure)
    assert proxy.calls["PutItem"] == 1
    assert len(await engine.tail("room", 1)) == applied


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("drop", Unknown),
        ("hang", Unknown),
        ("error", Unknown),
        ("throttle", Throttled),
        ("slow down", Throttled),
        ("limit", Throttled),
        ("deny", Broken),
    ],
)
@both_ways
@gen_test
async def test_a_read_fails_with_the_class_of_the_fault(proxied, dynamo, way, fault, error, monkeypatch):
    proxy, environ = proxied
    if fault == "hang":
        monkeypatch.setattr("flychat.storage.dynamodb.READ_SECONDS", 0.2)
    engine = await dynamo(environ | way)
    proxy.script("Query", *[fault] * 3)
    assert type(await outcome(engine.tail("room", 1))) is error
    assert type(await outcome(engine.find("room", 0, 1, "x"))) is error
    assert type(await outcome(engine.check())) is error


@both_ways
@gen_test
async def test_a_zombie_finds_its_place_taken(proxied, dynamo, way):
    proxy, environ = proxied
    engine = await dynamo(environ | way)
    proxy.script("PutItem", "late", "pass", "late")
    assert isinstance(await outcome(engine.put(commit(1, text="zombie"))), Unknown)
    again = commit(1, text="again")
    await engine.put(again)
    assert isinstance(await outcome(engine.put(commit(2))), Unknown)
    await proxy.release()
    assert (await engine.tail("room", 50))[0] == again
    assert len(await engine.tail("room", 50)) == 2


@both_ways
@gen_test
async def test_nobody_listening_is_unknown(proxied, dynamo, way):
    proxy, environ = proxied
    engine = await dynamo(environ | way)
    proxy.refusing = True
    assert isinstance(await outcome(engine.put(commit(1))), Unknown)
    proxy.refusing = False
    proxy._server.stop()
    await proxy._server.close_all_connections()
    assert isinstance(await outcome(engine.put(commit(1))), Unknown)


@both_ways
@gen_test
async def test_a_commit_that_is_too_large_for_an_item_is_rejected(dynamo, dynamo_environ, way):
    engine = await dynamo(dynamo_environ | way)
    huge = Commit("room", (Message(1, "Ann", "x" * 450_000, DATE, ""),))
    assert isinstance(await outcome(engine.put(huge)), Rejected)


@gen_test
async def test_credentials_that_are_gone_are_told_as_what_they_are(dynamo, dynamo_environ, monkeypatch):
    """Before anything was sent: so a put was not applied."""
    from botocore.exceptions import NoCredentialsError

    engine = await dynamo(dynamo_environ)

    async def gone(**request):
        raise NoCredentialsError

    for name, call in (("query", engine.tail("room", 1)), ("put_item", engine.put(commit(1)))):
        with monkeypatch.context() as patch:
            patch.setattr(engine._client, name, gone)
            failed = await outcome(call)
        assert (type(failed), "credentials" in str(failed)) == (Broken, True)


@gen_test
async def test_an_item_that_is_no_commit_is_broken(dynamo, dynamo_environ):
    engine = await dynamo(dynamo_environ)
    item = {"room": {"S": "room"}, "seq": {"N": "1"}}
    for rest in ({}, {"m": {"S": "[]"}}, *({"m": {"S": text}, "n": {"N": "1"}} for text in ("{", "[]]"))):
        await engine._client.put_item(TableName=engine._table, Item=item | rest)
        assert isinstance(await outcome(engine.tail("room", 1)), Broken)


@gen_test
async def test_an_item_that_is_no_commit_and_would_be_given_an_end_is_told_of_in_one_line(
    dynamo, dynamo_environ, caplog
):
    from flychat.storage.dynamodb import DynamoEngine

    table = (await dynamo(dynamo_environ))._table
    engine = await DynamoEngine.open(table, dynamo_environ, retention=9.0)
    item = {"room": {"S": "room"}, "seq": {"N": "1"}, "n": {"N": "1"}, "m": {"S": "{"}}
    await engine._client.put_item(TableName=table, Item=item)
    await engine.put(commit(2))
    await asyncio.gather(*engine._ending.values())
    [told] = [record.getMessage() for record in caplog.records if record.name.startswith("flychat")]
    assert told.startswith("messages were not given an end: the table holds an item that is no commit")
    await engine.close()


@pytest.mark.parametrize(("fit", "given"), [(True, [1, 2, 3]), (False, [1, 1])])
@gen_test
async def test_ends_are_given_from_the_oldest_commit_on_until_another_process_is_met_twice(
    dynamo, dynamo_environ, fit, given
):
    from flychat.storage.dynamodb import DynamoEngine

    without = await dynamo(dynamo_environ)
    for first in (1, 2, 3):
        await without.put(commit(first))
    engine = await DynamoEngine.open(without._table, dynamo_environ, retention=9.0)
    asked = []

    async def update(item, *change):
        asked.append(int(item["seq"]["N"]))
        return fit

    engine._update = update
    await engine.put(commit(4))
    await asyncio.gather(*engine._ending.values())
    assert asked == given
    await engine.close()


@pytest.mark.parametrize("by", ["this process", "another"])
@gen_test
async def test_what_is_put_while_ends_are_given_is_given_one_too_though_the_room_falls_silent(
    by, dynamo, dynamo_environ
):
    """Else all but the newest commit of it would stay for ever, until somebody writes there again."""
    from flychat.storage.dynamodb import DynamoEngine

    table = (await dynamo(dynamo_environ))._table
    slow, quick = [await DynamoEngine.open(table, dynamo_environ, retention=9.0) for _ in range(2)]
    await slow.put(commit(1))
    read, reading, go_on = slow._endless, asyncio.Event(), asyncio.Event()

    async def endless(room, before):
        found = await read(room, before)
        reading.set()
        await go_on.wait()
        return found

    slow._endless = endless
    await slow.put(commit(2))
    await reading.wait()
    await slow.put(commit(3))
    if by == "another":  # which gives the first one its end meanwhile, and knows of no third
        await quick._update({"room": {"S": "room"}, "seq": {"N": "1"}}, "exp", {"N": str(2**33)}, "seq = seq")
    go_on.set()
    for newest in (3, 4):  # the fourth comes when all that was to be done is done
        if newest == 4:
            await slow.put(commit(4))
        await asyncio.gather(*slow._ending.values())
        items = (await slow._client.scan(TableName=table))["Items"]
        assert sorted(int(item["seq"]["N"]) for item in items if "exp" in item) == list(range(1, newest))
    assert not slow._put_last, "of rooms that are silent nothing is kept in memory"
    await slow.close()
    await quick.close()


@gen_test
async def test_what_has_expired_and_is_not_deleted_yet_is_neither_found_nor_counted(dynamo, dynamo_environ):
    engine, log = await dynamo(dynamo_environ), log_of(1, 1, 1)
    for each in log:
        await engine.put(each)
    assert await engine._update(
        {"room": {"S": "room"}, "seq": {"N": "1"}}, "exp", {"N": "1"}, "attribute_exists(m)"
    )
    ids = [message.provisional_id for each in log for message in each.messages]
    assert [await engine.find("room", 0, 4, id) for id in ids[:2]] == [[], [log[1]]]
    assert [(room.messages, room.last) for room in await engine.rooms()] == [(2, 3)]
    assert await engine.tail("room", 50) == log[1:]
    assert await engine.everything("room", 0) == log


@gen_test
async def test_ends_are_given_in_a_room_by_one_task_at_a_time(dynamo, dynamo_environ):
    from flychat.storage.dynamodb import DynamoEngine

    table = (await dynamo(dynamo_environ))._table
    engine = await DynamoEngine.open(table, dynamo_environ, retention=9.0)
    asked, both_put, change = [], asyncio.Event(), engine._update

    async def update(item, *what):
        await both_put.wait()
        asked.append(int(item["seq"]["N"]))
        return await change(item, *what)

    engine._update = update
    for first in (1, 2, 3):
        await engine.put(commit(first))
    [task] = engine._ending.values()
    both_put.set()
    await task
    assert asked == [1, 2]
    await engine.close()


@gen_test
async def test_a_commit_costs_one_call_and_so_do_the_usual_reads(proxied, dynamo):
    proxy, environ = proxied
    engine = await dynamo(environ)
    proxy.calls.clear()
    for each in log_of(64, 64, 1, 1):
        await engine.put(each)
    assert proxy.calls == {"PutItem": 4}
    await engine.tail("room", 50)
    await engine.after("room", 129, 1000)
    await engine.before("room", 100, 50)
    assert proxy.calls == {"PutItem": 4, "Query": 3}


@pytest.mark.parametrize("missing", [1, 2])
@gen_test
async def test_a_commit_that_is_seen_before_the_one_before_it_is_no_hole(
    dynamo, dynamo_environ, monkeypatch, missing
):
    """A Query is not a snapshot: the one, perhaps the first of all, was stored while it was under way."""
    engine = await dynamo(dynamo_environ)
    log = log_of(1, 1, 1)
    for each in log:
        await engine.put(each)
    page, torn = engine._page, []

    async def at_first_torn(query):
        items, more = await page(query)
        if not torn:
            torn.append(items.pop(missing))
        return items, more

    monkeypatch.setattr(engine, "_page", at_first_torn)
    assert await engine.after("room", 0, 50) == log
    assert torn


@gen_test
async def test_a_long_reading_takes_few_calls(proxied, dynamo):
    """Where the log ends is not known at first; how many commits are wanted at the most is known then."""
    proxy, environ = proxied
    engine = await dynamo(environ)
    log = log_of(*[1] * 100)
    for each in log:
        await engine.put(each)
    for read, expected, calls in (
        (engine.tail("room", 90), log[10:], 2),
        (engine.after("room", 10, 1000), log[9:], 2),
        (engine.after("room", 10, 50), log[9:60], 2),
        (engine.before("room", 90, 80), log[9:89], 1),
    ):
        proxy.calls.clear()
        assert await read == expected
        assert proxy.calls == {"Query": calls}


@gen_test
async def test_items_are_taken_as_they_come_and_not_through_botocores_description_of_them(
    dynamo, dynamo_environ, monkeypatch
):
    """Also such as another version has written: what it does not understand is nothing to it."""
    engine, log = await dynamo(dynamo_environ), log_of(2, 1)
    for each in log:
        await engine.put(each)
    key = {"room": {"S": "room"}, "seq": {"N": "1"}}
    update = {"UpdateExpression": "SET later = :x", "ExpressionAttributeValues": {":x": {"B": b"\xff"}}}
    await engine._client.update_item(TableName=engine._table, Key=key, **update)
    monkeypatch.setattr("botocore.parsers.BaseJSONParser._handle_list", lambda *_: 1 / 0)
    assert await engine.tail("room", 9) == log
    assert [room.messages for room in await engine.rooms()] == [3]


@pytest.mark.parametrize("body", [b'{"message": "x"}', b"{}"])
def test_what_has_no_items_is_left_to_botocore(body):
    need("aioboto3")
    from flychat.storage.dynamodb_table import read_plainly

    response, answer = {"status_code": 200, "body": body}, {}
    read_plainly(response, answer)
    assert (response["body"], answer) == (body, {})


def test_a_stand_in_that_refuses_in_xml_is_quoted():
    need("aioboto3")
    from flychat.storage.dynamodb_table import read_plainly

    body = b"<Error><Code>AccessDenied</Code><Message>not allowed: PutItem</Message></Error>"
    read_plainly(response := {"status_code": 403, "body": body}, {})
    assert json.loads(response["body"]) == {"message": "not allowed: PutItem"}


@pytest.mark.parametrize(
    "body", [b"<html>", b"", b"[]", b"3", b"null", b"a secret \xff", b'{"Item": "a secret']
)
@both_ways
@gen_test
async def test_what_no_table_says_is_no_answer(body, way, proxied, dynamo):
    """Something on the way has answered: a put that is taken for stored is lost, and its id given twice."""
    proxy, environ = proxied
    engine = await dynamo(environ | way)
    for status, error in ((200, Unknown), (502, Unknown), (404, Broken)):
        proxy.instead = status, body
        for call in (
            engine.put(commit(1)),
            engine.tail("room", 1),
            engine.rewrite(commit(1), commit(1).emptied()),
            engine.rooms(),
        ):
            failed = await outcome(call)
            assert type(failed) is error
            assert "secret" not in str(failed)
    proxy.instead = None
    assert await engine.tail("room", 1) == []


@pytest.mark.parametrize("items", ["null", "[null]", "[{}]", '[{"seq": {"N": "1"}}]'])
@both_ways
@gen_test
async def test_a_table_whose_items_are_none_is_broken(items, way, proxied, dynamo):
    proxy, environ = proxied
    engine = await dynamo(environ | way)
    proxy.instead = 200, f'{{"Items": {items}}}'.encode()
    for call in (
        engine.tail("room", 1),
        engine.before("room", 9, 1),
        engine.after("room", 0, 1),
        engine.find("room", 0, 9, str(uuid.uuid4())),
        engine.everything("room", 0),
        engine.rooms(),
    ):
        assert type(await outcome(call)) is Broken


@gen_test
async def test_rooms_are_listed_though_the_table_refuses_pages_meanwhile(proxied, dynamo, monkeypatch):
    proxy, environ = proxied
    monkeypatch.setattr("flychat.storage.dynamodb_reads.SCAN_PAUSES", (0.0, 0.0))
    engine = await dynamo(environ)
    for first in range(1, 1 + 64 * 20, 64):
        await engine.put(commit(first, 64, text="x" * 900))
    proxy.calls.clear()
    proxy.script("Scan", "pass", "throttle", "slow down")
    [room] = await engine.rooms()
    assert (room.messages, proxy.calls["Scan"]) == (1280, 4)
    proxy.script("Scan", *["throttle"] * 3)
    assert type(await outcome(engine.rooms())) is Throttled


@gen_test
async def test_a_search_goes_on_over_pages_that_hold_nothing(dynamo, dynamo_environ):
    """A page is 1 MB of what is looked at, not of what is found."""
    engine = await dynamo(dynamo_environ)
    for first in range(1, 1 + 64 * 20, 64):
        await engine.put(commit(first, 64, text="x" * 900))
    last = commit(1281)
    await engine.put(last)
    assert await engine.find("room", 0, 10**6, last.messages[0].provisional_id) == [last]


@gen_test
async def test_many_calls_wait_for_their_turn_and_none_takes_that_for_a_dead_store(
    proxied, dynamo, monkeypatch
):
    proxy, environ = proxied
    for name in ("READS", "PUTS"):
        monkeypatch.setattr(f"flychat.storage.dynamodb.{name}", 2)
    engine = await dynamo(environ)
    proxy.delay = 0.05
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, proxy.under_way)
            await asyncio.sleep(0.005)

    watching = asyncio.ensure_future(watch())
    puts = [engine.put(commit(1, room=f"{n}")) for n in range(8)]
    reads = [engine.tail("room", 1) for _ in range(8)]
    await asyncio.gather(*puts, *reads)
    watching.cancel()
    assert most == 4


@gen_test
async def test_every_read_is_consistent(dynamo, dynamo_environ, monkeypatch):
    engine = await dynamo(dynamo_environ)
    queries = []

    async def query(**parameters):
        queries.append(parameters)
        return {"Items": []}

    monkeypatch.setattr(engine._client, "query", query, raising=False)
    await engine.tail("room", 1)
    await engine.after("room", 1, 1)
    await engine.before("room", 1, 1)
    await engine.check()
    assert all(q["ConsistentRead"] for q in queries)
    assert len(queries) >= 4


@pytest.fixture
def no_aws(monkeypatch, tmp_path):
    """A machine on which AWS is not set up."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))


KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"AWS_REGION": "eu-west-1"}, "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        (KEYS, "no AWS region: set AWS_REGION"),
        ({**KEYS, "AWS_REGION": "eu west"}, "eu west"),
        ({"AWS_ENDPOINT_URL": "localhost:8000"}, "Invalid endpoint: localhost:8000"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "no answer from DynamoDB at http://127.0.0.1:9"),
    ],
)
@gen_test
async def test_a_bad_environment_is_told_in_one_line(no_aws, dynamo, environ, line):
    with pytest.raises(Misconfigured) as refused:
        await dynamo(environ, "flychat-messages")
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


@gen_test
async def test_a_profile_that_does_not_exist_is_told_in_one_line(no_aws, dynamo, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(Misconfigured, match="nobody"):
        await dynamo({}, "flychat-messages")


@gen_test
async def test_a_custom_endpoint_needs_neither_keys_nor_region(no_aws, dynamo, moto_endpoint):
    engine = await dynamo(
        {"AWS_ENDPOINT_URL_DYNAMODB": moto_endpoint, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    )
    await engine.put(commit(1))


@gen_test
async def test_a_missing_table_is_named_with_the_command_that_creates_it(dynamo, dynamo_environ):
    with pytest.raises(Misconfigured) as refused:
        await dynamo(dynamo_environ, "no-such-table")
    where = dynamo_environ["AWS_ENDPOINT_URL_DYNAMODB"]
    assert str(refused.value) == (
        f'no table "no-such-table" in {where}: create it with  '
        "python -m flychat --create-table --store dynamodb:no-such-table"
    )


@pytest.mark.parametrize(
    ("status", "body", "line"),
    [
        (200, b"<html>", "no answer from DynamoDB"),
        (200, b"null", "no answer from DynamoDB"),
        (200, b"{}", "is not one of flychat's"),
        (200, b'{"Table": {}}', "is not one of flychat's"),
        (403, b"null", "no access to table"),
        (403, b"\xff", "no access to table"),
        (405, b"<!doctype html>\n<title>Not Allowed</title>\n", "no access to table"),
        (502, b"<html>\n<title>Bad Gateway</title>\n", "no access to table"),
    ],
)
@gen_test
async def test_an_address_of_something_else_is_told_in_one_line(proxied, dynamo, status, body, line):
    proxy, environ = proxied
    proxy.instead = status, body
    with pytest.raises(Misconfigured, match=line) as refused:
        await dynamo(environ, "flychat-messages")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:99999"},
        {"AWS_ACCESS_KEY_ID": "\udcff", "AWS_SECRET_ACCESS_KEY": "\udcff"},
    ],
)
@gen_test
async def test_an_address_or_keys_that_are_none_are_told_in_one_line(dynamo, dynamo_environ, wrong):
    with pytest.raises(Misconfigured, match=r"^no access to table .+$"):
        await dynamo(dynamo_environ | wrong, "flychat-messages")


@pytest.mark.parametrize(
    ("fault", "line"),
    [("deny", "no access to table .*AccessDenied"), ("hang", "no answer"), ("unavailable", "no access")],
)
@gen_test
async def test_a_start_without_an_answer_is_told_in_one_line(proxied, dynamo, fault, line, monkeypatch):
    proxy, environ = proxied
    if fault == "hang":
        monkeypatch.setattr("flychat.storage.dynamodb_table.STARTING_SECONDS", 0.2)
    proxy.script("DescribeTable", fault)
    with pytest.raises(Misconfigured, match=line):
        await dynamo(environ, "flychat-messages")
    assert proxy.calls == {"DescribeTable": 1}


@pytest.mark.parametrize("status", ["CREATING", "DELETING"])
@gen_test
async def test_a_table_that_is_not_ready_is_told_as_what_it_is(proxied, dynamo, status, monkeypatch):
    from flychat.storage.dynamodb_table import KEYS, create_table

    monkeypatch.setattr("flychat.storage.dynamodb_table.CREATING_SECONDS", 0.05)
    proxy, environ = proxied
    table = {
        "TableStatus": status,
        "KeySchema": [{"AttributeName": name, "KeyType": key} for name, key, _ in KEYS],
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": type} for name, _, type in KEYS],
    }
    proxy.instead = 200, json.dumps({"Table": table}).encode()
    with pytest.raises(Misconfigured, match=f"is {status}: wait, and start again"):
        await dynamo(environ, "flychat-messages")
    with pytest.raises(Misconfigured, match="still not ready: look again later"):
        await create_table("flychat-messages", environ)


@gen_test
async def test_a_table_that_expires_by_another_attribute_is_refused(dynamo, dynamo_environ):
    from flychat.storage.dynamodb import DynamoEngine

    engine = await dynamo(dynamo_environ)
    other = {"Enabled": True, "AttributeName": "other"}
    await engine._client.update_time_to_live(TableName=engine._table, TimeToLiveSpecification=other)
    with pytest.raises(Misconfigured, match="a TTL on another attribute than exp"):
        await DynamoEngine.open(engine._table, dynamo_environ, retention=9.0)


@gen_test
async def test_creating_a_table_twice_is_fine(dynamo_environ, dynamo):
    from flychat.storage.dynamodb_table import create_table

    table = f"flychat-{uuid.uuid4()}"
    where = dynamo_environ["AWS_ENDPOINT_URL_DYNAMODB"]
    assert await create_table(table, dynamo_environ) == f'table "{table}" in {where} is created'
    assert await create_table(table, dynamo_environ) == f'table "{table}" in {where} was there already'
    engine = await dynamo(dynamo_environ, table)
    described = await engine._client.describe_table(TableName=table)
    assert described["Table"]["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"


@gen_test
async def test_creating_a_table_at_once_from_several_places_is_fine(dynamo_environ, dynamo):
    from flychat.storage.dynamodb_table import create_table

    table = f"flychat-{uuid.uuid4()}"
    await asyncio.gather(*(create_table(table, dynamo_environ) for _ in range(4)))
    await (await dynamo(dynamo_environ, table)).put(commit(1))


@gen_test
async def test_a_table_with_other_keys_is_refused(dynamo_environ, dynamo):
    from flychat.storage.dynamodb_table import create_table

    engine = await dynamo(dynamo_environ)
    for keys in ({"room": "S", "seq": "S"}, {"room": "S"}, {"seq": "N", "room": "S"}):
        table = f"other-{uuid.uuid4()}"
        await engine._client.create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[
                {"AttributeName": name, "KeyType": type}
                for name, type in zip(keys, ("HASH", "RANGE"), strict=False)
            ],
            AttributeDefinitions=[
                {"AttributeName": name, "AttributeType": type} for name, type in keys.items()
            ],
        )
        for attempt in (dynamo(dynamo_environ, table), create_table(table, dynamo_environ)):
            with pytest.raises(Misconfigured, match="is not one of flychat's"):
                await attempt


# The fakes themselves


@gen_test
async def test_the_faulty_engine_fails_as_it_was_told(sqlite):
    faulty = FaultyEngine(sqlite, ["lose", "drop", "late", "throttle", "pass"], late_after=2)
    faulty.rejects_over = 10_000
    faulty.hides_winner = True
    faulty.read_faults.extend([Unknown("down"), None])
    assert type(await outcome(faulty.tail("room", 1))) is Unknown
    assert await faulty.tail("room", 1) == []
    kinds = [type(await outcome(faulty.put(commit(first)))) for first in (1, 1, 2, 3)]
    assert kinds == [Unknown, Unknown, Unknown, Throttled]
    assert [c.first for c in await faulty.tail("room", 50)] == [1]
    taken = await outcome(faulty.put(commit(1)))  # two puts after the late one
    assert isinstance(taken, Taken)
    assert taken.winner is None
    assert [c.first for c in await faulty.tail("room", 50)] == [1, 2]
    assert type(await outcome(faulty.put(commit(3, 64, text="x" * 900)))) is Rejected
    assert faulty.calls["put"] == 6
    assert [c.first for c in faulty.stored] == [1, 2]
