"""Joining: a name, a room, and the way back to the room."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.page.window import Open
from tests.support.browser import history

pytestmark = pytest.mark.xdist_group("page joining")


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
