"""Who loses a right loses the stream, and nobody else does. The same in every mode."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial

import pytest

from flychat.access import keeper as keeper_module
from flychat.access import passes_of
from flychat.access.rulebook import Rulebook
from flychat.hub import links
from flychat.web.application import BaseApplication
from tests.support.asking import BROWSER, JSON
from tests.support.modes import MODES, ONE_PUSHPIN, Place, standing
from tests.support.rights import KEY, STAFF, ask, bearer, code, options, post, rest, token
from tests.support.served import Client

in_each_mode = pytest.mark.parametrize("mode", MODES)
with_one_pushpin = pytest.mark.parametrize("mode", ONE_PUSHPIN)
gen_test = pytest.mark.gen_test
OPERATOR = {"rooms": {"*": "m"}}


def old(sub: str, **claims) -> str:
    """A token that was issued a while ago."""
    return token(sub, iat=int(time.time()) - 60, **claims)


async def revoke(chat: Place, user: str, room: str | None = None, **claims):
    content = {"user": user} | ({"room": room} if room else {})
    headers = bearer(token("operator", **(claims or OPERATOR)))
    return await ask(chat, "/revocations/", "POST", json.dumps(content), Content_Type=JSON, **headers)


async def opened(chat: Place, text: str, room: str = "staff") -> Client:
    client = await chat.stream(None, f"Authorization: Bearer {text}", room=room)
    assert (await client.next()).type == "stream-open"
    return client


async def end_of(client: Client) -> str:
    """Why the stream has ended. Behind a proxy a provisional message from before may come late, or twice."""
    event = await client.next("keep-alive")
    while event.type == "message" and not event.last_id and json.loads(event.data)["text"] != "after":
        event = await client.next("keep-alive")
    assert event.type == "stream-end"
    assert await rest(client) == b""
    return json.loads(event.data)["reason"]


@in_each_mode
@gen_test
async def test_a_revoked_stream_ends_at_once_and_all_others_go_on(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        ann, again, bob = [await opened(chat, text) for text in (old("ann"), old("ann"), old("bob"))]
        everybody = [await opened(chat, old("ann"), "tea"), await chat.opened(room="tea")]
        await post(chat, "staff", "before", **bearer(old("bob")))
        for client in (ann, again, bob):
            assert await client.until_id(1)
        answer = await revoke(chat, "ann", "staff")
        assert answer.code == 200
        assert json.loads(answer.body) == {
            "user": "ann",
            "room": "staff",
            "at": pytest.approx(time.time(), abs=120),
        }
        after = partial(post, chat, "staff", "after", **bearer(old("bob")))
        # A real one asks again in its own time, and passes on what comes meanwhile.
        is_real = mode not in ("standalone", "model")
        if not is_real:
            await after()
        await post(chat, "tea", "hi")
        assert await end_of(ann) == await end_of(again) == "revoked"
        if is_real:
            await after()
        assert ann.ids == again.ids == [1]
        assert await bob.until_id(2) == [1, 2]
        for client in everybody:
            assert await client.until_id(1) == [1]


@pytest.mark.parametrize("mode", ["standalone", "model"])
@gen_test
async def test_who_is_revoked_while_the_log_is_read_is_told_that_and_nothing_else(
    mode, tmp_path, monkeypatch
):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        chatting, plan = chat.server.application.chat, chat.server.application.chat.plan

        async def slowly(*asked):
            await chat.server.keeper.revoke("ann", "staff")
            await post(chat, "staff", **bearer(token("bob")))
            return await plan(*asked)

        with monkeypatch.context() as patch:
            patch.setattr(chatting, "plan", slowly)
            ann = await chat.stream(None, f"Authorization: Bearer {old('ann')}", room="staff")
            end = await ann.next()
        assert (end.type, json.loads(end.data)) == ("stream-end", {"reason": "revoked"})
        assert b"\r\nContent-Length: 46\r\n" in ann.head, "and there is no more"
        bob = await opened(chat, token("bob"))
        assert await bob.until_id(1)


@with_one_pushpin
@gen_test
async def test_who_is_revoked_does_not_come_back_with_the_same_token(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        text, elsewhere = old("ann", rooms={"*": "rw"}), "/rooms/tea/messages/"
        assert (await revoke(chat, "ann", "staff")).code == 200
        assert code(await ask(chat, STAFF, **bearer(text))) == (401, "unauthorized")
        assert code(await ask(chat, STAFF, Accept="text/event-stream", **bearer(text))) == (
            401,
            "unauthorized",
        )
        assert code(await post(chat, "staff", **bearer(text))) == (401, "unauthorized")
        assert (await ask(chat, "/staff", Accept=BROWSER, Cookie=f"flychat={text}")).code == 401
        assert json.loads((await post(chat, "tea", **bearer(text))).body)["user"] == "ann", "only there"
        assert (await revoke(chat, "ann")).code == 200
        assert "user" not in json.loads((await post(chat, "tea", **bearer(text))).body), (
            "it gives no name any more"
        )
        assert (await ask(chat, elsewhere, **bearer(text))).code == 200
        later = token("ann", iat=int(time.time()) + 1, rooms={"*": "rw"})
        assert (await ask(chat, STAFF, **bearer(later))).code == 200
        stream = await opened(chat, later)
        await post(chat, "staff", **bearer(later))
        assert await stream.until_id(1)


@with_one_pushpin
@gen_test
async def test_revoking_takes_the_right_to_moderate(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        for room, rooms, status in (
            ("staff", {"staff": "m"}, 200),
            ("staff", {"*": "m"}, 200),
            ("staff", {"staff": "rw"}, 403),
            ("staff", {"tea": "m"}, 403),
            (None, {"staff": "m"}, 403),
            (None, {"*": "m", "staff": "rw"}, 403),
            (None, {"*": "m"}, 200),
            ("a/b", {"*": "m"}, 400),
        ):
            assert (await revoke(chat, "ann", room, rooms=rooms)).code == status
        assert (await revoke(chat, "", None)).code == 400
        body = json.dumps({"user": "ann"})
        assert code(await ask(chat, "/revocations/", "POST", body, Content_Type=JSON)) == (
            401,
            "unauthorized",
        )
        headers = bearer(token("x", **OPERATOR))
        answer = await ask(
            chat, "/revocations/", "POST", body, Content_Type=JSON, Origin="https://x.example", **headers
        )
        assert answer.code == 403


@pytest.mark.parametrize("mode", ["standalone"])
@gen_test
async def test_what_cannot_be_meant_is_not_read_whoever_asks(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        body = json.dumps({"user": "ann", "room": "staff", "more": ["x"] * 2000})
        for path in ("/revocations/", "/clearings/", "/erasures/", "/session"):
            answer = await ask(chat, path, "POST", body, Content_Type=JSON)
            assert code(answer) == (413, "too_large")


@pytest.mark.parametrize("mode", ["standalone", "model"])
@gen_test
async def test_a_moderator_of_a_room_pays_for_all_that_is_written_again(mode, tmp_path, monkeypatch):
    """The same few names, revoked over and over, wrote a gigabyte an hour."""
    charged = []
    monkeypatch.setattr(BaseApplication, "charge", lambda self, client, size: charged.append((client, size)))
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        assert (await revoke(chat, "ann")).code == 200
        assert not charged, "who may moderate all rooms is trusted"
        for _ in range(2):
            assert (await revoke(chat, "bob", "staff", rooms={"staff": "m"})).code == 200
    first, again = charged
    assert "operator" in first[0]
    assert first[1] > len(json.dumps(passes_of("ann") + passes_of("bob")))
    assert again == first


@with_one_pushpin
@gen_test
async def test_a_moderator_who_is_revoked_moderates_no_more(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        assert (await revoke(chat, "mod")).code == 200
        headers = bearer(old("mod", rooms={"*": "m"}))
        answer = await ask(
            chat, "/revocations/", "POST", json.dumps({"user": "ann"}), Content_Type=JSON, **headers
        )
        assert code(answer) == (401, "unauthorized")


@in_each_mode
@gen_test
async def test_without_the_poke_the_next_recovery_is_the_end(mode, tmp_path, monkeypatch):
    """What is published for it may be lost, and the process that revokes may be another one."""
    if mode == "standalone":
        pytest.skip("there is nothing on the way that could be lost")
    monkeypatch.setattr(links, "LINK_SECONDS", range(2, 3))
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        ann, bob = await opened(chat, old("ann")), await opened(chat, old("bob"))
        chat.server.hub.recheck = lambda id: None
        chat.server.keeper._shared = True
        await Rulebook(chat.engine).revoke(passes_of("ann"), "staff")
        assert await end_of(ann) == "revoked"
        await post(chat, "staff", **bearer(old("bob")))
        assert await bob.until_id(1) == [1]


@with_one_pushpin
@gen_test
async def test_a_poke_is_the_end_in_whichever_process_the_recovery_arrives(mode, tmp_path, monkeypatch):
    """Another one has revoked, and pokes, while the copy that this one has is as good as new."""
    if mode == "standalone":
        pytest.skip("no other process has its streams")
    monkeypatch.setattr(keeper_module, "READ_SECONDS", 3600.0)
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        ann = await opened(chat, old("ann"))
        chat.server.keeper._shared = True
        await chat.server.keeper.fresh()
        await Rulebook(chat.engine).revoke(passes_of("ann"), "staff")
        for id in passes_of("ann"):
            chat.server.hub.recheck(id)
        assert await end_of(ann) == "revoked"


@in_each_mode
@gen_test
async def test_a_password_that_has_changed_and_a_key_that_has_left_end_their_streams(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        new = "another key of 32 bytes or more, as it has to be"
        (tmp_path / "secret").write_text(f"{new}\n{KEY}\n")
        chat.server.keeper.reload()
        ann, bob = await opened(chat, old("ann")), await opened(chat, token("bob", key=new))
        (tmp_path / "secret").write_text(f"{new}\n")
        await asyncio.sleep(1.1)  # a key that is not known is one of before only if its tokens are
        chat.server.keeper.reload()
        assert await end_of(ann) == "revoked"
        assert code(await ask(chat, STAFF, **bearer(old("ann")))) == (401, "unauthorized")
        await post(chat, "staff", **bearer(token("bob", key=new)))
        assert await bob.until_id(1) == [1]


@in_each_mode
@gen_test
async def test_a_server_that_starts_again_with_the_room_made_private_ends_the_streams_without_a_pass(
    mode, tmp_path
):
    if mode == "standalone":
        pytest.skip("its streams end with it")
    async with standing(mode, tmp_path) as chat:
        client = await chat.settled("staff")
        other = await chat.settled("tea")
        await chat.server.stop()
        await chat.begin_again(*options(tmp_path))
        assert await end_of(client) == "private"
        await post(chat, "tea")
        assert await other.until_id(1) == [1]
