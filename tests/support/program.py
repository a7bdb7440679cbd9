"""flychat as a program: started, read, ended."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
PATIENCE = 120  # seconds in which a program has started, ended or answered, on a machine of any speed
STANDALONE = ("--standalone", "--port", "0")


class Program:
    """A running flychat: `first_line` is what it said, `url` where it answers, without a slash at the end."""

    def __init__(self, process: subprocess.Popen[str], errors: IO[str]) -> None:
        self.process = process
        self._errors = errors
        guard = threading.Timer(PATIENCE, process.kill)
        guard.start()
        self.first_line = process.stdout.readline()
        guard.cancel()
        match = re.search(r"(http://|unix:)\S+", self.first_line)
        assert match, f"it did not start: {self.first_line!r} {self.end(signal.SIGKILL)}"
        self.url = match[0].rstrip("/")

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Sends the signal; gives the exit code and all that was written to stderr."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self._errors.seek(0)
        return code, self._errors.read()


def command(*arguments: str, python: Sequence[str] = (sys.executable,)) -> list[str]:
    return [*python, "-m", "flychat", *arguments]


def environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours without what would configure flychat or AWS, so that a test says it all."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("FLYCHAT_", "AWS_", "GRIP_"))}
    return {
        **kept,
        "FLYCHAT_RATE_LIMIT": "0",
        "PYTHONPATH": str(ROOT),
        "AWS_EC2_METADATA_DISABLED": "true",
        **(environ or {}),
    }


@contextlib.contextmanager
def running(
    *arguments: str,
    cwd: Path,
    environ=None,
    python: Sequence[str] = (sys.executable,),
    pass_fds: Sequence[int] = (),
) -> Iterator[Program]:
    """A flychat with these arguments, killed at the end if it still runs."""
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command(*arguments, python=python),
            cwd=cwd,
            env=environment(environ),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            pass_fds=pass_fds,
        ) as process,
    ):
        try:
            yield Program(process, errors)
        finally:
            process.kill()


def ran(*arguments: str, cwd: Path, environ=None, typed: str = "") -> subprocess.CompletedProcess[str]:
    """A command, when it has ended; it is given what is `typed`."""
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(environ),
        input=typed,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def refused(*arguments: str, cwd: Path, environ=None) -> str:
    """The one line with which a flychat says why it does not start."""
    ended = ran(*arguments, cwd=cwd, environ=environ)
    assert (ended.returncode, ended.stdout) == (2, ""), ended
    (line,) = ended.stderr.splitlines()
    assert line.startswith("flychat: ")
    return line


def get(url: str, **headers: str) -> str:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=PATIENCE) as response:
        return response.read().decode()


def post(program: Program, text: str, room: str = "room") -> dict:
    body = urllib.parse.urlencode({"from": "ann", "text": text}).encode()
    with urllib.request.urlopen(f"{program.url}/rooms/{room}/messages/", body, timeout=PATIENCE) as response:
        return json.load(response)


def messages(program: Program, room: str = "room") -> list[dict]:
    return json.loads(get(f"{program.url}/rooms/{room}/messages/"))["messages"]
