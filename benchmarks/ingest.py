"""Messages per second from senders that wait for their answers, and CPU time per message.

Into one room and into 100, by 1, 16 and 256 senders, over SQLite in a file and in memory, and over a stand-in
for DynamoDB that answers after 7 ms, with the write units per message. Then behind a GRIP proxy that only
counts: how many POSTs it is sent per message.

python -m benchmarks.ingest [--senders 1,16,256] [--messages 4000] [--rounds 3]
"""

from __future__ import annotations

import contextlib
import json
import urllib.request
from dataclasses import replace

from . import harness
from .options import options

STORE_SECONDS = 0.007
STORES = ("sqlite::memory:", "sqlite:bench.db", "dynamodb:bench")
TEXT = "x" * 50
BODY = f"from=ann&text=@{{n}}+{TEXT}&provisionalId={{u}}"


def measure(store: str, rooms: int, senders: int, messages: int, mode: str = "--standalone") -> dict:
    path = "/rooms/room/messages/" if rooms == 1 else "/rooms/room{r}/messages/"
    messages = min(messages, 500 * senders)
    with contextlib.ExitStack() as stack:
        environ, arguments = {}, [mode, "--store", store]
        dynamo = sink = 0
        if store.startswith("dynamodb"):
            dynamo = stack.enter_context(harness.helper("dynamo_stand_in.py", str(STORE_SECONDS)))
            environ["AWS_ENDPOINT_URL_DYNAMODB"] = f"http://127.0.0.1:{dynamo}"
        if mode == "--grip":
            sink = stack.enter_context(harness.helper("grip_sink.py"))
            arguments += ["--grip-url", f"http://127.0.0.1:{sink}"]
        peer = replace(harness.POSTED, post=path, body=BODY, rooms=rooms, arguments=tuple(arguments))
        server = stack.enter_context(harness.running(peer, environ))
        client = stack.enter_context(harness.Client(server))
        client.do("burst", min(messages, 200), senders)  # warm
        before = {port: counted(port) for port in (dynamo, sink) if port}
        with server.measured() as used:
            report = client.do("burst", messages, senders)
        result = {
            "per_second": messages / report["seconds"],
            "cpu_us": 1e6 * used["cpu"] / messages,
            "p50_ms": report["post_ms"][0],
            "p99_ms": report["post_ms"][1],
        }
        if dynamo:
            result["units"] = (counted(dynamo)["units"] - before[dynamo]["units"]) / messages
        if sink:
            after = counted(sink)
            result["publishes"] = (after["posts"] - before[sink]["posts"]) / messages
            result["items"] = (after["items"] - before[sink]["items"]) / messages
        return result


def counted(port: int, path: str = "/") -> dict:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        counts: dict = json.load(answer)
        return counts


def run(senders: list[int], messages: int, rounds: int) -> dict[tuple, dict]:
    """By (store, rooms, senders, mode)."""
    cases = [(store, rooms, n, "--standalone") for rooms in (1, 100) for n in senders for store in STORES]
    cases += [("sqlite::memory:", 1, n, "--grip") for n in senders]
    runs: dict[tuple, list[dict]] = {}
    for _ in range(rounds):
        for case in cases:
            store, rooms, n, mode = case
            try:
                runs.setdefault(case, []).append(measure(store, rooms, n, messages, mode))
            except (RuntimeError, harness.Skipped) as failure:
                harness.note(f"{case}: {failure}")
    return {case: harness.medians(results) for case, results in runs.items() if results}


def render(results: dict[tuple, dict]) -> str:
    names = {
        "sqlite::memory:": "SQLite, memory",
        "sqlite:bench.db": "SQLite, file",
        "dynamodb:bench": "7 ms away",
    }
    rows, grip = [], []
    for (store, rooms, senders, mode), m in results.items():
        memory = results.get(("sqlite::memory:", rooms, senders, "--standalone"), {}).get("per_second", 0)
        row = [names[store], rooms, senders, int(m["per_second"]), m["cpu_us"], m["p50_ms"], m["p99_ms"]]
        if mode == "--grip":
            grip.append([senders, *row[3:], m["publishes"], m["items"]])
        else:
            rows.append([*row, m["per_second"] / memory if memory else "", m.get("units", "")])
    head = [
        "store",
        "rooms",
        "senders",
        "messages/s",
        "CPU us/message",
        "p50 ms",
        "p99 ms",
        "x memory",
        "units/message",
    ]
    grip_head = [
        "GRIP: senders",
        "messages/s",
        "CPU us/message",
        "p50 ms",
        "p99 ms",
        "publishes/message",
        "items/message",
    ]
    return harness.table(head, rows) + "\n\n" + harness.table(grip_head, grip)


if __name__ == "__main__":
    given = options(__doc__, senders="1,16,256", messages=4000, rounds=3)
    print(render(run([int(n) for n in given.senders.split(",")], given.messages, given.rounds)))
    print(harness.load())
