"""What a signal is: its fields, and an event that moves nothing."""

import json
from dataclasses import replace

import pytest

from flychat.errors import Forbidden, Invalid
from flychat.fields import iso_date
from flychat.signals import HERE, Signal, present, signalled
from flychat.streams import live_channel
from tests.support.sse_parser import parse

NOW = 1_800_000_000.0
GIVEN = {"from": "ann", "kind": "typing"}


def signal(**fields) -> Signal:
    return Signal.create("tea", {**GIVEN, **fields}, now=NOW)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"from": ""}, "from"),
        ({"from": "a" * 65}, "from"),
        ({"from": None}, "from"),
        ({"kind": None}, "kind"),
        ({"kind": ""}, "kind"),
        ({"kind": "a" * 33}, "kind"),
        ({"kind": "Typing"}, "kind"),
        ({"kind": "typing\n"}, "kind"),
        ({"kind": 1}, "kind"),
        ({"data": []}, "data"),
        ({"data": {"a": "b" * 1017}}, "data"),
    ],
)
def test_what_breaks_a_rule_is_refused(fields, field):
    with pytest.raises(Invalid) as refused:
        signal(**fields)
    assert refused.value.field == field


def test_what_is_as_long_as_may_be_is_taken():
    taken = signal(**{"from": "a" * 64, "kind": "a-" * 16, "data": {"a": "b" * 1016}})
    assert (taken.sender, taken.kind, len(taken.data["a"])) == ("a" * 64, "a-" * 16, 1016)


def test_the_name_is_the_tokens_where_that_has_one():
    created = Signal.create("tea", {"kind": "typing"}, now=NOW, user="u1", name="Ann")
    assert (created.sender, created.user) == ("Ann", "u1")
    with pytest.raises(Forbidden):
        Signal.create("tea", GIVEN, now=NOW, user="u1", name="Ann")


@pytest.mark.parametrize(
    ("told", "data"),
    [
        (lambda: signalled(signal()), GIVEN),
        (lambda: signalled(signal(data={"id": 7, "x": "\u2028\n"})), {**GIVEN, "data": {"id": 7, "x": "\u2028\n"}}),
        (lambda: signalled(replace(signal(), user="u1")), {**GIVEN, "user": "u1"}),
        (
            lambda: present("tea", ["ann", "bob"], 3, now=NOW),
            {"kind": HERE, "data": {"names": ["ann", "bob"], "more": 3}},
        ),
    ],
    ids=["plain", "with data", "of a user", "who is here"],
)  # fmt: skip
def test_it_is_told_to_those_who_listen_now_and_moves_no_position(told, data):
    """The channel is that of what is not official; nothing in it has an id, for the proxy or for a client."""
    publication = told()
    assert (publication.channel, publication.id, publication.prev_id) == (live_channel("tea"), None, None)
    (event,) = parse(publication.content)
    assert (event.type, event.last_id) == ("signal", "")
    assert json.loads(event.data) == {**data, "date": iso_date(NOW)}
    assert b"\nid:" not in publication.content
