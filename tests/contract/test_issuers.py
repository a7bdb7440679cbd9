"""Tokens of others, as a server takes them: by their public keys, which it fetches."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from flychat.access import jwks as jwks_module
from tests.support.asking import JSON
from tests.support.issuer import AUDIENCE, ISSUER, Issuer, public, token
from tests.support.modes import ONE_PUSHPIN, standing
from tests.support.pushpin_proxy import eventually
from tests.support.rights import RULES, STAFF, ask, bearer, code, options, post
from tests.support.rights import token as own

pytestmark = pytest.mark.parametrize("mode", ONE_PUSHPIN)
gen_test = pytest.mark.gen_test


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    for limit in ("ANSWER_SECONDS", "TOTAL_SECONDS"):  # the issuer shares a loop with who asks
        monkeypatch.setattr(jwks_module, limit, 60.0)


def taking(issuer: Issuer) -> tuple[str, ...]:
    return ("--jwks", issuer.url, "--audience", AUDIENCE, "--issuer", ISSUER)


@gen_test
async def test_a_token_of_a_trusted_issuer_lets_in_beside_our_own_and_can_be_revoked(mode, tmp_path):
    issuer = Issuer()
    async with standing(mode, tmp_path, *options(tmp_path), *taking(issuer)) as chat:
        ann = token("ES256", rooms={"staff": "rw"}, name="Ann", iat=int(time.time()) - 60)
        for headers in (bearer(ann), {"Cookie": f"flychat={ann}"}, bearer(own())):
            assert (await ask(chat, STAFF, **headers)).code == 200
        said = await ask(chat, STAFF, "POST", json.dumps({"text": "hi"}), Content_Type=JSON, **bearer(ann))
        assert (json.loads(said.body)["from"], json.loads(said.body)["user"]) == ("Ann", "ann")
        stream = await chat.stream(None, f"Authorization: Bearer {ann}", room="staff")
        assert await stream.until_id(1)
        await chat.server.keeper.revoke("ann", "")
        assert (await stream.next("keep-alive")).type == "stream-end"
        assert code(await ask(chat, STAFF, **bearer(ann))) == (401, "unauthorized")
    await issuer.close()


@gen_test
async def test_a_server_that_has_no_keys_of_its_own_takes_an_issuers_tokens_and_no_others(mode, tmp_path):
    issuer = Issuer()
    async with standing(mode, tmp_path, *RULES, *taking(issuer)) as chat:
        assert (await ask(chat, STAFF, **bearer(token(rooms={"staff": "r"})))).code == 200
        assert code(await ask(chat, STAFF, **bearer(own()))) == (401, "unauthorized")
        assert code(await ask(chat, STAFF)) == (401, "unauthorized")
    await issuer.close()


@gen_test
async def test_a_key_that_is_not_known_is_asked_for_while_the_request_waits(mode, tmp_path, monkeypatch):
    monkeypatch.setattr(jwks_module, "RETRY_SECONDS", 3600.0)
    issuer = Issuer()
    async with standing(mode, tmp_path, *options(tmp_path), *taking(issuer)) as chat:
        assert (await ask(chat, STAFF, **bearer(token(rooms={"staff": "r"})))).code == 200
        issuer.keys = [public("EdDSA", "new")]
        new = token("EdDSA", "new", rooms={"staff": "r"})
        assert code(await ask(chat, STAFF, **bearer(new))) == (401, "unauthorized")
        monkeypatch.setattr(jwks_module, "RETRY_SECONDS", 0.0)
        assert (await ask(chat, STAFF, **bearer(new))).code == 200
        issuer.keys = [public("EdDSA", "newest")]
        newest = token("EdDSA", "newest", rooms={"staff": "rw"}, name="Ann")
        body = json.dumps({"text": "hi"})
        assert (await ask(chat, STAFF, "POST", body, Content_Type=JSON, **bearer(newest))).code == 200
    await issuer.close()


@gen_test
async def test_while_no_key_is_known_who_shows_a_token_is_told_to_come_again_and_public_rooms_go_on(
    mode, tmp_path
):
    issuer = Issuer()
    issuer.status = 500
    async with standing(mode, tmp_path, *options(tmp_path), *taking(issuer)) as chat:
        for headers in (bearer(token()), {"Cookie": f"flychat={token()}"}):
            answer = await ask(chat, STAFF, **headers)
            assert code(answer) == (503, "unavailable")
            assert b"the keys of tokens cannot be fetched; nothing was done" in answer.body
            assert answer.headers["Retry-After"]
            assert (await ask(chat, "/rooms/tea/messages/", **headers)).code == 200
            assert code(await post(chat, "tea", **headers)) == (503, "unavailable")
            assert "Set-Cookie" not in answer.headers
        session = await ask(chat, "/session", "POST", json.dumps({"token": token()}), Content_Type=JSON)
        assert code(session) == (503, "unavailable")
        left = own(key="of a secret that is no longer the server's")
        assert code(await ask(chat, STAFF, **bearer(left))) == (401, "unauthorized")
        entered = await post(chat, "tea", Cookie=f"flychat={left}")  # as without a session, which ends
        assert (entered.code, "Set-Cookie" in entered.headers) == (200, True)
        assert (await ask(chat, STAFF, **bearer(own()))).code == 200
    await issuer.close()


@gen_test
async def test_who_comes_while_a_new_key_is_asked_for_waits_for_it_as_the_first_one_does(
    mode, tmp_path, monkeypatch
):
    issuer = Issuer()
    async with standing(mode, tmp_path, *options(tmp_path), *taking(issuer)) as chat:
        assert (await ask(chat, STAFF, **bearer(token(rooms={"staff": "r"})))).code == 200
        issuer.keys = [public("ES256", "new")]
        issuer.answers.clear()
        learn, learning = jwks_module.KeySet.learn, []

        async def counted(keys):
            learning.append(keys)
            await learn(keys)

        monkeypatch.setattr(jwks_module.KeySet, "learn", counted)
        monkeypatch.setattr(jwks_module, "RETRY_SECONDS", 0.0)
        first = asyncio.create_task(ask(chat, STAFF, **bearer(token(kid="new", rooms={"staff": "r"}))))
        await eventually(lambda: issuer.asked >= 2)
        monkeypatch.setattr(jwks_module, "RETRY_SECONDS", 3600.0)
        later = token(kid="new", sub="bob", rooms={"staff": "r"})
        others = [
            asyncio.create_task(ask(chat, STAFF, **headers))
            for headers in (bearer(later), {"Cookie": f"flychat={later}"})
        ]
        await eventually(lambda: len(learning) == 3 or any(each.done() for each in others))
        issuer.answers.set()
        for answer in await asyncio.gather(first, *others):
            assert answer.code == 200
    await issuer.close()
