"""The embedded engine: an SQLite file, or `:memory:`, in a thread of its own.

- Everything that touches the database runs in one thread, in the order in which it was asked for.
- The commits of all rooms that wait while a transaction is under way go into the next one together:
  one fsync for all (FULL: an acknowledged message survives a power cut).
- A failed transaction is rolled back, and all its puts are Unknown: a COMMIT that failed on a bad disk
  may still be found in the WAL by the next process, and putting again at the same place is always safe.
- A conditional put is an INSERT that does nothing where the key exists.
- Two processes on one file would be correct, but they do not tell each other of their commits: so an
  flock on a side file lets in one only. (The kernel drops it with the process, however that ends.)
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from typing import IO, TypeVar

from ..errors import Broken, Misconfigured, StoreFailed, Taken, Unknown
from ..messages import COMMIT_MESSAGES, Commit
from ..sse import BEYOND_ANY_LOG
from . import READ_BYTES, Run

T = TypeVar("T")

MEMORY = ":memory:"
BUSY_MS = 500  # for which a transaction waits for another program; the writer tries again
COLUMNS = "room TEXT, seq INTEGER, n INTEGER, m TEXT, w TEXT"  # as in DynamoDB: storage/dynamodb.py
SCHEMA = f"CREATE TABLE log ({COLUMNS}, PRIMARY KEY (room, seq)) WITHOUT ROWID"
EXPIRE = (  # the date is that of a commit's last message; the last commit of a room stays, so ids go on
    "DELETE FROM log WHERE coalesce(json_extract(m, '$[#-1][2]'), '') < ? "
    "AND seq < (SELECT max(seq) FROM log AS newer WHERE newer.room = log.room)"
)
FIND = 500  # ids that are searched before puts may pass
SELECT = "SELECT seq, m, w, n FROM log WHERE room = ?"

PASSING = {  # primary result codes that may go away by themselves; any other needs a human
    sqlite3.SQLITE_BUSY: "another program is writing to it",
    sqlite3.SQLITE_LOCKED: "another program is writing to it",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk does not read or write",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_NOMEM: "out of memory",
    sqlite3.SQLITE_PROTOCOL: "another program is writing to it",
}
FAILURES = (sqlite3.Error, ValueError, TypeError, LookupError)  # but for the first: a row that is no commit


class SqliteEngine:
    """An Engine on the file `path`. Make one with `open`."""

    shared = False

    def __init__(self, path: str) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite")
        self._turn = asyncio.Lock()
        self._waiting: list[Commit] = []  # for the next transaction
        self._transaction: asyncio.Future[list[StoreFailed | None]]  # which is this one

    @classmethod
    async def open(cls, path: str) -> SqliteEngine:
        """Raises Misconfigured where the file cannot be used, in a line that says what to do."""
        engine = cls(path)
        try:
            await engine._run(engine._open)
        except BaseException:
            engine._thread.shutdown()
            raise
        return engine

    async def put(self, commit: Commit) -> None:
        if not self._waiting:
            self._transaction = asyncio.ensure_future(self._store_waiting())
        self._waiting.append(commit)
        place = len(self._waiting) - 1
        outcomes = await asyncio.shield(self._transaction)  # one put cancelled must not cancel the others
        if (failure := outcomes[place]) is not None:
            raise failure

    async def _store_waiting(self) -> list[StoreFailed | None]:
        async with self._turn:
            commits, self._waiting = self._waiting, []
            return await self._run(lambda: self._store(commits))

    async def _query(self, run: Run, room: str, condition: str, edge: int) -> Run:
        # A read that overtook a put that nobody waits for any more would be the last anybody knows of it.
        async with self._turn:
            return await self._run(lambda: self._read(run, room, condition, edge))

    def _store(self, commits: list[Commit]) -> list[StoreFailed | None]:
        try:
            with self._db:  # COMMIT, or ROLLBACK after an exception
                self._db.execute("BEGIN IMMEDIATE")
                return [self._insert(commit) for commit in commits]
        except FAILURES as error:
            return [_failure(error) for _ in commits]

    def _insert(self, commit: Commit) -> Taken | None:
        inserted = self._db.execute(
            "INSERT INTO log (room, seq, n, m, w) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (commit.room, commit.first, commit.ids, commit.payload, commit.token),
        )
        if inserted.rowcount:
            return None
        row = self._db.execute(f"{SELECT} AND seq = ?", (commit.room, commit.first)).fetchone()
        return Taken(Commit.read(commit.room, *row))

    async def tail(self, room: str, limit: int) -> list[Commit]:
        return await self.before(room, BEYOND_ANY_LOG, limit)

    async def after(self, room: str, id: int, limit: int) -> list[Commit]:
        run = await self._query(Run(limit, above=id), room, "seq > ? ORDER BY seq", id - COMMIT_MESSAGES)
        return run.to_the_end()

    async def before(self, room: str, id: int, limit: int) -> list[Commit]:
        return (await self._query(Run(limit, below=id), room, "seq < ? ORDER BY seq DESC", id)).oldest_first()

    async def find(self, room: str, above: int, below: int, provisional_id: str) -> list[Commit]:
        found: list[Commit] = []
        for start in range(max(0, above - COMMIT_MESSAGES), below - 1, FIND):
            async with self._turn:
                end = min(start + FIND + 1, below)
                found += await self._run(partial(self._find, room, start, end, f'"{provisional_id}"'))
            if sum(commit.size for commit in found) >= READ_BYTES:
                break
        return [commit for commit in found if commit.last > above]

    def _find(self, room: str, above: int, below: int, text: str) -> list[Commit]:
        with _failures():
            rows = self._db.execute(
                f"{SELECT} AND seq > ? AND seq < ? AND instr(m, ?) ORDER BY seq", (room, above, below, text)
            ).fetchall()
            return [Commit.read(room, *row) for row in rows]

    def _read(self, run: Run, room: str, condition: str, edge: int) -> Run:
        # A cursor that is left open half-read would hold its snapshot, and the WAL would grow for ever.
        with _failures(), closing(self._db.execute(f"{SELECT} AND {condition}", (room, edge))) as rows:
            for row in rows:
                if not run.take(Commit.read(room, *row)):
                    break
        return run

    async def check(self) -> None:
        await self.tail("", 1)

    async def erase(self, room: str, before: int) -> None:
        await self._change("UPDATE log SET m = '[]' WHERE room = ? AND seq < ?", (room, before))

    async def expire(self, before: str) -> None:
        await self._change(EXPIRE, (before,))

    async def _change(self, statement: str, values: tuple[object, ...]) -> None:
        def change() -> None:
            with _failures():
                self._db.execute(statement, values)

        await self._run(change)

    async def close(self) -> None:
        if self._waiting:
            await asyncio.wait([self._transaction])
        async with self._turn:
            await self._run(self._opened.close)
        self._thread.shutdown()

    async def _run(self, job: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, job)

    def _open(self) -> None:
        try:
            with ExitStack() as opened:
                if self._path != MEMORY:
                    opened.enter_context(_lock(self._path))
                    _create(self._path)
                db = sqlite3.connect(self._path, timeout=5, isolation_level=None)
                self._db = opened.enter_context(closing(db))
                self._prepare()
                self._opened = opened.pop_all()
        except sqlite3.Error as error:
            raise _unusable(self._path, PASSING.get(_code(error), str(error))) from error

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL").fetchone()
        self._db.execute("PRAGMA synchronous = FULL")
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            tables = self._db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
            if not tables:
                self._db.execute(SCHEMA)
            columns = self._db.execute("SELECT name, type FROM pragma_table_info('log')").fetchall()
            if ", ".join(map(" ".join, columns)) != COLUMNS:
                raise _unusable(self._path, "it is the database of another program")
            self._db.execute("DELETE FROM log WHERE FALSE")  # a file that is read-only says so here
        self._db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")


def _lock(path: str) -> IO[str]:
    """The lock file of `path`; the lock is held until it is closed."""
    try:
        file = open(f"{os.path.realpath(path)}-lock", "a", opener=_private)  # noqa: SIM115 - stays open
    except FileNotFoundError as error:
        raise _unusable(path, "its directory does not exist, create it") from error
    except OSError as error:
        raise _unusable(path, f"no file can be created beside it ({error.strerror})") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        in_use = isinstance(error, BlockingIOError)
        why = "another flychat is using it, stop that one" if in_use else f"no lock on it: {error.strerror}"
        raise _unusable(path, why) from error
    return file


def _create(path: str) -> None:
    """Makes the file if there is none, for its owner only; SQLite gives those beside it the same mode."""
    with suppress(OSError), open(path, "ab", opener=_private):
        pass  # what does not work here is told by SQLite, which says more of it


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _unusable(path: str, why: str) -> Misconfigured:
    return Misconfigured(
        f'messages cannot be kept in "{path}": {why}, or choose another place with --store sqlite:FILE'
    )


def _failure(error: Exception) -> StoreFailed:
    kind = Unknown if _code(error) in PASSING else Broken
    return kind(f"SQLite: {error}")


def _code(error: Exception) -> int:
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF  # the primary one


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except FAILURES as error:
        raise _failure(error) from error
