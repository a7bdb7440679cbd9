"""What an operator sees of a store, and takes out of it, into it, and from one to another."""

from __future__ import annotations

import json

import pytest

from flychat.access import passes_of
from flychat.access.rulebook import Rulebook
from flychat.messages import Commit, Draft
from flychat.storage.sqlite import SqliteEngine
from tests.support.program import maintain

DATE = "2026-01-31T12:00:00.123Z"


async def filled(path, **rooms: int) -> None:
    """A store with so many messages in each room, and somebody revoked."""
    engine = await SqliteEngine.open(str(path))
    for room, number in rooms.items():
        for id in range(1, 1 + number):
            key = f"00000000-0000-4000-8000-{id:012}"
            await engine.put(Commit.of(id, [Draft(room, "ann", f"{room} {id}", DATE, key)]))
    await Rulebook(engine).revoke(passes_of("ann"), "")
    await engine.close()


@pytest.mark.gen_test(timeout=60)
async def test_rooms_are_listed_for_people_and_for_programs_without_the_internal_one(tmp_path):
    await filled(tmp_path / "flychat.db", tea=3, coffee=12)
    told = maintain("rooms", "--json", cwd=tmp_path)
    assert (told.returncode, told.stderr) == (0, "")
    rooms = [json.loads(line) for line in told.stdout.splitlines()]
    assert [list(room) for room in rooms] == [["room", "messages", "lastId", "bytes", "newest"]] * 2
    assert [(room["room"], room["messages"], room["lastId"], room["newest"]) for room in rooms] == [
        ("coffee", 12, 12, DATE),
        ("tea", 3, 3, DATE),
    ]
    assert all(room["bytes"] > 80 * room["messages"] for room in rooms)
    told = maintain("rooms", cwd=tmp_path)
    assert (told.returncode, told.stderr) == (0, "")
    head, *lines = told.stdout.splitlines()
    assert head.split() == ["messages", "last", "id", "bytes", "newest", "room"]
    assert [line.split()[-1] for line in lines] == ["coffee", "tea"]
    assert len({line.index(DATE) for line in lines}) == 1, "in columns"


@pytest.mark.gen_test(timeout=60)
async def test_the_name_of_a_room_cannot_steer_the_terminal(tmp_path):
    await filled(tmp_path / "flychat.db", **{"a\u202eb": 1})
    assert "\u202e" not in maintain("rooms", cwd=tmp_path).stdout
    told = maintain("rooms", "--json", cwd=tmp_path).stdout
    assert "\u202e" not in told
    assert json.loads(told)["room"] == "a\u202eb"
