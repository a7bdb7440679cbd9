"""Events on the wire, and the positions that come back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flychat.sse import BEYOND_ANY_LOG, Event, read_position, to_json
from flychat.streams import KEEP_ALIVE
from tests.sse_parser import Parsed, parse

anything = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("event", "block"),
    [
        (Event("stream-open", "{}", retry=2000), b"retry: 2000\nevent: stream-open\ndata: {}\n\n"),
        (Event("message", '{"a":1}', id=5), b'id: 5\nevent: message\ndata: {"a":1}\n\n'),
        (Event("message", '"\xe9"'), b'event: message\ndata: "\xc3\xa9"\n\n'),
        (KEEP_ALIVE, b"event: keep-alive\ndata:\n\n"),
    ],
)
def test_an_event_is_a_block_of_lines(event, block):
    assert event.encode() == block


@given(st.lists(st.tuples(st.none() | st.integers(0, 10**12), st.dictionaries(anything, anything))))
def test_whatever_the_text_a_conforming_parser_reads_back_every_event(events):
    blocks = b"".join(Event("message", to_json(data), id=id).encode() for id, data in events)
    expected, last_id = [], ""
    for id, data in events:
        last_id = last_id if id is None else str(id)
        expected.append(("message", data, last_id))
    assert [(e.type, json.loads(e.data), e.last_id) for e in parse(blocks)] == expected


def test_every_event_is_dispatched_even_without_data():
    assert parse(KEEP_ALIVE.encode()) == [Parsed("keep-alive", "", "")]


@pytest.mark.parametrize(
    ("value", "position"),
    [
        ("0", 0),
        ("7", 7),
        ("007", 7),
        ("0" * 30, 0),
        ("0" * 30 + "3", 3),
        ("9" * 18, 10**18 - 1),
        ("9" * 19, BEYOND_ANY_LOG),
        ("1" * 10_000, BEYOND_ANY_LOG),
        *(
            (odd, None)
            for odd in (
                None,
                "",
                " ",
                "-1",
                "+1",
                " 1",
                "1 ",
                "1.0",
                "1e3",
                "0x1",
                "\u0661",
                "\xb2",
                "1\n",
                "1_0",
            )
        ),
    ],
)
def test_a_position_is_a_strict_decimal_integer_or_absent(value, position):
    assert read_position(value) == position


@given(st.text())
def test_any_position_is_a_number_or_absent(value):
    assert read_position(value) is None or read_position(value) >= 0
