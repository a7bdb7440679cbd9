"""How the log is read: equal reads in flight are one, and commits become pages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Any, TypeVar

from ..messages import Commit, Message
from ..streams import Page

T = TypeVar("T")


class SharedReads:
    """Equal reads in flight become one: the one that begins after all of them were asked for."""

    def __init__(self) -> None:
        self._next: dict[Hashable, asyncio.Task[Any]] = {}  # not yet begun
        self._running: dict[Hashable, asyncio.Task[Any]] = {}

    async def get(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """What `read` returns or raises, called by this or by an equal request."""
        task: asyncio.Task[T] | None = self._next.get(key)
        if task is None:
            task = self._next[key] = asyncio.create_task(self._begin(key, read))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # if all have gone
        return await asyncio.shield(task)

    async def _begin(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        if (running := self._running.get(key)) is not None:
            await asyncio.wait([running])
        task = self._running[key] = self._next.pop(key)
        try:
            return await read()
        finally:
            if self._running.get(key) is task:
                del self._running[key]


def page_of(commits: list[Commit], limit: int = 0) -> Page:
    return Page(messages_of(commits)[-limit:], commits[-1].last if commits else 0)


def messages_of(commits: Iterable[Commit]) -> tuple[Message, ...]:
    """The messages since the room was last cleared: contiguous, as the commits are."""
    messages: list[Message] = []
    for commit in commits:
        if not commit.messages:
            messages.clear()
        messages.extend(commit.messages)
    return tuple(messages)
