"""The options of access: read, checked, frozen."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import Invalid, Misconfigured, NotFound
from . import EVERYBODY, READ, WRITE, Rules, read_rule
from .passwords import Password

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
OURS = {"authorization", "cookie", "host", "origin", "x-forwarded-for", "x-forwarded-proto"}


@dataclass(frozen=True, slots=True)
class AccessOptions:
    """Who may do what, and whose tokens are accepted."""

    rules: Rules = EVERYBODY
    secret: str = ""  # the file's name
    jwks: str = ""
    audience: str = ""
    issuer: str = ""
    passwords: tuple[Password, ...] = ()
    user_header: str = ""

    @classmethod
    def read(cls, option: Callable[..., Any], *, trust_proxy: bool) -> AccessOptions:
        """`option` gives the value of an option by its name. Raises Misconfigured."""
        options = cls(
            rules=_rules(several(option("access", ()))),
            secret=option("secret", ""),
            jwks=_url(option("jwks", "")),
            audience=option("audience", ""),
            issuer=option("issuer", ""),
            passwords=tuple(map(Password.read, dict.fromkeys(several(option("password", ()))))),
            user_header=_header(option("user_header", "")),
        )
        closed = [pattern for pattern, rights in options.rules.rules if READ not in rights]
        if options.user_header and not trust_proxy:
            raise Misconfigured("--user-header needs --trust-proxy: else anybody could set the header")
        if options.passwords and not options.secret:
            raise Misconfigured("--password needs --secret, with which guests' tokens are signed")
        if options.jwks and not options.audience:
            raise Misconfigured("--jwks needs --audience: else tokens for other services would be valid here")
        if not options.jwks and (options.audience or options.issuer):
            raise Misconfigured("--audience and --issuer are for --jwks")
        if closed and not (options.secret or options.jwks):
            raise Misconfigured("--access makes rooms that nobody could enter: add --secret or --jwks")
        return options


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--access",
        action="append",
        metavar="PATTERN=RIGHTS",
        help="what everybody may do in a room, or in all rooms whose names begin as the pattern does before "
        "its *: r read, w write, rw, or nothing; the longest pattern decides (repeatable; default: *=rw)",
    )
    parser.add_argument(
        "--secret",
        metavar="FILE",
        help="accept tokens that are signed with a key of this file: one key a line, of 32 bytes or more; "
        "the first one signs new tokens. SIGHUP makes the server read it again",
    )
    parser.add_argument(
        "--jwks",
        metavar="URL",
        help="also accept the tokens of another issuer: the address of its public keys (RS256, ES256, EdDSA)",
    )
    parser.add_argument("--audience", help="with --jwks: the aud that the tokens must have")
    parser.add_argument("--issuer", help="with --jwks: the iss that they must have (default: any)")
    parser.add_argument(
        "--password",
        action="append",
        metavar="PATTERN=HASH",
        help="with --secret: everybody who knows this password may read and write there; the hash is what "
        "`python -m flychat password` prints (repeatable)",
    )
    parser.add_argument(
        "--user-header",
        metavar="NAME",
        help="with --trust-proxy: the header in which a proxy in front, which logs people in, always sets "
        "their name",
    )


def _rules(values: Sequence[str]) -> Rules:
    given: dict[str, frozenset[str]] = {}
    for value in values:
        try:
            pattern, rights = read_rule(value, READ + WRITE)
        except (Invalid, NotFound) as error:
            raise Misconfigured(
                f"--access must be like staff-*=rw: a room or its beginning and *, and r, w or rw ({error})"
            ) from None
        if pattern in given:
            raise Misconfigured("--access has two rules for the same pattern")
        given[pattern] = rights
    return Rules.of_rules((dict(EVERYBODY.rules) | given).items())


def _header(name: str) -> str:
    if name and (not _HEADER.fullmatch(name) or name.lower() in OURS):
        raise Misconfigured("--user-header must be the name of a header of its own, such as X-Forwarded-User")
    return name


def _url(value: str) -> str:
    if value and not re.fullmatch(r"https?://[^\s/?#@]+[^\s#]*", value):
        raise Misconfigured("--jwks must be an address such as https://login.example.org/keys")
    return value


def several(value: str | Sequence[str]) -> Sequence[str]:
    """What was given more than once: in a variable, with spaces or commas between."""
    return value.replace(",", " ").split() if isinstance(value, str) else value
