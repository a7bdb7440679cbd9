"""Calls to a store that is far away: a bounded number at once, in order, each with a deadline for its answer.

A missed deadline means that the store is dead. So it counts from when a call begins, not while the call waits
for its turn. And it is counted in TICKS timers, one after the other: if the loop is busy for a while, that
counts as one tick, and an answer that has arrived meanwhile is still read in time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from . import Unknown

T = TypeVar("T")

TICKS = 20


@asynccontextmanager
async def answered_within(seconds: float) -> AsyncIterator[None]:
    """Like asyncio.timeout, but a time in which the loop is busy counts as one tick, however long it is."""
    loop = asyncio.get_running_loop()
    timer: asyncio.Handle

    def tick(left: int) -> None:
        nonlocal timer
        if left:
            timer = loop.call_later(seconds / TICKS, tick, left - 1)
        else:
            timeout.reschedule(loop.time())

    timer = loop.call_soon(tick, TICKS)
    async with asyncio.timeout(None) as timeout:
        try:
            yield
        finally:
            timer.cancel()


class Calls:
    """Lets `most` calls go on at once. Each raises Unknown if it is not answered within `seconds`."""

    def __init__(self, most: int, seconds: float) -> None:
        self._free = asyncio.Semaphore(most)
        self._seconds = seconds
        self._answered = self._silent = float("-inf")  # when it last did answer, and was last taken for dead

    async def call(self, call: Callable[[], Awaitable[T]]) -> T:
        loop = asyncio.get_running_loop()
        asked = loop.time()
        async with self._free:
            if self._silent > asked:  # else the end of a long queue would wait for hours
                raise Unknown("no answer to the calls before this one")
            began = loop.time()
            try:
                async with answered_within(self._seconds):
                    answer = await call()
            except TimeoutError:
                if self._answered < began:
                    self._silent = loop.time()
                raise Unknown("no answer in time") from None
            self._answered = loop.time()
            return answer
