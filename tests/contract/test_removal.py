"""Removing messages over HTTP: who may, what they are told, and what everybody sees. The same in every mode."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from flychat.web.rate import RateLimit
from tests.support.asking import JSON
from tests.support.modes import MODES, standing
from tests.support.rights import ask, bearer, code, options, token
from tests.support.served import fields

gen_test = pytest.mark.gen_test
each_mode = pytest.mark.parametrize("mode", MODES)
one_mode = pytest.mark.parametrize("mode", ["standalone"])
TEA = "/rooms/tea/messages/"
MOD = {"rooms": {"tea": "rwm"}, "name": "Mod"}


def as_mod(sub="mod", **claims) -> dict[str, str]:
    return bearer(token(sub, **{**MOD, **claims}))


def as_ann(**claims) -> dict[str, str]:
    return bearer(token("ann", **{"rooms": {"tea": "rw"}, **claims}))


async def post(chat, content: dict, path: str = TEA, **headers: str):
    return await ask(chat, path, "POST", json.dumps(content), Content_Type=JSON, **headers)


async def told(chat, path: str = TEA, **headers: str) -> list[dict]:
    return json.loads((await ask(chat, path, **headers)).body)["messages"]


async def filled(chat) -> None:
    """Messages 1 and 2 of nobody, 3 of ann, 4 of bob."""
    for number, headers in enumerate([{}, {}, as_ann(), bearer(token("bob", rooms={"tea": "rw"}))], start=1):
        answer = await post(chat, {"from": "ann", "text": f"text {number}"}, **headers)
        assert json.loads(answer.body)["id"] == number


@each_mode
@gen_test
async def test_a_moderator_removes_a_message_and_everybody_learns_of_it(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        await filled(chat)
        client = await chat.opened(room="tea")
        await client.until_id(4)
        answer = await ask(chat, TEA + "2", "DELETE", **as_mod())
        assert answer.code == 200
        entry = json.loads(answer.body)
        assert {name: entry[name] for name in ("id", "from", "text", "user", "removes")} == {
            "id": 5,
            "from": "Mod",
            "text": "(removed a message)",
            "user": "mod",
            "removes": [2],
        }
        event = await client.next("keep-alive")
        assert (fields(event), event.last_id) == (entry, "5"), "once, and not as provisional before"
        late = await chat.opened(1, room="tea")
        assert fields(await late.next())["removed"] == 5
        assert await late.until_id(5) == [2, 3, 4, 5]
        for path in (TEA, TEA + "?before=4", TEA + "?after=1", TEA + "?limit=200"):
            page = await told(chat, path)
            [tombstone] = [message for message in page if message["id"] == 2]
            assert (tombstone["text"], tombstone["removed"], tombstone["from"]) == ("", 5, "ann")
        assert "text 2" not in (await ask(chat, "/tea?user=bob", Accept="text/html")).body.decode()
        assert json.loads((await ask(chat, TEA + "2", "DELETE", **as_mod("other"))).body) == entry
        assert (await told(chat))[-1] == entry, "and there is no second one"


@one_mode
@gen_test
async def test_an_author_removes_what_he_wrote_and_nothing_else(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        await filled(chat)
        for id in (1, 4):
            assert code(await ask(chat, f"{TEA}{id}", "DELETE", **as_ann())) == (403, "forbidden")
        entry = json.loads((await ask(chat, TEA + "3", "DELETE", **as_ann())).body)
        assert (entry["from"], entry["user"], entry["removes"]) == ("ann", "ann", [3]), (
            "the sub without a name"
        )
        assert code(await post(chat, {"removes": [3, 4]}, **as_ann())) == (403, "forbidden")
        assert [m["text"] for m in await told(chat)] == ["text 1", "text 2", "", "text 4", entry["text"]]


@one_mode
@gen_test
async def test_who_may_no_longer_write_does_not_remove_either(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        await post(chat, {"from": "ann", "text": "hi"}, "/rooms/staff/messages/", **bearer(token("ann")))
        reader = bearer(token("ann", rooms={"staff": "r"}))
        assert code(await ask(chat, "/rooms/staff/messages/1", "DELETE", **reader)) == (403, "forbidden")


@one_mode
@gen_test
async def test_without_a_token_nobody_removes_and_without_the_right_nobody_else_does(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        await filled(chat)
        cookie = {"Cookie": "flychat_user=ann"}
        for headers in ({}, cookie):
            answer = await ask(chat, TEA + "1", "DELETE", **headers)
            assert code(answer) == (401, "unauthorized")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert code(await post(chat, {"removes": [1]}, **headers)) == (401, "unauthorized")
        others = bearer(token("eve", rooms={"staff": "rwm"}))
        assert code(await ask(chat, TEA + "1", "DELETE", **others)) == (403, "forbidden")
        bad = bearer("nonsense")
        assert code(await ask(chat, TEA + "1", "DELETE", **bad)) == (401, "unauthorized")
        assert len(await told(chat)) == 4
    async with standing(mode, tmp_path) as chat:  # no option of access: there are no moderators
        await chat.post()
        for headers in ({}, as_mod()):
            assert code(await ask(chat, "/rooms/room/messages/1", "DELETE", **headers)) == (
                401,
                "unauthorized",
            )


@one_mode
@gen_test
async def test_an_operator_who_may_only_moderate_removes_from_a_private_room(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        await post(chat, {"from": "ann", "text": "hi"}, "/rooms/staff/messages/", **bearer(token("ann")))
        operator = bearer(token("operator", rooms={"staff": "m"}))
        assert (await post(chat, {"removes": [1]}, "/rooms/staff/messages/", **operator)).code == 200


@one_mode
@gen_test
async def test_a_post_removes_up_to_1000_messages_and_may_be_sent_again(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        await chat.fill(1100, "tea")
        ids, key = list(range(1, 1001)), str(uuid.uuid4())
        for content in ({"removes": ids}, {"removes": ids, "provisionalId": key}):
            answer = await post(chat, content, **as_mod())
            assert (answer.code, json.loads(answer.body)["id"]) == (200, 1101)
        tombstones = [m for m in await told(chat, TEA + "?before=202&limit=200") if "removed" in m]
        assert len(tombstones) == 200
        assert code(await post(chat, {"removes": [*ids, 1001]}, **as_mod())) == (400, "invalid")
        one = {"removes": [1050, 1050], "provisionalId": key, "text": "ignored", "from": "ignored"}
        entry = json.loads((await post(chat, one, **as_mod())).body)
        assert (entry["removes"], entry["provisionalId"], entry["from"]) == ([1050], key, "Mod")
        assert code(await post(chat, {**one, "removes": [1051]}, **as_mod())) == (409, "conflict")


@one_mode
@gen_test
async def test_an_author_pays_for_each_message_that_goes_as_for_writing_it_and_a_moderator_for_one(
    mode, tmp_path
):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        for _ in range(4):
            await post(chat, {"from": "ann", "text": "hi"}, **as_ann())
        chat.server.application.rate_limit = limit = RateLimit(0.001, 100)
        assert (await post(chat, {"removes": [1, 2, 3]}, **as_ann())).code == 200
        assert (await post(chat, {"removes": [1, 2, 3, 4]}, **as_mod())).code == 200
        left = {client: round(tokens) for client, (tokens, _) in limit._buckets.items()}
        assert left == {"user secret ann": 97, "user secret mod": 99}


@pytest.mark.parametrize(
    ("id", "answer"),
    [
        *((bad, (400, "invalid")) for bad in ("x", "0", "-1", "1.5", "%31%20", "1" * 30, "%00")),
        ("5", (404, "not_found")),
        ("999999", (404, "not_found")),
    ],
)
@one_mode
@gen_test
async def test_an_id_that_is_none_is_400_and_one_that_is_not_in_the_log_404(mode, tmp_path, id, answer):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        await filled(chat)
        assert code(await ask(chat, TEA + id, "DELETE", **as_mod())) == answer
        assert len(await told(chat)) == 4


@pytest.mark.parametrize("ids", ["1", [], {}, [0], ["1"], [1, None], [True], 1, False])
@one_mode
@gen_test
async def test_removes_has_to_be_ids(mode, tmp_path, ids):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        await filled(chat)
        assert code(await post(chat, {"removes": ids}, **as_mod())) == (400, "invalid")


@one_mode
@gen_test
async def test_a_removal_cannot_be_removed(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        await filled(chat)
        await ask(chat, TEA + "1", "DELETE", **as_mod())
        assert code(await ask(chat, TEA + "5", "DELETE", **as_mod())) == (400, "invalid")
        assert code(await post(chat, {"removes": [2, 5]}, **as_mod())) == (400, "invalid")
        assert (await told(chat))[1]["text"] == "text 2"


@one_mode
@gen_test
async def test_other_origins_remove_if_they_may_post_and_preflights_say_so(mode, tmp_path):
    friend = "https://friend.example"
    async with standing(mode, tmp_path, *options(tmp_path, "--cors-origin", friend)) as chat:
        await filled(chat)
        asked = await ask(chat, TEA + "1", "OPTIONS", Origin=friend)
        assert (asked.code, asked.headers["Access-Control-Allow-Origin"]) == (204, friend)
        assert "DELETE" in asked.headers["Access-Control-Allow-Methods"]
        assert "Authorization" in asked.headers["Access-Control-Allow-Headers"]
        assert (
            "Access-Control-Allow-Origin"
            not in (await ask(chat, TEA + "1", "OPTIONS", Origin="https://other.example")).headers
        )
        stranger = await ask(chat, TEA + "1", "DELETE", Origin="https://other.example", **as_mod())
        assert code(stranger) == (403, "forbidden")
        cookie = {"Cookie": f"flychat={token('mod', **MOD)}"}
        assert code(await ask(chat, TEA + "1", "DELETE", Origin="https://other.example", **cookie)) == (
            403,
            "forbidden",
        )
        answer = await ask(chat, TEA + "1", "DELETE", Origin=friend, **as_mod())
        assert (answer.code, answer.headers["Access-Control-Allow-Origin"]) == (200, friend)


@one_mode
@gen_test
async def test_a_post_that_removes_is_never_a_plain_message(mode, tmp_path):
    """Not even where it has all that a message has, and comes as plain as can be."""
    async with standing(mode, tmp_path) as chat:
        content = {"from": "ann", "text": "hi", "removes": [1]}
        assert code(await post(chat, content, "/rooms/room/messages/")) == (401, "unauthorized")
        plain = {"from": "ann", "text": "hi", "removes": None}
        assert json.loads((await post(chat, plain, "/rooms/room/messages/")).body)["id"] == 1


@each_mode
@gen_test
async def test_a_store_that_fails_in_between_is_503_and_the_same_again_is_safe(mode, tmp_path: Path):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        await filled(chat)
        chat.engine.rewrite_faults.extend(["break"])
        answer = await ask(chat, TEA + "2", "DELETE", **as_mod())
        assert code(answer) == (503, "unavailable")
        assert answer.headers["Retry-After"]
        again = await ask(chat, TEA + "2", "DELETE", **as_mod())
        assert json.loads(again.body)["id"] == 5
        assert [m["text"] for m in await told(chat)][1] == ""
