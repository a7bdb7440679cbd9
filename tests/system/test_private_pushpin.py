"""--with-pushpin, as a new user meets it; and that nothing of it stays behind, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
from configparser import RawConfigParser
from urllib.parse import urlsplit

import pytest

from flychat import private_pushpin
from flychat.errors import Misconfigured
from flychat.private_pushpin import PushpinChild, configuration_for, version
from tests.conftest import both_pushpins, need, need_ipv6
from tests.proof.oracle import WAIT, fetch, post
from tests.support.ports import free_port
from tests.support.program import PATIENCE
from tests.support.pushpin_proxy import DEPLOY, App, Stage, eventually, new_room

gen_test = pytest.mark.gen_test
PARTS = {"python", "pushpin", "connmgr", "proxy", "handler"}  # the first is the watcher


async def with_pushpin(stage: Stage, port: int = 0, base_path: str = "") -> App:
    """flychat as in the README. `url` is the one that it says."""
    log = stage.directory / "app.log"
    store = f"sqlite:{stage.directory / 'demo.db'}"
    arguments = ["--grip", "--with-pushpin", "--store", store, "--pushpin-port", str(port)]
    arguments += ["--base-path", base_path]
    app = App(free_port(), arguments, stage.path(), log)
    await app.start()
    stage.ending.push_async_callback(app.kill)
    app.url = re.match(rf"flychat: open (http://127.0.0.1:\d+{base_path}/)  \(grip; ", app.greeting)[1]
    return app


def pushpins(app: App) -> dict[int, str]:
    """The processes of its Pushpin, by name: those of the sessions that its children lead."""
    listed = subprocess.check_output(["ps", "-A", "-o", "pid=,ppid=,sid=,comm="], text=True)
    processes = [line.split(None, 3) for line in listed.splitlines()]
    sessions = {pid for pid, parent, _, _ in processes if int(parent) == app.process.pid}
    return {int(pid): name for pid, _, session, name in processes if session in sessions}


def gone(pids) -> bool:
    return not any(os.path.exists(f"/proc/{pid}") for pid in pids)


def is_free(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", urlsplit(url).port)) != 0


def parts(pids: dict[int, str]) -> set[str]:
    """What it consists of. Since 1.40 condure and zurl are one program, connmgr."""
    names = {name.removeprefix("pushpin-") for name in pids.values()}
    return {"connmgr" if name in ("condure", "zurl") else name for name in names}


@both_pushpins
@gen_test
async def test_no_path_leads_to_the_control_port(stage):
    """What is in a path is read twice, by Pushpin, which passes `..` on, and by the port at the end of the route."""
    pushpin = await stage.pushpin(free_port())
    begins = [
        line.split()[0] for line in (pushpin.directory / "routes").read_text().splitlines() if line[:1] == "*"
    ]
    paths = ["", *(route.partition("path_beg=")[2] for route in begins)]
    for path in paths:
        for up in ("", "/..", "/../..", "/../../..", "/%2e%2e/%2e%2e"):
            for end in ("/publish/", "/recover/"):
                body = b'{"items": []}'
                status, _, answer = await fetch(
                    pushpin.url.rstrip("/"), f"{path}{up}{end}", "POST", body=body
                )
                assert (status, answer) != (200, b"Published\n"), (path, up, end)
                assert (status, answer) != (200, b"Updated\n"), (path, up, end)


@both_pushpins
@gen_test
@pytest.mark.parametrize("base_path", ["", "/chat"])
async def test_the_command_of_the_readme_gives_a_page_and_two_windows_that_chat(stage, base_path):
    app = await with_pushpin(stage, base_path=base_path)
    room = new_room()
    crowd = await stage.crowd(app.url, room, 2)  # at once: what is printed is true
    assert (await fetch(app.url, f"/{room.replace(' ', '%20')}?user=ann"))[0] == 200
    assert (await post(app.url, room, "hello"))[0] == 200
    await crowd.until_id(1)
    crowd.check(1)
    direct = f"http://127.0.0.1:{app.port}{base_path}/"
    banner = (await fetch(direct, "/x?user=ann"))[2].decode()
    assert app.url in banner
    pids = pushpins(app)
    assert parts(pids) == PARTS
    assert await app.kill(signal.SIGTERM) == 0
    await eventually(lambda: gone(pids))  # killed by then, if they had not ended
    assert is_free(app.url)


@both_pushpins
@gen_test
async def test_killing_the_app_takes_all_of_pushpin_with_it_and_the_port_is_free_again(stage):
    app = await with_pushpin(stage)
    pids, port = pushpins(app), urlsplit(app.url).port
    assert parts(pids) == PARTS
    temporary = [path for path in os.listdir("/tmp") if path.startswith("flychat-")]
    await app.kill()
    await eventually(lambda: gone(pids))
    again = await with_pushpin(stage, port)
    assert urlsplit(again.url).port == port
    await again.kill(signal.SIGTERM)
    assert set(temporary) > {path for path in os.listdir("/tmp") if path in temporary}


@pytest.mark.parametrize("victim", sorted(PARTS))
@both_pushpins
@gen_test
async def test_when_pushpin_dies_the_app_ends_and_says_so(stage, victim):
    """Also if its runner is killed, which leaves orphans, or the watcher (python), which leaves all."""
    app = await with_pushpin(stage)
    pids = pushpins(app)
    os.kill(min(pid for pid in pids if parts({pid: pids[pid]}) == {victim}), signal.SIGKILL)
    assert await asyncio.wait_for(app.process.wait(), WAIT) == 1
    assert "Pushpin has ended" in app.log()
    await eventually(lambda: gone(pids))


@both_pushpins
@gen_test
async def test_a_pushpin_that_cannot_start_is_one_line_that_says_why(stage, tmp_path):
    (tmp_path / "routes").write_text((DEPLOY / "routes").read_text())
    for file in DEPLOY.glob("pushpin*.conf"):
        broken = file.read_text().replace("rundir=run", "rundir=/proc/nonsense")
        (tmp_path / file.name).write_text(broken)
    with pytest.raises(Misconfigured) as error:
        await PushpinChild.start(tmp_path, ["127.0.0.1:1"], program=stage.program)
    assert "nonsense" in str(error.value)
    assert "\n" not in str(error.value)


@gen_test
async def test_a_control_port_that_is_taken_before_pushpin_takes_it_is_replaced_by_another(
    stage, monkeypatch
):
    """Pushpin itself would not say so, and what is published would go to the other process."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        found = [free_port(), taken, free_port(), free_port()]

        def given(host: str, port: int) -> int:
            seconds = 1.0 if found[0] == taken else 60.0  # the first one is waited for in vain
            monkeypatch.setattr(private_pushpin, "STARTING_SECONDS", seconds)
            return found.pop(0)

        monkeypatch.setattr(private_pushpin, "_free_port", given)
        pushpin = await PushpinChild.start(DEPLOY, ["127.0.0.1:1"], program=stage.program)
        stage.ending.push_async_callback(pushpin.stop)
    assert f":{taken}/" not in pushpin.grip_url
    assert found == []


@pytest.mark.parametrize(
    ("said", "file"),
    [
        ("pushpin 1.30.2", "pushpin-1.36.conf"),
        ("pushpin 1.36.0", "pushpin-1.36.conf"),
        ("pushpin 1.39.1", "pushpin-1.36.conf"),
        ("pushpin 1.40.0", "pushpin.conf"),
        ("pushpin 1.41.0", "pushpin.conf"),
        ("pushpin 1.100.0-dev", "pushpin.conf"),
        ("pushpin 2.0.0", "pushpin.conf"),
        ("a build of our own", "pushpin.conf"),
    ],
)
@gen_test
async def test_the_configuration_is_chosen_by_what_the_program_says_of_its_release(said, file, tmp_path):
    program = tmp_path / "pushpin"
    program.write_text(f"#!/bin/sh\necho {said}\n")
    program.chmod(0o700)
    assert configuration_for(await version(str(program))) == file
    assert (DEPLOY / file).is_file()


def settings(name: str) -> dict[str, dict[str, str]]:
    parser = RawConfigParser()
    parser.read_string((DEPLOY / name).read_text())
    return {section: dict(parser[section]) for section in parser.sections()}


def test_the_two_configurations_differ_in_what_the_releases_are_made_of_and_nothing_else():
    new, old = settings("pushpin.conf"), settings("pushpin-1.36.conf")
    assert new["runner"].pop("services") == "connmgr,proxy,handler"
    assert old["runner"].pop("services") == "condure,zurl,pushpin-proxy,pushpin-handler"
    assert {name for name in old["proxy"] if name.startswith("zurl_")} == {
        *("zurl_out_specs", "zurl_out_stream_specs", "zurl_in_specs")
    }
    old["proxy"] = {name: value for name, value in old["proxy"].items() if not name.startswith("zurl_")}
    assert old == new


@pytest.mark.parametrize("content", ["#!/nonexistent/interpreter\n", "no program"])
@gen_test
async def test_a_program_that_cannot_be_run_is_one_line_that_says_so(content, tmp_path):
    program = tmp_path / "pushpin"
    program.write_text(content)
    program.chmod(0o700)
    with pytest.raises(Misconfigured, match=f"^{program} cannot be run: [^\n]*$"):
        await PushpinChild.start(DEPLOY, ["127.0.0.1:1"], program=str(program))


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess:
    import sys

    return subprocess.run(
        [sys.executable, "-m", "flychat", *arguments],
        env={"PATH": os.environ["PATH"], **environ},
        cwd=DEPLOY.parent,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_without_the_program_one_line_says_how_to_install_it():
    done = run("--grip", "--with-pushpin", "--store", "sqlite::memory:", "--port", "0", PATH="/nonexistent")
    assert done.returncode == 2
    assert "apt-get install pushpin" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@both_pushpins
@gen_test
@pytest.mark.parametrize("host", ["::1", "::"])
async def test_it_listens_where_flychat_is_told_to_also_on_ipv6(stage, host):
    need_ipv6()
    log = stage.directory / "app.log"
    arguments = [
        "--grip",
        "--with-pushpin",
        "--store",
        "sqlite::memory:",
        "--pushpin-port",
        "0",
        "--host",
        host,
    ]
    app = App(free_port(), arguments, stage.path(), log)
    if host == "::1" and configuration_for(await version(stage.program)) != "pushpin.conf":
        with pytest.raises(AssertionError, match="cannot connect by IPv6"):
            await app.start()
        await app.kill()
        return
    await app.start()
    stage.ending.push_async_callback(app.kill)
    url = re.search(r"http://\[::1\]:\d+/", app.greeting)[0]
    room = new_room()
    crowd = await stage.crowd(url, room, 2)
    assert (await post(url, room, "hello", headers={"Origin": url.rstrip("/")}))[0] == 200, "as from its page"
    await crowd.until_id(1)
    if host == "::":
        assert (await fetch(url.replace("[::1]", "127.0.0.1"), "/healthz"))[0] == 200


def test_a_taken_port_is_said():
    need("pushpin")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        options = ["--with-pushpin", "--store", "sqlite::memory:", "--port", "0", "--pushpin-port", port]
        done = run("--grip", *options)
    assert done.returncode == 2
    assert port in done.stderr
    assert "--pushpin-port" in done.stderr
    assert done.stderr.count("\n") == 1


@gen_test
async def test_it_serves_only_when_a_request_has_come_through_it(monkeypatch):
    """One that Pushpin 1.36 is given before its zurl works is never answered: another is sent."""
    requests = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):  # a client that has waited for too long, and leaves
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            if len(requests) > 1:
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            await reader.read()
        writer.close()

    async def arrived(*_: object) -> None:
        """As all is well with the control port."""

    monkeypatch.setattr(private_pushpin, "_arrives", arrived)
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        await private_pushpin._serving(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", 1)
    assert len(requests) >= 2
