"""The addresses behind the names of a GRIP proxy and of an issuer, for Tornado's client.

- What is found is used for FOUND_SECONDS. Tornado would look up the host, even an IP address, in a thread for
  each connection: a third of a publication's CPU time, as Pushpin closes the connection after each.
- A name is looked up once at a time, however often it is asked for. Where no name server answers, the system
  gives up after 10 to 20 s, and holds one of the loop's few threads until then, which passwords need as well.
- Who asks waits PATIENCE seconds: less than Tornado would, which logs each failure that comes later, with a
  trace. What is found later is there for who asks next.
"""

from __future__ import annotations

import asyncio
import socket
import time
from functools import partial
from typing import Any, TypeAlias

from tornado.netutil import DefaultLoopResolver

FOUND_SECONDS = 10.0
PATIENCE = 2.0

Addresses: TypeAlias = list[tuple[int, Any]]


class Resolver(DefaultLoopResolver):
    """Of a few names only: none is ever dropped."""

    def initialize(self) -> None:
        self._found: dict[tuple[str, int], tuple[Addresses, float]] = {}  # and until when they are used
        self._looking: dict[tuple[str, int], asyncio.Task[Addresses]] = {}

    async def resolve(
        self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> Addresses:
        name = host, port
        found, until = self._found.get(name, ([], 0.0))
        if time.monotonic() < until:
            return found
        if name not in self._looking:
            self._looking[name] = asyncio.create_task(super().resolve(host, port, family))
            self._looking[name].add_done_callback(partial(self._looked_up, name))
        looking = self._looking[name]
        if not (await asyncio.wait([looking], timeout=PATIENCE))[0]:
            raise OSError(f"no name server answers for {host}")
        return looking.result()

    def _looked_up(self, name: tuple[str, int], looking: asyncio.Task[Addresses]) -> None:
        del self._looking[name]
        if not looking.cancelled() and not looking.exception():
            self._found[name] = looking.result(), time.monotonic() + FOUND_SECONDS

    def forget(self) -> None:
        self._found.clear()
