"""What a conversation is: who takes part and which FAULTS there are, drawn from its seed; and its report."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

ROOM = "room"
RETENTION = 30.0  # seconds, in the place of days: longer than anybody tries to put something
REPLAY_BYTES, LARGE = 1500, 600  # bytes, in the place of a megabyte and of 16 kB
HISTORY, FIRST, REPLAY = 3, 4, 6  # in the place of 50, 60 and 1,000: so that few messages are many

FAULTS = {
    "lose": "a put is lost, and its answer too",
    "drop": "a put is applied, and its answer lost",
    "late": "a put is applied later than its writer is told that nothing is known",
    "hang": "a put is applied or not, and never answered",
    "throttle": "a put is refused for a time",
    "deny": "the store refuses what it is asked, as with credentials that have expired",
    "torn": "a reading shows a commit, and not the one before it",
    "hide": "the store does not tell who won a place",
    "unread": "a read fails, or takes 3 s",
    "down": "the store does not answer for up to 35 s",
    "kill": "a server is killed, and started again",
    "term": "a server is asked to end, and started again",
    "evict": "rooms leave a server's memory after 2 s without use, or as it is full",
    "cut": "a client's connection breaks",
    "stall": "a client does not read for up to 20 s",
    "unanswered": "the answer to a POST is lost, so it is sent again",
    "impatient": "a sender sends the same again before it is answered, and to another server",
    "stranger": "a client comes with a position that no log gave it",
    "unpublished": "a publication gets lost, and nobody is told",
    "doubled": "a publication comes twice",
    "delayed": "a publication comes later, after others",
    "refused": "a proxy's control port refuses, or hangs",
    "unsaid": "a publication comes, and its publisher is told that it did not",
    "restart": "Pushpin is killed, and started again",
    "two": "there are two Pushpins, and what is published to the second one comes late",
    "clock": "the servers' clocks differ, and one jumps",
    "foreign": "another process writes to the same table",
    "clear": "an operator clears the room",
    "restored": "all servers are killed, and the store goes on as an older copy of itself",
    "asleep": "all servers sleep for longer than messages are kept, while another one writes",
    "large": "some messages are large, for the bytes that a replay may have",
    "again": "what was sent long ago is sent again, with the position at which it was first sent",
    "forge": "another user sends other texts under the sender and the provisional id of somebody's messages",
    "lapse": "tokens expire: the room is private then, as with the next two",
    "revoke": "somebody's tokens are revoked, by any process",
    "rotate": "the key of tokens is replaced, and processes hear of it one after the other",
    "remove": "a moderator removes messages, through any server, until that is answered",
    "erase": "another process writes, and an operator erases whoever that was, through any server, until it is done",
    "signal": "clients tell each other that they are here, or typing, until all have everything",
    "expire": "messages are kept for some seconds, and by DynamoDB's TTL those places become free at some time",
}
GRIP_ONLY = {"refused", "unsaid", "restart", "two"}
STANDALONE_ONLY = {"foreign"}
PASSES = {"lapse", "revoke", "rotate"}
# A wrong clock judges tokens wrongly; and a store that goes on as an older copy has lost what was revoked since.
NOT_WITH_PASSES = {"clock", "restored", "asleep"}
# What is left of a message is shorter, so the bytes of a replay are others; and an older copy has the text again.
NOT_WITH_REMOVALS = {"large", "restored"}
ASIDE = {
    "remove",
    "erase",
    "signal",
}  # drawn by themselves: so a conversation without them is what it was before there were any
COUNTS = ("servers", "clients", "senders", "messages")


@dataclass(frozen=True)
class Scenario:
    seed: int
    mode: str
    faults: tuple[str, ...]
    servers: int
    clients: int
    senders: int
    messages: int

    @classmethod
    def of(cls, seed: int) -> Scenario:
        chance = random.Random(f"{seed}/scenario")
        mode = chance.choice(("standalone", "grip"))
        possible = sorted(set(FAULTS) - ASIDE - (GRIP_ONLY if mode == "standalone" else STANDALONE_ONLY))
        faults = set(chance.sample(possible, chance.choice((1, 2, 3, 4, 6, 9))))
        if faults & PASSES:
            faults -= NOT_WITH_PASSES
        for fault in sorted(ASIDE):
            fits = fault == "signal" or not faults & NOT_WITH_REMOVALS
            if random.Random(f"{seed}/{fault}").random() < 0.2 and fits:
                faults.add(fault)
        return cls(
            seed,
            mode,
            tuple(sorted(faults)),
            chance.randint(1, 3) if mode == "grip" else 1,
            chance.randint(1, 4),
            chance.randint(1, 3),
            chance.choice((1, 2, 3, 3, 8)),
        )

    @property
    def private(self) -> bool:
        return bool(PASSES & set(self.faults))

    def without(self, faults: set[str]) -> Scenario:
        return replace(self, faults=tuple(fault for fault in self.faults if fault not in faults))

    def command(self) -> str:
        drawn = Scenario.of(self.seed)
        words = [f"python -m tests.proof.simulation --trace --seed {self.seed}"]
        if left_out := sorted(set(drawn.faults) - set(self.faults)):
            words.append(f"--without {','.join(left_out)}")
        for name in COUNTS:
            if getattr(self, name) != getattr(drawn, name):
                words.append(f"--{name} {getattr(self, name)}")
        return " ".join(words)

    def smaller(self) -> Iterator[Scenario]:
        for fault in self.faults:
            yield self.without({fault})
        for name in COUNTS:
            for count in range(1, getattr(self, name)):
                yield replace(self, **{name: count})


@dataclass
class Report:
    scenario: Scenario
    broken: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    suffered: Counter[str] = field(default_factory=Counter)
    converged: float = 0.0  # seconds after the last fault
    trace: list[str] = field(default_factory=list)
