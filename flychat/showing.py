"""When a draft is shown: its provisional event, before it is stored, and the retraction if it never is.

`show` begins, and gives what is to be told, once, how it ended. What was not stored is retracted; but not
after a Conflict: the provisional id then stands for a message that is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeAlias

from .errors import Conflict, FlychatError
from .messages import Draft
from .streams import Publication, provisional

Publish: TypeAlias = Callable[[Publication], None]
Ended: TypeAlias = Callable[[FlychatError | None], None]


class Showing(Protocol):
    """How a mode shows drafts."""

    def show(self, draft: Draft) -> Ended:
        """The draft goes to the store now. Call what is returned when it is there, or why it is not."""


class AtOnce:
    """Every draft is shown before it goes to the store."""

    def __init__(self, publish: Publish) -> None:
        self._publish = publish

    def show(self, draft: Draft) -> Ended:
        self._publish(provisional(draft))
        return partial(self._ended, draft)

    def _ended(self, draft: Draft, failure: FlychatError | None) -> None:
        if _is_retracted(failure):
            self._publish(provisional(draft, retracted=True))


def _is_retracted(failure: FlychatError | None) -> bool:
    return failure is not None and not isinstance(failure, Conflict)
