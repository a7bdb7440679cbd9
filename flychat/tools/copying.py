"""`copy --from STORE --to STORE [ROOM...]`: moves rooms to another store, with all their ids.

Commits are put at the same places in the other store. So clients of the room notice nothing: the log goes on,
and nobody is reset.

    --from    [1  2][3][4  5][6]        a pass compares what is at each place, and puts what is missing
    --to      [1  2][3]                 [4  5] and [6] are put; a second pass finds nothing to do: verified

Commits that are there already are skipped. So a copy can be interrupted and begun again; and it can be made
twice, first while people write, and again when the servers have stopped. If the other store has another
commit at a place, it has another log: the copy stops, and names the room. But texts that were erased since
they were copied are erased there, by the second pass, once the first one has found the logs to be the same.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

from ..access.rulebook import RULES, Rulebook
from ..commits import Commit
from ..errors import FlychatError, Misconfigured
from ..storage import Engine
from .exporting import nobody_told, say_missing, stored
from .stores import existing_store, for_each, named_room, opened, patiently, tried
from .terminal import interruptible, printable

AT_ONCE = 32  # puts under way
PASSES = 20  # over a room; the last one must find nothing to do


class Differs(FlychatError):
    """The other store has another log of this room."""

    def __init__(self, room: str, id: int) -> None:
        super().__init__(
            f"{room}: the store that is copied to has something else at id {id}: copy to another "
            "store, or delete the room there (clear --forget)"
        )


async def copy_room(source: Engine, target: Engine, room: str) -> int:
    """Copies the room as it is by now, and compares it; returns its last id.

    Raises Differs, and as stores do.
    """
    tail = await patiently(lambda: source.tail(room, 1))
    last = tail[-1].last if tail else 0
    theirs = await patiently(lambda: target.tail(room, 1))
    if theirs and theirs[-1].last > last:
        raise Differs(room, theirs[-1].first)  # before anything is put
    for number in range(PASSES):
        if not await _pass(source, target, room, last, first=not number):
            return last
    raise FlychatError(f"{room}: it is changed all the time; copy it again later")


async def _pass(source: Engine, target: Engine, room: str, last: int, *, first: bool) -> int:
    """Puts what is missing up to an id; not in the `first` pass, erases texts. Returns how many differed."""
    changed, waiting = 0, list[Commit]()
    async for ours, theirs in _pairs(source, target, room, last, tell=first):
        if theirs is None:
            waiting.append(ours)
            if len(waiting) == AT_ONCE:
                await _put(target, waiting)
        elif theirs != ours:  # by what they say: an SQLite file may have blanks in it
            if not _erased(ours, theirs):
                raise Differs(room, ours.first)
            if not first:
                await patiently(partial(tried, target.rewrite, theirs, ours))
        else:
            continue
        changed += 1
    await _put(target, waiting)
    return changed


async def _pairs(
    source: Engine, target: Engine, room: str, last: int, *, tell: bool
) -> AsyncIterator[tuple[Commit, Commit | None]]:
    """Each commit of the source up to an id, and what is at its place in the target. Raises Differs."""
    told = partial(say_missing, room=room) if tell else nobody_told
    theirs = stored(target, room)
    next = await anext(theirs, None)
    begun = False
    async for ours in stored(source, room, told):
        if ours.first > last:
            break
        while next is not None and next.last < ours.first and not begun:
            next = await anext(theirs, None)  # it is too old for the source, where a retention has deleted it
        begun = True
        if next is None or next.first > ours.last:
            yield ours, None
        elif next.first == ours.first:
            yield ours, next
            next = await anext(theirs, None)
        else:
            raise Differs(room, next.first)
    if next is not None and next.first > last:
        raise Differs(room, next.first)


async def _put(target: Engine, commits: list[Commit]) -> None:
    await asyncio.gather(*(patiently(partial(tried, target.put, commit)) for commit in commits))
    commits.clear()


def _erased(ours: Commit, theirs: Commit) -> bool:
    """Whether ours is theirs with some texts erased: they are empty, which no text is when it is written."""
    both = zip(ours.messages, theirs.messages, strict=False)
    return ours.ids == theirs.ids and all(one == other or not one.text for one, other in both)


def copy_command(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    parser.description = (
        "Copies rooms, with their ids, to another store, and compares what is there already. "
        "Revocations of tokens are copied, too."
    )
    parser.add_argument("room", nargs="*", help="(default: all)")
    store = "sqlite:FILE or dynamodb:TABLE"
    parser.add_argument(
        "--from",
        dest="source",
        required=True,
        metavar="STORE",
        help=f"{store}, which may be in use",
    )
    parser.add_argument(
        "--to", dest="target", required=True, metavar="STORE", help=f"{store}, which no server is using"
    )

    def run(given: argparse.Namespace) -> int:
        source = existing_store(given.source, option="--from")
        target = existing_store(given.target, new=True)
        files = [place for kind, place in (source, target) if kind == "sqlite" and os.path.exists(place)]
        if source == target or (len(files) == 2 and os.path.samefile(*files)):
            raise Misconfigured("--from and --to are the same store")
        return interruptible(_copy(source, target, list(map(named_room, given.room))))

    return run


async def _copy_rules(source: Engine, target: Engine) -> None:
    """The revocations: their log, or where the other store has made some of its own, these and those."""
    try:
        await copy_room(source, target, RULES)
    except Differs:
        await Rulebook(target).join(await Rulebook(source).read())


async def _copy(source: tuple[str, str], target: tuple[str, str], named: Sequence[str]) -> int:
    async with opened(source, reading=True) as ours, opened(target) as theirs:
        there = [room.room for room in await patiently(ours.rooms)]
        for room in named:
            if room not in there:
                raise Misconfigured(f"there is no room {printable(room)} in the store that is copied from")
        rooms = [room for room in there if room in named or room == RULES] if named else there
        copied: list[str] = []

        async def copy(room: str) -> None:
            if room == RULES:
                return await _copy_rules(ours, theirs)
            last = await copy_room(ours, theirs, room)
            copied.append(room)
            print(f"flychat: {printable(room)} is copied and compared, up to {last}", flush=True)

        status = await for_each(rooms, copy)
    print(f"flychat: {len(copied)} room{'s' * (len(copied) != 1)} copied", flush=True)
    return status
