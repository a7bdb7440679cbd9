"""`import ROOM FILE`, `import --all FILE`: reads what `export` has printed into rooms that are empty.

The file is read three times. First it is checked: all of it is understood, its ids follow each other, and its
rooms are empty; otherwise nothing is written. Then it is written, each message under its id. Last it is
compared with the store. The ids before the first message are taken, so that ids go on as they were.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import groupby
from typing import Any

from ..commits import COMMIT_BYTES, COMMIT_MESSAGES, Commit, payload_item
from ..errors import FlychatError, Invalid, Misconfigured, Refused
from ..fields import (
    CONTROL_IN_TEXT,
    TEXT_CHARACTERS,
    checked,
    data_field,
    date_field,
    removes_field,
    room_name,
    sender_name,
    string_field,
    user_id,
    uuid_field,
)
from ..messages import Message
from ..sse import BEYOND_ANY_LOG
from ..storage import Engine
from .exporting import export, one_room, room_or_all
from .stores import existing_store, opened, patiently, store_option, tried
from .terminal import interruptible, printable

FIELDS = {"id", "from", "text", "date", "provisionalId", "user", "removes", "removed", "data"}


class Unusable(FlychatError):
    """The file cannot be imported into this store; nothing was written."""


def read_file(file: str, room: str | None) -> Iterator[tuple[str, Message]]:
    """What the file has, line by line: of this room, or of the rooms that it names.

    Raises Unusable, Misconfigured, OSError.
    """
    with open(file, "rb") as lines:
        if not lines.seekable():  # a second reading would find nothing, and take it for all there is
            raise Misconfigured(f'"{file}" can be read only once: give a file, not a pipe')
        for number, line in enumerate(lines, 1):
            try:
                fields = _object(line)
                name = room if room is not None else room_name(string_field(fields, "room"))
                if room is None:
                    del fields["room"]
                yield name, read_wire(fields)
            except (ValueError, RecursionError, Refused) as error:
                raise Unusable(f"line {number}: {error}; nothing was written") from None


def _object(line: bytes) -> dict[str, Any]:
    """The object on a line. Raises Refused, without Python's text, which counts lines within this one."""
    try:
        fields = json.loads(line.decode())
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise Refused("it is no object of JSON")
    return fields


def read_wire(fields: Mapping[str, Any]) -> Message:
    """The message whose `wire_text` has these fields. Raises Invalid, also if it would not be written so."""
    removed, removes = fields.get("removed"), fields.get("removes", [])
    text, key = string_field(fields, "text"), string_field(fields, "provisionalId")
    message = Message(
        _id_field(fields, "id"),
        sender_name(string_field(fields, "from")),
        checked("text", text, TEXT_CHARACTERS, CONTROL_IN_TEXT) if removed is None else "",
        date_field(string_field(fields, "date")),
        uuid_field(key),
        None if fields.get("user") is None else user_id(string_field(fields, "user")),
        removes=removes_field(removes) if "removes" in fields else (),
        removed=None if removed is None else _id_field(fields, "removed"),
        data=data_field(fields.get("data")),
    )
    as_read = (message.text, message.provisional_id, list(message.removes)) == (text, key, removes)
    if fields.keys() - FIELDS or None in fields.values() or not as_read:
        raise Invalid("message", "has fields that are not known here")
    return message


def _id_field(fields: Mapping[str, Any], name: str) -> int:
    id = fields.get(name)
    if type(id) is not int or not 0 < id < BEYOND_ANY_LOG:  # True is an int
        raise Invalid(name, "must be a whole number from 1")
    return id


def check(messages: Iterable[tuple[str, Message]]) -> list[str]:
    """The rooms in the file, in its order. Raises Unusable if the ids of one do not follow each other."""
    rooms: dict[str, None] = {}
    for room, its in groupby(messages, key=lambda each: each[0]):
        if room in rooms:
            raise Unusable(f"{room}: its lines do not follow each other; nothing was written")
        rooms[room] = None
        last = 0
        for _, message in its:
            if last and message.id != last + 1:
                raise Unusable(f"{room}: {message.id} comes after {last}; nothing was written")
            last = message.id
    return list(rooms)


def commits(room: str, messages: Iterable[Message]) -> Iterator[Commit]:
    """The messages as full commits. The ids before them are taken by a void one."""
    some: list[Message] = []
    size, begun = 0, False
    for message in messages:
        if not begun and message.id > 1:
            yield Commit(room, (), void=(1, message.id - 1))
        begun = True
        more = len(payload_item(message).encode()) + 1
        if some and (len(some) == COMMIT_MESSAGES or size + more >= COMMIT_BYTES):
            yield Commit(room, tuple(some))
            some, size = [], 0
        some.append(message)
        size += more
    if some:
        yield Commit(room, tuple(some))


async def import_file(engine: Engine, file: str, room: str | None, rooms: Iterable[str]) -> dict[str, int]:
    """How many messages were written, by room. The file was checked, and has these rooms.

    Raises Unusable, and as stores do.
    """
    for name in rooms:
        if await patiently(partial(engine.tail, name, 1)):
            hint = "`clear --forget` deletes what an import that was stopped has left"
            raise Unusable(f"{name}: the room is not empty; nothing was written ({hint})")
    written = {}
    for name, its in groupby(read_file(file, room), key=lambda each: each[0]):
        for commit in commits(name, (message for _, message in its)):
            await patiently(partial(tried, engine.put, commit))
    for name, its in groupby(read_file(file, room), key=lambda each: each[0]):
        there = export(engine, name)
        count = 0
        for _, message in its:
            if await anext(there, None) != message:
                raise FlychatError(f"{name}: message {message.id} in the store is not that of the file")
            count += 1
        written[name] = count
    return written


def import_command(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    parser.description = "Writes what export has printed into rooms that are empty, under the same ids."
    room_or_all(parser, "into all rooms that the lines name, as export --all has printed them")
    parser.add_argument("file", metavar="FILE")
    store_option(parser)

    def run(given: argparse.Namespace) -> int:
        room, store = one_room(given), existing_store(given.store, new=True)
        try:
            rooms = check(read_file(given.file, room))
        except OSError as error:
            raise Misconfigured(f'"{given.file}" cannot be read: {error.strerror}') from None
        written = interruptible(_into(store, given.file, room, rooms))
        for name, count in written.items():
            number = f"{count} message{'s' * (count != 1)}"
            print(f"flychat: {printable(name)} has {number}, written and compared", flush=True)
        if not written:
            print("flychat: there was nothing to import", flush=True)
        return 0

    return run


async def _into(store: tuple[str, str], file: str, room: str | None, rooms: Iterable[str]) -> dict[str, int]:
    async with opened(store) as engine:
        return await import_file(engine, file, room, rooms)
