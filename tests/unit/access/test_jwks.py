"""Tokens of others: what their keys are believed for, and how the keys are fetched."""

import asyncio
import time
from types import SimpleNamespace

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from flychat.access import BadToken, KeyMissing
from flychat.access import jwks as jwks_module
from flychat.access.tokens import Tokens
from tests.support.issuer import AUDIENCE, PRIVATE, Issuer, public, token

gen_test = pytest.mark.gen_test


@pytest.fixture
def issuer(io_loop, monkeypatch):
    monkeypatch.setattr(jwks_module, "ANSWER_SECONDS", 60.0)  # it shares a loop with who asks
    monkeypatch.setattr(jwks_module, "TOTAL_SECONDS", 60.0)
    made = io_loop.run_sync(_made)
    yield made
    io_loop.run_sync(made.close)


async def _made() -> Issuer:
    return Issuer()


@gen_test
@pytest.mark.parametrize("algorithm", PRIVATE)
async def test_a_token_that_its_issuer_signed_for_us_is_believed(issuer, algorithm):
    keys = issuer.key_set()
    await keys.learn()
    for kid in ("", None):
        text = token(algorithm, kid, name="Ann", rooms={"tea": "rw"}, aud=["other", AUDIENCE])
        read = Tokens([keys]).read(text, time.time())
        assert (read.sub, read.name, read.kind, read.key) == ("ann", "Ann", "jwks", "")
        assert read.rooms.of("tea") == {"r", "w"}


@gen_test
async def test_a_token_that_names_no_key_is_tried_with_each_of_its_algorithm(issuer):
    keys = issuer.key_set()
    issuer.keys.insert(0, public("ES256", "new", key=ec.generate_private_key(ec.SECP256R1())))
    await keys.learn()
    assert keys.verify(token(kid=None)).claims["sub"] == "ann"


@gen_test
async def test_a_password_id_is_ours_to_give(issuer):
    keys = issuer.key_set()
    await keys.learn()
    assert not Tokens([keys]).read(token(pw="0123abcd"), time.time()).is_guest


def bad() -> dict:
    der = PRIVATE["ES256"].public_key()
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = der.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {
        "for another audience": token(aud="other"),
        "for nobody": token(aud=None),
        "of another issuer": token(iss="https://evil.example"),
        "signed with another key": token(key=ec.generate_private_key(ec.SECP256R1())),
        "with the key of another algorithm": token("RS256", "ES256"),
        "with another algorithm of the key": token("RS256", "RS256", key=PRIVATE["RS256"]).replace(
            ".", "x.", 1
        ),
        "HS256 with the public key as the secret": jwt.encode(
            {"sub": "x"}, pem[:40] + b"x" * 40, "HS256", {"kid": "ES256"}
        ),
        "unsigned": jwt.encode({"sub": "x"}, None, "none", {"kid": "ES256"}),
        "expired": token(exp=int(time.time()) - 1),
        "nonsense": "x.y",
    }


@gen_test
@pytest.mark.parametrize("why", bad())
async def test_a_token_that_is_not_so_is_not_believed(issuer, why):
    keys = issuer.key_set()
    await keys.learn()
    with pytest.raises(BadToken) as raised:
        Tokens([keys]).read(bad()[why], time.time())
    assert not isinstance(raised.value, KeyMissing)


@gen_test
async def test_any_issuer_is_good_if_none_is_named_but_never_any_audience(issuer):
    keys = issuer.key_set(issuer="")
    await keys.learn()
    assert Tokens([keys]).read(token(iss="https://other.example"), time.time())
    with pytest.raises(BadToken):
        Tokens([keys]).read(token(aud="other"), time.time())


@gen_test
async def test_keys_that_are_secret_or_for_encryption_or_unknown_count_for_nothing(issuer):
    secret = b"s" * 32
    symmetric = {"kty": "oct", "kid": "oct", "k": "c3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3M", "alg": "HS256"}
    issuer.keys = [
        public("RS256", use="enc"),
        symmetric,
        {"kty": "x"},
        7,
        public("ES256"),
        public("EdDSA", alg="ES512"),
        public("RS256", alg="none"),
        public("ES256", alg=["ES256"]),
    ]
    keys = issuer.key_set()
    await keys.learn()
    assert [key.key_id for key in keys._keys] == ["ES256"]
    with pytest.raises(BadToken):
        Tokens([keys]).read(token("HS256", "oct", key=secret), time.time())


@gen_test
async def test_a_new_key_is_learned_when_it_is_used_but_nobody_can_have_the_issuer_asked_for_ever(
    issuer, monkeypatch
):
    keys = issuer.key_set()
    await keys.learn()
    assert issuer.asked == 1
    issuer.keys = [public("ES256", "new")]
    for _ in range(3):
        with pytest.raises(BadToken) as raised:
            keys.verify(token(kid="new"))
        assert not isinstance(raised.value, KeyMissing), "it was asked for just now"
        await keys.learn()
    assert issuer.asked == 1
    monkeypatch.setattr(jwks_module, "RETRY_SECONDS", 0.0)
    with pytest.raises(KeyMissing):
        keys.verify(token(kid="new"))
    await asyncio.gather(*(keys.learn() for _ in range(20)))
    assert issuer.asked == 2, "once for all who wait"
    assert keys.verify(token(kid="new")).claims["sub"] == "ann"
    assert issuer.changes == 2
    with pytest.raises(BadToken):
        keys.verify(token())  # its key has left


@gen_test
@pytest.mark.parametrize("kid", ["ES256", None])
async def test_a_new_key_under_the_name_of_the_old_one_or_without_any_is_learned_as_well(
    issuer, monkeypatch, kid
):
    keys = issuer.key_set()
    await keys.learn()
    new = ec.generate_private_key(ec.SECP256R1())
    issuer.keys = [public("ES256", key=new)]
    monkeypatch.setattr(jwks_module, "RETRY_SECONDS", 0.0)
    with pytest.raises(KeyMissing):
        keys.verify(token(kid=kid, key=new))
    await keys.learn()
    assert keys.verify(token(kid=kid, key=new)).claims["sub"] == "ann"
    monkeypatch.undo()
    with pytest.raises(BadToken) as raised:
        keys.verify(token(kid=kid))
    assert not isinstance(raised.value, KeyMissing), "it was asked for just now"


@gen_test
async def test_while_a_new_set_is_fetched_or_cannot_be_nobody_can_say_that_a_token_is_bad(
    issuer, monkeypatch
):
    """Whoever comes meanwhile has to wait, or to come again: after a 401 a session is gone."""
    keys = issuer.key_set()
    await keys.learn()
    issuer.keys = [public("ES256", "new")]
    issuer.answers.clear()
    monkeypatch.setattr(jwks_module, "RETRY_SECONDS", 0.0)
    fetching = asyncio.create_task(keys.learn())
    await asyncio.sleep(0)
    monkeypatch.setattr(jwks_module, "RETRY_SECONDS", 3600.0)
    with pytest.raises(KeyMissing):
        keys.verify(token(kid="new"))
    issuer.status = 500
    issuer.answers.set()
    await fetching
    with pytest.raises(KeyMissing):
        keys.verify(token(kid="new"))
    assert keys.verify(token()), "the old set is good meanwhile"


@gen_test
async def test_for_a_token_that_no_issuer_signs_nobody_is_asked(issuer, monkeypatch):
    keys = issuer.key_set()
    await keys.learn()
    monkeypatch.setattr(jwks_module, "RETRY_SECONDS", 0.0)
    with pytest.raises(BadToken) as raised:
        keys.verify(jwt.encode({"sub": "x"}, "a secret of an operator, of 32 bytes", "HS256"))
    assert not isinstance(raised.value, KeyMissing)


@gen_test
async def test_a_token_that_no_issuer_signs_is_bad_before_the_first_set_as_well(issuer):
    with pytest.raises(BadToken) as raised:
        issuer.key_set().verify(jwt.encode({"sub": "x"}, "a secret of an operator, of 32 bytes", "HS256"))
    assert not isinstance(raised.value, KeyMissing)


@gen_test
async def test_who_waits_for_the_set_waits_no_longer_than_all_redirects_may_take(issuer, monkeypatch, caplog):
    """ANSWER_SECONDS are for each of four answers; here they are a minute, and the issuer hangs."""
    monkeypatch.setattr(jwks_module, "TOTAL_SECONDS", 0.01)
    issuer.answers.clear()
    keys = issuer.key_set()
    await keys.learn()
    assert "cannot be fetched: TimeoutError" in caplog.text
    issuer.answers.set()
    monkeypatch.setattr(jwks_module, "TOTAL_SECONDS", 60.0)
    monkeypatch.setattr(jwks_module, "RETRY_SECONDS", 0.0)
    await keys.learn()
    assert keys.verify(token())


@gen_test
async def test_before_the_first_set_nobody_can_say_what_a_token_is(issuer):
    keys = issuer.key_set()
    with pytest.raises(KeyMissing):
        keys.verify(token())
    issuer.status = 500
    await keys.learn()
    with pytest.raises(KeyMissing):
        keys.verify(token())


@gen_test
async def test_while_the_set_is_empty_nobody_can_say_it_either(issuer):
    """An issuer that has just been set up: whose token it is must not be told that it is bad."""
    issuer.keys = []
    keys = issuer.key_set()
    await keys.learn()
    assert issuer.changes == 1
    with pytest.raises(KeyMissing):
        keys.verify(token())


@gen_test
@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (500, None),
        (200, "<html>"),
        (200, "[]"),
        (200, '{"keys": 7}'),
        (200, '{"keys": [{"kty": "x"}]}'),
        (200, '{"keys": [], "more": "%s"}' % ("x" * jwks_module.SET_BYTES)),
    ],
)
async def test_while_the_issuer_fails_the_old_set_is_good_for_a_day(
    issuer, monkeypatch, status, answer, caplog
):
    monkeypatch.setattr(jwks_module, "RETRY_SECONDS", 0.0)
    keys = issuer.key_set()
    await keys.learn()
    issuer.status, issuer.answer = status, answer
    await keys.learn()
    assert issuer.asked == 2
    assert keys.verify(token())
    assert f"the keys at {issuer.url} cannot be fetched" in caplog.text
    assert ("that is no set of keys" in caplog.text) == (answer in ("[]", '{"keys": 7}'))
    monkeypatch.setattr(jwks_module, "KEPT_SECONDS", -1.0)
    task = asyncio.create_task(keys.keep())
    while keys._keys:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(KeyMissing):
        keys.verify(token())


@gen_test
async def test_a_set_that_grew_old_while_the_process_was_frozen_is_fetched_before_it_is_believed(
    issuer, monkeypatch
):
    monkeypatch.setattr(jwks_module, "RETRY_SECONDS", 0.0)
    keys = issuer.key_set()
    await keys.learn()
    keys._fetched_at -= jwks_module.KEPT_SECONDS + 1  # as if it had been a day ago
    with pytest.raises(KeyMissing):
        keys.verify(token())
    await keys.learn()
    assert keys.verify(token())


@gen_test
async def test_the_set_is_fetched_again_now_and_then_and_what_is_the_same_changes_nothing(
    issuer, monkeypatch
):
    monkeypatch.setattr(jwks_module, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(jwks_module, "REFRESH_SECONDS", 0.01)
    task = asyncio.create_task(issuer.key_set().keep())
    while issuer.asked < 3:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    task.cancel()
    assert issuer.changes == 1


@gen_test
async def test_as_long_as_there_is_no_set_it_is_asked_for_more_often(issuer, monkeypatch):
    real, slept = asyncio.sleep, []

    async def sleep(seconds):
        slept.append(seconds)
        issuer.status = 200
        await real(0)

    monkeypatch.setattr(jwks_module, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(jwks_module, "asyncio", SimpleNamespace(**vars(asyncio) | {"sleep": sleep}))
    issuer.status = 503
    task = asyncio.create_task(issuer.key_set().keep())
    while len(slept) < 2:
        await real(0.001)
    task.cancel()
    assert slept[:2] == [0.0, jwks_module.REFRESH_SECONDS]


@gen_test
async def test_who_goes_while_the_set_is_fetched_ends_that_for_nobody_else(issuer):
    keys = issuer.key_set()
    gone, waiting = (asyncio.create_task(keys.learn()) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await waiting
    assert keys.verify(token())
