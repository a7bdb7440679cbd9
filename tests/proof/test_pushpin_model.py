"""The model of Pushpin does what was observed of Pushpin 1.36, in virtual time."""

import asyncio
import json
import random

from tests.proof.pushpin_model import Pushpin
from tests.proof.simulation.virtual import in_virtual_time

LOG = 9  # the last id of the log, as the origin sees it


class Wire:
    def __init__(self):
        self.stalled = self.gone = False
        self.got: list[str] = []
        self.ended_at = None

    def write(self, data):
        self.got += data.decode().split()

    def end(self):
        self.ended_at = asyncio.get_running_loop().time()


class Stage:
    """An origin that answers with the ids after the position, and what it was asked, when."""

    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.log, self.status, self.seconds = LOG, 200, 0.0
        self.asked: list[tuple[float, str]] = []
        self.dropped: list[dict] = []
        self.pushpin = Pushpin(self.origin, random.Random(1), dropped=self.dropped.append)

    async def origin(self, path, headers):
        last = next((value.partition("last-id=")[2] for name, value in headers if name == "Grip-Last"), "9")
        if path == "/next":
            self.asked.append((round(self.loop.time(), 1), last))
        read = self.log
        await asyncio.sleep(self.seconds)
        answer = {
            "Grip-Hold": "stream",
            "Grip-Channel": f"m; prev-id={read}, p",
            "Grip-Link": "</next>; rel=next; timeout=20",
        }
        body = " ".join(map(str, range(int(last) + 1, read + 1)))
        return self.status, answer if self.status == 200 else {}, body.encode()

    async def open(self):
        wire = Wire()
        assert await self.pushpin.open(wire, "/", []) == 200
        return wire

    async def settled(self):
        """A client whose first refresh is over."""
        wire = await self.open()
        await asyncio.sleep(1.5)
        self.asked.clear()
        return wire

    def publish(self, *ids, channel="m"):
        self.post(
            {"channel": channel, "http-stream": {"content": f" {id} "}}
            | ({"id": str(id), "prev-id": str(id - 1)} if isinstance(id, int) else {})
            for id in ids
        )

    def hint(self):
        self.post([{"channel": "p", "http-stream": {"action": "hint"}}])

    def post(self, items):
        self.pushpin.post("publish", json.dumps({"items": list(items)}).encode())

    def recover(self):
        self.pushpin.post("recover", b"")


@in_virtual_time
async def test_items_pass_in_order_and_an_id_passes_once():
    stage = Stage()
    wire = await stage.settled()
    stage.publish(10, 11, 10)
    stage.publish(11, 12)
    assert wire.got == ["10", "11", "12"]
    assert stage.asked == []


@in_virtual_time
async def test_items_in_reverse_are_sorted():
    stage = Stage()
    wire = await stage.settled()
    stage.publish(10, 13, 12, 11)
    assert wire.got == ["10", "11", "12", "13"]
    await asyncio.sleep(5)
    assert stage.asked == []


@in_virtual_time
async def test_a_gap_is_recovered_after_the_wait_of_the_sequencer():
    stage = Stage()
    wire = await stage.settled()
    stage.publish(10)
    stage.log = 12
    stage.publish(12)
    assert wire.got == ["10"]
    await asyncio.sleep(2.5)
    assert wire.got == ["10", "11", "12"]
    assert [last for _, last in stage.asked] == ["10"]


@in_virtual_time
async def test_what_is_not_noticed_is_recovered_at_the_links_time_out():
    stage = Stage()
    wire = await stage.settled()
    stage.log = 10
    await asyncio.sleep(18)
    assert wire.got == []
    await asyncio.sleep(2)
    assert wire.got == ["10"]


@in_virtual_time
async def test_the_first_hold_of_a_channel_is_recovered_after_a_second_and_one_that_is_behind_at_once():
    stage = Stage()
    first = await stage.open()
    stage.log = 10
    await asyncio.sleep(0.9)
    assert first.got == []
    await asyncio.sleep(0.3)
    assert first.got == ["10"]
    stage.publish(11)
    behind = await stage.open()
    stage.log = 11
    await asyncio.sleep(0.2)
    assert behind.got == ["10", "11"]


@in_virtual_time
async def test_equal_recoveries_are_one_request_and_a_hint_asks_for_them_at_once():
    stage = Stage()
    wires = [await stage.open() for _ in range(5)]
    await asyncio.sleep(1.5)
    stage.asked.clear()
    stage.log = 10
    stage.hint()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [wire.got for wire in wires] == [["10"]] * 5
    assert len(stage.asked) == 1


@in_virtual_time
async def test_a_recovery_that_fails_is_tried_again_and_then_the_stream_ends():
    stage = Stage()
    wire = await stage.settled()
    stage.status = 503
    stage.recover()
    await asyncio.sleep(60)
    gaps = [later - earlier for (earlier, _), (later, _) in zip(stage.asked, stage.asked[1:], strict=False)]
    assert [int(gap) for gap in gaps] == [1, 2, 4, 8, 16]
    assert wire.ended_at is not None


@in_virtual_time
async def test_what_comes_during_a_recovery_follows_it_unless_a_provisional_one_is_before_it():
    stage = Stage()
    wire = await stage.settled()
    stage.publish(10)
    stage.recover()
    stage.log = 11
    stage.publish(11, 12)
    await asyncio.sleep(1)
    assert wire.got == ["10", "11", "12"]
    stage.asked.clear()
    stage.recover()
    stage.publish("soon", channel="p")
    stage.publish(13)
    stage.log = 13
    await asyncio.sleep(1)
    assert wire.got == ["10", "11", "12", "13", "soon"]
    assert [last for _, last in stage.asked] == ["12", "13"], "it takes 13 for a gap, and asks again"


@in_virtual_time
async def test_a_hundred_items_wait_for_a_hold_and_more_are_dropped():
    stage = Stage()
    wire = await stage.settled()
    wire.stalled = True
    stage.publish(*range(10, 130))
    stage.publish("dropped", channel="p")
    assert [item["http-stream"]["content"] for item in stage.dropped] == [" dropped "]
    stage.log = 130
    wire.stalled = False
    stage.pushpin.resume(wire)
    assert wire.got == [str(id) for id in range(10, 110)]
    stage.publish(130)
    await asyncio.sleep(3)
    assert wire.got == [str(id) for id in range(10, 131)]


@in_virtual_time
async def test_a_hold_that_was_busy_on_all_its_channels_is_recovered_within_twice_the_links_time_out():
    stage = Stage()
    wire = await stage.settled()
    stage.publish("soon", channel="p")
    stage.publish(10)
    stage.log = 11  # and nothing is published
    await asyncio.sleep(30)
    assert wire.got == ["soon", "10"]
    await asyncio.sleep(10)
    assert wire.got == ["soon", "10", "11"]
    assert [last for _, last in stage.asked] == ["10"]


@in_virtual_time
async def test_who_asks_what_is_being_asked_is_given_the_same_answer_although_it_is_older():
    stage = Stage()
    await stage.settled()
    stage.seconds = 2.0
    stage.recover()
    await asyncio.sleep(0.2)
    wire = Wire()
    stage.seconds = 0.0
    assert await stage.pushpin.open(wire, "/", []) == 200
    stage.log = 11
    stage.publish(11)  # 10 is lost
    await asyncio.sleep(5)
    assert [last for _, last in stage.asked] == ["9"]
    assert wire.got == []
    stage.log = 12
    stage.publish(12)
    await asyncio.sleep(2)
    assert wire.got == ["10", "11", "12"]


@in_virtual_time
async def test_what_does_not_fit_the_answer_of_a_recovery_is_dropped_without_a_word():
    stage = Stage()
    wire = await stage.settled()
    stage.seconds = 2.0
    stage.recover()
    await asyncio.sleep(0.2)
    stage.publish(11)
    stage.log = 11
    await asyncio.sleep(5)
    assert wire.got == []
    assert [last for _, last in stage.asked] == ["9"]


@in_virtual_time
async def test_a_hint_during_a_recovery_takes_its_turn_and_throws_away_what_is_behind_it():
    stage = Stage()
    wire = await stage.settled()
    stage.recover()
    stage.publish("before", channel="p")
    stage.hint()
    stage.publish("behind", channel="p")
    stage.log = 10
    await asyncio.sleep(1)
    assert wire.got == ["10", "before"]
    assert [last for _, last in stage.asked] == ["9", "10"]
    assert [item["http-stream"]["content"] for item in stage.dropped] == [" behind "]


@in_virtual_time
async def test_of_two_items_that_follow_the_same_one_the_second_is_dropped():
    stage = Stage()
    wire = await stage.settled()
    stage.publish(10, 12)
    stage.post([{"channel": "m", "id": "13", "prev-id": "11", "http-stream": {"content": " other "}}])
    stage.publish(11)
    assert wire.got == ["10", "11", "12"]


@in_virtual_time
async def test_a_client_that_leaves_while_its_recovery_fails_is_gone_once():
    stage = Stage()
    wire = await stage.settled()
    stage.status = 503
    stage.recover()
    await asyncio.sleep(3)
    stage.pushpin.leave(wire)
    await asyncio.sleep(60)
    assert wire.ended_at is None
