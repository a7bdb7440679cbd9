"""A real Prometheus takes the metrics as they are, scrapes them, and evaluates the alerts of deploy/ on them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

from flychat.private_pushpin import PushpinChild
from tests.conftest import need
from tests.proof.oracle import WAIT, fetch
from tests.support.ports import free_port
from tests.support.program import get, post, running
from tests.support.pushpin_proxy import DEPLOY, ROOT, eventually

gen_test = pytest.mark.gen_test
GRIP = ("--grip", "--grip-url=http://127.0.0.1:1/")  # where nobody listens
OPERATING = ROOT / "docs" / "operating.md"
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


class Prometheus:
    """A running one, asked over HTTP."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    async def asked(self, query: str) -> list[dict]:
        try:
            status, _, body = await fetch(self.url, f"/api/v1/query?query={quote(query)}")
        except OSError:
            return []
        return [each["metric"] for each in json.loads(body)["data"]["result"]] if status == 200 else []

    async def until(self, query: str, label: str, wanted: set[str]) -> None:
        """Until the query gives series, and these are their labels."""

        async def seen() -> bool:
            return {series[label] for series in await self.asked(query)} == wanted

        await eventually(seen, 3 * WAIT)


@contextlib.asynccontextmanager
async def prometheus(folder: Path, jobs: list[dict]) -> AsyncIterator[Prometheus]:
    """With these scrape_configs, and the alerts of deploy/."""
    need("prometheus")
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(DEPLOY / "alerts.yaml")],
        "scrape_configs": jobs,
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{(port := free_port())}",
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Prometheus(port)
    finally:
        process.terminate()
        await process.wait()


def target(url: str) -> str:
    return url.partition("//")[2].rstrip("/")


@gen_test
async def test_it_scrapes_both_modes_and_an_alert_fires(tmp_path: Path):
    """One of two servers has lost its proxy: that alert becomes pending, and no other."""
    with (
        running(*MODES[0], "--port", "0", "--store", "sqlite::memory:", cwd=tmp_path) as alone,
        running(*MODES[1], "--port", "0", "--store", "sqlite::memory:", cwd=tmp_path) as behind,
    ):
        for program in (alone, behind):
            post(program, "hi")
        targets = [target(program.url) for program in (alone, behind)]
        jobs = [{"job_name": "flychat", "static_configs": [{"targets": targets}]}]
        async with prometheus(tmp_path, jobs) as watching:
            await watching.until(
                'flychat_posts_total{job="flychat", status="200"} == 1', "instance", set(targets)
            )
            await watching.until("ALERTS", "alertname", {"FlychatProxyLost"})
            assert {alert["instance"] for alert in await watching.asked("ALERTS")} == {targets[1]}


@gen_test
async def test_a_pushpin_that_is_down_is_told_though_nothing_is_published(tmp_path: Path):
    """With the scrape_configs of docs/operating.md, but for the addresses."""
    need("pushpin")
    need("yaml")
    import yaml

    (documented,) = re.findall(r"(?s)```yaml\n# prometheus.yml\n(.*?)```", OPERATING.read_text())
    own, through = yaml.safe_load(documented)["scrape_configs"]
    port = free_port()
    pushpin = await PushpinChild.start(DEPLOY, [f"127.0.0.1:{port}"])
    try:
        arguments = (
            "--grip",
            "--grip-url",
            pushpin.grip_url,
            "--port",
            str(port),
            "--store",
            "sqlite::memory:",
        )
        with running(*arguments, cwd=tmp_path) as program:
            own["static_configs"] = [{"targets": [target(program.url)]}]
            through["static_configs"] = [{"targets": [target(pushpin.url)]}]
            async with prometheus(tmp_path, [own, through]) as watching:
                await watching.until("up == 1", "job", {"flychat", "flychat-proxy"})
                await watching.until("flychat_grip_answering == 1", "job", {"flychat"})
                await pushpin.stop()
                await watching.until("ALERTS", "alertname", {"FlychatProxyDown"})
    finally:
        await pushpin.stop()
