"""`check URL`: looks at a deployment from outside, and says in plain words what is wrong with it.

It is a client like any other, and uses one connection at a time, without the repairs of flychat.client, which
would hide what it is to find. What only browsers do (a page, an Origin) it does once.

It always writes to the same room, so that a check every hour leaves one room behind, not thousands. In that
there may be messages of earlier checks, and of others that run now: it looks for its own among them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from http import HTTPStatus

from .. import client
from ..client import http
from ..client.follower import Follower
from ..errors import FlychatError
from ..fields import new_id
from ..messages import Message
from ..sse import Event
from ..streams import KEEP_ALIVE_SECONDS
from .arguments import as_room, as_url, token_given, token_option
from .check_page import check_page
from .checked import Checked, Findings, reason
from .terminal import interruptible, told

ROOM = "flychat-check"
IDLE_ROOM = f"{ROOM}-idle"  # where nobody posts
PATIENCE = 8.0  # seconds within which an event of a live stream is seen; Pushpin may need two to recover it
LATE = 1.0  # seconds by which a message may be seen after its POST was answered
IN_VAIN = 1.0  # seconds after which a POST is answered, if flychat cannot publish
PASS_SECONDS = 35  # within which a GRIP proxy asks for an idle stream again (LINK_SECONDS of hub/links.py)
POSTS = 5
ANOTHER_LOG = 10**15  # a position beyond every log
NOTHING = Event("")  # the end of a stream
BUFFERED = "a proxy on the way buffers the stream"


def check_command(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    parser.description = "Looks at a deployment from outside, and says what is wrong with it."
    parser.add_argument("url", type=as_url, metavar="URL", help="such as https://chat.example.org")
    parser.add_argument("--quick", action="store_true", help="do not wait for a keep-alive")
    parser.add_argument(
        "--room", type=as_room, default=ROOM, help="a few messages are posted there (default: %(default)s)"
    )
    token_option(parser)

    def run(given: argparse.Namespace) -> int:
        token = token_given(given.token_file)
        return interruptible(check(given.url, quick=given.quick, room=given.room, token=token))

    return run


async def check(url: str, *, quick: bool, room: str = ROOM, token: client.Token | None = None) -> int:
    """Looks at a deployment through whatever is in front of it; writes a few messages."""
    at = Checked(url, room, token)
    proxy = http.proxy_of(url)
    print(told(f"{url}, room {room}{f', through the proxy {proxy}' if proxy else ''}"), flush=True)
    found = Findings()
    idle = None if quick else asyncio.create_task(_idle(at))
    try:
        await _check_head(found, at)
        await _check_mode(found, url)
        await check_page(found, at)
        if messages := await _check_delivery(found, at):
            await _check_resumption(found, at, messages)
            await _check_reset(found, at, messages)
        if idle:
            silence, end = await idle
            found.that(
                silence is not None,
                f"a keep-alive came after {silence or 0:.0f} s",
                f"no keep-alive within {KEEP_ALIVE_SECONDS + 5} s: something cuts or buffers idle streams",
            )
            if token is not None and silence is not None:
                found.that(
                    end is None,
                    f"a stream that a token has opened lasts {PASS_SECONDS} s",
                    f"a stream that a token has opened ends after {end or 0:.0f} s: "
                    "when the proxy asks for it again, it does not say whose it is",
                )
    except client.Denied as denied:
        found.problem(f"the server refuses: {denied}{_advice(denied)}")
    except TimeoutError:
        found.problem(f"no answer in time{await _advice_late(at)}")
    except (FlychatError, OSError) as error:
        found.problem(f"it fails: {reason(error)}")
    finally:
        if idle:
            idle.cancel()
            await asyncio.gather(idle, return_exceptions=True)
    print(f"{found.bad} problem{'s' * (found.bad != 1)}" if found.bad else "all is well", flush=True)
    return int(found.bad > 0)


async def _check_head(found: Findings, at: Checked) -> None:
    """Checks the head of a stream that is requested as browsers do, and when the first event comes."""
    began = time.monotonic()
    async with at.connect(headers={"Accept-Encoding": "gzip, deflate, br"}) as (head, events):
        answered, caching = time.monotonic() - began, head.get("cache-control", "")
        rules = {
            "Cache-Control lacks no-cache": "no-cache" in caching,
            "Cache-Control lacks no-transform": "no-transform" in caching,
            "Vary lacks Accept": "accept" in head.get("vary", "").lower(),
            "there is an ETag": "etag" not in head,
            "it is compressed": "content-encoding" not in head,
        }
        broken = "; ".join(rule for rule, kept in rules.items() if not kept)
        found.that(not broken, "the headers of a stream are right", f"headers: {broken}")
        if "content-encoding" in head:
            return
        try:
            async with asyncio.timeout(PATIENCE):
                first = await anext(events, NOTHING)
        except TimeoutError:
            nothing = f"the answer began after {_ms(answered)}, but nothing followed for {PATIENCE:.0f} s"
            return found.problem(f"{nothing}: {BUFFERED}")
    opened = f"the stream opens after {_ms(time.monotonic() - began)}"
    found.that(first.name == "stream-open", opened, f"the first event is '{first.name}', not stream-open")


async def _check_mode(found: Findings, url: str) -> None:
    """Finds out the mode: with deploy/'s routes Pushpin itself answers at /_ready/; else by the metrics."""
    with contextlib.suppress(FlychatError, OSError):
        async with asyncio.timeout(PATIENCE), http.request(f"{url}/_ready/stream", {}) as answer:
            if answer.status == 200 and b"stream opened" in await answer.content.readany():
                return found.good("proxied by GRIP: Pushpin holds the streams")
    with contextlib.suppress(FlychatError, OSError):
        grip = b"\nflychat_grip_queued{" in (await http.fetch(f"{url}/metrics", {}))[1]
        return found.good("proxied by GRIP" if grip else "not proxied by GRIP: the server holds the streams")
    found.good("proxied by GRIP or not: cannot be told, /metrics and Pushpin's /_ready/ are not shown here")


async def _check_delivery(found: Findings, at: Checked) -> list[Message]:
    """Posts, and measures when the messages are seen. Returns them; [] if no further check makes sense."""
    messages, provisional, official, late = [], [], [], []
    async with at.connect() as (_, events):
        for _ in range(POSTS):
            seen, began = Sights(), time.monotonic()
            key = new_id()
            watching = asyncio.create_task(seen.watch(events, key))
            try:
                message = await at.post("A test message.", key)
                answered = time.monotonic()
                await asyncio.wait([watching], timeout=PATIENCE)
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
            if seen.official is None:
                unseen = f"message {message.id} was stored, but not seen within {PATIENCE:.0f} s"
                cannot = "flychat cannot publish: are address and key in its --grip-url right? See its log"
                in_vain = answered - began > IN_VAIN
                found.problem(f"{unseen}: {cannot if in_vain else f'{BUFFERED}, or {cannot}'}")
                return []
            messages.append(message)
            official.append(seen.official - began)
            late.append(seen.official - answered)
            provisional += [] if seen.provisional is None else [seen.provisional - began]
    if provisional:
        found.good(f"provisional messages are seen after {_ms(statistics.median(provisional))}")
    else:
        found.good("no provisional message was seen before its official one, which may happen")
    found.good(f"official messages are seen after {_ms(statistics.median(official))}")
    found.that(
        statistics.median(late) < LATE,
        "nothing on the way buffers the stream",
        f"messages are seen {_ms(statistics.median(late))} after they are stored: {BUFFERED}",
    )
    last = messages[-1]
    again = await at.post(last.text, last.provisional_id)
    found.that(again == last, "a POST that is repeated is recognised", "a repeated POST was stored twice")
    return messages


class Sights:
    """When one message is first seen."""

    provisional: float | None = None
    official: float | None = None

    async def watch(self, events: AsyncIterator[Event], key: str) -> None:
        """Returns when the official message with the provisional id `key` has come."""
        async for event in events:
            if event.name != "message" or json.loads(event.data)["provisionalId"] != key:
                continue
            if event.id is not None:
                self.official = time.monotonic()
                return
            self.provisional = self.provisional or time.monotonic()


async def _check_resumption(found: Findings, at: Checked, messages: list[Message]) -> None:
    position, rest = messages[0].id, messages[1:]
    for by_query, name in ((False, "the Last-Event-ID header"), (True, "?lastEventId=")):
        async with at.connect(position, by_query=by_query) as (_, events):
            got = await _messages(events, messages)
        found.that(
            got == rest,
            f"resumption by {name} is right",
            f"resumption by {name}: after {position} came {[m.id for m in got]}, not {[m.id for m in rest]}",
        )


async def _check_reset(found: Findings, at: Checked, messages: list[Message]) -> None:
    async with at.connect(ANOTHER_LOG) as (_, events):
        async with asyncio.timeout(PATIENCE):
            names = [(await anext(events, NOTHING)).name for _ in range(2)]
        got = await _messages(events, messages)
    found.that(
        names == ["stream-open", "stream-reset"] and got == messages,
        "a position of another log is reset",
        f"a position of another log was answered by {', '.join(names)} and messages {[m.id for m in got]}",
    )


async def _messages(events: AsyncIterator[Event], ours: list[Message]) -> list[Message]:
    """Our official messages that come, until the last one has or PATIENCE ends; not those of other checks."""
    keys = {message.key for message in ours}
    follower, got = Follower("", None), list[Message]()
    with contextlib.suppress(TimeoutError, StopAsyncIteration):
        async with asyncio.timeout(PATIENCE):
            while (follower.position or 0) < ours[-1].id:
                seen = follower.take(await anext(events))
                if isinstance(seen, Message) and seen.key in keys:
                    got.append(seen)
    return got


async def _idle(at: Checked) -> tuple[float | None, float | None]:
    """What `_watched` says of a room where nobody posts; of the room itself, if that one may not be read."""
    try:
        return await _watched(replace(at, room=IDLE_ROOM) if at.room == ROOM else at)
    except client.Denied:
        return await _watched(at)


async def _watched(at: Checked) -> tuple[float | None, float | None]:
    """The seconds after which a stream had its first keep-alive, and after which it ended; None: not in time.

    With a token it is watched until a GRIP proxy must have asked for it again, which checks the right again.
    Raises Denied.
    """
    silence, began = None, time.monotonic()
    try:
        async with at.connect() as (_, events), asyncio.timeout(KEEP_ALIVE_SECONDS + 5) as limit:
            began = time.monotonic()
            async for event in events:
                if event.name == "stream-end":
                    break
                if event.name == "keep-alive" and silence is None:
                    silence = time.monotonic() - began
                    if at.token is None:
                        return silence, None
                    limit.reschedule(asyncio.get_running_loop().time() + PASS_SECONDS - silence)
    except TimeoutError:
        return silence, None
    except client.Denied:
        raise
    except (FlychatError, OSError):
        pass
    return silence, time.monotonic() - began


async def _advice_late(at: Checked) -> str:
    with contextlib.suppress(FlychatError, OSError):
        await client.page(at.url, at.room, token=at.token)
        return f", but to what is no stream: {BUFFERED}"
    return ""


def _advice(denied: client.Denied) -> str:
    if denied.code == "unproxied" and "Grip-Sig" in str(denied):
        return (
            " (the GRIP proxy is there, but not believed: in flychat's --grip-url, verify-iss and verify-key "
            "must be those of the proxy)"
        )
    if denied.status == HTTPStatus.NOT_IMPLEMENTED:
        return " (not proxied by GRIP: this is the app itself, in --grip mode; check the proxy's address)"
    if denied.status == HTTPStatus.NOT_FOUND:
        return " (it has to be the server's address, with its --base-path, if any, and without a room)"
    return ""


def _ms(seconds: float) -> str:
    return f"{max(0.0, seconds) * 1000:.0f} ms"
