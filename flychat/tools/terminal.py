"""How commands print, so that no text controls the terminal or fails to be written; and how Ctrl-C ends them.

Characters that control a terminal are replaced: control characters, those that change the direction of
writing, separators of lines and paragraphs. All others stay, also joiners and spaces, which people need.
Characters that the encoding of stdout lacks, and lone surrogates, are written as `\\uXXXX`, as in JSON.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import io
import logging
import re
import select
import signal
import sys
from collections.abc import Coroutine, Iterator
from typing import TypeVar

from ..errors import without_password

T = TypeVar("T")

# The categories Cc, Zl and Zp, and the property Bidi_Control.
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """A text of other people; its further lines are indented, so that it cannot pass for another message."""
    lines = text.replace("\t", " ").split("\n")
    return "\n    ".join(_STEERING.sub("\N{REPLACEMENT CHARACTER}", line) for line in lines)


def told(text: str) -> str:
    """A text of the program, perhaps with words of a server's: without the passwords of addresses in it."""
    return printable(without_password(text))


def json_line(json: str) -> str:
    """A line of JSON, in which characters that control a terminal are escaped.

    If stdout is not UTF-8, so are all that are not ASCII: otherwise an export could not be imported.
    """
    line = _STEERING.sub(lambda match: f"\\u{ord(match[0]):04x}", json)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return line if codecs.lookup(encoding).name == "utf-8" else line.encode("ascii", "flychat").decode()


def prepare_output() -> None:
    """Makes stdout write every text, with escapes where its encoding lacks a character."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="flychat")


def prepare_log() -> None:
    """Has the log lines of others, such as asyncio, say what may be told."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Told("flychat: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


class _Told(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return told(super().format(record))


def _escaped(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)), error.end


codecs.register_error("flychat", _escaped)


def abandon_output() -> None:
    """Replaces a stdout that cannot be written to: Python would flush it at exit, and fail again."""
    try:
        print(end="", flush=True)
    except OSError:
        sys.stdout = None


@contextlib.contextmanager
def while_read() -> Iterator[None]:
    """Raises BrokenPipeError in a task when the reader of stdout has gone, though there is nothing to print.

    As asyncio's own pipes do it: the writing end of a pipe becomes readable when nobody can read any more.
    """
    loop, task, gone = asyncio.get_running_loop(), asyncio.current_task(), False

    def look(fd: int) -> None:
        nonlocal gone
        # Once is enough: of a terminal or a socket this may only say that somebody writes the other way.
        loop.remove_reader(fd)
        poll = select.poll()
        poll.register(fd, 0)
        gone = bool(poll.poll(0))  # an error, or hung up
        if gone and task is not None:
            task.cancel()

    with contextlib.ExitStack() as watching:
        with contextlib.suppress(OSError, AttributeError):  # a file has no reader; or there is no stdout
            fd = sys.stdout.fileno()
            loop.add_reader(fd, look, fd)
            watching.callback(loop.remove_reader, fd)
        try:
            yield
        except asyncio.CancelledError:
            if gone:
                raise BrokenPipeError from None
            raise


def interruptible(running: Coroutine[None, None, T], *also: signal.Signals) -> T:
    """Runs it in a loop of its own; raises KeyboardInterrupt after SIGINT, and `also` after others."""
    return asyncio.run(until_interrupted(running, *also))


async def until_interrupted(running: Coroutine[None, None, T], *also: signal.Signals) -> T:
    """What `running` returns; after SIGINT, and `also` after others, it raises KeyboardInterrupt.

    asyncio.run would miss a signal that comes as the loop falls asleep, until something else wakes it.
    """
    task = asyncio.ensure_future(running)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, *also):
        loop.add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        for number in (signal.SIGINT, *also):
            loop.remove_signal_handler(number)
