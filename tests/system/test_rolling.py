"""An upgrade, as docs/operating.md has it: two processes behind one Pushpin, restarted one after the other under load."""

from __future__ import annotations

import asyncio
import json
import signal
import uuid

import pytest

from tests.proof.oracle import WAIT, fetch, history, post
from tests.support.ports import free_port
from tests.support.pushpin_proxy import App, eventually, new_room
from tests.support.sse_parser import parse

WRITERS = 6
HELD = 25


class Load:
    """Writers that send one message after the other, each until it is acknowledged, and then tell its id."""

    def __init__(self, ways: list[str], room: str) -> None:
        self.room = room
        self.acknowledged: dict[str, int] = {}  # provisionalId -> id
        self.strange: list[tuple[int, dict]] = []  # answers that no client would send again after
        self._stopping = False
        self._progress = asyncio.Condition()
        self._writers = [
            asyncio.create_task(self._write(f"writer {n}", ways[n % len(ways) :] + ways[: n % len(ways)]))
            for n in range(WRITERS)
        ]

    async def _write(self, name: str, ways: list[str]) -> None:
        while not self._stopping:
            key, status = str(uuid.uuid4()), 0
            for tries in range(200):
                status, answer = await post(ways[0], self.room, "hello", key, name)
                if status == 200:
                    break
                if status not in (0, 502, 503):  # no connection, no app behind the proxy, an app that ends
                    self.strange.append((status, answer))
                ways = ways[1:] + ways[:1]
                await asyncio.sleep(0.01 * tries)  # a client's back-off
            assert status == 200, "never acknowledged"
            async with self._progress:
                self.acknowledged[key] = answer["id"]
                self._progress.notify_all()

    async def goes_on(self, messages: int = 15) -> None:
        """Waits until so many more are acknowledged."""
        wanted = len(self.acknowledged) + messages
        async with asyncio.timeout(WAIT), self._progress:
            await self._progress.wait_for(lambda: len(self.acknowledged) >= wanted)

    async def stop(self) -> None:
        self._stopping = True
        await asyncio.gather(*self._writers)


async def ready(app: App) -> bool:
    return (await fetch(app.url, "/readyz"))[0] == 200


@pytest.mark.gen_test
async def test_a_rolling_restart_under_load_loses_no_post_and_no_message_and_cuts_nobody(stage, dynamo_table):
    ports = [free_port(), free_port()]
    pushpin = await stage.pushpin(*ports)
    store, environ, _ = dynamo_table
    apps = [await stage.app(port, [pushpin.grip_url], store=store, environ=environ) for port in ports]
    crowd = await stage.crowd(pushpin.url, room := new_room(), HELD)

    # Some write through the proxy, some to an app, so that both have POSTs in flight when they are told to end.
    load = Load([pushpin.url, *(app.url for app in apps)], room)
    for app in apps:
        await load.goes_on()
        assert await app.kill(signal.SIGTERM) == 0
        await load.goes_on()  # without it
        await app.start()
        await eventually(lambda app=app: ready(app))
    await load.goes_on()
    await load.stop()

    last = len(load.acknowledged)
    await crowd.until_id(last)
    blocks = crowd.check(last)  # each once, in order, over the connection that was there before
    seen = {}
    for id, block in blocks.items():
        (event,) = parse(block)
        seen[json.loads(event.data)["provisionalId"]] = id
    assert seen == load.acknowledged
    assert load.strange == []
    newest = await history(apps[0].url, room)
    assert {message["provisionalId"]: message["id"] for message in newest} == {
        key: id for key, id in seen.items() if id > last - 200
    }
