"""A restart: the clients of many rooms come back at once to a server that has none of the rooms in memory.

Each of them is a few messages behind, and says so. How many are let in, how many are refused, how long one
waits at most, the CPU time per stream, and the memory after. Meanwhile rooms that are back are written to:
how late their messages are, and the answers to these POSTs. flychat reads the history from an SQLite file,
or from a stand-in for DynamoDB that answers after 7 ms; the peers have none: for them it is only many
streams.

python -m benchmarks.restart [--clients 18000] [--rooms 3600] [--history 60] [--busy no] [--rounds 3]
    [--store sqlite] [--grip no] [--peers flychat,nchan,node]

--busy yes: two loops that do nothing run beside it. --store dynamodb: only flychat, over the stand-in.
--grip yes: what a GRIP proxy asks then, once for each client that it holds, some at a time: only flychat.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from flychat.streams import RECOVERY_PATH, official_channel

from . import harness, sweep
from .options import options

CLIENTS, ROOMS, HISTORY = 18_000, 3600, 60
BEHIND = 7  # messages at most, by turns
LIVE_ROOMS, LIVE_RATE = 100, 50.0  # the rooms that are back first, and how many messages a second go there
SECONDS = 45  # for which client.c waits at most
PROXY_CONNECTIONS = 100  # on which a GRIP proxy asks
STORE_SECONDS = 0.007
ON_DISK = replace(harness.CHAT, name="flychat, SQLite file")
AWAY = replace(harness.CHAT, name="flychat, 7 ms away")
STORES = {ON_DISK.name: "sqlite:{}", AWAY.name: "dynamodb:bench"}
PEERS = (ON_DISK, harness.NCHAN_CHAT, harness.NODE_CHAT, harness.BUN_CHAT, harness.CENTRIFUGO)


def started(
    stack: contextlib.ExitStack, peer: harness.Peer, mode: str, history: int, file: Path
) -> harness.Running:
    """The peer; flychat with the history in its store: a copy of the file, or a stand-in for DynamoDB."""
    environ = {}
    if peer.name in STORES:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="flychat-bench-"))
        store = STORES[peer.name].format(shutil.copy(file, folder))
        peer = replace(peer, arguments=(mode, "--store", store))
    if peer.name == AWAY.name:
        port = stack.enter_context(harness.helper("dynamo_stand_in.py", str(STORE_SECONDS), str(history)))
        environ["AWS_ENDPOINT_URL_DYNAMODB"] = f"http://127.0.0.1:{port}"
    if mode == "--grip":
        environ["GRIP_URL"] = f"http://127.0.0.1:{stack.enter_context(harness.helper('grip_sink.py'))}"
    return stack.enter_context(harness.running(peer, environ))


def measure(peer: harness.Peer, clients: int, rooms: int, history: int, file: Path, busy: bool) -> dict:
    with contextlib.ExitStack() as stack:
        peer = replace(peer, rooms=rooms)
        server = started(stack, peer, "--standalone", history, file)
        first = replace(server, peer=replace(peer, rooms=min(LIVE_ROOMS, rooms)))
        back = stack.enter_context(harness.Client(first, whole=False))
        others = replace(server, peer=harness.unordered(server.peer))
        returning = stack.enter_context(harness.Client(others, whole=False))
        if busy:
            stack.enter_context(busy_loops(2))
        with server.measured() as used:
            back.do("open", first.peer.rooms, 0, 0, 100)
            back.start("rate", SECONDS * LIVE_RATE, LIVE_RATE, 4)
            position = (BEHIND, history) if peer.name in STORES else (0, 0)
            report = returning.do("open", clients, *position, 20_000)
            back.start("stop")
            live = back.wait()
        return {
            "opened": report["streams"],
            "refused": report["refused"],
            "closed": report["gone"],
            "lost": clients - report["streams"] - report["refused"],
            "wait_p50_ms": report["open_ms"][0],
            "wait_ms": report["open_ms"][2],
            "stream_us": 1e6 * used["cpu"] / clients,
            "memory": server.memory(),
            "posts_refused": live["failed_posts"],
            "live_p99_ms": live["delivery_ms"][1],
            "post_p99_ms": live["post_ms"][1],
        }


def measure_grip(peer: harness.Peer, clients: int, rooms: int, history: int, file: Path, busy: bool) -> dict:
    with contextlib.ExitStack() as stack:
        server = started(stack, peer, "--grip", history, file)
        if busy:
            stack.enter_context(busy_loops(2))
        began = time.perf_counter()
        with server.measured() as used:
            answers = asyncio.run(recoveries(server.port, clients, rooms, history))
        good = sorted(took for status, took in answers if status == 200)
        return {
            "recovered": len(good),
            "refused": len(answers) - len(good),
            "seconds": time.perf_counter() - began,
            "p50_ms": 1000 * good[len(good) // 2] if good else 0.0,
            "p99_ms": 1000 * good[int(0.99 * (len(good) - 1))] if good else 0.0,
            "recovery_us": 1e6 * used["cpu"] / clients,
            "memory": server.memory(),
        }


async def recoveries(port: int, clients: int, rooms: int, history: int) -> list[tuple[int, float]]:
    """Asks as a GRIP proxy does, which knows positions; returns each answer's status and seconds."""
    answers, left = [], iter(range(clients))

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        for client in left:
            last = f"{official_channel(f'room{client % rooms}')}; last-id={history - client % BEHIND}"
            began = time.perf_counter()
            headers = f"Host: x\r\nGrip-Sig: x\r\nGrip-Last: {last}\r\n\r\n"
            writer.write(f"GET {RECOVERY_PATH} HTTP/1.1\r\n{headers}".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))
            answers.append((int(head[9:12]), time.perf_counter() - began))
        writer.close()

    with contextlib.suppress(TimeoutError):  # what is not answered by then is missing
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*(ask() for _ in range(PROXY_CONNECTIONS)))
    return answers


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


def run(
    peers, rounds: int, busy: bool, clients=CLIENTS, rooms=ROOMS, history=HISTORY, measure=measure
) -> tuple:
    with tempfile.TemporaryDirectory(prefix="flychat-bench-") as folder:
        file = Path(folder) / "chat.db"
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


def render_grip(title: str, medians: dict, skipped: dict) -> str:
    rows = [
        [
            name,
            int(m["recovered"]),
            int(m["refused"]),
            m["seconds"],
            m["p50_ms"],
            m["p99_ms"],
            m["recovery_us"],
            m["memory"] / 1e6,
        ]
        for name, m in medians.items()
    ]
    head = ["GRIP", "recovered", "refused", "s in all", "p50 ms", "p99 ms", "CPU us/recovery", "MB"]
    skips = "".join(f"\n\n{name}: skipped, {why}" for name, why in skipped.items())
    return f"{title}\n\n{harness.table(head, rows)}{skips}"


def title(busy: bool, clients: int = CLIENTS, rooms: int = ROOMS, history: int = HISTORY) -> str:
    beside = ", two busy loops beside them" if busy else ""
    return f"{clients:,} clients of {rooms:,} rooms with {history} messages each come back at once{beside}"


def grip_title(clients: int = CLIENTS, rooms: int = ROOMS) -> str:
    return f"A GRIP proxy has {clients:,} clients of {rooms:,} rooms recovered, {PROXY_CONNECTIONS} at a time"


def main() -> None:
    switches = {"busy": "no", "grip": "no", "store": "sqlite"}
    sizes = {"clients": CLIENTS, "rooms": ROOMS, "history": HISTORY}
    given = options(__doc__, (*PEERS, AWAY), **sizes, **switches, rounds=3)
    clients, rooms, history, busy = given.clients[0], given.rooms, given.history, given.busy == "yes"
    wanted = [AWAY] if given.store == "dynamodb" else [p for p in given.peers if p != AWAY]
    if given.grip == "yes":
        wanted = [p for p in wanted if p.name in STORES]
        results = run(wanted, given.rounds, busy, clients, rooms, history, measure_grip)
        print(render_grip(grip_title(clients, rooms), *results))
    else:
        results = run(wanted, given.rounds, busy, clients, rooms, history)
        print(render(title(busy, clients, rooms, history), *results))
    print(harness.load())


if __name__ == "__main__":
    main()
