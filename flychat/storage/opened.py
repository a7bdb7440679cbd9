"""Opening the store that a configuration names; only its own technology is imported."""

from __future__ import annotations

from collections.abc import Mapping

from . import Engine


async def open_engine(
    kind: str,
    location: str,
    environ: Mapping[str, str],
    retention: float | None = None,
    *,
    reading: bool = False,
) -> Engine:
    """The store of a `kind`, sqlite or dynamodb. Only for `reading`, a file may be in use by a server.

    Raises Misconfigured.
    """
    if kind == "sqlite":
        from .sqlite import SqliteEngine

        return await SqliteEngine.open(location, retention=retention, reading=reading)
    from .dynamodb import DynamoEngine

    return await DynamoEngine.open(location, environ, retention=retention)
