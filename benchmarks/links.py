"""How late live messages are where a Pushpin holds many streams, which it has to recover now and then.

While a hold waits for that, it is given nothing. Once with links that last as long as flychat would have it,
once with links of 18 to 26 s for all (hub/links.py says why not). All streams in one room, and in many.

python -m benchmarks.links [--streams 5000] [--rooms 1,1000] [--rate 5] [--seconds 40]
"""

from __future__ import annotations

import time
from dataclasses import replace

from tests.support.ports import free_port

from . import harness
from .options import options

GRIP = ("--grip", "--store", "sqlite::memory:", "--with-pushpin", "--pushpin-port")
SETTLED = 30  # seconds, after which each stream has been recovered once
LINKS = {"as they are": {}, "18 to 26 s": {"BENCH_SHORT_LINKS": "yes"}}


def measure(links: str, streams: int, rooms: int, rate: float, seconds: int) -> dict:
    port = free_port()
    peer = replace(harness.CHAT, rooms=rooms, arguments=(*GRIP, str(port)))
    with harness.running(peer, LINKS[links]) as server:
        server.get("/readyz")  # not answered before Pushpin works
        with harness.Client(replace(server, port=port), whole=False) as client:
            opened = client.do("open", streams, 0, 0, 64)["streams"]
            time.sleep(SETTLED)
            report = client.do("rate", seconds * rate, rate, 4)
    p50, p99, longest = report["delivery_ms"]
    return {"streams": opened, "p50": p50, "p99": p99, "longest": longest, "disorder": report["order_errors"]}


def render(results: dict[tuple[int, str], dict]) -> str:
    head = ["rooms", "links", "streams", "delivery p50 ms", "p99 ms", "longest ms", "out of order"]
    return harness.table(head, [[*how, *found.values()] for how, found in results.items()])


if __name__ == "__main__":
    given = options(__doc__, streams=5000, rooms="1,1000", rate=5.0, seconds=40)
    print(
        render(
            {
                (rooms, links): measure(links, given.streams, rooms, given.rate, given.seconds)
                for rooms in map(int, given.rooms.split(","))
                for links in LINKS
            }
        )
    )
    print(harness.load())
