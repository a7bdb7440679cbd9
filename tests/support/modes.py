"""flychat in the test's own loop, in each mode: standalone, and GRIP behind the model of Pushpin or a real one."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from flychat.server import Server
from tests.conftest import need
from tests.proof import oracle
from tests.support.fakes import FaultyEngine
from tests.support.ports import free_port
from tests.support.pushpin_proxy import Stage
from tests.support.pushpin_stand_in import StandIn
from tests.support.served import Client, draft
from tests.support.started import faulty, started

OTHER = "FLYCHAT_TEST_PUSHPIN"
MODES = ["standalone", "model", "pushpin", OTHER]
ONE_PUSHPIN = ["standalone", "pushpin"]  # for what flychat decides, whichever the release


class Place:
    """A chat that clients reach at `url`, and its store, which may be spoilt."""

    def __init__(
        self,
        mode: str,
        server: Server,
        engine: FaultyEngine,
        url: str,
        start: Callable[..., Awaitable[Server]],
    ) -> None:
        self.mode, self.server, self.engine, self.url, self._start = mode, server, engine, url, start
        self.clients: list[Client] = []

    async def begin_again(self, *arguments: str) -> None:
        """Another server on the same port, once this one has ended, with these options besides."""
        self.server = await self._start(*arguments)
        self.engine = faulty(self.server)

    async def request(self, head: str) -> Client:
        """Sends it: the lines of a head, without the Host and the blank line."""
        place = urlsplit(self.url)
        client = Client(*await asyncio.open_connection(place.hostname, place.port, limit=1 << 20))
        first, *others = head.splitlines()
        lines = [first, f"Host: {place.netloc}", *others, "", ""]
        client.writer.write("\r\n".join(lines).encode())
        self.clients.append(client)
        return client

    async def stream(
        self, last_id: int | None = None, *headers: str, query: str = "", room: str = "room"
    ) -> Client:
        """Opens a stream, and reads its head."""
        if last_id is not None:
            headers = (f"Last-Event-ID: {last_id}", *headers)
        target = f"/rooms/{room}/messages/{query}"
        client = await self.request(
            "\n".join([f"GET {target} HTTP/1.1", "Accept: text/event-stream", *headers])
        )
        await client.opened()
        assert client.head.startswith(b"HTTP/1.1 200 "), client.head
        return client

    async def opened(self, last_id: int | None = None, *, room: str = "room") -> Client:
        """Opens a stream, and reads up to its stream-open."""
        client = await self.stream(last_id, room=room)
        assert (await client.next()).type == "stream-open"
        return client

    async def settled(self, room: str = "room") -> Client:
        """A stream that the proxy has recovered already, as it does once, a second after a room's first one came."""
        reads = self.engine.calls.total()
        client = await self.opened(room=room)
        while self.mode != "standalone" and self.engine.calls.total() < reads + 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return client

    async def post(self, text: str = "hi", **options: str) -> dict:
        status, message = await oracle.post(self.url, "room", text, **options)
        assert status == 200, message
        return message

    async def fill(self, count: int, room: str = "room") -> None:
        await asyncio.gather(*(self.server.log.submit(draft(f"text {n}", room)) for n in range(count)))


@contextlib.asynccontextmanager
async def standing(mode: str, directory: Path, *arguments: str) -> AsyncIterator[Place]:
    """The chat in this mode. Its port stays its own, as a proxy has to know it."""
    port = free_port()
    async with contextlib.AsyncExitStack() as ending:
        url, grip_url = await _proxy(ending, mode, directory, port)
        running = ("--standalone",) if mode == "standalone" else ("--grip", f"--grip-url={grip_url}")

        async def start(*more: str) -> Server:
            options = ("--rate-limit", "0", "--port", str(port), *arguments, *more)
            server, _ = await ending.enter_async_context(started(*options, mode=running))
            return server

        server = await start()
        place = Place(mode, server, faulty(server), url or server.url, start)
        ending.callback(lambda: [client.close() for client in place.clients])
        yield place


async def _proxy(ending: contextlib.AsyncExitStack, mode: str, directory: Path, port: int) -> tuple[str, str]:
    """(where clients go, where the app publishes)"""
    if mode == "standalone":
        return "", ""
    if mode == "model":
        model = StandIn(port)
        ending.push_async_callback(model.close)
        return model.url, model.grip_url
    program = (
        "pushpin"
        if mode != OTHER
        else os.environ.get(OTHER) or pytest.skip(f"{OTHER} names no other Pushpin")
    )
    need(program)
    stage = Stage(directory, program)
    ending.push_async_callback(stage.close)
    pushpin = await stage.pushpin(port)
    return pushpin.url, pushpin.grip_url
