"""What an operator sees at /metrics: it moves when it should, and its labels are few."""

import asyncio
import re
from unittest.mock import AsyncMock

import pytest
from prometheus_client import REGISTRY

from flychat.commits import Commit
from flychat.storage import Taken, Unknown
from flychat.storage.metrics import MeasuredEngine
from flychat.storage.sqlite import SqliteEngine
from tests.support.asking import ROOM, ask, post
from tests.support.fakes import FaultyEngine
from tests.support.served import WAIT, draft, served


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


class Change:
    """How much a sample grew since this was made."""

    def __init__(self, name: str, **labels: str) -> None:
        self._sample = (name, labels)
        self._before = value(name, **labels)

    def __call__(self) -> float:
        return value(self._sample[0], **self._sample[1]) - self._before


@pytest.mark.gen_test
async def test_puts_are_counted_by_their_outcome_and_commits_by_their_size():
    engine = FaultyEngine(await SqliteEngine.open(":memory:", retention=9.0), ["pass", "pass", "lose"])
    measured = MeasuredEngine(engine)
    assert (measured.shared, measured.reads, measured.retention) == (False, engine.reads, 9.0)
    changes = {
        outcome: Change("flychat_puts_total", outcome=outcome) for outcome in ("stored", "taken", "unknown")
    }
    count, messages = Change("flychat_commit_messages_count"), Change("flychat_commit_messages_sum")
    timed, reads = Change("flychat_put_seconds_count"), Change("flychat_reads_total", outcome="read")
    commit = Commit.of(1, [draft(), draft()])
    await measured.put(commit)
    for failure in (Taken, Unknown):
        with pytest.raises(failure):
            await measured.put(commit)
    for read in (measured.tail("room", 1), measured.after("room", 0, 1), measured.before("room", 9, 1)):
        assert await read == [commit]
    await measured.check()
    await measured.close()
    assert {outcome: change() for outcome, change in changes.items()} == {
        "stored": 1,
        "taken": 1,
        "unknown": 1,
    }
    assert (count(), messages(), timed(), reads()) == (1, 2, 3, 4)


@pytest.mark.gen_test
async def test_what_is_submitted_is_counted_as_what_is_put():
    measured = MeasuredEngine(await SqliteEngine.open(":memory:"))
    stored, taken = (Change("flychat_puts_total", outcome=outcome) for outcome in ("stored", "taken"))
    messages, timed = Change("flychat_commit_messages_sum"), Change("flychat_put_seconds_count")
    spent = Change("flychat_put_seconds_sum")
    commit = Commit.of(1, [draft(), draft()])
    for _ in range(2):
        told = asyncio.get_running_loop().create_future()
        assert measured.submit(commit, told.set_result)
        await told
    assert type(told.result()) is Taken
    assert (stored(), taken(), messages(), timed()) == (1, 1, 2, 2)
    assert 0 < spent() < 60
    await measured.close()


@pytest.mark.gen_test
async def test_all_else_is_passed_on():
    engine = AsyncMock()
    measured = MeasuredEngine(engine)
    calls = {
        "rewrite": (1, 2),
        "delete": (1,),
        "everything": ("tea", 3),
        "rooms": (),
        "expire": ("2026",),
        "close": (),
    }
    for name, values in calls.items():
        assert await getattr(measured, name)(*values) is getattr(engine, name).return_value
        getattr(engine, name).assert_awaited_once_with(*values)


@pytest.mark.gen_test
async def test_streams_and_posts_are_counted():
    async with served() as chat:
        first, resumed = (Change("flychat_streams_opened_total", kind=kind) for kind in ("first", "resumed"))
        ahead, behind = (
            Change("flychat_stream_resets_total", reason=reason) for reason in ("ahead", "behind")
        )
        good, bad = (Change("flychat_posts_total", status=status) for status in ("200", "400"))
        await asyncio.gather(*(chat.post() for _ in range(1001)))
        for position in (None, 5, 0, 5000):
            await chat.stream(position)
        await post(chat, {"from": "ann", "text": "hi"})
        await post(chat, {"from": "ann"})
        await ask(chat, "/healthz")
        assert (first(), resumed(), ahead(), behind(), good(), bad()) == (1, 3, 1, 1, 1, 1)


@pytest.mark.gen_test
async def test_streams_are_counted_while_they_are_held_and_when_they_end(monkeypatch):
    async with served() as chat:
        left, drained = (Change("flychat_streams_ended_total", why=why) for why in ("left", "drained"))
        clients = [await chat.stream() for _ in range(3)]
        assert value("flychat_streams") == 3
        gone = asyncio.Event()
        cut = chat.hub.connections.cut
        chat.hub.connections.cut = lambda held, why: (cut(held, why), gone.set())
        clients[0].close()
        await asyncio.wait_for(gone.wait(), WAIT)
        assert (value("flychat_streams"), left(), drained()) == (2, 1, 0)
    assert drained() == 2


@pytest.mark.gen_test
async def test_rooms_are_counted_while_streams_are_held_in_them():
    """However many streams there are; a room that is only written to, or read, is none of them."""
    rooms = Change("flychat_rooms")
    async with served() as chat:
        clients = [await chat.stream(room=room) for room in ("tea", "tea", "milk")]
        await chat.post(room="other")
        assert rooms() == 2
        gone = asyncio.Event()
        note_held = chat.hub.note_held
        chat.hub.note_held = lambda room, held: (note_held(room, held), None if held else gone.set())
        clients[2].close()
        await asyncio.wait_for(gone.wait(), WAIT)
        assert rooms() == 1
    assert rooms() == 0, "a server that ends holds none"


@pytest.mark.gen_test
async def test_labels_have_few_values_and_nothing_of_a_message_or_a_room():
    async with served() as chat:
        series = []
        for n in range(30):
            await post(chat, {"from": f"name{n}", "text": f"text{n}"}, f"/rooms/secretroom{n}/messages/")
            await ask(chat, f"/secretroom{n}?user=name{n}")
            body = (await ask(chat, "/metrics")).body.decode()
            assert not re.search(r"secretroom|name\d|text\d", body)
            assert ROOM not in body
            series.append(re.findall(r"^flychat_[^ ]+", body, re.MULTILINE))
        assert series[-1] == series[0]  # the first may also count what other tests have left in this process
