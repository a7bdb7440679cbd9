"""Sending: an own message is shown at once, and what cannot be sent is told."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.page.window import OPEN, Held, Open, run_clock, stop_clock
from tests.support.browser import ScriptedStream, event, wire_message


def test_an_own_message_is_shown_at_once_and_settles_while_typing_goes_on(window: Open, url: str) -> None:
    ann, bob = window("Ann").open(), window("Bob").open()
    held = Held(ann.page, "**/messages/")
    ann.say("slow one")
    expect(ann.row("slow one")).to_have_attribute("data-state", "pending")
    ann.text.press_sequentially("typed mean")
    bob.say("faster")
    expect(ann.row("faster")).to_have_attribute("data-id", "1")
    assert [row["text"] for row in ann.shown()] == ["faster", "slow one"]
    held.first.continue_()
    expect(ann.row("slow one")).to_have_attribute("data-id", "2")
    ann.text.press_sequentially("while")
    expect(ann.text).to_have_value("typed meanwhile")
    expect(ann.text).to_be_focused()
    expect(ann.row("slow one")).to_have_class(re.compile("own"))
    expect(bob.row("slow one")).not_to_have_class(re.compile("own"))


def test_enter_sends_and_shift_enter_breaks_the_line(window: Open) -> None:
    ann = window().open()
    ann.text.press_sequentially("two")
    ann.text.press("Shift+Enter")
    ann.text.press_sequentially("lines")
    before = ann.text.bounding_box()["height"]
    for choosing in ({"isComposing": True}, {"keyCode": 229}):  # a word, elsewhere; the other one is Safari's
        ann.text.dispatch_event("keydown", {"key": "Enter", **choosing})
    expect(ann.text).to_have_value("two\nlines")
    ann.text.press("Enter")
    expect(ann.row("two lines")).to_have_attribute("data-id", "1")  # the locator folds white space
    assert ann.shown()[0]["text"] == "two\nlines"
    assert ann.text.bounding_box()["height"] < before
    ann.text.fill("  \n ")
    ann.text.press("Enter")
    ann.button("Send").click()
    ann.text.fill("by mouse")
    ann.button("Send").click()
    expect(ann.row("by mouse")).to_have_attribute("data-id", "2")


def test_what_does_not_come_from_the_chat_is_no_answer(window: Open) -> None:
    ann = window().open()
    portal = {"content_type": "text/html", "body": "<h1>Welcome to the hotel's network</h1>"}
    ann.page.route("**/messages/", lambda route: route.fulfill(**portal), times=1)
    ann.say("from the hotel")
    expect(ann.row("from the hotel")).to_have_attribute("data-state", "waiting")
    expect(ann.row("from the hotel")).to_have_attribute("data-id", "1")


def test_a_refusal_is_told_in_the_servers_words(window: Open) -> None:
    ann = window().open()
    ann.page.route(
        "**/messages/",
        lambda route: route.fulfill(status=409, json={"error": {"code": "conflict", "message": "in use"}}),
    )
    ann.say("again")
    expect(ann.row("again")).to_contain_text("Not sent: in use.")


def test_what_is_withdrawn_is_shown_as_such_and_an_own_message_is_still_being_sent(window: Open) -> None:
    ann = window()
    theirs, retracted = wire_message(None, "Bob", "theirs", 1), []
    stream = ScriptedStream(ann.page, OPEN + event("message", theirs))
    ann.page.route("**/messages/", lambda route: None)
    ann.page.clock.install()
    ann.open(connected=False)
    expect(ann.row("theirs")).to_be_attached()
    with ann.page.expect_request("**/messages/") as request:
        ann.say("mine")
    expect(ann.row("mine")).to_have_attribute("data-state", "pending")
    expect(ann.row("theirs")).to_have_attribute("data-state", "provisional")
    for key in (request.value.post_data_json["provisionalId"], theirs["provisionalId"]):
        retracted.append(event("retraction", {"provisionalId": key}))
    stop_clock(ann.page)
    stream.then(OPEN + "".join(retracted))
    run_clock(ann.page, lambda: "withdrawn" in ann.row("theirs").text_content())
    expect(ann.row("theirs")).to_contain_text("withdrawn: it could not be stored")
    expect(ann.row("mine")).to_have_attribute("data-state", "pending")
    ann.page.clock.fast_forward(11_000)
    expect(ann.row("theirs")).to_have_count(0)


def test_a_late_answer_about_what_the_stream_has_brought_makes_nobody_wait(window: Open) -> None:
    ann = window()
    ann.page.clock.install()
    stream = ScriptedStream(ann.page, OPEN)
    held = Held(ann.page, "**/messages/")
    ann.open(connected=False)
    ann.say("stored")
    key = held.first.request.post_data_json["provisionalId"]
    stream.then(OPEN + event("message", {**wire_message(1, "Ann", "stored", 1), "provisionalId": key}))
    run_clock(ann.page, lambda: ann.row("stored").get_attribute("data-id") == "1")
    held.first.fulfill(status=503, headers={"Retry-After": "50"}, json={"error": {"code": "x"}})
    ann.say("next")
    assert held[1].request.post_data_json["text"] == "next"
    assert ann.ids() == [1, None]


def test_the_limit_is_counted_down_in_characters_as_the_server_counts(window: Open) -> None:
    ann = window().open()
    counter = ann.page.locator("#counter")
    ann.text.fill("x" * 3_000)
    expect(counter).to_be_hidden()
    ann.text.fill("😀" * 4_000)
    expect(counter).to_have_text("96 left")
    expect(counter).to_have_attribute("aria-live", "polite")
    ann.text.fill("😀" * 4_001)
    expect(counter).to_have_text("95 left")
    expect(counter).to_have_attribute("aria-live", "off")  # it is read out at steps, not at every key
    ann.text.fill("😀" * 4_099)
    expect(counter).to_have_text("3 too many")
    expect(ann.button("Send")).to_be_disabled()
    ann.text.press("Enter")
    ann.text.fill("😀" * 4_096)
    ann.text.press("Enter")
    expect(ann.log.locator("li[data-id='1']")).to_be_attached()
    assert ann.shown()[0]["text"] == "😀" * 4_096


def test_blank_lines_that_are_not_sent_are_not_counted(window: Open) -> None:
    ann = window().open()
    ann.text.fill("\n" + "x" * 4_096 + "\n\n")
    expect(ann.page.get_by_text("0 left")).to_be_visible()
    ann.button("Send").click()
    expect(ann.row("x" * 4_096)).to_have_attribute("data-id", "1")
