"""The promise, in a thousand conversations in virtual time; and that it would be noticed if it were broken.

More of them: python -m tests.proof.simulation --conversations 10000 --seed S
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace

import pytest

from flychat.chat import Chat
from flychat.errors import Unavailable
from flychat.messages import Message
from tests.proof.judge import BOUND, LOST, Ledger, Log, Right, Stored, Witness, judge_prefix, judge_witness
from tests.proof.simulation.command import chosen, parser
from tests.proof.simulation.running import Summary, converse, explain, first_failure, run_seeds, simulated
from tests.proof.simulation.scenario import FAULTS, Scenario

COUNTED = set(FAULTS) - {
    "hide",
    "impatient",
    "stranger",
    "foreign",
    "expire",
    "two",
}  # the others are not events


@pytest.mark.parametrize("part", range(2))
def test_streams_stores_and_answers_are_as_promised_in_500_conversations(part):
    summary = run_seeds(range(1 + 500 * part, 501 + 500 * part))
    assert not summary.failed, explain(Scenario.of(summary.failed[0]))
    assert summary.conversations == 500
    assert set(summary.suffered) == COUNTED
    assert summary.counts["signals"] > 1000
    for mode, bound in BOUND.items():
        assert summary.slowest[mode] < bound


def test_a_seed_is_one_conversation_whatever_the_process():
    with simulated():
        traces = [converse(Scenario.of(seed), trace=True).trace for seed in (3, 4, 3)]
    assert traces[0] == traces[2] != traces[1]
    environ = {**os.environ, "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-m", "tests.proof.simulation", "--seed", "3", "--trace"]
    told = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout
    assert told.splitlines()[1 : 1 + len(traces[0])] == traces[0]


def test_what_is_chosen_holds_for_several_conversations_as_well():
    command = [sys.executable, "-m", "tests.proof.simulation", "--conversations", "3", "--senders", "1"]
    command += ["--jobs", "1", "--messages", "2", "--without", ",".join(FAULTS)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert " 6 messages" in told[1]
    assert told[2] == "suffered: "


def test_a_failure_is_shrunk_and_printed_with_the_command_that_replays_it(monkeypatch):
    post = Chat.post

    async def answered_although_not_stored(self, draft):
        try:
            return await post(self, draft)
        except Unavailable:
            return Message(1, draft.sender, draft.text, draft.date, draft.provisional_id)

    monkeypatch.setattr(Chat, "post", answered_although_not_stored)
    report = first_failure(range(1000))
    assert report is not None
    _, command, scenario, *broken = explain(report.scenario).splitlines()
    assert broken
    options = parser().parse_args(shlex.split(command)[3:])
    assert repr(chosen(options)) == scenario.strip()
    assert len(chosen(options).faults) <= len(report.scenario.faults)
    with simulated():
        assert [f"  - {line}" for line in converse(chosen(options)).broken] == broken


def test_a_summary_adds_up():
    whole, parts = run_seeds(range(20)), Summary()
    for part in (range(7), range(7, 20)):
        parts.merge(run_seeds(part))
    assert parts == whole


# The judge itself


def block(id: int | None, key: str = "", name: str = "message") -> bytes:
    key = key or f"key {id}"
    head = "" if id is None else f"id: {id}\n"
    number = "" if id is None else f'"id":{id},'
    return (
        f'{head}event: {name}\ndata: {{{number}"from":"a","text":"t","provisionalId":"{key}"}}\n\n'.encode()
    )


SIGNAL = b'event: signal\ndata: {"from":"a","kind":"typing","date":"d"}\n\n'


def reset(reason: str, last: int, id: int | str | None = None) -> bytes:
    data = json.dumps({"reason": reason, "lastEventId": last})
    id = max(0, last - 50) if id is None else id
    return f"event: stream-reset\ndata: {data}\nid: {id}\n\n".encode()


def log(count: int) -> list[Stored]:
    return [Stored(id, "a", "t", f"key {id}") for id in range(1, count + 1)]


@pytest.mark.parametrize(
    ("position", "data", "wrong"),
    [
        (None, block(1) + block(2), ""),
        (0, block(1) + block(2), ""),
        (1, block(2), ""),
        (0, block(1) + block(1) + block(2), "1 in the place of 2"),
        (0, block(2), "2 in the place of 1"),
        (1, block(1) + block(2), "1 in the place of 2"),
        (None, block(2), "2 opens a stream"),
        (0, block(1), "while the log ends at 2"),
        (0, block(1) + block(2, "other"), "is not stored"),
        (0, block(None, "key 1") + block(1) + block(2), ""),
        (0, block(1) + block(None, "key 1") + block(2), ""),
        (0, block(1) + block(2) + block(None, "gone"), "neither stored nor retracted"),
        (0, block(None, "gone") + block(None, "gone", "retraction") + block(1) + block(2), ""),
        (0, reset("behind", 2) + block(1) + block(2), "reset (behind at 2)"),
        (1, reset("ahead", 1) + block(1) + block(2), "reset (ahead at 1)"),
        (0, SIGNAL + block(1) + SIGNAL + block(2) + SIGNAL, ""),
        (0, block(1) + block(2) + SIGNAL.replace(b"\n\n", b"\nid: 1\n\n"), "a signal with the event id '1'"),
    ],
)
def test_the_judge_of_a_stream(position, data, wrong):
    witness = Witness(Log(lambda: 2), position)
    witness.connected()
    for at in range(0, len(data), 7):
        witness.read(data[at : at + 7])
    broken = judge_witness(witness, log(2), lambda key: False)
    assert bool(broken) == bool(wrong)
    assert any(wrong in line for line in broken) or not wrong


def test_a_reset_is_judged_by_what_follows_and_by_whether_it_had_to_be():
    for position, invented, reason, ids, right in (
        (0, False, "behind", range(1001, 1051), True),
        (0, False, "behind", range(1002, 1051), False),
        (49, False, "behind", range(1001, 1051), True),
        (50, False, "behind", range(1001, 1051), False),
        (5000, True, "ahead", range(1001, 1051), True),
        (5000, False, "ahead", range(1001, 1051), False),
    ):
        witness = Witness(Log(lambda: 1050), position, invented=invented)
        witness.read(reset(reason, 1050) + b"".join(map(block, ids)))
        assert (judge_witness(witness, log(1050), lambda key: False) == []) == right, (position, reason)


@pytest.mark.parametrize(
    ("id", "right"), [(1000, True), (1050, False), (1001, False), (0, False), ("", False)]
)
def test_the_id_of_a_reset_is_judged(id, right):
    witness = Witness(Log(lambda: 1050), 0)
    witness.read(reset("behind", 1050, id) + b"".join(map(block, range(1001, 1051))))
    assert (witness.broken == []) == right


def test_a_client_that_is_cut_after_a_reset_is_judged_by_all_that_follows_the_resets_id():
    for ids, right in ((range(1001, 1061), True), (range(1011, 1061), False)):
        witness = Witness(Log(lambda: 1060), 0)
        witness.read(reset("behind", 1050))
        assert witness.position == 1000
        witness.connected()
        witness.read(b"".join(map(block, ids)))
        assert (judge_witness(witness, log(1060), lambda key: False) == []) == right


def test_the_judge_of_a_store():
    ledger = Ledger()
    for n in (1, 2):
        ledger.send((None, "a", f"key {n}"), "t")
    ledger.answer((None, "a", "key 1"), 503)
    ledger.answer((None, "a", "key 2"), 200, log(2)[1])
    assert ledger.judge(log(2)) == []
    assert "answered as 2" in ledger.judge(log(1))[0], "what was acknowledged is missing"
    assert "not sent" in ledger.judge(log(3))[0]
    assert "the ids in the store" in ledger.judge(log(2)[1:])[0]
    assert "stored as [1, 3]" in ledger.judge([*log(2), Stored(3, "a", "t", "key 1")])[0]
    ledger.answer((None, "a", "key 2"), 200, Stored(3, "a", "t", "key 2"))
    assert "answered as 2 and as 3" in ledger.judge(log(2))[0]
    ledger.answer((None, "a", "key 2"), 409)
    assert "stands for another text" in ledger.judge(log(2))[1]


def test_the_judge_tells_users_apart():
    ledger = Ledger()
    stored = [
        Stored(1, "a", "t", "key"),
        Stored(2, "a", "forged", "key", "eve"),
        Stored(3, "a", "t", "key", "a"),
    ]
    for message in stored:
        ledger.send(message.key, message.text)
        ledger.answer(message.key, 200, message)
    assert ledger.judge(stored) == []
    ledger.answer(("a", "a", "key"), 200, stored[0])
    assert "answered with another message" in ledger.judge(stored)[0]


def test_the_judge_takes_a_retraction_for_its_users_message():
    def shown(event: str, **fields: object) -> bytes:
        return f"event: {event}\ndata: {json.dumps(fields)}\n\n".encode()

    about = {"from": "a", "text": "t", "provisionalId": "key"}
    witness = Witness(Log(lambda: 0), 0)
    witness.connected()
    for user in ({}, {"user": "eve"}):
        witness.read(shown("message", **about, **user))
    witness.read(shown("retraction", provisionalId="key", user="eve"))
    (missed,) = judge_witness(witness, [], lambda key: False)
    assert "(None, 'a', 'key') was neither" in missed


def test_the_judge_of_a_right():
    """A stream is a prefix that ends within the bound after its right ended, and nobody else is cut."""
    said, farewell = b"event: message\n", b'event: stream-end\ndata: {"reason":"revoked"}\n\n'
    right = Right()
    right.given(10**6, said)
    right.told(5, "401")
    assert right.broken == ["was told 401 at 5.0, and had the right"]
    right = Right()
    right.end(10)  # somebody is about to revoke it
    right.told(10, "401")
    right.end(10, 12)
    right.given(12 + LOST, said)
    right.given(90, farewell)
    right.ended(12 + LOST, "standalone")
    assert right.broken == []
    right.given(13 + LOST, said)
    right.ended(13 + LOST, "standalone")
    right.ended(13 + LOST, "grip")
    assert [line.split(" ")[1] for line in right.broken] == ["given", "cut"]


def test_a_stream_whose_right_has_ended_is_judged_as_far_as_it_goes():
    witness = Witness(Log(lambda: 3), 0)
    witness.connected()
    witness.read(block(1) + block(2))
    assert judge_prefix(witness, log(3)) == []
    witness.read(block(3, "other"))
    assert "is not stored" in judge_prefix(witness, log(3))[0]


REMOVAL = Stored(3, "Mod", "(removed a message)", "key 3", "mod", removes=(2,))


def given(id: int, text: str, **more) -> bytes:
    content = {"id": id, "from": "a", "text": text, "date": "d", "provisionalId": f"key {id}", **more}
    return f"event: message\ndata: {json.dumps(content)}\nid: {id}\n\n".encode()


def test_the_judge_takes_a_tombstone_for_what_was_posted_if_a_removal_names_it():
    ledger = Ledger()
    for message in (*log(2), REMOVAL):
        ledger.send(message.key, message.text)
    tombstone = Stored(2, "a", "", "key 2", removed=3)
    ledger.removed.add(2)
    ledger.answer(tombstone.key, 200, tombstone)  # a late retry
    assert ledger.judge([*log(1), tombstone, REMOVAL]) == []
    assert "was removed, and is stored" in ledger.judge([*log(2), REMOVAL])[0]
    assert "does not name it" in ledger.judge([*log(1), tombstone, replace(REMOVAL, removes=(1,))])[0]
    assert "does not name it" in ledger.judge([*log(1), replace(tombstone, removed=1), REMOVAL])[0]


@pytest.mark.parametrize(
    ("last", "wrong"),
    [
        (given(2, "", removed=3), None),
        (given(2, "t"), None),
        (given(2, "", removed=1), "does not name it"),
        (given(2, "x", removed=3), "is not stored"),
        (given(2, ""), "is not stored"),
    ],
)
def test_the_judge_compares_what_was_given_with_what_a_removal_has_left(last, wrong):
    witness = Witness(Log(lambda: 3), 1)
    witness.connected()
    witness.read(last)
    tombstone = Stored(2, "a", "", "key 2", removed=3)
    broken = judge_prefix(witness, [*log(1), tombstone, REMOVAL])
    assert not broken if wrong is None else wrong in broken[0]


def test_the_judge_minds_a_text_on_a_stream_that_was_asked_for_after_its_removal():
    log = Log(lambda: 3)
    witness = Witness(log, 1)
    witness.connected()
    log.removed.add(2)
    witness.read(given(2, "t"))
    assert witness.broken == [], "it was on its way"
    later = Witness(log, 1)
    later.connected()
    later.read(given(2, "t"))
    assert "was removed before" in later.broken[0]


def test_removals_leave_the_other_conversations_as_they_were():
    drawn = [Scenario.of(seed) for seed in range(1, 300)]
    assert 20 < sum("remove" in scenario.faults for scenario in drawn) < 80
    assert not any("large" in s.faults or "restored" in s.faults for s in drawn if "remove" in s.faults)
