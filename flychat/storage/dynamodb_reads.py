"""How the table of the engine on DynamoDB is read: by Queries, a limited number at once.

DynamoDB charges for all that a Query looks at, wanted or not. A commit is found by its first id, and has 1 to
64 ids, so the commit that holds an id begins at one of 64 places. Reading downwards from an id, a Query asks
for as many commits as ids are wanted, and for none that begins 64 places or more before them. If each commit
is a single message, it reads exactly what is wanted; else at most 63 messages more.

- What follows an id is read from the end of the log down to that id, since most clients have missed little.
  If there is more than was asked for, it is read again from the id upwards; then one page of NEAR commits was
  read in vain.
- A Query is not a snapshot: it may show a commit without the one before it, stored a moment earlier.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from ..commits import COMMIT_MESSAGES, Commit
from ..sse import BEYOND_ANY_LOG
from . import READ_BYTES, Run, Summary, Throttled
from .calls import Calls
from .dynamodb_items import commit_of, expired, failures, last_of, place_of

PAGE = 8  # commits in the first page of a Query for the newest
NEAR = 20  # ... for what follows an id: as many single messages as a read unit (4 KB) has
SCAN_PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6)  # seconds before a page of a Scan that was throttled is asked again


class TableReader:
    """The reads of an Engine. `client` is aioboto3's for DynamoDB."""

    def __init__(self, table: str, client: Any, reading: Calls) -> None:
        self._table = table
        self._client = client
        self._reading = reading

    async def tail(self, room: str, limit: int) -> list[Commit]:
        return (await self._newest(Run(limit), room)).oldest_first()

    async def before(self, room: str, id: int, limit: int) -> list[Commit]:
        run = await self._below(Run(limit, below=id), room, id)
        if not run.commits or run.commits[0].last < id - 1:  # the log ends before that, or has a hole there
            run = await self._newest(Run(limit, below=id), room)
        return run.oldest_first()

    async def _newest(self, run: Run, room: str) -> Run:
        page = min(run.limit, PAGE)
        query = self._query(room, -BEYOND_ANY_LOG, run.below - 1, page, backwards=True)
        items, more = await self._page(query)
        if _take(run, items) and more and run.commits:
            await self._below(run, room, run.commits[-1].first)
        return run

    async def _below(self, run: Run, room: str, id: int) -> Run:
        """Reads what precedes an id: at most as many commits as ids are wanted."""
        lowest = id - run.limit - COMMIT_MESSAGES + 1
        await self._read(run, self._query(room, lowest, id - 1, run.limit, backwards=True))
        return run

    async def after(self, room: str, id: int, limit: int) -> list[Commit]:
        run = await self._after(Run(limit, above=id), room)
        if run.is_torn:  # perhaps by a commit that was stored while this was read
            run = await self._after(Run(limit, above=id), room)
        return run.to_the_end()

    async def _after(self, run: Run, room: str) -> Run:
        lowest, highest = run.above - COMMIT_MESSAGES + 1, run.above + run.limit
        query = self._query(room, lowest, BEYOND_ANY_LOG, min(run.limit + 1, NEAR), backwards=True)
        items, more = await self._page(query)
        with failures():
            left = _left(items, run) if more else 0
            if left and _wanted(items, run):
                query["Limit"] = left
                others, more = await self._page(query)
                items += others
                left = _left(items, run) if more else 0
        if not left:
            _take(run, reversed(items))
        elif await self._read(run, self._query(room, lowest, highest)):  # there is a hole
            await self._read(run, self._query(room, highest + 1, BEYOND_ANY_LOG, PAGE))
        return run

    async def _read(self, run: Run, query: dict[str, Any]) -> bool:
        """Reads what the query has into the run; says whether the run wants more."""
        wanted = more = True
        while wanted and more:
            items, more = await self._page(query)
            wanted = _take(run, items)
            query.setdefault("Limit", PAGE)  # READ_BYTES are little more than the megabyte of a page
        return wanted

    async def find(self, room: str, above: int, below: int, provisional_id: str) -> list[Commit]:
        found: list[Commit] = []
        query = self._query(room, above - COMMIT_MESSAGES + 1, below - 1)
        more = below > above
        query["FilterExpression"] = "contains(m, :id)"
        query["ExpressionAttributeValues"][":id"] = {"S": f'"{provisional_id}"'}
        while more and sum(commit.size for commit in found) < READ_BYTES:
            items, more = await self._page(query)
            with failures():
                commits = [commit_of(item) for item in items if not expired(item)]
            found += [commit for commit in commits if commit.last > above]
        return found

    async def everything(self, room: str, above: int) -> list[Commit]:
        items, _ = await self._page(self._query(room, above + 1, BEYOND_ANY_LOG))
        with failures():
            return [commit_of(item) for item in items]

    async def rooms(self) -> list[Summary]:
        rooms: dict[str, Summary] = {}
        scan, more = {"TableName": self._table, "ConsistentRead": True}, True
        while more:
            items, more = await self._patiently(scan)
            with failures():
                for commit in (commit_of(item) for item in items if not expired(item)):
                    rooms[commit.room] = rooms.get(commit.room, Summary(commit.room)).plus(commit)
        return sorted(rooms.values(), key=lambda room: room.room)

    async def _patiently(self, scan: dict[str, Any]) -> tuple[list[dict[str, Any]], bool]:
        """The next page of a Scan, tried again if throttled: a table is soon more than a second's reads."""
        for pause in SCAN_PAUSES:
            with suppress(Throttled):
                return await self._page(scan, self._client.scan)
            await asyncio.sleep(pause)
        return await self._page(scan, self._client.scan)

    def _query(
        self, room: str, lowest: int, highest: int, page: int = 0, *, backwards: bool = False
    ) -> dict[str, Any]:
        """What `_page` takes: the commits at places from `lowest` to `highest`.

        A page has 1 MB, or so many commits if that is said.
        """
        edges = {":lowest": {"N": str(lowest)}, ":highest": {"N": str(highest)}}
        return {
            "TableName": self._table,
            "KeyConditionExpression": "room = :room AND seq BETWEEN :lowest AND :highest",
            "ExpressionAttributeValues": {":room": {"S": room}, **edges},
            "ScanIndexForward": not backwards,
            "ConsistentRead": True,
            **({"Limit": page} if page else {}),
        }

    async def _page(
        self, query: dict[str, Any], call: Callable[..., Any] | None = None
    ) -> tuple[list[dict[str, Any]], bool]:
        """The next items, none only at the end, and whether there are more; `query` is moved on."""
        items, more = list[dict[str, Any]](), True
        while more and not items:  # a page may be empty, and not the last one
            with failures():
                answer = await self._reading.call(partial(call or self._client.query, **query))
                items += answer["Items"]
            if more := "LastEvaluatedKey" in answer:
                query["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
                if "Limit" in query:
                    query["Limit"] *= 2
        return items, more


def _take(run: Run, items: Iterable[dict[str, Any]]) -> bool:
    """Has the run take the items, except expired ones; says whether it wants more."""
    with failures():
        told = (item for item in items if not expired(item) and last_of(item) >= run.above)
        return all(run.take(commit_of(item)) for item in told)


def _left(newest: list[dict[str, Any]], run: Run) -> int:
    """How many commits more there may be, from where these end down to the one that holds the id `above`."""
    return max(0, place_of(newest[-1]) - max(run.above, 1))


def _wanted(newest: list[dict[str, Any]], run: Run) -> bool:
    """Whether the run is likely to take all down to the id `above`, if the rest is as large as these."""
    last, size = last_of(newest[0]), sum(len(item["m"]["S"]) for item in newest)
    missing, here = last - run.above, last - place_of(newest[-1]) + 1
    return missing <= run.limit and size * missing < READ_BYTES * here
