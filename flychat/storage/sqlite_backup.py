"""A copy of an SQLite file, made beside a server that goes on writing to it.

It uses `VACUUM INTO`, one reading of the file as it is when that begins. (SQLite's backup API begins again
whenever somebody writes, and may never end.) The writer does not wait for it; the write-ahead log grows by
what is written meanwhile, and is emptied after that. The copy has nothing of what was deleted, and needs no
write-ahead log.

The copy gets its name last, when it is whole and on the disk.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from contextlib import closing, suppress

from ..errors import Misconfigured
from .sqlite_database import check, failures, read_only


async def back_up(path: str, file: str) -> int:
    """Copies the database at `path` into a new `file`, for its owner's eyes only; returns its bytes.

    Raises Misconfigured, StoreFailed, OSError.
    """
    descriptor, unfinished = _new(file)
    try:
        with failures(), closing(read_only(path)) as db:
            check(db, path)
            copying = asyncio.create_task(asyncio.to_thread(db.execute, "VACUUM INTO ?", (unfinished,)))
            try:
                await asyncio.wait([copying])  # asyncio.shield of Python 3.14 logs what nobody is told
            except asyncio.CancelledError:
                db.interrupt()
                await asyncio.wait([copying])
                copying.exception()
                raise
            copying.result()
        return _finished(descriptor, unfinished, file)
    except BaseException:
        with suppress(OSError):
            os.unlink(unfinished)
        raise
    finally:
        os.close(descriptor)


def _new(file: str) -> tuple[int, str]:
    """An empty file beside `file`, which SQLite fills; its descriptor and path. Raises Misconfigured."""
    _check_new(file)
    folder, name = os.path.split(file)
    if not name:
        raise Misconfigured(f'"{file}" is no name of a file')
    try:
        return tempfile.mkstemp(prefix=f"{name}.", suffix=".unfinished", dir=os.path.abspath(folder))
    except OSError as error:
        raise Misconfigured(f'"{file}" cannot be made: {error.strerror}') from None


def _check_new(file: str) -> None:
    if os.path.lexists(file):
        raise Misconfigured(f'"{file}" is there already: a backup needs a new name')


def _finished(descriptor: int, unfinished: str, file: str) -> int:
    os.fsync(descriptor)
    try:
        os.link(unfinished, file)  # unlike a rename, this replaces no file that has come meanwhile
    except OSError:  # perhaps this file system has no links
        _check_new(file)
        os.rename(unfinished, file)
    else:
        os.unlink(unfinished)
    folder = os.open(os.path.dirname(os.path.abspath(file)), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return os.fstat(descriptor).st_size
