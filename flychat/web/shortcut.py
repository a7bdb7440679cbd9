"""The shortcut: a client that wants nothing but a stream is answered without Tornado.

In a reconnect storm nearly all requests are alike: a plain GET for the stream of a room. For each Tornado
makes a stream, a parser, a coroutine, a request and a handler, and throws them away as soon as the head is
answered; that is ten times the work of accepting, reading and answering.

So a new connection is peeked at: its first bytes are read, and left in the kernel. If they are one whole and
plain stream request, and there is a plan for it, at once or when the log has been read, they are consumed and
the hub holds the socket. Anything else (a part of a head, more than a head, another method, version, path or
Accept, an Origin, a body, a stream that is refused) is Tornado's business: it gets the socket untouched, and
never knows. A refusal here costs time, never correctness; so what is plain is narrow: one pattern for all of
the head, and a list of harmless headers. Any other one (Authorization, say, or what is invented tomorrow) is
Tornado's business, as is one that comes twice. Cookie is on the list: browsers send it with every request,
and the only cookie there is remembers a name, which no stream depends on. Once a cookie can carry a right,
Cookie has to leave the list.

The kernel is asked to tell of a connection only when it has something to say (TCP_DEFER_ACCEPT, where that
exists): else one that is accepted in a quiet moment would always be peeked at too early.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any
from urllib.parse import unquote

from tornado.httputil import format_timestamp

from ..errors import FlychatError, Refused
from ..messages import room_name
from ..seldom import Seldom
from ..streams import STREAM_HEADERS, StreamPlan, StreamRequest, answer_head
from .application import BaseApplication
from .base import DEFAULT_HEADERS
from .listener import Listener

PEEK_BYTES = 4096  # of a new connection; a longer head is unusual
ACCEPTED_AT_ONCE = 16  # connections, before the loop has a turn: the hub sends each some 64 kB at the most
FULL_SECONDS = 0.5  # until it is tried again to accept, after that failed
DEFER_SECONDS = 1  # a connection that says nothing is accepted all the same after that

# Headers that change no answer, or that are read: here, or by the visitor (x-forwarded-for).
READ = "accept host last-event-id x-forwarded-for"
OF_CLIENTS = (
    "accept-encoding accept-language cache-control connection cookie dnt keep-alive pragma priority referer "
    "save-data sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site "
    "sec-gpc user-agent"
)
OF_PROXIES = "forwarded via x-forwarded-host x-forwarded-port x-forwarded-proto x-real-ip x-request-id"
HARMLESS = frozenset(f"{READ} {OF_CLIENTS} {OF_PROXIES}".split())

logger = logging.getLogger(__name__)

_PLAIN = re.compile(
    r"GET /rooms/((?:[\w.~-]|%[0-9A-Fa-f]{2})+)/messages/(?:\?lastEventId=([0-9]{1,18}))? HTTP/1\.1\r\n"
    r"((?:[A-Za-z0-9-]+:[ -~]*\r\n)+)\r\n",
    re.ASCII,
)
_ACCEPT = re.compile(r" *text/event-stream *", re.IGNORECASE | re.ASCII)
_HOST = re.compile(r" *[A-Za-z0-9_.:\[\]-]{0,255} *")
_POSITION = re.compile(r" *[0-9]{1,18} *")


def plain_request(head: bytes) -> tuple[StreamRequest, Mapping[str, str]] | None:
    """What a whole, plain head asks for, and its headers by their names in small letters; else None."""
    match = _PLAIN.fullmatch(head.decode("latin-1"))
    if match is None:
        return None
    lines = [line.partition(":") for line in match[3].splitlines()]
    headers = {name.lower(): value for name, _, value in lines}
    if len(headers) < len(lines) or not HARMLESS.issuperset(headers):
        return None
    if not _ACCEPT.fullmatch(headers.get("accept", "")) or not _HOST.fullmatch(headers.get("host", "?")):
        return None
    position = headers.get("last-event-id", match[2])
    if position is not None and not _POSITION.fullmatch(position):
        return None
    try:
        room = room_name(unquote(match[1], errors="strict"))
    except (UnicodeDecodeError, Refused):
        return None
    return StreamRequest(room, None if position is None else int(position)), headers


class StreamShortcut(Listener):
    """The HTTP server of an application, which has plain stream requests held by `hold`."""

    def initialize(  # type: ignore[override]
        self,
        application: BaseApplication,
        *args: Any,
        hold: Callable[[StreamPlan, socket.socket, bytes, str], None],
        **kwargs: Any,
    ) -> None:
        super().initialize(application, *args, **kwargs)
        self._application, self._hold = application, hold
        self._waiting: set[asyncio.Task[None]] = set()  # for a plan
        self._head = (0, b"")
        self._refused = Seldom(logger, logging.ERROR)

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """Accepts a few connections at a time, where Tornado takes 128: others are waiting for messages."""
        for sock in sockets:
            if hasattr(socket, "TCP_DEFER_ACCEPT"):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER_SECONDS)
            self._sockets[sock.fileno()] = sock
            self._handlers[sock.fileno()] = partial(self._accept_no_more, sock)  # called by HTTPServer.stop
            self._accept_again(sock)

    def _accept_again(self, listening: socket.socket) -> None:
        if listening.fileno() >= 0:  # else the server has stopped
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept_no_more(self, listening: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                connection, address = listening.accept()
            except ConnectionAbortedError:
                continue
            except BlockingIOError:
                return
            except OSError as error:  # most likely no more files may be open: those who wait go on waiting
                self._refused.tell("no connection can be accepted: %s", error.strerror)
                self._accept_no_more(listening)
                asyncio.get_running_loop().call_later(FULL_SECONDS, self._accept_again, listening)
                return
            connection.setblocking(False)  # accepted sockets block, whatever the listening one does
            self._handle_connection(connection, address)

    def _handle_connection(self, connection: socket.socket, address: Any) -> None:
        if not self._take(connection, address):
            super()._handle_connection(connection, address)

    def _take(self, connection: socket.socket, address: Any) -> bool:
        """Takes the connection if its request is plain; says whether it did."""
        try:
            head = connection.recv(PEEK_BYTES, socket.MSG_PEEK)
        except OSError:  # nothing is there yet, or the client has gone
            return False
        plain = plain_request(head)
        if plain is None:
            return False
        request, headers = plain
        client = self._application.visitor(headers, address[0]).address
        plan = self._application.chat.plan_at_once(request, client)
        if plan is not None:
            self._answer(connection, head, plan, client)
        else:
            task = asyncio.create_task(self._wait(connection, address, head, request, client))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)
        return True

    async def _wait(
        self, connection: socket.socket, address: Any, head: bytes, request: StreamRequest, client: str
    ) -> None:
        """Answers when there is a plan. Where there will be none, Tornado refuses what it asks for itself."""
        self._application.begin(connection)
        try:
            plan = await self._application.chat.plan(request, client)
        except FlychatError:
            super()._handle_connection(connection, address)
        except BaseException:
            connection.close()
            raise
        else:
            self._answer(connection, head, plan, client)
        finally:
            self._application.end(connection)

    def _answer(self, connection: socket.socket, head: bytes, plan: StreamPlan, client: str) -> None:
        try:
            connection.recv(len(head))
        except OSError:  # the client has gone
            return connection.close()
        try:
            self._hold(plan, connection, self._stream_head(int(time.time())), client)
        except OSError as error:  # it has closed the connection, whose request is consumed
            self._refused.tell("a stream cannot be held: %s", error.strerror)
        return None

    async def close_all_connections(self) -> None:
        for task in self._waiting:
            task.cancel()
        await super().close_all_connections()

    def _stream_head(self, now: int) -> bytes:
        """The head that Tornado would write; made once a second, as it tells the time."""
        if self._head[0] != now:
            headers = {**DEFAULT_HEADERS, **STREAM_HEADERS, "Date": format_timestamp(now)}
            self._head = (now, answer_head(headers.items(), chunked=True))
        return self._head[1]
