"""Who asks: read once from a request, by one function for the handlers and the shortcut.

What a proxy says of a request is believed if the proxy signed it, or with --trust-proxy. A client with IPv6
has a whole /64 to itself, so limits count that, not the address. The name is only a claim; who somebody
really is only a token says.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from ..access import Token
from ..errors import Invalid
from ..fields import sender_name
from ..hub import Way
from .credentials import NOBODY, Identity, cookie_of, is_https

USER_COOKIE = "flychat_user"

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_WITH_PORT = re.compile(r"\[(.+)\](?::[0-9]+)?|([0-9.]+):[0-9]+")


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks, and how they came."""

    address: str  # as limits count it: an IPv4 address, the /64 of an IPv6 one, or "unknown"
    name: str  # that the cookie remembers, or ""
    https: bool  # from the client to the proxy
    proxied: bool  # the request came through whatever holds streams
    vouched: bool  # a GRIP proxy has signed it
    identity: Identity = NOBODY

    @property
    def token(self) -> Token | None:
        return self.identity.token

    @property
    def client(self) -> str:
        """The key by which limits on posting count them: the token's user, else the address.

        A guest counts by the address, since a password gives any number of tokens.
        """
        token = self.token
        return self.address if token is None or token.is_guest else f"user {token.kind} {token.sub}"


def read_visitor(headers: Mapping[str, str], peer: str, way: Way, *, trust_proxy: bool) -> Visitor:
    """The visitor, without identity yet, of a request with these headers (repeated ones joined by commas)."""
    address = address_of(headers, peer, way, trust_proxy=trust_proxy)
    https = _believed(way, trust_proxy) and is_https(headers)
    return Visitor(address, _remembered(headers.get("cookie")), https, *way)


def address_of(headers: Mapping[str, str], peer: str, way: Way, *, trust_proxy: bool) -> str:
    """Only the visitor's address: much cheaper than `read_visitor`."""
    forwarded = headers.get("x-forwarded-for", "") if _believed(way, trust_proxy) else ""
    # The last entry is what the proxy next to us wrote; those before it can be forged.
    return client_of(forwarded.rpartition(",")[2].strip() or peer)


def _believed(way: Way, trust_proxy: bool) -> bool:
    return trust_proxy or way.vouched


def client_of(address: str) -> str:
    """How limits count an address: IPv4 by itself, IPv6 by its /64, both without a port; or as "unknown".

    What this returns may be given again, and stays as it is.
    """
    if _IPV4.fullmatch(address):  # the usual case, in a fifth of the time that ipaddress takes
        return address
    bare = address.strip()
    if match := _WITH_PORT.fullmatch(bare):
        bare = match[1] or match[2]
    try:
        parsed = ipaddress.ip_address(bare.partition("%")[0].removesuffix("/64"))
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False))


def _remembered(cookie: str | None) -> str:
    """The name in the cookie, if it can be one."""
    if cookie is None:
        return ""
    try:
        return sender_name(unquote(cookie_of(cookie, USER_COOKIE)).strip())
    except Invalid:
        return ""
