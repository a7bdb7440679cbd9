"""The paths of this server's pages and API, percent-encoded: made here and nowhere else.

All begin with the base path, which is "" or such as /chat; outside of it there is nothing. Requests have it
as well, since a proxy in front passes paths on unchanged. The page's scripts take it from their own address
(static/paths.js).
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote


class Paths(NamedTuple):
    base: str = ""

    @property
    def root(self) -> str:
        """Where the server begins; also the path of its cookies, so that its neighbours get none of them."""
        return f"{self.base}/"

    @property
    def session(self) -> str:
        return f"{self.base}/session"

    def room(self, room: str) -> str:
        return f"{self.base}/{quote(room, safe='')}"

    def messages(self, room: str) -> str:
        return f"{self.base}/rooms/{quote(room, safe='')}/messages/"

    def static(self, version: str, name: str) -> str:
        return f"{self.base}/static/{version}/{name}"
