"""Tokens: what is believed, and what is not."""

import base64
import json

import jwt
import pytest

from flychat.access import LIFE, BadToken, tokens
from flychat.access.tokens import Secret, Tokens, claims_of
from flychat.errors import Misconfigured

NOW = 1_800_000_000
KEY, OTHER = b"k" * 32, b"o" * 40
SECRET = Secret([KEY, OTHER], read_at=NOW)
GOOD = {
    "sub": "ann@example.org",
    "name": "Ann",
    "rooms": {"staff-*": "rw", "tea": "rwm"},
    "iat": NOW,
    "exp": NOW + 60,
}


def read(claims, key=KEY, algorithm="HS256", now=NOW, headers=None):
    return Tokens([SECRET]).read(jwt.encode(claims, key, algorithm, headers=headers), now)


def test_a_token_says_who_may_do_what_and_until_when():
    token = read(GOOD)
    assert (token.sub, token.name, token.issued, token.expires) == ("ann@example.org", "Ann", NOW, NOW + 60)
    assert token.rooms.of("staff-x") == {"r", "w"}
    assert token.rooms.of("tea") == {"r", "w", "m"}
    assert token.rooms.of("coffee") == frozenset()
    assert token.kind == "secret"
    assert token.key == tokens.key_id(KEY)
    assert not token.is_guest


def test_every_key_verifies_and_the_first_signs():
    assert read(GOOD, OTHER).key == tokens.key_id(OTHER)
    assert jwt.decode(SECRET.sign({"sub": "x"}), KEY, ["HS256"]) == {"sub": "x"}
    assert SECRET.fingerprint == tokens.key_id(KEY)


def test_name_and_rooms_may_be_left_out_and_what_else_there_is_does_not_matter():
    token = read(
        {"sub": "ann", "iat": NOW, "exp": NOW + 1, "aud": "x", "iss": "z", "scope": ["y"], "name": None}
    )
    assert token.name is None
    assert token.rooms.of("tea") == frozenset()


def changed(**claims):
    return {name: value for name, value in (GOOD | claims).items() if value != "out"}


@pytest.mark.parametrize(
    "claims",
    [
        *(changed(**{claim: "out"}) for claim in ("sub", "iat", "exp")),
        *(changed(sub=sub) for sub in ("", 7, None, "x" * 256, "a\nb", "\ud800")),
        *(
            changed(exp=exp)
            for exp in (NOW, NOW - 1, str(NOW + 60), True, None, 1e400, float("nan"), -1, 10**40)
        ),
        *(changed(iat=iat) for iat in (NOW + 61, "x", None, [], NOW - LIFE)),
        *(changed(nbf=nbf) for nbf in (NOW + 61, "x")),
        *(changed(name=name) for name in ("", 7, "x" * 65, "a\tb")),
        *(
            changed(rooms=rooms)
            for rooms in ([], "tea", {"tea": "x"}, {"tea": 7}, {"a/b": "r"}, {"healthz": "r"}, None)
        ),
        changed(rooms={f"room{n}": "r" for n in range(101)}),
        changed(pw=7),
    ],
    ids=lambda claims: (
        ", ".join(f"{k}={str(v)[:20]}" for k, v in claims.items() if GOOD.get(k) != v) or "missing"
    ),
)
def test_a_token_whose_claims_are_not_right_is_not_believed(claims):
    with pytest.raises(BadToken):
        read(claims)


def test_clocks_may_differ_by_a_minute_but_what_has_expired_has_expired():
    assert read(changed(iat=NOW + 60, nbf=NOW + 60))
    assert read(changed(exp=NOW + 1))
    with pytest.raises(BadToken):
        read(changed(exp=NOW))
    with pytest.raises(BadToken):
        read(changed(exp=NOW + 0.9), now=NOW + 0.5)  # whole seconds count


def test_what_a_hold_carries_ends_when_its_token_is_believed_no_more_however_late_that_expires():
    token = read(changed(iat=NOW - LIFE + 5, exp=NOW + 10 * LIFE))
    assert token.pass_().expires == NOW + 5
    with pytest.raises(BadToken):
        read(changed(iat=NOW - LIFE + 5, exp=NOW + 10 * LIFE), now=NOW + 5)


def test_a_token_that_was_verified_is_remembered_until_it_expires(monkeypatch):
    reader = Tokens([SECRET])
    text = jwt.encode(GOOD, KEY)
    first = reader.read(text, NOW)
    verified = []
    monkeypatch.setattr(SECRET, "verify", verified.append)
    assert reader.read(text, NOW + 59) is first
    assert verified == []
    with pytest.raises(BadToken, match="expired"):
        reader.read(text, NOW + 60)
    assert not reader._known


def test_what_was_verified_is_forgotten_when_keys_change():
    reader = Tokens([SECRET])
    text = jwt.encode(GOOD, OTHER)
    reader.read(text, NOW)
    reader.verifiers = [Secret([KEY])]
    reader.forget()
    with pytest.raises(BadToken):
        reader.read(text, NOW)


def test_tokens_that_are_remembered_are_bounded_and_those_in_use_stay(monkeypatch):
    monkeypatch.setattr(tokens, "REMEMBERED", 3)
    reader = Tokens([SECRET])
    texts = [jwt.encode(changed(sub=f"s{n}"), KEY) for n in range(4)]
    for text in (*texts[:3], texts[0], texts[3]):
        reader.read(text, NOW)
    assert [token.sub for token in reader._known.values()] == ["s2", "s0", "s3"]


def unsigned(claims, header):
    parts = (json.dumps(part).encode() for part in (header, claims))
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "x.y.z",
        "ü",
        jwt.encode(GOOD | {"x": "x" * 4096}, KEY),  # longer than a cookie may be
        jwt.encode(GOOD, b"e" * 32),
        jwt.encode(GOOD, KEY + KEY, "HS512"),
        jwt.encode(GOOD, KEY, headers={"crit": ["exp"]}),
        jwt.encode(GOOD, KEY)[:-2],
        jwt.encode(GOOD, KEY) + ".x",
        unsigned(GOOD, {"alg": "none"}),
        unsigned(GOOD, {"alg": "HS256"}),
        unsigned(GOOD, {"alg": ["HS256"]}),
        unsigned([1], {"alg": "HS256"}),
        ("[" * 900),
    ],
    ids=lambda text: text[:12],
)
def test_what_is_not_signed_with_a_key_of_ours_is_not_believed(text):
    with pytest.raises(BadToken):
        Tokens([SECRET]).read(text, NOW)
    with pytest.raises(BadToken):
        Tokens([]).read(text, NOW)


def test_a_key_is_the_bytes_of_its_line():
    lines = [b" " + b"a" * 32 + b"\t", bytes(range(128, 168)), b"z" * 31 + b"\r"]
    assert list(Secret.of_lines(b"\n".join([*lines[:2], b"", b"b" * 32 + b"\r", b""])).keys.values()) == [
        *lines[:2],
        b"b" * 32,
    ]
    with pytest.raises(Misconfigured):
        Secret.of_lines(lines[2])


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\n\n", b"short\n", b"a" * 32 + b"\nshort\n", b"ssh-rsa " + b"A" * 40),
        b'{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}\n',
    ],
)
def test_keys_that_are_none_or_short_or_known_to_all_are_refused(data):
    with pytest.raises(Misconfigured):
        Secret.of_lines(data)


def test_a_key_may_look_like_an_object_and_be_none():
    assert Secret.of_lines(b"{" + b"a" * 40 + b"\n").verify


def test_a_token_that_is_made_here_is_read_as_it_was_meant():
    claims = claims_of("guest-1", {"tea": "rw"}, issued=NOW, expires=NOW + 9, name="Ann", pw="0123abcd")
    token = Tokens([SECRET]).read(SECRET.sign(claims), NOW)
    assert token.pass_().position == f"{NOW}-{NOW + 9}-{tokens.key_id(KEY)}-0123abcd"
    assert (token.is_guest, token.name) == (True, "Ann")
    assert claims_of("x", {}, issued=1, expires=2) == {"sub": "x", "rooms": {}, "iat": 1, "exp": 2}
