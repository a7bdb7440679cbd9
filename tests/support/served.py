"""A standalone flychat in the test's own loop, its parts within reach, and a client that reads it."""

import asyncio
import contextlib
import json
import socket
import uuid
from collections.abc import AsyncIterator

from tornado.netutil import bind_sockets

from flychat.access.gate import Access
from flychat.access.keeper import Keeper
from flychat.chat import Chat
from flychat.hub.grip import read_grip_last
from flychat.hub.local import LocalHub
from flychat.hub.pushpin import PushpinHub
from flychat.log import MessageLog
from flychat.messages import Draft
from flychat.server import HEAD_BYTES
from flychat.showing import AtOnce
from flychat.storage.sqlite import SqliteEngine
from flychat.streams import committed
from flychat.web import ChatApplication
from flychat.web.listener import Listener
from tests.support.fakes import FaultyEngine, MemoryEngine
from tests.support.http_body import Body
from tests.support.sse_parser import Parsed, parse

WAIT = 30.0  # seconds that an event may take before its test fails, on a machine of any speed


class Client:
    """One stream, read event by event. `head` is the answer's head, `ids` the official ids seen so far."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.head = b""
        self.body = Body(b"")
        self.ids: list[int] = []
        self.blocks: list[bytes] = []
        self._pending = b""

    async def opened(self) -> None:
        """Reads the head."""
        self.head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), WAIT)
        self.body = Body(self.head)

    async def next(self, *skip: str) -> Parsed:
        """The next event; those of the types in `skip` do not count."""
        while True:
            block = await asyncio.wait_for(self._block(), WAIT)
            for event in parse(block):
                self.blocks.append(block)
                if event.type == "message" and event.last_id:
                    self.ids.append(int(event.last_id))
                if event.type not in skip:
                    return event

    async def until_id(self, id: int) -> list[int]:
        """Reads up to the official message `id`; gives all official ids seen so far."""
        while not self.ids or self.ids[-1] != id:
            await self.next()
        return self.ids

    async def at_end(self) -> bytes:
        """What comes until the connection ends. `body.ended` says whether it ended as it should."""
        rest, self._pending = (
            self._pending + self.body.take(await asyncio.wait_for(self.reader.read(), WAIT)),
            b"",
        )
        return rest

    async def _block(self) -> bytes:
        while b"\n\n" not in self._pending:
            data = await self.reader.read(4096)
            if not data:
                raise EOFError(self._pending)
            self._pending += self.body.take(data)
        block, end, self._pending = self._pending.partition(b"\n\n")
        return block + end

    def close(self) -> None:
        self.writer.close()


class Served:
    def __init__(
        self,
        server: Listener,
        port: int,
        application: ChatApplication,
        log: MessageLog,
        hub: LocalHub | PushpinHub,
        engine,
    ) -> None:
        self.server, self.port, self.application = server, port, application
        self.log, self.hub, self.engine = log, hub, engine
        self.committed = lambda commit: hub.publish(committed(commit))  # a test may take it away
        self.url = f"http://127.0.0.1:{port}"
        self.clients: list[Client] = []

    async def stream(
        self, last_id: int | None = None, room: str = "room", receive: int = 0, http: str = "HTTP/1.1"
    ) -> Client:
        """Opens a stream and reads up to its stream-open. `receive` bounds the client's socket buffer."""
        client = await self.request(
            f"GET /rooms/{room}/messages/ {http}\r\nHost: x\r\nAccept: text/event-stream\r\n"
            + (f"Last-Event-ID: {last_id}\r\n" if last_id is not None else ""),
            receive,
        )
        await client.opened()
        assert client.head.startswith(b"HTTP/1.1 200 "), client.head
        assert (await client.next()).type == "stream-open"
        return client

    async def request(self, head: str, receive: int = 0, source: str = "127.0.0.1") -> Client:
        sock = socket.socket()
        sock.bind((source, 0))
        if receive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        client = Client(*await asyncio.open_connection(sock=sock, limit=1 << (13 if receive else 20)))
        client.writer.write(head.encode() + b"\r\n")
        self.clients.append(client)
        return client

    async def post(self, text: str = "hi", room: str = "room") -> int:
        """Commits a message, without HTTP; gives its id."""
        return (await self.log.submit(draft(text, room))).id


def draft(text: str = "hi", room: str = "room") -> Draft:
    return Draft.create(room, {"from": "ann", "text": text, "provisionalId": str(uuid.uuid4())}, now=0)


def all_leave(log: MessageLog) -> None:
    """What was in memory is read again."""
    for room in list(log._rooms.values()):
        log._rooms._leave(room)


@contextlib.asynccontextmanager
async def served(
    faults=(),
    *,
    engine=None,
    shared: bool = False,
    send: int = 0,
    proxies: PushpinHub | None = None,
    **hub_options,
) -> AsyncIterator[Served]:
    """`shared`: other processes write to the store; `send` bounds the socket buffers of the server's connections.

    With `proxies`, they hold the streams: it is a server of the GRIP mode.
    """
    if engine is None:
        engine = MemoryEngine(shared=True) if shared else await SqliteEngine.open(":memory:")
    engine = FaultyEngine(engine, faults)
    log = MessageLog(engine, memory=proxies is None, committed=lambda commit: serving.committed(commit))
    hub: LocalHub | PushpinHub
    if proxies is None:
        hub = LocalHub(log.plan, polls=shared, note_held=log.note_held, ends_at=log.ends_at, **hub_options)
    else:
        hub = proxies
    recovery = None if proxies is None else read_grip_last
    keeper = Keeper(Access(), "", engine)
    application = ChatApplication(Chat(log, hub, AtOnce(hub.publish)), hub.way, keeper, recovery=recovery)
    server = Listener(application, max_header_size=HEAD_BYTES)
    sockets = bind_sockets(0, "127.0.0.1")
    if send:
        sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send)
    server.add_sockets(sockets)
    serving = Served(server, sockets[0].getsockname()[1], application, log, hub, engine)
    try:
        yield serving
    finally:
        for client in serving.clients:
            client.close()
        server.stop()
        await hub.close()
        await server.close_all_connections()
        await log.close(0.1)


def fields(event: Parsed) -> dict:
    return json.loads(event.data)
