"""How bytes leave: connections off Tornado's request machinery, fed from one backlog per audience.

A held connection costs its socket and a cursor: no task, no queue. Publishing encodes nothing: a block is
framed once for each audience (in chunks for HTTP/1.1, bare for HTTP/1.0) and appended to its backlog. Then a
pass over the audience sends each connection, in one `send`, everything between its cursor and the end. Blocks
that come during a pass go out with it, or in the next one. A pass begins one turn of the loop after its first
block, or two turns if more blocks have come by then: with a store in memory, the official event comes so soon
that it leaves in one `send` with the provisional one, after the answer to its POST.

A connection whose socket is full lags:

    backlog   [ block ][ block ][ block ][ block ]
               start                 ^cursor      end = the cursor of all who keep up

Its cursor stays where it is, the selector tells when it can take more, and it catches up from the shared
backlog, never from a copy. It is cut when the backlog, of BACKLOG_BYTES, starts behind its cursor, when it
took nothing for STALL seconds, or when its audience is fed while all backlogs have BACKLOGS_BYTES. Only what
is for one client, a plan, waits in its `owed`: a place among the messages' own blocks, so that a thousand who
do not read cost what one does. A stream that is cut has no last chunk: HTTP/1.1 tells it from an ended one.

The loop has its turn again after SLICE connections or TURN_BYTES, whichever is first. To one client no more
than SEND_BYTES of a plan, or of the backlog that it lags behind, are sent in a turn. The selector is one of
our own, which the event loop watches as a single file: a registration there costs less than a reader.
"""

from __future__ import annotations

import asyncio
import errno
import selectors
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from socket import socket as Socket

import prometheus_client

from ..soon import Soon
from .waiting import LAST_CHUNK, NOWHERE, Backlog, Backlogs, Owed, bare, chunk, owed_bytes

BACKLOG_BYTES, BACKLOGS_BYTES = 1 << 20, 16 << 20  # kept for those that lag: by an audience; by all together
SLICE, TURN_BYTES = 128, 1 << 20  # connections served, and bytes sent, in one turn of the loop
MANY, GATHER = 500, 0.002  # from 500 members on a pass begins 2 ms late: SQLite has the message by then
STALL = 30.0  # seconds without taking a byte until a lagging connection is cut
OWED_BYTES, HURRY = 32 << 20, 0.5  # where over 32 MiB of plans wait for clients, STALL is half a second

HELD = prometheus_client.Gauge("flychat_streams", "Streams that are held in this process")
LAGGING = prometheus_client.Gauge("flychat_streams_lagging", "Of these, those whose clients cannot keep up")
_ENDED = prometheus_client.Counter("flychat_streams_ended", "Streams that ended here, and why", ["why"])
WHYS = ("left", "behind", "stalled", "drained", "expired", "revoked", "private", "unsure")
ENDED = {why: _ENDED.labels(why) for why in WHYS}
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


@dataclass(eq=False, slots=True)
class Hold:
    """One held connection."""

    socket: Socket
    client: str
    audience: Audience | None  # None once it is closed
    cursor: int = NOWHERE  # its place in its audience's backlog, in bytes since the beginning
    owed: tuple[Owed, ...] = ()
    lagging: bool = False
    took: float = 0.0  # when it last took bytes, loop time; kept while it lags

    @property
    def closed(self) -> bool:
        return self.audience is None


class Audience:
    """The connections that are sent the same bytes. `left` is called with one that has gone."""

    def __init__(
        self, connections: Connections, left: Callable[..., None], *, chunked: bool, live: bool = True
    ) -> None:
        self.chunked, self.live = chunked, live
        self.frame, self.last = (chunk, LAST_CHUNK) if chunked else (bare, b"")
        self.members: dict[Hold, None] = {}
        self.backlog = Backlog(connections.backlogs)
        self._connections, self._loop, self._left = connections, connections.loop, left
        self._passing = False

    def join(self, held: Hold) -> None:
        """From now on `held` is sent what is fed."""
        held.cursor = self.backlog.end
        self.members[held] = None

    def leave(self, held: Hold) -> None:
        self.members.pop(held, None)
        if not self.members:  # nothing is fed any more, so no pass would trim it
            self.backlog.trim(self.backlog.end, 0)
        self._left(held)

    def feed(self, block: bytes) -> None:
        """Has the block sent to every member, soon."""
        if not self.members:
            return
        self.backlog.append(self.frame(block))
        if not self._passing:
            self._passing = True
            if len(self.members) < MANY:
                self._connections.soon(partial(self._begin_pass, self.backlog.end))
            else:
                self._loop.call_later(GATHER, self._begin_pass)

    def _begin_pass(self, first: int = NOWHERE) -> None:
        if self.backlog.end > first and not self._connections.soon.late:  # more has come since
            self._connections.then(self._begin_pass)
        else:
            self._pass(list(self.members), 0, self.backlog.end)

    def _pass(self, members: list[Hold], at: int, upto: int) -> None:
        """Serves a slice of the members, then has itself called for the next one."""
        backlog, send = self.backlog, self._connections.send
        end, common, data, given = backlog.end, backlog.end, b"", 0
        for held in members[at : at + SLICE]:
            if given > TURN_BYTES:
                break
            at += 1
            cursor = held.cursor
            if cursor == end or held.lagging or held.audience is None:
                continue
            if cursor != common:  # nearly all have the same cursor: their bytes are joined once
                common, data = cursor, backlog.read(cursor)
            sent = send(held, data)
            held.cursor = end if sent == len(data) else cursor + sent
            given += sent
        if at < len(members):
            self._loop.call_soon(self._pass, members, at, upto)
        else:
            self._end_pass(upto)

    def _end_pass(self, upto: int) -> None:
        needed = min([upto, *[held.cursor for held in self.members if held.lagging]])
        self.backlog.trim(needed, 0)
        if needed < upto:  # by those who lag: they are to have it if it can be kept
            can_be_kept = self._connections.backlogs.bytes <= BACKLOGS_BYTES
            self.backlog.trim(upto, BACKLOG_BYTES if can_be_kept else 0)
            for held in [each for each in self.members if each.lagging and each.cursor < self.backlog.start]:
                self._connections.cut(held, "behind")
        self._passing = self.backlog.end > upto
        if self._passing:
            self._loop.call_soon(self._begin_pass)


class Connections:
    """All held connections: sends, notices what closes, resumes what lags."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.soon, self.then = Soon(self.loop), Soon(self.loop)
        self._selector = selectors.DefaultSelector()
        self.backlogs = Backlogs()
        self._lagging: dict[Hold, None] = {}
        self._due: deque[tuple[selectors.SelectorKey, int]] = deque()
        self._number = 0  # of connections
        self.clients: Counter[str] = Counter()  # the number of connections of each address
        self.loop.add_reader(self._selector, self._ready)
        HELD.set_function(self.__len__)
        LAGGING.set_function(self._lagging.__len__)

    def __len__(self) -> int:
        return self._number

    def hold(self, sock: Socket, client: str, audience: Audience) -> Hold:
        """Takes over a connected, non-blocking socket, which is to join the audience. Raises OSError."""
        held = Hold(sock, client, audience)
        try:
            self._selector.register(sock, READ, held)
        except OSError:  # the kernel watches no more
            sock.close()
            audience.leave(held)
            raise
        self.clients[client] += 1
        self._number += 1
        return held

    def owe(self, held: Hold, head: bytes, parts: tuple[bytes, ...], size: int) -> None:
        """Sends the head and the parts, of `size` bytes, to this client, before what its audience is fed."""
        if (audience := held.audience) is None:
            return
        owed = Owed(audience.frame, head, parts, size)
        if not held.owed:
            data = owed.next()
            if owed.took(self.send(held, data), len(data)) or held.closed:
                return
            self._lag(held)
        held.owed += (owed,)

    def send(self, held: Hold, data: bytes | memoryview) -> int:
        """How many of the bytes were taken; if not all, `held` lags, or is closed."""
        try:
            sent = held.socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self.cut(held, _why(error))
            return 0
        if sent < len(data):
            self._lag(held)
        return sent

    def _lag(self, held: Hold) -> None:
        """From now on the selector tells when it can take more."""
        if not held.lagging:
            held.lagging, held.took = True, self.loop.time()
            self._lagging[held] = None
            self._selector.modify(held.socket, READ | WRITE, held)

    def cut(self, held: Hold, why: str) -> None:
        """Closes the connection and forgets all about it; what the kernel has taken is still delivered."""
        if (audience := held.audience) is None:
            return
        ENDED[why].inc()
        self._number -= 1
        self.clients[held.client] -= 1
        if not self.clients[held.client]:
            del self.clients[held.client]
        self._selector.unregister(held.socket)
        held.socket.close()
        held.owed = ()
        self._lagging.pop(held, None)
        held.audience = None
        audience.leave(held)

    def let_go(self, held: Hold, words: bytes, why: str) -> None:
        """Ends the stream, with last words where its socket has room for them; then cuts it."""
        if (audience := held.audience) is not None and not held.lagging:
            unsent = audience.backlog.read(held.cursor)
            self.send(held, unsent + audience.frame(words) + audience.last)
        self.cut(held, why)

    def cut_stalled(self) -> None:
        """Cuts what took nothing for STALL seconds. To be called now and then."""
        owed = owed_bytes(owed for held in self._lagging for owed in held.owed)
        patience = STALL if owed <= OWED_BYTES else HURRY
        for held in list(self._lagging):
            if self.loop.time() - held.took > patience:
                self.cut(held, "stalled")

    def close(self, farewell: Callable[[], bytes]) -> None:
        """Lets every connection go, with `farewell()` as its last words."""
        for key in list(self._selector.get_map().values()):
            self.let_go(key.data, farewell(), "drained")
        self.loop.remove_reader(self._selector)
        self._selector.close()

    def _ready(self) -> None:
        """Serves some connections that the selector reports; the loop calls again while there are more."""
        if not self._due:
            self._due.extend(self._selector.select(0))
        given = 0
        for _ in range(min(SLICE, len(self._due))):
            if given > TURN_BYTES:
                break
            key, events = self._due.popleft()
            held: Hold = key.data
            if events & READ and not held.closed:
                self._listen(held)
            if events & WRITE and held.lagging and not held.closed:
                given += self._catch_up(held)

    def _listen(self, held: Hold) -> None:
        """Drops what the client sends: streams go one way. If it has closed its side, so do we."""
        try:
            if not held.socket.recv(4096):
                self.cut(held, "left")
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.cut(held, _why(error))

    def _catch_up(self, held: Hold) -> int:
        """A lagging connection has room: sends what it is owed, else from the backlog. Returns bytes sent."""
        audience = held.audience
        assert audience is not None
        held.took = self.loop.time()
        if held.owed:
            owed = held.owed[0]
            sent = self.send(held, data := owed.next())
            if owed.took(sent, len(data)):
                held.owed = held.owed[1:]
        else:
            sent = self.send(held, audience.backlog.batch(held.cursor))
            held.cursor += sent
        if not held.owed and held.cursor >= audience.backlog.end and not held.closed:
            held.lagging = False
            del self._lagging[held]
            self._selector.modify(held.socket, READ, held)
        return sent


def _why(error: OSError) -> str:
    """A connection that took nothing is given up by us or by the kernel, whoever is first."""
    return "stalled" if error.errno == errno.ETIMEDOUT else "left"
