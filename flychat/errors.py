"""Everything that can go wrong, as a tree.

FlychatError
├── Unavailable      not now; the same request is safe later
├── Refused          the request cannot be granted; the requester can change it
│   ├── Invalid          a field breaks its rule
│   ├── NotFound         no such thing
│   ├── Forbidden        not from this origin
│   │   └── NotAllowed       the token does not give the right, or
│   │       └── WrongPassword    the password does not open the room
│   ├── Unauthorized     a token is needed, or a good one
│   ├── Conflict         the provisional id stands for another text
│   ├── TooOld           sent again so late that the log is not searched for it
│   ├── Unstorable       the store will never take this content
│   ├── TooLarge         the body is over the limit
│   ├── Unsupported      the body is of an unknown type
│   ├── TooMany          the client posts too often
│   ├── Full             no more streams are held here
│   ├── Overloaded       more work is waiting than can be done soon (Unavailable)
│   ├── NotReady         /readyz: the server should get no requests; the text names the part that fails
│   └── Unproxied        a stream asked around the GRIP proxy
├── Misconfigured    the program cannot start like this
├── BadToken         a token is not valid: see access/__init__.py
└── StoreFailed      a storage engine failed: see storage/__init__.py

The text of a `Refused` is shown to the requester, so it never repeats the input.
web/problems.py turns it, and Unavailable, into HTTP statuses, in one table.
"""

from __future__ import annotations

import re


def without_password(text: str) -> str:
    """The text without the users and passwords of the addresses in it."""
    return re.sub(r"(?<=://)[^/?#\s]*@", "", text)


class FlychatError(Exception):
    """The root: every error that flychat raises on purpose."""


class Unavailable(FlychatError):
    """The store did not answer in time. Asking again, with the same provisional id, is safe."""


class KeysUnavailable(Unavailable):
    """The keys of an issuer cannot be fetched, so nobody can say whether a token is one of its."""

    def __init__(self) -> None:
        super().__init__("the keys of tokens cannot be fetched")


class Refused(FlychatError):
    """The request cannot be granted as it is."""


class Invalid(Refused):
    """A field breaks its rule: `field` "must be such and such"."""

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field}: {rule}")
        self.field = field
        self.rule = rule


class NotFound(Refused):
    """There is nothing under this name."""


class Forbidden(Refused):
    """The request comes from a page of another origin, or asks for what its visitor may not do."""


class NotAllowed(Forbidden):
    """The token is good, and does not give the right that is needed."""

    def __init__(self, text: str = "the token does not give this right here") -> None:
        super().__init__(text)


class WrongPassword(NotAllowed):
    """The password that was tried is not the room's."""

    def __init__(self) -> None:
        super().__init__("this is not the password of the room")


class Unauthorized(Refused):
    """A token is needed; `bad`: one was sent, and is not valid."""

    def __init__(self, *, bad: bool = False) -> None:
        super().__init__("this token is not valid, or no longer" if bad else "this takes a token")
        self.bad = bad


class Conflict(Refused):
    """(user, from, provisionalId) already stands for a message with another text."""


class TooOld(Refused):
    """The position at which the message was first sent is too far back to search from; nothing is stored."""

    def __init__(self) -> None:
        super().__init__("this message was first sent too long ago to tell whether it is stored already")


class Unstorable(Refused):
    """The store will never take this content."""

    def __init__(self) -> None:
        super().__init__("the message store does not take this message, and never will")


class TooLarge(Refused):
    """The body is over the limit."""


class Unsupported(Refused):
    """The body is of a type that is not understood."""


class TooMany(Refused):
    """The client asks for too much; it may try again after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__("too many requests in a short time")
        self.seconds = seconds


class Full(Refused):
    """No more streams are held here, at all or for this client."""


class Overloaded(Refused, Unavailable):
    """More work is waiting than can be done soon; nothing of this request was done."""

    def __init__(self) -> None:
        super().__init__("the server has more to do than it can do; nothing was done, please try again")


class NotReady(Refused):
    """The server should get no requests: it drains, or its store does not answer."""


class Unproxied(Refused):
    """A stream was asked from the app itself, around the GRIP proxy that would hold it."""


class Misconfigured(FlychatError):
    """The program cannot start: one line that says why and what to do."""
