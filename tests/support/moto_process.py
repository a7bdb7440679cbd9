"""moto, an imitation of DynamoDB, with atomic writes; and in a process of its own, as campaigns keep theirs busy.

It answers each request in a thread, and looks at the condition of a write before it writes, without a lock: so
of two puts at one place both may win, which DynamoDB never lets happen.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .ports import free_port
from .program import PATIENCE


def make_atomic(patch: pytest.MonkeyPatch) -> None:
    """One write of moto, in this process, is done after the other."""
    from moto.dynamodb.models import DynamoDBBackend

    lock = threading.Lock()
    for name in ("put_item", "update_item", "delete_item"):
        write = getattr(DynamoDBBackend, name)

        @functools.wraps(write)
        def alone(*arguments, _write=write, **named):
            with lock:
                return _write(*arguments, **named)

        patch.setattr(DynamoDBBackend, name, alone)


@contextlib.contextmanager
def moto() -> Iterator[str]:
    """Its URL."""
    port = free_port()
    command = [sys.executable, "-m", __name__, "-H", "127.0.0.1", "-p", str(port)]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), PATIENCE).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    from moto.server import main

    make_atomic(pytest.MonkeyPatch())
    main()
