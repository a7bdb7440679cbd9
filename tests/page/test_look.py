"""The look: narrow windows, phones, colours, and the pictures of the README."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.page.window import Open, overflow, stop_clock, talk
from tests.support.browser import history, post


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_name_has_a_colour_that_can_be_read(window: Open, url: str, room: str, scheme: str) -> None:
    post(url, room, "Bob", "hello")
    ann = window(color_scheme=scheme).open()
    contrasts = ann.rows.first.evaluate(
        """row => {
            const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
            const luminance = colour => {
                canvas.fillStyle = colour;
                canvas.fillRect(0, 0, 1, 1);
                const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(value =>
                    value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const contrast = (one, other) => {
                const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
                return (light + 0.05) / (dark + 0.05);
            };
            const paper = getComputedStyle(document.documentElement).backgroundColor;
            const name = getComputedStyle(row.querySelector("bdi"));
            const face = getComputedStyle(row.querySelector(".face"));
            return Array.from({ length: 360 }, (_, hue) => {
                row.style.setProperty("--hue", hue);
                return Math.min(contrast(name.color, paper), contrast(face.color, face.backgroundColor));
            });
        }"""
    )
    assert len(contrasts) == 360
    assert min(contrasts) >= 4.5


def test_a_wide_first_letter_stays_within_its_circle(window: Open, url: str, room: str) -> None:
    post(url, room, "Bob", "hello")
    ann = window().open()
    face = ann.rows.first.locator(".face")
    # A family of emoji is as wide as four where the font does not have it.
    face.evaluate("face => { face.dataset.initial = 'W'.repeat(4) }")
    assert face.evaluate("face => face.scrollWidth - face.clientWidth") == 0


@pytest.mark.parametrize("width", [320, 640])
def test_narrow_windows_need_no_sideways_scrolling(window: Open, url: str, room: str, width: int) -> None:
    post(url, room, "B" * 64, "wide" * 200)
    post(url, room, "Ann", "https://example.org/" + "x" * 300)
    for sender in ("Ann", "Bob"):  # a block of code keeps its lines whole, and is scrolled by itself
        post(url, room, sender, f"```\n{'wide' * 50}\n```")
    ann = window(viewport={"width": width, "height": 360})
    ann.page.goto(url + room)
    assert overflow(ann.page) == 0
    ann.open()
    assert overflow(ann.page) == 0
    expect(ann.button("Send")).to_be_in_viewport(ratio=1)
    window(room="w" * 64, beside=ann).open()
    ann.page.reload()  # now it knows of a recent room with a long name
    ann.page.locator("summary").click()
    expect(ann.page.get_by_role("link", name="w" * 64)).to_be_visible()
    assert overflow(ann.page) == 0


def test_with_text_of_twice_the_size_the_state_ends_before_the_name_begins(window: Open) -> None:
    ann = window(viewport={"width": 360, "height": 740}).open()
    ann.page.evaluate("() => { document.documentElement.style.fontSize = '200%' }")
    state, menu = ann.status.locator("bdi").bounding_box(), ann.page.locator(".menu summary").bounding_box()
    assert state["x"] + state["width"] <= menu["x"]
    assert state["height"] < 48, "one line"


def test_with_text_of_twice_the_size_there_is_room_to_write_above_the_button(window: Open) -> None:
    ann = window(viewport={"width": 360, "height": 740}).open()
    ann.page.evaluate("() => { document.documentElement.style.fontSize = '200%' }")
    field, send = ann.text.bounding_box(), ann.button("Send").bounding_box()
    assert field["width"] > 300
    assert field["y"] + field["height"] <= send["y"]
    assert send["x"] + send["width"] == pytest.approx(field["x"] + field["width"], abs=1)
    expect(ann.button("Send")).to_be_in_viewport(ratio=1)


def test_the_menu_stays_within_a_low_window(window: Open) -> None:
    ann = window(viewport={"width": 640, "height": 360}).open()
    ann.page.locator("summary").click()
    expect(ann.page.get_by_text("For every message")).to_be_attached()  # it comes when the menu is opened
    assert ann.page.evaluate("() => document.scrollingElement.scrollHeight") == 360
    ann.button("Copy link").last.scroll_into_view_if_needed()
    expect(ann.button("Copy link").last).to_be_in_viewport(ratio=1)


def test_on_a_phone_fingers_find_the_buttons_and_nothing_breaks_in_two(window: Open) -> None:
    ann = window(
        "A name of some length", viewport={"width": 320, "height": 560}, has_touch=True, is_mobile=True
    )
    ann.open()
    field, send = ann.text.bounding_box(), ann.button("Send").bounding_box()
    assert (field["y"], field["height"]) == (send["y"], send["height"])  # so it has one line
    ann.page.route("**/messages/", lambda route: route.fulfill(status=400, json={}))
    ann.text.fill("fails")
    ann.button("Send").click()
    for name in ("Retry", "Discard"):
        assert ann.button(name).bounding_box()["height"] >= 40
    ann.page.locator("summary").click()
    assert (
        ann.page.get_by_role("link", name="Change name").evaluate("link => link.getClientRects().length") == 1
    )
    ann.page.goto(ann.url + ann.room + "?user=")
    name, join = (ann.page.locator(place).bounding_box() for place in ("#name", ".primary"))
    assert name["width"] == join["width"]


def test_on_a_phone_a_text_has_the_width_and_the_time_is_in_the_heading(
    window: Open, url: str, room: str
) -> None:
    post(url, room, "Bob", "some words that need more than one line on a phone, and then some more of them")
    post(url, room, "Bob", "and more")
    ann = window(viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True).open()
    ann.text.fill("mine")
    ann.button("Send").click()
    expect(ann.rows.last).to_have_attribute("data-id", "3")
    first, more, own = ann.rows.all()
    log = ann.log.bounding_box()["width"]
    assert first.locator("p").bounding_box()["width"] > 0.78 * log
    name, time = first.locator("bdi").bounding_box(), first.locator("time").bounding_box()
    assert name["x"] + name["width"] <= time["x"]
    assert time["y"] + time["height"] <= first.locator("p").bounding_box()["y"] + 1
    assert more.locator("time").bounding_box()["width"] <= 1
    mine, time = own.locator("p").bounding_box(), own.locator("time").bounding_box()
    assert mine["x"] + mine["width"] == pytest.approx(time["x"] + time["width"], abs=2)
    expect(ann.page.locator("summary .me")).to_be_in_viewport()
    assert ann.page.locator("summary .me").bounding_box()["width"] > 10
    post(url, room, "Cid", "a\n" * 30)
    folded = ann.rows.last
    expect(folded).to_have_attribute("data-id", "4")
    expect(ann.button("Show all")).to_be_attached()
    name, time = folded.locator("bdi").bounding_box(), folded.locator("time").bounding_box()
    assert time["x"] - name["x"] - name["width"] < 12, "beside the name"
    ann.context.set_offline(True)
    expect(ann.status).to_contain_text("Offline")
    assert ann.status.bounding_box()["height"] < 24, "one line"


@pytest.mark.parametrize("script", [True, False])
def test_on_a_phone_an_own_text_ends_at_the_edge_from_whichever_side_it_is_read(
    window: Open, url: str, room: str, script: bool
) -> None:
    ann = window(viewport={"width": 360, "height": 640}).open()
    texts = ["מילים " * 30, "words " * 30]
    for text in texts:
        ann.say(text)
    expect(ann.rows.last).to_have_attribute("data-id", "2")
    if not script:  # as it is painted before the scripts have taken over
        ann.page.evaluate(
            """() => document.querySelectorAll(".own").forEach(own => own.className = "maybe")"""
        )
    boxes = [row.locator("p").bounding_box() for row in ann.rows.all()]
    assert boxes[0]["x"] == boxes[1]["x"]
    assert [box["x"] + box["width"] for box in boxes] == [pytest.approx(360 - 12.8, abs=1)] * 2


def test_in_landscape_what_is_in_the_way_takes_little_of_the_height(window: Open) -> None:
    ann = window(viewport={"width": 568, "height": 320}, has_touch=True, is_mobile=True)
    ann.page.clock.install()
    ann.open()
    ann.page.route("**/messages/", lambda route: route.abort())
    for text in ("one", "two"):
        ann.text.fill(text)
        ann.button("Send").click()
    expect(ann.page.get_by_text("Your 2 messages are sent")).to_be_visible()
    stop_clock(ann.page)  # a try that is under way takes that word away, and the buttons have another place
    expect(ann.page.get_by_text("Next try in")).to_be_visible()
    tops = [ann.button(name).bounding_box()["y"] for name in ("Try now", "Discard")]
    assert tops[0] == tops[1]


def test_enter_makes_a_line_where_there_is_a_touch_screen_only(window: Open, url: str, room: str) -> None:
    ann = window(viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True).open()
    ann.text.press_sequentially("one\ntwo")
    expect(ann.text).to_have_value("one\ntwo")
    expect(ann.text).to_have_attribute("enterkeyhint", "enter")
    ann.text.press("Control+Enter")
    expect(ann.rows).to_have_attribute("data-id", "1")
    assert history(url, room)[0]["text"] == "one\ntwo"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_browser_around_the_page_has_the_pages_colour(window: Open, scheme: str) -> None:
    ann = window(color_scheme=scheme).open()
    assert ann.page.evaluate(
        """() => [...document.querySelectorAll("meta[name=theme-color]")].filter(
            meta => matchMedia(meta.media).matches
        ).map(meta => meta.content)[0] === getComputedStyle(document.documentElement).getPropertyValue("--paper")"""
    )


def test_an_empty_room_offers_its_link(window: Open, url: str, room: str) -> None:
    ann = window(permissions=["clipboard-read", "clipboard-write"]).open()
    ann.button("Copy link").click()
    expect(ann.button("Copied")).to_be_visible()
    assert ann.page.evaluate("() => navigator.clipboard.readText()") == url + room
    ann.say("somebody is here")
    expect(ann.button("Copied")).to_be_hidden()


@pytest.mark.parametrize(
    ("name", "scheme", "width", "height"),
    [("light", "light", 900, 640), ("dark", "dark", 900, 640), ("phone", "dark", 360, 640)],
)
def test_screenshots(
    window: Open, url: str, tmp_path: Path, name: str, scheme: str, width: int, height: int
) -> None:
    room = "Saturday sailing"
    if not history(url, room):
        talk(url, room)
    ann = window(room=room, color_scheme=scheme, viewport={"width": width, "height": height})
    sent = ["\n".join(["", m["from"], m["provisionalId"]]) for m in history(url, room) if m["from"] == "Ann"]
    ann.context.add_init_script(f"localStorage.setItem('flychat:sent', {json.dumps(json.dumps(sent))})")
    ann.open()
    folder = Path(os.environ.get("FLYCHAT_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    picture = ann.page.screenshot(path=folder / f"{name}.png")
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 150_000
    assert ann.ids() == list(range(1, 9))
