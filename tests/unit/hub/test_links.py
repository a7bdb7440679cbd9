"""The time-outs of links: short where holds are few, and long enough where they are many."""

import pytest

from flychat.hub.links import LINK_SECONDS, LONGEST, Links

BATCH, PER_BATCH = 0.1, 100  # seconds between two, and holds of one, as Pushpin has it


class Pushpin:
    """Holds by when they are to be asked for again: those of one time-out begin to wait together."""

    def __init__(self, holds: int, processes: int = 1, proxies: int = 1) -> None:
        self.now = 0.0
        self.links = [Links(proxies, lambda: self.now) for _ in range(processes)]
        self.batches = 0
        self.waiting = holds  # as after a start, when all are asked for
        self.timers: dict[int, tuple[float, int]] = {}  # by time-out: when it ends, and for how many

    def go_on(self, seconds: float) -> float:
        """Says for which part of the time something waited for its turn."""
        busy, end = 0, self.now + seconds
        while self.now < end:
            self.now += BATCH
            for timeout in [timeout for timeout, (at, _) in self.timers.items() if at <= self.now]:
                self.waiting += self.timers.pop(timeout)[1]
            if self.waiting:
                busy += 1
                self._recover(min(PER_BATCH, self.waiting))
        return busy * BATCH / seconds

    def _recover(self, holds: int) -> None:
        self.waiting -= holds
        self.batches += 1
        links = self.links[self.batches % len(self.links)]
        for part in range(4):  # rooms, each with a request of its own
            links.recovered()
            timeout = links.seconds()
            at, others = self.timers.get(timeout, (self.now + timeout, 0))
            self.timers[timeout] = (at, others + holds // 4 + (part < holds % 4))


def test_few_holds_hear_nothing_for_18_to_26_seconds():
    links = Links(now=lambda: 0.0)
    given = [links.seconds() for _ in range(100)]
    assert set(given) == set(LINK_SECONDS) == set(range(18, 27))
    assert max(given.count(seconds) for seconds in given) < 20
    assert max(LINK_SECONDS) < 30 - 3, "a lost message reaches a quiet room within 30 seconds"


@pytest.mark.parametrize("holds", [1, 90, 1000])
def test_links_stay_short_where_a_proxy_has_time(holds):
    pushpin = Pushpin(holds)
    assert pushpin.go_on(600) < 0.15
    assert {pushpin.links[0].seconds() for _ in range(100)} <= set(range(18, 29))


@pytest.mark.parametrize("holds", [5000, 20_000, 50_000])
def test_many_holds_take_a_part_of_a_proxys_time_and_no_more(holds):
    pushpin = Pushpin(holds)
    pushpin.go_on(1200)
    assert pushpin.go_on(1200) < 0.25
    assert pushpin.links[0].longest() <= LONGEST * 27 / 22 + 1


def test_links_are_long_as_soon_as_many_have_waited_and_stay_so():
    pushpin, longest = Pushpin(20_000), []
    pushpin.go_on(20)
    for _ in range(600):
        pushpin.go_on(1)
        longest.append(pushpin.links[0].longest())
    assert min(longest) > 150


def test_links_become_short_again_when_the_holds_have_gone():
    pushpin = Pushpin(20_000)
    pushpin.go_on(1200)
    assert pushpin.links[0].seconds() > 60
    pushpin.timers.clear()
    pushpin.waiting = 50
    pushpin.go_on(1200)
    assert pushpin.links[0].seconds() in LINK_SECONDS


def test_a_link_that_carries_a_pass_is_always_short():
    pushpin = Pushpin(20_000)
    pushpin.go_on(600)
    assert {pushpin.links[0].seconds(carries_pass=True) for _ in range(100)} == set(LINK_SECONDS)


def test_batches_of_several_proxies_are_not_taken_for_those_of_one():
    one, two = Pushpin(20_000), Pushpin(20_000, proxies=2)
    one.go_on(60)
    two.go_on(60)
    assert two.links[0].longest() < 0.7 * one.links[0].longest()


def test_what_is_asked_for_now_and_then_is_no_sign_of_many():
    """As in a busy room: what was young is asked for again after a second."""
    now = 0.0
    links = Links(now=lambda: now)
    for _ in range(600):
        now += 0.5
        for _ in range(50):
            links.recovered()
    assert set(LINK_SECONDS) == {links.seconds() for _ in range(100)}
