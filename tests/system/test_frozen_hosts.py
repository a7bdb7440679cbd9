"""Platforms that freeze: what deploy/ tells flychat there is understood, and what they do is played.

The adapter of Lambda: it waits for a readiness path, gives an instance one request at a time, lets it be frozen
after each answer, and ends it with SIGTERM. In front of it is a hosted GRIP proxy that is strict (hosted.py).
"""

from __future__ import annotations

import asyncio
import re
import shlex
import signal
import tomllib

import pytest

from flychat.config import Config
from tests.proof.oracle import WAIT, Crowd, fetch, post
from tests.support.freezing import FreezingPlatform
from tests.support.hosted import SERVICE, Hosted
from tests.support.ports import free_port
from tests.support.pushpin_proxy import DEPLOY, App, eventually, new_room

gen_test = pytest.mark.gen_test
OURS = {
    "GRIP_URL": "https://api.example.com/service/ID?key=token",
    "FLYCHAT_HOST": "0.0.0.0",
}  # secret; the image's


def lambda_variables() -> dict[str, str]:
    """What the image for Lambda sets."""
    lines = re.findall(r"(?m)^ENV (.*)$", (DEPLOY / "lambda" / "Dockerfile").read_text())
    return dict(word.split("=", 1) for line in lines for word in shlex.split(line))


def test_what_lambda_is_told_is_understood():
    variables = lambda_variables()
    config = Config.read(["--grip"], {**OURS, **variables})
    assert (config.mode, config.engine, config.host) == ("grip", "dynamodb", "127.0.0.1")
    assert str(config.port) == variables["AWS_LWA_PORT"] not in ("3000", "9001")
    assert config.memory < 64
    assert not config.answer_first


def test_what_cloud_run_is_told_is_understood():
    text = (DEPLOY / "cloudrun.md").read_text()
    words = shlex.split(re.search(r"(?s)```\n(gcloud .*?)```", text)[1].replace("\\\n", " "))
    variables = dict(pair.split("=", 1) for pair in words[words.index("--set-env-vars") + 1].split(","))
    config = Config.read(
        [word.removeprefix("--args=") for word in words if word.startswith("--args=")], {**OURS, **variables}
    )
    assert (config.mode, config.engine) == ("grip", "dynamodb")
    assert str(config.port) == words[words.index("--port") + 1]
    assert set(variables) <= {
        "AWS_REGION",
        *(f"FLYCHAT_{name}" for name in ("STORE", "LOG_FORMAT", "MEMORY")),
    }
    told = [
        word
        for word in words
        if word.startswith("--") and word not in ("--image", "--set-env-vars", "--set-secrets", "--cpu")
    ]
    assert not [word for word in told if word.partition("=")[0] not in text.partition("| what | why |")[2]], (
        "each has its reason"
    )


def test_what_fly_is_told_is_understood():
    told = tomllib.loads((DEPLOY / "fly.toml").read_text())
    config = Config.read([told["processes"]["app"]], {**OURS, **told["env"]})
    assert (config.mode, config.engine) == ("grip", "dynamodb")
    assert config.port == told["http_service"]["internal_port"]
    assert told["http_service"]["min_machines_running"] == 0
    assert (DEPLOY / told["build"]["dockerfile"]).exists()


@gen_test
async def test_lambda_is_ready_answers_one_at_a_time_is_frozen_after_each_and_ends_by_sigterm(
    tmp_path, dynamo_table
):
    variables = lambda_variables()
    store, environ, _ = dynamo_table
    ports = free_port(), free_port()  # of Lambda, where the proxy sends all, and of flychat
    proxy = Hosted(ports[0])
    app = App(
        ports[1],
        [],
        {**variables, **environ, "FLYCHAT_STORE": store, "GRIP_URL": proxy.grip_url},
        tmp_path / "log",
    )
    platform = FreezingPlatform([app])
    crowd = None
    try:
        await app.start()
        readiness = variables["AWS_LWA_READINESS_CHECK_PATH"]
        assert (await fetch(app.url, readiness))[0] == 200, app.log()
        assert proxy.refused == [(404, f"/service/{SERVICE}/recover/")], "asked before anything is answered"
        assert app.process is not None
        app.process.send_signal(signal.SIGSTOP)
        await platform.listen(ports[0])
        crowd = await Crowd.open(proxy.url, new_room(), 5)
        room = crowd.listeners[0].room
        answers = await asyncio.gather(*(post(proxy.url, room, f"text {n}") for n in range(10)))
        assert {status for status, _ in answers} == {200}, app.log()
        await eventually(platform.frozen)
        await crowd.until_id(10)
        crowd.check(10)
        assert platform.counts["started"] == 0, "one instance did it all"
        assert platform.counts["stopped"] >= 15
        await platform.retire()  # else it kills one that ends while it is asked for something
        app.process.send_signal(signal.SIGTERM)
        app.process.send_signal(signal.SIGCONT)
        assert await asyncio.wait_for(app.process.wait(), WAIT) == 0
    finally:
        if crowd is not None:
            await crowd.close()
        await platform.close()
        await proxy.close()
