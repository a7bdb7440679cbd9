"""A commit is what the log stores at once: 1 to 64 messages with consecutive ids. 64 is part of the
stored format, because readers search the places X-63..X for the commit that holds id X.
A commit of a room that was cleared is void: its messages are gone, and its ids stay taken.
"""

from __future__ import annotations

import json
from dataclasses import field
from typing import Any

from .messages import Draft, Message
from .sse import compact_json, quoted
from .values import kept, value

COMMIT_MESSAGES = 64
COMMIT_BYTES = 65_536  # of `Commit.payload` in UTF-8; 1 WCU of DynamoDB is 1 KB, so this is 64 at the most

_decode = json.JSONDecoder().raw_decode  # json.loads takes three times as long for a payload

# In what is stored with a message, beside its fields.
REMOVES, REMOVED, ERASES, DATA, USER = "d", "t", "e", "j", "u"


@value
class Commit:
    """Messages that enter the log of `room` together, at place `first`.

    One without messages is void: `void` says its first id, and how many ids it takes.
    """

    room: str
    messages: tuple[Message, ...]
    void: tuple[int, int] | None = None
    _payload: str = field(default="", init=False, repr=False, compare=False)

    @classmethod
    def of(cls, first: int, drafts: list[Draft]) -> Commit:
        """The drafts (all of one room) as the messages first, first + 1, ..."""
        return cls(drafts[0].room, tuple([draft.at(id) for id, draft in enumerate(drafts, first)]))

    @classmethod
    def read(cls, room: str, first: int, payload: str, ids: int = 1) -> Commit:
        """The commit that was stored at `first` as `payload`; a void one takes `ids` ids.

        Raises ValueError, TypeError or LookupError if that is not the payload of a commit.
        """
        items, end = _decode(payload)
        if end < len(payload):
            raise ValueError("there is more than a payload")
        # From a list: a generator costs 0.4 us, a fourth of this.
        messages = tuple([_stored(id, *fields) for id, fields in enumerate(items, first)])
        commit = cls(room, messages, None if messages else (first, ids))
        kept(commit, "_payload", payload)  # as it is stored, which `rewrite` compares
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

    @property
    def payload(self) -> str:
        """The messages as stored: JSON, an array of `payload_item`s. Ids follow from `first`."""
        return self._payload or kept(self, "_payload", self._encode())

    @property
    def size(self) -> int:
        """The bytes of the payload in UTF-8, as this version writes it: what limits count.

        A payload of an older version, in ASCII, has more. So has one in SQLite, with blanks in the place of
        removed text: if these counted, a reading would end too early.
        """
        payload = self.payload
        if payload.endswith(" ]"):  # see sqlite_put.py
            payload = payload[:-1].rstrip(" ") + "]"
        if "\\u" in payload:
            payload = self._encode()
        return len(payload) if payload.isascii() else len(payload.encode())

    def _encode(self) -> str:
        return "[" + ",".join(map(payload_item, self.messages)) + "]"


def payload_item(message: Draft | Message) -> str:
    """One message in a payload: [from, text, date, provisionalId], and perhaps an object with more.

    In that, "u" is its user, "d" what it removes, "e" that it erases, "t" what removed it, "j" its data;
    anything else is of a later version. It is UTF-8, not ASCII, whose escapes make an emoji three times as
    long; older payloads in ASCII are still read.
    """
    more: dict[str, Any] = {} if message.user is None else {USER: message.user}
    if message.removes:
        more[REMOVES] = message.removes
    if message.erases:
        more[ERASES] = 1
    if message.data is not None:
        more[DATA] = message.data
    if isinstance(message, Message):
        if message.removed is not None:
            more[REMOVED] = message.removed
        more |= message.extra or {}
    return (
        # One string at a time, which is three times as fast as a list.
        f"[{quoted(message.sender)},{quoted(message.text)},{quoted(message.date)},"
        f"{quoted(message.provisional_id)}{',' + compact_json(more) if more else ''}]"
    )


def _stored(id: int, sender: str, text: str, date: str, provisional_id: str, *rest: Any) -> Message:
    """A message as it was stored, perhaps by a later version: what is not understood is kept in `extra`."""
    if not rest or not isinstance(rest[0], dict):
        return Message(id, sender, text, date, provisional_id)
    extra = rest[0]
    user = extra.pop(USER) if isinstance(extra.get(USER), str) else None
    removes = tuple(extra.pop(REMOVES)) if _are_ids(extra.get(REMOVES)) else ()
    removed = extra.pop(REMOVED) if _are_ids([extra.get(REMOVED)]) else None
    data = extra.pop(DATA) if isinstance(extra.get(DATA), dict) else None
    erases = bool(removes) and extra.pop(ERASES, None) == 1
    return Message(
        id, sender, text, date, provisional_id, user, extra or None, removes, removed, data, erases
    )


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(id) is int and id > 0 for id in value)
