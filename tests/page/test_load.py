"""The first load: small, from this server only, with the headers that it needs."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from playwright.sync_api import Request, expect

from flychat.web.assets import LATER
from tests.page.window import Open, older
from tests.support.browser import post

LIMIT = 60_000  # bytes of everything that the first load transfers, with its heads
STATIC = Path(__file__).parents[2] / "static"
TEXTS = (
    Path(__file__).parents[2] / "README.md"
)  # a text as people write it: of few words, gzip would make nothing


@pytest.mark.parametrize(("words", "least"), [(7, 50), (16, 50), (40, 50), (600, 6)])
def test_the_first_load_is_small_and_comes_from_this_server_only(
    window: Open, url: str, room: str, words: int, least: int
) -> None:
    vocabulary, chance = re.findall(r"[a-z]+", TEXTS.read_text()), random.Random(words)
    for number in range(60):
        post(
            url,
            room,
            f"Person {number % 7}",
            " ".join([f"{number}", *chance.choices(vocabulary, k=words - 1)]),
        )
    ann = window(viewport={"width": 400, "height": 700})
    requests: list[Request] = []
    ann.page.on("requestfinished", lambda request: requests.append(request))
    ann.page.route(re.compile("lastEventId"), lambda route: None)
    ann.open(connected=False)
    ann.page.wait_for_load_state("networkidle")
    ids = ann.ids()
    assert ids == list(range(61 - len(ids), 61))
    assert least <= len(ids) <= 50
    asked = [request.url for request in requests if not request.url.endswith(".svg")]
    assert len(set(asked)) == len(asked)  # once each; the icon is shown again, from memory
    sizes = {request.url: request.sizes() for request in reversed(requests)}
    assert all(address.startswith(url) for address in sizes)
    scripts = {address.rpartition("/")[2] for address in sizes if address.endswith(".js")}
    assert scripts == {path.name for path in STATIC.glob("*.js")} - LATER  # each of them is used
    assert len(sizes) == len(scripts) + 3, sizes  # and the page, the style sheet, the icon
    transferred = sum(size["responseBodySize"] + size["responseHeadersSize"] for size in sizes.values())
    assert 10_000 < transferred <= LIMIT, sizes
    older(ann.page)
    expect(ann.rows).to_have_count(60)


def test_no_module_is_waited_for_that_was_not_announced_by_the_page(window: Open, url: str) -> None:
    """Else each import would cost a round trip, one after the other."""
    ann = window()
    with ann.page.expect_response(url + ann.room + "?user=Ann") as answer:
        ann.open()
    announced = set(re.findall(r'rel="modulepreload"[^>]* href="(/static/\w+/\w+\.js)"', answer.value.text()))
    loaded = ann.page.evaluate(
        """() => performance.getEntriesByType("resource").map(entry => new URL(entry.name).pathname)"""
    )
    scripts = {path for path in loaded if path.endswith(".js")}
    assert {path for path in scripts if not path.endswith("/chat.js")} == announced


def test_a_page_whose_scripts_do_not_come_says_so_and_sends_by_its_form(
    window: Open, url: str, room: str
) -> None:
    """As when the server was restarted after it had sent the page, or another release answers for its modules."""
    ann = window()
    told = "getComputedStyle(document.querySelector('.status'), '::after')"
    with ann.page.expect_event("requestfailed"):
        ann.page.route("**/log.js", lambda route: route.abort())
        ann.open(connected=False)
    expect(ann.text).to_be_focused()
    ann.text.fill("by the form")
    ann.page.evaluate("() => document.getAnimations().forEach(each => each.finish())")  # the first seconds
    assert ann.page.evaluate(f"[{told}.visibility, {told}.content]") == [
        "visible",
        '"Not live. Reload the page"',
    ]
    ann.page.unroute("**/log.js")
    ann.button("Send").click()
    expect(ann.row("by the form")).to_have_attribute("data-id", "1")
    expect(ann.status).to_have_text("Connected")
    assert ann.page.evaluate(f"{told}.content") == "none"


def test_pages_have_the_headers_they_need(window: Open, url: str, room: str) -> None:
    ann = window()
    with ann.page.expect_response(url + room + "?user=Ann") as answer:
        ann.open()
    page = answer.value.headers
    assert page["cache-control"] == "no-cache"
    assert page["content-encoding"] == "gzip"
    assert page["x-content-type-options"] == "nosniff"
    assert "referrer-policy" in page
    policy = page["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


def test_a_page_works_with_the_modules_of_another_release(window: Open, url: str) -> None:
    """A page of a new server that is loaded while the old ones still answer for its modules, and without a version."""
    other = re.compile(r"/static/(\w+/)?(?=\w+\.\w+)")
    ann = window()
    ann.page.route(
        re.compile(r"\?user="),
        lambda route: route.fulfill(
            response=(page := route.fetch()), body=other.sub("/static/0123456789abcdef/", page.text())
        ),
    )
    ann.open()
    ann.say("hello")
    expect(ann.row("hello")).to_have_attribute("data-id", "1")
