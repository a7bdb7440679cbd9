"""A browser that remembers what it should not, or refuses to remember, costs comfort and not the page."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

from tests.page.window import Open
from tests.support.browser import post

DENIED = {
    "storage": """for (const name of ["localStorage", "sessionStorage"])
        Object.defineProperty(window, name, { get() { throw new DOMException("denied", "SecurityError") } });""",
    "cookies": """Object.defineProperty(Document.prototype, "cookie", { get: () => "", set() {} });""",
    "locks": """LockManager.prototype.request = async () => {
        throw new DOMException("denied", "SecurityError");
    };""",
    "channels": """window.BroadcastChannel = class {
        constructor() { throw new DOMException("denied", "SecurityError") }
    };""",
}


LEFT = [{"rooms": ["a"]}, 7, True, None, "text", [None, 7, {"text": 1}, ["a"]]]


def test_what_another_version_left_does_not_kill_the_page(window: Open) -> None:
    ann = window().open()
    ann.say("first")
    expect(ann.row("first")).to_have_attribute("data-id", "1")
    for id, left in enumerate(LEFT, 2):
        ann.page.evaluate(
            """left => {
                for (const area of [localStorage, sessionStorage]) {
                    for (const name of Object.keys(area)) area.setItem(name, left);
                    for (const name of ["rooms", "sent", "user"]) area.setItem(`flychat:${name}`, left);
                    area.setItem("flychat:outbox:other", left);
                }
            }""",
            json.dumps(left),
        )
        ann.page.goto(ann.url + ann.page.url.rpartition("/")[2].partition("?")[0] + "?user=Ann")
        expect(ann.status).to_have_text("Connected")
        ann.page.reload()
        ann.say(f"after {left}")
        expect(ann.rows.last).to_have_attribute("data-id", f"{id}")


@pytest.mark.parametrize("what", [*DENIED, "everything"])
def test_a_browser_that_denies_something_has_a_page_that_works(
    window: Open, url: str, room: str, what: str
) -> None:
    ann = window()
    for name, script in DENIED.items():
        if what in (name, "everything"):
            ann.context.add_init_script(script)
    ann.open()
    other = window("Ann", beside=ann).open()
    ann.say("from here")
    expect(ann.row("from here")).to_have_attribute("data-id", "1")
    post(url, room, "Bob", "to both")
    for tab in (ann, other):
        expect(tab.row("from here")).to_have_attribute("data-id", "1")
        expect(tab.row("to both")).to_have_attribute("data-id", "2")
    if what in ("cookies", "everything"):
        ann.context.clear_cookies()  # as if the server's had been denied as well
    ann.page.reload()
    expect(ann.status).to_have_text("Connected")
    expect(ann.page.get_by_text("You are Ann.")).to_be_attached()


def test_a_link_that_may_not_be_copied_says_so(window: Open) -> None:
    ann = window()
    ann.context.add_init_script(
        """Clipboard.prototype.writeText = async () => {
            throw new DOMException("denied", "NotAllowedError");
        };"""
    )
    ann.open()
    ann.button("Copy link").click()
    expect(ann.page.locator("#share")).to_contain_text("copy the address of the page")
