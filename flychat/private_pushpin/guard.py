"""Runs a program that must not outlive its parent:  python guard.py DIRECTORY PROGRAM ARGUMENT...

Pushpin is five processes, each of its own process group. If its runner is killed, the four others stay and
keep the ports; and a parent that is killed cannot end anything. So this process stands in between. It leads
a session of its own, which all the others inherit, and its stdin is a pipe whose other end only the parent
has. When the pipe ends, so does the program, and DIRECTORY is removed; when the program has ended, for
whatever reason, the rest of the session is killed.

It is run as a file, with nothing but the standard library, so that it starts at once.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

GRACE = 2.0  # seconds that the program is given to end by itself


def main(directory: str, command: list[str]) -> int:
    program = subprocess.Popen(command, cwd=directory, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: program.terminate())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    left = threading.Event()

    def end_with_the_parent() -> None:
        while os.read(0, 1024):
            pass
        left.set()
        program.terminate()
        time.sleep(GRACE)
        kill_session(os.getpid())

    threading.Thread(target=end_with_the_parent, daemon=True).start()
    status = program.wait()
    kill_session(os.getpid())
    if left.is_set():
        shutil.rmtree(directory, ignore_errors=True)
    return status if status >= 0 else 128 - status


def kill_session(session: int) -> None:
    """Kills every process of the session, except the one that calls."""
    for pid in _pids():
        with contextlib.suppress(OSError):
            if os.getsid(pid) == session and pid != os.getpid():
                os.kill(pid, signal.SIGKILL)


def _pids() -> list[int]:
    if os.path.isdir("/proc/self"):
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    return [int(pid) for pid in subprocess.check_output(["ps", "-A", "-o", "pid="]).split()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
