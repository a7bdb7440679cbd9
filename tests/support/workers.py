"""How the workers of pytest-xdist share the tests.

Most tests wait for a server more than they compute, and those of the page compute more than they wait. So
there are two workers for each core, and every other one begins with the page: it keeps its browser as long as
it stays there. A file of the page is one piece of work, because its tests share a server and what they show;
so are the tests that press on a server for a while, which would press on each other. Any other test is a
piece by itself.

The marks that pytest-xdist has for this (3.8: in the ids of tests) have no effect since pytest 9.2.
"""

from __future__ import annotations

from xdist.scheduler import LoadGroupScheduling
from xdist.workermanage import WorkerController

WORKERS_PER_CORE = 2
PAGE = "tests/page/"
PIECES = {
    "tests/contract/test_other_clients.py": "other clients",  # their packages are installed once
    "tests/proof/test_revoking.py": "soak",
    "tests/proof/test_soak.py": "soak",
    "tests/system/test_floods.py": "floods",  # their rooms are filled once
}


class InTwoLanes(LoadGroupScheduling):
    """A worker takes what is not of its lane when nothing of its lane is left. The largest pieces go first."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file.startswith(PAGE) else PIECES.get(file, nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        begins_with_the_page = int(node.gateway.id.removeprefix("gw")) % 2 == 0
        own = (piece for piece in self.workqueue if piece.startswith(PAGE) == begins_with_the_page)
        if (piece := next(own, None)) is not None:
            self.workqueue.move_to_end(piece, last=False)
        super()._assign_work_unit(node)
