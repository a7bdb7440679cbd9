"""More messages than the server can take: three times its capacity, from clients that give up after 3 s.

First the capacity: a few of these clients, as many messages as they can send, for as long as the rush: then
as much is stored. Then a calm at a tenth of it, the rush, and a calm again. A client that has given up closes
its connection, and is there for another message; if all clients are waiting, a message is not sent. Good is
what is answered with 200 in time. The server is quick again once every message of half a second is answered
within 100 ms. Each room has a listener, who must get every id in order.

python -m benchmarks.overload [--times 3] [--seconds 20] [--clients 18000] [--rooms 500] [--rounds 1]
    [--peers flychat,nchan,node]
"""

from __future__ import annotations

import array
import subprocess
from dataclasses import dataclass, field, replace

from . import harness
from .options import options

TIMES, SECONDS, CLIENTS, ROOMS = 3.0, 20.0, 18_000, 500
PATIENCE_SECONDS = 3.0
CALM, CALM_SECONDS, AFTER_SECONDS = 0.1, 3.0, 12.0  # of the capacity; before the rush, and after it
SENDERS, WARM = 64, 0.1  # that find out the capacity; of their time, which is not counted
PLENTY = 100_000.0  # messages a second: more than they can send
QUICK_SECONDS, QUICK_FOR = 0.1, 0.5
GAVE_UP, CLOSED, UNSENT = 0, -1, -2  # of rush.c


@dataclass
class Phase:
    """What became of the messages that were due in it."""

    good: list[float] = field(default_factory=list)  # the seconds that each took
    refused: list[float] = field(default_factory=list)
    gave_up: int = 0
    closed: int = 0
    unsent: int = 0

    def take(self, seconds: float, status: int) -> None:
        if status == GAVE_UP:
            self.gave_up += 1
        elif status == CLOSED:
            self.closed += 1
        elif status == UNSENT:
            self.unsent += 1
        else:
            (self.good if 200 <= status < 300 else self.refused).append(seconds)


def measure(peer: harness.Peer, times: float, seconds: float, clients: int, rooms: int) -> dict:
    with harness.running(replace(peer, rooms=rooms)) as server:
        capacity = capacity_of(server, rooms, seconds)
    with harness.running(replace(peer, rooms=rooms)) as server:
        others = replace(server, peer=harness.unordered(server.peer))
        with harness.Client(others, whole=False) as listeners:
            listeners.do("open", rooms, 0, 0, 256)
            calm = CALM * capacity, CALM_SECONDS
            plan = [*calm, times * capacity, seconds, CALM * capacity, AFTER_SECONDS]
            listeners.start("idle", 1000 * (CALM_SECONDS + seconds + AFTER_SECONDS))
            with server.measured() as used:
                records = rush(server, clients, plan)
            cut = listeners.wait()["gone"]
    ends = CALM_SECONDS + seconds
    busy, after = Phase(), []
    for sent, took, status in records:
        if CALM_SECONDS <= sent < ends:
            busy.take(took, status)
        elif sent >= ends:
            after.append((sent - ends, took, status))
    result = {
        "capacity": capacity,
        "offered": (len(busy.good) + len(busy.refused) + busy.gave_up + busy.closed + busy.unsent) / seconds,
        "unsent": busy.unsent / seconds,
        "good": len(busy.good) / seconds,
        "share": len(busy.good) / seconds / capacity,
        "p50_ms": 1000 * percentile(busy.good, 0.5),
        "p99_ms": 1000 * percentile(busy.good, 0.99),
        "refused": len(busy.refused) / seconds,
        "refused_p99_ms": 1000 * percentile(busy.refused, 0.99),
        "gave_up": busy.gave_up / seconds,
        "closed": busy.closed / seconds,
        "quick": quick_again(after),
        "cut": cut,
        "cpu": used["cpu"],
    }
    return result


def capacity_of(server: harness.Running, rooms: int, seconds: float) -> float:
    """POSTs a second that are answered to senders who wait."""
    with harness.Client(replace(server, peer=harness.unordered(server.peer)), whole=False) as listeners:
        listeners.do("open", rooms, 0, 0, 256)
        listeners.start("idle", 1000 * seconds)
        records = rush(server, SENDERS, [PLENTY, seconds])
        listeners.wait()
    warm = WARM * seconds
    good = sum(warm <= sent + took < seconds and 200 <= status < 300 for sent, took, status in records)
    return good / (seconds - warm)


def rush(server: harness.Running, clients: int, plan: list[float]) -> list[tuple[float, float, int]]:
    """Of each message, in the order of their sending: when it was sent, how long it took, what came of it."""
    peer = server.peer
    message = [peer.post, peer.type, peer.body, peer.rooms, clients, 1000 * PATIENCE_SECONDS]
    command = [harness.compiled("rush.c"), server.port, *message, *plan]
    ended = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, check=True)
    numbers = array.array("i", ended.stdout)
    return sorted(
        (sent / 1e6, took / 1e6, status)
        for sent, took, status in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)
    )


def quick_again(after: list[tuple[float, float, int]]) -> float:
    """Seconds from the end of the rush until all messages of half a second are answered quickly."""
    since = 0.0
    for sent, took, status in after:
        if not 200 <= status < 300 or took > QUICK_SECONDS:
            since = sent
        elif sent - since >= QUICK_FOR:
            return since
    return float("inf")


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))] if values else 0.0


def run(peers, rounds: int, times=TIMES, seconds=SECONDS, clients=CLIENTS, rooms=ROOMS) -> tuple:
    return harness.interleaved(peers, lambda p: measure(p, times, seconds, clients, rooms), rounds)


def render(title: str, medians: dict, skipped: dict) -> str:
    rows = [
        [
            name,
            *(int(m[key]) for key in ("capacity", "offered", "good")),
            m["share"],
            m["p50_ms"],
            m["p99_ms"],
            int(m["refused"]),
            m["refused_p99_ms"],
            *(int(m[key]) for key in ("gave_up", "closed", "unsent")),
            m["quick"],
            int(m["cut"]),
        ]
        for name, m in medians.items()
    ]
    head = ["a second", "capacity", "offered", "good", "x capacity", "good p50 ms", "p99 ms"]
    head += ["refused", "p99 ms", "given up", "closed", "not sent", "quick after s", "listeners cut"]
    skips = "".join(f"\n\n{name}: skipped, {why}" for name, why in skipped.items())
    return f"{title}\n\n{harness.table(head, rows)}{skips}"


def title(times: float = TIMES, seconds: float = SECONDS, clients: int = CLIENTS, rooms: int = ROOMS) -> str:
    return (
        f"{times:g} times the capacity for {seconds:g} s, {clients:,} clients with {PATIENCE_SECONDS:g} s of "
        f"patience, {rooms} rooms"
    )


if __name__ == "__main__":
    given = options(
        __doc__, harness.CHATS, times=TIMES, seconds=SECONDS, clients=CLIENTS, rooms=ROOMS, rounds=1
    )
    sizes = given.times, given.seconds, given.clients[0], given.rooms
    print(render(title(*sizes), *run(given.peers, given.rounds, *sizes)))
    print(harness.load())
