"""A room: its senders, who send until they are answered, and what they were told."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..judge import Key, Ledger, Stored
from ..oracle import post

if TYPE_CHECKING:
    from .client import Client
    from .stage import Stage

PAUSE = 0.3  # seconds between two messages of a sender, on the average


class Room:
    def __init__(self, stage: Stage) -> None:
        self.name = f"soak {uuid.uuid4().hex[:8]}"
        self.stage = stage
        self.ledger = Ledger()
        self.clients: list[Client] = []
        self.busy = 0

    async def send(self, sender: str, until: Callable[[], bool]) -> None:
        chance = self.stage.chance
        while not until():
            key = (None, sender, str(uuid.UUID(int=chance.getrandbits(128))))
            text = f"{sender} says {len(self.ledger.sent)} " + "x" * chance.choice((10, 100, 3000))
            self.ledger.send(key, text)
            while key not in self.ledger.acknowledged:
                copies = chance.choice((1, 1, 1, 2))
                await asyncio.gather(*(self._post(key, text) for _ in range(copies)))
                if key not in self.ledger.acknowledged:
                    if chance.random() < 0.05:
                        break  # it gives up
                    await asyncio.sleep(chance.uniform(0.1, 1))
            await asyncio.sleep(chance.uniform(0, 2 * PAUSE))

    async def _post(self, key: Key, text: str) -> None:
        status, answer = 0, {}
        self.busy += 1
        try:
            url = self.stage.post_url()
            with contextlib.suppress(OSError, EOFError, TimeoutError, ValueError):
                status, answer = await asyncio.wait_for(
                    post(url, self.name, text, key[2], key[1]), self.stage.chance.choice((2, 20))
                )
        finally:
            self.busy -= 1
        self.ledger.answer(key, status, Stored.read(answer) if status == 200 else None)
