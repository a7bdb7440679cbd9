"""Sessions: how a token comes into a cookie, by itself or for a password, and how it leaves."""

from __future__ import annotations

import asyncio
import json
import time
from urllib.parse import urlencode

import jwt
import pytest

from flychat.access.passwords import Password, Passwords, hashed
from flychat.config import Config
from flychat.errors import Misconfigured, Overloaded
from tests.support.asking import BROWSER, FORM, JSON
from tests.support.modes import ONE_PUSHPIN, Place, standing
from tests.support.rights import KEY, STAFF, ask, bearer, code, options, post, token

gen_test = pytest.mark.gen_test
HASH = hashed("open sesame")
SALT, DIGEST = HASH.split("$")[-2:]
WITH_PASSWORD = ("--password", f"staff={HASH}")
THIS_SITE = {"X_Forwarded_Proto": "https"}


async def session(chat: Place, content: dict, kind: str = JSON, method: str = "POST", **headers: str):
    body = json.dumps(content) if kind == JSON else urlencode(content)
    return await ask(chat, "/session", method, body, Content_Type=kind, **headers)


def cookie(answer) -> dict[str, str]:
    return {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}


@gen_test
async def test_a_token_becomes_a_cookie_that_no_script_can_read_and_leaves_again(tmp_path):
    async with standing("standalone", tmp_path, *options(tmp_path)) as chat:
        text = token(name="Ann")
        answer = await session(chat, {"token": text})
        assert (answer.code, answer.headers["Cache-Control"]) == (200, "no-store")
        assert json.loads(answer.body)["name"] == "Ann"
        for kind, accept in ((JSON, BROWSER), (FORM, "*/*")):  # only a browser's form is led to a page
            same = await session(chat, {"token": text, "room": "staff"}, kind, Accept=accept)
            assert (same.code, same.body) == (200, answer.body)
        name, *attributes = answer.headers["Set-Cookie"].split("; ")
        assert name == f"flychat={text}"
        assert {"HttpOnly", "Path=/", "SameSite=Lax"} < set(attributes)
        assert "Secure" not in attributes
        assert (await ask(chat, STAFF, **cookie(answer))).code == 200
        left = await ask(chat, "/session", "DELETE", **cookie(answer))
        assert left.code == 204
        assert left.headers["Set-Cookie"].startswith('flychat=""; expires=')


@gen_test
async def test_on_https_only_this_very_host_can_set_the_cookie_and_only_a_proxy_knows(tmp_path):
    async with standing("standalone", tmp_path, *options(tmp_path, "--trust-proxy")) as chat:
        answer = await session(chat, {"token": token()}, X_Forwarded_Proto="https")
        assert answer.headers["Set-Cookie"].startswith("__Host-flychat=")
        assert {"HttpOnly", "Path=/", "SameSite=Lax", "Secure"} < set(
            answer.headers["Set-Cookie"].split("; ")
        )
        assert (await ask(chat, STAFF, **cookie(answer), X_Forwarded_Proto="https")).code == 200
        assert (await ask(chat, STAFF, **cookie(answer))).code == 401, "another connection, another cookie"
        assert (await ask(chat, STAFF, Cookie=f"flychat={token()}", X_Forwarded_Proto="https")).code == 401
        left = await ask(chat, "/session", "DELETE", X_Forwarded_Proto="https")
        assert left.headers["Set-Cookie"].startswith('__Host-flychat=""; ')
        assert "Secure" in left.headers["Set-Cookie"]
    async with standing("standalone", tmp_path, *options(tmp_path)) as chat:
        answer = await session(chat, {"token": token()}, X_Forwarded_Proto="https")
        assert answer.headers["Set-Cookie"].startswith("flychat=")


@gen_test
async def test_what_a_grip_proxy_signs_is_believed_of_https_as_well(tmp_path):
    async with standing("pushpin", tmp_path, *options(tmp_path)) as chat:
        answer = await session(chat, {"token": token()}, **THIS_SITE)
        assert answer.headers["Set-Cookie"].startswith("__Host-flychat=")
        assert "Secure" in answer.headers["Set-Cookie"].split("; ")
        assert (await ask(chat, STAFF, **cookie(answer), **THIS_SITE)).code == 200


@gen_test
async def test_the_forms_work_without_a_script(tmp_path):
    async with standing("standalone", tmp_path, *options(tmp_path, *WITH_PASSWORD)) as chat:
        form = {"kind": FORM, "Accept": BROWSER, "Origin": chat.url.rstrip("/")}
        for content in ({"token": token()}, {"token": f"https://chat.example/staff#invite={token()}"}):
            answer = await session(chat, {"room": "staff", **content}, **form)
            assert (answer.code, answer.headers["Location"]) == (303, "/staff")
            assert (await ask(chat, STAFF, **cookie(answer))).code == 200
        answer = await session(chat, {"room": "staff", "password": "open sesame"}, **form)
        assert (answer.code, answer.headers["Location"]) == (303, "/staff")
        assert (await ask(chat, STAFF, **cookie(answer))).code == 200
        left = await session(chat, {"room": "staff", "leave": "1"}, **form, **cookie(answer))
        assert (left.code, left.headers["Location"]) == (303, "/staff")
        assert left.headers["Set-Cookie"].startswith('flychat=""; ')
        left = await session(chat, {"leave": "1"}, **form)
        assert (left.code, left.headers["Location"]) == (303, "/")
        refused = await session(chat, {"room": "staff", "password": "wrong"}, **form)
        assert refused.code == 403
        assert "This is not the password of the room." in refused.body.decode()
        refused = await session(chat, {"room": "staff", "token": "x.y.z"}, **form)
        assert refused.code == 401
        assert "no longer valid" in refused.body.decode()


@gen_test
async def test_what_is_no_token_or_comes_from_elsewhere_begins_no_session(tmp_path):
    async with standing(
        "standalone", tmp_path, *options(tmp_path, "--cors-origin", "https://a.example")
    ) as chat:
        for content, expected in (
            ({"token": "x.y.z"}, (401, "unauthorized")),
            ({"token": token(life=-1)}, (401, "unauthorized")),
            ({"token": 7}, (400, "invalid")),
            ({}, (400, "invalid")),
            ({"token": token(), "room": "a/b"}, (400, "invalid")),
            ({"password": "x"}, (400, "invalid")),
            ({"password": "x", "room": "staff"}, (403, "forbidden")),
        ):
            answer = await session(chat, content)
            assert code(answer) == expected
            assert "Set-Cookie" not in answer.headers
        for origin in ("https://evil.example", "https://a.example", "null"):
            assert code(await session(chat, {"token": token()}, Origin=origin)) == (403, "forbidden")
            assert code(await ask(chat, "/session", "DELETE", Origin=origin)) == (403, "forbidden")
        assert code(await session(chat, {"token": "x" * 70_000})) == (413, "too_large")


@gen_test
async def test_a_page_over_http_of_a_site_that_is_on_https_is_none_of_its_own(tmp_path):
    """Whoever is on the way can write such a page, and could have somebody enter as somebody else."""
    async with standing("standalone", tmp_path, *options(tmp_path, "--trust-proxy")) as chat:
        ours = chat.url.rstrip("/")
        for origin, proto, status in (
            (ours, "https", 403),
            (ours, "http, https", 403),
            (ours.replace("http", "https"), "https", 200),
            (ours, "http", 200),
            (ours, "https, http", 200),
        ):
            answer = await session(chat, {"token": token()}, Origin=origin, X_Forwarded_Proto=proto)
            assert (answer.code, "Set-Cookie" in answer.headers) == (status, status == 200)
            for kind in (FORM, JSON):
                posted = await post(chat, "tea", kind=kind, Origin=origin, X_Forwarded_Proto=proto)
                assert posted.code == status
    async with standing("standalone", tmp_path, *options(tmp_path)) as chat:
        answer = await session(
            chat, {"token": token()}, Origin=chat.url.rstrip("/"), X_Forwarded_Proto="https"
        )
        assert answer.code == 200, "nobody is trusted to know"


@gen_test
async def test_a_form_of_who_has_another_name_by_now_is_shown_again_with_its_text(tmp_path):
    """The page was opened before its reader signed in, in another tab."""
    async with standing("standalone", tmp_path, *options(tmp_path)) as chat:
        signed = {"Cookie": f"flychat={token(name='Ann')}", "Origin": chat.url.rstrip("/")}
        refused = await post(chat, "tea", "long thought about", FORM, Accept=BROWSER, **signed)
        assert refused.code == 403
        page = refused.body.decode()
        assert "long thought about</textarea>" in page
        assert '<input type="hidden" name="from" value="Ann"' in page


@pytest.mark.parametrize(
    ("signed", "meant", "status"),
    [
        ("ann", "ann", 200),
        ("zo\u00eb /%", "zo%C3%AB%20%2F%25", 200),
        ("bob", "ann", 401),
        (None, "ann", 401),
        ("ann", None, 200),
        (None, None, 200),
    ],
)
@gen_test
async def test_a_message_that_is_meant_for_one_user_is_not_stored_under_another(
    signed, meant, status, tmp_path
):
    """The session is the browser's: another tab may have ended it, or begun another one."""
    async with standing("standalone", tmp_path, *options(tmp_path)) as chat:
        headers = {"Cookie": f"flychat={token(signed)}"} if signed else {}
        headers |= {"Flychat-User": meant} if meant else {}
        answer = await post(chat, "tea", **headers)
        assert answer.code == status
        if status == 200:
            assert json.loads(answer.body).get("user") == signed
        else:
            assert code(answer) == (401, "unauthorized")
            assert json.loads((await ask(chat, "/rooms/tea/messages/")).body)["messages"] == []


@gen_test
async def test_a_form_of_who_may_not_write_any_more_loses_no_text_and_is_told_what_is_so(tmp_path):
    async with standing("standalone", tmp_path, *options(tmp_path)) as chat:
        expired = {"Cookie": f"flychat={token(life=-1)}", "Origin": chat.url.rstrip("/"), "Accept": BROWSER}
        refused = await post(chat, "staff", "long thought about", FORM, **expired)
        page = refused.body.decode()
        assert (refused.code, "This room is private" in page) == (401, True)
        assert "long thought about</textarea>" in page
        refused = await post(chat, "news", "long thought about", FORM, **expired)
        page = refused.body.decode()
        assert (refused.code, "This room is private" in page) == (401, False), "anybody may read it"
        assert "To write, open the link of your invitation." in page
        assert "long thought about</textarea>" in page
        wrong = await session(chat, {"token": "x.y.z", "room": "tea"}, FORM, Accept=BROWSER)
        assert (wrong.code, b"is private" in wrong.body, b"token is not valid" in wrong.body) == (
            401,
            False,
            True,
        )
        elsewhere = {**expired, "Origin": "https://evil.example"}
        for room in ("staff", "news"):
            refused = await post(chat, room, "not theirs", FORM, **elsewhere)
            assert (refused.code, "not theirs" in refused.body.decode()) == (403, False)


@gen_test
async def test_who_knows_the_password_is_a_guest_until_it_changes(tmp_path):
    async with standing("standalone", tmp_path, *options(tmp_path, *WITH_PASSWORD)) as chat:
        answer = await session(chat, {"room": "staff", "password": "open sesame"})
        claims = jwt.decode(cookie(answer)["Cookie"].partition("=")[2], KEY, ["HS256"])
        assert claims["sub"].startswith("guest-")
        assert claims["rooms"] == {"staff": "rw"}
        assert 29 * 86_400 < claims["exp"] - time.time() <= 30 * 86_400
        again = await session(chat, {"room": "staff", "password": "open sesame"})
        assert json.loads(again.body)["user"] != json.loads(answer.body)["user"], (
            "each is somebody of their own"
        )
        body = json.dumps({"from": "Bob", "text": "hi"})
        posted = await ask(chat, STAFF, "POST", body, Content_Type=JSON, **cookie(answer))
        assert json.loads(posted.body)["user"] == claims["sub"]
        assert (
            await ask(chat, "/rooms/news/messages/", "POST", body, Content_Type=JSON, **cookie(answer))
        ).code == 403
    for changed in ((), ("--password", f"staff={hashed('open sesame')}")):
        async with standing("standalone", tmp_path, *options(tmp_path, *changed)) as chat:
            assert (await ask(chat, STAFF, **cookie(answer))).code == 401


@pytest.mark.parametrize("mode", ONE_PUSHPIN)
@gen_test
async def test_who_types_the_password_of_another_room_stays_a_guest_of_the_first(mode, tmp_path):
    both = (*WITH_PASSWORD, "--access", "tea=", "--password", f"tea={hashed('milk')}")
    operator = bearer(token("operator", rooms={"*": "m"}))
    async with standing(mode, tmp_path, *options(tmp_path, *both)) as chat:
        began, user = int(time.time()) - 60, "guest-1"
        first = token(user, iat=began, pw=Password.read(WITH_PASSWORD[1]).id)
        answer = await session(chat, {"room": "tea", "password": "milk"}, Cookie=f"flychat={first}")
        assert json.loads(answer.body)["user"] == user, "the same person, who may remove what they wrote"
        guest = cookie(answer)
        for room in ("staff", "tea"):
            assert json.loads((await post(chat, room, **guest)).body)["user"] == user
            stream = await chat.stream(0, *(f"{name}: {value}" for name, value in guest.items()), room=room)
            await stream.until_id(1)
        assert (
            code(await ask(chat, "/rooms/news/messages/", "POST", "{}", Content_Type=JSON, **guest))[0] == 403
        )

        body = json.dumps({"user": user, "room": "staff"})
        assert (await ask(chat, "/revocations/", "POST", body, Content_Type=JSON, **operator)).code == 200
        again = cookie(await session(chat, {"room": "tea", "password": "milk"}, **guest))
        statuses = [(await ask(chat, f"/rooms/{room}/messages/", **again)).code for room in ("staff", "tea")]
        assert statuses == [401, 200], "what is revoked is not given back by another room's password"
        assert jwt.decode(again["Cookie"].partition("=")[2], KEY, ["HS256"])["iat"] == began
        other = await session(chat, {"room": "staff", "password": "open sesame"}, **again)
        assert json.loads(other.body)["user"] != user
        assert (await ask(chat, STAFF, **cookie(other))).code == 200


@gen_test
async def test_of_more_passwords_than_a_token_can_hold_the_one_typed_first_is_forgotten(
    monkeypatch, tmp_path
):
    both = (*WITH_PASSWORD, "--access", "tea=", "--password", f"tea={hashed('milk')}")
    async with standing("standalone", tmp_path, *options(tmp_path, *both)) as chat:
        first = cookie(await session(chat, {"room": "staff", "password": "open sesame"}))
        monkeypatch.setattr("flychat.access.tokens.TOKEN_CHARACTERS", len(first["Cookie"]))
        second = cookie(await session(chat, {"room": "tea", "password": "milk"}, **first))
        statuses = [(await ask(chat, f"/rooms/{room}/messages/", **second)).code for room in ("staff", "tea")]
        assert statuses == [403, 200]


@gen_test
async def test_passwords_can_be_tried_five_times_a_minute(tmp_path):
    async with standing("standalone", tmp_path, *options(tmp_path, *WITH_PASSWORD)) as chat:
        for _ in range(5):
            assert code(await session(chat, {"room": "staff", "password": "x"})) == (403, "forbidden")
        refused = await session(chat, {"room": "staff", "password": "open sesame"})
        assert code(refused) == (429, "too_many_requests")
        assert 0 < int(refused.headers["Retry-After"]) <= 12
        assert (await session(chat, {"token": token()})).code == 200


@gen_test
async def test_the_page_of_a_private_room_asks_for_its_password_if_it_has_one(tmp_path):
    async with standing(
        "standalone", tmp_path, *options(tmp_path, *WITH_PASSWORD, "--access", "other=")
    ) as chat:
        pages = {
            room: (await ask(chat, f"/{room}", Accept=BROWSER)).body.decode() for room in ("staff", "other")
        }
        assert [("password" in page) for page in pages.values()] == [True, False]
        assert all("invitation" in page for page in pages.values())


@gen_test
async def test_a_room_that_everybody_may_read_asks_for_the_password_with_which_to_write(tmp_path):
    passwords = ("--password", f"news={HASH}")
    async with standing("standalone", tmp_path, *options(tmp_path, *passwords)) as chat:
        page = (await ask(chat, "/news?user=Eve")).body.decode()
        assert 'name="password"' in page
        form = {"room": "news", "password": "open sesame"}
        guest = cookie(await session(chat, form, FORM, Accept=BROWSER))
        assert (await post(chat, "news", **guest)).code == 200
        assert 'name="password"' not in (await ask(chat, "/news?user=Eve", **guest)).body.decode()


@gen_test
async def test_a_room_may_be_called_session_and_without_tokens_that_is_all_it_is(tmp_path):
    async with standing("standalone", tmp_path, *options(tmp_path)) as chat:
        assert b"Welcome" in (await ask(chat, "/session", Accept=BROWSER)).body
        assert (await ask(chat, "/session", "HEAD")).code == 200
    async with standing("standalone", tmp_path) as chat:
        assert b"Welcome" in (await ask(chat, "/session", Accept=BROWSER)).body
        answer = await session(chat, {"token": token()})
        assert (answer.code, answer.headers["Allow"]) == (405, "GET, HEAD")
        assert (await ask(chat, "/revocations/", "POST", "")).code == 404


@pytest.mark.parametrize(
    "value",
    [
        "staff",
        "staff=x",
        f"a/b={HASH}",
        f"a*b={HASH}",
        "staff=scrypt$1$8$1$AA==$AA==",
        f"staff={HASH[:-8]}",
        f"staff={HASH}$x",
        f"={HASH}",
        *map(
            "staff=scrypt${}".format,
            (
                f"8192$8$1${SALT}${DIGEST}",
                f"16385$8$1${SALT}${DIGEST}",
                f"262144$8$1${SALT}${DIGEST}",
                f"16384$16$1${SALT}${DIGEST}",
                f"16384$8$2${SALT}${DIGEST}",
                f"16384$8$1$AAAA${DIGEST}",
                f"16384$8$1${SALT}$AAAA",
                f"16384$8$1$!{SALT}${DIGEST}",
            ),
        ),
    ],
    ids=range(16),  # of its own in each process of the tests, the hash is no name
)
def test_a_password_that_is_not_as_the_command_prints_it_is_refused(value, tmp_path):
    (tmp_path / "secret").write_text(KEY)
    with pytest.raises(Misconfigured, match="--password"):
        Config.read(["--standalone", "--secret", "x", "--password", value], {})


def test_a_password_takes_a_secret_and_closes_nothing_by_itself():
    with pytest.raises(Misconfigured, match="--secret"):
        Config.read(["--standalone", *WITH_PASSWORD], {})
    read = Config.read(
        ["--standalone"], {"FLYCHAT_SECRET": "x", "FLYCHAT_PASSWORD": f"staff={HASH} tea={HASH}"}
    ).access
    assert [each.pattern for each in read.passwords] == ["staff", "tea"]
    assert read.rules.of("staff") == {"r", "w"}


@gen_test
async def test_where_many_try_passwords_others_are_refused_and_not_kept_waiting(monkeypatch):
    monkeypatch.setattr("flychat.access.passwords.WAITING", 3)
    passwords = Passwords([Password.read(f"tea={hashed('right')}")])
    tries = [
        asyncio.create_task(passwords.find("tea", text)) for text in ("right", "wrong", "right", "right")
    ]
    found = await asyncio.gather(*tries, return_exceptions=True)
    assert [type(each) for each in found] == [Password, type(None), Password, Overloaded]
    assert await passwords.find("tea", "right") is not None


@gen_test
async def test_of_several_passwords_those_of_the_longest_pattern_open_a_room():
    one, two, wide = (
        Password.read(f"{pattern}={hashed(text)}")
        for pattern, text in (("tea", "1"), ("tea", "2"), ("*", "3"))
    )
    passwords = Passwords([wide, one, two])
    assert [await passwords.find("tea", text) for text in "123"] == [one, two, None]
    assert [await passwords.find("coffee", text) for text in "123"] == [None, None, wide]
    assert await passwords.find("tea", "1" * 1000) is None
    assert len({one.id, two.id, wide.id}) == 3


@gen_test
async def test_a_bearer_wins_over_a_cookie(tmp_path):
    async with standing("standalone", tmp_path, *options(tmp_path)) as chat:
        for header, status in (
            (bearer(token()), 200),
            (bearer("x.y.z"), 401),
            ({"Authorization": "Basic eA=="}, 200),
        ):
            assert (await ask(chat, STAFF, Cookie=f"flychat={token('bob')}", **header)).code == status
