"""What an answer waits for: that all it published is with whoever holds the streams."""

from __future__ import annotations

import asyncio
import time
import uuid

import pytest

from flychat.chat import Chat
from flychat.commits import Commit
from flychat.errors import Full, Overloaded, Unstorable
from flychat.log import MessageLog
from flychat.messages import Draft
from flychat.showing import AtOnce
from flychat.signals import HERE, Signal
from flychat.storage import Rejected
from flychat.streams import Publication, StreamRequest, committed
from tests.proof.simulation.virtual import in_virtual_time
from tests.support.fakes import MemoryEngine

SECONDS = 0.5  # that the hub takes to pass something on


class Rejecting(MemoryEngine):
    async def put(self, commit: Commit) -> None:
        raise Rejected("as the test wants it")


class Hub:
    """Half a hub: it notes what is published, and passes it on SECONDS after somebody has begun to wait for it."""

    passes_on_at_once = False

    def __init__(self) -> None:
        self.published: list[Publication] = []
        self.passed: list[Publication] = []

    def publish(self, publication: Publication) -> None:
        self.published.append(publication)

    def pressed(self) -> bool:
        return len(self.published) > 1

    async def passed_on(self) -> None:
        given = list(self.published)
        await asyncio.sleep(SECONDS)
        self.passed = given


def chat_over(engine: MemoryEngine, hub: Hub) -> Chat:
    log = MessageLog(engine, memory=False, committed=lambda commit: hub.publish(committed(commit)))
    return Chat(log, hub, AtOnce(hub.publish))  # type: ignore[arg-type]  # half a hub is enough


def draft(text: str = "hi") -> Draft:
    return Draft.create("room", {"from": "ann", "text": text, "provisionalId": str(uuid.uuid4())}, now=0)


@in_virtual_time
async def test_a_post_is_answered_when_its_official_publication_is_passed_on():
    hub = Hub()
    message = await chat_over(MemoryEngine(), hub).post(draft())
    assert [publication.id for publication in hub.passed] == [None, message.id]


@in_virtual_time
async def test_a_post_that_fails_is_answered_when_its_retraction_is_passed_on():
    hub = Hub()
    with pytest.raises(Unstorable):
        await chat_over(Rejecting(), hub).post(draft())
    assert b"event: retraction" in hub.passed[-1].content


@in_virtual_time
async def test_a_stream_is_refused_where_others_have_come_while_its_room_was_read():
    hub, admitted = Hub(), iter([True, False])
    hub.admits = lambda client: next(admitted)
    with pytest.raises(Full):
        await chat_over(MemoryEngine(), hub).plan(StreamRequest("room"), "a client")


@in_virtual_time
async def test_a_removal_is_answered_when_it_is_passed_on():
    hub = Hub()
    chat = chat_over(MemoryEngine(), hub)
    message = await chat.post(draft())
    removal = Draft.removal("room", [message.id], {}, now=time.time(), user="bob", name="bob")
    entry = await chat.remove(removal, lambda message: None)
    assert hub.passed[-1].id == entry.id


@in_virtual_time
async def test_clearing_a_room_is_answered_when_its_reset_is_passed_on():
    hub = Hub()
    chat = chat_over(MemoryEngine(), hub)
    await chat.post(draft())
    assert await chat.clear("room") == 2
    assert (hub.passed[-1].id, b"event: stream-reset" in hub.passed[-1].content) == (2, True)


@in_virtual_time
async def test_erasing_is_answered_when_its_removals_are_passed_on():
    hub = Hub()
    chat = chat_over(MemoryEngine(), hub)
    message = await chat.post(draft())

    def entry(ids):
        return Draft.removal("room", ids, {}, now=0, user="bob", erases=True)

    assert await chat.erase("room", lambda each: each == message, entry, 0) == (1, None)
    assert hub.passed[-1].id == 2


@in_virtual_time
async def test_what_is_posted_without_waiting_is_told_of_when_it_is_passed_on_and_then_forgotten():
    hub, told = Hub(), []
    chat = chat_over(MemoryEngine(), hub)
    await chat.submit(draft(), done=lambda stored: told.append((stored.result().id, hub.passed[-1].id)))
    assert told == []
    await asyncio.sleep(2 * SECONDS)
    assert told == [(1, 1)]
    assert not chat._passing


@in_virtual_time
async def test_a_post_that_is_repeated_is_answered_when_what_the_first_one_left_is_passed_on():
    hub = Hub()
    chat, sent = chat_over(MemoryEngine(), hub), draft()
    post = asyncio.create_task(chat.post(sent))
    await asyncio.sleep(SECONDS / 2)
    post.cancel()
    message = await chat.post(sent)
    assert hub.passed[-1].id == message.id


@in_virtual_time
async def test_who_does_not_wait_any_more_is_not_waited_for():
    hub = Hub()
    post = asyncio.create_task(chat_over(MemoryEngine(), hub).post(draft()))
    await asyncio.sleep(SECONDS / 2)
    post.cancel()
    with pytest.raises(asyncio.CancelledError):
        await post
    assert hub.published, "it is stored, and seen, all the same"
    assert not hub.passed


@in_virtual_time
async def test_a_signal_is_passed_on_before_it_is_answered_and_refused_where_much_waits():
    hub = Hub()
    chat = chat_over(MemoryEngine(), hub)
    signal = Signal.create("room", {"from": "ann", "kind": "typing"}, now=0)
    for _ in range(2):
        await chat.signal(signal)
    assert hub.passed == hub.published, "it is answered when it is passed on"
    for refused in (signal, Signal.create("room", {"from": "ann", "kind": HERE}, now=0)):
        with pytest.raises(Overloaded):
            await chat.signal(refused)
    assert [publication.id for publication in hub.published] == [None, None]
