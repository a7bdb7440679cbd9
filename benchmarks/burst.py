"""Messages that are published faster than a pass takes: CPU time per delivered event, deliveries a second.

A burst of messages to 1,000 clients, from 16 connections; then 10,000 clients with 50 messages a second.

python -m benchmarks.burst [--clients 1000] [--messages 1000] [--many 10000] [--rounds 3] [--peers ...]
"""

from __future__ import annotations

from . import harness
from .options import options

SENDERS = 16
OFFERED = 50  # messages a second
SECONDS = 5


def burst(peer: harness.Peer, clients: int, messages: int) -> dict:
    return _measure(peer, clients, messages, ("burst", messages // peer.events, SENDERS))


def offered(peer: harness.Peer, clients: int) -> dict:
    messages = OFFERED * SECONDS
    return _measure(
        peer, clients, messages, ("rate", messages // peer.events, OFFERED / peer.events, SENDERS)
    )


def _measure(peer: harness.Peer, clients: int, messages: int, command: tuple) -> dict:
    with harness.running(peer) as server, harness.Client(server, several=True) as client:
        client.do("open", clients, 0, 0, 256)
        client.do("lock", 3)
        server.settle()
        with server.measured() as used:
            report = client.do(*command)
        events = messages // peer.events * peer.events * clients
        return {
            "cpu_us": 1e6 * used["cpu"] / events,
            "per_second": events / report["seconds"],
            "delivery_p99_ms": report["delivery_ms"][1],
        }


def run(clients: int, messages: int, many: int, rounds: int, peers) -> tuple:
    return (
        harness.interleaved(peers, lambda p: burst(p, clients, messages), rounds),
        harness.interleaved(peers, lambda p: offered(p, many), rounds) if many else ({}, {}),
    )


def render(title: str, medians: dict, skipped: dict) -> str:
    nchan = medians.get("nginx + nchan", {}).get("cpu_us", 0)
    rows = [
        [name, m["cpu_us"], m["cpu_us"] / nchan if nchan else "", int(m["per_second"]), m["delivery_p99_ms"]]
        for name, m in medians.items()
    ]
    head = ["", "CPU us/event", "x nchan", "events/s", "p99 ms"]
    skips = "".join(f"\n\n{name}: skipped, {why}" for name, why in skipped.items())
    return f"{title}\n\n{harness.table(head, rows)}{skips}"


if __name__ == "__main__":
    given = options(__doc__, clients="1000", messages=1000, many=10_000, rounds=3)
    first, second = run(given.clients[0], given.messages, given.many, given.rounds, given.peers)
    print(render(f"{given.messages:,} messages at once to {given.clients[0]:,} clients", *first))
    print(render(f"{given.many:,} clients, {OFFERED} messages/s offered for {SECONDS} s", *second))
    print(harness.load())
