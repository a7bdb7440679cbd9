"""Helpers for tests in a browser: a server to kill, a proxy that breaks, and windows on the chat."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import (
    Browser,
    BrowserContext,
    Locator,
    Page,
    Request,
    Route,
    expect,
    sync_playwright,
)

from tests.conftest import need
from tests.support.npm import packages
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
CHROMIUM = ROOT / "tests" / "support" / "chromium"
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
COLOURS = ["color-contrast", "link-in-text-block"]  # the rules that a dark page can break by itself
STREAM = re.compile(r"/messages/(\?lastEventId=\d+)?$")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium; skips where there is none."""
    need("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


def messages_url(url: str, room: str) -> str:
    return f"{url}rooms/{quote(room, safe='')}/messages/"


def post(url: str, room: str, sender: str, text: str) -> dict[str, Any]:
    """Posts a message as a program would, again if nothing was done: for the rate, or too much work at once."""
    body = json.dumps({"from": sender, "text": text}).encode()
    while True:
        request = urllib.request.Request(messages_url(url, room), body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 429 and b'"overloaded"' not in error.read():
                    raise
                time.sleep(float(error.headers["Retry-After"]))


def history(url: str, room: str) -> list[dict[str, Any]]:
    """The newest 200 messages, as the server tells them."""
    with urllib.request.urlopen(messages_url(url, room) + "?limit=200") as answer:
        return json.load(answer)["messages"]


class ServerProcess:
    """A flychat in a process of its own, which keeps its port and its store when it is started again."""

    def __init__(self, store: Path, *arguments: str) -> None:
        self.store, self.arguments, self.port = store, arguments or ("--standalone",), free_port()

    def start(self) -> str:
        # The tests post faster than people do, and a flychat without the limit does not mind the variable.
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "flychat", *self.arguments),
                *("--port", str(self.port), "--store", f"sqlite:{self.store}"),
            ],
            cwd=ROOT,
            env={**os.environ, "FLYCHAT_RATE_LIMIT": "0", "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout
        line = self._process.stdout.readline()
        self.url = next(word for word in line.split() if word.startswith("http://"))
        return self.url

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self.wait()

    def wait(self) -> None:
        assert self._process.stdout
        self._process.wait(60)
        self._process.stdout.close()


def answer(status: str, body: str = "", headers: str = "Content-Type: text/html\r\n") -> str:
    """What a proxy answers by itself, as bytes on the wire."""
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"


BAD_GATEWAY = answer("502 Bad Gateway")


class BreakingProxy:
    """A TCP proxy in front of a server. `break_with(mode)` cuts what is open, unless told not to, and then:

    - "502": answers every request like a proxy that does not reach its server;
    - "mute": swallows every byte that the server sends (`swallowed`);
    - any other text: answers every request with it (see `answer`);
    - None: works, and adds `self.headers`, whole lines, behind those of every answer.
    """

    def __init__(self, port: int) -> None:
        self._target, self.mode = ("127.0.0.1", port), None
        self.headers, self.swallowed = "", b""
        self._open: set[socket.socket] = set()
        self.requests: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._thread(self._accept)

    def break_with(self, mode: str | None, *, cut: bool = True) -> None:
        self.mode = mode
        if cut:
            for end in list(self._open):
                self._cut(end)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.break_with("502")

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(client)
            self._thread(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            first = client.recv(65536)
            self._note(first)
            if answer := BAD_GATEWAY if self.mode == "502" else self.mode != "mute" and self.mode:
                client.sendall(answer.encode())
                client.shutdown(socket.SHUT_WR)
                while client.recv(65536):  # to close before that might take the answer back
                    pass
            else:
                server = socket.create_connection(self._target)
                self._open.add(server)
                server.sendall(first)
                self._thread(self._pump, server, client, True)
                self._pump(client, server)
        self._cut(client)

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool = False) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not answers:
                    self._note(data)
                if answers and self.headers and data.startswith(b"HTTP/1.1 "):
                    data = data.replace(b"\r\n\r\n", f"\r\n{self.headers}\r\n".encode(), 1)
                if answers and self.mode == "mute":
                    self.swallowed += data
                else:
                    sink.sendall(data)
        self._cut(source)
        self._cut(sink)

    def _note(self, data: bytes) -> None:
        if data.startswith((b"GET ", b"POST ")):
            self.requests.append(data.partition(b"\r\n")[0].decode())

    def _cut(self, end: socket.socket) -> None:
        self._open.discard(end)
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()

    @staticmethod
    def _thread(target: Any, *arguments: Any) -> None:
        threading.Thread(target=target, args=arguments, daemon=True).start()


class ScriptedStream:
    """Answers the stream requests of a page in place of the server: one body each, and then silence."""

    def __init__(self, page: Page, *answers: str | int) -> None:
        self._answers = list(answers)
        self._silent: list[Route] = []
        self.positions: list[str] = []
        page.on("request", self._note)
        page.route(STREAM, self._answer)

    def then(self, answer: str | int) -> None:
        """One more answer: for the stream that is silent by now, or for the next one."""
        self._answers.append(answer)
        if self._silent:
            self._answer(self._silent.pop())

    def _note(self, request: Request) -> None:
        if STREAM.search(request.url) and request.method == "GET":
            self.positions.append(request.url.partition("lastEventId=")[2])

    def _answer(self, route: Route) -> None:
        if route.request.method != "GET":
            return route.fallback()
        if not self._answers:
            return self._silent.append(route)  # a stream on which nothing happens
        answer = self._answers.pop(0)
        if isinstance(answer, int):
            return route.fulfill(status=answer, content_type="text/html", body="<h1>no stream</h1>")
        return route.fulfill(content_type="text/event-stream", body=answer)


def event(name: str, data: dict[str, Any], id: int | None = None) -> str:
    """A block as the server writes it, `id:` last; that of an official message is in its data."""
    id = data.get("id", id)
    id_line = "" if id is None else f"id: {id}\n"
    return f"event: {name}\ndata: {json.dumps(data)}\n{id_line}\n"


def reset(reason: str, last_id: int, before: int = 0) -> str:
    """A stream-reset of a log that ends at `last_id`; what follows it begins after `before`."""
    return event("stream-reset", {"reason": reason, "lastEventId": last_id}, before)


def wire_message(id: int | None, sender: str, text: str, key: int, date: str = "") -> dict[str, Any]:
    """A message as it stands on the wire; the number `key` stands for its provisional id."""
    message = {
        "from": sender,
        "text": text,
        "date": date or time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()),
        "provisionalId": f"00000000-0000-4000-8000-{key:012}",
    }
    return message if id is None else {"id": id, **message}


class Window:
    """A browser window of one person in one room. It minds what the console says."""

    def __init__(self, context: BrowserContext, url: str, room: str, user: str) -> None:
        self.context, self.url, self.room, self.user = context, url, room, user
        self.complaints: list[str] = []
        self.page = context.new_page()
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._console)
        self.log = self.page.get_by_role("log")
        self.rows = self.log.locator("li[data-key]")
        self.status = self.page.get_by_role("status")
        self.text = self.page.get_by_role("textbox", name="Message")

    def _console(self, message: Any) -> None:
        # The browser reports every request that fails; those are what many of the tests are about.
        failed = ("Failed to load resource", "EventSource's response")
        if message.type in ("error", "warning") and not message.text.startswith(failed):
            self.complaints.append(message.text)

    def open(self, connected: bool = True) -> Window:
        self.page.goto(f"{self.url}{quote(self.room, safe='')}?user={quote(self.user, safe='')}")
        if self.page.locator("[data-given]").count():  # another window of the browser has another name
            self.button("Join").click()
        if connected:
            expect(self.status).to_have_text("Connected")
        return self

    def say(self, text: str) -> None:
        self.text.fill(text)
        self.text.press("Enter")

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def row(self, text: str) -> Locator:
        return self.rows.filter(has=self.page.get_by_text(text, exact=True))

    def shown(self) -> list[dict[str, Any]]:
        """The rows, top to bottom: id, author, text."""
        return self.rows.evaluate_all(
            """rows => rows.map(row => ({
                id: row.dataset.id ? Number(row.dataset.id) : null,
                from: row.querySelector("bdi").dataset.name ?? row.querySelector("bdi").textContent,
                text: row.querySelector("p").textContent,
            }))"""
        )

    def ids(self) -> list[int | None]:
        return [row["id"] for row in self.shown()]

    def scroll(self, top: int) -> None:
        self.log.evaluate("(log, top) => { log.scrollTop = top }", top)

    def from_bottom(self) -> float:
        return self.log.evaluate("log => log.scrollHeight - log.scrollTop - log.clientHeight")


def axe_finds(page: Page, where: str = "") -> list[str]:
    """What axe-core has against the page as it is: all of its rules in light, those of colours in dark too."""
    source = (packages({"axe-core": "4.14.1"}) / "node_modules" / "axe-core" / "axe.min.js").read_text()
    page.evaluate(source + "; undefined")
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    only = {"light": {"type": "tag", "values": tags}, "dark": {"type": "rule", "values": COLOURS}}
    found = []
    for scheme, rules in only.items():
        page.emulate_media(color_scheme=scheme)
        result = page.evaluate("runOnly => axe.run({ runOnly })", rules)
        found += [
            f"{where}, {scheme}: {violation['id']}: {node['html']}"
            for violation in result["violations"]
            for node in violation["nodes"]
        ]
    page.emulate_media(color_scheme="light")
    return found
