"""The first load: small, from this server only, with the headers that it needs."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.page.window import Open
from tests.support.browser import post

pytestmark = pytest.mark.xdist_group("page load")

LIMIT = 60_000  # bytes of everything that the first load transfers


@pytest.mark.parametrize(("words", "least"), [(7, 46), (16, 36), (40, 20), (600, 2)])
def test_the_first_load_is_small_and_comes_from_this_server_only(
    window: Open, url: str, room: str, words: int, least: int
) -> None:
    for number in range(60):
        post(url, room, f"Person {number % 7}", " ".join([f"{number}", *["words"] * (words - 1)]))
    ann = window(viewport={"width": 400, "height": 700})
    sizes: dict[str, int] = {}
    ann.page.on("response", lambda response: sizes.update({response.url: len(response.body())}))
    ann.page.route(re.compile("lastEventId"), lambda route: None)
    ann.open(connected=False)
    ann.page.wait_for_load_state("networkidle")
    ids = ann.ids()
    assert ids == list(range(61 - len(ids), 61))
    assert least <= len(ids) <= 50
    assert all(address.startswith(url) for address in sizes)
    assert len(sizes) == 4, sizes
    assert sum(sizes.values()) <= LIMIT, sizes
    ann.button("Older messages").click()
    expect(ann.rows).to_have_count(60)


def test_pages_and_static_files_have_the_headers_they_need(window: Open, url: str, room: str) -> None:
    ann = window()
    answers: dict[str, Any] = {}
    ann.page.on("response", lambda response: answers.update({response.url.partition("?")[0]: response}))
    ann.open()
    page = answers[url + room].headers
    assert page["cache-control"] == "no-cache"
    assert page["x-content-type-options"] == "nosniff"
    assert "referrer-policy" in page
    policy = page["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    script = answers[url + "static/chat.js"]
    assert re.search(r"\?v=\w+$", script.url)
    assert "etag" in script.headers
    assert int(re.search(r"max-age=(\d+)", script.headers["cache-control"])[1]) > 10**6
    for other in ("", "?v=0123456789abcdef"):  # as a server of the version before is asked for the next one
        answer = ann.context.request.get(url + "static/chat.js" + other)
        assert answer.headers["cache-control"] == "no-cache"
        assert "expires" not in answer.headers
