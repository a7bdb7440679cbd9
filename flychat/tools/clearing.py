"""`clear ROOM`: erases all messages of a room, in the store itself (`--store` as for the server).

To clear a room, a void commit is put at the end of its log, as any writer puts a commit; then all before it
are rewritten without their messages. So ids never start again, and servers that run meanwhile go on behind
it, however old what they know of the log is. A client that is shown what was cleared gets a `stream-reset` at
its next recovery, because the log cannot be replayed from its position. Nothing has to be told to anybody.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from functools import partial

from ..commits import Commit
from ..storage import Engine, Taken
from .stores import existing_store, named_room, opened, patiently, store_option
from .terminal import interruptible

EMPTY = "flychat: there was nothing to clear"


async def clear(engine: Engine, room: str) -> int:
    """Erases all messages of the room; returns the last id so far. Raises as the engine does.

    Whatever fails is tried again at the same place, as a writer does, so it takes one id; and what is written
    meanwhile is not erased.
    """
    while tail := await patiently(lambda: engine.tail(room, 1)):
        void = tail[-1]
        if void.messages:
            void = Commit(room, (), void=(void.last + 1, 1))
            if not await patiently(partial(_stored, engine, void)):
                continue  # somebody was faster: behind him, then
        await _empty(engine, room, void.first)
        return void.last
    return 0


async def _empty(engine: Engine, room: str, before: int) -> None:
    """Leaves no message in the commits below an id. Their places stay taken: a writer may yet try one."""
    above = 0
    while commits := await patiently(partial(engine.everything, room, above)):
        told = [commit for commit in commits if commit.first < before and commit.messages]
        emptied = await asyncio.gather(*(patiently(partial(_emptied, engine, commit)) for commit in told))
        if all(emptied):
            above = commits[-1].first
        if above >= before:
            break


async def _emptied(engine: Engine, commit: Commit) -> bool:
    """Whether it was as it had been read, and has no messages now."""
    try:
        await engine.rewrite(commit, commit.emptied())
    except Taken:  # by somebody who does the same, or an earlier try was applied: read it again
        return False
    return True


async def _stored(engine: Engine, void: Commit) -> bool:
    """Puts it; says whether it, or another one that clears the room, is there."""
    try:
        await engine.put(void)
    except Taken as taken:
        winner = taken.winner or (await engine.before(void.room, void.first + 1, 1))[-1]
        return not winner.messages
    return True


async def _clear(engine: Engine, room: str) -> None:
    last = await clear(engine, room)
    print(f"flychat: the room is cleared; its ids go on after {last}" if last else EMPTY, flush=True)


def clear_command(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    parser.description = "Erases all messages of a room."
    parser.add_argument("room")
    store_option(parser)

    def run(given: argparse.Namespace) -> int:
        interruptible(_in(existing_store(given.store), named_room(given.room)))
        return 0

    return run


async def _in(place: tuple[str, str], room: str) -> None:
    async with opened(place) as engine:
        await _clear(engine, room)
