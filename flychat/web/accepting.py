"""Connections as they come: accepted, and let in.

After a restart thousands of clients come at once, for streams. The kernel's queue holds only some of them,
and the others try again after a second. So connections are accepted at once, and let in (their request is
looked at) more slowly: clients that POST first, and of each address one after the other.

The kernel is asked to report a connection only when its first bytes are there (TCP_DEFER_ACCEPT, where that
exists): otherwise a connection that is accepted in a quiet moment would always be looked at too early.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from socket import socket as Socket
from typing import Any

from ..messages import Draft
from ..seldom import Seldom
from .listener import STALL
from .shedding import Turn
from .turns import Fair

ACCEPTED_AT_ONCE = 256  # connections in one turn: those that the kernel cannot keep come a second later
LET_IN_AT_ONCE = 16  # of those that ask for something: the hub sends each some 64 kB at the most
SERVED_AT_ONCE = 64  # of those that POST, and of requests on connections that were there before
FULL_SECONDS = 0.5  # until it tries to accept again, after that failed
DEFER_SECONDS = 1  # after which the kernel reports a connection that sends nothing
OPTIONS = {  # of TCP, where they exist; connections inherit them
    "TCP_DEFER_ACCEPT": DEFER_SECONDS,
    "TCP_NODELAY": 1,
    "TCP_USER_TIMEOUT": int(STALL * 1000),  # a peer that vanished is noticed as one that stalls
}
NO_ADDRESS = ("0.0.0.0", 0)  # of a client that came through a Unix socket, as Tornado has it

logger = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Client:
    """A connection, from one request to the next; `posted` is the draft of the POST under way."""

    socket: Socket
    address: Any
    answered: bool = False  # its request is consumed, and its answer under way
    posted: Draft | None = None
    watched: bool = False
    partial: bool = False  # only a part of its next request was there
    turn: Turn = Turn.NEW  # of its next request
    since: float = 0.0  # since when that is waited for, loop time
    due: bool = False  # it has something to say, and its turn comes
    told: float = 0.0  # when it had nothing to say yet, loop time


class Arrivals:
    """Accepts connections, and calls `look` with each when it is let in.

    `makes_room` closes some that need not be open, and says whether there were any.
    """

    def __init__(self, look: Callable[[Client], None], makes_room: Callable[[], bool]) -> None:
        self.refused = Seldom(logger, logging.ERROR)
        self._look, self._makes_room = look, makes_room
        self._loop = asyncio.get_running_loop()
        self._new: tuple[Fair[Client], ...] = (Fair(), Fair())  # not let in yet: those that POST, and others
        self._letting_in = False

    def listen(self, sock: socket.socket) -> Callable[[], None]:
        """Accepts what comes to this socket; returns what is to be called so that it no longer does."""
        for option, value in OPTIONS.items() if sock.family != socket.AF_UNIX else ():
            if hasattr(socket, option):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        self._accept_again(sock)
        return partial(self._accept_no_more, sock)

    def _accept_again(self, listening: socket.socket) -> None:
        if listening.fileno() >= 0:  # else the server has stopped
            self._loop.add_reader(listening, self._accept, listening)

    def _accept_no_more(self, listening: socket.socket) -> None:
        self._loop.remove_reader(listening)

    def _accept(self, listening: socket.socket) -> None:
        for number in range(ACCEPTED_AT_ONCE):
            try:
                connection, address = listening.accept()
            except ConnectionAbortedError:
                continue
            except BlockingIOError:
                return
            except OSError as error:  # most likely no more files may be open: the others go on waiting
                self.refused.tell("no connection can be accepted: %s", error.strerror)
                if self._makes_room():
                    continue
                self._accept_no_more(listening)
                self._loop.call_later(FULL_SECONDS, self._accept_again, listening)
                return
            connection.setblocking(False)  # accepted sockets block, whatever the listening one does
            client = Client(connection, address if type(address) is tuple else NO_ADDRESS)
            if number < LET_IN_AT_ONCE and not self._letting_in:
                self._look(client)
            else:
                self._new[peeked(connection, 4) != b"POST"].append(client.address[0], client)
                self._go_on_letting_in()

    def _let_in(self) -> None:
        self._letting_in = False
        for new, most in zip(self._new, (SERVED_AT_ONCE, LET_IN_AT_ONCE), strict=True):
            gone = 0
            while new and most and gone < ACCEPTED_AT_ONCE:
                client = new.popleft()
                if client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):  # as fast as they come
                    client.socket.close()
                    gone += 1
                else:
                    self._look(client)
                    most -= 1
        if any(self._new):
            self._go_on_letting_in()

    def _go_on_letting_in(self) -> None:
        if not self._letting_in:
            self._letting_in = True
            self._loop.call_soon(self._let_in)

    def close(self) -> None:
        """Drops those that are not let in yet."""
        for client in [*self._new[0], *self._new[1]]:
            client.socket.close()
        self._new = Fair(), Fair()


def peeked(connection: socket.socket, size: int) -> bytes:
    """The first bytes that are there, which the kernel keeps; b"" if there are none."""
    try:
        return connection.recv(size, socket.MSG_PEEK)
    except OSError:
        return b""
