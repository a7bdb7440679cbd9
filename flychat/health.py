"""The health check of a container:  python -P -m flychat.health

It asks /healthz of the flychat that is process 1 here, where that one was told to listen: by its options, or
by the environment, which the check shares. A proxy that the environment names is not for this. Status 0: it
answers; 1: it does not, and one line says why. It runs every few seconds, so it imports nothing large.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from .addresses import reachable
from .config import Config
from .errors import Misconfigured

PROCESS_1 = Path("/proc/1/cmdline")
SECONDS = 2.0


class Connection(http.client.HTTPConnection):
    """To where flychat listens."""

    def __init__(self, config: Config) -> None:
        self._file = config.socket_file
        host = "localhost" if self._file else reachable(config.host)
        super().__init__(host, config.port, timeout=SECONDS)

    def connect(self) -> None:
        if self._file is None:
            return super().connect()
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SECONDS)
        return self.sock.connect(self._file)


def main(command: Path = PROCESS_1, environ: Mapping[str, str] = os.environ) -> int:
    try:
        words = command.read_text().split("\0")[:-1]
        config = Config.read(words[words.index("flychat") + 1 :], environ)
        asked = Connection(config)
        with contextlib.closing(asked):
            asked.request("GET", f"{config.base_path}/healthz")
            return int(asked.getresponse().status != 200)
    except (OSError, ValueError, http.client.HTTPException, Misconfigured) as error:
        print(f"flychat does not answer: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
