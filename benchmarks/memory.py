"""Anonymous memory per idle connection, over all of a server's processes; and what stalled readers cost.

python -m benchmarks.memory [--clients 1000,10000,19000] [--rounds 1] [--peers flychat,nchan]
"""

from __future__ import annotations

import socket

from . import harness
from .options import options

STALLED, FLOOD = 500, 600  # clients that read nothing, while so many blocks of 4 kB are published


def measure(peer: harness.Peer, clients: int) -> dict:
    with harness.running(peer) as server, harness.Client(server) as client:
        client.do("open", 10, 0, 0, 10)  # what the first ones cost is no matter of their number
        client.do("lock", 3)
        server.settle()
        before = server.memory()
        client.do("open", clients, 0, 0, 256)
        server.settle()
        return {"bytes": (server.memory() - before) / clients}


def stalled() -> dict:
    """Bytes per idle connection of flychat, and per one that has stopped to read."""
    request = f"GET {harness.STREAM} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n".encode()
    with harness.running(harness.FLYCHAT) as server:
        server.settle()
        start = server.memory()
        readers = []
        for _ in range(STALLED):
            reader = socket.socket()
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect(("127.0.0.1", server.port))
            reader.sendall(request)
            reader.recv(100)
            readers.append(reader)
        server.settle()
        idle = server.memory()
        sender = socket.create_connection(("127.0.0.1", server.port))
        body = b"event: message\ndata: " + b"x" * 4000 + b"\n\n"
        head = (
            f"POST {harness.FLYCHAT.post} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )
        for _ in range(FLOOD):
            sender.sendall(head + body)
            sender.recv(4096)
        server.settle()
        flooded = server.memory()
        for connection in (*readers, sender):
            connection.close()
    return {"idle": (idle - start) / STALLED, "stalled": (flooded - start) / STALLED}


def run(clients: list[int], rounds: int, peers) -> dict[int, tuple]:
    peers = [peer for peer in peers if peer != harness.POSTED]
    return {n: harness.interleaved(peers, lambda p, n=n: measure(p, n), rounds) for n in clients}


def render(results: dict[int, tuple]) -> str:
    names = dict.fromkeys(name for medians, _ in results.values() for name in medians)
    rows = [[name, *(_bytes(medians, name) for medians, _ in results.values())] for name in names]
    return harness.table(["anonymous bytes per idle connection", *(f"{n:,} clients" for n in results)], rows)


def _bytes(medians: dict, name: str) -> object:
    return int(medians[name]["bytes"]) if name in medians else ""


if __name__ == "__main__":
    given = options(__doc__, clients="1000,10000,19000", rounds=1)
    print(render(run(given.clients, given.rounds, given.peers)))
    costs = stalled()
    print(
        f"\nflychat, {STALLED} clients that stop reading: {costs['idle']:,.0f} B each while idle, "
        f"{costs['stalled']:,.0f} B each after {FLOOD * 4} kB were published (the backlog of 1 MB is shared)"
    )
    print(harness.load())
