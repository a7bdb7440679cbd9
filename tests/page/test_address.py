"""Every message has an address."""

from __future__ import annotations

import re
import subprocess
import sys
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from tests.page.window import Held, Open, seed
from tests.support.browser import ROOT, ServerProcess


@pytest.mark.parametrize("id", [5, 118, 140])
def test_an_address_opens_with_its_message_in_view_and_marked(
    window: Open, url: str, room: str, id: int
) -> None:
    seed(url, room, 140)
    page = window().page
    page.goto(f"{url}{room}#{id}")
    page.get_by_role("textbox", name="Name").fill("Ann")
    page.get_by_role("button", name="Join").click()
    row = page.locator(f"li[data-id='{id}']")
    expect(row).to_be_in_viewport()
    expect(row).to_have_class(re.compile("marked"))
    expect(row).to_be_focused()
    assert page.url == f"{url}{quote(room)}#{id}"
    other = 20 if id == 5 else 100
    page.evaluate("id => { location.hash = id }", other)
    expect(page.locator(f"li[data-id='{other}']")).to_be_in_viewport()
    expect(page.locator(".marked")).to_have_attribute("data-id", f"{other}")


def test_from_an_old_message_there_is_a_way_to_the_newest(window: Open, url: str, room: str) -> None:
    seed(url, room, 300)
    ann = window().open()
    ann.page.goto(f"{url}{room}#5")
    expect(ann.row("message 5")).to_be_in_viewport()
    ann.button("Newest").click()
    expect(ann.row("message 300")).to_be_in_viewport()


def test_the_time_of_a_message_is_its_link_and_copies_it(window: Open, url: str, room: str) -> None:
    seed(url, room, 3)
    ann = window(permissions=["clipboard-read", "clipboard-write"]).open()
    ann.row("message 2").hover()
    ann.row("message 2").locator("time a").click()
    expect(ann.page.get_by_text("Link copied")).to_be_visible()
    assert ann.page.evaluate("() => navigator.clipboard.readText()") == f"{url}{room}#2"
    expect(ann.page.locator(".marked")).to_have_attribute("data-id", "2")
    ann.say("mine")
    expect(ann.row("mine").locator("time a")).to_have_attribute("href", "#4")
    ann.page.locator("summary").click()
    ann.button("Copy link").click()
    expect(ann.button("Copied")).to_be_visible()
    assert ann.page.evaluate("() => navigator.clipboard.readText()") == url + room


def test_what_the_menu_gets_late_moves_nothing_that_is_being_pressed(window: Open) -> None:
    ann = window(permissions=["clipboard-read", "clipboard-write"]).open()
    ann.say("hello")
    expect(ann.row("hello")).to_have_attribute("data-id", "1")
    late = Held(ann.page, "**/notify.js")
    ann.page.locator("summary").click()
    ann.button("Copy link").hover()
    ann.page.mouse.down()
    late.first.continue_()
    expect(ann.page.get_by_label("For every message")).to_be_visible()
    ann.page.mouse.up()
    expect(ann.button("Copied")).to_be_visible()


def test_a_note_that_is_translated_goes_as_well(window: Open, url: str, room: str) -> None:
    ann = window().open()
    ann.page.evaluate("() => { location.hash = '#9' }")
    note = ann.page.locator("#history-note")
    expect(note).to_have_text("This message is not here.")
    note.evaluate("note => { note.textContent = '«It is not here»' }")
    expect(note).to_have_text("")


def test_a_message_that_is_not_there_is_told(window: Open, url: str, room: str) -> None:
    seed(url, room, 3)
    ann = window().open()
    ann.page.goto(f"{url}{room}#77")
    expect(ann.page.get_by_text("This message is not here.")).to_be_visible()


@pytest.mark.parametrize("id", [2, 58])
def test_a_link_to_a_message_that_is_gone_leaves_those_that_are_there(
    window: Open, mortal: ServerProcess, room: str, id: int
) -> None:
    seed(mortal.url, room, 60)
    mortal.stop()
    command = [sys.executable, "-m", "flychat", "clear", room, "--store", f"sqlite:{mortal.store}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    mortal.start()
    seed(mortal.url, room, 60)
    ann = window(url=mortal.url).open()
    newest = ann.ids()[-1]
    ann.page.evaluate("id => { location.hash = id }", id)
    expect(ann.page.get_by_text("This message is not here.")).to_be_visible()
    expect(ann.rows).to_have_count(50)
    expect(ann.log.locator(f"li[data-id='{newest}']")).to_be_in_viewport()


def test_a_message_that_cannot_be_loaded_is_not_told_to_be_gone(window: Open, url: str, room: str) -> None:
    seed(url, room, 160)
    ann = window().open()
    ann.page.route(re.compile("limit=100"), lambda route: route.abort())
    ann.page.evaluate("() => { location.hash = 5 }")
    note = ann.page.locator("#history-note")
    expect(note).not_to_be_empty()
    expect(note).to_have_text("The messages could not be loaded. Try again in a moment.")
    ann.page.unroute(re.compile("limit=100"))
    ann.page.evaluate("() => { location.hash = 6 }")
    expect(ann.row("message 6")).to_be_in_viewport()
    expect(note).to_be_empty()


def test_an_address_works_without_javascript(window: Open, url: str, room: str) -> None:
    seed(url, room, 40)
    ann = window(java_script_enabled=False).open(connected=False)
    ann.page.goto(f"{url}{room}#3")
    expect(ann.row("message 3")).to_be_in_viewport()
    outline = ann.row("message 3").locator("p").evaluate("text => getComputedStyle(text).outlineStyle")
    assert outline == "solid"
