"""Connections between requests: looked at, waited for, and closed when they have been idle for too long.

Until its next request, a connection costs its socket and a place in a selector of our own, which the event
loop watches as a single file. A subclass answers the requests (`serve`).

A request that Tornado answers takes five times as long as a plain one. So only a few of those begin, or are
read on, in each turn of the loop: otherwise plain requests would wait for all of them.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
from collections import deque
from collections.abc import Iterable
from functools import partial
from itertools import takewhile
from typing import Any

from .accepting import SERVED_AT_ONCE, Arrivals, Client, peeked
from .listener import Listener
from .shedding import LATE, UNSEEN, Shedding, Turn, waited
from .turns import Queue, Turns
from .visitor import client_of

PEEK_BYTES = 8192  # of a request; a longer one is unusual
MOST_WAITING = 4096  # requests of one address that wait for Tornado, some 3 s of work; more are not answered
SERVED_SECONDS = 0.03  # for which clients are served in one turn of the loop, about
AGAIN = 0.1  # seconds after which the selector is asked again, however many clients are still to be served
PAUSES = 0.05  # seconds between two checks for clients whose pause is over
SPREAD = 0.75  # seconds by which some pauses are shorter: else clients refused together come back together
RESUMED_AT_ONCE = 500  # paused clients that are looked at before their time, if there is room for them
TICK = 1.0  # seconds between two checks for connections that have been idle for too long


class ClientListener(Listener):
    """An HTTP server that keeps its clients' connections itself, until it takes them to Tornado."""

    def initialize(  # type: ignore[override]
        self, *args: Any, shedding: Shedding, idle_connection_timeout: float = 3600, **kwargs: Any
    ) -> None:
        super().initialize(*args, idle_connection_timeout=idle_connection_timeout, **kwargs)
        self.shedding = shedding
        self._loop = asyncio.get_running_loop()
        self._arrivals = Arrivals(self.look, self.makes_room)
        self.refused = self._arrivals.refused
        self._patience = idle_connection_timeout
        self._selector = selectors.DefaultSelector()
        self.turns = Turns()
        self._due: Queue[Client] = Queue()
        self._asked = 0.0  # when the selector was asked last (loop time)
        self._round = (0, 0, 0.0)  # the clients that were due when it began, how many are left, when that was
        self._paused: deque[Client] = deque()  # the one that has paused for longest first
        self._going_on = False
        self._idle: dict[Client, None] = {}  # the one that has been idle for longest first
        self._ended = False
        self._loop.add_reader(self._selector, self._ready)
        self._tick()

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """Listens on these. Tornado would serve 128 at a time; here fewer, as others wait for messages."""
        for sock in sockets:
            self._sockets[sock.fileno()] = sock
            self._handlers[sock.fileno()] = self._arrivals.listen(sock)  # called by HTTPServer.stop

    def serve(self, client: Client, data: bytes) -> None:
        """Answers the request of which these bytes are the first, or all. The kernel still has them."""
        raise NotImplementedError

    def interrupted(self, client: Client, *, gone: bool) -> None:
        """A client that waits for its answer has gone, or has sent more."""
        raise NotImplementedError

    def _ready(self) -> None:
        """Serves some of the clients that have sent something; the loop calls again while there are more."""
        now = self._loop.time()
        if not self._due or now - self._asked > AGAIN:
            self._ask(now)
        due, left, began = self._round
        if not left:
            due, left, began = len(self._due), len(self._due), now
        for _ in range(min(SERVED_AT_ONCE, len(self._due))):
            client = self._due.popleft()
            client.due, left = False, max(0, left - 1)
            if client.watched:  # else it was closed meanwhile
                self.look(client)
            if self._loop.time() - now > SERVED_SECONDS:
                break
        self._round = due, left, began
        if not left:
            self.shedding.served(due, self._loop.time() - began)

    def _ask(self, now: float) -> None:
        """Asks the selector, which also reports the clients that are due already."""
        for key, _ in self._selector.select(0):
            client: Client = key.data
            if not client.due:
                client.due, client.told = True, self._asked
                self._due.append(client.address[0], client)
        self._asked = now

    def look(self, client: Client) -> None:
        """Serves the client if it has sent something; else waits for that."""
        try:
            data = client.socket.recv(1 if client.answered else PEEK_BYTES, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            if not client.answered:
                self.wait_for(client, client.turn.unpaused)
            return None
        except OSError:
            data = b""
        if client.answered:
            self.interrupted(client, gone=not data)
        elif data:
            self.serve(client, data)
        else:
            self.drop(client)
        return None

    def wait_for(self, client: Client, turn: Turn = Turn.DUE) -> None:
        """Waits for the client's next request, until it has been idle for too long."""
        client.since, client.turn, client.answered = self._loop.time(), turn, False
        self._idle.pop(client, None)
        self._idle[client] = None
        self._watch(client)

    def wait_for_all(self, client: Client, size: int) -> None:
        """Waits until `size` bytes of the request are there, or it ends. Some kernels wait for one byte."""
        client.partial = True
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
        self.wait_for(client, client.turn.unpaused)

    def waited_for_all(self, client: Client) -> bool:
        """Whether `wait_for_all` was called for this request; from now on one byte is waited for again."""
        if not client.partial:
            return False
        client.partial = False
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        return True

    def busy(self, client: Client) -> None:
        """The client is being answered: until that is done it is not idle."""
        client.answered = True
        self._idle.pop(client, None)
        self._watch(client)

    def _watch(self, client: Client) -> None:
        if not client.watched:
            client.watched = True
            self._selector.register(client.socket, selectors.EVENT_READ, client)

    def forget(self, client: Client) -> None:
        """Watches the client no more: its socket is somebody else's, or `wait_for` will be called again."""
        self._idle.pop(client, None)
        if client.watched:
            client.watched = False
            self._selector.unregister(client.socket)

    def drop(self, client: Client) -> None:
        self.forget(client)
        client.socket.close()

    def hand_over(self, client: Client, unsent: bytes = b"") -> None:
        """Gives the client to Tornado, which first sends the rest of an answer; without one, in its turn."""
        self.forget(client)
        if unsent:
            self.take(client.socket, client.address, unsent)
        elif self.turns.waiting(client.address[0]) >= MOST_WAITING:  # each has a file open
            self.refused.tell("%d requests of one address wait, and it sends more", MOST_WAITING)
            self.drop(client)
        else:
            begin = partial(self.take, client.socket, client.address, turn=client.turn)
            self.turns.wait(client.address[0], begin)

    def makes_room(self) -> bool:
        """Of the address that has most idle connections, the half is closed that was idle for longest."""
        idle: dict[str, list[Client]] = {}
        for client in self._idle:
            if not client.due:
                idle.setdefault(client_of(client.address[0]), []).append(client)
        most = max(idle.values(), key=len, default=[])
        for client in most[: (len(most) + 1) // 2]:
            self.drop(client)
        return bool(most)

    def take(self, sock: socket.socket, *given: Any, **named: Any) -> bool:
        if self._ended:  # and nothing more begins: to serve thousands would take longer than we have
            sock.close()
            return False
        return super().take(sock, *given, **named)

    def waited(self, client: Client) -> tuple[float, bool]:
        """For how many seconds at most the request has waited, and whether its client is known to have gone.

        What the selector reports has come since it was asked the time before. The kernel is asked if that was
        long ago, and for clients that the selector did not watch.
        """
        now = self._loop.time()
        if client.turn is Turn.DUE and client.watched and now - client.told < LATE:
            return now - client.told, False
        seconds, gone = waited(client.socket)
        return min(seconds, now - client.since) if client.turn is Turn.DUE else seconds, gone

    def pause(self, client: Client) -> None:
        """Waits for the client's next request: at once if there is room for it, else after UNSEEN seconds."""
        if self.shedding.lets_in():
            return self.wait_for(client)
        self.forget(client)
        if not self._going_on:
            self._going_on = True
            self._loop.call_later(PAUSES, self._go_on)
        client.since = self._loop.time() + UNSEEN
        self._paused.append(client)

    def _go_on(self) -> None:
        """Looks at clients whose pause is over, or nearly; and at others, if there is room for them."""
        self._going_on = bool(self._paused)
        if not self._going_on:  # the server has ended, or nobody pauses any more
            return
        if not self._due:
            self._ready()
        most = more = min(RESUMED_AT_ONCE, self.shedding.room)
        now = self._loop.time()
        evenly = len(self._paused) * PAUSES / UNSEEN
        while self._paused:
            left = self._paused[0].since - now
            if more <= 0 and left > (SPREAD if evenly > 0 else 0):
                break
            more, evenly = more - 1, evenly - 1
            client = self._paused.popleft()
            client.turn = Turn.EARLY
            self.look(client)
        soon = more <= 0 and most == RESUMED_AT_ONCE  # there is room for others
        self._loop.call_later(0 if soon else PAUSES, self._go_on)

    def _tick(self) -> None:
        self._idle_timer = self._loop.call_later(TICK, self._tick)
        since = self._loop.time() - self._patience
        for client in list(takewhile(lambda client: client.since < since, self._idle)):
            # Not those that have sent something: while the process was frozen, or since the kernel was asked.
            if not client.due and (client.partial or not peeked(client.socket, 1)):
                self.drop(client)

    async def close_all_connections(self) -> None:
        self._idle_timer.cancel()
        self._ended = True
        self.turns.end()
        watched = [key.data for key in self._selector.get_map().values()]
        for client in [*self._paused, *watched]:
            self.drop(client)
        self._paused.clear()
        self._loop.remove_reader(self._selector)
        self._selector.close()
        self._arrivals.close()
        await super().close_all_connections()
