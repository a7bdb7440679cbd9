"""`--log-posts`: a line for each POST that was let in, whichever way it came, and none without the option."""

import asyncio
import contextlib
import json
import logging

import pytest

from flychat.logging_setup import JsonFormatter
from tests.support.modes import MODES, standing
from tests.support.rights import ask, bearer, options, token
from tests.support.served import WAIT
from tests.support.two_ports import two_ports

LOGGER = "flychat.web.posted"
BAD = (b"from=ann&text=", b"from=&text=hi", b"from=ann&text=hi&provisionalId=x")


def a_post(body: bytes, room: str = "room") -> bytes:
    head = f"POST /rooms/{room}/messages/ HTTP/1.1\r\nHost: x\r\n"
    kind = "Content-Type: application/x-www-form-urlencoded\r\n"
    return f"{head}{kind}Content-Length: {len(body)}\r\n\r\n".encode() + body


@contextlib.asynccontextmanager
async def connected(port: int):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def post(port: int, body: bytes, room: str = "room") -> bytes:
    """The answer's head."""
    async with connected(port) as (reader, writer):
        writer.write(a_post(body, room))
        return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT)


def told(caplog) -> list[dict]:
    records = [record for record in caplog.records if record.name == LOGGER]
    for record in records:
        line = json.loads(JsonFormatter().format(record))
        assert line.items() >= record.fields.items()
        assert record.getMessage() == f"posted {json.dumps(record.fields)}"
    return [record.fields for record in records]


@pytest.fixture(autouse=True)
def info(caplog):
    caplog.set_level(logging.INFO, LOGGER)


@pytest.mark.parametrize("shortened", [True, False])
@pytest.mark.gen_test
async def test_there_is_a_line_for_each_post_that_was_let_in(shortened, caplog):
    async with two_ports() as (chat, port, _):
        port = port if shortened else chat.port
        await post(port, b"from=ann&text=hello", "caf%C3%A9")
        assert told(caplog) == [], "off by default"
        chat.application.log_posts = True
        for body in BAD:
            assert (await post(port, body)).startswith(b"HTTP/1.1 400 ")
        assert told(caplog) == [], "anybody could fill the log with what is refused"
        again = b"from=secretname&text=secrettext&provisionalId=00000000-0000-4000-8000-000000000001"
        for body in (b"from=ann&text=hello", again, again):
            await post(port, body, "caf%C3%A9")
        line = {"room": "caf\u00e9", "client": "127.0.0.1", "user": None}
        assert told(caplog) == [line | {"id": id} for id in (2, 3, 3)]
        assert "secret" not in caplog.text


@pytest.mark.parametrize("shortened", [True, False])
@pytest.mark.gen_test
async def test_who_hangs_up_at_once_is_told_of_all_the_same(shortened, caplog):
    async with two_ports() as (chat, port, _):
        chat.application.log_posts = True
        go, submit = asyncio.Event(), chat.engine.submit
        tasks = []

        async def later(commit, done):
            await go.wait()
            submit(commit, done)

        chat.engine.submit = lambda *put: tasks.append(asyncio.create_task(later(*put))) is None
        listener = await chat.stream()
        await listener.until_id(3)
        async with connected(port if shortened else chat.port) as (_, writer):
            writer.write(a_post(b"from=ann&text=first"))
            await listener.next("keep-alive")
        go.set()
        await listener.until_id(4)
        assert [line["id"] for line in told(caplog)] == [4]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.gen_test
async def test_a_line_says_who_a_token_vouched_for_and_a_removal_has_one_too(mode, tmp_path, caplog):
    async with standing(mode, tmp_path, *options(tmp_path, "--log-posts", "--trust-proxy")) as chat:
        ann = bearer(token("ann", rooms={"tea": "rw"}))
        path = "/rooms/tea/messages/"
        content = json.dumps({"from": "A", "text": "secret"})
        await ask(chat, path, "POST", content, Content_Type="application/json", **ann)
        await ask(chat, f"{path}1", "DELETE", **ann)
        await ask(chat, f"{path}7", "DELETE", **ann)
        chat.engine.rewrite_faults.extend(["break"])
        await ask(chat, path, "POST", content, Content_Type="application/json", **ann)
        await ask(chat, f"{path}3", "DELETE", **ann)
        lines = told(caplog)
        assert [(line["room"], line["id"], line["user"]) for line in lines] == [
            ("tea", 1, "ann"),
            ("tea", 2, "ann"),
            ("tea", 3, "ann"),
            ("tea", None, "ann"),
        ]
        assert {line["client"] for line in lines} == {"127.0.0.1"}
        assert "secret" not in caplog.text
