"""Which requests are refused when more comes than can be done.

Requests are served in the order in which they came: the kernel keeps it, as nobody reads ahead. So under too
much load each waits as long as the queue is; and if nothing is refused, until its client has given up, and
all work is for nobody. Therefore a request that has waited for LATE seconds is refused, before more of it is
read than where it ends. So the queue is never much longer than that, and is gone LATE seconds after the rush.
A client that has closed its connection by then is not answered at all. How long a request has waited, the
kernel knows (TCP_INFO); where it does not tell, nothing is late.

One pause is no overload (a machine that slept, a process that was stopped): only who has been behind for
LATE seconds refuses, and is behind until a request has waited for less than half of that. A new connection
may have waited for others to be let in, after a restart: as long as those that are there are in time, its
first request is given NEW seconds.

A refusal tells to come again after some seconds. It costs a tenth of a message: so who comes again at once is
not looked at for PAUSE seconds, and costs nothing.

Messages and pages are refused, with 503 and Retry-After: whoever sends again loses nothing. Streams are not.
Their clients would come back at once, and how many there are has limits of its own.
"""

from __future__ import annotations

import math
import socket
import sys
import time
from collections.abc import Callable

from prometheus_client import Counter

LATE = 0.5  # seconds that a request may have waited
NEW = 2.0  # the same, of the first request of a connection, where others are in time
PAUSE = 0.5  # seconds until one that was refused is looked at again

SHED = Counter(
    "flychat_shed", "Requests that had waited for too long: refused, or their clients had gone", ["why"]
)

_KNOWN = sys.platform == "linux" and hasattr(socket, "TCP_INFO")
_BYTES = 56  # of struct tcp_info (linux/tcp.h), up to the end of tcpi_last_data_recv, which is milliseconds
_CLOSE_WAIT = 8  # of tcpi_state, its first byte (net/tcp_states.h): the other side has closed


class Shedding:
    """Whether to refuse. The clock is monotonic."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._behind_since = math.inf

    def refuses(self, waited: float, *, new: bool) -> bool:
        """Whether a request is refused that has waited for so many seconds. To be asked of every one.

        `new` says that it is the first one of its connection.
        """
        if waited < LATE / 2:
            if not new:
                self._behind_since = math.inf
        elif waited >= LATE:
            now = self._now()
            if waited >= NEW or not new:
                self._behind_since = min(self._behind_since, now)
            return now - self._behind_since >= LATE
        return False


def waited(sock: socket.socket) -> tuple[float, bool]:
    """For how many seconds the last bytes have been there, and whether the client has closed its side."""
    if not _KNOWN:
        return 0.0, False
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES)
    except OSError:  # no TCP
        return 0.0, False
    return int.from_bytes(info[-4:], sys.byteorder) / 1000, info[0] == _CLOSE_WAIT
