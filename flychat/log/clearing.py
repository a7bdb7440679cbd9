"""Clearing a room: its messages go, its ids go on.

A void commit is put at the end of its log, as any writer puts a commit; then all before it are rewritten
without their messages. So ids never start again, and servers that run meanwhile go on behind it, however old
what they know of the log is. A client that is shown what was cleared gets a `stream-reset` at its next
recovery, because the log cannot be replayed from its position; nothing has to be told to anybody.

A cleared room still takes its ids. To forget it as well, what is left of it is deleted, from the oldest on,
the end last: who is stopped in between leaves a log that has lost its beginning. Whatever is written
meanwhile stays, and then its ids go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar

from ..commits import Commit
from ..storage import Engine, Taken

T = TypeVar("T")


class Patience(Protocol):
    """Tries a call of the store again while that asks for patience."""

    def __call__(self, call: Callable[[], Awaitable[T]], /) -> Awaitable[T]: ...


def nobody_told(void: Commit) -> None:
    """Nobody here holds streams."""


async def clear(
    engine: Engine, room: str, patiently: Patience, voided: Callable[[Commit], Any] = nobody_told
) -> int:
    """Erases all messages of the room; returns the last id so far. Raises as the engine does.

    `voided` is told of the void commit when it is in the log. Whatever fails is tried again at the same
    place, as a writer does, so it takes one id; and what is written meanwhile is not erased.
    """
    while tail := await patiently(lambda: engine.tail(room, 1)):
        void = tail[-1]
        if void.messages:
            void = Commit(room, (), void=(void.last + 1, 1))
            if not await patiently(partial(_stored, engine, void)):
                continue  # somebody was faster: behind him, then
        voided(void)
        await _empty(engine, room, void.first, patiently)
        return void.last
    return 0


async def forget(engine: Engine, room: str, patiently: Patience) -> bool:
    """Deletes what is left of a cleared room; False: somebody has written meanwhile. Raises as the engine."""
    while commits := await patiently(partial(engine.everything, room, 0)):
        for commit in commits:
            if commit.messages:
                return False
            await patiently(partial(_deleted, engine, commit))
    return True


async def _deleted(engine: Engine, commit: Commit) -> None:
    with suppress(Taken):  # an earlier try was applied
        await engine.delete(commit)


async def _empty(engine: Engine, room: str, before: int, patiently: Patience) -> None:
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
        there = [taken.winner] if taken.winner else await engine.before(void.room, void.first + 1, 1)
        return bool(there) and not there[-1].messages  # nothing: the room was forgotten meanwhile
    return True
