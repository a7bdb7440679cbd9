"""How many instructions of the processor a POST of the ordinary chat takes, counted by Valgrind's cachegrind.

CPU time differs by 20 % from run to run on a machine that others use; this number by 0.2 %. It tells if a
change makes a POST dearer, even by a few lines of Python. It counts no work of the kernel, and says nothing
of time. Valgrind is taken from the PATH (`apt-get install valgrind`); a server is 50 times slower under it.

python -m benchmarks.instructions [--rooms 10] [--listeners 5] [--posts 1200] [--senders 1]
    [--store sqlite::memory:]
python -m benchmarks.instructions --restart yes: a stream that comes back, five to a room; the same to 4 %
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from . import harness, sweep
from .options import options
from .restart import BEHIND, HISTORY

# So that hashes collide alike in all runs, and the program does not start itself again for larger pages.
ENVIRON = {"PYTHONHASHSEED": "0", "PYTHONMALLOC": "pymalloc"}


@dataclass(frozen=True)
class Counted(harness.Peer):
    """The server under cachegrind, which writes its counts into the file `counts`."""

    counts: str = ""

    def command(self, port: int, folder: Path) -> list[str]:
        cachegrind = [
            "--tool=cachegrind",
            "--cache-sim=no",
            f"--cachegrind-out-file={self.counts}",
            "--quiet",
        ]
        return [harness._program("valgrind"), *cachegrind, *super().command(port, folder)]


def counted(chat: Counted, work: Callable[[harness.Running], object]) -> int:
    """The instructions of a server that starts, and does this work."""
    with tempfile.TemporaryDirectory(prefix="flychat-bench-") as folder:
        chat = replace(chat, counts=f"{folder}/counts")
        with harness.running(chat, ENVIRON) as server:
            work(server)
        return int(Path(chat.counts).read_text().rpartition("summary:")[2])


def of_posts(chat: Counted, listeners: int, posts: int, senders: int) -> int:
    def work(server: harness.Running) -> None:
        with harness.Client(server) as client:
            client.do("open", chat.rooms * listeners, 0, 0, 256)
            client.do("burst", posts, senders)

    return counted(chat, work)


def of_restart(streams: int) -> int:
    """Of a server with so many streams, five in each room, up to BEHIND messages behind HISTORY."""

    def work(server: harness.Running) -> None:
        others = replace(server, peer=harness.unordered(server.peer))
        with harness.Client(others, whole=False) as client:
            report = client.do("open", streams, BEHIND, HISTORY, streams)
        assert report["streams"] == streams, report

    with tempfile.TemporaryDirectory(prefix="flychat-bench-") as folder:
        file, rooms = f"{folder}/chat.db", streams // 5
        asyncio.run(sweep.fill(file, rooms * HISTORY, rooms, "room{}"))
        arguments = ("--standalone", "--store", f"sqlite:{file}")
        return counted(Counted(**vars(harness.CHAT) | {"rooms": rooms, "arguments": arguments}), work)


if __name__ == "__main__":
    given = options(
        __doc__, rooms=10, listeners=5, posts=1200, senders=1, store="sqlite::memory:", restart="no"
    )
    if given.restart == "yes":
        each = (of_restart(1250) - of_restart(250)) / 1000
        print(f"{each:,.0f} instructions a stream that comes back")
    else:
        arguments = ("--standalone", "--store", given.store)
        chat = Counted(**vars(harness.CHAT) | {"rooms": given.rooms, "arguments": arguments})
        few = given.posts // 4
        first, second = (
            of_posts(chat, given.listeners, posts, given.senders) for posts in (few, few + given.posts)
        )
        print(f"{(second - first) / given.posts:,.0f} instructions a POST with its deliveries")
