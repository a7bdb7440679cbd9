"""How the log is read: equal reads in flight are one, what fails is tried again, and commits become pages.

A reading is shared only by those who asked before it began, so no answer is older than its question. The
first to ask reads, and the others wait for the result; if the first is cancelled, a task reads for them, from
the beginning.

Only `Engine.reads` readings go on at once, which keep the store busy: with more, their answers would reach
the loop in bunches, and live messages would wait behind them. The others wait for their turn without having
begun. So the longer the queue, the more requests share each reading: after a restart a room is read once or
twice. A reading that a message needs before it can be stored takes no turn: reads never starve writes.

A reading has no deadline of its own: the engine has one for the store's answer. While one has waited for
OVERLOAD_SECONDS, new ones are refused. Those that were accepted are done, unless the store stops answering.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import Any, Generic, TypeAlias, TypeVar

from ..commits import Commit
from ..errors import Overloaded, Unavailable
from ..messages import Message
from ..storage import READ_BYTES, Engine, Hole, StoreFailed, Taken, Throttled, Unknown
from ..streams import HISTORY, REPLAY, Page, replay

T = TypeVar("T")
Turns: TypeAlias = AbstractAsyncContextManager[Any]  # in which a read goes on

RETRY_SECONDS = 2.0  # for which a reading that fails is tried again
OVERLOAD_SECONDS = 15.0  # if the oldest reading has waited for longer, new ones are refused


class Shared(Generic[T]):
    """One read: its result, and how many `others` wait for that, besides the request that reads."""

    def __init__(self) -> None:
        self.result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.others = 0


class SharedReads:
    """Equal reads in flight become one: the one that begins after all of them were asked for."""

    def __init__(self) -> None:
        self._next: dict[Hashable, Shared[Any]] = {}  # not yet begun
        self._running: dict[Hashable, Shared[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # that read because the request that did was cancelled

    def __contains__(self, key: Hashable) -> bool:
        """Whether there is a read to share."""
        return key in self._next

    async def get(self, key: Hashable, read: Callable[[], Awaitable[T]], turns: Turns) -> T:
        """What `read` returns or raises. It is called once, within `turns`, for all equal requests."""
        shared: Shared[T] | None = self._next.get(key)
        if shared is not None:
            shared.others += 1
            try:
                await asyncio.wait([shared.result])  # asyncio.shield of Python 3.14 logs what nobody is told
                return shared.result.result()
            finally:
                shared.others -= 1
        shared = self._next[key] = Shared()
        try:
            await self._read(key, shared, read, turns)
        except asyncio.CancelledError:
            if shared.others:
                task = asyncio.create_task(self._read(key, shared, read, turns))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                _remove(self._next, key, shared)
                shared.result.cancel()
            raise
        return shared.result.result()

    async def _read(
        self, key: Hashable, shared: Shared[T], read: Callable[[], Awaitable[T]], turns: Turns
    ) -> None:
        """Reads, and sets the result for all who wait."""
        await asyncio.sleep(0)  # so that all who ask in the same turn of the loop share it
        if (running := self._running.get(key)) is not None:
            await asyncio.wait([running.result])
        async with turns:
            _remove(self._next, key, shared)
            self._running[key] = shared
            try:
                result = await read()
            except Exception as error:
                shared.result.set_exception(error)
                shared.result.exception()  # marks it as seen, or asyncio would log it if all have gone
            else:
                shared.result.set_result(result)
            finally:
                _remove(self._running, key, shared)


def _remove(reads: dict[Hashable, Shared[Any]], key: Hashable, shared: Shared[Any]) -> None:
    if reads.get(key) is shared:  # and not another one, which has begun meanwhile
        del reads[key]


class Reader:
    """The readings of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()  # to ask for it costs 0.5 us
        self._shared = SharedReads()
        self._turns = asyncio.Semaphore(engine.reads)
        self._positions: dict[str, list[int]] = {}  # of those who share the next reading of a room
        # Since when (loop time), oldest first. In a plain dict the first key is slow to find after deletions.
        self._under_way: OrderedDict[object, float] = OrderedDict()
        self._answered = self._mute = -math.inf  # when the store last answered; when it last did not
        self._closed = False

    def close(self) -> None:
        """Has every reading refused from now on: the engine is about to be closed."""
        self._closed = True

    async def share(self, key: Hashable, read: Callable[[], Awaitable[T]], *, at_once: bool = False) -> T:
        """What one call of `read` returns, or raises, for all who ask for `key` before it begins.

        With `at_once`, which `key` decides, it takes no turn. Raises Overloaded before anything is read.
        """
        if key not in self._shared:
            self.check_load()
        turn, asked = object(), self._loop.time()

        async def begin() -> T:
            if self._mute > asked or self._is_mute():  # else the end of a long queue would wait for minutes
                raise Unavailable("the message store does not answer")
            return await read()

        self._under_way[turn] = asked
        try:
            return await self._shared.get(key, begin, nullcontext() if at_once else self._turns)
        finally:
            del self._under_way[turn]

    async def newest(self, room: str, limit: int) -> Page:
        """The newest `limit` messages of a room. Raises Overloaded, Unavailable."""
        return await self._patient_and_shared((room, limit), lambda: self._newest(room, limit))

    async def following(self, room: str, last_id: int) -> Page:
        """What follows a position, if it can be replayed; else the newest HISTORY. Raises as `newest`."""
        key = (room, "after")
        if key not in self._shared:
            self._positions[room] = []
        positions = self._positions[room]
        positions.append(last_id)

        async def read() -> tuple[bool, Page]:
            return await self.patient(lambda: self._following(room, set(positions)))

        try:
            resets, page = await self.share(key, read)
        finally:
            if key not in self._shared:
                self._positions.pop(room, None)
        if resets or replay(page, last_id) is not None:
            return page
        return await self.newest(room, HISTORY)  # this position is beyond the log

    async def before(self, room: str, end: int, limit: int) -> list[Commit]:
        """`limit` messages below the id `end`. Raises as `newest`."""
        return await self._patient_and_shared(
            (room, end, limit), lambda: self._engine.before(room, end, limit)
        )

    async def after(self, room: str, id: int, limit: int) -> list[Commit]:
        """`limit` messages past `id`. Raises Hole, and as `newest`."""
        return await self._patient_and_shared(
            (room, "after", id, limit), lambda: self._engine.after(room, id, limit)
        )

    async def cleared_to(self, room: str, low: int, high: int) -> int:
        """Given that `low` was cleared: the last cleared id up to `high`, or an earlier one. Bisects.

        Raises as `newest`.
        """
        with suppress(Hole):
            while low < high and (commits := await self.after(room, middle := (low + high) // 2, 1)):
                if commits[-1].messages:  # it holds the id behind the middle, if that is in no hole
                    high = min(middle, commits[-1].first - 1)
                else:
                    low = commits[-1].last
        return low

    def _is_mute(self) -> bool:
        """Whether the store did not answer just now: who has waited in front of us asks when others know."""
        return self._answered < self._mute and self._loop.time() - self._mute < RETRY_SECONDS / 4

    def check_load(self) -> None:
        """Raises Overloaded while a reading has waited for its turn for too long."""
        oldest = next(iter(self._under_way.values()), math.inf)
        if self._loop.time() - oldest > OVERLOAD_SECONDS:
            raise Overloaded

    async def patient(self, read: Callable[[], Awaitable[T]]) -> T:
        """The result of `read`, which is tried again for RETRY_SECONDS while it fails. Raises Hole, Broken.

        Raises Unavailable after that. To try again is safe, and a connection may just have been stale.
        """
        loop = self._loop
        pause, failed = 0.0, 0.0
        while True:
            self._check_open()
            began = loop.time()
            try:
                result = await read()
            except (Unknown, Throttled) as error:
                failed = failed or began
                if loop.time() - failed >= RETRY_SECONDS:
                    if self._answered < failed:
                        self._mute = loop.time()
                    raise Unavailable("the message store is slow") from error
            except RuntimeError:  # of an engine that was closed between two steps of the reading, if we are
                self._check_open()
                raise
            else:
                self._answered = loop.time()
                return result
            await asyncio.sleep(pause)
            pause = min(0.5, max(0.02, 2 * pause))

    async def _patient_and_shared(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        return await self.share(key, lambda: self.patient(read))

    async def _newest(self, room: str, limit: int) -> Page:
        self._check_open()  # it may be the second step of a reading
        return page_of(await self._engine.tail(room, limit), limit)

    async def _following(self, room: str, positions: set[int]) -> tuple[bool, Page]:
        """What follows the lowest of these; else the newest, enough for each that can be replayed.

        Says whether a position that cannot be replayed from this is to be reset with it.
        """
        lowest = min(positions)
        with suppress(Hole):  # what comes after it cannot be replayed
            page = page_of(await self._engine.after(room, lowest, REPLAY + 1))
            if replay(page, lowest) is not None:
                return False, page
        return True, await self._newest(room, HISTORY if len(positions) == 1 else REPLAY + 1)

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the message log is closed")


async def available(work: Awaitable[T]) -> T:
    """What a call of the store returns. Raises Taken as it is, and any other StoreFailed as Unavailable."""
    try:
        return await work
    except (Taken, Unavailable):
        raise
    except StoreFailed as error:
        raise Unavailable(str(error)) from error


def page_of(commits: list[Commit], limit: int = 0) -> Page:
    return Page(messages_of(commits)[-limit:], commits[-1].last if commits else 0)


def messages_of(commits: Iterable[Commit]) -> tuple[Message, ...]:
    """The messages since the room was last cleared: contiguous, as the commits are."""
    messages: list[Message] = []
    for commit in commits:
        if not commit.messages:
            messages.clear()
        messages.extend(commit.messages)
    # The store may still have what an entry here removes: it is written first (removal.py).
    removals = removed_by(messages)
    return tuple(buried(messages, removals) if removals else messages)


def removed_by(messages: Iterable[Message]) -> dict[int, Message]:
    """The removals among the messages, by the id of each message they removed; one that erases wins."""
    removals = sorted((message for message in messages if message.removes), key=lambda each: each.erases)
    return {id: removal for removal in removals for id in removal.removes}


def buried(messages: Iterable[Message], removals: Mapping[int, Message]) -> list[Message]:
    """The messages; those that are in `removals` (by id) as their tombstones."""
    return [m.tombstone(removals[m.id]) if m.id in removals else m for m in messages]


def is_full(commits: list[Commit], limit: int) -> bool:
    """Whether a reading of `limit` messages may have ended before the log did."""
    return sum(commit.ids for commit in commits) >= limit or sum(c.size for c in commits) >= READ_BYTES
