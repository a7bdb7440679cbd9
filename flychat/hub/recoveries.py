"""Where the answer to a recovery ends, which a GRIP proxy asks for when it misses something.

A recovery must not run ahead of the publications:

    time ->   proxy asks       P published   message 8 stored   8 published   answer: 1..8
    proxy     queue is empty   queue: P                         queue: P, 8   goes on after 8

While a recovery is under way, the proxy keeps what is published for the client. With the answer it goes on
after the answer's position, and skips from the front of its queue what the answer has already. But it does
not look behind a provisional event (P) at the front: it passes P on, meets 8, which does not follow 8, takes
that for a gap, drops the queue and asks again. In a busy room this went on without end, and nobody saw a
message there before it was stored. So a message younger than YOUNG_SECONDS is left to its publication, unless
that was sent from here before the recovery was asked for: the answer ends before the message, and its link
times out after a second, in case the publication is lost (in a busy room not each time: `asks_soon`).

Which messages are young is a guess by their dates: the clock of the process that wrote them may be wrong, and
a slow store may have taken longer. Where it was wrong, the hold drops its queue and asks again from where the
answer ended. Then the next answer does the opposite: if the last one left something out, it has all there is;
else it has only what was published from here. (Clocks that were 3 seconds apart: in a room with 20 messages a
second a hold that had missed one asked 7 times a second, and one that had missed 100 was 4 seconds late.)
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from dataclasses import replace
from typing import Generic, TypeVar

from ..fields import iso_date
from ..streams import StreamPlan

K = TypeVar("K")
V = TypeVar("V")

YOUNG_SECONDS = 1  # a message is left to its publication: a store that is slow, and the proxy's own queue
RECENT_SECONDS = 5.0  # publications and answers are remembered: longer than a recovery takes
SENDING_SECONDS = 0.1  # that a publication takes to the proxy


def without_young(plan: StreamPlan, published: int, now: float) -> StreamPlan:
    """The plan of a recovery up to the first message that is young and beyond `published`; else the plan."""
    young = iso_date(now - YOUNG_SECONDS), iso_date(now + YOUNG_SECONDS)  # clocks may differ
    for message in plan.messages:
        if message.id > published and young[0] < message.date < young[1]:
            return up_to(plan, message.id - 1)
    return plan


def up_to(plan: StreamPlan, id: int) -> StreamPlan:
    """The plan of a recovery up to a message."""
    if id >= plan.position:
        return plan
    messages = tuple(message for message in plan.messages if message.id <= id)
    return replace(plan, messages=messages, position=id)


class Published:
    """What this process lately published. Moments are time.monotonic, and ids of a channel come in order."""

    def __init__(self) -> None:
        self._ids: dict[str, deque[tuple[float, int]]] = {}  # by channel
        self._order: deque[tuple[float, str]] = deque()

    def add(self, now: float, channel: str, id: int) -> None:
        self._ids.setdefault(channel, deque()).append((now, id))
        self._order.append((now, channel))
        while self._order[0][0] < now - RECENT_SECONDS:
            channel = self._order.popleft()[1]
            self._ids[channel].popleft()
            if not self._ids[channel]:
                del self._ids[channel]

    def before(self, moment: float, channel: str) -> int:
        """The last id that it had published of the channel, if that was lately; else 0."""
        return next((id for when, id in reversed(self._ids.get(channel, ())) if when < moment), 0)


class Recent(Generic[K, V]):
    """What was noted less than RECENT_SECONDS ago, by key. Moments are time.monotonic."""

    def __init__(self) -> None:
        self._noted: OrderedDict[K, tuple[float, V]] = OrderedDict()  # the oldest first

    def note(self, now: float, key: K, value: V) -> None:
        self._noted[key] = now, value
        self._noted.move_to_end(key)
        while (oldest := next(iter(self._noted.items())))[1][0] < now - RECENT_SECONDS:
            del self._noted[oldest[0]]

    def get(self, now: float, key: K) -> V | None:
        when, value = self._noted.get(key, (-math.inf, None))
        return value if now - when < RECENT_SECONDS else None

    def take(self, now: float, key: K) -> V | None:
        """The same, and forgets it."""
        value = self.get(now, key)
        self._noted.pop(key, None)
        return value


class Recoveries:
    """Knows what this process lately published and answered, and so where the next answer is to end."""

    def __init__(self) -> None:
        self._published = Published()
        # By channel, and where an answer ended: whether the log ended there; else something was left out.
        self._answered = Recent[tuple[str, int], bool]()
        self._left = Recent[str, float]()  # by channel: since when something is left out

    def note_published(self, now: float, channel: str, id: int) -> None:
        """Takes note that a message was published (time.monotonic)."""
        self._published.add(now, channel, id)

    def answer(self, plan: StreamPlan, asked: float) -> StreamPlan:
        """The plan; of a recovery perhaps only its beginning, without what the proxy has in its queue.

        `asked`: when the proxy asked (time.monotonic).
        """
        if plan.opening or not plan.messages:  # a client's own request, or a reset; or nothing is missing
            return plan
        channel, position, now = plan.official, plan.messages[0].id - 1, time.monotonic()
        published = self._published.before(asked - SENDING_SECONDS, channel)
        ran_ahead = self._answered.take(now, (channel, position))
        if ran_ahead is None:
            answer = without_young(plan, published, time.time())
        else:
            answer = up_to(plan, max(position, published)) if ran_ahead else plan
        if answer.messages:
            self._answered.note(now, (channel, answer.position), answer is plan)
        return answer

    def asks_soon(self, plan: StreamPlan, answer: StreamPlan) -> bool:
        """Whether the proxy asks again in a second for what the answer leaves out.

        In a busy room something is always left out, and each hold would be asked for every second. So it does
        not if it did so lately, and this process has published all that is left out.
        """
        now, channel = time.monotonic(), plan.official
        if (first := self._left.get(now, channel)) is not None:
            flows = not answer.messages and plan.position <= self._published.before(math.inf, channel)
            return not flows or now - first < YOUNG_SECONDS
        self._left.note(now, channel, now)
        return True
