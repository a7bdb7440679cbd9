"""The message log: the rooms of one engine, and the pages and plans that readers get.

Writing. All drafts of a room pass through its writer (room.py), which says why nothing is lost or doubled.

    POST -> MessageLog.submit -> Room.submit: the draft waits with others
                                 writer: [waiting drafts] -> one commit at tail + 1 -> Engine.put
                                 window <- the commit, or the one that won its place
                                 hub <- committed(commit); POST <- its message

Reading. Where the process is alone in holding the streams (`memory`) and in writing to the store, readers
are served from the window (window.py). Else every read goes to the engine, and equal ones are shared
(reading.py).

What an operator, or time, takes out of the log again: upkeep.py.

Memory. Rooms are bounded in bytes, all together; which of them leaves, and is read again, says memory.py.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from ..commits import COMMIT_MESSAGES, Commit
from ..errors import Unavailable
from ..messages import Draft, Message
from ..storage import Engine, Hole
from ..streams import HISTORY, REPLAY, Page, StreamPlan, StreamRequest, fitting, plan_stream
from .drafts import Waiter
from .memory import Rooms
from .reading import Reader, messages_of
from .room import DEADLINE, Room
from .upkeep import Entry, Upkeep, Wrote
from .view import FIRST, Common, Searched, Told, not_told
from .window import Window

__all__ = ["Entry", "MessageLog", "Searched", "Wrote", "not_told"]

PAGE_BYTES = 1 << 18  # of the messages on one page of the past, as on a stream
MEMORY = 256 << 20  # bytes of all rooms


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
        committed: Callable[[Commit], None] = not_told,
        most_bytes: int = MEMORY,
        rng: random.Random | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`most_bytes` of memory, about, are used for all rooms; `now` is the wall clock."""
        self._memory = memory and not engine.shared
        self._rooms = Rooms(lambda name: Room(name, self._common), most_bytes)
        self._reader = Reader(engine)
        self._common = Common(
            engine,
            self._reader,
            committed=committed,
            weighed=self._rooms.weigh,
            repair=lambda name, removals: self.upkeep.repair(name, removals),
            # A commit of our own is to be in the window as a whole when its drafts are answered from there.
            limit=REPLAY if self._memory else max(FIRST, COMMIT_MESSAGES),
            now=now,
            rng=rng or random.Random(),
        )
        self.upkeep = Upkeep(self._common, self._rooms, self.submit)

    # Writing

    async def recall(self, draft: Draft, searched: Searched = not_told) -> Message | Draft:
        """The message, if this very draft is in the log already; else the draft, to be submitted.

        Reads the store only if the draft was first sent long ago; the draft that is returned then has a later
        `since`, up to which the log was searched. A room that is not in memory is not searched here, but in
        `submit`. `searched` is called with the number of ids that the store searches. Raises Conflict,
        TooOld, Unavailable.
        """
        known = self.recall_at_once(draft)
        if known is not None:
            return known
        found = await self._rooms[draft.room].search(draft, searched)
        return found if isinstance(found, Message) else replace(draft, since=found)

    def recall_at_once(self, draft: Draft) -> Message | Draft | None:
        """The same, without reading; None if the store must be read to know. Raises Conflict, Overloaded."""
        room = self._rooms.get(draft.room)
        if room is None or room.window is None:  # `submit` finds out
            self._reader.check_load()
            return draft
        return room.recall_at_once(draft, room.window)

    def submit(
        self, draft: Draft, searched: Searched = not_told, told: Told = not_told
    ) -> asyncio.Future[Message]:
        """Has the draft stored. The result is its message, and `told` is called with the future then.

        Or the future fails: Conflict, TooOld, Unavailable (it may be stored all the same) or Unstorable.
        """
        if self._common.closing:  # the engine may be closed already
            waiter = Waiter(draft, searched, told, self._common)
            waiter.refuse(Unavailable("this process is ending"))
            return waiter.future
        return self._rooms.use(draft.room).submit(draft, searched, told)

    def withdraw(self, draft: Draft) -> None:
        """Nobody waits for the draft any more: it is refused if no put of it has begun."""
        if (room := self._rooms.get(draft.room)) is not None:
            room.withdraw(draft)

    # Reading

    async def page(
        self, name: str, before: int | None = None, limit: int = HISTORY, *, after: int | None = None
    ) -> Page:
        """The newest `limit` messages, or the newest before an id, or the oldest after one.

        They have PAGE_BYTES at the most; a page that is cut short by that has `more`. Raises Unavailable.
        """
        if self._memory:
            window = await self._rooms.use(name).warm()
            if (page := _at_hand(window, before, limit, after)) is not None:
                return page
        if after is not None:
            return await self._page_after(name, after, limit)
        if self._memory:
            end = window.tail if before is None else before - 1
            if end > window.tail - REPLAY:
                await self._rooms.use(name).deepen(window, max(1, end + 1 - limit))
                if (page := _at_hand(window, before, limit)) is not None:
                    return page
            tail = window.tail
        elif before is None:
            page = await self._reader.newest(name, limit)
            return _up_to(replace(page, stored=True))
        else:
            tail = (await self._reader.newest(name, 1)).last_id
        end = tail + 1 if before is None else before
        commits = await self._reader.before(name, end, limit)
        messages = tuple(m for m in messages_of(commits) if m.id < end)[-limit:]
        return _up_to(Page(messages, _not_below(tail, messages), stored=True))

    def page_at_once(self, name: str, before: int | None, limit: int, *, after: int | None) -> Page | None:
        """The same, if it takes neither reading nor waiting."""
        room = self._rooms.get(name)
        if not self._memory or room is None or room.window is None:
            return None
        self._rooms.use(name)
        return _at_hand(room.window, before, limit, after)

    async def _page_after(self, name: str, after: int, limit: int) -> Page:
        tail = (await self.page(name, limit=1)).last_id
        commits, end = await self._read_after(name, after, limit, tail)
        page = _following(messages_of(commits), after, limit, tail, end)
        return replace(page, stored=True)

    async def _read_after(
        self, name: str, after: int, limit: int, tail: int
    ) -> tuple[list[Commit], int | None]:
        """What follows an id in the store; and the id after which to go on, if not the last message's."""
        try:
            commits = await self._reader.after(name, after, limit)
            if voids := [commit.last for commit in commits if not commit.messages]:  # it was cleared
                behind = voids[-1] if commits[-1].messages else tail
                cleared = await self._reader.cleared_to(name, voids[-1], behind)
                commits = await self._reader.after(name, cleared, limit)
        except Hole as hole:
            return hole.commits, hole.beyond - 1
        return commits, commits[-1].last if commits and not commits[-1].messages else None

    async def plan(self, request: StreamRequest) -> StreamPlan:
        """How to open or mend the stream that is asked for. Raises Unavailable."""
        name, last_id = request.room, request.last_id
        if self._memory:
            window = await self._rooms.use(name).warm(last_id)
            if first := window.lacks(request):
                await self._rooms.use(name).deepen(window, first)
            return self._planned(name, window, request)
        if last_id is None:
            page = await self._reader.newest(name, HISTORY)
        else:
            page = await self._reader.following(name, last_id)
        return plan_stream(request, page)

    def plan_at_once(self, request: StreamRequest) -> StreamPlan | None:
        """The same, if it takes neither reading nor waiting."""
        room = self._rooms.get(request.room)
        if not self._memory or room is None or room.window is None or room.window.lacks(request):
            return None
        return self._planned(request.room, room.window, request)

    def ends_at(self, name: str, id: int) -> bool:
        """Whether the log is known, from memory, to end at this id: then all of it is published by now."""
        room = self._rooms.get(name) if self._memory else None
        return room is not None and room.window is not None and room.window.tail == id

    def _planned(self, name: str, window: Window, request: StreamRequest) -> StreamPlan:
        plan = window.plan(request)
        self._rooms.weigh(self._rooms.use(name))
        return plan

    # The store

    async def check(self) -> None:
        """One round trip. Raises Unavailable if the store does not answer."""
        self._reader.check_load()
        await self._reader.patient(self._common.engine.check)

    async def close(self, seconds: float = DEADLINE) -> None:
        """Lets the writers end, at most `seconds`; then refuses what waits, and closes the engine."""
        if self._common.closing:
            return
        self._common.closing = True
        for task in self._common.tasks:
            task.cancel()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._written(), seconds)
        late = [room for room in self._rooms.values() if room.writing]
        writers = [room.writer for room in late if room.writer is not None]
        for room in late:
            room.abandon()
        await asyncio.gather(*writers, return_exceptions=True)
        self._reader.close()
        await self._common.engine.close()

    async def _written(self) -> None:
        """Returns when nothing is on its way into the log."""
        while late := [room for room in self._rooms.values() if room.writing]:
            if writers := [room.writer for room in late if room.writer is not None]:
                await asyncio.wait(writers)
            else:
                self._common.landed.clear()
                await self._common.landed.wait()

    # Memory

    def note_held(self, room: str, held: bool) -> None:
        """Takes note that streams are held in a room, or are no longer: it is among the last to leave."""
        self._rooms.note_held(room, held)


def _at_hand(window: Window, before: int | None, limit: int, after: int | None = None) -> Page | None:
    """The page as MessageLog.page gives it, if all of its messages are in the window."""
    if after is None:
        page = window.page(window.tail if before is None else before - 1, limit)
        return page and _up_to(page)
    first = max(after + 1, window.oldest) if window.whole else after + 1
    page = window.page(first + limit - 1, limit)
    return page and _following(page.messages, after, limit, page.last_id)


def _following(found: Sequence[Message], after: int, limit: int, tail: int, end: int | None = None) -> Page:
    """A page of those found that are past the id `after`; it says to go on after `end`, or else its last."""
    messages = tuple(m for m in found if m.id > after)[:limit]
    if (many := fitting(messages, PAGE_BYTES)) < len(messages):
        messages, end = messages[:many], None
    tail = _not_below(tail, messages)
    if end is None:
        end = messages[-1].id if messages else tail
    return Page(messages, tail, end if end < tail else None)


def _not_below(tail: int, messages: Sequence[Message]) -> int:
    """The log's last id: `tail`, or that of a message that was read after the tail was."""
    return max(tail, messages[-1].id) if messages else tail


def _up_to(page: Page) -> Page:
    """The page, or as many of its newest messages as PAGE_BYTES allow, and at least one."""
    many = fitting(reversed(page.messages), PAGE_BYTES)
    if many == len(page.messages):
        return page
    messages = page.messages[-many:]
    return replace(page, messages=messages, more=messages[0].id)
