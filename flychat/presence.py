"""Who is here, gathered: the names of GATHER seconds in a room are told in one signal.

So N listeners to a room are sent N events in GATHER seconds by each process, and not N times N. Nothing is
kept here from one signal to the next. If a process is killed, the few names that it had gathered come again
with their clients' next signals. Where there are several processes, each tells what it was told, and the
clients add it up.

What is gathered is bounded: NAMES are told by name and the others by their number, up to ROOM_NAMES in a
room, and MOST names in all. Those beyond these bounds are left out until the next time.
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
