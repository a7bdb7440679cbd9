"""The few options that the benchmarks share."""

from __future__ import annotations

import argparse

from . import harness


def options(doc: str | None, **defaults: object) -> argparse.Namespace:
    """What was given on the command line; `clients` a list of numbers, `peers` a list of Peers."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"peers": "", **defaults}.items():
        parser.add_argument(f"--{name}", default=value, type=type(value))
    given = parser.parse_args()
    wanted = [name for name in given.peers.lower().split(",") if name]
    given.peers = [p for p in harness.ALL if not wanted or any(name in p.name.lower() for name in wanted)]
    if hasattr(given, "clients"):
        given.clients = [int(n) for n in str(given.clients).split(",")]
    return given
