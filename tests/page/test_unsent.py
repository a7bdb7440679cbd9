"""Unsent messages go by themselves: they wait, in order, survive their tab, and are sent once."""

from __future__ import annotations

import re
import uuid

import pytest
from playwright.sync_api import Route, expect

from tests.page.window import OPEN, Open, listen, run_clock, stop_clock, try_now
from tests.support.browser import (
    BreakingProxy,
    ScriptedStream,
    ServerProcess,
    event,
    history,
    messages_url,
    post,
    wire_message,
)

POSTS = "**/messages/"


def sent(url: str, room: str) -> list[str]:
    return [message["text"] for message in history(url, room)]


@pytest.mark.parametrize("status", [0, 500, 503, 530, 200])
def test_what_cannot_be_sent_goes_by_itself_in_its_order(
    window: Open, url: str, room: str, status: int
) -> None:
    ann = window()
    ann.page.clock.install()
    ann.open()

    def fail(route: Route) -> None:
        route.fulfill(status=status, content_type="text/html", body="<h1>x</h1>") if status else route.abort()

    ann.page.route(POSTS, fail)
    for text in ("one", "two", "three"):
        ann.say(text)
    band = ann.page.locator(".band")
    run_clock(ann.page, lambda: "3 messages are sent" in (band.text_content() or ""))
    for text in ("one", "two", "three"):
        expect(ann.row(text)).to_have_attribute("data-state", "waiting")
    expect(ann.log.get_by_text(re.compile("^waiting for the "))).to_have_count(1)
    expect(ann.log.get_by_role("button", name="Retry")).to_have_count(0)
    ann.page.unroute(POSTS)
    run_clock(ann.page, lambda: len(sent(url, room)) == 3)
    assert sent(url, room) == ["one", "two", "three"]
    expect(ann.row("three")).to_have_attribute("data-id", "3")
    expect(band).to_have_class(re.compile("calm"))
    expect(ann.button("Try now")).to_be_hidden()


def test_one_try_and_one_discard_for_all(window: Open, url: str, room: str) -> None:
    ann = window()
    ann.page.clock.install()
    ann.open()
    ann.page.clock.pause_at("2100-01-01")
    ann.page.route(POSTS, lambda route: route.abort())
    for text in ("one", "two"):
        ann.say(text)
    run_clock(ann.page, lambda: ann.button("Discard").is_visible())
    ann.button("Discard").click()
    expect(ann.rows).to_have_count(0)
    expect(ann.text).to_be_focused()
    expect(ann.button("Try now")).to_be_hidden()
    for text in ("three", "four"):
        ann.say(text)
    run_clock(ann.page, lambda: ann.button("Try now").is_visible())
    ann.page.unroute(POSTS)
    try_now(ann.page)
    run_clock(ann.page, lambda: ann.row("four").get_attribute("data-id") == "2")
    assert sent(url, room) == ["three", "four"]


def test_one_more_message_that_waits_is_told_once_and_rightly(window: Open) -> None:
    ann = window().open()
    ann.page.route(POSTS, lambda route: route.abort())
    ann.say("one")
    band = ann.page.locator(".band p")
    expect(band).to_contain_text("Your message is sent")
    band.evaluate(
        """band => {
            window.told = [];
            new MutationObserver(() => told.push(band.textContent)).observe(band, { childList: true });
        }"""
    )
    ann.say("two")
    expect(band).to_contain_text("Your 2 messages are sent")
    ann.say("three")
    expect(band).to_contain_text("Your 3 messages are sent")
    told = ann.page.evaluate("() => told")
    assert [text for text in told if "Keep this page open." in text] == []


def test_who_discards_what_waits_can_type_although_the_server_is_still_gone(
    window: Open, server: ServerProcess, room: str
) -> None:
    proxy = BreakingProxy(server.port)
    ann = window(url=proxy.url)
    ann.page.clock.install()
    ann.open()
    proxy.break_with("502")
    run_clock(ann.page, lambda: "cannot be reached" in (ann.page.locator(".band").text_content() or ""))
    ann.say("one")
    ann.button("Discard").click()
    expect(ann.rows).to_have_count(0)
    expect(ann.button("Try now")).to_be_visible()
    expect(ann.button("Discard")).to_be_hidden()
    expect(ann.text).to_be_focused()
    proxy.close()


def test_a_server_that_is_gone_is_one_calm_band(window: Open, server: ServerProcess, room: str) -> None:
    proxy = BreakingProxy(server.port)
    ann = window(url=proxy.url)
    ann.page.clock.install()
    ann.open()
    band = ann.page.locator(".band")
    proxy.break_with("502")
    run_clock(ann.page, lambda: "The server cannot be reached." in (band.text_content() or ""))
    ann.say("patient")
    expect(band).to_contain_text("Your message is sent as soon as possible.")
    expect(ann.page.get_by_role("alert")).to_have_count(0)
    stop_clock(ann.page)
    proxy.break_with(None)
    try_now(ann.page)
    ann.page.clock.resume()
    expect(ann.row("patient")).to_have_attribute("data-id", "1")
    expect(ann.status).to_have_text("Connected")
    expect(band).to_have_class("band calm")
    proxy.close()


def test_unsent_messages_survive_their_tab_and_are_sent_by_the_next_page(
    window: Open, url: str, room: str
) -> None:
    ann = window().open()
    ann.page.route(POSTS, lambda route: route.abort())
    ann.say("one")
    ann.say("two")
    expect(ann.row("two")).to_have_attribute("data-state", "waiting")
    later = ann.context.new_page()
    ann.page.close(run_before_unload=True)
    later.goto(f"{url}{room}?user=Ann")
    expect(later.locator("li[data-id='2']")).to_contain_text("two")
    assert sent(url, room) == ["one", "two"]


def test_a_tab_goes_on_with_what_another_one_leaves_and_never_sends_twice(
    window: Open, url: str, room: str
) -> None:
    first = window().open()
    other = window(beside=first).open()
    posts: list[str] = []
    other.page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
    first.page.route(POSTS, lambda route: route.abort())
    first.say("shared")
    expect(other.row("shared")).to_be_visible()
    assert posts == []
    first.page.close()
    expect(other.row("shared")).to_have_attribute("data-id", "1")
    assert len(posts) == 1
    assert sent(url, room) == ["shared"]


def test_who_goes_on_repeats_the_position_at_which_it_was_first_sent(
    window: Open, url: str, room: str
) -> None:
    first = window().open()
    other = window(beside=first).open()
    posts: list[dict[str, object]] = []
    for tab in (first, other):
        tab.page.on(
            "request", lambda request: posts.append(request.post_data_json) if request.post_data else None
        )
    first.page.route(POSTS, lambda route: route.abort())
    first.say("shared")
    expect(first.row("shared")).to_have_attribute("data-state", "waiting")
    post(url, room, "Bob", "meanwhile")
    expect(other.row("meanwhile")).to_have_attribute("data-id", "1")
    first.page.close()
    expect(other.row("shared")).to_have_attribute("data-id", "2")
    assert {str(said["lastEventId"]) for said in posts} == {"0"}
    assert len(posts) > 1


def test_discarding_in_one_tab_is_heard_by_the_others(window: Open, url: str, room: str) -> None:
    first = window().open()
    other = window(beside=first).open()
    first.page.route(POSTS, lambda route: route.fulfill(status=400, json={"error": {"message": "no"}}))
    first.say("doomed")
    expect(other.row("doomed")).to_contain_text("Not sent: no.")
    other.button("Discard").click()
    for tab in (first, other):
        expect(tab.rows).to_have_count(0)


@pytest.mark.parametrize(("status", "words"), [(401, "not signed in"), (403, "may not write")])
def test_a_missing_right_says_what_to_do(window: Open, status: int, words: str) -> None:
    ann = window().open()
    error = {"error": {"code": "x", "message": "x"}}
    ann.page.route(POSTS, lambda route: route.fulfill(status=status, json=error))
    ann.say("not for me")
    expect(ann.row("not for me")).to_contain_text(words)
    ann.page.unroute(POSTS)
    ann.page.reload()  # perhaps with another session
    expect(ann.row("not for me")).to_have_attribute("data-id", "1")


@pytest.mark.parametrize("kept", [True, False])
def test_the_browser_asks_before_it_leaves_only_where_a_message_would_be_lost(
    window: Open, kept: bool
) -> None:
    ann = window()
    if not kept:
        ann.context.add_init_script("delete Navigator.prototype.locks")
    ann.open()
    guarded = "() => Boolean(window.onbeforeunload)"
    assert not ann.page.evaluate(guarded)
    ann.page.route(POSTS, lambda route: route.abort())
    ann.say("dear")
    expect(ann.row("dear")).to_have_attribute("data-state", "waiting")
    assert ann.page.evaluate(guarded) is not kept


def test_what_another_tab_writes_late_of_a_message_that_was_sent_makes_no_second_row(window: Open) -> None:
    """Its storage events come late where it is busy: by then the message is sent, and its item gone."""
    ann = window().open()
    beside = window("Ann", beside=ann).open()
    beside.page.evaluate(
        """() => addEventListener("storage", ({ key, newValue }) => {
            if (key.includes(":unsent:") && newValue) (window.written ??= []).push([key, newValue]);
        })"""
    )
    ann.say("once")
    for tab in (ann, beside):
        expect(tab.row("once")).to_have_attribute("data-id", "1")
    [key, record] = beside.page.evaluate("() => window.written[0]")
    late = """([key, newValue]) => {
        dispatchEvent(new StorageEvent("storage", { key, newValue }));
        return localStorage.getItem(key);
    }"""
    for tab in (ann, beside):
        assert tab.page.evaluate(late, [key, record]) is None, "it is not written again"
        expect(tab.row("once")).to_have_count(1)
    another = str(uuid.uuid4())
    unknown = [text.replace(key[-36:], another) for text in (key, record.replace("once", "gone by now"))]
    assert beside.page.evaluate(late, unknown) is None, "nor is one that was never heard of here"
    expect(beside.row("gone by now")).to_have_count(0)


def test_what_another_tab_sends_is_one_row_also_if_the_stream_is_quicker_than_that_tab(
    window: Open, room: str
) -> None:
    ann = window()
    message = wire_message(None, "Ann", "once", 7)
    stream = ScriptedStream(ann.page, OPEN + event("message", message))
    ann.open(connected=False)
    expect(ann.row("once")).to_have_attribute("data-state", "provisional")
    expect(ann.log).to_have_attribute("aria-live", "polite")
    listen(ann.page)
    ann.page.evaluate(
        """async ([path, { text, date, provisionalId }]) => {
            const key = `flychat:unsent:${path}:Ann:${provisionalId}`;
            const newValue = JSON.stringify({ message: { text, date, provisionalId }, order: 1 });
            await new Promise((has) => navigator.locks.request(key, () => new Promise(() => has())));
            localStorage.setItem(key, newValue);
            dispatchEvent(new StorageEvent("storage", { key, newValue }));
        }""",
        [messages_url("/", room), message],
    )
    expect(ann.row("once")).to_have_count(1)
    stream.then(OPEN + event("message", {"id": 1, **message}))
    expect(ann.row("once")).to_have_attribute("data-id", "1")
    assert [text for text in ann.page.evaluate("() => window.spoken") if "once" in text] == [], "not again"
