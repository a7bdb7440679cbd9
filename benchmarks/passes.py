"""What a private room costs: CPU time per stream that is opened, and per idle stream, beside a public one.

One server has both rooms, and is asked for streams of the one and of the other by turns. Each private stream
has a token of its own; opened "again" is with a token that the server has verified before. In GRIP mode
flychat alone is counted, without Pushpin; there an idle stream costs its recoveries, which a pass makes more
frequent.

python -m benchmarks.passes [--streams 500] [--seconds 30] [--rounds 3]
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace

import jwt

from tests.support.ports import free_port

from . import harness
from .grip import Alone
from .options import options

KEY = "a key that is known to the benchmark, of 32 bytes"
PUBLIC, PRIVATE = "public", "private"
STORE = ("--store", "sqlite::memory:")
MODES = {"standalone": ("--standalone",), "grip": ("--grip", "--with-pushpin", "--pushpin-port")}


def bearer(number: int) -> str:
    now = int(time.time())
    claims = {"sub": f"user{number}", "rooms": {PRIVATE: "r"}, "iat": now - 1, "exp": now + 3600}
    return f"Authorization: Bearer {jwt.encode(claims, KEY)}\r\n"


@contextlib.contextmanager
def streams(port: int, room: str, headers: list[str]) -> Iterator[None]:
    """One for each; all are open in the block."""
    with contextlib.ExitStack() as stack:
        for header in headers:
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            path = f"/rooms/{room}/messages/"
            request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n{header}\r\n"
            client.sendall(request.encode())
            answer = b""
            while b"event: stream-open" not in answer:
                more = client.recv(65_536)
                if not more:
                    raise RuntimeError(answer[:200])
                answer += more
        yield


def measure(mode: str, count: int, seconds: float, *, private_first: bool) -> dict:
    """Microseconds of CPU per stream that is opened, and per stream and second that is idle."""
    with tempfile.NamedTemporaryFile("w", prefix="flychat-bench-") as secret:
        secret.write(KEY + "\n")
        secret.flush()
        entrance = free_port()
        arguments = MODES[mode] if mode == "standalone" else (*MODES[mode], str(entrance))
        more = ("--secret", secret.name, "--access", f"{PRIVATE}=")
        peer = replace(harness.CHAT, arguments=(*arguments, *STORE, *more))
        with harness.running(peer) as server:
            server.get("/readyz")  # in GRIP mode not answered before Pushpin works
            port = server.port if mode == "standalone" else entrance
            app = Alone(peer, server.port, server.process)
            tokens = [bearer(n) for n in range(count)]
            with streams(port, PUBLIC, [""] * 20), streams(port, PRIVATE, [bearer(-1)] * 20):
                pass  # warm
            kinds = [(PUBLIC, PUBLIC, [""] * count), (PRIVATE, PRIVATE, tokens), ("again", PRIVATE, tokens)]
            found = {}
            for kind, room, headers in [*kinds[1:], kinds[0]] if private_first else kinds:
                server.settle()
                before = app.cpu()
                with streams(port, room, headers):
                    found[f"{kind}_open"] = 1e6 * (app.cpu() - before) / count
                    if kind != "again":
                        before = app.cpu()
                        time.sleep(seconds)
                        found[f"{kind}_idle"] = 1e6 * (app.cpu() - before) / count / seconds
            return found


def run(count: int, seconds: float, rounds: int) -> dict[str, dict]:
    """By mode."""
    runs: dict[str, list[dict]] = {}
    for number in range(rounds):
        for mode in MODES:
            with contextlib.suppress(harness.Skipped):
                result = measure(mode, count, seconds, private_first=number % 2 == 1)
                runs.setdefault(mode, []).append(result)
    return {mode: harness.medians(results) for mode, results in runs.items()}


def render(results: dict[str, dict]) -> str:
    head = ["mode", "what", "public: CPU us", "private", "ratio"]
    rows = []
    for mode, m in results.items():
        for what, kind in (
            ("open, a new token", "private_open"),
            ("open, a token that was seen", "again_open"),
        ):
            rows.append([mode, what, m["public_open"], m[kind], m[kind] / m["public_open"]])
        ratio = m["private_idle"] / m["public_idle"] if m["public_idle"] else ""
        rows.append([mode, "idle, for a second", m["public_idle"], m["private_idle"], ratio])
    return harness.table(head, rows)


if __name__ == "__main__":
    given = options(__doc__, streams=500, seconds=30.0, rounds=3)
    print(render(run(given.streams, given.seconds, given.rounds)))
    print(harness.load())
