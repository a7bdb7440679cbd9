"""The store, which is the truth, and each server's way to it, on which puts and reads suffer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from flychat import streams
from flychat.access.rulebook import RULES
from flychat.commits import COMMIT_MESSAGES, Commit
from flychat.messages import Draft
from flychat.sse import BEYOND_ANY_LOG
from flychat.storage import (
    PUT_SECONDS,
    READ_SECONDS,
    Broken,
    Run,
    StoreFailed,
    Summary,
    Taken,
    Throttled,
    Unknown,
)
from tests.support.wire import wire_json

from ..judge import Log, Stored
from .scenario import HISTORY, REPLAY, REPLAY_BYTES, RETENTION

if TYPE_CHECKING:
    from .world import World


class Store:
    """The truth: what was applied, and when; and what the judge has to know of it, `log`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.commits: dict[int, Commit] = {}
        self.history: list[Commit] = []  # as they were put
        self.applied: list[tuple[float, Commit]] = []
        self.when: dict[int, float] = {}
        self.ends: dict[int, float] = {}  # wall time at which a commit expires, if it is not the newest
        self.sizes: dict[int, int] = {}  # of the messages, on a stream
        self.ever: dict[int, Stored] = {}  # every message that there was
        self.log = Log(
            self.last_id, history=HISTORY, replay=REPLAY, replay_bytes=replay_bytes(world), size=self.size
        )
        self.voids = 0
        self.coming = 0  # puts that will be applied
        self.stuck_until = 0.0  # by puts that are applied late
        self.free_at = 0.0  # when an embedded store's one thread is through with what was asked of it
        self.rules: dict[int, Commit] = {}  # the log of what is revoked

    def apply(self, commit: Commit) -> Commit | None:
        """The winner of the place, if it is another."""
        if commit.room == RULES:
            winner = self.rules.setdefault(commit.first, commit)
            return None if winner is commit else winner
        self._delete_some()
        winner = self.commits.get(commit.first)
        if winner is None:
            if commit.first != self.last_id() + 1:
                self.world.report.broken.append(
                    f"{commit.first} was free, while the log ends at {self.last_id()}"
                )
            self.commits[commit.first] = commit
            self.history.append(commit)
            self.ends[commit.first] = max([0.0, *self.ends.values(), self._end(commit)])
            self.when[commit.first] = self.world.loop.time()
            self.applied.append((self.world.loop.time(), commit))
            self.ever.update((message.id, message) for message in _stored(commit))
            self.sizes.update((message.id, len(message.block)) for message in commit.messages)
            if commit.void:
                self.voids += 1
                self.log.clear(commit.last)
            self.world.note(f"stored {commit.first}..{commit.last}")
        return winner

    def append(self, drafts: list[Draft]) -> None:
        """As a process would that nobody knows."""
        self.apply(Commit.of(self.last_id() + 1, drafts))

    def restore(self) -> set[Stored]:
        """Goes on as a copy that ended earlier; gives what is lost."""
        ended = self.last_id()
        del self.history[self.world.chance.randint(0, len(self.history)) :]
        self.commits = {commit.first: commit for commit in self.history}
        floors = [commit.last for commit in self.history if commit.void]
        lost = {message for id, message in self.ever.items() if id > self.last_id()}
        for message in lost:
            del self.ever[message.id]
        self.log.restore(self.last_id(), max(floors, default=0), ended, lost)
        return lost

    def rewrite(self, old: Commit, new: Commit) -> bool:
        """Whether it was there: it may have expired meanwhile."""
        there = self.commits.get(old.first) == old
        if there:
            self.commits[old.first] = new
        return there

    def in_order(self) -> list[Commit]:
        """What a reading is given: not what has expired."""
        commits = [self.commits[first] for first in sorted(self.commits)]
        if self.world.expires and self.world.shared:
            now = self.world.wall()
            while len(commits) > 1 and self.ends[commits[0].first] <= now:
                self.log.clear(commits.pop(0).last)
        return commits

    def expire(self, before: str) -> None:
        """Of an embedded store: it deletes what is below the first commit that is not old, and not the newest."""
        commits = self.in_order()
        while len(commits) > 1 and (commits[0].void or commits[0].messages[-1].date < before):
            self.log.clear(commits[0].last)
            del self.commits[commits.pop(0).first]

    def _end(self, commit: Commit) -> float:
        dates = [datetime.fromisoformat(message.date).timestamp() for message in commit.messages]
        return (dates[-1] if dates else self.world.wall()) + RETENTION

    def _delete_some(self) -> None:
        """What has expired is deleted some time, in any order."""
        shown = {commit.first for commit in self.in_order()}
        for first in sorted(set(self.commits) - shown):
            if self.world.chance.random() < 0.5:
                del self.commits[first]

    def floor(self) -> int:
        self.in_order()  # time has passed
        return self.log.floor

    def last_id(self) -> int:
        return max((commit.last for commit in self.commits.values()), default=0)

    def size(self, above: int, upto: int) -> int:
        """The bytes of these messages on a stream."""
        return sum(size for id, size in self.sizes.items() if above < id <= upto)

    def messages(self) -> list[Stored]:
        """Those that are there: behind the floor of the log."""
        stored = [message for commit in self.in_order() for message in _stored(commit)]
        return [message for message in stored if message.id > self.log.floor]


def replay_bytes(world: World) -> int:
    return REPLAY_BYTES if "large" in world.scenario.faults else streams.REPLAY_BYTES


def _stored(commit: Commit) -> list[Stored]:
    return [Stored.read(wire_json(message)) for message in commit.messages]


class Way:
    """An Engine: one server's way to the store."""

    reads = 32

    def __init__(self, world: World, shared: bool) -> None:
        self.world, self.shared = world, shared
        self.closed = False

    async def put(self, commit: Commit) -> None:
        world = self.world
        self._check(commit.room)
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
        await asyncio.sleep(PUT_SECONDS if fault == "hang" else back)
        raise Unknown(fault)

    def submit(self, commit: Commit, done: Callable[[StoreFailed | None], None]) -> bool:
        if self.shared:
            return False
        task = self.world.loop.create_task(self.put(commit))
        task.add_done_callback(lambda task: task.cancelled() or done(task.exception()))
        return True

    def _check(self, room: str, *, again: bool = False) -> None:
        if self.closed and room == RULES:  # by who was still revoking when the process ended
            raise Unknown("the store is closed")
        if self.closed:
            if not again:  # else it was closed between the two steps of a reading
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

    async def _read(
        self, room: str, run: Run, wanted: Callable[[Commit], bool], step: int, *, again: bool = False
    ) -> Run:
        world = self.world
        self._check(room, again=again)
        began = world.loop.time()
        fault = world.fate("read", "unread", "torn", "deny")
        await asyncio.sleep(self._turn(world.lag()))
        if fault == "unread" and world.chance.random() < 0.5:
            await asyncio.sleep(READ_SECONDS)
            raise Unknown("no answer in time")
        elif fault == "unread" or world.down:
            raise Unknown("no answer")
        elif fault == "deny":
            raise Broken("expired")
        rules = world.store.rules
        seen = [rules[first] for first in sorted(rules)] if room == RULES else world.seen_by(self)
        commits = [commit for commit in seen if wanted(commit)]
        torn = room != RULES and fault == "torn" and step == 1 and not again
        if torn and any(world.store.when[c.first] > began for c in commits[-2:-1]):
            del commits[-2]  # it was stored meanwhile; backwards, it would be read after its successor
        for commit in commits[::step]:
            if not run.take(commit):
                break
        await asyncio.sleep(world.lag())
        return run

    async def tail(self, room: str, limit: int) -> list[Commit]:
        return await self.before(room, BEYOND_ANY_LOG, limit)

    async def after(self, room: str, id: int, limit: int) -> list[Commit]:
        def wanted(commit: Commit) -> bool:
            return commit.first > id - COMMIT_MESSAGES

        run = await self._read(room, Run(limit, above=id), wanted, 1)
        if run.is_torn:
            run = await self._read(room, Run(limit, above=id), wanted, 1, again=True)
        return run.to_the_end()

    async def before(self, room: str, id: int, limit: int) -> list[Commit]:
        return (await self._read(room, Run(limit, below=id), lambda c: c.first < id, -1)).oldest_first()

    async def find(self, room: str, above: int, below: int, provisional_id: str) -> list[Commit]:
        def wanted(commit: Commit) -> bool:
            inside = commit.last > above and commit.first < below
            return inside and any(m.provisional_id == provisional_id for m in commit.messages)

        await self.tail(room, 1)  # it takes as long as a reading, and may fail like one
        return [commit for commit in self.world.seen_by(self) if wanted(commit)]

    async def rewrite(self, old: Commit, new: Commit) -> None:
        await self.tail("", 1)  # it takes as long as a reading, and may fail like one
        applied = self.world.store.rewrite(old, new)
        if self.world.chance.random() < 0.1:
            raise Unknown("the answer is lost")
        if not applied:
            raise Taken

    async def everything(self, room: str, above: int) -> list[Commit]:
        await self.tail(room, 1)
        commits = self.world.store.commits
        return [commits[first] for first in sorted(commits) if first > above][:3]

    async def rooms(self) -> list[Summary]:
        raise NotImplementedError("the simulation has one room")

    async def expire(self, before: str) -> None:
        if not self.shared:
            await self.tail("", 1)  # it takes as long as a reading, and may fail like one
            self.world.store.expire(before)

    async def check(self) -> None:
        await self.tail("", 1)

    async def close(self) -> None:
        self.closed = True
