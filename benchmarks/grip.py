"""GRIP mode: CPU time per POST of flychat and of its proxy, over SQLite in memory.

First before a proxy that only counts what it is sent. Then with a Pushpin of its own, which holds streams, in
rooms of a few listeners each, and passes the POSTs on: each listener must get each message once and in order.
Both with answers that wait for the proxy, as they do unless told otherwise, and with --answer-first.

python -m benchmarks.grip [--senders 1,16] [--rooms 100] [--listeners 5] [--posts 4000] [--rounds 3]
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

from tests.support.ports import free_port

from . import harness
from .ingest import counted
from .options import options

GRIP = ("--grip", "--store", "sqlite::memory:")
ORDERS = {"proxy first": (), "answer first": ("--answer-first",)}


class Alone(harness.Running):
    """A peer without the processes that it has started."""

    def pids(self) -> list[int]:
        return [self.process.pid]


def before_a_sink(order: str, senders: int, rooms: int, posts: int) -> dict:
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(harness.helper("grip_sink.py"))
        arguments = (*GRIP, *ORDERS[order], "--grip-url", f"http://127.0.0.1:{sink}")
        peer = replace(harness.CHAT, rooms=rooms, arguments=arguments)
        server = stack.enter_context(harness.running(peer))
        client = stack.enter_context(harness.Client(server))
        client.do("burst", max(rooms, posts // 10), senders)  # warm
        before = counted(sink)
        with server.measured() as used:
            client.do("burst", posts, senders)
        sent = {name: (count - before[name]) / posts for name, count in counted(sink).items()}
    return {"us": 1e6 * used["cpu"] / posts, **sent}


def with_pushpin(order: str, senders: int, rooms: int, posts: int, listeners: int) -> dict:
    port = free_port()
    arguments = (*GRIP, *ORDERS[order], "--with-pushpin", "--pushpin-port", str(port))
    peer = replace(harness.CHAT, rooms=rooms, arguments=arguments)
    with harness.running(peer) as server:
        server.get("/readyz")  # not answered before Pushpin works
        with harness.Client(replace(server, port=port)) as client:
            client.do("open", rooms * listeners, 0, 0, 64)
            client.do("burst", max(rooms, posts // 10), senders)  # warm
            server.settle()
            with server.measured() as all, Alone(peer, port, server.process).measured() as app:
                report = client.do("burst", posts, senders)
    return {
        "app_us": 1e6 * app["cpu"] / posts,
        "pushpin_us": 1e6 * (all["cpu"] - app["cpu"]) / posts,
        "post_p50_ms": report["post_ms"][0],
    }


def run(
    senders: list[int], rooms: int, listeners: int, posts: int, rounds: int
) -> dict[tuple[str, int], dict]:
    """By order and senders."""
    runs: dict[tuple[str, int], list[dict]] = {}
    for _ in range(rounds):
        for n in senders:
            for order in ORDERS:
                result = before_a_sink(order, n, rooms, posts)
                with contextlib.suppress(harness.Skipped):
                    result |= with_pushpin(order, n, rooms, posts, listeners)
                runs.setdefault((order, n), []).append(result)
    return {how: harness.medians(results) for how, results in runs.items()}


def render(results: dict[tuple[str, int], dict]) -> str:
    head = ["order", "senders", "CPU us/POST", "publishes/POST", "items/POST"]
    head += ["with Pushpin: CPU us/POST", "of Pushpin", "POST p50 ms"]
    names = ("us", "posts", "items", "app_us", "pushpin_us", "post_p50_ms")
    return harness.table(head, [[*how, *(m.get(name, "") for name in names)] for how, m in results.items()])


if __name__ == "__main__":
    given = options(__doc__, senders="1,16", rooms=100, listeners=5, posts=4000, rounds=3)
    senders = [int(n) for n in given.senders.split(",")]
    print(render(run(senders, given.rooms, given.listeners, given.posts, given.rounds)))
    print(harness.load())
