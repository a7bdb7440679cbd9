"""What signals cost: CPU time of one, told to its room, beside an ordinary message's in the same process.

A message is stored, in memory, and makes two events; a signal is not, and makes one. `here` is gathered: its
POST makes no event by itself, and the room is told once in 10 s. From these follows what it costs that
listeners say twice a minute that they are here.

python -m benchmarks.signals [--clients 1000] [--messages 200] [--rounds 5]
"""

from __future__ import annotations

import socket
import time
from dataclasses import replace

from . import harness
from .options import options

ROOM, OTHER, SIGNALS = "/rooms/tea/messages/", "/rooms/coffee/messages/", "/rooms/coffee/signals/"
SERVER = replace(harness.POSTED, get=ROOM, post=ROOM, arguments=(*harness.MEMORY, "--signals"))
SIGNAL = replace(
    SERVER,
    get=OTHER,
    post=SIGNALS,
    body='{"from":"ann","kind":"typing","data":{"n":"@{n}"}}',
    order="@",
    type="application/json",
)
POSTS = 1000  # of `here`
HERE_SECONDS, GATHER = 30.0, 10.0  # between two of a page, and between two tellings


def measure(clients: int, messages: int, *, signals_first: bool) -> dict:
    """Microseconds of CPU for a message, a signal, and a POST of `here`."""
    found = {}
    with harness.running(SERVER) as server:
        kinds = [("message", SERVER), ("signal", SIGNAL)]
        for kind, peer in reversed(kinds) if signals_first else kinds:
            with harness.Client(replace(server, peer=peer)) as client:
                client.do("open", clients, 0, 0, 256)
                server.settle()
                client.do("lock", 3)
                with server.measured() as used:
                    client.do("lock", messages)
                found[kind] = 1e6 * used["cpu"] / messages
            server.settle()
        with server.measured() as used:
            say_here(server.port)
        found["here"] = 1e6 * used["cpu"] / POSTS
    return found


def say_here(port: int) -> None:
    """POSTS of `here`, one after the other, in a room without listeners."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for number in range(POSTS):
            body = f'{{"from":"person {number % 90}","kind":"here"}}'
            head = f"POST {SIGNALS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            answer = connection.recv(4096)
            while not answer.endswith(b"{}\n"):
                more = connection.recv(4096)
                if not more:
                    raise RuntimeError(answer[:200])
                answer += more
            assert answer.startswith(b"HTTP/1.1 202 "), answer[:200]


def run(clients: list[int], messages: int, rounds: int) -> dict[int, dict]:
    """By the number of listeners."""
    runs: dict[int, list[dict]] = {}
    for number in range(rounds):
        for count in clients:
            result = measure(count, messages, signals_first=number % 2 == 1)
            runs.setdefault(count, []).append(result)
    return {count: harness.medians(results) for count, results in runs.items()}


def render(results: dict[int, dict]) -> str:
    head = ["listeners", "a message: CPU us", "a signal", "ratio", "a POST of `here`", "all are here: CPU %"]
    rows = []
    for count, m in results.items():
        present = count * m["here"] / HERE_SECONDS + m["signal"] / GATHER  # us per second
        row = [f"{count:,}", m["message"], m["signal"], m["signal"] / m["message"], m["here"], present / 1e4]
        rows.append(row)
    return harness.table(head, rows)


if __name__ == "__main__":
    given = options(__doc__, clients="1000", messages=200, rounds=5)
    began = time.monotonic()
    print(render(run(given.clients, given.messages, given.rounds)))
    harness.note(f"{time.monotonic() - began:.0f} s")
    print(harness.load())
