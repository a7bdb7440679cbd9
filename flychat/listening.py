"""Where the server listens: at an address, on a Unix socket, or on the sockets that it was given.

`::` is every address of the machine, IPv4 and IPv6. It takes two sockets: on a single one for both, IPv4
clients would have IPv6 addresses, which take five times as long to read.

A Unix socket, `unix:PATH`, is open to everybody on the machine, as a port is, whatever the umask: restrict it
by the permissions of its folder. The file gets its name when the server listens already. One that was left
behind, where nobody listens, is replaced. When the server ends it removes the file, unless it is another
server's by then.

Sockets are given by systemd, or a program that does the same (socket activation, sd_listen_fds(3)):
LISTEN_FDS of them, from descriptor 3 on, if LISTEN_PID is this very process. The giver has them open as well,
so clients that connect while no server runs wait for the next one, and are not refused.

Clients of a Unix socket have no address, so limits would count all of them as one: a proxy has to say who
they are (--trust-proxy).
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Mapping

from tornado.netutil import bind_sockets

from .addresses import host_and_port
from .config import Config
from .errors import Misconfigured

BOTH_FAMILIES = ("::", "0.0.0.0")
BACKLOG = 4096  # connections that the kernel queues while the server is busy
FIRST_GIVEN = 3  # the first descriptor of those given (SD_LISTEN_FDS_START)
MOST_GIVEN = 100
FILE_MODE = 0o666
ANSWER_SECONDS = 5.0  # for a server that may listen on a Unix socket already


def listen(config: Config, environ: Mapping[str, str] = os.environ) -> list[socket.socket]:
    """The sockets to listen on: those given, else our own. Raises Misconfigured."""
    sockets = given(environ) or opened(config)
    if not config.trust_proxy and any(sock.family == socket.AF_UNIX for sock in sockets):
        close(sockets)
        raise Misconfigured(
            "a Unix socket needs --trust-proxy: only a proxy in front can say who the clients are"
        )
    return sockets


def opened(config: Config) -> list[socket.socket]:
    """Sockets of our own. Raises Misconfigured."""
    place = f"{config.host}:{config.port}" if config.socket_file is None else config.host
    sockets: list[socket.socket] = []
    try:
        if config.socket_file is not None:
            return [SocketFile(config.socket_file)]
        for host in BOTH_FAMILIES if config.host == "::" else [config.host]:
            port = sockets[0].getsockname()[1] if sockets else config.port
            sockets += bind_sockets(port, host, backlog=BACKLOG)
        return sockets
    except UnicodeError:
        why = "that is no address"
    except OSError as error:
        why = error.strerror or str(error)
    close(sockets)
    raise Misconfigured(f"cannot listen on {place}: {why}") from None


class SocketFile(socket.socket):
    """A Unix socket, whose file is removed when it is closed. Raises OSError."""

    def __init__(self, path: str) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self.path, self._made = path, (0, 0)
        new = f"{path}~"
        try:
            if is_listening(path):
                raise FileExistsError(None, "another server listens there")
            with contextlib.suppress(FileNotFoundError):
                if not stat.S_ISSOCK(os.lstat(new).st_mode):
                    raise FileExistsError(None, f"{new} is in the way")
                os.unlink(new)
            self.bind(new)
            os.chmod(new, FILE_MODE)
            self.listen(BACKLOG)
            self.setblocking(False)
            self._made = _identity(new)
            os.rename(new, path)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        with contextlib.suppress(OSError):
            if self.fileno() >= 0 and _identity(self.path) == self._made:
                os.unlink(self.path)
        super().close()


def is_listening(path: str) -> bool:
    """Whether a server listens on the Unix socket of this name. Raises OSError if it is another file."""
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise FileExistsError(None, "there is something else of that name")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(ANSWER_SECONDS)
            with contextlib.suppress(TimeoutError, BlockingIOError):  # it is busy
                probe.connect(path)
            return True
    return False


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def given(environ: Mapping[str, str]) -> list[socket.socket]:
    """The sockets that were opened for this process; [] if none were. Raises Misconfigured."""
    number = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(os.getpid()) or number in ("", "0"):
        return []
    if not number.isdecimal() or int(number) > MOST_GIVEN:
        raise Misconfigured("LISTEN_FDS must be a number of sockets")
    return [_given(descriptor) for descriptor in range(FIRST_GIVEN, FIRST_GIVEN + int(number))]


def _given(descriptor: int) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)
        sock = socket.socket(fileno=descriptor)
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:
        listens = 0
    if not listens or sock.type != socket.SOCK_STREAM:
        raise Misconfigured(f"LISTEN_FDS: descriptor {descriptor} is no socket that listens")
    sock.setblocking(False)
    return sock


def close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def url_of(sockets: list[socket.socket], base_path: str) -> str:
    first = sockets[0]
    if first.family == socket.AF_UNIX:
        return f"unix:{first.path if isinstance(first, SocketFile) else first.getsockname()}"
    return f"http://{host_and_port(*first.getsockname()[:2])}{base_path}/"
