"""Trying again: a message that was not answered is sent again under its id, with patience, or left to its author."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.page.window import OPEN, Held, Open, seed, stop_clock, try_now
from tests.support.browser import ScriptedStream, history


def test_a_failed_message_keeps_its_text_and_is_retried_under_the_same_id(
    window: Open, url: str, room: str
) -> None:
    ann = window()
    ann.page.clock.install()
    ScriptedStream(ann.page, OPEN)  # which never tells that the message was stored
    ann.open(connected=False)
    stop_clock(ann.page)  # it waits until that has been seen
    bodies: list[dict[str, Any]] = []

    def lose_the_answer(route: Route) -> None:
        bodies.append(route.request.post_data_json)
        route.fetch()
        route.abort()

    ann.page.route("**/messages/", lose_the_answer, times=1)
    ann.say("precious")
    expect(ann.row("precious")).to_contain_text("waiting for the connection")
    with ann.page.expect_request("**/messages/") as request:
        ann.page.clock.resume()
    assert request.value.post_data_json == bodies[0]
    expect(ann.row("precious")).to_have_attribute("data-state", "stored")
    expect(ann.page.locator(".band")).not_to_contain_text("Your message")
    assert [message["text"] for message in history(url, room)] == ["precious"]


class NoPosts:
    """A page whose POSTs fail, until they may pass; `bodies` are theirs.

    A route of Playwright's may miss what a document sends as soon as it is there, after a reload.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        script = """(() => {
            const real = fetch;
            window.fetch = async (path, options) => {
                if (options?.method !== "POST" || sessionStorage.pass) return real(path, options);
                const bodies = JSON.parse(sessionStorage.bodies ?? "[]");
                sessionStorage.bodies = JSON.stringify([...bodies, JSON.parse(options.body)]);
                throw new TypeError("not now");
            };
        })()"""
        page.add_init_script(script)
        page.evaluate(script)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return self._page.evaluate("() => JSON.parse(sessionStorage.bodies ?? '[]')")

    def wait_for_another(self, by: Callable[[], Any]) -> None:
        before = len(self.bodies)
        by()
        self._page.wait_for_function(
            "before => JSON.parse(sessionStorage.bodies ?? '[]').length > before", arg=before
        )

    def let_pass(self) -> None:
        self._page.evaluate("() => { sessionStorage.pass = 'yes'; }")


def test_a_repeat_carries_the_position_at_which_the_message_was_first_sent(
    window: Open, url: str, room: str
) -> None:
    seed(url, room, 2)
    ann = window().open()
    posts = NoPosts(ann.page)
    posts.wait_for_another(lambda: ann.say("patient"))
    seed(url, room, 2)
    expect(ann.log.locator("li[data-id='4']")).to_be_attached()
    posts.wait_for_another(lambda: try_now(ann.page))
    posts.wait_for_another(ann.page.reload)
    expect(ann.row("patient")).to_have_attribute("data-state", "waiting")
    first, *others = posts.bodies
    assert others == [first] * len(others)
    assert first["lastEventId"] == 2
    posts.let_pass()
    expect(ann.row("patient")).to_have_attribute("data-id", "5")


def test_what_waits_for_another_message_has_the_position_of_when_it_is_sent_itself(
    window: Open, url: str, room: str
) -> None:
    ann = window().open()
    held = Held(ann.page, "**/messages/")
    with ann.page.expect_request("**/messages/") as first:
        ann.say("one")
    ann.say("two")
    seed(url, room, 2)
    expect(ann.log.locator("li[data-id='2']")).to_be_attached()
    with ann.page.expect_request("**/messages/") as second:
        held.first.continue_()
    assert first.value.post_data_json["lastEventId"] == 0
    assert second.value.post_data_json["lastEventId"] in (2, 3)  # 3 is "one", if the stream was quicker
    expect(ann.row("one")).to_have_attribute("data-id", "3")
    seed(url, room, 1)
    with ann.page.expect_request("**/messages/") as repeat:
        ann.page.reload()
    ann.page.unroute("**/messages/")
    assert repeat.value.post_data_json == second.value.post_data_json
    expect(ann.row("two")).to_have_attribute("data-id", "5")


def test_a_repeat_that_comes_too_late_to_be_looked_for_is_left_to_the_person(
    window: Open, url: str, room: str
) -> None:
    ann = window().open()
    refusal = {"error": {"code": "too_old", "message": "the servers own words"}}
    bodies: list[dict[str, Any]] = []

    def refuse(route: Route) -> None:
        bodies.append(route.request.post_data_json)
        route.fulfill(status=409, json=refusal)

    ann.page.route("**/messages/", refuse, times=1)
    ann.say("from long ago")
    expect(ann.row("from long ago")).to_contain_text("may be above already")
    expect(ann.button("Retry")).to_have_count(0)
    expect(ann.button("Discard")).to_be_visible()
    with ann.page.expect_request("**/messages/") as request:
        ann.button("Send anew").click()
    assert request.value.post_data_json["provisionalId"] != bodies[0]["provisionalId"]
    expect(ann.row("from long ago")).to_have_attribute("data-id", "1")
    expect(ann.rows).to_have_count(1)
    ann.page.reload()
    expect(ann.status).to_have_text("Connected")
    assert [row["text"] for row in ann.shown()] == ["from long ago"]


def test_a_failed_message_survives_a_reload_and_can_be_discarded(window: Open, url: str, room: str) -> None:
    ann = window().open()
    NoPosts(ann.page)
    ann.say("doomed")
    expect(ann.row("doomed")).to_have_attribute("data-state", "waiting")
    ann.page.reload()
    expect(ann.row("doomed")).to_have_attribute("data-state", "waiting")
    ann.button("Discard").click()
    expect(ann.row("doomed")).to_have_count(0)
    expect(ann.text).to_be_focused()
    ann.page.reload()
    expect(ann.status).to_have_text("Connected")
    assert ann.shown() == []
    assert history(url, room) == []


@pytest.mark.parametrize(
    ("status", "words"),
    [(429, "Too many messages"), (503, "The server is busy")],
)
def test_a_server_that_asks_for_patience_is_explained_and_obeyed(
    window: Open, status: int, words: str
) -> None:
    ann = window()
    ann.page.clock.install()
    ann.open()
    ann.page.route(
        "**/messages/",
        lambda route: route.fulfill(
            status=status, headers={"Retry-After": "7"}, json={"error": {"code": "x", "message": "y"}}
        ),
        times=1,
    )
    stop_clock(ann.page)
    ann.say("first")
    ann.say("second")
    expect(ann.row("first")).to_contain_text("waiting for the server")
    expect(ann.row("second")).to_have_attribute("data-state", "waiting")
    ann.page.clock.run_for(3_500)
    expect(ann.page.locator(".band")).to_contain_text(words)
    expect(ann.page.locator(".band")).to_contain_text(re.compile("Next try in [1-4] s"))
    posts: list[str] = []
    ann.page.on("request", lambda request: posts.append(request.method) if request.method == "POST" else None)
    with ann.page.expect_event("request", lambda request: "lastEventId" in request.url):
        ann.page.evaluate("() => dispatchEvent(new Event('online'))")  # a new stream, but no message
    expect(ann.status).to_have_text("Connected")
    assert posts == []
    expect(ann.row("first")).not_to_have_attribute("data-id", "1")
    ann.page.clock.fast_forward(7_000)
    ann.page.clock.resume()
    expect(ann.row("second")).to_have_attribute("data-id", "2")  # in the order in which they were written
    expect(ann.row("first")).to_have_attribute("data-id", "1")


def test_a_long_wait_can_be_cut_short(window: Open) -> None:
    ann = window().open()
    headers = {"Retry-After": "150"}
    ann.page.route("**/messages/", lambda route: route.fulfill(status=503, headers=headers, json={}), times=1)
    ann.say("patient")
    expect(ann.page.locator(".band")).to_contain_text("The server is busy.")
    expect(ann.page.locator(".band")).to_contain_text("Next try in 3 min")
    ann.button("Try now").click()
    expect(ann.row("patient")).to_have_attribute("data-id", "1")


def test_messages_behind_one_that_cannot_be_sent_are_told_with_it(window: Open) -> None:
    ann = window()
    ann.page.clock.install()
    ann.open()
    held = Held(ann.page, "**/messages/")
    texts = ["one", "two", "three"]
    for text in texts:
        ann.say(text)
        expect(ann.row(text)).to_have_attribute("data-state", "pending")
    ann.page.clock.fast_forward(3_100)
    expect(ann.log.get_by_text("sending…")).to_have_count(3)
    stop_clock(ann.page)  # the next try of the first one
    held.first.abort()
    for text in texts:
        expect(ann.row(text)).to_have_attribute("data-state", "waiting")
    assert len(held.routes) == 1


def test_a_failed_message_waits_for_the_name_that_it_was_written_under(window: Open) -> None:
    ann = window().open()
    NoPosts(ann.page)
    ann.say("doomed")
    expect(ann.row("doomed")).to_have_attribute("data-state", "waiting")
    ann.user = "Bob"
    ann.open()
    expect(ann.row("doomed")).to_have_count(0)
    ann.user = "Ann"
    ann.open()
    expect(ann.row("doomed")).to_have_attribute("data-state", "waiting")
