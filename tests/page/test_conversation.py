"""The conversation: two people see the same, whatever happens to the network or the server."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import expect

from tests.conftest import need
from tests.page.window import Open, run_clock, stop_clock
from tests.support.browser import BreakingProxy, ServerProcess, Window, history, post
from tests.support.webdriver import until


def converse(ann: Window, bob: Window, each: int) -> None:
    """So many messages of each, interleaved as fast as the browser goes: the same in both windows, each once."""
    for number in range(each):
        ann.say(f"from Ann {number}")
        bob.say(f"from Bob {number}")
    wanted = list(range(1, 2 * each + 1))
    for one in (ann, bob):
        expect(one.log.locator(f"li[data-id='{2 * each}']")).to_be_attached()
        expect(one.log.locator("li[data-id]")).to_have_count(2 * each)
        assert one.ids() == wanted
    assert ann.shown() == bob.shown()
    for name in ("Ann", "Bob"):
        mine = [row["text"] for row in ann.shown() if row["from"] == name]
        assert mine == [f"from {name} {number}" for number in range(each)]


def test_two_people_see_interleaved_messages_in_the_same_order_each_once(
    window: Open, url: str, room: str
) -> None:
    ann, bob = window("Ann").open(), window("Bob").open()
    converse(ann, bob, 30)  # more than the 50 that a page begins with
    stored = [{"id": m["id"], "from": m["from"], "text": m["text"]} for m in history(url, room)]
    assert ann.shown() == stored
    ann.page.reload()
    expect(ann.status).to_have_text("Connected")
    assert ann.shown() == stored[-50:]


def test_the_conversation_behind_a_real_pushpin(window: Open, room: str, tmp_path: Path) -> None:
    need("pushpin")
    server = ServerProcess(tmp_path / "chat.db", "--grip", "--with-pushpin", "--pushpin-port", "0")
    server.start()
    try:
        ann, bob = (window(name, url=server.url).open() for name in ("Ann", "Bob"))
        converse(ann, bob, 20)
    finally:
        server.stop()


def test_a_server_that_is_killed_and_started_again_leaves_the_pages_whole(
    window: Open, mortal: ServerProcess, room: str
) -> None:
    ann, bob = (window(name, url=mortal.url) for name in ("Ann", "Bob"))
    for one in (ann, bob):
        one.page.clock.install()
        one.open()
    ann.say("before")
    expect(bob.row("before")).to_have_attribute("data-id", "1")
    mortal.kill()
    bob.say("into the void")
    run_clock(bob.page, lambda: "waiting for the connection" in bob.row("into the void").text_content())
    expect(bob.button("Try now")).to_be_visible()
    mortal.start()
    post(mortal.url, room, "Cid", "while you were away")
    for one in (ann, bob):
        run_clock(one.page, lambda one=one: one.ids() == [1, 2, 3])
        for text in ("while you were away", "into the void"):
            expect(one.row(text)).to_have_attribute("data-id", re.compile("[23]"))
        expect(one.status).to_have_text("Connected")
        assert one.ids() == [1, 2, 3]


def test_a_proxy_that_answers_502_for_a_while_costs_nothing_but_time(
    window: Open, server: ServerProcess, room: str
) -> None:
    proxy = BreakingProxy(server.port)
    ann = window(url=proxy.url)
    ann.page.clock.install()
    ann.open()
    stop_clock(ann.page)
    proxy.break_with("502")
    post(server.url, room, "Bob", "missed")
    expect(ann.status).to_have_text("Connected")  # no word of it for the first seconds
    ann.page.clock.fast_forward(4_000)
    expect(ann.status).to_have_text(re.compile(r"Reconnecting( in \d+ s|…)"))
    with ann.page.expect_response(lambda response: response.status == 502):
        ann.page.clock.fast_forward(30_000)
    proxy.break_with(None)
    ann.page.clock.fast_forward(30_000)
    ann.page.clock.resume()
    expect(ann.row("missed")).to_have_attribute("data-id", "1")
    expect(ann.status).to_have_text("Connected")
    post(server.url, room, "Bob", "live again")
    expect(ann.row("live again")).to_be_visible()
    proxy.close()


def test_a_stream_that_falls_silent_is_opened_again_after_50_seconds(
    window: Open, server: ServerProcess, room: str
) -> None:
    proxy = BreakingProxy(server.port)
    ann = window(url=proxy.url)
    ann.page.clock.install()
    ann.open()
    proxy.break_with("mute", cut=False)
    stop_clock(ann.page)
    post(server.url, room, "Bob", "swallowed")
    until(lambda: b"swallowed" in proxy.swallowed)
    ann.page.clock.fast_forward(45_000)
    expect(ann.row("swallowed")).to_have_count(0)
    ann.page.clock.fast_forward(6_000)
    proxy.break_with(None, cut=False)  # not before: that the server lives would be heard
    ann.page.clock.resume()
    expect(ann.row("swallowed")).to_have_attribute("data-id", "1")
    proxy.close()


def test_another_log_behind_the_same_address_is_shown_after_a_divider(
    window: Open, mortal: ServerProcess, room: str, tmp_path: Path
) -> None:
    ann = window(url=mortal.url).open()
    for text in ("one", "two"):
        ann.say(text)
        expect(ann.row(text)).to_have_attribute("data-id", re.compile(r"\d"))
    mortal.kill()
    mortal.store = tmp_path / "other.db"
    mortal.start()
    post(mortal.url, room, "Bob", "a new world")
    expect(ann.log.get_by_text("This room begins anew")).to_be_visible()
    expect(ann.row("a new world")).to_have_attribute("data-id", "1")
    assert ann.ids() == [1]


def test_a_page_around_the_proxy_says_why_it_is_not_live(window: Open, room: str, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "chat.db", "--grip", "--grip-url", "http://127.0.0.1:9/")
    server.start()
    try:
        ann = window(url=server.url)
        ann.page.clock.install()
        ann.open(connected=False)
        expect(ann.page.locator(".banner")).to_contain_text("around the proxy")
        run_clock(ann.page, lambda: "Reconnecting" in ann.status.text_content())
        ann.say("sent all the same")
        expect(ann.row("sent all the same")).to_have_attribute("data-state", "stored")
    finally:
        server.stop()
