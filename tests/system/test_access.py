"""Private rooms, as an operator sets them up and a guest meets them: from the secret to the end of the stream."""

from __future__ import annotations

import base64
import io
import json
import os
import pty
import re
import secrets
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest

from flychat import tools
from flychat.access.passwords import hashed
from tests.conftest import need
from tests.support.program import (
    PATIENCE,
    ROOT,
    STANDALONE,
    Program,
    command,
    environment,
    ran,
    refused,
    running,
)

GRIP = ("--grip", "--with-pushpin", "--pushpin-port", "0", "--port", "0", "--store", "sqlite:chat.db")
MODES = {"standalone": STANDALONE, "grip": GRIP}


def secret(directory: Path, *keys: str) -> str:
    """The file of keys; a new one without any."""
    made = base64.b64encode(secrets.token_bytes(32)).decode()
    (directory / "secret").write_text("".join(f"{key}\n" for key in keys or [made]))
    return str(directory / "secret")


def told(*arguments: str, cwd: Path, typed: str = "", code: int = 0) -> str:
    """What a command prints."""
    ended = ran(*arguments, cwd=cwd, typed=typed)
    assert ended.returncode == code, ended
    return (ended.stdout or ended.stderr).removesuffix("\n")


def asked(url: str, body: dict | None = None, **headers: str) -> tuple[int, dict[str, str], str]:
    """(status, headers, body)"""
    headers = {
        "Accept": "application/json",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    data = None if body is None else json.dumps(body).encode()
    if data is not None:
        headers["Content-Type"] = "application/json"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=PATIENCE) as response:
            return response.status, dict(response.headers), response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read().decode()


def stream(program: Program, room: str, **headers: str) -> Iterator[str]:
    """The lines of a stream, until it ends; opened when this returns."""
    request = urllib.request.Request(
        f"{program.url}/rooms/{room}/messages/", headers={"Accept": "text/event-stream", **headers}
    )
    response = urllib.request.urlopen(request, timeout=PATIENCE)
    lines = (line.decode().rstrip("\n") for line in response)
    assert until(lines, "event: ")[-1] == "event: stream-open"
    return lines


def until(lines: Iterator[str], wanted: str) -> list[str]:
    seen = []
    for line in lines:
        seen.append(line)
        if line.startswith(wanted):
            return seen
    pytest.fail(f"{wanted!r} is not in {seen}")


@pytest.mark.parametrize("mode", MODES)
def test_a_newcomer_makes_a_room_private_invites_somebody_and_shows_them_out(mode, tmp_path):
    if mode == "grip":
        need("pushpin")
    keys = secret(tmp_path)
    with running(*MODES[mode], "--secret", keys, "--access", "staff=", cwd=tmp_path) as program:
        link = told(
            "token",
            "--secret",
            keys,
            "--name",
            "Ann",
            "--room",
            "staff=rw",
            "--link",
            program.url,
            cwd=tmp_path,
        )
        page, _, token = link.partition("#invite=")
        assert page == f"{program.url}/staff"
        status, _, body = asked(page, Accept="text/html")
        assert (status, "This room is private" in body) == (401, True)
        status, headers, _ = asked(f"{program.url}/session", {"token": token})
        assert status == 200
        cookie = headers["Set-Cookie"].partition(";")[0]
        status, _, body = asked(page, Accept="text/html", Cookie=cookie)
        assert (status, 'role="log"' in body) == (200, True)
        lines = stream(program, "staff", Cookie=cookie)
        status, _, body = asked(f"{program.url}/rooms/staff/messages/", {"text": "hello"}, Cookie=cookie)
        assert (status, json.loads(body)["user"]) == (200, "Ann")
        until(lines, "id: 1")
        said = told("revoke", "Ann", "--url", program.url, "--secret", keys, cwd=tmp_path)
        began = time.monotonic()
        assert said == "flychat: Ann is revoked in all rooms"
        until(lines, "event: stream-end")
        assert next(lines) == 'data: {"reason":"revoked"}'
        assert list(lines) == [""]
        assert time.monotonic() - began < 10
        assert asked(page, Accept="text/html", Cookie=cookie)[0] == 401
        later = told("token", "--secret", keys, "--name", "Ann", "--room", "staff=r", cwd=tmp_path)
        assert asked(f"{program.url}/rooms/staff/messages/", Authorization=f"Bearer {later}")[0] == 200
        assert json.loads(asked(f"{program.url}/readyz")[2])["status"] == "ok"
        assert 'flychat_access_total{outcome="allowed"}' in asked(f"{program.url}/metrics")[2]
        code, errors = program.end()
    assert (code, errors) == (0, "")


def test_a_token_that_a_site_makes_as_the_guide_says_is_taken(tmp_path, monkeypatch):
    keys = secret(tmp_path)
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"(?s)```python\n(.*?)```", (ROOT / "docs" / "access.md").read_text())
    made: dict[str, str] = {}
    exec(code, made)
    with running(*STANDALONE, "--secret", keys, "--access", "*=", cwd=tmp_path) as program:
        bearer = {"Authorization": f"Bearer {made['token']}"}
        path = f"{program.url}/rooms/staff/messages/"
        status, _, body = asked(path, {"text": "hello"}, **bearer)
        assert (status, json.loads(body)["from"], json.loads(body)["user"]) == (200, "Ann", "ann@example.org")
        assert asked(path.replace("staff", "news-today"), **bearer)[0] == 200
        assert asked(path.replace("staff", "tea"), **bearer)[0] == 403


@pytest.mark.parametrize("through", ["the server", "the store"])
def test_who_is_revoked_can_be_given_another_token_at_once(through, tmp_path, monkeypatch, capsys):
    """As a script does that changes what somebody may: both commands take less than a second."""
    keys, store = secret(tmp_path), "sqlite:chat.db"
    monkeypatch.chdir(tmp_path)
    options = (*STANDALONE, "--store", store, "--secret", keys, "--access", "staff=")

    def another(*where: str) -> str:
        assert tools.main(["revoke", "Ann", *where]) == 0
        assert tools.main(["token", "--secret", keys, "--name", "Ann", "--room", "staff=r"]) == 0
        return capsys.readouterr().out.splitlines()[-1]

    with running(*options, cwd=tmp_path) as program:
        token = another("--url", program.url, "--secret", keys)
    if through == "the store":
        token = another("--store", store)
    with running(*options, cwd=tmp_path) as program:
        path = f"{program.url}/rooms/staff/messages/"
        assert asked(path, Authorization=f"Bearer {token}")[0] == 200


def test_what_was_revoked_stays_so_and_may_be_revoked_while_no_server_runs(tmp_path):
    keys = secret(tmp_path)
    options = (*STANDALONE, "--store", "sqlite:chat.db", "--secret", keys, "--access", "staff=")
    told("export", "x", "--store", "sqlite:chat.db", cwd=tmp_path, code=2)  # there is no store yet
    tokens = {
        name: told("token", "--secret", keys, "--sub", name, "--room", "*=rw", cwd=tmp_path)
        for name in ("ann", "bob")
    }

    def statuses(program: Program, room: str) -> list[int]:
        path = f"{program.url}/rooms/{room}/messages/"
        return [asked(path, Authorization=f"Bearer {token}")[0] for token in tokens.values()]

    with running(*options, cwd=tmp_path) as program:
        assert statuses(program, "staff") == [200, 200]
        told("revoke", "ann", "--room", "staff", "--url", program.url, "--secret", keys, cwd=tmp_path)
        assert "another flychat is using it" in told(
            "revoke", "bob", "--store", "sqlite:chat.db", cwd=tmp_path, code=2
        )
    said = told("revoke", "bob", "--store", "sqlite:chat.db", cwd=tmp_path)
    assert said == "flychat: bob is revoked in all rooms"
    with running(*options, cwd=tmp_path) as program:
        assert statuses(program, "staff") == [401, 401]
        assert statuses(program, "tea") == [200, 200]
    audit = told("export", "/rules", "--store", "sqlite:chat.db", cwd=tmp_path).splitlines()
    assert [len(json.loads(json.loads(line)["text"])["revoked"]) for line in audit] == [2, 4]


@pytest.mark.parametrize("mode", MODES)
def test_an_operator_removes_messages_while_the_server_runs(mode, tmp_path):
    if mode == "grip":
        need("pushpin")
    keys = secret(tmp_path)
    options = [*MODES[mode], "--secret", keys, "--access", "staff="]
    if "--store" not in options:
        options += ["--store", "sqlite:chat.db"]
    token = told("token", "--secret", keys, "--name", "Ann", "--room", "staff=rw", cwd=tmp_path)
    bearer = {"Authorization": f"Bearer {token}"}
    with running(*options, cwd=tmp_path) as program:
        for number in range(1, 4):
            asked(f"{program.url}/rooms/staff/messages/", {"text": f"a secret {number}"}, **bearer)
        lines = stream(program, "staff", **bearer)
        until(lines, "id: 3")
        given = ("remove", "staff", "2", "3", "--url", program.url, "--secret", keys)
        assert told(*given, cwd=tmp_path) == "flychat: 2 messages are removed, by message 4"
        until(lines, "id: 4")
        files = b"".join(path.read_bytes() for path in tmp_path.glob("chat.db*"))
        assert b"a secret 1" in files
        assert b"a secret 2" not in files
        assert b"a secret 3" not in files
        assert told(*given, cwd=tmp_path) == "flychat: 2 messages are removed, by message 4"
        lost = told("remove", "staff", "9", "--url", program.url, "--secret", keys, cwd=tmp_path, code=1)
        assert lost == "flychat: 404 there is no such message"
        in_use = told("remove", "staff", "1", "--store", "sqlite:chat.db", cwd=tmp_path, code=2)
        assert "another flychat is using it" in in_use
        [*_, body] = asked(f"{program.url}/rooms/staff/messages/", **bearer)
        messages = json.loads(body)["messages"]
        assert [message["text"] for message in messages] == ["a secret 1", "", "", "(removed a message)"]
        assert [messages[3][name] for name in ("from", "user", "removes")] == ["operator", "operator", [2, 3]]
        assert program.end() == (0, "")
    said = told("remove", "staff", "1", "2", "--store", "sqlite:chat.db", cwd=tmp_path)
    assert said == "flychat: 2 messages are removed, by message 5"
    assert "is a removal" in told("remove", "staff", "4", "--store", "sqlite:chat.db", cwd=tmp_path, code=1)
    exported = told("export", "staff", "--store", "sqlite:chat.db", cwd=tmp_path)
    assert "a secret" not in exported
    assert [json.loads(line).get("removed") for line in exported.splitlines()] == [5, 4, 4, None, None]


@pytest.mark.parametrize("mode", MODES)
def test_an_operator_erases_a_person_and_clears_a_room_while_the_server_runs(mode, tmp_path):
    if mode == "grip":
        need("pushpin")
    keys = secret(tmp_path)
    options = [*MODES[mode], "--secret", keys]
    if "--store" not in options:
        options += ["--store", "sqlite:chat.db"]
    token = told("token", "--secret", keys, "--name", "Ann", "--sub", "ann", cwd=tmp_path)
    bearer = {"Authorization": f"Bearer {token}"}
    rooms = [f"room-{number}" for number in range(3)]
    with running(*options, cwd=tmp_path) as program:
        server = ("--url", program.url, "--secret", keys)
        for room in rooms:
            asked(f"{program.url}/rooms/{room}/messages/", {"text": "a secret of hers"}, **bearer)
            asked(f"{program.url}/rooms/{room}/messages/", {"from": "Bob", "text": "a secret of his"})
        lines = stream(program, "room-0")
        until(lines, "id: 2")
        assert (
            told("erase", "--user", "ann", *server, cwd=tmp_path) == "flychat: 3 messages of ann are erased"
        )
        until(lines, "id: 3")
        files = b"".join(path.read_bytes() for path in tmp_path.glob("chat.db*"))
        assert b"a secret of hers" not in files
        assert b"Ann" not in files
        assert files.count(b"a secret of his") >= 3
        said = told("erase", "--from", "Bob", "--room", "room-1", *server, cwd=tmp_path)
        assert said == "flychat: 1 message of Bob is erased"
        said = told("clear", "room-0", *server, cwd=tmp_path)
        assert said == "flychat: the room is cleared; its ids go on after 4"
        until(lines, "event: stream-reset")
        said = told("clear", "nowhere", *server, cwd=tmp_path)
        assert said == "flychat: there was nothing to clear"
        assert program.end() == (0, "")
    said = told("erase", "--from", "Bob", "--store", "sqlite:chat.db", cwd=tmp_path)
    assert said == "flychat: 1 message of Bob is erased"
    files = b"".join(path.read_bytes() for path in tmp_path.glob("chat.db*"))
    assert b"a secret" not in files
    assert b"Bob" not in files


@pytest.mark.parametrize("theirs", [(), ("--secret",)], ids=["no keys", "other keys"])
def test_an_operator_is_told_where_the_server_does_not_have_the_keys(theirs, tmp_path):
    keys = secret(tmp_path)
    options = list(STANDALONE)
    if theirs:
        (tmp_path / "theirs").mkdir()
        options += [*theirs, secret(tmp_path / "theirs")]
    with running(*options, cwd=tmp_path) as program:
        for asked_for in (
            ("clear", "tea"),
            ("erase", "--from", "Bob"),
            ("erase", "--from", "Bob", "--room", "tea"),
            ("remove", "tea", "1"),
            ("revoke", "bob"),
        ):
            said = told(*asked_for, "--url", program.url, "--secret", keys, cwd=tmp_path, code=1)
            assert re.search(
                r"^flychat: .*\(the server has been started without --secret, or with another one", said
            )
        assert program.end() == (0, "")


def test_keys_are_rotated_by_a_new_first_line_and_a_signal(tmp_path):
    old, new = "o" * 32, "n" * 32
    keys = secret(tmp_path, old)
    now = int(time.time())
    claims = {"sub": "ann", "rooms": {"staff": "r"}, "iat": now - 60, "exp": now + 600}
    with running(*STANDALONE, "--secret", keys, "--access", "staff=", cwd=tmp_path) as program:

        def statuses() -> list[int]:
            headers = [f"Bearer {jwt.encode(claims, key)}" for key in (old, new)]
            return [
                asked(f"{program.url}/rooms/staff/messages/", Authorization=header)[0] for header in headers
            ]

        def reloaded(*lines: str) -> None:
            """Returns when it has been read."""
            before = fingerprint()
            secret(tmp_path, *lines)
            program.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + PATIENCE
            while fingerprint() == before:
                assert time.monotonic() < deadline
                time.sleep(0.02)

        def fingerprint() -> str:
            return json.loads(asked(f"{program.url}/readyz")[2])["key"]

        assert statuses() == [200, 401]
        lines = stream(program, "staff", Authorization=f"Bearer {jwt.encode(claims, old)}")
        reloaded(new, old)
        assert statuses() == [200, 200]
        reloaded(new + "x", new)
        assert statuses() == [401, 200]
        until(lines, "event: stream-end")
        assert next(lines) == 'data: {"reason":"revoked"}', "its key has left"
        secret(tmp_path, "short")
        program.process.send_signal(signal.SIGHUP)
        assert statuses() == [401, 200], "a bad file changes nothing"
        code, errors = program.end()
    assert code == 0
    assert "the keys stay as they are" in errors


def test_a_password_is_typed_hashed_and_known(tmp_path):
    keys = secret(tmp_path)
    hash = told("password", cwd=tmp_path, typed="open sesame\n")
    options = ("--secret", keys, "--access", "staff=", "--password", f"staff={hash}")
    with running(*STANDALONE, *options, cwd=tmp_path) as program:
        status, headers, body = asked(f"{program.url}/session", {"room": "staff", "password": "open sesame"})
        assert (status, re.fullmatch(r"guest-[0-9a-f]{16}", json.loads(body)["user"]) is not None) == (
            200,
            True,
        )
        cookie = headers["Set-Cookie"].partition(";")[0]
        assert asked(f"{program.url}/rooms/staff/messages/", Cookie=cookie)[0] == 200


def test_every_combination_that_cannot_be_meant_is_refused_in_one_line(tmp_path):
    keys = secret(tmp_path)
    for arguments, why in (
        (("--access", "tea="), "nobody could enter"),
        (("--access", "*=", "--user-header", "X-User", "--trust-proxy"), "nobody could enter"),
        (("--access", "tea=x"), "--access must be"),
        (("--access", "tea=r", "--access", "tea="), "two rules"),
        (("--secret", "missing"), "cannot be read"),
        (("--jwks", "https://login.example.org/keys"), "--audience"),
        (("--audience", "chat"), "--jwks"),
        (("--issuer", "https://login.example.org"), "--jwks"),
        (("--jwks", "login.example.org", "--audience", "chat"), "must be an address"),
        (("--password", f"tea={hashed('x')}"), "--secret"),
        (("--password", "tea=x", "--secret", keys), "--password must be"),
        (("--user-header", "X-User"), "--trust-proxy"),
        (("--user-header", "Authorization", "--trust-proxy"), "a header of its own"),
    ):
        assert why in refused(*STANDALONE, *arguments, cwd=tmp_path), arguments
    proxied = ("--grip", "--port", "0", "--store", "sqlite::memory:", "--secret", keys, "--access", "tea=")
    assert "verify-key" in refused(*proxied, cwd=tmp_path)
    assert "verify-key" in refused(
        *proxied,
        "--grip-url",
        "http://127.0.0.1:1/?verify-key=base64:YWJj",
        "--grip-url",
        "http://127.0.0.1:2/",
        cwd=tmp_path,
    )


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("token", "--room", "tea=r"), "--name or --sub"),
        (("token", "--name", "Ann", "--room", "tea=r"), "--secret"),
        (("token", "--secret", "missing", "--name", "Ann"), "cannot be read"),
        (("token", "--secret", "secret", "--name", "Ann", "--room", "tea"), "--room must be"),
        (("token", "--secret", "secret", "--name", "Ann", "--room", "tea="), "--room must be"),
        (("token", "--secret", "secret", "--name", "Ann", "--room", "a*b=r"), "--room must be"),
        (("token", "--secret", "secret", "--name", "Ann", "--room", "tea=r,a=r"), "--room must be"),
        (
            ("token", "--secret", "secret", "--name", "Ann", "--room", "tea=r", "--room", "tea=w"),
            "two rules",
        ),
        (("token", "--secret", "secret", "--name", "Ann", *(f"--room={n}=r" for n in range(101))), "100"),
        (("token", "--secret", "secret", "--name", "Ann", *(f"--room={n:064}=r" for n in range(50))), "4096"),
        (("token", "--secret", "secret", "--name", "x" * 65), "from:"),
        (("token", "--secret", "secret", "--name", "Ann", "--sub", ""), "user:"),
        (
            (
                "token",
                "--secret",
                "secret",
                "--name",
                "Ann",
                "--room",
                "a=r",
                "--link",
                "http://x",
                "--to",
                "",
            ),
            "room:",
        ),
        (("token", "--secret", "secret", "--name", "Ann", "--days", "0"), "--days"),
        (("token", "--secret", "secret", "--name", "Ann", "--days", "401"), "--days"),
        (("token", "--secret", "secret", "--name", "Ann", "--room", "a-*=r", "--link", "http://x"), "--to"),
        (("remove", "tea", "1"), "there is no file"),
        (("remove", "tea", "0"), "from 1"),
        (("remove", "a/b", "1"), "no room can"),
        (("remove", "tea", "1", "--url", "http://127.0.0.1:1"), "--secret"),
        (("clear", "tea", "--url", "http://127.0.0.1:1", "--forget"), "--store"),
        (("revoke", "Ann"), "there is no file"),
        (("revoke", "Ann", "--url", "http://127.0.0.1:1"), "--secret"),
        (("revoke", "a\nb"), "no user can"),
        (("revoke", "Ann", "--room", "a/b"), "no room can"),
        (("revoke", "Ann", "--room", "staff*"), "no pattern"),
        (("password",), "a password has"),
    ],
    ids=lambda part: " ".join(part)[:40] if isinstance(part, tuple) else "",
)
def test_a_command_says_what_is_missing(arguments, why, tmp_path, monkeypatch, capsys):
    secret(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert tools.main(arguments) == 2
    out, said = capsys.readouterr()
    assert (out, said[:9], said.index("\n")) == ("", "flychat: ", len(said) - 1)
    assert why in said


def test_who_may_write_and_not_read_says_something_all_the_same(tmp_path):
    keys = secret(tmp_path)
    with running(
        *STANDALONE, "--secret", keys, "--access", "tea=w", "--access", "staff=", cwd=tmp_path
    ) as program:
        say = ("say", f"{program.url}/tea", "--from", "ann")
        assert told(*say, cwd=tmp_path, typed="one\ntwo\n") == "1 ann: one\n2 ann: two"
        refused = told("say", f"{program.url}/staff", "--from", "ann", "hi", cwd=tmp_path, code=1)
        assert refused == "flychat: 401 this takes a token"


def test_a_token_that_some_proxies_may_not_take_is_made_and_said_to_be_long(tmp_path):
    given = ("token", "--secret", secret(tmp_path), "--name", "Ann")
    for number, said in ((1, ""), (30, "flychat: this token is long; some proxies may not take it\n")):
        made = ran(*given, *(f"--room={n:064}=r" for n in range(number)), cwd=tmp_path)
        assert (made.returncode, made.stderr, made.stdout.count(".")) == (0, said, 2)


@pytest.mark.parametrize("locale", ["C.UTF-8", "POSIX"])  # by which Python reads such bytes or not
def test_a_password_that_is_no_text_is_said_to_be_none(locale, tmp_path):
    environ = environment({"LC_ALL": locale})
    ended = subprocess.run(
        command("password"), cwd=tmp_path, env=environ, input=b"\xff\n", capture_output=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert ended.stderr == b"flychat: a password must be UTF-8\n"


@pytest.mark.parametrize("before", [(), (b"open sesame\n",)])
def test_ctrl_d_in_place_of_a_password_gives_none(before, tmp_path):
    ours, theirs = pty.openpty()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    alone = {"cwd": tmp_path, "env": environment(), "start_new_session": True}
    with (
        os.fdopen(ours, "wb", 0) as typing,
        subprocess.Popen(command("password"), stdin=theirs, **pipes, **alone) as asking,
    ):
        os.close(theirs)
        for prompt, typed in zip((b"Password: ", b"\nAgain: "), (*before, b"\x04"), strict=False):
            assert asking.stderr.read(len(prompt)) == prompt
            typing.write(typed)
        assert asking.stderr.read() == b"flychat: no password was typed\n"
        assert (asking.wait(), asking.stdout.read()) == (2, b"")


def test_a_password_is_asked_of_a_terminal_or_an_input(tmp_path):
    closed = ["sh", "-c", 'exec "$@" <&-', "sh", *command("password")]
    ended = subprocess.run(closed, cwd=tmp_path, env=environment(), capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert ended.stderr == b"flychat: no password was typed\n"


def test_a_link_leads_to_a_room_and_its_token_is_sent_to_nobody(tmp_path):
    secret(tmp_path)
    given = (
        "token",
        "--secret",
        "secret",
        "--sub",
        "ann",
        "--days",
        "2",
        "--link",
        "https://chat.example.org",
    )
    for more, path in (
        (("--room", "staff=rw"), "staff"),
        (("--room", "Grüße=r", "--room", "a*=r"), "Gr%C3%BC%C3%9Fe"),
        (("--room", "a*=r", "--to", "a/b"[:1]), "a"),
        (("--room", "a=b=rw"), "a%3Db"),
    ):
        address, token = told(*given, *more, cwd=tmp_path).split("#invite=")
        assert address == f"https://chat.example.org/{path}"
        claims = jwt.decode(token, (tmp_path / "secret").read_bytes().strip(), ["HS256"])
        assert claims["sub"] == "ann"
        assert claims["rooms"] == dict(room.rsplit("=", 1) for room in more[1::2] if "=" in room)
        assert "name" not in claims
        assert claims["exp"] - claims["iat"] == 2 * 86_400
