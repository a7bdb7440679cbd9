"""The log: lines for people or for programs, and nothing of what people write to each other."""

import json
import logging
import re
import sys

import pytest

from flychat import log as log_module
from flychat.logs import JsonFormatter
from tests.program import running
from tests.served import served
from tests.test_server import STANDALONE, post
from tests.test_web import ROOM, ask
from tests.test_web import post as send


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
    monkeypatch.setattr(log_module, "DEADLINE", 0.05)
    async with served(["lose"] * 9) as chat:
        response = await send(chat, {"from": "secret sender", "text": "secret text"})
        assert response.code == 503
        assert f"POST {ROOM}: 503 (request {response.headers['X-Request-Id']})" in caplog.text
        assert "secret" not in caplog.text
        assert "X-Request-Id" not in (await ask(chat, "/no/such")).headers


def test_the_log_of_a_busy_server_is_silent_in_either_format(tmp_path):
    for form in ("plain", "json"):
        with running(*STANDALONE, "--log-format", form, cwd=tmp_path) as program:
            post(program, "nobody needs to know")
            assert program.end() == (0, "")
