"""The shortcut: a client that wants nothing but a stream is answered without Tornado.

In a reconnect storm nearly all requests are alike: a plain GET for the stream of a room that is in memory.
For each Tornado makes a stream, a parser, a coroutine, a request and a handler, and throws them away as soon
as the head is answered; that is ten times the work of accepting, reading and answering.

So the first bytes of a new connection are looked at, and left in the kernel. If they are one whole and plain
stream request, and the answer is in memory, they are consumed and the hub holds the socket. Anything else (a
part of a head, more than a head, another method, version, path or Accept, an Origin, a body ...) is Tornado's
business: it gets the socket untouched, and never knows. A refusal here costs time, never correctness; so what
is plain is narrow: one pattern for all of the head, and a list of the headers that change the answer.

The kernel is asked to tell of a connection only when it has something to say (TCP_DEFER_ACCEPT, where that
exists): else one that is accepted in a quiet moment would always be too early to be looked at.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any
from urllib.parse import unquote_to_bytes

from tornado.httputil import format_timestamp

from ..errors import Refused
from ..logging_setup import Seldom
from ..messages import room_name
from ..streams import STREAM_HEADERS, StreamPlan, StreamRequest, answer_head
from .base import DEFAULT_HEADERS
from .listener import Listener
from .visitor import client_behind

LOOK_BYTES = 4096  # of a new connection; a longer head is unusual
ACCEPTED_AT_ONCE = 16  # connections, before the loop has a turn: the hub sends each some 64 kB at the most
FULL_SECONDS = 0.5  # until it is tried again to accept, after that failed
DEFER_SECONDS = 1  # a connection that says nothing is accepted all the same after that

logger = logging.getLogger(__name__)

_PLAIN = re.compile(
    rb"GET /rooms/((?:[\w.~-]|%[0-9A-Fa-f]{2})+)/messages/(?:\?lastEventId=([0-9]{1,18}))? HTTP/1\.1\r\n"
    rb"(?:[A-Za-z0-9-]+:[ -~]*\r\n)+\r\n"
)
_ACCEPT = re.compile(rb"\r\naccept: *text/event-stream *\r\n", re.IGNORECASE)
_HOST = re.compile(rb"\r\nhost: *[A-Za-z0-9_.:\[\]-]{0,255} *\r\n", re.IGNORECASE)
_POSITION = re.compile(rb"\r\nlast-event-id: *([0-9]{1,18}) *\r\n", re.IGNORECASE)
_NAMES = re.compile(
    rb"\n(accept|last-event-id|host|origin|content-length|transfer-encoding|expect|grip-[a-z]+):",
    re.I,
)
_FORWARDED = re.compile(rb"\nx-forwarded-for:([ -~]*)\r", re.I)
_USUAL = ([b"accept", b"host"], [b"accept", b"host", b"last-event-id"])


def plain_request(head: bytes) -> StreamRequest | None:
    """What a whole, plain head asks for; None for any other bytes."""
    match = _PLAIN.fullmatch(head)
    if match is None or _ACCEPT.search(head) is None or _HOST.search(head) is None:
        return None
    names = sorted(name.lower() for name in _NAMES.findall(head))
    if names not in _USUAL:
        return None
    position = match[2]
    if len(names) == 3:
        given = _POSITION.search(head)
        if given is None:
            return None
        position = given[1]
    try:
        room = room_name(unquote_to_bytes(match[1]).decode())
    except (UnicodeDecodeError, Refused):
        return None
    return StreamRequest(room, None if position is None else int(position))


class StreamShortcut(Listener):
    """The HTTP server, which has plain stream requests held by `hold` if `plan` can answer them at once."""

    def initialize(  # type: ignore[override]
        self,
        *args: Any,
        plan: Callable[[StreamRequest, str], StreamPlan | None],
        hold: Callable[[StreamPlan, socket.socket, bytes, str], None],
        trust_proxy: bool = False,
        **kwargs: Any,
    ) -> None:
        super().initialize(*args, **kwargs)
        self._plan, self._hold, self._trust_proxy = plan, hold, trust_proxy
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
        if not self._admit(connection, address[0]):
            super()._handle_connection(connection, address)

    def _admit(self, connection: socket.socket, peer: str) -> bool:
        try:
            head = connection.recv(LOOK_BYTES, socket.MSG_PEEK)
            request = plain_request(head)
            client = self._client(head, peer)
            plan = self._plan(request, client) if request is not None else None
            if plan is None:
                return False
            connection.recv(len(head))
        except OSError:  # nothing is there yet, or the client has gone
            return False
        try:
            self._hold(plan, connection, self._stream_head(int(time.time())), client)
        except OSError as error:  # it has closed the connection, whose request is consumed
            self._refused.tell("a stream cannot be held: %s", error.strerror)
        return True

    def _client(self, head: bytes, peer: str) -> str:
        """As BaseHandler.client; no proxy signs its requests to a server that holds the streams itself."""
        forwarded = _FORWARDED.findall(head) if self._trust_proxy else []
        return client_behind([value.decode() for value in forwarded], peer)

    def _stream_head(self, now: int) -> bytes:
        """The head that Tornado would write; made once a second, as it tells the time."""
        if self._head[0] != now:
            headers = {**DEFAULT_HEADERS, **STREAM_HEADERS, "Date": format_timestamp(now)}
            self._head = (now, answer_head(headers.items(), chunked=True))
        return self._head[1]
