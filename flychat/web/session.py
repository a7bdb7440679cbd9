"""A browser's session: a token, or one given for a room's password, in a cookie that no script can read.

The forms work without a script; a script may send the same as JSON. Only pages of this very host may send
them: otherwise a foreign page could put its visitor into a session of somebody else.

`/session` is also the page of a room of that name.
"""

from __future__ import annotations

import secrets
import time

from .. import errors
from ..access import READ, WRITE, BadToken, KeyMissing, Token
from ..access.revocations import ALL_ROOMS
from ..errors import Invalid, KeysUnavailable, Unauthorized
from ..fields import room_name, string_field
from .forms import read_short
from .pages import RoomHandler

GUEST_SECONDS = 30 * 86_400  # for which a password lets somebody in


class SessionHandler(RoomHandler):
    """Begins and ends the session."""

    answers_pages = False

    async def get(self, name: str) -> None:
        self.answers_pages = True
        await super().get(name)

    head = get

    async def post(self, name: str) -> None:
        if not self.allow_origin() or self.is_listed():
            raise errors.Forbidden("this origin may not begin a session here")
        fields, is_form = read_short(self.request)
        room = self.room = room_name(string_field(fields, "room")) if fields.get("room") else None
        if fields.get("leave"):
            return self._answer(None, room, is_form)
        if fields.get("password") is not None:
            text = await self.while_here(self._guest(room, string_field(fields, "password")))
        else:
            text = string_field(fields, "token").rpartition("#invite=")[2].strip()  # or the whole link
        token = await self.while_here(self._token(text))
        self.set_cookie(
            self.session_cookie,
            text,
            path=self.paths.root,
            expires=token.expires,
            httponly=True,
            secure=self.visitor.https,
            samesite="Lax",
        )
        return self._answer(token, room, is_form)

    async def delete(self, name: str) -> None:
        if not self.allow_origin() or self.is_listed():
            raise errors.Forbidden("this origin may not end a session here")
        self._answer(None, None, False)

    def _answer(self, token: Token | None, room: str | None, is_form: bool) -> None:
        if token is None:
            self.clear_session()
        self.set_header("Cache-Control", "no-store")
        if is_form and self.accepts("text/html"):
            self.redirect(self.paths.room(room) if room else self.paths.root, status=303)
        elif token is None:
            self.set_status(204)
        else:
            self.write_json({"user": token.sub, "name": token.name, "expires": token.expires})

    async def _token(self, text: str) -> Token:
        """Raises Unauthorized, KeysUnavailable."""
        access = self.application.access
        await self.application.keeper.fresh()
        for tries in (1, 2):
            try:
                token = access.token(text, time.time())
                break
            except KeyMissing:
                if tries == 2:
                    raise KeysUnavailable from None
                await self.application.keeper.learn()
            except BadToken:
                raise Unauthorized(bad=True) from None
        if access.is_revoked(token, ALL_ROOMS):
            raise Unauthorized(bad=True)
        return token

    async def _guest(self, room: str | None, password: str) -> str:
        """A token for a guest who knows the room's password, and perhaps those of other rooms.

        Raises WrongPassword, TooMany, Overloaded.
        """
        access = self.application.access
        if room is None:
            raise Invalid("room", "is missing")
        if wait := self.application.password_tries.wait(self.visitor.address, time.monotonic()):
            raise errors.TooMany(wait)
        found = await access.passwords.find(room, password)
        if found is None or access.secret is None:
            raise errors.WrongPassword
        from ..access.tokens import TOKEN_CHARACTERS, claims_of  # imported already, where there is a secret

        await self.application.keeper.fresh()
        now, passwords = int(time.time()), [found]
        sub, issued = f"guest-{secrets.token_hex(8)}", now
        guest = access.identity(self.visitor.token, room)
        if guest is not None and guest.is_guest:  # who stays one in other rooms, and the same person
            sub, issued = guest.sub, guest.issued  # so what is revoked stays so
            passwords = [*(each for each in access.passwords.known(guest.password) if each != found), found]
        while True:
            rooms = {each.pattern: READ + WRITE for each in passwords}
            ids = ".".join(each.id for each in passwords)
            claims = claims_of(sub, rooms, issued=issued, expires=now + GUEST_SECONDS, pw=ids)
            if len(text := access.secret.sign(claims)) <= TOKEN_CHARACTERS:
                return text
            del passwords[0]  # the one that was typed first

    def is_listed(self) -> bool:
        return self.request.headers.get("Origin", "").lower() in self.application.cors_origins
