"""The addresses of a GRIP proxy, remembered for a short time."""

from __future__ import annotations

import socket
import time
from typing import Any

from tornado.netutil import DefaultLoopResolver

FOUND_SECONDS = 10.0  # for which the addresses of a proxy's name are used


class Resolver(DefaultLoopResolver):
    """Remembers what it found: Tornado looks up the host, even an IP address, in a thread per connection.

    That is a third of a POST's CPU time, as Pushpin closes the connection after each POST.
    """

    def initialize(self) -> None:
        self._found: list[tuple[int, Any]] = []
        self._until = 0.0

    async def resolve(
        self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[tuple[int, Any]]:
        """Of one host and port: those of the Publisher's proxy."""
        now = time.monotonic()
        if now >= self._until:
            self._found, self._until = await super().resolve(host, port, family), now + FOUND_SECONDS
        return self._found

    def forget(self) -> None:
        self._until = 0.0
