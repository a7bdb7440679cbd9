"""Where revocations are kept: in the log of a room that nobody can name.

    /rules    [commit 1: state][commit 2: state][commit 3: state]    the last one counts

Each entry is one message whose text is the whole state. It is put at the end of the log on the condition that
its place is free, as any commit is: of two processes that revoke at once, one wins, and the other reads
again. A put without an answer is repeated at the same place, which tells whether it had been stored.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

from ..commits import COMMIT_BYTES, Commit
from ..errors import TooLarge, Unavailable
from ..fields import iso_date, new_id
from ..messages import Draft
from ..storage import Engine, Rejected, Taken, Throttled, Unknown
from .revocations import ALL_ROOMS, Revocations

RULES = "/rules"  # no room: a name is without a slash
AUTHOR = "flychat"
ROOMS_BYTES = COMMIT_BYTES // 2  # for revocations in single rooms: no room's moderator can use up all space
PATIENCE = 5.0  # seconds for which what fails is tried again
PAUSE = 0.2

T = TypeVar("T")


class Rulebook:
    """Reads and writes the revocations of one store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def read(self) -> Revocations:
        """All that is revoked. Raises Unavailable."""
        return (await self._newest())[0]

    async def revoke(self, ids: Collection[str], room: str) -> tuple[Revocations, int]:
        """Revokes these passes for a room, or for all; returns what is revoked now, and the time of this.

        Raises TooLarge, or Unavailable: then it may be done, and can be tried again.
        """
        return await self._change(lambda known, now: known.with_these(ids, room, now), room)

    async def join(self, others: Revocations) -> None:
        """Revokes what is revoked elsewhere as well. Raises as `revoke` does."""
        known = await self.read()
        if known.joined(others) != known:
            await self._change(lambda known, now: known.joined(others), ALL_ROOMS)

    async def _change(
        self, change: Callable[[Revocations, int], Revocations], room: str
    ) -> tuple[Revocations, int]:
        while True:
            revocations, last = await self._newest()
            now = int(time.time())
            new = change(revocations, now)
            entry = Draft(RULES, AUTHOR, new.text(), iso_date(now), new_id())
            commit = Commit.of(last + 1, [entry])
            if commit.size > COMMIT_BYTES:
                raise TooLarge(
                    "too much is revoked: change the secret, and import the rooms into a new store"
                )
            if room != ALL_ROOMS and commit.size > ROOMS_BYTES:
                raise TooLarge("too much is revoked in single rooms: revoke for all rooms instead")
            if await self._put(commit):
                return new, now

    async def _newest(self) -> tuple[Revocations, int]:
        """The state, and the id at which it is stored."""
        commits = await _patiently(lambda: self._engine.tail(RULES, 1))
        if not commits:
            return Revocations(), 0
        try:
            return Revocations.read(commits[-1].messages[-1].text), commits[-1].last
        except (IndexError, ValueError) as error:
            raise Unavailable("the revocations in the store are not understood") from error

    async def _put(self, commit: Commit) -> bool:
        """Puts the commit; False: another one is at its place."""
        try:
            await _patiently(lambda: self._engine.put(commit))
        except Taken:  # by somebody else, or by an earlier try of our own
            commits = await _patiently(lambda: self._engine.after(RULES, commit.first - 1, 1))
            keys = {
                message.key for each in commits for message in each.messages if message.id == commit.first
            }
            return commit.messages[0].key in keys
        except Rejected as error:
            raise Unavailable("the store does not take the revocation") from error
        return True


async def _patiently(call: Callable[[], Awaitable[T]]) -> T:
    """What the call returns; while it fails it is tried again for PATIENCE. Raises Unavailable after that."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while True:
        try:
            return await call()
        except (Unknown, Throttled) as error:
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable("the message store does not answer") from error
            await asyncio.sleep(PAUSE)
