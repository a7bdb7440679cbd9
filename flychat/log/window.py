"""What is known of the end of a room's log: its newest messages, in memory."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import Conflict
from ..messages import Commit, Draft, Key, Message
from ..streams import HISTORY, REPLAY, Page, StreamPlan, StreamRequest, plan_stream

PLANS = 8 << 20  # bytes of plans that a room keeps for those who ask alike, or one plan
PLAN_BYTES = 1024  # that a plan takes beside its body


class Window:
    """The newest messages of a room, contiguous up to the tail; at least `limit` of them, if there are.

    `whole` says that the log has no older ones.
    """

    def __init__(self, commits: Iterable[Commit], limit: int) -> None:
        self.tail = 0
        self.whole = False
        self.messages: list[Message] = []
        self._by_key: dict[Key, Message] = {}
        self._plans: dict[StreamRequest, StreamPlan] = {}
        self._planned = 0  # bytes
        self._limit = limit
        for commit in commits:
            if not self.messages:
                self.tail = commit.first - 1
            self.fold(commit)
        self.whole = self.whole or self.tail == len(self.messages)

    def fold(self, commit: Commit) -> bool:
        """Takes the commit in if it is the next one; says whether it was."""
        if commit.first != self.tail + 1:
            return False
        self.tail = commit.last
        self._plans.clear()
        self._planned = 0
        if not commit.messages:  # the room was cleared
            self.messages.clear()
            self._by_key.clear()
            self.whole = True
        self.messages.extend(commit.messages)
        self._by_key.update((message.key, message) for message in commit.messages)
        if len(self.messages) > 2 * self._limit:
            for message in self.messages[: -self._limit]:
                if self._by_key.get(message.key) is message:
                    del self._by_key[message.key]
            del self.messages[: -self._limit]
            self.whole = False
        return True

    def find(self, draft: Draft) -> Message | None:
        """The message that the draft has become. Raises Conflict if its key stands for another text."""
        message = self._by_key.get(draft.key)
        if message is not None and message.text != draft.text:
            raise Conflict("this provisionalId was used for another text")
        return message

    def page(self, end: int, limit: int) -> Page | None:
        """`limit` messages up to id `end`, or all there are; None if older ones than these are needed."""
        oldest = self.messages[0].id if self.messages else self.tail + 1
        end = min(end, self.tail)
        if oldest > max(1, end - limit + 1) and not self.whole:
            return None
        first, last = max(oldest, end - limit + 1), max(oldest - 1, end)
        return Page(tuple(self.messages[first - oldest : last - oldest + 1]), self.tail)

    def plan(self, request: StreamRequest) -> StreamPlan:
        """How to open or mend a stream: the very same plan for equal requests, until the next commit."""
        plan = self._plans.get(request)
        if plan is None:
            missing = HISTORY if request.last_id is None else self.tail - request.last_id
            plan = plan_stream(request, self.newest(missing if 0 <= missing <= REPLAY else HISTORY))
            size = plan.size + PLAN_BYTES
            if self._planned + size > PLANS:
                self._plans.clear()
                self._planned = 0
            self._planned += size
            self._plans[request] = plan
        return plan

    def newest(self, limit: int) -> Page:
        """The newest `limit` messages, or as many as there are here."""
        return Page(tuple(self.messages[len(self.messages) - min(limit, len(self.messages)) :]), self.tail)
