"""Removing messages: `DELETE /rooms/{room}/messages/{id}`, and a POST with `removes`.

It takes the token of a moderator of the room, or of the user who wrote all of the messages and may still
write there. So without the options of access nobody can; an operator can use the command `remove`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from .. import errors
from ..access import MODERATE, WRITE
from ..errors import Invalid
from ..fields import removes_field, room_name
from ..messages import Draft, Message
from ..sse import BEYOND_ANY_LOG, read_position
from .rights import RightsHandler


class MessageHandler(RightsHandler):
    """One message of a room."""

    async def delete(self, name: str, id: str) -> None:
        self.admit_in_time()
        room = self.room = room_name(name)
        if not self.allow_origin():
            raise errors.Forbidden("this origin may not remove messages here")
        number = read_position(id)
        if number is None or not 1 <= number < BEYOND_ANY_LOG:
            raise Invalid("id", "must be a whole number from 1")
        self.write_line((await remove(self, room, {"removes": [number]})).json)

    def options(self, name: str, id: str) -> None:
        self.preflight()


async def remove(handler: RightsHandler, room: str, fields: Mapping[str, Any]) -> Message:
    """Removes what these fields name; returns the entry that says so. Raises Refused, Unavailable."""
    handler.admit(1)
    try:
        await handler.require(room, MODERATE)
        moderates = True
    except errors.NotAllowed:
        await handler.require(room, WRITE)
        moderates = False
    who = handler.identity
    if who is None:
        raise errors.Unauthorized
    ids = removes_field(fields["removes"])
    if not moderates:  # in all it costs a token for each message, as writing them did
        handler.application.rate_limit.charge(handler.visitor.client, time.monotonic(), len(ids) - 1)

    def check(message: Message) -> None:
        if not moderates and message.user != who.sub:
            raise errors.NotAllowed("only a moderator may remove what others have written")
        if message.removes:
            raise Invalid("removes", "must not name a removal")

    draft = Draft.removal(room, ids, fields, now=time.time(), user=who.sub, name=who.name)
    # Not given up when the client goes: a removal that has begun is finished.
    return await handler.chat.remove(draft, check, handler.logged(draft))
