"""How long a put waits while old messages are looked for, and deleted, in an SQLite file with many.

A file of --messages messages, a commit each, in --rooms rooms. One writer puts all the time. Three times: no
sweep, a sweep that finds nothing to delete, and one that finds everything but the newest of each room, each
for --seconds at most. A million messages take 150 MB in the system's temporary directory (TMPDIR).

python -m benchmarks.sweep [--messages 10000000] [--rooms 1000] [--seconds 20]
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Iterator

from flychat.commits import Commit, payload_item
from flychat.fields import iso_date
from flychat.messages import Message
from flychat.storage.sqlite import SqliteEngine

from . import harness
from .options import options

DAY = 86_400
NOTHING, EVERYTHING = iso_date(0), iso_date(time.time())


def rows(messages: int, rooms: int, name: str) -> Iterator[tuple[str, int, int, str]]:
    """Of a log whose messages are from 30 days ago until yesterday, room by room."""
    key, now = str(uuid.uuid4()), time.time()
    count = messages // rooms
    for room in range(rooms):
        for id in range(1, count + 1):
            date = iso_date(now - DAY - 29 * DAY * (1 - id / count))
            yield name.format(room), id, 1, f"[{payload_item(Message(id, 'ann', 'x' * 50, date, key))}]"


async def fill(path: str, messages: int, rooms: int, name: str = "room {:06}") -> None:
    await (await SqliteEngine.open(path)).close()  # makes the table
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN")
    db.executemany("INSERT INTO log VALUES (?, ?, ?, ?)", rows(messages, rooms, name))
    db.execute("COMMIT")
    db.close()


async def put_and_wait(engine: SqliteEngine, room: str, waits: list[float]) -> None:
    """Puts until it is cancelled, every millisecond."""
    for id in range(1, 1 << 60):
        commit = Commit(room, (Message(id, "ann", "x" * 50, EVERYTHING, str(uuid.uuid4())),))
        began = time.perf_counter()
        await engine.put(commit)
        waits.append(time.perf_counter() - began)
        await asyncio.sleep(0.001)


async def measure(engine: SqliteEngine, before: str | None, seconds: float) -> list[float]:
    """How long each put waited, meanwhile."""
    waits: list[float] = []
    writer = asyncio.create_task(put_and_wait(engine, str(uuid.uuid4()), waits))
    try:
        async with asyncio.timeout(seconds):
            await (engine.expire(before) if before else asyncio.Event().wait())
    except TimeoutError:
        pass
    writer.cancel()
    return sorted(waits)


async def run(messages: int, rooms: int, seconds: float) -> str:
    table = []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "chat.db")
        await fill(path, messages, rooms)
        engine = await SqliteEngine.open(path)
        for title, before in (
            ("no sweep", None),
            ("nothing is old", NOTHING),
            ("everything is old", EVERYTHING),
        ):
            began = time.perf_counter()
            waits = await measure(engine, before, min(seconds, 5) if before is None else seconds)
            took = time.perf_counter() - began
            wal = os.stat(f"{path}-wal").st_size / 1e6
            row = [title, took, len(waits), *(1000 * waits[int(len(waits) * q)] for q in (0.5, 0.99, 0.999))]
            table.append([*row, 1000 * waits[-1], wal])
        await engine.close()
    head = ["", "s", "puts", "p50 ms", "p99 ms", "p99.9 ms", "longest ms", "WAL MB"]
    return harness.table(head, table)


if __name__ == "__main__":
    given = options(__doc__, messages=10_000_000, rooms=1000, seconds=20.0)
    print(asyncio.run(run(given.messages, given.rooms, given.seconds)))
    print(harness.load())
