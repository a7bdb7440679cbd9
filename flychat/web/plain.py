"""Plain requests, which the shortcut answers without Tornado: recognised here, from bytes to values.

A request is plain if it asks for a room's stream, posts a message, or is a GRIP proxy's recovery, and is
whole and in the form that nearly all have: one pattern fits all of its head, and each header is either read
here or known to change no answer. All else is unusual: any other header (Authorization, say, or one that is
invented tomorrow), one that comes twice, another method, version, path or media type, an Origin that is not
ours, a byte too few or too many. Unusual requests go to Tornado. So to recognise too few here costs time,
never correctness. The differential test sends thousands of requests both ways and compares the answers.

Cookie is harmless: browsers send it with every request, and neither a stream nor a POST depends on the name
in it. Whether it may carry a right is checked before the shortcut answers (Access.anybody_may).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, lru_cache
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote

from ..access import READ, WRITE
from ..errors import Refused
from ..fields import room_name
from ..hub import Recovery
from ..streams import OFFICIAL_PATH, RECOVERY_PATH, StreamRequest
from .credentials import is_https, is_own
from .negotiation import prefers

# Headers that are read of some kind of request: here, by the visitor (of a proxy in front), or by the hub (of
# a GRIP proxy).
READ_OF_ALL = "accept connection grip-feature grip-sig host last-event-id x-forwarded-for x-forwarded-proto"
# Headers that change no answer.
OF_CLIENTS = (
    "accept-encoding accept-language cache-control cookie dnt keep-alive pragma priority referer save-data "
    "sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site sec-gpc "
    "user-agent"
)
OF_PROXIES = "forwarded via x-forwarded-host x-forwarded-port x-real-ip x-request-id"
OF_ALL = frozenset(f"{READ_OF_ALL} {OF_CLIENTS} {OF_PROXIES}".split(" "))
KNOWN = {
    "GET": OF_ALL,
    "POST": OF_ALL | {"content-length", "content-type", "origin"},
    "recovery": OF_ALL | {"grip-last"},
}

HEADS = 512  # that are remembered, 8 kB each at the most: a client nearly always sends the same one

_EVENTS = re.compile(r" *text/event-stream *", re.IGNORECASE | re.ASCII)
_HOST = re.compile(r" *+([A-Za-z0-9_.:\[\]-]{0,255}) *")  # *+: no blank is tried on both sides
_POSITION = re.compile(r" *[0-9]{1,18} *")
_FIELDS = re.compile(
    r" *(application/(?:json|x-www-form-urlencoded)(?: *; *charset=utf-8)?) *", re.IGNORECASE | re.ASCII
)
_LINES = r"((?:[A-Za-z0-9-]+:[ -~]*\r\n)+)\r\n"  # a head from its second line on
_OTHER_LINES = (
    rb"(?:(?!content-length|transfer-encoding|expect|connection)[A-Za-z0-9-]+:[ -~]*\r\n"
    rb"|connection: keep-alive\r\n)*"
)
_ORIGIN = re.compile(rb"(?<=\r\n)origin:([ -~]*)\r\n", re.IGNORECASE)
_KEEP_ALIVE = re.compile(r" *keep-alive *", re.IGNORECASE | re.ASCII)


class PlainStream(NamedTuple):
    """A request for a stream. The headers are by their names in small letters, with the space around them."""

    request: StreamRequest
    headers: Mapping[str, str]
    right: str = READ

    @property
    def room(self) -> str:
        return self.request.room


class PlainPost(NamedTuple):
    """A POST of a message to `room`, whose body is of a type that is understood."""

    room: str
    headers: Mapping[str, str]
    content_type: str
    body: bytes
    origin: str  # in small letters; "": none
    right: str = WRITE


Plain: TypeAlias = PlainStream | PlainPost


@cache
def _head(base_path: str) -> re.Pattern[str]:
    return re.compile(
        rf"(GET|POST) {re.escape(base_path)}/rooms/((?:[\w.~-]|%[0-9A-Fa-f]{{2}})+)/messages/?"
        rf"(?:\?lastEventId=([0-9]{{1,18}}))? HTTP/1\.1\r\n{_LINES}",
        re.ASCII,
    )


@cache
def _recovery_head(base_path: str) -> re.Pattern[str]:
    paths = "|".join(re.escape(base_path + path) for path in (RECOVERY_PATH, OFFICIAL_PATH))
    return re.compile(rf"GET ({paths}) HTTP/1\.1\r\n{_LINES}", re.ASCII)


@cache
def _whole_post(base_path: str) -> re.Pattern[bytes]:
    return re.compile(
        rb"POST (?-i:%b)/rooms/[!-~]+ HTTP/1\.1\r\n%b(?:content-length: *([0-9]{1,5}) *\r\n)%b\r\n"
        % (re.escape(base_path.encode()), _OTHER_LINES, _OTHER_LINES),
        re.IGNORECASE,
    )


def plain_request(data: bytes, base_path: str = "") -> Plain | None:
    """What these bytes ask for, if they are one whole, plain request; else None."""
    match = _head(base_path).match(data.decode("latin-1"))
    if match is None:
        return None
    method, room, query, lines = match.groups()
    headers = _known(lines, KNOWN[method])
    host = _HOST.fullmatch(headers.get("host", "?"))
    if host is None:
        return None
    try:
        room = room_name(unquote(room, errors="strict"))
    except (UnicodeDecodeError, Refused):
        return None
    if method == "GET":
        return _stream(room, query, headers) if match.end() == len(data) else None
    return None if query else _post(room, headers, host[1].lower(), data[match.end() :])


def plain_recovery(data: bytes, read: Recovery, base_path: str = "") -> PlainStream | None:
    """What these bytes ask for, if they are one whole, plain recovery, as `read` says of it; else None."""
    match = _recovery_head(base_path).fullmatch(data.decode("latin-1"))
    if match is None:
        return None
    path, lines = match.groups()
    headers = _known(lines, KNOWN["recovery"])
    if not _HOST.fullmatch(headers.get("host", "?")) or "grip-last" not in headers:
        return None
    if prefers(headers.get("accept", "*/*"), "text/html", "application/json"):  # a page, if it is refused
        return None
    if (asked := read([headers["grip-last"]])) is None:
        return None
    provisional = path == base_path + RECOVERY_PATH
    request = asked.request if provisional else replace(asked.request, provisional=False)
    return PlainStream(request, headers)


def keeps_alive(headers: Mapping[str, str]) -> bool:
    """Whether the client keeps the connection for its next request."""
    return _KEEP_ALIVE.fullmatch(headers.get("connection", "keep-alive")) is not None


def post_size(data: bytes, base_path: str = "") -> int:
    """The size of the POST to a room that `data` begins; 0 if its head is not whole, or is unusual."""
    match = _whole_post(base_path).match(data)
    return 0 if match is None else match.end() + int(match[1])


def begun_post(data: bytes, most: int, base_path: str = "") -> int:
    """The size of the plain POST that `data` begins; 0 if it is none, or has more than `most` bytes."""
    size = post_size(data, base_path)
    return size if len(data) < size <= most and plain_request(data.ljust(size), base_path) else 0


def is_whole_post(data: bytes, base_path: str = "") -> bool:
    """Whether these bytes are a POST to a room with its whole body. Nothing else is checked."""
    return post_size(data, base_path) == len(data)


def origin_of(data: bytes) -> str:
    """The Origin of a request, whose head is here; "" if there is not exactly one."""
    origins = _ORIGIN.findall(data, 0, data.index(b"\r\n\r\n") + 2)
    return origins[0].decode().strip(" ") if len(origins) == 1 else ""


@lru_cache(HEADS)
def _known(lines: str, known: frozenset[str]) -> Mapping[str, str]:
    """The headers; none if one comes twice, or is not known."""
    pairs = [line.partition(":") for line in lines.splitlines()]
    headers = {name.lower(): value for name, _, value in pairs}
    return headers if len(headers) == len(pairs) and known.issuperset(headers) else {}


def _stream(room: str, query: str | None, headers: Mapping[str, str]) -> PlainStream | None:
    if not _EVENTS.fullmatch(headers.get("accept", "")):
        return None
    position = headers.get("last-event-id", query)
    if position is not None and not _POSITION.fullmatch(position):
        return None
    return PlainStream(StreamRequest(room, None if position is None else int(position)), headers)


def _post(room: str, headers: Mapping[str, str], host: str, body: bytes) -> PlainPost | None:
    fields = _FIELDS.fullmatch(headers.get("content-type", ""))
    if fields is None or headers.get("content-length", "").strip(" ") != str(len(body)):
        return None
    if not keeps_alive(headers):
        return None
    if prefers(headers.get("accept", "*/*"), "text/html", "application/json"):
        return None
    origin = headers.get("origin", "").strip(" ").lower()
    if "origin" in headers and not is_own(origin, host, https=is_https(headers)):
        return None
    return PlainPost(room, headers, fields[1], body, origin)
