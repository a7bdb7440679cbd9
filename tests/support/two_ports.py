"""One chat behind two ports, Tornado's own and the short way for plain requests; and two plain requests."""

import asyncio
import contextlib
import re
import socket
from collections import Counter
from typing import ClassVar
from unittest.mock import patch

import jwt
from tornado.netutil import bind_sockets

from flychat.hub.pushpin import PushpinHub
from flychat.web.held import HeldByProxy, HeldHere
from tests.support.served import WAIT, served

FORM = b"from=ann&text=hello"
GOOD = (
    b"POST /rooms/room/messages/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(FORM), FORM)
)
KEY = "k" * 32
SIGNING = f"?verify-iss=proxy&verify-key={KEY}"
SIGNATURE = jwt.encode({"iss": "proxy", "exp": 2**33}, KEY, algorithm="HS256")
MADE_UP = re.compile(
    rb'"date": ?"[^"\r]*|Date: [^\r]*|data-now=.\d+|X-Request-Id: [0-9a-f]*\r\n|[0-9a-f]{8}-[0-9a-f-]{27}'
    rb"|expires=[^;\r]*|rel=next; timeout=[0-9]+"
)
STREAM = b"GET /rooms/room/messages/ HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"


@contextlib.asynccontextmanager
async def proxies(query: str = ""):
    """A hub of one proxy that is not there, of which nothing is expected."""
    hub = PushpinHub([f"http://127.0.0.1:1/{query}"], answer_first=True)
    for publisher in hub.publishers:
        publisher.must_recover_all = False
    with patch("flychat.hub.publisher.FLUSH_SECONDS", 0):  # what waits for it is for nobody
        try:
            yield hub
        finally:
            await hub.close()


@contextlib.asynccontextmanager
async def two_ports(*, send: int = 0, proxies: PushpinHub | None = None, **options):
    """A chat on two ports, Tornado's own and one with the shortcut; `held` are the plans of those who took it.

    The options are the shortcut's; `send` bounds the socket buffers of its connections. With `proxies`, they
    hold the streams.
    """
    async with served(proxies=proxies) as chat:
        for text in ("one", "two", "three"):
            await chat.post(text)
        held = []

        def hold(plan, sock, head, client):
            held.append(plan)
            chat.hub.hold_socket(plan, sock, head, client)

        def hold_by_proxy(plan, response, client):
            held.append(plan)
            chat.hub.hold(plan, response, client)

        application = chat.application
        application.trust_proxy = proxies is None
        if proxies is None:
            shortcut = HeldHere(application, hold=hold, **options)
        else:
            shortcut = HeldByProxy(application, hold=hold_by_proxy, **options)
        sockets = bind_sockets(0, "127.0.0.1")
        if send:
            sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send)
        shortcut.add_sockets(sockets)
        try:
            yield chat, sockets[0].getsockname()[1], held
        finally:
            while Connection.opened:
                Connection.opened.pop().writer.close()
            shortcut.stop()
            await shortcut.close_all_connections()


class Connection:
    """A client's connection, kept open from one request to the next."""

    opened: ClassVar[list["Connection"]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.opened.append(self)

    @classmethod
    async def open(cls, port: int, **options) -> "Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port, **options))

    async def answer(self) -> bytes:
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), WAIT)
        length = re.search(rb"Content-Length: (\d+)", head)
        return head + await asyncio.wait_for(self.reader.readexactly(int(length[1]) if length else 0), WAIT)

    async def ask(self, request: bytes) -> bytes:
        self.writer.write(request)
        return await self.answer()


async def asked(port: int, request: bytes) -> bytes:
    """The answer, but for the time, and for what is made up for each."""
    connection = await Connection.open(port)
    try:
        got = await connection.ask(request)
    finally:
        connection.writer.close()
    return MADE_UP.sub(b"", got)


def raising(error: Exception):
    """A plan that cannot be made."""

    async def fail(*_args):
        raise error

    return fail


def through_tornado(chat) -> Counter:
    """Counts, from now on, the requests that reach a handler of Tornado."""
    counted, visitor = Counter(), chat.application.visitor

    def note(headers, peer):
        counted["requests"] += 1
        return visitor(headers, peer)

    chat.application.visitor = note
    return counted
