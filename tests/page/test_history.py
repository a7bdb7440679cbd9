"""History: older messages on the way up, and back down, without a jump or a hole."""

from __future__ import annotations

import re
import threading
from itertools import cycle

import pytest
from playwright.sync_api import Route, expect

from tests.page.window import OPEN, Held, Open, older, run_clock, seed
from tests.support.browser import (
    ScriptedStream,
    ServerProcess,
    Window,
    event,
    history,
    messages_url,
    post,
    reset,
    wire_message,
)

HISTORY = re.compile("limit=100")


def test_older_messages_are_loaded_on_the_way_up_without_a_jump(window: Open, url: str, room: str) -> None:
    seed(url, room, 170)
    ann = window().open()
    expect(ann.rows).to_have_count(50)
    ann.scroll(100)
    reading = ann.row("message 123").bounding_box()
    expect(ann.rows).to_have_count(150)
    after = ann.row("message 123").bounding_box()
    assert abs(after["y"] - reading["y"]) <= 1
    older(ann.page)
    expect(ann.rows).to_have_count(170)
    assert ann.ids() == list(range(1, 171))
    expect(ann.button("Older messages")).to_be_hidden()


def test_at_most_500_rows_are_kept_in_either_direction(
    window: Open, mortal: ServerProcess, room: str
) -> None:
    seed(mortal.url, room, 60)
    ann = window(url=mortal.url).open()
    threads = [threading.Thread(target=seed, args=(mortal.url, room, 60)) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(ann.log.locator("li[data-id='600']")).to_be_in_viewport()
    assert ann.ids() == list(range(101, 601))
    older(ann.page)
    expect(ann.log.locator("li[data-id='1']")).to_be_attached()
    assert ann.ids() == list(range(1, 501))
    post(mortal.url, room, "Bob", "far below")
    expect(ann.button("1 new")).to_be_visible()
    assert len(ann.ids()) == 500
    ann.scroll(10**6)  # the rows below come back
    expect(ann.log.locator("li[data-id='600']")).to_be_attached()
    ann.scroll(10**6)
    expect(ann.row("far below")).to_be_attached()
    assert ann.ids() == list(range(102, 602))
    ann.scroll(0)
    expect(ann.log.locator("li[data-id='2']")).to_be_attached()
    post(mortal.url, room, "Bob", "even farther")
    ann.page.get_by_role("button", name=re.compile(r"\d new")).click()
    expect(ann.row("even farther")).to_be_in_viewport()
    assert ann.ids()[-1] == 602
    assert len(ann.ids()) <= 500


def test_what_comes_while_somebody_reads_far_up_in_500_rows_is_counted_and_not_added(window: Open) -> None:
    ann = window()
    ann.page.clock.install()
    messages = [event("message", wire_message(n, "Bob", f"number {n}", n)) for n in range(1, 502)]
    stream = ScriptedStream(ann.page, OPEN + "".join(messages[:500]))
    ann.open(connected=False)
    expect(ann.rows).to_have_count(500)
    ann.scroll(600)
    expect(ann.button("Newest")).to_be_visible()
    run_clock(ann.page, lambda: len(stream.positions) >= 2)
    for key, more in ((901, ""), (902, messages[500]), (903, "")):
        provisional = event("message", wire_message(None, "Bob", "on its way", key))
        asked = len(stream.positions)
        stream.then(OPEN + provisional + more)
        run_clock(ann.page, lambda asked=asked: len(stream.positions) > asked)
        assert ann.ids() == list(range(1, 501))
    expect(ann.button("1 new")).to_be_visible()


def test_the_messages_on_the_way_are_fetched_before_scrolling_rests(
    window: Open, url: str, room: str
) -> None:
    seed(url, room, 60)
    ann = window()
    ann.page.clock.install()
    ann.open()
    ann.page.clock.pause_at("2100-01-01")
    with ann.page.expect_response(HISTORY) as answer:
        ann.scroll(300)
    answer.value.finished()
    expect(ann.rows).to_have_count(50)  # nothing moves under the finger
    run_clock(ann.page, lambda: ann.rows.count() == 60)


def detached(ann: Window) -> ScriptedStream:
    """Opens a window with 500 rows, from the second message on, and its reader far above the newest one."""
    messages = [event("message", wire_message(n, "Bob", f"number {n}", n)) for n in range(1, 503)]
    ann.page.clock.install()
    stream = ScriptedStream(ann.page, OPEN + "".join(messages[:501]))
    ann.open(connected=False)
    expect(ann.rows).to_have_count(500)
    ann.page.route(HISTORY, lambda route: route.abort())
    ann.scroll(0)
    stream.then(OPEN + messages[501])
    run_clock(ann.page, lambda: ann.button("1 new").is_visible())
    return stream


def answer_with(route: Route, *ids: int) -> None:
    messages = [wire_message(n, "Bob", f"number {n}", n) for n in ids]
    route.fulfill(json={"messages": messages, "lastEventId": ids[-1]})


def test_messages_that_cannot_be_loaded_leave_the_others_where_they_are(window: Open) -> None:
    ann = window()
    detached(ann)
    refusal = {"error": {"code": "unavailable", "message": "Please try again."}}
    ann.page.route(HISTORY, lambda route: route.fulfill(status=503, json=refusal))
    ann.button("1 new").click()
    expect(ann.page.get_by_text("The messages could not be loaded")).to_be_in_viewport()
    assert ann.ids() == list(range(2, 502))
    ann.page.clock.run_for(500)
    expect(ann.log).to_have_attribute("aria-live", "polite")
    ann.page.route(HISTORY, lambda route: answer_with(route, *range(403, 503)))
    ann.button("1 new").click()
    expect(ann.row("number 502")).to_be_in_viewport()
    expect(ann.page.get_by_text("The messages could not be loaded")).to_be_hidden()


def test_messages_that_are_loaded_before_the_stream_brings_them_are_shown_once(window: Open) -> None:
    ann = window()
    stream = detached(ann)
    ann.page.route(HISTORY, lambda route: answer_with(route, *range(404, 506)))
    ann.button("1 new").click()
    expect(ann.row("number 505")).to_be_in_viewport()
    stream.then(
        OPEN + "".join(event("message", wire_message(n, "Bob", f"number {n}", n)) for n in range(503, 508))
    )
    run_clock(ann.page, lambda: ann.row("number 507").is_visible())
    assert ann.ids() == list(range(404, 508))


def test_an_answer_from_before_a_reset_is_not_mixed_with_what_follows(window: Open) -> None:
    ann = window()
    stream = detached(ann)
    held = Held(ann.page, HISTORY)
    with ann.page.expect_request(HISTORY):
        ann.button("1 new").click()
    new = [event("message", wire_message(n, "Bob", f"new {n}", n)) for n in range(1, 3)]
    stream.then(OPEN + reset("ahead", 2) + "".join(new))
    run_clock(ann.page, lambda: ann.row("new 2").is_visible())
    with ann.page.expect_response(HISTORY):
        answer_with(held.first, *range(403, 503))
    stream.then(OPEN + event("message", wire_message(3, "Bob", "new 3", 3)))
    run_clock(ann.page, lambda: ann.row("new 3").is_visible())
    assert ann.ids() == [1, 2, 3]


@pytest.mark.parametrize("least", [5, 100])
def test_the_way_back_to_the_newest_message_has_no_hole_however_few_come_at_once(
    window: Open, least: int
) -> None:
    ann = window()
    stream = detached(ann)
    asked: list[str] = []

    def some(route: Route) -> None:
        """A page that is cut short, as if its messages were large."""
        asked.append(route.request.url.partition("&")[2])
        after = int(asked[-1].removeprefix("after="))
        answer_with(route, *range(after + 1, min(after + least, 512) + 1))

    stream.then(
        OPEN + "".join(event("message", wire_message(n, "Bob", f"number {n}", n)) for n in range(503, 513))
    )
    run_clock(ann.page, lambda: ann.button("11 new").is_visible())
    ann.page.route(HISTORY, some)
    places = cycle([5_000, 10**6, 10**6, 10**6])  # up, and down, and a rest

    def back() -> bool:
        ann.scroll(next(places))
        return ann.row("number 512").is_visible()

    run_clock(ann.page, back)
    assert ann.ids() == list(range(13, 513))
    assert asked == [f"after={after}" for after in range(501, 512, least)]


def test_a_removal_that_is_loaded_with_what_follows_takes_the_text_from_the_rows_above(window: Open) -> None:
    """The stream is behind, and brings it when it is known already."""
    ann = window()
    stream = detached(ann)
    removal = {**wire_message(503, "Mod", "(removed a message)", 503), "removes": [500]}
    messages = [wire_message(502, "Bob", "number 502", 502), removal]
    ann.page.route(HISTORY, lambda route: route.fulfill(json={"messages": messages, "lastEventId": 503}))
    places = cycle([5_000, 10**6, 10**6, 10**6])  # up, and down, and a rest

    def back() -> bool:
        ann.scroll(next(places))
        return ann.row("number 502").is_visible()

    run_clock(ann.page, back)
    stream.then(OPEN + event("message", removal) + event("message", wire_message(504, "Bob", "next", 504)))
    run_clock(ann.page, lambda: ann.row("next").is_visible())
    shown = ["number 499", "(removed)", "number 501", "number 502", "(removed a message)", "next"]
    assert [row["text"] for row in ann.shown()][-6:] == shown


def test_older_messages_go_on_from_where_a_page_was_cut_short(window: Open, url: str, room: str) -> None:
    seed(url, room, 60)
    ann = window().open()
    messages = history(url, room)[:10]
    cut = {"messages": messages[7:], "lastEventId": 60, "before": 8}
    asked: list[str] = []
    ann.page.on("request", lambda request: asked.append(request.url.partition("limit=100&")[2]))
    ann.page.route(HISTORY, lambda route: route.fulfill(json=cut), times=1)
    ann.scroll(0)
    expect(ann.row("message 8")).to_be_attached()
    ann.scroll(0)
    expect(ann.rows).to_have_count(60)
    assert ann.ids() == list(range(1, 61))
    assert asked == ["before=11", "before=8"]


def test_a_limit_on_what_is_read_is_waited_for_and_told_as_no_failure(
    window: Open, url: str, room: str
) -> None:
    seed(url, room, 60)
    ann = window()
    ann.page.clock.install()
    ann.open()
    refusal = {"error": {"code": "too_many_requests", "message": "too much"}}
    told = iter((20, 21))  # another time each, so that it is seen when the second answer has come

    def refuse(route: Route) -> None:
        route.fulfill(status=429, headers={"Retry-After": f"{next(told)}"}, json=refusal)

    ann.page.route(HISTORY, refuse, times=2)
    older(ann.page)
    for seconds in (20, 21):
        expect(ann.page.get_by_text(f"More messages in {seconds} s")).to_be_in_viewport()
        with ann.page.expect_request(HISTORY):
            ann.page.clock.fast_forward(seconds * 1_000)
    expect(ann.rows).to_have_count(60)
    expect(ann.page.get_by_text("More messages")).to_be_hidden()


def test_a_long_wait_for_older_messages_is_left_to_the_person(window: Open, url: str, room: str) -> None:
    seed(url, room, 60)
    ann = window().open()
    headers = {"Retry-After": "150"}
    ann.page.route(HISTORY, lambda route: route.fulfill(status=429, headers=headers, json={}))
    older(ann.page)
    expect(ann.page.get_by_text("The messages could not be loaded")).to_be_visible()
    ann.page.unroute(HISTORY)
    older(ann.page)
    expect(ann.rows).to_have_count(60)


def test_that_messages_could_not_be_loaded_is_not_told_for_ever(window: Open, url: str, room: str) -> None:
    seed(url, room, 60)
    ann = window()
    ann.page.clock.install()
    ann.open()
    ann.page.route(HISTORY, lambda route: route.abort())
    older(ann.page)
    expect(ann.page.get_by_text("The messages could not be loaded")).to_be_visible()
    ann.page.clock.run_for(12_000)
    expect(ann.page.locator("#history-note")).to_be_empty()
    ann.page.unroute(HISTORY)
    older(ann.page)
    expect(ann.rows).to_have_count(60)


def test_who_writes_far_above_the_newest_message_sees_the_own_one_at_once(window: Open) -> None:
    ann = window()
    detached(ann)
    held = Held(ann.page, HISTORY)
    ann.page.route("**/messages/", lambda route: None)
    with ann.page.expect_request(HISTORY):
        ann.say("mine")
    expect(ann.row("mine")).to_be_in_viewport()
    assert "mine" in ann.page.evaluate("() => JSON.stringify(localStorage)")
    answer_with(held.first, *range(403, 503))
    expect(ann.row("number 502")).to_be_in_viewport()
    expect(ann.row("mine")).to_be_in_viewport()


def test_history_can_be_read_while_500_own_messages_wait(window: Open, url: str, room: str) -> None:
    seed(url, room, 160)
    ann = window()
    ann.page.route("**/messages/", lambda route: route.abort())  # none is sent
    ann.page.clock.install()
    ann.open()
    ann.page.evaluate(
        """([path, count]) => {
            for (let order = 1; order <= count; order += 1) {
                const provisionalId = crypto.randomUUID();
                const message = { text: `mine ${order}`, date: new Date().toISOString(), provisionalId };
                const key = `flychat:unsent:${path}:Ann:${provisionalId}`;
                localStorage.setItem(key, JSON.stringify({ message, order }));
            }
        }""",
        [messages_url("/", room), 500],
    )
    ann.page.reload()
    expect(ann.rows).to_have_count(550)
    ann.say("one more")
    post(url, room, "Bob", "from another")
    expect(ann.row("from another")).to_be_attached()
    ann.scroll(0)
    run_clock(ann.page, lambda: ann.row("message 12").count() == 1)
    older(ann.page)
    expect(ann.row("message 1")).to_be_attached()
    assert [id for id in ann.ids() if id] == list(range(1, 162))
    assert len(ann.ids()) == 161 + 501


def test_what_follows_is_loaded_where_there_is_nothing_to_scroll(window: Open, url: str, room: str) -> None:
    seed(url, room, 60)
    ann = window()
    ann.page.goto(f"{url}{room}?user=Ann&before=3")
    expect(ann.rows).to_have_count(60)
    assert ann.ids() == list(range(1, 61))
    expect(ann.row("message 2")).to_be_in_viewport()
    tall = window(viewport={"width": 800, "height": 4000})
    tall.page.goto(f"{url}{room}?user=Ann#2")
    expect(tall.rows).to_have_count(60)
