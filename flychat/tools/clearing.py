"""`clear ROOM`: erases all messages of a room, through a running server, or in the store itself."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from ..errors import Misconfigured
from ..log import clearing
from ..storage import Engine
from .operator import NOT_FLYCHAT, WHOLE_SECONDS, ask_server, server_options
from .stores import existing_store, named_room, opened, patiently, store_option
from .terminal import interruptible


async def clear(engine: Engine, room: str) -> int:
    """Erases all messages of the room; returns the last id so far. Raises as the engine does."""
    return await clearing.clear(engine, room, patiently)


def clear_command(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    parser.description = "Erases all messages of a room; its ids go on."
    parser.add_argument("room")
    parser.add_argument(
        "--forget", action="store_true", help="in the store: delete its ids, too; they begin again at 1"
    )
    server_options(parser)
    store_option(parser, "else in ")

    def run(given: argparse.Namespace) -> int:
        room = named_room(given.room)
        if given.url and given.forget:
            raise Misconfigured("--forget works on the store itself (--store): a server knows the room's ids")
        last: int | None
        if given.url:
            last = interruptible(_through(given.url, given.secret, room))
        else:
            last = interruptible(_in(existing_store(given.store), room, forget=given.forget))
        print(f"flychat: {said(last)}", flush=True)
        return 0

    return run


def said(last: int | None) -> str:
    if last is None:
        return "the room is forgotten; its ids begin again at 1"
    return f"the room is cleared; its ids go on after {last}" if last else "there was nothing to clear"


async def _through(url: str, secret: str | None, room: str) -> int:
    answer = await ask_server(url, secret, "/clearings/", room, {"room": room}, seconds=WHOLE_SECONDS)
    last = answer.get("lastEventId")
    if type(last) is not int:
        raise ConnectionError(NOT_FLYCHAT)
    return last


async def _in(place: tuple[str, str], room: str, *, forget: bool) -> int | None:
    """The last id so far; None if the room is forgotten."""
    async with opened(place) as engine:
        last = await clear(engine, room)
        forgotten = forget and last and await clearing.forget(engine, room, patiently)
    return None if forgotten else last
