"""The fields of a POST: JSON, a form, or multipart/form-data."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable
from typing import Any

from tornado import httputil
from tornado.escape import parse_qs_bytes

from .. import errors
from ..errors import Invalid

FIELDS = 1000  # of a form
SHORT_BYTES = 8192  # the most that a body with a few short fields has, however they are encoded
PART_HEAD_BYTES = 512  # of a part of multipart/form-data, at the most: a hundred of 1 kB take 60 ms
UTF_8 = {"utf-8", "utf8", "us-ascii"}  # ASCII is a part of UTF-8

# For Tornado as well: it reads such bodies for most handlers before they are asked.
httputil.set_parse_body_config(
    httputil.ParseBodyConfig(multipart=httputil.ParseMultipartConfig(max_part_header_size=PART_HEAD_BYTES))
)

_CHARSET = re.compile(r""";\s*charset\s*=\s*"?([^";\s]*)""", re.IGNORECASE)


def read_short(request: httputil.HTTPServerRequest) -> tuple[dict[str, Any], bool]:
    """The few short fields of a request, and whether it is a form. Raises TooLarge, Unsupported, Invalid."""
    if len(request.body) > SHORT_BYTES:  # to parse it might take long
        raise errors.TooLarge(f"a body has at most {SHORT_BYTES} bytes")
    return read_fields(request.headers.get("Content-Type", ""), request.body)


class ShortBody(httputil.HTTPMessageDelegate):
    """Hands a request on without what is over SHORT_BYTES in its body; `read_short` sees that it was there.

    Tornado reads every form before it asks a handler, also one that takes none: 1 MB of percent signs took
    0.1 s, and nobody was served meanwhile. A body that is cut here it is not to read.
    """

    def __init__(self, delegate: httputil.HTTPMessageDelegate, headers: httputil.HTTPHeaders) -> None:
        self._delegate, self._headers = delegate, headers
        self._left = SHORT_BYTES + 1
        self.headers_received = delegate.headers_received  # type: ignore[method-assign]
        self.finish = delegate.finish  # type: ignore[method-assign]
        self.on_connection_close = delegate.on_connection_close  # type: ignore[method-assign]

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        chunk = chunk[: self._left]
        self._left -= len(chunk)
        if not self._left:
            self._headers.pop("Content-Type", None)
        return self._delegate.data_received(chunk)


def read_fields(content_type: str, body: bytes) -> tuple[dict[str, Any], bool]:
    """The fields of a POST, and whether it is a form. Raises Unsupported, Invalid."""
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    charset = _CHARSET.search(content_type)
    if charset is not None:
        _check_charset(charset[1])
    if kind == "application/json":
        try:
            fields = json.loads(body.decode())
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            raise Invalid("body", "must be a JSON object")
        return fields, False
    arguments: dict[str, list[bytes]] = {}
    try:
        if kind == "application/x-www-form-urlencoded":
            arguments = parse_qs_bytes(body, keep_blank_values=True, max_num_fields=FIELDS)
        elif kind == "multipart/form-data":
            httputil.parse_body_arguments(f"{kind};{parameters}", body, arguments, {})
        else:
            raise errors.Unsupported("the body must be JSON, a form, or multipart/form-data")
        fields = {name: values[-1].decode() for name, values in arguments.items()}
    except (ValueError, httputil.HTTPInputError):
        raise Invalid("body", "must be a form in UTF-8") from None
    _check_charset(fields.get("_charset_", "utf-8"))  # in which a browser says how it has encoded a form
    return fields, True


def _check_charset(name: str) -> None:
    if name.lower() not in UTF_8:
        raise errors.Unsupported("the body must be in UTF-8")
