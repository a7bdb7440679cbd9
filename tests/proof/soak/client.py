"""A client: reads a room with a small buffer, and comes back with its position until it is told to leave."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from ..judge import Log, Witness
from ..oracle import read_chunk, read_head

if TYPE_CHECKING:
    from .room import Room
    from .stage import Stage

SILENCE = 25.0  # until a client in GRIP mode takes a stream for dead (Pushpin 1.36 may forget a slow reader)


class Client:
    def __init__(self, stage: Stage, room: Room, position: int | None, *, invented: bool = False) -> None:
        self.stage, self.room = stage, room
        self.witness = Witness(Log(lambda: len(room.ledger.sent)), position, invented=invented)
        self.on = False
        self.stalled_until = 0.0
        self.writer: asyncio.StreamWriter | None = None
        self.task = asyncio.create_task(self._live())

    async def _live(self) -> None:
        pause = 0.2
        while True:
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
        last = "" if self.witness.position is None else f"Last-Event-ID: {self.witness.position}\r\n"
        path = f"/rooms/{quote(self.room.name, safe='')}/messages/"
        self.writer.write(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n{last}\r\n".encode()
        )
        status, headers = await asyncio.wait_for(read_head(reader), 10)
        if status != 200:
            return False
        chunked = headers.get("transfer-encoding") == "chunked"
        self.on = True
        while True:
            if (stall := self.stalled_until - time.monotonic()) > 0:
                await asyncio.sleep(stall)
            async with asyncio.timeout(SILENCE):
                data = await (read_chunk(reader) if chunked else reader.read(2048))
            if not data:
                return True
            self.witness.read(data)

    def cut(self) -> None:
        if self.writer is not None:
            self.writer.transport.abort()

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        if self.writer is not None:
            self.writer.close()
