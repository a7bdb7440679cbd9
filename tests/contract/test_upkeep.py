"""Whole rooms cleared and whole persons erased, over HTTP: who may, and what everybody sees. In every mode."""

from __future__ import annotations

import asyncio
import json

import pytest

from flychat.storage import Summary
from flychat.web.operators import listed
from tests.support.asking import JSON
from tests.support.modes import MODES, standing
from tests.support.rights import ask, bearer, code, options, token
from tests.support.served import fields

gen_test = pytest.mark.gen_test
each_mode = pytest.mark.parametrize("mode", MODES)
one_mode = pytest.mark.parametrize("mode", ["standalone"])
TEA = "/rooms/tea/messages/"
MOD = bearer(token("mod", rooms={"tea": "rwm"}))
OPERATOR = bearer(token("operator", rooms={"*": "m"}))
ANN = bearer(token("ann", rooms={"*": "rw"}, name="Ann"))


async def post(chat, path: str, content: dict, **headers: str):
    return await ask(chat, path, "POST", json.dumps(content), Content_Type=JSON, **headers)


async def told(chat, path: str = TEA) -> list[dict]:
    return json.loads((await ask(chat, path)).body)["messages"]


async def stored(chat) -> str:
    """All that the store has of the room, as JSON."""
    messages, above = [], 0
    while commits := await chat.engine.everything("tea", above):
        messages += [fields for commit in commits for fields in json.loads(commit.payload)]
        above = commits[-1].first
    return json.dumps(messages, ensure_ascii=False, separators=(",", ":"))


async def filled(chat, *rooms: str) -> None:
    """In each room: 1 of ann's token, 2 of somebody else who is called so, 3 of bob."""
    for room in rooms or ("tea",):
        for headers, name in ((ANN, "Ann"), ({}, "Ann"), ({}, "bob")):
            answer = await post(
                chat, f"/rooms/{room}/messages/", {"from": name, "text": "a secret"}, **headers
            )
            assert answer.code == 200


@each_mode
@gen_test
async def test_a_cleared_room_resets_its_streams_at_once_and_its_ids_go_on(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        await filled(chat)
        client = await chat.opened(room="tea")
        await client.until_id(3)
        answer = await post(chat, "/clearings/", {"room": "tea"}, **MOD)
        assert (answer.code, json.loads(answer.body)) == (200, {"room": "tea", "lastEventId": 4})
        reset = await client.next("keep-alive")
        assert (reset.type, reset.last_id, fields(reset)["lastEventId"]) == ("stream-reset", "0", 4)
        assert await told(chat) == []
        assert json.loads(await stored(chat)) == []
        again = await post(chat, "/clearings/", {"room": "tea"}, **MOD)
        assert json.loads(again.body)["lastEventId"] == 4, "there was nothing to clear, and it took no id"
        answer = await post(chat, TEA, {"from": "bob", "text": "after"})
        assert json.loads(answer.body)["id"] == 5
        while (event := await client.next()).last_id != "5":
            assert event.type != "stream-reset", "once is enough"
        assert fields(event)["text"] == "after"
        late = await chat.opened(2, room="tea")
        assert [(await late.next()).type for _ in range(2)] == ["stream-reset", "message"]


@each_mode
@gen_test
async def test_a_person_is_erased_with_name_and_user_and_nobody_else(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        await filled(chat)
        client = await chat.opened(room="tea")
        await client.until_id(3)
        answer = await post(chat, "/erasures/", {"room": "tea", "user": "ann"}, **MOD)
        assert (answer.code, json.loads(answer.body)) == (200, {"erased": 1, "next": None})
        event = await client.next("keep-alive")
        assert fields(event)["removes"] == [1]
        first, second, third, _ = await told(chat)
        assert (first["from"], first["text"], first["removed"], "user" in first) == ("[erased]", "", 4, False)
        assert [second["text"], third["text"]] == ["a secret"] * 2
        assert "user" not in second
        answer = await post(chat, "/erasures/", {"room": "tea", "from": "Ann"}, **MOD)
        assert json.loads(answer.body)["erased"] == 1
        page = await told(chat)
        assert [message["from"] for message in page] == ["[erased]", "[erased]", "bob", "mod", "mod"]
        payloads = await stored(chat)
        assert "Ann" not in payloads
        assert '"ann"' not in payloads
        late = await chat.opened(0, room="tea")
        assert fields(await late.next())["from"] == "[erased]"


@one_mode
@gen_test
async def test_what_a_person_removed_stays_removed_without_their_name(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        await filled(chat)
        assert (await ask(chat, TEA + "1", "DELETE", **ANN)).code == 200
        operator = bearer(token("mod", rooms={"tea": "m"}, name="Mod"))
        answer = await post(chat, "/erasures/", {"room": "tea", "user": "ann"}, **operator)
        assert json.loads(answer.body)["erased"] == 2, "their tombstone, and their removal"
        tombstone, _, _, removal, *erasures = await told(chat)
        assert (tombstone["from"], tombstone["removed"], "user" in tombstone) == ("[erased]", 4, False)
        assert (removal["from"], removal["removes"], "user" in removal) == ("[erased]", [1], False)
        assert "removed" not in removal
        assert [id for each in erasures for id in each["removes"]] == [1, 4], "at once, or in two steps"
        assert {each["from"] for each in erasures} == {"Mod"}
        again = await post(chat, "/erasures/", {"room": "tea", "user": "ann"}, **MOD)
        assert json.loads(again.body) == {"erased": 0, "next": None}


@one_mode
@gen_test
async def test_the_join_form_names_nobody_who_is_erased_and_not_who_only_removes(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        await filled(chat)
        assert (await ask(chat, TEA + "3", "DELETE", **MOD)).code == 200
        assert (await post(chat, "/erasures/", {"room": "tea", "from": "Ann"}, **MOD)).code == 200
        page = (await ask(chat, "/tea", Accept="text/html")).body.decode()
        assert [name for name in ("bob", "mod", "Ann", "[erased]") if f">{name}<" in page] == ["bob"]


@one_mode
@gen_test
async def test_the_rooms_are_told_to_who_may_moderate_all_of_them(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        await filled(chat)
        assert (await post(chat, "/revocations/", {"user": "eve"}, **OPERATOR)).code == 200
        answer = await ask(chat, "/rooms/", **OPERATOR)
        rooms = json.loads(answer.body)["rooms"]
        assert answer.headers["Cache-Control"] == "no-store"
        assert [(room["room"], room["messages"], room["lastId"]) for room in rooms] == [("tea", 3, 3)], (
            "and not that of the revocations"
        )
        assert set(rooms[0]) == {"room", "messages", "lastId", "bytes", "newest"}
        assert code(await ask(chat, "/rooms/", **MOD)) == (403, "forbidden")
        assert code(await ask(chat, "/rooms/")) == (401, "unauthorized")


@pytest.mark.gen_test
async def test_many_rooms_are_told_some_at_a_time():
    rooms, turns = [Summary(f"tea {n}", 1, 2, 3).fields() for n in range(20_000)], 0
    listing = asyncio.ensure_future(listed(rooms))
    while not listing.done():
        turns += 1
        await asyncio.sleep(0)
    assert json.loads(listing.result()) == {"rooms": rooms}
    assert turns > 30, "others have theirs meanwhile"


REQUESTS = [("/clearings/", {"room": "tea"}), ("/erasures/", {"room": "tea", "user": "ann"})]


@pytest.mark.parametrize(("path", "content"), REQUESTS)
@one_mode
@gen_test
async def test_only_moderators_of_the_room_may(mode, tmp_path, path, content):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        await filled(chat)
        assert code(await post(chat, path, content)) == (401, "unauthorized")
        assert code(await post(chat, path, content, **ANN)) == (403, "forbidden")
        others = bearer(token("eve", rooms={"staff": "rwm"}))
        assert code(await post(chat, path, content, **others)) == (403, "forbidden")
        stranger = await post(chat, path, content, Origin="https://other.example", **MOD)
        assert code(stranger) == (403, "forbidden")
        assert [message["text"] for message in await told(chat)] == ["a secret"] * 3
    async with standing(mode, tmp_path) as chat:
        assert (await post(chat, path, content, **MOD)).code in (404, 405), "without tokens it is not there"


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/clearings/", {}),
        ("/clearings/", {"room": "a/b"}),
        ("/clearings/", {"room": 5}),
        ("/erasures/", {"room": "tea"}),
        ("/erasures/", {"room": "tea", "user": ""}),
        ("/erasures/", {"room": "tea", "from": ""}),
        ("/erasures/", {"user": "ann"}),
        ("/erasures/", {"room": "tea", "user": "ann", "from": "Ann"}),
    ],
)
@one_mode
@gen_test
async def test_what_is_not_said_is_asked_for(mode, tmp_path, path, content):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        assert code(await post(chat, path, content, **OPERATOR)) == (400, "invalid")


@each_mode
@pytest.mark.parametrize("path", ["/rooms/", "/clearings/", "/erasures/", "/revocations/"])
@gen_test
async def test_a_page_of_a_listed_origin_may_ask_for_it_and_no_other(mode, path, tmp_path):
    """With a token, so its browser asks first."""
    listed, other = "https://example.org", "https://elsewhere.example"
    async with standing(mode, tmp_path, *options(tmp_path, "--cors-origin", listed)) as chat:
        answer = await ask(chat, path, "OPTIONS", Origin=listed)
        assert answer.code == 204
        allowed = {name: answer.headers[f"Access-Control-Allow-{name}"] for name in ("Origin", "Methods")}
        assert allowed == {"Origin": listed, "Methods": "GET" if path == "/rooms/" else "POST"}
        assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
        answer = await ask(chat, path, "OPTIONS", Origin=other)
        assert "Access-Control-Allow-Origin" not in answer.headers
