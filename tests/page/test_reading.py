"""Reading: rows by author and day, the end of the log in sight, what is unread."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.page.window import OPEN, Open, hide, seed, talk
from tests.support.browser import ScriptedStream, event, history, post, wire_message

pytestmark = pytest.mark.xdist_group("page reading")


def test_rows_are_grouped_by_author_and_day_with_local_times(window: Open) -> None:
    ann = window(timezone_id="Asia/Kolkata", locale="en-GB")
    rows = [
        ("Bob", "night", "2026-01-30T18:29:00.000Z"),  # 23:59 in Kolkata
        ("Bob", "morning", "2026-01-30T18:31:00.000Z"),  # 00:01 on the next day
        ("Bob", "soon after", "2026-01-30T18:32:00.000Z"),
        ("Cid", "another", "2026-01-30T18:33:00.000Z"),
        ("Cid", "much later", "2026-01-30T20:00:00.000Z"),
    ]
    messages = [wire_message(n, who, text, n, date) for n, (who, text, date) in enumerate(rows, 1)]
    ann.page.clock.set_fixed_time("2026-01-31T12:00:00Z")
    ScriptedStream(ann.page, OPEN + "".join(event("message", message) for message in messages))
    ann.open(connected=False)
    expect(ann.row("much later")).to_be_visible()
    expect(ann.log.locator(".day")).to_have_text(["Yesterday", "Today"])
    more = [text for _, text, _ in rows if "more" in (ann.row(text).get_attribute("class") or "")]
    assert more == ["soon after"]
    time = ann.row("morning").locator("time")
    expect(time).to_have_text("00:01")
    expect(time).to_have_attribute("title", re.compile("Saturday.* 31 January 2026"))
    hues = ann.rows.evaluate_all("rows => rows.map(row => row.style.getPropertyValue('--hue'))")
    assert hues[0] == hues[1] != hues[3] == hues[4]


@pytest.mark.parametrize("touch", [False, True])
def test_rows_under_a_heading_show_their_time_on_a_touch_screen(window: Open, touch: bool) -> None:
    ann = window(has_touch=touch, is_mobile=touch)
    dates = [f"2026-01-31T12:{minute:02}:00.000Z" for minute in (0, 3, 10)]
    messages = [wire_message(n, "Bob", f"at {date}", n, date) for n, date in enumerate(dates, 1)]
    ScriptedStream(ann.page, OPEN + "".join(event("message", message) for message in messages))
    ann.open(connected=False)
    expect(ann.rows).to_have_count(3)
    grouped = ann.rows.evaluate_all("rows => rows.map(row => row.classList.contains('more'))")
    assert grouped == [False, True, False]
    seen = ann.rows.evaluate_all(
        "rows => rows.map(row => getComputedStyle(row.querySelector('time')).opacity === '1')"
    )
    assert seen == [touch or not more for more in grouped]


def test_at_midnight_today_becomes_yesterday(window: Open) -> None:
    ann = window(timezone_id="Asia/Kolkata")
    messages = [
        wire_message(1, "Bob", "late", 1, "2026-01-30T18:29:30.000Z"),
        wire_message(2, "Bob", "early", 2, "2026-01-30T18:30:30.000Z"),
    ]
    ann.page.clock.install(time="2026-01-30T18:29:40Z")
    ScriptedStream(ann.page, *(OPEN + event("message", message) for message in messages))
    ann.open(connected=False)
    expect(ann.log.locator(".day")).to_have_text(["Today"])
    ann.page.clock.fast_forward(60_000)
    expect(ann.log.locator(".day")).to_have_text(["Yesterday", "Today"])


def test_rows_of_the_server_look_like_those_of_the_stream(window: Open, url: str, room: str) -> None:
    talk(url, room)
    looks = "rows => rows.map(row => [row.className, row.dataset.id, row.style.cssText, row.innerHTML])"
    ann = window().open()
    live = window("Ann", room=f"{room}, live").open()
    assert ann.log.locator("li.more").count() == 1
    ScriptedStream(
        live.page,
        OPEN + "".join(event("message", message) for message in history(url, room)),
    )
    live.page.reload()
    expect(live.rows).to_have_count(8)
    assert live.rows.evaluate_all(looks) == ann.rows.evaluate_all(looks)


def test_the_log_sticks_to_the_bottom_only_when_the_reader_is_there(
    window: Open, url: str, room: str
) -> None:
    seed(url, room, 40)
    ann = window().open()
    assert ann.from_bottom() < 2
    post(url, room, "Bob", "seen")
    expect(ann.row("seen")).to_be_in_viewport()
    assert ann.from_bottom() < 2
    ann.scroll(200)
    reading = ann.row("message 10").bounding_box()
    for number in range(3):
        post(url, room, "Bob", f"unseen {number}")
    expect(ann.button("3 new")).to_be_visible()
    assert ann.row("message 10").bounding_box() == reading
    expect(ann.page).to_have_title(f"(3) {room} · flychat")
    ann.button("3 new").click()
    expect(ann.row("unseen 2")).to_be_in_viewport()
    expect(ann.button("3 new")).to_be_hidden()
    expect(ann.page).to_have_title(f"{room} · flychat")
    ann.scroll(0)
    ann.say("own messages lead to the bottom")
    expect(ann.row("own messages lead to the bottom")).to_be_in_viewport()


def test_a_growing_text_does_not_cover_the_last_message(window: Open, url: str, room: str) -> None:
    seed(url, room, 40)
    ann = window().open()
    ann.text.fill("a\nb\nc\nd\ne")
    expect(ann.row("message 40")).to_be_in_viewport(ratio=1)
    ann.page.set_viewport_size({"width": 400, "height": 350})  # a phone's keyboard
    expect(ann.row("message 40")).to_be_in_viewport(ratio=1)
    assert ann.from_bottom() < 2


def test_a_scroll_event_that_comes_with_a_change_of_size_does_not_take_the_reader_away(
    window: Open, url: str, room: str
) -> None:
    seed(url, room, 40)
    ann = window().open()
    assert ann.from_bottom() < 2
    # A frame has its scroll events before its observers of sizes: this is the order of a scroll and a phone's keyboard.
    ann.page.evaluate(
        """() => {
            const log = document.getElementById("log");
            log.style.maxHeight = `${log.clientHeight - 100}px`;
            log.dispatchEvent(new Event("scroll"));
        }"""
    )
    expect(ann.row("message 40")).to_be_in_viewport(ratio=1)
    assert ann.from_bottom() < 2
    ann.scroll(200)
    ann.page.evaluate("document.getElementById('log').style.maxHeight = ''")
    assert ann.from_bottom() > 200


def test_unread_messages_are_counted_in_the_title(window: Open, url: str, room: str) -> None:
    ann = window().open()
    hide(ann.page, True)
    for text in ("one", "two"):
        post(url, room, "Bob", text)
    expect(ann.page).to_have_title(f"(2) {room} · flychat")
    hide(ann.page, False)
    expect(ann.page).to_have_title(f"{room} · flychat")
