"""What readings cost in DynamoDB: a read unit is 4 KB, begun, of what a Query looks at, however little of it is wanted.

And that they are right however their pages fall: against the same commits in memory.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flychat.commits import Commit
from flychat.messages import Message
from flychat.storage import READ_BYTES, Hole
from flychat.storage.dynamodb import DynamoEngine
from flychat.storage.dynamodb_items import item_of
from tests.support.fakes import MemoryEngine

TEXT = "Shall we meet at the station at seven? I bring the tickets."
PAGE_BYTES = 1 << 20


class Table:
    """In the place of botocore's client: one room, whose Queries are answered as DynamoDB does, and counted."""

    def __init__(self, commits: list[Commit], page_bytes: int = PAGE_BYTES, *, sparse: bool = False) -> None:
        self.items = {commit.first: item_of(commit) for commit in commits}
        self.page_bytes = page_bytes
        self.sparse = sparse  # before each page comes an empty one
        self.queries = self.read = self.bytes = self.units = 0

    async def query(
        self,
        *,
        ExpressionAttributeValues: dict,
        ScanIndexForward: bool,
        Limit: int | None = None,
        ExclusiveStartKey: dict | None = None,
        **_,
    ) -> dict:
        lowest, highest = (int(ExpressionAttributeValues[name]["N"]) for name in (":lowest", ":highest"))
        assert lowest <= highest, "which is an error"
        places = sorted(
            (place for place in self.items if lowest <= place <= highest), reverse=not ScanIndexForward
        )
        start = {"seq": {"N": "0"}} if ExclusiveStartKey is None else ExclusiveStartKey
        if self.sparse and not start.get("again"):
            return {"Items": [], "LastEvaluatedKey": {**start, "again": True}}
        if start["seq"]["N"] != "0":
            places = places[places.index(int(start["seq"]["N"])) + 1 :]
        page, bytes = [], 0
        while len(page) < len(places) and len(page) != Limit and bytes < self.page_bytes:
            page.append(self.items[places[len(page)]])
            bytes += size(page[-1])
        self.queries += 1
        self.read += len(page)
        self.bytes += bytes
        self.units += -(-max(bytes, 1) // 4096)
        cut = len(page) == Limit or len(page) < len(places)  # also where there is nothing more
        return {"Items": page, **({"LastEvaluatedKey": {"seq": page[-1]["seq"]}} if page and cut else {})}


def size(item: dict) -> int:
    """The names and the values; a number takes less in DynamoDB than its digits."""
    return sum(len(name.encode()) + len(*map(str.encode, value.values())) for name, value in item.items())


def log_of(sizes: list[int], first: int = 1, text: str = TEXT) -> list[Commit]:
    """Commits of so many messages each; a size below 0 is a hole of so many ids."""
    log: list[Commit] = []
    for messages in sizes:
        if messages > 0:
            ids = range(first, first + messages)
            log.append(Commit("room", tuple(Message(id, "Ann", text, "2026", f"{id:036}") for id in ids)))
        first += abs(messages)
    return log


def engine_on(table: Table) -> DynamoEngine:
    return DynamoEngine("table", table, AsyncExitStack())


SINGLE, FULL = log_of([1] * 1000), log_of([64] * 100)


@pytest.mark.parametrize(
    ("log", "call", "asked", "queries", "items", "units"),
    [
        (SINGLE, "after", (997, 1001), 1, 20, 1),
        (SINGLE, "after", (1000, 1001), 1, 20, 1),
        (SINGLE, "after", (984, 60), 1, 20, 1),
        (SINGLE, "after", (900, 1001), 2, 101, 6),
        (SINGLE, "after", (0, 1001), 2, 1000, 52),
        (SINGLE, "after", (100, 50), 2, 20 + 114, 7),
        (SINGLE, "after", (1000, 1), 1, 2, 1),
        (SINGLE, "tail", (1,), 1, 1, 1),
        (SINGLE, "tail", (50,), 2, 50, 4),
        (SINGLE, "before", (941, 60), 1, 60, 4),
        (SINGLE, "before", (601, 400), 1, 400, 21),
        (SINGLE[:20], "after", (0, 1001), 1, 20, 1),
        (SINGLE[:5], "tail", (50,), 1, 5, 1),
        (FULL, "after", (6390, 1001), 1, 1, 3),
        (FULL, "after", (6330, 1001), 1, 2, 5),
        (FULL, "tail", (1,), 1, 1, 3),
        (FULL, "tail", (50,), 1, 8, 17),
        (FULL, "before", (6337, 60), 1, 1, 3),
        (FULL, "before", (6337, 1), 1, 1, 3),
    ],
)
@pytest.mark.gen_test
async def test_a_reading_looks_at_little_more_than_what_is_asked_for(log, call, asked, queries, items, units):
    table = Table(log)
    assert await getattr(engine_on(table), call)("room", *asked)
    assert (table.queries, table.read) == (queries, items)
    assert table.units <= units


@pytest.mark.parametrize("position", [0, 6000, 6390 - 1500])
@pytest.mark.gen_test
async def test_what_is_too_large_to_be_replayed_is_read_once(position):
    """READ_BYTES are little more than a megabyte, and that is what a page has: not two of them, nor back and forth."""
    table = Table(log_of([1] * 6400, text="x" * 4000))
    read = await engine_on(table).after("room", position, 1001)
    assert sum(commit.size for commit in read) >= READ_BYTES
    assert table.bytes < 1.6 * READ_BYTES


sizes = st.lists(
    st.one_of(st.just(1), st.integers(1, 64), st.sampled_from([64, 64, 1, -1, -70])), min_size=1, max_size=12
)


async def answers(engine, call: str, *asked: int) -> object:
    try:
        return await getattr(engine, call)("room", *asked)
    except Hole as hole:
        return hole.commits, hole.beyond


@given(
    sizes, st.sampled_from([1, 1, 2, 500]), st.sampled_from([PAGE_BYTES, 20_000, 1]), st.booleans(), st.data()
)
def test_a_reading_is_the_same_however_its_pages_fall(sizes, first, page_bytes, sparse, data):
    log, memory = log_of(sizes, first), MemoryEngine()
    table = Table(log, page_bytes, sparse=sparse)
    expired = log[: data.draw(st.integers(0, max(0, len(log) - 1)))]
    for commit in expired:
        table.items[commit.first]["exp"] = {"N": "1"}
    memory.commits = {(commit.room, commit.first): commit for commit in log[len(expired) :]}
    edges = [id for commit in log for id in (commit.first - 1, commit.first, commit.last, commit.last + 1)]
    id = data.draw(st.one_of(st.sampled_from(edges or [0]), st.integers(0, first + 900)))
    limit = data.draw(st.one_of(st.integers(1, 70), st.sampled_from([200, 1001])))
    reader = engine_on(table)

    async def compare() -> None:
        for call, *asked in (("after", id, limit), ("before", max(id, 1), limit), ("tail", limit)):
            assert await answers(reader, call, *asked) == await answers(memory, call, *asked), (call, asked)

    with closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(compare())
