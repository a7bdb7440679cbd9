"""What a server asks of its process: many files, little garbage collection, its end. How late its loop is."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource

from prometheus_client import Histogram

LOOP_LAG = Histogram(
    "flychat_loop_lag_seconds",
    "How late the event loop was",
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
)
LAG_SECONDS = 0.5  # between two measurements of it
FULL_SECONDS = 3600.0  # between two collections of garbage that look at everything

logger = logging.getLogger(__name__)


def allow_files() -> None:
    """A stream is an open file, and a shell allows a process few of them unless it asks for more."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS says that there is no limit, and has one
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def collect_less() -> None:
    """Has the garbage collector look less often, a little at a time, and seldom at what lives on.

    A request makes hundreds of objects and hardly a cycle: looking for these took a tenth of a POST's CPU.
    By its own rules the collector would look at all messages in memory whenever a quarter has been added,
    another tenth of a rush, and at 200,000 objects in between, which took 0.15 s. So what has been there for
    some 40,000 others is looked at once an hour.
    """
    gc.enable()
    gc.freeze()
    gc.set_threshold(10_000, 3, 1_000_000)


async def watch_loop() -> None:
    """Measures how late the loop wakes us; once an hour, looks for garbage everywhere."""
    loop = asyncio.get_running_loop()
    looked = loop.time()
    while True:
        if loop.time() >= looked + FULL_SECONDS:
            gc.collect()
            looked = loop.time()
        due = loop.time() + LAG_SECONDS
        await asyncio.sleep(LAG_SECONDS)
        LOOP_LAG.observe(max(0.0, loop.time() - due))


def give_up(status: int) -> None:
    """Ends the process, whatever is left: asyncio would wait for it."""
    logger.warning("not everything could be ended in time")
    os._exit(status)
