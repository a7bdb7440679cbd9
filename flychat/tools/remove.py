"""`remove ROOM ID...`: takes messages back, through a running server, or in the store itself."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from urllib.parse import quote

from ..errors import Invalid, Misconfigured
from ..fields import REMOVES, removes_field
from ..messages import Draft, Message
from .arguments import as_number
from .operator import NOT_FLYCHAT, OPERATOR, ask_server, server_options
from .stores import existing_store, named_room, opened_log, store_option
from .terminal import interruptible


def remove_command(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    parser.description = "Removes messages: their texts are gone, for all readers and from the store."
    parser.add_argument("room")
    parser.add_argument("ids", type=as_number, nargs="+", metavar="ID", help="of a message")
    server_options(parser)
    store_option(parser, "else in ")

    def run(given: argparse.Namespace) -> int:
        room, ids = named_room(given.room), sorted(set(given.ids))
        parts = [_checked(ids[start : start + REMOVES]) for start in range(0, len(ids), REMOVES)]
        work = (
            _through(given.url, given.secret, room, parts)
            if given.url
            else _from(existing_store(given.store), room, parts)
        )
        interruptible(work)
        return 0

    return run


def _checked(ids: list[int]) -> tuple[int, ...]:
    try:
        return removes_field(ids)
    except Invalid:
        raise Misconfigured("an ID must be that of a message, a whole number from 1") from None


async def _through(url: str, secret: str | None, room: str, parts: Sequence[tuple[int, ...]]) -> None:
    path = f"/rooms/{quote(room, safe='')}/messages/"
    for ids in parts:
        answer = await ask_server(url, secret, path, room, {"removes": list(ids)})
        if type(answer.get("id")) is not int:
            raise ConnectionError(NOT_FLYCHAT)
        _tell(ids, answer["id"])


async def _from(store: tuple[str, str], room: str, parts: Sequence[tuple[int, ...]]) -> None:
    async with opened_log(store) as log:
        for ids in parts:
            draft = Draft.removal(room, ids, {}, now=time.time(), user=OPERATOR)
            _tell(ids, (await log.upkeep.remove(draft, _no_removal)).id)


def _no_removal(message: Message) -> None:
    if message.removes:
        raise Invalid("ID", f"{message.id} is a removal, which stays")


def _tell(ids: tuple[int, ...], removal: int) -> None:
    what = "1 message is" if len(ids) == 1 else f"{len(ids)} messages are"
    print(f"flychat: {what} removed, by message {removal}", flush=True)
