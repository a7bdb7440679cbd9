"""The engine on DynamoDB: one item per commit, written by a conditional PutItem.

An item has the keys `room` (S, HASH) and `seq` (N, RANGE), the commit's first id; and `n`, the number of its
ids, `m`, its payload, perhaps `exp`. (`last` and `data`, which would read better, are reserved words.) Other
attributes are another version's, and left as they are.

- A put is sent once. If botocore sent it again after a lost answer, the writer would be told that its own
  commit lost the race. So the writer (log/) repeats it, at the same place.
- Only the codes of errors are compared: their texts differ from server to server.
- With a retention, a commit is given its end (`exp`, when it expires, in seconds since the epoch) after the
  put of the next one. So the newest has none: the log of a room never expires as a whole, and its ids go on.
  Ends are given from the oldest commit on, none is before that of the commit before, and none is changed. So
  a log expires from its beginning, without a gap, whatever interrupts this, and if several processes do it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from ..commits import Commit
from ..seldom import Seldom
from ..sse import BEYOND_ANY_LOG
from . import PUT_SECONDS, READ_SECONDS, Rejected, StoreFailed, Taken
from .calls import Calls
from .dynamodb_items import commit_of, due, failures, item_of
from .dynamodb_reads import TableReader
from .dynamodb_table import ASIDE, KEYS, PUTS, READS, code_of, table_opened, text_of

logger = logging.getLogger(__name__)


class DynamoEngine(TableReader):
    """An Engine on a table. Make one with `open`, in the loop that will use it."""

    shared, reads = True, READS

    def __init__(
        self, table: str, client: Any, opened: AsyncExitStack, retention: float | None = None
    ) -> None:
        super().__init__(table, client, Calls(READS, READ_SECONDS))
        self._opened = opened
        self.retention = retention
        self._putting = Calls(PUTS, PUT_SECONDS)
        self._aside = Calls(ASIDE, PUT_SECONDS)
        self._puts = 0  # under way
        self._no_puts = asyncio.Event()
        self._no_puts.set()
        self._ending: dict[str, asyncio.Task[None]] = {}  # by room
        self._put_last: dict[str, int] = {}  # the place of the last put in each of them
        self._unended = Seldom(logger)

    @classmethod
    async def open(
        cls, table: str, environ: Mapping[str, str] = os.environ, *, retention: float | None = None
    ) -> DynamoEngine:
        """Raises Misconfigured where the table cannot be used, in a line that says what to do.

        Commits are kept for `retention` seconds, by the table's TTL, which is then turned on; each then costs
        a small read and a second write.
        """
        async with AsyncExitStack() as stack:
            client = await table_opened(stack, table, environ, expires=retention is not None)
            return cls(table, client, stack.pop_all(), retention)

    async def put(self, commit: Commit) -> None:
        item = item_of(commit)
        with self._under_way(), failures():
            try:
                put = partial(
                    self._client.put_item,
                    TableName=self._table,
                    Item=item,
                    ConditionExpression="attribute_not_exists(seq)",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
                await self._putting.call(put)
            except self._client.exceptions.ConditionalCheckFailedException as error:
                winner = error.response.get("Item")  # some servers do not tell
                raise Taken(commit_of(winner) if winner else None) from error
            except ClientError as error:
                if code_of(error) == "ValidationException":
                    raise Rejected(text_of(error)) from error
                raise
        if self.retention is not None and commit.first > 1:
            self._put_last[commit.room] = commit.first
            if commit.room not in self._ending:
                task = asyncio.create_task(self._end(commit.room, self.retention))
                self._ending[commit.room] = task

    async def _end(self, room: str, retention: float) -> None:
        """Gives an end to all commits but the newest that have none. The next put makes up for a failure.

        In a room that falls silent there is no next one: so it goes on until nothing was put meanwhile.
        """
        ended, others = 0, 0
        try:
            while ended < (last := self._put_last[room]) and others < 2:
                if await self._end_below(room, last, retention):
                    ended = last
                else:  # another process is at it, which may not know of our last put: once more
                    others += 1
        except StoreFailed as error:
            self._unended.tell("messages were not given an end: %s", error)
        finally:
            del self._ending[room], self._put_last[room]

    async def _end_below(self, room: str, last: int, retention: float) -> bool:
        """Gives an end to the commits below `last` that have none; False: another process gave one first."""
        with failures():
            endless, end = await self._endless(room, last)
            for item in reversed(endless):
                end = max(end, due(commit_of(item), retention))
                if not await self._update(item, "exp", {"N": str(end)}, "attribute_not_exists(exp)"):
                    return False
        return True

    async def _endless(self, room: str, before: int) -> tuple[list[dict[str, Any]], int]:
        """The items below `before` that have no end, newest first; and the end of what is before them."""
        query, more = self._query(room, -BEYOND_ANY_LOG, before - 1, 2, backwards=True), True
        endless: list[dict[str, Any]] = []
        while more:
            items, more = await self._page(query)
            for item in items:
                if "exp" in item:
                    return endless, int(item["exp"]["N"])
                endless.append(item)
        return endless, 0

    async def _update(
        self,
        item: dict[str, Any],
        name: str,
        value: dict[str, str],
        condition: str,
        values: dict[str, dict[str, str]] | None = None,
    ) -> bool:
        """Sets one attribute of the item; False if it is gone, or the `condition` does not hold."""
        update = partial(
            self._client.update_item,
            TableName=self._table,
            Key={key: item[key] for key, _, _ in KEYS},
            UpdateExpression=f"SET {name} = :value",
            ConditionExpression=f"attribute_exists(seq) AND {condition}",
            ExpressionAttributeValues={":value": value, **(values or {})},
        )
        return await self._conditionally(update)

    async def _conditionally(self, change: Callable[[], Awaitable[Any]]) -> bool:
        """Makes the change; says whether its condition held."""
        with self._under_way(), failures():
            try:
                await self._aside.call(change)
            except self._client.exceptions.ConditionalCheckFailedException:
                return False
        return True

    def submit(self, commit: Commit, done: Callable[[StoreFailed | None], None]) -> bool:
        return False

    async def check(self) -> None:
        await self.tail("check", 1)

    async def rewrite(self, old: Commit, new: Commit) -> None:
        condition, stored = "m = :old", {":old": {"S": old.payload}}
        if not await self._update(item_of(old), "m", {"S": new.payload}, condition, stored):
            raise Taken

    async def delete(self, commit: Commit) -> None:
        item = item_of(commit)
        delete = partial(
            self._client.delete_item,
            TableName=self._table,
            Key={key: item[key] for key, _, _ in KEYS},
            ConditionExpression="m = :old",
            ExpressionAttributeValues={":old": {"S": commit.payload}},
        )
        if not await self._conditionally(delete):
            raise Taken

    async def expire(self, before: str) -> None:
        """The table's TTL does it."""

    async def close(self) -> None:
        await self._no_puts.wait()
        for task in (ending := list(self._ending.values())):
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await self._opened.aclose()

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        self._puts += 1
        self._no_puts.clear()
        try:
            yield
        finally:
            self._puts -= 1
            if not self._puts:
                self._no_puts.set()
