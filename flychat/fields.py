"""The rules of the fields of a message. They stand here and nowhere else.

They are checked where a field comes in: whatever is inside can be encoded as UTF-8, JSON, a DynamoDB string
and an SSE line. So all text is free of lone surrogates and of control characters (but newline and tab in
`text`).
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from .errors import Invalid, NotFound
from .sse import read_position

ROOM_CHARACTERS = 64
NFC_SHRINKS = 4  # characters become one at the most
SENDER_CHARACTERS = 64
USER_CHARACTERS = 255  # as OpenID Connect has it for a `sub`
TEXT_CHARACTERS = 4096

RESERVED_ROOMS = frozenset(
    {"healthz", "readyz", "metrics", "static", "robots.txt", "favicon.ico", "openapi.json"}
)

# The categories Cc and Cs, which Unicode will never change.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_UUID = re.compile("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
CONTROL_IN_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def room_name(name: str) -> str:
    """The room that `name` (already percent-decoded) stands for: its NFC form.

    Raises Invalid for a name that breaks the rules, NotFound for a reserved one.
    """
    if len(name) > NFC_SHRINKS * ROOM_CHARACTERS:  # to normalise a long name can take as long as its square
        raise Invalid("room", f"must have 1 to {ROOM_CHARACTERS} characters")
    name = unicodedata.normalize("NFC", name)
    if "/" in name:
        raise Invalid("room", "must not contain '/'")
    checked("room", name, ROOM_CHARACTERS)
    if name in (".", ".."):  # however it is written, a browser takes it for a place in a path
        raise Invalid("room", "must not be '.' or '..'")
    if name in RESERVED_ROOMS:
        raise NotFound("this name is reserved")
    return name


def sender_name(name: str) -> str:
    """`name` itself, if it may stand as the sender of a message. Raises Invalid."""
    return checked("from", name, SENDER_CHARACTERS)


def user_id(sub: str) -> str:
    """`sub` itself, if it may stand as the user of a message. Raises Invalid."""
    return checked("user", sub, USER_CHARACTERS)


def iso_date(seconds: float) -> str:
    """Seconds since the epoch as ISO 8601 UTC with milliseconds: 2026-01-31T12:00:00.123Z."""
    micros = round(seconds * 1_000_000)  # as datetime rounds
    return f"{_iso_second(micros // 1_000_000)}.{micros % 1_000_000 // 1000:03d}Z"


@lru_cache(maxsize=4)
def _iso_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()[:19]


def string_field(fields: Mapping[str, Any], name: str) -> str:
    """The field, which has to be there. Raises Invalid."""
    value = fields.get(name)
    if not isinstance(value, str):
        raise Invalid(name, "is missing" if value is None else "must be a string")
    return value


def checked(field: str, value: str, most: int, forbidden: re.Pattern[str] = CONTROL) -> str:
    """The value, if it may stand in the field. Raises Invalid."""
    if not 1 <= len(value) <= most:
        raise Invalid(field, f"must have 1 to {most} characters")
    if forbidden.search(value):
        raise Invalid(field, "must not contain control characters")
    return value


def position_field(value: Any) -> int | None:
    """A position as JSON has it, or as a form does: as everywhere, what is none counts as absent."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return read_position(value) if isinstance(value, str) else None


def new_id() -> str:
    """A random UUID (version 4), for a fourth of what uuid.uuid4 takes."""
    digits = secrets.token_hex(16)
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def uuid_field(value: str) -> str:
    """A provisional id, in small letters. Raises Invalid."""
    if not _UUID.fullmatch(value):  # uuid.UUID also takes braces, urn: and bare hex
        raise Invalid("provisionalId", "must be a UUID")
    return value.lower()
