"""How bytes leave: connections off Tornado's request machinery, fed from one backlog per audience.

What a connection costs while it is held is its socket and a cursor. Publishing encodes nothing: a block is
appended to the audience's backlog, and a pass sends each connection, in one `send`, everything between its
cursor and the end. Blocks that come while a pass is under way go out with it, or in the next one. A pass over
many connections is cut into slices, so that the loop stays responsive; no task and no queue per client.

A connection whose socket is full lags: its cursor stays where it is, the selector tells when it can take
more, and it catches up from the shared backlog, never from a copy. It is cut when the backlog has moved past
its cursor, or when it took nothing for STALL seconds; the client comes back with its last event id. Only what
was for this client, the plan that opened or mended its stream, waits in `owed`, as parts of the plan's bytes.

The selector is one of our own, which the event loop watches as a single file: a registration there is a
fraction of what a reader of the loop costs in time and memory.
"""

from __future__ import annotations

import asyncio
import errno
import selectors
import socket
from collections import Counter, deque
from collections.abc import Callable

import prometheus_client

BACKLOG_BYTES = 1 << 20  # kept for those that lag
SLICE = 128  # connections served before the loop has a turn
MANY, GATHER = 500, 0.002  # so many wait so long (seconds) for what else comes, before a pass begins
STALL = 30.0  # seconds without taking a byte until a lagging connection is cut

HELD = prometheus_client.Gauge("flychat_streams", "Streams that are held in this process")
LAGGING = prometheus_client.Gauge("flychat_streams_lagging", "Of these, those whose clients cannot keep up")
_ENDED = prometheus_client.Counter("flychat_streams_ended", "Streams that ended here, and why", ["why"])
ENDED = {why: _ENDED.labels(why) for why in ("left", "behind", "stalled", "drained")}

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Held:
    """One connection. `cursor` is its place in its audience's backlog, in bytes since the beginning."""

    __slots__ = ("audience", "client", "cursor", "lagging", "owed", "socket", "took")

    def __init__(self, sock: socket.socket, client: str) -> None:
        self.socket = sock
        self.client = client
        self.audience: Audience | None = None
        self.cursor = 0
        self.owed: tuple[memoryview, ...] = ()
        self.lagging = False
        self.took = 0.0  # when it last took bytes, loop time; kept while it lags

    @property
    def closed(self) -> bool:
        return self.socket.fileno() < 0


class Backlog:
    """The newest blocks of bytes, addressed by their offset since the beginning."""

    def __init__(self) -> None:
        self.start = self.end = 0
        self._blocks: deque[bytes] = deque()

    def append(self, block: bytes) -> None:
        self._blocks.append(block)
        self.end += len(block)

    def read(self, offset: int) -> bytes:
        """All there is from `offset` on. Looks from the end, where nearly everybody reads."""
        pieces, at = [], self.end
        for block in reversed(self._blocks):
            if at <= offset:
                break
            at -= len(block)
            pieces.append(block[offset - at :] if at < offset else block)
        return b"".join(reversed(pieces))

    def trim(self, upto: int, keep: int) -> None:
        """Drops blocks that end at or before `upto`, while there are more than `keep` bytes."""
        while self._blocks and self.end - self.start > keep and self.start + len(self._blocks[0]) <= upto:
            self.start += len(self._blocks.popleft())


class Audience:
    """The connections that are sent the same blocks."""

    def __init__(self, holder: Holder) -> None:
        self.members: dict[Held, None] = {}
        self.backlog = Backlog()
        self._holder = holder
        self._passing = False

    def join(self, held: Held) -> None:
        """From now on `held` is sent what is fed."""
        held.cursor = self.backlog.end
        held.audience = self
        self.members[held] = None

    def leave(self, held: Held) -> None:
        del self.members[held]

    def feed(self, block: bytes) -> None:
        """Has the block sent to every member, soon."""
        self.backlog.append(block)
        if not self._passing:
            self._passing = True
            loop = asyncio.get_running_loop()
            if len(self.members) < MANY:
                loop.call_soon(self._begin_pass)
            else:  # what is provisional now is official in a moment: one send for both
                loop.call_later(GATHER, self._begin_pass)

    def _begin_pass(self) -> None:
        self._pass(list(self.members), 0, self.backlog.end)

    def _pass(self, members: list[Held], at: int, upto: int) -> None:
        """Serves a slice of the members, then has itself called for the next one."""
        backlog, send = self.backlog, self._holder.send
        end, common, data = backlog.end, backlog.end, b""
        for held in members[at : at + SLICE]:
            cursor = held.cursor
            if cursor == end or held.lagging or held.audience is None:
                continue
            if cursor != common:  # nearly all have the same cursor: their bytes are joined once
                common, data = cursor, backlog.read(cursor)
            sent = send(held, data)
            held.cursor = end if sent == len(data) else cursor + sent
        if at + SLICE < len(members):
            asyncio.get_running_loop().call_soon(self._pass, members, at + SLICE, upto)
        else:
            self._end_pass(upto)

    def _end_pass(self, upto: int) -> None:
        lagging = [held for held in self.members if held.lagging]
        self.backlog.trim(upto, BACKLOG_BYTES if lagging else 0)
        for held in lagging:
            if held.cursor < self.backlog.start:
                self._holder.cut(held, "behind")
        self._passing = self.backlog.end > upto
        if self._passing:
            asyncio.get_running_loop().call_soon(self._begin_pass)


class Holder:
    """All held connections: sends, notices what closes, resumes what lags."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._selector = selectors.DefaultSelector()
        self._lagging: dict[Held, None] = {}
        self.clients: Counter[str] = Counter()  # connections of each
        self._loop.add_reader(self._selector, self._ready)
        HELD.set_function(self.__len__)
        LAGGING.set_function(self._lagging.__len__)

    def __len__(self) -> int:
        return len(self._selector.get_map() or ())

    def hold(self, sock: socket.socket, client: str) -> Held:
        """Takes over a connected, non-blocking socket."""
        self.clients[client] += 1
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # a peer that vanished is noticed as one that stalls
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STALL * 1000))
        held = Held(sock, client)
        self._selector.register(sock, READ, held)
        return held

    def owe(self, held: Held, *parts: bytes) -> None:
        """Sends the parts to this client, before all that its audience is fed.

        What it cannot take yet is not copied: many may be owed the same parts.
        """
        sent = 0 if held.owed or held.closed else self.send(held, b"".join(parts))
        for piece in parts:
            if sent < len(piece) and not held.closed:
                held.owed += (memoryview(piece)[sent:],)
            sent = max(0, sent - len(piece))

    def send(self, held: Held, data: bytes | memoryview) -> int:
        """How many of the bytes were taken; if not all, `held` lags, or is closed."""
        try:
            sent = held.socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self.cut(held, _why(error))
            return 0
        if sent < len(data) and not held.lagging:
            held.lagging, held.took = True, self._loop.time()
            self._lagging[held] = None
            self._selector.modify(held.socket, READ | WRITE, held)
        return sent

    def cut(self, held: Held, why: str) -> None:
        """Closes the connection and forgets all about it; what the kernel has taken is still delivered."""
        if held.closed:
            return
        ENDED[why].inc()
        self.clients[held.client] -= 1
        if not self.clients[held.client]:
            del self.clients[held.client]
        self._selector.unregister(held.socket)
        held.socket.close()
        held.owed = ()
        self._lagging.pop(held, None)
        if (audience := held.audience) is not None:
            held.audience = None
            audience.leave(held)

    def cut_stalled(self) -> None:
        """Cuts what took nothing for STALL seconds. To be called now and then."""
        for held in list(self._lagging):
            if self._loop.time() - held.took > STALL:
                self.cut(held, "stalled")

    def close(self, farewell: Callable[[], bytes]) -> None:
        """Lets every connection go, with last words where there is room for them."""
        for key in list(self._selector.get_map().values()):
            held: Held = key.data
            if not held.lagging:
                unsent = held.audience.backlog.read(held.cursor) if held.audience else b""
                self.send(held, unsent + farewell())
            self.cut(held, "drained")
        self._loop.remove_reader(self._selector)
        self._selector.close()

    def _ready(self) -> None:
        for key, events in self._selector.select(0):
            held: Held = key.data
            if events & READ and not held.closed:
                self._listen(held)
            if events & WRITE and not held.closed:
                self._catch_up(held)

    def _listen(self, held: Held) -> None:
        """A client has nothing more to say: what it sends is dropped, and its end is ours."""
        try:
            if not held.socket.recv(4096):
                self.cut(held, "left")
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.cut(held, _why(error))

    def _catch_up(self, held: Held) -> None:
        """A lagging connection has room: first what it is owed, then the backlog from its cursor."""
        held.took = self._loop.time()
        while held.owed:
            piece, *others = held.owed
            rest = piece[self.send(held, piece) :]
            if held.closed:
                return
            held.owed = (rest, *others) if rest else tuple(others)
            if rest:
                return
        if (audience := held.audience) is not None and held.cursor < audience.backlog.end:
            held.cursor += self.send(held, audience.backlog.read(held.cursor))
            if held.closed or held.cursor < audience.backlog.end:
                return
        held.lagging = False
        del self._lagging[held]
        self._selector.modify(held.socket, READ, held)


def _why(error: OSError) -> str:
    """A connection that took nothing is given up by us or by the kernel, whoever is first."""
    return "stalled" if error.errno == errno.ETIMEDOUT else "left"
