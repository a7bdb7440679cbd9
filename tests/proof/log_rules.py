"""The rules of writing under random faults, and what happens when one of them is switched off.

Three writers on one store, each with faults of its own, and senders that send again, to any writer, until
they are answered. Then the store must hold every message once, with ids 1..n, as acknowledged and published.
A mutation switches one rule off: the same conversations must then fail.
"""

import asyncio
import random
import uuid
from collections import Counter
from dataclasses import replace

from flychat.commits import Commit
from flychat.errors import Unavailable
from flychat.log import MessageLog
from flychat.log.room import Room
from flychat.messages import Draft, Key, Message
from flychat.storage import Engine, Hole, Unknown
from flychat.storage.sqlite import SqliteEngine
from tests.support.fakes import FaultyEngine, random_faults

FAULTS = {"lose": 0.06, "drop": 0.06, "late": 0.06, "throttle": 0.03}
SEEDS = range(6)
SECONDS = 6


class Client(FaultyEngine):
    """One writer's way to the store: the store stays open when the writer closes it."""

    async def close(self) -> None:
        pass


class Violation(Exception):
    """The store is not as the senders were told."""


async def conversation(seed: int) -> None:
    """One over SQLite in memory. Raises Violation."""
    store = await SqliteEngine.open(":memory:")
    engines = [Client(store, random_faults(seed * 10 + n, FAULTS), late_after=2) for n in range(3)]
    engines[1].hides_winner = True
    try:
        await converse(seed, engines, store)
    finally:
        await store.close()


async def converse(
    seed: int, engines: list[Engine], store: Engine, senders: int = 8, messages: int = 8
) -> None:
    """A writer per engine; `store` reads the truth. Raises Violation."""
    chance = random.Random(seed)
    published: list[Commit] = []
    logs = [
        MessageLog(e, memory=n == 2, committed=published.append, rng=random.Random(seed))
        for n, e in enumerate(engines)
    ]
    violations: list[str] = []
    acknowledged: dict[Key, Message] = {}

    async def send(sender: str) -> None:
        for n in range(messages):
            fields = {"from": sender, "text": f"{sender} {n}", "provisionalId": str(uuid.UUID(int=n))}
            draft = Draft.create("room", fields, now=0)
            while draft.key not in acknowledged:
                try:
                    # an impatient sender sends the same again, to another server, before it is answered
                    answers = [chance.choice(logs).submit(draft) for _ in range(chance.choice((1, 1, 2)))]
                    for message in await asyncio.gather(*answers):
                        if acknowledged.setdefault(draft.key, message) != message:
                            violations.append("acknowledged as two messages")
                except Unavailable:
                    pass

    try:
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*(send(f"sender {n}") for n in range(senders)))
    except TimeoutError:
        raise Violation("some are never answered") from None
    finally:
        await asyncio.gather(*(log.close(0.1) for log in logs))
    try:
        stored = [m for commit in await store.after("room", 0, 10**6) for m in commit.messages]
    except Hole as hole:
        raise Violation(hole) from None
    if violations:
        raise Violation(violations)
    check(stored, acknowledged, published, senders * messages)


async def conversations() -> None:
    for seed in SEEDS:
        await conversation(seed)


def check(stored, acknowledged, published, count) -> None:
    ids = [m.id for m in stored]
    if ids != list(range(1, len(ids) + 1)):
        raise Violation(f"ids are {ids}")
    if max(Counter((m.sender, m.text) for m in stored).values()) > 1:
        raise Violation("a message is stored twice")
    if len(stored) != count:
        raise Violation(f"{count} messages sent, {len(stored)} stored")
    for (_, sender, provisional_id), message in acknowledged.items():
        if (message.sender, message.provisional_id) != (sender, provisional_id):
            raise Violation("answered with the message of another")
        if stored[message.id - 1] != message:
            raise Violation("stored otherwise than acknowledged")
    if {m for commit in published for m in commit.messages} != set(stored):
        raise Violation("published otherwise than stored")


def assume_stored(monkeypatch):
    """An unknown outcome is taken for success."""
    put = Room._put

    async def mutated(self, place, drafts):
        try:
            await put(self, place, drafts)
        except Unknown:
            self._learn([Commit.of(place, drafts)], own=True)

    monkeypatch.setattr(Room, "_put", mutated)


def skip_the_place(monkeypatch):
    """After an unknown outcome the next place is tried."""
    put = Room._put

    async def mutated(self, place, drafts):
        try:
            await put(self, place, drafts)
        except Unknown:
            self.window.fold(Commit(self.name, (), void=(place, 1)), 0)
            raise

    monkeypatch.setattr(Room, "_put", mutated)


def recognise_nothing(monkeypatch):
    """A commit that is learned is taken for somebody else's."""
    learn = Room._learn

    def mutated(self, commits, *, own=False):
        if not own:
            commits = [
                replace(c, messages=tuple(replace(m, provisional_id=str(uuid.uuid4())) for m in c.messages))
                for c in commits
            ]
        learn(self, commits, own=own)

    monkeypatch.setattr(Room, "_learn", mutated)


def forget_the_sender(monkeypatch):
    """The provisional id alone is the key."""
    monkeypatch.setattr(Draft, "key", property(lambda draft: draft.provisional_id))
    monkeypatch.setattr(Message, "key", property(lambda message: message.provisional_id))
    monkeypatch.setattr("flychat.log.window.same_text", lambda message, draft: message)  # no Conflict


def forget_the_user(monkeypatch):
    """Anybody's message under the same sender and provisional id is taken for the author's."""
    monkeypatch.setattr(Draft, "key", property(lambda draft: (None, draft.sender, draft.provisional_id)))
    monkeypatch.setattr(Message, "key", Draft.key)


def guess_the_tail(monkeypatch):
    """After a lost race the next number is tried, whatever the winner's size."""
    learn = Room._learn

    def mutated(self, commits, *, own=False):
        if not own:
            commits = [replace(c, messages=c.messages[:1]) for c in commits[:1]]
        learn(self, commits, own=own)

    monkeypatch.setattr(Room, "_learn", mutated)


def publish_own_wins_only(monkeypatch):
    """A commit that won its place unknown to its writer is not published when it is found."""
    announce = Room._announce
    monkeypatch.setattr(Room, "_announce", lambda self, c, own, mine: announce(self, c, own, set()))


MUTATIONS = [
    assume_stored,
    skip_the_place,
    recognise_nothing,
    forget_the_sender,
    guess_the_tail,
    publish_own_wins_only,
]
