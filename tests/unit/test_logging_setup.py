"""The log: lines for people or for programs, and nothing of what people write to each other."""

import asyncio
import contextlib
import json
import logging
import os
import pty
import re
import select
import subprocess
import sys

import pytest
from prometheus_client import REGISTRY

from flychat.errors import Unavailable
from flychat.log import room as room_module
from flychat.logging_setup import JsonFormatter, LogHandler, unblocked
from flychat.seldom import Seldom
from flychat.storage import Broken
from tests.support.asking import ROOM, ask
from tests.support.asking import post as send
from tests.support.fakes import raising
from tests.support.program import STANDALONE, Program, command, environment, post, running
from tests.support.served import served


def test_a_record_is_one_line_of_json_whatever_it_holds():
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.LogRecord("flychat.x", logging.ERROR, "", 0, "%s\n\u2028", ("odd",), sys.exc_info())
    (line,) = JsonFormatter().format(record).splitlines()
    fields = json.loads(line)
    assert fields["message"] == "odd\n\u2028"
    assert (fields["level"], fields["logger"]) == ("ERROR", "flychat.x")
    assert "ValueError: two\nlines" in fields["exception"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", fields["time"])


@pytest.mark.gen_test
async def test_an_answer_that_is_our_fault_has_an_id_that_is_in_the_log(monkeypatch, caplog):
    monkeypatch.setattr(room_module, "DEADLINE", 1.0)
    async with served(["lose"] * 9) as chat:
        response = await send(chat, {"from": "secret sender", "text": "secret text"})
        assert response.code == 503
        line = f"POST {ROOM}: 503 unavailable: the message store does not answer (request "
        assert line + response.headers["X-Request-Id"] in caplog.text
        assert "secret" not in caplog.text
        assert "X-Request-Id" not in (await ask(chat, "/no/such")).headers


@pytest.mark.gen_test
async def test_the_log_says_why_the_store_could_not_be_read(caplog):
    async with served() as chat:
        for n in range(2):
            chat.engine.read_faults.append(failure := Broken(f"not authorized {n}"))
            failure.__cause__ = OSError("403")  # of the engine's own library
        page, ready = await ask(chat, ROOM), await ask(chat, "/readyz")
        assert (page.code, ready.code) == (503, 503)
        assert b"authorized" not in page.body + ready.body
        assert [line.partition(" (")[0] for line in caplog.messages] == [
            f"GET {ROOM}: 503 unavailable: not authorized 0",
            "GET /readyz: 503 not_ready: not authorized 1",
        ]


def test_what_happens_often_is_told_once_a_minute_with_how_often_it_was(caplog):
    now = 0.0
    seldom = Seldom(logging.getLogger("flychat.x"), logging.ERROR, lambda: now)
    assert seldom.tell("%d streams", 1)
    for _ in range(10):
        now += 5.9
        assert not seldom.tell("never seen")
    now = 60.0
    assert seldom.tell("%d streams", 2)
    now = 200.0
    assert seldom.tell("%d%%", 3)
    assert caplog.messages == [
        "1 streams",
        "2 streams (10 more of this kind since the last such line)",
        "3%",
    ]
    assert {record.levelname for record in caplog.records} == {"ERROR"}


@contextlib.contextmanager
def full_pipe():
    """Both ends of a pipe that takes no more: its reader hangs."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    os.set_blocking(writing, True)
    with open(reading) as reader, open(writing, "w") as writer:
        yield reader, writer


def emptied(reader) -> list[str]:
    """The lines that it holds."""
    return os.read(reader.fileno(), 1 << 20).decode(errors="ignore").strip("\0").splitlines()


def test_a_log_that_nobody_reads_stops_nobody_and_says_later_what_is_lost():
    with full_pipe() as (reader, writer):
        handler = LogHandler(writer.fileno())
        record = logging.makeLogRecord({"msg": "a line"})
        for _ in range(3):
            handler.emit(record)
        assert emptied(reader) == []
        for _ in range(2):
            handler.emit(record)
        told = "3 lines before this one are lost: the log took no more"
        assert emptied(reader) == [told, "a line", "a line"]


def test_a_long_line_does_not_wait_for_a_reader_either():
    with full_pipe() as (reader, writer):
        handler = LogHandler(writer.fileno())
        os.read(reader.fileno(), 4096)  # room for a part of it
        handler.emit(logging.makeLogRecord({"msg": "\u20ac" * 100_000}))
        assert set("".join(emptied(reader))) == {"\u20ac"}
        handler.emit(logging.makeLogRecord({"msg": "a line"}))
        assert emptied(reader)[-1] == "a line"


def test_a_terminal_that_nobody_reads_stops_nobody_either():
    reading, writing = pty.openpty()
    with open(reading) as reader, open(writing, "w") as terminal:
        handler = LogHandler(own := unblocked(terminal.fileno()))
        for _ in range(1000):
            handler.emit(logging.makeLogRecord({"msg": "a line" * 100}))
        while select.select([reader], [], [], 0.2)[0]:
            os.read(reading, 1 << 16)
        handler.emit(logging.makeLogRecord({"msg": "the last line"}))
        told = ""
        while "the last line" not in told:
            told += os.read(reading, 1 << 16).decode()
        assert told.splitlines()[-2].endswith(" lines before this one are lost: the log took no more")
        assert os.get_blocking(terminal.fileno()), "others write to it, too"
        os.close(own)


def test_a_server_whose_log_nobody_reads_goes_on(tmp_path):
    with (
        full_pipe() as (reader, writer),
        subprocess.Popen(
            command(*STANDALONE, "--log-posts"),
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=writer,
            text=True,
        ) as process,
    ):
        try:
            program = Program(process, reader)
            assert [post(program, "text")["id"] for _ in range(5)] == [1, 2, 3, 4, 5]
            emptied(reader)
            post(program, "text")
            assert "5 lines before this one are lost" in emptied(reader)[0]
        finally:
            process.kill()


def failures(code: str) -> float:
    return REGISTRY.get_sample_value("flychat_failures_total", {"code": code}) or 0


@pytest.mark.gen_test
async def test_streams_that_are_refused_are_told_once_and_counted(caplog):
    async with served(max_streams=1) as chat:
        await chat.stream()
        before = failures("full"), failures("not_ready")
        answers = [await ask(chat, ROOM, Accept="text/event-stream") for _ in range(30)]
        chat.application.draining = True
        answers += [await ask(chat, "/readyz") for _ in range(30)]
        assert {answer.code for answer in answers} == {503}
        assert (failures("full"), failures("not_ready")) == (before[0] + 30, before[1] + 30)
        told = [answer for answer in answers if "X-Request-Id" in answer.headers]
        assert [answers.index(answer) for answer in told] == [0, 30], "another failure is told of its own"
        assert len(caplog.messages) == 2
        for answer, line in zip(told, caplog.messages, strict=True):
            assert answer.headers["X-Request-Id"] in line


@pytest.mark.gen_test
async def test_a_store_that_does_not_answer_is_one_line_however_many_rooms_wait_for_it(monkeypatch, caplog):
    monkeypatch.setattr(room_module, "DEADLINE", 1.0)
    async with served(["lose"] * 999) as chat:
        posts = (chat.post(room=f"room{n}") for n in range(50))
        outcomes = await asyncio.gather(*posts, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {Unavailable}
        assert len([line for line in caplog.messages if "store does not answer" in line]) == 1


@pytest.mark.gen_test
async def test_a_fault_of_ours_is_told_each_time(caplog):
    async with served() as chat:
        chat.log.page = raising(RuntimeError("a bug"))
        for _ in range(3):
            response = await ask(chat, ROOM)
            assert response.code == 500
            assert response.headers["X-Request-Id"] in caplog.text
        assert caplog.text.count("RuntimeError: a bug") == 3


def test_the_log_of_a_busy_server_is_silent_in_either_format(tmp_path):
    for form in ("plain", "json"):
        with running(*STANDALONE, "--log-format", form, cwd=tmp_path) as program:
            post(program, "nobody needs to know")
            assert program.end() == (0, "")
