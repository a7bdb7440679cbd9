"""Whom a request is from.

An IPv6 client has a whole /64 to itself, so that, not the address, is who it is.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

_WITH_PORT = re.compile(r"\[(.+)\](?::[0-9]+)?|([0-9.]+):[0-9]+")


def client_behind(forwarded: Sequence[str], peer: str) -> str:
    """Whom a request is for: the last entry of its X-Forwarded-For headers, or the peer if that is empty.

    The last entry is the one that the proxy next to us wrote; those before it may be anybody's.
    """
    return client_of(",".join(forwarded).rpartition(",")[2].strip() or peer)


def client_of(address: str) -> str:
    """Whom an address stands for: an IPv4 address, or the /64 of an IPv6 one; a port after it is left out."""
    bare = address.strip()
    if match := _WITH_PORT.fullmatch(bare):
        bare = match[1] or match[2]
    try:
        parsed = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False))
