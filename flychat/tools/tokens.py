"""`token` and `password`: what opens private rooms, made without a server."""

from __future__ import annotations

import argparse
import getpass
import sys
import time
from collections.abc import Callable, Mapping
from urllib.parse import quote

from ..access import LIFE, NONE, read_rule
from ..access.passwords import LONGEST, hashed
from ..access.secret_file import read_secret
from ..access.tokens import ROOMS, TOKEN_CHARACTERS, claims_of
from ..config import DAY
from ..errors import Misconfigured, Refused
from ..fields import room_name, sender_name, user_id
from .arguments import as_number, as_url
from .operator import secret_given, secret_option

DAYS = 30


def token_command(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    parser.description = "Prints a token, or with --link an invitation."
    secret_option(parser, "the server's file of keys; the first one signs")
    parser.add_argument("--name", help="under which its bearer writes (default: any)")
    parser.add_argument("--sub", help="who it is for; revoke takes this (default: the name)")
    parser.add_argument(
        "--room",
        action="append",
        default=[],
        metavar="PATTERN=RIGHTS",
        help="the rights that it gives: r read, w write, m moderate, in a room, or in all rooms whose names "
        "begin as the pattern does before its * (repeatable)",
    )
    parser.add_argument(
        "--days", type=as_number, default=DAYS, metavar="N", help=f"how long (default: {DAYS})"
    )
    parser.add_argument(
        "--link", type=as_url, metavar="URL", help="print the link of an invitation to this server"
    )
    parser.add_argument("--to", metavar="ROOM", help="where the link leads (default: to the room of --room)")

    def run(given: argparse.Namespace) -> int:
        rooms = dict(map(_rule, given.room))
        if len(rooms) < len(given.room):
            raise Misconfigured("--room has two rules for the same pattern")
        try:
            sub = user_id(_said(given.name if given.sub is None else given.sub))
            name = None if given.name is None else sender_name(given.name)
            to = None if given.to is None else room_name(given.to)
        except Refused as error:
            raise Misconfigured(str(error)) from None
        if not 1 <= given.days <= LIFE // DAY:
            raise Misconfigured(f"--days must be from 1 to {LIFE // DAY}")
        now = int(time.time())
        claims = claims_of(sub, rooms, issued=now, expires=now + given.days * DAY, name=name)
        text = read_secret(secret_given(given.secret)).sign(claims)
        if len(rooms) > ROOMS or len(text) > TOKEN_CHARACTERS:
            raise Misconfigured(f"a token has at most {ROOMS} of --room, and {TOKEN_CHARACTERS} characters")
        if len(text) > TOKEN_CHARACTERS // 2:
            print("flychat: this token is long; some proxies may not take it", file=sys.stderr)
        print(text if given.link is None else _link(given.link, to or _only(rooms), text), flush=True)
        return 0

    return run


def password_command(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    parser.description = "Reads a password, and prints what --password takes behind PATTERN=."

    def run(given: argparse.Namespace) -> int:
        try:
            print(hashed(_typed()), flush=True)
        except UnicodeError:
            raise Misconfigured("a password must be UTF-8") from None
        except EOFError:  # Ctrl-D
            raise Misconfigured("no password was typed") from None
        return 0

    return run


def _typed() -> str:
    """Raises Misconfigured, UnicodeError, EOFError."""
    if sys.stdin is None:
        raise EOFError
    if sys.stdin.isatty():
        password = getpass.getpass()
        if password != getpass.getpass("Again: "):
            raise Misconfigured("the two passwords differ: type the same one twice")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not 1 <= len(password) <= LONGEST:
        raise Misconfigured(f"a password has 1 to {LONGEST} characters")
    return password


def _rule(value: str) -> tuple[str, str]:
    try:
        pattern, rights = read_rule(value)
    except Refused:
        rights = NONE
    if not rights:
        raise Misconfigured(
            "--room must be like staff-*=rw: a room or its beginning and *, and some of r, w, m"
        )
    return pattern, value.rpartition("=")[2]


def _said(sub: str | None) -> str:
    if sub is None:
        raise Misconfigured("say whom the token is for, with --name or --sub")
    return sub


def _only(rooms: Mapping[str, str]) -> str:
    named = [pattern for pattern in rooms if not pattern.endswith("*")]
    if len(named) != 1:
        raise Misconfigured("say with --to which room the link leads to")
    return named[0]


def _link(url: str, room: str, text: str) -> str:
    """The token is behind the #, which is sent to no server, and stands in no log."""
    return f"{url}/{quote(room, safe='')}#invite={text}"
