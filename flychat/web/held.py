"""How the shortcut answers streams, where the server holds them itself, and where a GRIP proxy does.

Here the hub takes over the connection of a stream. A proxy is told how to hold it, and its own connection is
kept for its next request. A proxy asks again for each hold now and then, and for all of them after a restart:
so most requests of a server behind it are recoveries, and nearly all find nothing new.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping

from ..hub import Response
from ..streams import StreamPlan
from .accepting import Client
from .cold_rooms import Asked
from .heads import with_body
from .plain import Plain, PlainStream, keeps_alive, plain_recovery
from .shortcut import Shortcut


class HeldHere(Shortcut):
    """Gives plain streams to the hub, at once or when the log has been read."""

    hub_holds: Callable[[StreamPlan, socket.socket, bytes, str], None]

    def stream(self, client: Client, plain: PlainStream, size: int, address: str) -> bool:
        self.forget(client)
        if self.consume(client, size):
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


class HeldByProxy(Shortcut):
    """Has the hub say how plain streams, and recoveries, are answered."""

    pauses = memory = False
    hub_holds: Callable[[StreamPlan, Response, str], None]

    def plain(self, data: bytes) -> Plain | None:
        if (plain := super().plain(data)) is None and (read := self.application.recovery) is not None:
            plain = plain_recovery(data, read, self.base)
        return plain

    def stream(self, client: Client, plain: PlainStream, size: int, address: str) -> bool:
        way = self.application.way(plain.headers)
        believed = way.vouched or self.application.access.all_public or not plain.request.recover
        if not way.proxied or not believed or not keeps_alive(plain.headers):
            return False
        if self.consume(client, size):
            self.busy(client)
            self.cold_rooms.wait(Asked(client, plain, address, time.monotonic()))
        return True

    def hold(self, plan: StreamPlan, asked: Asked) -> None:
        answer = _Answer(asked.since)
        self.hub_holds(plan, answer, asked.address)
        told = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
        if self.send(asked.client, with_body(self.heads().proxied + told.encode(), answer.body)):
            self.wait_for(asked.client)


class _Answer:
    """A Response that keeps what the hub answers."""

    headers: Mapping[str, str]
    body: bytes

    def __init__(self, asked: float) -> None:
        self.asked = asked

    def send(self, headers: Mapping[str, str], body: bytes) -> None:
        self.headers, self.body = headers, body

    def take(self) -> None:
        """The connection stays: it is the proxy's, for other requests."""
