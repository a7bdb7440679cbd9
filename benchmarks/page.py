"""The page of a room with 50 messages: CPU time, and pages per second to 8 connections that are kept.

It is asked for as browsers do, compressed. Against the page of Tornado's own chat demo with as many messages.

python -m benchmarks.page [--pages 1000] [--rounds 3]
"""

from __future__ import annotations

import http.client
import sys
import threading
import time
from dataclasses import dataclass

from . import harness
from .options import options

CONNECTIONS, MESSAGES = 8, 50


@dataclass(frozen=True)
class DemoPeer(harness.Peer):
    def command(self, port: int, folder) -> list[str]:
        return [sys.executable, str(harness.PEERS / "tornado_chat.py"), str(port)]


DEMO = DemoPeer("Tornado's chat demo", "/", "", "")


def measure(peer: harness.Peer, pages: int) -> dict:
    path = "/"
    with harness.running(peer) as server:
        if peer != DEMO:
            path = "/room?user=ann"
            with harness.Client(server) as client:
                client.do("burst", MESSAGES, 1)
        assert server.get(path).count(b"@00000") == MESSAGES
        fetch(server.port, path, max(CONNECTIONS, pages // 10))  # warm
        with server.measured() as used:
            began = time.perf_counter()
            size = fetch(server.port, path, pages)
            seconds = time.perf_counter() - began
        return {"cpu_us": 1e6 * used["cpu"] / pages, "per_second": pages / seconds, "bytes": size}


def fetch(port: int, path: str, pages: int) -> int:
    """Gets the page so many times; returns its size."""
    sizes = []

    def some() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        for _ in range(pages // CONNECTIONS):
            connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
            sizes.append(len(connection.getresponse().read()))
        connection.close()

    threads = [threading.Thread(target=some) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sizes[-1]


def run(pages: int, rounds: int) -> tuple:
    return harness.interleaved([harness.POSTED, DEMO], lambda p: measure(p, pages), rounds)


def render(medians: dict, skipped: dict) -> str:
    rows = [
        [name.removesuffix(", POST"), m["cpu_us"], int(m["per_second"]), int(m["bytes"])]
        for name, m in medians.items()
    ]
    return harness.table([f"page with {MESSAGES} messages", "CPU us/page", "pages/s", "bytes"], rows)


if __name__ == "__main__":
    given = options(__doc__, pages=1000, rounds=3)
    print(render(*run(given.pages, given.rounds)))
    print(harness.load())
