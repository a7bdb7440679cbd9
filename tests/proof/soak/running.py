"""Running the campaign: rounds on all stages, side by side, and what is told of them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.moto_process import moto

from ..judge import BOUND
from .stage import Stage

FAULT_SECONDS = 15.0  # of a round


async def soak(
    seconds: float,
    seed: int,
    directory: Path,
    say: Callable[[str], object] = print,
    only: frozenset[str] = frozenset(),
    programs: Sequence[str] = ("pushpin",),
) -> list[Stage]:
    """Rounds on all stages, for so long; a round that has begun is finished."""
    ends = time.monotonic() + seconds
    with moto() as endpoint:
        stages = [
            Stage(mode, store, seed, directory, endpoint, only, programs)
            for mode in ("standalone", "grip")
            for store in ("sqlite", "dynamodb")
        ]
        try:
            for stage in stages:
                await stage.open()
            await asyncio.gather(*(_rounds(stage, ends, say) for stage in stages))
            await asyncio.gather(*(stage.look_for_what_is_gone() for stage in stages))
        finally:
            for stage in stages:
                await stage.close()
    return stages


async def _rounds(stage: Stage, ends: float, say: Callable[[str], object]) -> None:
    while True:
        await stage.round(min(FAULT_SECONDS, max(5.0, ends - time.monotonic() - BOUND[stage.mode])))
        say(f"{stage.name}: round {stage.counts['rounds']}, {len(stage.violations)} violations")
        if time.monotonic() + FAULT_SECONDS + 10 > ends:
            return


def report(stages: list[Stage], seed: int, seconds: float) -> str:
    counts = sum((stage.counts for stage in stages), Counter())
    suffered = sum((stage.suffered for stage in stages), Counter())
    done = sum((stage.done for stage in stages), Counter())
    for stage in stages:
        if stage.dynamo is not None:
            suffered += Counter({f"put: {k}": n for k, n in stage.dynamo.suffered.items() if k != "pass"})
    violations = [line for stage in stages for line in stage.violations]
    modes = dict.fromkeys(stage.mode for stage in stages)
    slowest = {mode: max(s.slowest for s in stages if s.mode == mode) for mode in modes}
    answers = ", ".join(f"{n} {name}" for name, n in sorted(counts.items()) if name.startswith("answers "))
    return "\n".join(
        [
            f"seed {seed}, {seconds / 60:.1f} minutes, {counts['rounds']} rounds on {len(stages)} stages",
            f"streams checked: {counts['streams']} (of {counts['clients']} clients); resets: {counts['resets']}",
            f"deliveries: {counts['deliveries']} of {counts['messages']} messages; POSTs: {answers}",
            f"provisionals cut off: {counts['provisionals cut off']}, excused: {counts['provisionals excused']}; "
            f"streams ended by a right's end: {counts['farewells']} told so, {counts['prefixes']} clients shut out",
            "operators: " + ", ".join(f"{n} {name}" for name, n in sorted(done.items())),
            "faults: " + ", ".join(f"{n} {name}" for name, n in sorted(suffered.items())),
            "whole after the last fault: "
            + ", ".join(f"{mode} {seconds:.1f} s" for mode, seconds in slowest.items()),
            f"violations: {len(violations)}",
            *(f"  - {line}" for line in violations[:50]),
        ]
    )
