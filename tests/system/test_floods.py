"""What one address can do with the largest messages: the memory of the whole process keeps to its bound.

A real server over a file with 60 rooms of the largest messages (16 kB on the wire), and --memory 32. The
bounds are in bytes, as the kernel counts them (VmRSS); how long others wait is measured by how long the server
works meanwhile, which is not more on a machine that is busy with other things.
"""

import asyncio
import contextlib
import json
import os
import re
import socket
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flychat.commits import COMMIT_BYTES, Commit
from flychat.fields import TEXT_CHARACTERS
from flychat.messages import Draft
from flychat.storage.sqlite import SqliteEngine
from tests.support.program import running

LARGE = "\N{GRINNING FACE}" * TEXT_CHARACTERS
ROOMS, MESSAGES = 60, 120
MEMORY = 32  # MB
SLACK = 64  # MB, for everything else
WAIT = 30
OTHERS_WAIT = (
    1.0  # seconds at the most that the server works until a POST of another is answered: ten times the bar
)

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="VmRSS is Linux's")


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """The file with the rooms; what the tests post stays in it, too."""
    file = tmp_path_factory.mktemp("floods") / "large.db"

    async def fill():
        engine = await SqliteEngine.open(str(file))
        each = COMMIT_BYTES // (len(LARGE.encode()) + 200)
        for room in range(ROOMS):
            for first in range(1, MESSAGES, each):
                fields = {"from": "ann", "text": LARGE, "provisionalId": str(uuid.uuid4())}
                drafts = [
                    Draft.create(f"r{room}", {**fields, "provisionalId": str(uuid.uuid4())}, now=0)
                    for _ in range(each)
                ]
                await engine.put(Commit.of(first, drafts))
        await engine.close()

    with ThreadPoolExecutor() as thread:  # else it would be the loop of this thread that is forgotten
        thread.submit(asyncio.run, fill()).result()
    return file


@contextlib.contextmanager
def serving(file):
    with running(
        "--standalone", "--port", "0", "--store", f"sqlite:{file}", "--memory", str(MEMORY), cwd=file.parent
    ) as program:
        yield program
        code, errors = program.end()
        assert code == 0
        assert "Traceback" not in errors


def resident(program) -> float:
    """MB, now."""
    return (
        int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{program.process.pid}/status").read_text())[1]) / 1024
    )


def address(program) -> tuple[str, int]:
    host, port = program.url.removeprefix("http://").split(":")
    return host, int(port)


def asking(program, path, *, headers="", receive=4096) -> socket.socket:
    """A connection that has asked, and does not read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    sock.connect(address(program))
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
    return sock


STREAM = "Accept: text/event-stream\r\n"


def worked(program) -> float:
    """Seconds of CPU. A busy machine has no more of them than a quiet one, though they take longer."""
    stat = Path(f"/proc/{program.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def post(program, room) -> float:
    """The seconds that the server works while somebody else waits for the answer to a POST."""
    fields = {"from": "bob", "text": "hi", "lastEventId": 10**6}
    request = urllib.request.Request(
        f"{program.url}/rooms/{room}/messages/",
        json.dumps(fields).encode(),
        {"Content-Type": "application/json"},
    )
    before = worked(program)
    with urllib.request.urlopen(request, timeout=WAIT) as answer:
        answer.read()
    return worked(program) - before


def under_flood(program, flood) -> None:
    """Has `flood` give connections that do not read, and others post meanwhile."""
    post(program, "others")
    before, waits, peak = resident(program), [], 0.0
    with contextlib.ExitStack() as open_:
        for sock in flood():
            open_.callback(sock.close)
            waits.append(post(program, "others"))
            peak = max(peak, resident(program))
    assert max(waits) < OTHERS_WAIT, "nobody else waits"
    assert peak - before < MEMORY + SLACK, f"from {before:.0f} to {peak:.0f} MB"


def test_streams_that_nobody_reads_do_not_grow_the_memory(filled):
    with serving(filled) as program:
        under_flood(
            program,
            lambda: (
                asking(
                    program,
                    f"/rooms/r{n % 3}/messages/",
                    headers=STREAM + f"Last-Event-ID: {MESSAGES - 60 + n % 50}\r\n",
                )
                for n in range(150)
            ),
        )


def test_one_look_at_each_of_many_large_rooms_does_not_grow_the_memory(filled):
    with serving(filled) as program:
        under_flood(
            program, lambda: (asking(program, f"/rooms/r{n}/messages/", headers=STREAM) for n in range(ROOMS))
        )


def test_pages_of_the_past_that_nobody_reads_do_not_grow_the_memory(filled):
    with serving(filled) as program:
        under_flood(
            program,
            lambda: (
                asking(program, f"/rooms/r{n % ROOMS}/messages/?before={MESSAGES - n % 7}&limit=200")
                for n in range(150)
            ),
        )


def test_room_pages_that_nobody_reads_do_not_grow_the_memory(filled):
    with serving(filled) as program:
        under_flood(
            program,
            lambda: (
                asking(
                    program,
                    f"/r{n % ROOMS}?user=x&before={MESSAGES - n % 7}",
                    headers="Accept: text/html\r\n",
                )
                for n in range(150)
            ),
        )


def test_posts_with_positions_of_long_ago_do_not_grow_the_memory(filled):
    def flood():
        for n in range(60):
            body = json.dumps({"from": "ann", "text": "hi", "lastEventId": 0}).encode()
            sock = socket.create_connection(address(program))
            sock.sendall(
                f"POST /rooms/r{n}/messages/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            yield sock

    with serving(filled) as program:
        under_flood(program, flood)
