"""A server with private rooms, people with tokens for them, and their requests."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from urllib.parse import urlencode

import jwt
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from tests.support.asking import JSON
from tests.support.modes import Place
from tests.support.served import WAIT, Client

KEY = "a key of 32 bytes or more, as it has to be"
STAFF = "/rooms/staff/messages/"
RULES = ("--access", "staff=", "--access", "news=r")


def options(directory: Path, *more: str) -> tuple[str, ...]:
    """A server with a private room, staff, and one that not everybody may write to, news."""
    (directory / "secret").write_text(KEY + "\n")
    return ("--secret", str(directory / "secret"), *RULES, *more)


# Of tokens that are made when the tests are collected, and may be shown when all others have run.
LIFE = 36_000


def token(
    sub: str = "ann", *, rooms: dict[str, str] | None = None, life: float = LIFE, key: str = KEY, **claims
) -> str:
    now = int(time.time())
    rooms = {"staff": "rw"} if rooms is None else rooms
    return jwt.encode({"sub": sub, "rooms": rooms, "iat": now, "exp": now + life, **claims}, key)


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


async def ask(
    chat: Place, path: str, method: str = "GET", body: str | None = None, **headers: str
) -> HTTPResponse:
    return await AsyncHTTPClient().fetch(
        chat.url.rstrip("/") + path,
        method=method,
        body=body,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        follow_redirects=False,
        raise_error=False,
        allow_nonstandard_methods=True,
        decompress_response=False,
        request_timeout=WAIT,
    )


async def post(chat: Place, room: str, text: str = "hi", kind: str = JSON, **headers: str) -> HTTPResponse:
    content = {"from": "ann", "text": text}
    body = json.dumps(content) if kind == JSON else urlencode(content)
    return await ask(chat, f"/rooms/{room}/messages/", "POST", body, Content_Type=kind, **headers)


def code(response: HTTPResponse) -> tuple[int, str]:
    return response.code, json.loads(response.body)["error"]["code"]


async def rest(client: Client) -> bytes:
    """What still comes until the stream ends, as one does that is not cut."""
    seen = client._pending
    while not client.body.ended:
        data = await asyncio.wait_for(client.reader.read(4096), WAIT)
        assert data, "it was cut"
        seen += client.body.take(data)
    return seen
