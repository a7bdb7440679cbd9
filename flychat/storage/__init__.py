"""Where commits are kept: the port. Its promises are one test suite that runs on every engine.

A room is a log of commits, keyed by (room, id of the first message). An engine stores values; it knows
nothing of who writes when. The rules of writing are in log/.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ..commits import Commit
from ..errors import FlychatError, Unavailable
from ..sse import BEYOND_ANY_LOG

READ_BYTES = (1 << 20) + (1 << 16)  # a replay of 1 MiB, and the commit in which its position is
READ_SECONDS = 2.0  # for one answer of the store to a reading
PUT_SECONDS = 3.0  # for its answer to a put


class StoreFailed(FlychatError):
    """A call of the store that did not plainly succeed.

    ├── Taken            the place holds another commit
    ├── Unknown          no answer; a put was applied, or was not, or will be
    ├── Throttled        not applied: the store asks for patience
    ├── Rejected         not applied, and never will be with this content
    ├── Hole             a reading ended at a commit that is missing, below the log's end
    └── Broken           not applied: the store is misconfigured, and waiting does not help (Unavailable)
    """


class Taken(StoreFailed):
    """The place holds another commit: `winner`, where the engine was told."""

    def __init__(self, winner: Commit | None = None) -> None:
        super().__init__("the place is taken")
        self.winner = winner


class Unknown(StoreFailed):
    """No answer in time; a put was applied, or was not, or will be."""


class Throttled(StoreFailed):
    """Not applied: the store asks for patience."""


class Rejected(StoreFailed):
    """Not applied, and never will be with this content."""


class Hole(StoreFailed):
    """A reading ended below the log's end, because a commit is missing.

    `commits` is what it read before the hole; `beyond` is the first id of the next commit that is there.
    """

    def __init__(self, commits: list[Commit], beyond: int) -> None:
        super().__init__(f"the log has a hole below {beyond}")
        self.commits = commits
        self.beyond = beyond


class Broken(StoreFailed, Unavailable):
    """Not applied: the store is misconfigured; waiting does not help."""


class Engine(Protocol):
    """A store of commits. Every read sees every put that had succeeded before the read began.

    A read returns whole commits that follow each other without a gap, oldest first: as few as hold
    `limit` (>= 1) messages of those that were asked for, or READ_BYTES of payload, or all there are.
    So a read that stops at READ_BYTES has over 1 MiB past the position: more than a stream may replay.

    A read, or `check`, that fails raises Unknown, Throttled or Broken. It is Unknown if the store itself has
    not answered for READ_SECONDS (a put: PUT_SECONDS). The time for which a call waits for its turn, or its
    answer for a busy event loop, does not count, since neither says that the store is dead. So a caller needs
    no time-out of its own. A cancelled read ends.
    """

    shared: bool
    """Whether other processes may write to the same store while this one runs."""

    reads: int
    """How many reads at once keep the store busy. More are no faster; their answers only come in bunches."""

    retention: float | None
    """For how many seconds a commit is kept, at least; None: for ever."""

    async def put(self, commit: Commit) -> None:
        """Stores the commit if its place (room, first) is free, else raises Taken, all in one step.

        Raises Unknown where the outcome was not learned, Throttled, Rejected and Broken where nothing
        was stored. Taken carries the commit at the place, if the engine was told it. Only `first` is
        compared: a place inside a stored commit counts as free, so a writer puts at the end of a commit
        that it has read or written, and nowhere else.
        """

    def submit(self, commit: Commit, done: Callable[[StoreFailed | None], None]) -> bool:
        """Puts without a task, if the engine can; `done` later gets what `put` would raise, or None.

        Returns False if it cannot: then nothing was done, and `put` is to be used.
        """

    async def tail(self, room: str, limit: int) -> list[Commit]:
        """The newest commits: `limit` messages."""

    async def after(self, room: str, id: int, limit: int) -> list[Commit]:
        """The commit that holds `id`, and those that follow it: `limit` messages past `id`.

        So [] says that `id` is beyond the log, or 0 and the log is empty. A log that lost its beginning,
        or has a hole at `id`, answers from the next commit on, whose first is then more than id + 1.

        Raises Hole, with what it has read, if the next commit is missing and later ones are there: a reader
        would take the hole for the end of the log. A store may show a commit a moment earlier than the one
        before it, so an engine reads again before it raises Hole.
        """

    async def before(self, room: str, id: int, limit: int) -> list[Commit]:
        """The commits that precede `id`: `limit` messages below it. The last may hold `id` as well.

        This, and `tail`, ends at a hole.
        """

    async def find(self, room: str, above: int, below: int, provisional_id: str) -> list[Commit]:
        """The commits with a message of this provisional id, of those with ids between `above` and `below`.

        Looked for in the store itself, in parts that let puts pass; oldest first, and not beyond READ_BYTES
        of what was found. A commit may hold ids outside of the range as well.
        """

    async def rewrite(self, old: Commit, new: Commit) -> None:
        """Stores `new`, which has as many ids, in the place of `old`, if that is still stored as it was read.

        Else raises Taken, also if an earlier try was applied; fails otherwise as `put` does. The commit
        expires when it did before. Nothing that only `old` said is left in the store, or in its free space.
        """

    async def delete(self, commit: Commit) -> None:
        """Deletes the commit, if it is stored as it was read; else raises Taken. Its ids are free then.

        Only for a room that is to be forgotten: a log without its end begins again.
        """

    async def everything(self, room: str, above: int) -> list[Commit]:
        """The room's next commits above an id, in order: some of them; [] only if there are none.

        It goes on behind holes, and also shows what has expired but is not deleted yet. Raises as reads do.
        """

    async def rooms(self) -> list[Summary]:
        """All rooms that have commits, sorted by name. Reads the whole store, in parts that let puts pass.

        What has expired is not counted; what is put meanwhile may be. Raises as reads do.
        """

    async def expire(self, before: str) -> None:
        """Deletes what is older than a date (as `iso_date` writes it), unless the store does so by itself.

        The newest commit of a room always stays, so that its ids go on. Raises as reads do.
        """

    async def check(self) -> None:
        """One cheap round trip."""

    async def close(self) -> None:
        """Frees everything, after the puts under way have ended."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a room is: how many messages it has, its last id so far, and what they take in the store."""

    room: str
    messages: int = 0
    last: int = 0
    bytes: int = 0  # of the payloads, as they are stored, in UTF-8
    newest: str | None = None  # the newest date of a commit's last message, if there is one

    def fields(self) -> dict[str, object]:
        """In the words of the wire."""
        return {
            "room": self.room,
            "messages": self.messages,
            "lastId": self.last,
            "bytes": self.bytes,
            "newest": self.newest,
        }

    def plus(self, commit: Commit) -> Summary:
        """With one commit more."""
        date = commit.messages[-1].date if commit.messages else None
        return self.with_these(len(commit.messages), commit.last, len(commit.payload.encode()), date)

    def with_these(self, messages: int, last: int, bytes: int, date: str | None) -> Summary:
        """The same, where the commit itself was not read."""
        newest = max(filter(None, (self.newest, date)), default=None)
        return Summary(self.room, self.messages + messages, max(self.last, last), self.bytes + bytes, newest)


@dataclass
class Run:
    """What a read gathers, upwards or downwards: commits in a row, up to `limit` messages or READ_BYTES.

    It ends at a gap; `beyond` is then the first id of the commit on the other side of it.
    """

    limit: int
    above: int = 0
    below: int = BEYOND_ANY_LOG + 1
    commits: list[Commit] = field(default_factory=list)
    size: int = 0
    beyond: int | None = None
    _previous: int = 0  # the ids beside the commit that was taken last
    _next: int = 0

    def take(self, commit: Commit) -> bool:
        """Takes the next commit, and says whether to go on."""
        first, last = commit.first, commit.last
        if last < self.above:
            return True  # `after` looks for the commit that holds an id among the 64 places before it
        if self.commits and first != self._next and last != self._previous:
            self.beyond = first
            return False
        self.commits.append(commit)
        self._previous, self._next = first - 1, last + 1
        self.limit -= min(last, self.below - 1) - max(first - 1, self.above)
        self.size += commit.size
        return self.limit > 0 and self.size < READ_BYTES

    @property
    def is_torn(self) -> bool:
        """Whether a commit is missing in an upward read: amid the others, or right behind `above`."""
        return self.beyond is not None or bool(self.commits and self.commits[0].first > self.above + 1)

    def oldest_first(self) -> list[Commit]:
        return sorted(self.commits, key=lambda commit: commit.first)

    def to_the_end(self) -> list[Commit]:
        """What an upward read returns. Raises Hole."""
        if self.beyond is not None:
            raise Hole(self.commits, self.beyond)
        return self.commits
