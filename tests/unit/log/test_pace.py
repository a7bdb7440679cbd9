"""The rules of a writer's pace, each as a table."""

import pytest

from flychat.commits import COMMIT_MESSAGES
from flychat.log.pace import CONTENDED, Pace

TOLD, NOT_TOLD = True, False


@pytest.mark.parametrize(
    ("losses", "reads"),
    [
        pytest.param([TOLD] * 11, {2, 6, 10}, id="who has lost twice is behind, and who goes on losing"),
        pytest.param([NOT_TOLD], {1}, id="a winner that was not told is read"),
        pytest.param([TOLD, NOT_TOLD, TOLD, NOT_TOLD], {2, 4}, id="among others, too"),
        pytest.param([TOLD], set(), id="one lost race is nothing"),
    ],
)
def test_the_log_is_read_after_some_of_the_lost_races(losses, reads):
    pace, read = Pace(), set()
    for number, told in enumerate(losses, 1):
        pace.lost(0.0, told=told)
        if pace.must_read:
            read.add(number)
            pace.read()
        assert not pace.must_read
    assert read == reads


def test_what_must_be_read_stays_so_until_it_was_read():
    pace = Pace()
    pace.lost(0.0, told=False)
    pace.unanswered()
    assert pace.must_read
    pace.read()
    assert not pace.must_read


def test_a_success_ends_a_row_of_lost_races():
    pace = Pace()
    for _ in range(5):
        pace.lost(0.0, told=True)
        assert not pace.must_read
        pace.succeeded(10.0, 0.01)


@pytest.mark.parametrize(
    ("throttled", "waits"),
    [
        pytest.param(
            [False] * 9, [0, 20, 40, 80, 160, 320, 640, 1000, 1000], id="at once, then twice as long"
        ),
        pytest.param([True] * 7, [50, 100, 200, 400, 800, 1000, 1000], id="a store that asks for patience"),
        pytest.param([False, True, False], [0, 50, 100], id="which is heard at any time"),
        pytest.param([False] * 4 + [True], [0, 20, 40, 80, 160], id="and does not shorten a wait"),
    ],
)
def test_waits_double_up_to_a_second_and_half_of_each_is_chance(throttled, waits):
    pace = Pace()
    bounds = [pace.unanswered(throttled=each) for each in throttled]
    assert bounds == [pytest.approx((wait / 2000, wait / 1000)) for wait in waits]


def test_an_outcome_is_in_doubt_until_a_put_succeeds():
    pace = Pace()
    assert not pace.in_doubt
    pace.unanswered()
    assert pace.in_doubt
    pace.lost(0.0, told=True)
    assert pace.in_doubt, "the next place may have been tried before"
    pace.succeeded(1.0, 0.1)
    assert not pace.in_doubt
    assert pace.unanswered() == (0.0, 0.0), "and the waits begin again"


def test_a_rejected_commit_is_halved_until_its_culprit_is_alone():
    pace, sizes, drafts = Pace(), [], COMMIT_MESSAGES
    while not pace.rejected(drafts):
        sizes.append(drafts)
        drafts = pace.most
    assert sizes == [64, 32, 16, 8, 4, 2]
    assert drafts == pace.most == 1
    pace.succeeded(0.0, 0.1)
    assert pace.most == COMMIT_MESSAGES


@pytest.mark.parametrize(
    ("lost_at", "now", "longest"),
    [
        pytest.param(None, 0.0, 0.0, id="alone"),
        pytest.param(5.0, 5.0, 0.2, id="just after a lost race"),
        pytest.param(5.0, 5.0 + CONTENDED - 0.01, 0.2, id="within a second of it"),
        pytest.param(5.0, 5.0 + CONTENDED, 0.0, id="and no longer"),
    ],
)
def test_a_winner_lets_others_go_first_for_as_long_as_its_put_took_in_a_contended_room(lost_at, now, longest):
    pace = Pace()
    if lost_at is not None:
        pace.lost(lost_at, told=True)
    assert pace.succeeded(now, 0.2) == longest
