"""For everybody: axe, the keyboard, what is read out, and less motion."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.page.window import Held, Open, listen, older, seed, talk
from tests.support.browser import ScriptedStream, axe_finds, messages_url, post


def test_axe_finds_nothing_serious(window: Open, url: str, room: str) -> None:
    talk(url, room)
    findings = []
    ann = window(reduced_motion="reduce")
    ann.page.goto(url + room)
    findings += axe_finds(ann.page, "join")
    ann.open()
    for text in ("see www.example.org", "```\n" + "code " * 99 + "\n```", "line\n" * 40, "👍"):
        post(url, room, "Bob", text)
    ann.page.route("**/messages/", lambda route: route.fulfill(status=400, json={}), times=1)
    ann.say("fails, see www.example.org")
    expect(ann.button("Retry")).to_be_visible()
    ann.page.route("**/messages/", lambda route: route.abort())
    ann.say("waits, see www.example.org")
    expect(ann.button("Try now")).to_be_visible()
    findings += axe_finds(ann.page, "room")
    ann.page.locator("summary").click()
    findings += axe_finds(ann.page, "menu")
    ann.page.goto(url + "no/such/page")
    findings += axe_finds(ann.page, "error")
    refused = {"from": "Ann", "text": "x", "provisionalId": "none"}
    answer = ann.context.request.post(messages_url(url, room), form=refused, headers={"Accept": "text/html"})
    ann.page.set_content(answer.text())
    expect(ann.text).to_be_visible()
    findings += axe_finds(ann.page, "form again")
    assert findings == []


def test_everything_is_reached_by_keyboard_and_focus_is_seen(window: Open, url: str, room: str) -> None:
    seed(url, room, 60)
    ann = window()
    Held(ann.page, re.compile("before="))  # or else the button for older messages is gone, for who is slow
    ann.open()
    expect(ann.text).to_be_focused()
    reached = []
    for _ in range(6):
        ann.page.keyboard.press("Shift+Tab")
        focused = ann.page.locator(":focus")
        reached.append(focused.get_attribute("id") or focused.evaluate("element => element.tagName"))
        assert focused.evaluate("element => getComputedStyle(element).outlineStyle") != "none"
        if reached[-1] == "SUMMARY":
            break
    assert reached == ["older", "log", "SUMMARY"]
    ann.page.keyboard.press("Enter")
    expect(ann.page.get_by_role("link", name="Change name")).to_be_visible()
    ann.page.keyboard.press("Escape")
    expect(ann.page.get_by_role("link", name="Change name")).to_be_hidden()
    menu = ann.page.locator("summary")
    expect(menu).to_be_focused()
    expect(menu).to_have_accessible_name("You are Ann: name and rooms")
    assert menu.bounding_box()["height"] >= 44
    expect(ann.page.get_by_label("For every message")).to_be_attached()  # it came when the menu was opened
    ann.page.keyboard.press("Enter")
    for _ in range(6):  # by the link, the buttons, the field and the choice, and out of the menu
        expect(ann.page.get_by_role("link", name="Change name")).to_be_visible()
        ann.page.keyboard.press("Tab")
    expect(ann.page.get_by_role("link", name="Change name")).to_be_hidden()
    ann.text.focus()
    ann.page.evaluate("() => { document.querySelector('.menu').open = true }")
    ann.page.keyboard.press("Escape")
    expect(ann.page.get_by_role("link", name="Change name")).to_be_hidden()


def test_the_link_of_every_message_is_reached_by_keyboard_with_one_stop_for_all(
    window: Open, url: str, room: str
) -> None:
    seed(url, room, 60)
    ann = window()
    Held(ann.page, re.compile("before="))  # or else who is slow goes Home to an older one
    ann.open()
    focused = ann.page.locator(":focus")
    ann.log.focus()
    ann.page.keyboard.press("Tab")  # by the button for older messages
    ann.page.keyboard.press("Tab")
    expect(focused).to_have_attribute("href", "#60")
    for key, id in [("ArrowUp", 59), ("ArrowUp", 58), ("ArrowDown", 59), ("Home", 11), ("ArrowUp", 11)]:
        ann.page.keyboard.press(key)
        expect(focused).to_have_attribute("href", f"#{id}")
        expect(focused).to_be_in_viewport()
        expect(focused.locator("xpath=..")).to_have_css("opacity", "1")
    ann.page.keyboard.press("ArrowDown")
    ann.page.keyboard.press("Tab")
    expect(ann.button("Newest")).to_be_focused()
    ann.page.keyboard.press("Shift+Tab")
    expect(focused).to_have_attribute("href", "#12")
    ann.page.keyboard.press("End")
    ann.page.keyboard.press("ArrowDown")
    expect(focused).to_have_attribute("href", "#60")
    assert ann.log.locator("[tabindex='0']").count() == 1


@pytest.mark.parametrize(("motion", "animation"), [("reduce", "none"), ("no-preference", "blink")])
def test_who_wants_less_motion_gets_less(window: Open, motion: str, animation: str) -> None:
    ann = window(reduced_motion=motion)
    ann.page.clock.install()
    ScriptedStream(ann.page, *[502] * 9)
    ann.open(connected=False)
    ann.page.clock.run_for(4_000)
    expect(ann.status).to_have_text(re.compile("^Reconnecting"))
    seen = ann.status.evaluate("line => getComputedStyle(line, '::before').animationName")
    assert seen == animation


def test_the_log_is_polite_and_old_rows_are_not_read_out(window: Open, url: str, room: str) -> None:
    seed(url, room, 60)
    ann = window().open()
    expect(ann.log).to_have_attribute("aria-live", "polite")
    listen(ann.page)
    older(ann.page)
    expect(ann.rows).to_have_count(60)
    expect(ann.log).to_have_attribute("aria-live", "polite")
    held = Held(ann.page, "**/messages/")
    with ann.page.expect_request("**/messages/"):
        ann.say("mine")
    time = ann.page.locator("li:last-child time a")
    time.evaluate("time => (time.textContent = time.written = '1:23')")  # as if that was what it was then
    ann.page.evaluate("() => void window.spoken.splice(1)")
    held.first.continue_()
    expect(ann.row("mine")).to_have_attribute("data-id", "61")
    expect(ann.row("mine").locator("time")).not_to_have_text("1:23")
    spoken = ann.page.evaluate("() => window.spoken")
    assert len(spoken) == 1
    assert "mine" in spoken[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_message_on_its_way_can_be_read_with_its_links(window: Open, scheme: str) -> None:
    ann = window(color_scheme=scheme).open()
    ann.page.route("**/messages/", lambda route: None)
    ann.say("see www.example.org")
    row = ann.row("see www.example.org")
    expect(row).to_have_attribute("data-state", "pending")
    contrast = row.locator("p").evaluate(
        """text => {
            const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
            const paint = colours => {
                canvas.globalAlpha = 1;
                for (const [colour, alpha] of colours) {
                    canvas.globalAlpha = alpha;
                    canvas.fillStyle = colour;
                    canvas.fillRect(0, 0, 1, 1);
                }
                const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(value =>
                    value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const { backgroundColor: back, opacity } = getComputedStyle(text);
            const paper = [getComputedStyle(document.documentElement).backgroundColor, 1];
            const link = paint([paper, [getComputedStyle(text.querySelector("a")).color, opacity]]);
            const both = [link, paint([paper, [back, opacity]])].sort((a, b) => a - b);
            return (both[1] + 0.05) / (both[0] + 0.05);
        }"""
    )
    assert contrast >= 4.5


def test_texts_are_in_a_language_that_nobody_knows_and_the_page_in_english(
    window: Open, url: str, room: str
) -> None:
    post(url, room, "Bob", "Guten Morgen")
    ann = window().open()
    language = "place => place.closest('[lang]').lang"
    assert ann.rows.locator("p").evaluate(language) == ""
    assert ann.rows.locator(".day").evaluate(language) == "en"
    assert ann.page.locator("h1 bdi").evaluate(language) == ""
    assert ann.button("Send").evaluate(language) == "en"


def test_with_forced_colours_what_was_told_by_a_colour_has_an_edge(window: Open, url: str, room: str) -> None:
    post(url, room, "Bob", "hello")
    post(url, room, "Bob", "```\ncode\n```")
    ann = window(forced_colors="active").open()
    for place in (".status", "li .face", ".block"):
        edge = ann.page.locator(place).first.evaluate(
            "(place, part) => getComputedStyle(place, part).borderTopWidth",
            "::before" if place == ".status" else None,
        )
        assert edge == "1px", place
    ann.say("sent")
    expect(ann.row("sent")).to_have_attribute("data-id", "3")
    ann.page.route("**/messages/", lambda route: route.abort())
    ann.say("waits")
    expect(ann.row("waits")).to_have_attribute("data-state", "waiting")
    edge = "text => [getComputedStyle(text).borderTopStyle, getComputedStyle(text).borderTopWidth]"
    edges = [ann.row(text).locator("p").evaluate(edge) for text in ("hello", "sent", "waits")]
    assert edges == [["solid", "1px"], ["solid", "3px"], ["dashed", "3px"]]
