"""What is taken out of the log again: messages that are removed, rooms that are cleared, what is too old.

The store is changed first, and this process's memory at once after it, so nobody is shown it again.

To erase a person is to remove all that they wrote, with their names. The log is read from its beginning, a
few commits at a time, and what is found is removed. An erasure that was stopped goes on where it had got to.
It also finds commits that have expired but are still in the table: nobody reads them any more, so they are
emptied, without an entry in the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeAlias

from ..commits import Commit
from ..errors import NotFound, Unavailable
from ..fields import REMOVES
from ..messages import Draft, Message
from ..storage import Summary
from .clearing import clear, emptied
from .memory import Rooms
from .reading import available
from .removal import Removals
from .view import Common

Wrote: TypeAlias = Callable[[Message], bool]
Entry: TypeAlias = Callable[[tuple[int, ...]], Draft]

EXPIRED_AT_ONCE = 1000  # rooms that are looked at in one turn of the loop


class Upkeep:
    """For one log and its rooms in memory; `submit` puts an entry at the end of the log."""

    def __init__(self, common: Common, rooms: Rooms, submit: Callable[[Draft], Awaitable[Message]]) -> None:
        self._common, self._rooms = common, rooms
        self._removals = Removals(common, submit, self._bury)

    async def remove(self, draft: Draft, check: Callable[[Message], None]) -> Message:
        """See Removals."""
        self._check_open()
        return await self._removals.remove(draft, check)

    async def repair(self, name: str, removals: list[Message]) -> None:
        """Rewrites what these removals remove, in case the process that put them ended before it had."""
        with suppress(Unavailable):  # the next process that loads the room tries again
            await self._removals.repair(name, removals)

    def _bury(self, name: str, tombstone: Message) -> None:
        room = self._rooms.get(name)
        if room is not None and room.window is not None:
            room.window.replace(tombstone)
            self._rooms.weigh(room)

    async def clear(self, name: str) -> int:
        """Erases all messages of the room; returns the last id so far, 0 if there never was one.

        Raises Unavailable (it may be done in part: ask for the same again).
        """
        self._check_open()
        return await available(clear(self._common.engine, name, self._common.reader.patient, self._voided))

    def _voided(self, void: Commit) -> None:
        """The room is cleared up to `void`: resets the held streams, and empties or drops the window."""
        room = self._rooms.get(void.room)
        if room is not None:
            if room.window is not None and room.window.fold(void, self._common.now()):
                self._rooms.weigh(room)
            elif room.window is None or room.window.tail < void.last:
                room.forget()
        self._common.committed(void)

    async def erase(self, name: str, wrote: Wrote, entry: Entry, above: int) -> tuple[int, int | None]:
        """Removes what somebody `wrote`, with their names, from some of the commits above an id.

        Returns how many messages, and the id above which to go on. None: the log ended there when this began
        (to go on to its end of now might never end in a busy room). `entry` makes the draft that removes
        messages of these ids. Raises as `clear` does.
        """
        self._check_open()
        read, engine, erased = self._common.reader.patient, self._common.engine, 0
        tail = await available(read(lambda: engine.tail(name, 1)))
        end = tail[-1].first if tail else 0
        while True:
            commits = await available(read(lambda: engine.everything(name, above)))
            held = [commit for commit in commits if any(map(wrote, commit.messages))]
            shown = {each.first for each in await self._removals.holding(name, [c.first for c in held])}
            for commit in held:
                if commit.first not in shown:
                    erased += sum(map(wrote, commit.messages))
                    await available(read(partial(emptied, engine, commit)))
            found = [m.id for c in held if c.first in shown for m in c.messages if wrote(m)]
            try:
                for first in range(0, len(found), REMOVES):
                    await self._removals.remove(entry(tuple(found[first : first + REMOVES])), _anything)
            except NotFound:  # it has expired since, or was cleared
                continue
            reached = commits[-1].first if commits else end
            return erased + len(found), reached if reached < end else None

    async def rooms(self) -> list[Summary]:
        """All rooms of the store. Raises Unavailable."""
        return await available(self._common.reader.patient(self._common.engine.rooms))

    async def expire(self, before: str) -> None:
        """Has what is older than a date deleted, also from memory. Raises Unavailable."""
        await available(self._common.engine.expire(before))
        for number, room in enumerate(list(self._rooms.values())):
            if number % EXPIRED_AT_ONCE == 0:
                await asyncio.sleep(0)
            room.expire(before)

    def _check_open(self) -> None:
        if self._common.closing:
            raise Unavailable("this process is ending")


def _anything(message: Message) -> None:
    """All that was found may be removed."""
