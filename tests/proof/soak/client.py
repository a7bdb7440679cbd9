"""A client: reads a room with a small buffer, and comes back with its position until it is told to leave."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from ..judge import Witness
from ..oracle import read_body, read_head

if TYPE_CHECKING:
    from ..simulation.passes import Pass
    from .room import Room
    from .stage import Stage

SILENCE = 25.0  # until a client in GRIP mode takes a stream for dead (Pushpin 1.36 may forget a slow reader)
CATCHING_UP = 3.0  # seconds in which it has read what had come while it stalled


class Client:
    def __init__(
        self,
        stage: Stage,
        room: Room,
        position: int | None,
        *,
        invented: bool = False,
        by_query: bool = False,
        quiet: bool = False,
    ) -> None:
        """`by_query`: it says its position so, and not by a header. `quiet`: without provisional events."""
        self.stage, self.room = stage, room
        self._by_query, self._quiet = by_query, quiet
        self.witness = Witness(room.log, position, invented=invented)
        self.on = False
        self.pass_: Pass | None = None  # by which it enters, where the room is private
        self.shut_out = False  # it was told that its right has ended, and does not come back
        self.stalls = 0.0, 0.0  # from when to when it does not read
        self.writer: asyncio.StreamWriter | None = None
        self.task = asyncio.create_task(self._live())

    async def _live(self) -> None:
        pause = 0.2
        if self.room.private:
            self.pass_ = await self.stage.passes.issued(self.room)
        while not self.shut_out:
            with contextlib.suppress(OSError, EOFError, TimeoutError, ValueError):
                self.witness.connected()
                if await self._stream():
                    pause = 0.2
            self.on = False
            if self.writer is not None:
                self.writer.close()
            await asyncio.sleep(self.stage.chance.uniform(pause / 2, pause))
            pause = min(2.0, 2 * pause)

    async def _stream(self) -> bool:
        """Reads until the end; says whether it was let in."""
        parts = urlsplit(self.stage.url())
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (parts.hostname, parts.port))
            reader, self.writer = await asyncio.open_connection(sock=sock, limit=1 << 16)
        except BaseException:
            sock.close()
            raise
        last, query = "", "?provisional=no" if self._quiet else "?"
        if self.witness.position is not None and self._by_query:
            query += f"&lastEventId={self.witness.position}"
        elif self.witness.position is not None:
            last = f"Last-Event-ID: {self.witness.position}\r\n"
        path = f"/rooms/{quote(self.room.name, safe='')}/messages/{query.rstrip('?')}"
        pass_, bearer = self.pass_, f"Authorization: {self.pass_.text}\r\n" if self.pass_ else ""
        self.writer.write(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n{bearer}{last}\r\n".encode()
        )
        status, headers = await asyncio.wait_for(read_head(reader), 10)
        if status in (401, 403):
            await self._refused(status)
        if status != 200:
            return False
        body = read_body(reader, headers)
        self.on = True
        try:
            while True:
                if (stall := self.stalls[1] - time.monotonic()) > 0:
                    await asyncio.sleep(stall)
                async with asyncio.timeout(SILENCE):
                    data = await anext(body, b"")
                if not data:
                    return True
                self.witness.read(data)
                self._given(pass_, data)
        finally:
            if pass_ is not None:
                pass_.right.ended(self._when(), self.stage.mode)

    def _given(self, pass_: Pass | None, data: bytes) -> None:
        if pass_ is not None:
            pass_.right.given(self._when(), data)
            if b"event: stream-end" in data:
                pass_.right.told(time.monotonic(), "by a stream-end")
                self.stage.counts["farewells"] += 1

    def _when(self) -> float:
        """When that came which it reads now, at the earliest: it may have waited while nobody read."""
        began, ended = self.stalls
        now = time.monotonic()
        return began if now < ended + CATCHING_UP else now

    async def _refused(self, status: int) -> None:
        """Its right has ended, or it is told so. It may be given another token."""
        assert self.pass_ is not None
        self.pass_.right.told(time.monotonic(), str(status))
        self.shut_out = True
        if renewed := await self.stage.passes.renewed(self.pass_, self.room):
            self.pass_, self.shut_out = renewed, False

    @property
    def stays(self) -> bool:
        """Whether it is to have everything at the end."""
        ended = self.pass_ is not None and self.pass_.right.surely <= time.monotonic()
        return not (self.shut_out or ended)

    def stall(self, seconds: float) -> None:
        now = time.monotonic()
        self.stalls = now, now + seconds

    def cut(self) -> None:
        if self.writer is not None:
            self.writer.transport.abort()

    async def leave(self) -> None:
        while not self.task.done():  # the wait_for of Python 3.11 may swallow it
            self.task.cancel()
            await asyncio.wait([self.task], timeout=1)
        if self.writer is not None:
            self.writer.close()
