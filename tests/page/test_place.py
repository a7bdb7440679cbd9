"""The reader's place: it survives another width, another size of the text, the keyboard; and so does the focus."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.page.window import FRAMES, Open, hide, seed
from tests.support.browser import post

FIRST = """() => {
    const log = document.getElementById("log");
    const { top } = log.getBoundingClientRect();
    const row = [...log.querySelectorAll("li")].find(row => row.getBoundingClientRect().bottom > top + 2);
    const { top: start, height } = row.getBoundingClientRect();
    return { id: row.dataset.id, above: (top - start) / height };
}"""


def read_somewhere(window: Open, url: str, room: str) -> Page:
    for number in range(40):
        post(url, room, "Bob" if number % 3 else "Cid", f"{number} " + "words " * (number * 7 % 60))
    page = window(viewport={"width": 360, "height": 640}).open().page
    page.evaluate("() => { document.getElementById('log').scrollTop = 2_000 }")
    page.evaluate(FRAMES)
    return page


@pytest.mark.parametrize("change", ["turned", "larger text", "keyboard"])
def test_the_place_survives(window: Open, url: str, room: str, change: str) -> None:
    page = read_somewhere(window, url, room)
    before, top = page.evaluate(FIRST), page.evaluate("() => document.getElementById('log').scrollTop")

    def set(on: bool) -> None:
        if change == "larger text":
            page.evaluate("size => { document.documentElement.style.fontSize = size }", "150%" if on else "")
        else:
            page.set_viewport_size(
                ({"width": 640, "height": 360} if change == "turned" else {"width": 360, "height": 340})
                if on
                else {"width": 360, "height": 640}
            )
        page.evaluate(FRAMES)

    for _ in range(2):
        set(True)
        now = page.evaluate(FIRST)
        assert now["id"] == before["id"]
        assert now["above"] == pytest.approx(before["above"], abs=0.05)
        set(False)
    assert page.evaluate("() => document.getElementById('log').scrollTop") == pytest.approx(top, abs=8)
    assert page.evaluate(FIRST)["id"] == before["id"]


def test_the_place_survives_also_after_a_turn_at_the_end(window: Open, url: str, room: str) -> None:
    """What was known of the width before that turn is of no use any more."""
    page = read_somewhere(window, url, room)
    turned, back = ({"width": 640, "height": 360}, {"width": 360, "height": 640})
    page.evaluate("() => { document.getElementById('log').scrollTop = 1e6 }")
    page.evaluate(FRAMES)
    page.set_viewport_size(turned)
    page.evaluate(FRAMES)
    page.evaluate("() => { document.getElementById('log').scrollTop = 500 }")
    page.evaluate(FRAMES)
    before = page.evaluate(FIRST)
    page.set_viewport_size(back)
    page.evaluate(FRAMES)
    assert page.evaluate(FIRST)["id"] == before["id"]


def test_who_is_at_the_end_stays_there_when_the_text_grows(window: Open, url: str, room: str) -> None:
    seed(url, room, 40)
    ann = window().open()
    ann.page.evaluate("() => { document.documentElement.style.fontSize = '180%' }")
    expect(ann.row("message 40")).to_be_in_viewport(ratio=1)
    assert ann.from_bottom() < 2


def test_the_field_is_as_high_as_its_text_at_any_width(window: Open) -> None:
    ann = window(viewport={"width": 900, "height": 640}).open()
    ann.text.fill("some words that need more than one line in a narrow window, and one in a wide one")
    wide = ann.text.bounding_box()["height"]
    ann.page.set_viewport_size({"width": 320, "height": 640})
    ann.page.evaluate(FRAMES)
    narrow = ann.text.bounding_box()["height"]
    assert narrow > 1.5 * wide
    assert ann.text.evaluate("field => field.scrollHeight <= field.clientHeight")
    ann.page.set_viewport_size({"width": 900, "height": 640})
    ann.page.evaluate(FRAMES)
    assert ann.text.bounding_box()["height"] == wide


def test_the_focus_goes_to_the_log_when_what_has_it_goes(window: Open, url: str, room: str) -> None:
    post(url, room, "Bob", "see www.example.org")
    ann = window().open()
    focus = "() => document.activeElement.id"
    for goes in (
        "link => link.closest('li').remove()",
        "link => { link.closest('p').hidden = true }",
    ):
        text = f"see www.example.org {len(goes)}"
        post(url, room, "Bob", text)
        link = ann.row(text).locator("p").get_by_role("link")
        link.focus()
        link.evaluate(goes)
        expect(ann.log).to_be_focused()
    share = ann.page.locator("#composer button")
    share.focus()
    share.evaluate("button => { button.disabled = true }")
    expect(ann.log).to_be_focused()
    ann.text.focus()
    ann.text.evaluate("field => field.blur()")  # of the reader's own will
    ann.page.locator("h1").evaluate("heading => { heading.hidden = true }")
    ann.page.evaluate(FRAMES)
    assert ann.page.evaluate(focus) == ""


def test_who_is_at_the_bottom_stays_there_when_the_row_with_the_line_leaves_the_page(
    window: Open, url: str, room: str
) -> None:
    """The line then stands above the first row that is left, which becomes higher by it."""
    seed(url, room, 1)
    ann = window().open()
    hide(ann.page, True)
    seed(url, room, 1)
    expect(ann.log.locator("li[data-id='2'] .fresh")).to_have_text("1 new")
    hide(ann.page, False)
    seed(url, room, 500)
    for id in range(503, 507):  # each takes the place of one, so the list keeps its height
        post(url, room, "Bob", "one more")
        expect(ann.rows.last).to_have_attribute("data-id", str(id))
        expect(ann.log.locator(f"li[data-id='{id - 499}'] .fresh")).to_have_text("1 new")
    ann.page.evaluate(FRAMES)
    assert ann.from_bottom() < 1
