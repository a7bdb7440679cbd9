"""Streams that wait for a room whose log is being read: after a restart nearly all streams, some per room.

The first stream that waits for a room has its log read, in a task. The others stand in a queue. When the log
is read they are answered from memory, some in each turn of the loop. A stream for which that is not enough
(the first one was refused, or asked for less of the past) gets a task of its own. Behind a proxy nothing is
kept in memory: there each stream has a task, and the streams of a room share what is read.

The reading of a room takes a place (turns.Places), which each address gets in turn. So a client that asks for
thousands of rooms delays only the clients of its own address.

Refusals are answered here: the request was consumed, so Tornado cannot answer it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import NamedTuple

from ..errors import FlychatError
from ..streams import StreamPlan
from .accepting import LET_IN_AT_ONCE, Client
from .application import BaseApplication
from .plain import PlainStream


class Asked(NamedTuple):
    """A stream that waits for its plan. The request is consumed."""

    client: Client
    plain: PlainStream
    address: str
    since: float = 0.0  # time.monotonic


class ColdRooms:
    """Calls `answer` with a plan, or `refuse` with an error; or `drop`, if the client gets no answer.

    `memory`: what is read for the first stream of a room is then there for the others.
    """

    def __init__(
        self,
        application: BaseApplication,
        answer: Callable[[StreamPlan, Asked], None],
        refuse: Callable[[FlychatError, Asked], None],
        drop: Callable[[Client], None],
        *,
        memory: bool = True,
    ) -> None:
        self._application, self._answer, self._refuse, self._drop = application, answer, refuse, drop
        self._memory = memory
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._others: dict[str, deque[Asked]] = {}  # by room: the streams behind the first one
        self._waiting: dict[str, deque[Asked]] = {}  # by room that has no place yet

    def wait(self, asked: Asked) -> None:
        """Answers when there is a plan. The client is under way from now on."""
        self._application.begin(asked.client)
        room = asked.plain.room
        if (others := self._others.get(room)) is not None:
            others.append(asked)
        else:
            self._waiting.setdefault(room, deque()).append(asked)
            self._application.readings.wait(asked.address, partial(self._begin, room))

    def close(self) -> None:
        """Drops all clients that wait."""
        for task in self._tasks:
            task.cancel()
        for others in (*self._others.values(), *self._waiting.values()):
            for asked in others:
                self._drop(asked.client)
                self._application.end(asked.client)
            others.clear()
        self._waiting.clear()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _begin(self, room: str) -> bool:
        """Has the room read for all who wait, if any do: the turn of another one may have come before."""
        asked = self._waiting.pop(room, None)
        if asked is None:
            return False
        self._spawn(self._lead(asked.popleft()))
        if self._memory:
            self._others[room] = asked
        else:
            for other in asked:  # which share what is read for the first
                self._spawn(self._read(other))
        return True

    async def _lead(self, asked: Asked) -> None:
        try:
            await self._read(asked)
        finally:
            if self._memory:
                self._follow(asked.plain.room)
            self._application.readings.give_back()

    async def _read(self, asked: Asked) -> None:
        try:
            plan = await self._application.chat.plan(asked.plain.request, asked.address)
        except FlychatError as error:
            self._refuse(error, asked)
        except BaseException:
            self._drop(asked.client)
            raise
        else:
            self._answer(plan, asked)
        finally:
            self._application.end(asked.client)

    def _follow(self, room: str) -> None:
        others = self._others[room]
        for _ in range(min(LET_IN_AT_ONCE, len(others))):
            asked = others.popleft()
            plan = self._application.chat.plan_at_once(asked.plain.request, asked.address)
            if plan is None:
                self._spawn(self._read(asked))
            else:
                self._answer(plan, asked)
                self._application.end(asked.client)
        if others:
            self._loop.call_soon(self._follow, room)
        else:
            del self._others[room]
