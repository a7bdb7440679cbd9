"""Drafts on their way into the log: each waits with its POST, and some together are the next commit."""

from __future__ import annotations

import asyncio
from functools import partial

from ..commits import COMMIT_BYTES, payload_item
from ..errors import FlychatError
from ..messages import Draft, Key, Message
from .view import Common, Searched, Told


class Waiter:
    """A draft that waits to be stored, since `began` (loop time), and the `future` that its POST awaits.

    `told` is called with the future in the turn of the loop after that is done: a done-callback of the future
    would cost 2 us more. The log is known not to have the draft at ids up to `seen`, which begins as its
    `since`: it was first sent after that. Once it was `tried`, it may be in the log behind `seen`.
    """

    __slots__ = ("_soon", "_told", "began", "draft", "future", "searched", "seen", "tried")

    def __init__(self, draft: Draft, searched: Searched, told: Told, common: Common) -> None:
        self.draft, self.began = draft, common.loop.time()
        self.searched = searched
        self.seen = draft.since
        self.tried = False
        self.future: asyncio.Future[Message] = common.loop.create_future()
        self._told, self._soon = told, common.soon

    def answer(self, message: Message) -> None:
        if not self.future.done():  # the one who asked may have gone
            self.future.set_result(message)
            self._soon(partial(self._told, self.future))

    def refuse(self, error: FlychatError) -> None:
        if not self.future.done():
            self.future.set_exception(error)
            self._soon(partial(self._told, self.future))


def batch(waiting: list[Waiter], most: int) -> list[Draft]:
    """The drafts of the next commit, marked as tried: each key once, within the limits of a commit."""
    if len(waiting) == 1:  # most are: any draft fits
        waiting[0].tried = True
        return [waiting[0].draft]
    drafts: dict[Key, Draft] = {}
    size = 1
    for waiter in waiting:
        draft = waiter.draft
        if draft.key in drafts:
            waiter.tried = True
            continue
        size += len(payload_item(draft).encode()) + 1
        if drafts and (len(drafts) == most or size > COMMIT_BYTES):
            break
        drafts[draft.key] = draft
        waiter.tried = True
    return list(drafts.values())
