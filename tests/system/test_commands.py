"""What the terminal has: check finds what is wrong with a deployment, tail and say are good for scripts."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import functools
import itertools
import json
import os
import pty
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
import unicodedata
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from flychat import client, tools
from flychat.client import Signal, http
from flychat.config import Config
from flychat.fields import REMOVES
from flychat.messages import Message
from flychat.sse import Event
from flychat.tools import arguments as given
from flychat.tools import check, check_page, clearing, erasing, operator, talk, terminal
from flychat.tools.checked import Checked
from tests.conftest import both_pushpins
from tests.support import rights
from tests.support.ports import free_port
from tests.support.program import PATIENCE, ROOT, command, environment, running
from tests.support.served import draft, served
from tests.support.started import started
from tests.support.wire import wire_json

gen_test = pytest.mark.gen_test


@contextlib.asynccontextmanager
async def between(
    url: str,
    *,
    request: Callable[[bytes], bytes] = bytes,
    head: Callable[[bytes], bytes] = bytes,
    plain: Callable[[bytes], bytes] = bytes,
    body: Callable[[bytes], bytes] = bytes,
    delay: float = 0,
    holds: bool = False,
) -> AsyncIterator[str]:
    """A proxy of the bad kind: edits the heads of streams and of the others (`plain`), delays a stream, or `holds` all of its body back."""
    port = int(url.rpartition(":")[2])
    writers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, to_upstream = await asyncio.open_connection("127.0.0.1", port)
        writers.extend((writer, to_upstream))
        with contextlib.suppress(OSError, EOFError):  # a client that has waited for too long, and leaves
            await pass_on(reader, writer, upstream, to_upstream)

    async def pass_on(
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        upstream: asyncio.StreamReader,
        to_upstream: asyncio.StreamWriter,
    ) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", asked)
        to_upstream.write(request(asked) + await reader.readexactly(int(length[1]) if length else 0))
        answer = await upstream.readuntil(b"\r\n\r\n")
        streamed = b"text/event-stream" in answer
        writer.write(head(answer) if streamed else plain(answer))
        while data := await upstream.read(65536):
            if streamed and holds:
                continue
            if streamed and delay:
                await asyncio.sleep(delay)
            writer.write(data if streamed else body(data))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


async def checked(url: str, capsys, *, quick: bool = True, **options) -> tuple[int, list[str], list[str]]:
    """The exit status of a check, what was good, and what was not."""
    capsys.readouterr()
    code = await check.check(url, quick=quick, **options)
    lines = capsys.readouterr().out.splitlines()
    return code, *([line[8:] for line in lines if line.startswith(f"  {mark:4}  ")] for mark in ("ok", "BAD"))


GOOD = (
    "headers",
    "stream opens",
    "proxied by GRIP",
    "files are there",
    "browsers can post",
    "provisional",
    "official",
    "buffers",
    "repeated",
    "Last-Event-ID",
    "lastEventId",
    "reset",
)


@gen_test
async def test_all_is_well_with_a_standalone_server_and_a_keep_alive_is_seen(capsys):
    async with served(keep_alive=0.5) as server:
        code, good, bad = await checked(server.url, capsys, quick=False)
    assert (code, bad) == (0, [])
    assert len(good) == len(GOOD) + 1
    assert all(word in line for word, line in zip((*GOOD, "keep-alive"), good, strict=True))


@gen_test
async def test_checks_leave_one_room_behind_however_many_there_are_and_do_not_disturb_each_other(capsys):
    async with served() as server:
        assert (await checked(server.url, capsys))[0] == 0
        both = await asyncio.gather(check.check(server.url, quick=True), check.check(server.url, quick=True))
        assert both == [0, 0], capsys.readouterr().out
        rooms = [room.room for room in await server.engine.rooms()]
    assert rooms == ["flychat-check"]


@both_pushpins
@gen_test
async def test_all_is_well_behind_pushpin_and_the_app_itself_is_told_from_it(stage, capsys):
    port = free_port()
    pushpin = await stage.pushpin(port)
    app = await stage.app(port, [pushpin.grip_url])
    code, good, bad = await checked(pushpin.url.rstrip("/"), capsys)
    assert (code, bad) == (0, [])
    assert "proxied by GRIP: Pushpin holds the streams" in good
    code, _, bad = await checked(app.url.rstrip("/"), capsys)
    assert code == 1
    assert "501" in bad[0]
    assert "not proxied by GRIP" in bad[0]
    hidden = lambda head: head.replace(b"/_ready/", b"/rooms/_ready/")  # noqa: E731
    async with between(pushpin.url.rstrip("/"), request=hidden) as url:
        assert "proxied by GRIP" in (await checked(url, capsys))[1], "as the metrics show"


def without(*lines: bytes) -> Callable[[bytes], bytes]:
    return lambda head: b"\r\n".join(line for line in head.split(b"\r\n") if not line.startswith(lines))


def answered(status: bytes) -> Callable[[bytes], bytes]:
    return lambda head: head.replace(b"200 OK", status)


@gen_test
async def test_beneath_a_base_path_all_is_well_too_and_a_proxy_that_strips_it_is_found(capsys):
    async with started("--rate-limit", "0", "--base-path", "/chat") as (server, _):
        code, good, bad = await checked(server.url.rstrip("/"), capsys)
        assert (code, bad, len(good)) == (0, [], len(GOOD))
        root = server.url.removesuffix("/chat/")
        code, _, bad = await checked(root, capsys)
        assert code == 1
        assert "404" in bad[0]
        code, _, bad = await checked(f"{server.url}tea", capsys)  # what `tail` and `say` take
        assert code == 1
        assert bad[0].startswith("the server refuses: 404 ")
        assert "without a room" in bad[0]
    stripping = lambda head: head.replace(b" /chat/", b" /")  # noqa: E731
    async with served() as other, between(other.url, request=stripping) as url:
        code, _, bad = await checked(f"{url}/chat", capsys)
        assert code == 1
        assert "flychat has to be started with --base-path /chat, and a proxy to pass paths on" in bad[0]


VICES = {
    "holds all of a stream back": (
        {"head": lambda head: b"", "holds": True},
        "no answer in time, but to what is no stream: a proxy on the way buffers",
    ),
    "holds the stream back": ({"holds": True}, "a proxy on the way buffers the stream"),
    "holds the stream back for a while": ({"delay": 0.3}, "a proxy on the way buffers"),
    "strips headers": (
        {"head": without(b"Cache-Control", b"Vary")},
        "Cache-Control lacks no-cache; Cache-Control lacks no-transform; Vary lacks Accept",
    ),
    "adds headers": (
        {"head": lambda head: head.replace(b"\r\n", b"\r\nETag: x\r\nContent-Encoding: gzip\r\n", 1)},
        "there is an ETag; it is compressed",
    ),
    "drops the position": ({"request": without(b"Last-Event-ID")}, "resumption by the Last-Event-ID header"),
    "drops the query": (
        {"request": lambda head: re.sub(rb"\?\S*", b"", head)},
        "resumption by ?lastEventId=",
    ),
    "resets nothing": (
        {"request": lambda head: re.sub(rb"Last-Event-ID: 1000+", b"X: y", head)},
        "a position of another log was answered by stream-open, message",
    ),
    "answers with a page": (
        {"head": lambda head: head.replace(b"text/event-stream", b"text/html")},
        "not a stream of events",
    ),
    "refuses": ({"head": answered(b"403 Forbidden")}, "403"),
    "refuses posts": ({"plain": answered(b"403 Forbidden")}, "the server refuses: 403"),
    "refuses pages": ({"plain": answered(b"403 Forbidden")}, "flychat-check: 403 Forbidden"),
    "replaces Host": (
        {"request": lambda head: re.sub(rb"Host: \S+", b"Host: 127.0.0.1:3000", head)},
        "a proxy on the way replaces Host; it has to pass it on as it is, with the port",
    ),
    "strips the port": (
        {"request": lambda head: re.sub(rb"Host: (\S+):\d+", rb"Host: \1", head)},
        "browsers cannot post from the page, for flychat takes http://127.0.0.1:",
    ),
    "refuses what has an Origin": (
        {"request": lambda head: head.replace(b"POST /", b"POST /x/") if b"Origin" in head else head},
        "browsers cannot post from the page: 404 Not Found",
    ),
    "has no static files": (
        {"request": lambda head: head.replace(b"GET /static/", b"GET /assets/")},
        "chat.css ",
    ),
    "has other static files": (
        {"plain": lambda head: head.replace(b"text/javascript", b"text/plain")},
        "is said to be text/plain; charset=utf-8, not javascript",
    ),
    "has another page": (
        {"request": lambda head: head.replace(b"?user=check", b"")},
        "is not flychat's page of a room",
    ),
    "has a page that Python cannot read": (
        {"body": lambda data: re.sub(b"(?i)<!doctype html>", b"<![ x]>        ", data)},
        "is not flychat's page of a room",
    ),
    "has a page with links that are none": (
        {"body": lambda data: data.replace(b'"/static/', b'"//[atic/').replace(b'"/rooms/', b'"//x:y/s')},
        "is somewhere else",
    ),
    "has flychat in a folder": (
        {"body": lambda data: data.replace(b'"/rooms/', b'"/chats/')},
        "the page posts to /chats/flychat-check",
    ),
    "is overloaded": ({"head": answered(b"503 Service Unavailable")}, "503"),
}


@gen_test
@pytest.mark.parametrize("vice", VICES)
async def test_what_a_proxy_on_the_way_does_wrong_is_found(vice, capsys, monkeypatch):
    options, says = VICES[vice]
    if options.keys() & {"holds", "delay"}:  # what does not come is not waited for
        monkeypatch.setattr(check, "PATIENCE", 0.6)
        monkeypatch.setattr(check, "LATE", 0.1)
        monkeypatch.setattr(http, "REASON_SECONDS", 0.2)
        monkeypatch.setattr(http, "ANSWER_SECONDS", 2.0)
    async with served() as server, between(server.url, **options) as url:
        code, _, bad = await checked(url, capsys)
    assert code == 1
    assert any(says in line for line in bad), bad


@gen_test
async def test_a_proxy_that_cuts_idle_streams_is_found(capsys, monkeypatch):
    monkeypatch.setattr(check, "KEEP_ALIVE_SECONDS", -4.5)  # half a second in all
    async with served() as server:
        code, _, bad = await checked(server.url, capsys, quick=False)
    assert (code, len(bad)) == (1, 1)
    assert "no keep-alive" in bad[0]


@gen_test
async def test_a_private_room_is_checked_with_a_token_and_for_as_long_as_a_proxy_may_forget_it(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(check, "PASS_SECONDS", 1.0)
    async with started("--rate-limit", "0", *rights.options(tmp_path)) as (server, _):
        server.hub._keep_alive = 0.2
        url = server.url.rstrip("/")
        code, _, bad = await checked(url, capsys, room="staff")
        assert code == 1
        assert "401" in bad[0]
        code, good, bad = await checked(
            url, capsys, quick=False, room="staff", token=rights.token(name="Ann")
        )
        assert (code, bad, len(good)) == (0, [], len(GOOD) + 2)
        assert good[-1] == "a stream that a token has opened lasts 1.0 s"
        assert {message.sender for message in (await server.log.page("staff")).messages} == {"Ann"}

        monkeypatch.setattr(check, "PASS_SECONDS", 1000.0)
        ends = await check._idle(Checked(url, "staff", rights.token(life=2)))  # as where a proxy forgets
        assert 0.1 < ends[0] < ends[1]

        async def ended(at: Checked) -> tuple[float, float]:
            return ends

        monkeypatch.setattr(check, "_idle", ended)
        code, _, bad = await checked(url, capsys, quick=False, room="staff", token=rights.token(name="Ann"))
        assert (code, len(bad)) == (1, 1)
        assert "it does not say whose it is" in bad[0]


@gen_test
async def test_a_token_that_may_only_read_is_not_taken_for_a_proxy_that_replaces_host(tmp_path, capsys):
    async with started("--rate-limit", "0", *rights.options(tmp_path)) as (server, _):
        reader = rights.token(name="Ann", rooms={"staff": "r"})
        code, _, bad = await checked(server.url.rstrip("/"), capsys, room="staff", token=reader)
    assert code == 1
    assert [line for line in bad if "Host" in line] == []
    assert bad[0] == "browsers cannot post from the page: 403 the token does not give this right here"


@gen_test
async def test_where_only_the_room_of_checks_may_be_read_an_idle_stream_is_watched_there(tmp_path, capsys):
    """The other room, where nobody posts, is closed: that is nothing which cuts idle streams."""
    rules = ("--access", "*=", "--access", f"{check.ROOM}=rw")
    async with started("--rate-limit", "0", *rights.options(tmp_path, *rules)) as (server, _):
        server.hub._keep_alive = 0.2
        code, good, bad = await checked(server.url.rstrip("/"), capsys, quick=False)
    assert (code, bad, len(good)) == (0, [], len(GOOD) + 1)
    assert good[-1].startswith("a keep-alive came")


@gen_test
async def test_nobody_there_is_a_problem_too(capsys):
    code, _, bad = await checked(f"http://127.0.0.1:{free_port()}", capsys)
    assert code == 1
    assert "Connection refused" in bad[0]


# tail, say


def run(
    *arguments: str | bytes, cwd: Path, stdin: str | bytes = "", encoding: str = "utf-8", **environ: str
) -> tuple[int, str, str]:
    ended = subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(environ),
        input=stdin if isinstance(stdin, bytes) else stdin.encode(),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    return ended.returncode, ended.stdout.decode(encoding), ended.stderr.decode(encoding)


def test_a_name_that_is_empty_is_a_mistake_and_not_that_of_the_user_here(tmp_path):
    with running("--standalone", "--store", "sqlite::memory:", "--port", "0", cwd=tmp_path) as program:
        said = run("say", f"{program.url}/tea", "hi", "--from", "", cwd=tmp_path)
    assert said == (1, "", "flychat: 400 from: must have 1 to 64 characters\n")


def test_say_and_tail_as_scripts_use_them(tmp_path):
    with running("--standalone", "--port", "0", "--store", "sqlite::memory:", cwd=tmp_path) as program:
        room = f"{program.url}/Grüße"
        assert run("say", room, "Hello", "there", "--from", "ann", cwd=tmp_path) == (
            0,
            "1 ann: Hello there\n",
            "",
        )
        stdin = "one\n\ntwo\n"
        assert run("say", room, "--from", "bob", cwd=tmp_path, stdin=stdin) == (
            0,
            "2 bob: one\n3 bob: two\n",
            "",
        )
        assert run("say", "--from", "ann", room, "a", "--", "-b", cwd=tmp_path)[1] == "4 ann: a -b\n"
        assert run("tail", room, "--since", "1", "--count", "2", cwd=tmp_path) == (
            0,
            "2 bob: one\n3 bob: two\n",
            "",
        )
        code, out, _ = run("tail", room, "--json", "--count", "1", cwd=tmp_path)
        assert code == 0
        assert json.loads(out)["text"] == "Hello there"
        code, out, error = run("say", room, "x" * 4097, cwd=tmp_path)
        assert (code, out) == (1, "")
        assert error == "flychat: 400 text: must have 1 to 4096 characters\n"
        code, out, _ = run("check", program.url, "--quick", cwd=tmp_path)
        assert code == 0
        assert "not proxied by GRIP" in out


def test_tail_shows_what_was_removed_and_by_which_message():
    removed = Message(5, "ann", "", "d", "p", removed=12)
    assert talk._line(removed) == "5 ann: (removed)"
    removal = Message(12, "Mod", "(removed a message)", "d", "p", "mod", removes=(5, 9))
    assert talk._line(removal) == "12* Mod: (removed a message) [5] [9]"
    assert json.loads(talk._json_line(removal))["removes"] == [5, 9]
    assert json.loads(talk._json_line(removed))["removed"] == 12


def test_tail_shows_signals_where_they_are_asked_for():
    assert talk._line(Signal("tea", "ann", "typing", "d")) == "~ ann: typing"
    verified = Signal("tea", "ann", "typing", "d", {"to": "\x1b[31m"}, "u1")
    assert talk._line(verified) == '~* ann: typing {"to":"\\u001b[31m"}'
    here = Signal("tea", "", "here", "d", {"names": ["ann"], "more": 2})
    assert talk._line(here) == '~ here {"names":["ann"],"more":2}'
    assert json.loads(talk._json_line(here)) == {
        "event": "signal",
        "kind": "here",
        "date": "d",
        "data": here.data,
    }


def test_tail_shows_what_comes_until_it_is_interrupted(tmp_path):
    with running("--standalone", "--port", "0", "--store", "sqlite::memory:", cwd=tmp_path) as program:
        room = f"{program.url}/tea"
        seen = {"--since=0": [], "--official": []}
        tails = {
            option: subprocess.Popen(
                command("tail", room, option),
                cwd=tmp_path,
                env=environment(),
                stdout=subprocess.PIPE,
                text=True,
            )
            for option in seen
        }
        run("say", room, "first", "--from", "ann", cwd=tmp_path)
        for option, tail in tails.items():  # it was shown by all: they are connected
            while "1 ann: first\n" not in seen[option]:
                seen[option].append(tail.stdout.readline())
        run("say", room, "second", "--from", "ann", cwd=tmp_path)
        for option, tail in tails.items():
            while "2 ann: second\n" not in seen[option]:
                seen[option].append(tail.stdout.readline())
            tail.send_signal(signal.SIGINT)
            assert tail.wait(PATIENCE) == 1
            tail.stdout.close()
        assert "... ann: second\n" in seen["--since=0"]
        assert seen["--official"] == ["1 ann: first\n", "2 ann: second\n"]


def test_a_reader_that_goes_ends_tail(tmp_path):
    with running("--standalone", "--port", "0", "--store", "sqlite::memory:", cwd=tmp_path) as program:
        room = f"{program.url}/tea"
        tail = subprocess.Popen(
            command("tail", room, "--since=0"),
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        run("say", room, "first", cwd=tmp_path)
        tail.stdout.readline()
        tail.stdout.close()
        run("say", room, "second", cwd=tmp_path)
        assert tail.wait(PATIENCE) == 1
        assert tail.stderr.read() == ""
        tail.stderr.close()


STEERS = (
    "\x07\x1b\x7f\x9b\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
PEACEFUL = "\u3000\xa0\u200b\u200c\u200d\ufeff\xad\ufe0f \u0646\u0645\u06cc\u200c\u062e \u0c95\u200d \U0001f469\u200d\U0001f680"


def test_what_others_write_does_not_steer_the_terminal():
    event = dataclasses.replace(draft(), text="one\n2 bob: two\x1b[2J\u202e\t.")
    assert (
        talk._line(event)
        == "... ann: one\n    2 bob: two\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER} ."
    )
    for text in (talk._line(dataclasses.replace(draft(), text=STEERS)), terminal.told(STEERS)):
        assert text.removeprefix("... ann: ") == "\N{REPLACEMENT CHARACTER}" * len(STEERS)


def test_what_steers_nothing_is_printed_as_it_is():
    assert talk._line(dataclasses.replace(draft(), text=PEACEFUL)) == f"... ann: {PEACEFUL}"
    categories = {unicodedata.category(c) for c in map(chr, range(0x110000)) if terminal.printable(c) != c}
    assert categories == {"Cc", "Cf", "Zl", "Zp"}


def test_json_is_escaped_where_it_would_steer_the_terminal():
    line = talk._json_line(dataclasses.replace(draft(), text=STEERS + PEACEFUL))
    assert not set(STEERS) & set(line)
    assert PEACEFUL in line
    assert json.loads(line)["text"] == STEERS + PEACEFUL


@contextlib.contextmanager
def answering(*answers: bytes) -> Iterator[str]:
    """A server that gives each connection the next answer, the last one again and again."""
    with socket.create_server(("127.0.0.1", 0)) as listening, contextlib.ExitStack() as open_ones:

        def serve() -> None:
            for answer in itertools.chain(answers, itertools.repeat(answers[-1])):
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                open_ones.enter_context(connection)
                connection.recv(65536)
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)  # not closed: that would discard the answer

        serving = threading.Thread(target=serve)
        serving.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            serving.join()


def streamed(*events: Event) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    return head + b"".join(event.encode() for event in events)


def test_what_a_server_says_does_not_steer_the_terminal(tmp_path):
    """The text of an error, where it points to, the name of an event; on stdout, on stderr and in the log."""
    error = json.dumps({"error": {"code": f"x{STEERS}", "message": f"no{STEERS}\nflychat: all is well"}})
    refusal = f"HTTP/1.1 %d X\r\nLocation: http://ann:secret@h/\x9b\x1b[2J\r\nContent-Length: {len(error)}\r\n\r\n{error}"
    event = Event(f"x{STEERS}", "{}").encode()
    opened = streamed(Event("stream-open", "{}")) + event
    told = []
    for arguments, answers in {
        ("tail", "tea"): [opened, refusal % 403],
        ("tail", "tea", "--count=1"): [refusal % 503, refusal % 400],
        ("say", "tea", "hello"): [refusal % 403],
        ("check", "", "--quick"): [streamed() + event, refusal % 503, refusal % 403],
    }.items():
        encoded = [a if isinstance(a, bytes) else a.encode() for a in answers]
        with answering(*encoded) as url:
            name, room, *options = arguments
            code, out, err = run(name, f"{url}/{room}".rstrip("/"), *options, cwd=tmp_path)
        assert code == 1
        assert not set(STEERS) & set(out + err)
        assert "secret" not in out + err
        assert "\nflychat: all is well" not in out + err
        told.append(out + err)
    assert all("no\N{REPLACEMENT CHARACTER}" in each for each in told)


OTHERS = [b"", b"oops", b"7", b"{}", b"[" * 100_000, b'{"rooms": 7}']
OTHERS += [b"<html>Sign in", b"[]", b'{"rooms": {}, "user": "bob"}', b"\xff"]


@pytest.mark.parametrize("body", OTHERS, ids=lambda body: repr(body[:12]))
def test_what_is_asked_of_another_server_than_flychat_is_not_said_to_be_done(
    body, tmp_path, monkeypatch, capsys, caplog
):
    """Within this process, as it would be 50 programs."""
    (tmp_path / "secret").write_text(rights.KEY)
    monkeypatch.chdir(tmp_path)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with answering(answer) as url:
        for arguments in (
            ("revoke", "ann"),
            ("erase", "--user", "ann"),
            ("erase", "--user", "ann", "--room", "tea"),
            ("clear", "tea"),
            ("remove", "tea", "1"),
        ):
            code = tools.main([*arguments, "--url", url, "--secret", "secret"])
            said = "flychat: somebody else has answered in place of flychat\n"
            assert (code, *capsys.readouterr(), caplog.messages) == (1, "", said, [])


def test_who_asks_for_more_than_the_servers_limit_waits_and_gets_it_done(tmp_path):
    (tmp_path / "secret").write_text(rights.KEY)
    refusal = b"HTTP/1.1 429 X\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
    body = b'{"erased": 3, "next": null}'
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with answering(refusal, answer) as url:
        given = ("erase", "--user", "ann", "--room", "tea", "--url", url, "--secret", "secret")
        code, out, _ = run(*given, cwd=tmp_path)
    assert (code, out) == (0, "flychat: 3 messages of ann are erased\n")


def test_many_messages_are_removed_in_parts_and_each_once(tmp_path):
    (tmp_path / "secret").write_text(rights.KEY)
    ids = [str(id) for id in (*range(1, REMOVES + 2), 1, 2)]
    with answering(b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"id":7}') as url:
        done = run("remove", "tea", *ids, "--url", url, "--secret", "secret", cwd=tmp_path)
    assert done[:2] == (
        0,
        f"flychat: {REMOVES} messages are removed, by message 7\nflychat: 1 message is removed, by message 7\n",
    )


@gen_test
async def test_who_is_over_the_servers_limit_all_the_time_is_told_in_the_end(tmp_path, monkeypatch):
    (tmp_path / "secret").write_text(rights.KEY)
    monkeypatch.setattr(operator, "TRIES", 2)
    with (
        answering(b"HTTP/1.1 429 X\r\nContent-Length: 0\r\n\r\n") as url,
        pytest.raises(http.Later, match=r"^429 "),
    ):
        await operator.ask_server(url, str(tmp_path / "secret"), "/clearings/", "tea", {"room": "tea"})


@gen_test
async def test_a_list_of_all_rooms_may_be_longer_than_other_answers(tmp_path, monkeypatch):
    """Of 80,000 it is, and whoever makes them must not keep anybody from being erased."""
    (tmp_path / "secret").write_text(rights.KEY)
    monkeypatch.setattr(http, "ANSWER_BYTES", 8)
    with answering(b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"rooms": []}') as url:
        assert await erasing._through(url, str(tmp_path / "secret"), "ann", None, ()) == (0, 0)


@gen_test
async def test_what_a_server_takes_long_for_is_waited_for(tmp_path, monkeypatch):
    (tmp_path / "secret").write_text(rights.KEY)
    monkeypatch.setattr(http, "ANSWER_SECONDS", 1.0)  # for a connection too
    in_vain = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await in_vain.wait()
        body = b'{"lastEventId": 7, "rooms": []}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        asked = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", str(tmp_path / "secret")
        work = asyncio.gather(clearing._through(*asked, "tea"), erasing._through(*asked, "ann", None, ()))
        with pytest.raises(TimeoutError):
            await http.fetch(asked[0], {})
        in_vain.set()
        assert await work == [7, (0, 0)]


STDOUTS = {
    "utf-8": (
        {"LC_ALL": "C"},
        "Gr\xfc\xdfe \u2615 \U0001f680 \\udc9b",
    ),  # C is UTF-8, with raw bytes, to Python
    "ascii": ({"PYTHONIOENCODING": "ascii"}, "Gr\\u00fc\\u00dfe \\u2615 \\ud83d\\ude80 \\udc9b"),
    "latin-1": ({"PYTHONIOENCODING": "latin-1"}, "Gr\xfc\xdfe \\u2615 \\ud83d\\ude80 \\udc9b"),
}


@pytest.mark.parametrize("encoding", STDOUTS)
def test_what_stdout_cannot_take_is_escaped(tmp_path, encoding):
    text = "Gr\xfc\xdfe \u2615 \U0001f680 \udc9b"
    message = json.dumps(wire_json(Message(1, "ann", text, "", "")))
    environ, printed = STDOUTS[encoding]
    with answering(streamed(Event("message", message, id=1))) as url:
        tail = functools.partial(
            run, "tail", f"{url}/Gr\xfc\xdfe", "--count=1", cwd=tmp_path, encoding=encoding
        )
        assert tail(**environ) == (0, f"1 ann: {printed}\n", "")
        assert json.loads(tail("--json", **environ)[1])["text"] == text


def test_no_program_of_ours_fails_at_a_stdout_that_is_ascii(tmp_path):
    ascii, store = {"PYTHONIOENCODING": "ascii"}, "sqlite:Gr\xfc\xdfe.db"
    with running("--standalone", "--port", "0", "--store", store, cwd=tmp_path, environ=ascii) as program:
        assert "Gr\\u00fc\\u00dfe.db" in program.first_line
        assert run("say", f"{program.url}/tea", "\U0001f680 \u2028", cwd=tmp_path, **ascii)[0] == 0
    code, out, err = run("export", "tea", "--store", store, cwd=tmp_path, **ascii)
    assert (code, err, json.loads(out)["text"]) == (0, "", "\U0001f680 \u2028")


def test_what_is_exported_in_latin_1_is_json_and_can_be_imported(tmp_path):
    latin, store = {"PYTHONIOENCODING": "latin-1"}, ("--store", "sqlite:chat.db")
    with running("--standalone", "--port", "0", *store, cwd=tmp_path) as program:
        room = f"{program.url}/Gr%C3%BC%C3%9Fe"
        assert run("say", room, "Gr\xfc\xdfe \U0001f680", cwd=tmp_path)[0] == 0
        followed = run("tail", room, "--json", "--count", "1", cwd=tmp_path, **latin)[1]
        assert json.loads(followed)["text"] == "Gr\xfc\xdfe \U0001f680"
    (tmp_path / "all").write_text(run("export", "--all", *store, cwd=tmp_path, **latin)[1])
    assert run("import", "--all", "all", "--store", "sqlite:new.db", cwd=tmp_path)[0] == 0
    told = [run("export", "--all", "--store", f"sqlite:{name}.db", cwd=tmp_path) for name in ("chat", "new")]
    assert told[0] == told[1]


def test_bytes_that_are_no_utf8_end_say_after_what_came_before_them(tmp_path):
    with running("--standalone", "--port", "0", "--store", "sqlite::memory:", cwd=tmp_path) as program:
        room = f"{program.url}/tea"
        say = functools.partial(run, "say", room, "--from", "ann", cwd=tmp_path)
        assert say(stdin=b"one\n\ntwo\nGr\xfc\xdfe\nthree\n") == (
            1,
            "1 ann: one\n2 ann: two\n",
            "flychat: line 4: must be UTF-8\n",
        )
        assert say(stdin="\ufeffthree\r\nGr\xfc\xdfe\n\ufeff".encode(), PYTHONIOENCODING="ascii")[1] == (
            "3 ann: three\n4 ann: Gr\\u00fc\\u00dfe\n5 ann: \\ufeff\n"
        )
        page = json.loads(urllib.request.urlopen(f"{program.url}/rooms/tea/messages/").read())
        assert [each["text"] for each in page["messages"]] == ["one", "two", "three", "Gr\xfc\xdfe", "\ufeff"]
        code, out, err = say(stdin=b"six\nsev\x1ben\n")
        assert (code, out) == (1, "6 ann: six\n")
        assert re.fullmatch("flychat: line 2: 400 text: must not .*\n", err)
        code, out, err = run(b"say", room.encode(), b"\xff", cwd=tmp_path)
        assert (code, out) == (2, "")
        assert "must be UTF-8" in err


def test_say_reads_a_long_line_no_further_than_a_message_can_be(tmp_path):
    with running("--standalone", "--port", "0", "--store", "sqlite::memory:", cwd=tmp_path) as program:
        text = "\U0001f680" * 4096
        say = functools.partial(run, "say", f"{program.url}/tea", "--from", "ann", cwd=tmp_path)
        assert say(stdin=f"\ufeff{text}\r\n")[1] == f"1 ann: {text}\n"
        with subprocess.Popen(
            command("say", f"{program.url}/tea", "--from", "ann"),
            cwd=tmp_path,
            env=environment(),
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as saying:
            with contextlib.suppress(BrokenPipeError):
                for _ in range(1600):
                    saying.stdin.write(b"x" * 65_536)
                pytest.fail("it has read 100 MB")
            with contextlib.suppress(BrokenPipeError):
                saying.stdin.close()
            assert saying.wait(PATIENCE) == 1
            assert saying.stderr.read() == b"flychat: line 1: must have at most 16384 bytes\n"


def test_ctrl_c_ends_say_while_it_waits_for_its_input(tmp_path):
    said = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with (
        running("--standalone", "--port", "0", "--store", "sqlite::memory:", cwd=tmp_path) as program,
        subprocess.Popen(
            command("say", f"{program.url}/tea", "--from", "ann"), cwd=tmp_path, env=environment(), **said
        ) as saying,
    ):
        saying.stdin.write(b"one\n")
        saying.stdin.flush()
        assert saying.stdout.readline() == b"1 ann: one\n"
        saying.send_signal(signal.SIGINT)
        assert saying.wait(PATIENCE) == 1
        assert saying.stderr.read() == b""


@gen_test
async def test_say_carries_the_end_of_the_room_and_asks_for_it_once(tmp_path):
    answers = {b"GET": {"messages": [], "lastEventId": 7}, b"POST": wire_json(Message(9, "ann", "a", "", ""))}
    asked = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        body = await reader.readexactly(int(length[1]) if length else 0)
        asked.append((head.split()[0], json.loads(body or b"{}").get("lastEventId")))
        answer = json.dumps(answers[head.split()[0]]).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        room = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/tea"
        said = await asyncio.to_thread(run, "say", room, "--from", "ann", cwd=tmp_path, stdin="a\nb\n")
    assert said == (0, "9 ann: a\n" * 2, "")
    assert asked == [(b"GET", None), (b"POST", 7), (b"POST", 9)]


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_tail_ends_when_its_reader_goes_though_the_room_is_quiet(tmp_path, kind):
    reading, writing = os.pipe() if kind == "pipe" else (end.detach() for end in socket.socketpair())
    with running("--standalone", "--port", "0", "--store", "sqlite::memory:", cwd=tmp_path) as program:
        room = f"{program.url}/tea"
        run("say", room, "--from", "ann", "first", cwd=tmp_path)
        with subprocess.Popen(
            command("tail", room), cwd=tmp_path, env=environment(), stdout=writing, stderr=subprocess.PIPE
        ) as tail:
            os.close(writing)
            with open(reading, "rb") as reader:
                assert reader.readline() == b"1 ann: first\n"
            assert tail.wait(PATIENCE) == 1
            assert tail.stderr.read() == b""


def test_tail_does_not_take_what_is_typed_for_a_reader_that_goes(tmp_path):
    """A terminal is read and written through one device."""
    with running("--standalone", "--port", "0", "--store", "sqlite::memory:", cwd=tmp_path) as program:
        room = f"{program.url}/tea"
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            command("tail", room), cwd=tmp_path, env=environment(), stdin=theirs, stdout=theirs, stderr=theirs
        ) as tail:
            os.close(theirs)
            os.write(ours, b"typed\n")
            run("say", room, "--from", "ann", "first", cwd=tmp_path)
            with open(ours, "rb", buffering=0) as screen:
                shown = b""
                while b"1 ann: first" not in shown:
                    shown += screen.read(1024)
                tail.send_signal(signal.SIGINT)
                assert tail.wait(PATIENCE) == 1


TOKENS = {
    "in a variable": ({"FLYCHAT_TOKEN": "the.token"}, (), "Bearer the.token"),
    "in a file": ({}, ("--token-file", "token"), "Bearer of.the.file"),
    "the file goes first": ({"FLYCHAT_TOKEN": "x"}, ("--token-file=token",), "Bearer of.the.file"),
    "none": ({"FLYCHAT_TOKEN": ""}, (), None),
}


@pytest.mark.parametrize("where", TOKENS)
@gen_test
async def test_tail_and_say_take_their_token_from_where_nobody_else_reads_it(tmp_path, where):
    environ, options, expected = TOKENS[where]
    (tmp_path / "token").write_text("of.the.file\n")
    of_ann = Message(9, "Ann", "hi", "", "", user="ann" if expected else None)
    event = Event("message", json.dumps(wire_json(of_ann)), id=9).encode()
    gone = Event("retraction", '{"provisionalId":"p","user":"ann"}').encode()
    asked = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"Content-Length: (\d+)", head)
        body = json.loads(await reader.readexactly(int(length[1])) if length else "{}")
        bearer = re.search(r"Authorization: (.*)\r\n", head)
        asked.append((bearer and bearer[1], body.get("from")))
        if "text/event-stream" in head:
            answer, kind = gone + event, "text/event-stream"
        else:
            value = wire_json(of_ann) if body else {"messages": [], "lastEventId": 8}
            answer, kind = json.dumps(value).encode(), "application/json"
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n".encode())
        writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(answer), answer))
        writer.close()

    mark = "*" if expected else ""
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        room = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/tea"
        in_time = functools.partial(asyncio.to_thread, run, cwd=tmp_path, **environ)
        assert await in_time("say", room, "hi", *options) == (0, f"9{mark} Ann: hi\n", "")
        assert (await in_time("tail", room, "--count=1", *options))[1].endswith(f"\n9{mark} Ann: hi\n")
        told = (await in_time("tail", room, "--count=1", "--json", *options))[1].splitlines()
    assert json.loads(told[0])["user"] == "ann"
    assert json.loads(told[1]).get("user") == of_ann.user
    assert {bearer for bearer, _ in asked} == {expected}
    assert (asked[1][1] is None) == bool(expected), "a token says the name"


def test_a_token_that_is_not_there_is_said_before_anything_is_asked(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "other").write_bytes(b"\xff\xfe")
    for file, why in (
        ("nothing", "cannot be read: No such file"),
        (".", "Is a directory"),
        ("empty", "is empty"),
        ("other", "one word"),
    ):
        code, out, err = run("tail", "http://127.0.0.1:1/tea", "--token-file", file, cwd=tmp_path)
        assert (code, out) == (2, "")
        assert err.startswith("flychat: ")
        assert why in err
    code, _, err = run("say", "http://127.0.0.1:1/tea", "a", cwd=tmp_path, FLYCHAT_TOKEN="two words")
    assert (code, err) == (2, "flychat: the token must be one word of ASCII\n")
    assert "two words" not in err
    assert run("say", "http://127.0.0.1:1/tea", "a", "--token", "secret", cwd=tmp_path)[0] == 2


@gen_test
async def test_a_token_file_that_is_empty_while_it_is_written_anew_is_read_again(tmp_path):
    """`flychat token ... > FILE` empties it first, and writes half a second later."""
    file = tmp_path / "token"
    file.write_text("first\n")
    token = given.token_given(str(file))
    file.write_text("")

    async def written_when_it_was_asked_for() -> str:
        try:
            return await token()
        finally:
            file.write_text("second\n")

    async with served() as server:
        message = await client.post(server.url, "tea", "ann", "hi", token=written_when_it_was_asked_for)
    assert message.id == 1
    assert await token() == "second"


@gen_test
async def test_a_terminal_at_which_somebody_types_is_looked_at_once(monkeypatch):
    poll, looked = select.poll, []
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(select, "poll", lambda: looked.append(1) or poll())
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(fileno=ours.fileno))
    with ours, theirs, terminal.while_read():
        theirs.send(b"x")
        while not looked:  # noqa: ASYNC110
            await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)
    assert len(looked) == 1


def test_tail_of_no_message_prints_none(tmp_path):
    assert run("tail", "http://127.0.0.1:1/tea", "--count", "0", cwd=tmp_path) == (0, "", "")


def test_a_full_disk_is_one_line(tmp_path):
    with (
        answering(
            streamed(Event("message", json.dumps(wire_json(Message(1, "ann", "a", "", ""))), id=1))
        ) as url,
        open("/dev/full", "w") as full,
    ):
        ended = subprocess.run(
            command("tail", f"{url}/tea"),
            cwd=tmp_path,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert (ended.returncode, ended.stderr) == (1, b"flychat: [Errno 28] No space left on device\n")


def test_an_origin_is_as_browsers_send_it():
    for page, origin in {
        "http://x:80/tea": "http://x",
        "https://x:443/tea": "https://x",
        "https://x:80/tea": "https://x:80",
        "http://[::1]:3000/tea": "http://[::1]:3000",
    }.items():
        assert check_page._origin(page) == origin


def test_a_room_that_cannot_be_is_not_checked(tmp_path):
    for room in (b"\xff", b"a/b", b""):
        code, out, err = run(b"check", b"http://127.0.0.1:1", b"--quick", b"--room", room, cwd=tmp_path)
        assert (code, out) == (2, "")
        assert err.endswith("argument --room: no room can have this name\n")


def test_a_password_is_never_printed(tmp_path):
    with running("--standalone", "--port", "0", "--store", "sqlite::memory:", cwd=tmp_path) as program:
        secret = program.url.replace("//", "//ann:s3cret@")
        proxy = {"HTTP_PROXY": secret}
        for arguments in (
            ("check", secret, "--quick"),
            ("check", "http://ann:s3cret@127.0.0.1:1", "--quick"),
            ("check", "http://ann:s3cret@h", "http://ann:s3cret@h"),
            ("tail", "http://ann:s3cret@h:x/tea"),
            ("say", "http://ann:s3cret@a..b/tea", "hello"),
        ):
            for environ in ({}, proxy):
                _, out, err = run(*arguments, cwd=tmp_path, **environ)
                assert out + err
                assert "s3cret" not in out + err
        out = run("check", "http://h", "--quick", cwd=tmp_path, **proxy)[1]
        assert f", through the proxy {program.url}" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ("check",),
        ("check", "ftp://x"),
        ("check", "http://"),
        ("check", "http://x:y/"),
        ("check", "http://x/?a=b"),
        ("tail", "tea"),
        ("tail", "http://x"),
        ("tail", "http://x/healthz"),
        ("tail", "http://x/%00"),
        ("tail", "http://x/%ff"),
        ("tail", "http://x/tea", "--since", "-1"),
        ("tail", "http://x/tea", "--count", "many"),
        ("say", "http://x/tea", "--form", "ann"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_bad_usage(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        tools.main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: ")


@pytest.mark.parametrize("read", [given.as_url, given.as_place])
def test_an_address_that_cannot_be_taken_apart_is_told_as_any_other(read):
    with pytest.raises(argparse.ArgumentTypeError, match="must be like https://chat"):
        read("http://[::1/tea")


def test_a_place_is_what_the_browser_shows():
    for place, meant in {
        "http://x/tea": ("http://x", "tea"),
        "https://x:1/chat/tea/?user=ann": ("https://x:1/chat", "tea"),
        "http://x/tea#12": ("http://x", "tea"),  # the link to a message
        "http://x/staff#invite=e30.e30.e30": ("http://x", "staff"),  # to no server is this told
        "http://x/c%23": ("http://x", "c#"),
        "http://[::1]:3000/Gr%C3%BC%C3%9Fe": ("http://[::1]:3000", "Grüße"),
    }.items():
        assert given.as_place(place) == meant
    with pytest.raises(argparse.ArgumentTypeError, match="no room"):
        given.as_place("http://x/a%2Fb%20c")
    assert given.as_url("http://x:1/chat/") == "http://x:1/chat", "paths are put behind it"


def test_the_help_of_the_server_names_the_commands_and_neither_imports_the_other(tmp_path):
    code, out, _ = run("--help", cwd=tmp_path)
    assert code == 0
    named = " ".join(out.split()).rpartition("Also: python -m flychat ")[2]
    names = [part.split()[0] for part in named.replace(" (see their --help).", "").split(", ")]
    assert sorted(names) == sorted(tools.COMMANDS.keys() - {"create-table"})
    for arguments, absent in (
        (("tail", "--help"), ("tornado", "jinja2", "prometheus_client", "flychat.server")),
        (("--help",), ("flychat.client", "flychat.tools.talk")),
    ):
        ended = subprocess.run(
            command(*arguments, python=(sys.executable, "-X", "importtime")),
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
        assert "flychat.sse" in imported or "flychat.config" in imported
        assert not imported & set(absent)


def guide() -> str:
    return (ROOT / "docs" / "operating.md").read_text()


def test_the_commands_of_the_operating_guide_are_understood():
    blocks = re.findall(
        r"(?ms)^```\w*\n(.*?)^```", guide()
    )  # a line of the text may begin with the name, too
    lines = re.findall(r"(?m)^flychat (.*)$", "\n".join(blocks))
    assert {line.split()[0] for line in lines} >= {"--create-table", "check", "tail", "say"}
    for line in lines:
        arguments = shlex.split(line.partition(" > ")[0])
        if asked := tools.asked_for(arguments, {}):
            tools.read(asked)
        else:
            Config.read(arguments, {})


def test_the_bot_of_the_operating_guide_answers(tmp_path):
    (code,) = re.findall(r"(?s)```python\n(.*?)```", guide())
    with running("--standalone", "--port", "0", "--store", "sqlite::memory:", cwd=tmp_path) as program:
        room = f"{program.url}/tea"
        run("say", room, "before", "--from", "ann", cwd=tmp_path)
        code = code.replace("https://chat.example.org", program.url)
        # it tells when it has opened its stream: what was said before is not for it
        code = code.replace("as events:\n", "as events:\n        print('open', flush=True)\n", 1)
        with subprocess.Popen(
            (sys.executable, "-c", code), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True
        ) as bot:
            assert bot.stdout.readline() == "open\n"
            run("say", room, "now", "--from", "ann", cwd=tmp_path)
            assert run("tail", room, "--since", "2", "--count", "1", cwd=tmp_path)[1] == "3 echo: now\n"
            bot.kill()
