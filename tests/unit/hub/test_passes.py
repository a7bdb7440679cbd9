"""The holds that carry a pass: when they are judged, how they end, and what is left of them."""

from __future__ import annotations

import asyncio

import pytest

from flychat.access import UNSURE, Pass
from flychat.hub import passes as passes_module
from flychat.hub.passes import Passes
from flychat.hub.sockets import Connections
from flychat.hub.waiting import Backlog, Backlogs, bare
from flychat.streams import stream_end

NOW = 1_800_000_000


class Audience:
    frame, last = staticmethod(bare), b"."

    def __init__(self) -> None:
        self.backlog = Backlog(Backlogs())
        self.backlog.append(b"unsent")


class Hold:
    def __init__(self, *, lagging: bool = False) -> None:
        self.audience, self.lagging, self.cursor = Audience(), lagging, 2


class Holds:
    """Half of what holds connections: it notes what is sent, and what is cut and why."""

    let_go = Connections.let_go

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.why = float(NOW), {}  # why a pass, by its id, gives no right
        self.judged: list[str] = []
        self.sent: list[bytes] = []
        self.cuts: list[tuple[Hold, str]] = []
        monkeypatch.setattr(passes_module.time, "time", lambda: self.now)
        self.passes = Passes(self, self.ended)  # type: ignore[arg-type]  # half is enough

    def ended(self, room: str, pass_: Pass, now: float) -> str | None:
        assert (room, now) == ("tea", self.now)
        self.judged.append(pass_.id)
        return "expired" if pass_.expires <= now else self.why.get(pass_.id)

    def send(self, held: Hold, data: bytes) -> None:
        self.sent.append(data)

    def cut(self, held: Hold, why: str) -> None:
        self.cuts.append((held, why))
        self.passes.forget(held)  # as a room does when it is left

    def carry(self, id: str, expires: int = NOW + 60, **options: bool) -> Hold:
        held = Hold(**options)
        self.passes.carry(held, "tea", Pass(id, NOW, expires))
        return held


@pytest.fixture
def holds(monkeypatch) -> Holds:
    return Holds(monkeypatch)


def test_a_hold_is_judged_when_it_begins_and_when_its_pass_expires(holds):
    late, early = holds.carry("bob", NOW + 20), holds.carry("ann", NOW + 10)
    assert holds.judged == ["bob", "ann"]
    for seconds, gone in ((9.9, []), (10.0, [early]), (19.9, [early]), (20.0, [early, late])):
        holds.now = NOW + seconds
        holds.passes.tick()
        assert [held for held, _ in holds.cuts] == gone
    assert holds.judged == ["bob", "ann", "ann", "bob"], "once each"
    assert len(holds.passes._carried) == 0


def test_a_right_that_was_lost_while_the_plan_was_made_ends_the_hold_at_once(holds):
    holds.why["ann"] = "revoked"
    held = holds.carry("ann")
    assert holds.cuts == [(held, "revoked")]


def test_those_of_a_pass_are_judged_again_or_all_of_them(holds):
    first, other, second = (holds.carry(id) for id in ("ann", "bob", "ann"))
    holds.why = {"ann": "revoked", "bob": "private"}
    holds.judged.clear()
    holds.passes.recheck("eve")
    assert holds.judged == []
    holds.passes.recheck("ann")
    assert holds.judged == ["ann", "ann"]
    assert holds.cuts == [(first, "revoked"), (second, "revoked")]
    holds.passes.recheck(None)
    assert holds.cuts[2:] == [(other, "private")]


def test_last_words_follow_what_was_published_before_where_there_is_room_for_them(holds):
    holds.why = {"ann": "revoked", "bob": UNSURE}
    lagging, unsure = holds.carry("ann", lagging=True), holds.carry("bob")
    assert holds.sent == [], "who lags has no room, and who may come back is told nothing"
    told = holds.carry("ann")
    assert holds.sent == [b"sent" + stream_end("revoked").encode() + b"."]
    assert holds.cuts == [(lagging, "revoked"), (unsure, UNSURE), (told, "revoked")]


@pytest.mark.gen_test
async def test_many_are_judged_some_in_each_turn_of_the_loop(monkeypatch, holds):
    monkeypatch.setattr(passes_module, "SLICE", 2)
    gone, *others = [holds.carry("ann") for _ in range(5)]
    holds.why["ann"] = "revoked"
    holds.passes.recheck(None)
    assert len(holds.cuts) == 2
    holds.passes.forget(others[1])  # it is left before it is its turn
    for count in (3, 4):
        await asyncio.sleep(0)
        assert len(holds.cuts) == count
    assert [held for held, _ in holds.cuts] == [gone, others[0], others[2], others[3]]
    judged = len(holds.judged)
    await asyncio.sleep(0)
    assert len(holds.judged) == judged


@pytest.mark.gen_test
async def test_all_that_expire_together_end_though_the_clock_is_set_back_meanwhile(monkeypatch, holds):
    monkeypatch.setattr(passes_module, "SLICE", 2)
    for _ in range(3):
        holds.carry("ann", NOW + 10)
    holds.passes.ended = lambda room, pass_, now: "expired" if pass_.expires <= now else None
    holds.now = NOW + 10.5
    holds.passes.tick()
    holds.now = NOW + 9.5
    await asyncio.sleep(0)
    assert len(holds.cuts) == 3


def test_holds_that_come_and_go_leave_nothing_behind(monkeypatch, holds):
    monkeypatch.setattr(passes_module, "SLICE", 2)
    first, *staying = (holds.carry("ann", NOW + seconds) for seconds in (1, 50, 2, 60, 70, 30))
    for held in (first, staying.pop(1), *(holds.carry("bob") for _ in range(100))):
        holds.passes.forget(held)
    assert len(holds.passes._carried) == 4
    assert list(holds.passes._by_id) == ["ann"]
    assert len(holds.passes._expiring) <= 2 * 4 + 2
    for seconds, place in ((30, 3), (50, 0), (60, 1), (70, 2)):
        holds.now = NOW + seconds
        holds.passes.tick()
        assert holds.cuts[-1] == (staying[place], "expired")
    assert len(holds.passes._carried) == len(holds.passes._by_id) == 0
    holds.passes.forget(staying[0])  # again, as who carried none
