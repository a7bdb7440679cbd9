"""Streams: the order of ids, gaps, resets, and the position with which the next stream is asked for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.page.window import OPEN, Held, Open, hide, listen, older, run_clock, seed, streams
from tests.support.browser import (
    BreakingProxy,
    ScriptedStream,
    ServerProcess,
    event,
    post,
    reset,
    wire_message,
)
from tests.support.webdriver import until


def test_provisional_messages_settle_into_the_order_of_ids(window: Open) -> None:
    ann = window()
    drafts = [wire_message(None, "Bob", text, key) for key, text in enumerate("abcd")]
    officials = [{"id": id, **drafts[key]} for id, key in enumerate((2, 0, 3), 1)]
    bodies = [OPEN + "".join(event("message", message) for message in part) for part in (drafts, officials)]
    ann.page.clock.install()
    ScriptedStream(ann.page, *bodies)
    ann.open(connected=False)
    expect(ann.rows).to_have_count(4)
    listen(ann.page)
    ann.page.clock.fast_forward(2_500)
    expect(ann.log.locator("li[data-id='3']")).to_be_attached()
    assert ann.page.evaluate("() => window.spoken") == []  # a row that moves is no news
    assert [(row["id"], row["text"]) for row in ann.shown()] == [(1, "c"), (2, "a"), (3, "d"), (None, "b")]


def test_a_gap_is_never_shown_but_asked_for_again(window: Open) -> None:
    ann = window()
    ann.page.clock.install()
    messages = [event("message", wire_message(n, "Bob", f"number {n}", n)) for n in range(1, 5)]
    stream = ScriptedStream(ann.page, OPEN + messages[0] + messages[3])
    ann.open(connected=False)
    expect(ann.row("number 1")).to_be_visible()
    expect(ann.row("number 4")).to_have_count(0)
    stream.then(OPEN + "".join(messages[1:]))
    ann.page.clock.fast_forward(5_000)
    expect(ann.row("number 4")).to_be_visible()
    assert ann.ids() == [1, 2, 3, 4]
    assert stream.positions[:2] == ["0", "1"]


def test_a_message_lost_on_the_way_is_fetched_when_the_next_one_comes(
    window: Open, server: ServerProcess, room: str
) -> None:
    proxy = BreakingProxy(server.port)
    ann, witness = window(url=proxy.url).open(), window("Cid").open()
    proxy.break_with("mute", cut=False)
    for text in ("lost", "lost as well"):
        post(server.url, room, "Bob", text)
        expect(witness.row(text)).to_have_attribute("data-id", re.compile(r"\d"))
    until(lambda: b"lost as well" in proxy.swallowed)
    proxy.break_with(None, cut=False)
    post(server.url, room, "Bob", "the next one")
    expect(ann.row("the next one")).to_have_attribute("data-id", "3")
    assert ann.ids() == [1, 2, 3]
    assert streams(proxy) == 2
    proxy.close()


def test_a_provisional_message_that_is_not_confirmed_is_marked(window: Open) -> None:
    ann = window()
    ann.page.clock.install()
    ScriptedStream(ann.page, OPEN + event("message", wire_message(None, "Bob", "perhaps", 1)))
    ann.open(connected=False)
    expect(ann.row("perhaps")).to_have_attribute("data-state", "provisional")
    ann.page.clock.fast_forward(31_000)
    expect(ann.row("perhaps")).to_contain_text("not confirmed")


def test_a_reset_drops_what_is_shown_and_goes_on_after_a_divider(window: Open, url: str, room: str) -> None:
    seed(url, room, 3)
    ann = window()
    messages = [event("message", wire_message(n, "Bob", f"number {n}", n)) for n in (2000, 2001)]
    ScriptedStream(ann.page, OPEN + reset("behind", 2001, 1999) + "".join(messages))
    ann.open(connected=False)
    expect(ann.row("number 2001")).to_be_visible()
    expect(ann.log.get_by_text("1996 messages were missed")).to_be_visible()
    expect(ann.button("Older messages")).to_be_visible()
    assert ann.ids() == [2000, 2001]


def test_the_divider_goes_when_the_messages_before_it_are_loaded(window: Open, url: str, room: str) -> None:
    seed(url, room, 60)
    ann = window()
    messages = [event("message", wire_message(n, "Bob", f"number {n}", n)) for n in (61, 62)]
    ScriptedStream(ann.page, OPEN + reset("behind", 62, 60) + "".join(messages))
    before = Held(ann.page, re.compile("before="))  # what it loads by itself, as the rows leave room for it
    ann.open(connected=False)
    expect(ann.log.get_by_text("messages were missed")).to_be_visible()
    assert ann.ids() == [61, 62]
    older(ann.page)
    before.first.continue_()
    expect(ann.row("message 1")).to_be_attached()
    assert ann.ids() == list(range(1, 63))
    expect(ann.log.get_by_text("messages were missed")).to_have_count(0)


def test_who_reads_above_the_newest_message_is_at_it_after_a_reset(window: Open) -> None:
    ann = window()
    ann.page.clock.install()
    old, new = (
        "".join(event("message", wire_message(n, "Bob", f"{log} {n}", key + n)) for n in range(1, 61))
        for log, key in (("old", 0), ("new", 100))
    )
    stream = ScriptedStream(ann.page, OPEN + old)
    ann.open(connected=False)
    expect(ann.row("old 60")).to_be_in_viewport()
    ann.scroll(0)
    expect(ann.button("Newest")).to_be_visible()
    run_clock(ann.page, lambda: len(stream.positions) >= 2)
    stream.then(OPEN + reset("ahead", 60) + new)
    run_clock(ann.page, ann.row("new 60").is_visible)
    expect(ann.row("new 60")).to_be_in_viewport()


def test_messages_that_come_again_after_a_reset_are_not_unread(window: Open, room: str) -> None:
    ann = window()
    ann.page.clock.install()
    messages = [event("message", wire_message(n, "Bob", f"number {n}", n)) for n in range(1, 4)]
    stream = ScriptedStream(ann.page, OPEN + "".join(messages[:2]))
    ann.open(connected=False)
    expect(ann.rows).to_have_count(2)
    hide(ann.page, True)
    stream.then(OPEN + reset("behind", 3) + "".join(messages))
    ann.page.clock.fast_forward(3_000)
    expect(ann.page).to_have_title(f"(1) {room} · flychat")
    expect(ann.log.get_by_text("Some messages were missed")).to_be_attached()


def test_what_was_seen_of_another_log_is_not_seen_of_this_one(window: Open, room: str) -> None:
    ann = window()
    ann.page.clock.install()
    old = [event("message", wire_message(n, "Bob", f"old {n}", n)) for n in range(1, 4)]
    new = [event("message", wire_message(n, "Bob", f"new {n}", 10 + n)) for n in range(1, 3)]
    stream = ScriptedStream(ann.page, OPEN + "".join(old))
    ann.open(connected=False)
    expect(ann.rows).to_have_count(3)
    hide(ann.page, True)
    stream.then(OPEN + reset("ahead", 1) + new[0])
    ann.page.clock.fast_forward(3_000)
    expect(ann.page).to_have_title(f"(1) {room} · flychat")
    ann.page.evaluate("() => dispatchEvent(new StorageEvent('storage'))")  # of whatever another tab remembers
    stream.then(OPEN + new[1])
    ann.page.clock.fast_forward(3_000)
    expect(ann.page).to_have_title(f"(2) {room} · flychat")


@pytest.mark.parametrize("first", ["answer", "reset"])
def test_an_own_message_stored_among_the_missed_ones_does_not_wait_for_ever(window: Open, first: str) -> None:
    ann = window()
    ann.page.clock.install()
    last = event("message", wire_message(2001, "Bob", "last", 1))
    stream = ScriptedStream(ann.page, OPEN)
    held = Held(ann.page, "**/messages/")
    ann.open(connected=False)
    ann.say("mine")
    expect(ann.row("mine")).to_have_attribute("data-state", "pending")
    stored = {"id": 1_900, **held.first.request.post_data_json}
    if first == "answer":
        held.first.fulfill(json=stored)
        expect(ann.row("mine")).to_have_attribute("data-state", "stored")
    stream.then(OPEN + reset("behind", 2001, 2000) + last)
    ann.page.clock.fast_forward(2_500)
    expect(ann.row("last")).to_be_visible()
    if first == "reset":
        expect(ann.row("mine")).to_have_attribute("data-state", "pending")  # it is still on its way
        held.first.fulfill(json=stored)
    expect(ann.row("mine")).to_have_count(0)


def test_a_stream_that_is_refused_is_asked_for_again_with_its_position(window: Open) -> None:
    ann = window()
    ann.page.clock.install()
    message = event("message", wire_message(1, "Bob", "at last", 1))
    no_streams = (502, 204, 200)  # for the browser each of them ends an EventSource in another way
    stream = ScriptedStream(ann.page, *no_streams, OPEN + message, 503)
    ann.open(connected=False)
    run_clock(ann.page, lambda: len(stream.positions) >= 5)
    expect(ann.row("at last")).to_be_visible()
    assert stream.positions[:5] == ["0"] * 4 + ["1"]


def test_who_is_cut_right_after_the_reset_of_an_emptied_store_gets_everything_that_was_written_since(
    window: Open, mortal: ServerProcess, room: str, tmp_path: Path
) -> None:
    proxy = BreakingProxy(mortal.port)
    ann = window(url=proxy.url).open()
    for n in range(20):
        post(mortal.url, room, "Bob", f"gone {n}")
    expect(ann.rows).to_have_count(20)
    mortal.kill()
    mortal.store = tmp_path / "empty.db"
    mortal.start()
    expect(ann.log.get_by_text(re.compile("^This room begins anew"))).to_be_visible()
    expect(ann.rows).to_have_count(0)
    proxy.break_with("502")
    seed(mortal.url, room, 60)
    proxy.break_with(None)
    expect(ann.row("message 60")).to_be_visible()
    assert ann.ids() == list(range(1, 61))
    proxy.close()


def test_a_tab_of_a_log_that_was_emptied_shares_the_stream_as_it_is(
    window: Open, mortal: ServerProcess, room: str, tmp_path: Path
) -> None:
    seed(mortal.url, room, 3)
    proxy = BreakingProxy(mortal.port)
    leader = window(url=proxy.url).open()
    post(mortal.url, room, "Bob", "the stream was here")
    expect(leader.rows).to_have_count(4)
    mortal.kill()
    mortal.store = tmp_path / "empty.db"
    mortal.start()
    expect(leader.rows).to_have_count(0)
    before = streams(proxy)
    follower = window(
        url=proxy.url, beside=leader
    ).open()  # it begins at 0 as well, and asks for nothing before that
    post(mortal.url, room, "Bob", "a new world")
    expect(follower.row("a new world")).to_have_attribute("data-id", "1")
    assert streams(proxy) == before
    proxy.close()


def test_a_tab_that_was_away_while_the_store_was_replaced_shows_the_new_log(
    window: Open, mortal: ServerProcess, room: str, tmp_path: Path
) -> None:
    """It shares the stream of a tab that has had its reset; its place is beyond all that comes there."""
    seed(mortal.url, room, 3)
    leader = window(url=mortal.url).open()
    away = window(url=mortal.url, beside=leader).open()
    away.page.evaluate("() => document.dispatchEvent(new Event('freeze'))")
    mortal.kill()
    mortal.store = tmp_path / "empty.db"
    mortal.start()
    expect(leader.rows).to_have_count(0)
    post(mortal.url, room, "Bob", "a new world")
    expect(leader.row("a new world")).to_have_attribute("data-id", "1")
    away.page.evaluate("() => document.dispatchEvent(new Event('resume'))")
    for tab in (away, leader):
        expect(tab.row("a new world")).to_have_attribute("data-id", "1")
    away.say("and I am in it")
    for tab in (away, leader):
        expect(tab.row("and I am in it")).to_have_attribute("data-id", "2")
        assert tab.ids() == [1, 2]
