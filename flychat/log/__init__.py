"""The message log: one writer per room, group commit, and the pages and plans that readers get.

Writing. All drafts of a room pass through its writer, a task of its own, with at most one put in flight.
It puts every waiting draft as one commit at tail + 1. Why nothing is lost or doubled and no id skipped:

1. The tail is only ever the end of a commit that was read or written, so places are tried in order.
2. A put is conditional on its place, so exactly one commit wins each place.
3. A draft is answered only when its message is in the window, that is in the log.
4. Before every attempt, drafts whose key is in the window are answered from there. A put with an unknown
   outcome is tried again at the same place: had it been applied, it comes back as the winner of the
   place, and by this rule its drafts are found in it. So being told nothing is the same as losing.
5. After the deadline the drafts are given up (503), the window is forgotten, and the log is read again:
   if they are in it after all, the commit is published then. The client may send again at any time.

Exactly-once holds within the window: a draft that is sent again later is a new message.

Reading. Where the process is alone in holding the streams (`memory`), readers are served from the window.
Else every read goes to the engine, and equal ones are shared; a read is shared only by those who asked
before it began, so nobody is given an answer that is older than the question.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar

from ..errors import (
    Broken,
    Conflict,
    FlychatError,
    Hole,
    Rejected,
    StoreFailed,
    Taken,
    Throttled,
    Unavailable,
    Unknown,
)
from ..messages import COMMIT_BYTES, COMMIT_MESSAGES, Commit, Draft, Key, Message, payload_item
from ..storage import Engine
from ..streams import HISTORY, REPLAY, Page, StreamPlan, StreamRequest, plan_stream, replay
from .reading import SharedReads, messages_of, page_of
from .window import Window

__all__ = ["MessageLog", "SharedReads", "Window"]

T = TypeVar("T")
logger = logging.getLogger(__name__)

DEDUPE = 256  # messages of a window that only the writer uses
PUT_SECONDS = 3.0  # for one attempt, whatever the engine's own time-outs are
READ_SECONDS = 2.0  # a slower reading is a 503: the proxy, or the client, asks again
DEADLINE = 10.0  # seconds that a draft is tried
CATCH_UP_EVERY = 4  # lost races: who reads the log each time is late for the next race, and loses it too
CONTENDED = 1.0  # seconds after a lost race during which a winner lets others go first
LOOK_SECONDS = 15.0  # a window that others may write behind is served without a look: longer than a hub's
ROOMS = 2000  # rooms kept in memory
TAIL_SECONDS = 3600.0  # a tail is used without looking: the log may have been replaced
IDLE = 600.0  # seconds until an unused room leaves memory


class _Room:
    """What is known of an active room: its window (None: unknown), and its writer with what waits."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.window: Window | None = None
        self.waiting: list[_Waiter] = []
        self.doubtful: set[Key] = set()  # given up, but perhaps in the log
        self.writer: asyncio.Task[None] | None = None
        self.used = 0.0
        self.known = 0.0  # when the window was last known to end where the log does, loop time
        self.looked = 0.0  # when a reader last had that looked at in vain

    def awaited(self) -> set[Key]:
        """The keys of this process's drafts that are, or may be, on their way into the log."""
        return {waiter.draft.key for waiter in self.waiting} | self.doubtful


class _Waiter:
    """A draft on its way, since when (loop time), and the future that its POST awaits."""

    __slots__ = ("draft", "future", "since")

    def __init__(self, draft: Draft) -> None:
        loop = asyncio.get_running_loop()
        self.draft, self.since = draft, loop.time()
        self.future: asyncio.Future[Message] = loop.create_future()

    def answer(self, message: Message) -> None:
        if not self.future.done():  # the one who asked may have gone
            self.future.set_result(message)

    def refuse(self, error: FlychatError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class MessageLog:
    """The logs of all rooms, over one engine.

    `memory` says that readers are served from memory; `committed` is called with every commit that this
    process wrote, or found its drafts in, in the order of their ids.
    """

    def __init__(self, engine: Engine, *, memory: bool, rng: random.Random | None = None) -> None:
        self.committed: Callable[[Commit], None] = lambda commit: None
        self._engine = engine
        self._memory = memory
        self._limit = REPLAY if memory else DEDUPE
        self._rng = rng or random.Random()
        self._process = secrets.token_hex(4)
        self._puts = 0
        self._closing = self._closed = False
        self._rooms: OrderedDict[str, _Room] = OrderedDict()
        self._reads = SharedReads()

    # Writing

    def recall(self, draft: Draft) -> Message | None:
        """The message, if this very draft is known to be in the log. Raises Conflict."""
        room = self._rooms.get(draft.room)
        return room.window.find(draft) if room and room.window else None

    async def commit(self, draft: Draft) -> Message:
        """The draft as a message of the log. Raises Conflict, Unavailable (perhaps stored) or Rejected."""
        if self._closing:  # the engine may be closed already
            raise Unavailable("this process is ending")
        room = self._room(draft.room)
        waiter = _Waiter(draft)
        room.waiting.append(waiter)
        if room.writer is None:
            # A put whose task is cancelled is applied all the same, so it never runs in a handler's task.
            room.writer = asyncio.create_task(self._write(room))
        return await waiter.future

    async def _write(self, room: _Room) -> None:
        """The writer: runs while something waits."""
        loop = asyncio.get_running_loop()
        pause, losses, contended, behind, most = 0.0, 0, -CONTENDED, False, COMMIT_MESSAGES
        try:
            while room.waiting or (room.doubtful and not self._closing):
                drafts: list[Draft] = []
                began = loop.time()
                late = [waiter for waiter in room.waiting if began - waiter.since > DEADLINE]
                if pause:  # what became of the last put may be unknown
                    self._give_up(room, late)
                elif late:
                    self._drop(room, late, Unavailable("too many messages are waiting for the store"))
                try:
                    window = await self._warm(room)
                    if behind or began - room.known > TAIL_SECONDS:
                        await self._catch_up(room)
                        behind = False
                        continue
                    self._settle(room)
                    drafts = _batch(room.waiting, most)
                    if drafts:
                        await self._put(room, window.tail + 1, drafts)
                except Taken as taken:
                    losses, contended = losses + 1, loop.time()
                    behind = taken.winner is None or losses % CATCH_UP_EVERY == 2
                    if taken.winner is not None:
                        self._learn(room, [taken.winner])
                except Rejected as error:
                    most = max(1, len(drafts) // 2)
                    if len(drafts) == 1:
                        self._drop(room, [w for w in room.waiting if w.draft.key == drafts[0].key], error)
                except Broken as error:
                    logger.error("the message store fails: %s", error)
                    self._give_up(room, room.waiting)
                    await asyncio.sleep(1.0)
                except (Unknown, Throttled, Unavailable) as error:
                    if not pause:
                        logger.warning("the message store does not answer: %s", error or type(error).__name__)
                    if isinstance(error, Throttled):
                        pause = max(pause, 0.05)
                    await asyncio.sleep(self._rng.uniform(pause / 2, pause))  # at first 0: a stale connection
                    pause = min(1.0, max(0.02, 2 * pause))
                else:
                    pause, losses, most = 0.0, 0, COMMIT_MESSAGES
                    if drafts and loop.time() - contended < CONTENDED:
                        await asyncio.sleep(self._rng.uniform(0, loop.time() - began))
        finally:
            room.writer = None
            self._drop(room, room.waiting, Unavailable())  # there are some only if the task was cancelled

    async def _put(self, room: _Room, place: int, drafts: list[Draft]) -> None:
        self._puts += 1
        commit = Commit.of(place, drafts, f"{self._process}-{self._puts}")
        try:
            async with asyncio.timeout(PUT_SECONDS):
                await self._engine.put(commit)
        except TimeoutError:
            raise Unknown("no answer in time") from None
        room.known = asyncio.get_running_loop().time()
        self._learn(room, [commit], own=True)

    async def _catch_up(self, room: _Room) -> None:
        """Takes in what the log has beyond the window; forgets a window that it no longer continues."""
        window = room.window
        if window is None:
            return
        tail = window.tail
        try:
            commits = await self._read(lambda: self._engine.after(room.name, tail, REPLAY + 1))
        except Hole:
            room.window = None
            return
        if (commits[0].first > tail + 1) if commits else (tail > 0):
            room.window = None
        self._learn(room, commits)
        room.known = asyncio.get_running_loop().time()

    def _learn(self, room: _Room, commits: list[Commit], *, own: bool = False) -> None:
        """Folds commits of the log in, answers the drafts that are in them, and has those published."""
        if room.window is None:
            return
        mine = room.awaited()
        for commit in commits:
            if room.window.fold(commit):
                self._announce(commit, own, mine)
        self._settle(room)

    def _announce(self, commit: Commit, own: bool, mine: set[Key]) -> None:
        if own or any(message.key in mine for message in commit.messages):
            self.committed(commit)

    def _settle(self, room: _Room) -> None:
        """Answers every waiting draft whose message is in the window."""
        assert room.window is not None
        waiting = []
        for waiter in room.waiting:
            try:
                message = room.window.find(waiter.draft)
            except Conflict as conflict:
                waiter.refuse(conflict)
            else:
                if message is None:
                    waiting.append(waiter)
                else:
                    waiter.answer(message)
        room.waiting = waiting

    def _give_up(self, room: _Room, late: list[_Waiter]) -> None:
        if late:
            room.doubtful |= {waiter.draft.key for waiter in late}
            room.window = None
            self._drop(room, late, Unavailable("the message store does not answer"))

    def _drop(self, room: _Room, waiters: list[_Waiter], error: FlychatError) -> None:
        gone = set(waiters)
        room.waiting = [waiter for waiter in room.waiting if waiter not in gone]
        for waiter in waiters:
            waiter.refuse(error)

    async def _warm(self, room: _Room) -> Window:
        """The room's window, read from the log if it is not known."""
        while room.window is None:
            await self._reads.get(room, lambda: self._load(room))
        return room.window

    async def _load(self, room: _Room) -> None:
        commits = await self._read(lambda: self._engine.tail(room.name, self._limit))
        if room.window is None:  # else another reading was faster, and may have gone on from there
            room.window = Window(commits, self._limit)
            room.known = asyncio.get_running_loop().time()
            mine = room.awaited()
            room.doubtful = set()
            for commit in commits:
                self._announce(commit, False, mine)

    # Reading

    async def page(self, name: str, before: int | None = None, limit: int = HISTORY) -> Page:
        """The newest `limit` messages, or the newest before an id. Raises Unavailable."""
        if self._memory:
            window = await self._current(name)
            page = window.page(window.tail if before is None else before - 1, limit)
            if page is not None:
                return page
            tail = window.tail
        elif before is None:
            return await self._shared((name, limit), lambda: self._newest(name, limit))
        else:
            tail = (await self._shared((name, 1), lambda: self._newest(name, 1))).last_id
        end = tail + 1 if before is None else before
        commits = await self._shared((name, end, limit), lambda: self._engine.before(name, end, limit))
        return Page(tuple(m for m in messages_of(commits) if m.id < end)[-limit:], tail)

    async def plan(self, request: StreamRequest) -> StreamPlan:
        """How to open or mend the stream that is asked for. Raises Unavailable."""
        name, last_id = request.room, request.last_id
        if self._memory:
            window = await self._current(name)
            if last_id is not None and last_id > window.tail and self._engine.shared:
                await self.refresh(name)
                window = await self._warm(self._room(name))  # another log only if no other process went on
            return window.plan(request)
        if last_id is None:
            page = await self._shared((name, HISTORY), lambda: self._newest(name, HISTORY))
        else:
            page = await self._shared((name, "after", last_id), lambda: self._following(name, last_id))
        return plan_stream(request, page)

    def plan_at_once(self, request: StreamRequest) -> StreamPlan | None:
        """The same, if it takes neither reading nor waiting."""
        room = self._rooms.get(request.room)
        if room is None or room.window is None or not self._memory or self._unsure(room):
            return None
        if request.last_id is not None and request.last_id > room.window.tail:
            return None
        self._room(request.room)  # it is in use
        return room.window.plan(request)

    async def _current(self, name: str) -> Window:
        """The window of a room that is read: others may have written behind it, if it was not looked at."""
        room = self._room(name)
        window = await self._warm(room)
        if not self._unsure(room):
            return window
        try:
            await self.refresh(name)
        except Unavailable:  # what is known is better than nothing, and not everybody is to wait for it
            room.looked = asyncio.get_running_loop().time()
        return await self._warm(room)

    def _unsure(self, room: _Room) -> bool:
        looked = max(room.known, room.looked)
        return self._engine.shared and asyncio.get_running_loop().time() - looked > LOOK_SECONDS

    async def refresh(self, name: str) -> None:
        """Looks into the store for what other processes wrote, all of it; only of use with `memory`."""
        await self._reads.get((name, "look"), lambda: self._look(name))

    async def _look(self, name: str) -> None:
        room = self._rooms.get(name)
        while room is not None and (window := room.window) is not None:
            tail = window.tail
            await self._catch_up(room)
            if window.tail - tail <= REPLAY:
                break

    async def expire(self, before: str) -> None:
        """Has what is older than a date deleted, also from memory. Raises Unavailable."""
        try:
            await self._engine.expire(before)
        except StoreFailed as error:
            raise Unavailable(str(error)) from error
        for room in self._rooms.values():
            if room.writer is None:
                room.window = None

    async def check(self) -> None:
        """One round trip. Raises Unavailable if the store does not answer."""
        await self._read(self._engine.check)

    async def close(self, seconds: float = DEADLINE) -> None:
        """Lets the writers end, at most `seconds`; then refuses what waits, and closes the engine."""
        if self._closing:
            return
        self._closing = True
        writers = [room.writer for room in self._rooms.values() if room.writer is not None]
        if writers:
            _, late = await asyncio.wait(writers, timeout=seconds)
            for writer in late:
                writer.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._closed = True
        await self._engine.close()

    async def _newest(self, name: str, limit: int) -> Page:
        self._check_open()  # it may be the second step of a reading
        return page_of(await self._engine.tail(name, limit), limit)

    async def _following(self, name: str, last_id: int) -> Page:
        try:
            page = page_of(await self._engine.after(name, last_id, REPLAY + 1))
        except Hole:  # what comes after it cannot be replayed
            return await self._newest(name, HISTORY)
        return page if replay(page, last_id) is not None else await self._newest(name, HISTORY)

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the message log is closed")

    async def _shared(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await self._reads.get(key, lambda: self._read(read))
        except TimeoutError:
            raise Unavailable("the message store is slow") from None

    async def _read(self, read: Callable[[], Awaitable[T]]) -> T:
        """A read is tried until the time is over: it changes nothing, and a connection may be stale."""
        pause = 0.0
        try:
            async with asyncio.timeout(READ_SECONDS):
                while True:
                    self._check_open()
                    try:
                        return await read()
                    except (Unknown, Throttled):
                        await asyncio.sleep(pause)
                        pause = min(0.5, max(0.02, 2 * pause))
        except TimeoutError:
            raise Unavailable("the message store is slow") from None

    def _room(self, name: str) -> _Room:
        """The room, marked as used; rooms that are in nobody's use leave, the longest unused first."""
        now = asyncio.get_running_loop().time()
        room = self._rooms.get(name)
        if room is None:
            room = self._rooms[name] = _Room(name)
        room.used = now
        self._rooms.move_to_end(name)
        while (oldest := next(iter(self._rooms.values()))) is not room:
            if oldest.writer is not None:
                self._rooms.move_to_end(oldest.name)
            elif len(self._rooms) > ROOMS or now - oldest.used > IDLE:
                del self._rooms[oldest.name]
            else:
                break
        return room


def _batch(waiting: list[_Waiter], most: int) -> list[Draft]:
    """The drafts of the next commit: each key once, within the limits of a commit."""
    drafts: dict[Key, Draft] = {}
    size = 1
    for waiter in waiting:
        draft = waiter.draft
        if draft.key in drafts:
            continue
        size += len(payload_item(draft).encode()) + 1
        if drafts and (len(drafts) == most or size > COMMIT_BYTES):
            break
        drafts[draft.key] = draft
    return list(drafts.values())
