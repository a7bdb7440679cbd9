"""The command line of the campaign."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from pathlib import Path

from ..oracle import put_away
from .faults import FAULTS
from .running import report, soak


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.proof.soak", description="Real parts, real faults, and the judge."
    )
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", metavar="FAULT,...", help=", ".join(sum(FAULTS.values(), ())))
    parser.add_argument("--pushpin", action="append", metavar="PROGRAM", help="the first, the second ...")
    parser.add_argument("--keep", action="store_true", help="keep the logs of the servers")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # the proxies' own
    directory = Path(tempfile.mkdtemp(prefix="soak-"))
    began = time.monotonic()
    only = frozenset(options.only.split(","))
    programs = options.pushpin or ["pushpin"]
    stages = asyncio.run(soak(60 * options.minutes, options.seed, directory, only=only, programs=programs))
    print(report(stages, options.seed, time.monotonic() - began))
    failed = any(stage.violations for stage in stages)
    put_away(directory, keep=failed or options.keep)
    return failed


if __name__ == "__main__":
    sys.exit(main())
