"""The rules of the fields, as tables, and what is stored of a commit."""

import contextlib
import functools
import json
import time
import unicodedata
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flychat import fields
from flychat.client.follower import read_message
from flychat.commits import COMMIT_BYTES, Commit, payload_item
from flychat.errors import Forbidden, Invalid, NotFound
from flychat.fields import NFC_SHRINKS, iso_date, new_id, new_ids, room_name, user_id
from flychat.messages import Draft, Message, wire_text
from flychat.sse import to_json
from tests.support.wire import wire_json

ID = "c0a80101-0000-4000-8000-000000000001"

texts = st.text(
    st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from("\n\t"), min_size=1, max_size=99
)


def draft(**fields) -> Draft:
    return Draft.create("room", {"from": "ann", "text": "hi", "provisionalId": ID, **fields}, now=0)


@pytest.mark.parametrize(
    ("name", "room"),
    [
        ("a", "a"),
        ("x" * 64, "x" * 64),
        ("\N{PILE OF POO}" * 64, "\N{PILE OF POO}" * 64),
        ("e\N{COMBINING ACUTE ACCENT}", "\N{LATIN SMALL LETTER E WITH ACUTE}"),
        ("\N{LATIN SMALL LIGATURE FI}", "\N{LATIN SMALL LIGATURE FI}"),  # NFKC would make it fi
        ('a b;c,d%2F?#\\"<>', 'a b;c,d%2F?#\\"<>'),
        ("Healthz", "Healthz"),
    ],
)
def test_a_room_is_the_nfc_form_of_its_name(name, room):
    assert room_name(name) == room


@pytest.mark.parametrize(
    "name", ["", "x" * 65, "a/b", "/", "a\nb", "\0", "a\x7f", "\x85", "\ud800", "a\tb", ".", ".."]
)
def test_a_room_name_that_breaks_a_rule_is_refused(name):
    with pytest.raises(Invalid):
        room_name(name)


@pytest.mark.parametrize("name", ["healthz", "readyz", "metrics", "static", "robots.txt", "favicon.ico"])
def test_reserved_names_are_never_rooms(name):
    with pytest.raises(NotFound):
        room_name(name)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("from", "x" * 64),
        ("from", "\N{GRINNING FACE}" * 64),
        ("from", " "),
        ("text", "x" * 4096),
        ("text", "\N{GRINNING FACE}" * 4096),
        ("text", "two\nlines\tand a tab"),
        ("text", "\u2028 \u2029 \ufeff"),
        ("provisionalId", ID),
        ("provisionalId", ID.upper()),
        ("provisionalId", None),
    ],
)
def test_fields_within_the_rules_are_taken(field, value):
    assert draft(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            (name, value)
            for name in ("from", "text")
            for value in (None, "", 1, ["x"], {}, True, "a\0", "\x1b", "\ud800")
        ),
        ("from", "x" * 65),
        ("from", "two\nlines"),
        ("from", "a\tb"),
        ("text", "x" * 4097),
        ("text", "a\rb"),
        ("text", "\x80"),
        *(
            ("provisionalId", value)
            for value in ("", "x", 5, f"{{{ID}}}", "urn:uuid:" + ID, ID.replace("-", ""), ID + "0")
        ),
    ],
)
def test_a_field_that_breaks_its_rule_is_named(field, value):
    with pytest.raises(Invalid) as refusal:
        draft(**{field: value})
    assert refusal.value.field == field


def test_the_line_breaks_of_html_forms_become_newlines():
    assert draft(text="a\r\nb").text == "a\nb"


def test_a_provisional_id_is_made_where_none_is_given_and_kept_in_lower_case():
    made = Draft.create("room", {"from": "a", "text": "b"}, now=0, new_id=lambda: str(uuid.UUID(int=5)))
    assert made.provisional_id == str(uuid.UUID(int=5))
    assert draft(provisionalId=ID.upper()).provisional_id == ID


@pytest.mark.parametrize(
    ("seconds", "date"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1.9999, "1970-01-01T00:00:01.999Z"),
        (1767225600.5, "2026-01-01T00:00:00.500Z"),
    ],
)
def test_dates_are_utc_with_milliseconds(seconds, date):
    assert Draft.create("r", {"from": "a", "text": "b"}, now=seconds).date == date


def test_new_ids_are_random_uuids():
    ids = {*new_ids(150), *(new_id() for _ in range(50))}
    assert len(ids) == 200
    for each in map(uuid.UUID, ids):
        assert (each.version, each.variant) == (4, uuid.RFC_4122)
        assert str(each) in ids


def test_a_message_on_the_wire_has_an_id_and_a_draft_has_none():
    message = Message(7, "ann", "hi", "1970-01-01T00:00:00.000Z", ID)
    fields = {"from": "ann", "text": "hi", "date": "1970-01-01T00:00:00.000Z", "provisionalId": ID}
    assert wire_json(message) == {"id": 7, **fields}
    assert wire_json(draft()) == fields


ids = st.integers(1, 10**18 - 1)
values = st.recursive(st.none() | st.booleans() | st.integers() | texts, st.lists, max_leaves=5)
more = st.fixed_dictionaries(
    {},
    optional={
        "user": texts,
        "removes": st.lists(ids, min_size=1).map(tuple),
        "data": st.dictionaries(texts, values),
    },
)


@given(texts, texts, more, ids, st.none() | ids)
@example("\u2028", '\u2029 "\\\n\t\x7f', {"user": "\N{GRINNING FACE}", "data": {"\u2028": "\u2029"}}, 1, None)
def test_the_text_on_the_wire_is_the_json_of_the_fields(sender, text, more, id, removed):
    message = Message(id, sender, text, "1970-01-01T00:00:00.000Z", ID, removed=removed, **more)
    assert wire_text(message) == to_json(wire_json(message))
    assert json.loads(message.json) == wire_json(message)
    assert b"\xe2\x80\xa8" not in message.block
    one = replace(draft(), sender=sender, text=text, **more)
    assert wire_text(one) == to_json(wire_json(one))
    assert replace(one.at(id)) == one.at(id)
    assert replace(one.at(id)).block == one.at(id).block, "made anew it has the same block"
    stored = Commit("room", (message,))
    assert Commit.read("room", id, stored.payload) == stored
    assert read_message(json.loads(message.json)) == message, "the client understands it"


@given(st.floats(0, 4e9))
def test_dates_are_those_of_the_calendar(seconds):
    expected = datetime.fromtimestamp(seconds, UTC)
    ours = datetime.fromisoformat(iso_date(seconds))
    assert timedelta(0) <= expected - ours <= timedelta(microseconds=1001)


@given(st.lists(texts, min_size=1, max_size=64), st.integers(1, 10**12))
def test_a_commit_comes_back_from_its_payload_as_it_was(lines, first):
    commit = Commit.of(first, [draft(text=line) for line in lines])
    assert commit.size == len(commit.payload.encode()) == Commit.read("room", first, commit.payload).size
    assert Commit.read("room", first, commit.payload) == commit
    assert (commit.first, commit.last) == (first, first + len(lines) - 1)
    assert "id" not in json.loads(commit.payload)[0]


def test_the_ascii_payloads_of_before_are_read_and_have_the_size_of_todays():
    commit = Commit.of(1, [draft(text="\N{GRINNING FACE} 山田 \\u0041\n")])
    ascii = json.dumps(json.loads(commit.payload), separators=(",", ":"))
    assert len(ascii) > commit.size
    assert Commit.read("room", 1, ascii) == commit
    assert Commit.read("room", 1, ascii).size == commit.size


def test_the_largest_message_fits_a_commit():
    largest = draft(**{"from": "\N{GRINNING FACE}" * 64, "text": "\N{GRINNING FACE}" * 4096})
    assert 16_384 < len(payload_item(largest).encode()) + 2 <= COMMIT_BYTES / 3


def test_the_forbidden_characters_are_those_of_two_categories():
    for character in map(chr, range(0x110000)):
        forbidden = unicodedata.category(character) in ("Cc", "Cs")
        assert bool(fields.CONTROL.search(character)) == forbidden
        assert bool(fields.CONTROL_IN_TEXT.search(character)) == (forbidden and character not in "\n\t")


def test_a_room_is_not_normalised_before_it_is_known_to_be_short():
    """Else a name of 16 kB, marks in the wrong order, takes a second."""
    longest = "\u03c9\u0314\u0342\u0345" * 64  # four characters that become one
    assert room_name(longest) == "\u1fa7" * 64
    began = time.process_time()
    for name in (longest + "x", "a" + "\u0315\u0300" * 500_000):
        with pytest.raises(Invalid):
            room_name(name)
    assert time.process_time() - began < 0.05


def test_no_more_characters_become_one_than_the_bound_on_a_room_says():
    assert max(len(unicodedata.normalize("NFD", chr(c))) for c in range(0x110000)) == NFC_SHRINKS


def test_what_a_later_version_has_stored_is_read_and_what_it_means_is_left_to_that():
    fields = ["ann", "hi", "2026-01-31T12:00:00.000Z", "p"]
    payload = json.dumps([[*fields, {"data": {"a": 1}}, "more"], [*fields, "no object"], fields])
    commit = Commit.read("room", 7, payload)
    assert [(m.id, m.text, m.extra) for m in commit.messages] == [
        (7, "hi", {"data": {"a": 1}}),
        (8, "hi", None),
        (9, "hi", None),
    ]
    assert wire_json(commit.messages[0]) == {**wire_json(commit.messages[2]), "id": 7}
    again = Commit.read("room", 7, Commit("room", commit.messages).payload)
    assert again.messages == commit.messages, "and it is not lost where it is stored again"


def test_the_user_is_the_tokens_and_no_field_says_another():
    fields = {"from": "ann", "text": "hi", "provisionalId": ID, "user": "eve", "u": "eve"}
    by_nobody = Draft.create("room", fields, now=0)
    assert by_nobody.user is None
    assert "user" not in wire_json(by_nobody)
    by_ann = Draft.create("room", fields, now=0, user="ann@example.org")
    assert by_ann.user == "ann@example.org"
    assert wire_json(by_ann) == {**wire_json(by_nobody), "user": "ann@example.org"}
    assert list(wire_json(by_ann))[-1] == "user"
    assert by_ann.key != by_nobody.key


@pytest.mark.parametrize("given", [{}, {"from": None}, {"from": "Ann"}])
def test_with_a_name_in_the_token_from_is_absent_or_the_same(given):
    made = Draft.create("room", {"text": "hi", **given}, now=0, user="ann", name="Ann")
    assert (made.user, made.sender) == ("ann", "Ann")


@pytest.mark.parametrize("given", ["ann", "Ann ", "", ["Ann"], 7, True])
def test_another_name_than_the_tokens_is_forbidden(given):
    with pytest.raises(Forbidden) as refusal:
        Draft.create("room", {"text": "hi", "from": given}, now=0, user="ann", name="Ann")
    assert not any(character.isupper() for character in str(refusal.value)), "nothing is repeated"


def test_a_name_in_a_token_has_to_be_one():
    with pytest.raises(Invalid):
        Draft.create("room", {"text": "hi"}, now=0, user="ann", name="a\nb")


@pytest.mark.parametrize(("sub", "good"), [("a", True), ("x" * 255, True), ("", False), ("x" * 256, False)])
def test_a_user_has_1_to_255_characters(sub, good):
    with contextlib.nullcontext() if good else pytest.raises(Invalid):
        assert user_id(sub) == sub


@pytest.mark.parametrize("sub", ["a\nb", "\ud800", "\0", "\x85"])
def test_a_user_has_no_characters_that_break_what_it_stands_in(sub):
    with pytest.raises(Invalid):
        user_id(sub)


def test_a_user_is_stored_and_comes_back_whatever_else_a_later_version_has_put_there():
    by_ann = Draft.create("room", {"from": "a", "text": "b", "provisionalId": ID}, now=0, user="ann")
    payload = Commit.of(1, [by_ann, draft()]).payload
    assert [fields[4:] for fields in json.loads(payload)] == [[{"u": "ann"}], []]
    assert [m.user for m in Commit.read("room", 1, payload).messages] == ["ann", None]
    assert Commit.read("room", 1, payload) == Commit.of(1, [by_ann, draft()])
    fields = ["ann", "hi", "2026-01-31T12:00:00.000Z", "p"]
    mores = [{"data": [1], "u": "ann"}, {"u": {"of": "later"}}, {"u": None}]
    later = Commit.read("room", 1, json.dumps([[*fields, more] for more in mores]))
    assert [(m.user, m.extra) for m in later.messages] == [
        ("ann", {"data": [1]}),
        *((None, m) for m in mores[1:]),
    ]
    again = Commit.read("room", 1, Commit("room", later.messages).payload)
    assert again.messages == later.messages


def test_the_largest_message_of_a_user_fits_a_commit():
    face = "\N{GRINNING FACE}"
    fields = {"from": face * 64, "text": face * 4096}
    largest = Draft.create("room", fields, now=0, user=user_id(face * 255))
    assert len(payload_item(largest).encode()) + 2 <= COMMIT_BYTES / 3


@pytest.mark.parametrize(
    "data",
    [
        *({}, {"a": 1}, {"a": {"b": [None, True, 1.5, "\u2028"]}}, {"": ""}),
        {"a": "x" * (fields.DATA_BYTES - 8)},
        {"a": "\N{GRINNING FACE}" * ((fields.DATA_BYTES - 8) // 4)},
        functools.reduce(lambda inner, _: {"a": inner}, range(fields.DATA_DEPTH - 1), {}),
    ],
)
def test_data_within_the_rules_are_stored_and_told_as_they_came(data):
    commit = Commit.of(1, [draft(data=data)])
    [message] = Commit.read("room", 1, commit.payload).messages
    assert message.data == data
    assert json.loads(message.json)["data"] == data
    assert message.extra is None


@pytest.mark.parametrize(
    "data",
    [
        *("x", "{}", 1, True, [], [{}]),
        {"a": "x" * (fields.DATA_BYTES - 7)},
        *({"a": "\ud800"}, {"\udfff": 1}, {"a": float("nan")}, {"a": [float("inf")]}),
        {"a": [[]] * 2000},
        {"a": functools.reduce(lambda inner, _: [inner], range(fields.DATA_DEPTH), 1)},
        {"a": functools.reduce(lambda inner, _: [inner], range(900), 1)},
    ],
)
def test_data_that_break_a_rule_are_refused(data):
    with pytest.raises(Invalid) as refusal:
        draft(data=data)
    assert refusal.value.field == "data"


def test_what_erases_is_stored_and_not_told():
    erasure = Draft.removal("room", (1,), {}, now=0, user="operator", erases=True)
    commit = Commit.of(2, [erasure])
    [message] = Commit.read("room", 2, commit.payload).messages
    assert (message.erases, message.removes, message.extra) == (True, (1,), None)
    assert wire_json(message).keys() == {"id", "from", "text", "date", "provisionalId", "user", "removes"}
    assert erasure.key != Draft.removal("room", (1,), {}, now=0, user="operator").key


def test_data_that_are_too_long_are_refused_before_they_are_looked_into(monkeypatch):
    """Of 60 kB of empty lists that took 20 ms, and nobody was served meanwhile."""
    monkeypatch.setattr(fields, "_is_flat", None)
    with pytest.raises(Invalid, match="at most 4096 bytes"):
        draft(data={"a": [[]] * 20_000})


def test_a_message_without_data_is_to_the_byte_what_it_was():
    assert list(wire_json(Message(1, "a", "b", "c", ID))) == ["id", "from", "text", "date", "provisionalId"]
    assert payload_item(draft(data=None)) == payload_item(draft())
    assert len(json.loads(payload_item(draft()))) == 4


def test_the_largest_message_with_data_fits_a_commit():
    face = "\N{GRINNING FACE}"
    data = {"a": face * ((fields.DATA_BYTES - 8) // 4)}
    given = {"from": face * 64, "text": face * 4096, "data": data}
    largest = Draft.create("room", given, now=0, user=user_id(face * 255))
    assert len(payload_item(largest).encode()) + 2 <= COMMIT_BYTES / 2


def removal(id: int) -> Message:
    return Message(id, "mod", "(removed a message)", "1970-01-01T00:00:00.000Z", ID, removes=(5,))


@pytest.mark.parametrize(
    "more", [{}, {"user": "ann"}, {"data": {"a": "secret"}}, {"extra": {"later": "secret"}}]
)
def test_a_tombstone_has_the_place_and_the_key_of_its_message_and_none_of_its_words(more):
    message = Message(5, "ann", "secret", "1970-01-01T00:00:00.000Z", ID, **more)
    tombstone = message.tombstone(removal(12))
    assert (tombstone.id, tombstone.key, tombstone.date) == (5, message.key, message.date)
    assert wire_json(tombstone)["text"] == ""
    assert wire_json(tombstone)["removed"] == 12
    assert "secret" not in wire_text(tombstone) + payload_item(tombstone)
    assert tombstone.tombstone(removal(13)) == tombstone, "the first removal stays"


@pytest.mark.parametrize(
    "mark", [{"d": [0]}, {"d": []}, {"d": 1}, {"d": [True]}, {"t": 0}, {"t": "1"}, {"j": [1]}]
)
def test_what_is_no_such_mark_is_another_versions(mark):
    [message] = Commit.read("room", 1, json.dumps([["ann", "hi", "d", "p", dict(mark)]])).messages
    assert (message.removes, message.removed, message.data, message.extra) == ((), None, None, mark)


@pytest.mark.parametrize("given", [None, 5, "5", [], [0], [True], ["5"], [1.5], [None], list(range(1, 1002))])
def test_removes_is_a_list_of_1_to_1000_ids(given):
    with pytest.raises(Invalid) as refusal:
        fields.removes_field(given)
    assert refusal.value.field == "removes"


def test_removes_is_in_order_and_has_each_id_once():
    assert fields.removes_field([9, 5, 9]) == (5, 9)
    assert len(fields.removes_field(list(range(1, 1001)))) == 1000


def test_a_message_is_by_its_user_or_without_one_by_its_name_and_an_erasure_is_nobodys():
    message = Message(1, "Ann", "hi", "", ID, user="ann-7")
    assert message.is_by("ann-7", None)
    assert not message.is_by("bob", "Ann"), "with a user, the name does not count"
    assert message.is_by(None, "Ann")
    assert not message.is_by(None, "Bob")
    erasure = replace(message, removes=(1,), erases=True)
    assert not erasure.is_by("ann-7", None)
    assert not erasure.is_by(None, "Ann")
