"""Where a server can be reached, by what it was told."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from flychat import health
from flychat.config import Config
from flychat.listening import listen
from tests.conftest import need, need_ipv6
from tests.support.giver import GIVER
from tests.support.ports import free_port
from tests.support.program import PATIENCE, Program, command, environment, get, refused, running

FAMILIES = {"127.0.0.1": socket.AF_INET, "[::1]": socket.AF_INET6}


def config(host: str, port: int = 0, *more: str) -> Config:
    return Config.read(["--standalone", "--host", host, "--port", str(port), *more], {})


@pytest.mark.parametrize("host", ["::", ""])
def test_both_families_are_served_on_one_port_and_each_client_has_its_own_address(host, tmp_path):
    need_ipv6()
    port = free_port()
    options = ("--store", "sqlite::memory:", "--host", host, "--port", str(port))
    with running("--standalone", *options, cwd=tmp_path, environ={"FLYCHAT_RATE_LIMIT": "0.01"}) as program:
        posts = {}
        for name in FAMILIES:
            assert json.loads(get(f"http://{name}:{port}/healthz")) == {"status": "ok"}
            address = f"http://{name}:{port}/rooms/tea/messages/"
            posts[name] = []
            for _ in range(2):  # the second is one too many, for an address
                try:
                    urllib.request.urlopen(address, b"from=ann&text=hi", timeout=PATIENCE).close()
                    posts[name].append(200)
                except urllib.error.HTTPError as error:
                    posts[name].append(error.code)
                    error.close()
        assert posts == {name: [200, 429] for name in FAMILIES}
        assert program.end() == (0, "")


def test_of_two_families_one_that_is_taken_is_told(tmp_path):
    need_ipv6()
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        told = refused("--standalone", "--host", "::", "--port", str(port), cwd=tmp_path)
        assert f"cannot listen on :::{port}: Address already in use" in told


def test_a_name_of_several_addresses_is_served_on_each_and_one_address_on_no_other():
    for host, families in (("127.0.0.1", {socket.AF_INET}), ("localhost", None)):
        sockets = listen(config(host))
        try:
            known = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            assert {sock.family for sock in sockets} == families or {family for family, *_ in known}
            assert len({sock.getsockname()[1] for sock in sockets}) == 1
            with socket.socket() as other:
                assert other.connect_ex(("127.0.0.2", sockets[0].getsockname()[1])) == errno.ECONNREFUSED
        finally:
            for sock in sockets:
                sock.close()


# A file


class File(http.client.HTTPConnection):
    """A connection through a file."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(str(self._path))


def asked(path: Path, method: str, target: str, body: str | None = None, **headers: str) -> int:
    """The status of the answer."""
    connection = File(path)
    with contextlib.closing(connection):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, target, body, named)
        return connection.getresponse().status


MESSAGES = "/rooms/tea/messages/"
MEMORY = ("--standalone", "--store", "sqlite::memory:")
FORM = {"Content_Type": "application/x-www-form-urlencoded"}


def in_file(path: Path, *more: str) -> tuple[str, ...]:
    return (*MEMORY, "--host", f"unix:{path}", "--trust-proxy", *more)


@pytest.fixture
def path(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("s") / "chat.sock"  # a longer one is no address of a socket


def test_a_file_is_for_everybody_who_reaches_its_folder_whatever_the_umask_and_goes_with_the_server(path):
    before = os.umask(0o077)
    try:
        with running(*in_file(path), cwd=path.parent) as program:
            assert f"flychat: listens on unix:{path}  (standalone" in program.first_line
            assert stat.S_IMODE(path.stat().st_mode) == 0o666
            assert list(path.parent.iterdir()) == [path]
            assert asked(path, "GET", "/healthz") == 200
            assert program.end() == (0, "")
    finally:
        os.umask(before)
    assert not path.exists()


@pytest.mark.parametrize("rate_limit", ["0", "0.01"])
def test_streams_and_posts_go_through_a_file_and_only_the_proxy_tells_who_asks(path, rate_limit):
    limited = {"FLYCHAT_RATE_LIMIT": rate_limit}
    with running(*in_file(path), cwd=path.parent, environ=limited) as program:
        reader = File(path)
        with contextlib.closing(reader):
            reader.request("GET", MESSAGES, headers={"Accept": "text/event-stream"})
            stream = reader.getresponse()
            for kind in ({}, {"Accept": "text/html", "Origin": "http://localhost"}):  # plain, and not
                for who in ({"X_Forwarded_For": "192.0.2.1"}, {"X_Forwarded_For": "192.0.2.2"}, {}):
                    status = asked(path, "POST", MESSAGES, "from=ann&text=hi", **FORM, **kind, **who)
                    first = 303 if kind else 200
                    assert status == (429 if kind and rate_limit != "0" else first), (kind, who)
            ids = []
            while ids != list(range(1, 4 if rate_limit != "0" else 7)):
                if line := re.match(rb"id: (\d+)", stream.readline()):
                    ids.append(int(line[1]))
        assert asked(path, "GET", "/tea?user=ann") == 200
        assert program.end() == (0, "")


def test_a_client_that_has_a_file_too_is_one_without_an_address(path):
    with running(*in_file(path), cwd=path.parent) as program:
        with socket.socket(socket.AF_UNIX) as client:
            client.bind(str(path.with_name("client")))
            client.connect(str(path))
            client.settimeout(PATIENCE)
            client.sendall(
                f"GET {MESSAGES} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n".encode()
            )
            assert client.recv(15) == b"HTTP/1.1 200 OK"
        assert program.end() == (0, "")


def test_a_file_that_was_left_behind_is_replaced_and_one_that_is_served_is_not(path):
    with running(*in_file(path), cwd=path.parent) as killed:
        killed.end(signal.SIGKILL)
    assert path.is_socket()
    with running(*in_file(path), cwd=path.parent) as program:
        assert asked(path, "GET", "/healthz") == 200
        told = refused(*in_file(path), cwd=path.parent)
        assert told == f"flychat: cannot listen on unix:{path}: another server listens there"
        assert asked(path, "GET", "/healthz") == 200
        assert program.end() == (0, "")


def test_what_is_no_socket_is_left_as_it_is_and_a_bad_place_is_told(path):
    path.write_text("precious")
    told = refused(*in_file(path), cwd=path.parent)
    assert told == f"flychat: cannot listen on unix:{path}: there is something else of that name"
    assert path.read_text() == "precious"
    path.unlink()
    beside = path.with_name(f"{path.name}~")  # what it is called until the server listens
    beside.write_text("precious, too")
    told = refused(*in_file(path), cwd=path.parent)
    assert told == f"flychat: cannot listen on unix:{path}: {beside} is in the way"
    assert beside.read_text() == "precious, too"
    for place, why in (
        (path.parent / "none" / "s", "No such file or directory"),
        (path.parent / ("x" * 120), "AF_UNIX path too long"),
        ("", "needs the path"),
    ):
        assert why in refused(*in_file(place), cwd=path.parent)
    assert "--trust-proxy" in refused(*MEMORY, "--host", f"unix:{path}2", cwd=path.parent)
    assert list(path.parent.iterdir()) == [beside]


def test_a_file_that_is_another_servers_by_then_stays(path):
    first = listen(config(f"unix:{path}", 0, "--trust-proxy"))
    path.unlink()
    (second,) = listen(config(f"unix:{path}", 0, "--trust-proxy"))
    first[0].close()
    assert path.is_socket()
    second.close()
    assert not path.exists()


def test_the_health_check_goes_through_the_file_as_well(path, tmp_path, capsys):
    with running(*in_file(path, "--base-path", "/chat"), cwd=path.parent) as program:
        words = Path("/proc", str(program.process.pid), "cmdline")
        words = words if words.exists() else pytest.skip("there is no /proc here")
        (tmp_path / "cmdline").write_bytes(words.read_bytes())
        assert health.main(words) == 0
        program.end()
    assert health.main(tmp_path / "cmdline") == 1
    assert "flychat does not answer" in capsys.readouterr().err


def test_a_private_pushpin_cannot_reach_a_file(path):
    told = refused("--grip", "--with-pushpin", "--host", f"unix:{path}", "--trust-proxy", cwd=path.parent)
    assert "--with-pushpin cannot reach flychat on a Unix socket" in told


# Sockets that are given


@contextlib.contextmanager
def activated(*arguments: str, cwd: Path, to: list[socket.socket], environ=None) -> Iterator[Program]:
    """A flychat that is given these sockets."""
    fds = [os.dup(sock.fileno()) for sock in to]  # above those that they become
    high = [os.dup2(fd, 100 + place) for place, fd in enumerate(fds)]
    python = (sys.executable, "-c", GIVER, ",".join(map(str, high)))
    try:
        with running(*arguments, cwd=cwd, python=python, pass_fds=high, environ=environ) as program:
            yield program
    finally:
        for fd in (*fds, *high):
            os.close(fd)


def test_a_restart_refuses_nobody_who_connects_meanwhile(tmp_path):
    """The clients do not try again: each of their connections gets its answer."""
    options = ("--standalone", "--store", "sqlite:chat.db", "--port", "1")  # which is not looked at
    ids: list[int] = []
    failures: list[BaseException] = []
    enough, stopped = threading.Semaphore(0), threading.Event()
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listening:
        port = listening.getsockname()[1]

        def client() -> None:
            while not stopped.is_set():
                try:
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
                    with contextlib.closing(connection):
                        form = {"Content-Type": FORM["Content_Type"]}
                        connection.request("POST", MESSAGES, "from=ann&text=hi", form)
                        answer = connection.getresponse()
                        assert answer.status == 200
                        ids.append(json.load(answer)["id"])
                        enough.release()
                except BaseException as error:
                    failures.append(error)
                    enough.release()

        clients = [threading.Thread(target=client) for _ in range(8)]
        try:
            for _ in range(3):
                with activated(*options, cwd=tmp_path, to=[listening]) as program:
                    assert f"http://127.0.0.1:{port}/" in program.first_line
                    for thread in clients:
                        if not thread.is_alive():
                            thread.start()
                    for _ in range(100):
                        enough.acquire()
                    assert program.end() == (0, "")  # while they go on
            with activated(*options, cwd=tmp_path, to=[listening]) as program:
                stopped.set()
                for thread in clients:
                    thread.join()
                assert program.end() == (0, "")
        finally:
            stopped.set()
    assert failures == []
    assert sorted(ids) == list(range(1, len(ids) + 1))


def test_several_sockets_may_be_given_and_a_file_among_them_stays(path):
    with socket.create_server(("127.0.0.1", 0)) as first, socket.socket(socket.AF_UNIX) as second:
        second.bind(str(path))
        second.listen()
        options = MEMORY
        with activated(*options, "--trust-proxy", cwd=path.parent, to=[first, second]) as program:
            assert json.loads(get(f"{program.url}/healthz")) == {"status": "ok"}
            assert asked(path, "GET", "/healthz") == 200
            assert program.end() == (0, "")
        assert path.is_socket(), "it is whose made it"
        given = (sys.executable, "-c", GIVER, "100")
        os.dup2(second.fileno(), 100)
        try:
            told = pytest.raises(AssertionError, match="needs --trust-proxy")
            with told, running(*options, cwd=path.parent, python=given, pass_fds=[100]):
                pass
        finally:
            os.close(100)


def test_a_server_serves_though_nobody_can_be_told_its_address(tmp_path):
    """A disk that is full, for example, where a supervisor keeps what its programs print."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        open("/dev/full", "w") as full,
        open(tmp_path / "errors", "w+") as errors,
    ):
        fd = os.dup2(listening.fileno(), 100)
        python = (sys.executable, "-c", GIVER, str(fd))
        with subprocess.Popen(
            command(*MEMORY, python=python),
            cwd=tmp_path,
            env=environment(),
            stdout=full,
            stderr=errors,
            pass_fds=[fd],
        ) as process:
            os.close(fd)
            try:
                port = listening.getsockname()[1]
                assert json.loads(get(f"http://127.0.0.1:{port}/healthz")) == {"status": "ok"}
                process.terminate()
                assert process.wait(PATIENCE) == 0
            finally:
                process.kill()
        errors.seek(0)
        assert errors.read() == ""


def test_what_was_given_to_another_process_or_is_no_socket_is_not_taken(tmp_path):
    options = (*MEMORY, "--port", "0")
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        activated(*options, cwd=tmp_path, to=[listening], environ={"OFF_BY": "1"}) as program,
    ):
        assert f":{listening.getsockname()[1]}/" not in program.first_line
        assert json.loads(get(f"{program.url}/healthz")) == {"status": "ok"}
    with socket.socket() as silent, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        for other in (silent, datagrams):
            told = pytest.raises(AssertionError, match="descriptor 3 is no socket that listens")
            with told, activated(*options, cwd=tmp_path, to=[other]):
                pass


def test_systemds_own_program_can_start_it(tmp_path):
    need("systemd-socket-activate")
    port = free_port()
    started = (
        "systemd-socket-activate",
        "-l",
        f"127.0.0.1:{port}",
        "-E",
        "PYTHONPATH",
        "-E",
        "FLYCHAT_RATE_LIMIT",
    )
    with contextlib.ExitStack() as ending:
        process = ending.enter_context(
            subprocess.Popen(
                [*started, *command(*MEMORY)],
                cwd=tmp_path,
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        )
        ending.callback(process.kill)
        while True:
            with contextlib.suppress(OSError):
                assert json.loads(get(f"http://127.0.0.1:{port}/healthz")) == {"status": "ok"}
                break
            assert process.poll() is None
        assert f"http://127.0.0.1:{port}/" in process.stdout.readline()
