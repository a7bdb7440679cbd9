"""The keys of a room's newest messages: by them a draft is recognised that is sent again.

The newest KEYS are kept, and all of KEY_SECONDS, whichever is more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ..fields import iso_date
from ..messages import Key, Message

KEYS, KEY_SECONDS = 256, 120.0
KEY_BYTES = 400  # that one takes


class Keys:
    """The keys of the messages from id `first` on, in the order of their ids."""

    def __init__(self, first: int) -> None:
        self.first = first
        self._ids: dict[Key, int] = {}
        self._order: deque[tuple[int, str, Key]] = deque()  # id, date

    def __len__(self) -> int:
        return len(self._order)

    def copy(self) -> Keys:
        copy = Keys(self.first)
        copy._ids, copy._order = dict(self._ids), deque(self._order)
        return copy

    def find(self, key: Key) -> int | None:
        return self._ids.get(key)

    def append(self, message: Message) -> None:
        key = message.key
        self._ids[key] = message.id
        self._order.append((message.id, message.date, key))

    def prepend(self, messages: Sequence[Message], first: int) -> None:
        """Takes in the messages that precede those known; there are no others from `first` on."""
        for message in reversed(messages):
            key = message.key
            self._ids.setdefault(key, message.id)
            self._order.appendleft((message.id, message.date, key))
        self.first = first

    def reach(self, now: float) -> bool:
        """Whether a draft without a position would be known if it had been sent before."""
        return len(self) >= KEYS and self._order[0][1] < iso_date(now - KEY_SECONDS)

    def trim(self, now: float) -> None:
        """Forgets what is beyond both bounds, but for one key, which shows how far the others reach."""
        young = iso_date(now - KEY_SECONDS)
        while len(self) > KEYS and self._order[1][1] < young:
            id, _, key = self._order.popleft()
            if self._ids[key] == id:  # else the key came twice
                del self._ids[key]
            self.first = id + 1
