"""Where things are, as browsers are told: paths of this server, percent-encoded."""

from __future__ import annotations

from urllib.parse import quote


def room_path(room: str) -> str:
    return "/" + quote(room, safe="")


def messages_path(room: str) -> str:
    return f"/rooms/{quote(room, safe='')}/messages/"
