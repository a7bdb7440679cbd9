"""What the terminal has besides the server: `check URL`, `tail URL/ROOM` and `say URL/ROOM TEXT`.

They are clients like any other, and know of a deployment only what can be seen from outside; `check` looks at
one connection at a time, without the client's own repairs, for these would hide what it is to find.

Exit status: 0, all is well; 1, there is a problem, or it was interrupted; 2, it was asked for in a wrong way.
What others wrote is printed without what could steer a terminal, and further lines of a text are indented, so
that no text can pass for another message.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
import json
import logging
import secrets
import signal
import statistics
import sys
import time
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from http import HTTPStatus
from urllib.parse import unquote, urlsplit

from . import client
from .client import http
from .client.follower import Follower, StreamEvent
from .errors import FlychatError, Refused
from .messages import Message, room_name, wire_json
from .sse import Event, read_position, to_json
from .streams import KEEP_ALIVE_SECONDS

PATIENCE = 8.0  # seconds within which an event of a live stream is seen; Pushpin may need two to recover it
LATE = 1.0  # seconds by which a message may be seen after its POST was answered
POSTS = 5
ANOTHER_LOG = 10**15  # a position beyond every log
NOTHING = Event("")  # the end of a stream
BUFFERED = "a proxy on the way buffers the stream"


# check


class Findings:
    """Prints what is found, line by line; `bad` counts the problems."""

    bad = 0

    def good(self, text: str) -> None:
        print(f"  ok    {text}", flush=True)

    def problem(self, text: str) -> None:
        self.bad += 1
        print(f"  BAD   {text}", flush=True)

    def that(self, right: bool, good: str, otherwise: str) -> None:
        self.good(good) if right else self.problem(otherwise)


async def check(url: str, *, quick: bool) -> int:
    """Looks at a deployment through whatever is in front of it; writes a few messages into a new room."""
    room = f"check-{secrets.token_hex(4)}"
    print(f"{url}, room {room}", flush=True)
    found = Findings()
    idle = None if quick else asyncio.create_task(_keep_alive(url, f"{room}-idle"))
    try:
        await _check_head(found, url, room)
        await _check_mode(found, url)
        if messages := await _check_delivery(found, url, room):
            await _check_resumption(found, url, room, messages)
            await _check_reset(found, url, room, messages)
        if idle:
            silence = await idle
            found.that(
                silence is not None,
                f"a keep-alive came after {silence or 0:.0f} s of silence",
                f"no keep-alive within {KEEP_ALIVE_SECONDS + 5} s: something cuts or buffers idle streams",
            )
    except client.Denied as denied:
        found.problem(f"the server refuses: {denied}{_advice(denied)}")
    except TimeoutError:
        found.problem(f"no answer in time{await _advice_late(url, room)}")
    except (FlychatError, OSError) as error:
        found.problem(f"it fails: {error or type(error).__name__}")
    finally:
        if idle:
            idle.cancel()
            await asyncio.gather(idle, return_exceptions=True)
    print(f"{found.bad} problem{'s' * (found.bad != 1)}" if found.bad else "all is well", flush=True)
    return int(found.bad > 0)


async def _check_head(found: Findings, url: str, room: str) -> None:
    """What the head of a stream says, asked for as browsers do; and when the first event comes."""
    began = time.monotonic()
    async with http.connect(url, room, headers={"Accept-Encoding": "gzip, deflate, br"}) as (head, events):
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
    """Pushpin itself answers at /_ready/, with the routes of deploy/; the metrics name the mode, if shown."""
    with contextlib.suppress(FlychatError, OSError):
        async with asyncio.timeout(PATIENCE), http.request(f"{url}/_ready/stream", {}) as answer:
            if answer.status == 200 and b"stream opened" in await answer.content.readany():
                return found.good("proxied by GRIP: Pushpin holds the streams")
    with contextlib.suppress(FlychatError, OSError):
        grip = b"\nflychat_grip_queued{" in await http.fetch(f"{url}/metrics", {})
        return found.good("proxied by GRIP" if grip else "not proxied by GRIP: the server holds the streams")
    found.good("proxied by GRIP or not: cannot be told, /metrics and Pushpin's /_ready/ are not shown here")


async def _check_delivery(found: Findings, url: str, room: str) -> list[Message]:
    """Posts, and measures when the messages are seen. [] where nothing can be said of what follows."""
    messages, provisional, official, late = [], [], [], []
    async with http.connect(url, room) as (_, events):
        for _ in range(POSTS):
            seen, began = Sights(), time.monotonic()
            key = str(uuid.uuid4())
            watching = asyncio.create_task(seen.watch(events, key))
            try:
                message = await client.post(
                    url, room, "check", "A test message.", provisional_id=key, seconds=20
                )
                answered = time.monotonic()
                await asyncio.wait([watching], timeout=PATIENCE)
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
            if seen.official is None:
                unseen = f"message {message.id} was stored, but not seen within {PATIENCE:.0f} s"
                found.problem(f"{unseen}: {BUFFERED}, or flychat cannot publish")
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
    again = await client.post(url, room, last.sender, last.text, provisional_id=last.provisional_id)
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


async def _check_resumption(found: Findings, url: str, room: str, messages: list[Message]) -> None:
    position, rest = messages[0].id, messages[1:]
    for by_query, name in ((False, "the Last-Event-ID header"), (True, "?lastEventId=")):
        async with http.connect(url, room, position, by_query=by_query) as (_, events):
            got = await _messages(events, len(rest))
        found.that(
            got == rest,
            f"resumption by {name} is right",
            f"resumption by {name}: after {position} came {[m.id for m in got]}, not {[m.id for m in rest]}",
        )


async def _check_reset(found: Findings, url: str, room: str, messages: list[Message]) -> None:
    async with http.connect(url, room, ANOTHER_LOG) as (_, events):
        async with asyncio.timeout(PATIENCE):
            names = [(await anext(events, NOTHING)).name for _ in range(2)]
        got = await _messages(events, len(messages))
    found.that(
        names == ["stream-open", "stream-reset"] and got == messages,
        "a position of another log is reset",
        f"a position of another log was answered by {', '.join(names)} and messages {[m.id for m in got]}",
    )


async def _messages(events: AsyncIterator[Event], number: int) -> list[Message]:
    """The next official messages, `number` of them or as many as come in time."""
    follower, got = Follower("", None), list[Message]()
    with contextlib.suppress(TimeoutError, StopAsyncIteration):
        async with asyncio.timeout(PATIENCE):
            while len(got) < number:
                if isinstance(seen := follower.take(await anext(events)), Message):
                    got.append(seen)
    return got


async def _keep_alive(url: str, room: str) -> float | None:
    """After how many seconds of silence a keep-alive came; None if none did."""
    with contextlib.suppress(FlychatError, OSError):
        async with http.connect(url, room) as (_, events), asyncio.timeout(KEEP_ALIVE_SECONDS + 5):
            began = time.monotonic()
            async for event in events:
                if event.name == "keep-alive":
                    return time.monotonic() - began
    return None


async def _advice_late(url: str, room: str) -> str:
    with contextlib.suppress(FlychatError, OSError):
        await client.page(url, room)
        return f", but to what is no stream: {BUFFERED}"
    return ""


def _advice(denied: client.Denied) -> str:
    if denied.status == HTTPStatus.NOT_IMPLEMENTED:
        return " (not proxied by GRIP: this is the app itself, in --grip mode; check the proxy's address)"
    return ""


def _ms(seconds: float) -> str:
    return f"{max(0.0, seconds) * 1000:.0f} ms"


# tail, say


async def tail(
    url: str, room: str, *, since: int | None, count: int | None, official: bool, as_json: bool
) -> int:
    """Prints the room as it goes on; ends after `count` official messages."""
    async with contextlib.aclosing(client.stream(url, room, since, provisional=not official)) as events:
        async for event in events:
            print(_json_line(event) if as_json else _line(event), flush=True)
            if count is not None and isinstance(event, Message):
                count -= 1
                if count <= 0:
                    break
    return 0


async def say(url: str, room: str, *, sender: str, texts: Iterable[str]) -> int:
    """Posts the texts, one after the other; prints what they have become."""
    for text in texts:
        print(_line(await client.post(url, room, sender, text)), flush=True)
    return 0


def _line(event: StreamEvent) -> str:
    """One event for people: `12 ann: text`, with ... for the id of what is not stored yet."""
    if isinstance(event, client.Retraction):
        return f"--- not stored: {printable(event.provisional_id)}"
    if isinstance(event, client.Reset):
        return f"--- what is above is void ({printable(event.reason)}); the log ends at {event.last_id}"
    id = event.id if isinstance(event, Message) else "..."
    return f"{id} {printable(event.sender)}: {printable(event.text)}"


def _json_line(event: StreamEvent) -> str:
    """One event for programs: the data of the wire, with the type of what is no message as "event"."""
    if isinstance(event, client.Retraction):
        return to_json({"event": "retraction", "provisionalId": event.provisional_id})
    if isinstance(event, client.Reset):
        return to_json({"event": "stream-reset", "reason": event.reason, "lastEventId": event.last_id})
    return to_json(wire_json(event))


def printable(text: str) -> str:
    """The text without what steers a terminal; further lines are indented."""
    lines = text.replace("\t", " ").split("\n")
    return "\n    ".join(
        "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line) for line in lines
    )


# The command line


def main(arguments: Sequence[str]) -> int:
    """Runs the command that `arguments` begin with; returns the exit status (argparse exits with 2)."""
    logging.basicConfig(level=logging.WARNING, format="flychat: %(message)s")
    command, *rest = arguments
    given = _parser(command).parse_intermixed_args(rest)  # options may stand before, between and after
    if command == "check":
        running = check(given.url, quick=given.quick)
    elif command == "tail":
        running = tail(
            *given.place, since=given.since, count=given.count, official=given.official, as_json=given.json
        )
    else:
        lines = (line.rstrip("\r\n") for line in sys.stdin if line.strip())
        running = say(
            *given.place, sender=given.sender, texts=[" ".join(given.text)] if given.text else lines
        )
    try:
        return asyncio.run(_until_interrupted(running))
    except BrokenPipeError:  # `tail ... | head`
        sys.stdout = None  # or else it is flushed at exit, and fails again
        return 1
    except (FlychatError, OSError) as error:
        print(f"flychat: {error or type(error).__name__}", file=sys.stderr)
        return 1


async def _until_interrupted(running: Coroutine[None, None, int]) -> int:
    """The status of `running`, or 1 after SIGINT.

    asyncio.run would miss a signal that comes as the loop falls asleep, until something else wakes it.
    """
    task = asyncio.ensure_future(running)
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return 1


def _parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m flychat {command}", allow_abbrev=False)
    option = parser.add_argument
    if command == "check":
        parser.description = "Looks at a deployment from outside, and says what is wrong with it."
        option("url", type=_url, metavar="URL", help="such as https://chat.example.org")
        option("--quick", action="store_true", help="do not wait for a keep-alive")
        return parser
    option("place", type=_place, metavar="URL/ROOM", help="such as https://chat.example.org/tea")
    if command == "tail":
        parser.description = "Prints a room as it goes on, through everything."
        option("--since", type=_number, metavar="ID", help="begin after this id, not with the newest 50")
        option("--count", type=_number, metavar="N", help="end after N official messages")
        option("--official", action="store_true", help="only what is stored, nothing provisional")
        option("--json", action="store_true", help="one JSON object on a line")
    else:
        parser.description = "Posts a message, until it is known to be stored."
        option("text", nargs="*", metavar="TEXT", help="without one, each line of the input is a message")
        option("--from", dest="sender", default=_user(), metavar="NAME", help="default: %(default)s")
    return parser


def _url(value: str) -> str:
    parts = urlsplit(value)
    try:
        right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and value.isascii()
    except ValueError:
        right = False
    if not right or parts.query or parts.fragment:
        raise argparse.ArgumentTypeError("must be like https://chat.example.org or http://127.0.0.1:3000")
    return value.rstrip("/")


def _place(value: str) -> tuple[str, str]:
    """URL/ROOM, the address of the room's page; a room that is not ASCII may be given as it is."""
    url, _, room = value.partition("?")[0].rstrip("/").rpartition("/")
    try:
        return _url(url), room_name(unquote(room, errors="strict"))
    except (Refused, UnicodeDecodeError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError("must be like https://chat.example.org/ROOM") from None


def _number(value: str) -> int:
    number = read_position(value)
    if number is None:
        raise argparse.ArgumentTypeError("must be a whole number")
    return number


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for this user id
        return "flychat"
