"""What the handlers share, and the bookkeeping of requests under way."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from jinja2 import DictLoader, Environment
from prometheus_client import Counter
from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.web import Application

from ..access.keeper import Keeper
from ..chat import Chat
from ..hub import Recovery, Way
from ..names import hue, initial, name_to_show
from ..packaged import folder
from ..seldom import Seldom
from .credentials import cookie_name, identify
from .forms import ShortBody
from .paths import Paths
from .problems import Problem
from .rate import RateLimit, cost_of
from .shedding import Shedding
from .turns import READINGS, Places
from .visitor import Visitor, address_of, read_visitor

TRIES_PER_MINUTE = 5  # of passwords, for each address
MISSIGNED = "a proxy's signature (Grip-Sig) does not fit the verify-key of --grip-url"
PROXY = "its own address, not this server's (Pushpin listens on port 7999 unless told otherwise)"

FAILURES = Counter("flychat_failures", "Answers of 500 and 503, by the code in them", ["code"])

logger = logging.getLogger(__name__)


class BaseApplication(Application):
    """`idle` is set while every request is answered."""

    def __init__(
        self,
        chat: Chat,
        way: Callable[[Mapping[str, str]], Way],
        keeper: Keeper,
        *,
        cors_origins: Sequence[str] = (),
        public_url: str | None = None,
        rate_limit: RateLimit | None = None,
        trust_proxy: bool = False,
        log_posts: bool = False,
        recovery: Recovery | None = None,
        base_path: str = "",
        signals: RateLimit | None = None,
    ) -> None:
        """`way` says from its headers how a request came; `keeper` has the Access that is asked for rights.

        `public_url` is the address of the GRIP proxy, if known; `recovery` reads its `Grip-Last`. `signals`
        is the rate limit of signals; None: there are no signals.
        """
        self.chat = chat
        self.way = way
        self.paths = Paths(base_path)
        self.rate_limit = rate_limit or RateLimit(0, 0)
        self.signals = signals
        self.trust_proxy = trust_proxy
        self.log_posts = log_posts
        self.keeper, self.access = keeper, keeper.access
        self.password_tries = RateLimit(TRIES_PER_MINUTE / 60, TRIES_PER_MINUTE)
        self.readings = Places(READINGS)
        self.recovery = recovery
        self.proxy_address = f"the GRIP proxy: {public_url or PROXY}"
        self._bypassed, self._missigned = Seldom(logger), Seldom(logger)
        self._failed: dict[str, Seldom] = {}  # by code
        self.cors_origins = frozenset(cors_origins)
        self.shedding = Shedding()
        self.draining = False
        self.idle = asyncio.Event()
        self.idle.set()
        self._busy: set[object] = set()
        # Read now: an upgrade replaces them before it restarts us.
        texts = {file.name: file.read_text("utf-8") for file in folder("templates").glob("*.html")}
        self.templates = Environment(loader=DictLoader(texts), autoescape=True, auto_reload=False)
        self.templates.filters |= {"name": name_to_show, "initial": initial, "hue": hue}
        self.templates.globals["paths"] = self.paths
        super().__init__(**self.routes())

    def routes(self) -> dict[str, Any]:
        """The arguments of Tornado's Application: its routes to handlers."""
        raise NotImplementedError

    def get_handler_delegate(  # type: ignore[override]
        self, request: HTTPServerRequest, *given: Any, **named: Any
    ) -> HTTPMessageDelegate:
        """Where Tornado hands the request to. A body is short, unless its handler takes it as it comes."""
        delegate = super().get_handler_delegate(request, *given, **named)
        return delegate if delegate.stream_request_body else ShortBody(delegate, request.headers)

    def warn_bypassed(self, headers: Mapping[str, str]) -> str | None:
        """Warns of a request that came around the proxy. Returns what is wrong if a proxy signed it."""
        if "Grip-Sig" in headers:
            self._missigned.tell("nothing is live: %s", MISSIGNED)
            return MISSIGNED
        self._bypassed.tell("around the proxy nothing is live: clients are to go to %s", self.proxy_address)
        return None

    def failed(self, method: str | None, path: str | None, problem: Problem) -> str | None:
        """Counts an answer that is our fault; logs each 500, and some 503, with the id that it returns."""
        status, code, id = problem.status, problem.code, secrets.token_hex(8)
        FAILURES.labels(code).inc()
        seldom = Seldom(logger) if status == 500 else self._failed.setdefault(code, Seldom(logger))
        what = f"{code}: {problem.why}" if problem.why else code
        told = seldom.tell("%s %s: %d %s (request %s)", method, path, status, what, id)
        return id if told else None

    def visitor(self, headers: Mapping[str, str], peer: str) -> Visitor:
        """Who asks, with these headers, from that address."""
        visitor = read_visitor(headers, peer, self.way(headers), trust_proxy=self.trust_proxy)
        if not self.access.on:
            return visitor
        cookie = cookie_name(visitor.https, self.paths.base)
        identity = identify(headers, self.access, time.time(), trust_proxy=self.trust_proxy, cookie=cookie)
        return replace(visitor, identity=identity)

    def address_of(self, headers: Mapping[str, str], peer: str) -> str:
        """The visitor's address alone."""
        return address_of(headers, peer, self.way(headers), trust_proxy=self.trust_proxy)

    def charge(self, client: str, size: int) -> None:
        """Charges a client for so many bytes that the store reads for it, or ids that it searches."""
        self.rate_limit.charge(client, time.monotonic(), cost_of(size))

    def begin(self, request: object) -> None:
        """A request is under way from now on, until `end` is called."""
        self._busy.add(request)
        self.idle.clear()

    def end(self, request: object) -> None:
        self._busy.discard(request)
        if not self._busy:
            self.idle.set()
