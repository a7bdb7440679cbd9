"""What the terminal has besides the server: `check URL`, `tail URL/ROOM` and `say URL/ROOM TEXT`.

Exit status: 0, all is well; 1, there is a problem, or it was interrupted; 2, it was asked for in a wrong way.
What is printed, and how: terminal.py.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
import itertools
import math
import signal
import sys
import time
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from typing import BinaryIO, NoReturn, TypeVar
from urllib.parse import unquote, urlsplit

from .. import client
from ..client.follower import StreamEvent
from ..errors import FlychatError, Invalid, Refused
from ..messages import TEXT_CHARACTERS, Message, room_name, wire_json
from ..sse import read_position
from .check import check
from .terminal import abandon_output, json_line, prepare_log, printable, told, while_read

T = TypeVar("T")

LINE_BYTES = 4 * TEXT_CHARACTERS  # of the input: more cannot be a message
FRESH = 60.0  # seconds for which the end of a room is taken as known


async def tail(
    url: str, room: str, *, since: int | None, count: int | None, official: bool, as_json: bool
) -> int:
    """Prints the room as it goes on; ends after `count` official messages, or when nobody reads it."""
    if count == 0:
        return 0
    async with contextlib.aclosing(client.stream(url, room, since, provisional=not official)) as events:
        with while_read():
            async for event in events:
                print(_json_line(event) if as_json else _line(event), flush=True)
                if count is not None and isinstance(event, Message):
                    count -= 1
                    if count == 0:
                        break
    return 0


def say(url: str, room: str, *, sender: str, texts: Iterable[tuple[str, str]]) -> int:
    """Posts the texts, one after the other; prints what they have become. An error begins with a text's name.

    A post carries the end of the room as it is known before, so that it is stored once, however late. The
    loop runs for the posts only: between them, Ctrl-C ends the reading of the input.
    """
    last_id, known = 0, -math.inf
    with asyncio.Runner() as runner:
        for name, text in texts:
            try:
                if time.monotonic() - known > FRESH:
                    last_id = runner.run(_until_interrupted(client.position(url, room)))
                message = runner.run(
                    _until_interrupted(client.post(url, room, sender, text, last_id=last_id))
                )
            except FlychatError as error:
                raise FlychatError(f"{name}{error}") from None
            print(_line(message), flush=True)
            last_id, known = message.id, time.monotonic()
    return 0


def _lines(source: BinaryIO) -> Iterator[tuple[str, str]]:
    """The lines that are not blank, UTF-8 whatever the terminal has, and their names. Raises Invalid."""
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
        return json_line({"event": "retraction", "provisionalId": event.provisional_id})
    if isinstance(event, client.Reset):
        return json_line({"event": "stream-reset", "reason": event.reason, "lastEventId": event.last_id})
    return json_line(wire_json(event))


# The command line


def main(arguments: Sequence[str]) -> int:
    """Runs the command that `arguments` begin with; returns the exit status (argparse exits with 2)."""
    prepare_log()
    command, *rest = arguments
    given = _parser(command).parse_intermixed_args(rest)  # options may stand before, between and after
    try:
        if command == "say":
            read = _lines(sys.stdin.buffer) if sys.stdin else ()
            texts = [("", " ".join(given.text))] if given.text else read
            return say(*given.place, sender=given.sender, texts=texts)
        if command == "check":
            running = check(given.url, quick=given.quick)
        else:
            shown = {"official": given.official, "as_json": given.json}
            running = tail(*given.place, since=given.since, count=given.count, **shown)
        return asyncio.run(_until_interrupted(running))
    except KeyboardInterrupt:
        return 1
    except BrokenPipeError:  # `tail ... | head`
        return 1
    except (FlychatError, OSError) as error:
        print(told(f"flychat: {error or type(error).__name__}"), file=sys.stderr)
        return 1
    finally:
        abandon_output()


async def _until_interrupted(running: Coroutine[None, None, T]) -> T:
    """What `running` returns; after SIGINT it raises KeyboardInterrupt.

    asyncio.run would miss a signal that comes as the loop falls asleep, until something else wakes it.
    """
    task = asyncio.ensure_future(running)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        loop.remove_signal_handler(signal.SIGINT)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(told(message))


def _parser(command: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=f"python -m flychat {command}", allow_abbrev=False)
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
        option("text", nargs="*", type=_utf8, metavar="TEXT", help="if absent, each line of the input is one")
        option(
            "--from", dest="sender", type=_utf8, default=_user(), metavar="NAME", help="default: %(default)s"
        )
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


def _utf8(value: str) -> str:
    """An argument; Python makes lone surrogates of bytes that are none."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("must be UTF-8") from None
    return value


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
