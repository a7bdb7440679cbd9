"""Reading: rows by author and day, the end of the log in sight, what is unread."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.page.window import FRAMES, OPEN, Held, Open, at_time, hide, seed, talk
from tests.support.browser import ScriptedStream, Window, event, history, messages_url, post, wire_message


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
    at_time(ann.page, "2026-01-31T12:00:00Z")
    ScriptedStream(ann.page, OPEN + "".join(event("message", message) for message in messages))
    ann.open(connected=False)
    expect(ann.row("much later")).to_be_visible()
    expect(ann.log.locator(".day")).to_have_text(["Yesterday", "Today"])
    more = [text for _, text, _ in rows if "more" in (ann.row(text).get_attribute("class") or "")]
    assert more == ["soon after"]
    time = ann.row("morning").locator("time")
    expect(time).to_have_text("00:01")
    expect(time).to_have_attribute("title", re.compile("Saturday.* 31 January 2026"))
    hues = ann.rows.evaluate_all("rows => rows.map(row => getComputedStyle(row).getPropertyValue('--hue'))")
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
    at_time(ann.page, "2026-01-30T18:20:00Z")  # however slow the machine is, it is not midnight yet
    ann.page.clock.install(time="2026-01-30T18:20:00Z")
    stream = ScriptedStream(ann.page, OPEN + event("message", messages[0]))
    ann.open(connected=False)
    expect(ann.log.locator(".day")).to_have_text(["Today"])
    stream.then(OPEN + event("message", messages[1]))
    ann.page.clock.fast_forward(660_000)
    expect(ann.log.locator(".day")).to_have_text(["Yesterday", "Today"])


def test_rows_of_the_server_look_like_those_of_the_stream(window: Open, url: str, room: str) -> None:
    talk(url, room)
    looks = "rows => rows.map(row => [[...row.classList].sort(), row.dataset.id, row.innerHTML])"
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


@pytest.mark.parametrize(("width", "messages"), [(360, 0), (900, 3), (360, 60), (900, 60)])
def test_nothing_moves_when_the_script_takes_over(
    window: Open, url: str, room: str, width: int, messages: int
) -> None:
    ann = window(viewport={"width": width, "height": 640}, timezone_id="Pacific/Auckland").open()
    ann.say("mine")
    expect(ann.rows).to_have_attribute("data-id", "1")
    texts = [
        "short",
        "`code` in a line",
        "```\na\nblock\n```",
        "👍",
        "line\n" * 40,
        "word " * 60,
        "@Ann שלום",
    ]
    for number in range(messages):
        post(url, room, "Bob" if number % 5 else "Cid", texts[number % len(texts)])
    expect(ann.rows.last).to_have_attribute("data-id", str(1 + messages))  # else a line says that it is new
    held = Held(ann.page, "**/chat.js")
    ann.page.reload(wait_until="commit")
    ann.page.wait_for_function("document.readyState !== 'loading'")  # a half of a page moves by itself
    expect(ann.rows.last).to_be_visible()
    ann.page.evaluate(FRAMES)
    ann.page.evaluate(
        """() => {
            window.moved = [];
            const box = ({ x, y, width, height }) => [x, y, width, height];
            new PerformanceObserver(list => {
                for (const { value, sources } of list.getEntries())
                    moved.push([value, ...sources.map(({ node, previousRect: from, currentRect: to }) => [node?.outerHTML?.slice(0, 90), box(from), box(to)])]);
            }).observe({ type: "layout-shift" });
        }"""
    )
    held.first.continue_()
    expect(ann.status).to_have_text("Connected")
    ann.page.evaluate(FRAMES)
    assert ann.page.evaluate("() => moved") == []


@pytest.mark.parametrize("script", [True, False])
def test_code_is_monospace_and_keeps_its_lines(window: Open, url: str, room: str, script: bool) -> None:
    post(url, room, "Bob", "Try `**x**`:\n```py\nif a:\n    b  # www.example.org\n```\n**no** _more_")
    ann = window(java_script_enabled=script).open(connected=script)
    inline, block = ann.rows.locator("code").all()
    assert inline.inner_text() == "**x**"
    assert block.inner_text() == "if a:\n    b  # www.example.org"
    for code in (inline, block):
        assert "monospace" in code.evaluate("code => getComputedStyle(code).fontFamily")
    expect(ann.rows.locator("p").get_by_role("link")).to_have_count(0)
    expect(ann.rows.locator("p")).to_contain_text("**no** _more_")


def test_long_texts_are_folded_and_shown_whole_on_request(window: Open, url: str, room: str) -> None:
    text = "\n".join(f"line {number}" for number in range(60))
    post(url, room, "Bob", text)
    ann = window().open()
    post(url, room, "Bob", text)
    expect(ann.rows).to_have_count(2)
    for row in ann.rows.all():
        low = row.locator("p").bounding_box()["height"]
        assert low < 400
        row.get_by_role("button", name="Show all").click()
        assert row.locator("p").bounding_box()["height"] > 2 * low
        expect(row.get_by_role("button", name="Show less")).to_have_attribute("aria-expanded", "true")
        row.get_by_role("button", name="Show less").click()
        assert row.locator("p").bounding_box()["height"] == low
        expect(row).to_be_in_viewport()


def test_long_texts_are_whole_without_javascript(window: Open, url: str, room: str) -> None:
    post(url, room, "Bob", "line\n" * 60)
    ann = window(java_script_enabled=False).open(connected=False)
    assert ann.rows.locator("p").bounding_box()["height"] > 800
    expect(ann.button("Show all")).to_be_hidden()


def test_texts_stand_on_the_side_where_they_begin_and_a_mention_does_not_turn_them(
    window: Open, url: str, room: str
) -> None:
    texts = {
        "שלום": "right",
        "hello\nthe longer line of two": "left",
        "@Ann שלום": "right",
        "www.example.org שלום": "right",
        "`code` שלום": "right",
    }
    for text in texts:
        post(url, room, "Bob", text + "\n" + "." * 60)
    ann = window().open()
    for row, side in zip(ann.rows.all(), texts.values(), strict=True):
        gaps = row.locator("p").evaluate(
            """text => {
                const range = document.createRange();
                range.setStart(text, 0);
                range.setEnd(text.lastChild, text.lastChild.data.indexOf("\\n"));
                const [box, words] = [text.getBoundingClientRect(), range.getBoundingClientRect()];
                return { left: words.left - box.left, right: box.right - words.right };
            }"""
        )
        assert (gaps["left"] < gaps["right"]) == (side == "left"), (row.text_content(), gaps)


def test_the_log_sticks_to_the_bottom_only_when_the_reader_is_there(
    window: Open, url: str, room: str
) -> None:
    seed(url, room, 40)
    ann = window().open()
    assert ann.from_bottom() < 2
    post(url, room, "Bob", "seen")
    expect(ann.row("seen")).to_have_attribute("data-id", "41")
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
    ann.page.evaluate(FRAMES)  # in which it would be taken there
    assert ann.from_bottom() > 200


def test_unread_messages_are_counted_in_the_title(window: Open, url: str, room: str) -> None:
    ann = window().open()
    hide(ann.page, True)
    for text in ("one", "two"):
        post(url, room, "Bob", text)
    expect(ann.page).to_have_title(f"(2) {room} · flychat")
    icon = ann.page.locator("link[rel=icon]")
    expect(icon).to_have_attribute("href", re.compile("/favicon-unread.svg$"))
    hide(ann.page, False)
    expect(ann.page).to_have_title(f"{room} · flychat")
    expect(icon).to_have_attribute("href", re.compile("/favicon.svg$"))


def line(ann: Window) -> str | None:
    """What stands above the first new message, with that message."""
    lines = ann.log.locator(".fresh")
    if not lines.count():
        return None
    return f"{lines.inner_text()}: {lines.locator('xpath=..').locator('p').inner_text()}"


@pytest.mark.parametrize("late", [False, True])
def test_what_is_seen_in_one_tab_is_not_unread_in_another(
    window: Open, url: str, room: str, late: bool
) -> None:
    ann = window().open()
    beside = window(beside=ann).open()
    icon = beside.page.locator("link[rel=icon]")
    hide(beside.page, hidden=True)
    if late:  # a tab out of sight is, and hears of what is seen before it shows what came
        beside.page.evaluate("() => { window.tasks = []; window.setTimeout = task => tasks.push(task) }")
        beside.page.evaluate(
            """name => {
                const channel = new BroadcastChannel(name);
                const isOfficial = ({ kind, id }) => kind === "event" && id;
                window.heard = new Promise(done => (channel.onmessage = ({ data }) => isOfficial(data) && done()));
            }""",
            "flychat:" + messages_url("/", room),
        )
    else:
        hide(ann.page, hidden=True)
    post(url, room, "Bob", "news")
    expect(ann.row("news")).to_have_attribute("data-id", "1")
    if late:
        expect(ann.page).to_have_title(f"{room} · flychat")
        key = "flychat:seen:" + messages_url("/", room)
        assert ann.page.evaluate("key => localStorage.getItem(key)", key) == "1"
        beside.page.evaluate("() => window.heard")
        beside.page.evaluate("() => tasks.forEach(task => task())")
        expect(beside.rows).to_have_count(1)
    else:
        expect(beside.page).to_have_title(f"(1) {room} · flychat")
        hide(ann.page, hidden=False)
    for tab in (ann, beside):
        expect(tab.page).to_have_title(f"{room} · flychat")
    expect(icon).to_have_attribute("href", re.compile(r"favicon\.svg"))


def test_what_came_while_the_page_was_not_open_begins_at_a_line(window: Open, url: str, room: str) -> None:
    seed(url, room, 10)
    ann = window().open()
    assert line(ann) is None
    ann.page.goto(url + "healthz")
    for text in ("one", "two", "three"):
        post(url, room, "Bob", text)
    ann.page.goto(url + room)
    expect(ann.log.locator(".fresh")).to_be_visible()
    assert line(ann) == "3 new: one"
    expect(ann.page).to_have_title(f"{room} · flychat")  # they are in sight
    ann.page.reload()
    expect(ann.status).to_have_text("Connected")
    assert line(ann) is None


def test_the_line_stays_until_something_comes_unseen_again_and_own_messages_are_not_new(
    window: Open, url: str, room: str
) -> None:
    seed(url, room, 40)
    ann = window().open()
    ann.say("mine")
    expect(ann.row("mine")).to_have_attribute("data-state", "official")
    hide(ann.page, True)
    post(url, room, "Bob", "first")
    expect(ann.page).to_have_title(f"(1) {room} · flychat")
    assert line(ann) == "1 new: first"
    hide(ann.page, False)
    expect(ann.page).to_have_title(f"{room} · flychat")
    ann.say("mine again")
    expect(ann.row("mine again")).to_have_attribute("data-state", "official")
    post(url, room, "Bob", "seen")
    expect(ann.row("seen")).to_have_attribute("data-state", "official")
    assert line(ann) == "1 new: first"
    ann.scroll(100)
    for text in ("second", "third"):
        post(url, room, "Bob", text)
    expect(ann.button("2 new")).to_be_visible()
    assert line(ann) == "2 new: second"


def test_a_line_beyond_what_is_loaded_tells_the_true_number(window: Open, url: str, room: str) -> None:
    seed(url, room, 10)
    ann = window().open()
    ann.page.goto(url + "healthz")
    seed(url, room, 120)
    ann.page.goto(url + room)
    expect(ann.status).to_have_text("Connected")
    assert line(ann) == f"120 new: message {71}"  # the first that is loaded
    for _ in range(3):
        ann.scroll(0)
        ann.page.wait_for_timeout(100)
    expect(ann.rows.first).to_have_attribute("data-id", "1")
    assert line(ann) == "120 new: message 1"


def test_a_way_to_the_newest_is_offered_from_more_than_a_screen_away(
    window: Open, url: str, room: str
) -> None:
    seed(url, room, 60)
    ann = window().open()
    expect(ann.button("Newest")).to_be_hidden()
    height = ann.log.bounding_box()["height"]
    bottom = ann.log.evaluate("log => log.scrollTop")
    ann.scroll(bottom - height * 0.9)
    expect(ann.button("Newest")).to_be_hidden()
    ann.scroll(bottom - height * 1.1)
    ann.button("Newest").click()
    assert ann.from_bottom() < 2
    expect(ann.button("Newest")).to_be_hidden()
    expect(ann.log).to_be_focused()
