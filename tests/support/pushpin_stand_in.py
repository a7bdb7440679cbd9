"""The model of Pushpin as a proxy that clients can connect to: in front of an app, with a control port of its own."""

from __future__ import annotations

import asyncio
import random

import jwt
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from tests.proof.pushpin_model import Answer, Headers, Pushpin

ISSUER, KEY = "model", "a-key-that-is-known-to-the-tests-and-has-32-bytes"
SIGNATURE = jwt.encode({"iss": ISSUER, "exp": 2**33}, KEY, "HS256")
OWN = {"connection", "content-length", "date", "server", "transfer-encoding"}  # of each connection


class StandIn:
    """Clients go to `url`, the app is on a port of this machine and publishes to `grip_url`."""

    def __init__(self, app_port: int) -> None:
        self._app = f"http://127.0.0.1:{app_port}"
        self.pushpin = Pushpin(self._origin, random.Random(1))
        self._servers: list[HTTPServer] = []
        options = {"proxy": self}
        self.url = self._listen(Application([("/.*", _Client, options)], log_function=_silent))
        control = self._listen(Application([("/(.*)/", _Control, options)], log_function=_silent))
        self.grip_url = f"{control}?verify-iss={ISSUER}&verify-key={KEY}"

    def _listen(self, application: Application) -> str:
        (socket,) = bind_sockets(0, "127.0.0.1")
        server = HTTPServer(application)
        server.add_socket(socket)
        self._servers.append(server)
        return f"http://127.0.0.1:{socket.getsockname()[1]}/"

    async def ask(
        self,
        path: str,
        headers: HTTPHeaders,
        method: str = "GET",
        body: bytes = b"",
        signature: str = SIGNATURE,
    ) -> HTTPResponse:
        headers["Grip-Sig"] = signature
        return await AsyncHTTPClient().fetch(
            self._app + path,
            method=method,
            headers=headers,
            body=body or None,
            raise_error=False,
            follow_redirects=False,
            allow_nonstandard_methods=True,
            decompress_response=False,
        )

    async def _origin(self, path: str, headers: Headers) -> Answer:
        if isinstance(headers, _Answered):
            return headers.answer
        asked = HTTPHeaders()
        for name, value in headers:
            asked.add(name, value)
        return answer_of(await self.ask(path, asked))

    async def close(self) -> None:
        self.pushpin.stop()
        for server in self._servers:
            server.stop()
            await server.close_all_connections()


class _Answered(list):
    """The headers of a request that the app has answered already."""

    answer: Answer


def answer_of(response: HTTPResponse) -> Answer:
    return response.code, dict(response.headers), response.body


class Wire:
    """A held stream, which is kept alive as the app has asked for."""

    stalled = gone = False

    def __init__(self, handler: RequestHandler, keep_alive: str) -> None:
        content, *parameters = keep_alive.split("; ")
        self._handler, self._filling = handler, content.replace("\\n", "\n").encode()
        said = dict(parameter.split("=") for parameter in parameters)
        self._seconds, self._idle = int(said["timeout"]), said.get("mode") != "interval"
        self._timer: asyncio.TimerHandle | None = None
        self.over = asyncio.Event()

    def write(self, data: bytes) -> None:
        if not self.gone:
            self._handler.write(data)
            self._handler.flush()
            if self._idle or self._timer is None:
                self._fill_later()

    def _fill_later(self) -> None:
        self.leave()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._fill)

    def _fill(self) -> None:
        self._timer = None
        self.write(self._filling)

    def leave(self) -> None:
        if self._timer:
            self._timer.cancel()

    def end(self) -> None:
        self.leave()
        self.gone = True
        self.over.set()


class _Client(RequestHandler):
    """A request of a client: passed on, and held if the app says so."""

    wire: Wire | None = None

    def initialize(self, proxy: StandIn) -> None:
        self.proxy = proxy

    def compute_etag(self) -> None:
        return None

    async def pass_on(self) -> None:
        method, path = self.request.method or "", self.request.uri or ""
        answer = await self.proxy.ask(path, self.request.headers.copy(), method, self.request.body)
        self.set_status(answer.code)
        self.clear_header("Content-Type")
        for name, value in answer.headers.get_all():
            if name.lower() not in OWN and not name.startswith("Grip-"):
                self.add_header(name, value)
        if "Grip-Hold" in answer.headers:
            headers = _Answered()
            headers.answer = answer_of(answer)
            self.wire = Wire(self, answer.headers["Grip-Keep-Alive"])
            await self.proxy.pushpin.open(self.wire, path, headers)
            await self.wire.over.wait()
        elif answer.body:
            self.write(answer.body)

    get = head = post = put = delete = options = pass_on

    def on_connection_close(self) -> None:
        if self.wire is not None:
            self.proxy.pushpin.leave(self.wire)
            self.wire.end()


class _Control(RequestHandler):
    def initialize(self, proxy: StandIn) -> None:
        self.proxy = proxy

    def post(self, path: str) -> None:
        self.proxy.pushpin.post(path, self.request.body)


def _silent(handler: RequestHandler) -> None:
    """No access log."""
