"""Where the server listens."""

from __future__ import annotations

import socket

from tornado.netutil import bind_sockets

from .config import Config
from .errors import Misconfigured

BACKLOG = 4096  # connections that the kernel keeps for us while we are busy


def listen(config: Config) -> list[socket.socket]:
    try:
        return bind_sockets(config.port, config.host, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "that is no address"
        raise Misconfigured(f"cannot listen on {config.host}:{config.port}: {why}") from None


def url_of(sockets: list[socket.socket], base_path: str = "") -> str:
    host, port = sockets[0].getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}{base_path}/"
