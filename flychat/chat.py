"""The chat: posts and removes messages, streams rooms. It only connects log, hub and showing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from prometheus_client import Counter

from .access import Pass
from .errors import FlychatError, Full, Overloaded, Unavailable
from .hub import Hub, Response
from .log import Entry, MessageLog, Searched, Wrote, not_told
from .messages import Draft, Message
from .presence import Presence
from .showing import Ended, Showing
from .signals import HERE, Signal, signalled
from .streams import StreamPlan, StreamRequest

Stored: TypeAlias = Callable[[asyncio.Future[Message]], None]
Outcome: TypeAlias = Callable[[Message | None], None]

STREAMS = Counter("flychat_streams_opened", "Plans made: first, resumed, or a proxy's recovery", ["kind"])
RESETS = Counter("flychat_stream_resets", "Plans that begin with a stream-reset", ["reason"])
KINDS = {kind: STREAMS.labels(kind) for kind in ("first", "resumed", "recovery")}


def _count(request: StreamRequest, plan: StreamPlan) -> None:
    resumed = "first" if request.last_id is None else "resumed"
    KINDS["recovery" if request.recover else resumed].inc()
    if plan.opening and plan.opening[-1].name == "stream-reset":
        RESETS.labels("behind" if plan.position > (request.last_id or 0) else "ahead").inc()


def _tell_outcome(outcome: Outcome, stored: asyncio.Future[Message]) -> None:
    outcome(None if stored.exception() else stored.result())


class Chat:
    """All rooms, over one `log` and one hub; `showing` decides when a draft is shown."""

    def __init__(
        self, log: MessageLog, hub: Hub, showing: Showing, now: Callable[[], float] = time.time
    ) -> None:
        self.log = log
        self._hub = hub
        self._showing = showing
        self._presence = Presence(hub.publish, now)
        self._passing: set[asyncio.Task[None]] = set()  # on which answers wait

    async def post(
        self, draft: Draft, searched: Searched = not_told, outcome: Outcome | None = None
    ) -> Message:
        """Stores the draft, and shows it to everybody until it is stored; takes it back if that fails.

        A draft that is in the log already is answered from there, and neither shown nor stored again;
        `searched` is called with the number of ids that the store is searched for it. If this is cancelled
        before the store was given the draft, it never is. `outcome` is called with the message or None, even
        if this is cancelled. Returns, or raises, when all it published has reached whoever holds streams.
        Raises Conflict, TooOld, Unavailable (it may be stored all the same: send it again) or Unstorable.
        """
        known = await self.log.recall(draft, searched)
        if isinstance(known, Message):
            if outcome is not None:
                outcome(known)
            await self._hub.passed_on()  # an earlier answer may have gone out before it was published
            return known
        stored = self.submit(known, searched, outcome and partial(_tell_outcome, outcome))
        try:
            await asyncio.wait([stored])
            await self._hub.passed_on()
        except asyncio.CancelledError:
            self.log.withdraw(known)
            raise
        return stored.result()

    async def remove(
        self, draft: Draft, check: Callable[[Message], None], outcome: Outcome | None = None
    ) -> Message:
        """Removes the messages that the draft names, also from the store; returns the entry that says so.

        `check` is called with each of them, and may raise. Nothing is shown before it is stored.
        Raises NotFound, Conflict, TooOld, Unavailable (it may be done in part: ask for the same again).
        """
        try:
            entry = await self.log.upkeep.remove(draft, check)
        except Unavailable:
            if outcome is not None:
                outcome(None)
            raise
        if outcome is not None:
            outcome(entry)
        await self._hub.passed_on()
        return entry

    async def clear(self, room: str) -> int:
        """Erases all messages of the room, and resets its streams; returns the last id so far.

        Raises Unavailable (it may be done in part: ask for the same again).
        """
        last = await self.log.upkeep.clear(room)
        await self._hub.passed_on()
        return last

    async def erase(self, room: str, wrote: Wrote, entry: Entry, above: int) -> tuple[int, int | None]:
        """Removes some of what somebody wrote, and their names; see Upkeep."""
        done = await self.log.upkeep.erase(room, wrote, entry, above)
        await self._hub.passed_on()
        return done

    def is_new(self, draft: Draft) -> bool:
        """Whether it is known without reading that `submit` may be given the draft. Raises Refused."""
        return isinstance(self.log.recall_at_once(draft), Draft)

    def submit(
        self, draft: Draft, searched: Searched = not_told, done: Stored | None = None
    ) -> asyncio.Future[Message]:
        """Stores and shows a new draft, as `post` does, without waiting; `done` is called in the end."""
        # The store, which begins a turn later, is given it first: one in memory has it when that is sent.
        stored = self.log.submit(draft, searched, lambda future: self._tell(ended, done, future))
        ended = self._showing.show(draft)
        return stored

    def _tell(self, ended: Ended, done: Stored | None, stored: asyncio.Future[Message]) -> None:
        error = stored.exception()
        ended(error if isinstance(error, FlychatError) else None)
        if done is None:
            return
        if self._hub.passes_on_at_once:
            done(stored)
        else:
            task = asyncio.create_task(self._hub.passed_on())
            self._passing.add(task)
            task.add_done_callback(partial(self._passed_on, done, stored))

    def _passed_on(self, done: Stored, stored: asyncio.Future[Message], task: asyncio.Task[None]) -> None:
        self._passing.remove(task)
        done(stored)

    async def signal(self, signal: Signal) -> None:
        """Sends the signal to all streams that are open now; `here` is gathered first (presence.py).

        Nothing is stored. Returns when it is passed on. Raises Overloaded long before messages are refused.
        """
        if self._hub.pressed():
            raise Overloaded
        if signal.kind == HERE:
            self._presence.here(signal.room, signal.sender)
        else:
            self._hub.publish(signalled(signal))
            await self._hub.passed_on()

    async def plan(self, request: StreamRequest, client: str) -> StreamPlan:
        """The plan of the stream that is asked for. Raises Full, Unavailable."""
        self._admit(client)
        plan = await self.log.plan(request)
        self._admit(client)  # others may have come meanwhile
        _count(request, plan)
        return plan

    def _admit(self, client: str) -> None:
        if not self._hub.admits(client):
            raise Full("no more streams can be held here")

    def plan_at_once(self, request: StreamRequest, client: str) -> StreamPlan | None:
        """The same, if it takes no waiting and the stream may be held; else None."""
        plan = self.log.plan_at_once(request) if self._hub.admits(client) else None
        if plan is not None:
            _count(request, plan)
        return plan

    def hold(self, plan: StreamPlan, response: Response, client: str, pass_: Pass | None = None) -> None:
        """Opens, or mends, the stream that was planned, with the pass."""
        self._hub.hold(plan, response, client, pass_)
