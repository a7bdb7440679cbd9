"""A stage: one mode over one store, its processes, and its rounds: faults, then none, and then the judge."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from flychat.commits import Commit
from flychat.private_pushpin import PushpinChild
from flychat.storage.dynamodb import DynamoEngine
from flychat.storage.dynamodb_table import create_table
from tests.conftest import dynamo_environment
from tests.support.dynamo_proxy import DynamoProxy
from tests.support.ports import free_port
from tests.support.pushpin_proxy import DEPLOY, KEY, App, ControlProxy

from ..judge import BOUND, FROZEN, LOST, Stored
from . import reading
from .client import Client
from .faults import RETENTION, Faults, small
from .passes import PRIVATE, Passes
from .room import SENDERS, Room

ROOMS, CLIENTS = 2, 8  # clients of each room
PROXIES = {"sqlite": 1, "dynamodb": 2}  # Pushpins before a store, in GRIP mode

GONE_SECONDS = 15.0  # after the answer nothing of what was removed is in the file any more

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
        self,
        mode: str,
        store: str,
        seed: int,
        directory: Path,
        moto: str,
        only: frozenset[str],
        programs: Sequence[str] = ("pushpin",),
    ) -> None:
        self.only, self.programs = only, programs
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
        self.passes = Passes(self)
        self.kinds: frozenset[str] = frozenset()  # of what may happen in this round
        self.done: Counter[str] = Counter()  # by operators
        self.gone: set[bytes] = set()  # texts that were removed, names that were erased: by answers
        self.ahead = 0.0  # seconds that all clocks are
        self.pushpins: dict[int, PushpinChild] = {}  # by place, those that run
        self.controls: list[ControlProxy] = []
        self.dynamo: DynamoProxy | None = None
        self._ending = contextlib.AsyncExitStack()

    async def open(self) -> None:
        self.directory.mkdir()
        clock = self.directory / "clock"
        clock.mkdir()
        (clock / "sitecustomize.py").write_text(SHIFTED_CLOCK)
        environ = {"PYTHONPATH": str(clock), "SOAK_CLOCK": str(clock / "offset")}
        self.set_clocks()
        self.passes.write()
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
            self.file = self.disk / "chat.db"
            location = f"sqlite:{self.file}"
        arguments = ["--standalone", "--store", location]
        self.ports = [free_port()]
        if self.mode == "grip":
            if self.store == "dynamodb":
                self.ports.append(free_port())
            proxies = range(PROXIES[self.store])
            self.pushpin_ports = [{"port": free_port(), "control_port": free_port()} for _ in proxies]
            for place in proxies:
                await self.start_pushpin(place)
                control = ControlProxy(self.pushpins[place].grip_url)
                control.listen()
                self._ending.push_async_callback(control.close)
                self.controls.append(control)
            urls = [f"--grip-url={control.grip_url}" for control in self.controls]
            arguments = ["--grip", *urls, "--store", location]
        arguments += [
            "--secret",
            str(self.passes.file),
            "--access",
            f"{PRIVATE}*=",
            f"--retention={RETENTION}",
        ]
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
        for pushpin in self.pushpins.values():
            await pushpin.stop()
        await self._ending.aclose()

    def url(self) -> str:
        """Where clients go."""
        if self.mode == "standalone":
            return self.apps[0].url
        return f"http://127.0.0.1:{self.chance.choice(self.pushpin_ports)['port']}/"

    def post_url(self) -> str:
        urls = [app.url for app in self.apps]
        return self.chance.choice([*urls, self.url()])

    def wall(self) -> float:
        """What the clocks show, where they are right."""
        return time.time() + self.ahead

    def set_clocks(self, wrong: float = 0.0) -> None:
        file = self.directory / "clock" / "offset"
        whole = file.with_suffix(".new")
        whole.write_text(str(self.ahead + wrong))
        os.replace(whole, file)

    def chosen(self, kinds: Iterable[str]) -> list[str]:
        """Those that are asked for; all, if none of them is."""
        return [kind for kind in kinds if kind in self.only] or list(kinds)

    async def round(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        over = lambda: time.monotonic() > ends  # noqa: E731
        private = (self.counts["rounds"] + (self.mode == "grip") + (self.store == "dynamodb")) % 2 == 1
        self.kinds = self.faults.possible(private=private)
        self.set_clocks()
        rooms = [Room(self, private=private, over=over) for _ in range(ROOMS)]
        working = [room.send(f"sender {n}", over) for room in rooms for n in range(SENDERS)]
        working += [room.operator.work(over) for room in rooms]
        senders = [asyncio.create_task(work) for work in working]
        joining = [asyncio.create_task(self._join(room, seconds)) for room in rooms for _ in range(CLIENTS)]
        await self.faults.happen(rooms, ends)
        await asyncio.gather(*joining)
        late = (await asyncio.wait(senders, timeout=60))[1]
        if late:
            self.violations.append(f"{self.name}: a sender or an operator is never answered")
            for task in late:
                task.cancel()
        while any(room.busy for room in rooms):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        last = time.monotonic()
        for room in rooms:
            await self._converge(room, last)
        self.violations += [f"{self.name}: {line}" for line in self.passes.judge()]
        self.counts["rounds"] += 1

    async def _converge(self, room: Room, last: float) -> None:
        late = max(last + BOUND[self.mode], self.passes.last + LOST + FROZEN[self.mode])
        stored = await self._stored(room)
        while time.monotonic() < late:
            stored = await self._stored(room)
            if room.whole(stored):
                self.slowest = max(self.slowest, time.monotonic() - last)
                break
            await asyncio.sleep(0.2)
        wrong = room.judge(stored)
        for client in room.clients:
            self.counts += client.witness.counts
        self.counts["clients"] += len(room.clients)
        self.counts["messages"] += len(stored)
        for status, count in room.ledger.answers.items():
            self.counts[f"answers {status}"] += count
        self.violations += [f"{self.name}, {room.name!r}: {line}" for line in wrong]
        await asyncio.gather(*(client.leave() for client in room.clients))

    async def commits(self, room: Room) -> list[Commit]:
        """Read around flychat."""
        if self.store == "dynamodb":
            return await reading.of_table(self.engine, room.name, self.wall())
        return reading.of_file(self.file, room.name)

    async def _stored(self, room: Room) -> list[Stored]:
        return reading.messages(await self.commits(room))

    async def look_for_what_is_gone(self) -> None:
        """At the end, in what the store leaves on the disk."""
        if self.store == "sqlite":
            ends = time.monotonic() + GONE_SECONDS
            while (left := reading.left_in_file(self.file, self.gone)) and time.monotonic() < ends:  # noqa: ASYNC110
                await asyncio.sleep(0.5)
            self.violations += [f"{self.name}: {text[:60]!r} is in the file" for text in left]

    async def _join(self, room: Room, seconds: float) -> None:
        await asyncio.sleep(self.chance.choice((0, self.chance.uniform(0, seconds))))
        known = max(room.ledger.acknowledged.values(), default=0)
        how = {"by_query": self.chance.random() < 0.3, "quiet": self.chance.random() < 0.2}
        if self.chance.random() < 0.1:
            room.clients.append(Client(self, room, 10**6, invented=True, **how))
        else:
            known = self.chance.choice((None, 0, known // 2, known or None))
            room.clients.append(Client(self, room, known, **how))

    async def end(self, app: App, number: int = signal.SIGKILL) -> None:
        try:
            await app.kill(number)
        except TimeoutError:
            self.violations.append(f"{self.name}: still there long after signal {number}")
            await app.kill()

    async def start(self, app: App) -> None:
        """Until it runs: it does not start while its store does not answer."""
        while app.process is None or app.process.returncode is not None:
            try:
                await app.start()
            except (AssertionError, TimeoutError):
                await app.kill()
                await asyncio.sleep(0.3)

    async def start_pushpin(self, place: int) -> None:
        targets = [f"127.0.0.1:{port}" for port in self.ports]
        program, ports = self.programs[place % len(self.programs)], self.pushpin_ports[place]
        for attempt in range(5):
            try:
                started = await PushpinChild.start(DEPLOY, targets, program=program, key=KEY, **ports)
                self.pushpins[place] = started
                return
            except Exception:
                if attempt == 4:
                    raise
                await asyncio.sleep(0.5)
