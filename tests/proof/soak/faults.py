"""What goes wrong: one thing after the other, now and then two at once, until the round says that all is well.

As root, the directory of the SQLite file is a small tmpfs, which is filled up, and remounted read-only; else files
are limited in size (RLIMIT_FSIZE), and made read-only by chmod.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.pushpin_proxy import App

if TYPE_CHECKING:
    from .room import Room
    from .stage import Stage

DAY = 86_400.0
TMPFS = "48m"
RETENTION = 7  # days
FAULTS = {  # by stage and by round; the kinds that the report counts
    "any": ("kill", "term", "cut", "stall"),
    "open": ("clock", "sleep", "frozen"),
    "private": ("lapse", "rotate"),
    "grip": ("pushpin killed", "control hangs", "control refuses", "publications spoiled"),
    "grip, open": ("pushpin frozen",),
    "dynamodb": ("table unreachable", "puts spoiled", "reads spoiled", "store slow"),
    "sqlite": ("disk full", "read-only at a start", "locked by another"),
}
OF_THEMSELVES = frozenset({"lapse"})  # by the clock
SPOILED_READS = {"lose": 0.2, "throttle": 0.2, "unavailable": 0.2}
SPOILED_PUTS = {"lose": 0.1, "drop": 0.1, "late": 0.1, "error": 0.1, "throttle": 0.05}


class Faults:
    """Of a stage."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.disk_turn = asyncio.Lock()
        self.rotating = asyncio.Lock()

    def possible(self, *, private: bool) -> frozenset[str]:
        rooms, mode = "private" if private else "open", self.stage.mode
        where = ("any", rooms, mode, f"{mode}, {rooms}", self.stage.store)
        return frozenset(self.stage.chosen([kind for each in where for kind in FAULTS.get(each, ())]))

    async def happen(self, rooms: list[Room], ends: float) -> None:
        """One after the other; now and then two at once."""
        kinds = sorted(self.stage.kinds - OF_THEMSELVES)
        running: list[asyncio.Task[None]] = []
        while time.monotonic() < ends:
            # what was seldom so far is likelier
            weights = [1 / (1 + self.stage.suffered[kind]) for kind in kinds]
            kind = self.stage.chance.choices(kinds, weights)[0]
            self.stage.suffered[kind] += 1
            running.append(asyncio.create_task(self._suffer(kind, rooms)))
            await asyncio.sleep(self.stage.chance.choice((0.2, 2, 4, 5)))
        await asyncio.gather(*running)
        if self.stage.dynamo is not None:
            self.stage.dynamo.rates = {}
            await self.stage.dynamo.release()
        for app in self.stage.apps:
            async with self.stage.turns[app]:
                await self.stage.start(app)

    async def _suffer(self, kind: str, rooms: list[Room]) -> None:
        chance = self.stage.chance
        some = chance.uniform(0.5, 6)
        clients = [client for room in rooms for client in room.clients]
        app = chance.choice(self.stage.apps)
        if kind in ("kill", "term"):
            async with self.stage.turns[app]:
                await self.stage.end(app, signal.SIGKILL if kind == "kill" else signal.SIGTERM)
                await asyncio.sleep(chance.choice((0, some / 3)))
                await self.stage.start(app)
        elif kind == "cut" and clients:
            for client in chance.sample(clients, (len(clients) + 2) // 3):
                client.cut()
        elif kind == "stall" and clients:
            for client in chance.sample(clients, (len(clients) + 3) // 4):
                client.stall(some)
            await asyncio.sleep(some)
        elif kind == "clock":
            self.stage.set_clocks(chance.choice((-3600, -5, 0, 5, 3600)))
        elif kind == "sleep":
            await self._sleep(rooms)
        elif kind == "rotate":
            async with self.rotating:
                await self.stage.passes.rotate()
        elif kind == "frozen":
            async with self.stage.turns[app]:
                await self._frozen(2 * some, lambda: [app.process.pid] if app.process else [])
        elif kind == "pushpin killed" and self.stage.pushpins:
            place = chance.choice(sorted(self.stage.pushpins))
            await self.stage.pushpins.pop(place).stop()
            await asyncio.sleep(some / 4)
            await self.stage.start_pushpin(place)
        elif kind == "pushpin frozen" and self.stage.pushpins:
            pushpin = self.stage.pushpins[chance.choice(sorted(self.stage.pushpins))]
            await self._frozen(2 * some, lambda: processes(pushpin.pid))
        elif kind == "control hangs":
            control = chance.choice(self.stage.controls)
            await self._during(some, lambda on: setattr(control, "hanging", on))
        elif kind == "control refuses":
            control = chance.choice(self.stage.controls)
            await control.refuse()
            await asyncio.sleep(some)
            if control._server is None:
                control.listen()
        elif kind == "publications spoiled":
            fates = ("pass", "lose", "double", "late")
            control = chance.choice(self.stage.controls)
            control.fate = lambda item: chance.choice(fates)
            await asyncio.sleep(some)
            control.fate = lambda item: "pass"
            with contextlib.suppress(Exception):
                await control.release()
        elif kind == "table unreachable":
            await self._during(2 * some, lambda on: setattr(self.stage.dynamo, "refusing", on))
        elif kind == "puts spoiled":
            await self._during(
                some, lambda on: setattr(self.stage.dynamo, "rates", SPOILED_PUTS if on else {})
            )
        elif kind == "reads spoiled":
            await self._during(
                some, lambda on: setattr(self.stage.dynamo, "read_rates", SPOILED_READS if on else {})
            )
        elif kind == "store slow":
            await self._during(some, lambda on: setattr(self.stage.dynamo, "delay", 0.5 * on))
        elif kind == "disk full":
            async with self.disk_turn:
                await self._during(some, lambda on: self._fill(on, app))
        elif kind == "read-only at a start":
            async with self.stage.turns[app], self.disk_turn:
                await self._read_only(app)
        elif kind == "locked by another":
            async with self.disk_turn:
                await self._lock(chance.choice((1, some, 17)))

    async def _sleep(self, rooms: list[Room]) -> None:
        """All processes are killed, and start when what is in the store is older than it may be.

        The newest commit of a room stays, and goes when there is another one.
        """
        stage = self.stage
        async with contextlib.AsyncExitStack() as turns:
            for app in stage.apps:
                await turns.enter_async_context(stage.turns[app])
                await stage.end(app)
            if stage.dynamo is not None:  # nothing is on its way
                while stage.dynamo.under_way:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                await stage.dynamo.release()
            for room in rooms:
                room.slept([commit.last for commit in await stage.commits(room)])
            stage.ahead += (RETENTION + 1) * DAY
            stage.set_clocks()
            for app in stage.apps:
                await stage.start(app)

    async def _frozen(self, seconds: float, pids: Callable[[], list[int]]) -> None:
        """These are stopped, and go on later. Others are not stopped meanwhile, and these not killed."""
        stopped: list[int] = []

        def switch(on: bool) -> None:
            stopped.extend(pids() if on else ())
            for pid in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP if on else signal.SIGCONT)

        await self._during(seconds, switch)

    async def _during(self, seconds: float, switch: Callable[[bool], object]) -> None:
        switch(True)
        try:
            await asyncio.sleep(seconds)
        finally:
            switch(False)

    def _fill(self, full: bool, app: App) -> None:
        filler = self.stage.disk / "filler"
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
        await self.stage.end(app)
        with self._all_read_only():
            with contextlib.suppress(AssertionError, TimeoutError):
                await app.start()
                self.stage.violations.append(f"{self.stage.name}: it starts on a read-only file")
            assert app.process
            self.stage.counts["read-only starts refused"] += (
                await asyncio.wait_for(app.process.wait(), 60) == 2
            )
        await self.stage.start(app)

    @contextlib.contextmanager
    def _all_read_only(self) -> Iterator[None]:
        if os.geteuid() == 0:
            run("mount", "-o", f"remount,ro,size={TMPFS}", str(self.stage.disk))
            yield
            run("mount", "-o", f"remount,rw,size={TMPFS}", str(self.stage.disk))
        else:
            paths = [self.stage.disk, *self.stage.disk.iterdir()]
            modes = [path.stat().st_mode for path in paths]
            for path in paths:
                path.chmod(path.stat().st_mode & ~0o222)
            yield
            for path, mode in zip(paths, modes, strict=True):
                path.chmod(mode)

    async def _lock(self, seconds: float) -> None:
        """Another program writes to the file, and takes its time."""
        with contextlib.closing(sqlite3.connect(self.stage.disk / "chat.db", isolation_level=None)) as db:
            try:
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return
            await asyncio.sleep(seconds)
            db.execute("ROLLBACK")


@contextlib.contextmanager
def small(directory: Path) -> Iterator[None]:
    """As root: it is a small disk."""
    if os.geteuid() != 0:
        yield
        return
    run("mount", "-t", "tmpfs", "-o", f"size={TMPFS}", "none", str(directory))
    try:
        yield
    finally:
        run("umount", "-l", str(directory))


def processes(session: int) -> list[int]:
    """Of a session, but for its leader."""
    found = []
    for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
        with contextlib.suppress(OSError):
            if pid != session and os.getsid(pid) == session:
                found.append(pid)
    return found


def run(*command: str) -> None:
    subprocess.run(command, check=True)
