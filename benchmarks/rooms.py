"""The ordinary chat: many rooms of a few listeners each, and senders who wait for their answers.

CPU time of the server per POST, with all of its deliveries, and per stream that is opened in rooms of which
the server knows nothing yet. Every listener must get every message of its room once and in order.

python -m benchmarks.rooms [--rooms 1000] [--listeners 5] [--posts 10000] [--senders 16] [--head short]
    [--rounds 3] [--peers flychat,nchan,node]

--head browser: the POSTs have what a browser sends with a fetch, 600 bytes; else it is a program's 120.
"""

from __future__ import annotations

from dataclasses import replace

from . import harness
from .options import options

ROOMS, LISTENERS, POSTS, SENDERS = 1000, 5, 10_000, 16
BROWSER = "\r\n".join(
    (
        "",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        "Accept: application/json",
        "Accept-Language: en-US,en;q=0.5",
        "Accept-Encoding: gzip, deflate, br, zstd",
        "Referer: http://127.0.0.1:{port}/room1?user=ann",
        "Origin: http://127.0.0.1:{port}",
        "Connection: keep-alive",
        "Cookie: flychat_user=ann",
        "Sec-Fetch-Dest: empty",
        "Sec-Fetch-Mode: cors",
        "Sec-Fetch-Site: same-origin",
        "Priority: u=0",
    )
)


def measure(peer: harness.Peer, listeners: int, posts: int, senders: int) -> dict:
    streams = peer.rooms * listeners
    with harness.running(peer) as server, harness.Client(server) as client:
        before = server.memory()
        with server.measured() as opening:
            client.do("open", streams, 0, 0, 256)
        held = server.memory()
        client.do("burst", max(peer.rooms, posts // 10), senders)  # warm: each room has had a message
        server.settle()
        with server.measured() as posting:
            report = client.do("burst", posts, senders)
        return {
            "post_us": 1e6 * posting["cpu"] / posts,
            "per_second": posts / report["seconds"],
            "post_p99_ms": report["post_ms"][1],
            "delivery_p99_ms": report["delivery_ms"][1],
            "stream_us": 1e6 * opening["cpu"] / streams,
            "bytes": (held - before) / streams,
        }


def run(peers, rounds: int, rooms=ROOMS, listeners=LISTENERS, posts=POSTS, senders=SENDERS) -> tuple:
    peers = [replace(peer, rooms=rooms) for peer in peers]
    return harness.interleaved(peers, lambda p: measure(p, listeners, posts, senders), rounds)


def render(title: str, medians: dict, skipped: dict) -> str:
    node = medians.get("Node", {}).get("post_us", 0)
    rows = [
        [
            name,
            m["post_us"],
            m["post_us"] / node if node else "",
            int(m["per_second"]),
            m["post_p99_ms"],
            m["delivery_p99_ms"],
            m["stream_us"],
            int(m["bytes"]),
        ]
        for name, m in medians.items()
    ]
    head = [
        "",
        "CPU us/POST",
        "x Node",
        "POSTs/s",
        "POST p99 ms",
        "delivery p99 ms",
        "CPU us/stream",
        "B/stream",
    ]
    skips = "".join(f"\n\n{name}: skipped, {why}" for name, why in skipped.items())
    return f"{title}\n\n{harness.table(head, rows)}{skips}"


def title(rooms: int = ROOMS, listeners: int = LISTENERS, senders: int = SENDERS) -> str:
    return f"{rooms:,} rooms of {listeners} listeners, POSTs over {senders} connections"


if __name__ == "__main__":
    given = options(
        __doc__,
        harness.CHATS,
        rooms=ROOMS,
        listeners=LISTENERS,
        posts=POSTS,
        senders=SENDERS,
        head="short",
        rounds=3,
    )
    if given.head == "browser":
        given.peers = [replace(peer, type=peer.type + BROWSER) for peer in given.peers]
    sizes = given.rooms, given.listeners, given.posts, given.senders
    print(render(title(given.rooms, given.listeners, given.senders), *run(given.peers, given.rounds, *sizes)))
    print(harness.load())
