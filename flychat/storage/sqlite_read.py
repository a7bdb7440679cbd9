"""How the embedded engine reads commits: several questions in one statement, each answered with one text.

Python's sqlite3 releases the interpreter lock for each statement and each row, and must take it back. By then
the loop has it, and the two threads wait for each other each time, which takes longer than the reading. So
all commits that a question finds come as one text, and the answers to questions of the same kind, of whatever
rooms, as one row. If such a statement fails, each question is asked by itself: one damaged row does no harm
to other rooms.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from functools import cache, partial

from .sqlite_database import failure
from .worker import Answer, Question

# What a question asks: of a room (?1), from an id on (?2), so many commits (?3).
_LINES = (
    "SELECT group_concat(coalesce(seq || ' ' || n || ' ' || m, ''), char(10)) "
    "FROM (SELECT seq, n, m FROM log WHERE room = ?1 AND {} LIMIT ?3)"
)
FROM = _LINES.format(
    "seq >= (SELECT ifnull(max(seq), 1) FROM log WHERE room = ?1 AND seq <= ?2) ORDER BY seq"
)
ABOVE = _LINES.format("seq > ?2 ORDER BY seq")
BELOW = _LINES.format("seq < ?2 ORDER BY seq DESC")


def answers(db: sqlite3.Connection, questions: Sequence[Question]) -> list[Answer]:
    """The answer to each of some questions of one kind: a text for `rows_of`, or a StoreFailed."""
    try:
        values = [value for question in questions for value in question.values]
        return list(db.execute(_statement(questions[0].kind, len(questions)), values).fetchone())
    except Exception as error:  # whatever it is, the thread goes on
        if len(questions) == 1:
            return [failure(error)]
        return [answer for question in questions for answer in answers(db, [question])]


@cache
def _statement(query: str, times: int) -> str:
    """The query, so many times, each with parameters of its own."""
    queries = (re.sub("[?]([123])", partial(_shifted, 3 * number), query) for number in range(times))
    return f"SELECT ({'), ('.join(queries)})"


def _shifted(by: int, parameter: re.Match[str]) -> str:
    return f"?{by + int(parameter[1])}"


def rows_of(lines: str | None, *, newest_first: bool) -> list[tuple[int, int, str]]:
    """Of each commit its place, how many ids it takes, and its payload: JSON, so without a line break.

    Sorted here, as SQLite promises no order of the lines. Raises ValueError if one is no commit.
    """
    rows = []
    for line in lines.split("\n") if lines is not None else ():
        seq, ids, payload = line.split(" ", 2)
        rows.append((int(seq), int(ids), payload))
    return sorted(rows, reverse=newest_first)
