"""What the format of a store promises: it is read by later versions, and what is added does not matter to earlier ones.

The texts here are what was stored, to the letter. If one has to be changed, so has the format, and its number.
"""

import json
import sqlite3
import urllib.parse
import urllib.request
import uuid
from contextlib import closing

import pytest

from flychat.commits import Commit
from flychat.messages import Draft
from flychat.storage.dynamodb import DynamoEngine
from flychat.storage.dynamodb_table import create_table
from flychat.storage.sqlite import SqliteEngine
from flychat.tools.exporting import export
from tests.support.program import PATIENCE, STANDALONE, messages, post, ran, running

KEY = "00000000-0000-4000-8000-00000000000"

# What the first commit that could store anything wrote (`iterdump`): four messages by its log, two at once.
FIRST_SCHEMA = "CREATE TABLE log (room TEXT, seq INTEGER, n INTEGER, m TEXT, w TEXT, PRIMARY KEY (room, seq)) WITHOUT ROWID"
FIRST_ROWS = [
    (
        "café",
        1,
        1,
        '[["ann","elsewhere","2025-12-31T23:00:03.000Z","00000000-0000-4000-8000-000000000004"]]',
        "ac56424a-3",
    ),
    (
        "tea",
        1,
        1,
        r'[["ann","Hello\nthere","2025-12-31T23:00:00.123Z","00000000-0000-4000-8000-000000000001"]]',
        "ac56424a-1",
    ),
    (
        "tea",
        2,
        2,
        r'[["bob","\"Gr\u00fc\u00dfe\" \ud83d\ude00","2025-12-31T23:00:01.000Z",'
        r'"00000000-0000-4000-8000-000000000002"],'
        r'["Zo\u00eb","a\ttab, \u202e and \\","2025-12-31T23:00:02.500Z","00000000-0000-4000-8000-000000000003"]]',
        "ac56424a-2",
    ),
]
FIRST_TEA = [
    (1, "ann", "Hello\nthere", "2025-12-31T23:00:00.123Z", f"{KEY}1"),
    (2, "bob", '"Grüße" \N{GRINNING FACE}', "2025-12-31T23:00:01.000Z", f"{KEY}2"),
    (3, "Zoë", "a\ttab, \u202e and \\", "2025-12-31T23:00:02.500Z", f"{KEY}3"),
]

# What is written today: two messages, one with a user and data; a removal of the first; a commit that was cleared.
SCHEMA = "CREATE TABLE log (room TEXT, seq INTEGER, n INTEGER, m TEXT, PRIMARY KEY (room, seq))"
BY_KEY = f"{SCHEMA} WITHOUT ROWID"  # of until November 2026
ROWS = [
    (
        "café",
        1,
        2,
        f'[["ann","","2025-12-31T23:00:00.123Z","{KEY}1",{{"t":3}}],'
        f'["Zoë","a\\ttab 😀","2025-12-31T23:00:00.123Z","{KEY}2",{{"u":"zoe@example.org","j":{{"n":[1,null]}}}}]{" " * 29}]',
    ),
    (
        "café",
        3,
        1,
        f'[["Mod","(removed a message)","2025-12-31T23:00:00.123Z","{KEY}3",{{"u":"mod","d":[1]}}]{" " * 5}]',
    ),
    ("café", 4, 3, "[]"),
]
WIRE = [
    {
        "id": 1,
        "from": "ann",
        "text": "",
        "date": "2025-12-31T23:00:00.123Z",
        "provisionalId": f"{KEY}1",
        "removed": 3,
    },
    {
        "id": 2,
        "from": "Zoë",
        "text": "a\ttab 😀",
        "date": "2025-12-31T23:00:00.123Z",
        "provisionalId": f"{KEY}2",
        "user": "zoe@example.org",
        "data": {"n": [1, None]},
    },
    {
        "id": 3,
        "from": "Mod",
        "text": "(removed a message)",
        "date": "2025-12-31T23:00:00.123Z",
        "provisionalId": f"{KEY}3",
        "user": "mod",
        "removes": [1],
    },
]


def made(path, schema: str, rows: list[tuple], version: int = 0) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(schema)
        db.executemany(f"INSERT INTO log VALUES ({', '.join('?' * len(rows[0]))})", rows)
        db.execute(f"PRAGMA user_version = {version}")


def stored(path) -> tuple[str, int, list[tuple]]:
    with closing(sqlite3.connect(path)) as db:
        (schema,) = db.execute("SELECT sql FROM sqlite_schema").fetchone()
        ((version,),) = db.execute("PRAGMA user_version").fetchall()
        return schema, version, db.execute("SELECT * FROM log ORDER BY room, seq").fetchall()


def plain(message: dict) -> tuple:
    return tuple(message[name] for name in ("id", "from", "text", "date", "provisionalId"))


def test_a_database_that_the_first_commit_wrote_is_gone_on_with_and_what_it_wrote_stays_as_it_is(tmp_path):
    path = tmp_path / "flychat.db"
    made(path, FIRST_SCHEMA, FIRST_ROWS)
    with running(*STANDALONE, cwd=tmp_path) as program:
        assert [plain(message) for message in messages(program, "tea")] == FIRST_TEA
        assert post(program, "today", "tea")["id"] == 4
        again = {"from": "bob", "text": FIRST_TEA[1][2], "provisionalId": f"{KEY}2", "lastEventId": "1"}
        body = urllib.parse.urlencode(again).encode()
        with urllib.request.urlopen(f"{program.url}/rooms/tea/messages/", body, timeout=PATIENCE) as response:
            assert plain(json.load(response)) == FIRST_TEA[1], "a message of before is recognised"
    schema, version, rows = stored(path)
    assert (schema, version) == (FIRST_SCHEMA, 1)
    assert [row for row in rows if row[4] is not None] == FIRST_ROWS
    assert ran("remove", "tea", "2", "--store", "sqlite:flychat.db", cwd=tmp_path).returncode == 0
    exported = [json.loads(line) for line in ran("export", "tea", cwd=tmp_path).stdout.splitlines()]
    assert [(line["id"], line["text"]) for line in exported][:3] == [
        (1, "Hello\nthere"),
        (2, ""),
        (3, FIRST_TEA[2][2]),
    ]
    listed = [json.loads(line) for line in ran("rooms", "--json", cwd=tmp_path).stdout.splitlines()]
    assert [(room["room"], room["messages"], room["lastId"]) for room in listed] == [
        ("café", 1, 1),
        ("tea", 5, 5),
    ]


@pytest.mark.gen_test
async def test_items_of_the_first_commit_are_read_from_a_table(dynamo_environ):
    table = f"flychat-{uuid.uuid4()}"
    await create_table(table, dynamo_environ)
    engine = await DynamoEngine.open(table, dynamo_environ)
    for room, seq, n, m, w in FIRST_ROWS:
        item = {"room": {"S": room}, "seq": {"N": str(seq)}, "n": {"N": str(n)}, "m": {"S": m}, "w": {"S": w}}
        await engine._client.put_item(TableName=engine._table, Item=item)
    read = [message async for message in export(engine, "tea")]
    assert [(m.id, m.sender, m.text, m.date, m.provisional_id) for m in read] == FIRST_TEA
    await engine.close()


@pytest.mark.gen_test
async def test_what_is_written_today_is_this_to_the_letter(tmp_path):
    """So that no change of the format goes unnoticed: every version with its number has to read this."""
    path = tmp_path / "flychat.db"
    engine = await SqliteEngine.open(str(path))
    date = "2025-12-31T23:00:00.123Z"
    one = Draft("café", "ann", "a secret", date, f"{KEY}1")
    two = Draft("café", "Zoë", "a\ttab 😀", date, f"{KEY}2", "zoe@example.org", data={"n": [1, None]})
    removal = Draft("café", "Mod", "(removed a message)", date, f"{KEY}3", "mod", removes=(1,))
    first = Commit.of(1, [one, two])
    await engine.put(first)
    second = Commit.of(3, [removal])
    await engine.put(second)
    await engine.rewrite(
        first, Commit("café", (first.messages[0].tombstone(second.messages[0]), first.messages[1]))
    )
    cleared = Commit.of(4, [Draft("café", "ann", f"{n}", date, str(uuid.uuid4())) for n in range(3)])
    await engine.put(cleared)
    await engine.rewrite(cleared, cleared.emptied())
    await engine.close()
    assert stored(path) == (SCHEMA, 1, ROWS)


def test_what_is_written_today_is_read_by_every_version_that_knows_its_number(tmp_path):
    """This one, for a start; later ones keep this test. And from what an earlier one does not know it learns no harm."""
    more = SCHEMA.replace(" m TEXT,", " m TEXT, later BLOB,")
    rows = [(*row[:3], row[3].replace("{", '{"later":[1],', 1), b"later") for row in ROWS]
    for name, schema, content in (
        ("today.db", SCHEMA, ROWS),
        ("by-key.db", BY_KEY, ROWS),
        ("later.db", more, rows),
    ):
        made(tmp_path / name, schema, content, version=1)
        exported = ran("export", "café", "--store", f"sqlite:{name}", cwd=tmp_path)
        assert (exported.returncode, exported.stderr) == (0, "")
        assert [json.loads(line) for line in exported.stdout.splitlines()] == WIRE
        removed = ran("remove", "café", "2", "--store", f"sqlite:{name}", cwd=tmp_path)
        assert removed.returncode == 0, removed.stderr
        after = stored(tmp_path / name)
        assert after[:2] == (schema, 1)
        assert after[2][1:3] == content[1:3], "what is not understood stays"
        assert ('"later":[1]' in after[2][0][3]) == (name == "later.db"), "also where a commit is rewritten"
