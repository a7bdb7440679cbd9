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
