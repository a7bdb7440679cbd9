"""Rights: who is let in, who is not, and what they are told. The same in every mode."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from pathlib import Path

import jwt
import pytest
from tornado.httpclient import HTTPResponse

from flychat.access.opened import open_access
from flychat.config import Config
from flychat.errors import Misconfigured
from flychat.messages import Draft
from tests.support.asking import BROWSER, FORM, JSON
from tests.support.modes import MODES, ONE_PUSHPIN, Place, standing
from tests.support.rights import KEY, STAFF, ask, bearer, code, options, post, rest, token
from tests.support.served import WAIT, fields
from tests.support.started import started

gen_test = pytest.mark.gen_test
each_mode = pytest.mark.parametrize("mode", ONE_PUSHPIN)
with_every_pushpin = pytest.mark.parametrize("mode", MODES)


@each_mode
@gen_test
async def test_who_has_no_token_is_not_let_into_a_private_room_by_any_way(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        await chat.fill(3, "staff")
        reads = chat.engine.calls.total()
        for headers in ({}, {"Authorization": "Basic YTpi"}, {"Cookie": "flychat=x.y.z; flychat_user=ann"}):
            for accept in ("text/event-stream", "*/*"):
                answer = await ask(chat, STAFF, Accept=accept, **headers)
                assert code(answer) == (401, "unauthorized")
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert answer.headers["Cache-Control"] == "no-store"
                assert "Cookie, Authorization" in answer.headers.get_list("Vary")
                assert (await ask(chat, STAFF, "HEAD", Accept=accept, **headers)).code == 401
            assert code(await ask(chat, STAFF + "?before=2", **headers)) == (401, "unauthorized")
            assert code(await post(chat, "staff", **headers)) == (401, "unauthorized")
            for path in ("/staff", "/staff?user=ann", "/staff?before=2&user=ann"):
                page = await ask(chat, path, Accept=BROWSER, **headers)
                assert page.code == 401
                assert "text 0" not in page.body.decode()
                assert "private" in page.body.decode()
                assert "Content-Encoding" not in page.headers
        form = await post(chat, "staff", kind=FORM, Accept=BROWSER)
        assert form.code == 401
        assert form.headers["Content-Type"].startswith("text/html")
        assert chat.engine.calls.total() == reads, "nothing is read for them"


@with_every_pushpin
@gen_test
async def test_a_token_lets_in_by_header_and_by_cookie(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        text = token()
        for headers in (
            bearer(text),
            {"Cookie": f"flychat_user=ann; flychat={text}"},
            {"Authorization": f"bEARER  {text}"},
        ):
            assert (await post(chat, "staff", "hello", **headers)).code == 200
            answer = await ask(chat, STAFF, **headers)
            assert json.loads(answer.body)["messages"][-1]["text"] == "hello"
            assert answer.headers["Cache-Control"] == "private, no-cache"
            assert ", ".join(answer.headers.get_list("Vary")) == "Accept, Cookie, Authorization"
            page = await ask(chat, "/staff?user=ann", Accept=BROWSER, Accept_Encoding="gzip", **headers)
            assert "hello" in page.body.decode(), "no secret in a compressed answer"
            assert page.headers["Cache-Control"] == "private, no-cache"
            assert "Cookie, Authorization" in page.headers.get_list("Vary")
            (name, value), *_ = headers.items()
            stream = await chat.stream(None, f"{name}: {value}", room="staff")
            assert (await stream.next()).type == "stream-open"
            assert fields(await stream.next())["text"] == "hello"
            assert b"private, no-cache, no-transform" in stream.head
        await post(chat, "staff", "for all three", **bearer(text))
        for client in chat.clients:
            assert await client.until_id(4)


@each_mode
@gen_test
async def test_a_token_without_the_right_is_told_so(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        reader, other = bearer(token(rooms={"staff": "r"})), bearer(token(rooms={"tea": "rwm"}))
        assert (await ask(chat, STAFF, **reader)).code == 200
        assert code(await post(chat, "staff", **reader)) == (403, "forbidden")
        assert code(await ask(chat, STAFF, **other)) == (403, "forbidden")
        page = await ask(chat, "/staff", Accept=BROWSER, **other)
        assert page.code == 403
        assert "private" in page.body.decode()
        assert (await ask(chat, "/rooms/news/messages/")).code == 200
        assert code(await post(chat, "news")) == (401, "unauthorized")
        assert code(await post(chat, "news", **reader)) == (403, "forbidden")
        assert (await post(chat, "news", **bearer(token(rooms={"news": "w"})))).code == 200


BAD = {
    "expired": lambda: token(life=-1),
    "of another key": lambda: token(key=KEY + KEY),
    "not signed": lambda: jwt.encode({"sub": "ann"}, None, "none"),
    "nonsense": lambda: "nonsense",
    "nothing": lambda: "",
    "of the future": lambda: token(iat=int(time.time()) + 90),
}


@each_mode
@gen_test
async def test_a_bad_token_is_401_in_the_header_everywhere_and_counts_as_none_in_a_cookie(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        for bad in (make() for make in BAD.values()):
            for room in ("staff", "tea"):
                path = f"/rooms/{room}/messages/"
                for accept in ("text/event-stream", "*/*"):
                    answer = await ask(chat, path, Accept=accept, **bearer(bad))
                    assert code(answer) == (401, "unauthorized")
                    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
                assert code(await post(chat, room, **bearer(bad))) == (401, "unauthorized")
                assert (await ask(chat, f"/{room}?user=ann", **bearer(bad))).code == 401
            if not bad:
                continue
            cookie = {"Cookie": f"flychat={bad}"}
            answer = await ask(chat, "/rooms/tea/messages/", **cookie)
            assert answer.code == 200
            assert re.match(
                r'flychat=""; expires=.* HttpOnly; Path=/; SameSite=Lax$', answer.headers["Set-Cookie"]
            )
            assert (await post(chat, "tea", **cookie)).code == 200
            stream = await chat.stream(None, f"Cookie: flychat={bad}", room="tea")
            assert b'Set-Cookie: flychat=""; expires=' in stream.head
            assert code(await ask(chat, STAFF, **cookie)) == (401, "unauthorized")


@with_every_pushpin
@gen_test
async def test_a_stream_ends_when_its_token_expires_and_others_go_on(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        short = await chat.stream(None, f"Authorization: Bearer {token(life=3)}", room="staff")
        long = await chat.stream(None, f"Authorization: Bearer {token('bob')}", room="staff")
        everybodys = await chat.stream(None, f"Authorization: Bearer {token(life=3)}", room="tea")
        assert [(await stream.next()).type for stream in (short, long, everybodys)] == ["stream-open"] * 3
        await asyncio.sleep(3)  # in GRIP mode the hub then has them recovered, and does not wait for the link
        end = await short.next("keep-alive")
        assert (end.type, json.loads(end.data)) == ("stream-end", {"reason": "expired"})
        assert await rest(short) == b""
        await post(chat, "staff", "still here?", **bearer(token("bob")))
        await post(chat, "tea")
        assert await long.until_id(1)
        assert await everybodys.until_id(1)
        assert short.ids == []


async def everything(mode: str, directory: Path, *arguments: str, **headers: str) -> list:
    """What is answered, by whatever way, to a request with these headers."""
    async with standing(mode, directory, *arguments) as chat:
        for n in (1, 2):
            content = {"from": "ann", "text": f"text {n}", "provisionalId": str(uuid.UUID(int=n))}
            await chat.server.log.submit(Draft.create("room", content, now=0))
        seen: list = []
        for path in (
            "/rooms/room/messages/",
            "/room?user=ann",
            "/rooms/room/messages/?before=0",
            "/healthz",
            "/x/y",
        ):
            for accept in ("*/*", BROWSER):
                answer = await ask(chat, path, Accept=accept, **headers)
                unlike = {"Date", "Set-Cookie"}
                kept = [header for header in answer.headers.get_all() if header[0] not in unlike]
                seen.append(
                    (
                        path,
                        answer.code,
                        kept,
                        re.sub(rb'((?:provisionalId" value|data-now)=")[^"]*', rb"\1", answer.body),
                    )
                )
        answer = await ask(chat, "/rooms/room/messages/", "OPTIONS", **headers)
        seen.append((answer.code, [header for header in answer.headers.get_all() if header[0] != "Date"]))
        stream = await chat.stream(None, *[f"{name}: {value}" for name, value in headers.items()])
        await stream.until_id(2)
        lines = [line for line in stream.head.splitlines() if not line.lower().startswith(b"date:")]
        return [*seen, sorted(lines), stream.blocks]


@each_mode
@gen_test
async def test_without_options_of_access_no_token_is_looked_at_and_no_byte_differs(mode, tmp_path):
    plain = await everything(mode, tmp_path)
    assert plain == await everything(mode, tmp_path, **bearer("nonsense"))
    assert plain == await everything(mode, tmp_path, Cookie="flychat=nonsense")
    assert plain == await everything(mode, tmp_path, "--access", "*=rw")


@each_mode
@gen_test
async def test_where_tokens_are_taken_a_public_room_is_what_it_was_for_everybody(mode, tmp_path):
    plain = await everything(mode, tmp_path)
    now = await everything(mode, tmp_path, *options(tmp_path))
    differ = [(old, new) for old, new in zip(plain, now, strict=True) if old != new]
    (_, _, headers, body), (_, _, new_headers, new_body) = differ[0]
    assert body == new_body
    assert set(new_headers) - set(headers) == {("Vary", "Cookie, Authorization")}, (
        "of the page, and of it only"
    )
    assert [old[0] for old, _ in differ] == ["/room?user=ann", "/room?user=ann", 204]


@pytest.mark.parametrize("mode", ["standalone"])
@gen_test
async def test_preflights_allow_authorization_and_never_credentials(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path, "--cors-origin", "https://example.org")) as chat:
        asked = {"Origin": "https://example.org", "Access-Control-Request-Headers": "authorization"}
        answer = await ask(chat, STAFF, "OPTIONS", **asked)
        assert answer.headers["Access-Control-Allow-Headers"] == "Content-Type, Last-Event-ID, Authorization"
        refused = await ask(chat, STAFF, Origin="https://example.org")
        assert refused.code == 401
        for each in (
            answer,
            refused,
            await ask(chat, STAFF, Origin="https://example.org", **bearer(token())),
        ):
            assert each.headers["Access-Control-Allow-Origin"] == "https://example.org"
            assert "Access-Control-Allow-Credentials" not in each.headers


@each_mode
@gen_test
async def test_a_token_with_a_name_writes_under_it_and_nobody_else_can_say_who_they_are(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:

        async def said(content: dict, **headers: str) -> tuple[int, dict]:
            body = json.dumps({"text": "hi", **content})
            answer = await ask(chat, "/rooms/tea/messages/", "POST", body, Content_Type=JSON, **headers)
            return answer.code, json.loads(answer.body)

        ann = bearer(token("ann@example.org", name="Ann"))
        for content in ({}, {"from": "Ann"}, {"from": "Ann", "user": "bob"}):
            status, message = await said(content, **ann)
            assert (status, message["from"], message["user"]) == (200, "Ann", "ann@example.org")
        assert (await said({"from": "Bob"}, **ann))[0] == 403
        status, message = await said({"from": "Bob"}, **bearer(token("ann")))
        assert (status, message["from"], message["user"]) == (200, "Bob", "ann"), "without a name, any"
        status, message = await said({"from": "Ann", "user": "ann@example.org"})
        assert (status, "user" in message) == (200, False)
        page = (await ask(chat, "/tea?user=Bob", Accept=BROWSER, **ann)).body.decode()
        assert 'value="Ann"' in page


@pytest.mark.parametrize("mode", ["standalone"])
@gen_test
async def test_what_is_refused_for_want_of_a_right_counts_as_what_is_posted(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path, "--rate-limit", "0.25")) as chat:
        assert code(await post(chat, "staff")) == (401, "unauthorized")
        assert code(await post(chat, "staff")) == (429, "too_many_requests")
        assert (await post(chat, "staff", **bearer(token()))).code == 200, "whoever else comes from there"
        removal = json.dumps({"removes": [1]})
        answer = await ask(chat, STAFF, "POST", removal, Content_Type=JSON)
        assert code(answer) == (429, "too_many_requests")


@pytest.mark.parametrize("mode", ["standalone"])
@gen_test
async def test_the_header_of_a_proxy_names_who_asks_if_the_proxy_is_trusted(mode, tmp_path):
    options = ("--access", "news=r", "--user-header", "X-User", "--trust-proxy")
    async with standing(mode, tmp_path, *options) as chat:

        async def said(room: str = "tea", **headers: str) -> tuple[int, dict]:
            body = json.dumps({"text": "hi"})
            answer = await ask(chat, f"/rooms/{room}/messages/", "POST", body, Content_Type=JSON, **headers)
            return answer.code, json.loads(answer.body)

        status, message = await said(X_User="Ann \N{TEACUP WITHOUT HANDLE}".encode().decode("latin-1"))
        assert (status, message["from"], message["user"]) == (200, *["Ann \N{TEACUP WITHOUT HANDLE}"] * 2)
        assert (await said())[0] == 400, "it says who it is, or has to say a name"
        assert (await said(X_User="x" * 65))[0] == 401, "what can be no name counts as a bad token"
        assert (await said("news", X_User="Ann"))[0] == 403, "no right comes with it"
        status, message = await said(X_User="Ann", Cookie="flychat=nonsense")
        assert (status, message["user"]) == (200, "Ann"), "who sends a bad cookie is no less who they are"
        assert (await said(X_User="x" * 65, Cookie="flychat=nonsense"))[0] == 401
        page = await ask(chat, "/tea", X_User="Ann", Cookie="flychat=nonsense")
        assert "flychat=" in page.headers["Set-Cookie"], "and the cookie is taken away"
        twice = await chat.request("GET /rooms/tea/messages/ HTTP/1.1\nX-User: ann\nX-User: bob")
        assert b" 401 " in await asyncio.wait_for(twice.reader.readline(), WAIT)


def test_secrets_and_headers_that_are_not_to_be_believed_are_refused(tmp_path):
    good, short = tmp_path / "good", tmp_path / "short"
    good.write_text(KEY)
    short.write_text("short")
    for refused in (
        ["--access", "tea="],
        ["--access", "tea=w"],
        ["--access", "*=", "--user-header", "X-User", "--trust-proxy"],
        ["--access", "tea"],
        ["--access", "tea=rwm"],
        ["--access", "tea=x"],
        ["--access", "a/b=r"],
        ["--access", "*-staff="],
        ["--access", "a*b*="],
        ["--access", "staff=,tea=r"],
        ["--access", "staff= tea=r"],
        ["--access", "staff=r;tea="],
        ["--access", "healthz=r"],
        ["--access", "tea=r", "--access", "tea=rw"],
        ["--secret", str(tmp_path / "missing")],
        ["--secret", str(tmp_path)],
        ["--secret", str(short)],
        ["--user-header", "X-User"],
        ["--user-header", "X User", "--trust-proxy"],
        ["--user-header", "Cookie", "--trust-proxy"],
    ):
        with pytest.raises(Misconfigured) as raised:
            open_access(Config.read(["--standalone", *refused], {}).access)
        assert "\n" not in str(raised.value)
    variables = {"FLYCHAT_ACCESS": "tea=r staff-*=", "FLYCHAT_SECRET": str(good)}
    read = Config.read(["--standalone"], variables).access
    assert [pattern for pattern, _ in read.rules.rules] == ["staff-*", "tea", "*"]
    assert read.rules.of("coffee") == {"r", "w"}
    assert Config.read(["--standalone"], variables | {"FLYCHAT_ACCESS": "tea=r,staff-*="}).access == read
    closed = Config.read(["--standalone", "--access", "*="], variables).access
    assert closed.rules.of("coffee") == frozenset(), "the last rule is another one if it is said"


def test_without_cryptography_an_issuer_is_refused_with_the_way_to_have_it_and_keys_of_ones_own_are_not(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("jwt.algorithms.has_crypto", False)
    arguments = ["--standalone", *options(tmp_path)]
    assert open_access(Config.read(arguments, {}).access).secret is not None
    issuer = ["--jwks", "https://login.example.org/keys", "--audience", "chat"]
    with pytest.raises(Misconfigured, match=r"flychat\[jwks\]"):
        open_access(Config.read([*arguments, *issuer], {}).access)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "urls", [["http://127.0.0.1:1/"], ["http://127.0.0.1:1/?verify-key=base64:YWJj", "http://127.0.0.1:2/"]]
)
async def test_behind_a_proxy_a_private_room_takes_a_verify_key_on_every_url(urls, tmp_path):
    arguments = [f"--grip-url={url}" for url in urls]
    with pytest.raises(Misconfigured, match="verify-key") as raised:
        async with started(*arguments, *options(tmp_path), mode=("--grip",)):
            pass
    assert "\n" not in str(raised.value)


# Who wrote it


async def said(chat: Place, room: str, content: dict[str, str], **headers: str) -> HTTPResponse:
    body = json.dumps({"text": "hi", **content})
    return await ask(chat, f"/rooms/{room}/messages/", "POST", body, Content_Type=JSON, **headers)


@each_mode
@gen_test
async def test_who_posts_under_somebodys_provisional_id_does_not_take_it_from_them(mode, tmp_path):
    async with standing(mode, tmp_path, *options(tmp_path)) as chat:
        ann, eve = (bearer(token(sub)) for sub in ("ann", "eve"))
        id = str(uuid.uuid4())
        forged = {"from": "Ann", "text": "not that", "provisionalId": id}
        first = [await said(chat, "tea", forged, **who) for who in ({}, eve)]
        mine = [await said(chat, "tea", {**forged, "text": "hello"}, **ann) for _ in range(2)]
        ids = [json.loads(answer.body).get("id") for answer in (*first, *mine)]
        assert ids == [1, 2, 3, 3]
        assert code(await said(chat, "tea", {**forged, "text": "other"}, **ann)) == (409, "conflict")


@gen_test
async def test_the_page_knows_its_user_and_what_is_theirs(tmp_path):
    async with standing("standalone", tmp_path, *options(tmp_path)) as chat:
        ann = token("ann", name="Ann")
        await said(chat, "staff", {}, **bearer(ann))
        await said(chat, "staff", {"from": "Ann"}, **bearer(token("eve")))
        page = (await ask(chat, "/staff", Cookie=f"flychat={ann}")).body.decode()
        rows = re.findall(
            r'<li class="h\d+( own)?" id=\d+ data-id=(\d) data-key="[^"]*" data-user="(\w+)"', page
        )
        assert rows == [(" own", "1", "ann"), ("", "2", "eve")]
        assert 'data-user="Ann" data-sub="ann"' in page
        assert "data-private" in page
        (session,) = re.findall(r' data-session="([^"]+)"', page)
        assert ann not in page
        again = (await ask(chat, "/staff?user=Bob", Cookie=f"flychat={ann}")).body.decode()
        assert 'data-user="Ann"' in again, "the token says the name"
        assert f'data-session="{session}"' in again
        other = token("ann", name="Ann", iat=int(time.time()) - 5)
        assert session not in (await ask(chat, "/staff", Cookie=f"flychat={other}")).body.decode()
        public = (await ask(chat, "/tea?user=Ann")).body.decode()
        assert not re.search("data-sub|data-session|data-private", public)
        reader = (await ask(chat, "/news?user=Ann")).body.decode()
        assert "You may read here, but not write" in reader
        assert "You may read here, but not write" not in public
