"""How many seconds a hold may hear nothing before its proxy asks for it again: the time-out of its link.

Pushpin keeps what is published for a hold that waits to be recovered, and recovers ten batches a second, of a
hundred holds at the most (httpsession.cpp: UPDATES_PER_ACTION_MAX; handlerengine.cpp: updateLimiter). All
holds whose links have the same time-out begin to wait together. So with thousands of them, asked for every 22
seconds, the proxy does little else, and all that is said is late: with 5,000 in one room, by up to five
seconds.

So the time-out is one second for each batch that had to wait behind another one in the last round, which is
about one for each hundred holds: then recoveries take a tenth of what a proxy can do. It is never below
LINK_SECONDS, nor on average above LONGEST: at the most it is 12 minutes. Each answer has another time-out
than the one before, so few links end together.

A hold with a pass always has a short one, so that the end of its right arrives whatever is lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable

LINK_SECONDS = range(18, 27)  # time-outs while the holds are few
LONGEST = 600.0  # seconds, on average
BATCH_SECONDS = 0.05  # within which the requests of one batch come
NEXT_SECONDS = 0.25  # within which the next batch comes if it had to wait: 0.1, and what the network takes
STEP = 0.618  # from one time-out to the next, of the way from shortest to longest: few are alike


class Links:
    """The links of all holds at some proxies. `now` is a clock, in seconds."""

    def __init__(self, proxies: int = 1, now: Callable[[], float] = time.monotonic) -> None:
        self._proxies, self._now = proxies, now
        self._batch = self._round = now()  # when the last one began
        self._waited = self._before = 0  # batches that did, in this round, and in the one before
        self._place = 0.0

    def recovered(self) -> None:
        """A proxy has asked for a hold again."""
        now = self._now()
        since = now - self._batch
        if since < BATCH_SECONDS:
            return
        self._batch = now
        if now - self._round > self.longest():  # by then each has been asked for
            self._round = now
            self._before, self._waited = self._waited, 0
        if since < NEXT_SECONDS:
            self._waited += 1

    def longest(self) -> float:
        """Seconds after which even a quiet hold has been asked for, if nothing waits."""
        usual = sum(LINK_SECONDS) / len(LINK_SECONDS)
        wanted = min(LONGEST, max(self._waited, self._before) / self._proxies)
        return (LINK_SECONDS[-1] + 1) * max(1.0, wanted / usual)

    def seconds(self, *, carries_pass: bool = False) -> int:
        """The time-out of the next link."""
        self._place = (self._place + STEP) % 1
        longest = LINK_SECONDS[-1] + 1 if carries_pass else self.longest()
        shortest = longest * LINK_SECONDS[0] / (LINK_SECONDS[-1] + 1)
        return int(shortest + self._place * (longest - shortest))
