"""The log: a line per event that is worth reading, for people or for programs. Never a message's text."""

from __future__ import annotations

import json
import logging
import select
import sys
from datetime import UTC, datetime
from typing import TextIO

PATIENCE = 0.1  # seconds that a line waits for a reader who has stopped reading
PIECE = select.PIPE_BUF // 4  # characters, of 4 bytes at most: a pipe that is ready takes so many at once


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


class LogHandler(logging.StreamHandler[TextIO]):
    """Writes lines to a file that poll() knows. A line that nobody reads is lost, and the next one says so.

    stderr may be a pipe whose reader hangs, such as a container's log driver, or a terminal that is stopped
    (Ctrl-S). To wait for these would be to serve nobody meanwhile.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._ready = select.poll()
        self._ready.register(stream.fileno(), select.POLLOUT)
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record) + "\n"
            if self._lost:
                text = self.format(self._loss()) + "\n" + text
            pieces = [text[at : at + PIECE] for at in range(0, len(text), PIECE)]
            if all(self._written(piece) for piece in pieces):
                self._lost = 0
            else:
                self._lost += 1
        except Exception:  # as all of logging's own handlers do
            self.handleError(record)

    def _written(self, piece: str) -> bool:
        if not self._ready.poll(0 if self._lost else PATIENCE * 1000):
            return False
        self.stream.write(piece)
        self.flush()
        return True

    def _loss(self) -> logging.LogRecord:
        what = "lines before this one are lost: nobody read the log"
        return logging.LogRecord(__name__, logging.WARNING, "", 0, f"%d {what}", (self._lost,), None)


def start(form: str = "plain") -> None:
    """Logs to stderr from now on: plain, or json."""
    handler = LogHandler(sys.stderr) if sys.stderr else logging.NullHandler()
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if form == "json" else plain)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("tornado.general").setLevel(logging.ERROR)  # no line for each bad request or network
