"""What the tests of the page share."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime

import pytest
from playwright.sync_api import Error, Page, Request, Route, expect

from tests.support.browser import BreakingProxy, Window, event, post

OPEN = event("stream-open", {})
ANSWERED = 5.0  # seconds
PATIENCE = 60.0  # seconds: a server, or another page, has a time of its own, and the machine may be busy
FRAMES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
Open = Callable[..., Window]

expect.set_options(timeout=1000 * PATIENCE)


def seed(url: str, room: str, count: int, sender: str = "Bob") -> None:
    for number in range(1, count + 1):
        post(url, room, sender, f"message {number}")


def until(page: Page, condition: Callable[[], bool], what: str, pause: float = 0.01) -> None:
    """Waits for what only Python sees: the page's requests are heard of meanwhile."""
    ends = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > ends:
            pytest.fail(what)
        page.wait_for_timeout(1000 * pause)


def run_clock(page: Page, condition: Callable[[], bool]) -> None:
    """Lets five minutes of the page's time go by at once, and then PATIENCE as it comes, until the condition holds.

    While a request is not answered no time goes by, or a minute would have gone by at once on a busy machine; but
    that is waited for at most ANSWERED in all, since there may be none.
    """
    asked: set[Request] = set()
    heard: list[tuple[str, Callable[..., None]]] = [
        ("request", lambda request: asked.add(request)),
        ("response", lambda response: asked.discard(response.request)),
        ("requestfailed", lambda request: asked.discard(request)),
    ]
    waits = iter(range(int(ANSWERED / 0.05)))
    for name, handler in heard:
        page.on(name, handler)
    try:
        for _ in range(600):
            if condition():
                return
            while asked and next(waits, None) is not None:
                page.wait_for_timeout(50)
            page.clock.run_for(500)
    finally:
        for name, handler in heard:
            page.remove_listener(name, handler)
    until(page, condition, "it did not happen within five minutes of the page's time and a real one", 0.1)


def stop_clock(page: Page) -> None:
    """From now on the page tries nothing by itself: what the test is about to press is not gone by then."""
    while True:
        try:
            return page.clock.pause_at(page.evaluate("Date.now() / 1000") + 1)
        except Error as error:
            if "past" not in str(error):  # the second has gone by before it was said
                raise


def try_now(page: Page) -> None:
    """Presses that button, which is hidden where a try of the page's own, under way before, was quicker."""
    page.get_by_text("Try now", exact=True).dispatch_event("click")


def older(page: Page) -> None:
    """Presses that button, which is hidden where the page, once scrolled to it, was quicker to load all there is."""
    page.locator("#log").evaluate("log => { log.scrollTop = 0 }")
    page.get_by_text("Older messages", exact=True).dispatch_event("click")


class Held:
    """What a page asks for that fits the pattern: nobody answers, but the test."""

    def __init__(self, page: Page, pattern: str | re.Pattern[str]) -> None:
        self._page = page
        self.routes: list[Route] = []
        page.route(pattern, lambda route: self.routes.append(route))

    def __getitem__(self, number: int) -> Route:
        """The request of this number, from 0, which may be still to come."""
        until(self._page, lambda: len(self.routes) > number, "it was not asked for")
        return self.routes[number]

    @property
    def first(self) -> Route:
        return self[0]


def at_time(page: Page, date: str) -> None:
    """Pages that are loaded from now on come from a server where it is that time."""
    now = int(datetime.fromisoformat(date).timestamp() * 1000)

    def answer(route: Route) -> None:
        answer = route.fetch()
        body = re.sub(r'data-now="\d+"', f'data-now="{now}"', answer.text())
        route.fulfill(response=answer, body=body)

    page.route(re.compile(r"\?user="), answer)


def hide(page: Page, hidden: bool) -> None:
    """Headless windows are never hidden: this is how it looks to the page."""
    page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def streams(proxy: BreakingProxy) -> int:
    return sum("lastEventId" in line for line in proxy.requests)


def listen(page: Page) -> None:
    """Notes, in `spoken`, what a screen reader would be told of: rows, and texts in them."""
    page.evaluate(
        """() => {
            window.spoken = [];
            new MutationObserver(changes => {
                for (const { target, addedNodes } of changes)
                    if (target.closest("[aria-live]").getAttribute("aria-live") !== "off")
                        window.spoken.push(...[...addedNodes].map(node => node.textContent));
            }).observe(document.querySelector("[role=log]"), { childList: true, subtree: true });
        }"""
    )


def overflow(page: Page) -> int:
    return page.evaluate(
        """() => Math.max(...[document.scrollingElement, ...document.querySelectorAll("#log, .sheet, .card")]
            .map(element => element.scrollWidth - element.clientWidth))"""
    )


def talk(url: str, room: str) -> None:
    for name, text in [
        ("Mira", "Morning! Is the boat still on for Saturday?"),
        ("Jonas", "Yes, 9:30 at the north pier: https://example.org/harbour"),
        ("Jonas", "The forecast says light wind until noon."),
        ("Ann", "Great, I'll bring coffee and the good rolls."),
        ("Mira", "You are a hero, Ann."),
        ("Noor", "Is there room for one more?"),
        ("Ann", "Always! The more the merrier.\nWe need someone who can tie knots anyway."),
        ("Jonas", "Knots are my department."),
    ]:
        post(url, room, name, text)
