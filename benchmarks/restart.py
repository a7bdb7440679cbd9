"""A restart: the clients of many rooms come back at once to a server that has none of the rooms in memory.

Each of them is a few messages behind, and says so. How many are let in, how many are refused, how long one
waits at most, the CPU time per stream, and the memory after. Meanwhile rooms that are back are written to:
how late their messages are, and the answers to these POSTs. flychat reads the history from an SQLite file,
or from a stand-in for DynamoDB that answers after 7 ms; the peers have none: for them it is only many
streams.

python -m benchmarks.restart [--clients 18000] [--rooms 3600] [--history 60] [--busy no] [--rounds 3]
    [--store sqlite] [--peers flychat,nchan,node]

--busy yes: two loops that do nothing run beside it. --store dynamodb: only flychat, over the stand-in.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from . import harness, sweep
from .options import options

CLIENTS, ROOMS, HISTORY = 18_000, 3600, 60
BEHIND = 7  # messages at most, by turns
LIVE_ROOMS, LIVE_RATE, SECONDS = (
    100,
    50.0,
    45,
)  # rooms that are back first, messages a second, and for how long
STORE_SECONDS = 0.007
ON_DISK = replace(harness.CHAT, name="flychat, SQLite file")
AWAY = replace(
    harness.CHAT, name="flychat, 7 ms away", arguments=("--standalone", "--store", "dynamodb:bench")
)
PEERS = (ON_DISK, harness.NCHAN_CHAT, harness.NODE_CHAT, harness.BUN_CHAT, harness.CENTRIFUGO)


def measure(peer: harness.Peer, clients: int, rooms: int, history: int, file: Path, busy: bool) -> dict:
    peer = replace(peer, rooms=rooms)
    remembers = peer.name.startswith("flychat")
    with contextlib.ExitStack() as stack:
        environ = {}
        if peer.name == ON_DISK.name:
            copy = shutil.copy(
                file, stack.enter_context(tempfile.TemporaryDirectory(prefix="flychat-bench-"))
            )
            peer = replace(peer, arguments=("--standalone", "--store", f"sqlite:{copy}"))
        elif remembers:
            port = stack.enter_context(harness.helper("dynamo_stand_in.py", str(STORE_SECONDS), str(history)))
            environ["AWS_ENDPOINT_URL_DYNAMODB"] = f"http://127.0.0.1:{port}"
        server = stack.enter_context(harness.running(peer, environ))
        first = replace(server, peer=replace(peer, rooms=min(LIVE_ROOMS, rooms)))
        back = stack.enter_context(harness.Client(first, whole=False))
        returning = stack.enter_context(harness.Client(server, whole=False))
        if busy:
            stack.enter_context(busy_loops(2))
        with server.measured() as used:
            back.do("open", first.peer.rooms, 0, 0, 100)
            back.start("rate", SECONDS * LIVE_RATE, LIVE_RATE, 4)
            position = (BEHIND, history) if remembers else (0, 0)
            report = returning.do("open", clients, *position, 20_000)
            back.start("stop")
            live = back.wait()
        return {
            "opened": report["streams"],
            "refused": report["refused"],
            "lost": clients - report["streams"] - report["refused"],
            "wait_p50_ms": report["open_ms"][0],
            "wait_ms": report["open_ms"][2],
            "stream_us": 1e6 * used["cpu"] / clients,
            "memory": server.memory(),
            "posts_refused": live["failed_posts"],
            "live_p99_ms": live["delivery_ms"][1],
            "post_p99_ms": live["post_ms"][1],
        }


@contextlib.contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """So many processes that use all the CPU that they get, at the priority of all others."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def run(peers, rounds: int, busy: bool, clients=CLIENTS, rooms=ROOMS, history=HISTORY) -> tuple:
    with tempfile.TemporaryDirectory(prefix="flychat-bench-") as folder:
        file = Path(folder) / "chat.db"
        if ON_DISK in peers:
            asyncio.run(sweep.fill(str(file), rooms * history, rooms, "room{}"))
        return harness.interleaved(peers, lambda p: measure(p, clients, rooms, history, file, busy), rounds)


def render(title: str, medians: dict, skipped: dict) -> str:
    rows = [
        [
            name,
            *(int(m[key]) for key in ("opened", "refused", "lost")),
            m["wait_p50_ms"] / 1000,
            m["wait_ms"] / 1000,
            m["stream_us"],
            m["memory"] / 1e6,
            m["live_p99_ms"],
            m["post_p99_ms"],
            int(m["posts_refused"]),
        ]
        for name, m in medians.items()
    ]
    head = ["", "let in", "refused", "lost", "wait p50 s", "longest s", "CPU us/stream", "MB"]
    head += ["live p99 ms", "POST p99 ms", "POSTs refused"]
    skips = "".join(f"\n\n{name}: skipped, {why}" for name, why in skipped.items())
    return f"{title}\n\n{harness.table(head, rows)}{skips}"


def title(busy: bool, clients: int = CLIENTS, rooms: int = ROOMS, history: int = HISTORY) -> str:
    beside = ", two busy loops beside them" if busy else ""
    return f"{clients:,} clients of {rooms:,} rooms with {history} messages each come back at once{beside}"


if __name__ == "__main__":
    given = options(
        __doc__,
        (*PEERS, AWAY),
        clients=CLIENTS,
        rooms=ROOMS,
        history=HISTORY,
        busy="no",
        rounds=3,
        store="sqlite",
    )
    wanted = [AWAY] if given.store == "dynamodb" else [p for p in given.peers if p != AWAY]
    sizes = given.clients[0], given.rooms, given.history
    is_busy = given.busy == "yes"
    print(render(title(is_busy, *sizes), *run(wanted, given.rounds, is_busy, *sizes)))
    print(harness.load())
