"""`export ROOM`: all messages of a room, read from the store itself (`--store` as for the server)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

from ..access.rulebook import RULES
from ..messages import Message, wire_json
from ..storage import Engine, Hole
from .stores import existing_store, named_room, opened, store_option
from .terminal import interruptible, json_line

Missing: TypeAlias = Callable[[int, int], None]

PAGE = 1000  # messages that are read at once


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


def export_command(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    parser.description = "Prints all messages of a room, a line of JSON each."
    parser.add_argument("room")
    store_option(parser)

    def run(given: argparse.Namespace) -> int:
        room = RULES if given.room == RULES else named_room(given.room)
        interruptible(_from(existing_store(given.store), room))
        return 0

    return run


async def _from(place: tuple[str, str], room: str) -> None:
    async with opened(place) as engine:
        await _export(engine, room)
