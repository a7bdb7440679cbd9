"""How much one client may ask for: a token bucket per address, in a table that an attack cannot make grow.

A bucket holds up to `burst` tokens and gains `rate` a second. A message takes one, a large one a token for
each kB, since its bytes are what it costs everybody else. A client that has one token is admitted, whatever
the request will cost, since that is often known only afterwards. So a bucket may be in debt, and its client
waits until that is paid.

The table is bounded: when it overflows, the bucket that was used longest ago is forgotten, and counts as full
when its client comes again. That can only be too generous.
"""

from __future__ import annotations

from collections import OrderedDict

CLIENTS = 10_000
KB = 1000  # bytes that cost a token


class RateLimit:
    """`rate` per second, `burst` at once; a rate of 0 limits nothing. The clock is handed in."""

    def __init__(self, rate: float, burst: int, clients: int = CLIENTS) -> None:
        self._rate = rate
        self._burst = burst
        self._clients = clients
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, at that time

    def wait(self, client: str, now: float, cost: float = 1) -> float:
        """Takes `cost` tokens and returns 0; with less than one there, returns the seconds until there is."""
        if not self._rate:
            return 0.0
        tokens = self._tokens(client, now)
        admitted = tokens >= 1
        self._keep(client, now, tokens - cost if admitted else tokens)
        return 0.0 if admitted else (1 - tokens) / self._rate

    def charge(self, client: str, now: float, cost: float) -> None:
        """Takes the tokens that an admitted request has turned out to cost."""
        if self._rate:
            self._keep(client, now, self._tokens(client, now) - cost)

    def _tokens(self, client: str, now: float) -> float:
        tokens, then = self._buckets.get(client, (float(self._burst), now))
        return min(self._burst, tokens + max(0.0, now - then) * self._rate)

    def _keep(self, client: str, now: float, tokens: float) -> None:
        self._buckets[client] = (tokens, now)
        self._buckets.move_to_end(client)
        if len(self._buckets) > self._clients:
            self._buckets.popitem(last=False)


def cost_of(size: int) -> float:
    """The tokens that so many bytes cost."""
    return max(1.0, size / KB)
