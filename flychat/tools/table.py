"""`create-table`: the DynamoDB table, which servers then find (`--store` as for the server)."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

from ..config import TABLE_STORE, store, variable
from ..errors import Misconfigured
from .terminal import interruptible


def create_table_command(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    parser.description = "Creates the DynamoDB table, if there is none, and waits until it can be used."
    parser.add_argument(
        "--store",
        default=variable(os.environ, "store") or TABLE_STORE,
        help=f"dynamodb:TABLE (default: {TABLE_STORE})",
    )
    return lambda given: interruptible(_created(given.store))


async def _created(place: str) -> int:
    engine, location = store(place)
    if engine != "dynamodb":
        raise Misconfigured("--create-table is for --store dynamodb:TABLE")
    from ..storage.dynamodb_table import create_table  # which takes half a second

    print(f"flychat: {await create_table(location, os.environ)}", flush=True)
    return 0
