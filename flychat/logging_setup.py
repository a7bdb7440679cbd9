"""The log: a line per event that is worth reading, for people or for programs. Never a message's text.

What a client, or a store that is away, can cause as often as it likes is told by a `Seldom`: or else anybody
could fill the disk, and bury what matters. How often it was is what /metrics is for.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime

SELDOM = 60.0  # seconds between two lines about the same thing


class Seldom:
    """Lines about what may happen often: the first at once, then one in SELDOM seconds at the most."""

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


class JsonFormatter(logging.Formatter):
    """A record as a line of JSON: time (ISO 8601, UTC), level, logger, message, and an exception's trace."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def start(form: str = "plain") -> None:
    """Logs to stderr from now on: plain, or json."""
    handler = logging.StreamHandler()
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if form == "json" else plain)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("tornado.general").setLevel(logging.ERROR)  # no line for each bad request or network
