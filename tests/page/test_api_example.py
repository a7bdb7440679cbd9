"""The JavaScript of docs/api.md, as it stands there, in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.page.window import PATIENCE
from tests.support.browser import (
    ROOT,
    BreakingProxy,
    ScriptedStream,
    ServerProcess,
    event,
    messages_url,
    post,
    reset,
    wire_message,
)

(SCRIPT,) = re.findall(r"(?s)```js\n(function follow.*?)```", (ROOT / "docs" / "api.md").read_text())
OPEN = event("stream-open", {})
GONE = 502


@pytest.fixture
def blank(browser: Browser, url: str) -> Iterator[Page]:
    """A page of the server's origin, without scripts; the browser's clock is the test's."""
    page = browser.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    page.clock.install()
    page.goto(f"{url}healthz")
    page.add_script_tag(content=SCRIPT)
    yield page
    page.close()


def begin(page: Page, url: str, room: str) -> None:
    page.evaluate("url => follow(url, (messages) => { window.shown = messages; })", messages_url(url, room))


def wait(page: Page, *shown: tuple[int | None, str]) -> None:
    """Until just these are shown: (id, text)."""
    wanted = [[id, text] for id, text in shown]
    page.wait_for_function(
        """wanted => JSON.stringify((window.shown ?? []).map((m) => [m.id ?? null, m.text]))
            === JSON.stringify(wanted)""",
        arg=wanted,
    )


def message(id: int | None, key: int, **more: Any) -> str:
    return event("message", {**wire_message(id, "ann", f"text {key}", key), **more})


def test_it_has_fifteen_lines_or_little_more():
    assert len(SCRIPT.splitlines()) <= 18


def test_messages_are_shown_once_whatever_comes_twice_or_late(blank, url, room):
    stream = ScriptedStream(
        blank,
        OPEN
        + message(1, 1)
        + message(None, 2)  # on its way
        + message(None, 1)  # late: it is official already
        + message(2, 2)
        + message(2, 2)  # twice
        + message(None, 3)
        + message(None, 4)
        + event("retraction", {"provisionalId": f"00000000-0000-4000-8000-{3:012}"})
        + event("retraction", {"provisionalId": f"00000000-0000-4000-8000-{4:012}", "user": "eve"}),
    )
    begin(blank, url, room)
    wait(blank, (1, "text 1"), (2, "text 2"), (None, "text 4"))
    stream.then(OPEN + message(3, 4))  # it has come back by itself
    blank.clock.run_for(10_000)
    wait(blank, (1, "text 1"), (2, "text 2"), (3, "text 4"))


def test_what_was_lost_on_the_way_is_not_shown_for_ever(blank, url, room):
    ScriptedStream(blank, OPEN + message(1, 1) + message(None, 2) + event("keep-alive", {}))
    begin(blank, url, room)
    wait(blank, (1, "text 1"))


def test_after_a_reset_it_begins_anew(blank, url, room):
    ScriptedStream(
        blank, OPEN + message(7, 1) + message(None, 2) + reset("ahead", 2) + message(1, 3) + message(2, 4)
    )
    begin(blank, url, room)
    wait(blank, (1, "text 3"), (2, "text 4"))


def test_what_is_removed_is_shown_no_more(blank, url, room):
    ScriptedStream(blank, OPEN + message(1, 1) + message(2, 2) + message(3, 3, removes=[1, 7]))
    begin(blank, url, room)
    wait(blank, (1, ""), (2, "text 2"), (3, "text 3"))


def test_when_the_right_to_read_has_ended_nothing_is_asked_for_any_more(blank, url, room):
    stream = ScriptedStream(blank, OPEN + message(1, 1) + event("stream-end", {"reason": "revoked"}), OPEN)
    begin(blank, url, room)
    wait(blank, (1, "text 1"))
    blank.clock.run_for(120_000)
    assert len(stream.positions) == 1


def test_it_comes_back_after_an_error_and_after_silence(blank, url, room):
    stream = ScriptedStream(blank, GONE, OPEN + message(1, 1))
    begin(blank, url, room)
    while not stream.positions[1:]:
        blank.clock.run_for(1000)
    wait(blank, (1, "text 1"))
    while len(stream.positions) < 4:  # by itself, which is answered with silence; and then anew
        blank.clock.run_for(1000)
    assert stream.positions[:2] == ["", ""]
    assert stream.positions[-1] == "1"


def test_nothing_is_missed_or_doubled_while_the_server_is_away(browser, mortal: ServerProcess, room):
    proxy = BreakingProxy(mortal.port)
    page = browser.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    try:
        post(mortal.url, room, "ann", "one")
        page.goto(f"{proxy.url}healthz")
        page.add_script_tag(content=SCRIPT.replace("50_000", "2_000").replace("9000", "100"))
        begin(page, proxy.url, room)
        wait(page, (1, "one"))
        proxy.break_with("502")
        post(mortal.url, room, "ann", "two")
        proxy.break_with("mute")
        post(mortal.url, room, "ann", "three")
        proxy.break_with(None)
        wait(page, (1, "one"), (2, "two"), (3, "three"))
    finally:
        page.close()
        proxy.close()
