"""With a base path a server answers beneath it as it would without one, and nothing outside of it."""

from __future__ import annotations

import asyncio
import json
import re
from urllib.parse import urlencode

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from flychat.config import Config
from flychat.errors import Misconfigured
from flychat.web.plain import is_whole_post, plain_request
from tests.support.asking import BROWSER, FORM, JSON
from tests.support.modes import standing
from tests.support.rights import options, token
from tests.support.served import WAIT
from tests.support.started import connect_to, started

gen_test = pytest.mark.gen_test
BASE = "/chat.d/v-1"
MESSAGES = "/rooms/tea/messages/"
OURS = {"Cookie": "flychat_user=ann"}
GIVEN = {"Content_Type": FORM, "Accept": BROWSER}
POST = urlencode({"from": "ann", "text": "hi"})
REQUESTS = {
    "the way to a room": ("GET", "/", None, {}),
    "the way to another room": ("GET", "/?room=a+b&user=ann", None, {}),
    "the join form": ("GET", "/tea", None, {}),
    "a room": ("GET", "/tea", None, OURS),
    "a room for somebody": ("GET", "/tea?user=ann", None, {}),
    "messages": ("GET", MESSAGES, None, {}),
    "messages, as HEAD": ("HEAD", MESSAGES, None, {}),
    "a form": ("POST", MESSAGES, POST, GIVEN),
    "a plain POST": ("POST", MESSAGES, POST, {"Content_Type": FORM}),
    "a form that is refused": ("POST", MESSAGES, urlencode({"from": "ann"}), GIVEN),
    "a preflight": ("OPTIONS", MESSAGES, None, {}),
    "a removal": ("DELETE", MESSAGES + "1", None, {}),
    "a private room": ("GET", "/staff", None, {"Accept": BROWSER}),
    "a session": ("POST", "/session", json.dumps({"token": token()}), {"Content_Type": JSON}),
    "a session of a form": ("POST", "/session", urlencode({"token": token(), "room": "staff"}), GIVEN),
    "a session on https": (
        *("POST", "/session", urlencode({"token": token()})),
        {**GIVEN, "X_Forwarded_Proto": "https"},
    ),
    "a session's end": ("DELETE", "/session", None, {}),
    "a revocation": ("POST", "/revocations/", "{}", {"Content_Type": JSON}),
    "health": ("GET", "/healthz", None, {}),
    "readiness": ("GET", "/readyz", None, {}),
    "metrics": ("GET", "/metrics", None, {}),
    "the description": ("GET", "/openapi.json", None, {}),
    "a file": ("GET", "/static/x/chat.js", None, {}),
    "a file at the root": ("GET", "/robots.txt", None, {}),
    "what is not there": ("GET", "/a/b", None, {"Accept": BROWSER}),
}


async def ask(url: str, path: str, method: str, body, headers) -> HTTPResponse:
    return await AsyncHTTPClient().fetch(
        url.rstrip("/") + path,
        method=method,
        body=body,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        follow_redirects=False,
        raise_error=False,
        allow_nonstandard_methods=True,
    )


def told(answer: HTTPResponse, base: str) -> list[str]:
    """The answer, without what differs by the time, by chance, or as it should."""
    lines = [str(answer.code), *sorted(f"{name}: {value}" for name, value in answer.headers.get_all())]
    text = "\n".join([*lines, answer.body.decode()])
    text = re.sub(
        r"\n(Content-Length|Date|Etag): .*|expires=[^;\n]*|data-now=.\d+.|/static/[0-9a-f]+/", "", text
    )
    text = re.sub(r'[0-9a-f]{8}-[0-9a-f-]{27}|"date": ?"[^"]*"|\d\d:\d\d:\d\dZ|\d{4}-\d\d-\d\d', "", text)
    return text.replace(base or "\0", "").replace("__Secure-", "__Host-").split("\n")


@gen_test
async def test_beneath_it_all_is_as_without_it_and_outside_there_is_nothing(tmp_path):
    given = (*options(tmp_path), "--trust-proxy")
    async with started(*given) as (server, _), started(*given, "--base-path", BASE) as (based, _):
        host = based.url.removesuffix(f"{BASE}/")
        assert host + BASE + "/" == based.url
        for name, (method, path, body, headers) in REQUESTS.items():
            plain = await ask(server.url, path, method, body, headers)
            ours = await ask(based.url, path, method, body, headers)
            if name == "the description":
                assert json.loads(ours.body) == {**json.loads(plain.body), "servers": [{"url": BASE}]}
            elif name == "metrics":
                assert (plain.code, ours.code) == (200, 200)
            else:
                assert told(ours, BASE) == told(plain, ""), name
            outside = await ask(host, path, method, body, headers)
            assert outside.code == 404, name
            assert "Set-Cookie" not in outside.headers


@gen_test
async def test_every_address_of_a_page_begins_with_it_and_cookies_are_not_for_the_neighbours(tmp_path):
    async with started(*options(tmp_path, "--trust-proxy"), "--base-path", BASE) as (server, _):
        for path, headers in (
            *(("/tea?user=ann", {}), ("/tea", {}), ("/a/b", {"Accept": BROWSER})),
            *(("/staff", {"Accept": BROWSER}), (f"/tea?before={'9' * 30}&user=%00", {})),
        ):
            page = await ask(server.url, path, "GET", None, headers)
            addresses = re.findall(r'(?:href|src|action)="(/[^"]*)"', page.body.decode())
            assert addresses
            assert [address for address in addresses if not address.startswith(f"{BASE}/")] == []
        named = await ask(server.url, "/tea?user=ann", "GET", None, {})
        assert f"; Path={BASE}/;" in named.headers["Set-Cookie"] + ";"
        secure = {"X_Forwarded_Proto": "https", "Content_Type": JSON}
        begun = await ask(server.url, "/session", "POST", json.dumps({"token": token()}), secure)
        cookie, *attributes = begun.headers["Set-Cookie"].split("; ")
        assert cookie.startswith("__Secure-flychat=")
        assert {"Secure", "HttpOnly", f"Path={BASE}/"} < set(attributes)
        kept = {"Cookie": cookie, "X_Forwarded_Proto": "https"}
        assert (await ask(server.url, "/rooms/staff/messages/", "GET", None, kept)).code == 200
        ended = await ask(server.url, "/session", "DELETE", None, kept)
        assert ended.headers["Set-Cookie"].startswith('__Secure-flychat="";')
        assert f"Path={BASE}/" in ended.headers["Set-Cookie"]
        beside = {**kept, "Cookie": f"{cookie}; __Secure-flychat=of-another-flychat-at-a-shorter-path"}
        assert (await ask(server.url, "/rooms/staff/messages/", "GET", None, beside)).code == 200
        form = await ask(server.url, "/tea?user=", "GET", None, {"Cookie": "flychat_user=ann"})
        asked = re.search(r'name="asked" value="([^"]+)"', form.body.decode())[1]
        theirs = "flychat_user=root; flychat_asked=theirs"
        named = {"Cookie": f"flychat_user=ann; flychat_asked={asked}; {theirs}"}
        joined = await ask(server.url, f"/tea?user=bob&asked={asked}", "GET", None, named)
        assert "flychat_user=bob;" in joined.headers["Set-Cookie"], "it is not asked once more"
        for path in (BASE, f"{BASE}/"):
            root = await ask(server.url.removesuffix(f"{BASE}/"), path, "GET", None, {})
            assert (root.code, root.headers["Location"]) == (302, f"{BASE}/default")


@gen_test
@pytest.mark.parametrize("mode", ["standalone", "model", "pushpin"])
async def test_a_stream_beneath_it_is_whole_and_a_proxy_finds_what_it_has_missed(mode, tmp_path):
    async with standing(mode, tmp_path, "--base-path", BASE) as chat:
        stream = await chat.request(f"GET {BASE}/rooms/room/messages/ HTTP/1.1\nAccept: text/event-stream")
        await stream.opened()
        assert (await stream.next()).type == "stream-open"
        publish = chat.server.hub.publish
        if mode != "standalone":  # what is published is lost, so that only a recovery brings it
            chat.server.hub.publish = lambda publication: None
        await chat.fill(3)
        chat.server.hub.publish = publish
        if mode != "standalone":
            for publisher in chat.server.hub.publishers:
                publisher.recover_all()
            await chat.fill(1)
        assert await stream.until_id(3) == [1, 2, 3]


@gen_test
async def test_plain_requests_beneath_it_are_answered_without_tornado():
    async with started("--base-path", BASE) as (server, clients):
        handed_over = []
        server.http.hand_over = lambda client, unsent=b"": handed_over.append(client)
        body = '{"from": "ann", "text": "hi"}'
        headers = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        place = server.url.removesuffix(f"{BASE}/") + "/"
        async with asyncio.timeout(WAIT):
            client = await connect_to(place, clients, f"POST {BASE}{MESSAGES}", headers)
            await client.opened()
            reader = await connect_to(
                place, clients, f"GET {BASE}{MESSAGES}", "Accept: text/event-stream\r\n\r\n"
            )
            await reader.opened()
            assert await reader.until_id(1) == [1]
        assert client.head.startswith(b"HTTP/1.1 200 ")
        assert handed_over == []


def test_what_is_plain_is_so_beneath_it_only():
    get = b"GET %b/rooms/tea/messages/ HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"
    post = (
        b"POST %b/rooms/tea/messages/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 2\r\n\r\n{}"
    )
    beneath, others = BASE.encode(), (b"", b"/chatXd/v-1", b"/CHAT.D/v-1", b"/x" + BASE.encode())
    for request in (get, post):
        assert plain_request(request % beneath, BASE) == plain_request(request % b"") is not None
        assert plain_request(request % beneath) is None
        assert [plain_request(request % other, BASE) for other in others] == [None] * len(others)
    assert is_whole_post(post % beneath, BASE)
    assert not any(is_whole_post(post % other, BASE) for other in others)


@pytest.mark.parametrize(("given", "path"), [("/chat", "/chat"), ("/a/b.c/", "/a/b.c"), ("/", ""), ("", "")])
def test_how_it_is_said(given, path):
    assert Config.read(["--standalone"], {"FLYCHAT_BASE_PATH": given}).base_path == path


@pytest.mark.parametrize(
    "given", ["chat", "/a//b", "/a/../b", "/.", "//x", "/ä", "/a b", "/a?b", "/a%20b", "/a\n"]
)
def test_how_it_is_not_said(given):
    with pytest.raises(Misconfigured, match="--base-path must be like /chat"):
        Config.read(["--standalone", "--base-path", given], {})
