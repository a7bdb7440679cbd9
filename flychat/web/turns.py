"""Turns: what is done a little at a time, of all clients who wait for it one after the other.

So whoever asks for much, over however many connections, keeps waiting nobody but those at the same address.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from .visitor import client_of

SECONDS = 0.01
MOST = 12

T = TypeVar("T")


class Fair(Generic[T]):
    """A queue in which each address has one turn after the other, however many of its own wait."""

    def __init__(self) -> None:
        # Whose turn is next first: in a dict it would be behind all that have gone meanwhile.
        self._of: OrderedDict[str, deque[T]] = OrderedDict()
        self._count = 0

    def append(self, address: str, item: T) -> None:
        self._of.setdefault(client_of(address), deque()).append(item)
        self._count += 1

    def popleft(self) -> T:
        address = next(iter(self._of))
        items = self._of.pop(address)
        item = items.popleft()
        if items:
            self._of[address] = items
        self._count -= 1
        return item

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        for items in self._of.values():
            yield from items


class Turns:
    """Lets work begin, in each turn of the event loop about as much as can be done in SECONDS."""

    def __init__(self) -> None:
        self._most = MOST  # that may begin in this turn
        self._begun = 0
        self._since = 0.0
        self._waiting: Fair[Callable[[], None]] = Fair()
        self._loop = asyncio.get_running_loop()

    def take(self) -> bool:
        """Whether more may begin in this turn: then it is counted."""
        if self._begun >= self._most:
            return False
        if not self._begun:
            self._since = self._loop.time()
            self._loop.call_soon(self._next)
        self._begun += 1
        return True

    def wait(self, address: str, work: Callable[[], None]) -> None:
        """Begins now, or when its turn has come."""
        if self.take():
            work()
        else:
            self._waiting.append(address, work)

    def _next(self) -> None:
        late = self._loop.time() - self._since > SECONDS
        self._most = max(1, self._most // 2) if late else min(MOST, self._most + 1)
        self._begun = 0
        while self._waiting and self.take():
            self._waiting.popleft()()

    def end(self) -> None:
        """Nothing waits any longer."""
        while self._waiting:
            self._waiting.popleft()()
