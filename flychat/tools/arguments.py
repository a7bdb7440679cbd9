"""What is given to commands: each function reads one argument, or says what it must be.

A token is no argument, since everybody on the machine can read those: it is in FLYCHAT_TOKEN, or in a file.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..errors import Misconfigured, Refused
from ..fields import room_name
from ..sse import read_position

NO_ROOM = "no room can have this name"


def as_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and value.isascii()
    except ValueError:
        right = False
    if not right or parts.query or parts.fragment:
        raise argparse.ArgumentTypeError("must be like https://chat.example.org or http://127.0.0.1:3000")
    return value.rstrip("/")


def as_place(value: str) -> tuple[str, str]:
    """URL/ROOM, the address of the room's page, or of a message there (`#ID`).

    A room that is not ASCII may be given as it is.
    """
    url, _, room = re.split("[?#]", value)[0].rstrip("/").rpartition("/")
    try:
        server = as_url(url)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError("must be like https://chat.example.org/ROOM") from None
    try:
        return server, as_room(unquote(room, errors="strict"))
    except UnicodeDecodeError:
        raise argparse.ArgumentTypeError(NO_ROOM) from None


def as_room(value: str) -> str:
    try:
        return room_name(value)
    except Refused:
        raise argparse.ArgumentTypeError(NO_ROOM) from None


def as_utf8(value: str) -> str:
    """An argument; Python makes lone surrogates of bytes that are none."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("must be UTF-8") from None
    return value


def token_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help="the file with the token, for private rooms (default: the variable FLYCHAT_TOKEN)",
    )


def token_given(file: str | None) -> str | Callable[[], Awaitable[str]] | None:
    """The token, None if there is none. A file is read at every request, so it may be replaced meanwhile.

    Who writes it anew may have emptied it: that request fails, and may be tried again. Raises Misconfigured.
    """
    if file is None:
        return os.environ.get("FLYCHAT_TOKEN", "").strip() or None

    def read() -> str:
        return Path(file).read_text("ascii", errors="replace").strip()

    async def token() -> str:
        if not (text := read()):
            raise OSError(f'--token-file "{file}" is empty')
        return text

    try:
        given = read()
    except OSError as error:
        raise Misconfigured(f'--token-file "{file}" cannot be read: {error.strerror}') from None
    if not given:
        raise Misconfigured(f'--token-file "{file}" is empty')
    return token


def as_number(value: str) -> int:
    number = read_position(value)
    if number is None:
        raise argparse.ArgumentTypeError("must be a whole number")
    return number
