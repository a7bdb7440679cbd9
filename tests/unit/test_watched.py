from __future__ import annotations

import asyncio
import re
import time

import pytest


async def wait_for_ever() -> None:
    await asyncio.Event().wait()


def test_a_time_out_says_where_the_test_waited(io_loop):
    async def test() -> None:
        await wait_for_ever()

    with pytest.raises(TimeoutError) as raised:
        io_loop.run_sync(test, timeout=1.0)
    (note,) = raised.value.__notes__
    assert re.search(r"test_watched\.py:\d+ test > test_watched\.py:\d+ wait_for_ever", note)


def test_a_time_out_says_for_how_long_nothing_ran(io_loop):
    async def test() -> None:
        time.sleep(0.5)  # noqa: ASYNC251 - the process is stopped
        await wait_for_ever()

    with pytest.raises(TimeoutError) as raised:
        io_loop.run_sync(test, timeout=1.0)
    assert float(re.search(r"stood still for ([\d.]+) s", raised.value.__notes__[0])[1]) >= 0.5
