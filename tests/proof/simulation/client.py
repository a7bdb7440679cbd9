"""A client: reads the room, and comes back with its position whenever its stream ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..judge import Witness
from .kernel import Wire

if TYPE_CHECKING:
    from .world import World


class Client:
    def __init__(self, world: World, name: str, position: int | None, invented: bool = False) -> None:
        self.world, self.name = world, name
        self.http = "HTTP/1.0" if name[-1] in "13579" else "HTTP/1.1"
        self.witness = Witness(world.store.log, position, invented=invented)
        self.wire: Wire | None = None
        self.on = self.left = self.stalled = False

    async def live(self) -> None:
        pause = 0.5
        while not self.left:
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
            await asyncio.sleep(self.world.chance.uniform(pause / 2, pause))
            pause = min(4.0, 2 * pause)

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
