"""The rules of the fields of a message. They stand here and nowhere else.

They are checked where a field comes in, so that all that passed can be written as UTF-8, JSON, a DynamoDB
string and an SSE line: no text has lone surrogates or control characters (except newline and tab in `text`).
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from .errors import Forbidden, Invalid, NotFound
from .sse import BEYOND_ANY_LOG, read_position

ROOM_CHARACTERS = 64
NFC_SHRINKS = 4  # characters at the most that NFC makes one of
SENDER_CHARACTERS = 64
USER_CHARACTERS = 255  # as OpenID Connect has it for a `sub`
TEXT_CHARACTERS = 4096
DATA_BYTES = 4096  # of compact JSON in UTF-8
DATA_DEPTH = 32  # that objects and lists may be nested: every parser must be able to read what is stored
REMOVES = 1000  # messages that one removal may take back

RESERVED_ROOMS = frozenset(
    {"healthz", "readyz", "metrics", "static", "robots.txt", "favicon.ico", "openapi.json"}
)

# The categories Cc and Cs, which Unicode will never change.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
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


def sender_field(fields: Mapping[str, Any], name: str | None) -> str:
    """Who sends this: its token's `name`, where that has one. Raises Invalid, Forbidden."""
    if name is not None and fields.get("from") not in (None, name):
        raise Forbidden("from: must be the name in the token, or absent")
    return sender_name(string_field(fields, "from") if name is None else name)


def user_id(sub: str) -> str:
    """`sub` itself, if it may stand as the user of a message. Raises Invalid."""
    return checked("user", sub, USER_CHARACTERS)


def iso_date(seconds: float) -> str:
    """Seconds since the epoch as ISO 8601 UTC with milliseconds: 2026-01-31T12:00:00.123Z."""
    micros = round(seconds * 1_000_000)  # as datetime rounds
    return f"{_iso_second(micros // 1_000_000)}.{micros % 1_000_000 // 1000:03d}Z"


def date_field(value: str) -> str:
    """The date of a message, as `iso_date` writes it. Raises Invalid."""
    try:
        datetime.fromisoformat(value)
    except ValueError:
        value = ""
    if not _DATE.fullmatch(value):
        raise Invalid("date", "must be like 2026-01-31T12:00:00.123Z")
    return value


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
    """A position, as JSON or a form has it. None, as if absent, for all that is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return read_position(value) if isinstance(value, str) else None


def data_field(value: Any, most: int = DATA_BYTES) -> dict[str, Any] | None:
    """The `data` of a message: a JSON object of `most` bytes at the most. Raises Invalid."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise Invalid("data", "must be a JSON object")
    try:  # first: to look into all that a body has room for takes eight times as long
        size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode())
    except RecursionError:
        size = 0
    except ValueError:  # NaN or an infinity; a lone surrogate, which is no UTF-8
        raise Invalid("data", "must be JSON in UTF-8") from None
    if size > most:
        raise Invalid("data", f"must have at most {most} bytes of JSON")
    if not _is_flat(value, DATA_DEPTH):
        raise Invalid("data", f"must not be nested more than {DATA_DEPTH} deep")
    return value


def _is_flat(value: Any, most: int) -> bool:
    """Whether it is nested `most` deep at the most."""
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return most > 0 and all(_is_flat(each, most - 1) for each in inner)


def removes_field(value: Any) -> tuple[int, ...]:
    """The ids of the messages to remove, in their order, each once. Raises Invalid."""
    if not isinstance(value, list) or not 1 <= len(value) <= REMOVES:
        raise Invalid("removes", f"must be a list of 1 to {REMOVES} ids")
    if not all(type(id) is int and 1 <= id < BEYOND_ANY_LOG for id in value):  # True is an int
        raise Invalid("removes", "must be ids of messages")
    return tuple(sorted(set(value)))


def new_id() -> str:
    """A random UUID (version 4), in a fourth of the time of uuid.uuid4."""
    return new_ids(1)[0]


def new_ids(many: int) -> list[str]:
    """`many` random UUIDs. The kernel is asked once for all: one call takes as long as making ten."""
    digits = secrets.token_hex(16 * many)
    return [_random_uuid(digits[at : at + 32]) for at in range(0, len(digits), 32)]


def _random_uuid(digits: str) -> str:
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def id_of(text: str) -> str:
    """The UUID (version 8) of a text: always the same."""
    digits = hashlib.sha256(text.encode()).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-8{digits[17:20]}-{digits[20:32]}"


def uuid_field(value: str) -> str:
    """A provisional id, in small letters. Raises Invalid."""
    if not _UUID.fullmatch(value):  # uuid.UUID also takes braces, urn: and bare hex
        raise Invalid("provisionalId", "must be a UUID")
    return value.lower()
