"""Conversations in virtual time: real log, chat and hubs; everything around them is a model that misbehaves.

    python -m tests.simulation --conversations 10000 --seed 1
    python -m tests.simulation --seed 4711 --trace            # one conversation, told

A conversation is a room with a few senders, clients and servers, and some of the FAULTS, all drawn from its
seed. The clock jumps to whatever is due next, so a minute takes some milliseconds, and the same seed always
gives the same conversation. Then the faults end, and within BOUND every client must have the whole log; the
judge (judge.py) says whether all was as promised. A failure is shrunk, by leaving out faults, clients and
messages while it still fails, and printed with the command that replays it.

What is real: chat.py, log.py, streams.py, hub/local.py and held.py over sockets in memory, hub/pushpin.py and
publisher.py over an HTTP client in memory. What is a model: the store, Pushpin (pushpin_model.py), the kernel's
socket buffers, the network, the senders and the clients.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import contextvars
import inspect
import json
import logging
import os
import random
import selectors
import sys
import time
import types
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

from flychat import log as log_module
from flychat import streams
from flychat.chat import Chat
from flychat.errors import Broken, Conflict, FlychatError, Taken, Throttled, Unavailable, Unknown
from flychat.hub import held as held_module
from flychat.hub import local as local_module
from flychat.hub import publisher as publisher_module
from flychat.hub import pushpin as pushpin_module
from flychat.hub.local import LocalHub
from flychat.hub.pushpin import PushpinHub
from flychat.log import MessageLog
from flychat.messages import COMMIT_MESSAGES, Commit, Draft, Message, iso_date
from flychat.sse import BEYOND_ANY_LOG
from flychat.storage import Run
from flychat.streams import Publication, StreamRequest

from .judge import Ledger, Stored, Witness, has_all, judge_witness
from .pushpin_model import Answer, Headers, Pushpin

BOUND = {"standalone": 15.0, "grip": 30.0}  # seconds from the last fault until every client has the whole log
HISTORY, REPLAY = 3, 6  # in the place of 50 and 1,000: so that few messages are many
BACKLOG_BYTES = 1500
ROOM = "room"
CLIENT = ("10.0.0.1",)[: len(inspect.signature(Chat.stream).parameters) - 3]
EXPECTED = (type(None), FlychatError, OSError, TimeoutError)  # of a task
NOON = 1_800_000_000.0

FAULTS = {
    "lose": "a put is lost, and its answer too",
    "drop": "a put is applied, and its answer lost",
    "late": "a put is applied later than its writer is told that nothing is known",
    "hang": "a put is applied or not, and never answered",
    "throttle": "a put is refused for a time",
    "deny": "the store refuses what it is asked, as with credentials that have expired",
    "torn": "a reading shows a commit, and not the one before it",
    "hide": "the store does not tell who won a place",
    "unread": "a read fails, or takes 3 s",
    "down": "the store does not answer for up to 35 s",
    "kill": "a server is killed, and started again",
    "term": "a server is asked to end, and started again",
    "evict": "rooms leave a server's memory after 2 s without use",
    "cut": "a client's connection breaks",
    "stall": "a client does not read for up to 20 s",
    "unanswered": "the answer to a POST is lost, so it is sent again",
    "impatient": "a sender sends the same again before it is answered, and to another server",
    "stranger": "a client comes with a position that no log gave it",
    "unpublished": "a publication gets lost, and nobody is told",
    "doubled": "a publication comes twice",
    "delayed": "a publication comes later, after others",
    "refused": "a proxy's control port refuses, or hangs",
    "unsaid": "a publication comes, and its publisher is told that it did not",
    "restart": "Pushpin is killed, and started again",
    "clock": "the servers' clocks differ, and one jumps",
    "foreign": "another process writes to the same table",
}
GRIP_ONLY = {"refused", "unsaid", "restart"}
STANDALONE_ONLY = {"foreign"}
COUNTS = ("servers", "clients", "senders", "messages")

OWNER: contextvars.ContextVar[Server | None] = contextvars.ContextVar("owner", default=None)


@dataclass(frozen=True)
class Scenario:
    seed: int
    mode: str
    faults: tuple[str, ...]
    servers: int
    clients: int
    senders: int
    messages: int

    @classmethod
    def of(cls, seed: int) -> Scenario:
        chance = random.Random(f"{seed}/scenario")
        mode = chance.choice(("standalone", "grip"))
        possible = sorted(set(FAULTS) - (GRIP_ONLY if mode == "standalone" else STANDALONE_ONLY))
        return cls(
            seed,
            mode,
            tuple(sorted(chance.sample(possible, chance.choice((1, 2, 3, 4, 6, 9))))),
            chance.randint(1, 3) if mode == "grip" else 1,
            chance.randint(1, 4),
            chance.randint(1, 3),
            chance.choice((1, 2, 3, 3, 8)),
        )

    def without(self, faults: set[str]) -> Scenario:
        return replace(self, faults=tuple(fault for fault in self.faults if fault not in faults))

    def command(self) -> str:
        drawn = Scenario.of(self.seed)
        words = [f"python -m tests.simulation --trace --seed {self.seed}"]
        if left_out := sorted(set(drawn.faults) - set(self.faults)):
            words.append(f"--without {','.join(left_out)}")
        for name in COUNTS:
            if getattr(self, name) != getattr(drawn, name):
                words.append(f"--{name} {getattr(self, name)}")
        return " ".join(words)

    def smaller(self) -> Iterator[Scenario]:
        for fault in self.faults:
            yield self.without({fault})
        for name in COUNTS:
            for count in range(1, getattr(self, name)):
                yield replace(self, **{name: count})


@dataclass
class Report:
    scenario: Scenario
    broken: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    suffered: Counter[str] = field(default_factory=Counter)
    converged: float = 0.0  # seconds after the last fault
    trace: list[str] = field(default_factory=list)


class VirtualLoop(asyncio.BaseEventLoop):
    """Its clock stands while anything is ready, and then jumps to the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._selector = self
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> tuple[()]:
        if timeout is None:
            raise RuntimeError("nothing will ever happen again")
        self._now += timeout
        return ()

    def _process_events(self, events: object) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def add_reader(self, selector: Selector, callback: Callable[[], None]) -> None:  # type: ignore[override]
        selector.callback = callback

    def remove_reader(self, selector: Selector) -> bool:  # type: ignore[override]
        selector.callback = None
        return True


# The kernel


class Wire:
    """A connection, from a server to a client: what was written, and is not read yet."""

    def __init__(self, client: Client, room: int = 1 << 30) -> None:
        self.client, self.room = client, room
        self.buffer = bytearray()
        self.stalled = client.stalled
        self.gone = self.ended = False
        self.socket: Socket | None = None
        self._headless = False  # whether the head of the answer is read
        self._draining = False

    def write(self, data: bytes) -> int:
        taken = min(len(data), self.room - len(self.buffer))
        if taken > 0 and not self.gone:
            self.buffer += data[:taken]
            self._soon()
        return taken

    def end(self) -> None:
        """By the server."""
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
            if data and not self._headless:
                self._headless = True
                data = data.partition(b"\r\n\r\n")[2]
            self.socket.selector.wake()
        if data:
            self.client.read(data)
        if self.ended:
            self.gone = True
            self.client.lost(self)


class Socket:
    """The server's end of a Wire, as held.py uses it."""

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
    """What a hub needs of a RequestHandler."""

    def __init__(self, sock: Socket | None = None) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""
        self.socket = sock
        self._stream = types.SimpleNamespace(socket=sock, closed=lambda: False, close=lambda: None)
        self._headers = types.SimpleNamespace(get_all=lambda: self.headers.items())
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.request = types.SimpleNamespace(request_time=lambda: loop.time() - began)

    def set_header(self, name: str, value: str) -> None:
        self.headers[name] = value

    def write(self, data: bytes) -> None:
        self.body += data

    def detach(self) -> Any:
        return None if self._stream.socket.wire.gone else self._stream


# The store


class Store:
    """The truth: what was applied, and when."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.commits: dict[int, Commit] = {}
        self.applied: list[tuple[float, Commit]] = []
        self.when: dict[int, float] = {}
        self.coming = 0  # puts that will be applied
        self.stuck_until = 0.0  # by puts that are applied late
        self.free_at = 0.0  # when an embedded store's one thread is through with what was asked of it

    def apply(self, commit: Commit) -> Commit | None:
        """The winner of the place, if it is another."""
        winner = self.commits.get(commit.first)
        if winner is None:
            self.commits[commit.first] = commit
            self.when[commit.first] = self.world.loop.time()
            self.applied.append((self.world.loop.time(), commit))
            self.world.note(f"stored {commit.first}..{commit.last} {commit.token}")
        return winner

    def in_order(self) -> list[Commit]:
        return [self.commits[first] for first in sorted(self.commits)]

    def last_id(self) -> int:
        return max((commit.last for commit in self.commits.values()), default=0)

    def messages(self) -> list[Stored]:
        return [
            Stored(m.id, m.sender, m.text, m.provisional_id)
            for commit in self.in_order()
            for m in commit.messages
        ]


class Way:
    """An Engine: one server's way to the store."""

    def __init__(self, world: World, shared: bool) -> None:
        self.world, self.shared = world, shared
        self.closed = False

    async def put(self, commit: Commit) -> None:
        world = self.world
        self._check()
        fault = world.fate("put", "lose", "drop", "late", "hang", "throttle", "deny")
        there, back = world.lag(), world.lag()
        if fault == "throttle":
            await asyncio.sleep(there + back)
            raise Throttled("slow down")
        if fault == "deny":
            await asyncio.sleep(there + back)
            raise Broken("expired")
        if world.down:
            await asyncio.sleep(world.chance.choice((0.01, 5)))
            raise Unknown("refused")
        answer: asyncio.Future[None] | None = None
        if fault == "pass":
            answer = world.loop.create_future()
        if fault == "late":
            there += world.chance.uniform(0.05, 9)
        there = self._turn(there)
        if fault == "late":
            world.store.stuck_until = max(world.store.stuck_until, world.loop.time() + there)
        if fault != "lose" and (fault != "hang" or world.chance.random() < 0.5):
            world.store.coming += 1
            world.loop.call_later(there, self._apply, commit, answer, back)
        if answer is not None:
            return await answer
        await asyncio.sleep(60 if fault == "hang" else back)
        raise Unknown(fault)

    def _check(self) -> None:
        if self.closed:
            self.world.report.broken.append("the store is asked though it is closed")
            raise RuntimeError("the store is closed")

    def _turn(self, seconds: float) -> float:
        """How long it takes until a call is applied: an embedded store has one thread."""
        if self.shared:
            return seconds
        now = self.world.loop.time()
        self.world.store.free_at = max(self.world.store.free_at, now) + seconds
        return self.world.store.free_at - now

    def _apply(self, commit: Commit, answer: asyncio.Future[None] | None, back: float) -> None:
        self.world.store.coming -= 1
        winner = self.world.store.apply(commit)
        if answer is not None:
            self.world.loop.call_later(back, self._answer, answer, winner)

    def _answer(self, answer: asyncio.Future[None], winner: Commit | None) -> None:
        if answer.done():
            return
        if winner is None:
            answer.set_result(None)
        else:
            answer.set_exception(Taken(None if "hide" in self.world.scenario.faults else winner))

    async def _read(self, run: Run, wanted: Callable[[Commit], bool], step: int) -> list[Commit]:
        world = self.world
        self._check()
        began = world.loop.time()
        fault = world.fate("read", "unread", "torn", "deny")
        await asyncio.sleep(self._turn(world.lag()))
        if fault == "unread" and world.chance.random() < 0.5:
            await asyncio.sleep(3)
        elif fault == "unread" or world.down:
            raise Unknown("no answer")
        elif fault == "deny":
            raise Broken("expired")
        commits = [commit for commit in world.seen_by(self) if wanted(commit)]
        if fault == "torn" and step == 1 and any(world.store.when[c.first] > began for c in commits[-2:-1]):
            del commits[-2]  # it was stored meanwhile; backwards, it would be read after its successor
        for commit in commits[::step]:
            if not run.take(commit):
                break
        await asyncio.sleep(world.lag())
        return run.oldest_first()

    async def tail(self, room: str, limit: int) -> list[Commit]:
        return await self.before(room, BEYOND_ANY_LOG, limit)

    async def after(self, room: str, id: int, limit: int) -> list[Commit]:
        return await self._read(Run(limit, above=id), lambda c: c.first > id - COMMIT_MESSAGES, 1)

    async def before(self, room: str, id: int, limit: int) -> list[Commit]:
        return await self._read(Run(limit, below=id), lambda c: c.first < id, -1)

    async def check(self) -> None:
        await self.tail("", 1)

    async def close(self) -> None:
        self.closed = True


# Servers


class Server:
    """A process of flychat. `mode` may also be "foreign": it writes, and holds nobody."""

    def __init__(self, world: World, number: int, mode: str) -> None:
        self.world, self.number, self.mode = world, number, mode
        self.up = False
        self.ahead = 0.0  # its clock, in seconds

    def start(self) -> None:
        if self.up:
            return
        self.up, self.draining = True, False
        self.tasks: list[asyncio.Task[Any]] = []
        self.posts: dict[asyncio.Task[Any], str] = {}
        self.flying: list[bytes] = []  # bodies on their way to the proxy
        self.sockets: list[Socket] = []
        self.context = contextvars.copy_context()
        self.context.run(self._assemble)
        self.world.note(f"server {self.number} starts")

    def _assemble(self) -> None:
        OWNER.set(self)
        world = self.world
        engine = Way(world, world.shared)
        self.log = MessageLog(engine, memory=self.mode == "standalone", rng=world.chance)
        self.log._limit = max(self.log._limit, 64)  # REPLAY is small here, and the window is not to be
        if self.mode == "standalone":
            self.hub: Any = LocalHub(self.log.plan, self.log.refresh if engine.shared else None)
        elif self.mode == "grip":
            self.hub = PushpinHub(["http://proxy:5561/"])
        else:
            self.hub = types.SimpleNamespace(publish=lambda publication: None, close=_nothing)
        self.chat = Chat(self.log, Disturbed(self) if self.mode == "standalone" else self.hub)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return self.world.loop.create_task(work, context=self.context.copy())

    async def ask(self, work: Coroutine[Any, Any, Any], provisional_id: str = "") -> Any:
        """What it answers. OSError if it ends before; goes on if the one who asks does not wait."""
        if not self.up or (self.draining and self.world.chance.random() < 0.7):  # or it was connected before
            work.close()
            raise ConnectionRefusedError
        task = self.spawn(work)
        if provisional_id:
            self.posts[task] = provisional_id
            task.add_done_callback(lambda done: self.posts.pop(done, None))
        await asyncio.wait([task])
        if task.cancelled() or not self.up:
            if not task.cancelled():
                task.exception()
            raise ConnectionResetError
        return task.result()

    async def post(self, draft: Draft) -> Message:
        draft = replace(draft, date=iso_date(self.time()))
        return await self.ask(self.chat.post(draft), draft.provisional_id)

    def time(self) -> float:
        return NOON + self.world.loop.time() + self.ahead

    async def stream(self, request: StreamRequest, response: Response) -> int:
        try:
            await self.ask(self._stream(request, response))
        except Unavailable:
            return 503
        except RuntimeError:
            return 500
        return 200

    async def _stream(self, request: StreamRequest, response: Response) -> None:
        """Through a handler, or, as door.py does, on the bare connection."""
        plan = None
        if self.mode == "standalone" and self.world.chance.random() < 0.5:
            plan = self.chat.plan_at_once(request, *CLIENT)
        if plan is None:
            await self.chat.stream(request, response, *CLIENT)
        else:
            self.hub.hold_socket(plan, response.socket, b"HTTP/1.1 200 OK\r\n\r\n", *CLIENT)

    def kill(self) -> None:
        if not self.up:
            return
        self.up = False
        self.world.note(f"server {self.number} is killed")
        self.world.excused |= set(self.posts.values())
        self._abandon()
        self._forget()

    async def terminate(self) -> None:
        """As server.py does it."""
        if not self.up or self.draining:
            return
        self.draining = True
        self.world.note(f"server {self.number} is asked to end")
        await asyncio.wait([self.spawn(self._close())], timeout=10)
        if self.up:
            self.up = False
            self._forget()

    async def _close(self) -> None:
        began = self.world.loop.time()
        await self._answered(8)
        await self.log.close(max(0.1, 8 - (self.world.loop.time() - began)))
        await self._answered(0.5)
        await self.hub.close()
        self._abandon()

    async def _answered(self, seconds: float) -> None:
        if self.posts:
            await asyncio.wait(self.posts, timeout=seconds)

    def _abandon(self) -> None:
        """What is still to be published will not be."""
        for publisher in getattr(self.hub, "publishers", ()):
            for data in [*self.flying, *(item.data for item in publisher._queue)]:
                self.world.excuse(data)

    def _forget(self) -> None:
        if self.mode == "standalone":
            self.hub._timer.cancel()
        for sock in self.sockets:
            sock.selector.callback = None
            sock.close()
        for task in self.tasks:
            task.cancel()


class Disturbed:
    """A LocalHub whose publications suffer on their way to it."""

    def __init__(self, server: Server) -> None:
        self.world, self.hub = server.world, server.hub

    def __getattr__(self, name: str) -> Any:
        return getattr(self.hub, name)

    def publish(self, publication: Publication) -> None:
        fault = self.world.fate("publish", "unpublished", "doubled", "delayed")
        if fault == "unpublished":
            return self.world.excuse(publication.content)
        for _ in range(2 if fault == "doubled" else 1):
            if fault == "delayed":
                self.world.excuse(publication.content)
                self.world.loop.call_later(self.world.chance.uniform(0.01, 3), self.hub.publish, publication)
            else:
                self.hub.publish(publication)


class HttpClient:
    """The AsyncHTTPClient of a Publisher: a way to the proxy's control port."""

    def __init__(self, force_instance: bool) -> None:
        server = OWNER.get()
        assert server is not None
        self.server, self.world = server, server.world

    async def fetch(self, url: str, *, body: bytes, request_timeout: float, **options: Any) -> Any:
        world = self.world
        path = url.rstrip("/").rpartition("/")[2]
        fault = world.fate("publish", "unpublished", "doubled", "delayed", "refused", "unsaid")
        there, back = world.lag(), world.lag()
        if world.proxy is None or fault == "refused":
            world.excuse(body)
            await asyncio.sleep(world.chance.choice((there, request_timeout)))
            raise ConnectionRefusedError
        if fault in ("unpublished", "doubled") and path == "publish":
            body = self._spoiled(body, fault)
        if fault == "delayed":
            world.excuse(body)  # a provisional may come after its retraction
            there += world.chance.uniform(0.1, 6)
            back = world.chance.choice((0, there + back))
        self.server.flying.append(body)
        world.loop.call_later(there, world.deliver, path, body, context=world.context)
        if max(there, back) > request_timeout:
            await asyncio.sleep(request_timeout)
            raise TimeoutError
        await asyncio.sleep(back or there + 0.001)
        self.server.flying.remove(body)
        if fault == "unsaid":
            raise ConnectionResetError
        return types.SimpleNamespace(code=200)

    def _spoiled(self, body: bytes, fault: str) -> bytes:
        items = []
        for item in json.loads(body)["items"]:
            chosen = self.world.chance.random() < 0.5
            if chosen and fault == "unpublished":
                self.world.excuse(json.dumps(item).encode())
            else:
                items += [item] * (1 + chosen)
        return json.dumps({"items": items}).encode()

    def close(self) -> None:
        pass


# Clients and senders


class Client:
    """Reads the room, and comes back with its position whenever its stream ends."""

    def __init__(self, world: World, name: str, position: int | None, invented: bool = False) -> None:
        self.world, self.name = world, name
        self.witness = Witness(
            world.store.last_id, position, invented=invented, history=HISTORY, replay=REPLAY
        )
        self.wire: Wire | None = None
        self.on = self.left = self.stalled = False

    async def live(self) -> None:
        pause = 0.5
        while not self.left:
            self.over: asyncio.Future[None] = self.world.loop.create_future()
            wire = self.wire = Wire(self, self.world.socket_room)
            self.witness.connected()
            status = await self.world.connect(wire, self.witness.position)
            self.world.note(f"{self.name} comes at {self.witness.position}: {status}")
            if status == 200:
                pause, self.on = 0.5, not wire.gone
                await self.over
            wire.cut()
            self.on = False
            await asyncio.sleep(self.world.chance.uniform(pause / 2, pause))
            pause = min(4.0, 2 * pause)

    def read(self, data: bytes) -> None:
        broken = len(self.witness.broken)
        self.witness.read(data)
        self.world.note(f"{self.name} is at {self.witness.position}")
        for line in self.witness.broken[broken:]:
            self.world.note(f"{self.name}: {line}")

    def lost(self, wire: Wire) -> None:
        self.world.left(wire)
        if not self.over.done() and wire is self.wire:
            self.on = False
            self.over.set_result(None)

    def cut(self) -> None:
        if self.wire is not None:
            self.world.note(f"{self.name} is cut")
            self.wire.cut()

    def stall(self, stalled: bool) -> None:
        self.stalled = stalled
        if self.wire is not None:
            self.wire.stall(stalled)
            if self.world.proxy is not None and not stalled:
                self.world.proxy.resume(self.wire)


class World:
    """One conversation."""

    def __init__(self, scenario: Scenario, loop: VirtualLoop, trace: bool) -> None:
        self.scenario, self.loop, self.tracing = scenario, loop, trace
        self.report = Report(scenario)
        self.chance = random.Random(scenario.seed)
        self.store = Store(self)
        self.ledger = Ledger()
        self.excused: set[str] = set()
        self.context = contextvars.copy_context()  # in which no server owns anything
        self.healed = self.down = False
        self.proxy: Pushpin | None = None
        self.tasks: list[asyncio.Task[Any]] = []
        several = scenario.servers > 1 or "foreign" in scenario.faults
        self.shared = several or self.chance.random() < 0.5
        narrow = scenario.mode == "standalone" and "stall" in scenario.faults
        self.socket_room = 400 if narrow else 1 << 30
        self.impatience = self.chance.choice((0.05, 0.5))
        self.quick = self.chance.random() < 0.7
        self.rates = {fault: self.chance.choice((0.1, 0.3, 0.6)) for fault in sorted(FAULTS)}
        loop.set_task_factory(self._make_task)
        loop.set_exception_handler(self._unexpected)

    # what the parts ask

    def fate(self, of: str, *faults: str) -> str:
        if self.healed:
            return "pass"
        for fault in faults:
            if fault in self.scenario.faults and self.chance.random() < self.rates[fault]:
                self.report.suffered[fault] += 1
                self.note(f"{of}: {fault}")
                return fault
        return "pass"

    def lag(self) -> float:
        return self.chance.uniform(0.001, 0.02 if self.quick else 0.3)

    def seen_by(self, way: Way) -> list[Commit]:
        return self.store.in_order()

    def excuse(self, content: bytes) -> None:
        """The provisional ids in these bytes may stay unresolved: docs/streams.md says why."""
        for part in content.replace(b'\\"', b'"').split(b'"provisionalId":"')[1:]:
            self.excused.add(part[:36].decode())

    def note(self, *words: object) -> None:
        if self.tracing:
            self.report.trace.append(f"{self.loop.time():8.3f}  " + "  ".join(map(str, words)))

    def deliver(self, path: str, body: bytes) -> None:
        if self.proxy is not None:
            self.note("published", body.decode())
            self.proxy.post(path, body)

    def _make_task(self, loop: Any, coro: Any, context: Any = None) -> asyncio.Task[Any]:
        owner = (context.get(OWNER) if context is not None else OWNER.get()) or None
        task = asyncio.Task(coro, loop=loop, context=context)
        (owner.tasks if owner else self.tasks).append(task)
        return task

    def _unexpected(self, loop: Any, context: dict[str, Any]) -> None:
        self.report.broken.append(f"unexpected: {context.get('exception') or context['message']!r}")

    # the network

    async def connect(self, wire: Wire, position: int | None) -> int:
        await asyncio.sleep(self.lag())
        if self.scenario.mode == "grip":
            if self.proxy is None:
                return 0
            headers = [] if position is None else [("Last-Event-ID", str(position))]
            return await self.proxy.open(wire, f"/rooms/{ROOM}/messages/", headers)
        server = self.servers[0]
        sock = Socket(wire)
        if server.up:
            server.sockets.append(sock)
        try:
            return await server.stream(StreamRequest(ROOM, position), Response(sock))
        except OSError:
            return 0

    async def origin(self, path: str, headers: Headers) -> Answer:
        """What the proxy is answered."""
        await asyncio.sleep(self.lag())
        up = [server for server in self.servers if server.up]
        if not up:
            raise ConnectionRefusedError
        if path == "/recover/":
            request = streams.read_grip_last([value for name, value in headers])
            assert request is not None
        else:
            request = streams.read_request(ROOM, dict(headers), [])
        response = Response()
        status = await self.chance.choice(up).stream(request, response)
        await asyncio.sleep(self.lag())
        return status, response.headers, response.body

    def left(self, wire: Wire) -> None:
        if self.proxy is not None:
            self.loop.call_later(0.2, self.proxy.leave, wire)

    # the conversation

    async def run(self) -> Report:
        chance, scenario = self.chance, self.scenario
        self.span = chance.choice((0.3, 2.0, 8.0, 25.0))
        foreign = ["foreign"] if "foreign" in scenario.faults else []
        modes = [scenario.mode] * scenario.servers + foreign
        self.servers = [Server(self, number, mode) for number, mode in enumerate(modes)]
        for server in self.servers:
            server.start()
        if scenario.mode == "grip":
            self.start_proxy()
        self.clients: list[Client] = []
        joins = [self.loop.create_task(self.join(n)) for n in range(scenario.clients)]
        senders = [self.loop.create_task(self.send(f"sender {n}")) for n in range(scenario.senders)]
        troubles = [
            self.loop.create_task(self.trouble(fault))
            for fault in ("down", "kill", "term", "cut", "stall", "restart", "clock")
            if fault in scenario.faults
            for _ in range(chance.randint(1, 2))
        ]
        if "evict" in scenario.faults:
            self.loop.create_task(self.use_another_room())
        await asyncio.sleep(self.span)
        await asyncio.gather(*joins, *troubles)
        self.healed = True
        self.note("all is well from now on")
        healed_at = self.loop.time()
        patience = 60 + max(0.0, self.store.stuck_until - self.loop.time())
        _, late = await asyncio.wait(senders, timeout=patience)
        if late:
            self.report.broken.append("a sender is never answered")
        if scenario.mode == "standalone" and {"unpublished", "delayed"} & set(scenario.faults):
            await self.loop.create_task(self.send("the last", 1))  # its publications are not made up for
        await self.converge(healed_at)
        self.judge()
        return self.report

    async def converge(self, healed_at: float) -> None:
        bound, excused = BOUND[self.scenario.mode], self.excused.__contains__
        while True:
            now, stored = self.loop.time(), self.store.messages()
            applied = self.store.applied[-1][0] if self.store.applied else 0.0
            last = max(healed_at, applied, self.store.stuck_until)
            here = [client for client in self.clients if not client.left]
            whole = all(client.on and (client.witness.position or 0) == len(stored) for client in here)
            if not whole:
                self.report.converged = now - last
            busy = self.store.coming or any(server.posts for server in self.servers)
            quiet = whole and all(has_all(client.witness, stored, excused) for client in here)
            if not whole and now > last + bound:
                self.report.broken.append(f"not everybody has everything {bound:.0f} s after the last fault")
                break
            if whole and not busy and (quiet or now > last + bound):
                break
            await asyncio.sleep(0.25)
        await asyncio.sleep(5)  # for whatever is still on its way, and should change nothing

    def judge(self) -> None:
        report, stored = self.report, self.store.messages()
        report.broken += self.ledger.judge(stored)
        for client in self.clients:
            witness = client.witness
            if client.left:
                report.broken += [f"{client.name}: {line}" for line in witness.broken]
            else:
                broken = judge_witness(witness, stored, self.excused.__contains__)
                report.broken += [f"{client.name}: {line}" for line in broken]
            report.counts += witness.counts
        report.counts["messages"] += len(stored)
        for status, count in self.ledger.answers.items():
            report.counts[f"answers {status}"] += count

    def start_proxy(self) -> None:
        queue = self.chance.choice((3, 100))
        self.proxy = Pushpin(
            self.origin,
            self.chance,
            queue=queue,
            dropped=lambda item: self.excuse(json.dumps(item).encode()),
        )

    async def join(self, number: int) -> None:
        chance = self.chance
        await asyncio.sleep(chance.choice((0, chance.uniform(0, self.span))))
        if "stranger" in self.scenario.faults and chance.random() < 0.5:
            client = Client(self, f"client {number}", 10**6, invented=True)
        else:
            known = max(self.ledger.acknowledged.values(), default=None)
            client = Client(self, f"client {number}", chance.choice((None, 0, known)))
        self.clients.append(client)
        self.loop.create_task(client.live())
        if chance.random() < 0.1:
            await asyncio.sleep(chance.uniform(0, self.span))
            client.left = True
            client.cut()

    async def send(self, sender: str, messages: int = 0) -> None:
        chance = self.chance
        await asyncio.sleep(chance.uniform(0, self.span / 2))
        for n in range(messages or self.scenario.messages):
            key = (sender, str(uuid.UUID(int=chance.getrandbits(128))))
            text = f"{sender} says {n}"
            self.ledger.send(key, text)
            draft = Draft(ROOM, sender, text, "", key[1])
            while key not in self.ledger.acknowledged:
                copies = 2 if "impatient" in self.scenario.faults and chance.random() < 0.5 else 1
                posts = [self.loop.create_task(self.post(draft)) for _ in range(copies)]
                await asyncio.wait(posts)
                if key not in self.ledger.acknowledged:
                    if chance.random() < self.impatience:
                        break  # it gives up
                    await asyncio.sleep(chance.uniform(0.05, 2))
            await asyncio.sleep(chance.uniform(0, self.span / 4))

    async def post(self, draft: Draft) -> None:
        chance, status, stored = self.chance, 0, None
        up = [server for server in self.servers if server.up]
        await asyncio.sleep(self.lag())
        if up:
            with contextlib.suppress(OSError, TimeoutError):
                try:
                    async with asyncio.timeout(chance.choice((20, 1)) if self.scenario.faults else 20):
                        message = await chance.choice(up).post(draft)
                    status = 200
                    stored = Stored(message.id, message.sender, message.text, message.provisional_id)
                except Unavailable:
                    status = 503
                except Conflict:
                    status = 409
        if self.fate("post", "unanswered") == "unanswered":
            status = 0
        self.note(f"{draft.sender}, {draft.text!r}: {status}", draft.provisional_id)
        self.ledger.answer((draft.sender, draft.provisional_id), status, stored)

    async def use_another_room(self) -> None:
        """Where it is looked for rooms that are in nobody's use."""
        while not self.healed:
            await asyncio.sleep(self.chance.uniform(0.5, 3))
            for server in self.servers:
                if server.up and not server.draining:
                    server.log._room("elsewhere")
                    self.report.suffered["evict"] += ROOM not in server.log._rooms

    async def trouble(self, fault: str) -> None:
        """One event of its kind, and its end."""
        chance = self.chance
        await asyncio.sleep(chance.uniform(0, self.span))
        self.report.suffered[fault] += 1
        if fault == "down":
            self.note("the store is down")
            self.down = True
            await asyncio.sleep(chance.choice((1, chance.uniform(0, 35))))
            self.down = False
            self.note("the store is up")
        elif fault in ("kill", "term"):
            server = chance.choice(self.servers)
            if fault == "kill":
                server.kill()
            else:
                await server.terminate()
            await asyncio.sleep(chance.choice((0.1, chance.uniform(0.5, 12))))
            server.start()
        elif fault == "restart" and self.proxy is not None:
            self.note("Pushpin is killed")
            proxy, self.proxy = self.proxy, None
            proxy.stop()
            await asyncio.sleep(chance.uniform(0.1, 5))
            if self.proxy is None:
                self.note("Pushpin is started")
                self.start_proxy()
        elif fault == "clock":
            chance.choice(self.servers).ahead += chance.choice((-3600, -2, -0.5, 0.5, 2, 3600))
        elif fault == "cut" and self.clients:
            chance.choice(self.clients).cut()
        elif fault == "stall" and self.clients:
            client = chance.choice(self.clients)
            self.note(f"{client.name} stalls")
            client.stall(True)
            await asyncio.sleep(chance.uniform(0.1, 20))
            self.note(f"{client.name} reads again")
            client.stall(False)


async def _nothing() -> None:
    pass


# Running them


@contextlib.contextmanager
def simulated() -> Iterator[None]:
    """The modules, with the models in the place of clocks, sockets and HTTP, and with small limits."""
    chosen = types.SimpleNamespace(DefaultSelector=Selector)
    clock = types.SimpleNamespace(
        monotonic=lambda: asyncio.get_running_loop().time(), time=lambda: OWNER.get().time()
    )
    with contextlib.ExitStack() as stack:
        for module, name, value in (
            (held_module, "selectors", chosen),
            (held_module, "BACKLOG_BYTES", BACKLOG_BYTES),
            (local_module, "taken_from", lambda stream: stream.socket),
            (publisher_module, "AsyncHTTPClient", HttpClient),
            (publisher_module, "time", clock),
            (pushpin_module, "time", clock),
            (streams, "HISTORY", HISTORY),
            (streams, "REPLAY", REPLAY),
            (log_module, "secrets", types.SimpleNamespace(token_hex=lambda size: f"by {OWNER.get().number}")),
            (log_module, "HISTORY", HISTORY),
            (log_module, "REPLAY", REPLAY),
        ):
            stack.enter_context(patch.object(module, name, value))
        level = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        stack.callback(logging.disable, level)
        yield


def converse(scenario: Scenario, trace: bool = False) -> Report:
    """One conversation, within `simulated()`."""
    loop = VirtualLoop()
    world = World(scenario, loop, trace)
    with (
        patch.object(log_module, "IDLE", 2.0 if "evict" in scenario.faults else 600.0),
        patch.object(publisher_module, "random", world.chance),
        patch.object(local_module, "random", world.chance),
    ):
        try:
            loop.run_until_complete(_guarded(world))
        finally:
            _sweep(world, loop)
    return world.report


async def _guarded(world: World) -> None:
    try:
        await world.run()
    except Exception as error:
        world.report.broken.append(f"{type(error).__name__}: {error}")


def _sweep(world: World, loop: VirtualLoop) -> None:
    servers = getattr(world, "servers", [])
    loop.set_exception_handler(lambda loop, context: None)
    for tasks in (world.tasks, *(server.tasks for server in servers)):
        for task in tasks:
            if not task.done():
                task.cancel()
            elif not task.cancelled() and not isinstance(task.exception(), EXPECTED):
                world.report.broken.append(f"unexpected: {task.exception()!r}")
    left = [t for tasks in (world.tasks, *(s.tasks for s in servers)) for t in tasks if not t.done()]
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=1))
    loop.close()


def shrink(scenario: Scenario) -> Scenario:
    """A smaller one that fails too."""
    while True:
        for candidate in scenario.smaller():
            if converse(candidate).broken:
                scenario = candidate
                break
        else:
            return scenario


@dataclass
class Summary:
    conversations: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    suffered: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, float] = field(default_factory=dict)
    failed: list[int] = field(default_factory=list)

    def add(self, report: Report) -> None:
        self.conversations += 1
        self.counts += report.counts
        self.suffered += report.suffered
        mode = report.scenario.mode
        self.slowest[mode] = max(self.slowest.get(mode, 0), report.converged)
        if report.broken:
            self.failed.append(report.scenario.seed)

    def merge(self, other: Summary) -> None:
        self.conversations += other.conversations
        self.counts += other.counts
        self.suffered += other.suffered
        self.failed += other.failed
        for mode, seconds in other.slowest.items():
            self.slowest[mode] = max(self.slowest.get(mode, 0), seconds)


def run_seeds(seeds: range) -> Summary:
    """All of them; stops after a few failures."""
    summary = Summary()
    with simulated():
        for seed in seeds:
            summary.add(converse(Scenario.of(seed)))
            if len(summary.failed) == 5:
                break
    return summary


def first_failure(seeds: Iterable[int], mode: str = "") -> Report | None:
    """Of the conversations in `mode`, or in either."""
    with simulated():
        for seed in seeds:
            scenario = Scenario.of(seed)
            if mode in ("", scenario.mode):
                report = converse(scenario)
                if report.broken:
                    return report
    return None


def explain(scenario: Scenario) -> str:
    """A failure, shrunk: the command that replays it, and what is wrong."""
    with simulated():
        smallest = shrink(scenario)
        report = converse(smallest)
    lines = [
        f"seed {scenario.seed} fails; the smallest that does:",
        f"  {smallest.command()}",
        f"  {smallest}",
    ]
    return "\n".join(lines + [f"  - {line}" for line in report.broken])


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Conversations in virtual time, held against the promise.")
    parser.add_argument("--seed", type=int, default=1, help="of the first conversation")
    parser.add_argument("--conversations", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--trace", action="store_true", help="tell the conversation, if it is one")
    parser.add_argument("--without", default="", metavar="FAULT,...", help=", ".join(FAULTS))
    for name in COUNTS:
        parser.add_argument(f"--{name}", type=int)
    return parser


def chosen(options: argparse.Namespace) -> Scenario:
    scenario = Scenario.of(options.seed)
    given = {name: getattr(options, name) for name in COUNTS if getattr(options, name) is not None}
    return replace(scenario.without(set(options.without.split(","))), **given)


def replay(scenario: Scenario, trace: bool) -> int:
    with simulated():
        report = converse(scenario, trace)
    print(scenario)
    print("\n".join(report.trace))
    print(f"whole {report.converged:.2f} s after the last fault; {dict(report.counts)}")
    print("\n".join(f"BROKEN: {line}" for line in report.broken) or "all as promised")
    return bool(report.broken)


def main() -> int:
    options = parser().parse_args()
    if options.conversations == 1:
        return replay(chosen(options), options.trace)
    began = time.monotonic()
    seeds = range(options.seed, options.seed + options.conversations)
    size = max(1, min(250, len(seeds) // options.jobs))
    parts = [seeds[at : at + size] for at in range(0, len(seeds), size)]
    summary = Summary()
    with ProcessPoolExecutor(options.jobs) as pool:
        for part in pool.map(run_seeds, parts):
            summary.merge(part)
    show(summary, time.monotonic() - began)
    for seed in summary.failed[:3]:
        print(explain(Scenario.of(seed)))
    return bool(summary.failed)


def show(summary: Summary, seconds: float) -> None:
    print(f"{summary.conversations} conversations in {seconds:.1f} s, {len(summary.failed)} failed")
    print("seen: " + ", ".join(f"{count} {name}" for name, count in sorted(summary.counts.items())))
    print("suffered: " + ", ".join(f"{count} {name}" for name, count in sorted(summary.suffered.items())))
    slowest = (f"{mode} {seconds:.1f} s" for mode, seconds in sorted(summary.slowest.items()))
    print("the slowest convergence after the last fault: " + ", ".join(slowest))


if __name__ == "__main__":
    sys.exit(main())
