"""A room's messages: streamed, paged, posted; and what a GRIP proxy recovers of them."""

from __future__ import annotations

import contextlib
import socket
import time
from asyncio import Future
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote, unquote

from prometheus_client import Counter
from tornado.http1connection import HTTP1Connection
from tornado.web import stream_request_body

from .. import errors, streams
from ..access import READ, UNSURE, WRITE, Pass
from ..errors import Invalid
from ..fields import new_id, room_name, sender_name
from ..hub import Recovery
from ..messages import Draft
from ..sse import read_position
from .forms import read_fields
from .listener import taken_from
from .rate import cost_of
from .removals import remove
from .rights import RightsHandler
from .texts import without_blank_lines

BODY_BYTES = 65_536
DISCARDED_BYTES = 8 << 20  # of a body over the limit are read, so that the client gets to see the answer
USER_HEADER = "Flychat-User"  # percent-encoded: the user that a message is to be stored under, or not at all
PAGE_LIMIT = 200  # messages that one request into the past is given at the most
REFUSED = Counter("flychat_recoveries_refused", "Recoveries of holds without a right any more", ["reason"])


class StreamHandler(RightsHandler):
    """Answers a request for a stream: what the hub's port calls a Response."""

    _pass: Pass | None = None  # of the hold

    async def stream(self, request: streams.StreamRequest, pass_: Pass | None = None) -> None:
        """Answers with a stream, whose hold carries the pass. Raises Unproxied, Unavailable."""
        if not self.visitor.proxied:
            wrong = self.application.warn_bypassed(self.request.headers)
            where = f"ask for it at {self.application.proxy_address}"
            raise errors.Unproxied(wrong or f"this server does not hold streams: {where}")
        self.set_headers(streams.STREAM_HEADERS)
        self.keep_private()
        self.allow_origin()
        self._pass = pass_
        if self.request.method != "HEAD":
            client = self.visitor.address
            plan = self.chat.plan_at_once(request, client)
            if plan is None:
                plan = await self.reading(partial(self.chat.plan, request, client))
            self.chat.hold(plan, self, client, pass_)

    @property
    def asked(self) -> float:
        return time.monotonic() - self.request.request_time()

    def send(self, headers: Mapping[str, str], body: bytes) -> None:
        if not self._end_if_over():
            self.set_headers(headers)
            self.write(body)

    def take(self) -> tuple[socket.socket, bytes, bool] | None:
        if self._end_if_over():
            return None
        chunked = self.request.version != "HTTP/1.0"
        new = getattr(self, "_new_cookie", {}).values()  # which Tornado would add when it writes the head
        cookies = [("Set-Cookie", cookie.OutputString(None)) for cookie in new]
        head = streams.answer_head([*self._headers.get_all(), *cookies], chunked=chunked)
        stream = self.detach()
        if stream is None or stream.closed():
            return None
        return taken_from(stream), head, chunked

    def _end_if_over(self) -> bool:
        """Answers with the end, if the right has ended while the plan was made; says whether it has."""
        if self._pass is None or self.room is None:
            return False
        reason = self.application.access.ended(self.room, self._pass, time.time())
        if reason is None or reason == UNSURE:  # of which the hub takes care
            return False
        self.write(streams.stream_end(reason).encode())
        return True


@stream_request_body
class MessagesHandler(StreamHandler):
    """A room's messages: streamed, paged, posted."""

    def initialize(self) -> None:
        self._body = bytearray()
        self._fields: dict[str, Any] = {}
        self._read: tuple[dict[str, Any], bool] | None = None

    def prepare(self) -> None:
        super().prepare()
        connection = self.request.connection
        assert isinstance(connection, HTTP1Connection)
        connection.set_max_body_size(DISCARDED_BYTES)
        if (read_position(self.request.headers.get("Content-Length")) or 0) > DISCARDED_BYTES:
            raise errors.TooLarge(f"a body has at most {BODY_BYTES} bytes")

    def data_received(self, chunk: bytes) -> None:
        if len(self._body) <= BODY_BYTES:
            self._body += chunk

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self._body = bytearray()
        self.request._body_future = Future()  # the one before has an error that leads back to us

    async def get(self, name: str) -> None:
        room = self.room = room_name(name)
        await self.require(room, READ)
        if self.accepts("text/event-stream"):
            given = self.request.query_arguments.get("lastEventId", [])
            positions = [value.decode("latin-1") for value in given]
            provisional = self._provisional()
            request = streams.read_request(room, self.request.headers, positions, provisional=provisional)
            await self.stream(request, self.application.access.pass_of(self.visitor.token, room))
        else:
            self.admit_in_time()
            before, after, limit = self._number("before"), self._number("after", 0), self._number("limit")
            if before is not None and after is not None:
                raise Invalid("after", "must not come with before")
            limit = streams.HISTORY if limit is None else min(limit, PAGE_LIMIT)
            page = await self.read(room, before, after, limit)
            self.set_header("Cache-Control", "no-cache")
            self.set_header("Vary", "Accept")
            self.keep_private()
            self.allow_origin()
            self._write(page, "before" if after is None else "after")

    head = get

    def _write(self, page: streams.Page, onward: str) -> None:
        """As JSON, of the messages' own texts."""
        messages = b",".join([message.json[:-1] for message in page.messages])
        more = "" if page.more is None else f',"{onward}":{page.more}'
        self.write_line(b'{"messages":[%b],"lastEventId":%d%b}\n' % (messages, page.last_id, more.encode()))

    async def post(self, name: str) -> None:
        room = self.room = room_name(name)  # first: a form that is refused is shown again, with its text
        self.admit_in_time()
        if not self.allow_origin():
            raise errors.Forbidden("this origin may not post here")
        self.admit(0)  # before anything is read of the body, which may take as long as all the rest
        if (removal := self._removal()) is not None:
            return self.write_line((await remove(self, room, removal)).json)
        self.admit(cost_of(len(self._body)))
        await self.require(room, WRITE)
        if len(self._body) > BODY_BYTES:
            raise errors.TooLarge(f"a body has at most {BODY_BYTES} bytes")
        self._fields, is_form = self._read_fields()
        by_page = is_form and self.accepts("text/html")
        if by_page and isinstance(self._fields.get("text"), str):
            text = self._fields["text"].replace("\r\n", "\n")
            self._fields["text"] = without_blank_lines(text)
        who = self.identity
        user, named = (None, None) if who is None else (who.sub, who.name)
        if (meant := self.request.headers.get(USER_HEADER)) and unquote(meant) != user:
            raise errors.Unauthorized  # the page was opened in another session, which has ended
        draft = Draft.create(room, self._fields, now=time.time(), user=user, name=named)
        searched = partial(self.application.charge, self.visitor.client)
        message = await self.while_here(self.chat.post(draft, searched, self.logged(draft)))
        if by_page:
            remembered = message.sender in (self.visitor.name, named)
            query = "" if remembered else "?user=" + quote(message.sender, safe="")
            self.redirect(self.paths.room(draft.room) + query, status=303)
        else:
            self.write_line(message.json)
        return None

    def _removal(self) -> dict[str, Any] | None:
        """The fields of a POST that asks for messages to be removed."""
        with contextlib.suppress(errors.Refused):
            if len(self._body) <= BODY_BYTES:
                fields, is_form = self._read_fields()
                if not is_form and fields.get("removes") is not None:
                    return fields
        return None

    def _read_fields(self) -> tuple[dict[str, Any], bool]:
        if self.request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise errors.Unsupported("the body must not be compressed")
        if self._read is None:
            self._read = read_fields(self.request.headers.get("Content-Type", ""), bytes(self._body))
        return dict(self._read[0]), self._read[1]

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        if not self.request._body_future.done():  # then Tornado closes the connection, and does not say so
            self.set_header("Connection", "close")
        super().write_error(status_code, **kwargs)

    def again(self) -> str:
        if self.request.method != "POST":
            return super().again()
        return again(self._fields)

    def form_again(self, error: object) -> dict[str, str] | None:
        """With its text, and to be recognised when it is sent again, unless this is what was wrong."""
        if self.room is None or len(self._body) > BODY_BYTES:
            return None
        with contextlib.suppress(errors.Refused):
            fields, is_form = self._read_fields()
            if is_form:
                form = {name: fields.get(name, "") for name in ("text", "provisionalId", "lastEventId")}
                used_up = isinstance(error, errors.Conflict | errors.TooOld)
                if used_up or not form["provisionalId"] or getattr(error, "field", "") == "provisionalId":
                    form |= {"provisionalId": new_id(), "lastEventId": ""}
                return {
                    **form,
                    "from": (self.identity and self.identity.name) or sender_name(fields.get("from", "")),
                    "action": self.paths.messages(self.room),
                }
        return None

    def options(self, name: str) -> None:
        self.preflight()

    def _provisional(self) -> bool:
        """Whether the stream is to have provisional events. Raises Invalid."""
        value = self.query_value("provisional")
        if value not in (None, "yes", "no"):
            raise Invalid("provisional", "must be yes or no")
        return value != "no"

    def _number(self, name: str, least: int = 1) -> int | None:
        value = self.query_value(name)
        number = read_position(value)
        if value is not None and (number is None or number < least):
            raise Invalid(name, f"must be a whole number from {least}")
        return number


def again(fields: Mapping[str, Any]) -> str:
    """How the sentence ends that asks to post the same again."""
    if fields.get("provisionalId") is not None:
        return "; nothing is sent twice."
    return ". Look first: the message may have been stored."


class RecoveryHandler(StreamHandler):
    """Where a GRIP proxy asks for what its holds have missed, in any room.

    There is one for those with provisional events and one for those without.
    """

    def initialize(self, read: Recovery, *, provisional: bool) -> None:
        self._read, self._provisional = read, provisional

    async def get(self) -> None:
        asked = self._read(self.request.headers.get_list("Grip-Last"))
        access = self.application.access
        if asked is None or not (self.visitor.vouched or access.all_public):
            raise errors.NotFound("this is for the GRIP proxy")
        self.room = asked.request.room
        if not access.is_public(self.room):
            await self.while_here(self.application.keeper.fresh(0))
        if reason := access.ended(self.room, asked.pass_, time.time()):
            self._refuse(reason)
        else:
            request = replace(asked.request, provisional=self._provisional)
            await self.stream(request, None if access.is_public(self.room) else asked.pass_)

    def _refuse(self, reason: str) -> None:
        """Ends the stream, with last words: at a 4xx the proxy would let its client wait, and ask again."""
        REFUSED.labels(reason).inc()
        self.set_headers(streams.STREAM_HEADERS)
        self.write(streams.stream_end(reason).encode())
