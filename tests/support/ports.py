"""Ports for servers whose port is known before they listen, and which may end and come back to it.

A port that the kernel chooses (port 0) is one of those that it gives to outgoing connections as well. As soon as nobody
listens on it, any of the thousands of connections that tests and benchmarks open may have it, and the server is refused:
"Address already in use". So these ports lie below that range, where nothing gets one without asking for it, and none is
given twice as long as the process lives that it was given to: each is a byte of a file, which that process locks.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Browsers refuse a few ports; the highest of them is 10,080.
LOWEST = 11_000
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A TCP port on which nobody listens on 127.0.0.1. Raises StopIteration when all have been given."""
    return next(_ports)


def _free_ports() -> Iterator[int]:
    above = int(EPHEMERAL.read_text().split()[0]) if EPHEMERAL.exists() else 32_768
    above = max(above, LOWEST + 10_000)  # a machine may give nearly all ports to outgoing connections
    ports = list(range(LOWEST, above))
    start = random.Random(os.getpid()).randrange(len(ports))
    given = Path(tempfile.gettempdir()) / f"flychat-test-ports-{os.getuid()}"
    locks = os.open(given, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for port in ports[start:] + ports[:start]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                fcntl.lockf(locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port


_ports = _free_ports()
