"""`export ROOM` and `clear ROOM`: what an operator does to the store itself (`--store` as for the server).

To clear a room, a void commit is put at the end of its log, as any writer puts a commit; then all before it
are made void. So ids never start again, and servers that run meanwhile go on behind it, however long ago they
looked. A client that is shown what was erased gets a `stream-reset` at its next recovery, because the log
cannot be replayed from its position. Nothing has to be told to anybody.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence

from .config import store
from .errors import FlychatError, Misconfigured, Refused, Taken, Throttled, Unknown
from .messages import Commit, Message, room_name, wire_json
from .server import open_engine
from .storage import Engine
from .terminal import abandon_output, json_line

PAGE = 1000  # messages that are read at once
TRIES = 10
EMPTY = "flychat: there was nothing to clear"


async def export(engine: Engine, room: str) -> AsyncIterator[Message]:
    """All messages of the room, oldest first. Raises as the engine's reads do."""
    last = 0
    while True:
        commits = await engine.after(room, last, PAGE)
        for message in (message for commit in commits for message in commit.messages):
            if message.id > last:
                yield message
        if not commits or commits[-1].last == last:
            return
        last = commits[-1].last


async def clear(engine: Engine, room: str) -> int:
    """Erases all messages of the room; returns the last id so far. Raises as the engine does."""
    tail = await engine.tail(room, 1)
    while tail and tail[-1].messages:
        last = tail[-1].last
        try:
            await engine.put(Commit(room, (), "clear", void=(last + 1, 1)))
        except (Taken, Unknown):  # somebody was faster, or it is there: look again
            tail = await engine.tail(room, 1)
            continue
        tail = [Commit(room, (), void=(last + 1, 1))]
    if tail:
        await engine.erase(room, tail[-1].first)
    return tail[-1].last if tail else 0


async def patiently(engine: Engine, room: str) -> int:
    """`clear`, tried again while the store asks for patience."""
    for remaining in reversed(range(TRIES)):
        try:
            return await clear(engine, room)
        except (Unknown, Throttled):
            if not remaining:
                raise
            await asyncio.sleep(1)
    raise AssertionError


async def run(command: str, room: str, place: tuple[str, str], environ: Mapping[str, str]) -> None:
    engine = await open_engine(*place, environ)
    try:
        if command == "export":
            async for message in export(engine, room):
                print(json_line(wire_json(message)), flush=True)
        else:
            last = await patiently(engine, room)
            print(f"flychat: the room is cleared; its ids go on after {last}" if last else EMPTY)
    finally:
        await engine.close()


def _room(name: str) -> str:
    try:
        return room_name(name)
    except Refused as error:
        raise Misconfigured(f"there is no such room: {error}") from None


def _place(value: str) -> tuple[str, str]:
    kind, location = store(value)
    if kind == "sqlite" and not os.path.exists(location):  # it would be created, and found empty
        raise Misconfigured(f'there is no file "{location}": say where messages are kept with --store')
    return kind, location


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flychat", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, help in (
        ("export", "print all messages of a room, a line of JSON each"),
        ("clear", "erase them"),
    ):
        command = commands.add_parser(name, help=help, description=help, allow_abbrev=False)
        command.add_argument("room")
        command.add_argument(
            "--store",
            default=os.environ.get("FLYCHAT_STORE") or "sqlite:flychat.db",
            help="sqlite:FILE (of no running server) or dynamodb:TABLE (default: sqlite:flychat.db)",
        )
    return parser


def main(arguments: Sequence[str]) -> int:
    """0: done; 1: the store failed; 2: it cannot be done like this, and one line on stderr says why."""
    try:
        given = _parser().parse_args(arguments)
        asyncio.run(run(given.command, _room(given.room), _place(given.store), os.environ))
    except BrokenPipeError:  # `export ROOM | head`
        return 1
    except (FlychatError, OSError) as error:
        print(f"flychat: {error}", file=sys.stderr)
        return 2 if isinstance(error, Misconfigured) else 1
    finally:
        abandon_output()
    return 0
