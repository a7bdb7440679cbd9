"""What time it is: the browser's clock may be hours wrong, or be set; the reader may travel."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.page.window import OPEN, Open, at_time, hide
from tests.support.browser import ScriptedStream, event, wire_message

NOON = "2026-01-31T12:00:00Z"
CLOCK = """
    window.set = HOURS * 3_600_000;
    const Real = Date;
    Date = new Proxy(Real, {
        construct: (_, given) => (given.length ? new Real(...given) : new Real(Real.now() + window.set)),
        get: (_, name) => (name === "now" ? () => Real.now() + window.set : Real[name]),
    });
"""


def clock_is_off(page: Page, hours: int) -> None:
    page.add_init_script(CLOCK.replace("HOURS", str(hours)))


@pytest.mark.parametrize("hours", [-30, 30])
def test_an_own_message_has_its_time_at_once_where_the_clock_is_wrong(window: Open, hours: int) -> None:
    ann = window(timezone_id="Asia/Kolkata", locale="en-GB")
    at_time(ann.page, NOON)
    clock_is_off(ann.page, hours)
    bobs = wire_message(1, "Bob", "before", 1, "2026-01-31T11:59:00.000Z")
    ScriptedStream(ann.page, OPEN + event("message", bobs))
    ann.page.route(re.compile("/messages/$"), lambda route: None)
    ann.open(connected=False)
    expect(ann.row("before")).to_be_visible()
    ann.say("mine")
    expect(ann.row("mine")).to_have_attribute("data-state", "pending")
    expect(ann.row("mine").locator("time")).to_have_text(re.compile("17:3[0-5]"))
    expect(ann.log.locator(".day")).to_have_text(["Today"])


def test_a_clock_that_is_set_while_the_page_is_open_moves_nothing(window: Open) -> None:
    ann = window(timezone_id="Asia/Kolkata", locale="en-GB").open()
    ann.say("one")
    expect(ann.row("one")).to_have_attribute("data-id", "1")
    ann.page.evaluate(CLOCK.replace("HOURS", "50"))
    with ann.page.expect_response(re.compile("limit=1")):  # the computer may have slept: the server is asked
        hide(ann.page, False)
    ann.page.route(re.compile("/messages/$"), lambda route: None)
    ann.say("two")
    expect(ann.row("two")).to_have_attribute("data-state", "pending")
    expect(ann.log.locator(".day")).to_have_text(["Today"])
    times = ann.rows.locator("time").evaluate_all("times => times.map(time => Date.parse(time.dateTime))")
    assert 0 <= times[1] - times[0] < 60_000


def test_in_another_time_zone_the_dates_are_written_again(window: Open) -> None:
    ann = window(locale="en-GB")
    system = ann.context.new_cdp_session(ann.page)
    system.send("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Kolkata"})
    at_time(ann.page, NOON)
    dates = ["2026-01-30T18:20:00.000Z", "2026-01-30T18:40:00.000Z"]
    messages = [wire_message(n, "Bob", f"at {date}", n, date) for n, date in enumerate(dates, 1)]
    ScriptedStream(ann.page, OPEN + "".join(event("message", message) for message in messages))
    ann.page.route(re.compile("/messages/$"), lambda route: None)
    ann.open(connected=False)
    expect(ann.rows).to_have_count(2)
    ann.say("mine")
    expect(ann.log.locator(".day")).to_have_text(["Yesterday", "Today"])
    expect(ann.rows.locator("time")).to_have_text(["23:50", "00:10", re.compile("17:3[0-5]")])
    system.send("Emulation.setTimezoneOverride", {"timezoneId": "Europe/Berlin"})
    hide(ann.page, False)
    expect(ann.rows.locator("time")).to_have_text(["19:20", "19:40", re.compile("13:0[0-5]")])
    expect(ann.log.locator(".day")).to_have_text(["Yesterday", "Today"])
    assert ann.row("mine").locator(".day").count() == 1
    zones = [cookie["value"] for cookie in ann.context.cookies() if cookie["name"] == "flychat_zone"]
    assert zones == ["60"]  # what the server names days by
