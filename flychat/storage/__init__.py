"""Where commits are kept: the port. Its promises are one test suite that runs on every engine.

A room is a log of commits, keyed by (room, id of the first message). An engine stores values; it knows
nothing of who writes when. The rules of writing are in log/.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from ..messages import Commit
from ..sse import BEYOND_ANY_LOG


class Engine(Protocol):
    """A store of commits. Every read sees every put that had succeeded before the read began.

    A read returns whole commits that follow each other without a gap, oldest first: as few as hold
    `limit` (>= 1) messages of those that were asked for, or all there are. It, and `check`, raises
    Unknown, Throttled or Broken where it fails.
    """

    shared: bool
    """Whether other processes may write to the same store while this one runs."""

    async def put(self, commit: Commit) -> None:
        """Stores the commit if its place (room, first) is free, else raises Taken, all in one step.

        Raises Unknown where the outcome was not learned, Throttled, Rejected and Broken where nothing
        was stored. Taken carries the commit at the place, if the engine was told it. Only `first` is
        compared: a place inside a stored commit counts as free, so a writer puts at the end of a commit
        that it has read or written, and nowhere else.
        """

    async def tail(self, room: str, limit: int) -> list[Commit]:
        """The newest commits: `limit` messages."""

    async def after(self, room: str, id: int, limit: int) -> list[Commit]:
        """The commit that holds `id`, and those that follow it: `limit` messages past `id`.

        So [] says that `id` is beyond the log, or 0 and the log is empty. A log that lost its beginning
        answers from its oldest commit on, whose first is then more than id + 1.
        """

    async def before(self, room: str, id: int, limit: int) -> list[Commit]:
        """The commits that precede `id`: `limit` messages below it. The last may hold `id` as well."""

    async def erase(self, room: str, before: int) -> None:
        """Makes the room's commits void whose first id is below `before`. Raises as reads do.

        Their places stay taken: a writer that has not looked for a while may yet try one of them.
        """

    async def expire(self, before: str) -> None:
        """Deletes what is older than a date, if the store does not do so by itself. Raises as reads do.

        The newest commit of a room stays, whoever deletes, so that its ids go on.
        """

    async def check(self) -> None:
        """One cheap round trip."""

    async def close(self) -> None:
        """Frees everything, after the puts under way have ended."""


@dataclass
class Run:
    """What a read gathers, in either direction: commits in a row, until they hold `limit` messages.

    A store may show a commit and not the one before it, which was stored while it was read: a run ends
    at such a gap.
    """

    limit: int
    above: int = 0
    below: int = BEYOND_ANY_LOG + 1
    commits: list[Commit] = field(default_factory=list)

    def take(self, commit: Commit) -> bool:
        """Takes the next commit, and says whether to go on."""
        if commit.last < self.above:
            return True  # `after` looks for the commit that holds an id among the 64 places before it
        if self.commits and not _adjacent(self.commits[-1], commit):
            return False
        self.commits.append(commit)
        self.limit -= min(commit.last, self.below - 1) - max(commit.first - 1, self.above)
        return self.limit > 0

    def oldest_first(self) -> list[Commit]:
        return sorted(self.commits, key=lambda commit: commit.first)


def _adjacent(one: Commit, other: Commit) -> bool:
    return one.last + 1 == other.first or other.last + 1 == one.first
