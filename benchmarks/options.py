"""The few options that the benchmarks share."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from . import harness


def options(
    doc: str | None, among: Iterable[harness.Peer] = harness.ALL, **defaults: object
) -> argparse.Namespace:
    """What was given on the command line; `clients` a list of numbers, `peers` a list of those `among`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"peers": "", **defaults}.items():
        parser.add_argument(f"--{name}", default=value, type=type(value))
    given = parser.parse_args()
    given.named = [name for name in given.peers.lower().split(",") if name]
    given.peers = chosen(given.named, among)
    if hasattr(given, "clients"):
        given.clients = [int(n) for n in str(given.clients).split(",")]
    return given


def chosen(named: list[str], among: Iterable[harness.Peer]) -> list[harness.Peer]:
    """The peers of which a part of the name is in the list; without a list, all."""
    return [peer for peer in among if not named or any(name in peer.name.lower() for name in named)]
