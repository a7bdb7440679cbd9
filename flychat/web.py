"""The web: requests in, answers out. A handler reads, calls the chat, answers.

Every error is raised as what it is, and becomes a status, a code and a text in one place
(`BaseHandler.send_error`): JSON for programs, a page for browsers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import re
import secrets
import time
import uuid
from collections.abc import Coroutine, Sequence
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlencode

import prometheus_client
from jinja2 import Environment, FileSystemLoader
from prometheus_client import Counter
from tornado import httputil
from tornado.http1connection import HTTP1Connection
from tornado.iostream import IOStream
from tornado.web import Application, Finish, HTTPError, RequestHandler, StaticFileHandler, stream_request_body

from . import errors, streams
from .chat import Chat
from .errors import FlychatError, Invalid
from .limits import RateLimit, client_behind, cost_of
from .logs import Seldom
from .messages import UNSEEN, Draft, Message, name_to_show, room_name, sender_name, wire_json
from .sse import read_position, to_json

BODY_BYTES = 65_536
DISCARDED_BYTES = 8 << 20  # of a body over the limit are read, so that the client gets to see the answer
PAGE_LIMIT = 200  # messages that one request into the past is given at the most
ROWS_BYTES = 7_780  # of markup in a room's page, so that the first load is small; the script loads the rest
SEARCHED_BYTES = 1  # that an id counts for where the store is searched: it is not sent, and not decoded
RETRY_AFTER = 2  # seconds
USER_COOKIE = "flychat_user"
COOKIE_DAYS = 365
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

DEFAULT_HEADERS = {
    "Server": "flychat",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
STATUSES: dict[type[FlychatError], tuple[HTTPStatus, str]] = {
    errors.Invalid: (HTTPStatus.BAD_REQUEST, "invalid"),
    errors.Rejected: (HTTPStatus.BAD_REQUEST, "rejected"),
    errors.Forbidden: (HTTPStatus.FORBIDDEN, "forbidden"),
    errors.NotFound: (HTTPStatus.NOT_FOUND, "not_found"),
    errors.Conflict: (HTTPStatus.CONFLICT, "conflict"),
    errors.TooOld: (HTTPStatus.CONFLICT, "too_old"),
    errors.TooLarge: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large"),
    errors.Unsupported: (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
    errors.TooMany: (HTTPStatus.TOO_MANY_REQUESTS, "too_many_requests"),
    errors.Unproxied: (HTTPStatus.NOT_IMPLEMENTED, "unproxied"),
    errors.Full: (HTTPStatus.SERVICE_UNAVAILABLE, "full"),
    errors.Overloaded: (HTTPStatus.SERVICE_UNAVAILABLE, "overloaded"),
    errors.NotReady: (HTTPStatus.SERVICE_UNAVAILABLE, "not_ready"),
    errors.Unavailable: (HTTPStatus.SERVICE_UNAVAILABLE, "unavailable"),
}
PROXY = "its own address, not this server's (Pushpin listens on port 7999 unless told otherwise)"
UNAVAILABLE = "The message store does not answer. Please try again{}"
UTF_8 = {"utf-8", "utf8", "us-ascii"}  # the last is a part of it

POSTS = Counter("flychat_posts", "POSTs by the status of their answer", ["status"])
FAILURES = Counter("flychat_failures", "Answers of 500 and 503, by the code in them", ["code"])

logger = logging.getLogger(__name__)

T = TypeVar("T")
_CHARSET = re.compile(r""";\s*charset\s*=\s*"?([^";\s]*)""", re.IGNORECASE)


def folder(name: str) -> Path:
    """`templates` or `static`: inside the package where it is installed, beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


class ChatApplication(Application):
    """The routes, and what the handlers share. `idle` is set while every request is answered."""

    def __init__(
        self,
        chat: Chat,
        *,
        cors_origins: Sequence[str] = (),
        public_url: str | None = None,
        rate_limit: RateLimit | None = None,
        trust_proxy: bool = False,
        recovers: bool = False,
    ) -> None:
        """`public_url` is where the GRIP proxy is found, if that is known; `recovers`: it may ask here."""
        self.chat = chat
        self.rate_limit = rate_limit or RateLimit(0, 0)
        self.trust_proxy = trust_proxy
        self.way_in = f"the GRIP proxy: {public_url or PROXY}"
        self._strayed = Seldom(logger)
        self._failed: dict[str, Seldom] = {}  # by code
        self.cors_origins = frozenset(cors_origins)
        self.draining = False
        self.idle = asyncio.Event()
        self.idle.set()
        self._busy: set[RequestHandler] = set()
        self.templates = Environment(loader=FileSystemLoader(folder("templates")), autoescape=True)
        self.templates.filters["name"] = name_to_show
        self.templates.globals["unseen"] = UNSEEN
        super().__init__(
            [
                *([(streams.RECOVERY_PATH, RecoveryHandler)] if recovers else []),
                (r"/", RootHandler),
                (r"/healthz", HealthHandler),
                (r"/readyz", ReadyHandler),
                (r"/metrics", MetricsHandler),
                (r"/(openapi\.json)", StaticHandler, {"path": str(folder("static"))}),
                (r"/rooms/([^/]+)/messages/?", MessagesHandler),
                (r"/([^/]+)", RoomHandler),
            ],
            default_handler_class=MissingHandler,
            static_path=str(folder("static")),  # also serves /robots.txt and /favicon.ico
            static_handler_class=StaticHandler,
            log_function=lambda handler: None,  # requests are counted, not logged
        )

    def stray(self) -> None:
        """A client came around the proxy."""
        self._strayed.tell("around the proxy nothing is live: clients are to go to %s", self.way_in)

    def failed(self, request: httputil.HTTPServerRequest, status: int, code: str) -> str | None:
        """An answer is our fault: counted, and logged with the id that is returned, each 500 and some 503."""
        FAILURES.labels(code).inc()
        id = secrets.token_hex(8)
        seldom = Seldom(logger) if status == 500 else self._failed.setdefault(code, Seldom(logger))
        told = seldom.tell("%s %s: %d %s (request %s)", request.method, request.path, status, code, id)
        return id if told else None

    def begin(self, handler: RequestHandler) -> None:
        self._busy.add(handler)
        self.idle.clear()

    def end(self, handler: RequestHandler) -> None:
        self._busy.discard(handler)
        if not self._busy:
            self.idle.set()


class BaseHandler(RequestHandler):
    """Errors, cross-origin rules, and the bookkeeping of requests under way."""

    application: ChatApplication
    browsed = False  # whether errors are a page, whatever the request accepts
    room: str | None = None  # the request is about
    _work: asyncio.Task[Any] | None = None  # that ends when the client goes
    _gone = False

    @property
    def chat(self) -> Chat:
        return self.application.chat

    def set_default_headers(self) -> None:
        for header, value in DEFAULT_HEADERS.items():
            self.set_header(header, value)

    def compute_etag(self) -> str | None:
        return None

    def prepare(self) -> None:
        self.application.begin(self)

    def on_finish(self) -> None:
        self.application.end(self)
        if self.request.method == "POST":
            POSTS.labels(str(self.get_status())).inc()

    def on_connection_close(self) -> None:
        """The client has gone, perhaps in the middle of a body: there is nobody to answer."""
        super().on_connection_close()
        self.application.end(self)
        self._gone = True
        if self._work is not None:
            self._work.cancel()

    def detach(self) -> IOStream:
        self.application.end(self)
        return super().detach()

    async def while_here(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns; given up when the client goes. Not for what has to be done all the same."""
        connection = self.request.connection
        if self._gone or (isinstance(connection, HTTP1Connection) and connection.stream.closed()):
            work.close()  # it went before Tornado could tell us
            raise Finish
        task: asyncio.Task[T] = asyncio.create_task(work)
        self._work = task
        try:
            return await task
        except asyncio.CancelledError:
            if self._gone:
                raise Finish from None
            raise
        finally:
            self._work = None

    def accepts(self, wanted: str, otherwise: str = "application/json") -> bool:
        return streams.prefers(self.request.headers.get("Accept", "*/*"), wanted, otherwise)

    def client(self) -> str:
        """Whom the request is from: the peer, or whom a proxy that is trusted says that it is for."""
        headers = self.request.headers
        trusted = self.application.trust_proxy or self.chat.vouched(headers)
        return client_behind(
            headers.get_list("X-Forwarded-For") if trusted else [], self.request.remote_ip or ""
        )

    def admit(self, cost: float) -> None:
        """Counts the request against its client's limit. Raises TooMany."""
        if wait := self.application.rate_limit.wait(self.client(), time.monotonic(), cost):
            raise errors.TooMany(wait)

    async def read(
        self, room: str, before: int | None = None, after: int | None = None, limit: int = streams.HISTORY
    ) -> streams.Page:
        """A page of the room. Of the past, it counts by its bytes if the store was asked for it.

        Raises TooMany, Unavailable.
        """
        past = before is not None or after is not None or limit > streams.HISTORY
        if past:
            self.admit(0)
        page = await self.while_here(self.chat.page(room, before, limit, after=after))
        if past and page.stored:
            self.charge(streams.size(page.messages))
        return page

    def charge(self, size: int) -> None:
        """Counts so many bytes, which the store has to read for the client."""
        self.application.rate_limit.charge(self.client(), time.monotonic(), cost_of(size))

    def query_value(self, name: str) -> str | None:
        """The last value of a query field, to the letter (Tornado's own methods tidy it). Raises Invalid."""
        try:
            return self.request.query_arguments[name][-1].decode()
        except KeyError:
            return None
        except UnicodeDecodeError:
            raise Invalid(name, "must be UTF-8") from None

    def remembered_user(self) -> str:
        """The name in the cookie, if it can be one."""
        try:
            return sender_name(unquote(self.get_cookie(USER_COOKIE) or "").strip())
        except Invalid:
            return ""

    def allowed_methods(self) -> str:
        """The value of an Allow header: the methods that the handler defines itself."""
        own = [m for m in self.SUPPORTED_METHODS if getattr(type(self), m.lower()) is not _undefined(m)]
        return ", ".join(own)

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None))[1]
        super().send_error(_problem(error, status_code)[0], **kwargs)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None))[1]
        phrase = HTTPStatus(status_code).phrase
        code = _problem(error, status_code)[1]
        text = str(error) if isinstance(error, errors.Refused) else phrase
        if status_code == 405:
            self.set_header("Allow", self.allowed_methods())
        if isinstance(error, errors.TooMany):
            self.set_header("Retry-After", str(math.ceil(error.seconds)))
        if status_code == 503:
            self.set_header("Retry-After", str(RETRY_AFTER))
            text = text if isinstance(error, errors.Refused) else UNAVAILABLE.format(self.again())
        self.set_header("Cache-Control", "no-store")
        if status_code in (500, 503) and (id := self.application.failed(self.request, status_code, code)):
            self.set_header("X-Request-Id", id)
        self.allow_origin()
        if self.browsed or self.accepts("text/html"):
            way_back = self.room and room_path(self.room)
            self.write_page(
                "error.html",
                status=status_code,
                title=phrase,
                message=text,
                room_path=way_back,
                form=self.form_again(error),
            )
        else:
            self.write_json({"error": {"code": code, "message": text}})

    def again(self) -> str:
        """How the sentence ends that asks to try again."""
        return "."

    def form_again(self, error: object) -> dict[str, str] | None:
        """What the form that was sent, and refused with this error, is to hold when it is shown again."""
        return None

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        """Only what is our fault: else anybody could fill the log."""
        if not isinstance(value, FlychatError | HTTPError):
            super().log_exception(typ, value, tb)

    def write_json(self, value: dict[str, Any]) -> None:
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.write(to_json(value) + "\n")

    def write_page(self, template: str, **values: Any) -> None:
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", PAGE_POLICY)
        self.write(
            self.application.templates.get_template(template).render(static_url=self.static_url, **values)
        )

    def allow_origin(self) -> bool:
        """Lets a page of a listed origin read the answer; says whether the request's origin may write."""
        origin = self.request.headers.get("Origin")
        if origin is None:
            return True
        if origin.lower() in self.application.cors_origins:
            self.set_header("Access-Control-Allow-Origin", origin)
            self.add_header("Vary", "Origin")
            return True
        if origin == "null":  # a page of ours whose referrer is withheld; no page can write Sec-Fetch-Site
            return self.request.headers.get("Sec-Fetch-Site") == "same-origin"
        host = self.request.host.lower()
        return origin.lower() in (f"http://{host}", f"https://{host}")


def _problem(error: object, status: int) -> tuple[int, str]:
    """The status and the code of an error: those of its nearest kind in the table, else of `status`."""
    for kind in type(error).__mro__:
        if kind in STATUSES:
            return STATUSES[kind]
    return status, HTTPStatus(status).phrase.lower().replace(" ", "_")


def _undefined(method: str) -> Any:
    return getattr(RequestHandler, method.lower())


class MissingHandler(BaseHandler):
    def prepare(self) -> None:
        super().prepare()
        raise HTTPError(404)


class StaticHandler(BaseHandler, StaticFileHandler):
    compute_etag = StaticFileHandler.compute_etag

    def parse_url_path(self, url_path: str) -> str:
        if "\0" in url_path:  # no file can have this name, and to look for one is an error
            raise HTTPError(404)
        return super().parse_url_path(url_path)

    @classmethod
    def get_version(cls, settings: dict[str, Any], path: str) -> str | None:
        """16 of Tornado's 128 hex digits: the addresses are a part of every page."""
        version = super().get_version(settings, path)
        return version and version[:16]

    def get_cache_time(self, path: str, modified: datetime | None, mime_type: str) -> int:
        """None for an address of another version, as it is asked for while a new one is rolled out."""
        current = self.get_query_argument("v", "") == self.get_version(self.settings, path)
        return super().get_cache_time(path, modified, mime_type) if current else 0

    def set_extra_headers(self, path: str) -> None:
        if "Cache-Control" not in self._headers:
            self.set_header("Cache-Control", "no-cache")


class RootHandler(BaseHandler):
    browsed = True

    def get(self) -> None:
        """To the default room, or to the room that the join form names."""
        room, query = "default", self.request.query
        if named := self.get_query_argument("room", ""):
            room = room_name(named)
            query = urlencode([field for field in parse_qsl(query) if field[0] != "room"])
        self.redirect(room_path(room) + ("?" + query if query else ""))

    head = get


class RoomHandler(BaseHandler):
    """The page of a room, with its history; the stream goes on from there."""

    browsed = True

    async def get(self, name: str) -> None:
        room = self.room = room_name(name)
        self.set_header("Cache-Control", "no-cache")
        if "user" not in self.request.query_arguments:
            self.set_header("Vary", "Cookie")  # it decides whether this is the room or its join form
        values: dict[str, Any] = {"room": room, "room_path": room_path(room), "user": "", "error": None}
        try:
            user = values["user"] = self._user()
        except Invalid as invalid:
            self.set_status(400)
            given = self.request.query_arguments["user"][-1].decode(errors="replace")
            values |= {"user": given, "error": f"A name {invalid.rule}."}
            return self.write_page("join.html", **values)
        if not user:
            return self.write_page("join.html", **values)
        page = await self.read(room, read_position(self.query_value("before")) or None)
        rows = self._rows(page.messages, user)
        first_id = page.messages[-len(rows)].id if rows else 0
        return self.write_page(
            "room.html",
            **values,
            messages_path=messages_path(room),
            provisional_id=uuid.uuid4(),  # of the form without scripts: sent again, it is the same message
            rows=rows,
            first_id=first_id,
            last_id=page.last_id,
            has_older=first_id > 1,
            banner=None if self.chat.proxied(self.request.headers) else self._banner(),
        )

    head = get

    def _rows(self, messages: Sequence[Message], user: str) -> list[str]:
        """The newest messages as they stand in the page: at least one, and as many as it has room for."""
        macros: Any = self.application.templates.get_template("message.html").module
        rows: list[str] = []
        left = ROWS_BYTES
        for message in reversed(messages):
            rows.append(macros.row(message, user))
            left -= len(rows[-1].encode())
            if left < 0 and len(rows) > 1:
                rows.pop()
                break
        return rows[::-1]

    def _banner(self) -> str:
        self.application.stray()
        return f"Not live: this page was opened around the proxy. Open it at {self.application.way_in}"

    def _user(self) -> str:
        """`?user=`, which is remembered, else the one remembered. Raises Invalid."""
        given = self.query_value("user")
        if given is None:
            return self.remembered_user()
        given = given.strip()  # the keyboards of phones put a space behind a word
        if given:
            sender_name(given)
            self.set_cookie(
                USER_COOKIE, quote(given, safe=""), expires_days=COOKIE_DAYS, httponly=True, samesite="Lax"
            )
        return given


class StreamHandler(BaseHandler):
    async def stream(self, request: streams.StreamRequest) -> None:
        """Answers with a stream. Raises Unproxied, Unavailable."""
        if not self.chat.proxied(self.request.headers):
            self.application.stray()
            raise errors.Unproxied(
                f"this server does not hold streams: ask for it at {self.application.way_in}"
            )
        for header, value in streams.STREAM_HEADERS.items():
            self.set_header(header, value)
        self.allow_origin()
        if self.request.method != "HEAD":
            await self.while_here(self.chat.stream(request, self, self.client()))


@stream_request_body
class MessagesHandler(StreamHandler):
    """A room's messages: streamed, paged, posted."""

    def initialize(self) -> None:
        self._body = bytearray()
        self._fields: dict[str, Any] = {}

    def prepare(self) -> None:
        super().prepare()
        connection = self.request.connection
        assert isinstance(connection, HTTP1Connection)
        connection.set_max_body_size(DISCARDED_BYTES)
        if (read_position(self.request.headers.get("Content-Length")) or 0) > DISCARDED_BYTES:
            self.set_header("Connection", "close")
            raise errors.TooLarge(f"a body has at most {BODY_BYTES} bytes")

    def data_received(self, chunk: bytes) -> None:
        if len(self._body) <= BODY_BYTES:
            self._body += chunk

    async def get(self, name: str) -> None:
        room = self.room = room_name(name)
        if self.accepts("text/event-stream"):
            given = self.request.query_arguments.get("lastEventId", [])
            positions = [value.decode("latin-1") for value in given]
            await self.stream(streams.read_request(room, self.request.headers, positions))
        else:
            before, after, limit = self._number("before"), self._number("after", 0), self._number("limit")
            if before is not None and after is not None:
                raise Invalid("after", "must not come with before")
            limit = streams.HISTORY if limit is None else min(limit, PAGE_LIMIT)
            page = await self.read(room, before, after, limit)
            self.set_header("Cache-Control", "no-cache")
            self.set_header("Vary", "Accept")
            self.allow_origin()
            more = {} if page.more is None else {"before" if after is None else "after": page.more}
            messages = list(map(wire_json, page.messages))
            self.write_json({"messages": messages, "lastEventId": page.last_id, **more})

    head = get

    async def post(self, name: str) -> None:
        self.room = room_name(name)
        if not self.allow_origin():
            raise errors.Forbidden("this origin may not post here")
        self.admit(cost_of(len(self._body)))
        if len(self._body) > BODY_BYTES:
            raise errors.TooLarge(f"a body has at most {BODY_BYTES} bytes")
        self._fields, is_form = self._read_fields()
        draft = Draft.create(self.room, self._fields, now=time.time())
        message = await self.chat.post(draft, lambda ids: self.charge(ids * SEARCHED_BYTES))
        if is_form and self.accepts("text/html"):
            remembered = self.remembered_user() == message.sender
            query = "" if remembered else "?user=" + quote(message.sender, safe="")
            self.redirect(room_path(draft.room) + query, status=303)
        else:
            self.write_json(wire_json(message))

    def _read_fields(self) -> tuple[dict[str, Any], bool]:
        if self.request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise errors.Unsupported("the body must not be compressed")
        return read_fields(self.request.headers.get("Content-Type", ""), bytes(self._body))

    def again(self) -> str:
        if self.request.method != "POST":
            return super().again()
        if self._fields.get("provisionalId") is not None:
            return "; nothing is sent twice."
        return ". Look first: the message may have been stored."

    def form_again(self, error: object) -> dict[str, str] | None:
        """With its text, and to be recognised when it is sent again, unless this is what was wrong."""
        if self.room is None or isinstance(error, errors.Forbidden) or len(self._body) > BODY_BYTES:
            return None  # what a page of another origin wrote is not to be sent by a click on ours
        with contextlib.suppress(errors.Refused):
            fields, is_form = self._read_fields()
            if is_form:
                form = {name: fields.get(name, "") for name in ("text", "provisionalId", "lastEventId")}
                used_up = isinstance(error, errors.Conflict | errors.TooOld)
                if used_up or not form["provisionalId"] or getattr(error, "field", "") == "provisionalId":
                    form |= {"provisionalId": str(uuid.uuid4()), "lastEventId": ""}
                return {
                    **form,
                    "from": sender_name(fields.get("from", "")),
                    "action": messages_path(self.room),
                }
        return None

    def options(self, name: str) -> None:
        self.set_status(204)
        self.set_header("Allow", self.allowed_methods())
        if self.allow_origin():
            self.set_header("Access-Control-Allow-Methods", "GET, POST")
            self.set_header("Access-Control-Allow-Headers", "Content-Type, Last-Event-ID")
            self.set_header("Access-Control-Max-Age", "600")

    def _number(self, name: str, least: int = 1) -> int | None:
        value = self.query_value(name)
        number = read_position(value)
        if value is not None and (number is None or number < least):
            raise Invalid(name, f"must be a whole number from {least}")
        return number


class RecoveryHandler(StreamHandler):
    """The one URL at which a GRIP proxy asks for what its holds have missed, in any room."""

    async def get(self) -> None:
        request = streams.read_grip_last(self.request.headers.get_list("Grip-Last"))
        if request is None:
            raise errors.NotFound("this is for the GRIP proxy")
        await self.stream(request)


class HealthHandler(BaseHandler):
    """The process lives."""

    def get(self) -> None:
        self.write_json({"status": "ok"})

    head = get


class ReadyHandler(BaseHandler):
    """The store answers, and the process is not on its way out."""

    async def get(self) -> None:
        if self.application.draining:
            raise errors.NotReady("not ready: the server is on its way out")
        try:
            await self.while_here(self.chat.check())
        except errors.Unavailable:
            raise errors.NotReady("not ready: the message store does not answer") from None
        self.write_json({"status": "ok"})

    head = get


class MetricsHandler(BaseHandler):
    def get(self) -> None:
        self.set_header("Content-Type", prometheus_client.CONTENT_TYPE_LATEST)
        self.write(prometheus_client.generate_latest())

    head = get


def room_path(room: str) -> str:
    return "/" + quote(room, safe="")


def messages_path(room: str) -> str:
    return f"/rooms/{quote(room, safe='')}/messages/"


def read_fields(content_type: str, body: bytes) -> tuple[dict[str, Any], bool]:
    """The fields of a POST, and whether it is a form. Raises Unsupported, Invalid."""
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    charset = _CHARSET.search(content_type)
    if charset is not None:
        _check_charset(charset[1])
    if kind == "application/json":
        try:
            fields = json.loads(body.decode())
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            raise Invalid("body", "must be a JSON object")
        return fields, False
    if kind not in ("application/x-www-form-urlencoded", "multipart/form-data"):
        raise errors.Unsupported("the body must be JSON, a form, or multipart/form-data")
    arguments: dict[str, list[bytes]] = {}
    try:
        httputil.parse_body_arguments(f"{kind};{parameters}", body, arguments, {})
        fields = {name: values[-1].decode() for name, values in arguments.items()}
    except (ValueError, httputil.HTTPInputError):
        raise Invalid("body", "must be a form in UTF-8") from None
    _check_charset(fields.get("_charset_", "utf-8"))  # in which a browser says how it has encoded a form
    return fields, True


def _check_charset(name: str) -> None:
    if name.lower() not in UTF_8:
        raise errors.Unsupported("the body must be in UTF-8")
