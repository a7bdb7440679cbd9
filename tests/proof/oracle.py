"""The oracle: many streams in one loop, each held against the promise that it must keep.

Each official message once, in id order, without a gap, or a `stream-reset` in the gap's place. It is checked
event by event as they come, from the bytes on the wire, so that nothing of flychat is trusted. A Listener
comes back with its last event id, by header or by query, and is checked across its connections.

It knows one address and HTTP, and so serves either mode:

    crowd = await Crowd.open("http://127.0.0.1:7999/", "room", 20)
    await post(url, "room", "hello")
    await crowd.until_id(1)
    crowd.check(1)
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

from tests.support.sse_parser import Parsed, parse

WAIT = 30.0  # seconds that anything may take before the test fails, on a machine of any speed


class Listener:
    """One client. `ids` are the official ids that it was given, `broken` what was wrong with them."""

    def __init__(self, url: str, room: str, last_id: int | None = None) -> None:
        self.url, self.room = url, room
        self.position = last_id
        self.ids: list[int] = []
        self.blocks: dict[int, bytes] = {}
        self.raw: list[bytes] = []  # all blocks, of all connections
        self.headers: dict[str, str] = {}
        self.events: list[tuple[float, Parsed]] = []
        self.sights: dict[str, float] = {}  # when each provisionalId was first seen
        self.provisional: set[str] = set()
        self.retracted: set[str] = set()
        self.resets = 0
        self._anew = last_id is None  # whether the next official id may be any
        self.connections = 0
        self.closed = True
        self.broken: list[str] = []
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def open(self, by: str = "header") -> None:
        """Connects, from the position on if there is one, and reads up to the stream-open."""
        assert self.closed
        path = f"/rooms/{quote(self.room, safe='')}/messages/"
        headers = {"Accept": "text/event-stream"}
        if self.position is not None and by == "header":
            headers["Last-Event-ID"] = str(self.position)
        elif self.position is not None:
            path += "?" + urlencode({"lastEventId": self.position})
        reader, self._writer = await connect(self.url, "GET", path, headers)
        status, answer = await asyncio.wait_for(read_head(reader), WAIT)
        self.headers = answer
        assert status == 200, (status, answer)
        assert answer["content-type"] == "text/event-stream; charset=utf-8"
        self.connections += 1
        self.closed, opened = False, len(self.events)
        self._task = asyncio.create_task(self._read(read_body(reader, answer)))
        await self.until(lambda: len(self.events) > opened)
        assert self.events[opened][1].type == "stream-open"

    async def until(self, condition: Callable[[], bool], seconds: float = WAIT) -> None:
        """Waits for the event after which `condition` holds."""
        if condition():
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((condition, future))
        try:
            await asyncio.wait_for(future, seconds)
        except TimeoutError:
            raise AssertionError(f"in vain: {self}") from None

    async def until_id(self, id: int, seconds: float = WAIT) -> None:
        await self.until(lambda: self.position is not None and self.position >= id, seconds)

    async def follow(self, id: int, by: str = "header") -> None:
        """Reads up to `id`, and comes back where the stream ends, as a client does."""
        while self.position is None or self.position < id:
            if self.closed:
                await self.open(by)
            await self.until(lambda: self.closed or (self.position is not None and self.position >= id))

    async def until_closed(self, seconds: float = WAIT) -> None:
        await self.until(lambda: self.closed, seconds)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._writer.close()

    def __repr__(self) -> str:
        names = [event.type for _, event in self.events[-3:]]
        return (
            f"<{self.room} at {self.position}, {self.ids[-9:]}, {names}, closed={self.closed} {self.broken}>"
        )

    async def _read(self, body: AsyncIterator[bytes]) -> None:
        pending = b""
        try:
            async for data in body:
                *blocks, pending = (pending + data).split(b"\n\n")
                for block in blocks:
                    self._take(block + b"\n\n")
        except (OSError, EOFError):
            pass
        finally:
            self._writer.close()
            self.closed = True
            self._tell()

    def _take(self, block: bytes) -> None:
        self.raw.append(block)
        for event in parse(block):
            self.events.append((time.monotonic(), event))
            if event.type == "message" and event.last_id:
                self._take_official(int(event.last_id), event, block)
            elif event.type == "message":
                self.provisional.add(self._sight(event))
            elif event.type == "retraction":
                self.retracted.add(json.loads(event.data)["provisionalId"])
            elif event.type == "stream-reset":
                self.resets += 1
                self.position = int(event.last_id)
                self._anew = self.position == 0  # a room that was cleared goes on behind its void ids
        self._tell()

    def _take_official(self, id: int, event: Parsed, block: bytes) -> None:
        if json.loads(event.data)["id"] != id:
            self.broken.append(f"{id} with the data of another")
        if not self._anew and id != (self.position or 0) + 1:
            self.broken.append(f"{id} after {self.position}")
        if self.blocks.setdefault(id, block) != block:
            self.broken.append(f"{id} is not what it was")
        self._sight(event)
        self.position, self._anew = id, False
        self.ids.append(id)

    def _sight(self, event: Parsed) -> str:
        key = json.loads(event.data)["provisionalId"]
        self.sights.setdefault(key, time.monotonic())
        return key

    def _tell(self) -> None:
        for condition, future in self._waiting:
            if not future.done() and condition():
                future.set_result(None)
        self._waiting = [(condition, future) for condition, future in self._waiting if not future.done()]


class Crowd:
    """Listeners of one room (or several), that must all be given the same."""

    def __init__(self, listeners: list[Listener]) -> None:
        self.listeners = listeners

    @classmethod
    async def open(
        cls, url: str, room: str, number: int = 20, last_id: int | None = None, by: str = "header"
    ) -> Crowd:
        crowd = cls([Listener(url, room, last_id) for _ in range(number)])
        await crowd.all(lambda listener: listener.open(by))
        return crowd

    async def all(self, call: Callable[[Listener], object]) -> None:
        await asyncio.gather(*map(call, self.listeners))

    async def until_id(self, id: int, seconds: float = WAIT) -> None:
        await self.all(lambda listener: listener.until_id(id, seconds))

    async def until(self, condition: Callable[[Listener], bool], seconds: float = WAIT) -> None:
        await self.all(lambda listener: listener.until(lambda: condition(listener), seconds))

    def check(self, last: int, *, first: int = 1, connections: int | None = 1) -> dict[int, bytes]:
        """Everybody was given first..last, by so many connections, and is still there. Returns the blocks."""
        for listener in self.listeners:
            assert not listener.broken, listener
            assert listener.ids == list(range(first, last + 1)), listener
            assert connections in (None, listener.connections), listener
            assert not listener.closed, listener
            assert listener.blocks == self.listeners[0].blocks, listener
        return self.listeners[0].blocks

    async def close(self) -> None:
        await self.all(Listener.close)


async def post(
    url: str,
    room: str,
    text: str,
    provisional_id: str | None = None,
    sender: str = "ann",
    headers: dict[str, str] | None = None,
    last_id: int | None = None,
) -> tuple[int, dict]:
    """Posts a message; gives the status, 0 if there was no answer, and the JSON."""
    fields: dict[str, str | int] = {
        "from": sender,
        "text": text,
        "provisionalId": provisional_id or str(uuid.uuid4()),
    }
    if last_id is not None:
        fields["lastEventId"] = last_id
    path = f"/rooms/{quote(room, safe='')}/messages/"
    try:
        status, _, body = await fetch(
            url,
            path,
            "POST",
            {"Content-Type": "application/json", **(headers or {})},
            json.dumps(fields).encode(),
        )
        return status, json.loads(body) if status != 502 else {}
    except (OSError, EOFError):
        return 0, {}


async def history(url: str, room: str, limit: int = 200) -> list[dict]:
    path = f"/rooms/{quote(room, safe='')}/messages/?limit={limit}"
    return json.loads((await fetch(url, path))[2])["messages"]


async def fetch(
    url: str, path: str, method: str = "GET", headers: dict[str, str] | None = None, body: bytes = b""
) -> tuple[int, dict[str, str], bytes]:
    reader, writer = await connect(url, method, path, {"Connection": "close", **(headers or {})}, body)
    try:
        status, answer = await read_head(reader)
        data = b"".join([part async for part in read_body(reader, answer)])
    finally:
        writer.close()
    return status, answer, data


async def connect(
    url: str, method: str, path: str, headers: dict[str, str], body: bytes = b""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Sends a request."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    target = parts.path.rstrip("/") + path
    lines = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    return reader, writer


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = (line.partition(": ") for line in lines if line)
    return int(line.split()[1]), {name.lower(): value for name, _, value in headers}


async def read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> AsyncIterator[bytes]:
    """What comes of an answer, until its end: the last chunk, its length, or the end of the connection.

    A stream whose right ends before it begins is a whole answer, with a length, on a connection that stays.
    """
    if headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readuntil(b"\r\n"), 16):
            yield (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
    elif "content-length" in headers:
        left = int(headers["content-length"])
        while left:
            data = await reader.read(min(left, 1 << 16))
            if not data:
                raise EOFError("the answer is cut")
            left -= len(data)
            yield data
    else:
        while data := await reader.read(1 << 16):
            yield data


def put_away(directory: Path, *, keep: bool) -> None:
    """Deletes the logs of a campaign's processes, or says where they are kept."""
    if keep:
        print(f"the logs are in {directory}")
    else:
        shutil.rmtree(directory, ignore_errors=True)
