"""The process of a server: its limit of open files, garbage collection, its end; how late its loop is."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
from collections.abc import Callable
from functools import partial

from prometheus_client import Histogram

LOOP_LAG = Histogram(
    "flychat_loop_lag_seconds",
    "How late the event loop was",
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
)
LAG_SECONDS = 0.5  # between two measurements of it
FULL_SECONDS = 3600.0  # between two collections of garbage that look at everything
SAME_SECONDS = 1.0  # in which another signal is the same one: timeout(1), npm and others pass theirs on twice

logger = logging.getLogger(__name__)


def allow_files() -> None:
    """Raises the limit of open files to the most that is allowed: a stream is one, and the default is low."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS says that there is no limit, and has one
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def collect_less() -> None:
    """Has the garbage collector look at each object once, when 40,000 more are there, and then once an hour.

    A request makes hundreds of objects and hardly a cycle: looking for cycles took a tenth of a POST's CPU.
    By default the collector would look at all messages in memory whenever a quarter has been added, which
    takes another tenth of the CPU in a rush; and at 200,000 objects in between, which took 0.15 s. Whatever
    is not garbage when it is looked at, is looked at again once an hour (`watch_loop`).
    """
    gc.enable()
    gc.freeze()
    gc.set_threshold(40_000, 1_000_000, 1_000_000)


async def watch_loop() -> None:
    """Measures how late the loop wakes it; once an hour, collects the garbage among old objects."""
    loop = asyncio.get_running_loop()
    looked = loop.time()
    while True:
        if loop.time() >= looked + FULL_SECONDS:
            gc.collect()
            looked = loop.time()
        due = loop.time() + LAG_SECONDS
        await asyncio.sleep(LAG_SECONDS)
        LOOP_LAG.observe(max(0.0, loop.time() - due))


def when_told_to_end(stop: Callable[[], object]) -> None:
    """Has SIGTERM and SIGINT call `stop`; another one, SAME_SECONDS later, ends the process at once."""
    loop = asyncio.get_running_loop()

    def handle(do: Callable[[], object]) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, do)

    def told() -> None:
        stop()
        loop.call_later(SAME_SECONDS, handle, partial(os._exit, 1))

    handle(told)


def give_up(status: int) -> None:
    """Ends the process at once: asyncio would wait for what is left."""
    logger.warning("not everything could be ended in time")
    os._exit(status)
