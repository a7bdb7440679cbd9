"""A client: reads the room, and comes back with its position whenever its stream ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..judge import Witness
from .kernel import Wire

if TYPE_CHECKING:
    from .passes import Pass
    from .world import World


class Client:
    def __init__(self, world: World, name: str, position: int | None, invented: bool = False) -> None:
        self.world, self.name = world, name
        self.http = "HTTP/1.0" if name[-1] in "13579" else "HTTP/1.1"
        self.witness = Witness(world.store.log, position, invented=invented)
        self.wire: Wire | None = None
        self.on = self.left = self.stalled = False
        self.pass_: Pass | None = None  # by which it enters, where the room is private
        self.shut_out = False  # it was told that its right has ended, and does not come back

    async def live(self) -> None:
        pause = 0.5
        if self.world.scenario.private:
            self.pass_ = await self.world.passes.issued()
        while not (self.left or self.shut_out):
            self.over: asyncio.Future[None] = self.world.loop.create_future()
            wire = self.wire = Wire(self, self.world.socket_room)
            self.witness.connected()
            status = await self.world.connect(wire, self.witness.position)
            self.world.note(f"{self.name} comes at {self.witness.position}: {status}")
            if status == 200:
                pause, self.on = 0.5, not wire.gone
                await self.over
            wire.cut()
            self.on = False
            if status in (401, 403):
                await self.refused(status)
            await asyncio.sleep(self.world.chance.uniform(pause / 2, pause))
            pause = min(4.0, 2 * pause)

    @property
    def stays(self) -> bool:
        """Whether it is to have everything at the end."""
        now = self.world.loop.time()
        return not (self.left or self.shut_out or (self.pass_ and self.pass_.right.surely <= now))

    async def refused(self, status: int) -> None:
        """Its right has ended, or it is told so. It may be given another token."""
        assert self.pass_ is not None
        self.pass_.right.told(self.world.loop.time(), str(status))
        self.shut_out = True
        if renewed := await self.world.passes.renewed(self.pass_):
            self.pass_, self.shut_out = renewed, False
            self.world.note(f"{self.name} has another token")

    def given(self, wire: Wire, data: bytes) -> None:
        if wire.pass_ is not None:
            now = self.world.loop.time()
            wire.pass_.right.given(now, data)
            if b"event: stream-end" in data:
                wire.pass_.right.told(now, "by a stream-end")
                self.world.report.counts["farewells"] += 1

    def let_go(self, wire: Wire) -> None:
        if wire.pass_ is not None:
            wire.pass_.right.ended(self.world.loop.time(), self.world.scenario.mode)

    def read(self, data: bytes) -> None:
        broken = len(self.witness.broken)
        self.witness.read(data)
        self.world.note(f"{self.name} is at {self.witness.position}")
        for line in self.witness.broken[broken:]:
            self.world.note(f"{self.name}: {line}")

    def lost(self, wire: Wire) -> None:
        self.world.left(wire)
        if not self.over.done() and wire is self.wire:
            self.on = False
            self.over.set_result(None)

    def cut(self) -> None:
        if self.wire is not None:
            self.world.note(f"{self.name} is cut")
            self.wire.cut()

    def stall(self, stalled: bool) -> None:
        self.stalled = stalled
        if self.wire is not None:
            self.wire.stall(stalled)
            for proxy in self.world.proxies:
                if proxy is not None and not stalled:
                    proxy.resume(self.wire)
