"""The promise, with real parts and real faults:  python -m tests.proof.soak --minutes 10 --seed 1

Four stages run side by side: both modes over both stores. Each has processes of flychat, in GRIP mode a Pushpin
and a bad network before its control port, on DynamoDB a bad network before moto; senders that send until
they are answered, and clients that join, are cut, stall and come back. A round is some seconds of faults,
then none; within BOUND every client must have the whole log, and the judge (judge.py) compares streams, answers
and store. At the end: what was checked, what went wrong around it, and the violations, of which there are none.

Clocks are shifted by a sitecustomize module that only these processes are given: it adds what a file says to
time.time(). As root, the directory of the SQLite file is a small tmpfs, which is filled up, and remounted
read-only; else files are limited in size (RLIMIT_FSIZE), and made read-only by chmod.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import random
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

from flychat.commits import Commit
from flychat.private_pushpin import PushpinChild
from flychat.storage import Unknown
from flychat.storage.dynamodb import DynamoEngine
from flychat.storage.dynamodb_table import create_table
from tests.conftest import dynamo_environment
from tests.proof.judge import BOUND, Key, Ledger, Log, Stored, Witness, judge_witness, unresolved
from tests.proof.oracle import post, put_away, read_chunk, read_head
from tests.support.dynamo_proxy import DynamoProxy
from tests.support.ports import free_port
from tests.support.pushpin_proxy import DEPLOY, KEY, App, ControlProxy

FAULT_SECONDS = 15.0  # of a round
ROOMS, CLIENTS, SENDERS = 2, 8, 4  # clients and senders of each room
PAUSE = 0.3  # seconds between two messages of a sender, on the average
SILENCE = 25.0  # until a client in GRIP mode takes a stream for dead (Pushpin 1.36 may forget a slow reader)
TMPFS = "48m"

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

FAULTS = {  # by stage; the kinds that the report counts
    "any": ("kill", "term", "cut", "stall", "clock"),
    "grip": ("pushpin killed", "control hangs", "control refuses", "publications spoiled"),
    "dynamodb": ("table unreachable", "puts spoiled", "store slow"),
    "sqlite": ("disk full", "read-only at a start", "locked by another"),
}
SPOILED_PUTS = {"lose": 0.1, "drop": 0.1, "late": 0.1, "error": 0.1, "throttle": 0.05}


class Client:
    """Reads a room, with a small buffer, and comes back with its position until it is told to leave."""

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


class Room:
    def __init__(self, stage: Stage) -> None:
        self.name = f"soak {uuid.uuid4().hex[:8]}"
        self.stage = stage
        self.ledger = Ledger()
        self.clients: list[Client] = []
        self.busy = 0

    async def send(self, sender: str, until: Callable[[], bool]) -> None:
        chance = self.stage.chance
        while not until():
            key = (None, sender, str(uuid.UUID(int=chance.getrandbits(128))))
            text = f"{sender} says {len(self.ledger.sent)} " + "x" * chance.choice((10, 100, 3000))
            self.ledger.send(key, text)
            while key not in self.ledger.acknowledged:
                copies = chance.choice((1, 1, 1, 2))
                await asyncio.gather(*(self._post(key, text) for _ in range(copies)))
                if key not in self.ledger.acknowledged:
                    if chance.random() < 0.05:
                        break  # it gives up
                    await asyncio.sleep(chance.uniform(0.1, 1))
            await asyncio.sleep(chance.uniform(0, 2 * PAUSE))

    async def _post(self, key: Key, text: str) -> None:
        status, answer = 0, {}
        self.busy += 1
        try:
            url = self.stage.post_url()
            with contextlib.suppress(OSError, EOFError, TimeoutError, ValueError):
                status, answer = await asyncio.wait_for(
                    post(url, self.name, text, key[2], key[1]), self.stage.chance.choice((2, 20))
                )
        finally:
            self.busy -= 1
        self.ledger.answer(key, status, Stored.read(answer) if status == 200 else None)


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
            self.disk_turn = asyncio.Lock()
            if os.geteuid() == 0:
                _run("mount", "-t", "tmpfs", "-o", f"size={TMPFS}", "none", str(self.disk))
                self._ending.callback(_run, "umount", "-l", str(self.disk))
            location = f"sqlite:{self.disk / 'chat.db'}"
        arguments = ["--standalone", "--store", location]
        self.ports = [free_port()]
        if self.mode == "grip":
            if self.store == "dynamodb":
                self.ports.append(free_port())
            self.pushpin_ports = {"port": free_port(), "control_port": free_port()}
            await self._start_pushpin()
            assert self.pushpin
            self.control = ControlProxy(self.pushpin.grip_url)
            self.control.listen()
            self._ending.push_async_callback(self.control.close)
            arguments = ["--grip", f"--grip-url={self.control.grip_url}", "--store", location]
        for number, port in enumerate(self.ports):
            app = App(port, arguments, environ, self.directory / f"app{number}.log")
            self.apps.append(app)
            self.turns[app] = asyncio.Lock()
            await self._start(app)

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

    # A round

    async def round(self, seconds: float) -> None:
        rooms = [Room(self) for _ in range(ROOMS)]
        ends = time.monotonic() + seconds
        over = lambda: time.monotonic() > ends  # noqa: E731
        senders = [
            asyncio.create_task(room.send(f"sender {n}", over)) for room in rooms for n in range(SENDERS)
        ]
        joining = [asyncio.create_task(self._join(room, seconds)) for room in rooms for _ in range(CLIENTS)]
        await self._faults(rooms, ends)
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

    # Faults

    async def _faults(self, rooms: list[Room], ends: float) -> None:
        """One after the other; now and then two at once."""
        kinds = [*FAULTS["any"], *FAULTS.get(self.mode, ()), *FAULTS[self.store]]
        kinds = [kind for kind in kinds if kind in self.only] or kinds
        running: list[asyncio.Task[None]] = []
        while time.monotonic() < ends:
            # what was seldom so far is likelier
            weights = [1 / (1 + self.suffered[kind]) for kind in kinds]
            kind = self.chance.choices(kinds, weights)[0]
            self.suffered[kind] += 1
            running.append(asyncio.create_task(self._suffer(kind, rooms)))
            await asyncio.sleep(self.chance.choice((0.2, 2, 4, 5)))
        await asyncio.gather(*running)
        if self.dynamo is not None:
            self.dynamo.rates = {}
            await self.dynamo.release()
        for app in self.apps:
            async with self.turns[app]:
                await self._start(app)

    async def _suffer(self, kind: str, rooms: list[Room]) -> None:
        chance = self.chance
        some = chance.uniform(0.5, 6)
        clients = [client for room in rooms for client in room.clients]
        app = chance.choice(self.apps)
        if kind in ("kill", "term"):
            async with self.turns[app]:
                await self._end(app, signal.SIGKILL if kind == "kill" else signal.SIGTERM)
                await asyncio.sleep(chance.choice((0, some / 3)))
                await self._start(app)
        elif kind == "cut" and clients:
            for client in chance.sample(clients, (len(clients) + 2) // 3):
                client.cut()
        elif kind == "stall" and clients:
            for client in chance.sample(clients, (len(clients) + 3) // 4):
                client.stalled_until = time.monotonic() + some
            await asyncio.sleep(some)
        elif kind == "clock":
            (self.directory / "clock" / "offset").write_text(str(chance.choice((-3600, -5, 0, 5, 3600))))
        elif kind == "pushpin killed" and self.pushpin is not None:
            pushpin, self.pushpin = self.pushpin, None
            await pushpin.stop()
            await asyncio.sleep(some / 4)
            await self._start_pushpin()
        elif kind == "control hangs":
            await self._during(some, lambda on: setattr(self.control, "hanging", on))
        elif kind == "control refuses":
            await self.control.refuse()
            await asyncio.sleep(some)
            if self.control._server is None:
                self.control.listen()
        elif kind == "publications spoiled":
            fates = ("pass", "lose", "double", "late")
            self.control.fate = lambda item: chance.choice(fates)
            await asyncio.sleep(some)
            self.control.fate = lambda item: "pass"
            with contextlib.suppress(Exception):
                await self.control.release()
        elif kind == "table unreachable":
            await self._during(2 * some, lambda on: setattr(self.dynamo, "refusing", on))
        elif kind == "puts spoiled":
            await self._during(some, lambda on: setattr(self.dynamo, "rates", SPOILED_PUTS if on else {}))
        elif kind == "store slow":
            await self._during(some, lambda on: setattr(self.dynamo, "delay", 0.5 * on))
        elif kind == "disk full":
            async with self.disk_turn:
                await self._during(some, lambda on: self._fill(on, app))
        elif kind == "read-only at a start":
            async with self.turns[app], self.disk_turn:
                await self._read_only(app)
        elif kind == "locked by another":
            async with self.disk_turn:
                await self._lock(chance.choice((1, some, 17)))

    async def _during(self, seconds: float, switch: Callable[[bool], object]) -> None:
        switch(True)
        try:
            await asyncio.sleep(seconds)
        finally:
            switch(False)

    def _fill(self, full: bool, app: App) -> None:
        filler = self.disk / "filler"
        if os.geteuid() == 0:
            if not full:
                filler.unlink(missing_ok=True)
                return
            with filler.open("wb", buffering=0) as file:
                for size in (1 << 20, 4096):
                    with contextlib.suppress(OSError):
                        while True:
                            file.write(b"\0" * size)
        elif app.process is not None and app.process.returncode is None:
            most = 4096 if full else resource.RLIM_INFINITY
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(app.process.pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))

    async def _read_only(self, app: App) -> None:
        """The app is killed, and must refuse to start on a file that it cannot write to."""
        await self._end(app)
        with self._all_read_only():
            with contextlib.suppress(AssertionError, TimeoutError):
                await app.start()
                self.violations.append(f"{self.name}: it starts on a read-only file")
            assert app.process
            self.counts["read-only starts refused"] += await asyncio.wait_for(app.process.wait(), 10) == 2
        await self._start(app)

    @contextlib.contextmanager
    def _all_read_only(self) -> Iterator[None]:
        if os.geteuid() == 0:
            _run("mount", "-o", f"remount,ro,size={TMPFS}", str(self.disk))
            yield
            _run("mount", "-o", f"remount,rw,size={TMPFS}", str(self.disk))
        else:
            paths = [self.disk, *self.disk.iterdir()]
            modes = [path.stat().st_mode for path in paths]
            for path in paths:
                path.chmod(path.stat().st_mode & ~0o222)
            yield
            for path, mode in zip(paths, modes, strict=True):
                path.chmod(mode)

    async def _lock(self, seconds: float) -> None:
        """Another program writes to the file, and takes its time."""
        with contextlib.closing(sqlite3.connect(self.disk / "chat.db", isolation_level=None)) as db:
            try:
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return
            await asyncio.sleep(seconds)
            db.execute("ROLLBACK")

    async def _end(self, app: App, number: int = signal.SIGKILL) -> None:
        try:
            await app.kill(number)
        except TimeoutError:
            self.violations.append(f"{self.name}: still there 10 s after signal {number}")
            await app.kill()

    async def _start(self, app: App) -> None:
        """Until it runs: it does not start while its store does not answer."""
        while app.process is None or app.process.returncode is not None:
            try:
                await app.start()
            except (AssertionError, TimeoutError):
                await app.kill()
                await asyncio.sleep(0.3)

    async def _start_pushpin(self) -> None:
        targets = [f"127.0.0.1:{port}" for port in self.ports]
        for attempt in range(5):
            try:
                self.pushpin = await PushpinChild.start(DEPLOY, targets, key=KEY, **self.pushpin_ports)
                return
            except Exception:
                if attempt == 4:
                    raise
                await asyncio.sleep(0.5)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


@contextlib.contextmanager
def moto() -> Iterator[str]:
    """In a process of its own: it is slow, and everything here is in one."""
    port = free_port()
    command = [
        sys.executable,
        "-c",
        "from moto.server import main; main()",
        "-H",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


async def soak(
    seconds: float,
    seed: int,
    directory: Path,
    say: Callable[[str], object] = print,
    only: frozenset[str] = frozenset(),
) -> list[Stage]:
    """Rounds on all stages, for so long; a round that has begun is finished."""
    ends = time.monotonic() + seconds
    with moto() as endpoint:
        stages = [
            Stage(mode, store, seed, directory, endpoint, only)
            for mode in ("standalone", "grip")
            for store in ("sqlite", "dynamodb")
        ]
        try:
            for stage in stages:
                await stage.open()
            await asyncio.gather(*(_rounds(stage, ends, say) for stage in stages))
        finally:
            for stage in stages:
                await stage.close()
    return stages


async def _rounds(stage: Stage, ends: float, say: Callable[[str], object]) -> None:
    while True:
        await stage.round(min(FAULT_SECONDS, max(5.0, ends - time.monotonic() - BOUND[stage.mode])))
        say(f"{stage.name}: round {stage.counts['rounds']}, {len(stage.violations)} violations")
        if time.monotonic() + FAULT_SECONDS + 10 > ends:
            return


def report(stages: list[Stage], seed: int, seconds: float) -> str:
    counts = sum((stage.counts for stage in stages), Counter())
    suffered = sum((stage.suffered for stage in stages), Counter())
    for stage in stages:
        if stage.dynamo is not None:
            suffered += Counter({f"put: {k}": n for k, n in stage.dynamo.suffered.items() if k != "pass"})
    violations = [line for stage in stages for line in stage.violations]
    modes = dict.fromkeys(stage.mode for stage in stages)
    slowest = {mode: max(s.slowest for s in stages if s.mode == mode) for mode in modes}
    answers = ", ".join(f"{n} {name}" for name, n in sorted(counts.items()) if name.startswith("answers "))
    return "\n".join(
        [
            f"seed {seed}, {seconds / 60:.1f} minutes, {counts['rounds']} rounds on {len(stages)} stages",
            f"streams checked: {counts['streams']} (of {counts['clients']} clients); resets: {counts['resets']}",
            f"deliveries: {counts['deliveries']} of {counts['messages']} messages; POSTs: {answers}",
            f"provisionals cut off: {counts['provisionals cut off']}, excused: {counts['provisionals excused']}",
            "faults: " + ", ".join(f"{n} {name}" for name, n in sorted(suffered.items())),
            "whole after the last fault: "
            + ", ".join(f"{mode} {seconds:.1f} s" for mode, seconds in slowest.items()),
            f"violations: {len(violations)}",
            *(f"  - {line}" for line in violations[:50]),
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Real parts, real faults, and the judge.")
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", metavar="FAULT,...", help=", ".join(sum(FAULTS.values(), ())))
    parser.add_argument("--keep", action="store_true", help="keep the logs of the servers")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # the proxies' own
    directory = Path(tempfile.mkdtemp(prefix="soak-"))
    began = time.monotonic()
    only = frozenset(options.only.split(","))
    stages = asyncio.run(soak(60 * options.minutes, options.seed, directory, only=only))
    print(report(stages, options.seed, time.monotonic() - began))
    failed = any(stage.violations for stage in stages)
    put_away(directory, keep=failed or options.keep)
    return failed


if __name__ == "__main__":
    sys.exit(main())
