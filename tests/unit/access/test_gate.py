"""The one question, and what ends the right of a hold."""

from dataclasses import replace

import pytest

from flychat.access import HEADER, JWKS, READ, SECRET, WRITE, BadToken, Pass, Rules, Token, read_rights
from flychat.access.gate import Access
from flychat.access.passwords import Password, Passwords
from flychat.access.revocations import ALL_ROOMS, NEVER, Revocations
from flychat.access.tokens import Secret, Tokens, claims_of

NOW = 1_800_000_000


def rules(given: dict[str, str]) -> Rules:
    return Rules.of_rules((pattern, read_rights(letters)) for pattern, letters in given.items())


def token(rooms: dict[str, str], sub: str = "ann", issued: int = NOW, kind: str = SECRET, **more) -> Token:
    return Token(sub, None, rules(rooms), issued, NOW + 60, kind, **more)


PRIVATE = rules({"*": "rw", "staff": "", "news": "r", "box": "w"})


def test_by_default_everybody_may_read_and_write():
    access = Access()
    assert access.may(None, "tea", "r")
    assert access.may(None, "tea", "w")
    assert not access.may(None, "tea", "m")
    assert not access.on


@pytest.mark.parametrize(
    ("room", "given", "letters"),
    [
        ("tea", None, "rw"),
        ("staff", None, ""),
        ("news", None, "r"),
        ("box", None, "w"),
        ("staff", {"staff": "r"}, "r"),
        ("staff", {"other": "rwm"}, ""),
        ("tea", {"tea": ""}, "rw"),  # a token takes nothing away
        ("tea", {"tea": "m"}, "rwm"),
        ("news", {"*": "w"}, "rw"),
    ],
)
def test_a_token_adds_to_what_everybody_may(room, given, letters):
    access = Access(PRIVATE)
    theirs = None if given is None else token(given)
    assert "".join(right for right in "rwm" if access.may(theirs, room, right)) == letters


def test_a_revoked_token_counts_as_none_until_a_later_one_comes():
    access = Access(PRIVATE)
    ann = token({"*": "rwm"})
    access.revocations = Revocations().with_these([ann.pass_().id], "staff", NOW)
    assert not access.may(ann, "staff", "r")
    assert access.identity(ann, "staff") is None
    assert access.identity(ann, "tea") is ann
    assert access.may(ann, "tea", "m")
    assert access.may(token({"*": "r"}, issued=NOW + 1), "staff", "r")
    assert access.may(token({"*": "r"}, sub="bob"), "staff", "r")
    assert access.may(token({"*": "r"}, kind=JWKS), "staff", "r")
    access.revocations = Revocations().with_these([ann.pass_().id], ALL_ROOMS, NOW)
    assert access.identity(ann, "tea") is None
    assert access.may(ann, "tea", "w")
    assert not access.may(ann, "tea", "m")


def test_who_a_proxy_vouches_for_is_not_revoked_here_and_has_no_rights_of_its_own():
    access = Access(PRIVATE, user_header="X-User")
    ann = token({}, kind=HEADER)
    access.revocations = Revocations().with_these([ann.pass_().id], ALL_ROOMS, NOW)
    assert access.identity(ann, "tea") is ann
    assert not access.may(ann, "staff", "r")


@pytest.mark.parametrize(
    ("access", "room", "headers", "public"),
    [
        (Access(), "tea", {"cookie": "flychat=x", "authorization": "x"}, True),
        (Access(PRIVATE), "tea", {}, True),
        (Access(PRIVATE), "tea", {"cookie": "flychat_user=ann; other=flychat"}, True),
        (Access(PRIVATE), "tea", {"cookie": "flychat_user=ann; flychat=x"}, False),
        (Access(PRIVATE), "tea", {"cookie": "flychat =x"}, False),
        (Access(PRIVATE), "tea", {"cookie": "__Host-flychat=x"}, False),
        (Access(PRIVATE), "tea", {"cookie": "__Secure-flychat=x"}, False),
        (Access(PRIVATE), "tea", {"authorization": "Basic x"}, False),
        (Access(PRIVATE), "staff", {}, False),
        (Access(PRIVATE), "box", {}, False),
        (Access(tokens=Tokens([])), "tea", {}, True),
        (Access(tokens=Tokens([])), "tea", {"cookie": "flychat=x"}, False),
        (Access(user_header="X-User"), "tea", {"x-user": "ann"}, False),
        (Access(user_header="X-User"), "tea", {"x-other": "ann"}, True),
    ],
)
def test_a_request_is_everybodys_only_if_nothing_in_it_can_say_who_asks(access, room, headers, public):
    assert access.anybody_may(room, READ, headers) is public


def test_what_everybody_may_read_not_everybody_may_write():
    assert not Access(PRIVATE).anybody_may("news", WRITE, {})
    assert Access(PRIVATE).anybody_may("box", WRITE, {})


def test_only_holds_of_private_rooms_carry_a_pass():
    access = Access(PRIVATE)
    ann = token({"*": "r"})
    assert access.pass_of(ann, "tea") is None
    assert access.pass_of(ann, "staff") == ann.pass_()
    assert access.pass_of(None, "staff") is None


SECRETS = Secret([b"k" * 32], read_at=NOW)
(KEY,) = SECRETS.keys
P = "0123456789abcdef"


def password(id: str) -> Passwords:
    return Passwords([Password("staff", 1 << 14, 8, 1, b"", b"", id)])


@pytest.mark.parametrize(
    ("room", "given", "reason"),
    [
        ("tea", None, None),
        ("tea", Pass(P, 0, 0), None),  # everybody may read here
        ("staff", None, "private"),
        ("staff", Pass(P, NOW, NOW + 1), None),
        ("staff", Pass(P, NOW, NOW), "expired"),
        ("staff", Pass("revoked-in-staff", NOW - 5, NOW + 1), "revoked"),
        ("box", Pass("revoked-in-staff", NOW - 5, NOW + 1), None),
        ("staff", Pass("revoked-in-staff", NOW - 4, NOW + 1), None),
        ("box", Pass("revoked-for-good", NOW - 5, NOW + 1), "revoked"),
        ("staff", Pass(P, NOW, NOW + 1, KEY), None),
        ("staff", Pass(P, NOW, NOW + 1, "ffffffff"), "revoked"),  # a key that was dropped
        ("staff", Pass(P, NOW + 61, NOW + 99, "ffffffff"), None),  # one that is younger than what we know
        ("staff", Pass(P, NOW + 60, NOW + 99, "ffffffff"), "revoked"),  # dropped, and its `iat` is ahead
        ("staff", Pass(P, NOW, NOW + 1, KEY, "11111111"), None),
        ("staff", Pass(P, NOW, NOW + 1, KEY, "22222222"), "revoked"),  # a password that has changed
    ],
)
def test_why_a_hold_has_no_right_any_more(room, given, reason):
    access = Access(PRIVATE, passwords=password("11111111"))
    access.secret = SECRETS
    access.revocations = Revocations(
        {("revoked-in-staff", "staff"): NOW - 5, ("revoked-for-good", ""): NOW - 5}
    )
    assert access.ended(room, given, NOW) == reason


def test_a_pass_of_a_key_ends_where_no_secret_is_left():
    assert Access(PRIVATE).ended("staff", Pass(P, NOW, NOW + 1, KEY), NOW) == "revoked"


def test_a_guests_token_is_good_as_long_as_its_password():
    text = SECRETS.sign(claims_of("guest-1", {"staff": "rw"}, issued=NOW, expires=NOW + 9, pw="11111111"))
    assert Access(PRIVATE, Tokens([SECRETS]), passwords=password("11111111")).token(text, NOW).is_guest
    for passwords in (None, password("22222222")):
        with pytest.raises(BadToken):
            Access(PRIVATE, Tokens([SECRETS]), passwords=passwords).token(text, NOW)
    with pytest.raises(BadToken):
        Access(PRIVATE).token(text, NOW)


def test_a_guest_is_let_into_the_rooms_that_have_the_password_and_into_no_room_with_another():
    wide, board = (
        Password(pattern, 1 << 14, 8, 1, b"", b"", id)
        for pattern, id in (("staff*", "11111111"), ("staff-board", "22222222"))
    )
    access = Access(rules({"*": "rw", "staff*": ""}), passwords=Passwords([wide, board]))
    guest = token({"staff*": "rw"}, password="11111111")
    assert access.may(guest, "staff-tea", "r")
    assert access.may(guest, "coffee", "w"), "as everybody"
    assert access.identity(guest, "coffee") is guest
    assert not access.may(guest, "staff-board", "r")
    assert not access.may(guest, "staff-board", "w")
    assert access.ended("staff-tea", guest.pass_(), NOW) is None
    assert access.ended("staff-board", guest.pass_(), NOW) == "revoked"
    invited = token({"staff*": "rw"})
    assert access.may(invited, "staff-board", "r"), "who was invited came by no password"
    access.passwords = Passwords([wide, replace(wide, id="33333333")])
    assert access.may(guest, "staff-tea", "r"), "there may be two, while one is changed for the other"


def test_a_guest_who_has_typed_two_passwords_is_let_in_by_each_as_long_as_it_is_in_use():
    tea, staff = (
        Password(pattern, 1 << 14, 8, 1, b"", b"", id)
        for pattern, id in (("tea", "11111111"), ("staff*", "22222222"))
    )
    access = Access(rules({"*": ""}), Tokens([SECRETS]))
    access.secret = SECRETS
    claims = claims_of(
        "guest-1", {"tea": "rw", "staff*": "rw"}, issued=NOW, expires=NOW + 9, pw=f"{tea.id}.{staff.id}"
    )
    for passwords, rooms in (([tea, staff], ["tea", "staff-a"]), ([staff], ["staff-a"]), ([tea], ["tea"])):
        access.passwords = Passwords(passwords)
        guest = access.token(SECRETS.sign(claims), NOW)
        assert [room for room in ("tea", "staff-a", "x") if access.may(guest, room, "r")] == rooms
        held = [room for room in ("tea", "staff-a", "x") if access.ended(room, guest.pass_(), NOW) is None]
        assert held == rooms, "and so is a stream of theirs"


# What is revoked


def test_the_newest_moment_counts_in_the_room_or_in_all():
    revoked = Revocations().with_these(["a"], "tea", 5).with_these(["a"], "coffee", 6)
    assert (revoked.moment("a", "tea"), revoked.moment("a", "coffee"), revoked.moment("a", "x")) == (
        5,
        6,
        NEVER,
    )
    later = revoked.with_these(["a", "b"], ALL_ROOMS, 7)
    assert later.moments == {("a", ""): 7, ("b", ""): 7}, "what is covered is left out"
    assert later.with_these(["b"], "tea", 8).moments == {("a", ""): 7, ("b", ""): 7, ("b", "tea"): 8}


def test_what_has_done_its_work_is_left_out_by_the_next_one():
    revoked = Revocations({("old", ""): NOW - 400 * 86_400, ("young", ""): NOW - 400 * 86_400 + 1})
    assert set(revoked.with_these(["a"], "", NOW).moments) == {("young", ""), ("a", "")}


def test_a_revocation_by_somebody_whose_clock_is_behind_takes_none_back():
    revoked = Revocations().with_these(["a"], "tea", 9).with_these(["b"], ALL_ROOMS, 9)
    again = revoked.with_these(["a", "b"], ALL_ROOMS, 7)
    assert (again.moment("a", "tea"), again.moment("a", "coffee"), again.moment("b", "tea")) == (9, 7, 9)


def test_who_was_revoked_since():
    old = Revocations({("a", ""): 5, ("b", "tea"): 5})
    assert Revocations({("a", ""): 5, ("b", "tea"): 6, ("c", ""): 1}).beyond(old) == {"b", "c"}
    assert old.beyond(Revocations()) == {"a", "b"}
    assert old.beyond(old) == set()


def test_what_is_stored_comes_back_and_what_is_not_understood_is_not_taken_for_nothing():
    revoked = Revocations({("a", ""): 5, ("b", 't"ea'): 6})
    assert Revocations.read(revoked.text()) == revoked
    assert (
        Revocations.read('{"v":1,"revoked":[{"p":"a","room":"","at":5,"by":"x"}],"bans":[]}').moment("a", "x")
        == 5
    )
    for text in (
        "",
        "[]",
        '{"v":2,"revoked":[]}',
        '{"v":1}',
        '{"v":1,"revoked":[{}]}',
        '{"v":1,"revoked":[7]}',
    ):
        with pytest.raises(ValueError, match=r"."):
            Revocations.read(text)
