"""The shortcut of a server that holds its streams itself: the hub takes over the connection of a stream."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from ..streams import StreamPlan
from .accepting import Client
from .application import BaseApplication
from .cold_rooms import Asked
from .plain import PlainStream
from .shortcut import Shortcut


class HeldHere(Shortcut):
    """Gives plain streams to `hold` (the hub's), at once or when the log has been read."""

    def initialize(  # type: ignore[override]
        self,
        application: BaseApplication,
        *args: Any,
        hold: Callable[[StreamPlan, socket.socket, bytes, str], None],
        **kwargs: Any,
    ) -> None:
        super().initialize(application, *args, **kwargs)
        self._hold = hold

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
            self._hold(plan, asked.client.socket, self.heads().stream, asked.address)
        except OSError as error:  # `hold` has closed the connection, and the request is consumed
            self.refused.tell("a stream cannot be held: %s", error.strerror)
