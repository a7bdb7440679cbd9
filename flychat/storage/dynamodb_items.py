"""The items of the engine on DynamoDB as commits, and its errors as failures of a store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from ..commits import Commit
from . import Broken, Throttled, Unknown
from .dynamodb_table import NO_ANSWER, code_of, text_of

THROTTLED = (  # and all codes with "Throttl": nothing was done, and the same call may soon succeed
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "TransactionConflictException",  # another program is writing to the item
    "ReplicatedWriteConflictException",  # ... in another region
)


def item_of(commit: Commit) -> dict[str, Any]:
    return {
        "room": {"S": commit.room},
        "seq": {"N": str(commit.first)},
        "n": {"N": str(commit.ids)},
        "m": {"S": commit.payload},
    }


@contextmanager
def failures() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        throttled = "Throttl" in code_of(error) or code_of(error) in THROTTLED
        kind = Unknown if status >= 500 else Throttled if throttled else Broken
        raise kind(text_of(error)) from error
    except NO_ANSWER as error:
        raise Unknown(text_of(error)) from error
    except BotoCoreError as error:  # raised before anything was sent: credentials that are gone
        raise Broken(text_of(error)) from error
    except (LookupError, ValueError, TypeError) as error:
        raise Broken(f"the table holds an item that is no commit: {error!r}") from error


def due(commit: Commit, retention: float) -> int:
    """When the commit expires (seconds since the epoch): `retention` seconds after its last message.

    If it is void, after now.
    """
    date = datetime.fromisoformat(commit.messages[-1].date).timestamp() if commit.messages else time.time()
    return int(date + retention)


def expired(item: dict[str, Any]) -> bool:
    """Whether the item counts as deleted: TTL deletes it up to days later, and in any order."""
    return "exp" in item and int(item["exp"]["N"]) <= time.time()


def place_of(item: dict[str, Any]) -> int:
    return int(item["seq"]["N"])


def last_of(item: dict[str, Any]) -> int:
    return place_of(item) + int(item["n"]["N"]) - 1


def commit_of(item: dict[str, Any]) -> Commit:
    return Commit.read(item["room"]["S"], place_of(item), item["m"]["S"], int(item["n"]["N"]))
