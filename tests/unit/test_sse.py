"""Events on the wire, and the positions that come back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flychat.sse import BEYOND_ANY_LOG, EVENT_BYTES, Event, Parser, read_position, to_json
from flychat.streams import KEEP_ALIVE
from tests.support.sse_parser import Parsed, parse

anything = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("event", "block"),
    [
        (Event("stream-open", "{}", retry=2000), b"retry: 2000\nevent: stream-open\ndata: {}\n\n"),
        (Event("message", '{"a":1}', id=5), b'event: message\ndata: {"a":1}\nid: 5\n\n'),
        (Event("message", '"\xe9"'), b'event: message\ndata: "\xc3\xa9"\n\n'),
        (KEEP_ALIVE, b"event: keep-alive\ndata: {}\n\n"),
        (Event("message", "1", id=5, retry=9), b"retry: 9\nevent: message\ndata: 1\nid: 5\n\n"),
        (Event("a"), b"event: a\ndata:\n\n"),
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
    assert parse(Event("a").encode()) == [Parsed("a", "", "")]


@given(st.dictionaries(anything, anything, min_size=1))
def test_a_block_that_is_cut_anywhere_has_neither_an_event_nor_an_id(data):
    """Where the id came first, some clients took it, lost the event, and never asked for it again."""
    block = Event("message", to_json(data), id=5).encode()
    assert parse(block) == [Parsed("message", to_json(data), "5")]
    for end in range(block.index(b"\nid: ") + 1):
        assert b"id: 5" not in block[:end].split(b"\n")
        assert parse(block[:end].decode(errors="ignore").encode()) == []


@given(st.text(st.sampled_from("\u2028\u2029\x85\n\r\x0b\x0cab")))
def test_json_is_one_line_even_for_those_who_split_at_every_line_break_of_unicode(text):
    written = to_json({"text": text}).replace("\x85", "")  # allowed in no message: messages.py
    assert len(written.splitlines()) == 1
    assert json.loads(to_json({"text": text})) == {"text": text}


def parsed(*pieces: bytes) -> list[Event]:
    parser = Parser()
    return [event for piece in pieces for event in parser.feed(piece)]


EVENTS = [
    Event("stream-open", "{}", retry=2000),
    Event("message", '{"text":"\u2028 \x85 \x0c Gr\xfc\xdfe"}'),
    Event("message", '{"a":1}', id=0),
    Event("keep-alive", "{}"),
    Event("stream-reset", "{}", id=7),
]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_what_is_encoded_is_parsed_wherever_it_is_cut(line_end):
    stream = b"".join(event.encode() for event in EVENTS).replace(b"\n", line_end)
    for size in (1, 2, 3, 7, len(stream)):
        assert parsed(*(stream[at : at + size] for at in range(0, len(stream), size))) == EVENTS
    assert parsed(stream[: -len(line_end)]) == EVENTS[:-1], "a block that does not end was never there"


def test_the_second_half_of_a_line_end_is_dropped_once():
    assert parsed(b"data: a\r", b"\n", b"\n", b"data: b\r", b"", b"\n\r\n") == [
        Event("message", "a"),
        Event("message", "b"),
    ]


def test_an_empty_piece_between_the_halves_of_a_line_end_is_nothing():
    assert parsed(b"data: a\r", b"", b"\ndata: b\n\n") == [Event("message", "a\nb")]


def test_a_value_loses_one_space_in_front_and_no_other():
    assert parsed(b"data:  a \n\n") == [Event("message", " a ")]


def test_the_fields_of_a_block_may_come_in_any_order():
    assert parsed(b"data: a\nevent: x\nid: 7\n\n", b"id: 8\ndata: b\n\n") == [
        Event("x", "a", 7),
        Event("message", "b", 8),
    ]


PIECES = [
    b"data",
    b"event",
    b"id",
    b":",
    b" ",
    b"\n",
    b"\r",
    b"x",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b"\x85",
    b"\xff",
]


@given(st.lists(st.sampled_from(PIECES)))
def test_whatever_comes_is_parsed_as_the_standard_says(pieces):
    theirs = parse(b"".join(pieces).decode(errors="replace").encode())
    assert [(each.name, each.data) for each in parsed(*pieces)] == [(each.type, each.data) for each in theirs]


def test_a_byte_order_mark_is_not_part_of_a_stream():
    assert parsed(b"\xef\xbb", b"\xbfdata: a\n\n") == [Event("message", "a")]
    assert parsed(b"data: a\n\xef\xbb\xbfdata: b\n\n\xef\xbb\xbfdata: c\n\n") == [Event("message", "a")]


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 50_000, b"data: x\n" * 7_000, b":\r\n" * 20_000])
def test_what_is_read_of_an_event_is_bounded(piece):
    assert parsed(b"data: " + b"x" * (EVENT_BYTES - 8) + b"\n\n" + piece)
    with pytest.raises(ValueError, match="1048576 bytes"):
        parsed(*[piece] * (EVENT_BYTES // len(piece) + 1))


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
