"""The vocabulary: a draft is committed to a room's log and becomes a message.

A message is a value: neither its id nor its content ever changes, but for one thing: it can be removed. A
removal is a message like any other, which names those that it `removes`; each of them is then a tombstone, of
the same id and key, which has no text any more, and names the removal (`removed`).

The key, (user, from, provisionalId), is how a message is recognised when it comes again. Everybody is shown
the provisional id of a message before it is stored, so the key also has `user`, which
only a token gives (None: anonymous), and which nobody else can use. Otherwise anybody who is quick could post
another text under the provisional id of somebody else's message, which would then be refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace
from typing import Any, TypeAlias

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
    sender_field,
    string_field,
    uuid_field,
)
from .sse import block, compact_json, on_one_line, quoted
from .values import kept, value

ERASED = "[erased]"  # in the place of a sender
REMOVAL_TEXT = "(removed a message)"  # for clients that do not know `removes`

Key: TypeAlias = tuple[str | None, str, str]  # user, from, provisionalId


@value
class Draft:
    """A message that is on its way to the log of `room`; it has no id yet."""

    room: str
    sender: str
    text: str
    date: str
    provisional_id: str
    user: str | None = None  # who the token says it is from
    since: int | None = field(default=None, compare=False)  # the last id its author knew when first sent
    removes: tuple[int, ...] = ()
    data: Mapping[str, Any] | None = field(default=None, hash=False)
    erases: bool = False
    _wire: str = field(default="", init=False, repr=False, compare=False)

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
        sender = sender_field(fields, name)
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
        name: str | None = None,
        erases: bool = False,
    ) -> Draft:
        """The draft that removes these messages; if it `erases`, also the names of their authors.

        Without a `provisionalId` in `fields` it is given one made of room and ids, always the same: so a
        repeated request is recognised. Raises Invalid.
        """
        given, what = fields.get("provisionalId"), f"{room} {ids}{' erased' if erases else ''}"
        key = id_of(what) if given is None else uuid_field(string_field(fields, "provisionalId"))
        since, sender = position_field(fields.get("lastEventId")), name or user[:SENDER_CHARACTERS]
        return cls(room, sender, REMOVAL_TEXT, iso_date(now), key, user, since, ids, erases=erases)

    @property
    def key(self) -> Key:
        return (self.user, self.sender, self.provisional_id)

    @property
    def wire(self) -> str:
        """Its `wire_text`, made once: for its provisional event and for the message that it becomes."""
        return self._wire or kept(self, "_wire", wire_text(self))

    def at(self, id: int) -> Message:
        """The message that it becomes at this place in the log."""
        said = (self.sender, self.text, self.date, self.provisional_id)
        message = Message(id, *said, self.user, None, self.removes, None, self.data, self.erases)
        wire = f'{{"id":{id},{self.wire[1:]}'  # the same fields
        kept(message, "_block", block("message", wire, id))
        return message


@value
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
    erases: bool = False  # whether it also takes the names of those who wrote what it removes
    _block: bytes = field(default=b"", init=False, repr=False, compare=False)

    @property
    def key(self) -> Key:
        return (self.user, self.sender, self.provisional_id)

    def is_by(self, user: str | None, name: str | None) -> bool:
        """Whether this user wrote it, or, without one, somebody of this name. An erasure is nobody's."""
        return not self.erases and (self.sender == name if user is None else self.user == user)

    def tombstone(self, removal: Message) -> Message:
        """The message after `removal`: without its text, and without its author if that `erases`.

        If it is a removal itself, it keeps all but its author: what it removes must stay known.
        """
        named = replace(self, sender=ERASED, user=None) if removal.erases else self
        if self.removes:
            return named
        removed = removal.id if self.removed is None else self.removed
        return replace(named, text="", data=None, extra=None, removed=removed)

    @property
    def block(self) -> bytes:
        """The message as an event of a stream, UTF-8: the same bytes live and replayed, in both modes.

        Made once for each message, and shared by every plan that it is in.
        """
        return self._block or kept(self, "_block", block("message", wire_text(self), self.id))

    @property
    def json(self) -> bytes:
        """The answer to its POST: a line of JSON in UTF-8, cut from the message's block if that is made."""
        if not (block := self._block):
            return f"{wire_text(self)}\n".encode()
        start = block.index(b"\ndata: ") + 7
        return block[start : block.index(b"\n", start) + 1]


def wire_text(message: Draft | Message) -> str:
    """{"id", "from", "text", "date", "provisionalId"}, on a line; without "id" it is provisional.

    "user", "removes", "removed" and "data" follow, each where there is one. It is written as `to_json` would
    write it, in a third of the time.
    """
    id = removed = ""
    if isinstance(message, Message):
        id = f'"id":{message.id},'
        removed = "" if message.removed is None else f',"removed":{message.removed}'
    user = "" if message.user is None else f',"user":{quoted(message.user)}'
    removes = f',"removes":{compact_json(message.removes)}' if message.removes else ""
    data = "" if message.data is None else f',"data":{compact_json(message.data)}'
    return on_one_line(
        f'{{{id}"from":{quoted(message.sender)},"text":{quoted(message.text)},'
        f'"date":{quoted(message.date)},"provisionalId":{quoted(message.provisional_id)}'
        f"{user}{removes}{removed}{data}}}"
    )
