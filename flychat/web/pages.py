"""The pages: the way to a room, its join form, and the room."""

from __future__ import annotations

import contextlib
import time
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from tornado.web import HTTPError

from ..access import HEADER, READ, WRITE, Token
from ..errors import Invalid, TooMany, Unavailable
from ..fields import new_id, room_name, sender_name
from ..messages import ERASED
from ..sse import read_position
from .base import BaseHandler
from .credentials import cookie_of
from .rights import RightsHandler
from .rows import BLANK, Rows, zone_of
from .visitor import USER_COOKIE

COOKIE_DAYS = 365
WRITERS = 5  # names in the join form
ASKED_COOKIE = "flychat_asked"
ZONE_COOKIE = "flychat_zone"  # of the page's scripts


class RootHandler(BaseHandler):
    answers_pages = True

    def get(self) -> None:
        """To the default room, or to the room that the join form names."""
        room, query = "default", self.request.query
        if named := self.get_query_argument("room", ""):
            room = room_name(named)
            query = urlencode([field for field in parse_qsl(query) if field[0] != "room"])
        self.redirect(self.paths.room(room) + ("?" + query if query else ""))

    head = get


class RoomWithSlashHandler(BaseHandler):
    """Redirects from an address with a slash at its end, which people or services for short links add."""

    answers_pages = True

    def prepare(self) -> None:
        super().prepare()
        if self.request.method not in ("GET", "HEAD"):
            raise HTTPError(404)

    def get(self, name: str) -> None:
        query = self.request.query
        self.redirect(self.paths.room(room_name(name)) + ("?" + query if query else ""), permanent=True)

    head = get


class RoomHandler(RightsHandler):
    """The page of a room, with its history; the stream goes on from there."""

    answers_pages = True

    async def get(self, name: str) -> None:
        self.admit_in_time()
        room = self.room = room_name(name)
        await self.require(room, READ)
        self.set_header("Cache-Control", "no-cache")
        if "user" not in self.request.query_arguments:
            self.set_header("Vary", "Cookie")  # it decides whether this is the room or its join form
        self.keep_private()
        token = self.identity
        values: dict[str, Any] = {
            "room": room,
            "room_path": self.paths.room(room),
            "user": "",
            "error": None,
            "token": token,
            "painted": "" if token is None else token.sub,
            "before": read_position(self.query_value("before")) or None,
            "known": self.visitor.name,
            "renames": None,
        }
        try:
            user = values["user"] = self._user()
        except Invalid as invalid:
            self.set_status(400)
            given = self.request.query_arguments["user"][-1].decode(errors="replace")
            values |= {"user": given, "error": f"A name {invalid.rule}."}
            return await self.write_join(values)
        renames = self._renames(user)
        if renames or not user:
            return await self.write_join(values | {"renames": renames})
        self._remember(user)
        return await self._write_room(room, user, values)

    head = get

    async def _write_room(self, room: str, user: str, values: dict[str, Any]) -> None:
        page, token = await self.read(room, values["before"]), self.identity
        access = self.application.access
        zone = zone_of(self._cookie(ZONE_COOKIE))
        now = time.time()
        rows = Rows(user, None if token is None else token.sub, zone, now).page(page.messages)
        first_id = page.messages[-len(rows)].id if rows else 0
        self.write_page(
            "room.html",
            **values,
            messages_path=self.paths.messages(room),
            provisional_id=new_id(),  # of the form without scripts: sent again, it is the same message
            rows="".join(rows),  # escaped already
            blank=BLANK,
            first_id=first_id,
            last_id=page.last_id,
            now=int(now * 1000),  # what time it is, for scripts: the browser's clock may be wrong
            has_older=first_id > 1,
            banner=None if self.visitor.proxied else self._banner(),
            session=token and session_of(token),
            is_private=self.is_private,
            may_write=access.may(self.visitor.token, room, WRITE),
            has_password=bool(access.passwords.of(room)),
        )

    def _banner(self) -> str:
        wrong = self.application.warn_bypassed(self.request.headers)
        where = f"Open it at {self.application.proxy_address}"
        return f"Not live: {wrong or f'this page was opened around the proxy. {where}'}"

    @property
    def _vouched(self) -> str | None:
        """The name in the token, if there is one."""
        return None if self.identity is None else self.identity.name

    def _user(self) -> str:
        """The token's, else `?user=`, else the one remembered. Raises Invalid."""
        if self._vouched is not None:
            return self._vouched
        given = self.query_value("user")
        if given is None:
            return self.visitor.name
        given = given.strip()  # the keyboards of phones put a space behind a word
        return sender_name(given) if given else given

    def _renames(self, user: str) -> bool:
        """Whether a link would give another name to somebody who has one: then they are asked first.

        The form, and the page's scripts, send the value of a cookie along, which no link can know.
        """
        if self.query_value("user") is None or not self.visitor.name or user in ("", self.visitor.name):
            return False
        if self._vouched is not None:
            return False
        asked = self._cookie(ASKED_COOKIE)
        return not asked or self.query_value("asked") != asked

    def _remember(self, user: str) -> None:
        if self.query_value("user") is not None and self._vouched is None:
            self._leave(USER_COOKIE, quote(user, safe=""), httponly=True)
        self._asked()

    def _asked(self) -> str:
        """The value of the cookie that shows that a name came from our form. The page's scripts read it."""
        asked = self._cookie(ASKED_COOKIE)
        if not asked:
            asked = new_id()
            self._leave(ASKED_COOKIE, asked)
        return asked

    def _cookie(self, name: str) -> str:
        return cookie_of(self.request.headers.get("Cookie"), name)

    def _leave(self, name: str, value: str, *, httponly: bool = False) -> None:
        root = self.paths.root
        self.set_cookie(name, value, path=root, expires_days=COOKIE_DAYS, samesite="Lax", httponly=httponly)

    async def write_join(self, values: dict[str, Any]) -> None:
        """The join form; of a public room also with the newest writers, if the room can be read."""
        values["writers"] = []
        if not self.is_private:
            with contextlib.suppress(Unavailable, TooMany):
                page = await self.read(values["room"])
                wrote = [m for m in reversed(page.messages) if m.sender != ERASED and not m.removes]
                writers = {message.sender: message.user for message in wrote}
                values["writers"] = list(writers.items())[:WRITERS]
        if values["known"]:
            values["asked"] = self._asked()
        self.write_page("join.html", **values)


def session_of(token: Token) -> str:
    """A name of the session that does not tell its token. Only tabs of the same session share a stream."""
    id = token.pass_().id
    return id if token.kind == HEADER else f"{id}-{token.issued}"  # that of a header is new at each request
