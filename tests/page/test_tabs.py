"""Tabs: all of a browser share one stream, and one of them leads."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.page.window import Open, hide, streams, until
from tests.support.browser import STREAM, BreakingProxy, ServerProcess, messages_url, post


def test_eight_tabs_share_one_stream_and_a_closed_leader_hands_over(
    window: Open, server: ServerProcess, room: str
) -> None:
    proxy = BreakingProxy(server.port)
    tabs = [window("Ann", url=proxy.url)]
    tabs[0].open()
    tabs += [window("Ann", url=proxy.url, beside=tabs[0]).open() for _ in range(7)]
    assert streams(proxy) == 1
    post(server.url, room, "Bob", "to all")
    for tab in tabs:
        expect(tab.row("to all")).to_be_attached()
    tabs[-1].say("a tab without a stream of its own can send")
    for tab in tabs:  # else one that is behind has the new leader open its stream once more
        expect(tab.row("a tab without a stream of its own can send")).to_have_attribute("data-id", "2")
    tabs[
        1
    ].page.evaluate(  # each tab tells a new leader where it is: who does so after a message is served again
        """name => {
            const channel = new BroadcastChannel(name);
            let left = 6;
            window.greeted = new Promise(
                all => (channel.onmessage = ({ data }) => data.kind === "hello" && !--left && all())
            );
        }""",
        "flychat:" + messages_url("/", room),
    )
    tabs.pop(0).page.close()
    tabs[0].page.evaluate("() => window.greeted")
    post(server.url, room, "Bob", "after the leader")
    for tab in tabs:
        expect(tab.row("after the leader")).to_have_attribute("data-state", "official")
        assert tab.ids() == [1, 2, 3]
    assert streams(proxy) == 2
    proxy.close()


def test_a_tab_gets_what_the_leader_heard_while_it_was_loading(window: Open, url: str, room: str) -> None:
    leader, witness = window().open(), window("Cid").open()
    # In a hidden tab short timers are slow: it passes on what it hears, but shows it later.
    leader.page.evaluate(
        """() => {
            const timeout = setTimeout;
            window.setTimeout = (task, delay) => timeout(task, delay < 100 ? 60_000 : delay);
        }"""
    )
    follower = window(beside=leader)

    def load_slowly(route: Route) -> None:
        page = route.fetch()
        post(url, room, "Bob", "just now")
        expect(witness.row("just now")).to_be_attached()
        route.fulfill(response=page)

    follower.page.route(re.compile(r"\?user="), load_slowly)
    follower.open()
    expect(follower.row("just now")).to_be_attached()


def test_a_tab_in_sight_does_not_wait_for_the_slow_timers_of_a_hidden_leader(
    window: Open, server: ServerProcess, room: str
) -> None:
    proxy = BreakingProxy(server.port)
    leader = window(url=proxy.url).open()
    follower = window(url=proxy.url, beside=leader).open()
    leader.page.evaluate(
        "() => { const timeout = setTimeout; window.setTimeout = task => timeout(task, 60_000) }"
    )
    proxy.break_with(None)  # cuts the stream
    post(server.url, room, "Bob", "already here")
    expect(follower.row("already here")).to_be_attached()
    proxy.close()


def test_a_leader_that_does_not_answer_loses_its_place(window: Open, url: str, room: str) -> None:
    leader = window().open()
    follower = window(beside=leader)
    follower.page.clock.install()
    follower.open()
    leader.page.evaluate("() => { BroadcastChannel.prototype.postMessage = () => {} }")  # as if frozen
    post(url, room, "Bob", "unheard")
    expect(leader.row("unheard")).to_be_attached()
    follower.page.clock.fast_forward(51_000)
    follower.page.clock.fast_forward(6_000)
    expect(follower.row("unheard")).to_be_attached()
    post(url, room, "Bob", "heard by one")
    expect(follower.row("heard by one")).to_be_attached()


def test_what_this_browser_has_sent_is_its_own_in_a_tab_that_hears_of_it_too_late(
    window: Open, room: str
) -> None:
    """Storage and channel reach another tab by ways of their own."""
    ann = window()
    ann.open()
    other = window(beside=ann)
    other.page.add_init_script(
        """
            const { getItem } = Storage.prototype
            Storage.prototype.getItem = function(name) {
                return window.late !== false && name === 'flychat:sent' ? null : getItem.call(this, name)
            }
            addEventListener('storage', event => window.late !== false && event.stopImmediatePropagation())
        """
    )
    other.open()
    ann.say("mine")
    expect(other.row("mine")).to_have_attribute("data-id", "1")
    expect(other.row("mine")).not_to_have_class(re.compile(r"\bown\b"))
    other.page.evaluate("() => { window.late = false; dispatchEvent(new StorageEvent('storage')) }")
    expect(other.row("mine")).to_have_class(re.compile(r"\bown\b"))


@pytest.mark.parametrize("locks", [True, False])
def test_hidden_tabs_of_many_rooms_leave_connections_for_the_one_in_sight(
    window: Open, url: str, room: str, locks: bool
) -> None:
    rooms = [f"{number} {locks} {room}"[:64] for number in range(8)]
    first = window(room=rooms[0])
    if not locks:
        first.context.add_init_script("delete Navigator.prototype.locks")
    given_up: set[Page] = set()

    def note(request: Request) -> None:
        if STREAM.search(request.url):
            given_up.add(request.frame.page)

    first.context.on("requestfailed", note)
    first.open()
    tabs = [first]
    for each in rooms[1:]:
        hide(tabs[-1].page, True)
        tabs.append(window(beside=first, room=each).open())
    until(
        first.page,
        lambda: {tab.page for tab in tabs[:3]} <= given_up,
        "the first ones have not left their streams, though others want one",
    )
    for each in rooms:
        post(url, each, "Bob", "to all rooms")
    expect(tabs[-1].row("to all rooms")).to_be_visible()
    tabs[-1].say("there is a connection left")
    expect(tabs[-1].row("there is a connection left")).to_have_attribute("data-id", "2")
    for tab in tabs[3:-1]:  # those that were in sight last
        expect(tab.row("to all rooms")).to_be_attached()
    for tab in tabs[:3]:
        assert tab.ids() == []
    if locks:  # a leader out of sight that has no place of its own serves the tab in sight
        follower = window(beside=first, room=tabs[1].room).open()
        expect(follower.row("to all rooms")).to_be_visible()
        expect(tabs[1].row("to all rooms")).to_be_attached()
        post(url, follower.room, "Bob", "live")
        expect(follower.row("live")).to_be_visible()
        hide(follower.page, True)
    hide(tabs[-1].page, True)
    hide(first.page, False)
    expect(first.row("to all rooms")).to_be_visible()


def test_plain_http_with_its_poorer_browser_is_enough(window: Open, url: str, room: str) -> None:
    ann = window()
    ann.context.add_init_script("delete Navigator.prototype.locks; delete Crypto.prototype.randomUUID")
    ann.open()
    other = window(beside=ann).open()
    assert not ann.page.evaluate("() => navigator.locks || crypto.randomUUID")
    ann.say("without locks")
    for tab in (ann, other):
        expect(tab.row("without locks")).to_have_attribute("data-id", "1")
