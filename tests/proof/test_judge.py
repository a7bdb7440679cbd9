"""The judge where a stream may be the first to tell that a room was cleared, and where."""

import json
from dataclasses import replace

from tests.proof.judge import ERASED, Ledger, Log, Stored, Witness, judge_floors, judge_witness


def official(id: int) -> bytes:
    message = {"id": id, "from": "ann", "text": f"text {id}", "provisionalId": str(id)}
    return f"event: message\nid: {id}\ndata: {json.dumps(message)}\n\n".encode()


def reset(reason: str, last: int, id: int = 0) -> bytes:
    data = json.dumps({"reason": reason, "lastEventId": last})
    return f"event: stream-reset\nid: {id}\ndata: {data}\n\n".encode()


def stored(*ids: int) -> list[Stored]:
    return [Stored(id, "ann", f"text {id}", str(id)) for id in ids]


def judged(log: Log, *data: bytes, position: int | None = 2, invented: bool = False) -> Witness:
    witness = Witness(log, position, invented=invented)
    witness.connected()
    for each in data:
        witness.read(each)
    return witness


def test_a_stream_may_tell_of_a_clearing_that_is_asked_for_and_of_no_other():
    told = (official(3), reset("behind", 4), official(5))
    assert judged(Log(lambda: 9), *told).broken
    log = Log(lambda: 9)
    log.doubt(above=3)
    witness = judged(log, *told)
    assert not witness.broken
    assert log.floor == 4
    assert not judge_witness(witness, stored(5), lambda key: False)
    assert judge_floors(log, [witness], stored(5)) == []


def test_it_cannot_be_below_what_was_answered_before():
    log = Log(lambda: 9)
    log.doubt(above=5)
    assert judged(log, official(3), reset("behind", 4), official(5)).broken


def test_what_takes_the_id_of_a_clearing_is_no_message():
    log = Log(lambda: 9)
    log.doubt(above=3)
    witness = judged(log, reset("behind", 4))
    assert judge_floors(log, [witness], stored(4)) == ["4 is a message, and no end of what was cleared"]


def test_a_stranger_to_a_cleared_room_goes_on_behind_it():
    for told in ((reset("ahead", 20), official(21)), (reset("ahead", 21, 20), official(21))):
        for floor in (0, 20):  # the answer to the clearing has not come yet, or has
            log = Log(lambda: 30)
            log.doubt(above=19)
            log.clear(floor)
            assert not judged(log, *told, position=10**6, invented=True).broken


def test_who_comes_without_a_position_may_be_the_first_to_be_told():
    for above in (19, 20, 21):
        log = Log(lambda: 30)
        log.doubt(above)
        witness = judged(log, official(21), position=None)
        assert bool(witness.broken) == (above > 20)
        assert log.told == ({20} if above <= 20 else set())


def test_who_is_erased_is_answered_for_by_what_is_left():
    ledger = Ledger()
    key = (None, "ann", "1")
    ledger.send(key, "a secret")
    ledger.answer(key, 200, Stored(1, "ann", "a secret", "1"))
    entry = Stored(2, "mod", "(removed)", "2", removes=(1,))
    ledger.send(entry.key, entry.text)
    left = [Stored(1, ERASED, "", "1", removed=2), entry]
    assert ledger.judge(left), "it was not asked for"
    ledger.erased.add("ann")
    assert not ledger.judge(left)
    assert ledger.judge([Stored(1, "ann", "", "1", removed=2), entry])


def test_a_removal_may_be_stored_once_more_but_no_other_message():
    ledger = Ledger()
    removal, message = Stored(2, "mod", "(removed)", "2", removes=(1,)), Stored(4, "ann", "hello", "4")
    for each in (removal, message):
        ledger.send(each.key, each.text)
        ledger.answer(each.key, 200, each)
    gone = Stored(1, "ann", "", "1", removed=2)
    ledger.send(gone.key, "a secret")
    log = [gone, removal, replace(removal, id=3), message]
    assert not ledger.judge(log)
    assert any("answered as 2" in line for line in ledger.judge([gone, replace(removal, id=3)]))
    assert any("stored as [4, 5]" in line for line in ledger.judge([*log, replace(message, id=5)]))


def test_what_is_left_of_an_erased_persons_message_takes_the_place_of_the_provisional_one():
    message = {"from": "ann", "user": "u", "text": "text 3", "provisionalId": "3"}
    other = {**message, "provisionalId": "4"}
    left = {"id": 3, "from": ERASED, "text": "", "provisionalId": "3", "removed": 9}
    witness = judged(
        Log(lambda: 9),
        *(f"event: message\ndata: {json.dumps(each)}\n\n".encode() for each in (message, other)),
        f"event: message\nid: 3\ndata: {json.dumps(left)}\n\n".encode(),
    )
    assert [*witness.pending] == [("u", "ann", "4")]
