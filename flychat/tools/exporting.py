"""`export ROOM`, `export --all`: all messages, read from the store itself (`--store` as for the server)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TypeAlias

from ..access.rulebook import RULES
from ..commits import Commit
from ..errors import Misconfigured
from ..messages import Message, wire_text
from ..sse import to_json
from ..storage import Engine, Hole
from .listing import listed
from .stores import existing_store, for_each, named_room, opened, patiently, store_option
from .terminal import interruptible, json_line, printable

Missing: TypeAlias = Callable[[int, int], None]

PAGE = 1000  # messages that are read at once


def nobody_told(first: int, last: int) -> None:
    """Nobody asks what is missing."""


async def export(engine: Engine, room: str, missing: Missing = nobody_told) -> AsyncIterator[Message]:
    """All messages of the room, oldest first. Raises, and tells, as `stored` does."""
    async for commit in stored(engine, room, missing):
        for message in commit.messages:
            yield message


async def stored(engine: Engine, room: str, missing: Missing = nobody_told) -> AsyncIterator[Commit]:
    """All commits of the room, oldest first. Raises as the engine's reads do, but for Hole.

    `missing` is called with the first and the last id of each hole.
    """
    last = 0
    while True:
        hole = None
        try:
            commits = await patiently(partial(engine.after, room, last, PAGE))
        except Hole as found:
            commits, hole = found.commits, found
        for commit in commits:
            if commit.last > last:
                yield commit
        if hole is not None:
            last = max(last, commits[-1].last)
            missing(last + 1, hole.beyond - 1)
            last = max(last + 1, hole.beyond - 1)
        elif commits and commits[-1].last > last:
            last = commits[-1].last
        else:
            return


def say_missing(first: int, last: int, room: str = "") -> None:
    where = f" of {printable(room)}" if room else ""
    print(f"flychat: messages {first} to {last}{where} are missing in the store", file=sys.stderr)


async def _export(engine: Engine, room: str) -> int:
    if not await _write(wire_text(message) async for message in export(engine, room, say_missing)):
        print(f"flychat: {printable(room)} has no messages", file=sys.stderr)  # its name may be mistyped
    return 0


async def _export_of_all(engine: Engine, room: str) -> None:
    messages = export(engine, room, partial(say_missing, room=room))
    beginning = to_json({"room": room})[:-1]
    await _write(f"{beginning},{wire_text(message)[1:]}" async for message in messages)


async def _write(texts: AsyncIterator[str]) -> int:
    """Prints them, and says how many they were."""
    lines, count = list[str](), 0
    try:
        async for text in texts:
            lines.append(json_line(text))
            count += 1
            if len(lines) == PAGE:
                _print(lines)
    finally:
        _print(lines)
    return count


def _print(lines: list[str]) -> None:
    """Prints the lines in one go, and drops them from the list, even if that fails."""
    printed = "".join(f"{line}\n" for line in lines)
    lines.clear()
    print(printed, end="", flush=True)


def export_command(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    parser.description = "Prints all messages of a room, or of all, a line of JSON each."
    room_or_all(parser, "of all rooms, each line with its room")
    store_option(parser, reading=True)

    def run(given: argparse.Namespace) -> int:
        room = RULES if given.room == RULES else one_room(given)
        return interruptible(_from(existing_store(given.store), room))

    return run


def room_or_all(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("room", nargs="?")
    parser.add_argument("--all", action="store_true", help=help)


def one_room(given: argparse.Namespace) -> str | None:
    """The room that is asked for; None: all. Raises Misconfigured."""
    if bool(given.room) == given.all:
        raise Misconfigured("say which room, or --all")
    return None if given.all else named_room(given.room)


async def _from(place: tuple[str, str], room: str | None) -> int:
    async with opened(place, reading=True) as engine:
        if room is not None:
            return await _export(engine, room)
        return await for_each([each.room for each in await listed(engine)], partial(_export_of_all, engine))
