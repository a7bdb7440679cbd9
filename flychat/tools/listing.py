"""`rooms`: which rooms there are, and how much is in each of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from ..access.rulebook import RULES
from ..sse import to_json
from ..storage import Engine, Summary
from .stores import existing_store, opened, patiently, store_option
from .terminal import interruptible, json_line, printable

HEAD = ("messages", "last id", "bytes", "newest", "room")


async def listed(engine: Engine) -> list[Summary]:
    """All rooms that people write to."""
    return [room for room in await patiently(engine.rooms) if room.room != RULES]


def rooms_command(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    parser.description = "Prints the rooms, and how much is kept of each. Reads the whole store."
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each room")
    store_option(parser, reading=True)

    def run(given: argparse.Namespace) -> int:
        return interruptible(_print(existing_store(given.store), as_json=given.json))

    return run


async def _print(place: tuple[str, str], *, as_json: bool) -> int:
    async with opened(place, reading=True) as engine:
        rooms = await listed(engine)
    if as_json:
        lines = [json_line(to_json(room.fields())) for room in rooms]
    else:
        lines = _table([HEAD, *map(_row, rooms)])
    print("".join(f"{line}\n" for line in lines), end="", flush=True)
    return 0


def _row(room: Summary) -> tuple[str, ...]:
    return str(room.messages), str(room.last), str(room.bytes), room.newest or "-", printable(room.room)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned to the right; the names come last, since nobody knows how wide a terminal shows them."""
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    return ["  ".join([*map(str.rjust, row, widths), row[-1]]) for row in rows]
