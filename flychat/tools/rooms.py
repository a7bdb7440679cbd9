"""`export ROOM` and `clear ROOM`: what an operator does to the store itself (`--store` as for the server).

To clear a room, a void commit is put at the end of its log, as any writer puts a commit; then all before it
are rewritten without their messages. So ids never start again, and servers that run meanwhile go on behind
it, however old what they know of the log is. A client that is shown what was cleared gets a `stream-reset` at
its next recovery, because the log cannot be replayed from its position. Nothing has to be told to anybody.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeAlias, TypeVar

from ..access.rulebook import RULES
from ..messages import Commit, Message, wire_json
from ..storage import Engine, Hole, Taken, Throttled, Unknown
from .stores import existing_store, named_room, opened, store_option
from .terminal import interruptible, json_line

T = TypeVar("T")
Missing: TypeAlias = Callable[[int, int], None]
Act: TypeAlias = Callable[[Engine, str], Awaitable[None]]

PAGE = 1000  # messages that are read at once
TRIES, PAUSE = 10, 1.0  # seconds between two
EMPTY = "flychat: there was nothing to clear"


async def export(
    engine: Engine, room: str, missing: Missing = lambda first, last: None
) -> AsyncIterator[Message]:
    """All messages of the room, oldest first. Raises as the engine's reads do, but for Hole.

    `missing` is told the first and the last id of each hole.
    """
    last = 0
    while True:
        hole = None
        try:
            commits = await engine.after(room, last, PAGE)
        except Hole as found:
            commits, hole = found.commits, found
        for message in (message for commit in commits for message in commit.messages):
            if message.id > last:
                yield message
        if hole is not None:
            last = max(last, commits[-1].last)
            missing(last + 1, hole.beyond - 1)
            last = max(last + 1, hole.beyond - 1)
        elif commits and commits[-1].last > last:
            last = commits[-1].last
        else:
            return


async def clear(engine: Engine, room: str) -> int:
    """Erases all messages of the room; returns the last id so far. Raises as the engine does.

    Whatever fails is tried again at the same place, as a writer does, so it takes one id; and what is written
    meanwhile is not erased.
    """
    while tail := await _patiently(lambda: engine.tail(room, 1)):
        void = tail[-1]
        if void.messages:
            void = Commit(room, (), void=(void.last + 1, 1))
            if not await _patiently(partial(_stored, engine, void)):
                continue  # somebody was faster: behind him, then
        await _empty(engine, room, void.first)
        return void.last
    return 0


async def _empty(engine: Engine, room: str, before: int) -> None:
    """Leaves no message in the commits below an id. Their places stay taken: a writer may yet try one."""
    above = 0
    while commits := await _patiently(partial(engine.everything, room, above)):
        told = [commit for commit in commits if commit.first < before and commit.messages]
        emptied = await asyncio.gather(*(_patiently(partial(_emptied, engine, commit)) for commit in told))
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


async def _patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Tries again while the store asks for patience."""
    for _ in range(TRIES - 1):
        with suppress(Unknown, Throttled):
            return await call()
        await asyncio.sleep(PAUSE)
    return await call()


def _missing(first: int, last: int) -> None:
    print(f"flychat: messages {first} to {last} are missing in the store", file=sys.stderr)


async def _export(engine: Engine, room: str) -> None:
    lines: list[str] = []
    try:
        async for message in export(engine, room, _missing):
            lines.append(json_line(wire_json(message)))
            if len(lines) == PAGE:
                _print(lines)
    finally:
        _print(lines)


def _print(lines: list[str]) -> None:
    """Prints whole lines, in one go. They are no longer to be printed, even if it fails."""
    printed = "".join(f"{line}\n" for line in lines)
    lines.clear()
    print(printed, end="", flush=True)


async def _clear(engine: Engine, room: str) -> None:
    last = await clear(engine, room)
    print(f"flychat: the room is cleared; its ids go on after {last}" if last else EMPTY, flush=True)


def export_command(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    return _command(parser, "print all messages of a room, a line of JSON each", _export, RULES)


def clear_command(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    return _command(parser, "erase them", _clear)


async def _at(place: tuple[str, str], act: Act, room: str) -> None:
    async with opened(place) as engine:
        await act(engine, room)


def _command(
    parser: argparse.ArgumentParser, description: str, act: Act, *also: str
) -> Callable[[argparse.Namespace], int]:
    parser.description = description
    parser.add_argument("room")
    store_option(parser)

    def run(given: argparse.Namespace) -> int:
        room = given.room if given.room in also else named_room(given.room)
        interruptible(_at(existing_store(given.store), act, room))
        return 0

    return run
