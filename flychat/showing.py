"""When a draft is shown: its provisional event before it is stored, and its retraction if it never is.

`show` returns a function, which is to be called once, with how storing ended. A draft that was not stored is
retracted; but not after a Conflict, because its provisional id then stands for a message that is stored.

Standalone shows every draft at once: the provisional event and the official one usually leave in one send.
For a GRIP proxy every event is an item to encode, to post and to pass on, and most stores have answered
before the first of the two has arrived. So in GRIP mode:

- A draft is shown if it has not been stored within PATIENCE. If it is stored sooner, only its official event
  is sent. So it is first seen no later than with the store's answer, and no later than PATIENCE after it
  would have been seen in standalone mode.
- After a store was too slow, the next drafts are shown at once, until it answers within PATIENCE again. So
  with a store that is always slower, all is seen as early as in standalone mode.
- A draft that was not shown is not retracted, and one whose outcome is known is not shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeAlias

from .errors import Conflict, FlychatError
from .messages import Draft
from .streams import Publication, provisional

# Seconds. A put takes 0.5 ms into an SQLite file, where one in a hundred takes 4; into DynamoDB it takes 7.
PATIENCE = 0.003

Publish: TypeAlias = Callable[[Publication], None]
Ended: TypeAlias = Callable[[FlychatError | None], None]


class Showing(Protocol):
    """How a mode shows drafts."""

    def show(self, draft: Draft) -> Ended:
        """The store was just given the draft. Call the result when it is stored, or with why it is not."""


class AtOnce:
    """Shows every draft in the turn of the loop in which the store is given it: before the store answers."""

    def __init__(self, publish: Publish) -> None:
        self._publish = publish

    def show(self, draft: Draft) -> Ended:
        self._publish(provisional(draft))
        return partial(self._ended, draft)

    def _ended(self, draft: Draft, failure: FlychatError | None) -> None:
        if _is_retracted(failure):
            self._publish(provisional(draft, retracted=True))


@dataclass(eq=False, slots=True)
class _Waiting:
    draft: Draft
    due: float  # when the patience ends, by the loop's clock
    shown: bool


class Patient:
    """Shows a draft when the store has not answered within PATIENCE; at once if it did not the last time.

    There is one timer for all drafts, since they become due in the order in which they came.
    """

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        self._loop = asyncio.get_running_loop()
        self._slow = False  # whether the store was, the last time
        self._waiting: dict[_Waiting, None] = {}  # in the order in which they came
        self._timed = False  # whether the timer runs

    def show(self, draft: Draft) -> Ended:
        waiting = _Waiting(draft, self._loop.time() + PATIENCE, shown=False)
        if self._slow:
            self._show(waiting)
        self._waiting[waiting] = None
        if not self._timed:
            self._wake_at(waiting.due)
        return partial(self._ended, waiting)

    def _ended(self, waiting: _Waiting, failure: FlychatError | None) -> None:
        if waiting in self._waiting:
            del self._waiting[waiting]
            self._slow = False
        if waiting.shown and _is_retracted(failure):
            self._publish(provisional(waiting.draft, retracted=True))

    def _wake_at(self, when: float) -> None:
        # One turn later than due: an answer of the store that came in this turn is handled in the next one,
        # and the provisional event would be published after the official one.
        self._timed = True
        self._loop.call_at(when, self._loop.call_soon, self._lose_patience)

    def _lose_patience(self) -> None:
        """Shows the drafts that are due."""
        now = self._loop.time()
        for waiting in list(self._waiting):
            if waiting.due > now:
                return self._wake_at(waiting.due)
            del self._waiting[waiting]
            self._slow = True
            if not waiting.shown:
                self._show(waiting)
        self._timed = False

    def _show(self, waiting: _Waiting) -> None:
        waiting.shown = True
        self._publish(provisional(waiting.draft))


def _is_retracted(failure: FlychatError | None) -> bool:
    return failure is not None and not isinstance(failure, Conflict)
