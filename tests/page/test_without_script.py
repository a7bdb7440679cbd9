"""Without JavaScript everything can be read and written."""

from __future__ import annotations

import pytest
from playwright.sync_api import Route, expect

from tests.page.window import Open, overflow, seed
from tests.support.browser import BreakingProxy, ServerProcess, history, messages_url


def test_it_works_without_javascript(window: Open, url: str, room: str) -> None:
    seed(url, room, 60)
    ann = window(java_script_enabled=False)
    page = ann.page
    page.goto(url + room)
    page.get_by_role("textbox", name="Name").fill("Ann")
    page.get_by_role("button", name="Join").click()
    expect(ann.row("message 60")).to_be_in_viewport()
    page.get_by_role("link", name="Older messages").click()
    expect(ann.rows.last).to_have_attribute("data-id", "10")
    assert ann.ids() == list(range(1, 11))
    page.get_by_role("link", name="Reload for new messages").click()
    expect(ann.rows.last).to_have_attribute("data-id", "60")
    assert ann.ids() == list(range(11, 61))
    text = ann.row("message 60").locator("p").bounding_box()
    assert text["x"] == ann.text.bounding_box()["x"]  # no place is kept for the faces that the script draws
    ann.text.fill("by form\nin two lines")
    ann.button("Send").click()
    expect(ann.row("by form in two lines")).to_be_in_viewport()
    assert page.url == url + room
    page.locator("summary").click()
    page.get_by_role("textbox", name="Room").fill("elsewhere")
    page.get_by_role("button", name="Go").click()
    expect(page.get_by_role("heading")).to_have_text("elsewhere")
    expect(page.get_by_text("Nothing here yet")).to_be_visible()
    assert [message["text"] for message in history(url, room)][-1] == "by form\nin two lines"


def test_without_javascript_all_texts_begin_at_the_same_edge(window: Open, url: str, room: str) -> None:
    seed(url, room, 1)
    ann = window(java_script_enabled=False, viewport={"width": 360, "height": 640}).open(connected=False)
    ann.text.fill("mine")
    ann.button("Send").click()
    edges = [ann.row(text).locator("p").bounding_box()["x"] for text in ("message 1", "mine")]
    assert edges[0] == edges[1]


def test_without_javascript_the_same_form_sent_again_is_not_a_second_message(
    window: Open, url: str, room: str
) -> None:
    seed(url, room, 3)
    ann = window(java_script_enabled=False).open(connected=False)
    ann.page.goto(url + room)  # what went before varies by the cookie: it would be fetched anew
    assert ann.page.locator("#composer input[name=lastEventId]").input_value() == "3"

    def lose_the_answer(route: Route) -> None:
        route.fetch(max_redirects=0)
        route.fulfill(status=503, content_type="text/html", body="<h1>Perhaps</h1>")

    ann.page.route("**/messages/", lose_the_answer, times=1)
    ann.text.fill("once")
    ann.button("Send").click()
    expect(ann.page.get_by_role("heading")).to_have_text("Perhaps")
    ann.page.go_back()
    ann.text.fill("once")
    ann.button("Send").click()
    expect(ann.row("once")).to_have_attribute("data-id", "4")
    ann.text.fill("once")  # and from a form that is fresh it is one more
    ann.button("Send").click()
    expect(ann.log.locator("li[data-id='5']")).to_be_visible()
    assert [message["text"] for message in history(url, room)][3:] == ["once", "once"]


def test_without_javascript_a_text_that_is_refused_can_be_sent_from_the_page_that_says_so(
    window: Open, url: str, room: str
) -> None:
    ann = window(java_script_enabled=False).open(connected=False)
    key = ann.page.locator("#composer input[name=provisionalId]").input_value()
    form = {"from": "Ann", "text": "from the same form", "provisionalId": key}
    assert ann.context.request.post(messages_url(url, room), form=form).ok
    ann.text.fill("\nanother\ntext")
    ann.button("Send").click()
    expect(ann.page.get_by_role("heading")).to_contain_text("409")
    expect(ann.text).to_have_value("\nanother\ntext")
    expect(ann.page.get_by_text("Sent from here it is a new message")).to_be_visible()
    assert overflow(ann.page) == 0
    ann.button("Send").click()
    expect(ann.page).to_have_url(url + room)
    assert [message["text"] for message in history(url, room)] == ["from the same form", "another\ntext"]


def test_without_javascript_a_text_that_was_refused_is_kept_and_sent_again(
    window: Open, url: str, room: str
) -> None:
    ann = window(java_script_enabled=False).open(connected=False)
    ann.text.fill("once")
    ann.button("Send").click()
    expect(ann.row("once")).to_be_visible()
    ann.page.go_back()
    ann.text.fill("\nanother, with the old id")
    ann.button("Send").click()
    expect(ann.page.get_by_role("heading")).to_have_text("409 Conflict", use_inner_text=True)
    expect(ann.text).to_have_value("\nanother, with the old id")
    ann.button("Send").click()
    expect(ann.row("another, with the old id")).to_be_visible()
    assert [message["text"] for message in history(url, room)] == ["once", "another, with the old id"]


@pytest.mark.parametrize("script", [True, False])
def test_a_proxy_that_withholds_the_referrer_is_no_hindrance(
    window: Open, server: ServerProcess, room: str, script: bool
) -> None:
    """Then the browser says that a form is of no origin."""
    proxy = BreakingProxy(server.port)
    proxy.headers = "Referrer-Policy: no-referrer\r\n"
    ann = window(url=proxy.url, java_script_enabled=script).open(connected=script)
    for text in ("one", "two"):
        ann.text.fill(text)
        with ann.page.expect_request("**/messages/") as request:
            ann.button("Send").click()
        expect(ann.row(text).and_(ann.page.locator("[data-id]"))).to_be_visible()
        assert request.value.all_headers()["origin"] == (proxy.url.rstrip("/") if script else "null")
    assert [message["text"] for message in history(server.url, room)] == ["one", "two"]
    proxy.close()
