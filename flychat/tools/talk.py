"""`tail URL/ROOM` and `say URL/ROOM TEXT`: a room, read and written through a server by the client."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

from .. import client
from ..client.follower import StreamEvent
from ..errors import FlychatError, Invalid, Misconfigured
from ..fields import TEXT_CHARACTERS
from ..messages import Message, wire_text
from ..signals import signal_json
from ..sse import compact_json, to_json
from .arguments import as_number, as_place, as_utf8, token_given, token_option
from .terminal import interruptible, json_line, printable, until_interrupted, while_read

LINE_BYTES = 4 * TEXT_CHARACTERS  # of the input: more cannot be a message
PLACE: dict[str, Any] = {
    "type": as_place,
    "metavar": "URL/ROOM",
    "help": "such as https://chat.example.org/tea",
}
FRESH = 60.0  # seconds for which the end of a room is taken as known


async def tail(
    url: str,
    room: str,
    *,
    since: int | None,
    count: int | None,
    official: bool,
    as_json: bool,
    signals: bool = False,
    token: client.Token | None = None,
) -> int:
    """Prints the room's events as they come, until `count` official messages, or until stdout is closed."""
    if count == 0:
        return 0
    stream = client.stream(url, room, since, provisional=not official, signals=signals, token=token)
    async with contextlib.aclosing(stream) as events:
        with while_read():
            async for event in events:
                print(_json_line(event) if as_json else _line(event), flush=True)
                if count is not None and isinstance(event, Message):
                    count -= 1
                    if count == 0:
                        break
    return 0


def say(
    url: str,
    room: str,
    *,
    sender: str | None,
    texts: Iterable[tuple[str, str]],
    token: client.Token | None = None,
) -> int:
    """Posts the texts, one after the other, and prints the messages. An error begins with the text's name.

    A post carries the last id of the room, so that it is stored once, however late that is. A sender who may
    not read the room posts without it, and is given up before the server forgets the provisional id. The
    event loop runs for the posts only: between them, Ctrl-C ends the reading of the input.
    """
    last_id: int | None = None
    known = -math.inf
    with asyncio.Runner() as runner:
        for name, text in texts:
            try:
                if time.monotonic() - known > FRESH:
                    last_id = runner.run(until_interrupted(_end(url, room, token)))
                posting = client.post(url, room, sender, text, last_id=last_id, token=token)
                message = runner.run(until_interrupted(posting))
            except Misconfigured:
                raise
            except FlychatError as error:
                raise FlychatError(f"{name}{error}") from None
            print(_line(message), flush=True)
            last_id, known = message.id, time.monotonic()
    return 0


async def _end(url: str, room: str, token: client.Token | None) -> int | None:
    """The last id of the room; None if it may not be read: the post will tell whether it may be written."""
    try:
        return await client.position(url, room, token=token)
    except client.Denied as denied:
        if denied.code in ("unauthorized", "forbidden"):
            return None
        raise


def _lines(source: BinaryIO) -> Iterator[tuple[str, str]]:
    """The lines that are not blank, each with its name ("line 3"), always read as UTF-8. Raises Invalid."""
    for number in itertools.count(1):
        line = source.readline(LINE_BYTES + 8)  # and a byte order mark, and an end
        if not line:
            return
        text = line.rstrip(b"\r\n")
        if len(text) > LINE_BYTES + 3:
            raise Invalid(f"line {number}", f"must have at most {LINE_BYTES} bytes")
        try:
            decoded = text.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise Invalid(f"line {number}", "must be UTF-8") from None
        if decoded.strip():
            yield f"line {number}: ", decoded


def _line(event: StreamEvent | client.Signal) -> str:
    """One event for people: `12 ann: text`, with `...` for the id of a provisional message.

    A * after the id says that a token vouches for the sender: no name can look like that. A removal ends with
    the ids of what it removes, in brackets. A signal is `~ ann: typing`, with its data.
    """
    if isinstance(event, client.Signal):
        whose = f"{'' if event.user is None else '*'} {printable(event.sender)}:" if event.sender else ""
        data = "" if event.data is None else " " + printable(compact_json(event.data))
        return f"~{whose} {printable(event.kind)}{data}"
    if isinstance(event, client.Retraction):
        return f"--- not stored: {printable(event.provisional_id)}"
    if isinstance(event, client.Reset):
        return f"--- what is above is void ({printable(event.reason)}); the log ends at {event.last_id}"
    id = event.id if isinstance(event, Message) else "..."
    mark = "" if event.user is None else "*"
    is_gone = isinstance(event, Message) and event.removed is not None
    gone = "".join(f" [{id}]" for id in event.removes)
    return f"{id}{mark} {printable(event.sender)}: {'(removed)' if is_gone else printable(event.text)}{gone}"


def _json_line(event: StreamEvent | client.Signal) -> str:
    """One event for programs: its data as on the wire; if it is no message, with its type as "event"."""
    if isinstance(event, client.Signal):
        return json_line(to_json({"event": "signal", **signal_json(event)}))
    if isinstance(event, client.Retraction):
        whose = {} if event.user is None else {"user": event.user}
        return json_line(to_json({"event": "retraction", "provisionalId": event.provisional_id, **whose}))
    if isinstance(event, client.Reset):
        reset = {"event": "stream-reset", "reason": event.reason, "lastEventId": event.last_id}
        return json_line(to_json(reset))
    return json_line(wire_text(event))


def tail_command(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    parser.description = "Prints the messages of a room as they come; reconnects after every failure."
    parser.add_argument("place", **PLACE)
    parser.add_argument(
        "--since", type=as_number, metavar="ID", help="begin after this id, not with the newest 50"
    )
    parser.add_argument("--count", type=as_number, metavar="N", help="end after N official messages")
    parser.add_argument("--official", action="store_true", help="only what is stored, nothing provisional")
    parser.add_argument(
        "--signals", action="store_true", help="also who is here, or typing, if the server has that"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on a line")
    token_option(parser)

    def run(given: argparse.Namespace) -> int:
        if given.official and given.signals:
            raise Misconfigured("--official leaves out --signals: give one of the two")
        shown = {"official": given.official, "as_json": given.json, "signals": given.signals}
        token = token_given(given.token_file)
        return interruptible(tail(*given.place, since=given.since, count=given.count, token=token, **shown))

    return run


def say_command(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    parser.description = "Posts a message, again until it is known to be stored."
    parser.add_argument("place", **PLACE)
    parser.add_argument(
        "text", nargs="*", type=as_utf8, metavar="TEXT", help="without it, each line of the input is posted"
    )
    parser.add_argument(
        "--from",
        dest="sender",
        type=as_utf8,
        metavar="NAME",
        help="default: the name of your user here; with a token, the one in it",
    )
    token_option(parser)

    def run(given: argparse.Namespace) -> int:
        read = _lines(sys.stdin.buffer) if sys.stdin else ()
        texts = [("", " ".join(given.text))] if given.text else read
        token = token_given(given.token_file)
        sender = _user() if given.sender is None and not token else given.sender
        return say(*given.place, sender=sender, texts=texts, token=token)

    return run


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for this user id
        return "flychat"
