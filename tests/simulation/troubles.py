"""The faults that are events: each happens once or twice, at some time, and ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from flychat.errors import StoreFailed
from flychat.maintenance import patiently

from .scenario import ROOM
from .store import Way

if TYPE_CHECKING:
    from .world import World


async def down(world: World) -> None:
    world.note("the store is down")
    world.down = True
    await asyncio.sleep(world.chance.choice((1, world.chance.uniform(0, 35))))
    world.down = False
    world.note("the store is up")


async def kill(world: World) -> None:
    server = world.chance.choice(world.servers)
    server.kill()
    await asyncio.sleep(world.chance.choice((0.1, world.chance.uniform(0.5, 12))))
    server.start()


async def term(world: World) -> None:
    server = world.chance.choice(world.servers)
    await server.terminate()
    await asyncio.sleep(world.chance.choice((0.1, world.chance.uniform(0.5, 12))))
    server.start()


async def restart(world: World) -> None:
    number = world.chance.randrange(len(world.proxies))
    world.note(f"Pushpin {number} is killed")
    proxy, world.proxies[number] = world.proxies[number], None
    if proxy is not None:
        proxy.stop()
    await asyncio.sleep(world.chance.uniform(0.1, 5))
    if world.proxies[number] is None:
        world.note(f"Pushpin {number} is started")
        world.start_proxy(number)


async def clock(world: World) -> None:
    much = 4 if world.expires and world.shared else 3600  # messages are kept for longer than clocks are wrong
    world.chance.choice(world.servers).ahead += world.chance.choice((-much, -2, -0.5, 0.5, 2, much))


async def clear(world: World) -> None:
    world.note("the room is cleared")
    with contextlib.suppress(StoreFailed):
        await patiently(Way(world, world.shared), ROOM)


async def cut(world: World) -> None:
    if world.clients:
        world.chance.choice(world.clients).cut()


async def stall(world: World) -> None:
    if world.clients:
        client = world.chance.choice(world.clients)
        world.note(f"{client.name} stalls")
        client.stall(True)
        await asyncio.sleep(world.chance.uniform(0.1, 20))
        world.note(f"{client.name} reads again")
        client.stall(False)


TROUBLES: dict[str, Callable[[World], Awaitable[None]]] = {
    event.__name__: event for event in (down, kill, term, restart, clock, clear, cut, stall)
}
