"""What every handler does: errors, cross-origin rules, limits, and finding out who the visitor is.

An error becomes a `Problem` in one place (problems.py), and is printed here: as JSON for programs, as a page
for browsers.
"""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Callable, Coroutine, Mapping
from functools import cached_property, partial
from typing import Any, TypeVar

from prometheus_client import Counter
from tornado.http1connection import HTTP1Connection
from tornado.iostream import IOStream
from tornado.web import Finish, HTTPError, RequestHandler

from .. import errors, streams
from ..chat import Chat, Outcome
from ..errors import FlychatError, Invalid
from ..messages import Draft
from ..sse import to_json
from .application import BaseApplication
from .credentials import is_own
from .heads import DEFAULT_HEADERS, JSON
from .listener import Connection
from .negotiation import prefers, takes_gzip
from .paths import Paths
from .posted import log_post
from .problems import Problem, problem_of
from .shedding import SHED, waited
from .visitor import Visitor

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

EXPOSED = "Retry-After, X-Request-Id"  # headers that a page of a listed origin may read, besides the usual
PAGE_LEVEL = 3  # of gzip: level 6 takes three times as long, for 4% less of a page
POSTS = Counter("flychat_posts", "POSTs by the status of their answer", ["status"])

T = TypeVar("T")


def readable_by(origin: str) -> dict[str, str]:
    """The headers that let a page of this origin read the answer."""
    return {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": EXPOSED}


class BaseHandler(RequestHandler):
    """Errors, cross-origin rules, and the bookkeeping of requests under way."""

    application: BaseApplication
    answers_pages = False  # so errors are a page, too, unless the request prefers JSON
    room: str | None = None  # the request is about
    is_private = False  # whether the answer is about a room that not everybody may read
    _work: asyncio.Task[Any] | None = None  # that ends when the client goes
    _gone = False

    @property
    def chat(self) -> Chat:
        return self.application.chat

    @property
    def paths(self) -> Paths:
        return self.application.paths

    def set_default_headers(self) -> None:
        self.set_headers(DEFAULT_HEADERS)
        if self.application.recovery and self.request.method == "HEAD":
            self.set_header("Content-Length", 0)  # Pushpin 1.41 waits for a body of any other length

    def set_headers(self, headers: Mapping[str, str]) -> None:
        for header, value in headers.items():
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
        self._break_cycles()  # as Tornado does after an answer; else the collector finds it an hour later

    def detach(self) -> IOStream:
        self.application.end(self)
        stream = super().detach()
        self._break_cycles()
        return stream

    async def while_here(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns. It is cancelled when the client goes: not for work that must be finished."""
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

    def accepts(self, wanted: str) -> bool:
        """Whether the client asks for this media type rather than for JSON."""
        return prefers(self.request.headers.get("Accept", "*/*"), wanted, "application/json")

    @cached_property
    def visitor(self) -> Visitor:
        return self.application.visitor(self.request.headers, self.request.remote_ip or "")

    def admit_in_time(self) -> None:
        """Raises Overloaded if the request has waited for too long."""
        stream = getattr(self.request.connection, "stream", None)
        if not isinstance(stream, Connection) or stream.closed():
            return
        seconds, gone = waited(stream.socket)
        if self.application.shedding.refuses(seconds, stream.turn.unpaused):
            SHED.labels("gone" if gone else "refused").inc()
            raise errors.Overloaded

    def admit(self, cost: float) -> None:
        """Counts the request against its client's limit. Raises TooMany."""
        if wait := self.application.rate_limit.wait(self.visitor.client, time.monotonic(), cost):
            raise errors.TooMany(wait)

    async def read(
        self, room: str, before: int | None = None, after: int | None = None, limit: int = streams.HISTORY
    ) -> streams.Page:
        """A page of the room. The client is charged for one of the past, by its bytes, if the store was read.

        Raises TooMany, Unavailable.
        """
        past = before is not None or after is not None or limit > streams.HISTORY
        if past:
            self.admit(0)
        page = self.chat.log.page_at_once(room, before, limit, after=after)
        if page is None:
            page = await self.reading(partial(self.chat.log.page, room, before, limit, after=after))
        if past and page.stored:
            self.application.charge(self.visitor.client, streams.size(page.messages))
        return page

    async def reading(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What `work` returns, which has to read the store; that is done for each address in turn."""
        return await self.while_here(self._in_turn(work))

    async def _in_turn(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        address = self.application.address_of(self.request.headers, self.request.remote_ip or "")
        async with self.application.readings.one(address):
            return await work()

    def logged(self, draft: Draft) -> Outcome | None:
        """The function to call with what becomes of the draft, if posts are logged."""
        return partial(log_post, draft, self.visitor.address) if self.application.log_posts else None

    def decode_argument(self, value: bytes, name: str | None = None) -> str:
        """A part of the path or the query, as text. Raises Invalid if it is not UTF-8."""
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise Invalid(name or "path", "must be UTF-8") from None

    def query_value(self, name: str) -> str | None:
        """The last value of a query field, unchanged: Tornado's own methods strip it. Raises Invalid."""
        values = self.request.query_arguments.get(name)
        return self.decode_argument(values[-1], name) if values else None

    def allowed_methods(self) -> str:
        """The value of an Allow header: the methods that the handler defines itself."""
        ours, base = type(self), RequestHandler
        own = [m for m in self.SUPPORTED_METHODS if getattr(ours, m.lower()) is not getattr(base, m.lower())]
        return ", ".join(own)

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None))[1]
        problem = problem_of(error, status_code, allowed=self.allowed_methods(), again=self.again())
        super().send_error(problem.status, problem=problem, error=error, **kwargs)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        problem: Problem = kwargs["problem"]
        self.set_headers(problem.headers)
        if problem.ours and (id := self.application.failed(self.request.method, self.request.path, problem)):
            self.set_header("X-Request-Id", id)
        may_write = self.allow_origin()
        if not self._wants_page():
            return self.write_line(problem.json)
        # What a page of another origin wrote is not to be sent by a click on ours.
        form = self.form_again(kwargs["error"]) if may_write else None
        template, values = self.error_page(kwargs["error"], problem)
        return self.write_page(template, form=form, **values)

    def _wants_page(self) -> bool:
        """Whether an error is to be a page: where pages are, also for a request that takes anything."""
        if self.answers_pages:
            return not prefers(self.request.headers.get("Accept", "*/*"), "application/json", "text/html")
        return self.accepts("text/html")

    def error_page(self, error: object, problem: Problem) -> tuple[str, dict[str, Any]]:
        """The page for people that says what is wrong: its template, and the values in it but the form."""
        room_path = self.room and self.paths.room(self.room)
        values = {"title": problem.title, "message": problem.text, "room_path": room_path}
        return "error.html", {"status": problem.status, **values}

    def again(self) -> str:
        """The end of the sentence "Please try again"."""
        return "."

    def form_again(self, error: object) -> dict[str, str] | None:
        """What the form that was sent, and refused with this error, is to hold when it is shown again."""
        return None

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        """Only what is our fault: otherwise anybody could fill the log."""
        if not isinstance(value, FlychatError | HTTPError):
            super().log_exception(typ, value, tb)

    def write_json(self, value: dict[str, Any]) -> None:
        self.write_line(to_json(value) + "\n")

    def write_line(self, line: str | bytes) -> None:
        """A line that is JSON already."""
        self.set_header("Content-Type", JSON)
        self.write(line)

    def write_page(self, template: str, **values: Any) -> None:
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", PAGE_POLICY)
        self.add_header("Vary", "Accept-Encoding")
        page = self.application.templates.get_template(template).render(**values).encode()
        # A page with a secret is not compressed: its length would tell how much of that a guess has right.
        is_secret = self.is_private or "asked" in values
        if not is_secret and takes_gzip(self.request.headers.get("Accept-Encoding", "")):
            self.set_header("Content-Encoding", "gzip")
            page = gzip.compress(page, PAGE_LEVEL, mtime=0)
        self.write(page)

    def allow_origin(self) -> bool:
        """Lets a page of a listed origin read the answer; says whether the request's origin may write."""
        origin = self.request.headers.get("Origin")
        if origin is None:
            return True
        if origin.lower() in self.application.cors_origins:
            self.set_headers(readable_by(origin))
            self.add_header("Vary", "Origin")
            return True
        if origin == "null":  # a page of ours whose referrer is withheld; no page can write Sec-Fetch-Site
            return self.request.headers.get("Sec-Fetch-Site") == "same-origin"
        return is_own(origin.lower(), self.request.host.lower(), https=self.visitor.https)

    def preflight(self) -> None:
        """Answers what a browser asks before a page of another origin may send something unusual."""
        self.set_status(204)
        self.set_header("Allow", self.allowed_methods())
        if self.allow_origin():
            methods = [m for m in self.allowed_methods().split(", ") if m not in ("HEAD", "OPTIONS")]
            self.set_header("Access-Control-Allow-Methods", ", ".join(methods))
            more = ", Authorization" if self.application.access.on else ""
            self.set_header("Access-Control-Allow-Headers", f"Content-Type, Last-Event-ID{more}")
            self.set_header("Access-Control-Max-Age", "600")


class MissingHandler(BaseHandler):
    def prepare(self) -> None:
        super().prepare()
        raise HTTPError(404)
