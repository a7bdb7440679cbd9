"""What is in a store, read around flychat: the commits of a room, in their order, without what has expired."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from flychat.commits import Commit
from flychat.storage.dynamodb import DynamoEngine
from flychat.storage.dynamodb_items import commit_of
from tests.support.wire import wire_json

from ..judge import Stored

KEPT = "-wal", ""  # beside the file itself: what is appended to its name


def of_file(path: Path, room: str) -> list[Commit]:
    with contextlib.closing(sqlite3.connect(path, timeout=10)) as db:
        rows = db.execute("SELECT seq, m, n FROM log WHERE room = ? ORDER BY seq", (room,)).fetchall()
    return [Commit.read(room, *row) for row in rows]


async def of_table(engine: DynamoEngine, room: str, now: float) -> list[Commit]:
    """`now`: in the clocks of the servers, which are not ours."""
    query = {
        "TableName": engine._table,
        "KeyConditionExpression": "room = :room",
        "ExpressionAttributeValues": {":room": {"S": room}},
        "ConsistentRead": True,
    }
    items: list[dict] = []
    while True:
        try:
            answer = await engine._client.query(**query)
        except (BotoCoreError, ClientError, OSError):  # moto may be busy
            await asyncio.sleep(0.1)
            continue
        items += [item for item in answer["Items"] if "exp" not in item or int(item["exp"]["N"]) > now]
        if "LastEvaluatedKey" not in answer:
            return list(map(commit_of, items))
        query["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def messages(commits: list[Commit]) -> list[Stored]:
    return [Stored.read(wire_json(message)) for commit in commits for message in commit.messages]


def left_in_file(path: Path, texts: set[bytes]) -> set[bytes]:
    """Those of the texts that are somewhere in the file, or in its write-ahead log, also as free space."""
    files = [path.with_name(path.name + more) for more in KEPT]
    data = b"".join(file.read_bytes() for file in files if file.exists())
    return {text for text in texts if text in data}
