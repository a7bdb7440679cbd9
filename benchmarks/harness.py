"""What every benchmark needs: the client, the peers, what /proc says of them, and tables.

A benchmark starts each peer afresh, has the one client program hold streams on it, and reads the CPU time of
all of the peer's processes before and after. Runs of the peers are interleaved, and medians are reported.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.support.ports import free_port

HERE = Path(__file__).parent
ROOT = HERE.parent
PEERS = HERE / "peers"
BUILD = Path(
    os.environ.get("FLYCHAT_BENCH_BUILD", Path(tempfile.gettempdir()) / f"flychat-bench-{os.getuid()}")
)
NCHAN_MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
CENTRIFUGO_MODULE = "github.com/centrifugal/centrifugo/v6@v6.9.1"
TICKS = os.sysconf("SC_CLK_TCK")
BLOCK = 150  # bytes of a message on the wire, framing of HTTP aside
STREAM = "/rooms/room/messages/"


class Skipped(Exception):
    """A peer cannot be measured here; the text says why."""


@dataclass(frozen=True)
class Peer:
    """A server to be measured: its command, where its streams are, and how a message is published.

    `body` is that of a POST that has a block of BLOCK bytes delivered; `events` says how many events it is.
    """

    name: str
    get: str
    post: str
    body: str
    order: str = "@"
    sight: str = "@"
    type: str = "text/plain"
    events: int = 1
    arguments: tuple[str, ...] = ()
    replay: str = ""  # where a returning client goes, if not to `get`; and it sends no Last-Event-ID then
    rooms: int = 1  # `{r}` in get, post and body is one of so many

    def command(self, port: int, folder: Path) -> list[str]:
        match self.name.partition(",")[0]:
            case "C loop":
                return [str(compiled("peers/send_loop.c")), str(port)]
            case "nginx + nchan":
                if not NCHAN_MODULE.exists():
                    raise Skipped("apt-get install nginx libnginx-mod-nchan")
                conf = (PEERS / "nchan.conf").read_text()
                (folder / "nginx.conf").write_text(
                    conf.replace("@PORT@", str(port)).replace("@FOLDER@", str(folder))
                )
                return [
                    _program("nginx"),
                    "-p",
                    str(folder),
                    "-c",
                    str(folder / "nginx.conf"),
                    "-e",
                    str(folder / "e"),
                ]
            case "Node http":
                return [_program("node"), str(PEERS / "node_sse.js"), str(port)]
            case "Node":
                return [_program("node"), str(PEERS / "node_chat.js"), str(port)]
            case "Bun":
                return [bun(), str(PEERS / "bun_chat.js"), str(port)]
            case "Centrifugo":
                return [centrifugo(), "-c", str(PEERS / "centrifugo.json"), "--http_server.port", str(port)]
            case "Tornado handlers":
                return [sys.executable, str(PEERS / "tornado_handlers.py"), str(port)]
            case "Starlette":
                return [starlette_python(), str(PEERS / "starlette_sse.py"), str(port)]
            case _:
                return [sys.executable, str(PEERS / "flychat_peer.py"), str(port), *self.arguments]


def _block(before: str = "id: {n}\nevent: message\ndata: ", after: str = "\n\n", taken: int = 0) -> str:
    """A block whose size on the wire, with `taken` bytes that the peer adds, is BLOCK."""
    data = '{"from":"ann","text":"@{n} "}'
    width = len((before + data + after).replace("{n}", "0" * 8)) + taken
    return before + data.replace(' "}', " " + "x" * (BLOCK - width) + '"}') + after


MEMORY = ("--standalone", "--store", "sqlite::memory:")
FORM = "from=ann&text=@{n}&provisionalId={u}"
FLYCHAT = Peer("flychat", STREAM, "/bench/publish", _block(), arguments=MEMORY)
POSTED = Peer(
    "flychat, POST",
    STREAM,
    STREAM,
    FORM,
    "\nid: ",
    "@",
    "application/x-www-form-urlencoded",
    2,
    arguments=MEMORY,
)
C_LOOP = Peer("C loop", "/", "/", _block())
NCHAN = Peer(
    "nginx + nchan", "/sub", "/pub", _block("", "", len("id: 1700000000:0\ndata: \n\n")), replay="/replay"
)
NODE = Peer("Node http", "/", "/", _block())
TORNADO = Peer("Tornado handlers", "/", "/", _block())
STARLETTE = Peer("Starlette", "/", "/", _block())
ALL = (C_LOOP, FLYCHAT, POSTED, NCHAN, NODE, TORNADO, STARLETTE)

# The ordinary chat, of many rooms: each peer takes messages in its own way, and keeps a room's newest 50.
TYPED = f"from=ann&text=@{{n}}+{'x' * 50}&provisionalId={{u}}"
ROOM = "/rooms/room{r}/messages/"
URLENCODED = "application/x-www-form-urlencoded"
CHAT = Peer("flychat", ROOM, ROOM, TYPED, "\nid: ", "@", URLENCODED, 2, arguments=MEMORY)
FILE = ("--standalone", "--store", "sqlite:chat.db")
CHAT_ON_DISK = replace(CHAT, name="flychat, SQLite file", arguments=FILE)
NCHAN_CHAT = replace(NCHAN, get="/sub/room{r}", post="/pub/room{r}", body=TYPED, replay="")
NODE_CHAT = Peer("Node", "/room{r}", "/room{r}", TYPED, "\nid: ", "@", URLENCODED)
BUN_CHAT = replace(NODE_CHAT, name="Bun")
CENTRIFUGO = Peer(
    "Centrifugo",
    "/connection/uni_sse?cf_connect=%7B%22subs%22:%7B%22room{r}%22:%7B%7D%7D%7D",
    "/api/publish",
    f'{{"channel":"room{{r}}","data":{{"from":"ann","text":"@{{n}} {"x" * 50}","provisionalId":"{{u}}"}}}}',
    type="application/json",
)
CHATS = (CHAT, CHAT_ON_DISK, NCHAN_CHAT, NODE_CHAT, BUN_CHAT, CENTRIFUGO)


def unordered(peer: Peer) -> Peer:
    """The peer, for streams that get messages of several clients: ids are in order, numbers are not."""
    return peer if peer.order != peer.sight else replace(peer, order="~")


def compiled(name: str) -> Path:
    """The program of a C file, compiled if it is older than the file."""
    source, program = HERE / name, BUILD / Path(name).stem
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        BUILD.mkdir(parents=True, exist_ok=True)
        fresh = program.with_suffix(f".{os.getpid()}")
        subprocess.run([_program("gcc"), "-O2", "-o", fresh, source], check=True)
        fresh.rename(program)
    return program


def starlette_python() -> str:
    """A Python that has Starlette: a venv of the benchmark's own, made once."""
    if given := os.environ.get("FLYCHAT_BENCH_STARLETTE"):
        return given
    folder = BUILD / "venv"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        venv.create(folder, with_pip=True, clear=True)
        _install([python, "-m", "pip", "-q", "install", "-r", HERE / "requirements.txt"])
        (folder / "complete").touch()
    return str(python)


def bun() -> str:
    """Bun, from its npm package."""
    if given := os.environ.get("FLYCHAT_BENCH_BUN"):
        return given
    folder = BUILD / "bun"
    program = folder / "node_modules" / ".bin" / "bun"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _install([_program("npm"), "install", "--no-audit", "--no-fund", "--prefix", folder, "bun"])
    return str(program)


def centrifugo() -> str:
    """Centrifugo, compiled by Go once, which takes minutes."""
    if given := os.environ.get("FLYCHAT_BENCH_CENTRIFUGO"):
        return given
    program = BUILD / "centrifugo"
    if not program.exists():
        place = {"GOPATH": str(BUILD / "go"), "GOBIN": str(BUILD), "GOFLAGS": "-modcacherw"}
        _install([_program("go"), "install", CENTRIFUGO_MODULE], place)
        shutil.rmtree(BUILD / "go")  # its sources, 1 GB
    return str(program)


def _install(command: list, environ: dict[str, str] | None = None) -> None:
    note(f"installing: {' '.join(map(str, command))}")
    if subprocess.run(command, env={**os.environ, **(environ or {})}, capture_output=True).returncode:
        raise Skipped(f"{command[-1]} cannot be installed")


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin")
    if not found:
        raise Skipped(f"no {name} on this machine")
    return found


@dataclass
class Running:
    """A peer that runs, and what /proc says of all of its processes."""

    peer: Peer
    port: int
    process: subprocess.Popen[bytes]

    def pids(self) -> list[int]:
        pids, parents = [self.process.pid], {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):
                    parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        for parent in pids:
            pids += [pid for pid, its in parents.items() if its == parent]
        return pids

    def cpu(self) -> float:
        """Seconds of user and system time, of all processes."""
        return sum(self.times())

    def times(self) -> tuple[float, float]:
        """Seconds of user and of system time, of all processes."""
        user = system = 0
        for pid in self.pids():
            values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            user, system = user + int(values[11]), system + int(values[12])
        return user / TICKS, system / TICKS

    def memory(self) -> int:
        """Bytes of anonymous memory, of all processes."""
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("RssAnon:"):
                    total += 1024 * int(line.split()[1])
        return total

    def settle(self, seconds: float = 5.0) -> None:
        """Waits until it uses no CPU."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            before = self.cpu()
            time.sleep(0.1)
            if self.cpu() == before:
                return

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return answer.read()

    @contextlib.contextmanager
    def measured(self) -> Iterator[dict]:
        """Yields a dict that has, afterwards, the CPU seconds that were used."""
        result: dict = {}
        before = self.cpu()
        yield result
        self.settle(1.0)
        result["cpu"] = self.cpu() - before


@contextlib.contextmanager
def helper(name: str, *arguments: str) -> Iterator[int]:
    """A program of peers/ that a server needs, started and ended; yields its port."""
    port = free_port()
    process = subprocess.Popen([sys.executable, PEERS / name, str(port), *arguments])
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def running(peer: Peer, environ: dict[str, str] | None = None) -> Iterator[Running]:
    """The peer, started afresh on a free port, and ended."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="flychat-bench-") as folder:
        command = peer.command(port, Path(folder))
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            os.chmod(folder, 0o755)
        unlimited = {
            "FLYCHAT_RATE_LIMIT": "0",
            "FLYCHAT_MAX_STREAMS": "0",
            "FLYCHAT_MAX_STREAMS_PER_CLIENT": "0",
        }
        env = {**os.environ, "PYTHONPATH": str(ROOT), **unlimited, **(environ or {})}
        quiet = subprocess.DEVNULL
        errors = (
            quiet if peer.name.startswith("nginx") else None
        )  # which warns of more connections than files
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=quiet, stderr=errors)
        try:
            _wait_for(port, process)
            yield Running(peer, port, process)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(12)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(2400):  # two minutes: under Valgrind a start takes ten seconds
        if process.poll() is not None:
            raise Skipped(f"{process.args[0]} ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            time.sleep(0.2)
            return
        time.sleep(0.05)
    raise Skipped("it does not listen")


class Client:
    """client.c, on a running peer; `do` gives it a command and returns what it reports, checked.

    With `replay` its streams come back with a position. With `several` senders the order is the server's to
    choose: it must be the same for all streams. Where it is not `whole`, a stream or a POST may be refused.
    """

    def __init__(
        self, server: Running, *, replay: bool = False, several: bool = False, whole: bool = True
    ) -> None:
        peer = server.peer
        get = peer.replay if replay and peer.replay else peer.get
        self._faults = ["order_errors"] + (["gone", "refused", "failed_posts"] if whole else [])
        self._whole = whole
        self.returns = not (replay and peer.replay)
        order = "=@" if several and peer.order == "@" and peer.rooms == 1 else peer.order
        kind = peer.type.replace("{port}", str(server.port))
        publication = [peer.post, kind, peer.body, order, peer.sight]
        arguments = [str(server.port), get, *publication, str(peer.rooms)]
        self._process = subprocess.Popen(
            [compiled("client.c"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def start(self, command: str, *numbers: float) -> None:
        assert self._process.stdin
        self._process.stdin.write(" ".join([command, *map(str, numbers)]) + "\n")
        self._process.stdin.flush()

    def wait(self) -> dict:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the client ended with {self._process.wait()}")
        report = json.loads(line)
        problems = {name: report[name] for name in self._faults if report[name]}
        if problems or (self._whole and not report["complete"]):
            raise RuntimeError(f"not every client got every message in order: {problems} {report}")
        return report

    def do(self, command: str, *numbers: float) -> dict:
        self.start(command, *numbers)
        return self.wait()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def interleaved(peers, measure, rounds: int) -> tuple[dict[str, dict], dict[str, str]]:
    """Medians of `measure(peer)`, a dict of numbers, over rounds through all peers; and what was skipped."""
    results: dict[str, list[dict]] = {}
    skipped: dict[str, str] = {}
    for _ in range(rounds):
        for peer in peers:
            if peer.name in skipped:
                continue
            try:
                results.setdefault(peer.name, []).append(measure(peer))
            except Skipped as reason:
                skipped[peer.name] = str(reason)
            except RuntimeError as failure:
                note(f"{peer.name}: {failure}")
                results.setdefault(peer.name, [])
    middle = {name: medians(runs) for name, runs in results.items() if runs}
    for name, runs in results.items():
        if not runs and name not in skipped:
            skipped[name] = "in no run had every client every message in time"
    return middle, skipped


def medians(runs: list[dict]) -> dict:
    return {key: statistics.median(run[key] for run in runs if key in run) for key in runs[0]}


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def table(head: list[str], rows: list[list]) -> str:
    """Markdown."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return (
            f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
        )
    return f"{value:,}" if isinstance(value, int) else str(value)


def load() -> str:
    return f"{os.cpu_count()} CPUs, load average {os.getloadavg()[0]:.1f}"
