"""Server-Sent Events: one event on the wire, and the position that a client comes back with.

Source: WHATWG HTML, section 9.2. The rules that matter here:
- a block is some `field: value` lines and a blank line; lines end with LF, CR or CRLF, so no value may
  contain one of them (all data here is JSON, in which they are escaped);
- a block without a `data:` line is never dispatched by a browser, so every event has one;
- `id:` sets the last event id, which the browser sends back as `Last-Event-ID`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

BEYOND_ANY_LOG = 10**18  # still fits a 64-bit column
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_DECIMAL = re.compile(r"[0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Event:
    """One event: `data` and `name` are free of line breaks, `retry` is in milliseconds."""

    name: str
    data: str = ""
    id: int | None = None
    retry: int | None = None

    def encode(self) -> bytes:
        """The event's block, UTF-8."""
        id_line = "" if self.id is None else f"id: {self.id}\n"
        retry_line = "" if self.retry is None else f"retry: {self.retry}\n"
        data_line = f"data: {self.data}\n" if self.data else "data:\n"
        return f"{retry_line}{id_line}event: {self.name}\n{data_line}\n".encode()


def to_json(value: dict[str, Any]) -> str:
    """JSON on one line: control characters are escaped, all else is left readable."""
    return _encode(value)


def read_position(value: str | None) -> int | None:
    """A strict decimal integer, else None: whatever a client sends, a position is a number or absent."""
    if value is None or not _DECIMAL.fullmatch(value):
        return None
    digits = value.lstrip("0") or "0"
    return int(digits) if len(digits) <= 18 else BEYOND_ANY_LOG
