"""The local hub: holds streams in this process, as a miniature Pushpin.

It takes the same plans and publications, and works by the same rule (streams.py). All holds of a room are at
the same position, that of the room, except while they are attached; so the rule is applied to the room:

- A publication whose prev-id is the room's position is fed to all, and moves the position to its id.
- One that ends at or before the position is known already. Any other shows a gap: recovery is asked for
  the room, and what it brings is fed to all.
- A new hold whose plan ends at the room's position joins. One that is behind is first given a plan of its
  own; if it is ahead, then the room is behind, and is recovered.
- Nobody keeps the position of a room without holds, so the room of a first hold is recovered once: unless
  the log says that the plan ends where the log does, so that nothing was published in between.

A room has up to four audiences (sockets.py): of HTTP/1.1 (in chunks) or HTTP/1.0 (bare), each with or without
the events that have no id, as its plan says. If the room's position has changed while a recovery was read,
the recovery is asked for again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from itertools import islice

from prometheus_client import Counter, Gauge

from ..access import Pass
from ..errors import Unavailable
from ..seldom import Seldom
from ..streams import KEEP_ALIVE, KEEP_ALIVE_SECONDS, Publication, StreamPlan, StreamRequest
from . import Response, Way
from .passes import Ended, Passes, never
from .sockets import Audience, Connections, Hold
from .waiting import batches

RECOVERIES = Counter("flychat_local_recoveries", "Times a room, or a hold on its way in, was given the rest")
ROOMS = Gauge("flychat_rooms", "Rooms in which streams are held in this process")

logger = logging.getLogger(__name__)

HERE = Way(proxied=True, vouched=False)  # there is no proxy that could sign
STREAMS_AT_ONCE = 100  # of quiet rooms that are given a keep-alive in one turn of the loop: some 1 ms
QUIET = KEEP_ALIVE.encode()  # the keep-alive, which is the same in every room
TICK = 1.0  # seconds between two checks of what is due
POLL_SECONDS = 10.0  # between two readings of a room for what other processes wrote
COMEBACK = (1000, 8000)  # milliseconds over which clients spread their return when the hub closes


class LocalHub:
    """Holds by `plan`, which answers a recovery.

    `polls`: other processes write to the store as well, so each room is recovered every POLL_SECONDS.
    """

    def __init__(
        self,
        plan: Callable[[StreamRequest], Awaitable[StreamPlan]],
        *,
        polls: bool = False,
        note_held: Callable[[str, bool], None] = lambda room, held: None,
        ends_at: Callable[[str, int], bool] = lambda room, id: False,
        keep_alive: float = KEEP_ALIVE_SECONDS,
        max_streams: int = 0,
        max_streams_per_client: int = 0,
        ended: Ended = never,
    ) -> None:
        """A cap of 0 is none. `note_held` is called when a room gets its first stream and loses its last.

        `ends_at` says whether the log of a room is known to end at an id, with all of it published. `ended`
        says why the pass of a hold gives no right any more.
        """
        self.plan, self.passes_on_at_once = plan, True
        self.connections = Connections()
        self.passes = Passes(self.connections, ended)
        self.tasks: set[asyncio.Task[None]] = set()
        self.rooms: OrderedDict[str, _Room] = OrderedDict()  # the one that was fed longest ago first
        self._most = max_streams or sys.maxsize
        self._most_per_client = max_streams_per_client or sys.maxsize
        self._keep_alive, self._polls = keep_alive, polls
        self.note_held, self._ends_at = note_held, ends_at
        self._unrecovered = Seldom(logger)
        self.loop = self.connections.loop
        self._timer = self.loop.call_later(TICK, self._tick)

    def admits(self, client: str) -> bool:
        return len(self.connections) < self._most and self.connections.clients[client] < self._most_per_client

    def hold(self, plan: StreamPlan, response: Response, client: str, pass_: Pass | None = None) -> None:
        if taken := response.take():  # otherwise the client left while the plan was made
            sock, head, chunked = taken
            self.hold_socket(plan, sock, head, client, chunked=chunked, pass_=pass_)

    def hold_socket(
        self,
        plan: StreamPlan,
        sock: socket.socket,
        head: bytes,
        client: str,
        *,
        chunked: bool = True,
        pass_: Pass | None = None,
    ) -> None:
        """Answers on a bare connection, and holds it."""
        room = self._room(plan)
        audience = room.audience(chunked=chunked, live=plan.request.provisional)
        held = self.connections.hold(sock, client, audience)
        self.connections.owe(held, head, plan.parts, plan.size)
        if pass_ is not None and not held.closed:
            self.passes.carry(held, room.name, pass_)
        if held.closed:
            return
        at = plan.position
        if room.position == at and (room.inhabited or self._ends_at(room.name, at)):
            audience.join(held)
        else:
            self.spawn(room.attach(held, at))

    def publish(self, publication: Publication) -> None:
        if (room := self.rooms.get(publication.room)) is not None:
            room.publish(publication)

    def pressed(self) -> bool:
        return False

    async def passed_on(self) -> None:
        """It is, when `publish` returns."""

    def recheck(self, id: str | None) -> None:
        self.passes.recheck(id)

    def way(self, headers: Mapping[str, str]) -> Way:
        return HERE

    async def close(self) -> None:
        self._timer.cancel()
        for task in self.tasks:
            task.cancel()
        self.connections.close(lambda: replace(KEEP_ALIVE, retry=random.randint(*COMEBACK)).encode())

    def spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def recovered(self, recovery: StreamRequest, position: int) -> StreamPlan:
        """The plan that goes on from `position`; waits as long as the store does not answer."""
        pause = 0.1
        while True:
            try:
                plan = await self.plan(replace(recovery, last_id=position))
                RECOVERIES.inc(bool(plan.parts))
                return plan
            except Unavailable as error:
                self._unrecovered.tell("a room cannot be recovered yet: %s", error)
                await asyncio.sleep(pause)
                pause = min(2.0, 2 * pause)

    def _room(self, plan: StreamPlan) -> _Room:
        name = plan.request.room
        room = self.rooms.get(name)
        if room is None:
            room = self.rooms[name] = _Room(self, plan)
            self.note_held(name, True)
            ROOMS.inc()
        return room

    def _tick(self) -> None:
        self._timer = self.loop.call_later(TICK, self._tick)
        self.connections.cut_stalled()
        self.passes.tick()
        self._feed_quiet()
        if self._polls:
            for room in list(self.rooms.values()):
                if self.loop.time() - room.polled >= POLL_SECONDS:
                    room.polled = self.loop.time()
                    room.recover()

    def _feed_quiet(self) -> None:
        """Keeps the streams of quiet rooms alive: a bounded number, or one room, in each turn of the loop."""
        loop, given = self.loop, 0
        for room in list(islice(self.rooms.values(), STREAMS_AT_ONCE)):
            if loop.time() - room.fed < self._keep_alive:
                return
            given += sum(len(audience.members) for audience in room.audiences)
            room.feed(QUIET)
            if given >= STREAMS_AT_ONCE:
                break
        if self.rooms:
            loop.call_soon(self._feed_quiet)


class _Room:
    """The holds of one room, all at `position`."""

    def __init__(self, hub: LocalHub, plan: StreamPlan) -> None:
        self.name = plan.request.room
        self.position = plan.position
        self.audiences: tuple[Audience, ...] = ()
        self.fed = hub.loop.time()
        # Rooms that were opened together, after a restart, are not to be read together for ever.
        self.polled = self.fed - random.uniform(0, POLL_SECONDS)
        self._hub, self._recovery = hub, plan.recovery
        self._recovering: asyncio.Task[None] | None = None
        self._again, self._attaching = False, 0  # recover once more; holds being attached

    @property
    def inhabited(self) -> bool:
        return any(audience.members for audience in self.audiences)

    def audience(self, *, chunked: bool, live: bool) -> Audience:
        for audience in self.audiences:
            if (audience.chunked, audience.live) == (chunked, live):
                return audience
        audience = Audience(self._hub.connections, self._left, chunked=chunked, live=live)
        self.audiences += (audience,)
        return audience

    def attach(self, held: Hold, position: int) -> Awaitable[None]:
        """Lets the hold join once its position is the room's. Until then the room is kept for it."""
        self._attaching += 1
        return self._attach(held, position)

    async def _attach(self, held: Hold, position: int) -> None:
        try:
            if not self.inhabited:
                self.recover()
            while position != self.position and not held.closed:
                if position > self.position:
                    await asyncio.shield(self.recover())
                if position != self.position:
                    plan = await self._hub.recovered(self._recovery, position)
                    self._hub.connections.owe(held, b"", plan.parts, plan.size)
                    if plan.position == position:  # so the room is ahead of the log, which was replaced
                        await asyncio.shield(self.recover())
                    position = plan.position
            if held.audience is not None:
                held.audience.join(held)
        finally:
            self._attaching -= 1
            self._forget_if_empty()

    def publish(self, publication: Publication) -> None:
        if publication.id is None:
            self.feed(publication.content, live=True)
        elif publication.prev_id == self.position:
            self.position = publication.id
            self.feed(publication.content)
        elif publication.id > self.position:
            self.recover()

    def recover(self) -> asyncio.Task[None]:
        """Brings the room to the end of the log, as it is now or later."""
        self._again = True
        if self._recovering is None:
            self._recovering = self._hub.spawn(self._recover())
        return self._recovering

    async def _recover(self) -> None:
        try:
            while self._again:
                self._again, asked = False, self.position
                plan = await self._hub.recovered(self._recovery, asked)
                if self.position != asked:
                    self._again = True
                else:
                    self.position = plan.position
                    for block in batches(plan.parts):
                        self.feed(block)
        finally:
            self._recovering = None

    def feed(self, block: bytes, *, live: bool = False) -> None:
        """`live`: the block has no id, so it is for some audiences only, and puts off no keep-alive."""
        if not live:
            self.fed = self._hub.loop.time()
            if self._hub.rooms.get(self.name) is self:
                self._hub.rooms.move_to_end(self.name)
        for audience in self.audiences:
            if audience.live or not live:
                audience.feed(block)

    def _left(self, held: Hold) -> None:
        self._hub.passes.forget(held)
        self._forget_if_empty()

    def _forget_if_empty(self) -> None:
        if not self._attaching and not self.inhabited and self._hub.rooms.pop(self.name, None) is not None:
            self._hub.note_held(self.name, False)
            ROOMS.dec()
