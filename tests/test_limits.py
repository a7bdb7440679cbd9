"""The rate limit: a token bucket per client, in a bounded table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flychat.limits import RateLimit, client_of


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


def test_the_table_is_bounded_and_forgets_those_unseen_longest():
    limit = RateLimit(1, 1, clients=100)
    for n in range(10_000):
        assert limit.wait(f"{n}", 0.0) == 0
    assert len(limit._buckets) == 100
    assert limit.wait("9999", 0.0) > 0


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        (" 192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:5000", "192.0.2.7"),
        ("[2001:db8:1:2::3]:443", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::3]", "2001:db8:1:2::/64"),
        ("192.0.2.7:", "unknown"),
        ("[]", "unknown"),
        ("", "unknown"),
        ("x" * 9999, "unknown"),
        ("1.2.3.4, 5.6.7.8", "unknown"),
    ],
)
def test_an_ipv6_client_is_its_network(address, client):
    assert client_of(address) == client
