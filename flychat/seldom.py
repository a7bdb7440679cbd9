"""Log lines about what a client, or a store that is away, can cause any number of times.

If each time were logged, anybody could fill the disk, and hide what matters. /metrics has the numbers.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

SELDOM = 60.0  # seconds between two lines about the same thing


class Seldom:
    """Logs one kind of event: the first at once, then at most one line in SELDOM seconds."""

    def __init__(
        self,
        logger: logging.Logger,
        level: int = logging.WARNING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger, self._level, self._clock = logger, level, clock
        self._told = -math.inf
        self._untold = 0

    def tell(self, text: str, *values: object) -> bool:
        """Logs `text % values`, or counts it for the next line; says whether it was logged."""
        now = self._clock()
        if now - self._told < SELDOM:
            self._untold += 1
            return False
        more = f" ({self._untold} more of this kind since the last such line)" if self._untold else ""
        self._told, self._untold = now, 0
        self._logger.log(self._level, text + "%s", *values, more)
        return True
