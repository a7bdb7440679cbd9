"""An operator's request to a running server, with a token that is made for this one request."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from http import HTTPStatus
from typing import Any

from ..access import MODERATE
from ..access.secret_file import read_secret
from ..access.tokens import claims_of
from ..client import http
from ..errors import Misconfigured, Refused, Unavailable
from .arguments import as_url

OPERATOR = "operator"
SECONDS = 60
WHOLE_SECONDS = 600.0  # for an answer for which all of a room or of the store is read: that may take minutes
ANSWER_BYTES = 1 << 28  # a list of two million rooms, which anybody may have made
TRIES = 10  # of one request, while the server answers 429
NOT_FLYCHAT = "somebody else has answered in place of flychat"
NO_KEYS = "the server has been started without --secret, or with another one; or this is not its address"
# Where a server takes no tokens, what operators ask for is a room's name, or nothing.
ABSENT = (301, 302, 404, 405)


def server_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", type=as_url, metavar="URL", help="ask the server at this address")
    secret_option(parser, "with --url: the server's file of keys")


def secret_option(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument(
        "--secret",
        metavar="FILE",
        default=os.environ.get("FLYCHAT_SECRET", "").strip(),
        help=f"{help} (default: the variable FLYCHAT_SECRET)",
    )


def secret_given(file: str | None) -> str:
    """Raises Misconfigured."""
    if not file:
        raise Misconfigured("name the file of the server's keys with --secret")
    return file


async def ask_server(
    url: str,
    secret: str | None,
    path: str,
    pattern: str,
    content: dict[str, Any] | None = None,
    *,
    seconds: float | None = None,
) -> dict[str, Any]:
    """The answer to a GET, or to a POST of `content`, with a token to moderate these rooms.

    Requests about many rooms are soon over the server's rate limit (429): then it waits, and asks again.
    Raises Misconfigured, Refused, Unavailable, Later, OSError.
    """
    secrets = read_secret(secret_given(secret))
    body = None if content is None else json.dumps(content).encode()
    for tries in range(TRIES):
        now = int(time.time())
        claims = claims_of(OPERATOR, {pattern: MODERATE}, issued=now, expires=now + SECONDS)
        headers = {"Content-Type": "application/json", **await http.bearing(secrets.sign(claims))}
        try:
            _, said = await http.fetch(url + path, headers, body, seconds=seconds, most=ANSWER_BYTES)
            break
        except http.Denied as denied:
            absent = denied.status in ABSENT and not path.endswith("/messages/")
            if absent or denied.status == HTTPStatus.UNAUTHORIZED:
                raise Refused(f"{denied} ({NO_KEYS})") from None
            raise
        except http.Later as later:
            if later.status == HTTPStatus.SERVICE_UNAVAILABLE:  # perhaps of this room alone, which is damaged
                raise Unavailable(str(later)) from None
            if later.status != HTTPStatus.TOO_MANY_REQUESTS or tries + 1 == TRIES:
                raise
            await asyncio.sleep(max(1.0, later.seconds))
    try:
        answer = json.loads(said)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise ConnectionError(NOT_FLYCHAT)
    return answer
