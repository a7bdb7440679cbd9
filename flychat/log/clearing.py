"""Clearing a room: its messages go, its ids go on.

A void commit is put at the end of its log, as any writer puts a commit; then all commits before it are
rewritten without their messages. So ids never start again, and other servers go on behind the void commit
even if what they know of the log is old. A client that still shows what was cleared gets a `stream-reset` at
its next recovery, because the log cannot be replayed from its position; no server has to be told.

A cleared room still takes its ids. To forget it as well, its commits are deleted, the oldest first: if that
is interrupted, a log is left that has lost its beginning. Whatever is written meanwhile stays, and then the
ids go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar

from ..commits import Commit
from ..storage import Engine, Taken
from .view import not_told

T = TypeVar("T")


class Patience(Protocol):
    """Calls the store, again while it throttles or does not answer; returns the result."""

    def __call__(self, call: Callable[[], Awaitable[T]], /) -> Awaitable[T]: ...


async def clear(
    engine: Engine, room: str, patiently: Patience, voided: Callable[[Commit], Any] = not_told
) -> int:
    """Erases all messages of the room; returns the last id so far. Raises as the engine does.

    `voided` is called with the void commit once it is in the log. A put that fails is tried again at the same
    place, as a writer does, so clearing takes one id. What is written meanwhile is not erased.
    """
    while tail := await patiently(lambda: engine.tail(room, 1)):
        void = tail[-1]
        if void.messages:
            void = Commit(room, (), void=(void.last + 1, 1))
            if not await patiently(partial(_stored, engine, void)):
                continue  # another writer was faster: try behind its commit
        voided(void)
        await _empty(engine, room, void.first, patiently)
        return void.last
    return 0


async def forget(engine: Engine, room: str, patiently: Patience) -> bool:
    """Deletes the commits of a cleared room; False: somebody has written meanwhile, and that stays.

    Raises as the engine does.
    """
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
    """Empties the commits below an id. Their places stay taken, as a slow writer may still try one."""
    above = 0
    while commits := await patiently(partial(engine.everything, room, above)):
        told = [commit for commit in commits if commit.first < before and commit.messages]
        done = await asyncio.gather(*(patiently(partial(emptied, engine, commit)) for commit in told))
        if all(done):
            above = commits[-1].first
        if above >= before:
            break


async def emptied(engine: Engine, commit: Commit) -> bool:
    """Empties a commit; False: it is not as it was read."""
    try:
        await engine.rewrite(commit, commit.emptied())
    except Taken:  # by somebody who does the same, or an earlier try was applied: read it again
        return False
    return True


async def _stored(engine: Engine, void: Commit) -> bool:
    """Puts the void commit; says whether it, or another void one, is at its place."""
    try:
        await engine.put(void)
    except Taken as taken:
        there = [taken.winner] if taken.winner else await engine.before(void.room, void.first + 1, 1)
        return bool(there) and not there[-1].messages  # nothing: the room was forgotten meanwhile
    return True
