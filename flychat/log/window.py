"""What is known of the end of a room's log, in memory: its newest messages, and which drafts they were.

A window is contiguous up to the tail. It begins small, and grows in two directions: by the commits that are
folded in at its end, and, where somebody needs more of the past, by older ones that are put before it.

It is kept small: it has the messages that a replay may need, at most REPLAY of them or REPLAY_BYTES, and the
keys that keys.py keeps. A key outlives its message in memory: then the window knows only its id, and the
message is read from the log.
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

WINDOW_BYTES = 6 << 20  # in memory; with more, a room's window keeps only as many messages as one replay has
PLAN_BYTES = 1024  # that a plan takes, beside 16 for each message
PLANS = 1 << 20  # bytes of plans that a room keeps, so that equal requests share one
MESSAGE_BYTES = 450  # that a message takes, beside its names, its text and its block
FIELD_TIMES = 12  # bytes that `data` take as Python's objects, for each byte of their JSON; and besides
LIST_BYTES, OBJECT_BYTES = 88, 184  # for each list, and for each object
LONG = 256  # characters; of a longer text the block is made, so as to know its size


def cost(message: Message) -> int:
    """The bytes that a message takes in memory, about: its text, its block, and the objects around them.

    The block of a short text is not made for this, but taken for 6 bytes a character: the most that it has.
    """
    text = message.text
    more = message.removes or message.data
    block = len(message.block) if more or len(text) >= LONG else 6 * len(text)
    user = 0 if message.user is None else _name(message.user)
    objects = _objects(message) if more else 0
    return MESSAGE_BYTES + _name(message.sender) + user + sys.getsizeof(text) + block + objects


def _name(name: str) -> int:
    """The bytes of a name, by itself and in the block."""
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
    """The message, if it says what the draft of the same key says, or was removed. Raises Conflict if not.

    What a removed message said is not known any more.
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
        self._most_bytes = 2 * WINDOW_BYTES  # of the messages, until they are trimmed
        self._bottom = False  # the log was read, and has nothing that joins the oldest message
        self._keys_most = 2 * KEYS  # until they are trimmed
        self._plans: dict[StreamRequest, StreamPlan] = {}
        self._planned = 0  # the bytes of these
        for commit in commits:
            self.fold(commit, now)

    @property
    def bytes(self) -> int:
        """What it takes in memory, about."""
        return self._bytes + KEY_BYTES * len(self.keys) + self._planned

    @property
    def oldest(self) -> int:
        """The id of the first message that is here; without any, the id that the next one will have."""
        return self.messages[0].id if self.messages else self.tail + 1

    def fold(self, commit: Commit, now: float) -> bool:
        """Takes the commit in if it is the next one; says whether it was."""
        if commit.first != self.tail + 1:
            return False
        self.tail = commit.last
        self._forget_plans()
        if not commit.messages:  # the room was cleared: a draft from before is new if it is sent again
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
        """Puts a tombstone in the place of its message, if that is here."""
        if not self.oldest <= message.id <= self.tail:
            return
        place = message.id - self.oldest
        self._bytes += cost(message) - cost(self.messages[place])
        self.messages[place] = message
        self._forget_plans()

    def _trim(self, most: int) -> None:
        """Keeps the newest `most` messages; over WINDOW_BYTES, only those of one replay, and one more.

        In memory messages with `data` take many times their bytes on a stream.
        """
        if self._bytes > WINDOW_BYTES:
            most = min(most, fitting(reversed(self.messages), REPLAY_BYTES) + 1)
        if (gone := len(self.messages) - most) > 0:
            self._bytes -= sum(map(cost, self.messages[:gone]))
            del self.messages[:gone]
            self.whole = self._bottom = False
        self._most_bytes = 2 * max(WINDOW_BYTES, self._bytes)

    def shortened(self, most: int, now: float) -> Window:
        """A window of the newest `most` messages of this one, and of all keys that it has to keep.

        Without the keys, the next draft without a position would have them read again, and so other rooms
        would have to leave memory.
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
        """Takes in the commits that were read below id `below`. If they do not join it, there are no more."""
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
        """Whether `find` knows every draft first sent at position `since`; None: without one, but lately."""
        return self.keys.first <= 1 or (
            self.keys.reach(now) if since is None else self.keys.first <= since + 1
        )

    @property
    def at_bottom(self) -> bool:
        """Whether the log has nothing older that joins."""
        return self.whole or self._bottom

    def lacks(self, request: StreamRequest) -> int:
        """The id down to which older messages must be read for a plan; 0 if none are needed, or to be had."""
        first = max(1, self.tail + 1 - self._missing(request))
        if first >= self.oldest or self.at_bottom or size(self.messages) > REPLAY_BYTES:
            return 0
        return first

    def _missing(self, request: StreamRequest) -> int:
        """How many messages a plan is made of, if the log has them."""
        missing = HISTORY if request.last_id is None else self.tail - request.last_id
        return missing if 0 <= missing <= REPLAY else HISTORY

    def page(self, end: int, limit: int) -> Page | None:
        """The `limit` messages up to id `end`, or fewer at the log's beginning; None if some are not here."""
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
