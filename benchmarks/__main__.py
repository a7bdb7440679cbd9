"""All figures: tables to docs/benchmarks.md, a plot to docs/benchmarks.svg. 30 minutes; --quick yes: 7.

python -m benchmarks [--quick yes] [--rounds 3] [--peers flychat,nchan]
"""

from __future__ import annotations

import contextlib
import platform
import re
import subprocess
import time
from importlib.metadata import version

from . import burst, fanout, harness, ingest, latency, memory, overload, page, restart, rooms, storm
from .options import chosen, options
from .plot import plot

MANY = (100, 1000, 10_000, 19_000)
STARLETTE_VERSION = "import starlette; print(starlette.__version__)"


def main() -> None:
    given = options(__doc__, rounds=3, quick="")
    rounds, many, peers = given.rounds, list(MANY), given.peers
    chats = chosen(given.named, harness.CHATS)
    if given.quick:
        rounds, many = 1, [100, 1000]
    most = min(10_000, many[-1])
    started, parts = time.time(), [_head([*peers, *chats])]

    def part(title: str, text: str) -> None:
        parts.append(f"## {title}\n\n{text}")
        harness.note(f"--- {title} ({time.time() - started:.0f} s)\n\n{text}\n")
        document = "\n\n".join([*parts, f"({harness.load()} at the end)"])
        (harness.ROOT / "docs" / "benchmarks.md").write_text(document + "\n")

    posts = 2000 if given.quick else rooms.POSTS
    part("The ordinary chat", rooms.render(rooms.title(), *rooms.run(chats, rounds, posts=posts)))
    fans = fanout.run(many, rounds, peers)
    part("Fan-out", f"![CPU and memory by the number of clients](benchmarks.svg)\n\n{fanout.render(fans)}")
    (harness.ROOT / "docs" / "benchmarks.svg").write_text(picture(fans))
    burst_title = "1,000 messages at once, from 16 connections, to 1,000 clients"
    part(
        "Burst",
        burst.render(burst_title, *harness.interleaved(peers, lambda p: burst.burst(p, 1000, 1000), rounds)),
    )
    title = f"{most:,} clients, {burst.OFFERED} messages/s offered for {burst.SECONDS} s"
    quick = [peer for peer in peers if peer not in (harness.TORNADO, harness.STARLETTE)]  # those need minutes
    offered = harness.interleaved(quick, lambda p: burst.offered(p, most), rounds)
    part("More than a pass can carry", burst.render(title, *offered))
    part("Reconnect storm", storm.render(most, *storm.run(most, rounds, peers)))
    sizes = (1000, 200) if given.quick else (restart.CLIENTS, restart.ROOMS)
    returning, backs = chosen(given.named, restart.PEERS), []
    for busy in (False, True):
        results = restart.run(returning, rounds, busy, *sizes)
        backs.append(restart.render(restart.title(busy, *sizes), *results))
    part("Restart", "\n\n".join(backs))
    seconds = 3.0 if given.quick else overload.SECONDS
    part(
        "Overload", overload.render(overload.title(seconds=seconds), *overload.run(chats, 1, seconds=seconds))
    )
    rate = 5.0 if most == 10_000 else 50.0
    title = f"{most:,} clients, {rate:g} events/s"
    part("Latency", latency.render(title, *latency.run(most, rate, 10.0, rounds, peers)))
    stalled = memory.stalled()
    part(
        "Memory of stalled readers",
        f"{memory.STALLED} clients that stop reading: {stalled['idle']:,.0f} B each while idle, "
        f"{stalled['stalled']:,.0f} B each after {memory.FLOOD * 4 / 1000:g} MB were published.",
    )
    part("Ingest", ingest.render(ingest.run([1, 16, 256], 500 if given.quick else 4000, rounds)))
    part("Page", page.render(*page.run(200 if given.quick else 1000, rounds)))


def picture(fans: dict[int, tuple]) -> str:
    names = dict.fromkeys(name for medians, _ in fans.values() for name in medians)

    def series(key: str, scale: float = 1.0) -> dict[str, dict[int, float]]:
        lines = {
            name: {n: medians[name][key] / scale for n, (medians, _) in fans.items() if name in medians}
            for name in names
        }
        return {name: line for name, line in lines.items() if line}

    return plot(
        {"CPU us per delivered event": series("cpu_us"), "kB per idle connection": series("bytes", 1000)}
    )


def _head(peers: list[harness.Peer]) -> str:
    return (
        "# Benchmarks\n\n"
        "Written by `python -m benchmarks`; what is measured, and how, is told in "
        "[benchmarks/README.md](../benchmarks/README.md). CPU is user and system time of all of a server's "
        "processes. Compare ratios, not figures.\n\n"
        f"{time.strftime('%Y-%m-%d')}, Linux {_number(platform.release())}, {', '.join(_versions(peers))}, "
        f"{harness.load()} at the start."
    )


def _versions(peers: list[harness.Peer]) -> list[str]:
    """Of what is measured, as far as it is on this machine."""
    versions = [f"Python {platform.python_version()}", f"Tornado {version('tornado')}"]
    for peer, name, find, *command in (
        (harness.NCHAN, "nginx", lambda: harness._program("nginx"), "-v"),
        (harness.NCHAN, "nchan", lambda: "dpkg-query", "-W", "-f=${Version}", "libnginx-mod-nchan"),
        (harness.NODE, "Node", lambda: harness._program("node"), "--version"),
        (harness.BUN_CHAT, "Bun", harness.bun, "--version"),
        (harness.STARLETTE, "Starlette", harness.starlette_python, "-c", STARLETTE_VERSION),
    ):
        with contextlib.suppress(harness.Skipped, OSError, subprocess.CalledProcessError):
            if peer in peers:
                told = subprocess.run([find(), *command], capture_output=True, text=True, check=True)
                versions.append(f"{name} {_number(told.stdout + told.stderr)}")
    with contextlib.suppress(harness.Skipped):
        if harness.CENTRIFUGO in peers and harness.centrifugo():
            versions.append(f"Centrifugo {_number(harness.CENTRIFUGO_MODULE)}")
    return versions


def _number(text: str) -> str:
    """The first version in the text: its numbers, without what a distribution has added."""
    found = re.search(r"\d+(\.\d+)+", text)
    return found[0] if found else text.strip()


if __name__ == "__main__":
    main()
