"""The keys of a room's newest messages, by which a draft that is sent again is recognised.

The newest KEYS are kept, and all of the last KEY_SECONDS, whichever is more. A process can store some million
messages in that time, and their keys have to fit into memory: so of a key only its 64-bit hash is kept, and
of a date only its second. Among a million keys of a room, two have the same hash in one of 37 million rooms;
nobody can provoke that, because Python's hashes differ from process to process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from ..fields import iso_date
from ..messages import Key, Message

KEYS, KEY_SECONDS = 256, 120.0
KEY_BYTES = 200  # that a key takes: 130 in a busy room, 240 where there are few
SECOND = len("2026-01-31T12:00:00")  # characters of a date, up to its second


class Keys:
    """The keys of the messages from id `first` on, in the order of their ids."""

    __slots__ = ("_newest", "_order", "first")

    def __init__(self, first: int) -> None:
        self.first = first
        self._newest: dict[int, int] = {}  # the id of each hash
        # Of each key three items: hash, id and second. An empty deque takes 760 bytes, so there is only one.
        self._order: deque[Any] = deque()

    def __len__(self) -> int:
        return len(self._order) // 3

    def find(self, key: Key) -> int | None:
        return self._newest.get(hash(key))

    def append(self, message: Message) -> None:
        key, second = hash(message.key), message.date[:SECOND]
        if self._order and self._order[-1] == second:
            second = self._order[-1]  # one string for all
        self._newest[key] = message.id
        self._order.extend((key, message.id, second))

    def prepend(self, messages: Sequence[Message], first: int) -> None:
        """Takes in the messages that precede those known; there are no others from `first` on."""
        for message in reversed(messages):
            key = hash(message.key)
            self._newest.setdefault(key, message.id)
            self._order.extendleft((message.date[:SECOND], message.id, key))
        self.first = first

    def reach(self, now: float) -> bool:
        """Whether they go back KEYS messages and KEY_SECONDS, so that drafts without a position are known."""
        return len(self) >= KEYS and self._order[2] < _young(now)  # the second of the oldest

    def has_young(self, now: float) -> bool:
        """Whether there is one of the last two minutes."""
        return bool(self._order) and self._order[-1] >= _young(now)

    def trim(self, now: float) -> None:
        """Forgets what is beyond both bounds, but for one key, which shows how far the others reach."""
        young = _young(now)
        take = self._order.popleft
        while len(self) > KEYS and self._order[5] < young:  # the second of the second oldest
            key, id, _ = take(), take(), take()
            if self._newest[key] == id:  # else the key came twice
                del self._newest[key]
            self.first = id + 1


def _young(now: float) -> str:
    """The second from which on keys are kept."""
    return iso_date(now - KEY_SECONDS)[:SECOND]
