"""A small part of the trial of revocations: python -m tests.proof.revoking"""

from __future__ import annotations

import asyncio

from tests.conftest import need
from tests.proof.revoking import trial


def test_who_is_revoked_is_given_nothing_more_and_nobody_else_is_cut(tmp_path):
    """Two processes: the other trial has one."""
    for name in ("pushpin", "moto.server", "aioboto3"):
        need(name)
    report = asyncio.run(trial(tmp_path, streams=20, revocations=5, seconds=2.0, processes=2))
    assert not report.wrong, report
    assert not report.after, report
    assert len(report.ends) > 7, report
    assert report.expiries, report


def test_where_each_poke_is_lost_the_next_recovery_is_the_end(tmp_path):
    need("pushpin")
    soon = "from flychat.hub import links; links.LINK_SECONDS = [4]"
    report = asyncio.run(trial(tmp_path, streams=20, revocations=5, seconds=1.0, lose=True, changed=soon))
    assert not report.wrong, report
    assert len(report.ends) > 5, report
