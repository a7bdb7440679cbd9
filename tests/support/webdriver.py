"""Firefox through WebDriver BiDi, and WebKitGTK through WebDriver: as much of them as the tests of the page need.

Both protocols are spoken to the browsers that Debian has, without a library in between. A `Tab` is the same for both.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tornado.websocket import WebSocketClientConnection, websocket_connect

from tests.conftest import need
from tests.support.ports import free_port

PATIENCE = 60  # seconds for whatever is waited for: the machine may be busy
LOOK = 0.03  # seconds from one look to the next
ENTER = "\ue007"
NO_SCRIPTS = "script-src 'none'"
# What Firefox reports like an error: a script that a policy forbids, a stream that fails.
NO_ERRORS = (NO_SCRIPTS, "?lastEventId=")


class Failed(Exception):
    """A command that the browser could not obey."""


def until(found: Callable[[], Any], wanted: object = True) -> Any:
    """Looks until what is found is what is wanted."""
    end = time.monotonic() + PATIENCE
    while (now := found()) != wanted:
        if time.monotonic() > end:
            raise AssertionError(f"found {now!r} instead of {wanted!r}")
        time.sleep(LOOK)
    return now


class Tab(ABC):
    """A window of a browser."""

    @abstractmethod
    def go(self, url: str) -> None:
        """Opens a page, and waits until it is loaded."""

    @abstractmethod
    def js(self, expression: str) -> Any:
        """The value of an expression in the page. Raises Failed."""

    @abstractmethod
    def act(self, source: dict[str, Any]) -> None:
        """What a keyboard or a mouse does, in the words of WebDriver."""

    @abstractmethod
    def close(self) -> None: ...

    def see(self, expression: str, wanted: object = True) -> None:
        """Waits until the expression has that value; a page that is being left has none."""

        def found() -> Any:
            with suppress(Failed):
                return self.js(expression)

        try:
            until(found, wanted)
        except AssertionError as error:
            raise AssertionError(f"{expression}: {error}") from None

    def type(self, text: str) -> None:
        strokes = [{"type": f"key{way}", "value": key} for key in text for way in ("Down", "Up")]
        self.act({"type": "key", "id": "keyboard", "actions": strokes})

    def click(self, selector: str) -> None:
        place = f"document.querySelector({json.dumps(selector)})?.getBoundingClientRect()"
        self.see(f"{place}?.width > 0")
        box = self.js(place)
        x, y = (round(box[side] + box[size] / 2) for side, size in (("x", "width"), ("y", "height")))
        moves = [
            {"type": "pointerMove", "x": x, "y": y, "duration": 0},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        self.act({"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": moves})


OpenTab = Callable[[], Tab]


class Bidi:
    """A connection that speaks WebDriver BiDi, in a thread of its own: tests may have a loop already."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._connection: WebSocketClientConnection = self._wait(self._connect(url))
        self._count = 0
        self.errors: list[str] = []  # what scripts have thrown, and nobody caught

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        return self._wait(self._command(method, params))

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    @staticmethod
    async def _connect(url: str) -> WebSocketClientConnection:
        return await websocket_connect(url)

    async def _command(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._count += 1
        await self._connection.write_message(
            json.dumps({"id": self._count, "method": method, "params": params})
        )
        while True:
            message = await self._connection.read_message()
            if message is None:
                raise Failed("the browser has gone")
            said = json.loads(message)
            if said.get("method") == "log.entryAdded" and said["params"]["type"] == "javascript":
                self.errors.append(said["params"]["text"])
            if said.get("id") != self._count:
                continue
            if said["type"] == "error":
                raise Failed(said["message"])
            return said["result"]

    def close(self) -> None:
        with suppress(Failed, TimeoutError):
            self("browser.close")
            self._wait(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._connection.close()
        while await self._connection.read_message() is not None:
            pass


class FirefoxTab(Tab):
    def __init__(self, bidi: Bidi) -> None:
        self._bidi = bidi
        self._id = bidi("browsingContext.create", type="window")["context"]

    def go(self, url: str) -> None:
        self._bidi("browsingContext.navigate", context=self._id, url=url, wait="complete")

    def js(self, expression: str) -> Any:
        said = self._bidi(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({expression})))()",
            target={"context": self._id},
            awaitPromise=True,
        )
        if said["type"] == "exception":
            raise Failed(said["exceptionDetails"]["text"])
        return json.loads(said["result"].get("value", "null"))

    def act(self, source: dict[str, Any]) -> None:
        self._bidi("input.performActions", context=self._id, actions=[source])

    def close(self) -> None:
        self._bidi("browsingContext.close", context=self._id)


@contextmanager
def firefox() -> Iterator[OpenTab]:
    program = "firefox" if shutil.which("firefox") and not shutil.which("firefox-esr") else "firefox-esr"
    need(program)
    with ExitStack() as ends:
        profile = Path(ends.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        process = subprocess.Popen(
            [program, "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port=0"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        ends.callback(process.wait)
        ends.callback(process.terminate)
        told = profile / "WebDriverBiDiServer.json"
        until(lambda: told.exists() and told.stat().st_size > 0)
        server = json.loads(told.read_text())
        bidi = Bidi(f"ws://{server['ws_host']}:{server['ws_port']}/session")
        ends.callback(bidi.close)
        bidi("session.new", capabilities={})
        bidi("session.subscribe", events=["log.entryAdded"])
        yield lambda: FirefoxTab(bidi)
        if errors := [error for error in bidi.errors if not any(words in error for words in NO_ERRORS)]:
            raise AssertionError(f"scripts have failed: {errors}")


class WebDriver:
    """A session of a browser behind a WebDriver."""

    def __init__(self, url: str) -> None:
        self._url, self._path = url, "session"
        answer = self("POST", "", {"capabilities": {"alwaysMatch": {}}})
        self._path = f"session/{answer['sessionId']}"
        self.first: str = self("GET", "/window")
        self._window = self.first  # the one that is spoken to

    def at(self, window: str) -> WebDriver:
        """Speaks to that window from now on."""
        if self._window != window:
            self("POST", "/window", {"handle": window})
            self._window = window
        return self

    def __call__(self, method: str, command: str, body: dict[str, Any] | None = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(
            f"{self._url}/{self._path}{command}", content, headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise Failed("{error}: {message}".format(**json.load(error)["value"])) from None


class WebKitTab(Tab):
    def __init__(self, session: WebDriver) -> None:
        self._session = session
        self._handle = session.at(session.first)("POST", "/window/new", {"type": "window"})["handle"]

    def _ask(self, method: str, command: str, body: dict[str, Any] | None = None) -> Any:
        return self._session.at(self._handle)(method, command, body)

    def go(self, url: str) -> None:
        self._ask("POST", "/url", {"url": url})

    def js(self, expression: str) -> Any:
        script = f"return (async () => JSON.stringify(await ({expression})))()"
        return json.loads(self._ask("POST", "/execute/sync", {"script": script, "args": []}) or "null")

    def act(self, source: dict[str, Any]) -> None:
        self._ask("POST", "/actions", {"actions": [source]})

    def close(self) -> None:
        self._ask("DELETE", "/window")


@contextmanager
def display() -> Iterator[str]:
    """A screen that nobody sees."""
    need("Xvfb")
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", f"{writing}", "-screen", "0", "1280x900x24", "-nolisten", "tcp"]
    process = subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL)
    os.close(writing)
    try:
        with os.fdopen(reading) as told:
            yield f":{told.readline().strip()}"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def webkit() -> Iterator[OpenTab]:
    need("WebKitWebDriver")
    port = free_port()
    with display() as screen:
        process = subprocess.Popen(
            ["WebKitWebDriver", f"--port={port}"],
            env={**os.environ, "DISPLAY": screen, "GDK_BACKEND": "x11", "NO_AT_BRIDGE": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

        def listens() -> bool:
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/status"):
                return True
            return False

        try:
            until(listens)
            session = WebDriver(f"http://127.0.0.1:{port}")
            yield lambda: WebKitTab(session)
            session("DELETE", "")
        finally:
            process.terminate()
            process.wait()
