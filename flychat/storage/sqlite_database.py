"""The database of the embedded engine: how it is opened, its one table, and what its errors mean.

- FULL: an acknowledged message survives a power cut.
- `secure_delete`: what was cleared is not in the file any more. For that the rows must be in the order in
  which they came (by rowid). In that of the key (WITHOUT ROWID, until November 2026) SQLite moves some to new
  pages to make room, and leaves copies that nobody overwrites: of 14 in 1,000 removed texts. Rooms are read
  by the key's index: 50 messages take 0.59 ms instead of 0.42; a put among a million takes half as long.
- A table may have more columns than these: then it is another version's, and as good. A file whose
  `user_version` is above ours is refused: that version has to be understood first. 0 is from before there
  was a version, in the same format as 1.
- In memory it is a file of SQLite's `memdb`, of 1 GiB at the most. A put into ":memory:" takes longer the
  more that holds (with 200,000 messages four times as long): each new page has all others looked through.
- A program that only reads a file does not lock it, so a server may use it, or start on it meanwhile: in WAL
  mode neither waits for the other. But no reading transaction may stay open: the WAL would grow for so long.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TypeVar

from . import Broken, StoreFailed, Unknown
from .files import Files, check_mount, unusable

T = TypeVar("T")

MEMORY = ":memory:"
MEMORY_FILE = "file:flychat?vfs=memdb"  # of this connection alone, as its name does not begin with "/"
VERSION = 1  # of the format, as the file's user_version
WAL_BYTES = 4 << 20  # that are kept of the write-ahead log when it is emptied
BUSY_MS = 500  # for which a transaction waits for another program; the writer tries again
COLUMNS = ["room TEXT", "seq INTEGER", "n INTEGER", "m TEXT"]  # as in DynamoDB: storage/dynamodb.py
SCHEMA = f"CREATE TABLE log ({', '.join(COLUMNS)}, PRIMARY KEY (room, seq))"

SELECT = "SELECT seq, m, n FROM log WHERE room = ?"
_DATE = "json_extract(m, '$[#-1][2]')"  # of a commit's last message
# A damaged row must do no harm to others: its date is "~", later than any, so it stays.
OLDEST = (  # with their dates; that of a void commit is "", earlier than any
    f"SELECT seq, CASE WHEN json_valid(m) THEN coalesce({_DATE}, '') ELSE '~' END, length(m) FROM log "
    "WHERE room = ?1 AND seq < (SELECT max(seq) FROM log WHERE room = ?1) ORDER BY seq"
)
STORED = (  # of every commit: its room and place, the numbers of its ids and messages, its bytes and date
    "SELECT room, seq, n, CASE m WHEN '[]' THEN 0 ELSE n END, length(CAST(m AS BLOB)), "
    f"CASE WHEN json_valid(m) THEN {_DATE} END FROM log WHERE (room, seq) > (?, ?) ORDER BY room, seq"
)
DELETE = "DELETE FROM log WHERE room = ? AND seq = ? AND m IN (?, ?)"

PASSING = {  # primary result codes that may go away by themselves; any other needs a human
    sqlite3.SQLITE_BUSY: "another program is writing to it",
    sqlite3.SQLITE_LOCKED: "another program is writing to it",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk does not read or write",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_NOMEM: "out of memory",
    sqlite3.SQLITE_PROTOCOL: "another program is writing to it",
}
FAILURES = (sqlite3.Error, MemoryError, ValueError, TypeError, LookupError)  # the last three: a bad row


def opened(path: str, *, reading: bool = False) -> tuple[sqlite3.Connection, Files | None, ExitStack]:
    """The database at `path`, its files (none in memory), and what closes both.

    If only for `reading`, it cannot be written to and is not locked: a server may be using it.
    Raises Misconfigured if it cannot be used, in a line that says what to do.
    """
    try:
        with ExitStack() as opening:
            if reading and os.path.getsize(path):
                return _beside(path, opening)
            files = opening.enter_context(closing(Files(path))) if path != MEMORY else None
            db = opening.enter_context(closing(_in_memory() if files is None else _on_disk(path)))
            _prepare(db, path)
            if files:
                files.remember()
            return db, files, opening.pop_all()
    except sqlite3.Error as error:
        why = PASSING.get(_code(error), str(error))
        if reading and _code(error) in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            why = "it cannot be read, or SQLite cannot make the files beside it for that: copy it elsewhere"
        raise unusable(path, why) from error


def _in_memory() -> sqlite3.Connection:
    try:
        return sqlite3.connect(MEMORY_FILE, uri=True, isolation_level=None)
    except sqlite3.OperationalError:  # SQLite before 3.36
        return sqlite3.connect(MEMORY, isolation_level=None)


def _on_disk(path: str) -> sqlite3.Connection:
    # An absolute path, since many builds of SQLite take a name that begins with "file:" for a URI.
    return sqlite3.connect(os.path.abspath(path), timeout=5, isolation_level=None)


def _beside(path: str, opening: ExitStack) -> tuple[sqlite3.Connection, None, ExitStack]:
    db = opening.enter_context(closing(read_only(path)))
    check(db, path)
    return db, None, opening.pop_all()


def read_only(path: str) -> sqlite3.Connection:
    """The file as it is, for any thread. The caller has to `check` that it is one of ours."""
    check_mount(path)
    address = f"{Path(path).absolute().as_uri()}?mode=ro"
    return sqlite3.connect(address, uri=True, timeout=5, isolation_level=None, check_same_thread=False)


def check(db: sqlite3.Connection, path: str) -> int:
    """The version of the format. Raises Misconfigured if it is no database of ours, or of a later version."""
    ((version,),) = db.execute("PRAGMA user_version").fetchall()
    columns = db.execute("SELECT name, type FROM pragma_table_info('log')").fetchall()
    if not set(COLUMNS) <= set(map(" ".join, columns)):  # more are another version's
        raise unusable(path, "it is the database of another program")
    if version > VERSION:
        raise unusable(path, "a later version of flychat has written it, start that one")
    return int(version)


def _prepare(db: sqlite3.Connection, path: str) -> None:
    tables = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    if tables:
        check(db, path)  # before anything is written: another program's file must stay as it is
    db.execute("PRAGMA journal_mode = WAL").fetchone()
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA fullfsync = ON")  # of macOS, whose fsync leaves the data in the disk's cache
    db.execute("PRAGMA secure_delete = ON")  # what was cleared is not in the file any more
    db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
    with db:
        db.execute("BEGIN IMMEDIATE")
        if not tables:
            db.execute(SCHEMA)
        if check(db, path) < VERSION:
            db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("DELETE FROM log WHERE FALSE")  # a file that is read-only says so here
    db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")


def failure(error: Exception) -> StoreFailed:
    """The failure, without the content of any row: it is written to the log."""
    if isinstance(error, MemoryError):
        return Unknown("SQLite: out of memory")
    if not isinstance(error, sqlite3.Error):
        return Broken(f"SQLite: a row is no commit ({type(error).__name__})")
    if why := PASSING.get(_code(error)):
        return Unknown(f"SQLite: {why}")
    return Broken(f"SQLite: {str(error).partition(' with text ')[0]}")  # of what is not UTF-8


def _code(error: Exception) -> int:
    """The primary result code; FULL where the disk has no room for the `-shm` file, which is an IOERR."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return sqlite3.SQLITE_FULL if code == sqlite3.SQLITE_IOERR_SHMSIZE else code & 0xFF


@contextmanager
def failures() -> Iterator[None]:
    try:
        yield
    except FAILURES as error:
        raise failure(error) from error


def once(job: Callable[[], T]) -> Generator[None, None, T]:
    """A job that is done in one part."""
    yield from ()
    with failures():
        return job()
