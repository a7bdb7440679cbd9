"""A stage for GRIP mode: real Pushpins, real processes of flychat, and a bad network between them.

Each Pushpin is private, started like that of --with-pushpin from the files in deploy/. An App is a process of
its own that can be killed. A ControlProxy stands between apps and a Pushpin's control port; the test decides
what becomes of an item there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from flychat.private_pushpin import PushpinChild
from tests.proof.oracle import WAIT, Crowd
from tests.support.giver import GIVER
from tests.support.ports import free_port
from tests.support.program import PATIENCE

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KEY = b"a key that is known to the tests, 32 bytes or more"


class App:
    """A process of flychat on a port that stays its own: it can be killed, and started again.

    With `listening`, a socket on that port, the port is open all the time, as with flychat@.socket. `changed` is
    run before the program, and may change a number of it.
    """

    def __init__(
        self,
        port: int,
        arguments: Sequence[str],
        environ: dict[str, str],
        log: Path,
        listening: socket.socket | None = None,
        changed: str = "",
    ) -> None:
        self.port, self.log_file = port, log
        run = f"import sys; {changed}; from flychat.__main__ import main; sys.exit(main())"
        self._program = ["-c", run] if changed else ["-m", "flychat"]
        self._given = [] if listening is None else [listening.fileno()]
        self.url = f"http://127.0.0.1:{port}/"
        self._arguments = arguments
        self._environ = environ
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Returns when it listens."""
        giver = ["-c", GIVER, *map(str, self._given)] if self._given else []
        with self.log_file.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, *giver, *self._program, "--port", str(self.port), *self._arguments),
                cwd=ROOT,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": "/nonexistent",
                    "FLYCHAT_RATE_LIMIT": "0",
                    **self._environ,
                },
                stdout=subprocess.PIPE,
                stderr=log,
                pass_fds=self._given,
            )
        assert self.process.stdout
        try:
            self.greeting = (await asyncio.wait_for(self.process.stdout.readline(), PATIENCE)).decode()
            assert self.greeting, self.log()
        except BaseException:  # else it would go on for ever, as nobody ends what has not begun
            await self.kill()
            raise

    async def kill(self, number: int = signal.SIGKILL) -> int:
        """Ends it; gives its status."""
        assert self.process
        if self.process.returncode is None:
            self.process.send_signal(number)
        status = await asyncio.wait_for(self.process.wait(), PATIENCE)
        self.process._transport.close()  # type: ignore[attr-defined]
        return status

    def log(self) -> str:
        return self.log_file.read_text()


class ControlProxy:
    """Passes publications on to a Pushpin's control port, or does not.

    `fate` says what becomes of an item: "pass", "lose", "double" or "late", that is kept until `release`;
    the app is told that all is well. `hanging` and `status` concern whole POSTs: not answered before
    `go_on`, or answered with that status, and not passed on. `posts` and `items` are what came, in order.
    """

    def __init__(self, target: str) -> None:
        """`target` is a --grip-url; `grip_url` has the keys of that one."""
        parts = urlsplit(target)
        self._target = f"{parts.scheme}://{parts.netloc}"
        self._query = parts.query
        self._client = AsyncHTTPClient(force_instance=True, max_clients=100)
        self._server: HTTPServer | None = None
        self._changed = asyncio.Event()
        self.port = free_port()
        self.fate: Callable[[dict], str] = lambda item: "pass"
        self.hanging = False
        self._unanswered: list[RequestHandler] = []
        self.status = 200
        self.posts: list[tuple[str, list[dict]]] = []
        self.items: list[dict] = []
        self.kept: list[dict] = []
        self.headers: dict[str, str] = {}

    def listen(self) -> None:
        sockets = bind_sockets(self.port, "127.0.0.1")
        self._server = HTTPServer(Application([("/(.*)/", _Handler, {"proxy": self})], log_function=_silent))
        self._server.add_sockets(sockets)

    async def refuse(self) -> None:
        """From now on nobody listens on the port."""
        if self._server:
            self._server.stop()
            await self._server.close_all_connections()
            self._server = None

    @property
    def grip_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/?{self._query}"

    async def until(self, condition: Callable[[], bool], seconds: float = WAIT) -> None:
        """Waits for the POST after which `condition` holds."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def go_on(self) -> None:
        """Hangs no more, and cuts what is not answered: whoever waits for that tries again now."""
        self.hanging = False
        while self._unanswered:
            self._unanswered.pop().request.connection.stream.close()

    async def release(self) -> None:
        """The late items arrive, the last first."""
        while self.kept:
            await self.forward("publish", [self.kept.pop()])

    async def close(self) -> None:
        await self.refuse()
        self._client.close()

    async def take(self, handler: _Handler, path: str) -> None:
        items = json.loads(handler.request.body)["items"] if path == "publish" else []
        self.headers = dict(handler.request.headers)
        self.posts.append((path, items))
        self.items += items
        self._changed.set()
        if self.hanging:
            handler._auto_finish = False
            self._unanswered.append(handler)
        elif self.status != 200:
            handler.set_status(self.status)
        else:
            fates = [(item, self.fate(item)) for item in items]
            self.kept += [item for item, fate in fates if fate == "late"]
            passed = [item for item, fate in fates if fate in ("pass", "double")]
            passed += [item for item, fate in fates if fate == "double"]
            if passed or not items:
                await self.forward(path, passed)

    async def forward(self, path: str, items: list[dict]) -> None:
        body = json.dumps({"items": items}) if path == "publish" else ""
        await self._client.fetch(f"{self._target}/{path}/", method="POST", body=body)


class _Handler(RequestHandler):
    def initialize(self, proxy: ControlProxy) -> None:
        self.proxy = proxy

    async def post(self, path: str) -> None:
        await self.proxy.take(self, path)


def _silent(handler: RequestHandler) -> None:
    """No access log."""


class Stage:
    """Starts what a test asks for, and clears all of it away. `program` is the Pushpin that it uses."""

    def __init__(self, directory: Path, program: str = "pushpin") -> None:
        self.directory, self.program = directory, program
        self.ending = contextlib.AsyncExitStack()

    def path(self) -> dict[str, str]:
        """An environment in which `pushpin` is that program."""
        programs = self.directory / "programs"
        programs.mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (programs / "pushpin").symlink_to(shutil.which(self.program))
        return {"PATH": f"{programs}:{os.environ['PATH']}"}

    async def pushpin(self, *ports: int, **options: int) -> PushpinChild:
        """A Pushpin in front of apps on these ports."""
        targets = [f"127.0.0.1:{port}" for port in ports]
        options = {"port": free_port(), "control_port": free_port()} | options
        pushpin = await PushpinChild.start(DEPLOY, targets, program=self.program, key=KEY, **options)
        self.ending.push_async_callback(pushpin.stop)
        return pushpin

    def control(self, pushpin: PushpinChild) -> ControlProxy:
        proxy = ControlProxy(pushpin.grip_url)
        proxy.listen()
        self.ending.push_async_callback(proxy.close)
        return proxy

    async def app(
        self,
        port: int,
        grip_urls: Sequence[str] = (),
        *arguments: str,
        store: str | None = None,
        environ: dict[str, str] | None = None,
        listening: socket.socket | None = None,
        changed: str = "",
    ) -> App:
        """A process in GRIP mode for these --grip-urls, else in standalone mode."""
        mode = [f"--grip-url={url}" for url in grip_urls] + ["--grip"] if grip_urls else ["--standalone"]
        store = store or f"sqlite:{self.directory / 'chat.db'}"
        log = self.directory / f"app-{uuid.uuid4().hex[:8]}.log"
        app = App(port, [*mode, "--store", store, *arguments], environ or {}, log, listening, changed)
        await app.start()
        self.ending.push_async_callback(app.kill)
        return app

    async def crowd(self, url: str, room: str, number: int = 20, **options) -> Crowd:
        crowd = await Crowd.open(url, room, number, **options)
        self.ending.push_async_callback(crowd.close)
        return crowd

    async def close(self) -> None:
        await self.ending.aclose()


def new_room() -> str:
    """Pushpin knows the ids that it has seen for a minute: no room of one test is that of another."""
    return f"room {uuid.uuid4().hex[:8]}"


async def eventually(condition: Callable[[], bool | Awaitable[bool]], seconds: float = WAIT) -> None:
    """For what cannot be waited for: looks again and again."""
    deadline = time.monotonic() + seconds
    while not (await found if isinstance(found := condition(), Awaitable) else found):
        assert time.monotonic() < deadline, "in vain"
        await asyncio.sleep(0.02)
