"""CPU time per delivered event, one message in flight: the next is published when every client has the last.

python -m benchmarks.fanout [--clients 100,1000,10000] [--rounds 3] [--peers ...] [--deliveries 200000]
"""

from __future__ import annotations

from . import harness
from .options import options


def measure(peer: harness.Peer, clients: int, deliveries: int) -> dict:
    messages = max(10, min(2000, deliveries // clients // peer.events))
    with harness.running(peer) as server, harness.Client(server) as client:
        before = server.memory()
        connecting = server.cpu()
        client.do("open", clients, 0, 0, 256)
        server.settle()
        connecting = server.cpu() - connecting
        held = server.memory()
        client.do("lock", 3)
        with server.measured() as used:
            report = client.do("lock", messages)
        events = clients * messages * peer.events
        assert report["numbers"] == clients * messages, report
        return {
            "cpu_us": 1e6 * used["cpu"] / events,
            "per_second": events / report["seconds"],
            "delivery_p50_ms": report["delivery_ms"][0],
            "delivery_p99_ms": report["delivery_ms"][1],
            "connect_us": 1e6 * connecting / clients,
            "bytes": (held - before) / clients,
        }


def run(clients: list[int], rounds: int, peers, deliveries: int = 200_000) -> dict[int, tuple]:
    return {n: harness.interleaved(peers, lambda p, n=n: measure(p, n, deliveries), rounds) for n in clients}


def render(results: dict[int, tuple]) -> str:
    parts = []
    for clients, (medians, skipped) in results.items():
        loop = medians.get("C loop", {}).get("cpu_us", 0)
        nchan = medians.get("nginx + nchan", {}).get("cpu_us", 0)
        rows = [
            [
                name,
                m["cpu_us"],
                m["cpu_us"] / loop if loop else "",
                m["cpu_us"] / nchan if nchan else "",
                int(m["per_second"]),
                m["delivery_p99_ms"],
                m["connect_us"],
                int(m["bytes"]),
            ]
            for name, m in medians.items()
        ]
        head = [
            "",
            "CPU us/event",
            "x C loop",
            "x nchan",
            "events/s",
            "p99 ms",
            "CPU us/connect",
            "anonymous B/conn.",
        ]
        parts.append(f"{clients:,} clients, one message in flight\n\n{harness.table(head, rows)}")
        parts += [f"\n{name}: skipped, {why}" for name, why in skipped.items()]
    return "\n\n".join(parts)


if __name__ == "__main__":
    given = options(__doc__, clients="100,1000,10000", rounds=3, deliveries=200_000)
    print(render(run(given.clients, given.rounds, given.peers, given.deliveries)))
    print(harness.load())
