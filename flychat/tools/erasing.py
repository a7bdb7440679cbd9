"""`erase --user SUB`, `erase --from NAME`: all that a person wrote, and their names, out of every room."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from ..access.rulebook import RULES
from ..errors import Invalid, Misconfigured
from ..fields import sender_name, user_id
from ..messages import Draft
from .operator import NOT_FLYCHAT, OPERATOR, WHOLE_SECONDS, ask_server, server_options
from .stores import existing_store, for_each, named_room, opened_log, store_option
from .terminal import interruptible, printable

# Erases some in a room, above an id: how many, and above which id to go on, or None.
Step: TypeAlias = Callable[[str, int], Awaitable[tuple[int, int | None]]]

UNREACHED = (
    "flychat: not reached: backups and exports, the screens that show it, and who has copied it. "
    "What is sent again under its old provisional id is a new message"
)


def erase_command(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    parser.description = (
        "Removes all messages that a person wrote, and their names, also from removed messages."
    )
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--user", metavar="SUB", help="the `user` of the messages")
    who.add_argument("--from", dest="name", metavar="NAME", help="all messages under this name")
    parser.add_argument("--room", help="in this room only (default: in all)")
    server_options(parser)
    store_option(parser, "else in ")

    def run(given: argparse.Namespace) -> int:
        try:
            user = None if given.user is None else user_id(given.user)
            name = None if given.name is None else sender_name(given.name)
        except Invalid as error:
            raise Misconfigured(f"no user can have this name: {error}") from None
        rooms = [] if given.room is None else [named_room(given.room)]
        if given.url:
            erased, status = interruptible(_through(given.url, given.secret, user, name, rooms))
        else:
            erased, status = interruptible(_in(existing_store(given.store), user, name, rooms))
        whose = printable(given.user or given.name)
        what = f"1 message of {whose} is" if erased == 1 else f"{erased} messages of {whose} are"
        print(f"flychat: {what} erased", flush=True)
        print(UNREACHED, file=sys.stderr, flush=True)
        return status

    return run


async def _through(
    url: str, secret: str | None, user: str | None, name: str | None, rooms: Sequence[str]
) -> tuple[int, int]:
    whose = {"from": name} if user is None else {"user": user}

    async def step(room: str, above: int) -> tuple[int, int | None]:
        answer = await ask_server(url, secret, "/erasures/", room, {"room": room, **whose, "above": above})
        erased, then = answer.get("erased"), answer.get("next")
        if type(erased) is not int or not (then is None or (type(then) is int and then > above)):
            raise ConnectionError(NOT_FLYCHAT)
        return erased, then

    if not rooms:
        listed = (await ask_server(url, secret, "/rooms/", "*", seconds=WHOLE_SECONDS)).get("rooms")
        if not isinstance(listed, list):
            raise ConnectionError(NOT_FLYCHAT)
        rooms = list(map(_named, listed))
    return await _all(rooms, step)


def _named(room: Any) -> str:
    if not isinstance(room, dict) or not isinstance(room.get("room"), str):
        raise ConnectionError(NOT_FLYCHAT)
    return str(room["room"])


async def _in(
    store: tuple[str, str], user: str | None, name: str | None, rooms: Sequence[str]
) -> tuple[int, int]:
    async with opened_log(store) as log:

        async def step(room: str, above: int) -> tuple[int, int | None]:
            def entry(ids: tuple[int, ...]) -> Draft:
                return Draft.removal(room, ids, {}, now=time.time(), user=OPERATOR, erases=True)

            return await log.upkeep.erase(room, lambda message: message.is_by(user, name), entry, above)

        if not rooms:
            rooms = [each.room for each in await log.upkeep.rooms() if each.room != RULES]
        return await _all(rooms, step)


async def _all(rooms: Sequence[str], step: Step) -> tuple[int, int]:
    """How many messages are erased, and the exit status."""
    erased = 0

    async def erase(room: str) -> None:
        nonlocal erased
        above: int | None = 0
        while above is not None:
            some, above = await step(room, above)
            erased += some

    status = await for_each(rooms, erase)
    return erased, status
