"""What is given to commands: each function reads one argument, or says what it must be."""

from __future__ import annotations

import argparse
from urllib.parse import unquote, urlsplit

from ..errors import Refused
from ..messages import room_name
from ..sse import read_position


def as_url(value: str) -> str:
    parts = urlsplit(value)
    try:
        right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and value.isascii()
    except ValueError:
        right = False
    if not right or parts.query or parts.fragment:
        raise argparse.ArgumentTypeError("must be like https://chat.example.org or http://127.0.0.1:3000")
    return value.rstrip("/")


def as_place(value: str) -> tuple[str, str]:
    """URL/ROOM, the address of the room's page; a room that is not ASCII may be given as it is."""
    url, _, room = value.partition("?")[0].rstrip("/").rpartition("/")
    try:
        return as_url(url), room_name(unquote(room, errors="strict"))
    except (Refused, UnicodeDecodeError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError("must be like https://chat.example.org/ROOM") from None


def as_utf8(value: str) -> str:
    """An argument; Python makes lone surrogates of bytes that are none."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("must be UTF-8") from None
    return value


def as_number(value: str) -> int:
    number = read_position(value)
    if number is None:
        raise argparse.ArgumentTypeError("must be a whole number")
    return number
