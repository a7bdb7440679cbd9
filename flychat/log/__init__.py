"""The message log: one writer per room, group commit, and the pages and plans that readers get.

Writing. All drafts of a room pass through its writer, a task of its own, with at most one put in flight.
It puts every waiting draft as one commit at tail + 1. Why nothing is lost or doubled and no id skipped:

1. The tail is only ever the end of a commit that was read or written, so places are tried in order.
2. A put is conditional on its place, so exactly one commit wins each place.
3. A draft is answered only when its message is in the window, that is in the log.
4. Before every attempt, drafts whose key is in the window are answered from there. A put with an unknown
   outcome is tried again at the same place: had it been applied, it comes back as the winner of the
   place, and by this rule its drafts are found in it. So being told nothing is the same as losing.
   Where the keys in the window do not reach back to when a draft was first sent, the log is searched.
5. After the deadline the drafts are given up (503), the window is forgotten, and the log is read again:
   if they are in it after all, the commit is published then. The client may send again at any time.

So a draft is stored exactly once, however late and often it is sent, if it carries the position of its author
when it was first sent (`Draft.since`): it is put only where it is known not to be in the log from there on.
Without a position that is known for the newest 256 messages, and for 2 minutes.

Reading. Where the process is alone in holding the streams (`memory`) and in writing to the store, readers
are served from the window. Else every read goes to the engine, and equal ones are shared; a read is shared
only by those who asked before it began, so nobody is given an answer that is older than the question. A
reading has no deadline of its own: the engine has one for the store's answer. How long reads wait for each
other is bounded as well: while one has waited for OVERLOAD_SECONDS, no other is begun.

Memory. Windows are bounded in bytes, all together; the least recently used leaves first, and is read again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import replace
from typing import TypeAlias, TypeVar

from ..errors import (
    Broken,
    Conflict,
    FlychatError,
    Hole,
    Overloaded,
    Rejected,
    StoreFailed,
    Taken,
    Throttled,
    TooOld,
    Unavailable,
    Unknown,
)
from ..logs import Seldom
from ..messages import COMMIT_BYTES, COMMIT_MESSAGES, Commit, Draft, Key, Message, payload_item
from ..storage import READ_BYTES, Engine
from ..streams import HISTORY, REPLAY, Page, StreamPlan, StreamRequest, fitting, plan_stream, replay
from .reading import SharedReads, messages_of, page_of
from .window import KEYS, Window, same_text

__all__ = ["MessageLog", "SharedReads", "Window"]

T = TypeVar("T")
logger = logging.getLogger(__name__)

FIRST = HISTORY + 10  # messages that are read of a room at first
LOOK_BACK = 100_000  # messages in which a draft that is sent again is looked for
LOOKING = 2  # searches of the log at once: they are the most that one request can cause
PAGE_BYTES = 1 << 18  # of the messages on one page of the past, as on a stream
READ_SECONDS = 2.0  # for which a reading that fails is tried again
OVERLOAD_SECONDS = 5.0  # that the oldest reading may have waited when another one is begun
MEMORY = 256 << 20  # bytes of all windows
DEADLINE = 10.0  # seconds that a draft is tried
CATCH_UP_EVERY = 4  # lost races: who reads the log each time is late for the next race, and loses it too
CONTENDED = 1.0  # seconds after a lost race during which a winner lets others go first
ROOMS = 2000  # rooms kept in memory
TAIL_SECONDS = 3600.0  # a tail is used without looking: the log may have been replaced
IDLE = 600.0  # seconds until an unused room leaves memory


Searched: TypeAlias = Callable[[int], None]


def not_told(ids: int) -> None:
    """Nobody counts what is searched."""


class _Room:
    """What is known of an active room: its window (None: unknown), and its writer with what waits."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.window: Window | None = None
        self.waiting: list[_Waiter] = []
        self.looking: set[_Waiter] = set()  # for which the log is being searched
        self.doubtful: set[Key] = set()  # given up, but perhaps in the log
        self.writer: asyncio.Task[None] | None = None
        self.used = 0.0
        self.bytes = 0  # of the window, as last counted
        self.known = (0.0, 0.0)  # when the window was last known to be up to date: loop time, wall time

    def awaited(self) -> set[Key]:
        """The keys of this process's drafts that are, or may be, on their way into the log."""
        return {waiter.draft.key for waiter in [*self.waiting, *self.looking]} | self.doubtful

    def busy(self) -> bool:
        return self.writer is not None or bool(self.looking)


class _Waiter:
    """A draft on its way, since when (loop time), and the future that its POST awaits.

    It is known not to be in the log from `since`, when it was first sent, up to `seen`.
    """

    __slots__ = ("began", "draft", "future", "searched", "seen")

    def __init__(self, draft: Draft, searched: Searched) -> None:
        loop = asyncio.get_running_loop()
        self.draft, self.began = draft, loop.time()
        self.searched = searched
        self.seen = draft.since
        self.future: asyncio.Future[Message] = loop.create_future()

    def answer(self, message: Message) -> None:
        if not self.future.done():  # the one who asked may have gone
            self.future.set_result(message)

    def refuse(self, error: FlychatError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class MessageLog:
    """The logs of all rooms, over one engine.

    `memory` says that no other process holds streams: readers are then served from memory, if the store is
    not shared with other writers either. `committed` is called with every commit that this process wrote,
    or found its drafts in, in the order of their ids.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        memory: bool,
        most_bytes: int = MEMORY,
        rng: random.Random | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`most_bytes` of memory, about, are used for all rooms; `now` is the wall clock."""
        self.committed: Callable[[Commit], None] = lambda commit: None
        self._engine = engine
        self._memory = memory and not engine.shared
        self._limit = REPLAY if self._memory else FIRST
        self._most_bytes = most_bytes
        self._bytes = 0
        self._now = now
        self._rng = rng or random.Random()
        self._process = secrets.token_hex(4)
        self._puts = 0
        self._closing = self._closed = False
        self._rooms: OrderedDict[str, _Room] = OrderedDict()
        self._reads = SharedReads()
        self._reading: dict[object, float] = {}  # readings under way, since when (loop time), oldest first
        self._searches = asyncio.Semaphore(LOOKING)
        self._failing, self._mute = Seldom(logger, logging.ERROR), Seldom(logger)
        self._tasks: set[asyncio.Task[None]] = set()

    # Writing

    async def recall(self, draft: Draft, searched: Searched = not_told) -> Message | Draft:
        """The message, if this very draft is in the log already; else the draft, to be committed.

        Takes no reading, unless the draft was first sent long ago: then its `since` has moved on, up to where
        the log was searched. A room that is not in memory is not searched here. `searched` is told how many
        ids the store is asked for. Raises as `commit` does.
        """
        room = self._rooms.get(draft.room)
        if room is None or room.window is None:
            self._check_load()
            return draft
        found = room.window.find(draft)
        if isinstance(found, Message):
            return found
        if found is None and room.window.covers(draft.since, self._now()):
            return draft
        found = await self._search(room, draft, searched)
        return found if isinstance(found, Message) else replace(draft, since=found)

    async def commit(self, draft: Draft, searched: Searched = not_told) -> Message:
        """The draft as a message of the log.

        Raises Conflict, TooOld, Unavailable (perhaps stored) or Rejected.
        """
        if self._closing:  # the engine may be closed already
            raise Unavailable("this process is ending")
        room = self._room(draft.room)
        waiter = _Waiter(draft, searched)
        self._admit(room, waiter)
        return await waiter.future

    def _admit(self, room: _Room, waiter: _Waiter) -> None:
        room.waiting.append(waiter)
        self._wake(room)

    def _wake(self, room: _Room) -> None:
        if room.writer is None:
            # A put whose task is cancelled is applied all the same, so it never runs in a handler's task.
            room.writer = asyncio.create_task(self._write(room))

    async def _write(self, room: _Room) -> None:
        """The writer: runs while something waits."""
        loop = asyncio.get_running_loop()
        pause, losses, contended, behind, most = 0.0, 0, -CONTENDED, False, COMMIT_MESSAGES
        try:
            while room.waiting or (room.doubtful and not self._closing):
                drafts: list[Draft] = []
                began = loop.time()
                late = [waiter for waiter in room.waiting if began - waiter.began > DEADLINE]
                if pause:  # what became of the last put may be unknown
                    self._give_up(room, late)
                elif late:
                    self._drop(room, late, Unavailable("too many messages are waiting for the store"))
                try:
                    window = await self._warm(room)
                    if behind or self._old(room):
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
                    self._failing.tell("the message store fails: %s", error)
                    self._give_up(room, room.waiting)
                    await asyncio.sleep(1.0)
                except (Unknown, Throttled, Unavailable) as error:
                    if not pause:
                        self._mute.tell(
                            "the message store does not answer: %s", error or type(error).__name__
                        )
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
        asked = self._clocks()
        await self._engine.put(commit)
        room.known = asked
        self._learn(room, [commit], own=True)

    async def _catch_up(self, room: _Room) -> None:
        """Takes in what the log has beyond the window; forgets a window that it no longer continues."""
        while (window := room.window) is not None:
            tail, asked = window.tail, self._clocks()
            commits = await self._commits_after(room, tail, REPLAY + 1)
            if room.window is not window:
                return
            if (commits[0].first > tail + 1) if commits else (tail > 0):
                self._forget(room)
            self._learn(room, commits)
            if window.tail == tail or not _is_full(commits, REPLAY):
                room.known = asked
                return

    async def _commits_after(self, room: _Room, id: int, limit: int) -> list[Commit]:
        """What follows `id` in the log; nothing, as from another log, where there is a hole."""
        try:
            return await self._read(lambda: self._engine.after(room.name, id, limit))
        except Hole:
            return []

    def _learn(self, room: _Room, commits: list[Commit], *, own: bool = False) -> None:
        """Folds commits of the log in, answers the drafts that are in them, and has those published."""
        if room.window is None:
            return
        mine = room.awaited()
        for commit in commits:
            if room.window.fold(commit, self._now()) and self._announce(commit, own, mine):
                self._settle(room)  # now: the window may have moved past it when all are folded in
        self._settle(room)
        self._weigh(room)

    def _announce(self, commit: Commit, own: bool, mine: set[Key]) -> bool:
        """Has the commit published if drafts of this process are in it, and says whether there are."""
        ours = own or bool(mine and any(message.key in mine for message in commit.messages))
        if ours:
            self.committed(commit)
        return ours

    def _settle(self, room: _Room) -> None:
        """Answers the drafts whose message is in the window; has the log searched for older ones."""
        window = room.window
        assert window is not None
        waiting = []
        for waiter in room.waiting:
            try:
                found = window.find(waiter.draft)
            except Conflict as conflict:
                waiter.refuse(conflict)
                continue
            if isinstance(found, Message):
                waiter.answer(found)
            elif found is None and window.covers(waiter.seen, self._now()):
                waiter.seen = window.tail
                waiting.append(waiter)
            else:
                room.looking.add(waiter)
                self._spawn(self._look_back(room, waiter))
        room.waiting = waiting

    async def _look_back(self, room: _Room, waiter: _Waiter) -> None:
        """Searches the log for a draft that the window does not reach back to. Other drafts do not wait."""
        try:
            found = await self._search(room, replace(waiter.draft, since=waiter.seen), waiter.searched)
            if self._closing:
                raise Unavailable("this process is ending")
            if isinstance(found, Message):
                waiter.answer(found)
            else:
                waiter.seen = found
                self._admit(room, waiter)
        except asyncio.CancelledError:
            waiter.refuse(Unavailable("this process is ending"))
            raise
        except FlychatError as error:
            if isinstance(error, Unavailable):  # it may be in the log, from an attempt before
                self._doubt(room, [waiter])
            waiter.refuse(error)
        finally:
            room.looking.discard(waiter)

    async def _search(self, room: _Room, draft: Draft, searched: Searched) -> Message | int:
        """The draft's message, or up to which id the log does not have it.

        Raises Conflict, TooOld, Unavailable.
        """
        try:
            async with asyncio.timeout(DEADLINE), self._searches:
                window = await self._warm(room)
                if draft.since is None:
                    await self._reach_back(room, window)
                first, found = window.keys.first, window.find(draft)
                if isinstance(found, Message):
                    return found
                commits: list[Commit] = []
                if found is not None:
                    commits = await self._commits_after(room, found - 1, 1)
                elif draft.since is not None and not window.covers(draft.since, self._now()):
                    if first - 1 - draft.since > LOOK_BACK:
                        raise TooOld
                    above = draft.since
                    searched(first - 1 - above)
                    commits = await self._read(
                        lambda: self._engine.find(room.name, above, first, draft.provisional_id)
                    )
        except TimeoutError:
            raise Unavailable("the message store is slow") from None
        message = next((m for m in messages_of(commits) if m.key == draft.key), None)
        if message is not None:
            return same_text(message, draft)
        if found is not None and room.window is window:  # others have cleared the room
            self._forget(room)
        return first - 1

    async def _reach_back(self, room: _Room, window: Window) -> None:
        """Reads keys into the window until it knows drafts that have no position; not without an end."""
        while not window.covers(None, self._now()) and window.tail - window.keys.first < LOOK_BACK:
            await self._prepend(room, window, window.keys.first, KEYS)

    def _give_up(self, room: _Room, late: list[_Waiter]) -> None:
        if late:
            self._doubt(room, late)
            self._drop(room, late, Unavailable("the message store does not answer"))

    def _doubt(self, room: _Room, waiters: list[_Waiter]) -> None:
        """Their drafts may be in the log: the writer reads it again, and has what it finds published."""
        room.doubtful |= {waiter.draft.key for waiter in waiters}
        self._forget(room)
        self._wake(room)

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
        few = FIRST if all(waiter.seen is not None for waiter in room.waiting) else KEYS
        asked = self._clocks()
        commits = await self._read(lambda: self._engine.tail(room.name, few))
        if room.window is None:  # else another reading was faster, and may have gone on from there
            room.window = Window(commits, self._limit, self._now())
            room.known = asked
            mine = room.awaited()
            room.doubtful = set()
            for commit in commits:
                self._announce(commit, False, mine)
            self._weigh(room)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # What is in memory

    def _clocks(self) -> tuple[float, float]:
        """Taken before the store is asked: the answer may lie here while the machine sleeps."""
        return asyncio.get_running_loop().time(), self._now()

    def _old(self, room: _Room) -> bool:
        """Whether the tail is to be looked at before it is used. A clock of its own stands still in sleep."""
        (loop_time, wall_time), (known_loop, known_wall) = self._clocks(), room.known
        return loop_time - known_loop > TAIL_SECONDS or abs(wall_time - known_wall) > TAIL_SECONDS

    def _forget(self, room: _Room) -> None:
        room.window = None
        self._weigh(room)

    def _weigh(self, room: _Room) -> None:
        """Counts the room's bytes anew, and lets others leave if there are too many."""
        if self._rooms.get(room.name) is not room:
            return
        now = room.window.bytes if room.window is not None else 0
        self._bytes += now - room.bytes
        room.bytes = now
        if self._bytes > self._most_bytes:
            self._room(room.name)

    # Reading

    async def page(
        self, name: str, before: int | None = None, limit: int = HISTORY, *, after: int | None = None
    ) -> Page:
        """The newest `limit` messages, or the newest before an id, or the oldest after one.

        Of PAGE_BYTES at the most: `more` says where to go on if it is cut short. Raises Unavailable.
        """
        if after is not None:
            return await self._page_after(name, after, limit)
        if self._memory:
            window = await self._warm(self._room(name))
            end = window.tail if before is None else before - 1
            page = window.page(end, limit)
            if page is None and end > window.tail - REPLAY:
                await self._deepen(self._room(name), window)
                page = window.page(end, limit)
            if page is not None:
                return _up_to(page)
            tail = window.tail
        elif before is None:
            page = await self._shared((name, limit), lambda: self._newest(name, limit))
            return _up_to(replace(page, stored=True))
        else:
            tail = (await self._shared((name, 1), lambda: self._newest(name, 1))).last_id
        end = tail + 1 if before is None else before
        commits = await self._shared((name, end, limit), lambda: self._engine.before(name, end, limit))
        return _up_to(Page(tuple(m for m in messages_of(commits) if m.id < end)[-limit:], tail, stored=True))

    async def _page_after(self, name: str, after: int, limit: int) -> Page:
        page = (await self._warm(self._room(name))).page(after + limit, limit) if self._memory else None
        beyond: int | None = None
        if page is not None:
            tail, found = page.last_id, page.messages
        else:
            tail = (await self.page(name, limit=1)).last_id
            try:
                commits = await self._shared(
                    (name, "after", after, limit), lambda: self._engine.after(name, after, limit)
                )
            except Hole as hole:
                commits, beyond = hole.commits, hole.beyond
            found = messages_of(commits)
        messages = tuple(m for m in found if m.id > after)[:limit]
        if (many := fitting(messages, PAGE_BYTES)) < len(messages):
            messages, beyond = messages[:many], None
        last = messages[-1].id if messages and beyond is None else (beyond or tail + 1) - 1
        return Page(messages, tail, last if last < tail else None, stored=page is None)

    async def plan(self, request: StreamRequest) -> StreamPlan:
        """How to open or mend the stream that is asked for. Raises Unavailable."""
        name, last_id = request.room, request.last_id
        if self._memory:
            window = await self._warm(self._room(name))
            if window.lacks(request):
                await self._deepen(self._room(name), window)
            return self._planned(name, window, request)
        if last_id is None:
            page = await self._shared((name, HISTORY), lambda: self._newest(name, HISTORY))
        else:
            page = await self._shared((name, "after", last_id), lambda: self._following(name, last_id))
        return plan_stream(request, page)

    def _planned(self, name: str, window: Window, request: StreamRequest) -> StreamPlan:
        plan = window.plan(request)
        self._weigh(self._room(name))
        return plan

    async def _deepen(self, room: _Room, window: Window) -> None:
        """Reads as much of the past into the window as a replay may need."""

        await self._reads.get((room.name, "past"), lambda: self._prepend(room, window, window.oldest, REPLAY))

    async def _prepend(self, room: _Room, window: Window, below: int, limit: int) -> None:
        window.prepend(await self._read(lambda: self._engine.before(room.name, below, limit)), below)
        self._weigh(room)

    def plan_at_once(self, request: StreamRequest) -> StreamPlan | None:
        """The same, if it takes neither reading nor waiting."""
        room = self._rooms.get(request.room)
        if room is None or room.window is None or not self._memory:
            return None
        if room.window.lacks(request):
            return None
        return self._planned(request.room, room.window, request)

    async def expire(self, before: str) -> None:
        """Has what is older than a date deleted, also from memory. Raises Unavailable."""
        try:
            await self._engine.expire(before)
        except StoreFailed as error:
            raise Unavailable(str(error)) from error
        for room in list(self._rooms.values()):
            window = room.window
            if room.writer is None and window and window.messages and window.messages[0].date < before:
                self._forget(room)

    async def check(self) -> None:
        """One round trip. Raises Unavailable if the store does not answer."""
        await self._read(self._engine.check)

    async def close(self, seconds: float = DEADLINE) -> None:
        """Lets the writers end, at most `seconds`; then refuses what waits, and closes the engine."""
        if self._closing:
            return
        self._closing = True
        for task in self._tasks:
            task.cancel()
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

    def _check_load(self) -> None:
        """Raises Overloaded while readings wait for each other for too long."""
        oldest = next(iter(self._reading.values()), math.inf)
        if asyncio.get_running_loop().time() - oldest > OVERLOAD_SECONDS:
            raise Overloaded

    async def _shared(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        return await self._reads.get(key, lambda: self._read(read))

    async def _read(self, read: Callable[[], Awaitable[T]]) -> T:
        """Tries a read that fails again, for READ_SECONDS: it changes nothing, and a connection may be stale.

        Raises Overloaded before anything is read, Hole, Broken, Unavailable.
        """
        self._check_load()
        loop = asyncio.get_running_loop()
        turn = object()
        self._reading[turn] = loop.time()
        pause, failed = 0.0, 0.0
        try:
            while True:
                self._check_open()
                began = loop.time()
                try:
                    return await read()
                except (Unknown, Throttled) as error:
                    failed = failed or began
                    if loop.time() - failed >= READ_SECONDS:
                        raise Unavailable("the message store is slow") from error
                await asyncio.sleep(pause)
                pause = min(0.5, max(0.02, 2 * pause))
        finally:
            del self._reading[turn]

    def _room(self, name: str) -> _Room:
        """The room, marked as used; rooms that are in nobody's use leave, the longest unused first."""
        now = asyncio.get_running_loop().time()
        room = self._rooms.get(name)
        if room is None:
            room = self._rooms[name] = _Room(name)
        room.used = now
        self._rooms.move_to_end(name)
        while (oldest := next(iter(self._rooms.values()))) is not room:
            if oldest.busy():
                self._rooms.move_to_end(oldest.name)
            elif len(self._rooms) > ROOMS or now - oldest.used > IDLE or self._bytes > self._most_bytes:
                self._bytes -= oldest.bytes
                del self._rooms[oldest.name]
            else:
                break
        return room


def _is_full(commits: list[Commit], limit: int) -> bool:
    """Whether a reading may have ended before the log did."""
    return sum(commit.ids for commit in commits) >= limit or sum(c.size for c in commits) >= READ_BYTES


def _up_to(page: Page) -> Page:
    """The page, or as many of its newest messages as PAGE_BYTES allow, and at least one."""
    many = fitting(reversed(page.messages), PAGE_BYTES)
    if many == len(page.messages):
        return page
    messages = page.messages[-many:]
    return replace(page, messages=messages, more=messages[0].id)


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
