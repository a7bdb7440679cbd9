"""What an error is on the web: a status, a code and a text, in one table."""

from __future__ import annotations

from http import HTTPStatus

from .. import errors
from ..errors import FlychatError

RETRY_AFTER = 2  # seconds
STATUSES: dict[type[FlychatError], tuple[HTTPStatus, str]] = {
    errors.Invalid: (HTTPStatus.BAD_REQUEST, "invalid"),
    errors.Rejected: (HTTPStatus.BAD_REQUEST, "rejected"),
    errors.Forbidden: (HTTPStatus.FORBIDDEN, "forbidden"),
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
UNAVAILABLE = "The message store does not answer. Please try again{}"


def problem(error: object, status: int) -> tuple[int, str]:
    """The status and the code of an error: those of its nearest kind in the table, else of `status`."""
    for kind in type(error).__mro__:
        if kind in STATUSES:
            return STATUSES[kind]
    return status, HTTPStatus(status).phrase.lower().replace(" ", "_")
