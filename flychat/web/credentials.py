"""Who a request says it is from: the token that it carries, where it may travel, and what is wrong with it.

A token travels in the header Authorization (`Bearer`), which wins, or in a cookie that no script can read.
Never in an address: those stand in the logs of every proxy. Another scheme of Authorization is none of ours.
Where a proxy in front knows the visitor, the name is taken from its header if nothing else says who it is. A
cookie that is not good says nothing: otherwise a visitor could hide that name by sending one.

On https the cookie is `__Host-flychat`, which only this very host can set, and no page over http. That name
is for the path / only. Beneath a base path it is `__Secure-flychat`, which other hosts of the domain could
set: the price of a cookie that the neighbours on the host are not sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tornado.httputil import HTTPHeaders, parse_cookie

from ..access import HEADER, BadToken, KeyMissing, Rules, Token
from ..access.gate import Access
from ..errors import Invalid
from ..fields import sender_name

BEARER, COOKIE = "bearer", "cookie"


class Identity(NamedTuple):
    """Who somebody is: a token; and what carried one that is not good. `unsure`: that cannot be told now."""

    token: Token | None = None
    bad: str = ""  # BEARER, COOKIE or HEADER
    unsure: bool = False


NOBODY = Identity()


def cookie_name(https: bool, base_path: str = "") -> str:
    if not https:
        return "flychat"
    return "__Secure-flychat" if base_path else "__Host-flychat"


def is_https(headers: Mapping[str, str]) -> bool:
    """Whether the client's own connection is encrypted, as a proxy says: only one can know."""
    return headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower() == "https"


def is_own(origin: str, host: str, *, https: bool) -> bool:
    """Whether this origin is that of our own pages; both in small letters.

    Where it is known that they come by https, a page over http is not ours: anybody on the way may have
    written it. Where it is not known, a proxy may have seen https and not said so.
    """
    return origin == f"https://{host}" or (not https and origin == f"http://{host}")


def identify(
    headers: Mapping[str, str], access: Access, now: float, *, trust_proxy: bool, cookie: str
) -> Identity:
    """Who the request with these headers is from; `cookie` is the name of the one that may say it."""
    text, by = _sent(headers, cookie)
    if by:
        try:
            return Identity(access.token(text, now))
        except KeyMissing:
            return Identity(None, "", unsure=True)
        except BadToken:
            if by == BEARER:
                return Identity(None, by)
    if access.user_header and trust_proxy and (name := headers.get(access.user_header)):
        named = _named(headers, access.user_header, name, int(now))
        return named._replace(bad=named.bad or by)
    return Identity(None, by)


def _sent(headers: Mapping[str, str], name: str) -> tuple[str, str]:
    """The text of the token, and what carries it; ("", "") if nothing does."""
    scheme, _, text = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        return text.strip(), BEARER
    cookie = headers.get("cookie")
    text = parse_cookie(cookie).get(name, "") if cookie else ""
    return (text, COOKIE) if text else ("", "")


def _named(headers: Mapping[str, str], header: str, name: str, now: int) -> Identity:
    """Whom the proxy names: once, or else one of the two names was the client's own."""
    if isinstance(headers, HTTPHeaders) and len(headers.get_list(header)) > 1:
        return Identity(None, HEADER)
    try:
        name = sender_name(name.encode("latin-1").decode())
    except (Invalid, UnicodeError):
        return Identity(None, HEADER)
    return Identity(Token(name, name, Rules(), now, now + 1, HEADER))
