"""Who is here is gathered, and told together."""

import asyncio
import json

import pytest

from flychat import presence
from flychat.presence import GATHER, NAMES, ROOM_NAMES, Presence
from tests.proof.simulation.virtual import in_virtual_time
from tests.support.sse_parser import parse


class Told:
    """What is published, as (seconds, room, names, more)."""

    def __init__(self) -> None:
        self.all: list[tuple[float, str, list[str], int]] = []
        self.presence = Presence(self, lambda: 0.0)

    def __call__(self, publication) -> None:
        (event,) = parse(publication.content)
        data = json.loads(event.data)["data"]
        now = asyncio.get_running_loop().time()
        self.all.append((now, publication.room, data["names"], data["more"]))


@in_virtual_time
async def test_the_names_of_ten_seconds_are_told_once_each_in_one_signal_a_room():
    told = Told()
    for room, name in (("tea", "ann"), ("tea", "bob"), ("tea", "ann"), ("coffee", "cid")):
        told.presence.here(room, name)
        await asyncio.sleep(1)
    await asyncio.sleep(GATHER)
    assert told.all == [(10.0, "tea", ["ann", "bob"], 0), (13.0, "coffee", ["cid"], 0)]
    assert told.presence._rooms == {}
    assert told.presence._names == 0, "nothing is known any more"


@in_virtual_time
async def test_whoever_says_it_again_is_told_again():
    told = Told()
    for _ in range(2):
        told.presence.here("tea", "ann")
        await asyncio.sleep(GATHER + 1)
    assert [names for _, _, names, _ in told.all] == [["ann"], ["ann"]]


@in_virtual_time
async def test_of_many_some_are_named_and_others_counted():
    told = Told()
    for n in range(ROOM_NAMES + 10):
        told.presence.here("tea", f"user {n}")
    await asyncio.sleep(GATHER)
    assert told.all == [(GATHER, "tea", [f"user {n}" for n in range(NAMES)], ROOM_NAMES - NAMES)]


@in_virtual_time
async def test_what_is_gathered_has_a_bound(monkeypatch):
    monkeypatch.setattr(presence, "MOST", 5)
    told = Told()
    for n in range(9):
        told.presence.here(f"room {n}", "ann")
    await asyncio.sleep(GATHER)
    assert len(told.all) == 5
    told.presence.here("tea", "ann")
    await asyncio.sleep(GATHER)
    assert told.all[-1][1:] == ("tea", ["ann"], 0)


@pytest.mark.parametrize("name", ["a" * 64, "\U0001f600" * 64])
@in_virtual_time
async def test_a_signal_is_no_longer_than_clients_read(name):
    sizes = []
    gathered = Presence(lambda publication: sizes.append(len(publication.content)), lambda: 0.0)
    for n in range(NAMES):
        gathered.here("tea", name[:-3] + f"{n:03}")
    await asyncio.sleep(GATHER)
    assert sizes[0] < 27_000
