"""The pace of a room's writer: what it does after a put that did not plainly succeed. Pure, a table of rules.

- Lost race, of two processes that write to the same room:

      A   put 8 ------> stored          put 9 ---------> stored
      B     put 8 ------> taken: the winner is A's 8   put 9 -> taken: A's 9 (the 2nd: B reads the log)

  The winner of the place usually comes with the answer, and the writer goes on behind it without
  reading: a writer that reads the log each time is late for the next race, and loses that one too. It reads
  after the 2nd loss in a row and after every 4th from there (the 6th, the 10th), since a writer that keeps
  losing is far behind; and at once if the answer does not tell the winner.
- Unknown outcome, or a store that asks for patience. The first time the same place is tried at once (the
  connection may have been stale), then after 20 ms, then twice as long each time, up to a second; throttled,
  after 50 ms at least. Of each wait the second half is left to chance, so that writers do not come together.
- Rejected commit. The next one has half as many drafts, until the one that is at fault is alone. After a
  success commits are of full size again.
- Won race. For a second after a lost race the room is contended: a winner waits up to as long as its put took
  before its next put, else the writer that is nearest to the store would win every time.

Times are in seconds, of the event loop. The rules are pure: they give the bounds of a wait, and the caller
chooses at random within them.
"""

from __future__ import annotations

from ..commits import COMMIT_MESSAGES

READ_AT_LOSS, READ_EVERY = 2, 4  # lost races in a row
CONTENDED = 1.0  # after a lost race
SHORTEST, LONGEST = 0.02, 1.0  # of the waits that double
PATIENCE = 0.05  # the shortest wait for a store that throttles


class Pace:
    """`most` drafts go into the next commit. `must_read`: the log is to be read before the next put.

    `in_doubt`: what became of the last put may be unknown.
    """

    def __init__(self) -> None:
        self.most = COMMIT_MESSAGES
        self.must_read = False
        self._pause = 0.0
        self._losses = 0
        self._lost_at = -CONTENDED

    @property
    def in_doubt(self) -> bool:
        return self._pause > 0

    def lost(self, now: float, *, told: bool) -> None:
        """The place was taken; `told` by whom."""
        self._losses += 1
        self._lost_at = now
        self.must_read = not told or self._losses % READ_EVERY == READ_AT_LOSS

    def read(self) -> None:
        """The log has been read to its end."""
        self.must_read = False

    def unanswered(self, *, throttled: bool = False) -> tuple[float, float]:
        """The store did not answer, or is overloaded: bounds of the wait before the same place is tried."""
        pause = max(self._pause, PATIENCE) if throttled else self._pause
        self._pause = min(LONGEST, max(SHORTEST, 2 * pause))
        return pause / 2, pause

    def rejected(self, drafts: int) -> bool:
        """A commit of so many drafts will never be stored. Returns whether it had one only, the culprit."""
        self.most = max(1, drafts // 2)
        return drafts == 1

    def succeeded(self, now: float, took: float) -> float:
        """A put succeeded, or nothing was left to put. Returns the longest time to let others put first."""
        self.most, self._pause, self._losses = COMMIT_MESSAGES, 0.0, 0
        return took if now - self._lost_at < CONTENDED else 0.0
