"""A login in front of the chat that has ended: the page says so, and no unsent message is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, expect

from tests.page.window import Open, run_clock, stop_clock, try_now
from tests.support.browser import BreakingProxy, ServerProcess, Window, answer, history

FORM = "<title>Company login</title><h1>Log in</h1>"
ENDED = {
    "a redirect to another origin": answer("302 Found", headers="Location: http://localhost:9/login\r\n"),
    "a redirect to a page of this one": answer("302 Found", headers="Location: /oauth2/sign_in\r\n"),
    "401": answer("401 Unauthorized", FORM),
    "403": answer("403 Forbidden", FORM),
    "a page in place of an answer": answer("200 OK", FORM),
}


@pytest.fixture
def front(server: ServerProcess) -> Iterator[BreakingProxy]:
    proxy = BreakingProxy(server.port)
    yield proxy
    proxy.close()


def band(ann: Window) -> Locator:
    return ann.page.locator(".band")


def forgive(ann: Window) -> None:
    """A stream that is led elsewhere is against the policy: the browser says so."""
    ann.complaints = [complaint for complaint in ann.complaints if "localhost:9/login" not in complaint]


@pytest.mark.parametrize("how", ENDED)
def test_it_is_told_when_a_message_is_sent_which_goes_after_a_new_login(
    window: Open, front: BreakingProxy, room: str, how: str
) -> None:
    ann = window(url=front.url)
    ann.page.clock.install()
    ann.open()
    front.break_with(ENDED[how])
    ann.say("important")
    ann.text.fill("half a thought")
    run_clock(ann.page, lambda: ann.button("Sign in again").is_visible())
    expect(band(ann)).to_contain_text(
        "The login in front of this chat has ended. Your message is sent after you sign in."
    )
    expect(ann.row("important")).to_have_attribute("data-state", "waiting")
    front.break_with(answer("200 OK", FORM))
    ann.button("Sign in again").click()
    expect(ann.page).to_have_title("Company login")
    front.break_with(None)
    ann.page.reload()
    expect(ann.row("important")).to_have_attribute("data-id", "1")
    expect(ann.text).to_have_value("half a thought")
    forgive(ann)
    assert [message["text"] for message in history(front.url, room)] == ["important"]


@pytest.mark.parametrize("how", ENDED)
def test_a_reader_is_told_as_well_and_a_login_elsewhere_is_noticed(
    window: Open, front: BreakingProxy, how: str
) -> None:
    ann = window(url=front.url)
    ann.page.clock.install()
    ann.open()
    front.break_with(ENDED[how])
    run_clock(ann.page, lambda: "The login in front" in (band(ann).text_content() or ""))
    expect(ann.button("Discard")).to_be_hidden()
    stop_clock(ann.page)
    front.break_with(None)
    try_now(ann.page)
    ann.page.clock.resume()
    expect(ann.status).to_have_text("Connected")
    expect(band(ann)).to_have_class(re.compile("calm"))
    expect(ann.button("Sign in again")).to_be_hidden()
    forgive(ann)


def test_where_nothing_is_remembered_the_login_opens_beside_the_page(
    window: Open, front: BreakingProxy
) -> None:
    ann = window(url=front.url)
    ann.page.add_init_script("for (const area of ['localStorage', 'sessionStorage']) delete window[area]")
    ann.page.add_init_script("Storage.prototype.setItem = () => { throw new Error('full') }")
    ann.page.clock.install()
    ann.open()
    front.break_with(ENDED["401"])
    ann.say("important")
    run_clock(ann.page, lambda: ann.button("Sign in again").is_visible())
    with ann.context.expect_page() as beside:
        ann.button("Sign in again").click()
    expect(beside.value).to_have_title("Company login")
    stop_clock(ann.page)
    front.break_with(None)
    try_now(ann.page)
    ann.page.clock.resume()
    expect(ann.row("important")).to_have_attribute("data-id", "1")
