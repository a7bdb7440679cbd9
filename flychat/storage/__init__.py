"""Where commits are kept: the port. Its promises are one test suite that runs on every engine.

A room is a log of commits, keyed by (room, id of the first message). An engine stores values; it knows
nothing of who writes when. The rules of writing are in log.py.
"""

from __future__ import annotations

from typing import Protocol

from ..messages import Commit


class Engine(Protocol):
    """A store of commits. Every read sees every put that had succeeded before the read began.

    A read, and `check`, raises Unknown, Throttled or Broken where it fails.
    """

    shared: bool
    """Whether other processes may write to the same store while this one runs."""

    async def put(self, commit: Commit) -> None:
        """Stores the commit if its place (room, first) is free, else raises Taken, all in one step.

        Raises Unknown where the outcome was not learned, Throttled, Rejected and Broken where nothing
        was stored. Taken carries the commit at the place, if the engine was told it.
        """

    async def tail(self, room: str, limit: int) -> list[Commit]:
        """The newest commits, oldest first: enough for `limit` messages, or all there are."""

    async def after(self, room: str, id: int, limit: int) -> list[Commit]:
        """The commits with an id >= `id`, oldest first, contiguous: `limit` messages past it, or all.

        The one that holds `id` itself comes first, unless `id` is 0 or beyond the log.
        """

    async def before(self, room: str, id: int, limit: int) -> list[Commit]:
        """The commits with a message below `id`, oldest first, ending there: `limit` messages, or all."""

    async def check(self) -> None:
        """One cheap round trip."""

    async def close(self) -> None:
        """Frees everything, after the puts under way have ended."""
