"""The words of GRIP."""

import json

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import example, given
from hypothesis import strategies as st
from jwt.algorithms import get_default_algorithms

from flychat.access import Pass
from flychat.errors import Misconfigured
from flychat.hub import RecoveryRequest
from flychat.hub.grip import PUBLIC, grip_headers, read_grip_last, verifying_key
from flychat.streams import Page, StreamRequest, plan_stream
from tests.support.issuer import PRIVATE, public


@pytest.mark.parametrize(
    ("headers", "request_"),
    [
        (["messages-a%20b; last-id=117"], StreamRequest("a b", 117, recover=True)),
        (
            ["provisional-a%20b; last-id=3", "messages-a%20b; last-id=4"],
            StreamRequest("a b", 4, recover=True),
        ),
        (["x; last-id=1, messages-a%2Cb;last-id=0"], StreamRequest("a,b", 0, recover=True)),
        (["messages-a-b; x=y; last-id=2"], StreamRequest("a-b", 2, recover=True)),
        ([], None),
        (["messages-a"], None),
        (["messages-; last-id=1"], None),
        (["messages-a; last-id=x"], None),
        (["messages-healthz; last-id=1"], None),
        (["messages-a%2Fb%00; last-id=1"], None),
        (["messages-%2E; last-id=1, messages-b; last-id=2"], StreamRequest("b", 2, recover=True)),
        (["messages-a; last-id=1, messages-b; last-id=2"], StreamRequest("a", 1, recover=True)),
    ],
)
def test_a_recovery_is_read_from_grip_last(headers, request_):
    assert read_grip_last(headers) == (request_ and RecoveryRequest(request_, None))


P = "0123456789abcdef"


@pytest.mark.parametrize(
    ("headers", "pass_"),
    [
        ([f"messages-a; last-id=1, pass-{P}; last-id=5-9"], Pass(P, 5, 9)),
        ([f"pass-{P}; last-id=5-9-00000000", "messages-a; last-id=1"], Pass(P, 5, 9, "00000000")),
        ([f"messages-a; last-id=1, pass-{P}; last-id=x, pass-{P}"], None),
    ],
)
def test_a_recovery_brings_back_the_pass_of_its_hold(headers, pass_):
    assert read_grip_last(headers) == RecoveryRequest(StreamRequest("a", 1, recover=True), pass_)


def test_a_pass_is_a_channel_with_a_position_and_without_one_nothing_changes():
    plan = plan_stream(StreamRequest("a"), Page((), 7))
    channels = "messages-a; prev-id=7, provisional-a"
    assert grip_headers(plan, 20)["Grip-Channel"] == channels
    given = Pass(P, 5, 9, "01234567", "89abcdef")
    with_pass = grip_headers(plan, 20, given)
    assert with_pass["Grip-Channel"] == f"{channels}, pass-{P}; prev-id=5-9-01234567-89abcdef"
    assert with_pass | {"Grip-Channel": channels} == grip_headers(plan, 20)
    last = [part.replace("prev-id", "last-id") for part in with_pass["Grip-Channel"].split(", ")]
    assert read_grip_last(last) == RecoveryRequest(StreamRequest("a", 7, recover=True), given)


@pytest.mark.parametrize("given", [None, Pass(P, 5, 9)])
def test_a_channel_prefix_begins_all_channels_and_is_taken_off_where_a_hold_comes_back(given):
    plan = plan_stream(StreamRequest("a:b"), Page((), 7))
    channels = grip_headers(plan, 20, given, prefix="one:")["Grip-Channel"].split(", ")
    bare = grip_headers(plan, 20, given)["Grip-Channel"].split(", ")
    assert channels == ["one:" + channel for channel in bare]
    last = [channel.replace("prev-id", "last-id") for channel in channels]
    asked = RecoveryRequest(StreamRequest("a:b", 7, recover=True), given)
    assert read_grip_last(last) == read_grip_last([", ".join(last)]) == asked


LIKE_THE_USUAL = r"[\s\x1c]{0,2}(messages|pass)?-?(room|caf%C3%A9|%2F|\.|[^,]?)[ ;]{0,3}(last-id=)?[0-9\u0662]{0,20}[ ;\n]{0,2}"


@given(st.from_regex(LIKE_THE_USUAL, fullmatch=True))
@example(" messages-caf%C3%A9; last-id=007 ")
@example("one:messages-a; last-id=1")
@example("messages-a:messages-b; last-id=1")
@example("messages-healthz; last-id=1")
@example("messages-a ; last-id=1")
@example("messages-a,b; last-id=1")
@example(f"messages-a; last-id={'9' * 19}")
def test_the_usual_grip_last_is_read_as_any_other(value):
    assert read_grip_last([value]) == read_grip_last([value, ""])


@given(st.lists(st.text()))
def test_any_grip_last_is_a_recovery_or_nothing(values):
    asked = read_grip_last(values)
    assert asked is None or (asked.request.recover and asked.request.last_id is not None)


@pytest.mark.parametrize("secret", [b"{" + bytes(range(200, 231)), b"a secret", "a secret, as text"])
def test_a_shared_secret_is_left_as_it_is_whatever_it_begins_with(secret):
    assert verifying_key(secret) == secret


@pytest.mark.parametrize("algorithm", PUBLIC)
def test_a_public_key_is_one_in_any_form_and_never_taken_for_a_secret(algorithm):
    """Who knows it could sign with its bytes, as with a secret."""
    key = PRIVATE[algorithm].public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for text in (pem, json.dumps(public(algorithm)).encode()):
        for shown in (text, b"\n " + text + b"\n", text.decode()):
            assert verifying_key(shown) == key


@pytest.mark.parametrize("algorithm", PUBLIC)
def test_a_public_key_without_its_armour_is_refused_and_not_taken_for_a_secret_either(algorithm):
    key = PRIVATE[algorithm].public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    body = b"".join(pem.splitlines()[1:-1])
    for shown in (der, body, body.decode(), b"\n" + body + b"\n"):
        with pytest.raises(Misconfigured, match="no public key"):
            verifying_key(shown)
    for last in (b" ", b"\n", b"\t\n"):  # as one key of 43 has it, perhaps with a line break behind it
        with pytest.raises(Misconfigured, match="no public key"):
            verifying_key(b"0\x59" + bytes(88) + last)
    for secret in (b"1" + der[1:], b"0" + der[1:-1], der[:63], b"0" * 64, b"0\x80" + bytes(90)):
        assert verifying_key(secret) == secret


@pytest.mark.parametrize("algorithm", PUBLIC)
def test_a_private_key_is_refused(algorithm):
    key = PRIVATE[algorithm]
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for private in (pem, get_default_algorithms()[algorithm].to_jwk(key)):
        with pytest.raises(Misconfigured):
            verifying_key(private)
