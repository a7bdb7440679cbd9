"""What a server asks of its process."""

from __future__ import annotations

import subprocess
import sys

from tests.support.program import ROOT


def test_garbage_is_collected_again_when_the_server_serves():
    """It is not while the server starts. In another process, as it is for all of one."""
    code = "import gc; gc.disable(); from flychat.process import collect_less; collect_less(); print(gc.isenabled())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_garbage_is_looked_for_once_in_what_lives_on_and_again_after_a_while():
    """A cycle that was alive at a full collection, and is garbage since, is found by the hourly one only."""
    code = """if True:
        import gc, weakref
        from flychat import process
        class Cycle: pass
        process.collect_less()
        cycle = Cycle(); cycle.self = cycle
        gc.collect()
        alive = weakref.ref(cycle); del cycle
        gc.collect()
        print(alive() is not None)
        process._look_again()
        print(alive() is None)
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "True\nTrue\n"
