"""The program: how it starts and says why not, how it ends, what survives, and how it is installed."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
import venv
import zipfile
from pathlib import Path

import pytest

from flychat.storage.dynamodb import DynamoEngine
from flychat.storage.dynamodb_table import create_table
from tests.conftest import need
from tests.support.dynamo_proxy import DynamoProxy
from tests.support.program import (
    PATIENCE,
    ROOT,
    STANDALONE,
    Program,
    command,
    environment,
    get,
    messages,
    post,
    refused,
    running,
)
from tests.support.served import Client, draft, fields, served


@contextlib.asynccontextmanager
async def connected(program: Program):
    host, port = program.url.removeprefix("http://").rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def listening(program: Program, count: int):
    """Clients whose streams are open."""
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for _ in range(count):
            client = Client(*await stack.enter_async_context(connected(program)))
            client.writer.write(
                b"GET /rooms/room/messages/ HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"
            )
            await client.opened()
            assert (await client.next()).type == "stream-open"
            clients.append(client)
        yield clients


def test_it_says_where_to_go_and_where_the_messages_are(tmp_path):
    with running(*STANDALONE, cwd=tmp_path) as program:
        assert "flychat.db" in program.first_line
        assert "Join" in get(program.url + "/tea")
        assert program.end()[0] == 0
    assert (tmp_path / "flychat.db").exists()
    with running(*STANDALONE, "--store", "sqlite::memory:", cwd=tmp_path) as program:
        assert "until the process ends" in program.first_line


def test_variables_do_what_flags_do(tmp_path):
    environ = {"FLYCHAT_STANDALONE": "1", "FLYCHAT_PORT": "0", "FLYCHAT_STORE": "sqlite:x.db"}
    with running(cwd=tmp_path, environ=environ):
        assert (tmp_path / "x.db").exists()


def test_a_misspelt_variable_is_told(tmp_path):
    with running(*STANDALONE, cwd=tmp_path, environ={"FLYCHAT_ACESS": "staff*="}) as program:
        status, log = program.end()
    assert (status, log.count("\n")) == (0, 1)
    assert "FLYCHAT_ACESS is no option" in log


def test_what_is_not_used_is_not_imported(tmp_path):
    """With SQLite: nothing of AWS, which takes half a second, and nothing of GRIP."""
    with running(*STANDALONE, cwd=tmp_path, python=(sys.executable, "-X", "importtime")) as program:
        get(program.url + "/room?user=ann")
        post(program, "hi")
        code, imported = program.end()
    assert code == 0
    assert "flychat.storage.sqlite" in imported
    for module in ("aioboto3", "botocore", "aiohttp", "gripcontrol", "requests"):
        assert module not in imported


def test_messages_are_there_after_kill_9(tmp_path):
    with running(*STANDALONE, cwd=tmp_path) as program:
        written = [post(program, f"{n}") for n in range(5)]
        program.end(signal.SIGKILL)
    with running(*STANDALONE, cwd=tmp_path) as program:
        assert messages(program) == written
        assert post(program, "next")["id"] == 6
        assert "next" in get(program.url + "/room?user=ann")


@pytest.mark.gen_test
async def test_a_signal_ends_it_cleanly_and_its_streams_with_it(tmp_path):
    for number in (signal.SIGTERM, signal.SIGINT):
        with running(*STANDALONE, cwd=tmp_path) as program:
            async with listening(program, 3) as clients:
                assert await asyncio.to_thread(program.end, number) == (0, "")
                for client in clients:
                    assert (await client.at_end()).endswith(b"\n\n")


@pytest.mark.gen_test
async def test_a_post_under_way_is_finished_and_a_second_signal_a_while_later_ends_at_once(tmp_path):
    """Two at once are one, which has come on two ways: from the terminal and from a parent, for example."""
    head = b"POST /rooms/room/messages/ HTTP/1.1\r\nHost: x\r\nContent-Length: 18\r\n"
    head += b"Content-Type: application/x-www-form-urlencoded\r\n\r\nfrom"
    with running(*STANDALONE, cwd=tmp_path) as program:
        async with connected(program) as (reader, writer):
            writer.write(head)
            await until_draining(program, signal.SIGINT)
            writer.write(b"=ann&text=slow")
            assert (await asyncio.wait_for(reader.read(), PATIENCE)).startswith(b"HTTP/1.1 200 ")
        assert (await asyncio.to_thread(program.process.wait, PATIENCE)) == 0
    with running(*STANDALONE, cwd=tmp_path) as program:
        assert [m["text"] for m in messages(program)] == ["slow"]
        async with connected(program) as (_, writer):
            writer.write(head)
            await until_draining(program)
            while program.process.poll() is None:
                program.process.send_signal(signal.SIGTERM)
                await asyncio.sleep(0.1)
            assert program.process.returncode == 1


AS_PROCESS_1 = ("unshare", "--pid", "--fork", "--kill-child")


@pytest.mark.parametrize("prefix", [(), AS_PROCESS_1], ids=["a process", "process 1"])
@pytest.mark.parametrize(
    "arguments", [STANDALONE, ("tail", "http://127.0.0.1:9/tea")], ids=["server", "tail"]
)
def test_a_sigterm_ends_it_while_it_is_still_starting(prefix, arguments, tmp_path):
    """Process 1, which it is in a container, is given only the signals that it has asked for."""
    need("unshare")
    if prefix and subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no process 1 can be made here: that takes root")
    slow = "import time\nprint('importing', flush=True)\ntime.sleep(600)\n"
    for module in ("tornado", "aiohttp"):
        (tmp_path / f"{module}.py").write_text(slow)
    environ = environment({"PYTHONPATH": f"{tmp_path}:{ROOT}"})
    with subprocess.Popen(
        [*prefix, *command(*arguments)], cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "importing\n"
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(children[0]) if prefix else process.pid, signal.SIGTERM)
            status = process.wait(PATIENCE)
        finally:
            process.kill()
    assert status == (128 + signal.SIGTERM if prefix else -signal.SIGTERM)


def test_ctrl_c_while_it_is_still_starting_ends_it_without_a_traceback(tmp_path):
    (tmp_path / "tornado.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    environ = environment({"PYTHONPATH": f"{tmp_path}:{ROOT}"})
    ended = subprocess.run(
        command(*STANDALONE), cwd=tmp_path, env=environ, capture_output=True, timeout=PATIENCE, check=False
    )
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, b"")


def test_its_files_can_be_read_by_their_owner_only(tmp_path):
    before = os.umask(0o022)
    try:
        with running(*STANDALONE, cwd=tmp_path) as program:
            post(program, "hi")
            modes = {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    names = ("flychat.db", "flychat.db-lock", "flychat.db-shm", "flychat.db-wal")
    assert modes == dict.fromkeys(names, "0o600")


HANGING = {
    "a thread": "await asyncio.get_running_loop().run_in_executor(None, time.sleep, 600)",
    "what cannot be cancelled": """
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(600)""",
}
STOPPED = """
import asyncio, contextlib, sys, time
from flychat import server

async def stop(self):
    {}

server.EXIT_SECONDS, server.Server.stop = 0.2, stop
sys.exit(server.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("name", HANGING)
def test_what_cannot_be_ended_does_not_keep_the_process(name, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED.format(HANGING[name]), *STANDALONE],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


async def until_draining(program: Program, *more: signal.Signals) -> None:
    """Sends SIGTERM, once the requests before this have been read, and waits until it has its effect."""
    await asyncio.to_thread(get, program.url + "/healthz")
    for number in (signal.SIGTERM, *more):
        program.process.send_signal(number)
    with contextlib.suppress(ConnectionRefusedError, ConnectionResetError):  # reset: closed while we connect
        while True:
            async with connected(program):
                await asyncio.sleep(0)


# On a slow machine the requests below would wait for half a second, and be refused as too many for it; or the
# bucket would fill faster than they empty it. So nothing is late here, and no time passes for the limit.
TIMELESS = """
import math, sys
from flychat.__main__ import main
from flychat.web import rate, shedding
shedding.LATE = math.inf
wait = rate.RateLimit.wait
rate.RateLimit.wait = lambda limit, client, now, cost=1: wait(limit, client, 0.0, cost)
sys.exit(main(sys.argv[3:]))
"""


def test_a_client_that_posts_too_often_is_slowed_down_by_default(tmp_path):
    form = b"from=ann&text=hi"
    head = b"POST /rooms/room/messages/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    request = head + b"Content-Length: %d\r\n\r\n%b" % (len(form), form)
    python = (sys.executable, "-c", TIMELESS)
    with running(*STANDALONE, cwd=tmp_path, environ={"FLYCHAT_RATE_LIMIT": ""}, python=python) as program:
        host, port = program.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), PATIENCE) as client:
            client.sendall(500 * request)  # at once, so that no machine is too slow for it
            answers = b""
            while not (refusal := re.search(rb"HTTP/1.1 429 [^\r]*\r\n(.*?)\r\n\r\n", answers, re.DOTALL)):
                data = client.recv(65536)
                assert data, answers
                answers += data
        assert b"Retry-After: 1" in refusal[1].split(b"\r\n")
        assert answers.count(b"HTTP/1.1 200 ") == 40


def test_why_it_does_not_start_is_one_line(tmp_path):
    (tmp_path / "text.db").write_text("this is no database, but long enough to be looked at" * 20)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for arguments, says in (
            ((), "--standalone"),
            (("--standalone", "--port", "70000"), "--port"),
            (("--standalone", "--port", str(port)), "in use"),
            ((*STANDALONE, "--store", "sqlite:no/such/folder/x.db"), "no/such/folder"),
            ((*STANDALONE, "--store", "sqlite:text.db"), "text.db"),
        ):
            assert says in refused(*arguments, cwd=tmp_path)


def test_a_second_process_on_the_same_file_is_refused(tmp_path):
    with running(*STANDALONE, cwd=tmp_path) as program:
        assert "flychat.db" in refused(*STANDALONE, cwd=tmp_path)
        assert post(program, "still here")["id"] == 1


def test_a_table_is_created_and_used(tmp_path, dynamo_environ):
    table = f"flychat-{uuid.uuid4()}"
    store = ("--store", f"dynamodb:{table}")
    assert table in refused(*STANDALONE, *store, cwd=tmp_path, environ=dynamo_environ)
    for _ in range(2):
        made = subprocess.run(
            command("--create-table", *store),
            cwd=tmp_path,
            env=environment(dynamo_environ),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        assert table in made.stdout
    with running(*STANDALONE, *store, cwd=tmp_path, environ=dynamo_environ) as program:
        assert table in program.first_line
        assert post(program, "hi")["id"] == 1
        assert program.end() == (0, "")


@pytest.mark.gen_test
async def test_200_posts_at_once_reach_each_of_50_listeners_once_and_in_order(tmp_path):
    with running(*STANDALONE, cwd=tmp_path) as program:
        async with listening(program, 50) as clients:
            posts = await asyncio.gather(*(asyncio.to_thread(post, program, f"{n}") for n in range(200)))
            assert sorted(message["id"] for message in posts) == list(range(1, 201))
            for client in clients:
                assert await client.until_id(200) == list(range(1, 201))


@pytest.mark.gen_test
async def test_listeners_see_a_message_while_a_distant_database_is_still_being_asked(dynamo_environ):
    table = f"flychat-{uuid.uuid4()}"
    await create_table(table, dynamo_environ)
    proxy = await DynamoProxy.start(dynamo_environ["AWS_ENDPOINT_URL_DYNAMODB"], delay=0.2)
    try:
        engine = await DynamoEngine.open(table, {**dynamo_environ, "AWS_ENDPOINT_URL_DYNAMODB": proxy.url})
        async with served(engine=engine) as chat:
            client = await chat.stream()
            await chat.post("the room is warm")
            await client.until_id(1)
            posting = asyncio.create_task(chat.application.chat.post(draft("hi")))
            shown = await client.next()
            assert (shown.last_id, fields(shown)["text"]) == ("", "hi")
            assert "id" not in fields(shown)
            assert not posting.done()
            assert await client.until_id(2) == [1, 2]
            assert (await posting).id == 2
    finally:
        await proxy.close()


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of the sources, to be built in."""
    copy = tmp_path_factory.mktemp("source") / "flychat"
    ignored = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "node_modules")
    shutil.copytree(ROOT, copy, ignore=ignored)
    return copy


def test_nothing_is_installed_that_another_version_left_in_the_folder_of_builds(source, tmp_path):
    """On the way back, the files of a tarball are older than what setuptools has built from those of the newer version."""
    left = source / "build" / "lib" / "flychat"
    left.mkdir(parents=True, exist_ok=True)
    (left / "errors.py").write_text("newer")
    (left / "gone.py").write_text("of another version")
    later = time.time() + 3600
    os.utime(left / "errors.py", (later, later))
    as_pip_does = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", as_pip_does, tmp_path], cwd=source, check=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as built:
        assert built.read("flychat/errors.py") == (source / "flychat" / "errors.py").read_bytes()
        assert "flychat/gone.py" not in built.namelist()


@pytest.mark.parametrize("how", ["wheel", "editable"])
def test_it_finds_its_files_however_it_is_installed(how, source, tmp_path):
    """In an environment of its own, which sees the libraries of this one, and from an empty directory."""
    empty, place = tmp_path / "empty", tmp_path / "venv"
    empty.mkdir()
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    (libraries,) = place.glob("lib/python*/site-packages")
    (libraries / "libraries.pth").write_text(str(Path(pytest.__file__).parent.parent) + "\n")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--no-deps",
        "--no-build-isolation",
        "-q",
    ]
    target = ["--editable", str(source)] if how == "editable" else [str(source)]
    subprocess.run([*pip, "--force-reinstall", *target], check=True, timeout=120)
    environ = {"PYTHONPATH": ""}
    where = subprocess.run(
        [python, "-c", "import flychat; print(flychat.__file__)"],
        cwd=empty,
        env=environment(environ),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert str(source if how == "editable" else place) in where
    with running(*STANDALONE, cwd=empty, environ=environ, python=(str(python),)) as program:
        page = get(program.url + "/room?user=ann")
        assert 'role="log"' in page
        for link in page.split('"/static/')[1:]:
            assert get(f"{program.url}/static/{link.split(chr(34))[0]}")
