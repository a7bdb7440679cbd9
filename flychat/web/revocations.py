"""`POST /revocations/`: a moderator ends all rights of a user, in a room or in all rooms."""

from __future__ import annotations

from ..access.revocations import ALL_ROOMS
from ..fields import room_name, string_field, user_id
from .operators import OperatorHandler


class RevocationsHandler(OperatorHandler):
    """Without a `room` it is for all rooms, and takes the right to moderate all of them."""

    async def post(self) -> None:
        fields = self.fields()
        room = ALL_ROOMS if fields.get("room") is None else room_name(string_field(fields, "room"))
        await self.moderator(room)
        user = user_id(string_field(fields, "user"))
        moment = await self.application.keeper.revoke(user, room)
        self.write_json({"user": user, "room": room or None, "at": moment})
