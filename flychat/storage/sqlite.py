"""The embedded engine: an SQLite file, in a thread of its own, or `:memory:`, in the turns of the loop.

- Everything that touches the database runs in one place (worker.py): puts first, then readings, then the
  deletion of what is old, in parts of some milliseconds.
- The commits of all rooms that wait while a transaction is under way go into the next one together:
  one fsync for all (FULL: an acknowledged message survives a power cut).
- The file belongs to one process, and must still be at its path when a put is acknowledged (files.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from typing import Any, TypeVar

from ..commits import COMMIT_MESSAGES, Commit
from ..sse import BEYOND_ANY_LOG
from . import READ_BYTES, Broken, Run, StoreFailed, Summary, Taken, Unknown
from .files import Files, unusable
from .sqlite_database import (
    BUSY_MS,
    DELETE,
    FAILURES,
    MEMORY,
    OLDEST,
    SELECT,
    STORED,
    failure,
    failures,
    once,
    opened,
)
from .sqlite_put import Change, as_stored, put
from .sqlite_read import ABOVE, BELOW, FROM, answers, rows_of
from .worker import CHECK, IDLE, READING, TOGETHER, Answer, Done, Job, Part, Question, Worker

T = TypeVar("T")

READ_ROWS = 32  # commits that are read before puts may pass: for TOGETHER rooms 8 ms, if each has 64 KB
FIND = 500  # ids that are searched before puts may pass
BATCH, BATCH_BYTES = 150, 1 << 20  # commits that are deleted before puts may pass
EMPTY_SECONDS = 1.0  # between two tries to empty the write-ahead log, which a reader may hold
REST_SECONDS = 0.01  # for the disk, between two batches: a put waits for what was written before it


class SqliteEngine:
    """An Engine on the file `path`. Make one with `open`."""

    shared, reads = False, TOGETHER  # with more, answers would reach the loop in bunches

    def __init__(self, path: str, retention: float | None = None, *, reading: bool = False) -> None:
        self.retention = retention
        self._path = path
        self._reading = reading
        self._files: Files | None = None  # none in memory
        self._emptying: asyncio.Task[None] | None = None
        self._closing = False
        self._worker = Worker(self._store, self._answers, threaded=path != MEMORY)

    @classmethod
    async def open(cls, path: str, *, retention: float | None = None, reading: bool = False) -> SqliteEngine:
        """Raises Misconfigured where the file cannot be used, in a line that says what to do.

        A file that another process uses is only for `reading`: then puts are Broken.
        """
        engine = cls(path, retention, reading=reading)
        try:
            await engine._run(engine._open, rank=IDLE)
        except BaseException as error:
            await engine._worker.close(once(lambda: None))
            if isinstance(error, Unknown):
                raise unusable(path, str(error)) from error
            raise
        if not reading:  # a process may have been killed before it overwrote what it had erased
            await engine._overwrite()
        return engine

    async def put(self, commit: Commit) -> None:
        await self._worker.put((commit, None))

    def submit(self, commit: Commit, done: Done) -> bool:
        try:
            self._worker.submit((commit, None), done)
        except Unknown:  # the disk hangs, as `put` will say
            return False
        return True

    def _store(self, changes: list[Change]) -> list[StoreFailed | None]:
        try:
            outcomes = put(self._db, changes)
            lost = self._files and self._files.lost()
        except FAILURES as error:
            return [failure(error) for _ in changes]
        return [Broken(lost) for _ in changes] if lost else outcomes

    def _answers(self, questions: list[Question]) -> list[Answer]:
        return answers(self._db, questions)

    async def tail(self, room: str, limit: int) -> list[Commit]:
        return await self.before(room, BEYOND_ANY_LOG, limit)

    async def after(self, room: str, id: int, limit: int) -> list[Commit]:
        return (await self._read(Run(limit, above=id), room, FROM, id, ABOVE)).to_the_end()

    async def before(self, room: str, id: int, limit: int) -> list[Commit]:
        return (await self._read(Run(limit, below=id), room, BELOW, id, BELOW)).oldest_first()

    async def _read(self, run: Run, room: str, query: str, edge: int, then: str) -> Run:
        """Asks for what is at the edge, and `then` for more, until the run has enough."""
        more, part = True, Part()
        while more:
            most = min(run.limit + 1, READ_ROWS)
            text = await self._worker.ask(Question(query, (room, edge, most)))
            with failures():  # here, and not in the thread, which would compete for the interpreter
                rows = rows_of(text, newest_first=then == BELOW)
                for edge, ids, payload in rows:
                    if not run.take(Commit.read(room, edge, payload, ids)):
                        return run
                    if part.over:
                        await asyncio.sleep(0)
                        part = Part()
            more, query = len(rows) == most, then
        return run

    async def find(self, room: str, above: int, below: int, provisional_id: str) -> list[Commit]:
        return await self._worker.do(self._find(room, above, below, f'"{provisional_id}"'))

    def _find(self, room: str, above: int, below: int, text: str) -> Job[list[Commit]]:
        found: list[Commit] = []
        for start in range(max(0, above - COMMIT_MESSAGES), below - 1, FIND):
            with failures():
                rows = self._db.execute(
                    f"{SELECT} AND seq > ? AND seq < ? AND instr(m, ?) ORDER BY seq",
                    (room, start, min(start + FIND + 1, below), text),
                ).fetchall()
                found += [commit for row in rows if (commit := Commit.read(room, *row)).last > above]
            if sum(commit.size for commit in found) >= READ_BYTES:
                break
            yield
        return found

    async def check(self) -> None:
        await self._run(self._check, rank=CHECK)

    def _check(self) -> None:
        if self._files and (lost := self._files.lost()):
            raise Broken(lost)
        self._db.execute("SELECT seq FROM log LIMIT 1").fetchone()

    async def rewrite(self, old: Commit, new: Commit) -> None:
        try:
            await self._worker.put((new, old))
        finally:  # even if it failed, it may be done, by this try or by an earlier one
            await self._overwrite()

    async def delete(self, commit: Commit) -> None:
        if not await self._run(self._delete, commit, rank=IDLE):
            raise Taken
        await self._overwrite()

    def _delete(self, commit: Commit) -> bool:
        row = (commit.room, commit.first, commit.payload, as_stored(commit))
        with failures(), closing(self._db.execute(DELETE, row)) as done:
            return bool(done.rowcount)

    async def everything(self, room: str, above: int) -> list[Commit]:
        return await self._run(self._everything, room, above)

    def _everything(self, room: str, above: int) -> list[Commit]:
        part, commits = Part(), []
        with closing(self._db.execute(f"{SELECT} AND seq > ? ORDER BY seq", (room, above))) as rows:
            for row in rows:
                commits.append(Commit.read(room, *row))
                if part.over or len(commits) == BATCH:
                    break
        return commits

    async def rooms(self) -> list[Summary]:
        return await self._worker.do(self._rooms(), IDLE)

    def _rooms(self) -> Job[list[Summary]]:
        rooms: list[Summary] = []
        edge, more = ("", 0), True
        while more:
            part, more = Part(), False
            with failures(), closing(self._db.execute(STORED, edge)) as rows:
                for room, seq, ids, messages, size, date in rows:
                    if not rooms or rooms[-1].room != room:
                        rooms.append(Summary(room))
                    rooms[-1] = rooms[-1].with_these(messages, seq + ids - 1, size, date)
                    edge = (room, seq)
                    if part.over:
                        more = True
                        break
            yield
        return rooms

    async def expire(self, before: str) -> None:
        room, deleted = "", 0
        while (done := await self._run(self._expire_some, room, before, rank=IDLE)) is not None:
            room, deleted = done[0], deleted + done[1]
            await asyncio.sleep(REST_SECONDS)
        if deleted:
            await self._overwrite()

    def _expire_some(self, room: str, before: str) -> tuple[str, int] | None:
        """Goes from `room` on until a batch is deleted. Returns the room and the number of commits.

        None: that was the last room.
        """
        part = Part()
        while not part.over:
            if count := self._expire_in(room, before):
                return room, count
            rows = self._sql("SELECT room FROM log WHERE room > ? ORDER BY room LIMIT 1", (room,))
            if not rows:
                return None
            [[room]] = rows
        return room, 0

    def _expire_in(self, room: str, before: str) -> int:
        """Deletes a batch from the room's beginning on; never its newest commit, so that its ids go on."""
        last, count, size, part = 0, 0, 0, Part()
        with failures(), closing(self._db.execute(OLDEST, (room,))) as rows:
            for seq, date, bytes in rows:
                if date >= before:
                    break
                last, count, size = seq, count + 1, size + bytes
                if count == BATCH or size > BATCH_BYTES or part.over:
                    break
        if count:
            self._sql("PRAGMA synchronous = NORMAL")  # what a power cut undoes is done again in an hour
            try:
                self._sql("DELETE FROM log WHERE room = ? AND seq <= ?", (room, last))
            finally:
                self._sql("PRAGMA synchronous = FULL")
        return count

    async def _overwrite(self) -> None:
        """Removes what was erased from both files: now, or once disk and readers let it, or at `close`."""
        if self._closing or await self._emptied():
            return
        if self._emptying is None and not self._closing:
            self._emptying = asyncio.create_task(self._empty_later())

    async def _empty_later(self) -> None:
        emptied = False
        while not emptied:
            await asyncio.sleep(EMPTY_SECONDS)
            emptied = await self._emptied()
        self._emptying = None

    async def _emptied(self) -> bool:
        with suppress(StoreFailed):  # the change itself is done, and is not to be repeated
            return await self._run(self._empty_wal, rank=IDLE)
        return False

    def _empty_wal(self) -> bool:
        """Empties the write-ahead log, and says whether it could. It waits for no reader: puts would too."""
        self._sql("PRAGMA busy_timeout = 0")
        try:
            [[busy, *_]] = self._sql("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._sql(f"PRAGMA busy_timeout = {BUSY_MS}")
        return not busy

    async def close(self) -> None:
        self._closing = True
        if self._emptying is not None:
            self._emptying.cancel()
        await self._worker.close(once(self._end))

    def _end(self) -> None:
        """Empties the write-ahead log first, as SQLite does where the file is still at its path.

        Else it would be left beside what has taken the file's place, and be written into that at a start.
        """
        with suppress(StoreFailed):
            self._empty_wal()
        self._opened.close()

    async def _run(self, job: Callable[..., T], *values: object, rank: int = READING) -> T:
        """Has a job of one part done."""
        return await self._worker.do(once(partial(job, *values)), rank)

    def _sql(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with failures():
            return self._db.execute(statement, values).fetchall()

    def _open(self) -> None:
        self._db, self._files, self._opened = opened(self._path, reading=self._reading)
