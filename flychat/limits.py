"""How often one client may post: a token bucket per address, in a table that an attack cannot make grow.

A bucket holds up to `burst` tokens and gains `rate` a second; a post takes one. Only the buckets that are not
full need to be known, and the table is bounded: when it overflows, those that were used longest ago leave,
which is at worst generous to somebody.

An IPv6 client has a whole /64 to itself, so that, not the address, is who it is.
"""

from __future__ import annotations

import ipaddress
import re
from collections import OrderedDict

CLIENTS = 10_000
_WITH_PORT = re.compile(r"\[(.+)\](?::[0-9]+)?|([0-9.]+):[0-9]+")


class RateLimit:
    """`rate` per second, `burst` at once; a rate of 0 limits nothing. The clock is handed in."""

    def __init__(self, rate: float, burst: int, clients: int = CLIENTS) -> None:
        self._rate = rate
        self._burst = burst
        self._clients = clients
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, at that time

    def wait(self, client: str, now: float) -> float:
        """Takes a token and returns 0; without one, the seconds until there is one."""
        if not self._rate:
            return 0.0
        tokens, then = self._buckets.get(client, (float(self._burst), now))
        tokens = min(self._burst, tokens + max(0.0, now - then) * self._rate)
        taken = tokens >= 1
        self._buckets[client] = (tokens - taken, now)
        self._buckets.move_to_end(client)
        if len(self._buckets) > self._clients:
            self._buckets.popitem(last=False)
        return 0.0 if taken else (1 - tokens) / self._rate


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
