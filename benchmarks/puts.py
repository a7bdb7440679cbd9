"""CPU time of one PutItem in the process that puts: by aioboto3 as flychat configures it, and directly.

The store is the stand-in for DynamoDB, in another process. All that `DynamoEngine.put` does is in it.

python -m benchmarks.puts [--senders 1,16] [--puts 2000] [--rounds 5]
"""

from __future__ import annotations

import asyncio
import time

from flychat.commits import Commit
from flychat.messages import Draft
from flychat.storage.dynamodb import DynamoEngine

from . import harness
from .options import options

WAYS = ("aioboto3", "direct")


async def measure(engine: DynamoEngine, rooms: list[str], puts: int) -> float:
    """Microseconds per put; each room is written to by one sender."""

    async def send(room: str) -> None:
        draft = Draft.create(room, {"from": "ann", "text": "x" * 50}, now=0)
        for n in range(puts // len(rooms)):
            await engine.put(Commit.of(1 + n, [draft]))

    before = time.process_time()
    await asyncio.gather(*map(send, rooms))
    return 1e6 * (time.process_time() - before) / (puts // len(rooms) * len(rooms))


async def run(senders: list[int], puts: int, rounds: int) -> dict[int, dict]:
    """By senders; the first round is to warm up."""
    results: dict[int, list[dict]] = {}
    with harness.helper("dynamo_stand_in.py", "0") as port:
        environ = {"AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{port}"}
        environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
        engines = {w: await DynamoEngine.open("bench", {**environ, "FLYCHAT_DYNAMODB": w}) for w in WAYS}
        for number in range(rounds + 1):
            for n in senders:
                row = {}
                for way, engine in engines.items():
                    rooms = [f"{way} {number} {n} {sender}" for sender in range(n)]
                    row[way] = await measure(engine, rooms, puts)
                if number:
                    results.setdefault(n, []).append(row)
        for engine in engines.values():
            await engine.close()
    return {n: harness.medians(rows) for n, rows in results.items()}


def render(results: dict[int, dict]) -> str:
    head = ["puts at once", *(f"{way}: CPU us" for way in WAYS)]
    return harness.table(head, [[n, *row.values()] for n, row in results.items()])


if __name__ == "__main__":
    given = options(__doc__, senders="1,16", puts=2000, rounds=5)
    print(render(asyncio.run(run([int(n) for n in given.senders.split(",")], given.puts, given.rounds))))
    print(harness.load())
