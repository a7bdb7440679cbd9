"""Where a POST of the ordinary chat spends its CPU time: a profile by py-spy, added up by layers.

A sample is counted for the innermost module of flychat on its stack, whatever that calls: a `send` is the
hub's. py-spy is taken from the PATH (`pip install py-spy`), and may need root. The CPU time is measured by
itself, before; samples only divide it up.

python -m benchmarks.layers [--rooms 1000] [--listeners 5] [--posts 40000] [--senders 16]
    [--store sqlite::memory:]
"""

from __future__ import annotations

import collections
import re
import signal
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from . import harness, rooms
from .options import options

RATE = 500  # samples a second
FRAME = re.compile(r"\(((?:[\w.-]*/)*)([\w.]+)(?::\d+)?\)$")
LAYERS = {
    "hub/sockets": "the sends to the listeners, most of them the kernel's",
    "hub": "the hub around them: passes, positions",
    "web/shortcut": "the shortcut: a request from bytes, its answer",
    "web": "the rest of web/",
    "chat": "the way through: post, provisional and official events",
    "log": "the log: drafts, commits, the window",
    "storage": "the store",
    "values": "messages, events and JSON",
    "loop": "the event loop, without a module of flychat on the stack",
}
VALUES = ("messages", "streams", "sse", "names", "errors")


def layer(stack: str) -> str:
    """Of a stack as py-spy writes it: frames from the outermost on, `name (file:line)`, with ; between."""
    for frame in reversed(stack.split(";")):
        found = FRAME.search(frame)
        if found and found[1].startswith("flychat/"):
            folder, name = found[1].removeprefix("flychat/").rstrip("/"), found[2].removesuffix(".py")
            path = f"{folder}/{name}" if folder else name
            if path in LAYERS:
                return path
            return folder if folder in LAYERS else "values" if name in VALUES else "chat"
    return "loop"


def measure(peer: harness.Peer, listeners: int, posts: int, senders: int) -> list[list]:
    with harness.running(peer) as server, harness.Client(server) as client:
        client.do("open", peer.rooms * listeners, 0, 0, 256)
        client.do("burst", peer.rooms, senders)
        server.settle()
        user, system = server.times()
        client.do("burst", posts, senders)
        server.settle()
        user, system = (
            1e6 * (now - then) / posts for now, then in zip(server.times(), (user, system), strict=True)
        )
        samples = sampled(server, client, posts, senders)
    total = sum(samples.values())
    rows = [
        [text, (user + system) * samples[name] / total, f"{100 * samples[name] / total:.0f} %"]
        for name, text in LAYERS.items()
    ]
    return [
        *rows,
        ["all", user + system, ""],
        ["of which the kernel's", system, f"{100 * system / (user + system):.0f} %"],
    ]


def sampled(server: harness.Running, client: harness.Client, posts: int, senders: int) -> collections.Counter:
    with tempfile.TemporaryDirectory(prefix="flychat-bench-") as folder:
        file = Path(folder) / "stacks"
        command = [harness._program("py-spy"), "record", "--pid", server.process.pid, "--rate", RATE]
        command += ["--duration", 600, "--format", "raw", "--output", file]
        with subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL) as spy:
            time.sleep(1)  # it says nothing when it has begun
            client.do("burst", posts, senders)
            spy.send_signal(signal.SIGINT)
        counts: collections.Counter = collections.Counter()
        for line in file.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            counts[layer(stack)] += int(count)
        return counts


if __name__ == "__main__":
    given = options(
        __doc__,
        rooms=rooms.ROOMS,
        listeners=rooms.LISTENERS,
        posts=40_000,
        senders=rooms.SENDERS,
        store="sqlite::memory:",
    )
    chat = replace(harness.CHAT, rooms=given.rooms, arguments=("--standalone", "--store", given.store))
    table = measure(chat, given.listeners, given.posts, given.senders)
    print(harness.table(["one POST and its deliveries", "CPU us", ""], table))
    print(harness.load())
