"""The one question: may this visitor do this in this room? No I/O.

Page, JSON, stream, HEAD, POST and shortcut ask it before anything is read (`may`). For a hold it is asked
again at every recovery (`ended`). Without any options of access, everybody may read and write.

The right of a hold ends when its token expires, is revoked, or is no longer vouched for: because its key was
taken out of --secret, or its password out of the options. A key that is not known here may also be a new one,
added after --secret was read here. That is believed only if the token was issued after that reading, by more
than LEEWAY: otherwise somebody who had a key before it was taken out could still make tokens with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from . import EVERYBODY, HEADER, LEEWAY, READ, UNSURE, BadToken, Pass, Rules, Token
from .passwords import Passwords
from .revocations import Revocations

if TYPE_CHECKING:  # their imports take long, and are not needed without tokens
    from .tokens import Secret, Tokens

_SESSION = re.compile(r"flychat\s*=")  # the cookie of a session, under each of its names


class Access:
    """Rules for everybody, and tokens that add to them."""

    def __init__(
        self,
        rules: Rules = EVERYBODY,
        tokens: Tokens | None = None,
        *,
        passwords: Passwords | None = None,
        user_header: str = "",
    ) -> None:
        self.rules = rules
        self.tokens = tokens
        self.secret: Secret | None = None
        self.passwords = passwords or Passwords()
        self.user_header = user_header.lower()
        self.revocations = Revocations()
        self.doubtful = False  # whether revocations could not be read for too long
        self.all_public = rules.everywhere(READ)  # no room is private
        self._ruled = rules != EVERYBODY or bool(user_header)

    @property
    def on(self) -> bool:
        """Whether any option of access is set."""
        return self._ruled or self.tokens is not None

    def may(self, token: Token | None, room: str, right: str) -> bool:
        """Whether a visitor with this token, or without one, has the right in the room."""
        if right in self.rules.of(room):
            return True
        token = self.identity(token, room)
        return token is not None and right in token.rooms.of(room) and self._opens(token.password, room)

    def identity(self, token: Token | None, room: str) -> Token | None:
        """The token, unless it is revoked in the room."""
        return None if token is None or self.is_revoked(token, room) else token

    def is_revoked(self, token: Token, room: str) -> bool:
        return token.kind != HEADER and token.issued <= self.revocations.moment(token.pass_().id, room)

    def is_public(self, room: str) -> bool:
        """Whether everybody may read the room: then no hold needs a pass."""
        return READ in self.rules.of(room)

    def anybody_may(self, room: str, right: str, headers: Mapping[str, str]) -> bool:
        """Whether everybody has the right, and the request has nothing that could say who asks. In doubt: no.

        The headers are by their names in small letters.
        """
        return not self.on or (
            right in self.rules.of(room)
            and "authorization" not in headers
            and (not self.user_header or self.user_header not in headers)
            and not _SESSION.search(headers.get("cookie", ""))
        )

    def pass_of(self, token: Token | None, room: str) -> Pass | None:
        """The pass that a hold of the token's bearer in the room is to carry; None if the room is public."""
        return None if self.is_public(room) or token is None else token.pass_()

    def ended(self, room: str, pass_: Pass | None, now: float) -> str | None:
        """Why a hold in the room, with this pass, has no right any more; None: it has.

        `unsure`: nobody knows, so it must not go on, but may be asked for again.
        """
        if self.is_public(room):
            return None
        if pass_ is None:
            return "private"
        if pass_.expires <= now:
            return "expired"
        if pass_.issued <= self.revocations.moment(pass_.id, room) or not self._vouched(pass_, room):
            return "revoked"
        return UNSURE if self.doubtful else None

    def token(self, text: str, now: float) -> Token:
        """The token of this text. Raises BadToken."""
        if self.tokens is None:
            raise BadToken("no tokens are taken here")
        token = self.tokens.read(text, now)
        if token.password and not self.passwords.known(token.password):
            raise BadToken("the password has changed")
        return token

    def _vouched(self, pass_: Pass, room: str) -> bool:
        secret = self.secret
        key_is_good = not pass_.key or (
            secret is not None and (pass_.key in secret.keys or pass_.issued > secret.read_at + LEEWAY)
        )
        return key_is_good and self._opens(pass_.password, room)

    def _opens(self, password: str, room: str) -> bool:
        """Whether one of these passwords is one of the room's: a longer pattern may give it another one.

        A token that was not given for a password has "" here, and opens every room.
        """
        if not password:
            return True
        known = self.passwords.known(password)
        return any(each in known for each in self.passwords.of(room))
