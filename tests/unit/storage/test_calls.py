"""The deadline of a call to a store: what it counts, and what it does not."""

import asyncio
import time

import pytest

from flychat.storage import Unknown
from flychat.storage.calls import TICKS, Calls, answered_within
from tests.proof.simulation.virtual import in_virtual_time

gen_test = pytest.mark.gen_test


async def never() -> None:
    await asyncio.Event().wait()


async def some_turns_of_the_loop(count: int) -> str:
    for _ in range(count):
        await asyncio.sleep(0)
    return "answer"


@gen_test
async def test_a_call_that_is_not_answered_is_unknown():
    with pytest.raises(Unknown):
        await Calls(1, 0.05).call(never)


@in_virtual_time
async def test_a_call_has_all_the_seconds_that_it_is_given():
    async def answered(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "answer"

    assert await Calls(1, 2.0).call(lambda: answered(1.99)) == "answer"
    with pytest.raises(Unknown):
        await Calls(1, 2.0).call(lambda: answered(2.01))


@gen_test
async def test_a_loop_that_is_busy_does_not_count():
    """Each of these turns takes as long as a third of the deadline."""

    async def busy() -> str:
        for _ in range(10):
            time.sleep(0.02)  # noqa: ASYNC251 - that is what it is about
            await asyncio.sleep(0)
        return "answer"

    assert await Calls(1, 0.06).call(busy) == "answer"


@gen_test
async def test_nor_does_the_time_before_its_turn():
    async def slow() -> str:
        await asyncio.sleep(0.02)
        return "answer"

    calls = Calls(1, 5.0)
    seconds = asyncio.get_running_loop().time
    began = seconds()
    assert await asyncio.gather(*(calls.call(slow) for _ in range(5))) == ["answer"] * 5
    assert seconds() - began >= 0.1, "one at a time"


@gen_test
async def test_those_who_wait_behind_a_call_without_an_answer_are_told_at_once():
    """Or else the last of a thousand would wait for an hour."""
    calls, began = Calls(2, 0.05), []

    async def call() -> None:
        began.append(True)
        await never()

    outcomes = await asyncio.gather(*(calls.call(call) for _ in range(1000)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Unknown}
    assert len(began) == 2
    assert await calls.call(lambda: some_turns_of_the_loop(3)) == "answer", "who comes later tries again"


@gen_test
async def test_one_call_without_an_answer_among_others_says_nothing_of_the_store():
    calls = Calls(2, 0.05)
    given_up = asyncio.ensure_future(calls.call(never))

    async def go_on() -> None:
        while not given_up.done():
            await calls.call(lambda: some_turns_of_the_loop(3))

    await asyncio.gather(*(go_on() for _ in range(5)))  # some of them wait for their turn just then
    assert isinstance(given_up.exception(), Unknown)


@gen_test
async def test_a_failure_and_a_cancellation_leave_the_turn_to_the_next():
    async def fail() -> None:
        raise LookupError

    calls = Calls(1, 5.0)
    first = asyncio.ensure_future(calls.call(never))
    second = asyncio.ensure_future(calls.call(never))
    await asyncio.sleep(0)
    second.cancel()
    first.cancel()
    await asyncio.wait([first, second])
    with pytest.raises(LookupError):
        await calls.call(fail)
    assert await calls.call(lambda: some_turns_of_the_loop(1)) == "answer"


@gen_test
async def test_nothing_is_left_of_a_deadline_that_was_met():
    loop = asyncio.get_running_loop()
    async with answered_within(0.02):
        await asyncio.sleep(0)
    await asyncio.sleep(0.02 * (TICKS + 2) / TICKS)
    assert all(
        handle.cancelled() for handle in getattr(loop, "_scheduled", []) if "answered_within" in repr(handle)
    )
