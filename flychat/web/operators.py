"""Requests of operators, with a token that may moderate, in a room or in all of them.

    POST /revocations/  {"user", "room"} -> {"user", "room", "at"}: all their rights have ended
    POST /clearings/    {"room"} -> {"room", "lastEventId"}: all messages of the room are gone
    POST /erasures/     {"room", "user" or "from", "above"} -> {"erased", "next"}: what somebody wrote is gone
    GET /rooms/         which rooms there are; it takes the right to moderate all of them

An erasure works for STEP_SECONDS; `next` is the `above` with which to ask again, or null: it is done. Nothing
here is given up when the client goes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any

from .. import errors
from ..access import MODERATE, Token
from ..access.revocations import ALL_ROOMS
from ..access.rulebook import RULES
from ..errors import Invalid
from ..fields import position_field, room_name, sender_name, string_field, user_id
from ..messages import Draft, Message
from ..sse import to_json
from .forms import read_short
from .rights import RightsHandler

ROOMS_AT_ONCE = 500  # that become JSON in one turn of the loop: 1 ms
STEP_SECONDS = 2.0  # for one request of an erasure: less than the time-out of any proxy


class OperatorHandler(RightsHandler):
    """Checks that the visitor may moderate, in a room or in all of them."""

    def prepare(self) -> None:
        super().prepare()
        if not self.allow_origin():
            raise errors.Forbidden("this origin may not post here")

    def options(self) -> None:
        self.preflight()

    async def moderator(self, room: str) -> Token:
        """The token of the visitor, who may moderate here. Raises Unauthorized, NotAllowed, Unavailable."""
        await self.require(room, MODERATE)
        if self.identity is None:
            raise errors.Unauthorized
        if room == ALL_ROOMS and not self.identity.rooms.everywhere(MODERATE):
            raise errors.NotAllowed
        self.admit(1)
        self.set_header("Cache-Control", "no-store")
        return self.identity


class RevocationsHandler(OperatorHandler):
    """Without a `room` it is for all rooms, and takes the right to moderate all of them."""

    async def post(self) -> None:
        fields, _ = read_short(self.request)
        room = ALL_ROOMS if fields.get("room") is None else room_name(string_field(fields, "room"))
        await self.moderator(room)
        user = user_id(string_field(fields, "user"))
        moment = await self.application.keeper.revoke(user, room)
        if room != ALL_ROOMS:  # all that is revoked is written each time: it could fill the disk
            size = len(self.application.access.revocations.text())
            self.application.charge(self.visitor.client, size)
        self.write_json({"user": user, "room": room or None, "at": moment})


class ClearingsHandler(OperatorHandler):
    """Clears a room."""

    async def post(self) -> None:
        fields, _ = read_short(self.request)
        room = room_name(string_field(fields, "room"))
        await self.moderator(room)
        self.write_json({"room": room, "lastEventId": await self.chat.clear(room)})


class ErasuresHandler(OperatorHandler):
    """Erases somebody, in a room."""

    async def post(self) -> None:
        fields, _ = read_short(self.request)
        room, (user, name) = room_name(string_field(fields, "room")), whose(fields)
        above: int | None = position_field(fields.get("above")) or 0
        who = await self.moderator(room)

        def entry(ids: tuple[int, ...]) -> Draft:
            return Draft.removal(room, ids, {}, now=time.time(), user=who.sub, name=who.name, erases=True)

        def wrote(message: Message) -> bool:
            return message.is_by(user, name)

        loop, erased = asyncio.get_running_loop(), 0
        began = loop.time()
        while above is not None and loop.time() - began < STEP_SECONDS:
            some, above = await self.chat.erase(room, wrote, entry, above)
            erased += some
        self.write_json({"erased": erased, "next": above})


def whose(fields: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The `user` to erase, or else the name (`from`): one of the two. Raises Invalid."""
    if fields.get("user") is not None:
        if fields.get("from") is not None:
            raise Invalid("from", "must not come with user")
        return user_id(string_field(fields, "user")), None
    if fields.get("from") is None:
        raise Invalid("user", "must be given, or from")
    return None, sender_name(string_field(fields, "from"))


class RoomsHandler(OperatorHandler):
    """Which rooms there are."""

    async def get(self) -> None:
        await self.moderator(ALL_ROOMS)
        rooms = await self.chat.log.upkeep.rooms()
        self.write_line(await listed(each.fields() for each in rooms if each.room != RULES))


async def listed(rooms: Iterable[dict[str, Any]]) -> str:
    """The rooms as JSON, made over several turns of the loop: there may be a hundred thousand."""
    made: list[str] = []
    for each in rooms:
        made.append(to_json(each))
        if len(made) % ROOMS_AT_ONCE == 0:
            await asyncio.sleep(0)
    return f'{{"rooms":[{",".join(made)}]}}\n'
