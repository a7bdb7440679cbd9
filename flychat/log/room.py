"""A room of the log: what is known of it, and its writer, with at most one put in flight.

All drafts of a room pass through its writer, a task of its own while something waits. It puts every waiting
draft as one commit at tail + 1. Why nothing is lost or doubled and no id skipped:

1. The tail is only ever the end of a commit that was read or written, so places are tried in order.
2. A put is conditional on its place, so exactly one commit wins each place.
3. A draft is answered only when its message is in the window, that is in the log.
4. Before every attempt, drafts whose key is in the window are answered from there. A put with an unknown
   outcome is tried again at the same place: if it had been applied, it comes back as the winner of the place,
   and by this rule its drafts are found in it. So a put without an answer is treated like a lost race.
   If the keys in the window do not reach back to when a draft was first sent, the log is searched.
5. After the deadline the drafts are given up (503). If some were put, the window is forgotten, and the log is
   read again: if they are in it after all, the commit is published then. The client may send again any time.

So a draft is stored exactly once, however late and often it is sent, if it carries the position of its author
when it was first sent (`Draft.since`): it is put only when it is known not to be in the log from there on.
Without a position that is known of the newest 256 messages, and of the last 2 minutes.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from ..commits import COMMIT_MESSAGES, Commit
from ..errors import Conflict, FlychatError, Unavailable, Unstorable
from ..messages import Draft, Key, Message
from ..storage import Broken, Rejected, StoreFailed, Taken, Throttled, Unknown
from ..streams import REPLAY
from .drafts import Waiter, batch
from .pace import Pace
from .reading import is_full
from .view import Common, Searched, Told, View

Failed: TypeAlias = tuple[list[Draft], StoreFailed]

DEADLINE = 10.0  # seconds that a draft is tried
BROKEN_SECONDS = 1.0  # between two attempts at a store that is misconfigured


class Room(View):
    """An active room: the view of its log, and its writer. `used`: when it was last used (loop time)."""

    def __init__(self, name: str, common: Common) -> None:
        super().__init__(name, common)
        self.writer: asyncio.Task[None] | None = None
        self.used = 0.0
        self._flying: Commit | None = None  # put without the writer
        self._waiting: list[Waiter] = []
        self._searching: set[Waiter] = set()  # for which the log is being searched

    @property
    def busy(self) -> bool:
        return self.writing or bool(self._searching)

    @property
    def writing(self) -> bool:
        return self.writer is not None or self._flying is not None

    def submit(self, draft: Draft, searched: Searched, told: Told) -> asyncio.Future[Message]:
        """See MessageLog."""
        waiter = Waiter(draft, searched, told, self._common)
        self._admit(waiter)
        return waiter.future

    def withdraw(self, draft: Draft) -> None:
        """See MessageLog."""
        untried = {w for w in (*self._waiting, *self._searching) if w.draft is draft and not w.tried}
        self._searching -= untried
        self._drop(list(untried), Unavailable("nobody waits for it any more"))

    def _admit(self, waiter: Waiter) -> None:
        self._waiting.append(waiter)
        self._wake()

    def _wake(self) -> None:
        if not self.writing and not self._put_at_once():
            self._start_writer()

    def _start_writer(self, failed: Failed | None = None) -> None:
        # A put whose task is cancelled is applied all the same, so it never runs in a handler's task.
        self.writer = asyncio.create_task(self._write(failed))

    def _put_at_once(self) -> bool:
        """Puts what waits without the writer's task; False: something is in doubt, or the engine cannot."""
        asked = self.clocks()
        if self.window is None or self.old(asked):
            return False
        self._settle()
        self._drop_late(in_doubt=False)
        drafts = batch(self._waiting, COMMIT_MESSAGES)
        if not drafts:
            return True
        commit = Commit.of(self.window.tail + 1, drafts)
        if not self._common.engine.submit(commit, partial(self._landed, commit, drafts, asked)):
            return False
        self._flying = commit
        return True

    def _landed(
        self, commit: Commit, drafts: list[Draft], asked: tuple[float, float], failure: StoreFailed | None
    ) -> None:
        """A put without the writer has ended. If it failed, the writer goes on as if it were its own."""
        if self._flying is not commit:  # abandoned
            return
        self._flying = None
        self._common.landed.set()
        if failure is not None:
            self._start_writer((drafts, failure))
        else:
            self.renewed(asked)
            self._learn([commit], own=True)
            if self._waiting:
                self._wake()

    def abandon(self) -> None:
        """Refuses what waits, though some may be stored all the same: the process ends."""
        self._flying = None
        if self.writer is not None:
            self.writer.cancel()
        self._drop(self._waiting, Unavailable())

    async def _write(self, failed: Failed | None = None) -> None:
        """The writer: runs while something waits. It may begin with the failure of a put without it."""
        pace = Pace()
        try:
            while self._waiting or (self._doubtful and not self._common.closing):
                await self._attempt(pace, failed)
                failed = None
        finally:
            self.writer = None
            self._drop(self._waiting, Unavailable())  # there are some if it was cancelled, or failed

    async def _attempt(self, pace: Pace, failed: Failed | None) -> None:
        """One round of the writer: a reading of the log, or a put of the drafts that are not in it yet."""
        loop = self._common.loop
        began = loop.time()
        drafts: list[Draft] = []
        try:
            if failed is not None:
                drafts, failure = failed
                raise failure
            self._drop_late(in_doubt=pace.in_doubt)
            window = await self.warm_for(keys=any(waiter.seen is None for waiter in self._waiting))
            if pace.must_read or self.old():
                await self._catch_up()
                return pace.read()
            self._settle()
            drafts = batch(self._waiting, pace.most)
            if drafts:
                await self._put(window.tail + 1, drafts)
        except Taken as taken:
            pace.lost(loop.time(), told=taken.winner is not None)
            if taken.winner is not None:
                self._learn([taken.winner])
        except Rejected:
            if pace.rejected(len(drafts)):
                culprits = [waiter for waiter in self._waiting if waiter.draft.key == drafts[0].key]
                self._drop(culprits, Unstorable())
        except Broken as error:
            self._common.failing.tell("the message store fails: %s", error)
            self._give_up(self._waiting)
            await asyncio.sleep(BROKEN_SECONDS)
        except (Unknown, Throttled, Unavailable) as error:
            if not pace.in_doubt:
                self._common.mute.tell("the message store does not answer: %s", error)
            wait = pace.unanswered(throttled=isinstance(error, Throttled))
            await asyncio.sleep(self._common.rng.uniform(*wait))
        else:
            longest = pace.succeeded(loop.time(), loop.time() - began)
            if drafts and longest:
                await asyncio.sleep(self._common.rng.uniform(0, longest))

    def _drop_late(self, *, in_doubt: bool) -> None:
        """Refuses the drafts that have waited for DEADLINE; in doubt, they may have been stored."""
        now = self._common.loop.time()
        late = [waiter for waiter in self._waiting if now - waiter.began > DEADLINE]
        if in_doubt:
            self._give_up(late)
        elif late:
            self._drop(late, Unavailable("too many messages are waiting for the store"))

    async def _put(self, place: int, drafts: list[Draft]) -> None:
        commit = Commit.of(place, drafts)
        asked = self.clocks()
        await self._common.engine.put(commit)
        self.renewed(asked)
        self._learn([commit], own=True)

    async def _catch_up(self) -> None:
        """Takes in what the log has beyond the window; forgets a window that it no longer continues."""
        while (window := self.window) is not None:
            tail, asked = window.tail, self.clocks()
            commits = await self.after(tail, REPLAY + 1)
            if (commits[0].first > tail + 1) if commits else (tail > 0):
                self.forget()
            self._learn(commits)
            if window.tail == tail or not is_full(commits, REPLAY):
                self.renewed(asked)
                return

    def _loaded(self, commits: list[Commit]) -> None:
        mine, self._doubtful = self._awaited(), set()
        for commit in commits:
            self._announce(commit, False, mine)

    def _learn(self, commits: list[Commit], *, own: bool = False) -> None:
        """Folds commits of the log in, publishes those with drafts of ours, and answers these drafts."""
        window = self.window
        if window is None:
            return
        mine = set() if own else self._awaited()
        for commit in commits:
            if window.fold(commit, self._common.now()) and self._announce(commit, own, mine):
                self._settle()  # now: the window may have moved past it when all are folded in
        self._settle()
        self._common.weighed(self)

    def _awaited(self) -> set[Key]:
        """The keys of this process's drafts that are, or may be, on their way into the log."""
        return {waiter.draft.key for waiter in [*self._waiting, *self._searching]} | self._doubtful

    def _announce(self, commit: Commit, own: bool, mine: set[Key]) -> bool:
        """Has the commit published if drafts of this process are in it, and says whether there are."""
        ours = own or bool(mine and any(message.key in mine for message in commit.messages))
        if ours:
            self._common.committed(commit)
        return ours

    def _settle(self) -> None:
        """Answers the drafts that are in the window; searches the log for those it does not reach back to."""
        window = self.window
        assert window is not None
        waiting = []
        for waiter in self._waiting:
            try:
                found = window.find(waiter.draft)
            except Conflict as conflict:
                waiter.refuse(conflict)
                continue
            if isinstance(found, Message):
                waiter.answer(found)
            elif found is None and window.covers(waiter.seen, self._common.now()):
                waiter.seen = window.tail
                waiting.append(waiter)
            else:
                self._searching.add(waiter)
                self._common.spawn(self._search_for(waiter))
        self._waiting = waiting

    async def _search_for(self, waiter: Waiter) -> None:
        """Searches the log for a draft that the window does not reach back to. Other drafts do not wait."""
        try:
            found = await self.search(replace(waiter.draft, since=waiter.seen), waiter.searched)
            if self._common.closing:
                raise Unavailable("this process is ending")
        except asyncio.CancelledError:
            self._searching.discard(waiter)
            waiter.refuse(Unavailable("this process is ending"))
            raise
        except FlychatError as error:
            if isinstance(error, Unavailable):  # it may be in the log, from an attempt before
                self._doubt([waiter])
            waiter.refuse(error)
        else:
            if isinstance(found, Message):
                waiter.answer(found)
            elif waiter in self._searching:  # else it was withdrawn
                waiter.seen = found
                self._searching.remove(waiter)  # before it is admitted: it may be searched for again at once
                return self._admit(waiter)
        self._searching.discard(waiter)

    def expire(self, before: str) -> None:
        """Messages from before a date were deleted: forgets a window that has some, unless it is written."""
        window = self.window
        if not self.writing and (window is None or (window.messages and window.messages[0].date < before)):
            self.forget()

    def _give_up(self, late: list[Waiter]) -> None:
        if tried := [waiter for waiter in late if waiter.tried]:
            self._doubt(tried)
        self._drop(late, Unavailable("the message store does not answer"))

    def _doubt(self, waiters: list[Waiter]) -> None:
        """Their drafts may be in the log: the writer reads it again, and publishes those that it finds."""
        self._doubtful |= {waiter.draft.key for waiter in waiters}
        self.forget()
        self._wake()

    def _drop(self, waiters: list[Waiter], error: FlychatError) -> None:
        gone = set(waiters)
        self._waiting = [waiter for waiter in self._waiting if waiter not in gone]
        for waiter in waiters:
            waiter.refuse(error)
