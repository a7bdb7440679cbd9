"""How late everything is while messages are published to many clients at a fixed rate.

For each peer, the time from a POST to its delivery, over all clients, and how long the POSTs themselves and a
newcomer's stream wait for their answers; for flychat also the lag of the event loop. Times, unlike CPU time,
suffer from all else that runs on the machine: compare them with the peers', and with an idle machine's.

python -m benchmarks.latency [--clients 10000] [--rate 5] [--seconds 10] [--rounds 3] [--peers flychat,nchan]
"""

from __future__ import annotations

import json
import socket
import threading
import time

from . import harness
from .options import options

WANTED = (harness.FLYCHAT, harness.POSTED, harness.NCHAN, harness.NODE, harness.C_LOOP)
PAUSE = 0.1  # between two newcomers


def measure(peer: harness.Peer, clients: int, rate: float, seconds: float) -> dict:
    ours = peer in (harness.FLYCHAT, harness.POSTED)
    with harness.running(peer) as server, harness.Client(server, several=True) as client:
        client.do("open", clients, 0, 0, 256)
        client.do("lock", 3)
        server.settle()
        if ours:
            server.get("/bench/lag")
        newcomers = Newcomers(server)
        with server.measured() as used:
            report = client.do("rate", int(rate * seconds), rate, 4)
        result = {
            "delivery_p50_ms": report["delivery_ms"][0],
            "delivery_p99_ms": report["delivery_ms"][1],
            "post_p99_ms": report["post_ms"][1],
            "stream_p99_ms": newcomers.stop(),
            "cpu": used["cpu"] / report["seconds"],
        }
        if ours:
            result["lag_p99_ms"] = json.loads(server.get("/bench/lag"))["lag_ms"][1]
        return result


class Newcomers:
    """Opens a stream now and then, and sees how long its first bytes take."""

    def __init__(self, server: harness.Running) -> None:
        self._server = server
        self._times: list[float] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        head = (
            f"GET {self._server.peer.get} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n".encode()
        )
        while not self._stopped.wait(PAUSE):
            began = time.perf_counter()
            with socket.create_connection(("127.0.0.1", self._server.port), 10) as stream:
                stream.sendall(head)
                stream.recv(100)
                self._times.append(1000 * (time.perf_counter() - began))

    def stop(self) -> float:
        """The 99th percentile, in milliseconds."""
        self._stopped.set()
        self._thread.join()
        times = sorted(self._times) or [0.0]
        return times[int(0.99 * (len(times) - 1))]


def run(clients: int, rate: float, seconds: float, rounds: int, peers) -> tuple:
    wanted = [peer for peer in WANTED if peer in peers]
    return harness.interleaved(wanted, lambda p: measure(p, clients, rate / p.events, seconds), rounds)


def render(title: str, medians: dict, skipped: dict) -> str:
    rows = [
        [
            name,
            m["delivery_p50_ms"],
            m["delivery_p99_ms"],
            m["post_p99_ms"],
            m["stream_p99_ms"],
            m.get("lag_p99_ms", ""),
            100 * m["cpu"],
        ]
        for name, m in medians.items()
    ]
    head = ["ms", "delivery p50", "delivery p99", "POST p99", "new stream p99", "loop lag p99", "CPU %"]
    skips = "".join(f"\n\n{name}: skipped, {why}" for name, why in skipped.items())
    return f"{title}\n\n{harness.table(head, rows)}{skips}"


if __name__ == "__main__":
    given = options(__doc__, clients="10000", rate=5.0, seconds=10.0, rounds=3)
    for count in given.clients:
        results = run(count, given.rate, given.seconds, given.rounds, given.peers)
        print(render(f"{count:,} clients, {given.rate:g} events/s", *results))
    print(harness.load())
