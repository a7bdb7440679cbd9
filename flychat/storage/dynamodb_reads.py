"""How the table of the engine on DynamoDB is read: by Queries, each in its turn.

- A Query is not a snapshot: a commit may be seen without the one before it, stored a moment earlier.
- `Limit` counts commits, of 1 to 64 messages each: pages start small and double.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..commits import COMMIT_MESSAGES, Commit
from ..sse import BEYOND_ANY_LOG
from . import READ_BYTES, Run, Summary
from .dynamodb_items import commit_of, expired, failures, last_of
from .turns import Turns

PAGE = 8  # commits in the first page of a Query


class TableReader:
    """What an Engine reads; `client` is botocore's."""

    def __init__(self, table: str, client: Any, reading: Turns) -> None:
        self._table = table
        self._client = client
        self._reading = reading

    async def tail(self, room: str, limit: int) -> list[Commit]:
        return await self.before(room, BEYOND_ANY_LOG, limit)

    async def after(self, room: str, id: int, limit: int) -> list[Commit]:
        edge, page = id - COMMIT_MESSAGES, COMMIT_MESSAGES + PAGE
        run = await self._read(Run(limit, above=id), room, "seq > :edge", edge, page)
        if run.beyond is not None:  # perhaps a commit that was stored while this was read
            run = await self._read(Run(limit, above=id), room, "seq > :edge", edge, page)
        return run.to_the_end()

    async def before(self, room: str, id: int, limit: int) -> list[Commit]:
        return (await self._read(Run(limit, below=id), room, "seq < :edge", id, PAGE)).oldest_first()

    async def _read(self, run: Run, room: str, condition: str, edge: int, page: int) -> Run:
        query, more = self._query(room, condition, edge, page), True
        while more:
            items, more = await self._page(query)
            with failures():
                told = (item for item in items if not expired(item) and last_of(item) >= run.above)
                more = all(run.take(commit_of(item)) for item in told) and more
        return run

    async def find(self, room: str, above: int, below: int, provisional_id: str) -> list[Commit]:
        found: list[Commit] = []
        query = self._query(room, "seq BETWEEN :edge AND :below", above - COMMIT_MESSAGES + 1)
        more = below > above
        query["FilterExpression"] = "contains(m, :id)"
        values = {":below": {"N": str(below - 1)}, ":id": {"S": f'"{provisional_id}"'}}
        query["ExpressionAttributeValues"] |= values
        while more and sum(commit.size for commit in found) < READ_BYTES:
            items, more = await self._page(query)
            with failures():
                commits = [commit_of(item) for item in items if not expired(item)]
            found += [commit for commit in commits if commit.last > above]
        return found

    async def everything(self, room: str, above: int) -> list[Commit]:
        items, _ = await self._page(self._query(room, "seq > :edge", above))
        with failures():
            return [commit_of(item) for item in items]

    async def rooms(self) -> list[Summary]:
        rooms: dict[str, Summary] = {}
        scan, more = {"TableName": self._table, "ConsistentRead": True}, True
        while more:
            items, more = await self._page(scan, self._client.scan)
            with failures():
                for commit in (commit_of(item) for item in items if not expired(item)):
                    rooms[commit.room] = rooms.get(commit.room, Summary(commit.room)).plus(commit)
        return sorted(rooms.values(), key=lambda room: room.room)

    def _query(self, room: str, condition: str, edge: int, page: int = 0) -> dict[str, Any]:
        """What `_page` takes. A page has 1 MB, or so many commits if that is said."""
        return {
            "TableName": self._table,
            "KeyConditionExpression": f"room = :room AND {condition}",
            "ExpressionAttributeValues": {":room": {"S": room}, ":edge": {"N": str(edge)}},
            "ScanIndexForward": "<" not in condition,
            "ConsistentRead": True,
            **({"Limit": page} if page else {}),
        }

    async def _page(
        self, query: dict[str, Any], call: Callable[..., Any] | None = None
    ) -> tuple[list[dict[str, Any]], bool]:
        """The next items, and whether there are more; `query` is moved on."""
        with failures():
            answer = await self._reading.call(partial(call or self._client.query, **query))
        if more := "LastEvaluatedKey" in answer:
            query["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
            if "Limit" in query:
                query["Limit"] *= 2
        return answer["Items"], more
