"""The files of an SQLite database: locked for one process, for the eyes of their owner, and still there.

- Two processes on one file would lose nothing, but would not tell each other of their commits. So an flock on
  a file beside it admits only one. (The kernel drops the lock with the process, however that ends.)
- A file may be removed or replaced under a running server. That would go on writing to the file that it has
  open, and all of it would be lost at its end. So before anything is acknowledged, the paths must still lead
  to the files that were opened. The same for the lock file: or a second process could lock a new one.
- A file that is mounted alone, as containers can have it, is refused. What is new is in the write-ahead log
  beside it, which would stay behind when the file is mounted elsewhere; and the lock would keep nobody out.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import IO, TypeAlias

from ..errors import Misconfigured

Identity: TypeAlias = "tuple[int, int] | None"

MOUNTS = Path("/proc/self/mountinfo")  # of Linux


def unusable(path: str, why: str) -> Misconfigured:
    return Misconfigured(
        f'messages cannot be kept in "{path}": {why} (or choose another place with --store sqlite:FILE)'
    )


class Files:
    """Locks the database at `path` until `close`, and makes the file if there is none.

    Raises Misconfigured.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._opened: dict[str, Identity] = {}
        check_mount(path)
        self._lock = _lock(path)
        with suppress(OSError), open(path, "ab", opener=_private):
            pass  # if this fails, SQLite will say more about it

    def remember(self) -> None:
        """Remembers which files these are. To be called when SQLite has opened them all."""
        real = os.path.realpath(self._path)
        for path in (os.path.abspath(self._path), f"{real}-wal", f"{real}-shm"):
            self._opened[path] = _identity(path)
        self._opened[self._lock.name] = _identity(self._lock.fileno())

    def lost(self) -> str | None:
        """A line that says which of them is not at its path any more, or None. Takes some microseconds."""
        for path, identity in self._opened.items():
            if _identity(path) != identity:
                return f'"{path}" was removed or replaced while in use: put it back, or start flychat again'
        return None

    def close(self) -> None:
        self._lock.close()


def check_mount(path: str) -> None:
    """Raises Misconfigured if the file is mounted alone: who only reads it would miss what is new, too."""
    name = re.sub(r"[ \t\n\\]", lambda odd: f"\\{ord(odd[0]):03o}", os.path.realpath(path))
    with suppress(OSError):
        if any(line.split()[4] == os.fsencode(name) for line in MOUNTS.read_bytes().splitlines()):
            raise unusable(path, "it is mounted without the files beside it, mount its directory instead")


def _lock(path: str) -> IO[str]:
    """The lock file of `path`; the lock is held until it is closed."""
    name = f"{os.path.realpath(path)}-lock"
    try:
        with suppress(FileExistsError):
            _made(name)
        file = open(name, "a", opener=_private)  # noqa: SIM115 - stays open
    except FileNotFoundError as error:
        raise unusable(path, "its directory does not exist, create it") from error
    except OSError as error:
        can = f'"{name}" cannot be opened' if os.path.exists(name) else "no file can be created beside it"
        raise unusable(path, f"{can} ({error.strerror})") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if isinstance(error, BlockingIOError):
            raise unusable(path, "another flychat is using it, stop that one") from error
        raise unusable(path, f"no lock on it: {error.strerror}") from error
    return file


def _made(name: str) -> None:
    """Makes the lock file. What root makes has the owner of the database, as the files that SQLite makes.

    Or else, after a command of root's, a server that runs as somebody else could not open it. Raises OSError.
    """
    path = name.removesuffix("-lock")
    made = os.open(name, os.O_CREAT | os.O_EXCL, 0o600)  # which follows no link
    with suppress(OSError):  # nobody but root may
        whose = os.stat(path if os.path.exists(path) else os.path.dirname(path))
        os.fchown(made, whose.st_uid, whose.st_gid)
    os.close(made)


def _private(path: str, flags: int) -> int:
    """Opens for its owner only; SQLite gives the files beside it the same mode."""
    return os.open(path, flags, 0o600)


def _identity(file: str | int) -> Identity:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_dev, status.st_ino
