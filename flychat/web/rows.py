"""The rows of a room's page, as its scripts would make them, so that nothing moves when they take over.

Faces, hues, headings and days are as in static/row.js. Only the browser knows the reader's language, the time
zone (which the page leaves in a cookie) and, without a token, which messages it has sent itself. So a row
with the reader's name stands where their own would until the scripts know; without scripts, with the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from datetime import date as Date
from functools import lru_cache
from html import escape

from ..messages import Message
from ..names import hue, initial, name_to_show
from .texts import html_of, is_big, is_long

# Of the rows in a room's page; the scripts load older ones. A first load transfers 60 kB at most: less than
# half is for the rows, even if they do not compress; scripts, styles and the page itself take the rest.
ROWS_BYTES = 25_500
SPAN = len("2026-01-31T12:0")  # of a date: within ten minutes of the clock messages share a heading
UNFOLD = "</p><button type=button class=unfold aria-expanded=false>Show all</button>"
# The empty row that the page clones. A row is one line, because white space in a text is shown. It is short,
# because a page has fifty: so p and li have no end tags, as HTML allows, the text is the only p, and the time
# stands there once.
BLANK = (
    "<li><span class=face aria-hidden=true></span><bdi translate=no></bdi> "
    "<time><a tabindex=-1></a></time><p dir=auto>"
)
MOST = 14 * 60  # minutes that a time zone is away from UTC


class Rows:
    """The rows for one reader: a name, perhaps a user whom a token vouches for, and perhaps a time zone."""

    def __init__(self, name: str, user: str | None = None, zone: int | None = None, now: float = 0) -> None:
        self._name, self._user, self._zone = name, user, zone
        self._named: dict[str, str] = {}  # days
        if zone is not None:
            today = datetime.fromtimestamp(now, UTC) + timedelta(minutes=zone)
            for called, day in (("Yesterday", today - timedelta(days=1)), ("Today", today)):
                self._named[f"{day:%Y-%m-%d}"] = called

    def page(self, messages: Sequence[Message]) -> list[str]:
        """The rows of the newest messages, in order: as many as fit into ROWS_BYTES, and at least one."""
        rows: list[str] = []
        left = ROWS_BYTES
        for place in range(len(messages) - 1, -1, -1):
            row = self._html(messages[place], messages[place - 1] if place else None)
            left -= len(row.encode())
            if left < 0 and rows:
                break
            rows.append(row)
        if rows and len(rows) < len(messages):
            rows[-1] = self._html(messages[-len(rows)], None)
        return rows[::-1]

    def _html(self, message: Message, previous: Message | None) -> str:
        author = author_of(message.sender, message.user)
        day, removed, classes, date = "", "", self._whose(message), message.date
        if previous is None or self._day(previous.date) != self._day(date):
            name = self._named.get(self._day(date)) or day_name(self._day(date))
            day = f"<div class=day lang=en>{name}</div>"
        elif _same_heading(previous, message):
            classes += " more"
        text, kind, end = html_of(message.text), "", ""
        if message.removed is not None:
            text, removed = "(removed)", f" data-removed={message.removed}"
        elif is_long(message.text):
            kind, end = " class=long", UNFOLD
        elif is_big(message.text):
            kind = " class=big"
        return (
            f'<li class="{author.hue}{classes}" id={message.id} data-id={message.id} '
            f'data-key="{message.provisional_id}"{author.user}{removed}>'
            f"{day}{author.html}<time><a tabindex=-1 href=#{message.id}>{date[:10]} {date[11:19]}Z</a></time>"
            f"<p dir=auto{kind}>{text}{end}"
        )

    def _whose(self, message: Message) -> str:
        if self._user is not None:
            return " own" if message.user == self._user else ""
        return " maybe" if message.user is None and message.sender == self._name else ""

    def _day(self, date: str) -> str:
        if not self._zone:
            return date[:10]
        return (datetime.fromisoformat(date[:19]) + timedelta(minutes=self._zone)).isoformat()[:10]


def _same_heading(one: Message, other: Message) -> bool:
    return one.date[:SPAN] == other.date[:SPAN] and one.sender == other.sender and one.user == other.user


@dataclass(frozen=True, slots=True)
class Author:
    """The parts that all rows of one author have in common."""

    hue: str  # a class
    user: str  # an attribute, or nothing
    html: str  # the face and the name


@lru_cache(2_000)
def author_of(sender: str, user: str | None) -> Author:
    shown = name_to_show(sender)
    key = "" if shown == sender else f' data-name="{escape(sender)}"'
    face = f'<span class=face aria-hidden=true data-initial="{escape(initial(shown))}"></span>'
    return Author(
        f"h{hue(sender if user is None else user)}",
        "" if user is None else f' data-user="{escape(user)}"',
        f"{face}<bdi translate=no{key}>{escape(shown)}</bdi> ",
    )


@lru_cache(200)
def day_name(day: str) -> str:
    return f"{Date.fromisoformat(day):%A, %-d %B %Y}"


def zone_of(cookie: str | None) -> int | None:
    """The minutes by which a reader's clock is ahead of UTC, as the page has left them."""
    try:
        minutes = int(cookie or "none")
    except ValueError:
        return None
    return minutes if abs(minutes) <= MOST else None
