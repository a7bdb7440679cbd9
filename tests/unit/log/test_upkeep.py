"""What is taken out of the log leaves the memory of this process too; and nothing is begun by one that ends."""

import asyncio
import contextlib
import uuid

import pytest

from flychat.errors import Unavailable
from flychat.log import MessageLog
from flychat.messages import Draft
from flychat.storage.sqlite import SqliteEngine
from flychat.streams import StreamRequest
from tests.support.served import all_leave

gen_test = pytest.mark.gen_test


def draft(user: str) -> Draft:
    fields = {"from": user, "text": f"of {user}", "provisionalId": str(uuid.uuid4())}
    return Draft.create("tea", fields, now=0, user=user)


def removal(ids: tuple[int, ...]) -> Draft:
    return Draft.removal("tea", ids, {}, now=0, user="mod", erases=True)


@contextlib.asynccontextmanager
async def opened():
    """A log in which ann and bob have taken turns, also within a commit; the room is in memory."""
    log = MessageLog(await SqliteEngine.open(":memory:"), memory=True)
    try:
        await log.submit(draft("ann"))
        await asyncio.gather(*(log.submit(draft(user)) for user in ("bob", "ann", "bob")))
        await log.plan(StreamRequest("tea"))
        yield log
    finally:
        await log.close(0.1)


async def texts(log) -> list[tuple[int, str]]:
    return [(m.id, m.text) for m in (await log.page("tea")).messages]


@gen_test
async def test_of_what_is_too_old_only_the_newest_commit_is_shown():
    async with opened() as log:
        await log.submit(draft("ann"))
        await log.upkeep.expire("1969-12-31T00:00:00.000Z")
        assert len(await texts(log)) == 5
        await log.upkeep.expire("1970-01-02T00:00:00.000Z")
        assert await texts(log) == [(5, "of ann")]


@gen_test
async def test_of_a_cleared_room_nothing_is_shown():
    async with opened() as log:
        assert await log.upkeep.clear("tea") == 5
        assert await texts(log) == []
        assert (await log.submit(draft("ann"))).id == 6
        assert await texts(log) == [(6, "of ann")]


async def being_read(log, monkeypatch):
    """A page of the room, which is not in memory; what it shows was read already, and the answer waits for `go`."""
    engine, read, go = log._common.engine, asyncio.Event(), asyncio.Event()
    tail = engine.tail

    async def slow(*asked):
        commits = await tail(*asked)
        if not read.is_set():
            read.set()
            await go.wait()
        return commits

    all_leave(log)
    monkeypatch.setattr(engine, "tail", slow)
    page = asyncio.ensure_future(log.page("tea"))
    await read.wait()
    return page, go


@gen_test
async def test_of_a_room_that_is_cleared_while_it_is_read_nothing_is_shown(monkeypatch):
    async with opened() as log:
        page, go = await being_read(log, monkeypatch)
        assert await log.upkeep.clear("tea") == 5
        go.set()
        assert ((await page).messages, (await page).last_id) == ((), 5)
        assert await texts(log) == []


@gen_test
async def test_what_was_too_old_while_it_was_read_is_not_shown(monkeypatch):
    async with opened() as log:
        await log.submit(draft("ann"))
        page, go = await being_read(log, monkeypatch)
        await log.upkeep.expire("1970-01-02T00:00:00.000Z")
        go.set()
        assert [m.id for m in (await page).messages] == [5]


@gen_test
async def test_what_was_written_while_a_room_was_read_that_then_was_forgotten_is_shown(monkeypatch):
    async with opened() as log:
        page, go = await being_read(log, monkeypatch)
        assert (await log.submit(draft("ann"))).id == 5
        await log.upkeep.expire("1970-01-02T00:00:00.000Z")
        go.set()
        assert [m.id for m in (await page).messages] == [5]


@gen_test
async def test_who_is_erased_takes_nobody_along():
    async with opened() as log:
        erased = await log.upkeep.erase("tea", lambda m: m.user == "ann", removal, 0)
        assert erased[0] == 2
        assert await texts(log) == [
            (1, ""),
            (2, "of bob"),
            (3, ""),
            (4, "of bob"),
            (5, "(removed a message)"),
        ]
        assert "ann" not in "".join(m.sender for m in (await log.page("tea")).messages)


@gen_test
async def test_an_erasure_ends_though_others_write_all_the_time(monkeypatch):
    async with opened() as log:
        everything = log._common.engine.everything

        async def busy(room, above):
            await log.submit(draft("bob"))
            return await everything(room, above)

        monkeypatch.setattr(log._common.engine, "everything", busy)
        above, erased, steps = 0, 0, 0
        while above is not None and steps < 5:
            some, above = await log.upkeep.erase("tea", lambda m: m.user == "ann", removal, above)
            erased, steps = erased + some, steps + 1
        assert (above, erased) == (None, 2)


@gen_test
async def test_a_process_that_ends_begins_nothing(monkeypatch):
    async with opened() as log:
        with monkeypatch.context() as patch:
            patch.setattr(log._common, "closing", True)
            for call in (
                log.upkeep.clear("tea"),
                log.upkeep.remove(removal((1,)), lambda message: None),
                log.upkeep.erase("tea", lambda m: True, removal, 0),
            ):
                with pytest.raises(Unavailable, match="ending"):
                    await call
        assert [commit.ids for commit in await log._common.engine.after("tea", 0, 99)] == [1, 1, 2]
