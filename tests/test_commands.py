"""What the terminal has: check finds what is wrong with a deployment, tail and say are good for scripts."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from flychat import commands, maintenance
from flychat.__main__ import COMMANDS
from flychat.client import http
from flychat.config import Config
from tests.conftest import both_pushpins
from tests.program import ROOT, START_SECONDS, command, environment, running
from tests.pushpin_proxy import free_port
from tests.served import draft, served

gen_test = pytest.mark.gen_test(timeout=40)


@contextlib.asynccontextmanager
async def between(
    url: str,
    *,
    request: Callable[[bytes], bytes] = bytes,
    head: Callable[[bytes], bytes] = bytes,
    plain: Callable[[bytes], bytes] = bytes,
    delay: float = 0,
    holds: bool = False,
) -> AsyncIterator[str]:
    """A proxy of the bad kind: edits the heads of streams and of the others (`plain`), delays a stream, or `holds` all of its body back."""
    port = int(url.rpartition(":")[2])
    writers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, to_upstream = await asyncio.open_connection("127.0.0.1", port)
        writers.extend((writer, to_upstream))
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
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


async def checked(url: str, capsys, *, quick: bool = True) -> tuple[int, list[str], list[str]]:
    """The exit status of a check, what was good, and what was not."""
    capsys.readouterr()
    code = await commands.check(url, quick=quick)
    lines = capsys.readouterr().out.splitlines()
    return code, *([line[8:] for line in lines if line.startswith(f"  {mark:4}  ")] for mark in ("ok", "BAD"))


GOOD = (
    "headers",
    "stream opens",
    "proxied by GRIP",
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
    "is overloaded": ({"head": answered(b"503 Service Unavailable")}, "503"),
}


@gen_test
@pytest.mark.parametrize("vice", VICES)
async def test_what_a_proxy_on_the_way_does_wrong_is_found(vice, capsys, monkeypatch):
    monkeypatch.setattr(commands, "PATIENCE", 0.6)
    monkeypatch.setattr(commands, "LATE", 0.1)
    monkeypatch.setattr(http, "REASON_SECONDS", 0.2)
    monkeypatch.setattr(http, "ANSWER_SECONDS", 2.0)
    options, says = VICES[vice]
    async with served() as server, between(server.url, **options) as url:
        code, _, bad = await checked(url, capsys)
    assert code == 1
    assert any(says in line for line in bad), bad


@gen_test
async def test_a_proxy_that_cuts_idle_streams_is_found(capsys, monkeypatch):
    monkeypatch.setattr(commands, "KEEP_ALIVE_SECONDS", -4.5)  # half a second in all
    async with served() as server:
        code, _, bad = await checked(server.url, capsys, quick=False)
    assert (code, len(bad)) == (1, 1)
    assert "no keep-alive" in bad[0]


@gen_test
async def test_nobody_there_is_a_problem_too(capsys):
    code, _, bad = await checked(f"http://127.0.0.1:{free_port()}", capsys)
    assert code == 1
    assert "Connect call failed" in bad[0]


# tail, say


def run(*arguments: str, cwd: Path, stdin: str = "") -> tuple[int, str, str]:
    ended = subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


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
            assert tail.wait(START_SECONDS) == 1
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
        assert tail.wait(START_SECONDS) == 1
        assert tail.stderr.read() == ""
        tail.stderr.close()


def test_what_others_write_does_not_steer_the_terminal():
    event = dataclasses.replace(draft(), text="one\n2 bob: two\x1b[2J\u202e\t.")
    assert (
        commands._line(event)
        == "... ann: one\n    2 bob: two\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER} ."
    )


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
        commands.main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: ")


def test_a_place_is_what_the_browser_shows():
    for place, meant in {
        "http://x/tea": ("http://x", "tea"),
        "https://x:1/chat/tea/?user=ann": ("https://x:1/chat", "tea"),
        "http://[::1]:3000/Gr%C3%BC%C3%9Fe": ("http://[::1]:3000", "Grüße"),
        "http://x/a%2Fb%20c": None,
    }.items():
        if meant:
            assert commands._place(place) == meant


def test_the_help_of_the_server_names_the_commands_and_neither_imports_the_other(tmp_path):
    code, out, _ = run("--help", cwd=tmp_path)
    assert code == 0
    assert all(f" {name} URL" in " ".join(out.split()) for name in ("check", "tail", "say"))
    for arguments, absent in (
        (("tail", "--help"), ("tornado", "jinja2", "prometheus_client", "flychat.server")),
        (("--help",), ("flychat.client", "flychat.commands")),
    ):
        ended = subprocess.run(
            command(*arguments, python=(sys.executable, "-X", "importtime")),
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=True,
        )
        imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
        assert "flychat.sse" in imported or "flychat.config" in imported
        assert not imported & set(absent)


def guide() -> str:
    return (ROOT / "docs" / "operating.md").read_text()


def test_the_commands_of_the_operating_guide_are_understood():
    lines = re.findall(r"(?m)^python -m flychat (.*)$", guide())
    assert {line.split()[0] for line in lines} >= {"--create-table", "check", "tail", "say"}
    for line in lines:
        arguments = shlex.split(line.partition(" > ")[0])
        if arguments[0] in ("export", "clear"):
            maintenance._parser().parse_args(arguments)
        elif arguments[0] in COMMANDS:
            commands._parser(arguments[0]).parse_intermixed_args(arguments[1:])
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
