"""The rows of a page: headings, days, whose they are, and how many a page has room for."""

import re
from datetime import datetime

import pytest

from flychat.messages import Message
from flychat.web.rows import ROWS_BYTES, Rows, zone_of

KEY = "00000000-0000-4000-8000-000000000000"


def message(id, sender="Bob", date="2026-01-31T12:00:00.000Z", text="hi", **more):
    return Message(id, sender, text, date, KEY, **more)


def classes(rows):
    return [re.match('<li class="h[0-9]+([^"]*)"', row)[1].strip() for row in rows]


def days(rows):
    return [
        match and match[1] for match in (re.search("<div class=day lang=en>([^<]*)<", row) for row in rows)
    ]


def test_messages_of_an_author_share_a_heading_within_ten_minutes():
    dates = ["12:00:00", "12:09:59", "12:10:00"]
    messages = [message(n, date=f"2026-01-31T{date}.000Z") for n, date in enumerate(dates, 1)]
    messages += [message(4, "Cid", messages[-1].date), message(5, "Cid", messages[-1].date, user="cid")]
    assert classes(Rows("Ann").page(messages)) == ["", "more", "", "", ""]


@pytest.mark.parametrize(
    ("zone", "wanted"),
    [
        (None, ["Friday, 30 January 2026", None, "Saturday, 31 January 2026", None]),
        (0, ["Yesterday", None, "Today", None]),
        (330, ["Yesterday", "Today", None, None]),
        (-60, ["Yesterday", None, None, "Today"]),
    ],
)
def test_days_are_those_of_the_reader(zone, wanted):
    dates = ["2026-01-30T18:29", "2026-01-30T18:31", "2026-01-31T00:01", "2026-01-31T01:00"]
    messages = [message(n, date=f"{date}:00.000Z") for n, date in enumerate(dates, 1)]
    now = datetime.fromisoformat("2026-01-31T12:00:00+00:00").timestamp()
    rows = Rows("Ann", zone=zone, now=now).page(messages)
    assert days(rows) == wanted
    assert "more" not in classes(rows)[1] or not wanted[1]


@pytest.mark.parametrize(
    ("cookie", "zone"),
    [(None, None), ("", None), ("0", 0), ("-210", -210), ("840", 840), ("841", None), ("x", None), ("٣", 3)],
)
def test_a_time_zone_is_read_from_what_the_page_left(cookie, zone):
    assert zone_of(cookie) == zone


def test_a_row_is_ones_own_by_the_user_and_perhaps_by_the_name():
    messages = [message(1, "Ann"), message(2, "Ann", user="ann"), message(3, "Annie", user="ann")]
    assert classes(Rows("Ann", "ann").page(messages)) == ["", "own", "own"]
    assert classes(Rows("Ann").page(messages)) == ["maybe", "", ""]


def test_a_page_has_as_many_rows_as_it_has_room_for_and_the_first_has_a_heading():
    messages = [message(n, text="x" * 4_000) for n in range(1, 31)]
    rows = Rows("Ann").page(messages)
    assert sum(len(row) for row in rows) <= ROWS_BYTES
    assert len(rows) == 5
    assert f"data-id={messages[-1].id} " in rows[-1]
    assert days(rows)[0]
    assert classes(rows)[:2] == ["", "more"]
    assert len(Rows("Ann").page([message(1, text="名" * 20_000)])) == 1
    assert Rows("Ann").page([]) == []


def test_names_and_texts_are_escaped_and_what_was_removed_has_no_text():
    name = "<b>\"'&\u200b"
    (row,) = Rows("Ann").page([message(1, name, user=name, text="<i>`<u>`\n@<a>")])
    tags = set(re.findall("<([a-z]+)", row))
    assert tags == {"li", "div", "span", "bdi", "time", "a", "p", "code", "s"}
    assert 'data-name="&lt;b&gt;&quot;&#x27;&amp;\u200b"' in row
    (row,) = Rows("Ann").page([message(1, text="secret" * 900, removed=2)])
    assert "data-removed=2" in row
    assert row.endswith("<p dir=auto>(removed)")
