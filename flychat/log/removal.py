"""Removing messages: an entry in the log names them, then the store is rewritten without their words.

1. The entry is put at the end of the log, as any draft is. It comes before the rewrite, so that a client that
   has read the text already is given the entry by its stream; and one that reads a tombstone can also read
   the entry.
2. The commits of the targets (the messages to remove) are rewritten. A rewrite is conditional on what was
   read: if another removal in the same commit was faster, the commit is read again.
3. Only then is the request answered. If something fails before, the same request repeats it: the entry is
   found by its provisional id, which is made of what it removes, and a tombstone stays one.

A process may end between steps 1 and 2. So one that loads a window with entries repeats step 2 where a target
still has its text.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from functools import partial
from weakref import WeakValueDictionary

from ..commits import COMMIT_MESSAGES, Commit
from ..errors import NotFound, Unavailable
from ..messages import Draft, Message
from ..storage import Taken
from .reading import available
from .view import Common

AT_ONCE = 8  # commits that are read, or rewritten, at once for one removal
REMEMBERED = 10_000  # entries whose targets are not looked at again when a window is loaded
TRIES = 20  # of a rewrite that others were faster than


class Removals:
    """What removes messages of one log; `submit` puts an entry at its end."""

    def __init__(
        self,
        common: Common,
        submit: Callable[[Draft], Awaitable[Message]],
        buried: Callable[[str, Message], None],
    ) -> None:
        """`buried` is called with the room and each tombstone that was made there."""
        self._common = common
        self._submit, self._buried = submit, buried
        # Entries whose targets are known to be gone: room, id and, as a room may have begun again, date.
        self._done: set[tuple[str, int, str]] = set()
        self._rooms: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # one at a time in a room

    async def remove(self, draft: Draft, check: Callable[[Message], None]) -> Message:
        """Stores the draft as an entry, and removes the messages that it names; returns the entry.

        If all were removed already, returns the last of the entries that did. `check` is called with each
        message, and may raise. Raises NotFound, Conflict, TooOld, Unavailable (then ask for the same again).
        """
        room = draft.room
        lock = self._rooms.setdefault(room, asyncio.Lock())
        async with lock:
            commits = await self.holding(room, draft.removes)
            found = {m.id: m for commit in commits for m in commit.messages}
            for id in draft.removes:
                if id not in found:
                    raise NotFound("there is no such message")
                check(found[id])
            targets = [found[id] for id in draft.removes]
            removed = [each.removed for each in targets if each.removed is not None]
            if len(removed) == len(targets) and not draft.erases:
                return await self._entry(room, max(removed))  # its own, if this one was asked for before
            entry = await self._submit(draft)
            await self._finish(room, entry, commits)
            return entry

    async def repair(self, room: str, entries: Iterable[Message]) -> None:
        """Rewrites what these entries remove, unless this process knows it to be done. Raises Unavailable."""
        for entry in entries:
            if (room, entry.id, entry.date) not in self._done:
                await self._finish(room, entry, await self.holding(room, entry.removes))

    async def _finish(self, room: str, entry: Message, commits: Iterable[Commit]) -> None:
        """Rewrites the commits, as they were read, without what the entry removes. Raises Unavailable."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(commit: Commit) -> None:
            async with turns:
                await self._rewrite(room, entry, commit)

        ended = await asyncio.gather(*map(one, commits), return_exceptions=True)
        for error in ended:
            if error is not None:
                raise error
        if len(self._done) >= REMEMBERED:
            self._done.clear()
        self._done.add((room, entry.id, entry.date))

    async def _rewrite(self, room: str, entry: Message, commit: Commit) -> None:
        first = commit.first
        for _ in range(TRIES):
            new = without(commit, entry)
            try:
                if new is not None:
                    # A try with an unknown outcome is safe to repeat: it is then Taken.
                    change = partial(self._common.engine.rewrite, commit, new)
                    await available(self._common.reader.patient(change))
            except Taken:  # by another removal, or an earlier try of this one; or the room was cleared
                commits = await self._common.reader.before(room, first + 1, 1)
                if not commits or commits[-1].first != first:
                    return
                commit = commits[-1]
            else:
                for message in (new or commit).messages:
                    if message.id in entry.removes:
                        self._buried(room, message)
                return
        raise Unavailable("others change the same messages: try again")

    async def _entry(self, room: str, id: int) -> Message:
        for commit in await self.holding(room, (id,)):
            for message in commit.messages:
                if message.id == id:
                    return message
        raise NotFound("it was removed, by a message that is no longer kept")

    async def holding(self, room: str, ids: Collection[int]) -> list[Commit]:
        """The commits that hold these ids, in their order, each once. Raises as reads do."""
        left, commits = sorted(ids), dict[int, Commit]()
        limit = 1 if len(left) == 1 else COMMIT_MESSAGES
        while left:
            some: list[int] = []  # ids so far apart that no two are in one commit
            for id in reversed(left):
                if len(some) < AT_ONCE and (not some or id <= some[-1] - COMMIT_MESSAGES):
                    some.append(id)
            read = await asyncio.gather(*(self._common.reader.before(room, id + 1, limit) for id in some))
            held = [commit for found in read for commit in found]
            wanted = [commit for commit in held if _holds_one(commit, left)]
            commits |= {commit.first: commit for commit in wanted}
            left = [id for id in left if id not in some and not any(c.first <= id <= c.last for c in wanted)]
        return [commits[first] for first in sorted(commits)]


def _holds_one(commit: Commit, ids: Sequence[int]) -> bool:
    """Whether the commit holds one of these ids, which are sorted: there may be many, so it bisects."""
    place = bisect_left(ids, commit.first)
    return place < len(ids) and ids[place] <= commit.last


def without(commit: Commit, entry: Message) -> Commit | None:
    """The commit without what the entry removes; None if it is so already."""
    gone = set(entry.removes)
    messages = tuple(m.tombstone(entry) if m.id in gone else m for m in commit.messages)
    return None if messages == commit.messages else Commit(commit.room, messages)
