"""The holds that carry a pass, and how they end.

Whether a pass still gives its right is not decided here: `ended` is asked when the hold begins, when the pass
expires, and at every `recheck`. A hold that ends is sent what was published before, then a `stream-end` that
says why, both if its socket has room for them; nothing after that.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from typing import TypeAlias

from ..access import UNSURE, Pass
from ..streams import stream_end
from .sockets import SLICE, Connections, Hold

Ended: TypeAlias = Callable[[str, Pass | None, float], str | None]  # (room, pass, now) -> why, or None


def never(room: str, pass_: Pass | None, now: float) -> str | None:
    """Nothing takes a right away."""
    return None


class Passes:
    """By hold, by pass, and by when the pass expires."""

    def __init__(self, connections: Connections, ended: Ended) -> None:
        self.ended = ended
        self._connections = connections
        self._carried: dict[Hold, tuple[str, Pass]] = {}
        self._by_id: dict[str, dict[Hold, None]] = {}
        self._expiring: list[tuple[int, int, Hold]] = []  # a heap; some of them may be gone
        self._number = itertools.count()  # connections cannot be compared

    def carry(self, held: Hold, room: str, pass_: Pass) -> None:
        """The hold carries the pass from now on."""
        self._carried[held] = (room, pass_)
        self._by_id.setdefault(pass_.id, {})[held] = None
        heapq.heappush(self._expiring, (pass_.expires, next(self._number), held))
        self._judge([held], time.time())  # it may have been revoked while the plan was made

    def forget(self, held: Hold) -> None:
        """The hold has ended."""
        carried = self._carried.pop(held, None)
        if carried is None:
            return
        id = carried[1].id
        del self._by_id[id][held]
        if not self._by_id[id]:
            del self._by_id[id]
        if len(self._expiring) > 2 * len(self._carried) + SLICE:
            self._expiring = [entry for entry in self._expiring if entry[2] in self._carried]
            heapq.heapify(self._expiring)

    def recheck(self, id: str | None) -> None:
        """Ends the holds of this pass, or of any, that have no right any more."""
        self._judge(list(self._carried if id is None else self._by_id.get(id, ())), time.time())

    def tick(self) -> None:
        """Ends the holds that have expired. To be called now and then."""
        now, due = time.time(), []
        while self._expiring and self._expiring[0][0] <= now:
            due.append(heapq.heappop(self._expiring)[2])
        self._judge(due, now)  # all by this `now`: the clock may be set back before the last slice's turn

    def _judge(self, holds: list[Hold], now: float, at: int = 0) -> None:
        """A slice of them at once, the others when the loop has had its turn."""
        for held in holds[at : at + SLICE]:
            if held in self._carried and (why := self.ended(*self._carried[held], now)):
                if why == UNSURE:  # without a word: it may come back
                    self._connections.cut(held, why)
                else:
                    self._connections.let_go(held, stream_end(why).encode(), why)
        if at + SLICE < len(holds):
            asyncio.get_running_loop().call_soon(self._judge, holds, now, at + SLICE)
