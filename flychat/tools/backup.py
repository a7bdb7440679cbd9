"""`backup FILE`: a copy of an SQLite store, while its server runs; needs no program of SQLite's."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable

from ..errors import Misconfigured
from ..storage.sqlite_backup import back_up
from .arguments import as_utf8
from .stores import existing_store, store_option
from .terminal import interruptible, printable


def backup_command(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    parser.description = "Copies an SQLite store, which a server may be using, into a new file."
    parser.add_argument("file", type=as_utf8, metavar="FILE")
    store_option(parser, reading=True, table="")

    def run(given: argparse.Namespace) -> int:
        kind, location = existing_store(given.store)
        if kind != "sqlite":
            raise Misconfigured("DynamoDB has backups of its own: turn on its point-in-time recovery")
        return interruptible(_back_up(location, given.file), signal.SIGTERM)  # or its half would be left

    return run


async def _back_up(path: str, file: str) -> int:
    size = await back_up(path, file)
    print(f"flychat: {printable(file)} is a copy of the store, of {size:,} bytes", flush=True)
    return 0
