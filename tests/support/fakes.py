"""Stand-ins that misbehave on demand."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping

from flychat.commits import COMMIT_MESSAGES, Commit
from flychat.sse import BEYOND_ANY_LOG
from flychat.storage import Broken, Engine, Rejected, Run, StoreFailed, Summary, Taken, Throttled, Unknown

PUT_FAULTS = {
    "pass": "all is well",
    "lose": "Unknown: lost before it was applied",
    "drop": "Unknown: applied, but the answer is lost",
    "late": "Unknown: applied later, by `release()` or after `late_after` further puts (a zombie)",
    "throttle": "Throttled",
    "break": "Broken",
}


class MemoryEngine:
    """An Engine that is a dict, `commits`, by room and place: a test may take from it, or put into it, what it likes."""

    retention, reads = None, 32

    def __init__(self, *, shared: bool = False) -> None:
        self.shared = shared
        self.commits: dict[tuple[str, int], Commit] = {}

    async def put(self, commit: Commit) -> None:
        if (winner := self.commits.get((commit.room, commit.first))) is not None:
            raise Taken(winner)  # also where that is the same, as a store does
        self.commits[commit.room, commit.first] = commit

    def submit(self, commit: Commit, done: Callable[[StoreFailed | None], None]) -> bool:
        return False

    async def tail(self, room: str, limit: int) -> list[Commit]:
        return await self.before(room, BEYOND_ANY_LOG, limit)

    async def after(self, room: str, id: int, limit: int) -> list[Commit]:
        run = Run(limit, above=id)
        self._read(run, [c for c in self.of(room) if c.first > id - COMMIT_MESSAGES])
        return run.to_the_end()

    async def before(self, room: str, id: int, limit: int) -> list[Commit]:
        run = Run(limit, below=id)
        self._read(run, [c for c in reversed(self.of(room)) if c.first < id])
        return run.oldest_first()

    async def find(self, room: str, above: int, below: int, provisional_id: str) -> list[Commit]:
        return [
            c for c in self.of(room) if c.last > above and c.first < below and provisional_id in c.payload
        ]

    async def rewrite(self, old: Commit, new: Commit) -> None:
        if self.commits.get((old.room, old.first)) != old:
            raise Taken
        self.commits[old.room, old.first] = new

    async def delete(self, commit: Commit) -> None:
        if self.commits.get((commit.room, commit.first)) != commit:
            raise Taken
        del self.commits[commit.room, commit.first]

    async def everything(self, room: str, above: int) -> list[Commit]:
        return [commit for commit in self.of(room) if commit.first > above]

    async def rooms(self) -> list[Summary]:
        rooms: dict[str, Summary] = {}
        for (name, _), commit in sorted(self.commits.items()):
            rooms[name] = rooms.get(name, Summary(name)).plus(commit)
        return list(rooms.values())

    async def expire(self, before: str) -> None:
        pass

    async def check(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def of(self, room: str) -> list[Commit]:
        return [commit for (of, _), commit in sorted(self.commits.items()) if of == room]

    def _read(self, run: Run, commits: Iterable[Commit]) -> None:
        for commit in commits:
            if not run.take(commit):
                break


class FaultyEngine:
    """An Engine around another one, whose puts suffer the `faults`, in their order, and then none.

    Other sources of trouble, which may be changed at any time: `rejects_over` bytes of payload;
    `hides_winner`; `read_faults`, a queue of errors (or None) for tail, after, before, find,
    rooms and check;
    `rewrite_faults`, a queue of "lose", "drop", "throttle", "break" and "pass" for rewrites.
    `calls` counts by method, `suffered` by fault; `stored` and `tried` list commits in order.
    """

    def __init__(self, engine: Engine, faults: Iterable[str] = (), *, late_after: int | None = None) -> None:
        self.engine = engine
        self.faults = iter(faults)
        self.late_after = late_after
        self.rejects_over: int | None = None
        self.hides_winner = False
        self.read_faults: deque[StoreFailed | None] = deque()
        self.rewrite_faults: deque[str] = deque()  # of PUT_FAULTS
        self.zombies: deque[tuple[int, Commit]] = deque()  # (the number of the put it was, commit)
        self.calls: Counter[str] = Counter()
        self.suffered: Counter[str] = Counter()
        self.tried: list[Commit] = []
        self.stored: list[Commit] = []
        self.submitted: set[asyncio.Future[None]] = set()

    @property
    def shared(self) -> bool:
        return self.engine.shared

    @property
    def reads(self) -> int:
        return self.engine.reads

    @property
    def retention(self) -> float | None:
        return self.engine.retention

    async def put(self, commit: Commit) -> None:
        self.calls["put"] += 1
        self.tried.append(commit)
        fault = next(self.faults, "pass")
        assert fault in PUT_FAULTS, fault
        self.suffered[fault] += 1
        if self.rejects_over is not None and len(commit.payload) > self.rejects_over:
            raise Rejected("the payload is too large")
        if self.late_after is not None:
            await self.release(self.calls["put"] - self.late_after)
        if fault == "lose":
            raise Unknown("lost")
        if fault == "late":
            self.zombies.append((self.calls["put"], commit))
            raise Unknown("late")
        if fault == "throttle":
            raise Throttled("slow down")
        if fault == "break":
            raise Broken("no such table")
        try:
            await self.engine.put(commit)
            self.stored.append(commit)
        except Taken as taken:
            if fault == "pass":
                raise Taken(None if self.hides_winner else taken.winner) from taken
        if fault == "drop":
            raise Unknown("no answer")

    async def release(self, until: int | None = None) -> None:
        """Applies the zombies, of the first `until` puts or all, where their places are still free."""
        while self.zombies and (until is None or self.zombies[0][0] <= until):
            _, commit = self.zombies.popleft()
            try:
                await self.engine.put(commit)
                self.stored.append(commit)
            except Taken:
                self.suffered["late in vain"] += 1

    def submit(self, commit: Commit, done: Callable[[StoreFailed | None], None]) -> bool:
        """As a put is, with its faults, if the engine would take it."""
        if self.engine.shared:
            return False
        task = asyncio.ensure_future(self.put(commit))
        self.submitted.add(task)
        task.add_done_callback(self.submitted.discard)
        task.add_done_callback(lambda task: task.cancelled() or done(task.exception()))
        return True

    async def tail(self, room: str, limit: int) -> list[Commit]:
        self._read("tail")
        return await self.engine.tail(room, limit)

    async def after(self, room: str, id: int, limit: int) -> list[Commit]:
        self._read("after")
        return await self.engine.after(room, id, limit)

    async def before(self, room: str, id: int, limit: int) -> list[Commit]:
        self._read("before")
        return await self.engine.before(room, id, limit)

    async def find(self, room: str, above: int, below: int, provisional_id: str) -> list[Commit]:
        self._read("find")
        return await self.engine.find(room, above, below, provisional_id)

    async def rewrite(self, old: Commit, new: Commit) -> None:
        fault = self.rewrite_faults.popleft() if self.rewrite_faults else "pass"
        self.calls["rewrite"] += 1
        if fault == "lose":
            raise Unknown("lost")
        if fault == "break":
            raise Broken("no such table")
        if fault == "throttle":
            raise Throttled("slow down")
        await self.engine.rewrite(old, new)
        if fault == "drop":
            raise Unknown("no answer")

    async def delete(self, commit: Commit) -> None:
        await self.engine.delete(commit)

    async def everything(self, room: str, above: int) -> list[Commit]:
        return await self.engine.everything(room, above)

    async def rooms(self) -> list[Summary]:
        self._read("rooms")
        return await self.engine.rooms()

    async def expire(self, before: str) -> None:
        await self.engine.expire(before)

    async def check(self) -> None:
        self._read("check")
        await self.engine.check()

    async def close(self) -> None:
        await self.engine.close()

    def _read(self, method: str) -> None:
        self.calls[method] += 1
        if self.read_faults and (error := self.read_faults.popleft()) is not None:
            raise error


async def empty(engine: Engine, room: str, before: int) -> None:
    """Rewrites the commits below the id `before` without their messages."""
    above = 0
    while commits := await engine.everything(room, above):  # some of them, on a busy machine
        for commit in commits:
            if commit.first < before:
                await engine.rewrite(commit, commit.emptied())
        above = commits[-1].first


def random_faults(seed: int, rates: Mapping[str, float]) -> Iterable[str]:
    """Endless faults, the same for the same seed; `rates` gives the share of each: {"drop": 0.05}."""
    chance = random.Random(seed)
    names, weights = ["pass", *rates], [1 - sum(rates.values()), *rates.values()]
    while True:
        yield chance.choices(names, weights)[0]


def raising(error: Exception):
    """A coroutine function that does nothing else."""

    async def fail(*_args, **_options):
        raise error

    return fail
