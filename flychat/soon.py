"""Calls that are due in the next turn of the loop: one handle for all of them.

The loop makes a handle for each of its own, with a copy of the context: 2 us in all. A message to a small
room takes 100, and has two of these calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LATE = 0.004  # seconds: then turns are long, as after a restart


class Soon:
    """Makes calls in their order; one that raises is told of as the loop would.

    If they are `late`, nobody who is called is to wait for more.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._late_from, self.late = 0.0, False
        self._calls: list[Callable[[], None]] = []

    def __call__(self, call: Callable[[], None]) -> None:
        if not self._calls:
            self._late_from = self._loop.time() + LATE
            self._loop.call_soon(self._all)
        self._calls.append(call)

    def _all(self) -> None:
        self.late = self._loop.time() > self._late_from
        calls, self._calls = self._calls, []
        for call in calls:
            try:
                call()
            except Exception as error:
                self._loop.call_exception_handler({"message": f"{call} failed", "exception": error})
