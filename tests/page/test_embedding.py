"""A page of another origin shows a room with static/flychat.js, in the lines that stand in docs/api.md."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.page.window import PATIENCE
from tests.support.browser import ROOT, BreakingProxy, ServerProcess, post
from tests.support.ports import free_port
from tests.support.rights import options, token

(LINES,) = re.findall(r"(?s)```html\n(<ul>.*?)```", (ROOT / "docs" / "api.md").read_text())


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, dict[str, str]]]:
    """Another origin, and its pages by their paths."""
    pages: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path)
            self.send_response(200 if page else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write((page or "").encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", pages
    server.shutdown()
    server.server_close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    page.close()
    assert complaints == []


def test_the_lines_in_the_docs_are_twenty() -> None:
    assert len(LINES.splitlines()) <= 20


def test_a_page_of_another_origin_shows_a_room_and_writes_to_it(
    page: Page, elsewhere: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    origin, pages = elsewhere
    server = ServerProcess(tmp_path / "chat.db", "--standalone", "--cors-origin", origin)
    server.start()
    proxy = BreakingProxy(server.port)
    pages["/"] = LINES.replace("https://chat.example.org/", proxy.url)
    rows = page.locator("li")
    post(server.url, "tea", "Bob", "before")
    page.goto(f"{origin}/")
    expect(rows).to_have_text(["Bob: before"])
    post(server.url, "tea", "Bob", "live")
    expect(rows).to_have_text(["Bob: before", "Bob: live"])
    page.get_by_role("textbox").fill("from elsewhere")
    page.get_by_role("button").click()
    expect(rows).to_have_text(["Bob: before", "Bob: live", "Ann: from elsewhere"])
    expect(rows.last).to_have_class("stored")
    proxy.break_with("502")
    for text in ("one", "two"):
        post(server.url, "tea", "Bob", text)
    proxy.break_with(None)
    expect(rows).to_have_text(["Bob: before", "Bob: live", "Ann: from elsewhere", "Bob: one", "Bob: two"])
    server.kill()
    server.store = tmp_path / "another.db"
    server.start()
    post(server.url, "tea", "Bob", "a new world")
    expect(rows).to_have_text(["Bob: a new world"])
    server.kill()
    proxy.close()


def test_with_a_token_it_reads_a_private_room_and_without_a_right_it_is_told_so(
    page: Page, elsewhere: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    origin, pages = elsewhere
    server = ServerProcess(tmp_path / "chat.db", "--standalone", "--cors-origin", origin, *options(tmp_path))
    server.start()
    pages["/"] = f"""<ul></ul><script type="module">
        import {{ connect, post }} from "{server.url}static/flychat.js";
        const url = "{server.url}rooms/staff/messages/";
        const tell = (text) => document.querySelector("ul").append(
            Object.assign(document.createElement("li"), {{ textContent: text }}));
        const read = "{token(rooms={"staff": "r"})}";
        const room = connect(url, {{ token: read, provisional: false }});
        room.addEventListener("message", ({{ message }}) => tell(message.text));
        const other = connect(url, {{ token: "{token(rooms={})}" }});
        other.addEventListener("end", ({{ reason }}) => tell(reason));
        await post(url, {{ from: "Ann", text: "hello" }}, {{ token: async () => "{token()}" }});
        await post(url, {{ from: "Ann", text: "hello" }}, {{ token: read }}).catch(({{ status }}) => tell(status));
    </script>"""
    page.goto(f"{origin}/")
    rows = page.locator("li")
    expect(rows).to_have_count(3)
    assert sorted(rows.all_text_contents()) == ["403", "hello", "private"]
    server.stop()
