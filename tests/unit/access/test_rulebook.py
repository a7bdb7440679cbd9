"""Revocations in the store, and the keeper of what is known of them."""

import asyncio
import itertools
import time
import types
from typing import ClassVar

import pytest

from flychat.access import BadToken, Pass, Rules, passes_of
from flychat.access import keeper as keeper_module
from flychat.access import rulebook as rulebook_module
from flychat.access.gate import Access
from flychat.access.keeper import Keeper
from flychat.access.revocations import Revocations
from flychat.access.rulebook import RULES, Rulebook
from flychat.access.tokens import Secret, Tokens, claims_of
from flychat.commits import Commit
from flychat.errors import TooLarge, Unavailable
from flychat.storage import Broken, Unknown
from flychat.storage.sqlite import SqliteEngine
from tests.support.fakes import FaultyEngine, MemoryEngine

gen_test = pytest.mark.gen_test
A, B = passes_of("ann")[0], passes_of("bob")[0]


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(rulebook_module, "PAUSE", 0.001)
    monkeypatch.setattr(rulebook_module, "PATIENCE", 0.2)
    monkeypatch.setattr(keeper_module, "PACE_SECONDS", 0.0)
    # What is a second old will do for a client. Here it is twenty, lest a test takes longer than that.
    monkeypatch.setattr(Keeper.fresh, "__defaults__", (20 * keeper_module.FRESH_SECONDS,))


@gen_test
async def test_each_entry_is_the_whole_state_and_the_log_is_the_audit():
    engine = MemoryEngine()
    book = Rulebook(engine)
    assert await book.read() == Revocations()
    _, first = await book.revoke([A], "tea")
    revoked, second = await book.revoke([B], "")
    assert revoked.moments == {(A, "tea"): first, (B, ""): second}
    assert await Rulebook(engine).read() == revoked
    assert [Revocations.read(c.messages[0].text).moments.keys() for c in engine.of(RULES)] == [
        {(A, "tea")},
        {(A, "tea"), (B, "")},
    ]


@gen_test
async def test_what_is_revoked_in_two_stores_is_joined_once():
    before = int(time.time()) - 100
    engine, others = MemoryEngine(), Revocations({(A, "tea"): before, (B, ""): before})
    await Rulebook(engine).join(others)
    _, moment = await Rulebook(engine).revoke([B], "")
    for _ in range(2):
        await Rulebook(engine).join(others)
    assert (await Rulebook(engine).read()).moments == {(A, "tea"): before, (B, ""): moment}
    assert len(engine.of(RULES)) == 2


@gen_test
async def test_both_stores_take_a_room_that_nobody_can_name():
    engine = await SqliteEngine.open(":memory:")
    _, moment = await Rulebook(engine).revoke([A], "tea")
    assert (await Rulebook(engine).read()).moment(A, "tea") == moment
    await engine.close()


@gen_test
async def test_two_who_revoke_at_once_do_not_overwrite_each_other():
    engine = MemoryEngine()
    await asyncio.gather(*(Rulebook(engine).revoke([f"pass{n}"], "") for n in range(20)))
    revoked = await Rulebook(engine).read()
    assert len(revoked.moments) == 20
    assert [commit.first for commit in engine.of(RULES)] == list(range(1, 21))


@gen_test
@pytest.mark.parametrize(
    "faults", [["drop"], ["lose"], ["throttle"], ["late"], ["lose", "drop"], ["drop", "pass"]]
)
async def test_what_became_of_a_put_without_an_answer_is_found_out(faults, monkeypatch):
    monkeypatch.setattr(rulebook_module, "PATIENCE", 60.0)
    engine = FaultyEngine(MemoryEngine(), faults)
    await Rulebook(engine).revoke([A], "tea")
    await engine.release()
    await Rulebook(engine).revoke([B], "tea")
    assert set((await Rulebook(engine).read()).moments) == {(A, "tea"), (B, "tea")}
    assert len(engine.engine.of(RULES)) == 2, "once each"


@gen_test
async def test_a_put_whose_place_was_taken_goes_on_behind():
    engine = FaultyEngine(MemoryEngine(), [])
    engine.hides_winner = True
    real, stale = engine.tail, [[]]

    async def tail(room, limit):
        return stale.pop() if stale else await real(room, limit)

    await Rulebook(engine).revoke([A], "")
    engine.tail = tail
    await Rulebook(engine).revoke([B], "")
    assert set((await Rulebook(engine).read()).moments) == {(A, ""), (B, "")}


@gen_test
async def test_a_store_that_does_not_answer_is_said_to_be_unavailable():
    engine = FaultyEngine(MemoryEngine(), itertools.repeat("lose"))
    with pytest.raises(Unavailable):
        await Rulebook(engine).revoke([A], "")
    engine.read_faults.append(Broken("no table"))
    with pytest.raises(Unavailable):
        await Rulebook(engine).read()
    engine.rejects_over = 0
    with pytest.raises(Unavailable):
        await Rulebook(engine).revoke([A], "")


@gen_test
async def test_a_state_that_is_not_understood_is_not_taken_for_none():
    engine = MemoryEngine()
    await engine.put(Commit.read(RULES, 1, '[["flychat","{}","2026-01-01T00:00:00.000Z","x"]]'))
    with pytest.raises(Unavailable):
        await Rulebook(engine).read()
    with pytest.raises(Unavailable):
        await Rulebook(engine).revoke([A], "")


@gen_test
async def test_more_than_a_commit_holds_is_refused():
    book = Rulebook(MemoryEngine())
    with pytest.raises(TooLarge):
        await book.revoke([f"{n:016}" for n in range(1200)], "")
    await book.revoke([f"{n:016}" for n in range(500)], "")


@gen_test
async def test_who_moderates_a_room_cannot_fill_what_all_rooms_need():
    book = Rulebook(MemoryEngine())
    for start in itertools.count(0, 50):
        try:
            await book.revoke([f"{n:016}" for n in range(start, start + 50)], "tea")
        except TooLarge:
            break
    assert start >= 300
    with pytest.raises(TooLarge):
        await book.revoke([f"{n:016}" for n in range(50)], "coffee")
    await book.revoke([f"{n:016}" for n in range(2000, 2200)], "")
    assert ("0000000000002000", "") in (await book.read()).moments


# The keeper

PRIVATE = Rules.of_rules([("*", frozenset())])


class Hub:
    def __init__(self):
        self.rechecked, self.passed_on_after = [], []

    def recheck(self, id):
        self.rechecked.append(id)

    async def passed_on(self):
        self.passed_on_after.append(list(self.rechecked))


class Clock:
    """The loop's time, which goes on when the test says so."""

    def __init__(self, monkeypatch):
        loop = asyncio.get_running_loop()
        self.ahead = 0.0
        real = loop.time
        monkeypatch.setattr(loop, "time", lambda: real() + self.ahead)


def kept(engine, **options) -> tuple[Keeper, Hub]:
    keeper, hub = Keeper(Access(PRIVATE, Tokens([])), "", engine, **options), Hub()
    keeper._hub = hub
    return keeper, hub


@gen_test
async def test_who_revokes_has_the_pass_judged_at_once_and_once_more(monkeypatch):
    monkeypatch.setattr(keeper_module, "AGAIN_SECONDS", 0.01)
    keeper, hub = kept(MemoryEngine(shared=True))
    moment = await keeper.revoke("ann", "tea")
    assert hub.rechecked == passes_of("ann")
    assert hub.passed_on_after == [passes_of("ann")], "it is told to the proxies when it is said to be done"
    assert keeper.access.ended("tea", Pass(A, moment, moment + 9), moment) == "revoked"
    assert keeper.access.ended("tea", Pass(A, moment + 1, moment + 9), moment) is None
    while len(hub.rechecked) < 4:  # noqa: ASYNC110 - once more
        await asyncio.sleep(0.005)
    assert hub.rechecked == passes_of("ann") * 2


@gen_test
async def test_what_another_process_revoked_is_learned_and_has_the_pass_judged(monkeypatch):
    monkeypatch.setattr(keeper_module, "READ_SECONDS", 0.01)
    engine = MemoryEngine(shared=True)
    await Rulebook(engine).revoke([B], "")
    keeper, _ = kept(engine)
    hub = Hub()
    keeper.start(hub)
    await keeper.fresh()
    assert hub.rechecked == [], "holds of before have been asked for at the start"
    await Rulebook(engine).revoke([A], "tea")
    while not hub.rechecked:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    assert hub.rechecked == [A]
    await asyncio.sleep(0.05)
    assert hub.rechecked == [A], "it is learned once"
    await keeper.close()


@gen_test
async def test_a_copy_that_is_older_than_a_second_is_read_again_before_anybody_is_answered(monkeypatch):
    engine = FaultyEngine(MemoryEngine(shared=True))
    keeper, _ = kept(engine)
    clock = Clock(monkeypatch)
    await asyncio.gather(*(keeper.fresh() for _ in range(50)))
    assert engine.calls["tail"] == 1, "one reading for all"
    await keeper.fresh()
    clock.ahead = 10.0
    await keeper.fresh()
    assert engine.calls["tail"] == 1
    clock.ahead = 21.0
    await keeper.fresh()
    assert engine.calls["tail"] == 2
    clock.ahead = 50.0
    engine.read_faults.extend([Unknown("slow")] * 5000)
    with pytest.raises(Unavailable):
        await keeper.fresh()


@gen_test
async def test_a_copy_from_before_the_machine_slept_is_read_again_before_anybody_is_answered(monkeypatch):
    """The loop's clock stands still then: by that one the copy is new."""
    slept = [0.0]
    clock = types.SimpleNamespace(time=lambda: time.time() + slept[0])
    monkeypatch.setattr(keeper_module, "time", clock)
    engine = FaultyEngine(MemoryEngine(shared=True))
    keeper, _ = kept(engine)
    await keeper.fresh()
    await keeper.fresh()
    assert engine.calls["tail"] == 1
    moment = (await Rulebook(engine).revoke([A], "tea"))[1]
    slept[0] = 3600.0
    await keeper.fresh()
    assert keeper.access.ended("tea", Pass(A, moment, moment + 9), moment) == "revoked"


@gen_test
async def test_a_reading_that_began_before_the_question_by_more_than_a_second_is_not_enough(monkeypatch):
    engine = MemoryEngine(shared=True)
    keeper, _ = kept(engine)
    clock = Clock(monkeypatch)
    gate, reads = asyncio.Event(), []
    real = engine.tail

    async def tail(room, limit):
        reads.append(room)
        found = await real(room, limit)
        await gate.wait()
        return found

    engine.tail = tail
    first = asyncio.create_task(keeper.fresh())
    while not reads:  # noqa: ASYNC110
        await asyncio.sleep(0)
    clock.ahead = 30.0
    second = asyncio.create_task(keeper.fresh())
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, second)
    assert len(reads) == 2


@gen_test
async def test_who_goes_while_a_reading_is_under_way_ends_it_for_nobody_else():
    engine = FaultyEngine(MemoryEngine(shared=True))
    keeper, _ = kept(engine)
    gone, waiting = (asyncio.create_task(keeper.fresh()) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await waiting
    assert engine.calls["tail"] == 1


@gen_test
async def test_a_proxy_is_answered_from_a_reading_that_began_after_it_had_asked():
    engine = FaultyEngine(MemoryEngine(shared=True))
    keeper, _ = kept(engine)
    await keeper.fresh()
    await Rulebook(engine).revoke([A], "tea")
    await keeper.fresh()
    assert keeper.access.revocations == Revocations(), "for a client, a copy of a second ago will do"
    before = engine.calls["tail"]
    await asyncio.gather(*(keeper.fresh(0) for _ in range(1000)))
    assert keeper.access.revocations.moment(A, "tea") > 0
    assert engine.calls["tail"] <= before + 2, "shared by all who had asked"


@gen_test
async def test_readings_begin_a_tenth_of_a_second_apart_however_many_ask(monkeypatch):
    monkeypatch.setattr(keeper_module, "PACE_SECONDS", 0.1)
    engine, loop = MemoryEngine(shared=True), asyncio.get_running_loop()
    keeper, _ = kept(engine)
    began, real = [], engine.tail

    async def tail(room, limit):
        began.append(loop.time())
        return await real(room, limit)

    async def asked_again_and_again():
        while len(began) < 4:
            await keeper.fresh(0)

    engine.tail = tail
    await asyncio.gather(*(asked_again_and_again() for _ in range(50)))
    pauses = [after - before for before, after in itertools.pairwise(began)]
    assert min(pauses) >= 0.09, "a little less by the clock's grain"


@gen_test
async def test_a_reading_that_has_just_ended_is_not_waited_for():
    """Its callbacks have not run yet, and never would: who waits for what is done lets nobody else run."""
    engine = FaultyEngine(MemoryEngine(shared=True))
    keeper, _ = kept(engine)
    keeper._reading = asyncio.create_task(asyncio.sleep(0))
    await keeper._reading
    asked, is_newer = [], keeper._is_newer_than

    def counted(moment):
        asked.append(moment)
        assert len(asked) < 100
        return is_newer(moment)

    keeper._is_newer_than = counted
    await keeper.fresh()
    assert engine.calls["tail"] == 1


@gen_test
async def test_where_nobody_else_writes_what_is_revoked_is_read_once():
    engine = FaultyEngine(MemoryEngine())
    keeper, _ = kept(engine)
    for _ in range(3):
        await keeper.fresh()
    assert engine.calls["tail"] == 1


@gen_test
async def test_an_older_reading_does_not_take_back_what_was_revoked_meanwhile():
    keeper, hub = kept(MemoryEngine(shared=True))
    moment = await keeper.revoke("ann", "")
    keeper._take_in(Revocations(), 1.0)
    assert keeper.access.revocations.moment(A, "tea") == moment
    assert hub.rechecked == passes_of("ann")


@pytest.mark.gen_test  # by the loop's clock, which jumps
@pytest.mark.parametrize("holds_here", [True, False])
async def test_streams_of_this_process_do_not_go_on_while_nobody_knows_what_is_revoked(
    monkeypatch, holds_here, caplog
):
    monkeypatch.setattr(keeper_module, "READ_SECONDS", 0.01)
    engine = FaultyEngine(MemoryEngine(shared=True))
    keeper, _ = kept(engine, holds_here=holds_here)
    clock, hub = Clock(monkeypatch), Hub()

    async def tried_again() -> None:
        tries = engine.calls["tail"]
        while engine.calls["tail"] < tries + 3:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    engine.read_faults.extend([Broken("away")] * 10_000)
    keeper.start(hub)
    await tried_again()
    assert not hub.rechecked, "for some seconds it does not matter"
    assert "what is revoked cannot be read" in caplog.text
    clock.ahead = keeper_module.DOUBT_SECONDS
    await tried_again()
    assert (None in hub.rechecked) is holds_here
    assert (keeper.access.ended("tea", Pass(A, 1, 2**33), 2) == "unsure") is holds_here
    engine.read_faults.clear()
    while keeper.access.doubtful:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    assert keeper.access.ended("tea", Pass(A, 1, 2**33), 2) is None
    await keeper.close()


@gen_test
async def test_without_tokens_nothing_is_read():
    engine = FaultyEngine(MemoryEngine(shared=True))
    keeper = Keeper(Access(PRIVATE), "", engine)
    keeper.start(Hub())
    await keeper.fresh()
    await asyncio.sleep(0)
    await keeper.close()
    assert not engine.calls


@gen_test
async def test_the_keys_of_an_issuer_are_kept_as_long_as_the_server_runs():
    class Keys:
        done: ClassVar[list[str]] = []

        async def keep(self):
            self.done.append("begun")
            await asyncio.Event().wait()

        def close(self):
            self.done.append("closed")

    keeper, hub = kept(MemoryEngine())
    keeper.key_set = Keys()
    keeper.start(hub)
    await asyncio.sleep(0)
    assert Keys.done == ["begun"]
    await keeper.close()
    assert Keys.done == ["begun", "closed"]


@gen_test
async def test_a_key_that_has_left_the_file_ends_what_it_had_signed_and_a_bad_file_changes_nothing(
    tmp_path, caplog
):
    file = tmp_path / "secret"
    file.write_text("a" * 32 + "\n" + "b" * 32)
    access = Access(PRIVATE, Tokens([]))
    keeper_module.take_secret(access, str(file))
    keeper = Keeper(access, str(file), MemoryEngine())
    hub = keeper._hub = Hub()
    file.write_text("short")
    keeper.reload()
    assert "stay as they are" in caplog.text
    assert len(access.secret.keys) == 2
    file.write_text("c" * 32 + "\n" + "a" * 32 + "\n" + "b" * 32)
    keeper.reload()
    assert hub.rechecked == [], "a new key takes nothing away"
    assert access.secret.signing == b"c" * 32
    now = int(time.time())
    text = Secret([b"b" * 32]).sign(claims_of("ann", {}, issued=now, expires=now + 60))
    assert access.token(text, now).sub == "ann"
    file.write_text("c" * 32)
    keeper.reload()
    assert hub.rechecked == [None]
    with pytest.raises(BadToken):
        access.token(text, now)
