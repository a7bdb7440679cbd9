"""The faults that are events: each happens once or twice, at some time, and ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from flychat.errors import NotFound, TooOld, Unavailable
from flychat.messages import Draft
from flychat.storage import StoreFailed
from flychat.tools import clearing

from .scenario import RETENTION, ROOM
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
    """The room is cleared, in the store itself or through a server."""
    up = [server for server in world.servers if server.up]
    async with world.operator:
        world.note("the room is cleared")
        with contextlib.suppress(StoreFailed, OSError, Unavailable):
            if up and world.chance.random() < 0.5:
                server = world.chance.choice(up)
                await server.ask(server.chat.clear(ROOM), "a clearing")
            else:
                await clearing.clear(Way(world, world.shared), ROOM)


async def restored(world: World) -> None:
    """By an operator: nobody writes meanwhile, and the servers start afterwards."""
    async with world.operator:
        world.restoring = True
        for server in world.servers:
            server.kill()
        await nothing_comes(world)
        world.forget(world.store.restore())
        await asyncio.sleep(world.chance.uniform(0.1, 5))
        world.note(f"the store is restored, up to {world.store.last_id()}")
        world.restoring = False
        for server in world.servers:
            server.start()


async def asleep(world: World) -> None:
    """The clock on the wall goes on, and no loop's does; what is written meanwhile expires, but for the newest."""
    async with world.operator:
        # No put takes so long, and a message that is written has the date of today.
        await nothing_comes(world)
        world.note("everybody sleeps")
        for _ in range(world.chance.randint(0, 3)):
            world.store.append([world.draft("elsewhere") for _ in range(world.chance.randint(1, 3))])
            world.slept += RETENTION
        world.slept += RETENTION
        world.store.in_order()  # time has passed


async def remove(world: World) -> None:
    """Some messages are removed, each time by the same request until it is answered; perhaps twice at once."""
    chance = world.chance
    await asyncio.sleep(chance.uniform(0, world.span / 2))
    removable = [
        id for id, each in world.store.ever.items() if not each.removes and id > world.store.log.floor
    ]
    if not removable:
        return
    ids = tuple(sorted(chance.sample(removable, min(len(removable), chance.choice((1, 1, 2, 3))))))
    since = {"lastEventId": world.store.last_id()} if "again" in world.scenario.faults else {}
    draft = Draft.removal(ROOM, ids, since, now=world.wall(), user="mod", name="Mod")
    world.ledger.send(draft.key, draft.text)
    world.note(f"{ids} are to be removed")
    asking = [_removed(world, draft) for _ in range(chance.choice((1, 1, 2)))]
    await asyncio.gather(*asking)


async def _removed(world: World, draft: Draft) -> None:
    for _ in range(30):
        up = [server for server in world.servers if server.up]
        with contextlib.suppress(OSError, Unavailable):
            if up:
                chat = (server := world.chance.choice(up)).chat
                try:
                    entry = await server.ask(chat.remove(draft, lambda message: None), draft.provisional_id)
                except (NotFound, TooOld):  # they are cleared, or have expired
                    return
                world.report.suffered["remove"] += 1
                world.ledger.removed |= set(draft.removes)
                world.store.log.removed |= set(draft.removes)
                world.note(f"{draft.removes} are removed, by {entry.id}")
                return
        await asyncio.sleep(world.chance.uniform(0.05, 2))


async def erase(world: World) -> None:
    """Somebody elsewhere has written, and is erased with the name: asked for in steps, each until it is answered."""
    chance, name = world.chance, f"somebody {world.chance.random()}"
    await asyncio.sleep(chance.uniform(0, world.span / 2))
    async with world.operator:  # nobody clears meanwhile, or restores
        world.store.append([world.draft(name, "a secret") for _ in range(chance.randint(1, 3))])
    await asyncio.sleep(chance.uniform(0, world.span / 2))

    def entry(ids: tuple[int, ...]) -> Draft:
        draft = Draft.removal(ROOM, ids, {}, now=world.wall(), user="operator", erases=True)
        world.ledger.send(draft.key, draft.text)
        return draft

    world.note(f"{name} is to be erased")
    above: int | None = 0
    for _ in range(60):
        up = [server for server in world.servers if server.up]
        with contextlib.suppress(OSError, Unavailable, NotFound, TooOld):  # some are cleared, or have expired
            while up and above is not None:
                server = chance.choice(up)
                work = server.chat.erase(ROOM, lambda message: message.is_by(None, name), entry, above)
                erased, above = await server.ask(work, "an erasure")
                world.report.suffered["erase"] += erased
                up = [server for server in world.servers if server.up]
            if above is None:
                world.note(f"{name} is erased")
                world.ledger.erased.add(name)
                return
        await asyncio.sleep(chance.uniform(0.05, 2))


async def revoke(world: World) -> None:
    await world.passes.revoke()


async def rotate(world: World) -> None:
    async with world.operator:
        await world.passes.rotate()


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


async def nothing_comes(world: World) -> None:
    while world.store.coming or any(server.up and server.posts for server in world.servers):  # noqa: ASYNC110 - in virtual time
        await asyncio.sleep(0.01)


TROUBLES: dict[str, Callable[[World], Awaitable[None]]] = {
    event.__name__: event
    for event in (
        down,
        kill,
        term,
        restart,
        clock,
        clear,
        restored,
        asleep,
        revoke,
        rotate,
        cut,
        stall,
        remove,
        erase,
    )
}
