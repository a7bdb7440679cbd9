"""Notifications: off unless chosen, while nobody looks at the room, once for all its tabs."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.page.window import OPEN, Open, hide
from tests.support.browser import ScriptedStream, Window, event, messages_url, post, wire_message

STUB = """
    window.shown = [];
    window.told = [];
    window.asked = 0;
    window.Notification = class {
        static permission = localStorage.permission ?? "default";
        static async requestPermission() {
            window.asked += 1;
            return (Notification.permission = localStorage.permission = "ANSWER");
        }
        constructor(title, { body, tag }) {
            if ("THROWS") throw new TypeError("Illegal constructor");
            Object.assign(this, { text: `${title} / ${body}`, tag });
            if (tag) window.shown.find((other) => other.tag === tag)?.close();
            window.shown.push(this);
            window.told.push(this.text);
        }
        close() { window.shown.splice(window.shown.indexOf(this), 1) }
    };
"""


def stub(ann: Window, answer: str = "granted", throws: str = "") -> Window:
    ann.page.add_init_script(STUB.replace("ANSWER", answer).replace("THROWS", throws))
    return ann


def choose(ann: Window, choice: str) -> None:
    ann.page.locator("summary").click()
    ann.page.get_by_label(choice).click()
    ann.page.keyboard.press("Escape")


def shown(ann: Window) -> list[str]:
    return ann.page.evaluate("() => shown.map(({ text }) => text)")


def told(ann: Window) -> list[str]:
    """All that were ever shown, also those that a later one has replaced."""
    return ann.page.evaluate("() => told")


def wait_for_one(ann: Window) -> None:
    """Other tabs are given time to say that they are looked at."""
    ann.page.wait_for_function("() => shown.length")


def test_nothing_is_asked_or_shown_unless_it_was_chosen(window: Open, url: str, room: str) -> None:
    ann = stub(window()).open()
    hide(ann.page, True)
    post(url, room, "Bob", "@Ann hello")
    expect(ann.row("@Ann hello")).to_have_count(1)
    loaded = "() => performance.getEntriesByType('resource').map(({ name }) => name.split('/').pop())"
    assert "notify.js" not in ann.page.evaluate(loaded)
    assert shown(ann) == []
    assert ann.page.evaluate("() => asked") == 0


def test_a_mention_is_notified_while_nobody_looks_and_leads_to_the_message(
    window: Open, url: str, room: str
) -> None:
    ann = stub(window()).open()
    choose(ann, "When I am mentioned")
    assert ann.page.evaluate("() => asked") == 1
    assert shown(ann) == [f"{room} / When I am mentioned: like this."]
    hide(ann.page, True)
    hide(ann.page, False)  # who looks has no notifications
    assert shown(ann) == []
    post(url, room, "Bob", "@Ann looks")
    expect(ann.row("@Ann looks")).to_have_attribute("data-id", "1")
    hide(ann.page, True)
    for text in ("@ann at first", "to all", "@Anna", "hello @ann"):
        post(url, room, "Bob", text)
    expect(ann.row("hello @ann")).to_have_attribute("data-id", "5")
    ann.page.wait_for_function("() => shown.at(-1)?.text.endsWith('hello @ann')")
    assert shown(ann) == [f"{room} / Bob: hello @ann"]
    assert told(ann)[1:] == [f"{room} / Bob: @ann at first", *shown(ann)]
    ann.page.evaluate("() => { shown[0].onclick() }")
    expect(ann.page.locator("li.marked p")).to_have_text("hello @ann")
    assert shown(ann) == []


def test_one_of_all_tabs_of_a_room_notifies_and_none_while_one_is_looked_at(
    window: Open, url: str, room: str
) -> None:
    leader = stub(window()).open()
    choose(leader, "For every message")
    other = stub(window(beside=leader)).open()
    other.page.locator("summary").click()
    expect(other.page.get_by_label("For every message")).to_be_checked()
    other.page.keyboard.press("Escape")
    for tab in (leader, other):
        tab.page.evaluate("() => { shown.length = 0 }")
    hide(leader.page, True)
    post(url, room, "Bob", "one")
    for tab in (leader, other):
        expect(tab.row("one")).to_have_attribute("data-id", "1")
        assert shown(tab) == []
    other.page.evaluate(
        """name => {
            const channel = new BroadcastChannel(name);
            const asksWhoLooks = ({ kind, last }) => kind === "rest" && last === undefined;
            window.question = new Promise(done => (channel.onmessage = ({ data }) => asksWhoLooks(data) && done()));
        }""",
        "flychat:" + messages_url("/", room),
    )
    hide(other.page, True)
    other.page.evaluate("() => window.question")  # so the leader has heard that this tab is out of sight
    post(url, room, "Bob", "two")
    for tab in (leader, other):
        expect(tab.row("two")).to_have_attribute("data-id", "2")
    wait_for_one(leader)
    assert shown(leader) + shown(other) == [f"{room} / Bob: two"]
    hide(other.page, False)
    leader.page.wait_for_function("() => !shown.length")  # it has been seen, in another tab
    choose(other, "Never")
    expect(leader.page.get_by_label("Never")).to_be_checked()  # it has been told
    hide(other.page, True)
    post(url, room, "Bob", "three")
    for tab in (leader, other):
        expect(tab.row("three")).to_have_attribute("data-id", "3")
    assert shown(leader) == []


def test_the_notification_of_a_message_goes_when_that_is_removed(window: Open) -> None:
    ann = stub(window())
    stream = ScriptedStream(ann.page, OPEN)
    ann.open(connected=False)
    choose(ann, "For every message")
    hide(ann.page, True)
    hide(ann.page, False)  # the example goes
    hide(ann.page, True)
    stream.then(OPEN + event("message", wire_message(1, "Bob", "one", 1)))
    stream.then(OPEN + event("message", wire_message(2, "Bob", "regretted", 2)))
    ann.page.wait_for_function("() => shown.at(-1)?.text.includes('regretted')")
    for id, removed in ((3, 1), (4, 2)):
        assert [text.rpartition(" ")[2] for text in shown(ann)] == ["regretted"]
        stream.then(
            OPEN + event("message", wire_message(id, "Mod", "(removed)", id) | {"removes": [removed]})
        )
        expect(ann.row("(removed)").last).to_have_attribute("data-id", str(id))
    ann.page.wait_for_function("() => !shown.length")


@pytest.mark.parametrize(
    ("answer", "throws", "words"),
    [("denied", "", "does not allow them"), ("granted", "yes", "shows none for a page")],
)
def test_a_browser_that_shows_none_says_so_and_it_stays_off(
    window: Open, answer: str, throws: str, words: str
) -> None:
    ann = stub(window(), answer, throws).open()
    ann.page.locator("summary").click()
    ann.page.get_by_label("For every message").click()
    expect(ann.page.locator(".notify")).to_contain_text(words)
    expect(ann.page.get_by_label("Never")).to_be_checked()
    ann.page.reload()
    ann.page.locator("summary").click()
    expect(ann.page.get_by_label("Never")).to_be_checked()
