"""What waits to be sent, and how it is framed: bytes in, bytes out.

A block is the bytes of one or more whole events. A block for everybody waits in the Backlog of an audience; a
plan for one client waits as an Owed, which is a place among parts that other clients share. Both are read a
piece at a time, and a piece is copied only when it is about to be sent.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence

SEND_BYTES = 1 << 16  # that are joined for one send to one client
NOWHERE = sys.maxsize  # the cursor of a connection that has not joined yet: it gets nothing of the backlog
LAST_CHUNK = b"0\r\n\r\n"
PLACE_BYTES = 8  # that a part takes in each plan that it is in


def chunk(data: bytes) -> bytes:
    """A block as HTTP/1.1 has it. It must not be empty: that would be the last chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def bare(data: bytes) -> bytes:
    """A block as HTTP/1.0 has it."""
    return data


def batch_end(parts: Sequence[bytes], at: int) -> int:
    """Where a batch ends that begins at `at`: SEND_BYTES, or as many more as its last part has."""
    size = 0
    while at < len(parts) and size < SEND_BYTES:
        size += len(parts[at])
        at += 1
    return at


def batches(parts: Sequence[bytes]) -> Iterator[bytes]:
    """The parts, joined to blocks of a bounded size."""
    at = 0
    while at < len(parts):
        end = batch_end(parts, at)
        yield b"".join(parts[at:end])
        at = end


class Owed:
    """What waits for one client: `head`, then `parts` from `_at` on, without `_sent` bytes of `next`."""

    __slots__ = ("_at", "_end", "_frame", "_head", "_sent", "parts", "size")

    def __init__(
        self, frame: Callable[[bytes], bytes], head: bytes, parts: tuple[bytes, ...], size: int
    ) -> None:
        self.parts, self.size = parts, size
        self._frame, self._head = frame, head
        self._at = self._end = self._sent = 0

    def next(self) -> bytes:
        """What is to be sent now, not much more than SEND_BYTES; the same again until all of it is sent."""
        parts = self.parts
        self._end = len(parts) if self.size <= SEND_BYTES else batch_end(parts, self._at)
        body = b"".join(parts[self._at : self._end])
        data = self._head + (self._frame(body) if body else b"")
        return data[self._sent :] if self._sent else data

    def took(self, sent: int, of: int) -> bool:
        """`sent` of the `of` bytes of `next` have been sent. Says whether nothing is left."""
        if sent < of:
            self._sent += sent
            return False
        self._at, self._sent, self._head = self._end, 0, b""
        return self._at == len(self.parts)


def owed_bytes(owed: Iterable[Owed]) -> int:
    """The bytes that all of these keep in memory, about. Parts that several wait for are counted once.

    Plans of one room have their messages in common, unless it was read again in between. Whether they have is
    seen where they begin, the largest first: behind the opening, which has two parts at the most.
    """
    plans = {id(each.parts): each for each in owed if each.parts}
    known: set[int] = set()
    size = 0
    for each in sorted(plans.values(), key=lambda each: -each.size):
        parts = each.parts
        size += PLACE_BYTES * len(parts)
        if id(parts[min(2, len(parts) - 1)]) not in known:
            known.update(map(id, parts))
            size += each.size
    return size


class Backlogs:
    """How many bytes some backlogs have, all together."""

    def __init__(self) -> None:
        self.bytes = 0


class Backlog:
    """The newest blocks of bytes, addressed by their offset since the beginning; counted in `backlogs`."""

    def __init__(self, backlogs: Backlogs) -> None:
        self.start = self.end = 0
        self._all = backlogs
        self._blocks: list[bytes] = []
        self._ends: list[int] = []

    def append(self, block: bytes) -> None:
        self._blocks.append(block)
        self.end += len(block)
        self._all.bytes += len(block)
        self._ends.append(self.end)

    def read(self, offset: int) -> bytes:
        """All there is from `offset` on."""
        return self._read(offset, NOWHERE)

    def batch(self, offset: int) -> bytes:
        """What comes next at `offset`: blocks up to SEND_BYTES, or the one with which it is more."""
        return self._read(offset, SEND_BYTES)

    def _read(self, offset: int, most: int) -> bytes:
        place = bisect_right(self._ends, offset)
        pieces = self._blocks[place : bisect_left(self._ends, offset + most, place) + 1]
        if pieces and (skip := offset - self._ends[place] + len(pieces[0])):
            pieces[0] = pieces[0][skip:]
        return b"".join(pieces)

    def trim(self, upto: int, keep: int) -> None:
        """Drops blocks that end at or before `upto`, while there are more than `keep` bytes."""
        count, before = 0, self.start
        while self.end - self.start > keep and self._ends[count] <= upto:
            self.start = self._ends[count]
            count += 1
        self._all.bytes -= self.start - before
        del self._blocks[:count], self._ends[:count]
