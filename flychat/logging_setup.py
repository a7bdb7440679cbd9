"""The log: a line per event that is worth reading, for people or for programs. Never a message's text."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import sys
from datetime import UTC, datetime

PATIENCE = 0.1  # seconds that a line waits for a reader who has stopped reading


class JsonFormatter(logging.Formatter):
    """A record as a line of JSON: time (ISO 8601, UTC), level, logger, message, and an exception's trace.

    What a record has in `fields` follows the message, a field each.
    """

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


class LogHandler(logging.Handler):
    """Writes lines to a descriptor. What it does not take is lost, and the next line says how much that is.

    stderr may be a pipe whose reader hangs, such as a container's log driver, or a terminal that is stopped
    (Ctrl-S). To wait for these would be to serve nobody meanwhile.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._ready = select.poll()
        self._ready.register(descriptor, select.POLLOUT)
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record) + "\n"
            if self._lost:
                text = self.format(self._loss()) + "\n" + text
            line = text.encode(errors="backslashreplace")
            pieces = [line[at : at + select.PIPE_BUF] for at in range(0, len(line), select.PIPE_BUF)]
            self._lost = 0 if all(map(self._taken, pieces)) else self._lost + 1
        except Exception:  # as all of logging's own handlers do
            self.handleError(record)

    def _taken(self, piece: bytes) -> bool:
        """A pipe that is ready takes PIPE_BUF bytes at once."""
        if not self._ready.poll(0 if self._lost else PATIENCE * 1000):
            return False
        try:
            return os.write(self._descriptor, piece) == len(piece)
        except OSError:  # a full disk; nobody reads any more
            return False

    def _loss(self) -> logging.LogRecord:
        text = "%d lines before this one are lost: the log took no more"
        return logging.LogRecord(__name__, logging.WARNING, "", 0, text, (self._lost,), None)


def unblocked(descriptor: int) -> int:
    """Where to write so that nothing waits: poll() says that a terminal has room, but not how much."""
    if os.isatty(descriptor):
        with contextlib.suppress(OSError):  # it may be another user's
            return os.open(os.ttyname(descriptor), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    return descriptor


def start(form: str = "plain") -> None:
    """Logs to stderr from now on: plain, or json."""
    handler = LogHandler(unblocked(sys.stderr.fileno())) if sys.stderr else logging.NullHandler()
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if form == "json" else plain)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("tornado.general").setLevel(logging.ERROR)  # no line for each bad request or network
