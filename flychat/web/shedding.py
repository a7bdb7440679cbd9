"""Which requests are refused when more arrive than can be served.

Requests are served in the order in which they came. The kernel keeps that order, because nothing is read
ahead. If nothing were refused under too much load, each request would wait until its client has given up, and
all work would be in vain. So a request that has waited for LATE seconds is refused, and no more of it is read
than it takes to find its end. The queue is then never much longer than LATE seconds, and is gone that long
after the rush. A client that has closed its connection by then is not answered at all. The kernel tells how
long a request has waited (TCP_INFO); where it does not, nothing is late.

A single pause (the machine slept, the process was stopped) is no overload. The server refuses only while it
is behind: when requests have been late for START seconds, with never more than CALM seconds between two of
them, and for MEMORY seconds after the last late one. A new connection may have waited for others to be let
in, as after a restart: its first request is late after NEW seconds.

A refusal says to come again after RETRY_AFTER (problems.py), and costs a sixth of a message. What the client
asks until then is not looked at for UNSEEN seconds, which costs nothing. (It is less because many clients
give up after 3 seconds, and a connection that is closed and made again costs more than a refusal.) Then it is
refused if it is late, or goes to the end of the queue; such a request does not count when it is judged
whether the server is behind. Clients that were refused pause again, except as many as there is room for; and
while there is room, pauses end early. There is room until it takes ROUND seconds to serve all who have
something to say. Without these pauses, clients come back in waves, and wave after wave is late.

Messages and pages are refused, with 503 and Retry-After: a client that sends again loses nothing. Streams are
not refused: their clients would come back at once, and their number has limits of its own.
"""

from __future__ import annotations

import enum
import math
import socket
import sys
import time
from collections.abc import Callable

from prometheus_client import Counter

LATE = 0.5  # seconds that a request may have waited
NEW = 0.75  # the same, of the first request of a connection, for us to be behind
START = 0.25  # seconds for which requests are late before we are behind
CALM = 0.25  # seconds without a late request, after which those before it were but a pause
MEMORY = 4.0  # seconds for which we stay behind: longer than RETRY_AFTER, when the others come again
UNSEEN = 2.75  # seconds of RETRY_AFTER for which a client that was refused is not looked at
ROUND = 0.8 * LATE  # seconds: for so long a request waits at the most where there is room for more clients

SHED = Counter(
    "flychat_shed", "Requests that had waited for too long: refused, or their clients had gone", ["why"]
)

_KNOWN = sys.platform == "linux" and hasattr(socket, "TCP_INFO")
_BYTES = 56  # of struct tcp_info (linux/tcp.h), up to the end of tcpi_last_data_recv, which is milliseconds
_CLOSE_WAIT = 8  # of tcpi_state, its first byte (net/tcp_states.h): the other side has closed


class Turn(enum.Enum):
    """What a request has waited for."""

    NEW = "to be let in: it is the first of its connection"
    EARLY = "for the end of its client's pause"
    DUE = "for us"

    @property
    def unpaused(self) -> Turn:
        """The same, once the pause is over if it is in one."""
        return Turn.DUE if self is Turn.EARLY else self


class Shedding:
    """Whether to refuse. The clock is monotonic."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._late_since = self._late_at = self._behind_until = -math.inf
        self.room = 0.0  # the number of clients more that can be served

    def served(self, clients: int, seconds: float) -> None:
        """All clients with a request were served, in so many seconds; if there were none, all have room."""
        self.room = clients * (ROUND / seconds - 1) if clients and seconds else math.inf

    def lets_in(self) -> bool:
        """Whether there is room for one client more; if so, it is taken."""
        self.room -= 1
        return self.room >= 0

    def refuses(self, waited: float, turn: Turn) -> bool:
        """Whether to refuse a request that has waited for so many seconds. To be called for every request."""
        if waited < LATE:
            return False
        if turn is Turn.EARLY:
            return True
        now = self._now()
        if turn is Turn.DUE or waited >= NEW:
            if now - self._late_at >= CALM:
                self._late_since = now
            self._late_at = now
            if now - self._late_since >= START or now < self._behind_until:
                self._behind_until = now + MEMORY
        return now < self._behind_until


def waited(sock: socket.socket) -> tuple[float, bool]:
    """For how many seconds the last bytes have been there, and whether the client has closed its side."""
    if not _KNOWN:
        return 0.0, False
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES)
    except OSError:  # no TCP
        return 0.0, False
    return int.from_bytes(info[-4:], sys.byteorder) / 1000, info[0] == _CLOSE_WAIT
