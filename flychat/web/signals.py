"""Signals (../signals.py): `POST /rooms/{room}/signals/`, where the server has --signals.

A visitor who may write in the room may send them, under the same name. They have a rate limit of their own,
a fifth of that of messages, so that signals of typing use up no messages. `here` costs a fifth of any other
signal: a page sends it twice a minute, and with the default --rate-limit 300 pages of one address may do so.
"""

from __future__ import annotations

import math
import time

from .. import errors
from ..access import WRITE
from ..fields import room_name
from ..signals import HERE, Signal
from .forms import read_short
from .rate import RateLimit
from .rights import RightsHandler

SHARE = 0.2  # of the rate of messages, and of a signal's cost


def signal_limit(messages: float) -> RateLimit:
    """The limit of signals that goes with a limit of so many messages per second; 0: none."""
    return RateLimit(SHARE * messages, math.ceil(messages))


class SignalsHandler(RightsHandler):
    """A room's signals."""

    async def post(self, name: str) -> None:
        self.admit_in_time()
        room = self.room = room_name(name)
        if not self.allow_origin():
            raise errors.Forbidden("this origin may not post here")
        await self.require(room, WRITE)
        fields, _ = read_short(self.request)
        who = self.identity
        user, named = (None, None) if who is None else (who.sub, who.name)
        signal = Signal.create(room, fields, now=time.time(), user=user, name=named)
        self.admit(SHARE if signal.kind == HERE else 1)
        await self.while_here(self.chat.signal(signal))
        self.set_status(202)
        self.write_json({})

    def admit(self, cost: float) -> None:
        limit = self.application.signals
        if limit is not None and (wait := limit.wait(self.visitor.client, time.monotonic(), cost)):
            raise errors.TooMany(wait)

    def options(self, name: str) -> None:
        self.preflight()
