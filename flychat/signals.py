"""A signal: what a client tells those who listen to a room at this moment, such as that somebody is typing.

It is a publication without an id, on the channel of provisional messages: so it moves no position, no hold
waits for it, no recovery repeats it, and it is not stored. It may be lost, or come twice or late; nothing
that is promised of messages depends on it. The clients decide what it means, and for how long they show it.

One kind is treated in its own way: `here`, by which each client says, twice a minute, that somebody looks at
the room. Sent on as they come, these would be N times N events; so they are gathered (presence.py), and sent
as a list of names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import Invalid
from .fields import data_field, iso_date, sender_field, string_field
from .sse import Event, to_json
from .streams import Publication

HERE = "here"
DATA_BYTES = 1024  # of compact JSON in UTF-8
_KIND = re.compile("[a-z-]{1,32}")


@dataclass(frozen=True, slots=True)
class Signal:
    """Somebody tells something of this `kind` in `room`, now."""

    room: str
    sender: str
    kind: str
    date: str
    data: Mapping[str, Any] | None = field(default=None, hash=False)
    user: str | None = None  # who the token says it is from

    @classmethod
    def create(
        cls,
        room: str,
        fields: Mapping[str, Any],
        *,
        now: float,
        user: str | None = None,
        name: str | None = None,
    ) -> Signal:
        """The signal that a POST describes: `from`, `kind`; optionally `data`.

        `user` and `name` are its token's, as with a message. Raises Invalid, Forbidden.
        """
        sender, kind = sender_field(fields, name), string_field(fields, "kind")
        if not _KIND.fullmatch(kind):
            raise Invalid("kind", "must be 1 to 32 of the letters a to z and -")
        data = data_field(fields.get("data"), DATA_BYTES)
        return cls(room, sender, kind, iso_date(now), data, user)


def signalled(signal: Signal) -> Publication:
    """The signal, for everybody who listens now."""
    return _publication(signal.room, signal_json(signal))


def signal_json(signal: Signal) -> dict[str, Any]:
    """{"from", "kind", "date"}, as on the wire, and "data" and "user" where there are any."""
    sender = {"from": signal.sender} if signal.sender else {}
    fields: dict[str, Any] = {**sender, "kind": signal.kind, "date": signal.date}
    if signal.data is not None:
        fields["data"] = signal.data
    if signal.user is not None:
        fields["user"] = signal.user
    return fields


def present(room: str, names: Sequence[str], more: int, *, now: float) -> Publication:
    """The signal that these names are here, and so many more. It is the server's, so it has no `from`."""
    data = {"names": list(names), "more": more}
    return _publication(room, {"kind": HERE, "date": iso_date(now), "data": data})


def _publication(room: str, fields: dict[str, Any]) -> Publication:
    return Publication(room, Event("signal", to_json(fields)).encode())
