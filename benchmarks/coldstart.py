"""A cold start in GRIP mode over DynamoDB: CPU and time until the first answers, and memory then.

The store is the stand-in for DynamoDB, the proxy one that only counts, both in processes of their own. The
first answer is a POST, the second a page: what each has to load is in its CPU. On a platform that starts a
process for a request, somebody waits for this.

python -m benchmarks.coldstart [--rounds 5]
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request

from tests.support.ports import free_port

from . import harness
from .options import options

SAID = json.dumps({"from": "ann", "text": "hi"}).encode()


def start(proxy: int, dynamo: int) -> dict:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    environ = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(harness.ROOT),
        "AWS_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{dynamo}",
    }
    arguments = ["--grip", f"--grip-url=http://127.0.0.1:{proxy}", "--store=dynamodb:bench", f"--port={port}"]
    began = time.monotonic()
    command = [sys.executable, "-m", "flychat", *arguments]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environ, stdout=quiet, stderr=quiet) as process:
        running = harness.Running(harness.CHAT, port, process)
        try:
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(f"{address}/rooms/room/messages/", SAID, headers)
            _answer(request, began)
            seconds, cpu = time.monotonic() - began, running.cpu()
            _answer(urllib.request.Request(f"{address}/room?user=ann"), began)
            paged = running.cpu()
            return {
                "ms": 1e3 * seconds,
                "cpu": 1e3 * cpu,
                "page": 1e3 * (paged - cpu),
                "mb": running.memory() / 1e6,
            }
        finally:
            process.terminate()


def _answer(request: urllib.request.Request, began: float) -> None:
    """The answer, as soon as there is one."""
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                answer.read()
                return
        except urllib.error.HTTPError:
            raise
        except OSError:
            if time.monotonic() - began > 30:
                raise
            time.sleep(0.01)


def run(rounds: int) -> dict:
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(harness.helper("grip_sink.py"))
        dynamo = stack.enter_context(harness.helper("dynamo_stand_in.py", "0"))
        start(proxy, dynamo)  # the files are read, and compiled
        return harness.medians([start(proxy, dynamo) for _ in range(rounds)])


def render(result: dict) -> str:
    head = ["CPU ms until the first POST is answered", "ms", "more CPU ms for the first page", "MB"]
    return harness.table(head, [[result[name] for name in ("cpu", "ms", "page", "mb")]])


if __name__ == "__main__":
    given = options(__doc__, rounds=5)
    print(render(run(given.rounds)))
    print(harness.load())
