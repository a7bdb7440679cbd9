"""What an operator sees of a store, and takes out of it, into it, and from one to another."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import sqlite3
import uuid

import pytest

from flychat import client
from flychat.access import passes_of
from flychat.access.revocations import Revocations
from flychat.access.rulebook import Rulebook
from flychat.commits import Commit
from flychat.errors import FlychatError
from flychat.log import MessageLog
from flychat.messages import Draft
from flychat.sse import BEYOND_ANY_LOG
from flychat.storage import Engine, Unknown
from flychat.storage.dynamodb_table import create_table
from flychat.storage.sqlite import SqliteEngine
from flychat.tools import copying, exporting, importing, stores
from flychat.tools.clearing import clear
from flychat.tools.copying import Differs
from flychat.tools.exporting import export, stored
from tests.support.engines import KINDS, empty_engine
from tests.support.fakes import FaultyEngine, MemoryEngine, random_faults
from tests.support.modes import standing
from tests.support.program import STANDALONE, messages, post, ran, refused, running
from tests.support.wire import wire_json

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


@pytest.mark.gen_test
async def test_rooms_are_listed_for_people_and_for_programs_without_the_internal_one(tmp_path):
    await filled(tmp_path / "flychat.db", tea=3, coffee=12)
    told = ran("rooms", "--json", cwd=tmp_path)
    assert (told.returncode, told.stderr) == (0, "")
    rooms = [json.loads(line) for line in told.stdout.splitlines()]
    assert [list(room) for room in rooms] == [["room", "messages", "lastId", "bytes", "newest"]] * 2
    assert [(room["room"], room["messages"], room["lastId"], room["newest"]) for room in rooms] == [
        ("coffee", 12, 12, DATE),
        ("tea", 3, 3, DATE),
    ]
    assert all(room["bytes"] > 80 * room["messages"] for room in rooms)
    told = ran("rooms", cwd=tmp_path)
    assert (told.returncode, told.stderr) == (0, "")
    head, *lines = told.stdout.splitlines()
    assert head.split() == ["messages", "last", "id", "bytes", "newest", "room"]
    assert [line.split()[-1] for line in lines] == ["coffee", "tea"]
    assert len({line.index(DATE) for line in lines}) == 1, "in columns"


@pytest.mark.gen_test
async def test_the_name_of_a_room_cannot_steer_the_terminal(tmp_path):
    await filled(tmp_path / "flychat.db", **{"a\u202eb": 1})
    assert "\u202e" not in ran("rooms", cwd=tmp_path).stdout
    told = ran("rooms", "--json", cwd=tmp_path).stdout
    assert "\u202e" not in told
    assert json.loads(told)["room"] == "a\u202eb"


# export and import


@pytest.mark.gen_test
async def test_all_that_is_exported_is_imported_under_the_same_ids(tmp_path):
    await filled(tmp_path / "flychat.db", tea=130, coffee=2)
    exported = ran("export", "--all", cwd=tmp_path)
    assert (exported.returncode, exported.stderr) == (0, "")
    lines = [json.loads(line) for line in exported.stdout.splitlines()]
    assert [next(iter(line)) for line in lines] == ["room"] * 132
    assert [(line["room"], line["id"]) for line in lines][:3] == [("coffee", 1), ("coffee", 2), ("tea", 1)]
    (tmp_path / "all.jsonl").write_text(exported.stdout)
    for store in ("sqlite:new.db", "sqlite:new.db"):
        imported = ran("import", "--all", "all.jsonl", "--store", store, cwd=tmp_path)
        if imported.returncode:
            break
        assert imported.stdout.splitlines()[1] == "flychat: tea has 130 messages, written and compared"
    assert imported.returncode == 1
    assert imported.stderr == (
        "flychat: coffee: the room is not empty; nothing was written"
        " (`clear --forget` deletes what an import that was stopped has left)\n"
    )
    again = ran("export", "--all", "--store", "sqlite:new.db", cwd=tmp_path)
    assert again.stdout == exported.stdout
    one = ran("export", "tea", cwd=tmp_path).stdout
    (tmp_path / "tea.jsonl").write_text(one)
    assert ran("import", "milk", "tea.jsonl", "--store", "sqlite:new.db", cwd=tmp_path).returncode == 0
    assert ran("export", "milk", "--store", "sqlite:new.db", cwd=tmp_path).stdout == one


@pytest.mark.gen_test
async def test_a_room_that_has_lost_its_beginning_is_imported_behind_it(tmp_path):
    """Its ids go on as they were, and who has an old one is reset."""
    engine = await SqliteEngine.open(str(tmp_path / "flychat.db"))
    for each in (5, 6, 7):
        await engine.put(Commit.of(each, [Draft("tea", "ann", f"{each}", DATE, str(uuid.uuid4()), "ann")]))
    await engine.close()
    (tmp_path / "tea").write_text(ran("export", "tea", cwd=tmp_path).stdout)
    assert ran("import", "tea", "tea", "--store", "sqlite:b.db", cwd=tmp_path).returncode == 0
    with running(*STANDALONE, "--store", "sqlite:b.db", cwd=tmp_path) as program:
        there = messages(program, "tea")
        assert [(message["id"], message["user"]) for message in there] == [(5, "ann"), (6, "ann"), (7, "ann")]
        assert post(program, "new", "tea")["id"] == 8


DATA = {"poll": ["a", None, {"b": 1.5}], "\u65e5": "\N{GRINNING FACE}"}


async def with_all_there_is(engine: Engine) -> None:
    """A room with data, users, a removal, what it removed, and ids that were cleared, in its middle."""
    drafts = [
        Draft("tea", "ann", "secret", DATE, str(uuid.uuid4()), "ann@example.org", data={"secret": 1}),
        Draft("tea", "bot", "a poll", DATE, str(uuid.uuid4()), data=DATA),
        Draft("tea", "bob", "secret", DATE, str(uuid.uuid4())),
    ]
    await engine.put(Commit.of(1, drafts))
    log = MessageLog(engine, memory=False)
    removal = Draft.removal("tea", (1, 3), {}, now=0, user="mod", name="Mod")
    assert (await log.upkeep.remove(removal, lambda message: None)).id == 4
    await engine.put(Commit.of(5, [Draft("tea", "bob", "goes on", DATE, str(uuid.uuid4()), "bob")]))


def check_all_there_is(lines: list[dict]) -> None:
    assert [line["id"] for line in lines] == [1, 2, 3, 4, 5]
    assert [line.get("removed") for line in lines] == [4, None, 4, None, None]
    assert [line.get("removes") for line in lines] == [None, None, None, [1, 3], None]
    assert [line.get("data") for line in lines] == [None, DATA, None, None, None]
    assert [line.get("user") for line in lines] == ["ann@example.org", None, None, "mod", "bob"]
    assert "secret" not in json.dumps(lines)


@pytest.mark.gen_test
async def test_what_was_removed_and_what_has_data_is_exported_and_imported_as_it_is(tmp_path):
    engine = await SqliteEngine.open(str(tmp_path / "flychat.db"))
    await with_all_there_is(engine)
    await engine.close()
    exported = ran("export", "--all", cwd=tmp_path).stdout
    lines = [json.loads(line) for line in exported.splitlines()]
    assert {line.pop("room") for line in lines} == {"tea"}
    check_all_there_is(lines)
    (tmp_path / "all.jsonl").write_text(exported)
    imported = ran("import", "--all", "all.jsonl", "--store", "sqlite:new.db", cwd=tmp_path)
    assert (imported.returncode, imported.stderr) == (0, "")
    assert ran("export", "--all", "--store", "sqlite:new.db", cwd=tmp_path).stdout == exported
    [told] = ran("rooms", "--json", "--store", "sqlite:new.db", cwd=tmp_path).stdout.splitlines()
    assert (json.loads(told)["messages"], json.loads(told)["lastId"]) == (5, 5)
    with running(*STANDALONE, "--store", "sqlite:new.db", cwd=tmp_path) as program:
        check_all_there_is(messages(program, "tea"))


LINE = {"id": 1, "from": "ann", "text": "hi", "date": DATE, "provisionalId": str(uuid.uuid4())}
NOT_IMPORTED = {
    "no JSON": ("{", "line 1: it is no object of JSON; "),
    "no object": ("[]", "line 1: it is no object of JSON; "),
    "an empty line": ("\n" + json.dumps(LINE), "line 1: it is no object of JSON; "),
    "a gap": ("\n".join(json.dumps(LINE | {"id": id}) for id in (1, 3)), "3 comes after 1"),
    "twice": ("\n".join([json.dumps(LINE)] * 2), "1 comes after 1"),
    "no id": (json.dumps(LINE | {"id": 0}), "line 1: id: "),
    "an id beyond any log": (json.dumps(LINE | {"id": BEYOND_ANY_LOG}), "line 1: id: "),
    "no removal": (json.dumps(LINE | {"text": "", "removed": 0}), "line 1: removed: "),
    "no text": (json.dumps(LINE | {"text": ""}), "line 1: text: "),
    "no date": (json.dumps(LINE | {"date": "today"}), "line 1: date: "),
    "no such day": (json.dumps(LINE | {"date": "2026-02-31T12:00:00.123Z"}), "line 1: date: "),
    "a field of a later version": (json.dumps(LINE | {"likes": 3}), "line 1: message: has fields"),
    "of export --all": (json.dumps({"room": "tea", **LINE}), "line 1: message: has fields"),
    "half a character": (json.dumps(LINE | {"text": "\ud800"}), "line 1: text: "),
}


@pytest.mark.parametrize("name", NOT_IMPORTED)
def test_what_is_not_understood_as_a_whole_is_not_imported_at_all(name, tmp_path):
    lines, why = NOT_IMPORTED[name]
    (tmp_path / "file").write_text(lines + "\n")
    told = ran("import", "tea", "file", "--store", "sqlite:b.db", cwd=tmp_path)
    assert (told.returncode, told.stdout) == (1, "")
    assert why in told.stderr
    assert told.stderr.endswith("nothing was written\n")
    assert not (tmp_path / "b.db").exists()


@pytest.mark.parametrize("whose", ["tea", "--all"])
def test_a_pipe_can_be_read_only_once_and_is_not_taken_for_empty(whose, tmp_path):
    line = json.dumps({"room": "tea"} | LINE if whose == "--all" else LINE)
    told = ran("import", whose, "/dev/stdin", "--store", "sqlite:b.db", cwd=tmp_path, typed=line)
    assert (told.returncode, told.stdout, told.stderr.count("\n")) == (2, "", 1)
    assert "not a pipe" in told.stderr
    assert not (tmp_path / "b.db").exists()


def test_rooms_whose_lines_are_mixed_are_not_imported(tmp_path):
    (tmp_path / "file").write_text("\n".join(json.dumps({"room": room} | LINE) for room in "aba"))
    told = ran("import", "--all", "file", "--store", "sqlite:b.db", cwd=tmp_path)
    assert told.returncode == 1
    assert "follow each other" in told.stderr


def test_what_is_imported_fits_into_commits():
    large = [Draft("tea", "ann", "\N{GRINNING FACE}" * 4096, DATE, str(uuid.uuid4())) for _ in range(9)]
    small = [Draft("tea", "ann", "x", DATE, str(uuid.uuid4())) for _ in range(130)]
    messages = Commit.of(3, [*large, *small]).messages
    made = list(importing.commits("tea", messages))
    assert made[0] == Commit("tea", (), void=(1, 2))
    assert [message for commit in made for message in commit.messages] == list(messages)
    assert all(commit.size <= 65_536 and commit.ids <= 64 for commit in made)
    assert len(made) <= 7


# copy


@pytest.fixture(params=KINDS)
def target(request, io_loop):
    """An empty store of each kind."""
    engine = io_loop.run_sync(lambda: empty_engine(request))
    yield engine
    io_loop.run_sync(engine.close)


async def written(engine: Engine, first: int, *sizes: int, text: str = "hi", room: str = "tea") -> None:
    for size in sizes:
        drafts = [Draft(room, "ann", text, DATE, str(uuid.uuid4()), "ann") for _ in range(size)]
        await engine.put(Commit.of(first, drafts))
        first += size


async def all_of(engine: Engine, room: str = "tea") -> list[tuple[int, int, str]]:
    """An SQLite file has blanks where something was removed."""
    return [(each.first, each.ids, re.sub(r" +]$", "]", each.payload)) async for each in stored(engine, room)]


@pytest.mark.gen_test
async def test_a_copy_is_the_same_at_each_place_and_goes_on_where_it_was_broken_off(target):
    source = MemoryEngine()
    await written(source, 1, 1, 64, 3, 64, 64)
    await source.put(Commit("tea", (), void=(197, 1)))
    assert await copying.copy_room(source, target, "tea") == 197
    assert await all_of(target) == await all_of(source)
    await written(source, 198, 5, 1)
    counting = FaultyEngine(target)
    assert await copying.copy_room(source, counting, "tea") == 203
    assert counting.calls["put"] == 2, "what is there is not put again"
    assert await all_of(target) == await all_of(source)


@pytest.mark.gen_test
async def test_what_was_removed_and_what_has_data_is_copied_as_it_is_and_what_is_removed_later_is_removed_there(
    target,
):
    source = MemoryEngine()
    await with_all_there_is(source)
    assert await copying.copy_room(source, target, "tea") == 5
    assert await all_of(target) == await all_of(source)
    check_all_there_is([wire_json(message) async for message in export(target, "tea")])
    removal = Draft.removal("tea", (2,), {}, now=0, user="mod", name="Mod")
    await MessageLog(source, memory=False).upkeep.remove(removal, lambda message: None)
    assert await copying.copy_room(source, target, "tea") == 6
    assert await all_of(target) == await all_of(source)
    assert not any("poll" in payload for _, _, payload in await all_of(target))


@pytest.mark.gen_test
async def test_what_was_erased_since_it_was_copied_is_erased_in_the_copy(target):
    source = MemoryEngine()
    await written(source, 1, 3, 2, text="secret")
    await copying.copy_room(source, target, "tea")
    await clear(source, "tea")
    assert await copying.copy_room(source, target, "tea") == 6
    assert await all_of(target) == await all_of(source)
    assert not any("secret" in payload for _, _, payload in await all_of(target))


@pytest.mark.gen_test
async def test_what_was_erased_does_not_take_a_commit_of_another_size_with_it(target):
    source = MemoryEngine()
    await written(source, 1, 2)
    await clear(source, "tea")
    await written(target, 1, 3, text="other")
    before = await all_of(target)
    with pytest.raises(Differs):
        await copying.copy_room(source, target, "tea")
    assert await all_of(target) == before


@pytest.mark.gen_test
async def test_nothing_is_erased_in_another_log_of_which_it_turns_out_late_that_it_is_one(target):
    source = MemoryEngine()
    await written(source, 1, 2, 1)
    await clear(source, "tea")
    await written(source, 5, 1)
    await written(target, 1, 2, 1, 1, 1, text="other")
    before = await all_of(target)
    with pytest.raises(Differs):
        await copying.copy_room(source, target, "tea")
    assert await all_of(target) == before


@pytest.mark.gen_test
async def test_what_a_retention_has_deleted_since_is_no_difference(target):
    source = MemoryEngine()
    await written(source, 1, 3, 2, 2)
    await copying.copy_room(source, target, "tea")
    del source.commits["tea", 1]
    await written(source, 8, 1)
    assert await copying.copy_room(source, target, "tea") == 8
    assert [first for first, _, _ in await all_of(target)] == [1, 4, 6, 8]


@pytest.mark.gen_test
async def test_what_is_missing_in_the_store_is_told_once_and_the_rest_is_copied(target, capsys):
    source = MemoryEngine()
    await written(source, 1, 3, 2, 1, 2)
    del source.commits["tea", 4]
    assert await copying.copy_room(source, target, "tea") == 8
    assert await all_of(target) == await all_of(source)
    assert [first for first, _, _ in await all_of(target)] == [1, 6, 7]
    assert capsys.readouterr().err == "flychat: messages 4 to 5 of tea are missing in the store\n"


@pytest.mark.gen_test
async def test_of_a_long_room_each_message_is_printed_once(capsys):
    source = MemoryEngine()
    await written(source, 1, *[100] * 21)
    await exporting._export(source, "tea")
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["id"] for line in lines] == list(range(1, 2101))


@pytest.mark.gen_test
async def test_what_is_only_in_the_target_amid_the_log_is_not_passed_over(target):
    source = MemoryEngine()
    await written(source, 1, 3, 2, 2)
    await copying.copy_room(source, target, "tea")
    del source.commits["tea", 4]
    with pytest.raises(Differs, match=r"tea: .* at id 4: "):
        await copying.copy_room(source, target, "tea")


@pytest.mark.gen_test
async def test_of_a_long_room_a_few_commits_are_put_at_once():
    source, target, under_way, most = MemoryEngine(), MemoryEngine(), 0, 0
    put = target.put

    async def counted(commit: Commit) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        await put(commit)
        under_way -= 1

    target.put = counted
    await written(source, 1, *[1] * 3 * copying.AT_ONCE)
    await copying.copy_room(source, target, "tea")
    assert await all_of(target) == await all_of(source)
    assert most == copying.AT_ONCE


OTHERS = {  # what the target has, of a source with commits 1-2, 3-5
    "another text": ((1, 2),),
    "more than the source": ((1, 2), (3, 3), (6, 1)),
    "another size at a place": ((1, 3),),
    "a commit across a place": ((2, 2),),
    "a commit behind the end": ((6, 1),),
    "a commit behind the beginning, of another size": ((3, 1),),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.gen_test
async def test_another_log_is_not_written_to_and_the_room_is_named(name, target):
    source = MemoryEngine()
    await written(source, 1, 2, 3)
    same = list(source.commits.values())
    for first, size in OTHERS[name]:
        mine = (
            [each for each in same if (each.first, each.ids) == (first, size)]
            if name == "more than the source"
            else []
        )
        if mine:
            await target.put(mine[0])
        else:
            await written(target, first, size, text="other")
    before = await all_of(target)
    with pytest.raises(Differs, match="tea: "):
        await copying.copy_room(source, target, "tea")
    after = await all_of(target)
    assert [each for each in after if each in before] == before
    assert all(one[0] + one[1] <= other[0] for one, other in itertools.pairwise(after)), "no overlap"


@pytest.mark.gen_test
async def test_nothing_is_put_before_another_log_that_is_longer(target):
    source = MemoryEngine()
    await written(source, 1, *[1] * 2 * copying.AT_ONCE)
    await written(target, 1000, 1, text="other")
    before = await all_of(target)
    with pytest.raises(Differs, match="id 1000: "):
        await copying.copy_room(source, target, "tea")
    assert await all_of(target) == before


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.gen_test
async def test_a_copy_goes_on_through_what_fails_and_is_verified(seed, monkeypatch):
    monkeypatch.setattr(stores, "PAUSE", 0.0)
    monkeypatch.setattr(stores, "TRIES", 50)
    source, target = MemoryEngine(), MemoryEngine(shared=True)
    await written(source, 1, *[1, 2, 64] * 30)
    faulty = FaultyEngine(target, random_faults(seed, {"lose": 0.2, "drop": 0.2, "throttle": 0.2}))
    faulty.read_faults.extend([Unknown(), None] * 3)
    with contextlib.suppress(Unknown):
        await copying.copy_room(source, faulty, "tea")
    faulty.read_faults.clear()
    await copying.copy_room(source, faulty, "tea")
    assert await all_of(target) == await all_of(source)


@pytest.mark.gen_test
async def test_a_put_that_is_lost_without_a_word_is_noticed():
    """The store says that it has it, and has not."""

    class Forgetful(MemoryEngine):
        async def put(self, commit: Commit) -> None:
            if commit.first != 4:
                await super().put(commit)

    source = MemoryEngine()
    await written(source, 1, 3, 2, 2)
    with pytest.raises(FlychatError, match="tea"):
        await copying.copy_room(source, Forgetful(), "tea")


@pytest.mark.gen_test
async def test_rooms_are_copied_beside_the_server_and_with_them_the_revocations(tmp_path):
    await filled(tmp_path / "flychat.db", tea=3, coffee=2)
    copy = ("copy", "--from", "sqlite:flychat.db", "--to", "sqlite:new.db")
    with running(*STANDALONE, cwd=tmp_path) as program:
        first = await asyncio.to_thread(ran, *copy, "tea", cwd=tmp_path)
        assert first.stderr == ""
        assert first.stdout.splitlines() == [
            "flychat: tea is copied and compared, up to 3",
            "flychat: 1 room copied",
        ]
        rules = [
            ran("export", "/rules", "--store", store, cwd=tmp_path).stdout
            for store in ("sqlite:flychat.db", "sqlite:new.db")
        ]
        assert rules[0] == rules[1] != "", "also where rooms are named"
        post(program, "meanwhile", "tea")
        assert (
            ran("copy", "--from", "sqlite:new.db", "--to", "sqlite:flychat.db", cwd=tmp_path).returncode == 2
        )
    assert ran(*copy, cwd=tmp_path).stdout.endswith("flychat: 2 rooms copied\n")
    exports = [
        ran("export", what, "--store", store, cwd=tmp_path).stdout
        for what in ("--all", "/rules")
        for store in ("sqlite:flychat.db", "sqlite:new.db")
    ]
    assert exports[0] == exports[1]
    assert exports[2] == exports[3] != ""
    assert ran(*copy, "nobody", cwd=tmp_path).returncode == 2
    assert ran("copy", "--from", "sqlite:new.db", "--to", "sqlite:new.db", cwd=tmp_path).returncode == 2


@pytest.mark.gen_test
async def test_a_room_is_copied_to_a_store_that_has_revocations_of_its_own_and_both_hold(tmp_path):
    async def revoked(name: str, *new: str) -> Revocations:
        engine = await SqliteEngine.open(str(tmp_path / name))
        for sub in new:
            await Rulebook(engine).revoke(passes_of(sub), "coffee")
        known = await Rulebook(engine).read()
        await engine.close()
        return known

    await filled(tmp_path / "one.db", tea=3)
    await filled(tmp_path / "other.db", coffee=2)
    both = (await revoked("one.db")).joined(await revoked("other.db", "bob"))
    for _ in range(2):
        copied = ran("copy", "--from", "sqlite:one.db", "--to", "sqlite:other.db", cwd=tmp_path)
        assert (copied.returncode, copied.stderr) == (0, "")
        assert copied.stdout.endswith("flychat: 1 room copied\n")
        assert await revoked("other.db") == both


@pytest.mark.gen_test
async def test_a_damaged_room_is_named_and_the_others_are_exported_copied_and_erased(tmp_path):
    await filled(tmp_path / "flychat.db", ant=2, bee=3, cat=1)
    with contextlib.closing(sqlite3.connect(tmp_path / "flychat.db")) as db, db:
        db.execute("UPDATE log SET m = '[[' WHERE room = 'bee' AND seq = 2")
    damaged = "flychat: bee: SQLite: a row is no commit (JSONDecodeError)\n"

    exported = await asyncio.to_thread(ran, "export", "--all", cwd=tmp_path)
    lines = [json.loads(line) for line in exported.stdout.splitlines()]
    assert [(line["room"], line["id"]) for line in lines] == [("ant", 1), ("ant", 2), ("cat", 1)]
    assert (exported.returncode, exported.stderr) == (1, damaged)

    copy = ("copy", "--from", "sqlite:flychat.db", "--to", "sqlite:new.db")
    copied = await asyncio.to_thread(ran, *copy, cwd=tmp_path)
    assert copied.stdout.splitlines() == [
        "flychat: ant is copied and compared, up to 2",
        "flychat: cat is copied and compared, up to 1",
        "flychat: 2 rooms copied",
    ]
    assert (copied.returncode, copied.stderr) == (1, damaged)

    erased = await asyncio.to_thread(ran, "erase", "--from", "ann", cwd=tmp_path)
    assert erased.stdout == "flychat: 3 messages of ann are erased\n"
    assert (erased.returncode, erased.stderr.splitlines(keepends=True)[0]) == (1, damaged)


@pytest.mark.gen_test
async def test_through_a_server_too_a_damaged_room_is_named_and_the_others_are_erased(tmp_path):
    await filled(tmp_path / "flychat.db", ant=2, bee=3, cat=1)
    with contextlib.closing(sqlite3.connect(tmp_path / "flychat.db")) as db, db:
        db.execute("UPDATE log SET m = '[[' WHERE room = 'ant' AND seq = 2")
    (tmp_path / "secret").write_text("x" * 32)
    options = ("--standalone", "--port", "0", "--store", "sqlite:flychat.db", "--secret", "secret")
    with running(*options, cwd=tmp_path) as program:
        through = ("--url", program.url, "--secret", "secret")
        erased = await asyncio.to_thread(ran, "erase", "--from", "ann", *through, cwd=tmp_path)
    assert erased.stdout == "flychat: 4 messages of ann are erased\n"
    assert erased.returncode == 1
    assert erased.stderr.startswith("flychat: ant: 503 The message store does not answer.")


@pytest.mark.gen_test
async def test_what_would_be_gone_at_once_is_neither_copied_nor_imported(tmp_path):
    await filled(tmp_path / "flychat.db", tea=3)
    (tmp_path / "tea.jsonl").write_text("")
    memory = "sqlite::memory:"
    here = "sqlite:flychat.db"
    for command in (
        ("copy", "--from", here, "--to", memory),
        ("import", "tea", "tea.jsonl", "--store", memory),
    ):
        told = ran(*command, cwd=tmp_path)
        assert (told.returncode, told.stdout) == (2, "")
        assert told.stderr == "flychat: a store in memory is gone when the command ends: name a file\n"


@pytest.mark.gen_test
async def test_a_store_is_not_copied_to_itself_by_whatever_name(tmp_path):
    await filled(tmp_path / "flychat.db", tea=3)
    (tmp_path / "link.db").symlink_to("flychat.db")
    for name in ("flychat.db", "./flychat.db", "link.db"):
        told = ran("copy", "--from", "sqlite:flychat.db", "--to", f"sqlite:{name}", cwd=tmp_path)
        assert (told.returncode, told.stdout) == (2, "")
        assert told.stderr == "flychat: --from and --to are the same store\n"


@pytest.mark.gen_test
async def test_no_client_is_reset_by_a_move_from_sqlite_to_dynamodb(tmp_path, dynamo_environ, monkeypatch):
    """Copied while the server runs, and again when it has ended; the clients are there all the time."""
    for name, value in dynamo_environ.items():
        monkeypatch.setenv(name, value)
    table = f"dynamodb:flychat-{uuid.uuid4()}"
    await create_table(table.partition(":")[2], dynamo_environ)
    file = f"sqlite:{tmp_path / 'flychat.db'}"
    copy = ("copy", "--from", file, "--to", table)
    seen: list[list[object]] = [[], [], []]

    async def follow(place, events: list[object], since: int | None) -> None:
        async with contextlib.aclosing(client.stream(place.url, "room", since, provisional=False)) as stream:
            async for event in stream:
                events.append(event)
                if getattr(event, "text", "") == "after":
                    return

    async with standing("standalone", tmp_path, "--store", file) as place:
        await place.fill(70)
        clients = [
            asyncio.create_task(follow(place, events, since))
            for events, since in zip(seen, (0, 60, None), strict=True)
        ]
        while not all(seen):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        running = asyncio.create_task(asyncio.to_thread(ran, *copy, cwd=tmp_path, environ=dynamo_environ))
        removal = Draft.removal("room", (5, 69), {}, now=0, user="mod", name="Mod")
        removed = (await place.server.log.upkeep.remove(removal, lambda message: None)).id
        while not running.done():
            await place.post("meanwhile")
            await asyncio.sleep(0.05)
        assert (await running).stderr == ""
        await place.post("before")
        await place.server.stop()
        last = await asyncio.to_thread(ran, *copy, cwd=tmp_path, environ=dynamo_environ)
        assert (last.returncode, last.stderr) == (0, "")
        await place.begin_again("--store", table)
        after = await place.post("after")
        await asyncio.wait_for(asyncio.gather(*clients), 60)
        for events in seen:
            assert all(isinstance(event, client.Message) for event in events), "no Reset"
            ids = [event.id for event in events]
            assert ids == list(range(ids[0], after["id"] + 1))
        moved = [message async for message in export(place.engine.engine, "room")]
        assert [message.id for message in moved] == list(range(1, after["id"] + 1))
        assert [message.id for message in moved if message.removed == removed and not message.text] == [5, 69]


def test_a_command_speaks_of_the_stores_and_options_that_it_has(tmp_path):
    copying = refused("copy", "--from", "sqlite:none.db", "--to", "sqlite:new.db", cwd=tmp_path)
    assert copying.endswith("with --from")
    assert refused("rooms", "--store", "sqlite:none.db", cwd=tmp_path).endswith("with --store")
    assert (
        "dynamodb:TABLE" not in ran("backup", "--help", cwd=tmp_path).stdout
    )  # which has backups of its own
    assert "dynamodb:TABLE" in ran("rooms", "--help", cwd=tmp_path).stdout
