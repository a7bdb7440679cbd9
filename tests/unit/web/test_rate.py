"""The rate limit: a token bucket per client, in a bounded table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flychat.web.rate import RateLimit, cost_of


def test_a_burst_is_taken_and_then_one_by_one():
    limit = RateLimit(10, 3)
    assert [limit.wait("ann", 0.0) for _ in range(3)] == [0, 0, 0]
    assert limit.wait("ann", 0.0) == pytest.approx(0.1)
    assert limit.wait("bob", 0.0) == 0, "others are not concerned"
    assert limit.wait("ann", 0.05) == pytest.approx(0.05)
    assert limit.wait("ann", 0.1) == 0
    assert limit.wait("ann", 100.0) == 0
    assert [limit.wait("ann", 100.0) for _ in range(3)] == [0, 0, pytest.approx(0.1)], "it never saves more"


def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing():
    limit = RateLimit(1, 1)
    assert limit.wait("ann", 10.0) == 0
    assert limit.wait("ann", 5.0) == pytest.approx(1)


def test_a_rate_of_0_limits_nothing():
    limit = RateLimit(0, 0)
    assert not any(limit.wait("ann", 0.0) for _ in range(1000))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 0.5)), max_size=100))
def test_nobody_gets_more_than_the_burst_and_the_rate_allow(posts):
    limit, now, taken = RateLimit(10, 4), 0.0, dict.fromkeys("abc", 0)
    for client, pause in posts:
        now += pause
        taken[client] += limit.wait(client, now) == 0
        assert taken[client] <= 4 + now * 10 + 1e-6


def test_a_large_message_costs_its_bytes_and_its_debt_is_waited_for():
    limit = RateLimit(10, 40)
    assert limit.wait("ann", 0.0, cost_of(64_000)) == 0, "who has a token is admitted"
    assert limit.wait("ann", 0.0) == pytest.approx(2.5), "24 below zero, and one to have"
    assert limit.wait("ann", 2.4, cost_of(1)) > 0
    assert limit.wait("ann", 2.5) == 0
    assert limit.wait("bob", 0.0) == 0, "others are not concerned"


def test_what_a_request_has_cost_is_taken_afterwards():
    limit = RateLimit(10, 40)
    assert limit.wait("ann", 0.0, 0) == 0
    limit.charge("ann", 0.0, cost_of(256_000))
    assert limit.wait("ann", 0.0, 0) == pytest.approx(21.7)
    assert limit.wait("ann", 21.7 + 1e-9, 0) == 0
    unlimited = RateLimit(0, 0)
    unlimited.charge("ann", 0.0, 1e9)
    assert unlimited.wait("ann", 0.0) == 0


@pytest.mark.parametrize(("size", "cost"), [(0, 1), (1, 1), (1000, 1), (1500, 1.5), (65_536, 65.536)])
def test_a_token_is_a_kilobyte_and_nothing_costs_less_than_one(size, cost):
    assert cost_of(size) == cost


@given(st.lists(st.tuples(st.floats(0, 0.5), st.integers(0, 65_536)), max_size=100))
def test_nobody_posts_more_bytes_than_the_burst_and_the_rate_allow_and_one_message(posts):
    limit, now, sent = RateLimit(10, 40), 0.0, 0.0
    for pause, size in posts:
        now += pause
        if limit.wait("ann", now, cost_of(size)) == 0:
            assert sent <= 1000 * (40 + now * 10) + 1e-3
            sent += size


def test_the_table_is_bounded_and_forgets_those_unseen_longest():
    limit = RateLimit(1, 1, clients=100)
    for n in range(10_000):
        assert limit.wait(f"{n}", 0.0) == 0
    assert len(limit._buckets) == 100
    assert limit.wait("9999", 0.0) > 0


def test_who_comes_again_is_not_one_of_those_unseen_longest():
    limit = RateLimit(1, 1, clients=2)
    for client in ("busy", "other", "busy", "new"):
        limit.wait(client, 0.0)
    assert limit.wait("busy", 0.0) > 0, "its bucket is kept"
