"""The room that `check` looks at, and what it finds there, told in plain words."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from .. import client
from ..client import http
from ..messages import Message
from ..sse import Event
from .terminal import told

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


class Findings:
    """Prints what is found, line by line; `bad` counts the problems."""

    bad = 0

    def good(self, text: str) -> None:
        print(f"  ok    {told(text)}", flush=True)

    def problem(self, text: str) -> None:
        self.bad += 1
        print(f"  BAD   {told(text)}", flush=True)

    def that(self, right: bool, good: str, otherwise: str) -> None:
        self.good(good) if right else self.problem(otherwise)


def reason(error: Exception) -> str:
    nothing = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    return str(error) or nothing
