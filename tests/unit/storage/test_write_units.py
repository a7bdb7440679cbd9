"""What messages cost in DynamoDB: a write unit is a begun kilobyte of an item, paid per PutItem."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from flychat.commits import COMMIT_MESSAGES
from flychat.log import MessageLog
from flychat.storage.dynamodb import DynamoEngine
from tests.support.served import draft

TEXT = "Shall we meet at the station at seven? I bring the tickets."


class Client:
    """In the place of botocore's client. Every put is applied, once `gate` is open."""

    class exceptions:
        class ConditionalCheckFailedException(Exception): ...

    def __init__(self) -> None:
        self.items: list[dict] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def query(self, **_) -> dict:
        return {"Items": []}

    async def put_item(self, *, Item: dict, **_) -> None:
        await self.gate.wait()
        self.items.append(Item)

    def units(self) -> int:
        return sum(-(-size(item) // 1024) for item in self.items)


def size(item: dict) -> int:
    """The names and the values; a number takes less in DynamoDB than its digits."""
    return sum(len(name.encode()) + len(*map(str.encode, value.values())) for name, value in item.items())


def log_of(client: Client) -> MessageLog:
    return MessageLog(DynamoEngine("table", client, AsyncExitStack()), memory=True)


@pytest.mark.gen_test
async def test_a_message_alone_costs_one_unit():
    client = Client()
    log = log_of(client)
    for _ in range(20):
        await log.submit(draft(TEXT))
    assert client.units() / 20 <= 1.0
    await log.close()


@pytest.mark.gen_test
async def test_messages_that_wait_together_share_their_units():
    """While a put is under way, 64 more messages come, again and again."""
    client = Client()
    log = log_of(client)
    posts = []
    for _ in range(10):
        client.gate.clear()
        posts += [asyncio.ensure_future(log.submit(draft(TEXT))) for _ in range(COMMIT_MESSAGES)]
        await asyncio.sleep(0)
        client.gate.set()
        await asyncio.gather(*posts)
    assert len(posts) == sum(int(item["n"]["N"]) for item in client.items) == 640
    assert client.units() / len(posts) <= 0.2
    assert len(client.items) <= 20
    await log.close()


@pytest.mark.gen_test
async def test_what_one_commit_costs_is_bounded():
    client = Client()
    log = log_of(client)
    await asyncio.gather(*(log.submit(draft("\u20ac" * 4096)) for _ in range(30)))
    assert all(size(item) <= 65 * 1024 for item in client.items)
    await log.close()
