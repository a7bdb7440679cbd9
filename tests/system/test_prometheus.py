"""A real Prometheus takes the metrics as they are, scrapes them, and evaluates the alerts of deploy/ on them."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.conftest import need
from tests.proof.oracle import WAIT, fetch
from tests.support.ports import free_port
from tests.support.program import get, post, running
from tests.support.pushpin_proxy import DEPLOY, eventually

gen_test = pytest.mark.gen_test(timeout=120)
GRIP = ("--grip", "--grip-url=http://127.0.0.1:1/")  # where nobody listens
MODES = [("--standalone",), GRIP]


@pytest.mark.parametrize("mode", MODES, ids=["standalone", "grip"])
def test_the_metrics_are_as_prometheus_wants_them(mode, tmp_path):
    need("promtool")
    with running(*mode, "--port", "0", "--store", "sqlite::memory:", cwd=tmp_path) as program:
        post(program, "hi")
        metrics = get(program.url + "/metrics")
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=metrics, capture_output=True, text=True, check=False
    )
    ours = [line for line in done.stderr.splitlines() if line.startswith("flychat_")]
    assert not ours, "what promtool says of flychat's own"
    assert "error while linting" not in done.stderr


async def asked(url: str, query: str) -> list[dict]:
    status, _, body = await fetch(url, f"/api/v1/query?query={quote(query)}")
    return json.loads(body)["data"]["result"] if status == 200 else []


@gen_test
async def test_it_scrapes_both_modes_and_an_alert_fires(tmp_path: Path):
    """One of two servers has lost its proxy: that alert becomes pending, and no other."""
    need("prometheus")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (
        running(*MODES[0], "--port", "0", "--store", "sqlite::memory:", cwd=tmp_path) as alone,
        running(*MODES[1], "--port", "0", "--store", "sqlite::memory:", cwd=tmp_path) as behind,
    ):
        for program in (alone, behind):
            post(program, "hi")
        targets = [program.url.partition("//")[2].rstrip("/") for program in (alone, behind)]
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(DEPLOY / "alerts.yaml")],
            "scrape_configs": [{"job_name": "flychat", "static_configs": [{"targets": targets}]}],
        }
        (tmp_path / "prometheus.yml").write_text(json.dumps(config))
        process = await asyncio.create_subprocess_exec(
            "prometheus",
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stderr=subprocess.DEVNULL,
        )

        async def seen(query: str) -> set[str]:
            try:
                return {
                    series["metric"].get("instance", series["metric"].get("alertname"))
                    for series in await asked(url, query)
                }
            except OSError:
                return set()

        async def posts() -> bool:
            return await seen('flychat_posts_total{job="flychat", status="200"} == 1') == set(targets)

        async def pending() -> bool:
            return bool(await seen('ALERTS{alertname="FlychatProxyLost"}'))

        try:
            await eventually(posts, 3 * WAIT)
            await eventually(pending, 3 * WAIT)
            alerts = await asked(url, "ALERTS")
            assert {alert["metric"]["instance"] for alert in alerts} == {targets[1]}
            assert {alert["metric"]["alertname"] for alert in alerts} == {"FlychatProxyLost"}
        finally:
            process.terminate()
            await process.wait()
