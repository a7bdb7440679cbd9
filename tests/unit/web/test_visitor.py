"""Whom a request is from."""

import pytest

from flychat.web.visitor import client_behind, client_of


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


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ([], "198.51.100.1"),
        ([""], "198.51.100.1"),
        (["  "], "198.51.100.1"),
        (["192.0.2.7"], "192.0.2.7"),
        (["192.0.2.7, "], "198.51.100.1"),
        (["192.0.2.7", ""], "198.51.100.1"),
        (["spoofed, 192.0.2.7"], "192.0.2.7"),
        (["192.0.2.8", "192.0.2.7"], "192.0.2.7"),
        (["nonsense"], "unknown"),
    ],
)
def test_a_client_is_who_the_nearest_proxy_says_or_the_proxy_itself(forwarded, client):
    assert client_behind(forwarded, "198.51.100.1") == client
