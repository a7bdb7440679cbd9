"""A round on a platform that freezes. More of it: python -m tests.proof.frozen --minutes 10 --seed S"""

from __future__ import annotations

import asyncio
import logging

from tests.conftest import need
from tests.proof.frozen import frozen, told

SECONDS = 4.0


def test_what_is_stopped_the_moment_it_has_answered_has_nothing_left_to_do(tmp_path, caplog):
    for name in ("pushpin", "moto.server", "aioboto3"):
        need(name)
    caplog.set_level(logging.CRITICAL)
    stage = asyncio.run(
        frozen(SECONDS, 3, tmp_path, lambda line: None, killed=0.1, instances=2, ordered=True)
    )
    report = told(stage, 3, SECONDS)
    assert stage.taking is not None
    assert not stage.taking.early, (stage.taking.early, report)
    assert not stage.violations, report
    assert stage.taking.judged > 5, report
    assert stage.counts["deliveries"] > 20, report
    assert stage.platform.counts["killed"], report
