"""The HTTP server beneath the handlers: Tornado's, with five changes.

1. An answer that its client does not take is given up after STALL seconds without a byte. It is given up at
   once if all such answers, and all requests that are not whole or not answered, are together over
   UNREAD_BYTES: then the client with the most bytes loses the connection on which the last byte went longest
   ago, and nothing is read meanwhile.
2. A request that cannot be read is answered as all errors are, and the connection closed: a head over the
   limit with 431, a body with 413, anything else with 400. Tornado answers a bare 400, or nothing.
3. A connection whose client is still sending is closed in two steps (lingering.py).
4. A request's target is put into one form (targets.py).
5. A request that has ended is freed at once: the error that ended it must not refer back to it. The garbage
   collector looks for such cycles once an hour (process.py); until then clients that begin requests and go
   would fill the memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from prometheus_client import Counter
from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPConnection, HTTPInputError, HTTPMessageDelegate
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream, UnsatisfiableReadError

from ..errors import TooLarge
from .heads import refusal
from .lingering import Lingering
from .problems import problem_of
from .shedding import Turn
from .targets import Targets
from .visitor import client_of

STALL = 30.0  # seconds without taking a byte until an answer is given up
TICK = 1.0  # seconds between two checks for answers that are not taken
UNREAD_BYTES = 32 << 20  # of answers that wait for their clients, and of requests, all together
KEPT_BYTES = 1 << 20  # of a request that are kept at the most; the rest is dropped
PART_BYTES = 16_384  # that an unfinished request takes, besides its own bytes, which are there twice
CHUNKS = 64  # chunks of a body take as long to read as a request
OF_LARGE_BODIES = ("Content-Length too long", "chunked body too large")  # what Tornado says of them

UNREAD = Counter("flychat_answers_unread", "Answers given up because their clients did not take them")
UNENDED = Counter("flychat_requests_unended", "Requests given up because too many were not whole")

Reading: TypeAlias = Callable[[bytes, int | None], Awaitable[bytes]]

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with 0 s: the kernel drops what it has, and sends a reset


class Connection(IOStream):
    """A client's connection, which tells its listener how much waits here: of a request, or of an answer."""

    def __init__(
        self, sock: socket.socket, address: Any, listener: Listener, turn: Turn, **options: Any
    ) -> None:
        self.address = address
        self.client = client_of(address[0]) if address else "unknown"
        self.unsent = 0  # bytes of answers
        self.received = 0  # bytes of the request under way
        self.counted = 0  # bytes that the listener counts for this connection
        self.took = 0.0  # when the client last took bytes, or sent some while none waited for it
        self.turn = turn  # what the request under way has waited for
        self.may_read = self.queued = False  # whether what comes next may be read; waits for that
        self._listener = listener
        self._answered = self._reads_head = self._reset = self._whole = self._emptied = False
        self._requests = self._chunks = 0  # with the one that is read; of all bodies
        self._refusal = b""
        super().__init__(sock, **options)

    def read_until_regex(self, regex: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        self._reads_head, self._answered = True, False
        self._requests += 1
        self._receives(self._read_buffer_size, whole=False)
        if self._requests > 1:
            self.turn, self.may_read = Turn.DUE, False
            if self._read_buffer_size:  # it was sent along with the one before
                return self._in_turn(super().read_until_regex, regex, max_bytes)
        return super().read_until_regex(regex, max_bytes)

    async def _in_turn(self, read: Reading, end: bytes, max_bytes: int | None) -> bytes:
        await self._listener.turn(self)
        self._check_closed()  # a request that was sent along is not served for a client that has gone
        return await read(end, max_bytes)

    def read_until(self, delimiter: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        self._reads_head = False
        self._chunks += 1
        if self._chunks % CHUNKS == 0:
            return self._in_turn(super().read_until, delimiter, max_bytes)
        return super().read_until(delimiter, max_bytes)

    def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
        if self._listener.unread_bytes > UNREAD_BYTES:
            return None  # not yet: others lose theirs first
        goes_on, emptied, self._emptied = self.received > 0, self._emptied, False
        begins = self._reads_head and self._requests > 1 and not goes_on
        if (goes_on and emptied) or ((goes_on or begins) and self._listener.diverts(self, begins=begins)):
            return None  # as if nothing were there; if the kernel had no more just now, it tells of more
        if read := super().read_from_fd(buf):
            self.may_read, self._emptied = False, read < len(buf)
            self._receives(self.received + read, whole=self._whole)
        return read

    def look_away(self) -> None:
        """Watches the socket no more, until `look_again`."""
        if self._state is not None and not self.closed():
            self.io_loop.update_handler(self.fileno(), 0)

    def look_again(self) -> None:
        self.may_read, self.queued = True, False
        if self._state is not None and not self.closed():
            self.io_loop.update_handler(self.fileno(), self._state)

    def _receives(self, received: int, *, whole: bool) -> None:
        self.received, self._whole = received, whole
        if not self.unsent:
            self.took = time.monotonic()
        self._listener.account(self)

    def has_request(self) -> None:
        """The request is whole."""
        self._whole = True
        self._listener.account(self)

    @property
    def waits(self) -> int:
        """The bytes of memory that the connection takes now, about."""
        kept = min(self.received, KEPT_BYTES)
        return self.unsent + (kept if self._whole or not kept else 2 * kept + PART_BYTES)

    def write(self, data: bytes | memoryview) -> asyncio.Future[None]:
        if isinstance(error := sys.exc_info()[1], HTTPInputError):  # of which Tornado's answer says nothing
            data = _unreadable(413 if str(error) in OF_LARGE_BODIES else 400)
        self._answered = True
        if not self.unsent:
            self.took = time.monotonic()
        self.unsent += len(data)
        written = super().write(data)
        self._listener.account(self)
        return written

    def write_to_fd(self, data: memoryview) -> int:
        try:
            sent = self.socket.send(data)
        finally:
            del data  # as Tornado does: an error's traceback must not keep a view of the buffer
        self.unsent -= sent
        if sent:
            self.took = time.monotonic()
            self._listener.account(self)
        return sent

    def close(self, exc_info: Any = False) -> None:
        if isinstance(exc_info, UnsatisfiableReadError) and not self._answered:
            self._refusal = _unreadable(431 if self._reads_head else 400)
        super().close(exc_info)
        self.error = None  # it leads back to us

    def reset(self) -> None:
        """Closes with a TCP reset: what was sent and not taken is lost."""
        self._reset = True
        self.close()

    def close_fd(self) -> None:
        sock, self.socket = self.socket, None  # type: ignore[assignment]
        self.unsent = self.received = 0
        self._listener.account(self)
        if sock.fileno() < 0:  # a hub has taken it
            return
        with contextlib.suppress(OSError):
            if self._reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            elif self._refusal:
                sock.send(self._refusal)
                return self._listener.lingering.add(sock)
            elif self.error is None and sock.recv(1, socket.MSG_PEEK):
                return self._listener.lingering.add(sock)
        sock.close()


class Listener(HTTPServer):
    """The server. `diverts`, `turn`, `account` and `lingering` are for its connections."""

    def initialize(self, *args: Any, **kwargs: Any) -> None:
        super().initialize(*args, **kwargs)
        self.unread_bytes = 0
        self._unread: dict[Connection, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.lingering = Lingering()

    def diverts(self, connection: Connection, *, begins: bool) -> bool:
        """Whether what comes is not for Tornado, or not yet. Not called for a connection's first bytes."""
        return False

    async def turn(self, connection: Connection) -> None:
        """Waits until a request that has been read already may begin."""

    def account(self, connection: Connection) -> None:
        """Counts how much waits on the connection now."""
        waits = connection.waits
        if not waits:
            self._unread.pop(connection, None)
        elif not connection.counted:
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(TICK, self._give_up_stalled)
            self._unread[connection] = None
        self.unread_bytes += waits - connection.counted
        if waits > connection.counted and self.unread_bytes > UNREAD_BYTES:
            asyncio.get_running_loop().call_soon(self._relieve)
        connection.counted = waits

    def _give_up_stalled(self) -> None:
        """Gives up stalled answers. Called every TICK seconds while anything waits."""
        for connection in list(self._unread):
            if connection.unsent and time.monotonic() - connection.took > STALL:
                self._give_up(connection)
        self._timer = None
        if self._unread:
            self._timer = asyncio.get_running_loop().call_later(TICK, self._give_up_stalled)

    def _relieve(self) -> None:
        """Gives up answers and requests until the others are well within the bound."""
        if self.unread_bytes <= UNREAD_BYTES:
            return
        waiting: dict[str, list[Connection]] = {}
        for connection in sorted(self._unread, key=lambda connection: -connection.took):
            waiting.setdefault(connection.client, []).append(connection)
        bytes_of = {client: sum(c.counted for c in connections) for client, connections in waiting.items()}
        while self.unread_bytes > UNREAD_BYTES * 31 // 32:  # not often, and not many at a time
            client = max(bytes_of, key=bytes_of.__getitem__)
            connection = waiting[client].pop()
            bytes_of[client] -= connection.counted
            self._give_up(connection)

    def _give_up(self, connection: Connection) -> None:
        (UNREAD if connection.unsent else UNENDED).inc()
        connection.reset()

    async def close_all_connections(self) -> None:
        await super().close_all_connections()
        self.lingering.close()

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        assert isinstance(request_conn, HTTP1Connection)
        assert isinstance(request_conn.stream, Connection)
        return Targets(super().start_request(server_conn, request_conn), request_conn.stream.has_request)

    def _handle_connection(self, connection: socket.socket, address: Any) -> None:
        self.take(connection, address)

    def take(self, sock: socket.socket, address: Any, unsent: bytes = b"", turn: Turn = Turn.NEW) -> bool:
        """Serves a connection, on which something may be left to be sent first; False if it has gone."""
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            sock.close()
            return False
        options = {"max_buffer_size": self.max_buffer_size, "read_chunk_size": self.read_chunk_size}
        stream = Connection(sock, address, self, turn, **options)
        if unsent:
            stream.write(unsent)
        self.handle_stream(stream, address)
        return True


def _unreadable(status: int) -> bytes:
    """The answer to a request that cannot be read, which is the last on its connection."""
    error = TooLarge("the body is too large") if status == 413 else None
    return refusal(problem_of(error, status), int(time.time()), {"Connection": "close"})


def taken_from(stream: IOStream) -> socket.socket:
    """The stream's socket, which the stream forgets. (To duplicate it would take one more open file.)"""
    IOLoop.current().remove_handler(stream.socket)
    sock = socket.socket(fileno=stream.socket.detach())
    stream.close()
    sock.setblocking(False)
    return sock
