"""What is taken out of the log again: messages that are removed, rooms that are cleared, what is too old.

The store is changed first. What this process has in memory of it follows at once, so nobody is shown it
again.

To erase a person is to remove all that they wrote, and their names with it. The log is gone through from its
beginning, and what is found is removed, a few commits at a time. An erasure that is stopped goes on from the
place that it has reached. It also finds what has expired and is still in the table: nobody reads that any
more, so it is emptied, without an entry in the log.
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
from ..storage import Summary, Taken
from .clearing import clear
from .memory import Rooms
from .reading import available
from .removal import Removals
from .view import Common

Wrote: TypeAlias = Callable[[Message], bool]
Entry: TypeAlias = Callable[[tuple[int, ...]], Draft]

EXPIRED_AT_ONCE = 1000  # rooms that are looked at in one turn of the loop


class Upkeep:
    """Of one log and its rooms in memory; `submit` puts an entry at the end of the log."""

    def __init__(self, common: Common, rooms: Rooms, submit: Callable[[Draft], Awaitable[Message]]) -> None:
        self._common, self._rooms = common, rooms
        self._removals = Removals(common, submit, self._bury)

    async def remove(self, draft: Draft, check: Callable[[Message], None]) -> Message:
        """See Removals."""
        self._check_open()
        return await self._removals.remove(draft, check)

    async def repair(self, name: str, removals: list[Message]) -> None:
        """Does what others, who put these removals, may have left undone."""
        with suppress(Unavailable):  # whoever loads the room next tries again
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
        """The room is cleared, up to here: held streams are reset, and nobody is shown the rest any more."""
        room = self._rooms.get(void.room)
        if room is not None:
            if room.window is not None and room.window.fold(void, self._common.now()):
                self._rooms.weigh(room)
            elif room.window is None or room.window.tail < void.last:
                room.forget()
        self._common.committed(void)

    async def erase(self, name: str, wrote: Wrote, entry: Entry, above: int) -> tuple[int, int | None]:
        """Removes some of what somebody `wrote`, and their names: how much, and above which id to go on.

        `entry` makes the draft that removes messages. None: the end is reached. Raises as `clear` does.
        """
        self._check_open()
        read, engine, erased = self._common.reader.patient, self._common.engine, 0
        while True:
            commits = await available(read(lambda: engine.everything(name, above)))
            held = [commit for commit in commits if any(map(wrote, commit.messages))]
            shown = {each.first for each in await self._removals.holding(name, [c.first for c in held])}
            for commit in held:
                if commit.first not in shown:
                    erased += sum(map(wrote, commit.messages))
                    await self._empty(commit)
            found = [m.id for c in held if c.first in shown for m in c.messages if wrote(m)]
            try:
                for first in range(0, len(found), REMOVES):
                    await self._removals.remove(entry(tuple(found[first : first + REMOVES])), _anything)
            except NotFound:  # it has expired since, or was cleared
                continue
            return erased + len(found), commits[-1].first if commits else None

    async def _empty(self, commit: Commit) -> None:
        change = partial(self._common.engine.rewrite, commit, commit.emptied())
        with suppress(Taken):  # an earlier try was applied; or it is deleted by now
            await available(self._common.reader.patient(change))

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
