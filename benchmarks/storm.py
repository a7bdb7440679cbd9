"""A reconnect storm: all clients come back at once, each up to 50 messages behind.

CPU time per connection, from the first SYN until every client has the last message; the longest that a client
waited. Then once more while messages are published to 100 clients that had stayed: how late these get them.

python -m benchmarks.storm [--clients 10000] [--rounds 3] [--peers flychat,nchan]
"""

from __future__ import annotations

from . import harness
from .options import options

BEHIND, MESSAGES, STAYED = 50, 60, 100
LIVE = 2.0  # messages a second meanwhile: few, for soon all who came back are sent them too


def measure(peer: harness.Peer, clients: int) -> dict:
    quiet = storm(peer, clients, 0)
    live = storm(peer, clients, LIVE)
    return {**quiet, "live_p99_ms": live["live_p99_ms"], "live_wait_ms": live["wait_ms"]}


def storm(peer: harness.Peer, clients: int, rate: float) -> dict:
    with harness.running(peer) as server, harness.Client(server) as stayed:
        stayed.do("open", STAYED, 0, 0, 100)
        stayed.do("lock", MESSAGES)
        server.settle()
        before = server.memory()
        with harness.Client(server, replay=True) as client, server.measured() as used:
            if rate:
                stayed.start("rate", 5 * rate, rate, 1)
            behind = BEHIND if client.returns else -1
            report = client.do("open", clients, behind, MESSAGES, 20_000)
            live = stayed.wait() if rate else {"delivery_ms": [0, 0, 0]}
            server.settle(1.0)
            held = server.memory()
        return {
            "connect_us": 1e6 * used["cpu"] / clients,
            "wait_ms": report["open_ms"][2],
            "wait_p50_ms": report["open_ms"][0],
            "per_second": clients / report["seconds"],
            "bytes": (held - before) / clients,
            "live_p99_ms": live["delivery_ms"][1],
        }


def run(clients: int, rounds: int, peers) -> tuple:
    return harness.interleaved(
        [p for p in peers if p != harness.FLYCHAT], lambda p: measure(p, clients), rounds
    )


def render(clients: int, medians: dict, skipped: dict) -> str:
    node = medians.get("Node http", {}).get("connect_us", 0)
    rows = [
        [
            name.removesuffix(", POST"),
            m["connect_us"],
            m["connect_us"] / node if node else "",
            int(m["per_second"]),
            m["wait_p50_ms"] / 1000,
            m["wait_ms"] / 1000,
            int(m["bytes"]),
            m["live_p99_ms"],
        ]
        for name, m in medians.items()
    ]
    head = ["", "CPU us/connect", "x Node", "connects/s", "wait p50 s", "longest s", "B/conn.", "live p99 ms"]
    skips = "".join(f"\n\n{name}: skipped, {why}" for name, why in skipped.items())
    return f"{clients:,} clients return at once, up to {BEHIND} behind\n\n{harness.table(head, rows)}{skips}"


if __name__ == "__main__":
    given = options(__doc__, clients="10000", rounds=3)
    for count in given.clients:
        print(render(count, *run(count, given.rounds, given.peers)))
    print(harness.load())
