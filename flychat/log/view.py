"""What this process knows of the end of a room's log: a window, and how old that knowledge is.

A window is read when somebody needs it, and forgotten when it may be wrong. A draft that is sent again is
recognised in it. If its keys do not reach back to when the draft was first sent: for a draft with a position
(`Draft.since`) the log is searched from there on, however long ago that was; for one without, the window
reads on, back over the newest 256 messages and 2 minutes.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from ..commits import Commit
from ..errors import TooOld, Unavailable
from ..messages import Draft, Key, Message
from ..seldom import Seldom
from ..soon import Soon
from ..sse import BEYOND_ANY_LOG
from ..storage import READ_BYTES, Engine, Hole
from ..streams import HISTORY, REPLAY
from .keys import KEYS
from .reading import Reader, messages_of
from .window import Window, same_text

logger = logging.getLogger(__name__)

FIRST = HISTORY + 10  # messages that are read of a room at first, at the most
NEAR = 6  # of these are from before the position of the first who asks: the others are near it, or ahead
SEARCHED = 100_000  # messages, at the most, that are searched for a draft that is sent again
SEARCHES = 2  # at once: no other request costs the store as much
SEARCH_SECONDS = 10.0  # for one of them
TAIL_SECONDS = 3600.0  # an older tail is read again before it is used: the log may have been replaced

Searched: TypeAlias = Callable[[int], None]
Told: TypeAlias = Callable[[asyncio.Future[Message]], None]


def not_told(what: object) -> None:
    """The default where a function is to be called: nobody is told."""


@dataclass(eq=False)
class Common:
    """What the rooms of one log have in common.

    `committed` is called with every commit that this process wrote, or found its drafts in, in the order of
    their ids; `weighed` with a view whose window may take more or less memory than before; `repair` with the
    removals in a window that was read. `now` is the wall clock. A window keeps at least `limit` messages.
    """

    engine: Engine
    reader: Reader
    committed: Callable[[Commit], None]
    weighed: Callable[[View], None]
    repair: Callable[[str, list[Message]], Coroutine[None, None, None]]
    limit: int
    now: Callable[[], float]
    rng: random.Random
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)  # to ask costs 0.5 us
    soon: Soon = field(default_factory=lambda: Soon(asyncio.get_running_loop()))
    closing: bool = False
    landed: asyncio.Event = field(default_factory=asyncio.Event)  # set when a put without a task is answered
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    searches: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SEARCHES))
    failing: Seldom = field(default_factory=lambda: Seldom(logger, logging.ERROR))
    mute: Seldom = field(default_factory=lambda: Seldom(logger))

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


class View:
    """The window of a room, None while it is unknown."""

    def __init__(self, name: str, common: Common) -> None:
        self.name = name
        self.window: Window | None = None
        self.bytes = 0  # of the window, as last counted
        self._common = common
        self._known = (0.0, 0.0)  # when the window was last known to be up to date: loop time, wall time
        self._forgotten = 0  # how often it was; a reading that began before the last time is not taken in
        # Of drafts that were given up, and may be in the log all the same; none while there is a window.
        self._doubtful: set[Key] = set()

    async def warm(self, position: int | None = None) -> Window:
        """The window. If it is not known it is read: from a position on, else the newest FIRST messages.

        Raises Unavailable.
        """
        while self.window is None:
            await self._common.reader.share(self.name, partial(self._load, FIRST, position))
        return self.window

    async def warm_for(self, *, keys: bool) -> Window:
        """The same for messages that are to be stored: at once, without a turn among the readers.

        With `keys`, KEYS messages are read, by which drafts without a position are recognised.
        """
        load = partial(self._load, KEYS if keys else FIRST, None)
        while self.window is None:
            await self._common.reader.share((self.name, "for a message", keys), load, at_once=True)
        return self.window

    async def _load(self, limit: int, position: int | None) -> None:
        if self.window is not None:  # since this was asked for
            return
        common, asked, forgotten = self._common, self.clocks(), self._forgotten
        commits: list[Commit] = []
        if position is not None and not self._doubtful:
            commits = await self._since(max(0, position - NEAR))
        if not commits:
            commits = await common.reader.patient(lambda: common.engine.tail(self.name, limit))
        # Otherwise another reading was faster, or this one may be wrong by now.
        if self.window is None and self._forgotten == forgotten:
            self.window = Window(commits, common.limit, common.now())
            self.renewed(asked)
            self._loaded(commits)
            if removals := [message for message in messages_of(commits) if message.removes]:
                common.spawn(common.repair(self.name, removals))
            common.weighed(self)

    def _loaded(self, commits: list[Commit]) -> None:
        """Called when the window has just been read, with its commits."""

    async def _since(self, position: int) -> list[Commit]:
        """The end of the log from a position on; [] if that is FIRST messages or more, or READ_BYTES."""
        commits = await self.after(position, FIRST)
        if commits and commits[-1].last - position < FIRST and sum(c.size for c in commits) < READ_BYTES:
            return commits
        return []

    async def deepen(self, window: Window, first: int) -> None:
        """Reads the past into the window, back to the id `first` if it can be had. Raises as `warm`."""
        oldest = BEYOND_ANY_LOG
        while first < window.oldest < oldest and not window.at_bottom:
            oldest = window.oldest
            limit = FIRST if oldest - first <= FIRST else REPLAY
            # The key has the window, since the room has another one if it was shortened meanwhile.
            await self._common.reader.share((window, "past"), partial(self._read_past, window, limit))

    async def _read_past(self, window: Window, limit: int) -> None:
        # Below what is the oldest message now: the reading before this one may have added older ones.
        await self._prepend(window, window.oldest, limit)

    async def _prepend(self, window: Window, below: int, limit: int) -> None:
        common = self._common
        commits = await common.reader.patient(lambda: common.engine.before(self.name, below, limit))
        window.prepend(commits, below)
        common.weighed(self)

    async def after(self, id: int, limit: int) -> list[Commit]:
        """What follows `id` in the log; [] if a hole is found, as if the log were another one."""
        common = self._common
        try:
            return await common.reader.patient(lambda: common.engine.after(self.name, id, limit))
        except Hole:
            return []

    def recall_at_once(self, draft: Draft, window: Window) -> Message | Draft | None:
        """The message, if this very draft is in the log already; the draft, if it is not.

        None if that is not known without reading. Raises Conflict.
        """
        found = self._find(window, draft)
        if found is None and window.covers(draft.since, self._common.now()):
            return draft
        return found if isinstance(found, Message) else None

    def _find(self, window: Window, draft: Draft) -> Message | int | None:
        """As `Window.find`; but only the id if the store is shared: others may have removed the message."""
        return window.keys.find(draft.key) if self._common.engine.shared else window.find(draft)

    async def search(self, draft: Draft, searched: Searched) -> Message | int:
        """The draft's message; else the id up to which the log does not have it.

        `searched` is called with the number of ids that the store searches, before it does. Raises Conflict,
        TooOld, Unavailable.
        """
        try:
            async with asyncio.timeout(SEARCH_SECONDS):
                return await self._search(draft, searched)
        except TimeoutError:
            raise Unavailable("the message store is slow") from None

    async def _search(self, draft: Draft, searched: Searched) -> Message | int:
        window = await self.warm_for(keys=False)
        found = self._find(window, draft)
        if found is None and draft.since is None:
            async with self._common.searches:
                await self._reach_back(window)
            found = self._find(window, draft)
        if isinstance(found, Message):
            return found
        first, commits = window.keys.first, list[Commit]()
        if found is not None:
            commits = await self.after(found - 1, 1)
        elif draft.since is not None and not window.covers(draft.since, self._common.now()):
            commits = await self._search_store(draft, draft.since, first, searched)
        message = next((m for m in messages_of(commits) if m.key == draft.key), None)
        if message is not None:
            return same_text(message, draft)
        if found is not None and self.window is window:  # others have cleared the room
            self.forget()
        return first - 1

    async def _search_store(self, draft: Draft, above: int, below: int, searched: Searched) -> list[Commit]:
        """The commits between two ids that have a message of the draft's provisional id."""
        if below - 1 - above > SEARCHED:
            raise TooOld
        searched(below - 1 - above)
        common = self._common
        async with common.searches:
            return await common.reader.patient(
                lambda: common.engine.find(self.name, above, below, draft.provisional_id)
            )

    async def _reach_back(self, window: Window) -> None:
        """Reads keys into the window until it knows drafts without a position, or has SEARCHED keys."""
        while not window.covers(None, self._common.now()) and window.tail - window.keys.first < SEARCHED:
            await self._prepend(window, window.keys.first, KEYS)

    def shorten(self, most: int) -> None:
        """Keeps only the newest `most` messages, if there are over twice as many.

        In a new window: a reader that is using the old one goes on with that.
        """
        if self.window is not None and len(self.window.messages) > 2 * most:
            self.window = self.window.shortened(most, self._common.now())

    @property
    def is_written(self) -> bool:
        """Whether it has keys of the last two minutes: all of these would have to be read again."""
        return self.window is not None and self.window.keys.has_young(self._common.now())

    def forget(self) -> None:
        """Drops the window, and what is being read for one: either may be wrong."""
        self.window = None
        self._forgotten += 1
        self._common.weighed(self)

    def clocks(self) -> tuple[float, float]:
        """Loop time and wall time. To be taken before the store is asked: the machine may sleep meanwhile."""
        return self._common.loop.time(), self._common.now()

    def renewed(self, asked: tuple[float, float]) -> None:
        """The window was up to date when the clocks showed this."""
        self._known = asked

    def old(self, now: tuple[float, float] | None = None) -> bool:
        """Whether the log must be read before the tail is used. In sleep the loop's clock stands still."""
        (loop_time, wall_time), (known_loop, known_wall) = now or self.clocks(), self._known
        return loop_time - known_loop > TAIL_SECONDS or abs(wall_time - known_wall) > TAIL_SECONDS
