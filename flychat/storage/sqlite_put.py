"""How the embedded engine stores commits: those that wait, of all rooms, in one transaction.

- A conditional put is an INSERT. All that wait are one statement of up to PUT_ROWS rows, or a few of them in
  one transaction. If a place is taken, none is stored: then each is put by itself. Few statements, because
  Python's sqlite3 releases the interpreter lock for each: under load the loop would keep it for a while each
  time, and the more puts had waited, the longer the next ones would.
- A row keeps its size when messages are removed: blanks inside its JSON fill it up. If a tombstone would be
  longer than its message, the row has blanks from the beginning. The reason: when a row changes its size,
  SQLite moves its neighbours to other pages, and leaves copies of their beginnings behind. `secure_delete`
  does not erase those, so a neighbour that is removed later would still be in the file.
- A commit that is emptied does give its space back. It is filled with blanks first, and shortened after that,
  so that copies of its neighbours that are left behind are blank if they are emptied with it.
- A failed transaction is rolled back, and all its puts are Unknown: a COMMIT that failed on a bad disk
  may still be found in the WAL by the next process, and putting again at the same place is always safe.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TypeAlias

from ..commits import Commit
from ..messages import ERASED, Message
from . import StoreFailed, Taken
from .sqlite_database import SELECT

Change: TypeAlias = tuple[Commit, Commit | None]  # what is put, and in the place of what

PUT_ROWS = 64  # commits in one statement
INSERT, ROW = "INSERT INTO log (room, seq, n, m) VALUES ", "(?, ?, ?, ?)"
REWRITE = "UPDATE log SET m = ? WHERE room = ? AND seq = ?"
REMOVED_BYTES = len(',{"t":1234567890}')  # that a tombstone has in the place of its text


def put(db: sqlite3.Connection, changes: list[Change]) -> list[StoreFailed | None]:
    """Why each change was not made; None: it was. Raises sqlite3.Error: none was, or nobody knows."""
    if all(old is None for _, old in changes):
        with suppress(sqlite3.IntegrityError):
            _insert_all(db, [new for new, _ in changes])
            return [None] * len(changes)
    with db:  # COMMIT, or ROLLBACK after an exception
        db.execute("BEGIN IMMEDIATE")
        told: list[StoreFailed | None] = [
            _insert(db, new) if old is None else _update(db, old, new) for new, old in changes
        ]
        for (new, old), taken in zip(changes, told, strict=True):
            if old is not None and taken is None and not new.messages:
                db.execute(REWRITE, (new.payload, new.room, new.first))
        return told


def _insert_all(db: sqlite3.Connection, commits: list[Commit]) -> None:
    """Raises IntegrityError if a place is taken: then none of them is stored."""
    if len(commits) <= PUT_ROWS:
        return _insert_rows(db, commits)
    with db:
        db.execute("BEGIN IMMEDIATE")
        for at in range(0, len(commits), PUT_ROWS):
            _insert_rows(db, commits[at : at + PUT_ROWS])
    return None


def _insert_rows(db: sqlite3.Connection, commits: list[Commit]) -> None:
    values = [value for commit in commits for value in _row(commit)]
    db.execute(INSERT + ", ".join([ROW] * len(commits)), values)


def _insert(db: sqlite3.Connection, commit: Commit) -> Taken | None:
    inserted = db.execute(f"{INSERT}{ROW} ON CONFLICT DO NOTHING", _row(commit))
    if inserted.rowcount:
        return None
    row = db.execute(f"{SELECT} AND seq = ?", (commit.room, commit.first)).fetchone()
    return Taken(Commit.read(commit.room, *row))


def _row(commit: Commit) -> tuple[str, int, int, str]:
    return commit.room, commit.first, commit.ids, as_stored(commit)


def _update(db: sqlite3.Connection, old: Commit, new: Commit) -> Taken | None:
    for stored in dict.fromkeys((old.payload, as_stored(old))):
        payload = _filled(new.payload, len(stored.encode()))
        if db.execute(f"{REWRITE} AND m = ?", (payload, old.room, old.first, stored)).rowcount:
            return None
    return Taken()


def as_stored(commit: Commit) -> str:
    """The payload as it is put: with the blanks that tombstones may need, unless it has some already."""
    payload = commit.payload
    more = sum(map(_left_over, commit.messages))
    return payload if not more or payload.endswith(" ]") else _blank(payload, more)


def _left_over(message: Message) -> int:
    """How many bytes longer it may become when it is removed, and its author is erased."""
    name = max(0, len(ERASED) - len(message.sender))
    return name if message.removes else max(0, name + REMOVED_BYTES - len(message.text))


def _filled(payload: str, size: int) -> str:
    """The same JSON, of so many bytes, if it has fewer."""
    return _blank(payload, size - len(payload.encode()))


def _blank(payload: str, count: int) -> str:
    return f"{payload[:-1]}{' ' * count}]"
