"""One request of the client: its connection, its answer, and how much of that is read."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from functools import lru_cache
from http.client import responses
from typing import TypeAlias
from urllib.parse import quote, urlencode
from urllib.request import getproxies, proxy_bypass

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorError,
    ClientError,
    ClientHttpProxyError,
    ClientResponse,
    ClientResponseError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
)
from yarl import URL

from .. import __version__
from ..errors import Misconfigured, Refused, without_password
from ..sse import Event, Parser, read_position

Token: TypeAlias = str | Callable[[], Awaitable[str]]

SILENCE = 50.0  # seconds without a byte until a stream is given up: the server sends something every 20
ANSWER_SECONDS = 15.0  # for a connection, and for the head of an answer
REASON_SECONDS, REASON_BYTES = 2.0, 65_536  # read of a refusal's body at the most: it may be endless
REASON_CHARACTERS = 1000
UNPROXIED = "unproxied"  # flychat's 501: the address is the app's, not its proxy's; trying again is no use
LONGEST_ASKED = 120.0  # seconds of a `Retry-After` that are waited at the most
ANSWER_BYTES = 8 << 20  # read of an answer that is no stream; a page of flychat has 256 KiB at the most
_TOKEN = re.compile("[!-~]+")
AGAIN = {408, 425, 429}  # besides all from 500 on: statuses after which the same request may succeed


class Denied(Refused):
    """The request is refused, and would be again. `code` is flychat's; "": something else has answered."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str], code: str = "") -> None:
        super().__init__(f"{status} {text}")
        self.status, self.headers, self.code = status, headers, code


class Later(ConnectionError):
    """The request cannot be served now; `seconds` is how long the server asks to wait."""

    def __init__(self, status: int, text: str, seconds: float) -> None:
        super().__init__(f"{status} {text}")
        self.status, self.seconds = status, seconds


def messages_url(url: str, room: str) -> str:
    return f"{url.rstrip('/')}/rooms/{quote(room, safe='')}/messages/"


def signals_url(url: str, room: str) -> str:
    return f"{url.rstrip('/')}/rooms/{quote(room, safe='')}/signals/"


async def bearing(token: Token | None) -> dict[str, str]:
    """The headers of a request with this token; if it is a function, that is called.

    Raises Misconfigured for one that cannot be sent, without telling it.
    """
    if token is None:
        return {}
    text = token if isinstance(token, str) else await token()
    if not _TOKEN.fullmatch(text):
        raise Misconfigured("the token must be one word of ASCII")
    return {"Authorization": f"Bearer {text}"}


@contextlib.asynccontextmanager
async def connect(
    url: str,
    room: str,
    last_id: int | None = None,
    *,
    by_query: bool = False,
    provisional: bool = True,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[tuple[Mapping[str, str], AsyncIterator[Event]]]:
    """One connection of a stream: the answer's headers, and the events as they come.

    Raises Denied, Later, OSError.
    """
    wanted = {"Accept": "text/event-stream", **(headers or {})}
    query: dict[str, int | str] = {} if provisional else {"provisional": "no"}
    if last_id is not None and by_query:
        query["lastEventId"] = last_id
    elif last_id is not None:
        wanted["Last-Event-ID"] = str(last_id)
    address = messages_url(url, room) + ("?" + urlencode(query) if query else "")
    async with request(address, wanted) as answer:
        await _granted(answer)
        if answer.content_type != "text/event-stream":
            raise ConnectionError(f"{answer.status}, but not a stream of events")
        async with contextlib.aclosing(parse(answer.content.iter_any())) as events:
            yield answer.headers, events


async def fetch(
    url: str,
    headers: Mapping[str, str],
    body: bytes | None = None,
    *,
    direct: bool = False,
    seconds: float | None = None,
    most: int | None = None,
) -> tuple[Mapping[str, str], bytes]:
    """The headers and the body, of `most` bytes or ANSWER_BYTES, of the answer to a GET, or a POST of `body`.

    Raises Denied, Later, OSError.
    """
    data, limit, most = bytearray(), seconds or ANSWER_SECONDS, most or ANSWER_BYTES
    async with _in_time(limit), request(url, headers, body, direct=direct, seconds=limit) as answer:
        await _granted(answer)
        async for piece in answer.content.iter_any():
            data += piece
            if len(data) > most:
                raise ConnectionError(f"an answer of more than {most} bytes")
        return answer.headers, bytes(data)


@contextlib.asynccontextmanager
async def request(
    url: str,
    headers: Mapping[str, str],
    body: bytes | None = None,
    *,
    direct: bool = False,
    seconds: float | None = None,
) -> AsyncIterator[ClientResponse]:
    """The answer to a GET, or to a POST of `body`; at the end of the context the connection is closed.

    Its head has `seconds`, or ANSWER_SECONDS. It goes through the proxy of the environment, unless `direct`.
    Whatever goes wrong with the connection, in the context too, is an OSError. Raises Misconfigured for a URL
    that cannot be asked, or such a proxy.
    """
    limit = seconds or ANSWER_SECONDS
    timeout = ClientTimeout(total=None, sock_connect=ANSWER_SECONDS, sock_read=max(SILENCE, seconds or 0))
    certificates = _certificates(os.environ.get("SSL_CERT_FILE")) if url.startswith("https:") else True
    about = {"User-Agent": f"flychat/{__version__}", **headers}
    try:
        address = URL(url, encoded=True)
        host = address.host and (address.raw_host or "").encode("idna")
        if address.scheme not in ("http", "https") or not host or not str(address).isprintable():
            raise ValueError
    except ValueError:  # also of a port that is none, or a label that is empty
        raise Misconfigured(f"no such address: {without_password(url)}") from None
    if "Authorization" in headers and (address.raw_user, address.raw_password) != (None, None):
        raise Misconfigured("an address with a name and a password takes no token: a request carries either")
    proxy = None if direct else proxy_of(address)
    try:
        async with ClientSession(
            timeout=timeout, auto_decompress=False, cookie_jar=DummyCookieJar()
        ) as session:
            async with _in_time(limit):
                answer = await session.request(
                    "GET" if body is None else "POST",
                    address,
                    headers=about,
                    data=body,
                    ssl=certificates,
                    proxy=proxy,
                    allow_redirects=False,
                    skip_auto_headers=["Accept-Encoding"],
                )
            try:
                yield answer
            finally:
                answer.close()
    except ClientHttpProxyError as error:
        raise ConnectionError(f"the proxy answers {error.status} {error.message}") from error
    except ClientResponseError as error:
        raise ConnectionError("the answer is not HTTP") from error
    except ClientConnectorError as error:
        raise _unconnected(error) from error
    except ClientError as error:
        if isinstance(error, OSError):
            raise
        raise ConnectionError(str(error) or "the answer was cut off") from error


@contextlib.asynccontextmanager
async def _in_time(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise TimeoutError(str(error) or f"no answer within {seconds:g} s") from error


def _unconnected(error: ClientConnectorError) -> OSError:
    """The same error in plain words: aiohttp's own text names Python's objects."""
    nowhere = f"cannot connect to {error.host}:{error.port}"
    cause = error.certificate_error if isinstance(error, ClientConnectorCertificateError) else error.os_error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return ssl.SSLCertVerificationError(
            1, f"{nowhere}: its certificate is refused: {cause.verify_message}"
        )
    if isinstance(cause, ssl.SSLError) or not isinstance(cause, OSError) or (cause.errno or 0) <= 0:
        return ConnectionError(f"{nowhere}: {getattr(cause, 'strerror', None) or cause}")
    return ConnectionError(f"{nowhere}: {os.strerror(cause.errno or 0)}")


def proxy_of(url: URL | str) -> URL | None:
    """The proxy that the environment names for an address, perhaps with a name and a password.

    As curl has it: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, but for the hosts of NO_PROXY, in small letters too.
    On macOS the system's settings as well. Raises Misconfigured.
    """
    address, named = URL(url), getproxies()
    host, given = address.host or "", named.get(address.scheme) or named.get("all")
    if not given or proxy_bypass(host) or proxy_bypass(f"{host}:{address.port}"):
        return None
    try:
        proxy = URL(given if "://" in given else f"http://{given}")
        if proxy.scheme not in ("http", "https") or not proxy.host:
            raise ValueError
    except ValueError:
        raise Misconfigured(f"no such proxy: {without_password(given)}; say http://HOST:PORT") from None
    return proxy


@lru_cache
def _certificates(file: str | None) -> ssl.SSLContext:
    """Made once: to read the system's certificates takes a while. OpenSSL looks for `file` by itself."""
    return ssl.create_default_context()


async def parse(body: AsyncIterator[bytes]) -> AsyncGenerator[Event, None]:
    """The events of a stream. Raises ConnectionError for one of more than EVENT_BYTES."""
    parser = Parser()
    async for data in body:
        try:
            events = parser.feed(data)
        except ValueError as error:
            raise ConnectionError(str(error)) from None
        for event in events:
            yield event


async def _granted(answer: ClientResponse) -> None:
    """Raises Denied, or Later, unless the status is a success."""
    if answer.status in (200, 202):
        return
    data = b""
    with contextlib.suppress(OSError, ClientError):
        async with asyncio.timeout(REASON_SECONDS):
            async for piece in answer.content.iter_any():
                data += piece
                if len(data) > REASON_BYTES:
                    break
    try:
        error = json.loads(data)["error"]
        code, text = str(error["code"]), str(error["message"])[:REASON_CHARACTERS]
    except (ValueError, LookupError, TypeError, RecursionError):  # it was not flychat that answered
        code, text = "", responses.get(answer.status, "?")
    if "location" in answer.headers:
        text += f", to {answer.headers['location']}"
    if (answer.status >= 500 and code != UNPROXIED) or answer.status in AGAIN:
        raise Later(answer.status, text, patience(answer.headers))
    raise Denied(answer.status, text, answer.headers, code)


def is_final(error: Denied | OSError, *, believed: bool) -> bool:
    """Whether to give up. Once flychat has answered there (`believed`), only its own refusals are final:
    while it is away, a proxy or a network's login page may answer anything, with any certificate.
    """
    if isinstance(error, Denied):
        return bool(error.code) or not believed
    return isinstance(error, ssl.SSLCertVerificationError) and not believed


def patience(headers: Mapping[str, str]) -> float:
    """The seconds to wait that an answer asks for."""
    return min(LONGEST_ASKED, float(read_position(headers.get("Retry-After")) or 0))
