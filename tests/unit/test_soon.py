"""Calls that are due in the next turn of the loop."""

import asyncio
from types import SimpleNamespace

import pytest

from flychat.soon import LATE, Soon


@pytest.mark.gen_test
async def test_calls_are_made_in_the_next_turn_in_their_order():
    loop, made = asyncio.get_running_loop(), []
    soon = Soon(loop)
    soon(lambda: (made.append(1), soon(lambda: made.append(3))))
    soon(lambda: made.append(2))
    assert made == []
    await asyncio.sleep(0)
    assert made == [1, 2]
    await asyncio.sleep(0)
    assert made == [1, 2, 3]


@pytest.mark.gen_test
async def test_one_that_raises_is_told_of_and_the_others_are_made_all_the_same(caplog):
    made = []
    asyncio.get_running_loop().set_exception_handler(None)  # which logs it
    soon = Soon(asyncio.get_running_loop())
    soon(lambda: 1 / 0)
    soon(lambda: made.append(2))
    await asyncio.sleep(0)
    assert made == [2]
    [record] = caplog.records
    assert "failed" in record.message
    assert record.exc_info[0] is ZeroDivisionError


def test_they_are_one_call_of_the_loop_and_late_where_that_came_after_a_long_turn():
    turn, now = [], [0.0]
    soon = Soon(SimpleNamespace(call_soon=turn.append, time=lambda: now[0]))
    for seconds, late in ((LATE / 2, False), (LATE * 2, True), (LATE / 2, False)):
        assert not turn
        for _ in range(3):
            soon(int)
        now[0] += seconds
        turn.pop()()
        assert soon.late is late
