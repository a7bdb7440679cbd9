"""Virtual time: a loop in which a minute takes as long as what happens in it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .kernel import Selector


class VirtualLoop(asyncio.BaseEventLoop):
    """Its clock stands while anything is ready, and then jumps to the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._selector = self
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> tuple[()]:
        if timeout is None:
            raise RuntimeError("nothing will ever happen again")
        self._now += timeout
        return ()

    def _process_events(self, events: object) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def add_reader(self, selector: Selector, callback: Callable[[], None]) -> None:  # type: ignore[override]
        selector.callback = callback

    def remove_reader(self, selector: Selector) -> bool:  # type: ignore[override]
        selector.callback = None
        return True


def in_virtual_time(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A test that takes no time, whatever it sleeps; for what has no threads and no sockets."""

    @functools.wraps(test)
    def run(*arguments: object, **named: object) -> None:
        loop = VirtualLoop()
        try:
            loop.run_until_complete(test(*arguments, **named))
        finally:
            loop.close()

    return run
