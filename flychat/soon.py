"""Calls that are due in the next turn of the event loop, as one callback of the loop.

`call_soon` makes a handle for each call, with a copy of the context: 2 us. A message to a small room takes
100 us in all, and makes two of these calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LATE = 0.004  # seconds until the next turn: if it takes longer, turns are long, as after a restart


class Soon:
    """Makes calls in their order; an exception in one goes to the loop's exception handler.

    `late`: this turn came after more than LATE seconds, so a call should not put off its work again.
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
