"""How the embedded engine reads commits: as one text."""

from __future__ import annotations

# Commits as one text (`rows_of`): for each row that a query returns, Python gives the interpreter to another
# thread and takes it back, which costs more than to read the row.
_LINES = (
    "SELECT group_concat(coalesce(seq || ' ' || n || ' ' || m, ''), char(10)) "
    "FROM (SELECT seq, n, m FROM log WHERE room = ?1 AND {} LIMIT ?3)"
)
FROM = _LINES.format(
    "seq >= (SELECT ifnull(max(seq), 1) FROM log WHERE room = ?1 AND seq <= ?2) ORDER BY seq"
)
ABOVE = _LINES.format("seq > ?2 ORDER BY seq")
BELOW = _LINES.format("seq < ?2 ORDER BY seq DESC")


def rows_of(lines: str | None, *, newest_first: bool) -> list[tuple[int, int, str]]:
    """Of each commit its place, how many ids it takes, and its payload: JSON, so without a line break.

    SQLite promises no order of the lines. Raises ValueError where one is no commit.
    """
    rows = []
    for line in lines.split("\n") if lines is not None else ():
        seq, ids, payload = line.split(" ", 2)
        rows.append((int(seq), int(ids), payload))
    return sorted(rows, reverse=newest_first)
