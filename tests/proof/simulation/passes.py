"""Who may read the room, where it is private: tokens, and how the right that they give ends.

Everybody has a token of a few people's, so that some share a pass. What it takes to end a right is what an
operator does: nothing (it expires), a revocation that is asked for until it is answered, or a key that leaves
the file of all processes, each of which reads that again when it is told to.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import jwt

from flychat.access import NONE, Rules
from flychat.access.options import AccessOptions
from flychat.errors import Unavailable

from ..judge import Right
from .scenario import ROOM

if TYPE_CHECKING:
    from .world import World

PEOPLE = ("ann", "bob", "cid")
LONG = 100_000  # seconds: longer than any conversation
FILE = "secret"
OPTIONS = AccessOptions(rules=Rules.of_rules([("*", NONE)]), secret=FILE)


@dataclass(eq=False)
class Pass:
    """A token, and the right that it gives."""

    sub: str
    issued: int
    key: bytes
    text: str
    right: Right = field(default_factory=Right)


class Passes:
    def __init__(self, world: World) -> None:
        self.world = world
        self.keys = [self._key(0)]  # as they are in the file
        self.all: list[Pass] = []
        self._revoking = {sub: asyncio.Lock() for sub in PEOPLE}
        self._revoked = dict.fromkeys(PEOPLE, -1)  # the moment of the last one
        self._rotated = 0
        self._signing = self.keys[0]  # what processes that have not read the file yet know as well

    def file(self) -> bytes:
        return b"\n".join(self.keys)

    async def issued(self, sub: str = "") -> Pass:
        world = self.world
        sub = sub or world.chance.choice(PEOPLE)
        async with self._revoking[sub]:
            while int(world.wall()) <= self._revoked[sub]:  # noqa: ASYNC110 - in virtual time
                await asyncio.sleep(0.1)
            now, life = int(world.wall()), LONG
            if "lapse" in world.scenario.faults and not world.healed and world.chance.random() < 0.6:
                life = world.chance.randint(1, math.ceil(world.span) + 3)
                world.report.suffered["lapse"] += 1
            claims = {"sub": sub, "rooms": {ROOM: "r"}, "iat": now, "exp": now + life}
            made = Pass(sub, now, self._signing, jwt.encode(claims, self._signing, "HS256"))
            ends = world.loop.time() + now + life - world.wall()
            made.right.end(ends, ends)
            self.all.append(made)
            return made

    async def renewed(self, old: Pass) -> Pass | None:
        """Another token for who has lost the right; not for everybody."""
        if self.world.chance.random() < 0.5:
            return None
        await asyncio.sleep(self.world.chance.uniform(0, 3))
        return await self.issued(old.sub)

    async def revoke(self) -> None:
        """Until it is answered that it is done."""
        world, sub = self.world, self.world.chance.choice(PEOPLE)
        async with self._revoking[sub]:
            meant = [each for each in self.all if each.sub == sub]
            began = world.loop.time()
            for each in meant:
                each.right.end(began)
            world.note(f"{sub} is to be revoked")
            while True:
                up = [server for server in world.servers if server.up]
                with contextlib.suppress(OSError, Unavailable):
                    if up:
                        server = world.chance.choice(up)
                        self._revoked[sub] = await server.ask(
                            server.keeper.revoke(sub, world.chance.choice(("", ROOM)))
                        )
                        break
                await asyncio.sleep(0.5)
            world.note(f"{sub} is revoked, up to {self._revoked[sub]}")
            for each in meant:
                assert each.issued <= self._revoked[sub]
                each.right.end(began, world.loop.time())

    async def rotate(self) -> None:
        """A new key, which signs as soon as all know it; later the old one leaves."""
        world, old = self.world, self.keys[0]
        self._rotated += 1
        new = self._key(self._rotated)
        self.keys.insert(0, new)
        await self._all_read()
        self._signing = new
        world.note("there is a new key")
        await asyncio.sleep(world.chance.uniform(0, world.span / 2))
        self.keys.remove(old)
        began = world.loop.time()
        meant = [each for each in self.all if each.key == old]
        for each in meant:
            each.right.end(began)
        await self._all_read()
        world.note("the old key is gone")
        for each in meant:
            each.right.end(began, world.loop.time())

    async def _all_read(self) -> None:
        """Each process reads the file again; one that is down does when it starts."""
        for server in self.world.servers:
            await asyncio.sleep(self.world.chance.uniform(0, 2))
            server.reload()

    def _key(self, number: int) -> bytes:
        return b"key %d, of thirty-two bytes or more" % number
