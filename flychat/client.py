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

A connection is for one request; certificates are checked (SSL_CERT_FILE names others than the system's),
redirections not followed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import ssl
import uuid
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Any, TypeAlias
from urllib.parse import quote, urlencode

from aiohttp import (
    ClientError,
    ClientResponse,
    ClientResponseError,
    ClientSession,
    ClientTimeout,
)
from yarl import URL

from . import __version__
from .errors import Misconfigured, Refused, Unavailable
from .messages import Draft, Message
from .sse import BEYOND_ANY_LOG, Event, Parser, read_position
from .streams import HISTORY, Page

__all__ = ["Denied", "Draft", "Later", "Message", "Page", "Reset", "Retraction", "page", "post", "stream"]

SILENCE = 50.0  # seconds: the server says something every 20
ANSWER_SECONDS = 15.0  # for a connection, and for the head of an answer
REASON_SECONDS, REASON_BYTES = 2.0, 65_536  # of a refusal's body are read: it may be without an end
FIRST_PAUSE = 1.0  # seconds, unless the stream says another in `retry:`
LONGEST_PAUSE = 30.0
LONGEST_ASKED = 120.0  # a server may ask for more patience than that, but is asked again by then
REMEMBERED = 256  # messages that are not shown as provisional again
LATER = {408, 425, 429, 500, 502, 503, 504}  # statuses after which the same request may succeed

logger = logging.getLogger(__name__)


class Denied(Refused):
    """The server's answer is no, and it would be no again. `headers` are those of its answer."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str]) -> None:
        super().__init__(f"{status} {text}")
        self.status, self.headers = status, headers


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


StreamEvent: TypeAlias = Message | Draft | Retraction | Reset


async def stream(
    url: str, room: str, last_id: int | None = None, *, provisional: bool = True
) -> AsyncGenerator[StreamEvent, None]:
    """The room at the server `url`, without an end: what follows `last_id`, else the newest messages and on.

    With `provisional=False` only Messages and Resets. Raises Denied, and ssl.SSLCertVerificationError.
    """
    follower, retry, failures = Follower(room, last_id), FIRST_PAUSE, 0
    while True:
        asked = 0.0
        try:
            async with connect(url, room, follower.position) as (_, events):
                follower.connected()
                async for event in events:
                    failures = 0
                    retry = retry if event.retry is None else event.retry / 1000
                    seen = follower.take(event)
                    if seen is not None and (provisional or isinstance(seen, (Message, Reset))):
                        yield seen
            problem = "it has ended"
        except ssl.SSLCertVerificationError:
            raise
        except OSError as error:
            problem, asked = str(error) or type(error).__name__, getattr(error, "seconds", 0.0)
        pause = max(asked, _pause(retry, failures))
        failures += 1
        logger.warning("the stream of %s is asked for again in %.1f s: %s", room, pause, problem)
        await asyncio.sleep(pause)


async def post(
    url: str, room: str, sender: str, text: str, *, provisional_id: str | None = None, seconds: float = 60.0
) -> Message:
    """Posts until it is known what became of it: the message as it is stored.

    Raises Denied; and Unavailable after `seconds`, when it may be stored: to go on, post it again with the
    same provisional id. Beyond the server's recent window (256 messages of the room) that would be a second
    message.
    """
    fields = {"from": sender, "text": text, "provisionalId": provisional_id or str(uuid.uuid4())}
    headers, body = {"Content-Type": "application/json"}, json.dumps(fields).encode()
    failures, asked, problem = 0, 0.0, "no answer in time"
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    answer = await fetch(messages_url(url, room), headers, body)
                    with _flychats():
                        return _message(json.loads(answer))
                except ssl.SSLCertVerificationError:
                    raise
                except OSError as error:
                    problem, asked = str(error) or type(error).__name__, getattr(error, "seconds", 0.0)
                await asyncio.sleep(max(asked, _pause(FIRST_PAUSE / 4, failures)))
                failures += 1
    except TimeoutError:
        raise Unavailable(problem) from None


async def page(url: str, room: str, before: int | None = None, limit: int = HISTORY) -> Page:
    """The newest `limit` (at most 200) messages of a room, or the newest before an id; and the log's last id.

    Tried once. Raises Denied, Later, OSError.
    """
    query = urlencode({"limit": limit} if before is None else {"limit": limit, "before": before})
    body = await fetch(f"{messages_url(url, room)}?{query}", {"Accept": "application/json"})
    with _flychats():
        fields = json.loads(body)
        return Page(tuple(map(_message, fields["messages"])), int(fields["lastEventId"]))


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
            raise Denied(answer.status, "but not a stream of events", answer.headers)
        async with contextlib.aclosing(parse(answer.content.iter_any())) as events:
            yield answer.headers, events


async def fetch(url: str, headers: Mapping[str, str], body: bytes | None = None) -> bytes:
    """The body of the answer to a GET, or to a POST of `body`. Raises Denied, Later, OSError."""
    async with asyncio.timeout(ANSWER_SECONDS), request(url, headers, body) as answer:
        await _granted(answer)
        return await answer.read()


@contextlib.asynccontextmanager
async def request(
    url: str, headers: Mapping[str, str], body: bytes | None = None
) -> AsyncIterator[ClientResponse]:
    """The answer to a GET, or to a POST of `body`; at the end of the context the connection is closed.

    Whatever goes wrong with the connection, in the context too, is an OSError. Raises Misconfigured for a URL
    that cannot be asked.
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
        raise Misconfigured(f"no such address: {url}") from None
    try:
        async with ClientSession(timeout=timeout, auto_decompress=False) as session:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await session.request(
                    method,
                    address,
                    headers=about,
                    data=body,
                    ssl=certificates,
                    allow_redirects=False,
                    skip_auto_headers=["Accept-Encoding"],
                )
            try:
                yield answer
            finally:
                answer.close()
    except ClientResponseError as error:
        raise ConnectionError("the answer is not HTTP") from error
    except ClientError as error:
        if isinstance(error, OSError):
            raise
        raise ConnectionError(str(error) or "the answer was cut off") from error


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
        text = json.loads(data)["error"]["message"]
    except (ValueError, LookupError, TypeError):  # it was not flychat that answered
        known = answer.status in HTTPStatus._value2member_map_
        text = HTTPStatus(answer.status).phrase if known else "?"
    if "location" in answer.headers:
        text += f", to {answer.headers['location']}"
    if answer.status in LATER:
        raise Later(answer.status, text, patience(answer.headers))
    raise Denied(answer.status, text, answer.headers)


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
