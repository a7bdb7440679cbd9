"""What an error is on the web: a status, a code, a text and headers, found in one place.

An error is answered as the nearest of its classes that is in the table; any other error with the status that
Tornado gives it. The text of a Refused is shown, since it never repeats the input; other errors are told
without details.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from .. import errors
from ..errors import FlychatError
from ..sse import to_json

RETRY_AFTER = 3  # seconds
STATUSES: dict[type[FlychatError], tuple[HTTPStatus, str]] = {
    errors.Invalid: (HTTPStatus.BAD_REQUEST, "invalid"),
    errors.Unstorable: (HTTPStatus.BAD_REQUEST, "rejected"),
    errors.Forbidden: (HTTPStatus.FORBIDDEN, "forbidden"),
    errors.Unauthorized: (HTTPStatus.UNAUTHORIZED, "unauthorized"),
    errors.NotFound: (HTTPStatus.NOT_FOUND, "not_found"),
    errors.Conflict: (HTTPStatus.CONFLICT, "conflict"),
    errors.TooOld: (HTTPStatus.CONFLICT, "too_old"),
    errors.TooLarge: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large"),
    errors.Unsupported: (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
    errors.TooMany: (HTTPStatus.TOO_MANY_REQUESTS, "too_many_requests"),
    errors.Unproxied: (HTTPStatus.NOT_IMPLEMENTED, "unproxied"),
    errors.Full: (HTTPStatus.SERVICE_UNAVAILABLE, "full"),
    errors.Overloaded: (HTTPStatus.SERVICE_UNAVAILABLE, "overloaded"),
    errors.NotReady: (HTTPStatus.SERVICE_UNAVAILABLE, "not_ready"),
    errors.Unavailable: (HTTPStatus.SERVICE_UNAVAILABLE, "unavailable"),
}
# The names from before Python 3.13: the codes, which programs read, must not depend on Python's version.
PHRASES = {
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    416: "Requested Range Not Satisfiable",
    422: "Unprocessable Entity",
}
UNAVAILABLE = "The message store does not answer. Please try again{}"


@dataclass(frozen=True, slots=True)
class Problem:
    """An answer that is an error. `code` is for programs, `title` and `text` for people."""

    status: int
    code: str
    text: str
    headers: Mapping[str, str]
    why: str = ""  # for the log

    @property
    def title(self) -> str:
        return phrase(self.status)

    @property
    def json(self) -> str:
        """The body for programs."""
        return to_json({"error": {"code": self.code, "message": self.text}}) + "\n"

    @property
    def ours(self) -> bool:
        """Whether it is the server's fault."""
        return self.status in (500, 503)


def phrase(status: int) -> str:
    return PHRASES.get(status) or HTTPStatus(status).phrase


def problem_of(error: object, status: int = 500, *, allowed: str = "", again: str = ".") -> Problem:
    """The answer to `error`, which Tornado would give `status`.

    `allowed`: the methods of the path, for a 405. `again`: the end of the sentence "Please try again".
    """
    code = phrase(status).lower().replace(" ", "_")
    for kind in type(error).__mro__:
        if kind in STATUSES:
            status, code = STATUSES[kind]
            break
    text = str(error) if isinstance(error, errors.Refused) else phrase(status)
    headers = {"Cache-Control": "no-store"}
    if status == 405:
        headers["Allow"] = allowed
    elif isinstance(error, errors.Unauthorized):  # RFC 6750: why, if a token came
        headers["WWW-Authenticate"] = 'Bearer error="invalid_token"' if error.bad else "Bearer"
    elif isinstance(error, errors.TooMany):
        headers["Retry-After"] = str(math.ceil(error.seconds))
    elif status == 503:
        headers["Retry-After"] = str(RETRY_AFTER)
        if isinstance(error, errors.KeysUnavailable):
            text = f"{error}; nothing was done, please try again"
        elif not isinstance(error, errors.Refused):
            text = UNAVAILABLE.format(again)
    return Problem(status, code, text, headers, _reason(error))


def _reason(error: object) -> str:
    """What was first said of it: by the store, mostly."""
    while isinstance(cause := getattr(error, "__cause__", None), FlychatError):
        error = cause
    refused = isinstance(error, errors.Refused)
    return str(error) if isinstance(error, FlychatError) and not refused else ""
