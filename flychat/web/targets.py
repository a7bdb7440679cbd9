"""A request's target, in the one form that is routed.

`http://host/path` is `/path` with `Host: host` (RFC 9112, 3.2.2), and bytes beyond ASCII are as if they were
percent-encoded. Tornado takes them for Latin-1.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Awaitable, Callable

from tornado.httputil import (
    HTTPHeaders,
    HTTPInputError,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)

HOST_CHARACTERS = 300  # a name has 253 at the most

_ABSOLUTE = re.compile(r"https?://([^/?#]*+)([^#]*)", re.IGNORECASE)  # *+: in one pass, also to a # in it
_BEYOND_ASCII = re.compile("[\x80-\xff]")  # a character of Tornado's heads is a byte


class Targets(HTTPMessageDelegate):
    """Hands a request on with its target in the one form that is routed, and tells when it is whole."""

    def __init__(self, delegate: HTTPMessageDelegate, whole: Callable[[], None]) -> None:
        self._delegate, self._whole = delegate, whole
        self.data_received = delegate.data_received  # type: ignore[method-assign]

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        assert isinstance(start_line, RequestStartLine)
        path = start_line.path
        if absolute := _ABSOLUTE.fullmatch(path):
            host = headers.get("Host", "")
            if "," not in host and (host or start_line.version == "HTTP/1.0"):  # else Tornado refuses it
                headers["Host"] = absolute[1]
            path = absolute[2] if absolute[2].startswith("/") else "/" + absolute[2]
        if len(headers.get("Host", "")) > HOST_CHARACTERS:
            raise HTTPInputError("the Host header is too long")
        path = _BEYOND_ASCII.sub(lambda byte: f"%{ord(byte[0]):02X}", path)
        return self._delegate.headers_received(start_line._replace(path=path), headers)

    def finish(self) -> None:
        self._whole()
        self._delegate.finish()

    def on_connection_close(self) -> None:
        if error := sys.exc_info()[1]:  # that ended the request: its frames refer to the request
            traceback.clear_frames(error.__traceback__)
        self.data_received = _dropped  # type: ignore[method-assign]  # Tornado goes on with what it has read
        self._delegate.on_connection_close()


def _dropped(chunk: bytes) -> None:
    """Ignores what comes after the end of the request."""
