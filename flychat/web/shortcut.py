"""The shortcut: plain requests, which nearly all are, are answered without Tornado.

For each request Tornado makes a stream, a parser, a coroutine, a request and a handler. That is most of the
work of an ordinary chat: ten times what it takes to read, store, deliver and answer a message, or to let a
client in after a restart.

So when bytes arrive on a connection they are peeked at: read, and left in the kernel. If they are one whole,
plain request (plain.py) that is not to be refused, they are consumed and answered here: a message is stored,
a stream is held, or its proxy told how to hold it (held.py). All else goes to Tornado, with an untouched
socket, so that what is refused, and in which order, is written in one place: the handlers. Only what goes
wrong after a request was consumed (a message is not stored, a stream cannot be planned) is answered here,
with the same Problem.

Browsers and proxies often send a head first, and its body a little later. If the head is plain, the kernel is
asked to report when all is there.

    accept --> peek --> plain? --> a stream: held, with its connection
                 ^        | no \
                 |        v      > all else: answered, peeked at again
                 +---- Tornado    it gives a connection back whose next request is plain
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ..errors import FlychatError, Overloaded
from ..fields import new_ids
from ..messages import Draft, Message
from ..streams import RECOVERY_PATH, StreamPlan
from .accepting import Client
from .application import BaseApplication
from .base import POSTS, readable_by
from .clients import PEEK_BYTES, ClientListener
from .cold_rooms import Asked, ColdRooms
from .forms import read_fields
from .heads import Heads, refusal, with_body
from .listener import Connection, taken_from
from .messages import again
from .plain import (
    Plain,
    PlainPost,
    PlainStream,
    begun_post,
    is_whole_post,
    keeps_alive,
    origin_of,
    plain_request,
)
from .posted import log_post
from .problems import Problem, problem_of
from .rate import cost_of
from .shedding import SHED, Turn

TORNADOS = 256  # idle connections that stay with Tornado, where each takes 10 kB more than here
IDS = 64  # provisional ids that are made at once
POSTED = POSTS.labels("200")
SHED_GONE, SHED_REFUSED = SHED.labels("gone"), SHED.labels("refused")


class Shortcut(ClientListener):
    """The HTTP server of an application. A subclass knows who holds its streams, and `hub_holds` does it."""

    pauses = True  # whether a refused connection pauses: not one of a proxy, which many clients share
    memory = True  # whether what is read for a stream is then in memory

    def initialize(  # type: ignore[override]
        self, application: BaseApplication, *args: Any, hold: Callable[..., None], **kwargs: Any
    ) -> None:
        super().initialize(application, *args, shedding=application.shedding, **kwargs)
        self.application, self.hub_holds = application, hold
        self.base = application.paths.base
        self.cold_rooms = ColdRooms(application, self.hold, self.refuse, self.drop, memory=self.memory)
        self._heads = Heads.at(0)
        self._ids: list[str] = []  # for messages without a provisional id

    def plain(self, data: bytes) -> Plain | None:
        """What these bytes ask for, if that is answered here."""
        return plain_request(data, self.base)

    def stream(self, client: Client, plain: PlainStream, size: int, address: str) -> bool:
        """Has the stream planned, now or when its log is read; False: nothing was done, it is for Tornado."""
        raise NotImplementedError

    def hold(self, plan: StreamPlan, asked: Asked) -> None:
        """Answers with the plan."""
        raise NotImplementedError

    def refuse(self, error: FlychatError, asked: Asked) -> None:
        """Answers with the error: there is no plan."""
        request, paths = asked.plain.request, self.application.paths
        path = paths.base + RECOVERY_PATH if request.recover else paths.messages(request.room)
        stays = keeps_alive(asked.plain.headers)
        if self.send(asked.client, self._problem(problem_of(error), "GET", path, stays=stays)):
            (self.wait_for if stays else self.drop)(asked.client)

    def consume(self, client: Client, size: int) -> bool:
        """Consumes the request; False: its client has gone."""
        try:
            client.socket.recv(size)
        except OSError:
            self.drop(client)
            return False
        return True

    def diverts(self, connection: Connection, *, begins: bool) -> bool:
        if self.application.draining or connection.may_read:
            return False
        if connection.queued:
            return True
        if not begins:  # more of a request: each byte may come by itself
            return not self.turns.take() and self._puts_off(connection)
        try:
            data = connection.socket.recv(PEEK_BYTES, socket.MSG_PEEK)
        except OSError:
            ours = len(self._connections) > TORNADOS
        else:
            ours = self.plain(data) is not None or self._begun(data) > 0
            if not ours and not self.turns.take():
                return self._puts_off(connection)
        if ours:
            self._loop.call_soon(self._take_back, connection)
        return ours

    def _puts_off(self, connection: Connection) -> bool:
        connection.queued = True
        self._loop.call_soon(self._put_off, connection)
        return True

    def _put_off(self, connection: Connection) -> None:
        connection.look_away()
        self.turns.wait(connection.address[0], connection.look_again)

    def _take_back(self, connection: Connection) -> None:
        if not connection.closed():
            client = Client(taken_from(connection), connection.address)
            client.turn = Turn.DUE
            self.look(client)

    async def turn(self, connection: Connection) -> None:
        come = asyncio.Event()
        self.turns.wait(connection.address[0], come.set)
        await come.wait()

    def serve(self, client: Client, data: bytes) -> None:
        if not self.waited_for_all(client):
            return self._serve(client, data)
        self._serve(client, data, begun=True)
        if client.posted is None:
            self.application.end(client)
        return None

    def _serve(self, client: Client, data: bytes, *, begun: bool = False) -> None:
        if data.startswith(b"POST"):
            seconds, gone = self.waited(client)
            if self.shedding.refuses(seconds, client.turn) and self._shed(client, data, gone=gone):
                return
            if client.turn is Turn.EARLY:
                return self.wait_for(client)
        plain = None if self.application.draining and not begun else self.plain(data)
        if plain is None and not begun and (size := self._begun(data)):
            self.application.begin(client)
            self.wait_for_all(client, size)
        elif plain is None or not self._answers(client, plain, len(data)):
            self.hand_over(client)

    def drop(self, client: Client) -> None:
        if client.partial:
            self.application.end(client)
        super().drop(client)

    def _begun(self, data: bytes) -> int:
        return 0 if self.application.draining else begun_post(data, PEEK_BYTES, self.base)

    def _shed(self, client: Client, data: bytes, *, gone: bool) -> bool:
        """Refuses a POST as cheaply as can be; False if it is unusual, and Tornado has to."""
        if gone:
            SHED_GONE.inc()
            self.drop(client)
            return True
        if not is_whole_post(data, self.base):
            return False
        SHED_REFUSED.inc()
        if self.consume(client, len(data)) and self.send(client, self._shed_answer(data)):
            (self.pause if self.pauses else self.wait_for)(client)
        return True

    def _shed_answer(self, data: bytes) -> bytes:
        heads, listed = self.heads(), self.application.cors_origins
        if not listed or (origin := origin_of(data)).lower() not in listed:
            return heads.shed
        return refusal(problem_of(Overloaded()), heads.second, {**readable_by(origin), "Vary": "Origin"})

    async def close_all_connections(self) -> None:
        self.cold_rooms.close()
        await super().close_all_connections()

    def _answers(self, client: Client, plain: Plain, size: int) -> bool:
        """Answers a request of `size` bytes; False if that is not for here: then nothing was done."""
        if not self.application.access.anybody_may(plain.room, plain.right, plain.headers):
            return False
        address = self.application.address_of(plain.headers, client.address[0])
        if isinstance(plain, PlainPost):
            return self._post(client, plain, size, address)
        return self.stream(client, plain, size, address)

    def _post(self, client: Client, plain: PlainPost, size: int, address: str) -> bool:
        application = self.application
        if plain.origin and plain.origin in application.cors_origins:  # it is to be named in the answer
            return False
        try:
            fields, _ = read_fields(plain.content_type, plain.body)
            if "removes" in fields:
                return False
            draft = Draft.create(plain.room, fields, now=time.time(), new_id=self._new_id)
            if not application.chat.is_new(draft):
                return False
        except FlychatError:
            return False
        if application.rate_limit.wait(address, time.monotonic(), cost_of(len(plain.body))):
            return False
        if not self.consume(client, size):
            return True
        self.busy(client)
        application.begin(client)
        client.posted = draft
        application.chat.submit(
            draft, partial(application.charge, address), partial(self._stored, client, address, fields)
        )
        return True

    def _new_id(self) -> str:
        self._ids = self._ids or new_ids(IDS)
        return self._ids.pop()

    def interrupted(self, client: Client, *, gone: bool) -> None:
        if not gone or client.posted is None:  # its next request has to wait; a stream finds out in the end
            return self.forget(client)
        self.application.chat.log.withdraw(client.posted)
        return self.drop(client)

    def _stored(
        self, client: Client, address: str, fields: dict[str, Any], stored: asyncio.Future[Message]
    ) -> None:
        """The message is stored, or is not: the client is told, if it is still there."""
        self.application.end(client)
        draft, client.posted = client.posted, None
        if draft is not None and self.application.log_posts:
            log_post(draft, address, None if stored.exception() else stored.result())
        if client.socket.fileno() < 0 or draft is None:
            return None
        if (error := stored.exception()) is None:
            POSTED.inc()
            body = stored.result().json
            answer = with_body(self.heads().message, body)
        else:
            answer = self._refusal(error, draft.room, fields)
        if self.send(client, answer):
            self.wait_for(client)
        return None

    def send(self, client: Client, answer: bytes) -> bool:
        """Sends the answer; False if it is not out: then Tornado sends the rest, or the client has gone."""
        try:
            sent = client.socket.send(answer)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.drop(client)
            return False
        if sent < len(answer):
            self.hand_over(client, answer[sent:])
        return sent == len(answer)

    def _refusal(self, error: BaseException, room: str, fields: dict[str, Any]) -> bytes:
        """As BaseHandler.write_error."""
        problem = problem_of(error, again=again(fields))
        POSTS.labels(str(problem.status)).inc()
        return self._problem(problem, "POST", self.application.paths.messages(room))

    def _problem(self, problem: Problem, method: str, path: str, *, stays: bool = True) -> bytes:
        more = {} if stays else {"Connection": "close"}
        if problem.ours and (id := self.application.failed(method, path, problem)):
            more["X-Request-Id"] = id
        return refusal(problem, int(time.time()), more)

    def heads(self) -> Heads:
        if self._heads.second != (now := int(time.time())):
            self._heads = Heads.at(now)
        return self._heads
