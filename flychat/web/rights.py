"""What every handler of a room does: it checks the visitor's right before anything is read of the room.

    401    there is no token, or it is not valid (a cookie that is not valid counts as none, and is cleared)
    403    the token is valid, and does not give the right

A browser is then shown the page on which to enter a password or a token, at the address of the room. Answers
about a private room are not kept by caches, and not compressed.
"""

from __future__ import annotations

from typing import Any

from prometheus_client import Counter

from .. import errors
from ..access import HEADER, READ, WRITE, Token
from .base import BaseHandler
from .credentials import BEARER, COOKIE, cookie_name
from .problems import Problem

DENIED = (errors.Unauthorized, errors.NotAllowed)
DEPENDS = "Cookie, Authorization"  # for Vary: the headers that say who asks
ACCESS = Counter("flychat_access", "Times that a right was asked for, and how that came out", ["outcome"])
OUTCOMES = {name: ACCESS.labels(name) for name in ("allowed", "unauthorized", "forbidden", "bad_token")}


class RightsHandler(BaseHandler):
    """`identity` is the visitor's token, if it is valid in the room; set by `require`."""

    identity: Token | None = None

    async def require(self, room: str, right: str) -> None:
        """Goes on if the visitor has the right in the room. Raises Unauthorized, NotAllowed, Unavailable."""
        access = self.application.access
        if not access.on:
            return
        sent = self.visitor.identity
        if sent.unsure:
            await self.while_here(self.application.keeper.learn())
            del self.visitor
            sent = self.visitor.identity
        if sent.token is not None and right not in access.rules.of(room):
            await self.while_here(self.application.keeper.fresh())
        if sent.bad == COOKIE:
            self.clear_session()
        if sent.bad in (BEARER, HEADER):
            OUTCOMES["bad_token"].inc()
            raise errors.Unauthorized(bad=True)
        self.identity = access.identity(self.visitor.token, room)
        may = access.may(self.visitor.token, room, right)
        if sent.unsure and (right == WRITE or not may):  # public rooms can be read all the same
            raise errors.KeysUnavailable
        if may:
            OUTCOMES["allowed"].inc()
        elif self.identity is None:
            OUTCOMES["unauthorized"].inc()
            raise errors.Unauthorized(bad=sent.token is not None)
        else:
            OUTCOMES["forbidden"].inc()
            raise errors.NotAllowed

    @property
    def session_cookie(self) -> str:
        return cookie_name(self.visitor.https, self.paths.base)

    def clear_session(self) -> None:
        root, secure = self.paths.root, self.visitor.https
        self.clear_cookie(self.session_cookie, path=root, secure=secure, httponly=True, samesite="Lax")

    @property
    def is_private(self) -> bool:  # type: ignore[override]
        return self.room is not None and not self.application.access.is_public(self.room)

    def keep_private(self) -> None:
        """Forbids caches to give this answer to another visitor: if the room is private, or for a page."""
        if self.is_private:
            self.set_header("Cache-Control", f"private, {self._headers.get('Cache-Control', 'no-cache')}")
        if self.is_private or (self.answers_pages and self.application.access.on):
            self.add_header("Vary", DEPENDS)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        if isinstance(kwargs["error"], DENIED):
            self.add_header("Vary", DEPENDS)
        super().write_error(status_code, **kwargs)

    def error_page(self, error: object, problem: Problem) -> tuple[str, dict[str, Any]]:
        if self.room is None or not isinstance(error, DENIED):
            return super().error_page(error, problem)
        access = self.application.access
        may_read, may_write = (access.may(self.visitor.token, self.room, right) for right in (READ, WRITE))
        if may_read and may_write:  # another right is missing, which a password does not give
            return super().error_page(error, problem)
        return "private.html", {
            "room": self.room,
            "room_path": self.paths.room(self.room),
            "may_read": may_read,
            "has_password": bool(access.passwords.of(self.room)),
            "token": self.visitor.token,
            "bad": isinstance(error, errors.Unauthorized) and error.bad,
            "wrong": isinstance(error, errors.WrongPassword),
        }
