"""A proxy in front of a DynamoDB endpoint that delays calls and spoils them, like a bad network.

In a test:

    proxy = await DynamoProxy.start(endpoint, delay=0.2)     # in the running loop; environ for proxy.url
    proxy.script("PutItem", "drop", "pass", "late")          # the next three puts; then by proxy.rates
    await proxy.close()

By hand:  python -m tests.support.dynamo_proxy --upstream http://127.0.0.1:8000 --delay 200 --seed 1 --rate drop=0.05
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import weakref
from collections import Counter, defaultdict, deque
from collections.abc import Mapping

import aiohttp
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

FAULTS = {
    "pass": "all is well",
    "lose": "the connection is dropped, and the call with it",
    "drop": "applied, then the connection is dropped",
    "late": "the connection is dropped; applied by release(), or after `late_after` further calls",
    "error": "applied, then answered with 500",
    "throttle": "answered with 400 ProvisionedThroughputExceededException",
    "slow down": "answered with 400 ThrottlingException",
    "limit": "answered with 400 RequestLimitExceeded",
    "deny": "answered with 400 AccessDeniedException",
    "unavailable": "answered with 503, not applied",
    "hang": "applied, never answered",
}
ERRORS = {
    "error": (500, "com.amazon.coral.service#InternalServerError"),
    "throttle": (400, "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"),
    "slow down": (400, "com.amazon.coral.availability#ThrottlingException"),
    "limit": (400, "com.amazonaws.dynamodb.v20120810#RequestLimitExceeded"),
    "deny": (400, "com.amazon.coral.service#AccessDeniedException"),
    "unavailable": (503, "com.amazon.coral.service#ServiceUnavailable"),
}


# A conditional put is one step in DynamoDB. In moto's threads it is two: of puts at one place that came
# together, two succeeded in 5 of 400 rounds, and the second took the place of the first. So all proxies of a
# loop let one put through at a time.
_writing: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()


class DynamoProxy:
    """The attributes may be changed at any time. `calls` counts by operation ("PutItem")."""

    url: str

    def __init__(
        self,
        upstream: str,
        *,
        delay: float = 0,
        strip_item: bool = False,
        rates: Mapping[str, float] | None = None,
        seed: int = 0,
        late_after: int | None = None,
    ) -> None:
        self.upstream = upstream
        self.delay = delay  # seconds, before each call is applied
        self.strip_item = strip_item  # a failed condition does not tell the winner
        self.rates = dict(rates or {})  # shares of faults among the PutItems outside the script
        self.read_rates: Mapping[str, float] = {}  # the same among the Querys
        self.late_after = late_after
        self.refusing = False  # every call is dropped
        self.instead: tuple[int, bytes] | None = None  # status and body of an answer to every call
        self.under_way = 0
        self.calls: Counter[str] = Counter()
        self.suffered: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._scripts: defaultdict[str, deque[str]] = defaultdict(deque)
        self._zombies: deque[tuple[int, HTTPServerRequest]] = deque()

    @classmethod
    async def start(cls, upstream: str, *, port: int = 0, **options: object) -> DynamoProxy:
        proxy = cls(upstream, **options)  # type: ignore[arg-type]
        proxy._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        sockets = bind_sockets(port, "127.0.0.1")
        proxy._server = HTTPServer(Application([("/.*", _Handler, {"proxy": proxy})], log_function=_silent))
        proxy._server.add_sockets(sockets)
        proxy.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
        return proxy

    def script(self, operation: str, *faults: str) -> None:
        """The next calls of `operation` suffer `faults`, in this order, whatever the rates."""
        assert set(faults) <= set(FAULTS), faults
        self._scripts[operation].extend(faults)

    async def release(self, until: int | None = None) -> None:
        """Applies the late calls: those among the first `until` calls, or all."""
        while self._zombies and (until is None or self._zombies[0][0] <= until):
            await self._apply(self._zombies.popleft()[1])

    async def close(self) -> None:
        self._server.stop()
        await self._server.close_all_connections()
        await self._session.close()

    async def answer(self, handler: _Handler) -> None:
        request = handler.request
        operation = request.headers.get("X-Amz-Target", "").partition(".")[2]
        self.under_way += 1
        try:
            await self._answer(handler, request, operation)
        finally:
            self.under_way -= 1

    async def _answer(self, handler: _Handler, request: HTTPServerRequest, operation: str) -> None:
        self.calls[operation] += 1
        total = self.calls.total()
        fault = "lose" if self.refusing else self._fault(operation)
        self.suffered[fault] += 1
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.late_after is not None:
            await self.release(total - self.late_after)
        if self.instead is not None:
            handler.set_status(self.instead[0])
            await handler.finish(self.instead[1])
            return
        if fault == "late":
            self._zombies.append((total, request))
        status, body = 0, b""
        if fault in ("pass", "drop", "error", "hang"):
            status, body = await self._apply(request)
        if fault in ERRORS:
            status, kind = ERRORS[fault]
            body = json.dumps({"__type": kind, "message": f"the proxy says: {fault}"}).encode()
        if fault in ("hang", "lose", "drop", "late"):
            handler._auto_finish = False
            if fault == "hang":
                await handler.gone.wait()
            request.connection.stream.close()
        else:
            handler.set_status(status)
            handler.set_header("Content-Type", "application/x-amz-json-1.0")
            await handler.finish(body)

    def _fault(self, operation: str) -> str:
        if script := self._scripts[operation]:
            return script.popleft()
        rates = {"PutItem": self.rates, "Query": self.read_rates}.get(operation)
        if not rates:
            return "pass"
        names, weights = ["pass", *rates], [1 - sum(rates.values()), *rates.values()]
        return self._chance.choices(names, weights)[0]

    async def _apply(self, request: HTTPServerRequest) -> tuple[int, bytes]:
        headers = {
            name: value
            for name, value in request.headers.get_all()
            if name.startswith("X-Amz-") or name in ("Content-Type", "Authorization")
        }
        alone = (
            _writing.setdefault(asyncio.get_running_loop(), asyncio.Lock())
            if "PutItem" in headers.get("X-Amz-Target", "")
            else contextlib.nullcontext()
        )
        async with alone, self._session.post(self.upstream, data=request.body, headers=headers) as response:
            body = await response.read()
        if self.strip_item and response.status == 400:
            body = json.dumps({k: v for k, v in json.loads(body).items() if k != "Item"}).encode()
        return response.status, body


class _Handler(RequestHandler):
    def initialize(self, proxy: DynamoProxy) -> None:
        self.proxy = proxy
        self.gone = asyncio.Event()

    async def post(self) -> None:
        await self.proxy.answer(self)

    def on_connection_close(self) -> None:
        self.gone.set()


def _silent(handler: RequestHandler) -> None:
    """No access log."""


async def main() -> None:
    parser = argparse.ArgumentParser(description="A DynamoDB behind a bad network. Prints its URL.")
    parser.add_argument("--upstream", required=True, metavar="URL")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0, metavar="MS")
    parser.add_argument("--strip-item", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--late-after", type=int, metavar="CALLS")
    parser.add_argument("--rate", action="append", default=[], metavar="FAULT=SHARE", help=", ".join(FAULTS))
    options = parser.parse_args()
    proxy = await DynamoProxy.start(
        options.upstream,
        port=options.port,
        delay=options.delay / 1000,
        strip_item=options.strip_item,
        rates={name: float(share) for name, _, share in (rate.partition("=") for rate in options.rate)},
        seed=options.seed,
        late_after=options.late_after,
    )
    print(proxy.url, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
