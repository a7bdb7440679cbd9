"""Where a server can be reached, by what it was told."""

from __future__ import annotations

import errno
import json
import socket
import urllib.error
import urllib.request

import pytest

from flychat.config import Config
from flychat.listening import listen
from tests.support.program import get, refused, running
from tests.support.pushpin_proxy import free_port

FAMILIES = {"127.0.0.1": socket.AF_INET, "[::1]": socket.AF_INET6}


def needs_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")


def config(host: str, port: int = 0, *more: str) -> Config:
    return Config.read(["--standalone", "--host", host, "--port", str(port), *more], {})


@pytest.mark.parametrize("host", ["::", ""])
def test_both_families_are_served_on_one_port_and_each_client_has_its_own_address(host, tmp_path):
    needs_ipv6()
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
                    urllib.request.urlopen(address, b"from=ann&text=hi", timeout=20).close()
                    posts[name].append(200)
                except urllib.error.HTTPError as error:
                    posts[name].append(error.code)
                    error.close()
        assert posts == {name: [200, 429] for name in FAMILIES}
        assert program.end() == (0, "")


def test_of_two_families_one_that_is_taken_is_told(tmp_path):
    needs_ipv6()
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
