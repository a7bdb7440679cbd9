"""Nothing runs after an answer:  python -m tests.proof.frozen --minutes 10 --seed 1

A stage of the campaign (soak/) on a platform that stops each process the moment it has answered, continues
it for its next request, and now and then ends it instead (tests/support/freezing.py): several processes in GRIP
mode, one table, a real Pushpin. Clients, senders and the judge are those of the campaign. Besides, clients tell how
long after the answer to its POST they saw each message: no timer of a frozen process could have brought it.

How late that is depends on the machine, too. An order does not (`ordered`): when the answer to a POST comes, Pushpin has
taken the official message. For this a proxy before Pushpin is slow to confirm that: a process that does not wait for it
answers long before, on any machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import math
import re
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flychat.hub.publisher import PATIENCE
from flychat.private_pushpin import PushpinChild
from flychat.storage.dynamodb import DynamoEngine
from flychat.storage.dynamodb_table import create_table
from tests.conftest import dynamo_environment
from tests.proof.judge import Key, Stored, Witness
from tests.proof.oracle import post, put_away
from tests.proof.soak.client import Client
from tests.proof.soak.room import Room
from tests.proof.soak.running import report
from tests.proof.soak.stage import Stage
from tests.support.dynamo_proxy import DynamoProxy
from tests.support.freezing import FreezingPlatform, unheeded
from tests.support.moto_process import moto
from tests.support.ports import free_port
from tests.support.pushpin_proxy import DEPLOY, KEY, App, ControlProxy
from tests.support.sse_parser import Parsed

INSTANCES = 4
KILLED = 0.03  # of the times that an instance would be continued
ROOMS, CLIENTS, SENDERS = 2, 6, 2  # clients and senders of each room
ROUND_SECONDS = 15.0
SETTLED = 3.0  # seconds after which a client is there: Pushpin recovers the first of a room once more after 1
OPENED = 120.0  # seconds for all streams of a round to open
TAKING = 0.1  # seconds in which what is published is taken, where the order is judged
LATE = 1.0  # seconds after its POST's answer within which a message is seen, by 99 of 100


class Watching(Witness):
    """Notes when each official message came, and since when the stream is open."""

    def connected(self) -> None:
        super().connected()
        self.since = math.inf
        self.at: dict[int, float] = {}

    def _take(self, event: Parsed) -> None:
        super()._take(event)
        if event.type == "stream-open":
            self.since = time.monotonic()

    def _official(self, message: Stored, event: Parsed) -> None:
        super()._official(message, event)
        self.at[message.id] = time.monotonic()


class WatchingClient(Client):
    def __init__(self, stage: Frozen, room: WatchedRoom, position: int | None) -> None:
        super().__init__(stage, room, position)
        self.witness = Watching(self.witness.log, position)  # its task has not begun yet


class WatchedRoom(Room):
    """Notes when each message was answered, and then how late it was seen."""

    def __init__(self, stage: Frozen) -> None:
        super().__init__(stage)
        self.stage: Frozen = stage
        self.answered: dict[int, float] = {}
        self.durations: list[float] = []  # of POSTs

    async def _post(self, key: Key, text: str, known: int | None) -> None:
        self.busy += 1
        began = time.monotonic()
        try:
            status, answer = await post(self.stage.post_url(), self.name, text, key[2], key[1], last_id=known)
            self.ledger.answer(key, status, Stored.read(answer) if status == 200 else None)
            if status == 200:
                self.answered.setdefault(answer["id"], time.monotonic())
        finally:
            self.durations.append(time.monotonic() - began)
            self.busy -= 1

    def lateness(self) -> list[float]:
        """Of each message at each client that was there when it was answered, and has been since."""
        return [
            max(0.0, witness.at[id] - answered)
            for client in self.clients
            if isinstance(witness := client.witness, Watching)
            for id, answered in self.answered.items()
            if id in witness.at and answered > witness.since + SETTLED
        ]


class Taking(ControlProxy):
    """Before Pushpin's control port; `early` are the answers that came before what they answer was taken."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.judged = 0
        self.early: list[str] = []
        self._taken: dict[str, list[tuple[int, int]]] = {}  # by channel: from behind an id up to another

    async def forward(self, path: str, items: list[dict]) -> None:
        await super().forward(path, items)
        await asyncio.sleep(TAKING)
        for item in items:
            if "id" in item:
                self._taken.setdefault(item["channel"], []).append((int(item["prev-id"]), int(item["id"])))

    def judge(self, request: bytes, response: bytes, seconds: float) -> None:
        """An answer that has waited for PATIENCE may be early; so may that to a POST which repeats this one."""
        room = re.match(rb"POST /rooms/([^/]+)/messages/ ", request)
        if room is None or not response.startswith(b"HTTP/1.1 200 "):
            return
        channel, id = f"messages-{room[1].decode()}", json.loads(response.partition(b"\r\n\r\n")[2])["id"]
        ranges = self._taken.setdefault(channel, [])
        if seconds >= PATIENCE:
            ranges.append((id - 1, id))
            return
        self.judged += 1
        if not any(above < id <= upto for above, upto in ranges):
            self.early.append(f"{channel}: {id}, after {1000 * seconds:.0f} ms")


class Frozen(Stage):
    """GRIP mode over DynamoDB, on the platform. `options`: more of each flychat; `ordered`: the order is judged."""

    taking: Taking | None = None

    def __init__(
        self,
        seed: int,
        directory: Path,
        moto: str,
        *,
        killed: float = KILLED,
        options: Sequence[str] = (),
        instances: int = INSTANCES,
        ordered: bool = False,
    ) -> None:
        super().__init__("grip", "dynamodb", seed, directory, moto, frozenset())
        self.late: list[float] = []
        self.durations: list[float] = []
        self._killed, self._options, self._instances, self._ordered = killed, options, instances, ordered

    async def open(self) -> None:
        self.directory.mkdir()
        table = f"frozen-{uuid.uuid4().hex}"
        await create_table(table, dynamo_environment(self.moto))
        self.dynamo = await DynamoProxy.start(self.moto, seed=self.chance.getrandbits(32))
        self._ending.push_async_callback(self.dynamo.close)
        self.engine = await DynamoEngine.open(table, dynamo_environment(self.moto))
        self._ending.push_async_callback(self.engine.close)
        self.ports = [free_port()]
        self.pushpin = await PushpinChild.start(DEPLOY, [f"127.0.0.1:{self.ports[0]}"], key=KEY)
        grip_url, judge = self.pushpin.grip_url, unheeded
        if self._ordered:
            self.taking = Taking(grip_url)
            self.taking.listen()
            self._ending.push_async_callback(self.taking.close)
            grip_url, judge = self.taking.grip_url, self.taking.judge
        arguments = ["--grip", f"--grip-url={grip_url}", f"--store=dynamodb:{table}"]
        environ = dynamo_environment(self.dynamo.url)
        self.apps = [
            App(free_port(), [*arguments, *self._options], environ, self.directory / f"app{number}.log")
            for number in range(self._instances)
        ]
        self.platform = FreezingPlatform(self.apps, lambda: self.chance.random() < self._killed, judge)
        self._ending.push_async_callback(self.platform.close)
        await self.platform.listen(self.ports[0])

    def url(self) -> str:
        assert self.pushpin is not None
        return self.pushpin.url

    def post_url(self) -> str:
        return self.chance.choice([f"http://127.0.0.1:{self.ports[0]}/", self.url()])

    async def round(self, seconds: float) -> None:
        rooms = [WatchedRoom(self) for _ in range(ROOMS)]
        for room in rooms:
            room.clients += [
                WatchingClient(self, room, self.chance.choice((None, 0))) for _ in range(CLIENTS)
            ]
        clients = [client for room in rooms for client in room.clients]
        async with asyncio.timeout(OPENED):
            while not all(client.on for client in clients):  # noqa: ASYNC110 - the first ones wait for a start
                await asyncio.sleep(0.05)
        if not self._ordered:
            await asyncio.sleep(SETTLED)
        ends = time.monotonic() + seconds
        over = lambda: time.monotonic() > ends and self._has_enough()  # noqa: E731
        senders = [room.send(f"sender {number}", over) for room in rooms for number in range(SENDERS)]
        sending = asyncio.gather(*senders)
        while not over():
            await asyncio.sleep(min(4.0, seconds / 3))
            self.suffered["cut"] += 1
            self.chance.choice(clients).cut()
        await sending
        last = time.monotonic()
        for room in rooms:
            await self._converge(room, last)
            self.late += room.lateness()
            self.durations += room.durations
        self.counts["rounds"] += 1

    def _has_enough(self) -> bool:
        """A slow machine has done little in a short round, and then goes on. Only the order is judged in so short ones."""
        return self.taking is None or (self.taking.judged > 5 and self.platform.counts["killed"] > 0)

    def lateness(self) -> tuple[float, float, float]:
        """p50, p99 and the most, of the seconds between an answer and a sight."""
        late = sorted(self.late) or [math.inf]
        return statistics.median(late), late[int(0.99 * len(late))], late[-1]

    def in_time(self) -> bool:
        """Whether 99 of 100 sights came within LATE.

        Or as soon as can be on a machine on which a POST, or a start, takes so long: who starts has everybody
        recovered, and to whom is being recovered, nothing is sent.
        """
        slow = max(5 * statistics.median(self.durations), 2 * self.platform.slowest)
        return self.lateness()[1] <= max(LATE, slow)


async def frozen(
    seconds: float,
    seed: int,
    directory: Path,
    say: Callable[[str], object] = print,
    **options: Any,
) -> Frozen:
    """Rounds, for so long; a round that has begun is finished. `options` are those of Frozen."""
    ends = time.monotonic() + seconds
    with moto() as endpoint:
        stage = Frozen(seed, directory, endpoint, **options)
        try:
            await stage.open()
            while True:
                await stage.round(min(ROUND_SECONDS, seconds))
                say(f"round {stage.counts['rounds']}, {len(stage.violations)} violations")
                if time.monotonic() + ROUND_SECONDS / 2 > ends:
                    break
        finally:
            await stage.close()
    return stage


def told(stage: Frozen, seed: int, seconds: float) -> str:
    p50, p99, most = (f"{1000 * late:.0f} ms" for late in stage.lateness())
    instances = ", ".join(f"{count} {name}" for name, count in sorted(stage.platform.counts.items()))
    return "\n".join(
        [
            report([stage], seed, seconds),
            f"{len(stage.apps)} instances, at each request: {instances}; the longest start: {stage.platform.slowest:.1f} s",
            f"official messages after their POST's answer: p50 {p50}, p99 {p99}, at most {most}"
            f" ({len(stage.late)} sights)",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Processes that are frozen after each answer, and the judge."
    )
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--killed", type=float, default=KILLED, help="instead of continued, from 0 to 1")
    parser.add_argument("--answer-first", action="store_true", help="to see what that would cost")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    directory = Path(tempfile.mkdtemp(prefix="frozen-"))
    began = time.monotonic()
    options = ["--answer-first"] * given.answer_first
    stage = asyncio.run(
        frozen(60 * given.minutes, given.seed, directory, killed=given.killed, options=options)
    )
    print(told(stage, given.seed, time.monotonic() - began))
    failed = bool(stage.violations) or not stage.in_time()
    put_away(directory, keep=failed)
    return failed


if __name__ == "__main__":
    sys.exit(main())
