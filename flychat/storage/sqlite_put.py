"""How the embedded engine stores commits: those that wait, of all rooms, in one transaction.

- A conditional put is an INSERT that does nothing where the key exists.
- A failed transaction is rolled back, and all its puts are Unknown: a COMMIT that failed on a bad disk
  may still be found in the WAL by the next process, and putting again at the same place is always safe.
"""

from __future__ import annotations

import sqlite3
from typing import TypeAlias

from ..commits import Commit
from . import StoreFailed, Taken
from .sqlite_database import SELECT

Change: TypeAlias = tuple[Commit, Commit | None]  # what is put, and in the place of what


def put(db: sqlite3.Connection, changes: list[Change]) -> list[StoreFailed | None]:
    """What became of each. Raises sqlite3.Error: then nothing was stored, or that is not known."""
    with db:  # COMMIT, or ROLLBACK after an exception
        db.execute("BEGIN IMMEDIATE")
        return [_insert(db, new) if old is None else _update(db, old, new) for new, old in changes]


def _insert(db: sqlite3.Connection, commit: Commit) -> Taken | None:
    inserted = db.execute(
        "INSERT INTO log (room, seq, n, m) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (commit.room, commit.first, commit.ids, commit.payload),
    )
    if inserted.rowcount:
        return None
    row = db.execute(f"{SELECT} AND seq = ?", (commit.room, commit.first)).fetchone()
    return Taken(Commit.read(commit.room, *row))


def _update(db: sqlite3.Connection, old: Commit, new: Commit) -> Taken | None:
    updated = db.execute(
        "UPDATE log SET m = ? WHERE room = ? AND seq = ? AND m = ?",
        (new.payload, old.room, old.first, old.payload),
    )
    return None if updated.rowcount else Taken()
