"""The kernel: connections whose ends are in one process, and what a hub needs of sockets and answers."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from flychat.streams import answer_head
from tests.support.http_body import Body

if TYPE_CHECKING:
    from .client import Client


class Wire:
    """A connection, from a server to a client: what was written, and is not read yet."""

    def __init__(self, client: Client, room: int = 1 << 30) -> None:
        self.client, self.room = client, room
        self.buffer = bytearray()
        self.stalled = client.stalled
        self.pass_ = client.pass_  # by which it is opened
        self.gone = self.ended = False
        self.socket: Socket | None = None
        self._body: Body | None = None  # once the head of the answer is read
        self._draining = False

    def write(self, data: bytes) -> int:
        taken = min(len(data), self.room - len(self.buffer))
        if taken > 0 and not self.gone:
            self.client.given(self, data[:taken])
            self.buffer += data[:taken]
            self._soon()
        return taken

    def end(self) -> None:
        """By the server."""
        if not self.ended and not self.gone:
            self.client.let_go(self)
        self.ended = True
        self._soon()

    def cut(self) -> None:
        """By the client, or the network."""
        if not self.gone:
            self.gone = True
            if self.socket is not None:
                self.socket.selector.wake()
            self.client.lost(self)

    def stall(self, stalled: bool) -> None:
        self.stalled = stalled
        self._soon()

    def _soon(self) -> None:
        if not self._draining:
            self._draining = True
            world = self.client.world
            world.loop.call_soon(self._drain, context=world.context)

    def _drain(self) -> None:
        self._draining = False
        if self.stalled or self.gone:
            return
        data = bytes(self.buffer)
        self.buffer.clear()
        if self.socket is not None:
            if data and self._body is None:
                head, _, data = data.partition(b"\r\n\r\n")
                self._body = Body(head)
            if self._body is not None:
                data = self._body.take(data)
            self.socket.selector.wake()
        if data:
            self.client.read(data)
        if self.ended:
            self.gone = True
            self.client.lost(self)


class Socket:
    """The server's end of a Wire, as sockets.py uses it."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        wire.socket = self
        self.selector = Selector()  # of its own, until it is registered
        self._open = True

    def send(self, data: bytes | memoryview) -> int:
        if self.wire.gone:
            raise ConnectionResetError
        taken = self.wire.write(bytes(data))
        if not taken:
            raise BlockingIOError
        return taken

    def recv(self, most: int) -> bytes:
        if not self.wire.gone:
            raise BlockingIOError
        return b""

    def readiness(self) -> int:
        readable = selectors.EVENT_READ if self.wire.gone else 0
        return readable | (selectors.EVENT_WRITE if len(self.wire.buffer) < self.wire.room else 0)

    def setsockopt(self, *option: int) -> None:
        pass

    def fileno(self) -> int:
        return 1 if self._open else -1

    def close(self) -> None:
        if self._open:
            self._open = False
            self.wire.end()


class Selector:
    """A selectors.DefaultSelector for Sockets, which the loop watches."""

    def __init__(self) -> None:
        self.callback: Callable[[], None] | None = None
        self._keys: dict[Socket, selectors.SelectorKey] = {}
        self._waking = False

    def register(self, sock: Socket, events: int, data: object) -> None:
        self._keys[sock] = selectors.SelectorKey(sock, 0, events, data)  # type: ignore[arg-type]
        sock.selector = self
        self.wake()

    modify = register

    def unregister(self, sock: Socket) -> None:
        del self._keys[sock]

    def get_map(self) -> dict[Socket, selectors.SelectorKey]:
        return self._keys

    def select(self, timeout: float) -> list[tuple[selectors.SelectorKey, int]]:
        ready = ((key, key.events & sock.readiness()) for sock, key in self._keys.items())
        return [(key, events) for key, events in ready if events]

    def wake(self) -> None:
        if self.callback is not None and not self._waking and self.select(0):
            self._waking = True
            asyncio.get_running_loop().call_soon(self._call)

    def _call(self) -> None:
        self._waking = False
        if self.callback is not None:
            self.callback()
            self.wake()

    def close(self) -> None:
        self._keys.clear()


class Response:
    """A request for a stream, as the hub's port asks for it. Over a socket, or a proxy's."""

    def __init__(self, sock: Socket | None = None) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""
        self.socket = sock
        self.chunked = sock is None or sock.wire.client.http != "HTTP/1.0"
        self.asked = asyncio.get_running_loop().time()

    def send(self, headers: Mapping[str, str], body: bytes) -> None:
        self.headers, self.body = dict(headers), body

    def take(self) -> tuple[Any, bytes, bool] | None:
        assert self.socket is not None
        head = answer_head([], chunked=self.chunked)
        return None if self.socket.wire.gone else (self.socket, head, self.chunked)
