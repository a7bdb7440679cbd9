"""The network comes and goes, the machine sleeps, the browser keeps the page for its back button."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.page.window import Open, run_clock, stop_clock, streams, try_now
from tests.support.browser import BreakingProxy, ServerProcess, Window, post


def behind_a_proxy(window: Open, server: ServerProcess) -> tuple[BreakingProxy, Window]:
    """A window in which no delay ends by itself."""
    proxy = BreakingProxy(server.port)
    ann = window(url=proxy.url)
    ann.page.clock.install()
    ann.open()
    ann.page.clock.pause_at("2100-01-01")
    return proxy, ann


def test_waking_up_ends_the_waiting(window: Open, server: ServerProcess, room: str) -> None:
    proxy, ann = behind_a_proxy(window, server)
    for target, name in [("window", "online"), ("document", "visibilitychange"), ("window", "pageshow")]:
        proxy.break_with("502")
        post(server.url, room, "Bob", f"before {name}")
        # Not while a request is under way: that one is waited for, and may still be answered with 502.
        run_clock(ann.page, lambda: "Reconnecting in" in ann.status.text_content())
        proxy.break_with(None)
        ann.page.evaluate(f"() => {target}.dispatchEvent(new Event('{name}'))")
        expect(ann.status).to_have_text("Connected")
        run_clock(ann.page, ann.row(f"before {name}").is_visible)
    proxy.close()


def test_a_message_that_is_sent_ends_the_waiting(window: Open, server: ServerProcess, room: str) -> None:
    proxy, ann = behind_a_proxy(window, server)
    proxy.break_with("502")
    run_clock(ann.page, lambda: "Reconnecting in" in ann.status.text_content())
    proxy.break_with(None)
    ann.say("the server answers")
    expect(ann.status).to_have_text("Connected")
    ann.page.clock.resume()
    expect(ann.row("the server answers")).to_have_attribute("data-id", "1")
    proxy.close()


def test_a_message_that_waits_is_sent_as_soon_as_there_is_a_stream_again(
    window: Open, server: ServerProcess
) -> None:
    proxy, ann = behind_a_proxy(window, server)
    proxy.break_with("502")
    run_clock(ann.page, lambda: "Reconnecting in" in ann.status.text_content())
    ann.say("patient")
    expect(ann.row("patient")).to_have_attribute("data-state", "waiting")
    proxy.break_with(None)
    with ann.page.expect_response(lambda answer: answer.request.method == "POST" and answer.ok):
        ann.page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    proxy.close()


def test_what_is_pressed_in_one_tab_ends_the_waiting_of_all(
    window: Open, server: ServerProcess, room: str
) -> None:
    proxy = BreakingProxy(server.port)
    leader = window(url=proxy.url)
    leader.page.clock.install()
    leader.open()
    follower = window(url=proxy.url, beside=leader).open()
    leader.page.clock.pause_at("2100-01-01")  # from here on no delay ends by itself, in either
    proxy.break_with("502")
    run_clock(leader.page, lambda: "Reconnecting in" in follower.status.text_content())
    proxy.break_with(None)
    try_now(follower.page)
    for tab in (leader, follower):
        expect(tab.status).to_have_text("Connected")
    proxy.close()


def test_a_page_that_is_shown_again_by_the_back_button_catches_up_and_shares_its_stream_again(
    window: Open, server: ServerProcess, room: str
) -> None:
    proxy = BreakingProxy(server.port)
    ann = window(url=proxy.url).open()
    with ann.page.expect_event("requestfailed"):  # the stream ends: nobody reads it
        ann.page.evaluate("() => dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    post(server.url, room, "Bob", "while it was put away")
    ann.page.evaluate("() => dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    expect(ann.row("while it was put away")).to_have_attribute("data-id", "1")
    other = window(url=proxy.url, beside=ann).open()
    post(server.url, room, "Bob", "live again")
    for tab in (ann, other):
        expect(tab.row("live again")).to_have_attribute("data-id", "2")
    assert streams(proxy) == 2
    proxy.close()


def test_a_browser_without_a_network_says_so(window: Open, server: ServerProcess, room: str) -> None:
    proxy, ann = behind_a_proxy(window, server)
    ann.context.set_offline(True)
    proxy.break_with("502")
    run_clock(ann.page, lambda: "Offline" in ann.status.text_content())
    proxy.break_with(None)
    ann.context.set_offline(False)
    ann.page.clock.resume()  # it is told that there is a network, perhaps before it may use it
    expect(ann.status).to_have_text("Connected")
    proxy.close()


def network(page: Page, there: bool) -> None:
    page.evaluate(
        """there => {
            Object.defineProperty(navigator, "onLine", { value: there, configurable: true });
            dispatchEvent(new Event(there ? "online" : "offline"));
        }""",
        there,
    )


def test_a_lost_network_is_told_while_the_stream_seems_to_live_and_a_new_one_is_not_trusted_with_it(
    window: Open, server: ServerProcess
) -> None:
    proxy = BreakingProxy(server.port)
    ann = window(url=proxy.url)
    ann.page.clock.install()
    ann.open()
    stop_clock(ann.page)
    asked: list[str] = []
    ann.page.on("request", lambda request: asked.append(request.url))
    network(ann.page, False)
    expect(ann.status).to_have_text("Connected")  # no word of it for the first seconds
    ann.page.clock.run_for(4_000)
    expect(ann.status).to_have_text(re.compile("^Offline"))
    assert asked == []
    with ann.page.expect_response(re.compile("lastEventId")):
        network(ann.page, True)
    expect(ann.status).to_have_text("Connected")
    proxy.break_with("mute", cut=False)  # of a server that is heard every 20 s, however slow the test is
    before = ann.page.evaluate("() => Date.now()")

    def reopened() -> bool:
        ann.page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
        return len(asked) == 2

    run_clock(ann.page, reopened)
    assert 22_000 < ann.page.evaluate("() => Date.now()") - before < 29_000
    proxy.close()


def test_a_server_that_answers_without_a_network_is_connected(
    window: Open, server: ServerProcess, room: str
) -> None:
    """As on the same computer, while it has no other connection: its browser says that it is offline."""
    ann = window()
    ann.page.add_init_script(
        "Object.defineProperty(navigator, 'onLine', { value: false, configurable: true })"
    )
    ann.page.clock.install()
    ann.open()
    network(ann.page, False)
    run_clock(ann.page, lambda: "Offline" in ann.status.text_content())
    post(server.url, room, "Bob", "from here")
    expect(ann.row("from here")).to_be_attached()  # as time goes by: minutes at once would be a silence
    expect(ann.status).to_have_text("Connected")


# How Chrome translates a page, and how Firefox does.
TRANSLATIONS = {
    "in new elements": """node => {
        const made = document.createElement("font");
        made.textContent = `«${node.data}»`;
        node.replaceWith(made);
    }""",
    "in place": "node => { node.data = `«${node.data}»` }",
}


@pytest.mark.parametrize("how", TRANSLATIONS)
def test_on_a_page_that_is_translated_what_is_wrong_is_told_once(
    window: Open, server: ServerProcess, room: str, how: str
) -> None:
    """What is written again is translated again, and read out again by a screen reader."""
    proxy = BreakingProxy(server.port)
    ann = window(url=proxy.url)
    ann.page.clock.install()
    ann.open()

    def translate(selector: str) -> None:
        ann.page.evaluate(
            f"""selector => {{
                const texts = document.createTreeWalker(document.querySelector(selector), NodeFilter.SHOW_TEXT);
                const all = [];
                while (texts.nextNode()) all.push(texts.currentNode);
                all.forEach({TRANSLATIONS[how]});
            }}""",
            selector,
        )

    band = ann.page.locator(".band p")
    translate("[role=status]")
    post(server.url, room, "Bob", "hello")
    expect(ann.row("hello")).to_be_attached()  # as time goes by: minutes at once would be a silence
    expect(ann.status).to_have_text("«Connected»")
    proxy.break_with("502")
    run_clock(ann.page, lambda: "Reconnecting in" in ann.status.text_content())
    expect(band).to_have_text("The server cannot be reached. It goes on by itself.")
    translate(".band p")
    ann.say("patient")
    run_clock(
        ann.page, lambda: "The server is busy. Your message is" in band.text_content()
    )  # it has answered
    translate(".band p")
    told = band.text_content()
    left = ann.page.locator(".band .hint")
    seconds = left.text_content()
    run_clock(ann.page, lambda: left.text_content() != seconds)
    expect(band).to_have_text(told)
    proxy.close()


def test_a_tab_that_the_browser_freezes_gives_up_its_connection_and_catches_up(
    window: Open, server: ServerProcess, room: str
) -> None:
    ann = window().open()
    with ann.page.expect_event("requestfailed"):  # the stream ends: nobody reads it
        ann.page.evaluate("() => document.dispatchEvent(new Event('freeze'))")
    post(server.url, room, "Bob", "while it was frozen")
    ann.page.evaluate("() => document.dispatchEvent(new Event('resume'))")
    expect(ann.row("while it was frozen")).to_have_attribute("data-id", "1")
