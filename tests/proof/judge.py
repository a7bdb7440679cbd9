"""The judge: what the streams, the answers and the store of a room must be, whoever produced them.

One oracle for the simulation, where everything is in memory, and for the soak, where everything is real. It
knows the wire contract and nothing of flychat's code.

- For a client (Witness): official ids follow each other from where it started, none twice, or a `stream-reset`
  stands in the gap's place. A reset is justified: more than can be replayed, or a position before what was cleared
  or has expired, or one that this log did not give. It is followed by the newest HISTORY messages, and has the id
  before them, which is the client's position from then on. Each provisional message is resolved by its official or
  its retraction while the connection lasts, or is excused: counted, and only for a reason that docs/streams.md
  names.
- A signal may come or not, whenever it likes; it has no id, and changes nothing of all this.
- For a client whose right to read ends (Right): its stream is a prefix of the log, and is given nothing any more LOST
  seconds after the right had ended, whatever is lost; and nobody else is told that a right has ended.
- For the senders (Ledger) and the store: the ids that were not cleared have no gap; what was answered with 200 is
  stored once, with the id of the answer, or was cleared; no message is there twice, whatever the answers, but for
  removals: they have no position, so one that is repeated late may be told once more; nothing is stored that nobody
  sent; and nobody, who sends one text under a key, is told that it stands for another.
- For a person who is erased: after that nothing is stored under the name.
- For messages that are removed: what is given, answered or stored is what was posted, or what a removal has left of it,
  and then the log has that removal, which names it. A removal that was answered with 200 has left no text,
  neither in the store nor for a stream that is asked for after that.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace

from tests.support.sse_parser import Parsed, parse

HISTORY = 50
REPLAY = 1000
REPLAY_BYTES = 1 << 20
ERASED = "[erased]"  # in the place of a sender
BOUND = {"standalone": 15.0, "grip": 55.0}  # seconds from the last fault until every client has the whole log
LOST = 32.0  # seconds after a right has ended in which its stream ends, whatever is lost
FROZEN = {
    "standalone": 0.0,
    "grip": 34.0,
}  # and more in which it is given nothing, where its proxy asks in vain

Key = tuple[str | None, str, str]  # user, from, provisionalId


@dataclass(frozen=True)
class Stored:
    id: int
    sender: str
    text: str
    provisional_id: str
    user: str | None = None
    removes: tuple[int, ...] = ()
    removed: int | None = None

    @classmethod
    def read(cls, message: Mapping) -> Stored:
        user, sender, provisional_id = key_of(message)
        marks = tuple(message.get("removes", ())), message.get("removed")
        return cls(message["id"], sender, message["text"], provisional_id, user, *marks)

    def is_left_of(self, whole: Stored) -> bool:
        """Whether a removal has left this of a message."""
        left = replace(whole, text="", removed=self.removed)
        return bool(whole.text) and whole.removed is None is not self.removed and self in (left, erased(left))

    def is_one_with(self, other: Stored) -> bool:
        """Whether they are the same message, of which a removal may have left one, or one of two both."""
        mine, others = replace(self, removed=None), replace(other, removed=None)
        same = mine == others or erased(mine) == others or mine == erased(others)
        both = self.removed is not None is not other.removed and same
        return self == other or both or self.is_left_of(other) or other.is_left_of(self)

    @property
    def key(self) -> Key:
        return (self.user, self.sender, self.provisional_id)


def erased(tombstone: Stored) -> Stored:
    """What is left when its author is erased as well."""
    return replace(tombstone, sender=ERASED, user=None)


def key_of(message: Mapping) -> Key:
    """Of a message as it is on the wire."""
    return (message.get("user"), message["from"], message["provisionalId"])


class Log:
    """What the judge has to know of a room's log while it is written.

    `newest` gives an id that it has not passed yet. `floors` are the ids up to which it was cleared, or has expired,
    one after the other; `copies` those at which it went on as an older copy of itself: a client that is behind that again
    when it comes is not told, and keeps what it has. `size` gives the bytes of
    the messages from behind one id up to another.
    """

    def __init__(
        self,
        newest: Callable[[], int],
        *,
        history: int = HISTORY,
        replay: int = REPLAY,
        replay_bytes: int = REPLAY_BYTES,
        size: Callable[[int, int], int] = lambda above, upto: 0,
    ) -> None:
        self.newest = newest
        self.floors = [0]
        self.copies: list[int] = []
        self.twice = 0  # ids up to this one may have been given twice
        self.lost: set[Stored] = set()
        self.removed: set[int] = set()  # ids, by removals that were answered
        self.told: set[int] = set()  # floors that only streams have told of
        self._doubt = math.inf  # the id above which such a floor may be
        self._history, self._replay, self._bytes, self._size = history, replay, replay_bytes, size

    def clear(self, upto: int) -> None:
        if upto > self.floors[-1]:
            self.floors.append(upto)

    def doubt(self, above: int) -> None:
        """Somebody asks to clear the room, which ends above this id; a stream may be the first to tell where."""
        self._doubt = min(self._doubt, above)

    def hear(self, floor: int, last: float = math.inf) -> None:
        """A stream says that the room was cleared up to there, or that the newest HISTORY up to `last` follow."""
        unknown = self._doubt <= floor and floor not in self.floors
        if unknown:
            self.floors.insert(len(self.floors) - (floor < self.floors[-1]), floor)
            if last - floor != self._history:
                self.told.add(floor)

    def may_be_cleared(self, upto: int) -> bool:
        """By then; it may be restored since."""
        return 0 < upto <= max(self.floors) or self._doubt <= upto

    def restore(self, last: int, floor: int, ended: int, lost: Iterable[Stored]) -> None:
        """It goes on as a copy that ends at `last`; it had ended at `ended`, with messages that are lost."""
        self.twice = max(self.twice, ended)
        self.lost.update(lost)
        self.copies.append(last)
        self.floors.append(floor)

    @property
    def floor(self) -> int:
        return self.floors[-1]

    def may_open_with(self, id: int) -> bool:
        """A stream without a position begins with the newest HISTORY messages, or all there are.

        One that was opened before the log became an older copy goes on behind where that had ended.
        """
        if id > self._opens_with():
            self.hear(id - 1)
        return id <= self._opens_with()

    def _opens_with(self) -> int:
        return max(self._before_the_newest(self.newest(), self.floor), self.twice) + 1

    def too_far(self, position: int, last: int) -> bool:
        """Whether what follows the position cannot be replayed, where the log ends at `last`."""
        much = last - position > self._replay or self._size(position, last) > self._bytes
        return much or position < max(self.floors)

    def may_go_on_behind(self, id: int, last: int) -> bool:
        """Whether this is the id of a reset at `last`: that before the messages that follow; 0 if none do."""
        return id in {0 if floor >= last else self._before_the_newest(last, floor) for floor in self.floors}

    def _before_the_newest(self, last: int, floor: int) -> int:
        before = max(floor, last - self._history)
        while before + 1 < last and self._size(before, last) > self._bytes:
            before += 1
        return before


class Witness:
    """A client across its connections, judged event by event.

    `position` is what it comes back with; `invented` says that the first position is not from the log.
    """

    def __init__(self, log: Log, position: int | None = None, *, invented: bool = False) -> None:
        self.log = log
        self.position = position
        self.started = None if invented else position  # the id after which it must have everything
        self.seen: dict[int, Stored] = {}
        self.pending: dict[Key, None] = {}  # provisional messages that are neither official nor retracted yet
        self.official: set[Key] = set()
        self.broken: list[str] = []
        self.counts: Counter[str] = Counter()
        self._invented = invented
        self.reached = position or 0  # where its stream is: behind `position`, if what follows was cleared
        self._expected: int | None = None if position is None else position + 1
        self._bytes = b""
        self._removed: frozenset[int] = frozenset()

    def connected(self) -> None:
        """A new connection: nothing of the last one counts but the position."""
        self._bytes = b""
        self._removed = frozenset(self.log.removed)  # before this stream was asked for
        self.counts["streams"] += 1
        self.counts["provisionals cut off"] += len(self.pending)
        self.pending.clear()
        self.reached = self.position or 0
        if self.position is None:
            self._expected = self.started = None

    def read(self, data: bytes) -> None:
        if self.position is None:
            self.reached = max(self.reached, self.log.newest(), self.log.twice)  # at the most
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
            elif key_of(fields) not in self.official:
                self.pending[key_of(fields)] = None
        elif event.type == "retraction":
            fields = json.loads(event.data)
            meant = (fields.get("user"), fields["provisionalId"])
            self.pending = {key: None for key in self.pending if (key[0], key[2]) != meant}
        elif event.type == "signal":
            self.counts["signals"] += 1
            if event.last_id:
                self.broken.append(f"a signal with the event id {event.last_id!r}")
        elif event.type == "stream-reset":
            self._reset(event.last_id, **json.loads(event.data))

    def _official(self, message: Stored, event: Parsed) -> None:
        id = message.id
        self.counts["deliveries"] += 1
        if event.last_id != str(id):
            self.broken.append(f"{id} with the event id {event.last_id!r}")
        if self._expected is not None and id != self._expected:
            self.broken.append(f"{id} in the place of {self._expected}")
        elif self._expected is None and not self.log.may_open_with(id):
            self.broken.append(f"{id} opens a stream, while the log ends at {self.log.newest()} or before")
        before, self.seen[id] = self.seen.get(id, message), message
        if not before.is_one_with(message) and not {before, message} & self.log.lost:
            self.broken.append(f"{id} is not what it was")
        if id in self._removed and message.text:
            self.broken.append(f"{id} was removed before this stream was asked for")
        if self.started is None:
            self.started = id - 1
        self.position = self.reached = id
        self._expected = id + 1
        self._invented = False
        self.pending.pop(message.key, None)
        if message.removed is not None and message.sender == ERASED:  # no name is left, and so no key
            self.pending = {key: None for key in self.pending if key[2] != message.provisional_id}
        self.official.add(message.key)

    def _reset(self, id: str, reason: str, lastEventId: int) -> None:
        self.counts["resets"] += 1
        if int(id or 0) or reason == "behind":
            self.log.hear(int(id or 0) or lastEventId, lastEventId)
        if reason == "ahead":
            just = lastEventId < (self.reached if self._invented else min(self.reached, self.log.twice))
        else:
            just = reason == "behind" and self.log.too_far(self.position or 0, lastEventId)
        if not just:
            self.broken.append(f"reset ({reason} at {lastEventId}) of a client at {self.position}")
        if not id.isdecimal() or not self.log.may_go_on_behind(int(id), lastEventId):
            self.broken.append(f"reset at {lastEventId} with the id {id!r}")
        self.position, self.reached = int(id or 0), lastEventId
        self.started = self.position
        cleared = self.log.floor or self.log.may_be_cleared(lastEventId)
        if self.position == 0 and cleared:  # nothing follows: it goes on behind what was cleared
            self.started, self._expected = lastEventId, None
        else:
            self._expected = self.position + 1
        self._invented = False


@dataclass
class Ledger:
    """What the senders of a room did, and were told."""

    sent: dict[Key, str] = field(default_factory=dict)
    acknowledged: dict[Key, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    removed: set[int] = field(default_factory=set)  # ids, by removals that were answered
    erased: set[str] = field(default_factory=set)  # names, by erasures that were answered

    def send(self, key: Key, text: str) -> None:
        self.sent[key] = text

    def answer(self, key: Key, status: int, message: Stored | None = None, floor: int = 0) -> None:
        """`status` 0: no answer. `floor`: the id up to which the log is cleared by now."""
        self.answers[status] += 1
        if status == 409:
            self.broken.append(f"{key} was told that it stands for another text")
        if status != 200:
            return
        assert message is not None
        if message.key != key or (message.removed is None and message.text != self.sent[key]):
            self.broken.append(f"{key} was answered with another message: {message}")
        before = self.acknowledged.setdefault(key, message.id)
        if floor < before != message.id > floor:
            self.broken.append(f"{key} was answered as {before} and as {message.id}")
        self.acknowledged[key] = max(before, message.id)

    def forget(self, lost: Container[Stored]) -> None:
        """The log has lost them: what was answered is not there any more."""
        self.acknowledged = {
            key: id
            for key, id in self.acknowledged.items()
            if Stored(id, key[1], self.sent[key], key[2], key[0]) not in lost
        }

    def judge(self, stored: Iterable[Stored], floor: int = 0) -> list[str]:
        """`stored`: the messages behind `floor`."""
        broken, stored = list(self.broken), list(stored)
        ids = [message.id for message in stored]
        if ids != list(range(floor + 1, floor + 1 + len(ids))):
            broken.append(f"the ids in the store are {ids}")
        places: dict[Key, list[int]] = {}
        removals = {message.key for message in stored if message.removes}
        for message in stored:
            key = message.key
            places.setdefault(key, []).append(message.id)
            if message.removed is None and self.sent.get(key) != message.text:
                broken.append(f"{message} is stored, but was not sent like this")
            if message.id in self.removed and (message.text or message.removed is None):
                broken.append(f"{message} was removed, and is stored")
            if message.sender in self.erased:
                broken.append(f"{message} was erased, and is stored")
        broken += unnamed(stored, stored)
        broken += [
            f"{key} is stored as {ids}" for key, ids in places.items() if len(ids) > 1 and key not in removals
        ]
        for key, id in self.acknowledged.items():
            there = places.get((None, ERASED, key[2]) if key[1] in self.erased else key, [])
            if id > floor and there != [id] and not (key in removals and id in there):
                broken.append(f"{key} was answered as {id}, and is stored as {there}")
        return broken


def unnamed(messages: Iterable[Stored], stored: Iterable[Stored]) -> list[str]:
    """Those of the messages that no removal in the store has left."""
    removals = {(id, message.id) for message in stored for id in message.removes}
    return [
        f"{message} is left by a removal that does not name it"
        for message in messages
        if message.removed is not None and (message.text or (message.id, message.removed) not in removals)
    ]


@dataclass(eq=False)
class Right:
    """A client's right to read: it may have ended from `perhaps` on, and has from `surely` on (in any clock)."""

    perhaps: float = math.inf
    surely: float = math.inf
    broken: list[str] = field(default_factory=list)

    def end(self, perhaps: float, surely: float = math.inf) -> None:
        self.perhaps, self.surely = min(self.perhaps, perhaps), min(self.surely, surely)

    def told(self, now: float, what: str) -> None:
        """The client is told that its right has ended."""
        if now < self.perhaps:
            self.broken.append(f"was told {what} at {now:.1f}, and had the right")

    def given(self, now: float, data: bytes) -> None:
        """A stream that was opened by this right is given something. A farewell is always right."""
        if now > self.surely + LOST and b"event: stream-end" not in data:
            self.broken.append(f"was given {data[:60]!r} {now - self.surely:.1f} s after the right had ended")

    def ended(self, now: float, mode: str) -> None:
        """A stream that was opened by this right ends."""
        if now > self.surely + LOST + FROZEN[mode]:
            self.broken.append(f"was cut {now - self.surely:.1f} s after the right had ended")


Excused = Callable[[str], bool]  # whether the provisional messages with this id may stay unresolved


def unresolved(witness: Witness, ever: Iterable[Stored], excused: Excused) -> list[Key]:
    """The provisional messages that it should have heard more of. `ever`: all that the log ever had."""
    upto = max(witness.started or 0, witness.log.floor, witness.log.twice)
    older = {m.key for m in ever if m.id <= upto}  # it comes late, or again: the client has it no more
    return [key for key in witness.pending if key not in older and not excused(key[2])]


def at_the_end(witness: Witness, stored: list[Stored]) -> bool:
    if (witness.position or 0) == (stored[-1].id if stored else 0):
        return True
    return witness.position is not None and witness.reached == witness.log.newest() <= witness.log.twice


def judge_floors(log: Log, witnesses: Iterable[Witness], stored: Iterable[Stored]) -> list[str]:
    """What takes the id of a room's clearing is no message, whoever tells of it."""
    messages = {message.id for message in stored}.union(*(witness.seen for witness in witnesses))
    return [f"{id} is a message, and no end of what was cleared" for id in sorted(log.told & messages)]


def judge_prefix(witness: Witness, stored: list[Stored]) -> list[str]:
    """What is wrong with what a client was given, as far as that goes."""
    log = {message.id: message for message in stored}
    seen = [m for m in witness.seen.values() if m.id > witness.log.floor and m not in witness.log.lost]
    return [
        *witness.broken,
        *(
            f"{message} was given, but is not stored"
            for message in seen
            if message.id not in log or not message.is_one_with(log[message.id])
        ),
        *unnamed(seen, stored),
    ]


def judge_witness(
    witness: Witness, stored: list[Stored], excused: Excused, ever: Iterable[Stored] | None = None
) -> list[str]:
    """What is wrong at the end with a client that is connected, and should have everything by now."""
    broken = judge_prefix(witness, stored)
    if not at_the_end(witness, stored):
        broken.append(f"at {witness.position}, while the log ends at {stored[-1].id if stored else 0}")
    missed = unresolved(witness, stored if ever is None else ever, excused)
    broken += [f"the provisional {key} was neither stored nor retracted" for key in missed]
    witness.counts["provisionals excused"] += len(witness.pending) - len(missed)
    return broken
