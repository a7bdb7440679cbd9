"""Who asks."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders

from flychat.access import SECRET, Rules, Token
from flychat.hub import Way
from flychat.web.credentials import NOBODY, Identity, is_own
from flychat.web.visitor import Visitor, client_of, read_visitor


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
        ("192.0.2.007", "unknown"),
        ("192.0.2.256", "unknown"),
        ("192.0.2", "unknown"),
        ("192.0.2.7.", "unknown"),
        ("[]", "unknown"),
        ("", "unknown"),
        ("x" * 9999, "unknown"),
        ("1.2.3.4, 5.6.7.8", "unknown"),
    ],
)
def test_an_ipv6_client_is_its_network(address, client):
    assert client_of(address) == client
    assert client_of(client) == client, "what is queued for a client may be queued again, elsewhere"


@given(st.ip_addresses(v=4).map(str) | st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){2,4}", fullmatch=True))
def test_an_ipv4_client_is_its_address(address):
    try:
        assert client_of(address) == str(ipaddress.IPv4Address(address))
    except ValueError:
        assert client_of(address) == "unknown"


FORWARDED = [
    (None, "198.51.100.1"),
    ("", "198.51.100.1"),
    ("  ", "198.51.100.1"),
    ("192.0.2.7", "192.0.2.7"),
    ("192.0.2.7, ", "198.51.100.1"),
    ("192.0.2.7,", "198.51.100.1"),
    ("spoofed, 192.0.2.7", "192.0.2.7"),
    ("192.0.2.8,192.0.2.7", "192.0.2.7"),
    ("nonsense", "unknown"),
]


@pytest.mark.parametrize(("forwarded", "client"), FORWARDED)
@pytest.mark.parametrize("trust_proxy", [False, True])
@pytest.mark.parametrize("vouched", [False, True])
def test_a_visitor_is_who_the_nearest_proxy_says_if_it_is_believed(forwarded, client, trust_proxy, vouched):
    headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
    visitor = read_visitor(headers, "198.51.100.1", Way(True, vouched), trust_proxy=trust_proxy)
    assert visitor.address == (client if trust_proxy or vouched else "198.51.100.1")


def test_headers_that_come_twice_are_one_list():
    headers = HTTPHeaders()
    headers.add("X-Forwarded-For", "192.0.2.8")
    headers.add("X-Forwarded-For", "192.0.2.7")
    assert read_visitor(headers, "198.51.100.1", Way(True, False), trust_proxy=True).address == "192.0.2.7"


@pytest.mark.parametrize(
    ("cookie", "name"),
    [
        (None, ""),
        ("", ""),
        ("flychat_user=ann", "ann"),
        ("a=b; flychat_user=ann%20b; c", "ann b"),
        ('flychat_user="ann"', "ann"),
        ("flychat_user=%20ann%20", "ann"),
        ("flychat_user=caf%C3%A9", "caf\u00e9"),
        ("flychat_user=ours; x=y; flychat_user=of-a-shorter-path", "ours"),
        ("flychat_user=", ""),
        ("flychat_user=%00", ""),
        ("flychat_user=%ff", "\ufffd"),
        (f"flychat_user={'x' * 200}", ""),
        ("xflychat_user=ann", ""),
    ],
)
def test_a_name_is_the_one_in_the_cookie_if_it_can_be_one(cookie, name):
    headers = {} if cookie is None else {"cookie": cookie}
    assert read_visitor(headers, "198.51.100.1", Way(True, False), trust_proxy=False).name == name


@pytest.mark.parametrize("way", [Way(True, True), Way(True, False), Way(False, False)])
def test_how_a_visitor_came_is_said_by_the_hub(way):
    visitor = read_visitor({}, "198.51.100.1", way, trust_proxy=True)
    assert (visitor.proxied, visitor.vouched) == way


@pytest.mark.parametrize(
    ("identity", "client"),
    [
        (NOBODY, "192.0.2.7"),
        (Identity(Token("ann", None, Rules(), 0, 1, SECRET)), f"user {SECRET} ann"),
        (Identity(Token("guest-1", None, Rules(), 0, 1, SECRET, password="0123abcd")), "192.0.2.7"),
    ],
)
def test_limits_count_a_guest_by_the_address_since_a_password_gives_any_number_of_tokens(identity, client):
    assert Visitor("192.0.2.7", "", False, True, False, identity).client == client


@given(st.text(), st.text(), st.text())
def test_any_headers_are_of_somebody(forwarded, cookie, peer):
    headers = {"x-forwarded-for": forwarded, "cookie": cookie}
    visitor = read_visitor(headers, peer, Way(True, False), trust_proxy=True)
    assert visitor.address
    assert len(visitor.name) <= 64


@pytest.mark.parametrize(
    ("origin", "host", "own"),
    [
        ("http://chat.example.org:3000", "chat.example.org:3000", True),
        ("http://chat.example.org", "chat.example.org:3000", False),
        ("http://[2001:db8::1]:7999", "[2001:db8::1]:7999", True),
        ("http://[2001:db8::1]:7999", "2001:db8::1:7999", True),  # as Pushpin 1.36 passes it on
        ("https://[2001:db8::1]:7999", "2001:db8::1:7999", True),
        ("http://[2001:db8::1]:80", "2001:db8::1:7999", False),
        ("http://[2001:db8::2]:7999", "2001:db8::1:7999", False),
        ("http://[2001:db8::1:7999]", "2001:db8::1:7999", False),  # which may be either
        ("http://[2001:db8::1]", "2001:db8::1", True),
        ("https://[::1]", "::1", True),
        ("http://[2001:db8::a:b]", "2001:db8::a:b", True),
        ("http://[2001:db8:1:2:3:4:5:6]", "2001:db8:1:2:3:4:5:6", True),
        ("http://[2001:db8::2]", "2001:db8::1", False),
    ],
)
def test_a_page_is_ours_if_it_is_of_the_host_that_was_asked(origin, host, own):
    assert is_own(origin, host, https=False) is own
