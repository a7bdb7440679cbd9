"""What every error is on the web, without HTTP."""

import pytest

from flychat import errors, storage
from flychat.web.problems import STATUSES, problem_of

NO_STORE = {"Cache-Control": "no-store"}
LATER = {**NO_STORE, "Retry-After": "3"}
STORE = "The message store does not answer. Please try again; nothing is sent twice."
ROWS = [
    (errors.Invalid("text", "must be a string"), 400, "invalid", "text: must be a string", NO_STORE),
    (errors.Forbidden("not from here"), 403, "forbidden", "not from here", NO_STORE),
    (errors.NotAllowed(), 403, "forbidden", "the token does not give this right here", NO_STORE),
    (
        errors.Unauthorized(),
        401,
        "unauthorized",
        "this takes a token",
        {**NO_STORE, "WWW-Authenticate": "Bearer"},
    ),
    (
        errors.Unauthorized(bad=True),
        401,
        "unauthorized",
        "this token is not valid, or no longer",
        {**NO_STORE, "WWW-Authenticate": 'Bearer error="invalid_token"'},
    ),
    (errors.NotFound("no such room"), 404, "not_found", "no such room", NO_STORE),
    (errors.Conflict("another text"), 409, "conflict", "another text", NO_STORE),
    (
        errors.TooOld(),
        409,
        "too_old",
        "this message was first sent too long ago to tell whether it is stored already",
        NO_STORE,
    ),
    (errors.TooLarge("too large"), 413, "too_large", "too large", NO_STORE),
    (errors.Unsupported("not that"), 415, "unsupported_media_type", "not that", NO_STORE),
    (
        errors.TooMany(1.2),
        429,
        "too_many_requests",
        "too many requests in a short time",
        {**NO_STORE, "Retry-After": "2"},
    ),
    (
        errors.TooMany(59.01),
        429,
        "too_many_requests",
        "too many requests in a short time",
        {**NO_STORE, "Retry-After": "60"},
    ),
    (errors.Unproxied("not here"), 501, "unproxied", "not here", NO_STORE),
    (errors.Full("no more streams"), 503, "full", "no more streams", LATER),
    (
        errors.Overloaded(),
        503,
        "overloaded",
        "the server has more to do than it can do; nothing was done, please try again",
        LATER,
    ),
    (errors.NotReady("not ready: why"), 503, "not_ready", "not ready: why", LATER),
    (errors.Unavailable("of 10.0.0.1"), 503, "unavailable", STORE, LATER),
    (
        errors.KeysUnavailable(),
        503,
        "unavailable",
        "the keys of tokens cannot be fetched; nothing was done, please try again",
        LATER,
    ),
    (storage.Broken("secret"), 503, "unavailable", STORE, LATER),
    (
        errors.Unstorable(),
        400,
        "rejected",
        "the message store does not take this message, and never will",
        NO_STORE,
    ),
    (storage.Unknown("secret"), 500, "internal_server_error", "Internal Server Error", NO_STORE),
    (errors.Misconfigured("secret"), 500, "internal_server_error", "Internal Server Error", NO_STORE),
    (ValueError("secret"), 500, "internal_server_error", "Internal Server Error", NO_STORE),
    (None, 500, "internal_server_error", "Internal Server Error", NO_STORE),
]


@pytest.mark.parametrize(
    ("error", "status", "code", "text", "headers"), ROWS, ids=[repr(row[0]) for row in ROWS]
)
def test_every_error_has_its_answer(error, status, code, text, headers):
    problem = problem_of(error, allowed="GET, HEAD", again="; nothing is sent twice.")
    assert (problem.status, problem.code, problem.text, problem.headers) == (status, code, text, headers)
    assert problem.ours is (status in (500, 503))


def test_every_kind_of_the_table_has_a_row():
    assert {type(error) for error, *_ in ROWS} >= set(STATUSES)
    assert all(issubclass(kind, errors.FlychatError) for kind in STATUSES)


@pytest.mark.parametrize(
    ("status", "code", "text", "headers"),
    [
        (400, "bad_request", "Bad Request", NO_STORE),
        (404, "not_found", "Not Found", NO_STORE),
        (405, "method_not_allowed", "Method Not Allowed", {**NO_STORE, "Allow": "GET, HEAD"}),
        (413, "request_entity_too_large", None, NO_STORE),
        (414, "request-uri_too_long", None, NO_STORE),
        (416, "requested_range_not_satisfiable", None, NO_STORE),
        (422, "unprocessable_entity", None, NO_STORE),
    ],
)
def test_what_tornado_refuses_is_told_by_its_status(status, code, text, headers):
    problem = problem_of(ValueError("secret"), status, allowed="GET, HEAD")
    assert (problem.status, problem.code) == (status, code)
    assert problem.text == problem.title == (text or problem.title)
    assert problem.headers == headers
    assert not problem.ours


class _Stalled(errors.NotReady, errors.Unavailable):
    pass


class _Late(_Stalled):
    pass


@pytest.mark.parametrize(
    ("kind", "code"), [(_Stalled, "not_ready"), (_Late, "not_ready"), (errors.Overloaded, "overloaded")]
)
def test_of_several_kinds_the_nearest_counts(kind, code):
    """`Overloaded` is Unavailable as well: the furthest kind would hide that nothing was done."""
    assert problem_of(kind.__new__(kind)).code == code


def test_what_is_refused_by_an_unavailable_store_says_so_itself():
    assert problem_of(errors.Full("no more"), again="!").text == "no more"
    assert problem_of(errors.Unavailable(), again="!").text.endswith("Please try again!")
