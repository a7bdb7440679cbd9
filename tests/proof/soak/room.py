"""A room: its senders, who send until they are answered, what they were told, and what the judge finds."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..judge import (
    Key,
    Ledger,
    Log,
    Stored,
    at_the_end,
    judge_floors,
    judge_prefix,
    judge_witness,
    unresolved,
)
from ..oracle import post
from .operator import Operator
from .passes import PRIVATE

if TYPE_CHECKING:
    from .client import Client
    from .stage import Stage

PAUSE = 0.3  # seconds between two messages of a sender, on the average
SENDERS = 4


class Room:
    def __init__(
        self, stage: Stage, *, private: bool = False, over: Callable[[], bool] = lambda: False
    ) -> None:
        """`over`: whether no more is to be begun."""
        self.name = f"{PRIVATE if private else 'soak'} {uuid.uuid4().hex[:8]}"
        self.stage, self.private, self.over = stage, private, over
        self.ledger = Ledger()
        self.log = Log(self._newest)
        self.clients: list[Client] = []
        self.busy = 0
        self.operator = Operator(self)
        self._clearing = False  # and it is not answered yet
        self._more = 0  # ids that the log may have beside those of what was sent

    def _newest(self) -> int:
        return len(self.ledger.sent) + self._more

    def floor(self) -> int:
        """Up to which id it may be cleared by now."""
        return 10**9 if self._clearing else self.log.floor

    def clears(self) -> None:
        """Somebody begins to clear the room: it takes an id, and what is not answered yet may be stored again."""
        self._clearing = True
        self._more += 10 * (1 + SENDERS)  # however often it is asked for
        self.log.doubt(max(self.ledger.acknowledged.values(), default=0))

    def cleared(self, upto: int) -> None:
        self._clearing = False
        self.log.clear(upto)

    def slept(self, ends: list[int]) -> None:
        """Commits that end there are old by now: they are gone, or will be, one after the other."""
        self._more += SENDERS
        for end in ends:
            self.log.clear(end)

    async def send(self, sender: str, until: Callable[[], bool]) -> None:
        chance = self.stage.chance
        mine: dict[Key, tuple[str, int]] = {}  # answered ones, which may be sent again at any time
        while not until():
            user = f"the user {sender}" if self.private else None
            key = (user, sender, str(uuid.UUID(int=chance.getrandbits(128))))
            said = f"{sender} of {self.name} says {len(self.ledger.sent)} "
            text = said + "x" * chance.choice((10, 100, 3000))
            self.ledger.send(key, text)
            known = chance.choice((None, max(self.ledger.acknowledged.values(), default=0)))
            while key not in self.ledger.acknowledged:
                copies = chance.choice((1, 1, 1, 2))
                await asyncio.gather(*(self._post(key, text, known) for _ in range(copies)))
                if key not in self.ledger.acknowledged:
                    if chance.random() < 0.05:
                        break  # it gives up
                    await asyncio.sleep(chance.uniform(0.1, 1))
                elif known is not None:
                    mine[key] = text, known
            if mine and chance.random() < 0.1:
                old = chance.choice(sorted(mine))
                self._more += 1  # if it is cleared by now
                await self._post(old, *mine[old])
            await asyncio.sleep(chance.uniform(0, 2 * PAUSE))

    async def _post(self, key: Key, text: str, known: int | None) -> None:
        status, answer = 0, {}
        self.busy += 1
        try:
            url, headers = self.stage.post_url(), self.stage.passes.writer(key[0], self)
            with contextlib.suppress(OSError, EOFError, TimeoutError, ValueError):
                status, answer = await asyncio.wait_for(
                    post(url, self.name, text, key[2], key[1], headers, known),
                    self.stage.chance.choice((2, 20)),
                )
        finally:
            self.busy -= 1
        self.ledger.answer(key, status, Stored.read(answer) if status == 200 else None, self.floor())

    def whole(self, stored: list[Stored]) -> bool:
        """Whether everybody has everything who is to have it, and nobody else is there."""
        ever = self._ever(stored)
        return all(
            client.on
            and at_the_end(client.witness, stored)
            and not unresolved(client.witness, ever, self._excused)
            if client.stays
            else not client.on
            for client in self.clients
        )

    def judge(self, stored: list[Stored]) -> list[str]:
        """What is wrong at the end."""
        floor = stored[0].id - 1 if stored else self.log.floor
        wrong = self.ledger.judge(stored, floor)
        if floor not in self.log.floors:
            wrong.append(f"the log begins behind {floor}, and not behind one of {self.log.floors}")
        wrong += judge_floors(self.log, [client.witness for client in self.clients], stored)
        for number, client in enumerate(self.clients):
            if not client.stays:
                lines = judge_prefix(client.witness, stored)
                lines += ["it is still there"] * client.on
                self.stage.counts["prefixes"] += 1
            else:
                lines = judge_witness(client.witness, stored, self._excused, self._ever(stored))
                lines += ["it is not connected"] * (not client.on)
            wrong += [f"client {number}: {line}" for line in lines]
        return wrong

    def _excused(self, key: str) -> bool:
        return self.stage.mode == "grip"

    def _ever(self, stored: list[Stored]) -> list[Stored]:
        """What the log has had: also what was cleared, or has expired."""
        sent = self.ledger.sent
        gone = [Stored(id, k[1], sent[k], k[2], k[0]) for k, id in self.ledger.acknowledged.items()]
        return [*gone, *stored, *(m for client in self.clients for m in client.witness.seen.values())]
