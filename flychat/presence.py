"""Who is here, gathered: the names that come in a room within GATHER seconds are sent in one signal.

So each process sends N clients of a room N events in GATHER seconds, and not N times N. Nothing is kept from
one signal to the next. If a process is killed, the few names that it had gathered come again with their
clients' next signals. Of several processes each sends the names that it got, and the clients add them up.

What is gathered is bounded: of the names in a room the first NAMES are sent, of the others only their number,
up to ROOM_NAMES in a room and MOST in all. Those beyond these bounds are left out until the next time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .signals import present
from .streams import Publication

GATHER = 10.0  # seconds
NAMES = 100  # in one signal: 26 kB, if all of them are as long as can be
ROOM_NAMES = 1000
MOST = 100_000


class Presence:
    """Publishes who is here. The clock is handed in."""

    def __init__(self, publish: Callable[[Publication], None], now: Callable[[], float]) -> None:
        self._publish, self._now = publish, now
        self._rooms: dict[str, dict[str, None]] = {}  # the names, in the order in which they came
        self._names = 0  # in all rooms

    def here(self, room: str, name: str) -> None:
        """Somebody is here, and everybody is told within GATHER seconds."""
        if self._names >= MOST:
            return
        names = self._rooms.get(room)
        if names is None:
            names = self._rooms[room] = {}
            asyncio.get_running_loop().call_later(GATHER, self._tell, room)
        if name not in names and len(names) < ROOM_NAMES:
            names[name] = None
            self._names += 1

    def _tell(self, room: str) -> None:
        names = list(self._rooms.pop(room))
        self._names -= len(names)
        self._publish(present(room, names[:NAMES], max(0, len(names) - NAMES), now=self._now()))
