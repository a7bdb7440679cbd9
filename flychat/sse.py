"""Server-Sent Events: one event on the wire, both ways, and the position that a client comes back with.

Source: WHATWG HTML, section 9.2. The rules that matter here:
- a block is some `field: value` lines and a blank line; lines end with LF, CR or CRLF, so no value may
  contain one of them (all data here is JSON, in which they are escaped);
- a block without a `data:` line is never dispatched by a browser, so every event has one;
- `id:` sets the last event id, which the browser sends back as `Last-Event-ID`. It comes last: some clients
  take it as soon as they read the line, so a connection that is cut after it would cost them the event.
"""

from __future__ import annotations

import json
import re
from json.encoder import encode_basestring
from typing import Any

from .values import value

BEYOND_ANY_LOG = 10**18  # an id that no log reaches; it fits a 64-bit column
EVENT_BYTES = 1 << 20  # the most that is read of one event; the longest that flychat writes has some 30 kB
BYTE_ORDER_MARK = "\ufeff"
quoted = encode_basestring  # a string as `compact_json` writes it
compact_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_DECIMAL = re.compile(r"[0-9]+", re.ASCII)


@value
class Event:
    """One event: `data` and `name` are free of line breaks, `retry` is in milliseconds."""

    name: str
    data: str = ""
    id: int | None = None
    retry: int | None = None

    def encode(self) -> bytes:
        """The event's block, UTF-8."""
        return block(self.name, self.data, self.id, self.retry)


def block(name: str, data: str, id: int | None = None, retry: int | None = None) -> bytes:
    """What `Event.encode` makes of these fields, without an Event: in a third of the time."""
    retry_line = "" if retry is None else f"retry: {retry}\n"
    data_line = f"data: {data}\n" if data else "data:\n"
    id_line = "" if id is None else f"id: {id}\n"
    return f"{retry_line}event: {name}\n{data_line}{id_line}\n".encode()


def to_json(value: dict[str, Any]) -> str:
    """JSON on one line: control characters and Unicode's line breaks are escaped, all else is readable."""
    return on_one_line(compact_json(value))


def on_one_line(json: str) -> str:
    """Compact JSON, in which U+2028 and U+2029 are escaped.

    They end no line of an event stream, but some clients split it there.
    """
    return json if json.isascii() else json.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def read_position(value: str | None) -> int | None:
    """A strict decimal integer, else None: whatever a client sends, a position is a number or absent."""
    if value is None or not _DECIMAL.fullmatch(value):
        return None
    digits = value.lstrip("0") or "0"
    return int(digits) if len(digits) <= 18 else BEYOND_ANY_LOG


class Parser:
    """Takes a stream's bytes as they come, and returns each event once it is complete.

    Unlike in a browser, an event has only the id of its own block, and a block without data is an event too
    if it has a `retry:`.
    """

    def __init__(self) -> None:
        self._line = bytearray()  # the beginning of a line
        self._fields: dict[str, list[str]] = {}
        self._size = 0
        self._after_cr = self._begun = False

    def feed(self, data: bytes) -> list[Event]:
        """The events that end within `data`. Raises ValueError for one of more than EVENT_BYTES."""
        # A CRLF may have been cut in two.
        rest = data[1:] if self._after_cr and data.startswith(b"\n") else data
        self._after_cr = data.endswith(b"\r") if data else self._after_cr
        events = []
        for piece in rest.splitlines(keepends=True):
            self._line += piece
            self._size += len(piece)
            if self._size > EVENT_BYTES:
                raise ValueError(f"an event of more than {EVENT_BYTES} bytes")
            if not piece.endswith((b"\n", b"\r")):
                break
            line, self._line = self._line.rstrip(b"\r\n").decode(errors="replace"), bytearray()
            line, self._begun = line if self._begun else line.removeprefix(BYTE_ORDER_MARK), True
            if line:
                name, _, value = line.partition(":")
                self._fields.setdefault(name, []).append(value.removeprefix(" "))
                continue
            if "data" in self._fields or "retry" in self._fields:
                events.append(self._event())
            self._fields, self._size = {}, 0
        return events

    def _event(self) -> Event:
        last = {name: values[-1] for name, values in self._fields.items()}
        data = "\n".join(self._fields.get("data", ()))
        id, retry = read_position(last.get("id")), read_position(last.get("retry"))
        return Event(last.get("event") or "message", data, id, retry)
