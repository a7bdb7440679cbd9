"""The vocabulary: a draft is committed to a room's log and becomes a message.

A message is a value: neither its id nor its content ever changes, but for one thing: it can be removed. A
removal is a message like any other, which names those that it `removes`; each of them is then a tombstone, of
the same id and key, which has no text any more, and names the removal (`removed`).

The key, (user, from, provisionalId), is how a message is recognised when it comes again. Everybody is shown
the provisional id of a message before it is stored, so the key has what others cannot take: `user`, which
only a token gives (None: anonymous). Else who is quick could post another text under the id of somebody
else's message, and have that refused.

A commit is what the log stores at once: 1 to 64 messages with consecutive ids. 64 is part of the
stored format, because readers search the places X-63..X for the commit that holds id X.
A commit of a room that was cleared is void: its messages are gone, and its ids stay taken.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

from .errors import Forbidden
from .fields import (
    CONTROL_IN_TEXT,
    SENDER_CHARACTERS,
    TEXT_CHARACTERS,
    checked,
    data_field,
    id_of,
    iso_date,
    new_id,
    position_field,
    sender_name,
    string_field,
    uuid_field,
)
from .sse import Event, compact_json, json_string

COMMIT_MESSAGES = 64
COMMIT_BYTES = 65_536  # of `Commit.payload` in UTF-8; 1 WCU of DynamoDB is 1 KB, so this is 64 at the most

REMOVES, REMOVED, DATA, USER = "d", "t", "j", "u"  # in what is stored with a message, beside its fields
REMOVAL_TEXT = "(removed a message)"  # for those who know no better

Key: TypeAlias = tuple[str | None, str, str]  # user, from, provisionalId


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
    removes: tuple[int, ...] = ()
    data: Mapping[str, Any] | None = field(default=None, hash=False)

    @classmethod
    def create(
        cls,
        room: str,
        fields: Mapping[str, Any],
        *,
        now: float,
        user: str | None = None,
        name: str | None = None,
        new_id: Callable[[], str] = new_id,
    ) -> Draft:
        """The draft that a POST describes: `from`, `text`; optionally `provisionalId`, `lastEventId`, `data`.

        `user` and `name` are its token's: no field can say another. With a name, `from` may be left out.
        A line break may be CRLF, as HTML forms send it, and is kept as LF. Raises Invalid, Forbidden.
        """
        if name is not None and fields.get("from") not in (None, name):
            raise Forbidden("from: must be the name in the token, or absent")
        sender = sender_name(string_field(fields, "from") if name is None else name)
        text = string_field(fields, "text").replace("\r\n", "\n")
        text = checked("text", text, TEXT_CHARACTERS, CONTROL_IN_TEXT)
        given = fields.get("provisionalId")
        provisional_id = new_id() if given is None else uuid_field(string_field(fields, "provisionalId"))
        since, data = position_field(fields.get("lastEventId")), data_field(fields.get("data"))
        return cls(room, sender, text, iso_date(now), provisional_id, user, since, data=data)

    @classmethod
    def removal(
        cls,
        room: str,
        ids: tuple[int, ...],
        fields: Mapping[str, Any],
        *,
        now: float,
        user: str,
        name: str | None,
    ) -> Draft:
        """What takes these messages back. Its provisional id, if none is given, follows from them."""
        given = fields.get("provisionalId")
        key = id_of(f"{room} {ids}") if given is None else uuid_field(string_field(fields, "provisionalId"))
        since, sender = position_field(fields.get("lastEventId")), name or user[:SENDER_CHARACTERS]
        return cls(room, sender, REMOVAL_TEXT, iso_date(now), key, user, since, ids)

    @property
    def key(self) -> Key:
        return (self.user, self.sender, self.provisional_id)


@dataclass(frozen=True, slots=True)
class Message:
    """An official message: `id` is its place in the log of its room, from 1 and without gaps.

    `user` is who the token of its author said it is, None without one; `data` is what a program put there.
    `extra` is what a later version has stored with it: not understood here, but kept if it is stored again.
    """

    id: int
    sender: str
    text: str
    date: str
    provisional_id: str
    user: str | None = None
    extra: Mapping[str, Any] | None = field(default=None, hash=False)
    removes: tuple[int, ...] = ()  # the ids of the messages that it takes back
    removed: int | None = None  # the id of the message that took this one back
    data: Mapping[str, Any] | None = field(default=None, hash=False)
    _block: bytes = field(default=b"", init=False, repr=False, compare=False)

    @property
    def key(self) -> Key:
        return (self.user, self.sender, self.provisional_id)

    def tombstone(self, removal: int) -> Message:
        """What is left of the message once the one with this id has taken it back."""
        removed = removal if self.removed is None else self.removed
        return replace(self, text="", data=None, extra=None, removed=removed)

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
            # By position: names cost 0.3 us, a fifth of this.
            Message(id, d.sender, d.text, d.date, d.provisional_id, d.user, None, d.removes, None, d.data)
            for id, d in enumerate(drafts, first)
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

    "user", "removes", "removed" and "data" follow, each where there is one.
    """
    fields: dict[str, Any] = {
        "from": message.sender,
        "text": message.text,
        "date": message.date,
        "provisionalId": message.provisional_id,
    }
    if message.user is not None:
        fields["user"] = message.user
    if message.removes:
        fields["removes"] = list(message.removes)
    if isinstance(message, Message) and message.removed is not None:
        fields["removed"] = message.removed
    if message.data is not None:
        fields["data"] = message.data
    return {"id": message.id, **fields} if isinstance(message, Message) else fields


def wire_text(message: Draft | Message) -> str:
    """`wire_json` on one line, as `to_json` writes it, in a third of the time."""
    id = removed = ""
    if isinstance(message, Message):
        id = f'"id":{message.id},'
        removed = "" if message.removed is None else f',"removed":{message.removed}'
    user = "" if message.user is None else f',"user":{json_string(message.user)}'
    removes = f',"removes":{compact_json(message.removes)}' if message.removes else ""
    data = "" if message.data is None else f',"data":{json_string(message.data)}'
    return (
        f'{{{id}"from":{json_string(message.sender)},"text":{json_string(message.text)},'
        f'"date":{json_string(message.date)},"provisionalId":{json_string(message.provisional_id)}'
        f"{user}{removes}{removed}{data}}}"
    )


def payload_item(message: Draft | Message) -> str:
    """One message in a payload: [from, text, date, provisionalId], and perhaps an object with more.

    In that, "u" is its user, "d" what it removes, "t" what removed it, "j" its data; what else there is, a
    later version has written. Not in ASCII: its escapes make an emoji three times as long. Payloads in ASCII,
    of before, are still read.
    """
    item = [message.sender, message.text, message.date, message.provisional_id]
    more: dict[str, Any] = {} if message.user is None else {USER: message.user}
    if message.removes:
        more[REMOVES] = message.removes
    if message.data is not None:
        more[DATA] = message.data
    if isinstance(message, Message):
        if message.removed is not None:
            more[REMOVED] = message.removed
        more |= message.extra or {}
    # One string at a time, which is three times as fast as a list.
    return f"[{','.join(map(compact_json, [*item, more] if more else item))}]"


def _stored(id: int, sender: str, text: str, date: str, provisional_id: str, *rest: Any) -> Message:
    """A message as it was stored, perhaps by a later version: what is not understood does not matter."""
    if not rest or not isinstance(rest[0], dict):
        return Message(id, sender, text, date, provisional_id)
    extra = rest[0]
    user = extra.pop(USER) if isinstance(extra.get(USER), str) else None
    removes = tuple(extra.pop(REMOVES)) if _are_ids(extra.get(REMOVES)) else ()
    removed = extra.pop(REMOVED) if _are_ids([extra.get(REMOVED)]) else None
    data = extra.pop(DATA) if isinstance(extra.get(DATA), dict) else None
    return Message(id, sender, text, date, provisional_id, user, extra or None, removes, removed, data)


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(id) is int and id > 0 for id in value)
