"""A server of all its real parts in the test's own loop, and those who connect to it."""

import asyncio
import contextlib

from flychat.config import Config
from flychat.server import Server, start
from tests.support.fakes import FaultyEngine
from tests.support.served import Client


@contextlib.asynccontextmanager
async def started(*arguments: str, mode: tuple[str, ...] = ("--standalone",)):
    """A server of all its real parts, in the test's own loop."""
    server = await start(Config.read([*mode, "--store", "sqlite::memory:", "--port", "0", *arguments], {}))
    clients: list[Client] = []
    try:
        yield server, clients
    finally:
        for client in clients:
            client.close()
        if not server.log._reader._closed:
            await server.stop()


def faulty(server: Server) -> FaultyEngine:
    """The server's store, which the test may spoil from now on."""
    engine = FaultyEngine(server.log._common.engine)
    server.log._common.engine = server.log._reader._engine = engine
    return engine


async def connect(server: Server, clients: list[Client], request: str, body: str = "") -> Client:
    return await connect_to(server.url, clients, request, body)


async def connect_to(url: str, clients: list[Client], request: str, body: str = "") -> Client:
    host, port = url.removeprefix("http://").rstrip("/").rsplit(":", 1)
    client = Client(*await asyncio.open_connection(host, int(port)))
    clients.append(client)
    client.writer.write(f"{request} HTTP/1.1\r\nHost: x\r\n".encode() + body.encode())
    return client


async def stream(server: Server, clients: list[Client]) -> Client:
    client = await connect(server, clients, "GET /rooms/room/messages/", "Accept: text/event-stream\r\n\r\n")
    await client.opened()
    assert (await client.next()).type == "stream-open"
    return client
