"""A client for programs: reads rooms and writes to them, whatever happens on the way.

    async with contextlib.aclosing(client.stream("https://chat.example.org", "tea")) as events:
        async for event in events:
            match event:
                case Message(): ...           # official: once each, in the order of the ids, without a gap
                case Draft(): ...             # provisional: seen before it is stored
                case Retraction(): ...        # that provisional message was not stored
                case Reset(): ...             # drop what you have: the newest messages follow
    message = await client.post("https://chat.example.org", "tea", "ann", "Hello")
    newest = await client.page("https://chat.example.org", "tea")   # .messages, and .last_id to go on from

What makes a stream whole is one value, the position: the last official id that was passed on. Every
connection asks for what follows it, so a connection may be dropped at any time, for any reason. `Follower`
passes on nothing at or below the position, and takes an id that skips one for a broken connection. How long
to wait is the server's to say (`retry:`, `Retry-After`); it grows with every failure, and is random, lest all
clients return at once.

What makes a post safe to repeat is its provisional id: the server knows a message by (from, provisionalId).
With the last id that the sender knew at the first attempt it does so however late: it looks from there.

A connection is for one request, through the proxy of the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY,
NO_PROXY); certificates are checked (SSL_CERT_FILE names others than the system's), redirections not followed.
What is read is bounded, an event and an answer alike: whatever is longer is a broken connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import re
import ssl
import uuid
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote, urlencode
from urllib.request import getproxies, proxy_bypass

from aiohttp import (
    ClientError,
    ClientHttpProxyError,
    ClientResponse,
    ClientResponseError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
)
from yarl import URL

from . import __version__
from .errors import Misconfigured, Refused, Unavailable
from .messages import Draft, Message
from .sse import BEYOND_ANY_LOG, Event, Parser, read_position
from .streams import HISTORY

__all__ = [
    "Denied",
    "Draft",
    "Later",
    "Message",
    "Page",
    "Reset",
    "Retraction",
    "page",
    "position",
    "post",
    "stream",
]

SILENCE = 50.0  # seconds: the server says something every 20
ANSWER_SECONDS = 15.0  # for a connection, and for the head of an answer
REASON_SECONDS, REASON_BYTES = 2.0, 65_536  # of a refusal's body are read: it may be without an end
REASON_CHARACTERS = 1000
UNPROXIED = "unproxied"  # flychat's 501: the address is that of the app, not of its proxy, and stays so
FIRST_PAUSE = 1.0  # seconds, unless the stream says another in `retry:`
LONGEST_PAUSE = 30.0
LONGEST_ASKED = 120.0  # a server may ask for more patience than that, but is asked again by then
REMEMBERED = 256  # messages that are not shown as provisional again
ANSWER_BYTES = 8 << 20  # of an answer that is no stream are read; a page of flychat has 256 KiB at the most
RECOGNISED = 120.0  # seconds for which a server knows a message by its provisional id alone, at least
AGAIN = {408, 425, 429}  # besides all from 500 on: statuses after which the same request may succeed

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Denied(Refused):
    """The answer is no, and it would be no again. `code` is flychat's, "" if somebody else has answered."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str], code: str = "") -> None:
        super().__init__(f"{status} {text}")
        self.status, self.headers, self.code = status, headers, code


class Later(ConnectionError):
    """Not now; `seconds` is the patience that the server asks for."""

    def __init__(self, status: int, text: str, seconds: float) -> None:
        super().__init__(f"{status} {text}")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Retraction:
    """The provisional message with this id was not stored."""

    provisional_id: str


@dataclass(frozen=True, slots=True)
class Reset:
    """What was seen is void, because the position is "behind" what can be replayed, or "ahead" of the log."""

    reason: str
    last_id: int


@dataclass(frozen=True, slots=True)
class Page:
    """Contiguous messages of a room, oldest first, and the last id of its log (0: empty).

    `before` is told where the page was cut short, for its size: it goes on with page(before=...). `after` is
    told where a page(after=...) is not all that follows.
    """

    messages: tuple[Message, ...]
    last_id: int
    before: int | None = None
    after: int | None = None


StreamEvent: TypeAlias = Message | Draft | Retraction | Reset


async def stream(
    url: str, room: str, last_id: int | None = None, *, provisional: bool = True
) -> AsyncGenerator[StreamEvent, None]:
    """The room at the server `url`, without an end: what follows `last_id`, else the newest messages and on.

    With `provisional=False` only Messages and Resets. Raises Denied, and ssl.SSLCertVerificationError; once
    the stream was open, only where flychat itself refuses: while it is away, others may answer anything.
    """
    follower, retry, failures, opened = Follower(room, last_id), FIRST_PAUSE, 0, False
    while True:
        asked = 0.0
        try:
            async with connect(url, room, follower.position) as (_, events):
                follower.connected()
                opened = True
                async for event in events:
                    failures = 0
                    retry = retry if event.retry is None else event.retry / 1000
                    seen = follower.take(event)
                    if seen is not None and (provisional or isinstance(seen, (Message, Reset))):
                        yield seen
            problem = "it has ended"
        except (Denied, OSError) as error:
            if _is_final(error, believed=opened):
                raise
            problem, asked = str(error) or type(error).__name__, getattr(error, "seconds", 0.0)
        pause = max(asked, _pause(retry, failures))
        failures += 1
        logger.warning("the stream of %s is asked for again in %.1f s: %s", room, pause, problem)
        await asyncio.sleep(pause)


async def post(
    url: str,
    room: str,
    sender: str,
    text: str,
    *,
    provisional_id: str | None = None,
    last_id: int | None = None,
    seconds: float = 60.0,
) -> Message:
    """Posts until it is known what became of it: the message as it is stored, once.

    `last_id` is the newest id of the room that you know. With it the server finds an earlier attempt however
    late it is repeated, without it for RECOGNISED seconds (so the room is asked for it first where `seconds`
    are more).

    Raises Denied; and Unavailable after `seconds`, when it may be stored or not: to go on, post it again with
    the same provisional id and the same last id.
    """
    fields: dict[str, Any] = {"from": sender, "text": text}
    fields["provisionalId"] = provisional_id or str(uuid.uuid4())
    if last_id is not None:
        fields["lastEventId"] = last_id

    async def attempt() -> Message:
        if "lastEventId" not in fields and seconds > RECOGNISED:
            fields["lastEventId"] = (await page(url, room, limit=1)).last_id
        body = json.dumps(fields).encode()
        answer = await fetch(messages_url(url, room), {"Content-Type": "application/json"}, body)
        with _flychats():
            return _message(json.loads(answer))

    return await _patiently(attempt, seconds)


async def position(url: str, room: str, *, seconds: float = 60.0) -> int:
    """The last id of the room's log, asked for until it is told. Raises Denied, Unavailable."""
    return (await _patiently(lambda: page(url, room, limit=1), seconds)).last_id


async def page(
    url: str, room: str, before: int | None = None, limit: int = HISTORY, *, after: int | None = None
) -> Page:
    """The newest `limit` (at most 200) messages of a room, or those before an id, or the first after one.

    Tried once. Raises Denied, Later, OSError.
    """
    asked = {"limit": limit, "before": before, "after": after}
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    body = await fetch(f"{messages_url(url, room)}?{query}", {"Accept": "application/json"})
    with _flychats():
        fields = json.loads(body)
        messages = tuple(map(_message, fields["messages"]))
        more = [_id(fields, name) if name in fields else None for name in ("before", "after")]
        return Page(messages, _id(fields, "lastEventId"), *more)


async def _patiently(attempt: Callable[[], Awaitable[T]], seconds: float) -> T:
    """What an attempt returns, made again until it does. Raises Denied; Unavailable after `seconds`."""
    failures, asked, problem = 0, 0.0, "no answer in time"
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    return await attempt()
                except (Denied, OSError) as error:
                    if _is_final(error, believed=failures > 0):
                        raise
                    problem, asked = str(error) or type(error).__name__, getattr(error, "seconds", 0.0)
                await asyncio.sleep(max(asked, _pause(FIRST_PAUSE / 4, failures)))
                failures += 1
    except TimeoutError:
        raise Unavailable(problem) from None


class Follower:
    """What a stream's client has: `position` is asked for, `_last` precedes the next official id (None: any).

    They differ until the first official message of a stream without a position, and after a reset: a client
    that is cut off before it came asks for what follows 0 (as if the room had been empty), or the reset's id.
    """

    def __init__(self, room: str, last_id: int | None) -> None:
        self.position = self._last = last_id
        self._room = room
        self._shown: deque[tuple[str, str]] = deque(maxlen=REMEMBERED)

    def connected(self) -> None:
        """A new connection: its answer is to what was asked."""
        self._last = self.position

    def take(self, event: Event) -> StreamEvent | None:
        """What the event says, if it is news. Raises ConnectionError where the connection cannot be right."""
        with _flychats():
            match event.name:
                case "message":
                    fields = json.loads(event.data)
                    return self._official(_message(fields)) if "id" in fields else self._draft(fields)
                case "retraction":
                    return self._retract(_text(json.loads(event.data), "provisionalId"))
                case "stream-reset":
                    fields = json.loads(event.data)
                    reset = Reset(_text(fields, "reason"), _id(fields, "lastEventId"))
                    return self._reset(reset, event.id or 0)
                case "stream-open" if self.position is None:
                    self.position = 0
        return None

    def _official(self, message: Message) -> Message | None:
        if self._last is not None and message.id <= self._last:
            return None
        if self._last is not None and message.id > self._last + 1:
            raise ConnectionError(f"message {message.id} after {self._last}")
        self.position = self._last = message.id
        self._shown.append(message.key)
        return message

    def _draft(self, fields: dict[str, Any]) -> Draft | None:
        draft = Draft(self._room, *_content(fields))
        if draft.key in self._shown:  # it came late, or twice
            return None
        self._shown.append(draft.key)
        return draft

    def _retract(self, provisional_id: str) -> Retraction:
        self._shown = deque((key for key in self._shown if key[1] != provisional_id), REMEMBERED)
        return Retraction(provisional_id)

    def _reset(self, reset: Reset, position: int) -> Reset:
        """The next id may be any; a client that is cut off before it came is given all, or another reset."""
        self.position, self._last = position, None
        return reset


# One request


def messages_url(url: str, room: str) -> str:
    return f"{url.rstrip('/')}/rooms/{quote(room, safe='')}/messages/"


@contextlib.asynccontextmanager
async def connect(
    url: str,
    room: str,
    last_id: int | None = None,
    *,
    by_query: bool = False,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[tuple[Mapping[str, str], AsyncIterator[Event]]]:
    """One connection of a stream: the answer's headers, and the events as they come.

    Raises Denied, Later, OSError.
    """
    address, wanted = messages_url(url, room), {"Accept": "text/event-stream", **(headers or {})}
    if last_id is not None and by_query:
        address += "?" + urlencode({"lastEventId": last_id})
    elif last_id is not None:
        wanted["Last-Event-ID"] = str(last_id)
    async with request(address, wanted) as answer:
        await _granted(answer)
        if answer.content_type != "text/event-stream":
            raise ConnectionError(f"{answer.status}, but not a stream of events")
        async with contextlib.aclosing(parse(answer.content.iter_any())) as events:
            yield answer.headers, events


async def fetch(
    url: str, headers: Mapping[str, str], body: bytes | None = None, *, direct: bool = False
) -> bytes:
    """The body of the answer to a GET, or to a POST of `body`. Raises Denied, Later, OSError."""
    return (await ask(url, headers, body, direct=direct))[1]


async def ask(
    url: str, headers: Mapping[str, str], body: bytes | None = None, *, direct: bool = False
) -> tuple[Mapping[str, str], bytes]:
    """Like `fetch`, with the headers of the answer."""
    data = bytearray()
    async with asyncio.timeout(ANSWER_SECONDS), request(url, headers, body, direct=direct) as answer:
        await _granted(answer)
        async for piece in answer.content.iter_any():
            data += piece
            if len(data) > ANSWER_BYTES:
                raise ConnectionError(f"an answer of more than {ANSWER_BYTES} bytes")
        return answer.headers, bytes(data)


@contextlib.asynccontextmanager
async def request(
    url: str, headers: Mapping[str, str], body: bytes | None = None, *, direct: bool = False
) -> AsyncIterator[ClientResponse]:
    """The answer to a GET, or to a POST of `body`; at the end of the context the connection is closed.

    It goes through the proxy of the environment, unless `direct`. Whatever goes wrong with the connection, in
    the context too, is an OSError. Raises Misconfigured for a URL that cannot be asked, or such a proxy.
    """
    timeout = ClientTimeout(total=None, sock_read=SILENCE)
    method = "GET" if body is None else "POST"
    certificates = _certificates(os.environ.get("SSL_CERT_FILE")) if url.startswith("https:") else True
    about = {"User-Agent": f"flychat/{__version__}", **headers}
    try:
        address = URL(url, encoded=True)
        if address.scheme not in ("http", "https") or not (address.raw_host or "").encode("idna"):
            raise ValueError
    except ValueError:  # also of a port that is none, or a label that is empty
        raise Misconfigured(f"no such address: {without_password(url)}") from None
    proxy = None if direct else proxy_of(address)
    try:
        async with ClientSession(
            timeout=timeout, auto_decompress=False, cookie_jar=DummyCookieJar()
        ) as session:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await session.request(
                    method,
                    address,
                    headers=about,
                    data=body,
                    ssl=certificates,
                    proxy=proxy,
                    allow_redirects=False,
                    skip_auto_headers=["Accept-Encoding"],
                )
            try:
                yield answer
            finally:
                answer.close()
    except ClientHttpProxyError as error:
        raise ConnectionError(f"the proxy answers {error.status} {error.message}") from error
    except ClientResponseError as error:
        raise ConnectionError("the answer is not HTTP") from error
    except ClientError as error:
        if isinstance(error, OSError):
            raise
        raise ConnectionError(str(error) or "the answer was cut off") from error


def proxy_of(address: URL) -> URL | None:
    """The proxy that the environment names for an address, perhaps with a name and a password.

    As curl has it: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, but for the hosts of NO_PROXY, in small letters too.
    On macOS the system's settings as well. Raises Misconfigured.
    """
    named, host = getproxies(), address.host or ""
    given = named.get(address.scheme) or named.get("all")
    if not given or proxy_bypass(host) or proxy_bypass(f"{host}:{address.port}"):
        return None
    try:
        proxy = URL(given if "://" in given else f"http://{given}")
        if proxy.scheme not in ("http", "https") or not proxy.host:
            raise ValueError
    except ValueError:
        raise Misconfigured(
            f"no such proxy: {without_password(given)}; it must be http://HOST:PORT"
        ) from None
    return proxy


def without_password(text: str) -> str:
    """The text without the users and passwords of the addresses in it."""
    return re.sub(r"(?<=://)[^/?#\s]*@", "", text)


@lru_cache
def _certificates(file: str | None) -> ssl.SSLContext:
    """Made once: to read the system's certificates takes a while. OpenSSL looks for `file` by itself."""
    return ssl.create_default_context()


async def parse(body: AsyncIterator[bytes]) -> AsyncGenerator[Event, None]:
    """The events of a stream. Raises ConnectionError for one of more than EVENT_BYTES."""
    parser = Parser()
    async for data in body:
        with _flychats():
            events = parser.feed(data)
        for event in events:
            yield event


async def _granted(answer: ClientResponse) -> None:
    """Raises Denied, or Later, unless the answer is a yes."""
    if answer.status == 200:
        return
    data = b""
    with contextlib.suppress(OSError, ClientError):
        async with asyncio.timeout(REASON_SECONDS):
            async for piece in answer.content.iter_any():
                data += piece
                if len(data) > REASON_BYTES:
                    break
    try:
        error = json.loads(data)["error"]
        code, text = str(error["code"]), str(error["message"])[:REASON_CHARACTERS]
    except (ValueError, LookupError, TypeError, RecursionError):  # it was not flychat that answered
        known = answer.status in HTTPStatus._value2member_map_
        code, text = "", HTTPStatus(answer.status).phrase if known else "?"
    if "location" in answer.headers:
        text += f", to {answer.headers['location']}"
    if (answer.status >= 500 and code != UNPROXIED) or answer.status in AGAIN:
        raise Later(answer.status, text, patience(answer.headers))
    raise Denied(answer.status, text, answer.headers, code)


def _is_final(error: Denied | OSError, *, believed: bool) -> bool:
    """Whether to give up. Where the address is `believed`, others than flychat may say no, or have no right
    certificate: a proxy whose server is away, or a gate to the network, says anything for a while.
    """
    if isinstance(error, Denied):
        return bool(error.code) or not believed
    return isinstance(error, ssl.SSLCertVerificationError) and not believed


@contextlib.contextmanager
def _flychats() -> Iterator[None]:
    """Makes what flychat would not have written an error of the connection: somebody else has answered."""
    try:
        yield
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ConnectionError(f"not written by flychat: {error!r}") from None


def patience(headers: Mapping[str, str]) -> float:
    """The seconds to wait that an answer asks for."""
    return min(LONGEST_ASKED, float(read_position(headers.get("Retry-After")) or 0))


def _message(fields: dict[str, Any]) -> Message:
    return Message(_id(fields, "id"), *_content(fields))


def _content(fields: dict[str, Any]) -> tuple[str, str, str, str]:
    return (
        _text(fields, "from"),
        _text(fields, "text"),
        _text(fields, "date"),
        _text(fields, "provisionalId"),
    )


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise TypeError(name)
    return value


def _id(fields: dict[str, Any], name: str) -> int:
    value = fields[name]
    if type(value) is not int or not 0 <= value < BEYOND_ANY_LOG:  # True is an int
        raise TypeError(name)
    return value


def _pause(base: float, failures: int) -> float:
    longest: float = min(LONGEST_PAUSE, base * 2 ** min(failures, 16))
    return random.uniform(longest / 2, longest)
