"""Which worker is given which tests."""

from __future__ import annotations

from types import SimpleNamespace

from tests.conftest import need

FILES = {
    "tests/page/test_a.py": 9,
    "tests/page/test_b.py": 3,
    "tests/page/test_c.py": 5,
    "tests/unit/test_d.py": 20,
}
SOAK = [
    "tests/proof/test_revoking.py::test_1",
    "tests/proof/test_revoking.py::test_2",
    "tests/proof/test_soak.py::test_3",
]
TESTS = [*(f"{file}::test_{number}[a::b]" for file, count in FILES.items() for number in range(count)), *SOAK]


class Worker:
    shutting_down = False

    def __init__(self, number: int) -> None:
        self.gateway = SimpleNamespace(id=f"gw{number}")
        self.waiting: list[int] = []
        self.done: list[str] = []

    def send_runtest_some(self, indexes: list[int]) -> None:
        self.waiting += indexes

    def shutdown(self) -> None:
        self.shutting_down = True


def given(number: int) -> list[list[str]]:
    """What each of so many workers does, one test in turn."""
    need("xdist")
    from tests.support.workers import InTwoLanes

    option = SimpleNamespace(loadscopereorder=True)
    config = SimpleNamespace(option=option, getvalue=lambda name: ["popen"] * number)
    scheduler = InTwoLanes(config)  # type: ignore[arg-type]
    workers = [Worker(n) for n in range(number)]
    for worker in workers:
        scheduler.add_node(worker)  # type: ignore[arg-type]
        scheduler.add_node_collection(worker, TESTS)  # type: ignore[arg-type]
    scheduler.schedule()
    while any(worker.waiting for worker in workers):
        for worker in workers:
            if worker.waiting:
                index = worker.waiting.pop(0)
                worker.done.append(TESTS[index])
                scheduler.mark_test_complete(worker, index)  # type: ignore[arg-type]
    return [worker.done for worker in workers]


def test_every_test_is_given_once_and_what_belongs_together_to_one_worker():
    for number in (1, 2, 3, 4):
        done = given(number)
        assert sorted(test for tests in done for test in tests) == sorted(TESTS)
        for piece in (*(file for file in FILES if "page" in file), "tests/proof"):
            assert sum(any(test.startswith(piece) for test in tests) for tests in done) == 1, piece


def test_every_other_worker_begins_with_the_page_the_largest_pieces_first():
    first, second, third, fourth = given(4)
    assert first[:9] == TESTS[:9]
    assert {test.partition("::")[0] for test in third[:8]} == {"tests/page/test_c.py", "tests/page/test_b.py"}
    assert second[:3] == SOAK
    assert all("unit" in test for test in fourth)


def test_whose_lane_is_empty_helps_in_the_other():
    first, second = given(2)
    assert {"page", "unit"} == {test.split("/")[1] for test in first}
    assert not any("page" in test for test in second)
