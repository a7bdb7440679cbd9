"""Requests of operators: they take a token with the right to moderate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import errors
from ..access import MODERATE, Token
from ..access.revocations import ALL_ROOMS
from .forms import check_short, read_fields
from .rights import RightsHandler


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

    def fields(self) -> Mapping[str, Any]:
        """The fields of the body: read first, as `room` is one. Raises TooLarge, Unsupported, Invalid."""
        check_short(self.request.body)
        return read_fields(self.request.headers.get("Content-Type", ""), self.request.body)[0]
