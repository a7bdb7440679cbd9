"""What the commands that work on the store itself have in common: finding it, and opening it."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from ..commits import Commit
from ..config import FILE_STORE, store, variable
from ..errors import Misconfigured, Refused, Unavailable
from ..fields import room_name
from ..log import MessageLog
from ..storage import Broken, Engine, Taken, Throttled, Unknown
from ..storage.opened import open_engine
from .terminal import told

TRIES, PAUSE = 10, 1.0  # seconds between two

T = TypeVar("T")


def store_option(
    parser: argparse.ArgumentParser,
    before: str = "",
    *,
    reading: bool = False,
    table: str = " or dynamodb:TABLE",
) -> None:
    """`reading`: also of a server that is running."""
    file = "sqlite:FILE" if reading else "sqlite:FILE (of no running server)"
    parser.add_argument(
        "--store",
        default=variable(os.environ, "store") or FILE_STORE,
        help=f"{before}{file}{table} (default: {FILE_STORE})",
    )


def existing_store(value: str, *, new: bool = False, option: str = "--store") -> tuple[str, str]:
    """The two parts of a store whose file exists, or may be a `new` one. Raises Misconfigured."""
    kind, location = store(value)
    if new and location == ":memory:":
        raise Misconfigured("a store in memory is gone when the command ends: name a file")
    if not new and kind == "sqlite" and not os.path.exists(location):  # it would be created, and found empty
        raise Misconfigured(f'there is no file "{location}": say where messages are kept with {option}')
    return kind, location


@asynccontextmanager
async def opened(place: tuple[str, str], *, reading: bool = False) -> AsyncIterator[Engine]:
    """The store, closed in the end. Only for `reading`, a server may be using it.

    Raises Misconfigured.
    """
    engine = await open_engine(*place, os.environ, reading=reading)
    try:
        yield engine
    finally:
        await engine.close()


@asynccontextmanager
async def opened_log(place: tuple[str, str]) -> AsyncIterator[MessageLog]:
    """The log over the store, as one of several processes has it. Raises Misconfigured."""
    log = MessageLog(await open_engine(*place, os.environ), memory=False)
    try:
        yield log
    finally:
        await log.close()


def named_room(name: str) -> str:
    """Raises Misconfigured."""
    try:
        return room_name(name)
    except Refused as error:
        raise Misconfigured(f"no room can have this name: {error}") from None


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Tries again while the store asks for patience."""
    for _ in range(TRIES - 1):
        with suppress(Unknown, Throttled):
            return await call()
        await asyncio.sleep(PAUSE)
    return await call()


async def tried(change: Callable[..., Awaitable[None]], *commits: Commit) -> None:
    """Makes the change, if it is not made; it is for a comparison afterwards to tell by whom."""
    with suppress(Taken):  # an earlier try was applied, or somebody else was faster
        await change(*commits)


async def for_each(rooms: Iterable[str], do: Callable[[str], Awaitable[None]]) -> int:
    """Does it for each room, and reports those where the store is damaged. Returns the exit status.

    Unavailable is what a server says of a damaged room.
    """
    status = 0
    for room in rooms:
        try:
            await do(room)
        except (Broken, Unavailable) as error:
            print(told(f"flychat: {room}: {error}"), file=sys.stderr)
            status = 1
    return status
