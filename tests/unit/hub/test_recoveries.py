"""Recoveries in a busy room of which another process writes: they end, whatever the clocks show."""

from __future__ import annotations

import asyncio
import math
import random
import types

import pytest

from flychat.commits import Commit
from flychat.hub import pushpin as pushpin_module
from flychat.hub import recoveries as recoveries_module
from flychat.hub.grip import grip_item, read_grip_last
from flychat.hub.pushpin import PushpinHub
from flychat.hub.recoveries import RECENT_SECONDS, Recent, Recoveries
from flychat.messages import Draft, Message
from flychat.streams import Page, StreamPlan, StreamRequest, committed, plan_stream, provisional
from tests.proof.pushpin_model import Answer, Pushpin
from tests.proof.simulation.virtual import in_virtual_time

NOW = 1_800_000_000.0
EVERY = 0.05  # seconds between two messages


class Wire:
    """A client, which takes note of what it has when."""

    def __init__(self) -> None:
        self.stalled = self.gone = False
        self.seen: dict[int, float] = {}

    def write(self, data: bytes) -> None:
        for line in data.decode().splitlines():
            if line.startswith("id: "):
                id = int(line[4:])
                assert id == max(self.seen, default=0) + 1, "in the order of the ids"
                self.seen[id] = asyncio.get_running_loop().time()

    def end(self) -> None:
        self.gone = True


class Room:
    """A room that one process writes, whose clock is `ahead`; a proxy recovers its streams from another one."""

    def __init__(self, ahead: float, storing: float) -> None:
        """Clocks and the store: by how many seconds it is ahead, and how long a put takes."""
        self.loop = asyncio.get_running_loop()
        self.ahead, self.storing = ahead, storing
        self.messages: list[Message] = []
        self.stored: dict[int, float] = {}
        self.recoveries = 0
        self.hub = PushpinHub([])
        self.proxy = Pushpin(self.answer, random.Random(1))

    async def answer(self, path: str, headers: list[tuple[str, str]]) -> Answer:
        asked, told = self.loop.time(), []
        recovery = read_grip_last([value for name, value in headers if name == "Grip-Last"])
        request = recovery.request if recovery else StreamRequest("r")
        self.recoveries += request.recover
        plan = plan_stream(request, Page(tuple(self.messages), len(self.messages)))
        await asyncio.sleep(0.005)
        response = types.SimpleNamespace(asked=asked, send=lambda headers, body: told.append((headers, body)))
        self.hub.hold(plan, response, "client")
        return 200, *told[0]

    async def say(self, *, lost: bool = False, shown: bool = True, here: bool = False) -> None:
        """`here`: it is the same process that answers recoveries."""
        draft = Draft.create("r", {"from": "ann", "text": "x"}, now=NOW + self.ahead + self.loop.time())
        if shown:
            self.proxy.post("publish", b'{"items":[%b]}' % grip_item(provisional(draft)))
        await asyncio.sleep(self.storing)
        commit = Commit.of(len(self.messages) + 1, [draft])
        self.messages += commit.messages
        self.stored[commit.last] = self.loop.time()
        if here:
            self.hub.publish(committed(commit))
        if not lost:
            self.proxy.post("publish", b'{"items":[%b]}' % grip_item(committed(commit)))


@pytest.mark.parametrize("missed", [1, 100])
@pytest.mark.parametrize(
    ("ahead", "storing"), [(-3600, 0.03), (-3, 0.03), (0, 0.03), (0, 2), (1, 0.03), (3, 0.03), (3600, 0.03)]
)
@in_virtual_time
async def test_a_stream_that_missed_something_catches_up_in_a_busy_room(monkeypatch, ahead, storing, missed):
    loop = asyncio.get_running_loop()
    clock = types.SimpleNamespace(monotonic=loop.time, time=lambda: NOW + loop.time())
    for module in (pushpin_module, recoveries_module):
        monkeypatch.setattr(module, "time", clock)
    room, wire = Room(ahead, storing), Wire()
    await room.proxy.open(wire, "/", [])
    await asyncio.sleep(2)  # the first one of a room is recovered after a second
    began = room.recoveries
    saying = []
    for number in range(600):
        saying.append(asyncio.create_task(room.say(lost=20 <= number < 20 + missed)))
        await asyncio.sleep(EVERY)
    await asyncio.gather(*saying)
    late = [wire.seen.get(id, math.inf) - when for id, when in room.stored.items() if id > 300]
    assert max(late) < 1
    assert room.recoveries - began < 20, "of 580 messages"
    room.proxy.stop()


@in_virtual_time
async def test_a_busy_room_is_not_recovered_every_second(monkeypatch):
    """Where nothing is shown before it is stored, the proxy asks for each hold when its link times out."""
    loop = asyncio.get_running_loop()
    clock = types.SimpleNamespace(monotonic=loop.time, time=lambda: NOW + loop.time())
    for module in (pushpin_module, recoveries_module):
        monkeypatch.setattr(module, "time", clock)
    room, wires = Room(0, 0.002), [Wire() for _ in range(10)]
    for wire in wires:
        await room.proxy.open(wire, "/", [])
    asked, ask = [], room.proxy._ask
    monkeypatch.setattr(room.proxy, "_ask", lambda holds: [ask(holds), asked.extend(holds)])
    saying = []
    for _ in range(1200):
        saying.append(asyncio.create_task(room.say(shown=False, here=True)))
        await asyncio.sleep(EVERY)
    await asyncio.gather(*saying)
    assert all(len(wire.seen) == 1200 for wire in wires)
    assert len(wires) * 2 <= len(asked) < len(wires) * 12, "in a minute"
    room.proxy.stop()


def test_where_an_answer_ended_is_found_once_and_forgotten():
    answered = Recent()
    for second, channel, id, whole in ((1, "a", 1, True), (2, "a", 2, False), (2, "b", 2, True)):
        answered.note(second, (channel, id), whole)
    found = [answered.take(3, end) for end in (("a", 1), ("a", 1), ("a", 2), ("a", 3))]
    assert found == [True, None, False, None]
    assert answered.take(2 + RECENT_SECONDS, ("b", 2)) is None, "a long time ago"
    for second in range(100):
        answered.note(second, ("c", second), True)
    assert len(answered._noted) <= RECENT_SECONDS + 1
    for second in range(100, 200):  # one that is noted again and again keeps none of the others
        answered.note(second, ("d", 1), True)
        answered.note(second, ("c", second), True)
    assert len(answered._noted) <= RECENT_SECONDS + 2


def recovery(last_id: int, *ages: float) -> StreamPlan:
    """What a hold misses that has `last_id`: messages that are so many seconds old."""
    drafts = [Draft.create("r", {"from": "ann", "text": "x"}, now=NOW - age) for age in ages]
    messages = Commit.of(last_id + 1, drafts).messages
    return plan_stream(StreamRequest("r", last_id, recover=True), Page(messages, messages[-1].id))


@pytest.fixture
def moment(monkeypatch) -> list[float]:
    """What time.monotonic says."""
    now = [100.0]
    clock = types.SimpleNamespace(monotonic=lambda: now[0], time=lambda: NOW)
    monkeypatch.setattr(recoveries_module, "time", clock)
    return now


def test_what_was_published_right_before_the_proxy_asked_may_be_in_its_queue(moment):
    recoveries = Recoveries()
    for id, when in ((1, 99.5), (2, 99.95)):
        recoveries.note_published(when, "messages-r", id)
    assert recoveries.answer(recovery(0, 0.5, 0.05), asked=100.0).position == 1


def test_where_the_last_guess_was_wrong_the_next_answer_does_the_opposite(moment):
    recoveries = Recoveries()
    recoveries.note_published(99.5, "messages-r", 2)
    assert recoveries.answer(recovery(0, 60), 100.0).position == 1, "all that there was"
    assert recoveries.answer(recovery(1, 60, 60), 100.0).position == 2, "only what was published from here"
    assert recoveries.answer(recovery(2, 0.5), 100.0).position == 3, "something was left out"


def test_an_answer_without_messages_is_asked_for_again_where_it_began_and_no_guess_was_wrong(moment):
    recoveries = Recoveries()
    for _ in range(3):
        assert recoveries.answer(recovery(0, 0.5), 100.0).position == 0


def test_a_hold_that_missed_something_asks_soon_also_in_a_room_that_flows(moment):
    recoveries = Recoveries()
    recoveries.note_published(100.0, "messages-r", 2)
    nothing, old, unknown = recovery(1, 0.5), recovery(0, 60, 0.5), recovery(1, 0.5, 0.5)
    for now, given, soon in (
        (100.0, nothing, True),  # the first one
        (100.5, nothing, True),
        (101.5, nothing, False),
        (101.5, old, True),
        (101.5, unknown, True),  # another process has published it, or nobody
    ):
        moment[0] = now
        answer = recoveries_module.without_young(given, 0, NOW)
        assert recoveries.asks_soon(given, answer) is soon
