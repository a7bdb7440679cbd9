"""Turns: work that is done a little at a time, for each client address in turn.

So a client that asks for much, over however many connections, delays only clients of the same address.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from .visitor import client_of

SECONDS = 0.01  # of work that may begin in one turn of the loop, about
MOST = 12  # pieces of work in one turn
FREE = 256  # pieces in one turn that turn out to be for nobody: as many connections are accepted
READINGS = 128  # of rooms at once: more than any store does at once; 128 take an SQLite file 10 ms
FEW = 64  # items of a queue that are served in their order: to look at addresses would take longer

T = TypeVar("T")


class Fair(Generic[T]):
    """A queue that serves one item of each address in turn, however many an address has in it."""

    def __init__(self) -> None:
        # The next address first. In a plain dict the first key is slow to find after deletions.
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

    def of(self, address: str) -> int:
        """How many wait of an address."""
        return len(self._of.get(client_of(address), ()))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        for items in self._of.values():
            yield from items


class Queue(Generic[T]):
    """A queue that is fair when it is long: FEW items come before the others, whatever their address."""

    def __init__(self) -> None:
        self._few: deque[T] = deque()
        self._others: Fair[T] = Fair()

    def append(self, address: str, item: T) -> None:
        if len(self._few) < FEW and not self._others:  # else it would be before those that wait
            self._few.append(item)
        else:
            self._others.append(address, item)

    def popleft(self) -> T:
        return self._few.popleft() if self._few else self._others.popleft()

    def __len__(self) -> int:
        return len(self._few) + len(self._others)


class Turns:
    """Lets work begin: in each turn of the event loop as much as takes SECONDS, about."""

    def __init__(self) -> None:
        self._most = MOST  # that may begin in this turn
        self._begun = 0
        self._since = 0.0
        self._waiting: Fair[Callable[[], object]] = Fair()
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

    def wait(self, address: str, work: Callable[[], object]) -> None:
        """Calls `work` now, or when its turn has come. False from it says that there was nothing to do."""
        if self.take():
            work()
        else:
            self._waiting.append(address, work)

    def waiting(self, address: str) -> int:
        """How many wait of an address."""
        return self._waiting.of(address)

    def _next(self) -> None:
        late = self._loop.time() - self._since > SECONDS
        self._most = max(1, self._most // 2) if late else min(MOST, self._most + 1)
        self._begun, free = 0, FREE
        while self._waiting and self.take():
            idle = self._waiting.popleft()() is False
            if idle and free and self._begun > 1:  # at 1 the next turn is scheduled
                self._begun, free = self._begun - 1, free - 1

    def end(self) -> None:
        """Calls all that waits, since the server ends."""
        while self._waiting:
            self._waiting.popleft()()


class Places:
    """Lets `most` pieces of work be under way; the others wait for their place, each address in turn."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: Fair[Callable[[], object]] = Fair()

    def wait(self, address: str, work: Callable[[], object]) -> None:
        """Calls `work` now, or when it has a place, which it gives back: at once, if it returns False."""
        if not self._free:
            self._waiting.append(address, work)
            return
        self._free -= 1
        if work() is False:
            self.give_back()

    def give_back(self) -> None:
        while self._waiting:
            if self._waiting.popleft()() is not False:
                return
        self._free += 1

    @asynccontextmanager
    async def one(self, address: str) -> AsyncIterator[None]:
        """Waits for a place, and gives it back."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # If it is done, the client has gone.
        self.wait(address, lambda: False if place.done() else place.set_result(None))
        try:
            await place
            yield
        finally:
            if not place.cancelled():  # the work may be cancelled in the turn in which it was given
                self.give_back()
