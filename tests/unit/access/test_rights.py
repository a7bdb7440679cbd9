"""Rules, patterns and passes."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flychat.access import EVERYBODY, Pass, Rules, pass_id, read_pattern, read_rights
from flychat.errors import Invalid, NotFound


def rules(**given: str) -> Rules:
    return Rules.of_rules(
        (pattern.replace("_", "*"), read_rights(letters)) for pattern, letters in given.items()
    )


@pytest.mark.parametrize(
    ("room", "letters"),
    [
        ("tea", "r"),
        ("tea*", "w"),  # a name that ends like a pattern is still a name
        ("teapot", "w"),
        ("te", ""),
        ("team", "w"),
        ("team-a", "rw"),
        ("coffee", "rwm"),
    ],
)
def test_the_longest_pattern_that_fits_decides(room, letters):
    given = rules(_="rwm", te="", tea="r", tea_="w", team_dash="x"[:0])
    given = Rules.of_rules([*given.rules, ("team-*", read_rights("rw"))])
    assert given.of(room) == frozenset(letters)


def test_where_no_pattern_fits_there_is_no_right():
    assert rules(tea="rwm").of("coffee") == frozenset()
    assert EVERYBODY.of("coffee") == {"r", "w"}


def test_rights_everywhere_are_those_that_no_pattern_takes_away():
    assert EVERYBODY.everywhere("r")
    assert not EVERYBODY.everywhere("m")
    assert not rules(_="rw", tea="w").everywhere("r")
    assert rules(_="rw", tea="r").everywhere("r")
    assert not rules(tea="r").everywhere("r")


@pytest.mark.parametrize("letters", ["x", "rr", "R", "r w", "*"])
def test_rights_are_letters_each_once(letters):
    with pytest.raises(Invalid):
        read_rights(letters)


def test_rights_of_everybody_are_without_m():
    assert read_rights("rw", "rw") == {"r", "w"}
    assert read_rights("rw") is read_rights("wr"), "ten thousand tokens with a hundred rooms share them"
    with pytest.raises(Invalid):
        read_rights("rwm", "rw")


TOO_LONG = unicodedata.normalize(
    "NFD", "\N{GREEK SMALL LETTER ALPHA WITH PSILI AND VARIA AND YPOGEGRAMMENI}" * 65
)


@pytest.mark.parametrize(
    "pattern",
    ["", "a/b", "a/*", "\n*", "x" * 65, "x" * 65 + "*", "healthz", ".", "\ud800*", TOO_LONG, TOO_LONG + "*"],
)
def test_a_pattern_is_a_room_or_the_beginning_of_rooms(pattern):
    with pytest.raises((Invalid, NotFound)):
        read_pattern(pattern)


@pytest.mark.parametrize(
    "pattern", ["*", "tea", "staff-*", "a*b", "x" * 64 + "*", "\N{TEACUP WITHOUT HANDLE}*"]
)
def test_patterns_that_are_taken(pattern):
    assert read_pattern(pattern) == pattern


def test_a_pattern_is_brought_into_the_form_that_rooms_have():
    assert read_pattern("cafe\N{COMBINING ACUTE ACCENT}*") == "caf\N{LATIN SMALL LETTER E WITH ACUTE}*"


def test_whom_a_pass_is_for_cannot_be_read_from_it_and_depends_on_who_vouches():
    assert len(pass_id("secret", "ann@example.org")) == 16
    assert pass_id("secret", "ann") != pass_id("jwks", "ann") != pass_id("jwks", "bob")
    assert pass_id("secret", "ann") == pass_id("secret", "ann")


IDS = st.text(st.sampled_from("0123456789abcdef"), min_size=8, max_size=8)
SEVERAL = st.lists(IDS, min_size=1, max_size=3).map(".".join)


@given(st.text(), st.integers(0, 10**11), st.integers(0, 10**11), IDS, SEVERAL)
def test_a_pass_comes_back_from_its_channel_as_it_was(sub, issued, expires, key, password):
    given = Pass(pass_id("secret", sub.encode(errors="replace").decode()), issued, expires, key, password)
    assert Pass.read(given.channel, given.position) == given
    bare = Pass(given.id, issued, expires)
    assert bare.position == f"{issued}-{expires}"
    assert Pass.read(bare.channel, bare.position) == bare


@pytest.mark.parametrize(
    ("channel", "position"),
    [
        ("pass-0123456789abcdef", "1"),
        ("pass-0123456789abcdef", "1-"),
        ("pass-0123456789abcdef", "-1-2"),
        ("pass-0123456789abcdef", "1-2-3"),
        ("pass-0123456789abcdef", "1-2\n"),
        ("pass-0123456789abcdef", "1-\N{ARABIC-INDIC DIGIT TWO}"),
        ("pass-0123456789abcdef", "1-" + 13 * "9"),
        ("pass-tooshort", "1-2"),
        ("messages-0123456789abcdef", "1-2"),
        ("pass", "1-2"),
    ],
)
def test_what_is_no_pass_is_not_read_as_one(channel, position):
    assert Pass.read(channel, position) is None
