"""`POST /revocations/`: ends what somebody may, in a room or in all, for whoever may moderate there."""

from __future__ import annotations

from .. import errors
from ..access import MODERATE
from ..access.revocations import ALL_ROOMS
from ..fields import room_name, string_field, user_id
from .forms import read_fields
from .rights import RightsHandler


class RevocationsHandler(RightsHandler):
    """`user` is whom; without a `room` it is for all rooms, and takes the right to moderate all."""

    async def post(self) -> None:
        if not self.allow_origin():
            raise errors.Forbidden("this origin may not post here")
        fields, _ = read_fields(self.request.headers.get("Content-Type", ""), self.request.body)
        room = ALL_ROOMS if fields.get("room") is None else room_name(string_field(fields, "room"))
        await self.require(room, MODERATE)
        if room == ALL_ROOMS and not (self.identity and self.identity.rooms.everywhere(MODERATE)):
            raise errors.NotAllowed
        user = user_id(string_field(fields, "user"))
        self.admit(1)
        moment = await self.application.revoke(user, room)
        self.set_header("Cache-Control", "no-store")
        self.write_json({"user": user, "room": room or None, "at": moment})
