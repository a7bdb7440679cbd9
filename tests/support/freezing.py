"""A platform that runs a process only while it has something to answer, as AWS Lambda and Cloud Run do.

It has one address. Each request is given to an instance that has none: the instance is started, or continued
(SIGCONT), sent the request, and stopped (SIGSTOP) the moment the last byte of its answer is here, before that is
passed on. What an instance has left to do by then is left undone until its next request; or for ever, for as
`ends` says, one that is to be continued is killed instead, and another one started.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence

from tests.proof.oracle import read_body, read_head
from tests.support.pushpin_proxy import App

WAIT = 60.0  # seconds until an instance that does not answer is ended
NO_ANSWER = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_CONNECTION = re.compile(rb"(?im)^connection:[^\r]*\r\n")


def unheeded(request: bytes, response: bytes, seconds: float) -> None:
    """Nobody looks at the answers."""


class FreezingPlatform:
    """`counts` tells what became of the instances, `slowest` is the longest start; `ends` is asked before one goes on.

    `answered` is told of each answer that has come, with the request and the seconds between them, before anything
    else happens.
    """

    def __init__(
        self,
        instances: Sequence[App],
        ends: Callable[[], bool] = lambda: False,
        answered: Callable[[bytes, bytes, float], None] = unheeded,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._judge = answered
        self.slowest = 0.0
        self._instances, self._ends = instances, ends
        self._idle: list[App] = list(instances)  # the last one is the next: so most of them sleep for long
        self._changed = asyncio.Condition()
        self._retired = False
        self._server: asyncio.Server | None = None
        self._answering: set[asyncio.Task[None]] = set()

    async def listen(self, port: int) -> None:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", port, backlog=1024)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)
        for app in self._instances:
            if app.process is not None:
                await app.kill()

    def frozen(self) -> bool:
        """Whether no instance runs."""
        return len(self._idle) == len(self._instances)

    async def retire(self) -> None:
        """Gives the instances nothing more; returns when the last answer has come. They may be told to end then."""
        self._retired = True
        async with self._changed:
            await self._changed.wait_for(self.frozen)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, to its end, even if its client does not wait for that."""
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        try:
            with contextlib.suppress(OSError, EOFError):
                writer.write(await self._answered(await _request(reader)))
                await writer.drain()
        finally:
            self._answering.discard(task)
            writer.close()

    async def _answered(self, request: bytes) -> bytes:
        async with self._changed:
            await self._changed.wait_for(lambda: self._idle)
            if self._retired:
                return NO_ANSWER
            app = self._idle.pop()
        try:
            await self._go_on(app)
            try:
                async with asyncio.timeout(WAIT):
                    return await self._exchange(app, request)
            except (OSError, EOFError, TimeoutError) as error:
                self.counts[f"without an answer ({type(error).__name__})"] += 1
                await app.kill()
                return NO_ANSWER
        finally:
            async with self._changed:
                self._idle.append(app)
                self._changed.notify_all()

    async def _go_on(self, app: App) -> None:
        if app.process is not None and app.process.returncode is None:
            if not self._ends():
                self.counts["continued"] += 1
                return app.process.send_signal(signal.SIGCONT)
            self.counts["killed"] += 1
            await app.kill()
        self.counts["started"] += 1
        began = time.monotonic()
        await app.start()
        self.slowest = max(self.slowest, time.monotonic() - began)

    async def _exchange(self, app: App, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
        try:
            sent = time.monotonic()
            writer.write(request)
            response = await _response(reader)
            self._judge(request, response, time.monotonic() - sent)
            return response
        finally:
            assert app.process is not None
            with contextlib.suppress(ProcessLookupError):
                app.process.send_signal(signal.SIGSTOP)
            self.counts["stopped"] += 1
            writer.close()


async def _request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?im)^content-length: *(\d+)", head)
    body = await reader.readexactly(int(length[1])) if length else b""
    line, rest = head.split(b"\r\n", 1)
    return line + b"\r\nConnection: close\r\n" + _CONNECTION.sub(b"", rest) + body


async def _response(reader: asyncio.StreamReader) -> bytes:
    """The whole answer, up to its last byte, without waiting for the end of the connection."""
    head = await reader.readuntil(b"\r\n\r\n")
    copy = asyncio.StreamReader()
    copy.feed_data(head)
    headers = (await read_head(copy))[1]
    body = b"".join([part async for part in read_body(reader, headers)])
    return re.sub(rb"(?im)^transfer-encoding:[^\r]*", b"Content-Length: %d" % len(body), head) + body
