"""Plans: the rule of streams.py, as tables and as properties."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flychat import streams
from flychat.commits import Commit
from flychat.messages import Draft, Message
from flychat.streams import (
    HISTORY,
    REPLAY,
    Page,
    Publication,
    StreamRequest,
    committed,
    fitting,
    plan_stream,
    provisional,
    read_request,
    size,
)
from tests.support.sse_parser import parse

ROOM = "a b"


def message(id: int) -> Message:
    return Message(id, "ann", f"text {id}", "1970-01-01T00:00:00.000Z", f"00000000-0000-4000-8000-{id:012}")


def page(first: int, last: int) -> Page:
    return Page(tuple(map(message, range(first, last + 1))), last)


def names(plan) -> list[str]:
    return [event.name for event in plan.opening]


def ids(plan) -> list[int]:
    return [message.id for message in plan.messages]


@pytest.mark.parametrize(
    ("last_id", "read", "opening", "sent"),
    [
        (None, page(1, 0), [], []),
        (None, page(1, 3), [], [1, 2, 3]),
        (None, page(1, 80), [], list(range(31, 81))),
        (0, page(1, 3), [], [1, 2, 3]),
        (2, page(1, 3), [], [3]),
        (3, page(1, 3), [], []),
        (3, page(4, 3), [], []),
        (0, page(1, REPLAY), [], list(range(1, REPLAY + 1))),
        (0, page(1, REPLAY + 1), ["behind"], list(range(REPLAY + 2 - HISTORY, REPLAY + 2))),
        (3, page(5, 9), ["behind"], [5, 6, 7, 8, 9]),
        (4, page(5, 9), [], [5, 6, 7, 8, 9]),
        (10, page(5, 9), ["ahead"], [5, 6, 7, 8, 9]),
        (1, page(1, 0), ["ahead"], []),
    ],
)
def test_a_plan_replays_what_was_missed_or_resets(last_id, read, opening, sent):
    for recover in (False, True):
        plan = plan_stream(StreamRequest(ROOM, last_id, recover), read)
        resets = [json.loads(event.data) for event in plan.opening if event.name == "stream-reset"]
        assert resets == [{"reason": reason, "lastEventId": read.last_id} for reason in opening]
        assert [event.id for event in plan.opening if event.name == "stream-reset"] == [
            sent[0] - 1 if sent else 0 for _ in opening
        ]
        assert ids(plan) == sent
        assert names(plan) == ([] if recover else ["stream-open"]) + ["stream-reset"] * len(opening)
        assert plan.position == read.last_id


@pytest.mark.parametrize("void", [0, 3])
@given(
    st.none() | st.integers(0, 1200),
    st.integers(0, 1100),
    st.integers(0, 1100),
    st.integers(0, 80),
    st.data(),
)
def test_whoever_is_cut_anywhere_and_comes_back_is_given_all_that_follows_or_another_reset(
    void, position, tail, more, less, data
):
    """A client of the standard: it knows the last id that it was given, also by a reset."""
    first = max(1, tail - less + 1)
    body = plan_stream(StreamRequest(ROOM, position), page(first, tail)).body()
    at = data.draw(st.integers(0, min(len(body), 1000)) | st.integers(0, len(body)))
    seen = parse(body[:at].decode(errors="ignore").encode())
    position = int(seen[-1].last_id) if seen and seen[-1].last_id else position
    if void:  # the room is cleared meanwhile, which takes ids
        first = tail = tail + void
        first += 1
    again = parse(plan_stream(StreamRequest(ROOM, position), page(first, tail + more)).body())
    given = [int(event.last_id) for event in again if event.type == "message"]
    if "stream-reset" in [event.type for event in again] or position is None:
        assert given == list(range(tail + more + 1 - len(given), tail + more + 1))
    else:
        assert given == list(range(position + 1, tail + more + 1))


def test_a_plan_subscribes_to_both_channels_and_checks_the_official_one():
    plan = plan_stream(StreamRequest(ROOM), page(1, 3))
    assert (plan.official, plan.position) == ("messages-a%20b", 3)
    assert plan.others == ("provisional-a%20b",)
    assert plan.recovery == StreamRequest(ROOM, None, recover=True)


@given(
    st.integers(0, 3000).flatmap(lambda tail: st.tuples(st.integers(1, tail + 1), st.just(tail))),
    st.none() | st.integers(0, 4000),
    st.booleans(),
)
def test_a_plan_goes_on_from_the_position_without_a_gap_or_resets_and_ends_at_its_prev_id(
    kept, last_id, recover
):
    oldest, tail = kept
    plan = plan_stream(StreamRequest(ROOM, last_id, recover), page(oldest, tail))
    sent = ids(plan)
    assert sent == list(range(plan.position - len(sent) + 1, plan.position + 1))
    assert plan.position == tail
    if "stream-reset" in names(plan) or last_id is None:
        assert len(sent) == min(HISTORY, tail - oldest + 1)
        assert last_id is None or last_id > tail or last_id < max(oldest - 1, tail - REPLAY)
    else:
        assert tail - len(sent) == last_id


@pytest.mark.parametrize(
    ("header", "query", "last_id"),
    [
        (None, [], None),
        ("5", [], 5),
        ("5", ["7"], 5),
        (None, ["7"], 7),
        (None, ["7", "9"], 9),
        (None, ["7", ""], 7),
        (None, ["7", "x"], None),
        ("x", ["7"], 7),
        ("", ["7"], 7),
    ],
)
def test_the_position_is_the_header_else_the_last_non_empty_query_value(header, query, last_id):
    headers = {} if header is None else {"Last-Event-ID": header}
    assert read_request(ROOM, headers, query) == StreamRequest(ROOM, last_id)


def test_one_message_at_least_fits():
    assert fitting([message(1), message(2)], 1) == 1
    assert fitting([], 1) == 0
    both = [message(1), message(2)]
    assert [fitting(both, size(both) - less) for less in (0, 1)] == [2, 1]


def test_of_too_many_bytes_it_is_the_newest_messages_that_open_a_stream(monkeypatch):
    long = replace(message(3), text="x" * 1000)
    messages = (message(1), message(2), long, replace(long, id=4))
    monkeypatch.setattr(streams, "REPLAY_BYTES", size(messages[2:]))
    plan = plan_stream(StreamRequest(ROOM), Page(messages, 4))
    assert ids(plan) == [3, 4]


def test_a_void_commit_is_published_as_the_reset_that_a_recovery_would_give():
    void = committed(Commit(ROOM, (), void=(4, 2)))
    assert void._replace(content=b"") == Publication(ROOM, b"", id=5, prev_id=3)
    assert void.content == plan_stream(StreamRequest(ROOM, 3, recover=True), Page((), 5)).body()
    assert b"event: stream-reset\n" in void.content


def drafts(count: int) -> list[Draft]:
    return [
        Draft.create(
            ROOM, {"from": "ann", "text": f"text {n}", "provisionalId": message(n).provisional_id}, now=0
        )
        for n in range(1, count + 1)
    ]


def test_one_commit_is_one_publication_from_the_id_before_its_first_to_its_last():
    publication = committed(Commit.of(1, drafts(3)))
    assert publication._replace(content=b"") == Publication("a b", b"", id=3, prev_id=0)
    assert publication.channel == "messages-a%20b"
    plan = plan_stream(StreamRequest(ROOM, 0, recover=True), page(1, 3))
    assert publication.content == plan.body(), "a message is the same bytes, live and replayed"


def test_a_provisional_message_has_no_id_and_can_be_retracted():
    (draft,) = drafts(1)
    shown, retracted = provisional(draft), provisional(draft, retracted=True)
    assert (shown.channel, shown.id, shown.prev_id) == ("provisional-a%20b", None, None)
    assert b"\nid:" not in shown.content
    (event,) = parse(shown.content)
    assert (event.type, "id" in json.loads(event.data)) == ("message", False)
    (event,) = parse(retracted.content)
    assert (event.type, json.loads(event.data)) == ("retraction", {"provisionalId": draft.provisional_id})


def test_a_retraction_says_whose_message_it_is_where_there_is_a_user():
    draft = replace(drafts(1)[0], user="ann")
    (event,) = parse(streams.provisional(draft, retracted=True).content)
    assert json.loads(event.data) == {"provisionalId": draft.provisional_id, "user": "ann"}
    (event,) = parse(streams.provisional(draft).content)
    assert json.loads(event.data)["user"] == "ann"
