"""A client for programs: reads rooms and writes to them, whatever happens on the way.

    async with contextlib.aclosing(client.stream("https://chat.example.org", "tea")) as events:
        async for event in events:
            match event:
                case Message(): ...           # official: once each, in the order of the ids, without a gap
                                          # (one that `removes` others: their text is gone)
                case Draft(): ...             # provisional: seen before it is stored
                case Retraction(): ...        # that provisional message was not stored
                case Reset(): ...             # drop what you have: the newest messages follow
                case Signal(): ...            # with signals=True: what somebody tells at this moment
    message = await client.post("https://chat.example.org", "tea", "ann", "Hello")
    newest = await client.page("https://chat.example.org", "tea")   # .messages, and .last_id to go on from

What makes a stream whole is one value, the position: the last official id that was passed on. Every
connection asks for what follows it, so a connection may be dropped at any time, for any reason. `Follower`
passes on nothing at or below the position, and takes an id that skips one for a broken connection. The pause
before the next connection begins with what the server says (`retry:`, `Retry-After`) and doubles with every
failure; it is random, so that not all clients return at once.

What makes a post safe to repeat is its provisional id: the server recognises a message by its user (None
without a token), its sender and that id. With the last id that the sender knew at the first attempt it does
so however late that is, since it searches from there.

A `token` is sent as `Authorization: Bearer`. It is a string, or an async function that returns one, which is
called before each request: so a token may be renewed while a stream goes on. If it does not give the right,
or no longer (401, 403), Denied is raised at once.

A connection is for one request. It goes through the proxy of the environment (HTTP_PROXY, HTTPS_PROXY,
ALL_PROXY, NO_PROXY), checks certificates (SSL_CERT_FILE names others than the system's), and follows no
redirections. An event or an answer over the limit (EVENT_BYTES, ANSWER_BYTES) counts as a broken connection.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

from ..errors import Invalid, Misconfigured, Unavailable
from ..fields import new_id
from ..messages import Draft, Message
from ..signals import Signal
from ..streams import HISTORY
from .follower import Follower, Reset, Retraction, StreamEvent, flychats, read_id, read_message, read_signal
from .http import Denied, Later, Token, bearing, connect, fetch, is_final, messages_url, signals_url

__all__ = [
    "Denied",
    "Draft",
    "Later",
    "Message",
    "Misconfigured",
    "Page",
    "Reset",
    "Retraction",
    "Signal",
    "Token",
    "Unavailable",
    "page",
    "position",
    "post",
    "signal",
    "stream",
]

FIRST_PAUSE = 1.0  # seconds, unless the stream says another in `retry:`
LEAST_PAUSE = 0.25  # for any `retry:`: one of 0 is not flychat's, and nobody should be flooded
LONGEST_PAUSE = 30.0
RECOGNISED = 120.0  # seconds for which a server recognises a message by its provisional id alone, at least

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """Contiguous messages of a room, oldest first, and the last id of its log (0: empty).

    `before` is set if the page was cut short for its size: go on with page(before=...). `after` is set if a
    page(after=...) is not all that follows: go on with that.
    """

    messages: tuple[Message, ...]
    last_id: int
    before: int | None = None
    after: int | None = None


async def stream(
    url: str,
    room: str,
    last_id: int | None = None,
    *,
    provisional: bool = True,
    signals: bool = False,
    token: Token | None = None,
) -> AsyncGenerator[StreamEvent | Signal, None]:
    """The events of a room at the server `url`, without an end: after `last_id`, else from the newest on.

    With `provisional=False` only Messages and Resets are sent. With `signals` also Signals, if the server has
    them. Raises Misconfigured for an address that cannot be asked, Invalid for a `last_id` that is no id, or
    for `signals` without what is provisional, Denied, and ssl.SSLCertVerificationError. Once the stream was
    open, Denied is raised only if flychat itself refuses: while it is away, a proxy may answer anything.
    """
    _check_position(last_id)
    if signals and not provisional:
        raise Invalid("signals", "are not sent without provisional events")
    follower, retry, failures, opened = Follower(room, last_id), FIRST_PAUSE, 0, False
    while True:
        asked = 0.0
        try:
            headers = await bearing(token)
            asking = connect(url, room, follower.position, provisional=provisional, headers=headers)
            async with asking as (_, events):
                follower.connected()
                opened = True
                async for event in events:
                    failures = 0
                    retry = retry if event.retry is None else max(LEAST_PAUSE, event.retry / 1000)
                    if event.name == "signal" and signals:
                        yield read_signal(room, event.data)
                    seen = follower.take(event)
                    if seen is not None and (provisional or isinstance(seen, (Message, Reset))):
                        yield seen
            problem = "it has ended"
        except (Denied, OSError) as error:
            if is_final(error, believed=opened):
                raise
            problem, asked = str(error) or type(error).__name__, getattr(error, "seconds", 0.0)
        pause = max(asked, _pause(retry, failures))
        failures += 1
        logger.warning("the stream of %s is asked for again in %.1f s: %s", room, pause, problem)
        await asyncio.sleep(pause)


async def post(
    url: str,
    room: str,
    sender: str | None,
    text: str,
    *,
    provisional_id: str | None = None,
    last_id: int | None = None,
    data: Mapping[str, Any] | None = None,
    seconds: float = 60.0,
    token: Token | None = None,
) -> Message:
    """Posts a text, again until the outcome is known. Returns the message, which is stored once.

    With a token that has a name, the `sender` is that name, or None. `data` is a JSON object, for programs.

    `last_id` is the newest id of the room that you know. With it the server finds an earlier attempt however
    late it is repeated, without it for RECOGNISED seconds. (So with more `seconds` than these the client asks
    the room for it first, which takes the right to read.)

    Raises Denied, Invalid for a `last_id` that is no id, and Unavailable after `seconds`: then it may be
    stored or not. To go on, post it again with the same provisional id and the same last id.
    """
    _check_position(last_id)
    fields: dict[str, Any] = {"text": text} if sender is None else {"from": sender, "text": text}
    fields["provisionalId"] = provisional_id or new_id()
    if last_id is not None:
        fields["lastEventId"] = last_id
    if data is not None:
        fields["data"] = data

    async def attempt() -> Message:
        if "lastEventId" not in fields and seconds > RECOGNISED:
            fields["lastEventId"] = (await page(url, room, limit=1, token=token)).last_id
        body = json.dumps(fields).encode()
        headers = {"Content-Type": "application/json", **await bearing(token)}
        _, answer = await fetch(messages_url(url, room), headers, body)
        with flychats():
            return read_message(json.loads(answer))

    return await _patiently(attempt, seconds)


async def signal(
    url: str,
    room: str,
    sender: str | None,
    kind: str,
    *,
    data: Mapping[str, Any] | None = None,
    token: Token | None = None,
) -> None:
    """Sends a signal of this kind, such as "typing", to all open streams. Tried once: it may be lost.

    With a token that has a name, the `sender` is that name, or None. Raises Denied (also where the server
    has no signals), Later, OSError.
    """
    fields = {"from": sender, "kind": kind, "data": data}
    body = json.dumps({name: value for name, value in fields.items() if value is not None}).encode()
    headers = {"Content-Type": "application/json", **await bearing(token)}
    await fetch(signals_url(url, room), headers, body)


async def position(url: str, room: str, *, seconds: float = 60.0, token: Token | None = None) -> int:
    """The last id of the room's log. Asks again for `seconds`. Raises Denied; Unavailable after that."""
    return (await _patiently(lambda: page(url, room, limit=1, token=token), seconds)).last_id


async def page(
    url: str,
    room: str,
    before: int | None = None,
    limit: int = HISTORY,
    *,
    after: int | None = None,
    token: Token | None = None,
) -> Page:
    """The newest `limit` (at most 200) messages of a room, or those before an id, or the first after one.

    Tried once. Raises Denied, Later, OSError.
    """
    asked = {"limit": limit, "before": before, "after": after}
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    headers = {"Accept": "application/json", **await bearing(token)}
    _, body = await fetch(f"{messages_url(url, room)}?{query}", headers)
    with flychats():
        fields = json.loads(body)
        messages = tuple(map(read_message, fields["messages"]))
        more = [read_id(fields, name) if name in fields else None for name in ("before", "after")]
        return Page(messages, read_id(fields, "lastEventId"), *more)


def _check_position(last_id: int | None) -> None:
    """A server would ignore what is no id. Raises Invalid."""
    if last_id is not None and (type(last_id) is not int or last_id < 0):
        raise Invalid("last_id", "must be a whole number from 0")


async def _patiently(attempt: Callable[[], Awaitable[T]], seconds: float) -> T:
    """What an attempt returns; made again while it fails. Raises Denied; Unavailable after `seconds`."""
    failures, asked, problem = 0, 0.0, "no answer in time"
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    return await attempt()
                except (Denied, OSError) as error:
                    if is_final(error, believed=failures > 0):
                        raise
                    problem, asked = str(error) or type(error).__name__, getattr(error, "seconds", 0.0)
                await asyncio.sleep(max(asked, _pause(FIRST_PAUSE / 4, failures)))
                failures += 1
    except TimeoutError:
        raise Unavailable(problem) from None


def _pause(base: float, failures: int) -> float:
    longest: float = min(LONGEST_PAUSE, base * 2 ** min(failures, 16))
    return random.uniform(longest / 2, longest)
