"""Calls that are due in a turn of the loop to come: one handle for all of them.

The loop makes a handle for each of its own, with a copy of the context: 2 us in all. A message to a small
room takes 100, and has two of these calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Soon:
    """Makes calls in their order, `turns` from the first; one that raises is told of as the loop would."""

    def __init__(self, loop: asyncio.AbstractEventLoop, turns: int = 1) -> None:
        self._loop, self._turns = loop, turns
        self._calls: list[Callable[[], None]] = []

    def __call__(self, call: Callable[[], None]) -> None:
        if not self._calls:
            self._loop.call_soon(self._wait, self._turns - 1)
        self._calls.append(call)

    def _wait(self, turns: int) -> None:
        if turns:
            self._loop.call_soon(self._wait, turns - 1)
            return
        calls, self._calls = self._calls, []
        for call in calls:
            try:
                call()
            except Exception as error:
                self._loop.call_exception_handler({"message": f"{call} failed", "exception": error})
