"""Connections that cannot be accepted just now, or have gone again before they were."""

import asyncio
import errno
import os
import socket
from types import SimpleNamespace

import pytest

from flychat.web import accepting
from flychat.web.accepting import Arrivals
from tests.support.two_ports import Connection, two_ports

ASK = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


class Spoilt:
    """A listening socket that fails as often as there are errors."""

    def __init__(self, sock: socket.socket, errors: list[OSError]) -> None:
        self._sock, self._errors = sock, errors
        self.fileno = sock.fileno

    def accept(self):
        if self._errors:
            raise self._errors.pop()
        return self._sock.accept()


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (errno.EMFILE, [f"no connection can be accepted: {os.strerror(errno.EMFILE)}"]),  # seldom
        (errno.ECONNABORTED, []),
    ],
)
async def test_who_waits_is_accepted_as_soon_as_that_can_be(error, told, monkeypatch, caplog):
    errors, later = [OSError(error, os.strerror(error)) for _ in range(3)], []
    accept_again = Arrivals._accept_again

    def spoilt(self, listening):
        if isinstance(listening, socket.socket):
            listening = Spoilt(listening, errors)
        else:
            later.append(listening)
        accept_again(self, listening)

    monkeypatch.setattr(Arrivals, "_accept_again", spoilt)
    monkeypatch.setattr(accepting, "FULL_SECONDS", 0.001)
    async with two_ports() as (_chat, port, _held):
        client = await Connection.open(port)
        client.writer.write(ASK)
        assert (await client.reader.readline()).startswith(b"HTTP/1.1 200 ")
        assert not errors
    assert len(later) == (3 if told else 0), "not at once: the loop would do nothing else"
    assert [record.getMessage() for record in caplog.records if record.name.startswith("flychat")] == told


@pytest.mark.gen_test
async def test_a_server_that_has_stopped_accepts_no_more():
    stopped = socket.socket()
    stopped.close()
    Arrivals._accept_again(SimpleNamespace(_loop=asyncio.get_running_loop()), stopped)
