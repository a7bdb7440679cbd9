"""The vocabulary: a draft is committed to a room's log and becomes a message.

The rules of the fields stand here and nowhere else. They are checked where they come in, by `room_name`,
`user_id` and `Draft.create`: whatever is inside can be encoded as UTF-8, JSON, a DynamoDB string and an SSE
line. So all text is free of lone surrogates and of control characters (but newline and tab in `text`).

A message is a value: neither its id nor its content ever changes. Its key, (user, from, provisionalId), is
how a message is recognised when it comes again. Everybody is shown the provisional id of a message before it
is stored, so the key has what others cannot take: `user`, which only a token gives (None: anonymous). Else
who is quick could post another text under the id of somebody else's message, and have that refused.

A commit is what the log stores at once: 1 to 64 messages with consecutive ids. 64 is part of the
stored format, because readers search the places X-63..X for the commit that holds id X.
A commit of a room that was cleared is void: its messages are gone, and its ids stay taken.
"""

from __future__ import annotations

import json
import re
import unicodedata
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

from .errors import Forbidden, Invalid, NotFound
from .sse import Event, compact_json, json_string, read_position

ROOM_CHARACTERS = 64
NFC_SHRINKS = 4  # characters become one at the most
SENDER_CHARACTERS = 64
USER_CHARACTERS = 255  # as OpenID Connect has it for a `sub`
TEXT_CHARACTERS = 4096
COMMIT_MESSAGES = 64
COMMIT_BYTES = 65_536  # of `Commit.payload` in UTF-8; 1 WCU of DynamoDB is 1 KB, so this is 64 at the most

RESERVED_ROOMS = frozenset(
    {"healthz", "readyz", "metrics", "static", "robots.txt", "favicon.ico", "openapi.json"}
)

# The categories Cc and Cs, which Unicode will never change.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_UUID = re.compile("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CONTROL_IN_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

Key: TypeAlias = tuple[str | None, str, str]  # user, from, provisionalId


def room_name(name: str) -> str:
    """The room that `name` (already percent-decoded) stands for: its NFC form.

    Raises Invalid for a name that breaks the rules, NotFound for a reserved one.
    """
    if len(name) > NFC_SHRINKS * ROOM_CHARACTERS:  # to normalise a long name can take as long as its square
        raise Invalid("room", f"must have 1 to {ROOM_CHARACTERS} characters")
    name = unicodedata.normalize("NFC", name)
    if "/" in name:
        raise Invalid("room", "must not contain '/'")
    _check("room", name, ROOM_CHARACTERS)
    if name in (".", ".."):  # however it is written, a browser takes it for a place in a path
        raise Invalid("room", "must not be '.' or '..'")
    if name in RESERVED_ROOMS:
        raise NotFound("this name is reserved")
    return name


def sender_name(name: str) -> str:
    """`name` itself, if it may stand as the sender of a message. Raises Invalid."""
    return _check("from", name, SENDER_CHARACTERS)


def user_id(sub: str) -> str:
    """`sub` itself, if it may stand as the user of a message. Raises Invalid."""
    return _check("user", sub, USER_CHARACTERS)


def iso_date(seconds: float) -> str:
    """Seconds since the epoch as ISO 8601 UTC with milliseconds: 2026-01-31T12:00:00.123Z."""
    micros = round(seconds * 1_000_000)  # as datetime rounds
    return f"{_iso_second(micros // 1_000_000)}.{micros % 1_000_000 // 1000:03d}Z"


@lru_cache(maxsize=4)
def _iso_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()[:19]


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that is on its way to the log of `room`; it has no id yet."""

    room: str
    sender: str
    text: str
    date: str
    provisional_id: str
    user: str | None = None  # who the token says it is from
    since: int | None = field(default=None, compare=False)  # what its author had when it was first sent

    @classmethod
    def create(
        cls,
        room: str,
        fields: Mapping[str, Any],
        *,
        now: float,
        user: str | None = None,
        name: str | None = None,
        new_id: Callable[[], uuid.UUID] = uuid.uuid4,
    ) -> Draft:
        """The draft that a POST describes: `from`, `text`, and optionally `provisionalId` and `lastEventId`.

        `user` and `name` are its token's: no field can say another. With a name, `from` may be left out.
        A line break may be CRLF, as HTML forms send it, and is kept as LF. Raises Invalid, Forbidden.
        """
        if name is not None and fields.get("from") not in (None, name):
            raise Forbidden("from: must be the name in the token, or absent")
        sender = sender_name(_string(fields, "from") if name is None else name)
        text = _string(fields, "text").replace("\r\n", "\n")
        text = _check("text", text, TEXT_CHARACTERS, _CONTROL_IN_TEXT)
        given = fields.get("provisionalId")
        provisional_id = str(new_id()) if given is None else _uuid(_string(fields, "provisionalId"))
        since = _position(fields.get("lastEventId"))
        return cls(room, sender, text, iso_date(now), provisional_id, user, since)

    @property
    def key(self) -> Key:
        return (self.user, self.sender, self.provisional_id)


@dataclass(frozen=True, slots=True)
class Message:
    """An official message: `id` is its place in the log of its room, from 1 and without gaps.

    `user` is who the token of its author said it is, None without one. `extra` is what a later version has
    stored with it: not understood here, but kept if it is stored again.
    """

    id: int
    sender: str
    text: str
    date: str
    provisional_id: str
    user: str | None = None
    extra: Mapping[str, Any] | None = field(default=None, hash=False)
    _block: bytes = field(default=b"", init=False, repr=False, compare=False)

    @property
    def key(self) -> Key:
        return (self.user, self.sender, self.provisional_id)

    @property
    def block(self) -> bytes:
        """The message as an event of a stream, UTF-8: the same bytes live and replayed, in both modes.

        Made once for each message, and shared by every plan that it is in.
        """
        if not self._block:
            object.__setattr__(self, "_block", Event("message", wire_text(self), id=self.id).encode())
        return self._block

    @property
    def json(self) -> bytes:
        """The message as its POST is answered: a line of JSON, the one in its block."""
        block = self.block
        start = block.index(b"\ndata: ") + 7
        return block[start : block.index(b"\n", start) + 1]


@dataclass(frozen=True)
class Commit:
    """Messages that enter the log of `room` together, at place `first`.

    One without messages is void: `void` says its first id, and how many ids it takes.
    """

    room: str
    messages: tuple[Message, ...]
    void: tuple[int, int] | None = None

    @classmethod
    def of(cls, first: int, drafts: list[Draft]) -> Commit:
        """The drafts (all of one room) as the messages first, first + 1, ..."""
        messages = tuple(
            Message(id, draft.sender, draft.text, draft.date, draft.provisional_id, draft.user)
            for id, draft in enumerate(drafts, first)
        )
        return cls(drafts[0].room, messages)

    @classmethod
    def read(cls, room: str, first: int, payload: str, ids: int = 1) -> Commit:
        """The commit that was stored at `first` as `payload`; a void one takes `ids` ids."""
        messages = tuple(_stored(id, *fields) for id, fields in enumerate(json.loads(payload), first))
        commit = cls(room, messages, None if messages else (first, ids))
        commit.__dict__["payload"] = payload  # as it is stored, which `rewrite` compares
        return commit

    def emptied(self) -> Commit:
        """The same place and ids, without messages."""
        return Commit(self.room, (), (self.first, self.ids))

    @property
    def first(self) -> int:
        return self.messages[0].id if self.void is None else self.void[0]

    @property
    def last(self) -> int:
        return self.messages[-1].id if self.void is None else sum(self.void) - 1

    @property
    def ids(self) -> int:
        """How many ids it takes."""
        return self.last - self.first + 1

    @cached_property
    def payload(self) -> str:
        """The messages as stored: JSON, an array of `payload_item`s. Ids follow from `first`."""
        return self._encode()

    @cached_property
    def size(self) -> int:
        """The bytes of the payload as this version writes it, in UTF-8: one in ASCII, of before, has more."""
        return len((self._encode() if "\\u" in self.payload else self.payload).encode())

    def _encode(self) -> str:
        return "[" + ",".join(map(payload_item, self.messages)) + "]"


def wire_json(message: Draft | Message) -> dict[str, Any]:
    """{"id", "from", "text", "date", "provisionalId"}, as on the wire; without "id" it is provisional.

    "user" follows where there is one.
    """
    fields = {
        "from": message.sender,
        "text": message.text,
        "date": message.date,
        "provisionalId": message.provisional_id,
    }
    if message.user is not None:
        fields["user"] = message.user
    return {"id": message.id, **fields} if isinstance(message, Message) else fields


def wire_text(message: Draft | Message) -> str:
    """`wire_json` on one line, as `to_json` writes it, in a third of the time."""
    id = f'"id":{message.id},' if isinstance(message, Message) else ""
    user = "" if message.user is None else f',"user":{json_string(message.user)}'
    return (
        f'{{{id}"from":{json_string(message.sender)},"text":{json_string(message.text)},'
        f'"date":{json_string(message.date)},"provisionalId":{json_string(message.provisional_id)}{user}}}'
    )


def payload_item(message: Draft | Message) -> str:
    """One message in a payload: [from, text, date, provisionalId], and perhaps an object with more.

    In that, "u" is its user; what else there is, a later version has written. Not in ASCII: its escapes make
    an emoji three times as long. Payloads in ASCII, of before, are still read.
    """
    item = [message.sender, message.text, message.date, message.provisional_id]
    more: dict[str, Any] = {} if message.user is None else {"u": message.user}
    if isinstance(message, Message) and message.extra is not None:
        more |= message.extra
    # One string at a time, which is three times as fast as a list.
    return f"[{','.join(map(compact_json, [*item, more] if more else item))}]"


def _stored(id: int, sender: str, text: str, date: str, provisional_id: str, *rest: Any) -> Message:
    """A message as it was stored, perhaps by a later version: what is not understood does not matter."""
    if not rest or not isinstance(rest[0], dict):
        return Message(id, sender, text, date, provisional_id)
    extra = rest[0]
    user = extra.pop("u") if isinstance(extra.get("u"), str) else None
    return Message(id, sender, text, date, provisional_id, user, extra or None)


def _string(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise Invalid(name, "is missing" if value is None else "must be a string")
    return value


def _check(field: str, value: str, most: int, forbidden: re.Pattern[str] = _CONTROL) -> str:
    if not 1 <= len(value) <= most:
        raise Invalid(field, f"must have 1 to {most} characters")
    if forbidden.search(value):
        raise Invalid(field, "must not contain control characters")
    return value


def _position(value: Any) -> int | None:
    """A position as JSON has it, or as a form does: as everywhere, what is none counts as absent."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return read_position(value) if isinstance(value, str) else None


def _uuid(value: str) -> str:
    if not _UUID.fullmatch(value):  # uuid.UUID also takes braces, urn: and bare hex
        raise Invalid("provisionalId", "must be a UUID")
    return value.lower()
