"""A test that times out says where it waited, and for how long its loop stood still.

Otherwise only the number of seconds is known. A loop that stood still for most of them was not given the
processor, or its process was stopped: then the time-out says nothing about what is tested.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tornado.ioloop import IOLoop

TICK = 0.25  # seconds between two looks at the clock
SHARE = 0.98  # of its time, after which it is looked where a test waits


def watch(io_loop: IOLoop) -> None:
    """Adds that, as a note, to the TimeoutErrors of `run_sync`."""
    run_sync = io_loop.run_sync

    def watched(function: Callable[[], Any], timeout: float | None = None) -> Any:
        if timeout is None:
            return run_sync(function)
        watch = Watch(io_loop.asyncio_loop, timeout)
        try:
            return run_sync(function, timeout)
        except TimeoutError as error:
            error.add_note(watch.told())
            raise
        finally:
            watch.end()

    io_loop.run_sync = watched


class Watch:
    """Of one run of a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        self._loop, self._still, self._places = loop, 0.0, ""
        self._looking = loop.call_later(SHARE * timeout, self._look)
        self._seen = loop.time()
        self._ticking = loop.call_soon(self._tick)

    def told(self) -> str:
        return f"The loop stood still for {self._still:.1f} s at the most. It waited at: {self._places}"

    def end(self) -> None:
        self._looking.cancel()
        self._ticking.cancel()

    def _tick(self) -> None:
        now = self._loop.time()
        self._still, self._seen = max(self._still, now - self._seen), now
        self._ticking = self._loop.call_later(TICK, self._tick)

    def _look(self) -> None:
        self._still = max(self._still, self._loop.time() - self._seen)
        self._places = "; ".join(sorted(place(task.get_coro()) for task in asyncio.all_tasks(self._loop)))


def place(coroutine: Any) -> str:
    """Where it is suspended: from the outside to the inside."""
    lines = []
    while coroutine is not None:
        if (frame := getattr(coroutine, "cr_frame", None)) is not None:
            file = Path(frame.f_code.co_filename).name
            lines.append(f"{file}:{frame.f_lineno} {frame.f_code.co_name}")
        coroutine = getattr(coroutine, "cr_await", None)
    return " > ".join(lines)
