"""What changes while the server runs: what is revoked, and which keys are valid.

A revocation is written by one process. It ends the holds of its pass in three ways, each of which is enough:

- The process that writes it has the pass checked again at once, wherever its holds are. It does so once more
  after AGAIN_SECONDS, for holds that another process has given meanwhile.
- Every process reads what is revoked every READ_SECONDS, and has passes that are new in it checked again.
- A proxy's recovery is answered from a reading that began after the recovery came. So the next recovery of a
  hold ends it, in whichever process it arrives, and whatever was lost.

A client's own request for a private room is answered from a copy that is not older than FRESH_SECONDS.
Readings are shared by all who ask, and begin PACE_SECONDS apart: a storm of recoveries costs ten a second.

If the store belongs to this process alone, the copy is always new. If it is shared, and cannot be read for
DOUBT_SECONDS, the streams held here are cut, because nobody can say whether they have a right.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import TYPE_CHECKING, Protocol

from ..errors import Misconfigured, Unavailable
from ..seldom import Seldom
from ..storage import Engine
from . import passes_of
from .gate import Access
from .revocations import Revocations
from .rulebook import Rulebook

if TYPE_CHECKING:
    from .jwks import KeySet

READ_SECONDS = 5.0
FRESH_SECONDS = 1.0
PACE_SECONDS = 0.1
AGAIN_SECONDS = 2.0  # after FRESH_SECONDS, and the time to use a copy, no process knows less
DOUBT_SECONDS = 20.0  # with the time that it takes to notice: less than the 32 s that are promised

logger = logging.getLogger(__name__)


class Holds(Protocol):
    """The part of a Hub that ends holds."""

    def recheck(self, id: str | None) -> None: ...

    async def passed_on(self) -> None: ...


class Keeper:
    """Keeps what `access` knows up to date. `holds_here`: the streams are in this process."""

    def __init__(
        self,
        access: Access,
        secret: str,
        engine: Engine,
        *,
        holds_here: bool = False,
    ) -> None:
        """`secret` is the name of the file of keys, if there is one."""
        self.access = access
        self.key_set: KeySet | None = None
        self._secret = secret
        self._rulebook = Rulebook(engine)
        self._shared = engine.shared
        self._holds_here = holds_here
        self._hub: Holds | None = None
        self._read_at = -math.inf  # when the reading began that our copy is from (loop time)
        self._ahead = 0.0  # by how much the wall clock was ahead of the loop's clock then
        self._began = -math.inf  # when the last reading began, even if it failed
        self._reading: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._unread = Seldom(logger)

    def start(self, hub: Holds) -> None:
        """Begins to read, and to have passes checked by the hub."""
        self._hub = hub
        if self.access.tokens is not None:
            self._tasks.append(asyncio.create_task(self._keep()))
            if self.key_set is not None:
                self._tasks.append(asyncio.create_task(self.key_set.keep()))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.key_set is not None:
            self.key_set.close()

    async def fresh(self, age: float = FRESH_SECONDS) -> None:
        """Returns when the copy of what is revoked is at most `age` seconds old. Raises Unavailable."""
        if self.access.tokens is None:
            return
        asked = asyncio.get_running_loop().time()
        if abs(time.time() - asked - self._ahead) > age:  # the loop's clock stands still in sleep
            age = 0
        while not self._is_newer_than(asked - age):
            await self._read()

    async def revoke(self, sub: str, room: str) -> int:
        """Revokes all passes of a user for a room, or for all (""); returns when, in seconds since the epoch.

        Raises TooLarge, Unavailable.
        """
        ids = passes_of(sub)
        revocations, moment = await self._rulebook.revoke(ids, room)
        self._take_in(revocations)
        loop = asyncio.get_running_loop()
        for id in ids:
            self._recheck(id)
            loop.call_later(AGAIN_SECONDS, self._recheck, id)
        if self._hub is not None:
            await self._hub.passed_on()
        return moment

    async def learn(self) -> None:
        """Fetches the issuer's keys, as one is not known; unless that was done just now."""
        if self.key_set is not None:
            await self.key_set.learn()

    def reload(self) -> None:
        """Reads the keys of --secret again; if that fails, the old ones stay."""
        old = self.access.secret
        try:
            take_secret(self.access, self._secret)
        except Misconfigured as error:
            logger.error("the keys stay as they are: %s", error)
            return
        logger.info("the keys of --secret are read again")
        if old is not None and self.access.secret is not None and old.keys.keys() - self.access.secret.keys:
            self._recheck(None)  # a key has left, and with it the rights of all that it had signed

    def _is_newer_than(self, moment: float) -> bool:
        return self._read_at >= moment or (not self._shared and self._read_at > -math.inf)

    async def _read(self) -> None:
        """One reading, for all who ask while it is under way."""
        # To wait for a task that is done lets nobody else run.
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_now())
            self._reading.add_done_callback(self._has_read)
        reading = self._reading
        await asyncio.wait([reading])  # asyncio.shield of Python 3.14 logs what nobody is told
        return reading.result()

    def _has_read(self, reading: asyncio.Task[None]) -> None:
        self._reading = None
        reading.cancelled() or reading.exception()  # marks the error as seen, or asyncio would log it

    async def _read_now(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._began + PACE_SECONDS - loop.time()))
        began = self._began = loop.time()
        ahead = time.time() - began
        self._take_in(await self._rulebook.read(), began)
        self._ahead = ahead

    def _take_in(self, revocations: Revocations, began: float | None = None) -> None:
        """Takes in what is revoked, by a reading that `began` then, or by a revocation of our own (None)."""
        new = revocations.beyond(self.access.revocations)
        known = self._read_at > -math.inf
        self.access.revocations = self.access.revocations.joined(revocations)
        if began is not None:
            self._read_at = max(began, self._read_at)
            self.access.doubtful = False
        for id in new if known else ():
            self._recheck(id)

    def _recheck(self, id: str | None) -> None:
        if self._hub is not None:
            self._hub.recheck(id)

    async def _keep(self) -> None:
        """Reads every READ_SECONDS what others may have revoked."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            try:
                await self.fresh(0)
            except Unavailable as error:
                self._unread.tell("what is revoked cannot be read: %s", error)
                if self._holds_here and loop.time() - max(began, self._read_at) > DOUBT_SECONDS:
                    self.access.doubtful = True
                    self._recheck(None)
            await asyncio.sleep(READ_SECONDS)


def take_secret(access: Access, file: str) -> None:
    """Reads the keys of the file, which replace those of before. Raises Misconfigured."""
    from .secret_file import read_secret  # not needed without --secret, and its imports take long

    secret = read_secret(file)
    assert access.tokens is not None
    others = [verifier for verifier in access.tokens.verifiers if verifier is not access.secret]
    access.tokens.verifiers = [secret, *others]
    access.tokens.forget()
    access.secret = secret
