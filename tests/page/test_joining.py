"""Joining: a name, a room, and the way back to the room."""

from __future__ import annotations

import re
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from tests.page.window import Held, Open, seed
from tests.support.browser import history, post


def test_a_person_joins_with_a_name_that_is_remembered(window: Open, url: str, room: str) -> None:
    ann = window()
    page = ann.page
    page.goto(url + room)
    expect(page).to_have_title(f"Join {room} · flychat")
    page.get_by_role("textbox", name="Name").fill("Ann Ö. ")  # as the keyboards of phones complete words
    page.get_by_role("button", name="Join").click()
    expect(ann.status).to_have_text("Connected")
    expect(page.locator(".sheet .me")).to_have_text(re.compile(r"^Ann Ö\.$"))
    expect(page).to_have_url(url + room)  # nobody's name is in the address that is shared
    expect(page).to_have_title(f"{room} · flychat")
    page.reload()
    expect(page.get_by_text("You are Ann Ö.")).to_be_attached()
    expect(ann.status).to_have_text("Connected")

    page.locator("summary").click()
    page.get_by_role("link", name="Change name").click()
    page.get_by_role("textbox", name="Name").fill("Anna")
    page.get_by_role("button", name="Join").click()
    ann.say("it is me")
    expect(ann.row("it is me")).to_have_attribute("data-id", "1")
    assert history(url, room)[0]["from"] == "Anna"


def test_a_name_that_breaks_the_rules_is_explained_in_the_form(window: Open, url: str, room: str) -> None:
    page = window().page
    page.goto(url + room)
    name = page.get_by_role("textbox", name="Name")
    name.press_sequentially("x" * 66)
    expect(name).to_have_value("x" * 64)
    page.goto(url + room + "?user=" + "x" * 65)
    expect(name).to_have_value("x" * 65)  # nobody has to type it again
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(name).to_have_accessible_description("A name must have 1 to 64 characters.")


def test_a_remembered_name_that_breaks_the_rules_is_asked_for_again(
    window: Open, url: str, room: str
) -> None:
    ann = window()
    ann.context.add_cookies([{"name": "flychat_user", "value": "a%0Ab", "url": url}])
    ann.page.goto(url + room)
    expect(ann.button("Join")).to_be_visible()


def test_rooms_are_switched_and_created_from_the_page_and_the_recent_ones_are_offered(
    window: Open, url: str, room: str
) -> None:
    ann = window().open()
    page = ann.page
    page.locator("summary").click()
    page.get_by_role("textbox", name="Room").fill("the café / no")
    page.get_by_role("button", name="Go").click()
    assert page.get_by_role("textbox", name="Room").evaluate("field => field.validity.patternMismatch")
    page.goto(f"{url}?room=the+café+/+no")
    expect(page.get_by_role("heading")).to_contain_text("A room cannot have this name")
    expect(page.get_by_text("It must not contain '/'.")).to_be_visible()
    page.go_back()
    page.locator("summary").click()
    page.get_by_role("textbox", name="Room").fill("the café?")
    page.get_by_role("button", name="Go").click()
    expect(page.get_by_role("heading")).to_have_text("the café?")
    expect(ann.status).to_have_text("Connected")
    expect(page).to_have_url(url + "the%20caf%C3%A9%3F")
    page.locator("summary").click()
    page.get_by_role("navigation", name="Recent rooms").get_by_role("link", name=room).click()
    expect(page.get_by_role("heading")).to_have_text(room)


def test_two_tabs_of_a_browser_keep_their_own_names(window: Open) -> None:
    ann = window("Ann").open()
    bob = window("Bob", beside=ann).open()
    for one in (ann, bob):
        one.page.reload()
        expect(one.page.get_by_text(f"You are {one.user}.")).to_be_attached()


def test_what_is_written_while_a_tab_finds_its_name_is_kept(window: Open, url: str, room: str) -> None:
    """The page of the name in the cookie comes first; over a slow network its script comes later."""
    ann = window("Ann").open()
    window("Bob", beside=ann).open()
    script = Held(ann.page, "**/chat.js")
    ann.page.reload(wait_until="commit")
    named = Held(ann.page, re.compile(r"\?user=Ann"))
    ann.text.press_sequentially("half a ")
    script.first.continue_()
    assert named.first
    ann.page.keyboard.type("thought")
    ann.page.keyboard.press("Enter")  # would be sent as Bob
    ann.page.unroute("**/chat.js")
    named.first.continue_()
    expect(ann.page.locator("summary .me")).to_have_text("Ann")
    expect(ann.status).to_have_text("Connected")
    expect(ann.text).to_have_value("half a thought")
    assert history(url, room) == []


def test_the_back_button_leads_to_the_room_and_not_to_the_form_before_it(
    window: Open, url: str, room: str
) -> None:
    ann = window()
    ann.page.goto(url + room)
    ann.page.get_by_role("textbox", name="Name").fill("Ann")
    ann.button("Join").click()
    expect(ann.status).to_have_text("Connected")
    expect(ann.page).to_have_url(url + room)
    ann.page.goto(url + "healthz")
    ann.page.go_back()
    expect(ann.status).to_have_text("Connected")


def test_without_javascript_back_from_a_room_that_was_joined_is_not_the_join_form(
    window: Open, url: str, room: str
) -> None:
    ann = window(java_script_enabled=False)
    ann.page.goto(url + room)
    ann.page.get_by_role("textbox", name="Name").fill("Ann")
    ann.button("Join").click()
    expect(ann.text).to_be_visible()
    ann.page.go_back()
    assert ann.page.url == url + room
    expect(ann.text).to_be_visible()


@pytest.mark.parametrize("script", [True, False])
def test_a_link_with_a_name_renames_nobody_without_asking(
    window: Open, url: str, room: str, script: bool
) -> None:
    ann = window(java_script_enabled=script).open(connected=script)
    page = ann.page
    page.goto(f"{url}{room}?user=Eve&asked=1")  # as in a message
    expect(page.get_by_text("This link calls you Eve, but here you are Ann.")).to_be_visible()
    page.get_by_role("link", name="Stay Ann").click()
    expect(page.locator(".sheet .me")).to_have_text("Ann")
    page.goto(f"{url}{room}?user=Eve")
    page.get_by_role("button", name="Join").click()
    expect(page.locator(".sheet .me")).to_have_text("Eve")
    if script:
        expect(ann.status).to_have_text("Connected")  # so the tab knows the name, too
    page.goto(url + room)
    expect(page.locator(".sheet .me")).to_have_text("Eve")


def test_a_new_name_is_explained_and_can_be_cancelled(window: Open) -> None:
    ann = window().open()
    page = ann.page
    page.locator("summary").click()
    page.get_by_role("link", name="Change name").click()
    expect(page.get_by_text("what is there keeps the old one")).to_be_visible()
    page.get_by_role("link", name="Stay Ann").click()
    expect(ann.status).to_have_text("Connected")
    page.locator("summary").click()
    page.get_by_role("link", name="Change name").click()
    page.goto(page.url.replace("user=", "user=a%0Ab"))  # also after a name that breaks the rules
    page.get_by_role("link", name="Stay Ann").click()
    expect(ann.status).to_have_text("Connected")
    page.locator("summary").click()
    page.get_by_role("link", name="Change name").click()
    page.get_by_role("textbox", name="Name").fill("Anna")
    page.get_by_role("button", name="Join").click()
    expect(page.locator(".sheet .me")).to_have_text("Anna")
    expect(ann.status).to_have_text("Connected")  # so the tab knows the name, too
    page.go_back()
    expect(page.locator(".sheet .me")).to_have_text("Anna")  # never the form


def test_who_cancels_a_new_name_keeps_that_of_the_tab(window: Open) -> None:
    ann = window().open()
    window("Bob", beside=ann).open()  # the cookie is his now
    ann.page.locator("summary").click()
    ann.page.get_by_role("link", name="Change name").click()
    expect(ann.page.get_by_text("You are Ann.")).to_be_visible()
    ann.page.get_by_role("link", name="Stay Ann").click()
    expect(ann.page.locator(".sheet .me")).to_have_text("Ann")


def test_back_from_a_room_that_was_joined_is_not_a_form_that_the_browser_has_kept(
    window: Open, url: str, room: str
) -> None:
    ann = window()
    ann.page.goto(url + room)
    form = ann.page.get_by_role("textbox", name="Name")
    expect(form).to_be_visible()
    ann.context.add_cookies([{"name": "flychat_user", "value": "Ann", "url": url}])
    ann.page.evaluate("() => dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    expect(ann.status).to_have_text("Connected")


def test_back_to_a_room_that_the_browser_has_kept_is_under_the_name_that_the_tab_has_now(
    window: Open,
) -> None:
    ann = window().open()
    ann.context.add_cookies([{"name": "flychat_user", "value": "Bob", "url": ann.url}])
    for name in ("user", "shown"):  # by the next page
        ann.page.evaluate("name => sessionStorage.setItem(`flychat:${name}`, JSON.stringify('Bob'))", name)
    ann.page.evaluate("() => dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    expect(ann.page.locator("summary .me")).to_have_text("Bob")
    expect(ann.status).to_have_text("Connected")


def test_a_slash_behind_a_room_is_taken_off(window: Open, url: str, room: str) -> None:
    ann = window()
    ann.page.goto(f"{url}{room}/?user=Ann")
    expect(ann.status).to_have_text("Connected")
    expect(ann.page).to_have_url(url + room)


def test_a_place_in_the_past_is_kept_through_the_form(window: Open, url: str, room: str) -> None:
    seed(url, room, 60)
    page = window(java_script_enabled=False).page
    page.goto(f"{url}{room}?before=31")
    page.get_by_role("textbox", name="Name").fill("Ann")
    page.get_by_role("button", name="Join").click()
    expect(page.get_by_text("message 30", exact=True)).to_be_visible()
    expect(page.get_by_text("message 31", exact=True)).to_have_count(0)


@pytest.mark.parametrize("script", [True, False])
def test_the_whole_log_is_printed(window: Open, url: str, room: str, script: bool) -> None:
    seed(url, room, 50)
    ann = window(java_script_enabled=script).open(connected=script)
    ann.page.emulate_media(media="print")
    height = ann.page.evaluate("() => document.documentElement.scrollHeight")
    assert height > 50 * 30
    first, last = ann.row("message 1").bounding_box(), ann.row("message 50").bounding_box()
    assert 0 <= first["y"] < last["y"] <= height
    expect(ann.text).to_be_hidden()


def test_on_paper_it_is_light_also_for_who_has_a_dark_screen(window: Open, url: str, room: str) -> None:
    post(url, room, "Bob", "hello")
    ann = window(color_scheme="dark").open()
    ann.page.emulate_media(media="print", color_scheme="dark")
    colours = (
        "() => [document.documentElement, document.querySelector('li p')].map(e => getComputedStyle(e).color)"
    )
    assert ann.page.evaluate(colours) == ["rgb(29, 42, 40)"] * 2
    assert ann.page.evaluate("() => getComputedStyle(document.documentElement).colorScheme") == "light"


def test_what_is_in_the_way_of_sending_is_not_printed(window: Open) -> None:
    ann = window().open()
    ann.page.route("**/messages/", lambda route: route.abort())
    ann.say("waits")
    expect(ann.button("Try now")).to_be_visible()
    ann.page.emulate_media(media="print")
    expect(ann.row("waits")).to_be_visible()
    expect(ann.button("Try now")).to_be_hidden()
    expect(ann.page.get_by_text("The server cannot be reached")).to_be_hidden()


def test_a_long_line_of_code_is_printed_whole(window: Open, url: str, room: str) -> None:
    post(url, room, "Bob", f"```\n{'wide ' * 50}{'x' * 200}\n```")
    ann = window().open()
    hidden = "code => code.scrollWidth - code.clientWidth"
    assert ann.rows.locator("code").evaluate(hidden) > 0  # on paper nobody can scroll
    ann.page.emulate_media(media="print")
    assert ann.rows.locator("code").evaluate(hidden) == 0


def test_the_form_shows_who_wrote_lately(window: Open, url: str, room: str) -> None:
    page = window().page
    page.goto(url + room)
    expect(page.locator(".writers")).to_have_count(0)
    for name in ("Old", "Bob", "Cid", "Bob", "Dan", "Eve", "Fay\u200b"):
        post(url, room, name, "a text that is not shown")
    page.reload()
    expect(page.locator(".writers")).to_contain_text("Lately here: Fay\ufffd Eve Dan Bob Cid")
    commas = page.locator(".writer").evaluate_all(
        "writers => writers.map(writer => getComputedStyle(writer, '::after').content)"
    )
    assert commas == ['","'] * 4 + ["none"], "within what is not broken, or a line could begin with one"
    ink = page.evaluate("() => getComputedStyle(document.body).color")
    expect(page.locator(".writers .face").first).to_have_css("color", ink)  # as in the room
    assert "a text" not in page.content()
    post(url, room, "a name that needs " + "m" * 46, "text")
    page.reload()
    cut = page.locator(".writer").first.evaluate(
        "writer => [writer.scrollWidth - writer.clientWidth, writer.clientWidth - writer.parentElement.clientWidth]"
    )
    assert cut[0] <= 0, "the comma has its room, and the name is shortened"
    assert cut[1] <= 0
    assert page.locator("meta[property='og:title']").get_attribute("content") == room
    assert page.locator("meta[name=description]").get_attribute("content") == f"{room}: a chat room"
    manifest = page.locator("link[rel=manifest]").get_attribute("href")
    answer = page.request.get(url.rstrip("/") + manifest)
    assert answer.headers["content-type"] == "application/manifest+json"
    assert answer.json()["icons"][0]["src"] == "favicon.svg"


def test_the_form_is_painted_whole_however_its_page_arrives(window: Open, url: str, room: str) -> None:
    """It stands in the middle: a half of it would be moved by the rest."""
    page = urllib.request.urlopen(url + quote(room)).read().replace(b'"/static/', f'"{url}static/'.encode())
    rest, half = threading.Event(), page.index(b"<label")

    class Halves(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(page[:half])
            self.wfile.flush()
            rest.wait()
            self.wfile.write(page[half:])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Halves) as server:
        threading.Thread(target=server.serve_forever).start()
        ann = window().page
        ann.route("**/*.js", lambda route: route.abort())  # of another host here, and forbidden
        try:
            with ann.expect_response("**/chat.css"):
                ann.goto(f"http://127.0.0.1:{server.server_address[1]}/{quote(room)}", wait_until="commit")
            painted = "() => performance.getEntriesByName('first-contentful-paint').length"
            # in which it would be painted, if it were not held back: what did not happen cannot be waited for
            ann.wait_for_timeout(300)
            assert ann.evaluate(painted) == 0
            rest.set()
            expect(ann.get_by_role("button", name="Join")).to_be_visible()
            ann.wait_for_function(painted)
        finally:
            rest.set()
            server.shutdown()
