"""The shortcut of a server that holds its streams itself: the hub takes over the connection of a stream."""

from __future__ import annotations

import socket
from collections.abc import Callable

from ..streams import StreamPlan
from .accepting import Client
from .cold_rooms import Asked
from .plain import PlainStream
from .shortcut import Shortcut


class HeldHere(Shortcut):
    """Gives plain streams to the hub, at once or when the log has been read."""

    hub_holds: Callable[[StreamPlan, socket.socket, bytes, str], None]

    def stream(self, client: Client, plain: PlainStream, size: int, address: str) -> bool:
        self.forget(client)
        if self.taken(client, size):
            asked = Asked(client, plain, address)
            if plan := self.application.chat.plan_at_once(plain.request, address):
                self.hold(plan, asked)
            else:
                self.cold_rooms.wait(asked)
        return True

    def hold(self, plan: StreamPlan, asked: Asked) -> None:
        try:
            self.hub_holds(plan, asked.client.socket, self.heads().stream, asked.address)
        except OSError as error:  # the hub has closed the connection, and the request is consumed
            self.refused.tell("a stream cannot be held: %s", error.strerror)
