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


def test_what_lives_on_is_looked_at_once_an_hour():
    """A cycle that others outlived, and is garbage now, is found by the hourly collection only."""
    code = """if True:
        import asyncio, gc, weakref
        from flychat import process
        class Cycle: pass

        async def main():
            process.collect_less()
            cycle = Cycle(); cycle.self = cycle
            gc.collect(1)
            alive = weakref.ref(cycle); del cycle
            kept = [[] for _ in range(500_000)]
            assert alive() is not None
            process.LAG_SECONDS, process.FULL_SECONDS = 0.001, 0.001
            task = asyncio.create_task(process.watch_loop())
            while alive() is not None:
                await asyncio.sleep(0.001)
            print("found")

        asyncio.run(main())
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "found\n"
