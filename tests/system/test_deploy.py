"""What is in deploy/: run where it can be run here, and else read.

nginx and Caddy run with the files as they are, but for addresses and certificates, in front of both modes.
"""

from __future__ import annotations

import ast
import asyncio
import base64
import contextlib
import hashlib
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from configparser import RawConfigParser
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from prometheus_client import REGISTRY, parser

from flychat import health
from flychat.client import http
from flychat.config import Config, table_asked_for
from flychat.private_pushpin import PushpinChild, configuration_for, version
from flychat.tools import check
from tests.conftest import both_pushpins, dynamo_environment, need
from tests.proof.oracle import fetch, post
from tests.support.ports import free_port
from tests.support.program import PATIENCE, Program, command, environment, running
from tests.support.pushpin_proxy import DEPLOY, KEY, ROOT, Stage, eventually, new_room
from tests.support.served import WAIT, served

gen_test = pytest.mark.gen_test
OAUTH2_PROXY = os.environ.get("FLYCHAT_TEST_OAUTH2", "")


def text(name: str) -> str:
    return (DEPLOY / name).read_text()


def beneath(base_path: str, name: str) -> str:
    """A file of deploy/ as docs/operating.md has it changed for a --base-path."""
    if not base_path:
        return text(name)
    documented = (ROOT / "docs" / "operating.md").read_text()
    (change,) = re.findall(rf"(?m)^sed -i '([^']*)' (?:\S*/)?{re.escape(name)}$", documented)
    return run("sed", change.replace("/chat", base_path), DEPLOY / name)


def run(*arguments: str | Path, **options) -> str:
    """The output of a program that has to succeed."""
    ended = subprocess.run(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
        **options,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


# Pushpin


def listening(session: int) -> set[tuple[str, int]]:
    """The addresses and ports on which the processes of a session take TCP connections."""
    sockets = set()
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.getsid(int(pid)) == session:
                files = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
                sockets |= {file[8:-1] for file in files if file.startswith("socket:[")}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and inode in sockets:  # LISTEN
                address, port = local.split(":")
                words = [bytes.fromhex(address[i : i + 8])[::-1] for i in range(0, len(address), 8)]
                found.add((str(ip_address(b"".join(words))), int(port, 16)))
    return found


@both_pushpins
@gen_test
async def test_pushpin_by_hand_serves_with_its_file_as_it_is_and_is_reached_from_this_machine_only(stage):
    """But for the numbers of the ports, and where flychat is."""
    # Not below pytest's own directory: with xdist's the paths of Pushpin's unix sockets are too long.
    short = stage.ending.enter_context(tempfile.TemporaryDirectory(prefix="flychat-"))
    folder, flychat = Path(short) / "deploy", free_port()
    shutil.copytree(DEPLOY, folder)
    name = configuration_for(await version(stage.program))
    ports = {"7999": free_port(), "5561": free_port()}
    configuration = text(name)
    for number, port in ports.items():
        assert number in configuration
        configuration = configuration.replace(number, str(port))
    (folder / name).write_text(configuration)
    (folder / "routes").write_text(text("routes").replace("127.0.0.1:3000", f"127.0.0.1:{flychat}"))
    pushpin = await asyncio.create_subprocess_exec(
        *(stage.program, f"--config={name}"), cwd=folder, start_new_session=True
    )
    stage.ending.push_async_callback(pushpin.wait)
    stage.ending.callback(lambda: pushpin.returncode is None and pushpin.terminate())
    url = f"http://127.0.0.1:{ports['7999']}"
    await stage.app(flychat, [f"http://127.0.0.1:{ports['5561']}/"])

    async def serves() -> bool:
        with contextlib.suppress(OSError):
            return (await fetch(url, "/healthz"))[0] == 200
        return False

    await eventually(serves)
    crowd = await stage.crowd(url, room := new_room(), 2)
    assert (await post(url, room, "hello"))[0] == 200
    await crowd.until_id(1)
    assert listening(pushpin.pid) == {("127.0.0.1", port) for port in ports.values()}


@both_pushpins
@gen_test
async def test_pushpin_passes_on_the_largest_head_that_flychat_takes(stage):
    port = free_port()
    pushpin = await stage.pushpin(port)
    await stage.app(port, [pushpin.grip_url])
    large = {"Cookie": "c=" + "x" * 15_500}
    assert (await fetch(pushpin.url, "/tea?user=ann", headers=large))[0] == 200


@pytest.mark.parametrize("name", ["pushpin.conf", "pushpin-1.36.conf"])
def test_the_guides_commands_change_pushpins_file_for_a_service_behind_a_web_server(name, tmp_path):
    guide = (ROOT / "docs" / "operating.md").read_text()
    (block,) = re.findall(r"(?s)```\n(apt-get install pushpin\n.*?)```", guide)
    changes = [line for line in block.splitlines() if "sed -i" in line]
    shutil.copy(DEPLOY / name, tmp_path / "pushpin.conf")
    run("sh", "-ec", "\n".join(changes).replace("/etc/pushpin", str(tmp_path)))
    made, wanted = RawConfigParser(), RawConfigParser()
    made.read(tmp_path / "pushpin.conf")
    wanted.read(DEPLOY / name)
    key = made["proxy"]["sig_key"]
    assert len(base64.b64decode(key.removeprefix("base64:"), validate=True)) >= 32
    wanted["global"]["rundir"], wanted["runner"]["logdir"] = "/run/pushpin", "/var/log/pushpin"
    wanted["proxy"].update({"sig_key": key, "x_forwarded_for": ""})
    assert made == wanted


# Web servers in front


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[Path, Path]:
    need("openssl")
    folder = tmp_path_factory.mktemp("certificate")
    certificate, key = folder / "fullchain.pem", folder / "privkey.pem"
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    run(
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        *names,
        "-keyout",
        key,
        "-out",
        certificate,
    )
    return certificate, key


class Front:
    """A web server: `url` is where it speaks TLS, `plain` where it does not, `start` runs it."""

    def __init__(
        self, name: str, folder: Path, target: str, certificate: tuple[Path, Path], base_path: str = ""
    ) -> None:
        need(name)
        self.certificate, self._folder, self._base_path = certificate, folder, base_path
        port, plain = free_port(), free_port()
        self.host, self.plain = f"https://127.0.0.1:{port}", f"http://127.0.0.1:{plain}"
        self.url = self.host + base_path
        prepare = self._nginx if name == "nginx" else self._caddy
        self._command, self._check = prepare(target, port, plain)

    def _nginx(self, target: str, port: int, plain: int) -> tuple[list[str], list[str]]:
        snippet = re.sub(r"\n *listen \[::\].*", "", beneath(self._base_path, "nginx.conf"))
        if self._base_path:
            ours = f"    location {self._base_path}/ {{"
            assert ours in snippet
            snippet = snippet.replace(ours, f"    location / {{ return 200 'another site'; }}\n{ours}")
        for ours, theirs in (
            ("127.0.0.1:7999", target),
            ("listen 80;", f"listen 127.0.0.1:{plain};"),
            ("listen 443 ", f"listen 127.0.0.1:{port} "),
            ("/etc/letsencrypt/live/chat.example.org/fullchain.pem", str(self.certificate[0])),
            ("/etc/letsencrypt/live/chat.example.org/privkey.pem", str(self.certificate[1])),
        ):
            assert ours in snippet
            snippet = snippet.replace(ours, theirs)
        (self._folder / "flychat.conf").write_text(snippet)
        temporary = " ".join(
            f"{kind}_temp_path {kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (self._folder / "nginx.conf").write_text(
            f"{'user root;' * (os.geteuid() == 0)} daemon off; worker_processes 1; pid nginx.pid;"
            f"events {{}} http {{ access_log off; {temporary} include flychat.conf; }}"
        )
        command = ["nginx", "-p", str(self._folder), "-c", "nginx.conf", "-e", "stderr"]
        return command, [*command, "-t"]

    def _caddy(self, target: str, port: int, plain: int) -> tuple[list[str], list[str]]:
        options = f"admin off\n auto_https disable_redirects\n http_port {plain}\n skip_install_trust"
        tls = f"\n tls {self.certificate[0]} {self.certificate[1]}\n"
        site = beneath(self._base_path, "Caddyfile")
        if self._base_path:
            ours = "reverse_proxy @chat "
            assert ours in site
            site = site.replace(ours, f'respond / "another site"\n{ours}')
        site = site.replace("127.0.0.1:7999", target)
        assert "chat.example.org {" in site
        site = site.replace("chat.example.org {", f"https://127.0.0.1:{port} {{{tls}")
        (self._folder / "Caddyfile").write_text(f"{{\n {options}\n}}\n{site}")
        command = ["caddy", "run", "--adapter", "caddyfile", "--config", "Caddyfile"]
        return command, ["caddy", "validate", *command[2:]]

    @contextlib.asynccontextmanager
    async def start(self) -> AsyncIterator[Front]:
        """It is asked to check its configuration first; it runs when it answers."""
        environ = {**os.environ, "HOME": str(self._folder), "XDG_DATA_HOME": str(self._folder)}
        run(*self._check, cwd=self._folder, env=environ)
        with (self._folder / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *self._command, cwd=self._folder, env=environ, stdout=log, stderr=log
            )
        try:
            port = int(self.host.rpartition(":")[2])
            async with asyncio.timeout(WAIT):
                while True:
                    assert process.returncode is None, (self._folder / "log").read_text()
                    with contextlib.suppress(OSError):
                        _, writer = await asyncio.open_connection("127.0.0.1", port)
                        writer.close()
                        break
                    await asyncio.sleep(0.02)
            yield self
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()

    async def curl(self, *arguments: str) -> str:
        """What curl prints, with a last line `HTTP-VERSION STATUS`."""
        need("curl")
        process = await asyncio.create_subprocess_exec(
            *("curl", "-sS", "--cacert", str(self.certificate[0]), "--max-time", "20"),
            *("-w", "\n%{http_version} %{http_code}", *arguments),
            stdout=subprocess.PIPE,
        )
        return (await process.communicate())[0].decode()

    async def post(self, room: str, *arguments: str) -> str:
        """The status of a POST."""
        address = f"{self.url}/rooms/{room}/messages/"
        fields = ("-H", "Accept: application/json", "-d", "from=ann", "-d", "text=hi")
        return (await self.curl(address, *fields, *arguments)).rpartition(" ")[2]

    @contextlib.asynccontextmanager
    async def stream(self, room: str) -> AsyncIterator[asyncio.StreamReader]:
        """A stream over HTTP/2."""
        process = await asyncio.create_subprocess_exec(
            *("curl", "-sN", "-D", "-", "--http2", "--cacert", str(self.certificate[0])),
            *("-H", "Accept: text/event-stream", "-H", "Accept-Encoding: gzip"),
            f"{self.url}/rooms/{room}/messages/",
            stdout=subprocess.PIPE,
        )
        assert process.stdout
        try:
            yield process.stdout
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


def unquestioning(folder: Path) -> Path:
    """deploy/ with a Pushpin that passes on the client's address as the web server in front of it says it."""
    copy = folder / "deploy"
    shutil.copytree(DEPLOY, copy)
    for file in copy.glob("pushpin*.conf"):
        changed, number = re.subn(r"(?m)^x_forwarded_for=.*$", "x_forwarded_for=", file.read_text())
        assert number == 1
        file.write_text(changed)
    return copy


@contextlib.asynccontextmanager
async def behind(
    name: str,
    mode: str,
    folder: Path,
    certificate,
    *arguments: str,
    base_path: str = "",
    change: Callable[[str], str] | None = None,
) -> AsyncIterator[Front]:
    """flychat in either mode, and a web server in front of it, whose file may be changed."""
    stage, port = Stage(folder), free_port()
    arguments = (*arguments, "--trust-proxy", "--base-path", base_path)
    try:
        if mode == "grip":
            need("pushpin")
            pushpin = await PushpinChild.start(
                unquestioning(folder), [f"127.0.0.1:{port}"], key=KEY, base_path=base_path
            )
            stage.ending.push_async_callback(pushpin.stop)
            await stage.app(port, [pushpin.grip_url], *arguments)
            port = urlsplit(pushpin.url).port
        else:
            await stage.app(port, (), *arguments)
        front = Front(name, folder, f"127.0.0.1:{port}", certificate, base_path)
        if change is not None:
            file = folder / "flychat.conf"
            file.write_text(change(file.read_text()))
        async with front.start():
            yield front
    finally:
        await stage.close()


fronts = pytest.mark.parametrize("name", ["nginx", "caddy"])
modes = pytest.mark.parametrize("mode", ["standalone", "grip"])


@gen_test
@fronts
@modes
@pytest.mark.parametrize("base_path", ["", "/chat"])
async def test_streams_flow_unbuffered_over_http_2(name, mode, base_path, tmp_path, certificate):
    room = new_room().replace(" ", "-")
    unlimited = ("--rate-limit", "0")
    async with behind(name, mode, tmp_path, certificate, *unlimited, base_path=base_path) as front:
        async with front.stream(room) as lines:
            head = (await asyncio.wait_for(lines.readuntil(b"\r\n\r\n"), WAIT)).decode().lower()
            assert head.startswith("http/2 200")
            assert "content-encoding" not in head
            await asyncio.wait_for(lines.readuntil(b"event: stream-open\ndata: {}\n\n"), WAIT)
            for id in (1, 2, 3):
                assert await front.post(room) == "200"
                await asyncio.wait_for(lines.readuntil(b"\nid: %d\n\n" % id), WAIT)
        environ = environment({"SSL_CERT_FILE": str(certificate[0])})
        said = await asyncio.to_thread(
            run, sys.executable, "-m", "flychat", "check", front.url, "--quick", cwd=tmp_path, env=environ
        )
        assert "all is well" in said
        assert "BAD" not in said
        assert "by GRIP" in said
        if base_path:
            assert await front.curl(front.host) == "another site\n2 200"
            assert "/chat/rooms/" in await front.curl("-L", f"{front.url}?user=ann"), (
                "the page, also without a slash"
            )
            assert (await front.curl(f"{front.url}/metrics")).endswith("2 404")
            assert (await front.curl(f"{front.url}/healthz")).endswith("2 200")


@gen_test
@fronts
@modes
@pytest.mark.parametrize("base_path", ["", "/chat"])
async def test_the_files_of_a_page_come_compressed_and_no_page_with_a_secret(
    name, mode, base_path, tmp_path, certificate
):
    """Pushpin undoes what flychat has compressed."""
    async with behind(name, mode, tmp_path, certificate, base_path=base_path) as front:
        asking = ("-D", "-", "-H", "Accept-Encoding: gzip", "-o", os.devnull)
        for file in ("flychat.js", "chat.css"):
            address = f"{front.url}/static/{file}"
            head = (await front.curl(address, *asking)).lower()
            assert "content-encoding: gzip" in head
            (tag,) = re.findall("etag: (.*)\r", head)
            assert (await front.curl(address, *asking, "-H", f"If-None-Match: {tag}")).endswith(" 304")
        known = ("-b", "flychat_user=Ann; flychat_asked=a-secret")
        page = await front.curl(f"{front.url}/tea?user=Eve", "-D", "-", "-H", "Accept-Encoding: gzip", *known)
        assert "a-secret" in page
        assert "content-encoding" not in page.lower()


@gen_test
@fronts
@modes
async def test_clients_are_told_apart_by_their_own_addresses(name, mode, tmp_path, certificate):
    async with behind(name, mode, tmp_path, certificate, "--rate-limit", "0.01") as front:
        room = new_room().replace(" ", "-")
        assert await front.post(room, "--interface", "127.0.0.2") == "200"
        assert await front.post(room, "--interface", "127.0.0.2") == "429"
        liar = ("--interface", "127.0.0.2", "-H", "X-Forwarded-For: 127.0.0.9")
        assert await front.post(room, *liar) == "429"
        assert await front.post(room, "--interface", "127.0.0.3") == "200"


@gen_test
@fronts
async def test_a_web_server_reaches_flychat_in_a_file_and_clients_are_told_apart(name, tmp_path, certificate):
    stage = Stage(tmp_path)
    short = stage.ending.enter_context(tempfile.TemporaryDirectory(prefix="flychat-"))
    try:
        await stage.app(0, (), "--trust-proxy", "--rate-limit", "0.01", "--host", f"unix:{short}/s")
        target = f"unix:{short}/s" if name == "nginx" else f"unix/{short}/s"
        async with Front(name, tmp_path, target, certificate).start() as front, front.stream("tea") as lines:
            await asyncio.wait_for(lines.readuntil(b"event: stream-open\ndata: {}\n\n"), WAIT)
            assert await front.post("tea", "--interface", "127.0.0.2") == "200"
            assert await front.post("tea", "--interface", "127.0.0.2") == "429"
            assert await front.post("tea", "--interface", "127.0.0.3") == "200"
            await asyncio.wait_for(lines.readuntil(b"\nid: 2\n\n"), WAIT)
    finally:
        await stage.close()


@gen_test
@fronts
async def test_what_else_a_web_server_in_front_must_do(name, tmp_path, certificate):
    async with behind(name, "standalone", tmp_path, certificate, "--rate-limit", "0") as front:
        assert await front.post("tea", "-H", f"Origin: {front.url}") == "200", "the page of this very host"
        assert await front.post("tea", "-H", "Origin: https://chat.example.org") == "403"
        assert (await front.curl(f"{front.url}/metrics")).endswith("2 404")
        assert (await front.curl(f"{front.url}/healthz")).endswith("2 200")
        assert '"code":"too_large"' in await front.curl(
            f"{front.url}/rooms/tea/messages/", "-d", "from=ann", "-d", f"text={'x' * 66_000}"
        )
        if name == "nginx":
            status, head, _ = await fetch(front.plain, "/tea?user=ann")
            assert (status, head["location"]) == (301, "https://127.0.0.1/tea?user=ann")


@gen_test
@modes
async def test_behind_a_login_that_nginx_asks_the_name_is_the_logins_whatever_a_client_says(
    mode, tmp_path, certificate
):
    """As docs/access.md has it; the login here knows its people by a header X-Cookie."""
    (recipe,) = re.findall(r"(?s)```nginx\n(.*?)```", (ROOT / "docs" / "access.md").read_text())
    login = free_port()
    known = f"""
server {{
    listen 127.0.0.1:{login};
    location = /oauth2/auth {{
        if ($http_x_cookie = "") {{ return 401; }}
        add_header X-Auth-Request-Preferred-Username $http_x_cookie always;
        return 202;
    }}
    location / {{ return 200 "who are you?"; }}
}}
"""

    def with_login(conf: str) -> str:
        before = "    location / {"
        assert before in conf
        recipe_here = recipe.replace("127.0.0.1:4180", f"127.0.0.1:{login}")
        return known + conf.replace(before, recipe_here + before, 1)

    options = ("--user-header", "X-User", "--rate-limit", "0")
    async with behind("nginx", mode, tmp_path, certificate, *options, change=with_login) as front:
        room = new_room().replace(" ", "-")
        address = f"{front.url}/rooms/{room}/messages/"

        async def posted(*arguments: str) -> tuple[str, dict]:
            fields = ("-H", "Accept: application/json", "-d", "text=hi")
            said = await front.curl(address, *fields, *arguments)
            body, _, status = said.rpartition("\n")
            return status.split()[1], json.loads(body) if body.startswith("{") else {}

        for liar in ((), ("-H", "X-User: ann")):
            assert (await posted("-d", "from=ann", *liar))[0] == "401"
            assert (await front.curl(address, "-H", "Accept: text/event-stream", *liar)).endswith(" 401")
            assert (await front.curl(f"{front.url}/{room}", *liar)).endswith(" 302")
        status, message = await posted("-H", "X-Cookie: ann", "-H", "X-User: bob")
        assert (status, message["user"], message["from"]) == ("200", "ann", "ann")
        status, message = await posted("-H", "X-Cookie: ann", "-H", "X-User: bob", "-H", "X-User: eve")
        assert (status, message["user"]) == ("200", "ann")
        assert (await posted("-d", "from=bob", "-H", "X-Cookie: ann"))[0] == "403"
        assert (await front.curl(f"{front.url}/oauth2/sign_in")).startswith("who are you?")


@gen_test
async def test_the_recipe_for_oauth2_proxy_is_one_for_the_real_oauth2_proxy(tmp_path, certificate):
    """It is no package of Debian's: `go install github.com/oauth2-proxy/oauth2-proxy/v7@latest`, and name the program."""
    if not OAUTH2_PROXY:
        pytest.skip("FLYCHAT_TEST_OAUTH2 names no oauth2-proxy")
    text = (ROOT / "docs" / "access.md").read_text()
    (recipe,), (flags,) = (
        re.findall(r"(?s)```nginx\n(.*?)```", text),
        re.findall(r"`(--reverse-proxy [^`]*)`", text),
    )
    login, people = free_port(), tmp_path / "people"
    hashed = base64.b64encode(hashlib.sha1(b"secret").digest()).decode()
    people.write_text(f"ann:{{SHA}}{hashed}\n")
    command = [OAUTH2_PROXY, *flags.split(), f"--http-address=127.0.0.1:{login}", f"--htpasswd-file={people}"]
    command += ["--provider=github", "--client-id=x", "--client-secret=x", f"--cookie-secret={'x' * 32}"]
    with (tmp_path / "login.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, "--email-domain=*", stderr=log)
    try:

        def with_login(conf: str) -> str:
            here = recipe.replace("127.0.0.1:4180", f"127.0.0.1:{login}").replace(
                "preferred_username", "user"
            )
            return conf.replace("    location / {", here + "    location / {", 1)

        options = ("--user-header", "X-User", "--rate-limit", "0")
        async with behind("nginx", "standalone", tmp_path, certificate, *options, change=with_login) as front:
            address, jar = f"{front.url}/rooms/tea/messages/", str(tmp_path / "jar")
            said = ("-H", "Accept: application/json", "-d", "text=hi", "-H", "X-User: bob")
            await eventually(lambda: _listens(login))
            assert (await front.curl(address, *said)).endswith(" 401")
            assert "/oauth2/sign_in" in await front.curl(f"{front.url}/tea", "-L", "-d", "", "-X", "GET")
            entered = ("-d", "username=ann", "-d", "password=secret", "-d", "rd=/tea", "-c", jar)
            assert (await front.curl(f"{front.url}/oauth2/sign_in", *entered)).endswith(" 302")
            message = json.loads((await front.curl(address, *said, "-b", jar)).rpartition("\n")[0])
            assert (message["user"], message["from"]) == ("ann", "ann")
    finally:
        process.terminate()
        await process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@gen_test
async def test_check_finds_an_nginx_that_buffers(tmp_path, certificate, monkeypatch, capsys):
    monkeypatch.setattr(http, "ANSWER_SECONDS", 2.0)
    monkeypatch.setattr(check, "PATIENCE", 2.0)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    async with served() as server:
        front = Front("nginx", tmp_path, f"127.0.0.1:{server.port}", certificate)
        conf = tmp_path / "flychat.conf"
        spoiled = "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;"
        conf.write_text(conf.read_text().replace("proxy_buffering off;", spoiled))
        async with front.start():
            assert await check.check(front.url, quick=True) == 1
    assert "a proxy on the way buffers the stream" in capsys.readouterr().out


@gen_test
@fronts
async def test_a_client_that_leaves_is_gone_from_flychat_too(name, tmp_path, certificate):
    async with (
        served() as server,
        Front(name, tmp_path, f"127.0.0.1:{server.port}", certificate).start() as front,
    ):
        async with front.stream("tea") as lines:
            await asyncio.wait_for(lines.readuntil(b"data: {}\n\n"), WAIT)
            assert len(server.hub.connections) == 1
        await eventually(lambda: len(server.hub.connections) == 0)


@gen_test
async def test_a_reload_of_nginx_cuts_no_stream(tmp_path, certificate):
    async with served() as server:
        front = Front("nginx", tmp_path, f"127.0.0.1:{server.port}", certificate)
        async with front.start(), front.stream("tea") as lines:
            await asyncio.wait_for(lines.readuntil(b"data: {}\n\n"), WAIT)
            (worker,) = await asyncio.to_thread(workers, tmp_path)
            await asyncio.to_thread(run, *front._command, "-s", "reload")

            async def both() -> bool:
                return len(await asyncio.to_thread(workers, tmp_path)) == 2

            await eventually(both)
            assert worker in workers(tmp_path)
            assert await front.post("tea") == "200"
            await asyncio.wait_for(lines.readuntil(b"\nid: 1\n\n"), WAIT)


def workers(folder: Path) -> set[int]:
    """The worker processes of the nginx in a folder."""
    master = int((folder / "nginx.pid").read_text())
    children = Path("/proc", str(master), "task", str(master), "children")
    return set(map(int, children.read_text().split()))


@contextlib.contextmanager
def answering(status: int, head: str = "", body: str = "") -> Iterator[int]:
    """The port of a server that answers everything so: 0 is not at all."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        if not status:  # the port is ours, but nobody listens
            yield port
            return
        listener.listen()
        answer = (
            f"HTTP/1.1 {status} Away\r\nContent-Length: {len(body)}\r\n{head}Connection: close\r\n\r\n{body}"
        )

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.settimeout(WAIT)
                        connection.recv(65536)
                        connection.sendall(answer.encode())

        thread = threading.Thread(target=serve)
        thread.start()
        yield port
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


STREAM = ("-H", "Accept: text/event-stream")


@gen_test
@fronts
@pytest.mark.parametrize("status", [0, 500, 502, 503])
async def test_while_flychat_is_away_a_stream_says_when_to_come_back(name, status, tmp_path, certificate):
    """0: nobody listens; 500 and 502 are Pushpin's words for that, 503 flychat's own for "not now"."""
    retry_later = "Retry-After: 7\r\nContent-Type: application/json\r\n"
    base_path = "/chat" if status == 502 else ""
    with answering(status, retry_later, '{"error": {}}') as port:
        target = f"127.0.0.1:{port}"
        async with Front(name, tmp_path, target, certificate, base_path).start() as front:
            address = f"{front.url}/rooms/tea/messages/"
            away = await front.curl("-D", "-", *STREAM, address)
            head, _, rest = away.replace("\r\n", "\n").partition("\n\n")
            assert rest == "retry: 3000\nevent: keep-alive\ndata: {}\n\n\n2 200"
            head = head.lower()
            assert "\ncontent-type: text/event-stream; charset=utf-8\n" in head
            assert "\ncache-control: no-cache, no-transform" in head
            assert "\naccess-control-allow-origin: *" in head
            assert "retry-after" not in head
            # All else is told what is so.
            for other in ((address,), (f"{front.url}/tea", *STREAM), (address, *STREAM, "-X", "POST")):
                told = await front.curl("-D", "-", *other)
                assert told.endswith(f"2 {status or 502}")
                if status:
                    assert "retry-after: 7" in told.lower()
                    assert '{"error": {}}' in told


@gen_test
@fronts
async def test_an_answer_that_will_not_change_is_passed_on_to_a_stream_too(name, tmp_path, certificate):
    for status in (400, 404, 429, 501):
        with answering(status, body="why") as port:
            (folder := tmp_path / str(status)).mkdir()
            async with Front(name, folder, f"127.0.0.1:{port}", certificate).start() as front:
                told = await front.curl(*STREAM, f"{front.url}/rooms/tea/messages/")
                assert told == f"why\n2 {status}"


# Services and containers


def variables(name: str, marked: str) -> dict[str, str]:
    """The variables of an environment file; `marked` is what its lines begin with."""
    lines = (line for line in text(name).splitlines() if re.match(marked + r"[A-Z_]+=", line))
    return dict(line.removeprefix(marked).split("=", 1) for line in lines)


def test_systemd_accepts_the_unit_and_calls_it_safe(tmp_path):
    need("systemd-analyze")
    unit = text("flychat@.service").replace("/opt/flychat/bin/python", sys.executable)
    assert sys.executable in unit
    for name in (
        "flychat@3000.service",
        "flychat.service",
    ):  # the second is for `security`, which takes no instance
        (tmp_path / name).write_text(unit)
    # The second one is what the comment in it offers.
    port = text("flychat@.socket")
    file = re.sub(r"(?m)^ListenStream=127.*\n", "", re.sub(r"(?m)^#   (?=\w+=)", "[Socket]\n", port))
    assert "ListenStream=/run/flychat-%i.sock" in file
    for socket_unit in (file, port):
        (tmp_path / "flychat@3000.socket").write_text(socket_unit)
        said = run("systemd-analyze", "verify", "--man=no", tmp_path / "flychat@3000.socket")
        assert "flychat" not in said, said
    said = run("systemd-analyze", "verify", "--man=no", tmp_path / "flychat@3000.service")
    assert "flychat" not in said, said
    offline = ("--offline=yes", "--threshold=20")  # fails over 2.0 of 10
    assert "OK" in run("systemd-analyze", "security", *offline, tmp_path / "flychat.service")


def test_flychat_understands_what_the_unit_tells_it():
    (start,) = re.findall(r"(?m)^ExecStart=(.*)$", text("flychat@.service"))
    _, *arguments = shlex.split(start.replace("%i", "3001"))
    assert arguments[:3] == ["-P", "-m", "flychat"]
    local = variables("flychat.env", "")
    proxied = {**variables("flychat.env", "#"), "FLYCHAT_TRUST_PROXY": "1"}
    assert Config.read(arguments[3:], local).mode == "standalone"
    config = Config.read(arguments[3:], proxied)
    assert (config.mode, config.engine, config.port, config.trust_proxy) == ("grip", "dynamodb", 3001, True)
    for environ in (local, proxied):
        fields = {
            f"FLYCHAT_{name.upper()}"
            for name in (*Config.__dataclass_fields__, "grip_url", "store", "standalone", "grip")
        }
        assert {name for name in environ if name.startswith("FLYCHAT_")} <= fields


def test_it_runs_without_memory_that_is_both_written_and_executed(tmp_path):
    """As MemoryDenyWriteExecute= has it: the unit cannot be started here, but this can be tried."""
    script = (
        "import ctypes, os, sys\n"
        "refused = ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)\n"  # PR_SET_MDWE, of Linux 6.3
        "sys.exit(77) if refused else os.execv(sys.executable, [sys.executable, '-c', sys.argv[1]])"
    )
    everything = (
        "import flychat.server, flychat.storage.dynamodb, flychat.storage.sqlite, flychat.hub.pushpin"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, everything], cwd=ROOT, timeout=PATIENCE, check=False
    )
    if ended.returncode == 77:
        pytest.skip("this kernel cannot forbid it")
    assert ended.returncode == 0


def test_neither_the_unit_nor_the_image_runs_files_of_its_working_directory(tmp_path):
    (start,) = re.findall(r"(?m)^ExecStart=\S+ (.*)$", text("flychat@.service"))
    image = json.loads(dict(instructions("Dockerfile"))["ENTRYPOINT"])[1:]
    (tmp_path / "flychat").mkdir()
    for name in ("tornado.py", "sqlite3.py", "flychat/__init__.py", "flychat/__main__.py"):
        (tmp_path / name).write_text("import os\nos._exit(99)\n")
    for arguments in (shlex.split(start.replace("%i", "0")), [*image, "--port", "0"]):
        python = [sys.executable, *arguments[: arguments.index("-m")]]
        rest = arguments[arguments.index("flychat") + 1 :]
        with running(*rest, "--standalone", cwd=tmp_path, python=python) as program:
            assert program.end() == (0, "")


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [
        ((), {"FLYCHAT_HOST": "0.0.0.0"}),
        ((), {"FLYCHAT_HOST": "::"}),
        ((), {"FLYCHAT_BASE_PATH": "/chat"}),
        ((), {"FLYCHAT_HOST": "::1", "HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}),
        (("--host", "127.0.0.1"), {"FLYCHAT_HOST": "192.0.2.1"}),
    ],
)
def test_the_images_health_check_asks_where_flychat_listens(
    arguments, environ, tmp_path, monkeypatch, capsys
):
    environ = {**environ, "FLYCHAT_STANDALONE": "1", "FLYCHAT_PORT": str(free_port())}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with running("--store", "sqlite::memory:", *arguments, cwd=tmp_path, environ=environ) as program:
        words = Path("/proc", str(program.process.pid), "cmdline")
        command = tmp_path / "cmdline"
        command.write_bytes(b"/sbin/docker-init\0--\0" + words.read_bytes())
        assert health.main(words) == health.main(command) == 0
        program.end()
        assert health.main(command) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "flychat does not answer" in line


def instructions(name: str) -> list[tuple[str, str]]:
    return [(word, rest) for word, rest in re.findall(r"(?m)^([A-Z]+) (.*)$", text(name))]


def test_the_images_are_made_of_what_there_is_and_do_not_run_as_root():
    """Reading them is all that can be done without a Docker daemon."""
    for name in ("Dockerfile", "pushpin.Dockerfile"):
        ignored = text(f"{name}.dockerignore").splitlines()
        wanted = [line[1:] for line in ignored if line.startswith("!")]
        assert all((ROOT / path).exists() for path in wanted)
        for word, rest in instructions(name):
            if word == "COPY" and not rest.startswith("--from"):
                assert all(source == "." or source in wanted for source in rest.split()[:-1])
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", dict(instructions(name))["USER"])
    last = dict(instructions("Dockerfile"))
    assert json.loads(last["ENTRYPOINT"])[1:] == ["-P", "-m", "flychat"]
    assert last["HEALTHCHECK"].endswith(' CMD ["/opt/flychat/bin/python", "-P", "-m", "flychat.health"]')
    config = Config.read(json.loads(last["CMD"]), dict(pair.split("=") for pair in last["ENV"].split()))
    assert (config.mode, config.host, config.port) == ("standalone", "0.0.0.0", int(last["EXPOSE"]))
    pushpin = dict(instructions("pushpin.Dockerfile"))
    assert json.loads(pushpin["CMD"]) == ["pushpin", "--config=pushpin-1.36.conf"]
    assert pushpin["FROM"].startswith("debian:12")


@gen_test
async def test_the_commands_of_pushpins_image_make_a_pushpin_that_works(tmp_path):
    """They are run, on copies of what fits the Pushpin here; it is started, with "app" put in its place."""
    need("pushpin")
    name = configuration_for(await version("pushpin"))
    for file in (name, "routes"):
        shutil.copy(DEPLOY / file, tmp_path)
    for word, rest in instructions("pushpin.Dockerfile"):
        if word == "RUN" and rest.startswith("sed"):
            run("sh", "-c", rest.replace("pushpin-1.36.conf", name), cwd=tmp_path)
    conf, routes = ((tmp_path / file).read_text() for file in (name, "routes"))
    assert "\npush_in_http_addr=0.0.0.0\n" in conf
    assert "\nhttp_port=7999\n" in conf
    assert "\n* app:3000" in routes
    assert "127.0.0.1" not in routes
    (tmp_path / name).write_text(conf.replace("0.0.0.0", "127.0.0.1"))
    async with served() as server:
        (tmp_path / "routes").write_text(routes.replace("app:3000", f"localhost:{server.port}"))
        pushpin = await PushpinChild.start(tmp_path, [])
        try:
            assert (await fetch(pushpin.url, "/healthz"))[0] == 200
        finally:
            await pushpin.stop()


def test_the_compose_file_puts_together_what_fits():
    need("yaml")
    import yaml

    services = yaml.safe_load(text("compose.yaml"))["services"]
    for name in ("app", "table"):
        service = services[name]
        environ = service["environment"]
        assert all(isinstance(value, str) for value in environ.values())
        assert environ["AWS_ENDPOINT_URL_DYNAMODB"] == "http://dynamodb:8000"
    config = Config.read(services["app"]["command"], services["app"]["environment"])
    assert (config.engine, config.location) == ("dynamodb", "flychat-messages")
    assert config.grip_urls == ("http://pushpin:5561/",)
    asked = table_asked_for(services["table"]["command"], services["table"]["environment"])
    assert asked == f"{config.engine}:{config.location}"
    assert [name for name, service in services.items() if "ports" in service] == ["pushpin"]
    for service in services.values():
        if build := service.get("build"):
            assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()
        assert set(service.get("depends_on", ())) <= set(services)


def test_the_policy_allows_what_flychat_calls_and_nothing_else():
    sources = (ROOT / "flychat" / "storage").glob("dynamodb*.py")
    called = set()
    for node in (node for source in sources for node in ast.walk(ast.parse(source.read_text()))):
        if isinstance(node, ast.Attribute) and node.attr not in ("exceptions", "meta"):
            owner = getattr(node.value, "attr", getattr(node.value, "id", ""))
            if owner in ("client", "_client"):
                called.add("dynamodb:" + "".join(map(str.capitalize, node.attr.split("_"))))
    statements = json.loads(text("iam-policy.json"))["Statement"]
    allowed = {action for statement in statements for action in statement["Action"]}
    assert allowed == called
    assert all(statement["Effect"] == "Allow" for statement in statements)
    for resource in {statement["Resource"] for statement in statements}:
        assert re.fullmatch(r"arn:aws:dynamodb:[^:]+:[^:]+:table/flychat-messages", resource)


class Guarded:
    """An imitation of AWS that asks, for every call, whether the caller may."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def user(self, name: str, statements: list[dict]) -> dict[str, str]:
        """The environment of somebody who may do what the statements allow."""
        import boto3

        self._open(float("inf"))
        root = {"aws_access_key_id": "root", "aws_secret_access_key": "root"}
        iam = boto3.client("iam", "eu-west-1", endpoint_url=self._endpoint, **root)
        iam.create_user(UserName=name)
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_user_policy(UserName=name, PolicyName="flychat", PolicyDocument=document)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        iam.close()
        self._open(0)
        names = {"AWS_ACCESS_KEY_ID": "AccessKeyId", "AWS_SECRET_ACCESS_KEY": "SecretAccessKey"}
        return {**dynamo_environment(self._endpoint), **{ours: key[theirs] for ours, theirs in names.items()}}

    def _open(self, calls: float) -> None:
        """So many more calls are let through without asking."""
        address, plain = f"{self._endpoint}/moto-api/reset-auth", {"Content-Type": "text/plain"}
        request = urllib.request.Request(address, str(calls).encode(), plain)
        urllib.request.urlopen(request, timeout=PATIENCE).close()


@pytest.fixture
def guarded():
    need("moto.server")
    endpoint = f"http://127.0.0.1:{free_port()}"
    command = (sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", endpoint.rpartition(":")[2])
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        guard = threading.Timer(PATIENCE, process.kill)
        guard.start()
        try:
            while "Running on" not in process.stderr.readline():
                assert process.poll() is None
            guard.cancel()
            threading.Thread(target=process.stderr.read, daemon=True).start()  # lest the pipe fills up
            yield Guarded(endpoint)
        finally:
            guard.cancel()
            process.kill()


def test_with_the_policy_flychat_makes_its_table_and_serves_from_it(guarded, tmp_path):
    statements = json.loads(text("iam-policy.json"))["Statement"]
    may = {statement["Sid"]: statement for statement in statements}
    store = ("--store", "dynamodb:flychat-messages")
    for statement in statements:
        statement["Resource"] = "*"  # moto knows of no others
    maker, server = guarded.user("maker", [may["CreateTable"]]), guarded.user("server", [may["Serve"]])
    made = run(*command("--create-table", *store), cwd=tmp_path, env=environment(maker))
    assert "is created" in made
    with running("--standalone", "--port", "0", *store, cwd=tmp_path, environ=server) as program:
        room = f"{program.url}/tea"
        assert (
            run(*command("say", room, "hi", "--from", "ann"), cwd=tmp_path, env=environment())
            == "1 ann: hi\n"
        )
        assert run(*command("tail", room, "--count", "1"), cwd=tmp_path, env=environment()) == "1 ann: hi\n"
    # To erase somebody everywhere it has to find the rooms, and tells in its log what it may not.
    (tmp_path / "secret").write_text("a secret of the tests, of 32 bytes or more\n")
    options = ("--standalone", "--port", "0", *store, "--secret", "secret")
    moderator = guarded.user("moderator", [may[sid] for sid in ("Serve", "Clear", "Rooms")])
    for environ, status in ((server, 1), (moderator, 0)):
        with running(*options, cwd=tmp_path, environ=environ) as program:
            erase = command("erase", "--from", "ann", "--url", program.url, "--secret", "secret")
            ended = subprocess.run(
                erase, cwd=tmp_path, env=environment(), capture_output=True, timeout=PATIENCE
            )
            assert ended.returncode == status, ended
            assert ("not authorized to perform: dynamodb:Scan" in program.end()[1]) == bool(status)
    ended = subprocess.run(
        command("--create-table", "--store", "dynamodb:another"),
        env=environment(server),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 2
    assert "not authorized to perform: dynamodb:CreateTable" in ended.stderr


# What to watch


def families(program: Program) -> dict[str, str]:
    """The type of each metric that a running flychat shows."""
    with urllib.request.urlopen(f"{program.url}/metrics", timeout=PATIENCE) as answer:
        parsed = parser.text_string_to_metric_families(answer.read().decode())
        return {family.name: family.type for family in parsed}


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> set[str]:
    """The names of all series that flychat can have, in either mode."""
    folder = tmp_path_factory.mktemp("metrics")
    types: dict[str, str] = {}
    grip = ("--grip", "--grip-url", f"http://127.0.0.1:{free_port()}/")
    for mode in (("--standalone",), grip):
        with running(*mode, "--port", "0", "--store", "sqlite::memory:", cwd=folder) as program:
            types |= families(program)
    suffixes = {
        "counter": ("_total",),
        "histogram": ("_bucket", "_sum", "_count"),
        "summary": ("_sum", "_count"),
    }
    return {name + suffix for name, kind in types.items() for suffix in suffixes.get(kind, ("",))} | {"up"}


def panels() -> list[dict]:
    return [panel for panel in json.loads(text("grafana-dashboard.json"))["panels"] if panel["type"] != "row"]


def alerts() -> list[dict]:
    need("yaml")
    import yaml

    (group,) = yaml.safe_load(text("alerts.yaml"))["groups"]
    return group["rules"]


def queries() -> list[str]:
    """All of PromQL in the dashboard and in the alerts, as Prometheus would be asked."""
    dashboard = [target["expr"] for panel in panels() for target in panel["targets"]]
    found = [*dashboard, *(alert["expr"] for alert in alerts())]
    return [query.replace("$__rate_interval", "5m").replace("$job", "flychat") for query in found]


def test_the_dashboard_and_the_alerts_name_only_metrics_that_exist(shown):
    named = set()
    for query in queries():
        names = set(re.findall(r"\b[a-z_]+(?=\{)", query))
        assert names, query
        named |= names
    assert named <= shown, named - shown


def test_what_the_guide_says_of_metrics_is_of_some_that_exist_and_the_dashboard_shows_them(shown):
    table = (ROOT / "docs" / "operating.md").read_text().partition("## What to watch")[2].partition("### ")[0]
    told = set(re.findall(r"`(flychat_\w+)`", table))
    queried = set(re.findall(r"\bflychat_\w+(?=\{)", " ".join(queries())))
    queried |= {name.removesuffix("_bucket") for name in queried}
    assert len(told) > 20
    assert {name for name in told if not shown & {name, f"{name}_bucket"}} == set()
    assert {name for name in told if name not in queried and f"{name}_sum" not in queried} == set()


def test_the_labels_that_they_name_exist_too():
    import flychat.hub.publisher
    import flychat.server  # noqa: F401 - declares what is not declared above

    declared = set(REGISTRY._names_to_collectors.values())
    labels = {label for metric in declared for label in getattr(metric, "_labelnames", ())}
    of_prometheus = {"job", "instance", "le"}
    legends = [target["legendFormat"] for panel in panels() for target in panel["targets"]]
    texts = [text for alert in alerts() for text in alert["annotations"].values()]
    for query in queries():
        grouped = {label for by in re.findall(r"by \(([^)]*)\)", query) for label in by.split(", ")}
        matched = set(re.findall(r"[{,] ?(\w+)=", query))
        assert grouped | matched <= labels | of_prometheus, query
    for template in (*legends, *texts):
        used = set(re.findall(r"\{\{(?: \$labels\.)?(\w+) ?\}\}", template))
        assert used <= labels | of_prometheus, template


def test_prometheus_understands_every_query(tmp_path):
    need("promtool")
    rules = [{"record": f"query:{n}", "expr": query} for n, query in enumerate(queries())]
    (tmp_path / "queries.yaml").write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))
    assert f"{len(rules)} rules found" in run("promtool", "check", "rules", tmp_path / "queries.yaml")


def posted(status: int) -> str:
    return f'flychat_posts_total{{job="flychat", instance="a", status="{status}"}}'


def read(outcome: str) -> str:
    return f'flychat_reads_total{{job="flychat", instance="a", outcome="{outcome}"}}'


def buckets(name: str, *counts: tuple[str, int]) -> list[tuple[str, str]]:
    """A histogram whose buckets grow by so much a minute."""
    return [(f'{name}_bucket{{job="flychat", instance="a", le="{le}"}}', f"0+{n}x20") for le, n in counts]


ANSWERING = 'flychat_grip_answering{job="flychat", instance="a", proxy="p:5561"}'
UP = 'up{job="flychat", instance="a"}'
PROXY_UP = 'up{job="flychat-proxy", instance="p"}'
BAD = {
    "FlychatDown": [(UP, "0x20")],
    "FlychatPostsFail": [(posted(200), "0+60x20"), (posted(503), "0+6x20")],
    "FlychatReadsFail": [(read("read"), "0+60x20"), (read("unknown"), "0+12x20")],
    "FlychatStoreSlow": buckets("flychat_put_seconds", ("1.0", 90), ("3.0", 100), ("+Inf", 100)),
    "FlychatProxyLost": [(ANSWERING, "0x20")],
    "FlychatProxyDown": [(PROXY_UP, "0x20")],
    "FlychatLoopLate": buckets("flychat_loop_lag_seconds", ("0.1", 90), ("0.3", 100), ("+Inf", 100)),
}
GOOD = [
    (UP, "1x20"),
    (PROXY_UP, "1x20"),
    (posted(200), "0+60x20"),
    (posted(409), "0+60x20"),
    (read("read"), "0+60x20"),
    (read("cancelled"), "0+60x20"),
    (ANSWERING, "1x20"),
    *buckets("flychat_put_seconds", ("0.01", 100), ("+Inf", 100)),
    *buckets("flychat_loop_lag_seconds", ("0.01", 100), ("+Inf", 100)),
]


def test_each_of_the_alerts_fires_in_its_case_and_only_then(tmp_path):
    need("promtool")
    assert sorted(alert["alert"] for alert in alerts()) == sorted(BAD)
    run("promtool", "check", "rules", DEPLOY / "alerts.yaml")
    tests = []
    for case, series in (*BAD.items(), ("all is well", GOOD)):
        tests.append(
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series],
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}}) or vector(0)',
                        "eval_time": "15m",
                        "exp_samples": [{"labels": "{}", "value": int(name == case)}],
                    }
                    for name in BAD
                ],
            }
        )
    test = {"rule_files": [str(DEPLOY / "alerts.yaml")], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "test.yaml").write_text(json.dumps(test))
    assert "SUCCESS" in run("promtool", "test", "rules", tmp_path / "test.yaml")


def test_the_dashboard_is_one_that_grafana_can_lay_out():
    dashboard = json.loads(text("grafana-dashboard.json"))
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    taken = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells)
        taken |= cells
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(dashboard["panels"]))) <= variables
