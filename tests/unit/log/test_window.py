"""A room's window: what it keeps, how it reaches back, and which drafts it knows. Without a store."""

import json
import sys
import tracemalloc
import uuid
from dataclasses import replace

import pytest

from flychat.commits import Commit
from flychat.errors import Conflict
from flychat.fields import SENDER_CHARACTERS, TEXT_CHARACTERS, USER_CHARACTERS
from flychat.log import window as window_module
from flychat.log.keys import KEY_SECONDS, KEYS
from flychat.log.window import WINDOW_BYTES, Window, cost
from flychat.messages import Draft
from flychat.streams import HISTORY, REPLAY, REPLAY_BYTES, StreamRequest, size

NOW = 1_000_000.0
EMOJI = "\N{GRINNING FACE}"


def draft(text="hi", *, now=0.0, since=None) -> Draft:
    fields = {"from": "ann", "text": text, "provisionalId": str(uuid.uuid4()), "lastEventId": since}
    return Draft.create("room", fields, now=now)


def commits(drafts, first=1):
    return [Commit.of(id, [one]) for id, one in enumerate(drafts, first)]


def window_of(drafts, *, first=1, limit=REPLAY):
    window = Window([], limit, NOW)
    if first > 1:
        window.fold(Commit("room", (), void=(1, first - 1)), NOW)
    for commit in commits(drafts, first):
        assert window.fold(commit, NOW)
    return window


def test_commits_are_taken_once_and_in_their_places():
    window = window_of([draft("1"), draft("2")])
    assert not window.fold(Commit.of(2, [draft()]), NOW)
    assert not window.fold(Commit.of(4, [draft()]), NOW)
    assert (window.tail, [m.text for m in window.messages]) == (2, ["1", "2"])


def test_a_window_forgets_the_oldest_messages_and_later_their_keys():
    drafts = [draft(f"{n}") for n in range(1000)]
    window = window_of(drafts, limit=100)
    assert window.tail == 1000
    assert 100 <= len(window.messages) <= 200
    assert KEYS <= len(window.keys) <= 3 * KEYS
    assert window.find(drafts[-100]).id == 901
    assert window.find(drafts[-KEYS]) == 1001 - KEYS, "its message is not here, but it is known"
    assert window.find(drafts[0]) is None
    assert window.newest(HISTORY).messages == tuple(window.messages[-HISTORY:])
    assert window.page(1000, 300) is None


def test_the_keys_of_the_last_two_minutes_are_kept_however_many():
    old = [draft(now=NOW - KEY_SECONDS - 1) for _ in range(3 * KEYS)]
    young = [draft(now=NOW - KEY_SECONDS + 1) for _ in range(5 * KEYS)]
    window = window_of([*old, *young], limit=10)
    assert all(window.find(one) is not None for one in young)
    assert window.find(old[0]) is None
    assert window.covers(None, NOW)


def test_keys_that_reach_back_neither_256_messages_nor_two_minutes_do_not_cover_a_draft_without_a_position():
    def loaded(number, age):
        return Window(commits([draft(now=NOW - age)] * number, first=1000), REPLAY, NOW)

    assert not loaded(KEYS - 1, KEY_SECONDS + 1).covers(None, NOW)
    assert not loaded(KEYS, KEY_SECONDS - 1).covers(None, NOW)
    assert loaded(KEYS, KEY_SECONDS + 1).covers(None, NOW)
    assert Window([], REPLAY, NOW).covers(None, NOW), "the log has nothing else"


def test_a_draft_with_a_position_is_covered_if_the_keys_reach_back_to_it():
    window = Window(commits([draft()] * 3, first=10), REPLAY, NOW)
    assert [window.covers(since, NOW) for since in (8, 9, 10, 99)] == [False, True, True, True]
    window.prepend(commits([draft()] * 5, first=5), 10)
    assert [window.covers(since, NOW) for since in (3, 4)] == [False, True]


def test_a_key_that_came_twice_stays_known_when_its_first_message_is_forgotten():
    twice = draft()
    window = window_of([twice, *(draft() for _ in range(KEYS)), twice], limit=10)
    for commit in commits([draft() for _ in range(KEYS // 2)], window.tail + 1):
        window.fold(commit, NOW)
    assert window.keys.first == 1, "both are known"
    window.keys.trim(NOW)
    assert 1 < window.keys.first < KEYS + 2, "the first is forgotten"
    assert window.find(twice) == KEYS + 2


def test_a_key_that_came_twice_stands_for_its_newer_message_though_the_older_one_is_read_later():
    twice = draft("twice")
    window = Window(commits([twice], first=3), REPLAY, NOW)
    window.prepend(commits([twice, draft()]), 3)
    assert window.find(twice).id == 3


def test_another_text_under_the_same_key_is_a_conflict():
    one = draft("one")
    window = window_of([one])
    fields = {"from": "ann", "text": "other", "provisionalId": one.provisional_id}
    with pytest.raises(Conflict):
        window.find(Draft.create("room", fields, now=0))


def test_a_cleared_room_knows_no_draft_of_before():
    one = draft()
    window = window_of([one])
    window.fold(Commit("room", (), void=(2, 1)), NOW)
    assert (window.messages, window.find(one), window.whole, window.oldest) == ([], None, True, 3)
    assert window.covers(0, NOW), "there is nothing else to be found"


def test_older_messages_are_put_before_those_that_are_here():
    drafts = [draft(f"{n}") for n in range(1, 31)]
    window = Window(commits(drafts[20:], first=21), REPLAY, NOW)
    assert window.lacks(StreamRequest("room", 10))
    window.prepend(commits(drafts[10:20], first=11), 21)
    assert [m.id for m in window.messages] == list(range(11, 31))
    assert not window.lacks(StreamRequest("room", 10))
    assert window.lacks(StreamRequest("room", 9))
    assert window.find(drafts[10]).id == 11
    assert not window.whole
    window.prepend(commits(drafts[:10]), 11)
    assert window.whole
    assert [m.id for m in window.plan(StreamRequest("room", 0)).messages] == list(range(1, 31))


def test_what_was_read_at_another_place_is_not_put_before_the_messages():
    window = Window(commits([draft()] * 3, first=21), REPLAY, NOW)
    window.prepend(commits([draft()] * 3, first=11), 21)
    assert window.oldest == 21, "there is a hole between them"
    assert not window.lacks(StreamRequest("room", 10)), "and so nothing more to be had"


def test_a_window_that_began_where_the_log_does_lacks_what_it_has_let_go_of():
    window = Window(commits([draft()] * 3, first=21), 4, NOW)
    window.prepend([], 21)
    assert window.at_bottom
    for first in range(24, 30):
        window.fold(*commits([draft()], first=first), NOW)
    assert window.oldest == 26
    assert window.lacks(StreamRequest("room", 22)) == 23


@pytest.mark.parametrize("last", [18, 19])
def test_where_one_id_is_missing_the_past_does_not_join(last):
    window = Window(commits([draft()] * 3, first=21), REPLAY, NOW)
    window.prepend(commits([draft()] * 3, first=last - 2), 21)
    assert [m.id for m in window.messages] == [21, 22, 23]


def test_what_was_read_twice_is_put_before_the_messages_once():
    window = Window(commits([draft()] * 3, first=21), REPLAY, NOW)
    for _ in range(2):
        window.prepend(commits([draft()] * 3, first=18), 21)
    assert [m.id for m in window.messages] == list(range(18, 24))
    assert (window.keys.first, len(window.keys)) == (18, 6)


def test_of_the_past_as_much_is_taken_as_there_is_room_for(monkeypatch):
    texts = ["x" * 100 * n for n in range(1, 21)]
    past = commits([draft(text) for text in texts])
    window = Window(commits([draft()], first=21), 3, NOW)
    window.prepend(past, 21)
    assert [m.id for m in window.messages] == list(range(16, 22)), "two times the limit"
    assert sum(map(cost, window.messages)) == window._bytes
    assert not window.whole
    monkeypatch.setattr(window_module, "WINDOW_BYTES", 0)
    window = Window(commits([draft()], first=21), 100, NOW)
    replayed = [*(commit.messages[0] for commit in past[-4:]), *window.messages]
    monkeypatch.setattr(window_module, "REPLAY_BYTES", size(replayed))
    window.prepend(past, 21)
    assert [m.id for m in window.messages] == list(range(16, 22)), "and the one with which it is too much"
    assert sum(map(cost, window.messages)) == window._bytes


def test_a_cleared_room_weighs_nothing_and_has_nothing_older():
    window = Window(commits([draft("x" * 1000) for _ in range(3)], first=21), REPLAY, NOW)
    assert window.lacks(StreamRequest("room"))
    window.fold(Commit("room", (), void=(24, 1)), NOW)
    assert (window.bytes, window.lacks(StreamRequest("room"))) == (0, 0)


def test_the_first_message_of_a_log_is_not_taken_for_granted():
    window = Window(commits([draft()] * 3, first=2), REPLAY, NOW)
    assert window.lacks(StreamRequest("room")) == window.lacks(StreamRequest("room", 0)) == 1
    assert window.page(4, 50) is None


def test_a_page_has_as_many_messages_as_are_asked_for():
    window = Window(commits([draft()] * 11, first=10), REPLAY, NOW)
    for end, limit, ids in ((20, 11, range(10, 21)), (20, 3, range(18, 21)), (99, 3, range(18, 21))):
        assert [m.id for m in window.page(end, limit).messages] == list(ids)
    assert window.page(20, 12) is None
    begins_late = window_of([draft()] * 11, first=10)
    for end, ids in ((20, range(10, 21)), (11, range(10, 12)), (9, ()), (5, ())):
        assert [m.id for m in begins_late.page(end, 50).messages] == list(ids)


@pytest.mark.parametrize(("behind", "number"), [(REPLAY, REPLAY), (REPLAY + 1, HISTORY), (-5, HISTORY)])
def test_a_plan_is_made_of_all_that_may_be_replayed_or_of_the_newest(behind, number):
    window = window_of([draft()] * (REPLAY + 10))
    assert len(window.plan(StreamRequest("room", window.tail - behind)).messages) == number


def test_a_commit_that_holds_the_edge_is_taken_up_to_it():
    window = Window([Commit.of(11, [draft()] * 5)], REPLAY, NOW)
    window.prepend([Commit.of(5, [draft("a"), draft("b")]), Commit.of(7, [draft()] * 4)], 11)
    assert [m.id for m in window.messages] == list(range(5, 16))


def test_nothing_is_read_before_a_void_commit():
    window = Window(commits([draft()] * 3, first=21), REPLAY, NOW)
    window.prepend([Commit("room", (), void=(20, 1))], 21)
    assert window.whole
    assert window.covers(0, NOW)


def test_messages_of_any_size_are_bounded_in_bytes_and_one_stays():
    window = window_of([draft(EMOJI * TEXT_CHARACTERS) for _ in range(1500)])
    assert window.bytes < 3 * WINDOW_BYTES
    assert size(window.messages) > REPLAY_BYTES, "all that may be replayed is there"
    assert sum(map(cost, window.messages)) == window._bytes


def test_what_is_asked_for_is_not_read_if_it_is_too_large_for_a_replay():
    large = [draft(EMOJI * TEXT_CHARACTERS) for _ in range(200)]
    window = Window(commits(large, first=101), REPLAY, NOW)
    assert not window.lacks(StreamRequest("room", 50))


@pytest.mark.parametrize(
    "text", ["x" * TEXT_CHARACTERS, "x" * (TEXT_CHARACTERS - 1) + EMOJI, "\u2028" * TEXT_CHARACTERS]
)
def test_the_bytes_that_are_counted_are_those_that_a_message_takes(text):
    message = Commit.of(1, [draft(text)]).messages[0]
    assert cost(message) >= sys.getsizeof(message.text) + sys.getsizeof(message.block)


def nested(value, depth: int):
    return nested([value], depth - 1) if depth else value


@pytest.mark.parametrize(
    "fields",
    [
        {"from": "ann"},
        {"from": EMOJI * SENDER_CHARACTERS},
        {"from": "ann", "data": {"a": [[]] * 1300}},
        {"from": "ann", "data": {"a": [{"a": 1}] * 500}},
        {"from": "ann", "data": {"a": [nested([], 29)] * 65}},
        {"from": "ann", "data": {"a": ["aa"] * 800}},
        {"from": "ann", "data": {"a": [EMOJI] * 580}},
        {"from": "ann", "data": {f"{n:x}": "" for n in range(16, 256)}},
    ],
)
def test_no_message_takes_much_more_memory_than_is_counted_whoever_wrote_it(fields):
    sent, user = json.dumps({"text": "x", **fields}), "\u0416" * USER_CHARACTERS
    tracemalloc.start()
    messages = [
        Draft.create("room", json.loads(sent), now=NOW, user="".join([user, str(id)])[-USER_CHARACTERS:]).at(
            id
        )
        for id in range(1, 50)
    ]
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert taken < 1.2 * sum(map(cost, messages))


def test_equal_requests_are_given_the_same_plan_and_plans_are_bounded_in_bytes(monkeypatch):
    window = window_of([draft("x" * 1000) for _ in range(50)])
    same = window.plan(StreamRequest("room", 0))
    assert window.plan(StreamRequest("room", 0)) is same
    monkeypatch.setattr(window_module, "PLANS", 100_000)
    for position in range(2000):
        window.plan(StreamRequest("room", position))
        assert window._planned < 110_000
    assert len(window._plans) < 110
    before = window.bytes
    window.fold(Commit.of(51, [draft()]), NOW)
    assert window.bytes < before, "the next commit makes them old"


def test_dates_do_not_decide_what_is_within_256_messages():
    window = window_of([draft(now=NOW + n) for n in range(2000)], limit=10)
    window.keys.trim(NOW + 10**6)
    assert len(window.keys) == KEYS


def with_data(one: Draft, data) -> Draft:
    return replace(one, data=data)


@pytest.mark.parametrize("other", [{"a": 2}, {"a": True}, {"a": 1.0}, {}, None, {"a": 1, "b": None}])
def test_data_are_compared_as_the_text_is(other):
    one = with_data(draft(), {"a": 1})
    window = window_of([one])
    assert window.find(one).id == 1
    with pytest.raises(Conflict):
        window.find(with_data(one, other))


def test_the_order_of_names_in_data_does_not_matter():
    one = with_data(draft(), {"a": {"x": 1, "y": 2}, "b": 2})
    assert window_of([one]).find(with_data(one, {"b": 2, "a": {"y": 2, "x": 1}})).id == 1


def removal(*ids: int) -> Draft:
    return replace(draft("(removed a message)"), removes=ids)


def test_a_removal_leaves_tombstones_in_the_window_and_in_its_plans():
    drafts = [draft(f"text {n}") for n in range(1, 6)]
    window = window_of(drafts)
    request = StreamRequest("room", 0)
    assert b"text 2" in window.plan(request).body()
    window.fold(Commit.of(6, [removal(2, 4)]), NOW)
    assert [m.removed for m in window.messages] == [None, 6, None, 6, None, None]
    body = window.plan(request).body()
    assert b"text 2" not in body
    assert b"text 4" not in body
    assert b"text 3" in body
    assert window.bytes == fresh(window).bytes + window._planned


def fresh(window: Window) -> Window:
    return Window([Commit("room", tuple(window.messages))], REPLAY, NOW)


def test_a_replaced_message_is_in_no_plan_any_more():
    window = window_of([draft("text 1"), draft("text 2")])
    request = StreamRequest("room", 0)
    assert b"text 1" in window.plan(request).body()
    window.replace(window.messages[0].tombstone(window.messages[1]))
    assert b"text 1" not in window.plan(request).body()
    window.replace(replace(window.messages[0], id=9))
    assert len(window.messages) == 2, "what is not here is not taken in"


def test_a_tombstone_answers_its_key_whatever_the_text():
    """Or else the author's late retry would be told that this id stands for another text."""
    drafts = [with_data(draft("one"), {"a": 1}), draft("two")]
    window = window_of([*drafts, removal(1)])
    for again in (drafts[0], replace(drafts[0], text="another"), with_data(drafts[0], None)):
        assert window.find(again) == window.messages[0]
    assert window.find(drafts[0]).removed == 3
    with pytest.raises(Conflict):
        window.find(replace(drafts[1], text="another"))


def test_a_removal_is_not_another_one_of_the_same_key():
    one = removal(1)
    window = window_of([draft(), draft(), one])
    assert window.find(one).id == 3
    for other in (replace(one, removes=(2,)), replace(one, removes=())):
        with pytest.raises(Conflict):
            window.find(other)


def test_the_past_is_put_before_a_window_as_what_its_removals_left_of_it():
    """It may have been read before it was removed."""
    window = Window([Commit.of(3, [draft("three")])], REPLAY, NOW)
    window.fold(Commit.of(4, [removal(1, 2)]), NOW)
    window.prepend(commits([draft("one"), draft("two")]), 3)
    assert [(m.text, m.removed) for m in window.messages] == [
        ("", 4),
        ("", 4),
        ("three", None),
        ("(removed a message)", None),
    ]
    assert window.bytes == fresh(window).bytes


def test_a_removal_of_what_is_not_here_changes_nothing_else():
    window = Window([Commit.of(3, [draft("three")])], REPLAY, NOW)
    window.fold(Commit.of(4, [removal(1, 4, 9)]), NOW)
    assert [m.removed for m in window.messages] == [None, None]


def test_the_bound_in_bytes_counts_data():
    large = [with_data(draft(), {f"{n}": n for n in range(300)}) for _ in range(3)]
    light, heavy = window_of([draft()] * 3), window_of(large)
    assert heavy.bytes - light.bytes > 3 * 300 * 100


def test_what_data_take_in_memory_makes_no_replay_shorter():
    """It is thirteen times what they have on a stream: who had missed half of what a replay may have was reset."""
    drafts = [with_data(draft(), {f"{n}": n for n in range(60)}) for _ in range(3 * REPLAY)]
    window = window_of(drafts)
    assert size(window.newest(REPLAY).messages) < REPLAY_BYTES < WINDOW_BYTES < window.bytes
    late = StreamRequest("room", window.tail - REPLAY)
    assert not window.lacks(late)
    assert len(window.plan(late).messages) == REPLAY
    assert len(window.messages) <= 2 * REPLAY
    assert sum(map(cost, window.messages)) == window._bytes
    cold = Window(commits(drafts[-1:], first=3 * REPLAY), REPLAY, NOW)
    cold.prepend(commits(drafts[-REPLAY - 10 : -1], first=2 * REPLAY - 9), 3 * REPLAY)
    assert not cold.lacks(late)
    assert len(cold.plan(late).messages) == REPLAY
