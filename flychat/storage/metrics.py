"""An engine around another one: counts and times its puts and reads, and changes nothing."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import cache
from typing import TypeVar

from prometheus_client import Counter, Histogram

from ..commits import Commit
from . import Engine, StoreFailed

T = TypeVar("T")

SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)

PUTS = Counter(
    "flychat_puts",
    "Attempts to store a commit, by outcome: stored, or taken (a lost race), unknown, throttled ...",
    ["outcome"],
)
PUT_TIMES = Histogram("flychat_put_seconds", "Time that an attempt to store a commit took", buckets=SECONDS)
MESSAGES = Histogram(
    "flychat_commit_messages", "Messages in a stored commit", buckets=(1, 2, 4, 8, 16, 32, 64)
)
READS = Counter("flychat_reads", "Readings of the store, by outcome", ["outcome"])
READ_TIMES = Histogram("flychat_read_seconds", "Time that a reading of the store took", buckets=SECONDS)


class MeasuredEngine:
    """See storage/__init__.py: the same promises, and metrics."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.shared, self.reads = engine.shared, engine.reads
        self.retention = engine.retention
        # These are not measured.
        self.rewrite, self.delete, self.everything = engine.rewrite, engine.delete, engine.everything
        self.rooms, self.expire, self.close = engine.rooms, engine.expire, engine.close

    async def put(self, commit: Commit) -> None:
        await _measured(self._engine.put(commit), PUTS, PUT_TIMES, "stored")
        MESSAGES.observe(len(commit.messages))

    def submit(self, commit: Commit, done: Callable[[StoreFailed | None], None]) -> bool:
        began = time.perf_counter()

        def measured(failure: StoreFailed | None) -> None:
            _count(PUTS, PUT_TIMES, _named(failure) if failure else "stored", began)
            if failure is None:
                MESSAGES.observe(len(commit.messages))
            done(failure)

        return self._engine.submit(commit, measured)

    async def tail(self, room: str, limit: int) -> list[Commit]:
        return await _read(self._engine.tail(room, limit))

    async def after(self, room: str, id: int, limit: int) -> list[Commit]:
        return await _read(self._engine.after(room, id, limit))

    async def before(self, room: str, id: int, limit: int) -> list[Commit]:
        return await _read(self._engine.before(room, id, limit))

    async def find(self, room: str, above: int, below: int, provisional_id: str) -> list[Commit]:
        return await _read(self._engine.find(room, above, below, provisional_id))

    async def check(self) -> None:
        await _read(self._engine.check())


def _read(call: Awaitable[T]) -> Awaitable[T]:
    return _measured(call, READS, READ_TIMES, "read")


async def _measured(call: Awaitable[T], outcomes: Counter, seconds: Histogram, success: str) -> T:
    began, outcome = time.perf_counter(), "cancelled"
    try:
        result = await call
        outcome = success
        return result
    except StoreFailed as failure:
        outcome = _named(failure)
        raise
    finally:
        _count(outcomes, seconds, outcome, began)


def _count(outcomes: Counter, seconds: Histogram, outcome: str, began: float) -> None:
    _outcome(outcomes, outcome).inc()
    seconds.observe(time.perf_counter() - began)


@cache
def _outcome(outcomes: Counter, outcome: str) -> Counter:
    return outcomes.labels(outcome)  # which looks it up for 0.6 us


def _named(failure: StoreFailed) -> str:
    return type(failure).__name__.lower()
