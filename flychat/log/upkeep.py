"""What is taken out of the log again: messages that are removed, and what is too old.

The store is told first. What this process has in memory of it follows at once, so nobody is shown it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from ..errors import Unavailable
from ..messages import Draft, Message
from ..storage import StoreFailed
from .memory import Rooms
from .removal import Removals
from .view import Common

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

    async def expire(self, before: str) -> None:
        """Has what is older than a date deleted, also from memory. Raises Unavailable."""
        try:
            await self._common.engine.expire(before)
        except StoreFailed as error:
            raise Unavailable(str(error)) from error
        for number, room in enumerate(list(self._rooms.values())):
            if number % EXPIRED_AT_ONCE == 0:
                await asyncio.sleep(0)
            room.expire(before)

    def _check_open(self) -> None:
        if self._common.closing:
            raise Unavailable("this process is ending")
