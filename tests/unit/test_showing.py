"""When a draft is shown: at once, or where a store has time, only if it takes too long. By hand-driven clocks."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from flychat import showing
from flychat.chat import Chat
from flychat.commits import Commit
from flychat.errors import Conflict, FlychatError, Unstorable
from flychat.log import MessageLog
from flychat.messages import Draft
from flychat.showing import PATIENCE, AtOnce, Patient
from flychat.storage import Rejected
from flychat.streams import Publication, committed, provisional
from tests.proof.simulation.virtual import in_virtual_time
from tests.support.fakes import MemoryEngine

QUICK, SLOW = PATIENCE - 0.001, PATIENCE + 0.004  # 2 and 7 ms


class Timed(MemoryEngine):
    """A store whose puts take `seconds`, and succeed or, if `rejects`, do not."""

    seconds = QUICK
    rejects = False

    async def put(self, commit: Commit) -> None:
        await asyncio.sleep(self.seconds)
        if self.rejects:
            raise Rejected("as the test wants it")
        await super().put(commit)


class Room:
    """A chat over such a store, and what it publishes: (milliseconds since the last look, what)."""

    def __init__(self, how: type[AtOnce] | type[Patient]) -> None:
        self.engine = Timed()
        self.log = MessageLog(
            self.engine, memory=False, committed=lambda commit: self.publish(committed(commit))
        )
        self.chat = Chat(self.log, self, how(self.publish))  # type: ignore[arg-type]  # half a hub is enough
        self._began = 0.0
        self._seen: list[tuple[int, str]] = []

    def publish(self, publication: Publication) -> None:
        what = "official" if publication.id is not None else "provisional"
        what = "retraction" if b"event: retraction" in publication.content else what
        self._seen.append((round(1000 * (asyncio.get_running_loop().time() - self._began)), what))

    async def passed_on(self) -> None:
        pass

    async def seen(self, *posts: Draft) -> list[tuple[int, str]]:
        """What is published while these are posted, and after."""
        self._began, self._seen = asyncio.get_running_loop().time(), []
        self.answers = await asyncio.gather(*map(self.chat.post, posts), return_exceptions=True)
        await asyncio.sleep(1)
        return self._seen


def draft(text: str = "hi", *, room: str = "room", key: str = "") -> Draft:
    return Draft.create(room, {"from": "ann", "text": text, "provisionalId": key or str(uuid.uuid4())}, now=0)


@in_virtual_time
async def test_what_is_stored_in_time_is_not_shown_before():
    room = Room(Patient)
    assert await room.seen(draft()) == [(2, "official")]


@in_virtual_time
async def test_a_draft_is_shown_when_the_store_has_not_answered_in_time():
    room = Room(Patient)
    room.engine.seconds = SLOW
    assert await room.seen(draft()) == [(3, "provisional"), (7, "official")]


@in_virtual_time
async def test_behind_a_store_that_was_slow_the_last_time_a_draft_is_shown_at_once():
    room = Room(Patient)
    room.engine.seconds = SLOW
    await room.seen(draft())
    for _ in range(3):
        assert await room.seen(draft()) == [(0, "provisional"), (7, "official")]


@in_virtual_time
async def test_a_store_that_is_quick_again_is_given_time_again():
    room = Room(Patient)
    room.engine.seconds = SLOW
    await room.seen(draft())
    room.engine.seconds = QUICK
    assert await room.seen(draft()) == [(0, "provisional"), (2, "official")]
    assert await room.seen(draft()) == [(2, "official")]


@in_virtual_time
async def test_while_one_draft_has_no_answer_the_next_ones_are_shown_at_once():
    room = Room(Patient)
    room.engine.seconds = 10 * PATIENCE
    posting = asyncio.create_task(room.chat.post(draft()))
    await asyncio.sleep(2 * PATIENCE)
    seen = await room.seen(draft(room="another"))
    assert seen[0] == (0, "provisional")
    await posting


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (AtOnce, [(0, "provisional"), (7, "retraction")]),
        (Patient, [(3, "provisional"), (7, "retraction")]),
    ],
)
def test_what_was_shown_and_not_stored_is_retracted(how, expected):
    @in_virtual_time
    async def test():
        room = Room(how)
        room.engine.seconds, room.engine.rejects = SLOW, True
        assert await room.seen(draft()) == expected
        assert isinstance(room.answers[0], Unstorable)

    test()


@in_virtual_time
async def test_what_was_neither_shown_nor_stored_is_not_retracted():
    room = Room(Patient)
    room.engine.rejects = True
    assert await room.seen(draft()) == []
    assert isinstance(room.answers[0], Unstorable)


@pytest.mark.parametrize(
    ("how", "seconds", "expected"),
    [
        (AtOnce, QUICK, [(0, "provisional"), (0, "provisional"), (2, "official")]),
        (Patient, SLOW, [(3, "provisional"), (3, "provisional"), (7, "official")]),
        (Patient, QUICK, [(2, "official")]),
    ],
)
def test_a_conflict_retracts_nothing(how, seconds, expected):
    """The provisional id stands for the message that is stored."""

    @in_virtual_time
    async def test():
        room, key = Room(how), str(uuid.uuid4())
        room.engine.seconds = seconds
        assert await room.seen(draft("one", key=key), draft("other", key=key)) == expected
        assert isinstance(room.answers[1], Conflict)

    test()


@in_virtual_time
async def test_standalone_shows_every_draft_at_once():
    room = Room(AtOnce)
    assert await room.seen(draft()) == [(0, "provisional"), (2, "official")]


@in_virtual_time
async def test_each_of_many_drafts_has_its_own_time_by_one_timer():
    """100 drafts, one in each millisecond; the store takes 2.5 ms, for every tenth 50."""
    loop, publications = asyncio.get_running_loop(), []
    patient = Patient(lambda publication: publications.append((round(1000 * loop.time()), publication)))
    began, timers = [], []
    for n in range(100):
        began.append((round(1000 * loop.time()), draft(str(n))))
        loop.call_later(0.05 if n % 10 == 0 else 0.0025, patient.show(began[-1][1]), None)
        timers.append(sum(handle._callback == loop.call_soon for handle in loop._scheduled))
        await asyncio.sleep(0.001)
    await asyncio.sleep(1)
    late = [(began + 3, provisional(draft)) for began, draft in began[::10]]
    assert [each for each in publications if each in late] == late
    assert max(timers) == 1
    assert not any(handle._callback == loop.call_soon for handle in loop._scheduled), (
        "nothing waits, no timer"
    )


@in_virtual_time
async def test_what_is_stored_in_the_turn_in_which_its_time_ends_is_not_shown_after_its_official_event():
    """The log publishes in one turn of the loop, and the POST hears of it in the next."""
    loop, publications = asyncio.get_running_loop(), []
    patient = Patient(publications.append)
    message = draft()
    official = committed(Commit.of(1, [message]))

    def stored() -> None:
        publications.append(official)
        loop.call_soon(ended, None)

    loop.call_at(loop.time() + PATIENCE, stored)
    ended = patient.show(message)
    await asyncio.sleep(1)
    assert publications == [official]


def test_a_draft_is_ended_once():
    """And it is not shown after its end, however it ended."""
    failures: list[FlychatError | None] = [None, Unstorable(), Conflict("another text")]
    for failure in failures:

        @in_virtual_time
        async def test(failure=failure):
            publications: list[Publication] = []
            Patient(publications.append).show(draft())(failure)
            await asyncio.sleep(1)
            assert publications == []

        test()


def test_the_patience_is_short():
    """docs/streams.md and the README name it."""
    assert showing.PATIENCE == 0.003
