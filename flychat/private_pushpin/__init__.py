"""A private Pushpin, for trying GRIP mode without setting anything up (--with-pushpin), and for the tests.

It runs in a directory of its own, from the files in deploy/, with a fresh signature key, and on two free
ports: all its other sockets are files in the directory. It counts as started when both of these have worked:

- A message that was published on its control port has arrived in a stream that it holds. Its ports answer
  before that works, and the control port might belong to another process.
- It has refused a request to an address where nobody listens: a request that its zurl is given too early is
  never answered.

No route leads to the control port, under whatever path: Pushpin 1.41 asks for `/path/../../publish/`, which
arrives as `/publish/`. guard.py ends it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import re
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Coroutine, Mapping, Sequence
from configparser import RawConfigParser
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

from aiohttp import ClientResponse

from ..addresses import host_and_port, reachable
from ..client import http
from ..errors import FlychatError, Misconfigured
from . import guard

STARTING_SECONDS = 30.0  # until it must have started, on a machine that is slow or busy
STOPPING_SECONDS = 5.0  # until it is killed
ISSUER = "flychat-proxy"
WITHOUT_ZURL = (1, 40)  # the first release that is served by pushpin.conf; older ones by pushpin-1.36.conf
TAIL = 8  # lines of the logs that say why Pushpin has ended
DEPLOYED_TARGET = "127.0.0.1:3000"  # in deploy/routes
THROUGH = "/_ready/through"  # the route to NOBODY
NOBODY = "127.0.0.1:1"  # where nobody listens: the port of tcpmux, which is out of use, and only root could
INSTALL = (
    "--with-pushpin needs the program pushpin: install it (Debian, Ubuntu: apt-get install pushpin; "
    "macOS: brew install pushpin; else https://pushpin.org/docs/install/), or use --standalone"
)


class PushpinChild:
    """A running Pushpin: clients go to `url`, flychat's --grip-url is `grip_url`."""

    def __init__(self, process: asyncio.subprocess.Process, directory: Path, url: str, grip_url: str) -> None:
        self.url = url
        self.grip_url = grip_url
        self.directory = directory
        self._process = process

    @classmethod
    async def start(
        cls,
        deploy: Path,
        targets: Sequence[str],
        *,
        program: str = "pushpin",
        host: str = "127.0.0.1",
        port: int = 0,
        control_port: int = 0,
        key: bytes | None = None,
        base_path: str = "",
    ) -> PushpinChild:
        """A Pushpin like the one in the folder `deploy`, in front of `targets`. Raises Misconfigured.

        A port of 0 is a free one; no key, a fresh one; `base_path` is where flychat begins.
        """
        found = shutil.which(program)
        if found is None:
            raise Misconfigured(INSTALL)
        release = await version(found)
        if release is not None and release < WITHOUT_ZURL and any(target[0] == "[" for target in targets):
            raise Misconfigured(f"Pushpin {release[0]}.{release[1]} cannot connect by IPv6: use --host ::")
        template = deploy / configuration_for(release)
        encoded_key = "base64:" + base64.b64encode(key or secrets.token_bytes(32)).decode()

        async def started() -> PushpinChild:
            public, control = _free_port(host, port), _free_port("127.0.0.1", control_port)
            settings = {
                "runner": {"http_port": host_and_port(host, public)},
                "proxy": {"sig_iss": ISSUER, "sig_key": encoded_key},
                "handler": {"push_in_http_port": str(control)},
            }
            directory = _prepared(template, settings, targets, base_path)
            url = f"http://{host_and_port(reachable(host), public)}{base_path}"
            verified = f"verify-iss={ISSUER}&verify-key={quote(encoded_key, safe=':')}"
            process = await _watched(directory, found, "--config=pushpin.conf")
            child = cls(process, directory, f"{url}/", f"http://127.0.0.1:{control}/?{verified}")
            try:
                await child._until_it_serves(_serving(url, control))
            except BaseException:
                await child.stop()
                raise
            return child

        try:
            return await started()
        except Misconfigured:
            if port and control_port:
                raise
            # One that was free may be taken by now. Of its control port Pushpin would not even say so.
            return await started()

    async def _until_it_serves(self, serving: Coroutine[None, None, None]) -> None:
        first = [asyncio.ensure_future(self.ended()), asyncio.ensure_future(serving)]
        done, waiting = await asyncio.wait(
            first, timeout=STARTING_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        for task in waiting:
            task.cancel()
        if first[1] not in done:
            problem = "has ended" if done else "does not serve"
            raise Misconfigured(f"Pushpin {problem}: {self.why()}")
        first[1].result()

    @property
    def pid(self) -> int:
        """Of the guard, which is also the id of the session of all processes."""
        return self._process.pid

    async def ended(self) -> None:
        """Returns when Pushpin has ended, by itself or not."""
        await self._process.wait()

    def why(self) -> str:
        """The ends of its logs, on one line."""
        lines = [
            f"{path.stem}: {line}"
            for path in sorted([self.directory / "runner.log", *self.directory.glob("log/*.log")])
            for line in path.read_text(errors="replace").splitlines()[-TAIL:]
            if "[INFO]" not in line
        ]
        return " | ".join(lines) or "its logs say nothing; it may have been killed"

    async def stop(self) -> None:
        """Ends all its processes."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), STOPPING_SECONDS)
        except TimeoutError:
            self._process.kill()
        guard.kill_session(self.pid)  # in case the guard was killed
        await self._process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def configuration_for(version: tuple[int, int] | None) -> str:
    """The file in deploy/ for a release of Pushpin; one that does not say which it is counts as new."""
    return "pushpin.conf" if version is None or version >= WITHOUT_ZURL else "pushpin-1.36.conf"


async def version(program: str) -> tuple[int, int] | None:
    """Of a Pushpin, which says `pushpin 1.41.0`. Raises Misconfigured if it cannot be run at all."""
    try:
        process = await asyncio.create_subprocess_exec(
            program, "--version", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
    except OSError as error:
        raise Misconfigured(f"{program} cannot be run: {error.strerror}") from None
    try:
        said, _ = await asyncio.wait_for(process.communicate(), STARTING_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise Misconfigured(f"{program} --version does not answer") from None
    number = re.search(rb"(\d+)\.(\d+)", said)
    return (int(number[1]), int(number[2])) if number else None


def _prepared(
    template: Path, settings: Mapping[str, Mapping[str, str]], targets: Sequence[str], base_path: str
) -> Path:
    """A new directory with the configuration."""
    directory = Path(tempfile.mkdtemp(prefix="flychat-"))
    (directory / "pushpin.conf").write_text(_configured(template.read_text(), settings))
    routes = (template.parent / "routes").read_text().replace(DEPLOYED_TARGET, " ".join(targets))
    routes += f"\n*,path_beg={THROUGH} {NOBODY}\n"
    (directory / "routes").write_text(routes.replace("path_beg=", f"path_beg={base_path}"))
    return directory


async def _watched(directory: Path, *command: str) -> asyncio.subprocess.Process:
    """The command, run by guard.py in `directory`."""
    with (directory / "runner.log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", guard.__file__, str(directory), *command),
            stdin=asyncio.subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _configured(text: str, settings: Mapping[str, Mapping[str, str]]) -> str:
    """The configuration file `text` with some settings changed."""
    parser = RawConfigParser()
    parser.read_string(text)
    parser.read_dict(settings)
    configured = io.StringIO()
    parser.write(configured, space_around_delimiters=False)
    return configured.getvalue()


def _free_port(host: str, port: int) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Misconfigured(
                f"Pushpin cannot listen on {host_and_port(host, port)}: {error.strerror} (see --pushpin-port)"
            ) from None
        return int(probe.getsockname()[1])


async def _serving(url: str, control_port: int) -> None:
    """Returns when a published message has arrived in a held stream, and a request was passed on, in vain.

    What is asked too early may never be answered, so it is asked again, with twice the patience each time.
    """
    seconds = 1.0
    while True:
        with contextlib.suppress(FlychatError, OSError):
            async with asyncio.timeout(seconds) as limit:
                await _arrives(url, control_port)
                async with http.request(f"{url}{THROUGH}", {}, direct=True) as answer:
                    if answer.status == HTTPStatus.BAD_GATEWAY:
                        return
        if limit.expired():
            seconds *= 2
        await asyncio.sleep(0.02)


async def _arrives(url: str, control_port: int) -> None:
    mark = secrets.token_hex(8)
    item = {"channel": "test", "http-stream": {"content": mark}}
    async with http.request(f"{url}/_ready/stream", {}, direct=True) as stream:
        await _seen(b"[stream opened]\n", stream)
        body = json.dumps({"items": [item]}).encode()
        await http.fetch(f"http://127.0.0.1:{control_port}/publish/", {}, body, direct=True)
        await _seen(mark.encode(), stream)


async def _seen(text: bytes, stream: ClientResponse) -> None:
    if not (await stream.content.readuntil(text)).endswith(text):
        raise ConnectionError("the stream has ended")
