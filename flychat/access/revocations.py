"""What is revoked, as a value: whose passes, in which room or in all, and when. Pure.

A token that was issued at or before that moment (in whole seconds) gives no right there any more; one issued
later does. A token is valid for LIFE at the most, so after that a revocation is left out.
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
        """When the pass was last revoked for the room, in seconds since the epoch; NEVER: it was not."""
        return max(self.moments.get((id, ALL_ROOMS), NEVER), self.moments.get((id, room), NEVER))

    def with_these(self, ids: Iterable[str], room: str, now: int) -> Revocations:
        """With these passes revoked at `now` as well, and without what is older than LIFE.

        A revocation later than now, by a process whose clock is ahead, stays.
        """
        ids = list(ids)
        kept = {
            (id, where): at
            for (id, where), at in self.moments.items()
            if at + LIFE > now and not (id in ids and room in (where, ALL_ROOMS) and at <= now)
        }
        return Revocations({(id, room): now for id in ids} | kept)

    def joined(self, other: Revocations) -> Revocations:
        """What is revoked in either: a reading may be older than what was written meanwhile."""
        both = {key: max(at, other.moments.get(key, NEVER)) for key, at in self.moments.items()}
        return Revocations({**other.moments, **both})

    def beyond(self, older: Revocations) -> set[str]:
        """The ids of the passes that were revoked since `older`."""
        return {id for (id, room), at in self.moments.items() if at > older.moments.get((id, room), NEVER)}

    @classmethod
    def read(cls, text: str) -> Revocations:
        """From its stored text, perhaps of a later version. Raises ValueError if that is not understood."""
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
