"""A hosted GRIP proxy, as strict as Fastly's Fanout is documented to be: the same streams, by keys and tokens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tornado.httputil import HTTPHeaders

from flychat.errors import Misconfigured
from flychat.hub import grip
from flychat.hub.grip import GripUrl
from flychat.hub.pushpin import PushpinHub
from flychat.tools import check
from tests.proof import oracle
from tests.support.hosted import JWK, PEM, SERVICE, Hosted, grip_url, public, signature
from tests.support.modes import Place
from tests.support.ports import free_port
from tests.support.started import faulty, started

gen_test = pytest.mark.gen_test
ORIGIN = "https://api.example.com/"


@contextlib.asynccontextmanager
async def hosted(key: bytes = PEM, *arguments: str):
    """A chat behind it, and the proxy."""
    port = free_port()
    proxy = Hosted(port, key)
    options = ("--rate-limit", "0", "--port", str(port), *arguments)
    mode = ("--grip", f"--grip-url={proxy.grip_url}")
    try:
        async with started(*options, mode=mode) as (server, _):
            place = Place("hosted", server, faulty(server), proxy.url, None)  # type: ignore[arg-type]
            yield place, proxy
            for client in place.clients:
                client.close()
    finally:
        await proxy.close()


@pytest.mark.parametrize("key", [PEM, JWK])
@gen_test
async def test_streams_are_whole_and_the_proxy_refuses_nothing_but_the_recovery_it_does_not_have(key):
    async with hosted(key) as (chat, proxy):
        client = await chat.opened()
        said = [await chat.post(text) for text in ("one", "two ünïcödé", "three")]
        await client.until_id(3)
        late = await chat.stream(1)
        await late.until_id(3)
        assert [message["id"] for message in said] == [1, 2, 3]
        refused = (404, f"/service/{SERVICE}/recover/")
        assert proxy.refused == [refused] * 2, "at the start, and when it had taken something"


@gen_test
async def test_requests_that_the_proxy_did_not_sign_are_given_no_stream(caplog):
    """Who signs with another key has come through a proxy, and is not told to."""
    async with hosted() as (chat, _):
        path, stream = "/rooms/room/messages/", {"Accept": "text/event-stream"}
        forged = jwt.encode({"iss": f"fastly:{SERVICE}", "exp": 2**33}, "k" * 32, "HS256")
        for headers in ({}, {"Grip-Sig": forged}, {"Grip-Sig": signature(iss="fastly:another")}):
            status, _, body = await oracle.fetch(chat.server.url, path, headers={**stream, **headers})
            assert status == 501
            page = (await oracle.fetch(chat.server.url, "/room?user=ann", headers=headers))[2].decode()
            for told in (json.loads(body)["error"]["message"], page):
                assert ("does not fit the verify-key" in told) == bool(headers)
                assert ("around the proxy" in told or "does not hold streams" in told) != bool(headers)
    assert ["does not fit the verify-key" in record.getMessage() for record in caplog.records] == [
        False,
        True,
    ]


@pytest.mark.parametrize("key", [PEM, JWK])
@gen_test
async def test_the_public_key_is_no_secret_that_one_could_sign_with(key):
    hub = PushpinHub([grip_url(ORIGIN, key)])
    header, claims = ({"alg": "HS256", "typ": "JWT"}, {"iss": f"fastly:{SERVICE}", "exp": 2**33})
    parts = [jwt.utils.base64url_encode(json.dumps(part).encode()) for part in (header, claims)]
    mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(b".".join(parts), key)
    forged = b".".join([*parts, jwt.utils.base64url_encode(mac)]).decode()
    assert hub.way(HTTPHeaders({"Grip-Sig": signature()})).vouched
    assert not hub.way(HTTPHeaders({"Grip-Sig": forged})).vouched
    await hub.close()


@gen_test
async def test_a_hint_is_refused_and_nothing_is_missing():
    """The end of a right is told by a hint, which this proxy does not know."""
    async with hosted() as (chat, proxy):
        client = await chat.opened()
        chat.server.hub.recheck("somebody")
        await asyncio.gather(*(chat.post(f"text {n}", provisional_id=str(uuid.uuid4())) for n in range(5)))
        await client.until_id(5)
        assert (400, f"/service/{SERVICE}/publish/") in proxy.refused


@gen_test
async def test_check_finds_nothing_behind_it_and_tells_what_is_missing(capsys, monkeypatch):
    async with hosted() as (chat, proxy):
        url = proxy.url.rstrip("/")
        assert await check.check(url, quick=True) == 0, capsys.readouterr().out
        monkeypatch.setattr(check, "PATIENCE", 2.0)  # for what does not come
        (publisher,) = chat.server.hub.publishers
        publisher._target = GripUrl.read(grip_url(proxy.origin, token="expired"))
        assert await check.check(url, quick=True) == 1
        assert "not seen within" in (out := capsys.readouterr().out)
        assert "flychat cannot publish: are address and key in its --grip-url right?" in out
        hub = PushpinHub([grip_url(proxy.origin, public(ec.generate_private_key(ec.SECP256R1())))])
        chat.server.application.way = hub.way
        assert await check.check(url, quick=True) == 1
        assert "verify-iss and verify-key must be those of the proxy" in capsys.readouterr().out
        await hub.close()


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "no public key for ES256 or RS256"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "no public key for ES256 or RS256"),
        (b'{"kty": "oct", "k": "c2VjcmV0"}', "no public key for ES256 or RS256"),
        (b"{", "no public key for ES256 or RS256"),
    ],
)
def test_a_key_that_is_none_is_refused_at_the_start(key, says):
    with pytest.raises(Misconfigured, match=says):
        GripUrl.read(grip_url(ORIGIN, key))


def test_without_cryptography_a_public_key_is_refused_with_the_way_to_have_it(monkeypatch):
    monkeypatch.setattr(grip, "has_crypto", False)
    with pytest.raises(Misconfigured, match=r"pip install 'flychat\[jwks\]'"):
        GripUrl.read(grip_url(ORIGIN))


def test_an_issuer_without_a_key_is_refused():
    with pytest.raises(Misconfigured, match="a verify-iss without a verify-key"):
        GripUrl.read(f"{ORIGIN}service/{SERVICE}?key=token&verify-iss=fastly:{SERVICE}")
