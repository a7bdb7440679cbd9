"""What is known of the end of a room's log, in memory: its newest messages, and which drafts they were.

A window is contiguous up to the tail. It begins small, and grows in two directions: by the commits that are
folded in at its end, and, where somebody needs more of the past, by older ones that are put before it.

It is kept small: of the messages it has what a replay may need, REPLAY of them or their bytes, and of the
keys what keys.py says. A key outlives its message: then the window tells its id, and the message is read from
the log.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..commits import Commit
from ..errors import Conflict
from ..messages import Draft, Message
from ..sse import compact_json
from ..streams import (
    HISTORY,
    REPLAY,
    REPLAY_BYTES,
    Page,
    StreamPlan,
    StreamRequest,
    fitting,
    plan_stream,
    size,
)
from .keys import KEY_BYTES, KEYS, Keys
from .reading import buried, messages_of, removed_by

WINDOW_BYTES = 6 << 20  # from which on a room's window keeps no more messages than one replay may have
PLAN_BYTES = 1024  # that a plan takes, beside 16 for each message
PLANS = 1 << 20  # bytes of plans that a room keeps, so that those who ask for the same share one
MESSAGE_BYTES = 450  # that a message takes, beside its names, its text and its block
FIELD_TIMES = 12  # that data take as Python's objects, compared with their JSON, but for these:
LIST_BYTES, OBJECT_BYTES = 88, 184  # a list and an object in them
LONG = 256  # characters of a text whose block is made to know its size


def cost(message: Message) -> int:
    """The bytes that a message takes in memory, about: its text, its block, and the objects around them.

    A short block that nobody has asked for yet is not made for that: a character takes 6 bytes at the most.
    """
    text = message.text
    more = message.removes or message.data
    block = len(message.block) if more or len(text) >= LONG else 6 * len(text)
    user = 0 if message.user is None else _name(message.user)
    objects = _objects(message) if more else 0
    return MESSAGE_BYTES + _name(message.sender) + user + sys.getsizeof(text) + block + objects


def _name(name: str) -> int:
    """As it is, and in the block."""
    return sys.getsizeof(name) + 4 * len(name)


def _objects(message: Message) -> int:
    size = 0
    for fields in (message.removes, message.data):
        if fields:
            json = compact_json(fields)
            size += FIELD_TIMES * len(json.encode())
            size += LIST_BYTES * json.count("[") + OBJECT_BYTES * json.count("{")
    return size


def same_text(message: Message, draft: Draft) -> Message:
    """The message, if it is what the draft says. Raises Conflict if their key stands for another text.

    What a removed message said is not known any more: any text is taken for it.
    """
    same = message.text == draft.text and message.removes == draft.removes
    if message.removed is None and not (same and _exact(message.data) == _exact(draft.data)):
        raise Conflict("this provisionalId was used for another text")
    return message


def _exact(data: Mapping[str, Any] | None) -> str | None:
    """To Python {"a": 1} is equal to {"a": true}; the order of the names does not matter."""
    return None if data is None else json.dumps(data, sort_keys=True)


class Window:
    """The newest messages of a room, up to the `tail`, and their keys.

    `whole` says that the log has no older messages. Times are in seconds since the epoch.
    """

    def __init__(self, commits: Iterable[Commit], limit: int, now: float) -> None:
        """Keeps at least `limit` messages, or as many as one replay may have, if there are so many."""
        commits = list(commits)
        self.tail = commits[0].first - 1 if commits else 0
        self.whole = self.tail == 0
        self.messages: list[Message] = []
        self.keys = Keys(self.tail + 1)
        self._limit = limit
        self._bytes = 0  # of the messages
        self._most_bytes = 2 * WINDOW_BYTES  # of the messages, until it is looked which are needed
        self._bottom = False  # nothing can be put before the messages
        self._keys_most = 2 * KEYS
        self._plans: dict[StreamRequest, StreamPlan] = {}
        self._planned = 0  # bytes
        for commit in commits:
            self.fold(commit, now)

    @property
    def bytes(self) -> int:
        """What it takes in memory, about."""
        return self._bytes + KEY_BYTES * len(self.keys) + self._planned

    @property
    def oldest(self) -> int:
        """The id of the first message that is here, or the next one's."""
        return self.messages[0].id if self.messages else self.tail + 1

    def fold(self, commit: Commit, now: float) -> bool:
        """Takes the commit in if it is the next one; says whether it was."""
        if commit.first != self.tail + 1:
            return False
        self.tail = commit.last
        self._forget_plans()
        if not commit.messages:  # the room was cleared: what was sent before is new if it is sent again
            self.messages.clear()
            self.keys = Keys(1)
            self._bytes = 0
            self.whole = True
        for message in commit.messages:
            self.messages.append(message)
            self.keys.append(message)
            self._bytes += cost(message)
            for id in message.removes:
                if self.oldest <= id < message.id:
                    self.replace(self.messages[id - self.oldest].tombstone(message))
        if len(self.messages) > 2 * self._limit or self._bytes > self._most_bytes:
            self._trim(self._limit)
        if len(self.keys) > self._keys_most:
            self.keys.trim(now)
            self._keys_most = 2 * len(self.keys)
        return True

    def replace(self, message: Message) -> None:
        """Takes a tombstone in, in the place of what it is of, if that is here."""
        if not self.oldest <= message.id <= self.tail:
            return
        place = message.id - self.oldest
        self._bytes += cost(message) - cost(self.messages[place])
        self.messages[place] = message
        self._forget_plans()

    def _trim(self, most: int) -> None:
        """Keeps the newest `most` messages; if these take much, what a replay may have, and one more.

        What they take is not what they have on a stream: with `data` it is many times as much.
        """
        if self._bytes > WINDOW_BYTES:
            most = min(most, fitting(reversed(self.messages), REPLAY_BYTES) + 1)
        if (gone := len(self.messages) - most) > 0:
            self._bytes -= sum(map(cost, self.messages[:gone]))
            del self.messages[:gone]
            self.whole = self._bottom = False
        self._most_bytes = 2 * max(WINDOW_BYTES, self._bytes)

    def shortened(self, most: int, now: float) -> Window:
        """A window of the newest messages of this one, `most` of them, and of all keys that it has to keep.

        Without the keys, each draft without a position would have them read again, and push out other rooms.
        """
        short = Window((), self._limit, now)
        gone = max(0, len(self.messages) - most)
        short.tail = self.tail
        short.messages = self.messages[gone:]
        short.whole = self.whole and not gone
        short.keys = self.keys
        short.keys.trim(now)
        short._bytes = sum(map(cost, short.messages))
        return short

    def prepend(self, commits: Sequence[Commit], below: int) -> None:
        """Takes in what was read of the log below id `below`: nothing, if the log has nothing that joins."""
        if commits and commits[-1].last < below - 1:  # there is a hole
            commits = ()
        messages = [message for message in messages_of(commits) if message.id < below]
        whole = below <= 1 or any(commit.first == 1 or not commit.messages for commit in commits)
        if below == self.oldest:
            self._prepend_messages(messages)
            self.whole = whole and self.oldest == (messages[0].id if messages else below)
            self._bottom = not messages
        if below == self.keys.first:
            self.keys.prepend(messages, 1 if whole or not messages else messages[0].id)

    def _prepend_messages(self, messages: Sequence[Message]) -> None:
        # They may have been read before they were removed, by a message that is here.
        messages = buried(messages, removed_by(self.messages))
        self.messages[:0] = messages
        self._bytes += sum(map(cost, messages))
        self._trim(2 * self._limit)
        self._forget_plans()

    def _forget_plans(self) -> None:
        self._plans.clear()
        self._planned = 0

    def find(self, draft: Draft) -> Message | int | None:
        """The message that the draft has become, or its id if it is known, but not here.

        Raises Conflict if its key stands for another text.
        """
        id = self.keys.find(draft.key)
        if id is None or not self.oldest <= id <= self.tail:  # keys are shared with a shortened window
            return id
        return same_text(self.messages[id - self.oldest], draft)

    def covers(self, since: int | None, now: float) -> bool:
        """Whether `find` knows all drafts that were first sent at position `since`; None: lately."""
        return self.keys.first <= 1 or (
            self.keys.reach(now) if since is None else self.keys.first <= since + 1
        )

    @property
    def at_bottom(self) -> bool:
        """Whether nothing older can be had."""
        return self.whole or self._bottom

    def lacks(self, request: StreamRequest) -> int:
        """The id from which on older messages are needed for a plan, if there may be some; else 0."""
        first = max(1, self.tail + 1 - self._missing(request))
        if first >= self.oldest or self.at_bottom or size(self.messages) > REPLAY_BYTES:
            return 0
        return first

    def _missing(self, request: StreamRequest) -> int:
        """How many messages a plan is made of, if the log has them."""
        missing = HISTORY if request.last_id is None else self.tail - request.last_id
        return missing if 0 <= missing <= REPLAY else HISTORY

    def page(self, end: int, limit: int) -> Page | None:
        """`limit` messages up to id `end`, or all there are; None if older ones than these are needed."""
        oldest = self.oldest
        end = min(end, self.tail)
        if oldest > max(1, end - limit + 1) and not self.whole:
            return None
        first, last = max(oldest, end - limit + 1), max(oldest - 1, end)
        return Page(tuple(self.messages[first - oldest : last - oldest + 1]), self.tail)

    def plan(self, request: StreamRequest) -> StreamPlan:
        """How to open or mend a stream: the very same plan for equal requests, until the next commit."""
        plan = self._plans.get(request)
        if plan is None:
            plan = plan_stream(request, self.newest(self._missing(request)))
            if self._planned > PLANS:
                self._forget_plans()
            self._planned += PLAN_BYTES + 16 * len(plan.messages)
            self._plans[request] = plan
        return plan

    def newest(self, limit: int) -> Page:
        """The newest `limit` messages, or as many as there are here."""
        return Page(tuple(self.messages[len(self.messages) - min(limit, len(self.messages)) :]), self.tail)
