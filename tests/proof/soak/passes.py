"""Who may read and write, in a round whose rooms are private: tokens, and how the right that they give ends.

The readers share the tokens of a few people, so that some share a pass. A token expires; or it is revoked, through any
server, tried until that is answered; or its key is taken out of the file of all processes, which are told to read it
again, and are asked whether they have. Some readers are then given another token.

No clock is wrong in such a round: the server would judge tokens wrongly.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

import jwt

from ..oracle import fetch
from ..simulation.passes import PEOPLE, Pass

if TYPE_CHECKING:
    from .room import Room
    from .stage import Stage

DAY = 86_400.0
PRIVATE = "staff"  # with which the names of private rooms begin
SHORT = 12  # seconds at the most for which a token is good that expires in the round
OPERATOR = "operator"


class Passes:
    """Of a stage: the keys, and who has them."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.file = stage.directory / "secret"
        self.all: list[Pass] = []  # of readers, in this round
        self._keys = [_key(0)]  # as they are in the file
        self._signing = self._keys[0]  # known to all processes
        self._made = 1
        self._revoking: dict[str, asyncio.Lock] = {}
        self._revoked: dict[str, int] = {}  # the moment of the last one

    def write(self) -> None:
        whole = self.file.with_suffix(".new")
        whole.write_bytes(b"\n".join(self._keys))
        os.replace(whole, self.file)

    def bearer(
        self, sub: str, rooms: dict[str, str], key: bytes = b"", *, age: float = DAY, life: float = DAY
    ) -> str:
        """The header of a token. In general it is good whatever is wrong with a clock."""
        now = int(self.stage.wall())
        claims = {"sub": sub, "rooms": rooms, "iat": now - int(age), "exp": now + int(life)}
        return f"Bearer {jwt.encode(claims, key or self._signing, 'HS256')}"

    def operator(self) -> dict[str, str]:
        return {"Authorization": self.bearer(OPERATOR, {"*": "rwm"}), "Content-Type": "application/json"}

    def writer(self, sub: str | None, room: Room) -> dict[str, str]:
        """The headers of somebody who writes; in a room that is open, nobody has a token."""
        return {} if sub is None else {"Authorization": self.bearer(sub, {room.name: "rw"})}

    async def issued(self, room: Room, sub: str = "") -> Pass:
        """A reader's."""
        chance = self.stage.chance
        sub = sub or f"{chance.choice(PEOPLE)}, {room.name}"
        async with self._revoking.setdefault(sub, asyncio.Lock()):
            while int(self.stage.wall()) <= self._revoked.get(sub, -1):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            life = DAY
            if "lapse" in self.stage.kinds and chance.random() < 0.25 and not room.over():
                life = chance.randint(1, SHORT)
                self.stage.suffered["lapse"] += 1
            issued = int(self.stage.wall())
            text = self.bearer(sub, {room.name: "r"}, age=0, life=life)
            made = Pass(sub, issued, self._signing, text)
            ends = time.monotonic() + issued + life - self.stage.wall()
            made.right.end(ends, ends + 1)  # if a second has begun meanwhile
            self.all.append(made)
            return made

    async def renewed(self, old: Pass, room: Room) -> Pass | None:
        """Another token for who has lost the right; not for everybody."""
        if self.stage.chance.random() < 0.4:
            return None
        await asyncio.sleep(self.stage.chance.uniform(0, 2))
        return await self.issued(room, old.sub)

    async def revoke(self, room: Room) -> None:
        sub = f"{self.stage.chance.choice(PEOPLE)}, {room.name}"
        where = self.stage.chance.choice(({}, {"room": room.name}))
        async with self._revoking.setdefault(sub, asyncio.Lock()):
            meant = [each for each in self.all if each.sub == sub]
            began = time.monotonic()
            for each in meant:
                each.right.end(began)
            asked = {"user": sub, **where}
            answer = await room.operator.until_answered("POST", "/revocations/", asked, last=True)
            self._revoked[sub] = answer.get("at", 0)
            for each in meant:
                each.right.end(began, time.monotonic())

    async def rotate(self) -> None:
        """A new key, which signs as soon as all know it; later the old one leaves."""
        old, new = self._keys[0], _key(self._made)
        self._made += 1
        self._keys.insert(0, new)
        self.write()
        await self._all_read(new, good=True)
        self._signing = new
        await asyncio.sleep(self.stage.chance.uniform(0, 4))
        self._keys.remove(old)
        meant, began = [each for each in self.all if each.key == old], time.monotonic()
        for each in meant:
            each.right.end(began)
        self.write()
        await self._all_read(old, good=False)
        for each in meant:
            each.right.end(began, time.monotonic())

    async def _all_read(self, key: bytes, *, good: bool) -> None:
        """Each process reads the file again, and shows whether it takes the key."""
        headers = {"Authorization": self.bearer("prober", {"*": "r"}, key)}
        for app in self.stage.apps:
            async with self.stage.turns[app]:
                await self.stage.start(app)
                assert app.process
                app.process.send_signal(signal.SIGHUP)
                status = 0
                while not status or (status != 401) != good:
                    with contextlib.suppress(OSError, EOFError, TimeoutError, ValueError):
                        asking = fetch(app.url, f"/rooms/{PRIVATE}/messages/?limit=1", headers=headers)
                        status = (await asyncio.wait_for(asking, 10))[0]
                    await asyncio.sleep(0.05)

    def judge(self) -> list[str]:
        """What is wrong with the rights of the round, which is over."""
        wrong = [f"{each.sub}, of {each.issued}: {line}" for each in self.all for line in each.right.broken]
        self.all.clear()
        return wrong

    @property
    def last(self) -> float:
        """When the last right of the round has ended that has ended."""
        now = time.monotonic()
        return max((each.right.surely for each in self.all if each.right.surely <= now), default=0.0)


def _key(number: int) -> bytes:
    return b"key %d, of thirty-two bytes or more" % number
