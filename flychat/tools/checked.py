"""The room that `check` looks at, with what it takes to be let in there."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from .. import client
from ..client import http
from ..messages import Message
from ..sse import Event

SENDER = "check"


@dataclass(frozen=True)
class Checked:
    """A room of the deployment at `url`. With a token, messages are sent under the name in it."""

    url: str
    room: str
    token: client.Token | None = None

    @property
    def sender(self) -> str | None:
        return None if self.token else SENDER

    @contextlib.asynccontextmanager
    async def connect(
        self, last_id: int | None = None, *, by_query: bool = False, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[tuple[Mapping[str, str], AsyncIterator[Event]]]:
        """One connection of a stream, as client.http has it. Raises Denied, Later, OSError."""
        headers = {**(headers or {}), **await http.bearing(self.token)}
        async with http.connect(self.url, self.room, last_id, by_query=by_query, headers=headers) as stream:
            yield stream

    async def post(self, text: str, provisional_id: str) -> Message:
        """Raises Denied, TimeoutError."""
        return await client.post(
            self.url,
            self.room,
            self.sender,
            text,
            provisional_id=provisional_id,
            seconds=20,
            token=self.token,
        )
