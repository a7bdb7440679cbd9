"""Where things are, as browsers are told: the one place where addresses of this server are made.

All of them begin with the base path: "", or such as /chat, and then there is nothing outside of it. What is
asked for has it as well, since a proxy in front passes paths on as they are. The page's scripts take it from
their own address (static/paths.js). Paths are percent-encoded.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote


class Paths(NamedTuple):
    base: str = ""

    @property
    def root(self) -> str:
        """Where the server begins. Also where cookies belong: its own, and those of no neighbour."""
        return f"{self.base}/"

    @property
    def session(self) -> str:
        return f"{self.base}/session"

    def room(self, room: str) -> str:
        return f"{self.base}/{quote(room, safe='')}"

    def messages(self, room: str) -> str:
        return f"{self.base}/rooms/{quote(room, safe='')}/messages/"

    def signals(self, room: str) -> str:
        return f"{self.base}/rooms/{quote(room, safe='')}/signals/"

    def static(self, version: str, name: str) -> str:
        return f"{self.base}/static/{version}/{name}"
