"""Other people's clients: what they are given over connections that are cut in the middle of anything.

Four of the usual ones run as they are published, in processes of their own, with the settings of docs/api.md
(other_clients.cjs, other_clients.py). Nothing is corrected for them: each has to be given every official
message once, in order. Those of npm are installed into the user's cache, outside the checkout.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.conftest import need
from tests.proof.oracle import post
from tests.support.npm import packages
from tests.support.ports import free_port
from tests.support.pushpin_proxy import DEPLOY, Stage, eventually, new_room

gen_test = pytest.mark.gen_test

HERE = Path(__file__).parent
OF_NPM = {"eventsource": "3.0.7", "@microsoft/fetch-event-source": "2.0.1"}
CLIENTS = {  # by their names in the program that runs them
    "other_clients.cjs": ("eventsource", "fetch-event-source", "fetch-event-source, careful"),
    "other_clients.py": ("httpx-sse", "sseclient-py"),
}
EACH = 5  # clients of a kind
CUTS = 4  # of each client's connections
PATIENCE = 60.0
PACE = 0.03  # seconds between two messages
LAST = 600  # messages, after which the cuts should be over

PLACES = {  # where a stream is cut: behind this
    "in the name": rb"\nevent: mess",
    "in the data": rb'\ndata: \{"id":',
    "before the id": rb'\ndata: \{"id":[^\n]*\n',
    "in the id": rb"\nid: \d",
    "behind the id": rb"\nid: \d+\n",
    "behind a block": rb"[^\n]\n\n",
    "in a provisional one": rb'\ndata: \{"from":',
    "anywhere": rb"(?s).{97}",
}
# One byte wide, and a fault of the client: the careful one is whole there too.
UNSAFE = {"fetch-event-source": {"behind the id", "anywhere"}}
TEXTS = (
    "hello",
    "two\nlines",
    "line separator \u2028 paragraph separator \u2029",
    "😀",
    "data: x\n\nid: 999\n\n",
)


Cut = tuple[re.Pattern[bytes], int, bool]  # behind which match; whether by a reset, and no orderly end


class Cutter:
    """A TCP proxy that cuts: what comes down by the n-th connection ends at the n-th of `cuts`."""

    def __init__(self, target: int, cuts: list[Cut]) -> None:
        self.target = target
        self.cuts = cuts
        self.made: list[bytes] = []  # what came last before each cut
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self) -> int:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._pass(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            below, above = await asyncio.open_connection("127.0.0.1", self.target)
            with contextlib.closing(above):
                up = asyncio.create_task(self._up(reader, above))
                try:
                    await self._down(below, writer)
                finally:
                    up.cancel()

    async def _up(self, reader: asyncio.StreamReader, above: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                above.write(data)
            above.close()  # the client has gone

    async def _down(self, below: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen, sent = b"", 0
        cut = self.cuts[0] if self.cuts else None
        while data := await below.read(65536):
            seen += data
            end = self._end(seen, cut)
            writer.write(seen[sent : end or len(seen)])
            await writer.drain()
            sent = len(seen)
            if end:
                del self.cuts[0]
                self.made.append(seen[max(0, end - 120) : end])
                if cut[2]:
                    linger = struct.pack("ii", 1, 0)  # a reset, and no orderly end
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                return

    def _end(self, seen: bytes, cut: Cut | None) -> int | None:
        if cut is None:
            return None
        pattern, number, _ = cut
        begin = seen.find(b"\r\n\r\n") + 4
        ends = [match.end() for match in pattern.finditer(seen, begin)]
        return ends[number - 1] if begin > 3 and len(ends) >= number else None


class Readers:
    """The processes of all clients. `events` has what each URL's client was given, as (name, data)."""

    def __init__(self) -> None:
        self.events: dict[str, list[tuple[str, str]]] = {}
        self._changed = asyncio.Event()
        self._processes: list[asyncio.subprocess.Process] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, *command: str, urls: list[str]) -> None:
        process = await asyncio.create_subprocess_exec(
            *command, *urls, stdout=subprocess.PIPE, env={**os.environ, "NO_PROXY": "127.0.0.1"}
        )
        self.events |= {url: [] for url in urls}
        self._processes.append(process)
        self._tasks.append(asyncio.create_task(self._read(process)))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        async for line in process.stdout:
            told = json.loads(line)
            self.events[told["url"]].append((told["name"], told["data"]))
            self._changed.set()

    async def until(self, condition: Callable[[list[tuple[str, str]]], bool]) -> None:
        """Waits until it holds for what each client has been given."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not all(map(condition, self.events.values())):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            lacking = {url: events[-3:] for url, events in self.events.items() if not condition(events)}
            raise AssertionError(f"in vain: {lacking}") from None

    async def close(self) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            await process.wait()
        await asyncio.gather(*self._tasks)


def officials(events: list[tuple[str, str]]) -> list[dict]:
    """The official messages among them. (The name is looked at first: not every event's data are a message.)"""
    messages = [json.loads(data) for name, data in events if name == "message"]
    return [message for message in messages if "id" in message]


@pytest.fixture(scope="module", autouse=True)
def installed() -> Path:
    """Before a test's own time begins: a registry may take minutes."""
    return packages(OF_NPM)


async def read_by_all(
    stage: Stage, port: int, room: str, cuts: Callable[[str, random.Random], list[Cut]]
) -> tuple[Readers, list[Cutter]]:
    """The clients, each with a Cutter of its own in front of the server at `port`, once all have been let in."""
    installed = packages(OF_NPM)
    for name in ("httpx", "httpx_sse", "requests", "sseclient"):
        need(name)
    readers = Readers()
    stage.ending.push_async_callback(readers.close)
    cutters = []
    for program, client in ((program, client) for program, clients in CLIENTS.items() for client in clients):
        urls = []
        for number in range(EACH):
            cutters.append(cutter := Cutter(port, cuts(client, random.Random(f"{client} {number}"))))
            path = f"/rooms/{quote(room, safe='')}/messages/?client={quote(client)}"
            urls.append(f"http://127.0.0.1:{await cutter.listen()}{path}")
            stage.ending.push_async_callback(cutter.close)
        node = program.endswith("js")
        run = ("node", HERE / program, installed) if node else (sys.executable, HERE / program)
        await readers.start(*map(str, run), client, urls=urls)
    await readers.until(lambda events: bool(events))
    return readers, cutters


@contextlib.asynccontextmanager
async def away() -> AsyncIterator[int]:
    """The port of a server that says of every stream what deploy/nginx.conf says while flychat is away."""
    (said,) = re.findall(r'return 200 "(.*)";', (DEPLOY / "nginx.conf").read_text())
    body = said.replace("\\n", "\n")
    head = (
        f"Content-Type: text/event-stream; charset=utf-8\r\nContent-Length: {len(body)}\r\nConnection: close"
    )

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError), contextlib.closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}".encode())
            await writer.drain()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def cut_anywhere(client: str, dice: random.Random) -> list[Cut]:
    places = dice.sample(sorted(PLACES.keys() - UNSAFE.get(client, set())), CUTS)
    return [(re.compile(PLACES[place]), dice.randint(1, 6), dice.random() < 0.5) for place in places]


async def say(url: str, room: str, texts: list[str]) -> None:
    text = f"{len(texts) + 1} {TEXTS[len(texts) % len(TEXTS)]}"
    status, message = await post(url, room, text)
    assert status == 200, message
    texts.append(message["text"])


@gen_test
@pytest.mark.parametrize("mode", ["standalone", "grip"])
async def test_clients_of_npm_and_pypi_are_given_every_message_once_and_in_order(mode, stage):
    room, port, texts = new_room(), free_port(), []
    if mode == "grip":
        pushpin = await stage.pushpin(port)
        app = await stage.app(port, [pushpin.grip_url])
        url, port = pushpin.url, int(pushpin.url.rstrip("/").rpartition(":")[2])
    else:
        app = await stage.app(port)
        url = app.url
    readers, cutters = await read_by_all(stage, port, room, cut_anywhere)

    while any(cutter.cuts for cutter in cutters):
        assert len(texts) < LAST, [cutter.cuts for cutter in cutters]
        await say(url, room, texts)
        await asyncio.sleep(PACE)
    if mode == "standalone":  # an orderly end, and then only nginx is there for a while
        await app.kill(signal.SIGTERM)
        async with away() as elsewhere:
            for cutter in cutters:
                cutter.target = elsewhere
            await readers.until(lambda events: [name for name, _ in events].count("keep-alive") >= 2)
            for cutter in cutters:
                cutter.target = port
            await app.start()
        await say(url, room, texts)
    await readers.until(lambda events: [m["id"] for m in officials(events)][-1:] == [len(texts)])
    faults = {
        client: (sorted(set(enumerate(texts, 1)) ^ set(given)), cutter.made)
        for (client, events), cutter in zip(readers.events.items(), cutters, strict=True)
        if (given := [(message["id"], message["text"]) for message in officials(events)])
        != list(enumerate(texts, 1))
        or "stream-reset" in dict(events)
    }
    assert faults == {}


def after_the_reset(client: str, dice: random.Random) -> list[Cut]:
    return [(re.compile(rb"event: stream-reset\n[^\0]*?\n\n"), 1, dice.random() < 0.5)]


@gen_test
async def test_after_a_reset_they_are_given_all_that_follows_though_it_was_the_last_that_came(stage):
    """The store was emptied: who kept the old position would be given 21 to 25 of 25, and lack 1 to 20."""
    room, port, old, new = new_room(), free_port(), [], []
    app = await stage.app(port)
    readers, cutters = await read_by_all(stage, port, room, after_the_reset)
    for _ in range(20):
        await say(app.url, room, old)
    await readers.until(lambda events: len(officials(events)) == 20)
    await app.kill()
    for file in stage.directory.glob("chat.db*"):
        file.unlink()
    await app.start()
    await eventually(lambda: not any(cutter.cuts for cutter in cutters), PATIENCE)
    for _ in range(25):
        await say(app.url, room, new)
    await readers.until(lambda events: [m["id"] for m in officials(events)][-1:] == [25])
    for client, events in readers.events.items():
        reset = [name for name, _ in events].index("stream-reset")
        assert [message["id"] for message in officials(events[reset:])] == list(range(1, 26)), client
