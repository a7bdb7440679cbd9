"""Who holds the streams: the port.

One object both holds and publishes, so that a holder of one kind cannot meet a publisher of the other.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from ..access import Pass
from ..streams import Publication, StreamPlan, StreamRequest


class Way(NamedTuple):
    """How a request came."""

    proxied: bool  # through whatever holds streams: its answer can be held
    vouched: bool  # signed by the proxy: what it says of its client can be believed


class RecoveryRequest(NamedTuple):
    """What a proxy asks for, to go on with a hold: a stream, and the pass that the hold carries."""

    request: StreamRequest
    pass_: Pass | None


# What the values of `Grip-Last` ask for, if that is a recovery.
Recovery: TypeAlias = Callable[[Sequence[str]], RecoveryRequest | None]


class Response(Protocol):
    """The answer to a request for a stream. A hub either sends it, or takes the connection."""

    @property
    def asked(self) -> float:
        """When the request came (time.monotonic)."""

    def send(self, headers: Mapping[str, str], body: bytes) -> None:
        """Answers with this body, and these headers besides those of any stream."""

    def take(self) -> tuple[socket.socket, bytes, bool] | None:
        """The connection, the head to send on it, and whether chunks follow; None if the client has gone."""


class Hub(Protocol):
    """Keeps the streams of clients open and feeds them, by the rule in streams.py.

    `passes_on_at_once`: `passed_on` never waits, so it need not be awaited.
    """

    passes_on_at_once: bool

    def admits(self, client: str) -> bool:
        """Whether one more stream may be held for this client (an address)."""

    def hold(self, plan: StreamPlan, response: Response, client: str, pass_: Pass | None = None) -> None:
        """Answers the request with the plan: its events at once, its channels from then on.

        The hold carries the pass, and ends, with a `stream-end`, when that gives no right any more.
        """

    def publish(self, publication: Publication) -> None:
        """Hands the publication on, in the order of the calls. Never waits, never fails.

        What cannot be delivered is repaired by recovery.
        """

    def pressed(self) -> bool:
        """Whether the queue is so full that signals, which may be lost, are to be refused."""

    async def passed_on(self) -> None:
        """Returns when all published until now has reached whoever holds streams, or after a second.

        To be awaited before the answer to a request that may have published: the process may be frozen then.
        """

    def recheck(self, id: str | None) -> None:
        """Has it checked again whether the holds with the pass of this id (None: with any) may go on.

        Never waits, never fails. What is lost on the way is repaired by recovery.
        """

    def way(self, headers: Mapping[str, str]) -> Way:
        """How a request with these headers came; the names are in small letters, or are found by these."""

    async def close(self) -> None:
        """Publishes what is still queued, as far as a short time allows, and lets every stream go."""
