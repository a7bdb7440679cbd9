"""`revoke SUB`: ends the rights of a user, through a running server, or in the store itself."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from ..access import passes_of
from ..access.revocations import ALL_ROOMS
from ..access.rulebook import Rulebook
from ..errors import Invalid, Misconfigured
from ..fields import user_id
from .operator import NOT_FLYCHAT, ask_server, server_options
from .stores import existing_store, named_room, opened, store_option
from .terminal import interruptible, printable


def revoke_command(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    parser.description = "Ends all tokens that a user has by now, and the streams that were opened with them."
    parser.add_argument("sub", help="the user: the `user` of their messages")
    parser.add_argument("--room", help="in this room only (default: in all)")
    server_options(parser)
    store_option(parser, "else in ")

    def run(given: argparse.Namespace) -> int:
        try:
            sub = user_id(given.sub)
        except Invalid as error:
            raise Misconfigured(f"no user can have this name: {error}") from None
        where = ALL_ROOMS if given.room is None else named_room(given.room)
        if where.endswith("*"):  # done in a room of that name alone, it would be believed to be done in many
            raise Misconfigured("--room is one room, no pattern: say each, or none for all rooms")
        work = (
            _through(given.url, given.secret, sub, where)
            if given.url
            else _into(existing_store(given.store), sub, where)
        )
        moment = interruptible(work)
        print(
            f"flychat: {printable(sub)} is revoked {f'in {printable(where)}' if where else 'in all rooms'}",
            flush=True,
        )
        # What is issued in the same second is refused as well: whoever gives them another token does it next.
        time.sleep(min(1.0, max(0.0, moment + 1 - time.time())))
        return 0

    return run


async def _through(url: str, secret: str | None, sub: str, where: str) -> int:
    """The moment from which on it is so. Raises as `ask_server` does."""
    content = {"user": sub} | ({"room": where} if where else {})
    answer = await ask_server(url, secret, "/revocations/", where or "*", content)
    moment = answer.get("at")
    if answer.get("user") != sub or type(moment) is not int:
        raise ConnectionError(NOT_FLYCHAT)
    return moment


async def _into(store: tuple[str, str], sub: str, where: str) -> int:
    async with opened(store) as engine:
        return (await Rulebook(engine).revoke(passes_of(sub), where))[1]
