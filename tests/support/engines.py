"""Empty stores of each kind, for tests of what works on all of them."""

from __future__ import annotations

import uuid

import pytest

from flychat.storage import Engine
from flychat.storage.dynamodb import DynamoEngine
from flychat.storage.dynamodb_table import create_table
from flychat.storage.sqlite import SqliteEngine

KINDS = ["sqlite", "dynamodb"]


async def empty_engine(request: pytest.FixtureRequest) -> Engine:
    """Of the kind that the fixture's parameter names."""
    if request.param == "sqlite":
        return await SqliteEngine.open(":memory:")
    environ, table = request.getfixturevalue("dynamo_environ"), f"flychat-{uuid.uuid4()}"
    await create_table(table, environ)
    return await DynamoEngine.open(table, environ)
