"""What is revoked, as a value: who, in which room or in all, and when. Pure.

A token that was issued at or before that moment (in whole seconds) is good for nothing there any more; one
that is issued later is. A token is believed for LIFE, so after that a revocation has done its work.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..sse import compact_json
from . import LIFE

VERSION = 1
ALL_ROOMS = ""  # as the room of a revocation
NEVER = -1


@dataclass(frozen=True)
class Revocations:
    """The moments of all revocations, by (pass, room)."""

    moments: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def moment(self, id: str, room: str) -> int:
        """When the pass was revoked for the room, the last time."""
        return max(self.moments.get((id, ALL_ROOMS), NEVER), self.moments.get((id, room), NEVER))

    def with_these(self, ids: Iterable[str], room: str, now: int) -> Revocations:
        """These passes are revoked as well, from now; what has done its work is left out.

        What was revoked later than now, by somebody whose clock is ahead, stays so.
        """
        ids = list(ids)
        kept = {
            (id, where): at
            for (id, where), at in self.moments.items()
            if at + LIFE > now and not (id in ids and room in (where, ALL_ROOMS) and at <= now)
        }
        return Revocations({(id, room): now for id in ids} | kept)

    def joined(self, other: Revocations) -> Revocations:
        """What is revoked here or there: a reading may be older than what was written meanwhile."""
        both = {key: max(at, other.moments.get(key, NEVER)) for key, at in self.moments.items()}
        return Revocations({**other.moments, **both})

    def beyond(self, older: Revocations) -> set[str]:
        """The passes that were revoked since."""
        return {id for (id, room), at in self.moments.items() if at > older.moments.get((id, room), NEVER)}

    @classmethod
    def read(cls, text: str) -> Revocations:
        """As it was stored, perhaps by a later version. Raises ValueError where that cannot be understood."""
        state: dict[str, Any] = json.loads(text)
        if not isinstance(state, dict) or state.get("v") != VERSION:
            raise ValueError("the revocations are of a version that is not known here")
        try:
            return cls({(each["p"], each["room"]): int(each["at"]) for each in state["revoked"]})
        except (KeyError, TypeError) as error:
            raise ValueError("the revocations cannot be read") from error

    def text(self) -> str:
        revoked = [{"p": id, "room": room, "at": at} for (id, room), at in self.moments.items()]
        return compact_json({"v": VERSION, "revoked": revoked})
