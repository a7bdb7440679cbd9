"""A stage: one mode over one store, its processes, and its rounds: faults, then none, and then the judge."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import socket
import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from flychat.commits import Commit
from flychat.private_pushpin import PushpinChild
from flychat.storage import Unknown
from flychat.storage.dynamodb import DynamoEngine
from flychat.storage.dynamodb_table import create_table
from tests.conftest import dynamo_environment
from tests.support.dynamo_proxy import DynamoProxy
from tests.support.ports import free_port
from tests.support.pushpin_proxy import DEPLOY, KEY, App, ControlProxy

from ..judge import BOUND, Stored, judge_witness, unresolved
from .client import Client
from .faults import Faults, small
from .room import Room

ROOMS, CLIENTS, SENDERS = 2, 8, 4  # clients and senders of each room

SHIFTED_CLOCK = """
import os, time
_real, _file = time.time, os.environ["SOAK_CLOCK"]
def _shifted():
    try:
        with open(_file) as file:
            return _real() + float(file.read() or 0)
    except (OSError, ValueError):
        return _real()
time.time = _shifted
"""


class Stage:
    """One mode over one store."""

    def __init__(
        self, mode: str, store: str, seed: int, directory: Path, moto: str, only: frozenset[str]
    ) -> None:
        self.only = only
        self.mode, self.store, self.moto = mode, store, moto
        self.name = f"{mode}, {store}"
        self.chance = random.Random(f"{seed}/{self.name}")
        self.directory = directory / self.name.replace(", ", "-")
        self.counts: Counter[str] = Counter()
        self.suffered: Counter[str] = Counter()
        self.violations: list[str] = []
        self.slowest = 0.0
        self.apps: list[App] = []
        self.turns: dict[App, asyncio.Lock] = {}  # who may end and start it
        self.faults = Faults(self)
        self.pushpin: PushpinChild | None = None
        self.dynamo: DynamoProxy | None = None
        self.healthy = asyncio.Event()
        self._ending = contextlib.AsyncExitStack()

    async def open(self) -> None:
        self.directory.mkdir()
        clock = self.directory / "clock"
        clock.mkdir()
        (clock / "sitecustomize.py").write_text(SHIFTED_CLOCK)
        environ = {"PYTHONPATH": str(clock), "SOAK_CLOCK": str(clock / "offset")}
        if self.store == "dynamodb":
            table = f"soak-{uuid.uuid4().hex}"
            await create_table(table, dynamo_environment(self.moto))
            self.dynamo = await DynamoProxy.start(self.moto, late_after=5, seed=self.chance.getrandbits(32))
            self._ending.push_async_callback(self.dynamo.close)
            self.engine = await DynamoEngine.open(table, dynamo_environment(self.moto))
            self._ending.push_async_callback(self.engine.close)
            environ |= dynamo_environment(self.dynamo.url)
            location = f"dynamodb:{table}"
        else:
            self.disk = self.directory / "disk"
            self.disk.mkdir()
            self._ending.enter_context(small(self.disk))
            location = f"sqlite:{self.disk / 'chat.db'}"
        arguments = ["--standalone", "--store", location]
        self.ports = [free_port()]
        if self.mode == "grip":
            if self.store == "dynamodb":
                self.ports.append(free_port())
            self.pushpin_ports = {"port": free_port(), "control_port": free_port()}
            await self.start_pushpin()
            assert self.pushpin
            self.control = ControlProxy(self.pushpin.grip_url)
            self.control.listen()
            self._ending.push_async_callback(self.control.close)
            arguments = ["--grip", f"--grip-url={self.control.grip_url}", "--store", location]
        for number, port in enumerate(self.ports):
            app = App(port, arguments, environ, self.directory / f"app{number}.log", self._kept_open(port))
            self.apps.append(app)
            self.turns[app] = asyncio.Lock()
            await self.start(app)

    def _kept_open(self, port: int) -> socket.socket | None:
        """Where one flychat is behind Pushpin, which may forget streams that it recovers while it is refused."""
        if self.mode == "standalone" or len(self.ports) > 1:
            return None
        return self._ending.enter_context(socket.create_server(("127.0.0.1", port), backlog=4096))

    async def close(self) -> None:
        for app in self.apps:
            with contextlib.suppress(Exception):
                await app.kill()
        if self.pushpin is not None:
            await self.pushpin.stop()
        await self._ending.aclose()

    def url(self) -> str:
        """Where clients go."""
        if self.mode == "standalone":
            return self.apps[0].url
        return f"http://127.0.0.1:{self.pushpin_ports['port']}/"

    def post_url(self) -> str:
        urls = [app.url for app in self.apps]
        return self.chance.choice([*urls, self.url()])

    async def round(self, seconds: float) -> None:
        rooms = [Room(self) for _ in range(ROOMS)]
        ends = time.monotonic() + seconds
        over = lambda: time.monotonic() > ends  # noqa: E731
        senders = [
            asyncio.create_task(room.send(f"sender {n}", over)) for room in rooms for n in range(SENDERS)
        ]
        joining = [asyncio.create_task(self._join(room, seconds)) for room in rooms for _ in range(CLIENTS)]
        await self.faults.happen(rooms, ends)
        await asyncio.gather(*joining)
        late = (await asyncio.wait(senders, timeout=60))[1]
        if late:
            self.violations.append(f"{self.name}: a sender is never answered")
            for task in late:
                task.cancel()
        while any(room.busy for room in rooms):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        last = time.monotonic()
        for room in rooms:
            await self._converge(room, last)
        self.counts["rounds"] += 1

    async def _converge(self, room: Room, last: float) -> None:
        bound = BOUND[self.mode]
        stored = await self._stored(room)
        excused: Callable[[str], bool] = lambda key: self.mode == "grip"  # noqa: E731
        while time.monotonic() < last + bound:
            stored = await self._stored(room)
            if all(c.on and (c.witness.position or 0) == len(stored) for c in room.clients) and not any(
                unresolved(c.witness, stored, excused) for c in room.clients
            ):
                self.slowest = max(self.slowest, time.monotonic() - last)
                break
            await asyncio.sleep(0.2)
        wrong = room.ledger.judge(stored)
        for number, client in enumerate(room.clients):
            if not client.on:
                wrong.append(f"client {number} is not connected")
            wrong += [f"client {number}: {w}" for w in judge_witness(client.witness, stored, excused)]
            self.counts += client.witness.counts
        self.counts["clients"] += len(room.clients)
        self.counts["messages"] += len(stored)
        for status, count in room.ledger.answers.items():
            self.counts[f"answers {status}"] += count
        self.violations += [f"{self.name}, {room.name!r}: {line}" for line in wrong]
        await asyncio.gather(*(client.leave() for client in room.clients))

    async def _stored(self, room: Room) -> list[Stored]:
        """Read around flychat."""
        if self.store == "dynamodb":
            commits = await self._read(room)
            return [
                Stored(m.id, m.sender, m.text, m.provisional_id, m.user) for c in commits for m in c.messages
            ]
        with contextlib.closing(sqlite3.connect(self.disk / "chat.db", timeout=10)) as db:
            rows = db.execute("SELECT seq, m FROM log WHERE room = ? ORDER BY seq", (room.name,)).fetchall()
        return [
            Stored(id, sender, text, key, *(each["u"] for each in more))
            for first, payload in rows
            for id, (sender, text, _, key, *more) in enumerate(json.loads(payload), first)
        ]

    async def _read(self, room: Room) -> list[Commit]:
        """moto may be busy."""
        while True:
            with contextlib.suppress(Unknown):
                return await self.engine.after(room.name, 0, 10**6)

    async def _join(self, room: Room, seconds: float) -> None:
        await asyncio.sleep(self.chance.choice((0, self.chance.uniform(0, seconds))))
        known = max(room.ledger.acknowledged.values(), default=0)
        if self.chance.random() < 0.1:
            room.clients.append(Client(self, room, 10**6, invented=True))
        else:
            room.clients.append(Client(self, room, self.chance.choice((None, 0, known or None))))

    async def end(self, app: App, number: int = signal.SIGKILL) -> None:
        try:
            await app.kill(number)
        except TimeoutError:
            self.violations.append(f"{self.name}: still there 10 s after signal {number}")
            await app.kill()

    async def start(self, app: App) -> None:
        """Until it runs: it does not start while its store does not answer."""
        while app.process is None or app.process.returncode is not None:
            try:
                await app.start()
            except (AssertionError, TimeoutError):
                await app.kill()
                await asyncio.sleep(0.3)

    async def start_pushpin(self) -> None:
        targets = [f"127.0.0.1:{port}" for port in self.ports]
        for attempt in range(5):
            try:
                self.pushpin = await PushpinChild.start(DEPLOY, targets, key=KEY, **self.pushpin_ports)
                return
            except Exception:
                if attempt == 4:
                    raise
                await asyncio.sleep(0.5)
