"""The judge: what the streams, the answers and the store of a room must be, whoever produced them.

One oracle for the simulation, where everything is in memory, and for the soak, where everything is real. It
knows the wire contract and nothing of flychat's code.

- For a client (Witness): official ids follow each other from where it started, none twice, or a `stream-reset`
  stands in the gap's place; a reset is justified (more than REPLAY behind, or a position that no log gave),
  is followed by the newest HISTORY messages, and has the id before them, which is the client's position from
  then on. Each provisional message is resolved by its official or
  its retraction while the connection lasts, or is excused: counted, and only for a reason that docs/streams.md
  names.
- For the senders (Ledger) and the store: ids are 1..n; what was answered with 200 is stored once, with the id
  of the answer; no message is stored twice, whatever the answers; nothing is stored that nobody sent.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from .sse_parser import Parsed, parse

HISTORY = 50
REPLAY = 1000
BOUND = {"standalone": 15.0, "grip": 55.0}  # seconds from the last fault until every client has the whole log

Key = tuple[str, str]  # from, provisionalId


@dataclass(frozen=True)
class Stored:
    id: int
    sender: str
    text: str
    provisional_id: str

    @classmethod
    def read(cls, message: Mapping) -> Stored:
        return cls(message["id"], message["from"], message["text"], message["provisionalId"])


class Witness:
    """A client across its connections, judged event by event.

    `position` is what it comes back with. `newest` gives an id that the log has not passed yet, which bounds
    where a stream without a position may begin; `invented` says that the first position is not from the log.
    """

    def __init__(
        self,
        newest: Callable[[], int],
        position: int | None = None,
        *,
        invented: bool = False,
        history: int = HISTORY,
        replay: int = REPLAY,
    ) -> None:
        self.position = position
        self.started = None if invented else position  # the id after which it must have everything
        self.seen: dict[int, Stored] = {}
        self.pending: dict[str, None] = {}  # provisional ids that are neither official nor retracted yet
        self.official: set[str] = set()
        self.broken: list[str] = []
        self.counts: Counter[str] = Counter()
        self._newest, self._history, self._replay = newest, history, replay
        self._invented = invented
        self._expected: int | None = None if position is None else position + 1
        self._bytes = b""

    def connected(self) -> None:
        """A new connection: nothing of the last one counts but the position."""
        self._bytes = b""
        self.counts["streams"] += 1
        self.counts["provisionals cut off"] += len(self.pending)
        self.pending.clear()
        if self.position is None:
            self._expected = self.started = None

    def read(self, data: bytes) -> None:
        *blocks, self._bytes = (self._bytes + data).split(b"\n\n")
        for block in blocks:
            for event in parse(block + b"\n\n"):
                self._take(event)

    def _take(self, event: Parsed) -> None:
        self.counts["events"] += 1
        if event.type == "message":
            fields = json.loads(event.data)
            if "id" in fields:
                self._official(Stored.read(fields), event)
            elif fields["provisionalId"] not in self.official:
                self.pending[fields["provisionalId"]] = None
        elif event.type == "retraction":
            self.pending.pop(json.loads(event.data)["provisionalId"], None)
        elif event.type == "stream-reset":
            self._reset(event.last_id, **json.loads(event.data))

    def _official(self, message: Stored, event: Parsed) -> None:
        id = message.id
        self.counts["deliveries"] += 1
        if event.last_id != str(id):
            self.broken.append(f"{id} with the event id {event.last_id!r}")
        if self._expected is not None and id != self._expected:
            self.broken.append(f"{id} in the place of {self._expected}")
        elif self._expected is None and id > max(1, self._newest() - self._history + 1):
            self.broken.append(f"{id} opens a stream, while the log ends at {self._newest()} or before")
        if self.seen.setdefault(id, message) != message:
            self.broken.append(f"{id} is not what it was")
        if self.started is None:
            self.started = id - 1
        self.position, self._expected = id, id + 1
        self._invented = False
        self.pending.pop(message.provisional_id, None)
        self.official.add(message.provisional_id)

    def _reset(self, id: str, reason: str, lastEventId: int) -> None:
        self.counts["resets"] += 1
        if reason == "ahead":
            just = self._invented and self.position > lastEventId
        else:
            just = reason == "behind" and lastEventId - (self.position or 0) > self._replay
        if not just:
            self.broken.append(f"reset ({reason} at {lastEventId}) of a client at {self.position}")
        self.started = max(0, lastEventId - self._history)
        if id != str(self.started):
            self.broken.append(f"reset at {lastEventId} with the id {id!r}")
        self.position, self._expected = self.started, self.started + 1
        self._invented = False


@dataclass
class Ledger:
    """What the senders of a room did, and were told."""

    sent: dict[Key, str] = field(default_factory=dict)
    acknowledged: dict[Key, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)

    def send(self, key: Key, text: str) -> None:
        self.sent[key] = text

    def answer(self, key: Key, status: int, message: Stored | None = None) -> None:
        """`status` 0: no answer."""
        self.answers[status] += 1
        if status != 200:
            return
        assert message is not None
        if (message.sender, message.provisional_id, message.text) != (*key, self.sent[key]):
            self.broken.append(f"{key} was answered with another message: {message}")
        if self.acknowledged.setdefault(key, message.id) != message.id:
            self.broken.append(f"{key} was answered as {self.acknowledged[key]} and as {message.id}")

    def judge(self, stored: Iterable[Stored]) -> list[str]:
        broken, stored = list(self.broken), list(stored)
        ids = [message.id for message in stored]
        if ids != list(range(1, len(ids) + 1)):
            broken.append(f"the ids in the store are {ids}")
        places: dict[Key, list[int]] = {}
        for message in stored:
            key = (message.sender, message.provisional_id)
            places.setdefault(key, []).append(message.id)
            if self.sent.get(key) != message.text:
                broken.append(f"{message} is stored, but was not sent like this")
        broken += [f"{key} is stored as {ids}" for key, ids in places.items() if len(ids) > 1]
        broken += [
            f"{key} was answered as {id}, and is stored as {places.get(key)}"
            for key, id in self.acknowledged.items()
            if places.get(key) != [id]
        ]
        return broken


def unresolved(witness: Witness, stored: list[Stored], excused: Callable[[str], bool]) -> list[str]:
    """The provisional messages that it should have heard more of."""
    older = {message.provisional_id for message in stored[: witness.started or 0]}  # sent again long after
    return [id for id in witness.pending if id not in older and not excused(id)]


def has_all(witness: Witness, stored: list[Stored], excused: Callable[[str], bool]) -> bool:
    return (witness.position or 0) == len(stored) and not unresolved(witness, stored, excused)


def judge_witness(witness: Witness, stored: list[Stored], excused: Callable[[str], bool]) -> list[str]:
    """What is wrong at the end with a client that is connected, and should have everything by now."""
    log = {message.id: message for message in stored}
    broken = list(witness.broken)
    if (witness.position or 0) != len(stored):
        broken.append(f"at {witness.position}, while the log ends at {len(stored)}")
    broken += [f"{m} was given, but is not stored" for m in witness.seen.values() if log.get(m.id) != m]
    missed = unresolved(witness, stored, excused)
    broken += [f"the provisional {id} was neither stored nor retracted" for id in missed]
    witness.counts["provisionals excused"] += len(witness.pending) - len(missed)
    return broken
