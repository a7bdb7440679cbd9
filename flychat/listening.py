"""Where the server listens.

`::` is every address of the machine, of both families. It takes two sockets: on a single one for both, IPv4
clients would have IPv6 addresses, which take five times as long to read.
"""

from __future__ import annotations

import socket

from tornado.netutil import bind_sockets

from .config import Config
from .errors import Misconfigured

BOTH_FAMILIES = ("::", "0.0.0.0")
BACKLOG = 4096  # connections that the kernel keeps for us while we are busy


def listen(config: Config) -> list[socket.socket]:
    """Raises Misconfigured."""
    sockets: list[socket.socket] = []
    try:
        for host in BOTH_FAMILIES if config.host == "::" else [config.host]:
            port = sockets[0].getsockname()[1] if sockets else config.port
            sockets += bind_sockets(port, host, backlog=BACKLOG)
        return sockets
    except (OSError, UnicodeError) as error:
        for sock in sockets:
            sock.close()
        why = getattr(error, "strerror", None) or "that is no address"
        raise Misconfigured(f"cannot listen on {config.host}:{config.port}: {why}") from None


def url_of(sockets: list[socket.socket], base_path: str = "") -> str:
    host, port = sockets[0].getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}{base_path}/"
