"""Names and texts of all kinds: shown as they are, interpreted nowhere, nobody in disguise."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.page.window import Open
from tests.support.browser import history, messages_url, post

NASTY = [
    "<script>document.title = 'gone'</script>",
    "<img src=x onerror=\"document.title='gone'\">",
    "{{ 7 * 7 }} ${7 * 7} <!-- &amp; &lt;",
    "\"'><b>bold</b> </template></li></ol>",
    "javascript:alert(1) data:text/html,x",
    "a\u202egnp.exe \u2066 \u200b \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "  two  spaces,\n\n\ta tab and lines  ",
    "separators \u2028 of lines \u2029 and paragraphs",
    "**not bold** `not code` <https://example.org/>",
]
NASTY_NAMES = [
    "<i>Eve</i>",
    "\"onclick='x'",
    "\u202eevE",
    "{{ user }}",
    "__proto__",
    "a b&c=d#e?f%41",
    "名前",
]
DISGUISES = [
    "an\u200bn",
    "\u202eann",
    "ann\u2066",
    "a\u00adnn",
    "an\u200dn",
    "an\u200cn",
    "ann\ufe0f",
    "ann ",
    " ann",
]
NEEDED = [
    "می\u200cخواهم",
    "क्\u200dष",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "Ann ❤\ufe0f",
    "山田\u3000太郎",
]


def test_links_are_clickable_and_nothing_else_is_interpreted(window: Open, url: str, room: str) -> None:
    text = (
        "See https://example.org/a_(b)?c=d&e=%20#f, (http://example.com/x). HTTPS://EXAMPLE.ORG! "
        "not ftp://example.org javascript:alert(1) xhttp://no.example http://"
    )
    wanted = ["https://example.org/a_(b)?c=d&e=%20#f", "http://example.com/x", "HTTPS://EXAMPLE.ORG"]
    post(url, room, "Bob", text)
    ann = window().open()  # rendered by the server, decorated by the page
    post(url, room, "Bob", text)  # live
    expect(ann.rows).to_have_count(2)
    for row in (ann.rows.nth(0), ann.rows.nth(1)):
        links = row.locator("p").get_by_role("link")
        expect(links).to_have_text(wanted)
        for link in links.all():
            expect(link).to_have_attribute("rel", "noopener nofollow ugc")
            assert link.get_attribute("href") == link.text_content()
        expect(row.locator("p")).to_have_text(text)


def test_a_long_address_breaks_where_its_parts_end(window: Open, url: str, room: str) -> None:
    address = "https://example.org/harbour/prices?season=2026&boat=small"
    post(url, room, "Bob", f"See www.example.org/short and {address}, please")
    ann = window().open()
    short, long = ann.rows.locator("p").get_by_role("link").all()
    expect(short).to_have_attribute("href", "https://www.example.org/short")
    expect(short.locator("wbr")).to_have_count(0)
    expect(long.locator("wbr")).to_have_count(7)
    expect(long).to_have_attribute("href", address)
    expect(long).to_have_text(address)
    strange = f"https://example.org/{'a/' * 1000} https://example.org/{'a/' * 1000}"
    post(url, room, "Bob", strange)
    expect(ann.rows.nth(1).locator("p")).to_have_text(strange)
    expect(ann.rows.nth(1).locator("wbr")).to_have_count(100)


def test_hostile_names_and_texts_are_shown_literally_everywhere(window: Open, url: str) -> None:
    room = "<b>&{{ 7*7 }}\"'\u202e?#%41"
    ann = window("<u>Ann</u>\"'", room=room).open()
    sent = [(name, text) for text in NASTY for name in NASTY_NAMES[:2]] + [
        (name, "hi") for name in NASTY_NAMES
    ]
    for name, text in sent:
        post(url, room, name, text)
    for text in NASTY:
        ann.text.fill(text)
        ann.text.press("Enter")
    wanted = sent + [(ann.user, text) for text in NASTY]
    expect(ann.log.locator("li[data-id]")).to_have_count(len(wanted))
    assert [(row["from"], row["text"]) for row in ann.shown()] == wanted
    ann.page.reload()
    expect(ann.status).to_have_text("Connected")
    assert [(row["from"], row["text"]) for row in ann.shown()] == wanted
    expect(ann.page).to_have_title(f"{room} · flychat")
    expect(ann.page.get_by_role("heading")).to_have_text(room)
    expect(ann.page.locator(".sheet .me")).to_have_text(ann.user)
    assert ann.log.locator("script, img, b, i, u").count() == 0
    links = ann.log.locator("p").get_by_role("link")
    expect(links).to_have_text(["https://example.org/"] * links.count())
    ann.page.goto(f"{url}{'x' * 65}?user=%3Cb%3E")
    expect(ann.page.get_by_role("heading")).to_contain_text("A room cannot have this name")
    ann.page.goto(messages_url(url, room).replace("/rooms", "") + "?user=")


def test_names_that_differ_in_what_nobody_sees_do_not_look_alike(window: Open, url: str, room: str) -> None:
    names = ["ann", *DISGUISES, *NEEDED]
    for name in names:
        post(url, room, name, "rendered")
    plain = window(java_script_enabled=False).open(connected=False)
    ann = window("ann").open()
    for name in names:
        post(url, room, name, "live")
    expect(ann.rows).to_have_count(2 * len(names))
    for one, count in ((plain, 1), (ann, 2)):
        assert [row["from"] for row in one.shown()] == names * count  # the real name stays the key
        looks = one.log.locator("bdi").all_text_contents()
        assert looks == looks[: len(names)] * count
        assert [look for look in looks if look == "ann"] == ["ann"] * count
        for name, look in zip(names, looks, strict=False):
            assert ("\ufffd" in look) == (name in DISGUISES), ascii(name)
    classes = ann.rows.evaluate_all("rows => rows.map(row => row.className)")
    assert not any("own" in each for each in classes), "a name, were it the same, is nobody's alone"
    assert not any("more" in each for each in classes)
    disguised = window("an\u200bn").open()
    expect(disguised.page.locator(".sheet .me")).to_have_text("an\ufffdn")
    disguised.say("from the page")
    expect(disguised.row("from the page")).to_have_attribute("data-id", re.compile(r"\d"))
    assert history(url, room)[-1]["from"] == "an\u200bn"


def test_a_text_cannot_turn_what_stands_beside_it(window: Open, url: str, room: str) -> None:
    turned, open_ended = "\u202eabc https://example.org/", "\u2067\u202b\u202e abc"
    # whether the characters of an element's text go to the right, the first three of them
    rightwards = """element => {
        const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
        const node = walker.nextNode();
        const from = node.data.search(/[a-z0-9]/);
        const left = at => {
            const range = document.createRange();
            range.setStart(node, at);
            range.setEnd(node, at + 1);
            return range.getBoundingClientRect().left;
        };
        return left(from) < left(from + 1);
    }"""
    ann = window().open(connected=False)
    expect(ann.status).to_have_text("Connected")
    for number in range(2):
        for sender, text in (("Bob", turned), ("Cid", open_ended), ("Dan", "abc")):
            post(url, room, sender, text)
        expect(ann.rows).to_have_count(3 * number + 3)  # the first three live, and then rendered
        ann.page.reload()
        expect(ann.status).to_have_text("Connected")
    for row in ann.rows.all():
        assert row.locator("bdi").evaluate(rightwards)
        assert row.locator("time").evaluate(rightwards)
    directions = [row.locator("p").evaluate(rightwards) for row in ann.rows.all()]
    assert directions == [False, False, True] * 2  # inside of a message it is its author's business
    for link in ann.log.locator("p").get_by_role("link").all():
        assert link.evaluate(rightwards)  # but for where a link leads
