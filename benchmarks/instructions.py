"""How many instructions of the processor a POST of the ordinary chat takes, counted by Valgrind's cachegrind.

CPU time differs by 20 % from run to run on a machine that others use; this number by 0.2 %. It tells if a
change makes a POST dearer, even by a few lines of Python. It counts no work of the kernel, and says nothing
of time. Valgrind is taken from the PATH (`apt-get install valgrind`); a server is 50 times slower under it.

python -m benchmarks.instructions [--rooms 10] [--listeners 5] [--posts 1200] [--senders 1]
    [--store sqlite::memory:]
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from . import harness
from .options import options

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


def counted(chat: Counted, listeners: int, posts: int, senders: int) -> int:
    with tempfile.TemporaryDirectory(prefix="flychat-bench-") as folder:
        chat = replace(chat, counts=f"{folder}/counts")
        with harness.running(chat, ENVIRON) as server, harness.Client(server) as client:
            client.do("open", chat.rooms * listeners, 0, 0, 256)
            client.do("burst", posts, senders)
        return int(Path(chat.counts).read_text().rpartition("summary:")[2])


if __name__ == "__main__":
    given = options(__doc__, rooms=10, listeners=5, posts=1200, senders=1, store="sqlite::memory:")
    arguments = ("--standalone", "--store", given.store)
    chat = Counted(**vars(harness.CHAT) | {"rooms": given.rooms, "arguments": arguments})
    few = given.posts // 4
    first, second = (
        counted(chat, given.listeners, posts, given.senders) for posts in (few, few + given.posts)
    )
    print(f"{(second - first) / given.posts:,.0f} instructions a POST with its deliveries")
