"""Connections that are closed in two steps, since their clients are still sending.

Our side ends first, with the answer; the socket is closed when the client has ended too, or after LINGER
seconds. Else the kernel would answer what still comes with a reset, which may overtake our answer.
"""

from __future__ import annotations

import asyncio
import socket

LINGER = 2.0  # seconds for which a client may go on sending after we have ended the connection
LINGER_BYTES = 1 << 20  # that are read and dropped meanwhile at the most


class Lingering:
    """The sockets of such connections."""

    def __init__(self) -> None:
        self._left: dict[socket.socket, tuple[asyncio.TimerHandle, list[int]]] = {}

    def __len__(self) -> int:
        return len(self._left)

    def add(self, sock: socket.socket) -> None:
        """Ends our side of a connection, and closes it when the other side has ended."""
        loop = asyncio.get_running_loop()
        sock.shutdown(socket.SHUT_WR)
        self._left[sock] = loop.call_later(LINGER, self._close, sock), [LINGER_BYTES]
        loop.add_reader(sock, self._drop, sock)

    def _drop(self, sock: socket.socket) -> None:
        left = self._left[sock][1]
        try:
            dropped = len(sock.recv(65_536))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            dropped = 0
        left[0] -= dropped
        if not dropped or left[0] <= 0:
            self._close(sock)

    def _close(self, sock: socket.socket) -> None:
        self._left.pop(sock)[0].cancel()
        asyncio.get_running_loop().remove_reader(sock)
        sock.close()

    def close(self) -> None:
        for sock in list(self._left):
            self._close(sock)
