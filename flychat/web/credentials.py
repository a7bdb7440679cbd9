"""Who a request is from: the token that it carries, where that may stand, and whether it is valid.

A token is in the header Authorization (`Bearer`), which wins, or in a cookie that no script can read; never
in an address, because proxies log these. Other schemes of Authorization are ignored. With --user-header, a
proxy in front names the visitor; its header counts if there is neither a Bearer token nor a valid cookie. (If
any cookie counted, visitors could hide their name by sending one.)

On https the cookie is `__Host-flychat`, which only this very host can set, and no page over http. A cookie of
that name must have the path /. Under a base path it is `__Secure-flychat`, which other hosts of the domain
could set: the price for not sending it to the neighbours on this host.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tornado.httputil import HTTPHeaders, parse_cookie
from tornado.netutil import is_valid_ip

from ..access import HEADER, BadToken, KeyMissing, Rules, Token
from ..access.gate import Access
from ..errors import Invalid
from ..fields import sender_name

BEARER, COOKIE = "bearer", "cookie"


class Identity(NamedTuple):
    """The visitor's token, and where one that is not valid was. `unsure`: its key is not known yet."""

    token: Token | None = None
    bad: str = ""  # BEARER, COOKIE or HEADER
    unsure: bool = False


NOBODY = Identity()


def cookie_name(https: bool, base_path: str) -> str:
    if not https:
        return "flychat"
    return "__Secure-flychat" if base_path else "__Host-flychat"


def cookie_of(header: str | None, name: str) -> str:
    """The value of this cookie in the header, or "".

    Of several the first one counts: browsers send that of the longest path first (RFC 6265, 5.4), which is
    ours. Another flychat of this host, with a shorter base path or none, gives its cookies the same names.
    """
    return parse_cookie(";".join(reversed((header or "").split(";")))).get(name, "")


def is_https(headers: Mapping[str, str]) -> bool:
    """Whether the client's own connection is encrypted, which only the proxy in front can tell."""
    return headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower() == "https"


def is_own(origin: str, host: str, *, https: bool) -> bool:
    """Whether this origin is that of our own pages; both in small letters.

    If the request came by https, a page over http is not ours: anybody on the way may have written it. If
    not, both are: a proxy may have used https and not said so.
    """
    if host.count(":") > 1 and host[0] != "[":  # Pushpin 1.36 takes the brackets off an address of IPv6
        address, _, port = host.rpartition(":")
        host = f"[{address}]:{port}" if port.isdigit() and is_valid_ip(address) else f"[{host}]"
    return origin == f"https://{host}" or (not https and origin == f"http://{host}")


def identify(
    headers: Mapping[str, str], access: Access, now: float, *, trust_proxy: bool, cookie: str
) -> Identity:
    """Who the request with these headers is from; `cookie` is the name of the session's cookie."""
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
    text = cookie_of(headers.get("cookie"), name)
    return (text, COOKIE) if text else ("", "")


def _named(headers: Mapping[str, str], header: str, name: str, now: int) -> Identity:
    """The visitor that the proxy names. If the header came twice, one of the two was the client's own."""
    if isinstance(headers, HTTPHeaders) and len(headers.get_list(header)) > 1:
        return Identity(None, HEADER)
    try:
        name = sender_name(name.encode("latin-1").decode())
    except (Invalid, UnicodeError):
        return Identity(None, HEADER)
    return Identity(Token(name, name, Rules(), now, now + 1, HEADER))
