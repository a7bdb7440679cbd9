"""A short campaign: real parts, real faults. More of it: python -m tests.proof.soak --minutes 10 --seed S"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

from tests.conftest import need
from tests.proof.judge import BOUND
from tests.proof.soak.running import report, soak

SECONDS = 20.0  # one round of each stage, and that of five seconds


def test_a_short_campaign_violates_nothing(tmp_path, caplog, monkeypatch):
    for name in ("pushpin", "moto.server", "aioboto3"):
        need(name)
    for mode, seconds in BOUND.items():  # beside other tests it is not to measure the machine
        monkeypatch.setitem(BOUND, mode, seconds + 60)
    monkeypatch.setattr("tests.proof.soak.stage.GONE_SECONDS", 60.0)
    caplog.set_level(logging.CRITICAL)
    lines: list[str] = []
    stages = asyncio.run(soak(SECONDS, 5, tmp_path, lines.append))
    told = report(stages, 5, SECONDS)
    assert not any(stage.violations for stage in stages), told
    done = sum((stage.done for stage in stages), Counter())
    assert done.total() > 3, told
    for stage in stages:
        assert stage.counts["deliveries"] > 20, told  # few on a busy machine
        assert stage.suffered, told
        assert stage.slowest < BOUND[stage.mode], told
