"""Running conversations: one, many, the smallest that fails."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import types
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from flychat import log as log_module
from flychat import server as server_module
from flychat import showing as showing_module
from flychat import storage, streams
from flychat.access import rulebook as rulebook_module
from flychat.access import secret_file as secret_module
from flychat.errors import FlychatError
from flychat.hub import local as local_module
from flychat.hub import passes as passes_module
from flychat.hub import publisher as publisher_module
from flychat.hub import pushpin as pushpin_module
from flychat.hub import recoveries as recoveries_module
from flychat.hub import sockets as sockets_module
from flychat.hub import waiting as waiting_module
from flychat.log import drafts as drafts_module
from flychat.log import keys as keys_module
from flychat.log import memory as memory_module
from flychat.log import reading as reading_module
from flychat.log import room as room_module
from flychat.log import view as view_module
from flychat.log import window as window_module
from flychat.tools import stores

from .kernel import Selector
from .scenario import FIRST, HISTORY, LARGE, REPLAY, REPLAY_BYTES, Report, Scenario
from .server import OWNER, HttpClient
from .virtual import VirtualLoop
from .world import World

BACKLOG_BYTES = 1500
LOG_MODULES = (log_module, reading_module, room_module, view_module, window_module)
SEND_BYTES = 700
PATIENCE = 0.02  # of a quick store's puts half take longer, and of a slow one's nearly all
EXPECTED = (type(None), FlychatError, OSError, TimeoutError)  # of a task


@contextlib.contextmanager
def simulated() -> Iterator[None]:
    """The modules, with the models in the place of clocks, sockets and HTTP, and with small limits."""
    chosen = types.SimpleNamespace(DefaultSelector=Selector)
    clock = types.SimpleNamespace(
        monotonic=lambda: asyncio.get_running_loop().time(), time=lambda: OWNER.get().time()
    )
    with contextlib.ExitStack() as stack:
        for module, name, value in (
            (sockets_module, "selectors", chosen),
            (sockets_module, "BACKLOG_BYTES", BACKLOG_BYTES),
            (sockets_module, "BACKLOGS_BYTES", 2 * BACKLOG_BYTES),
            (waiting_module, "SEND_BYTES", SEND_BYTES),
            (sockets_module, "SLICE", 3),
            (publisher_module, "AsyncHTTPClient", HttpClient),
            (publisher_module, "time", clock),
            (pushpin_module, "time", clock),
            (recoveries_module, "time", clock),
            (server_module, "time", clock),
            (passes_module, "time", clock),
            (rulebook_module, "time", clock),
            (secret_module, "time", clock),
            (server_module, "SWEEP_SECONDS", 3.0),
            (showing_module, "PATIENCE", PATIENCE),
            (stores, "TRIES", 3),
            (streams, "HISTORY", HISTORY),
            (streams, "REPLAY", REPLAY),
            (view_module, "FIRST", FIRST),
            (log_module, "FIRST", FIRST),
            *((module, "HISTORY", HISTORY) for module in (log_module, reading_module, window_module)),
            *((module, "REPLAY", REPLAY) for module in LOG_MODULES),
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
    with contextlib.ExitStack() as stack:
        for module, name, value in _chosen(world):
            stack.enter_context(patch.object(module, name, value, create=name == "open"))
        try:
            loop.run_until_complete(_guarded(world))
        finally:
            _sweep(world, loop)
    return world.report


def _chosen(world: World) -> Iterator[tuple[Any, str, Any]]:
    """What the modules have in this conversation only."""
    faults = world.scenario.faults
    yield publisher_module, "random", world.chance
    yield local_module, "random", world.chance
    yield secret_module, "open", lambda file, mode: io.BytesIO(world.passes.file())
    if "evict" in faults:
        yield memory_module, "IDLE", 2.0
    if world.expires:
        yield view_module, "TAIL_SECONDS", 1.0
    if "large" in faults:
        for module in (streams, window_module):
            yield module, "REPLAY_BYTES", REPLAY_BYTES
        for module in (storage, reading_module, view_module):
            yield module, "READ_BYTES", REPLAY_BYTES + 2 * LARGE
        yield drafts_module, "COMMIT_BYTES", 2 * LARGE
    if "again" in faults:
        for module in (keys_module, window_module, view_module):
            yield module, "KEYS", 4
        yield keys_module, "KEY_SECONDS", 1.0


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


def run_seeds(seeds: range, of: Callable[[int], Scenario] = Scenario.of) -> Summary:
    """The conversations `of` all of them; stops after a few failures."""
    summary = Summary()
    with simulated():
        for seed in seeds:
            summary.add(converse(of(seed)))
            if len(summary.failed) == 5:
                break
    return summary


def first_failure(seeds: Iterable[int], where: str = "") -> Report | None:
    """Of the conversations in this mode, and with these faults: "grip two"."""
    with simulated():
        for seed in seeds:
            scenario = Scenario.of(seed)
            if set(where.split()) <= {scenario.mode, *scenario.faults}:
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
