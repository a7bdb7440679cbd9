"""The shortcut of a server behind GRIP proxies, which hold its streams: so these are Tornado's."""

from __future__ import annotations

from .plain import Plain, PlainPost
from .shortcut import Shortcut


class HeldByProxy(Shortcut):
    """Takes messages only."""

    pauses = False  # on a proxy's connection others come

    def plain(self, data: bytes) -> Plain | None:
        plain = super().plain(data)
        return plain if isinstance(plain, PlainPost) else None
