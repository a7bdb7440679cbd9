"""Signals are told to those who listen, the same in every mode; nothing else is touched by them."""

from __future__ import annotations

import asyncio
import json

import pytest

from flychat import presence
from flychat.hub import grip as grip_module
from flychat.hub import local as local_module
from flychat.signals import Signal, signalled
from tests.support.asking import FORM, JSON
from tests.support.modes import MODES, ONE_PUSHPIN, Place, standing
from tests.support.rights import ask, bearer, code, options, token
from tests.support.served import Client, fields

gen_test = pytest.mark.gen_test
in_each_mode = pytest.mark.parametrize("mode", MODES)
with_one_pushpin = pytest.mark.parametrize("mode", ONE_PUSHPIN)


async def send(chat: Place, kind: str = "typing", room: str = "room", status: int = 202, **more) -> dict:
    headers = more.pop("headers", {})
    body = json.dumps({"from": "ann", "kind": kind, **more})
    answer = await ask(chat, f"/rooms/{room}/signals/", "POST", body, Content_Type=JSON, **headers)
    assert answer.code == status, answer.body
    return json.loads(answer.body)


async def told(client: Client) -> dict:
    """The next signal."""
    while (event := await client.next()).type != "signal":
        pass
    assert b"\nid:" not in client.blocks[-1]
    return fields(event)


@in_each_mode
@gen_test
async def test_a_signal_reaches_who_listens_and_is_in_no_log(mode, tmp_path):
    """Not in the history, not in a replay, not among what a stream of official events gives."""
    async with standing(mode, tmp_path, "--signals") as chat:
        client, official = await chat.settled(), await chat.stream(query="?provisional=no")
        await chat.post("one")
        assert await send(chat, "typing", data={"since": 3}) == {}
        signal = await told(client)
        assert signal.pop("date").endswith("Z")
        assert signal == {"from": "ann", "kind": "typing", "data": {"since": 3}}
        await chat.post("two")
        for each in (client, official, await chat.stream(0), await chat.stream()):
            assert await each.until_id(2) == [1, 2], "the ids go on as if there had been none"
            assert each is client or not any(b"signal" in block for block in each.blocks)
        page = await ask(chat, "/rooms/room/messages/", Accept=JSON)
        assert [message["text"] for message in json.loads(page.body)["messages"]] == ["one", "two"]
        assert chat.engine.calls["put"] + len(chat.engine.submitted) == 2


@with_one_pushpin
@gen_test
async def test_who_is_here_is_gathered(mode, tmp_path, monkeypatch):
    monkeypatch.setattr(presence, "GATHER", 3600.0)  # however long the three take
    async with standing(mode, tmp_path, "--signals") as chat:
        client = await chat.settled()
        for name in ("ann", "bob", "ann"):
            await send(chat, "here", **{"from": name, "data": {"names": ["mallory"]}})
        chat.server.application.chat._presence._tell("room")
        signal = await told(client)
        assert signal.pop("date").endswith("Z")
        assert signal == {"kind": "here", "data": {"names": ["ann", "bob"], "more": 0}}


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "model"])  # whose it is to keep alive
@gen_test
async def test_signals_do_not_keep_a_client_that_knows_none_from_its_keep_alives(mode, tmp_path, monkeypatch):
    monkeypatch.setattr(local_module, "TICK", 0.02)
    monkeypatch.setattr(grip_module, "KEEP_ALIVE_SECONDS", 2)  # of which Pushpin takes up to one away
    async with standing(mode, tmp_path, "--signals") as chat:
        if mode == "standalone":
            chat.server.hub._keep_alive = 0.2
        client, publish = await chat.settled(), chat.server.hub.publish

        async def talk() -> None:
            """Twenty times before a keep-alive is due."""
            while True:
                publish(signalled(Signal.create("room", {"from": "ann", "kind": "typing"}, now=0)))
                await asyncio.sleep(0.01 if mode == "standalone" else 0.05)

        talking = asyncio.create_task(talk())
        try:
            await told(client)
            assert "keep-alive" in [(await client.next()).type for _ in range(60)]
        finally:
            talking.cancel()


@gen_test
async def test_whoever_may_write_may_send_under_the_name_in_the_token(tmp_path):
    """It is asked before anybody is told, in whichever mode."""
    async with standing("standalone", tmp_path, *options(tmp_path), "--signals") as chat:
        path, body = "/rooms/staff/signals/", json.dumps({"kind": "typing"})
        assert code(await ask(chat, path, "POST", body, Content_Type=JSON)) == (401, "unauthorized")
        reader = bearer(token("eve", rooms={"staff": "r"}))
        assert code(await ask(chat, path, "POST", body, Content_Type=JSON, **reader)) == (403, "forbidden")
        writer = bearer(token("ann", name="Ann"))
        assert (await ask(chat, path, "POST", body, Content_Type=JSON, **writer)).code == 202
        other = json.dumps({"kind": "typing", "from": "Bob"})
        assert code(await ask(chat, path, "POST", other, Content_Type=JSON, **writer)) == (403, "forbidden")
        assert code(await ask(chat, "/rooms/news/signals/", "POST", body, Content_Type=JSON))[0] == 401


@gen_test
async def test_what_is_wrong_with_a_signal_is_told(tmp_path):
    listed, elsewhere = "https://friend.example", "https://evil.example"
    async with standing("standalone", tmp_path, "--signals", "--cors-origin", listed) as chat:

        async def refused(body: str | None, path: str = "/rooms/room/signals/", method="POST", **headers):
            answer = await ask(chat, path, method, body, **{"Content_Type": JSON, **headers})
            return code(answer)

        good = json.dumps({"from": "ann", "kind": "typing"})
        assert await refused("{}") == (400, "invalid")
        assert await refused(good, Content_Type="text/plain") == (415, "unsupported_media_type")
        assert await refused(good + " " * 8192) == (413, "too_large")
        assert await refused(good, Origin=elsewhere) == (403, "forbidden")
        assert await refused(good, "/rooms/healthz/signals/") == (404, "not_found")
        assert await refused(None, method="GET") == (405, "method_not_allowed")
        answer = await ask(chat, "/rooms/room/signals/", "POST", good, Content_Type=JSON, Origin=listed)
        assert (answer.code, answer.headers["Access-Control-Allow-Origin"]) == (202, listed)
        asked = await ask(chat, "/rooms/room/signals/", "OPTIONS", Origin=listed)
        assert (asked.code, asked.headers["Access-Control-Allow-Methods"]) == (204, "POST")
        form = await ask(chat, "/rooms/room/signals/", "POST", "from=ann&kind=typing", Content_Type=FORM)
        assert form.code == 202


@gen_test
async def test_signals_have_a_limit_of_their_own(tmp_path):
    async with standing("standalone", tmp_path, "--signals", "--rate-limit", "1") as chat:
        await send(chat)
        assert (await send(chat, status=429))["error"]["code"] == "too_many_requests"
        await chat.post("a message has its own")


@gen_test
async def test_without_the_option_there_is_nothing_of_it(tmp_path):
    async with standing("standalone", tmp_path) as chat:
        good = json.dumps({"from": "ann", "kind": "typing"})
        answer = await ask(chat, "/rooms/room/signals/", "POST", good, Content_Type=JSON)
        assert code(answer) == (404, "not_found")
