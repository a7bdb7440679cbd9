"""Reading what a server sends: its JSON, and the rule by which the events of a stream are taken.

`Follower` passes on nothing at or below the position, and takes an id that skips one for a broken connection.
So does it anything that flychat would not have written: something else has answered.
"""

from __future__ import annotations

import contextlib
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..messages import Draft, Key, Message
from ..signals import Signal
from ..sse import BEYOND_ANY_LOG, Event

REMEMBERED = 256  # messages that are not shown as provisional again


@dataclass(frozen=True, slots=True)
class Retraction:
    """The provisional message with this id was not stored: that of this user, or without one."""

    provisional_id: str
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Reset:
    """Drop all that was seen: the position is "behind" what can be replayed, or "ahead" of the log."""

    reason: str
    last_id: int


StreamEvent: TypeAlias = Message | Draft | Retraction | Reset


class Follower:
    """How far a client has read. The next connection asks for what follows `position` (None: the newest).

    The next official id must be `_last` + 1 (None: any). The two differ until the first official message of a
    stream without a position: a client that is cut off before it asks for what follows 0, as if the room had
    been empty. They also differ after a reset: then it asks for what follows the reset's id.
    """

    def __init__(self, room: str, last_id: int | None) -> None:
        self.position = self._last = last_id
        self._room = room
        self._shown: deque[Key] = deque(maxlen=REMEMBERED)

    def connected(self) -> None:
        """A new connection is open, which asked for what follows `position`."""
        self._last = self.position

    def take(self, event: Event) -> StreamEvent | None:
        """What the event says, if it is news. Raises ConnectionError where the connection cannot be right."""
        with flychats():
            match event.name:
                case "message":
                    fields = json.loads(event.data)
                    return self._official(read_message(fields)) if "id" in fields else self._draft(fields)
                case "retraction":
                    fields = json.loads(event.data)
                    return self._retract(Retraction(_text(fields, "provisionalId"), _user(fields)))
                case "stream-reset":
                    fields = json.loads(event.data)
                    reset = Reset(_text(fields, "reason"), read_id(fields, "lastEventId"))
                    return self._reset(reset, event.id or 0)
                case "stream-open" if self.position is None:
                    self.position = 0
        return None

    def _official(self, message: Message) -> Message | None:
        if self._last is not None and message.id <= self._last:
            return None
        if self._last is not None and message.id > self._last + 1:
            raise ConnectionError(f"message {message.id} after {self._last}")
        self.position = self._last = message.id
        self._shown.append(message.key)
        return message

    def _draft(self, fields: dict[str, Any]) -> Draft | None:
        draft = Draft(self._room, *_content(fields), data=_data(fields))
        if draft.key in self._shown:  # it came late, or twice
            return None
        self._shown.append(draft.key)
        return draft

    def _retract(self, retraction: Retraction) -> Retraction:
        meant = (retraction.user, retraction.provisional_id)
        self._shown = deque((key for key in self._shown if (key[0], key[2]) != meant), REMEMBERED)
        return retraction

    def _reset(self, reset: Reset, position: int) -> Reset:
        """The next id may be any; a client that is cut off before it came is given all, or another reset."""
        self.position, self._last = position, None
        return reset


@contextlib.contextmanager
def flychats() -> Iterator[None]:
    """Makes what flychat would not have written an error of the connection: somebody else has answered."""
    try:
        yield
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ConnectionError(f"not written by flychat: {error!r}") from None


def read_signal(room: str, data: str) -> Signal:
    """What somebody tells at this moment; without a name where nobody in particular does."""
    with flychats():
        fields = json.loads(data)
        sender = _text(fields, "from") if "from" in fields else ""
        kind, date = _text(fields, "kind"), _text(fields, "date")
        return Signal(room, sender, kind, date, _data(fields), _user(fields))


def read_message(fields: dict[str, Any]) -> Message:
    id, content = read_id(fields, "id"), _content(fields)
    removes, removed = fields.get("removes", []), fields.get("removed")
    if not isinstance(removes, list):
        raise TypeError("removes")
    return Message(
        id,
        *content,
        removes=tuple(_id(id) for id in removes),
        removed=None if removed is None else _id(removed),
        data=_data(fields),
    )


def _content(fields: dict[str, Any]) -> tuple[str, str, str, str, str | None]:
    return (
        _text(fields, "from"),
        _text(fields, "text"),
        _text(fields, "date"),
        _text(fields, "provisionalId"),
        _user(fields),
    )


def _user(fields: dict[str, Any]) -> str | None:
    return _text(fields, "user") if "user" in fields else None


def _data(fields: dict[str, Any]) -> dict[str, Any] | None:
    data = fields.get("data")
    if not isinstance(data, dict | None):
        raise TypeError("data")
    return data


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise TypeError(name)
    return value


def read_id(fields: dict[str, Any], name: str) -> int:
    return _id(fields[name])


def _id(value: Any) -> int:
    if type(value) is not int or not 0 <= value < BEYOND_ANY_LOG:  # True is an int
        raise TypeError("an id")
    return value
