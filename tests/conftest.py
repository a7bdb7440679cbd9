"""Fixtures and helpers for several test files."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Generator, Iterator
from typing import Any

import hypothesis
import pytest
from tornado.httpclient import AsyncHTTPClient

# A deadline for an example would measure the machine, which may be busy.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")
AsyncHTTPClient.configure(None, defaults={"connect_timeout": 120.0, "request_timeout": 120.0})
os.environ.setdefault("FLYCHAT_RATE_LIMIT", "0")  # tests post faster than people; the limit has its own
ENDPOINT = os.environ.get("FLYCHAT_TEST_DYNAMODB_ENDPOINT")  # a DynamoDB of your choice
# Hundreds of Pythons start here, and each worker reads all tests: what they compile is kept.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[name]  # what tests ask is on this machine, and a proxy is not to be asked for it


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """-n auto"""
    from tests.support.workers import WORKERS_PER_CORE

    workers = yield
    return workers if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else workers * WORKERS_PER_CORE


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """--dist loadgroup"""
    from tests.support.workers import InTwoLanes

    return InTwoLanes(config, log) if config.getvalue("dist") == "loadgroup" else None


def need(name: str) -> None:
    """Skips the test where `name`, a module or a program, is missing. With CI=true it fails instead."""
    try:
        found = shutil.which(name) or importlib.util.find_spec(name)
    except ModuleNotFoundError:  # the parent of a dotted name
        found = None
    if found:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"{name} is missing, and CI must not skip")
    pytest.skip(f"{name} is missing", allow_module_level=True)


def need_ipv6() -> None:
    """Skips the test where the machine has no IPv6, in CI too: containers may be without."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")


@pytest.fixture(autouse=True)
def patient_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is busy with other tests is not a broken one."""
    for name in ("PUT_SECONDS", "READ_SECONDS", "IDLE_SECONDS"):
        monkeypatch.setattr(f"flychat.storage.worker.{name}", 60.0)


@pytest.fixture(scope="session")
def quick_clients() -> Iterator[None]:
    """All clients of DynamoDB share what botocore reads: a megabyte of descriptions, else parsed for each.

    Nor do they load the certificates that they trust: the imitations are asked by plain HTTP.
    """
    if not importlib.util.find_spec("botocore"):
        yield
        return
    from botocore.loaders import JSONFileLoader

    load = functools.cache(JSONFileLoader().load_file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda self, path: load(path))
        if importlib.util.find_spec("aiobotocore") and not ENDPOINT:
            patch.setattr("aiobotocore.httpsession.get_cert_path", lambda verify: None)
        yield


@pytest.fixture(scope="session")
def moto_endpoint(quick_clients: None) -> Iterator[str]:
    """The URL of an in-process imitation of DynamoDB, one per test process. Use a table per test.

    It shares the interpreter with the tests, and may be slow: it is given all the time that it needs.
    """
    need("moto.server")
    from moto.server import ThreadedMotoServer

    from tests.support.moto_process import make_atomic

    patient = pytest.MonkeyPatch()
    if importlib.util.find_spec("aioboto3"):
        for name in ("dynamodb_table.STARTING_SECONDS", "dynamodb.PUT_SECONDS", "dynamodb.READ_SECONDS"):
            patient.setattr(f"flychat.storage.{name}", 60)
    make_atomic(patient)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
    patient.undo()


@pytest.fixture(scope="session")
def dynalite_endpoint(quick_clients: None) -> Iterator[str]:
    """The URL of another imitation of DynamoDB, which somebody else has written: in Node, by what DynamoDB does."""
    from tests.support.npm import packages

    code = """
        const server = require('dynalite')({createTableMs: 0})
        server.listen(0, '127.0.0.1', () => console.log(server.address().port))
    """
    folder = packages({"dynalite": "3.2.2"})
    with subprocess.Popen(["node", "-e", code], cwd=folder, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout
            yield f"http://127.0.0.1:{int(program.stdout.readline())}"
        finally:
            program.kill()


def dynamo_environment(endpoint: str) -> dict[str, str]:
    """What a flychat has in its environment to use the DynamoDB at `endpoint`."""
    environ = {
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    if endpoint == ENDPOINT:  # which may ask for more than dummies
        environ |= {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return environ | {"AWS_ENDPOINT_URL_DYNAMODB": endpoint}


@pytest.fixture
def dynamo_environ(request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment for FLYCHAT_TEST_DYNAMODB_ENDPOINT, or else for moto."""
    return dynamo_environment(ENDPOINT or request.getfixturevalue("moto_endpoint"))


@pytest.fixture
def io_loop(io_loop):
    """pytest-tornado's loop, in which nothing is left: else another test would hear of it, in its log.

    If a test times out, it says where it waited. Nor may anything fail unheard in it, in a task or a callback,
    unless the test sets a handler of its own.
    """
    from tests.support.watched import watch

    watch(io_loop)
    loop, unheard = io_loop.asyncio_loop, list[Any]()

    def heard(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # Python 3.11 tells of a server's connection that is cut off, as below, as if that were an error.
        if not isinstance(context.get("exception"), asyncio.CancelledError):
            unheard.append(context)

    loop.set_exception_handler(heard)
    yield io_loop
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=10))
    unused = io_loop.old_asyncio  # made by Tornado; asyncio.run would drop it unclosed
    if unused is not None:
        unused.close()
    assert not unheard, unheard


both_pushpins = pytest.mark.parametrize("stage", ["pushpin", "FLYCHAT_TEST_PUSHPIN"], indirect=True)


@pytest.fixture
def stage(io_loop, tmp_path, request):
    """Real Pushpins and flychats, which end with the test. With `both_pushpins`: also another release of Pushpin."""
    program = getattr(request, "param", "pushpin")
    if program == "FLYCHAT_TEST_PUSHPIN":
        program = os.environ.get(program) or pytest.skip("FLYCHAT_TEST_PUSHPIN names no other Pushpin")
    need(program)
    from tests.support.pushpin_proxy import Stage

    stage = Stage(tmp_path, program)
    yield stage
    io_loop.run_sync(stage.close)


@pytest.fixture
def dynamo_table(io_loop, dynamo_environ):
    """The --store of a new table, the environment for it, and the DynamoProxy in front of it."""
    need("aioboto3")
    from flychat.storage.dynamodb_table import create_table
    from tests.support.dynamo_proxy import DynamoProxy

    table = f"flychat-{uuid.uuid4()}"

    async def prepare():
        await create_table(table, dynamo_environ)
        return await DynamoProxy.start(dynamo_environ["AWS_ENDPOINT_URL_DYNAMODB"])

    proxy = io_loop.run_sync(prepare)
    yield f"dynamodb:{table}", dynamo_environment(proxy.url), proxy
    io_loop.run_sync(proxy.close)
