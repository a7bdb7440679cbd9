"""Who is here, and who is typing: shown where the server has signals, and read out to nobody."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Request, Route, expect

from tests.page.window import OPEN, Open, hide, stop_clock
from tests.support.browser import ScriptedStream, ServerProcess, Window, event


@pytest.fixture(scope="module")
def signals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that has signals: its address."""
    server = ServerProcess(tmp_path_factory.mktemp("signals") / "chat.db", "--standalone", "--signals")
    yield server.start()
    server.stop()


def company(window: Window) -> Locator:
    return window.page.locator(".company summary")


def here(*names: str, more: int = 0) -> str:
    return event("signal", {"kind": "here", "date": "d", "data": {"names": names, "more": more}})


def not_here(route: Route) -> None:
    """What the page says of being here goes nowhere."""
    if route.request.post_data_json["kind"] == "here":
        route.fulfill(status=202)
    else:
        route.continue_()


def sent(window: Window) -> list[dict]:
    """The signals that the page will have sent."""
    all: list[dict] = []

    def note(request: Request) -> None:
        if request.url.endswith("/signals/"):
            all.append(request.post_data_json)

    window.page.on("request", note)
    return all


def test_who_is_typing_is_seen_until_the_message_comes(window: Open, signals: str) -> None:
    ann, bob = window(url=signals), window("Bob", url=signals)
    for one in (ann, bob):  # or else the server tells of them after ten seconds, typing or not
        one.context.route("**/signals/", not_here)
    bob.open()
    ann.page.clock.install()
    ann.open()
    beside = window(url=signals, beside=ann).open()
    height = ann.page.locator("header").evaluate("header => header.offsetHeight")
    expect(company(ann)).to_be_hidden()
    stop_clock(ann.page)  # or else it might be over before the other tab is looked at
    bob.text.press_sequentially("hel")
    expect(company(ann)).to_have_text("Bob is typing…")
    expect(company(beside)).to_have_text("Bob is typing…")
    assert ann.page.locator("header").evaluate("header => header.offsetHeight") == height
    ann.page.clock.resume()
    bob.say("hello")
    expect(ann.row("hello")).to_be_visible()
    expect(company(ann)).to_have_text("Bob is here")
    expect(company(bob)).to_be_hidden()
    ann.page.keyboard.press("a")
    expect(company(bob)).to_have_text("Ann is typing…")


def test_a_handful_is_named_and_all_of_them_on_request(window: Open, signals: str) -> None:
    ann = window(url=signals)
    ann.page.clock.install()
    names = [f"Person {number}" for number in range(1, 8)]
    ScriptedStream(ann.page, OPEN + here("Ann", *names))
    ann.open(connected=False)
    expect(company(ann)).to_have_text(f"{', '.join(names[:5])} and 2 more are here")
    live = "[aria-live], [role=status], [role=alert], [role=log]"
    assert company(ann).evaluate("(line, live) => line.closest(live)", live) is None, (
        "it is read out to nobody"
    )
    every = ann.page.get_by_text(f"Here: {', '.join(names[:6])} and Person 7")
    expect(every).to_be_hidden()
    company(ann).press("Enter")
    expect(every).to_be_visible()
    ann.page.keyboard.press("Escape")
    expect(every).to_be_hidden()
    expect(company(ann)).to_be_focused()
    ann.text.click()
    ann.page.clock.fast_forward(76_000)
    expect(company(ann)).to_be_hidden()


@pytest.mark.parametrize("width", [360, 1000])
def test_a_long_name_leaves_room_for_what_is_said_of_it(window: Open, signals: str, width: int) -> None:
    ann = window(url=signals, viewport={"width": width, "height": 600})
    ScriptedStream(ann.page, OPEN + event("signal", {"from": "W" * 64, "kind": "typing", "date": "d"}))
    ann.open(connected=False)
    expect(company(ann)).to_have_text(f"{'W' * 64} is typing…")
    assert company(ann).evaluate("line => line.scrollWidth - line.clientWidth") == 0


def test_a_short_name_stays_whole_beside_a_long_one(window: Open, signals: str) -> None:
    ann = window(url=signals, viewport={"width": 390, "height": 600})
    ann.page.clock.install()
    ann.open()
    stop_clock(ann.page)  # the first is still typing when the second begins
    for name in ("Al", "M" * 64):
        ann.context.request.post(f"{signals}rooms/{ann.room}/signals/", data={"from": name, "kind": "typing"})
    expect(company(ann)).to_have_text(f"Al and {'M' * 64} are typing…")
    cut = "name => name.scrollWidth - name.clientWidth"
    assert [name.evaluate(cut) > 0 for name in company(ann).locator("bdi").all()] == [False, True]


@pytest.mark.parametrize("width", [320, 390, 1000])
def test_what_is_said_of_long_names_can_be_read_on_a_phone(window: Open, signals: str, width: int) -> None:
    names = ["Wilhelmina Constance Abernathy", "Maximilian Featherstonehaugh"]
    ann = window(url=signals, room=f"width {width}", viewport={"width": width, "height": 600})
    ann.page.clock.install()
    ann.open()
    stop_clock(ann.page)  # they are typing until all widths have been tried
    for name in names:
        ann.context.request.post(f"{signals}rooms/{ann.room}/signals/", data={"from": name, "kind": "typing"})
    beyond = """line => {
        const range = document.createRange();
        range.selectNodeContents(line.lastChild);
        return range.getBoundingClientRect().right - line.getBoundingClientRect().right;
    }"""
    for what in ("typing…", "here"):
        for size in (width, 2000, width):
            ann.page.set_viewport_size({"width": size, "height": 600})
            expect(company(ann)).to_have_text(
                f"2 {what}" if size == 320 else f"{' and '.join(names)} are {what}"
            )
            assert company(ann).evaluate(beyond) <= 0
        ann.page.clock.run_for(6_000)
    ann.context.set_offline(True)
    ann.page.clock.run_for(4_000)
    expect(ann.status).to_contain_text("Offline")
    expect(company(ann)).to_be_visible(visible=width > 480)  # on a phone it is in the place of the other
    status, menu = ann.status.bounding_box(), ann.page.locator(".menu").bounding_box()
    assert status["height"] < 24
    assert status["x"] + status["width"] <= menu["x"]


def test_a_page_says_while_it_is_looked_at_that_somebody_is_here(window: Open, signals: str) -> None:
    """Twice a minute, and not more often by being looked at again."""
    ann = window(url=signals)
    told = sent(ann)
    ann.page.clock.install()
    ScriptedStream(ann.page, OPEN)
    with ann.page.expect_request("**/signals/"):
        ann.open(connected=False)
    stop_clock(ann.page)
    for hidden in (True, False):
        hide(ann.page, hidden)
    with ann.page.expect_request("**/signals/"):
        ann.page.clock.run_for(34_000)
    hide(ann.page, hidden=True)
    ann.page.clock.run_for(100_000)
    assert told == [{"from": "Ann", "kind": "here"}] * 2


def test_a_page_of_a_server_without_signals_has_nothing_of_them(window: Open, url: str) -> None:
    ann = window(url=url)
    told, asked = sent(ann), []
    ann.page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    ann.open()
    ann.say("hello")
    expect(ann.row("hello")).to_have_attribute("data-id", "1")
    assert not told
    assert not {"signals.js", "company.js"} & set(asked)


def test_notifications_are_chosen_in_the_menu_and_not_in_the_list_of_who_is_here(
    window: Open, signals: str
) -> None:
    ann = window(url=signals).open()
    window("Bob", url=signals).open()
    expect(company(ann)).to_have_text("Bob is here")
    menu = ann.page.locator(".menu")
    menu.locator("summary").click()
    expect(menu.get_by_label("For every message")).to_be_visible()
