"""Pushpin as observed (version 1.36): the rules by which it holds streams, in memory and in any loop's time.

- An id that was seen on a channel within the last minute is dropped.
- A channel with subscribers remembers its last id: an item with another prev-id waits for its predecessor,
  MESSAGE_WAIT at least, looked at once a second, 100 of them at most; then it passes as it is.
- A hold takes an item on a checked channel only if its prev-id is the hold's; at any other, what is queued for
  the hold is thrown away, and it is recovered: a GET of its link with its positions in `Grip-Last`.
  What came meanwhile follows, without what the answer had already, unless an item without an id is before it.
- Equal GETs are one. A GET that fails is tried again after 1, 2, 4, 8 and 16 s, and then the stream is ended.
  Meanwhile QUEUE items wait for the hold; more are dropped.
- A new hold whose prev-id is not the channel's last id is recovered at once; those of a channel that had no
  subscriber are recovered a second later. A hold that was given nothing until the link's time-out is, too.
- Recoveries begin ten times a second; a `hint` and POST /recover/ ask for one.

Where the real one is unclear, the model takes the worse: what asks for a recovery while one is under way is
forgotten, and only official items postpone the link's time-out.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Awaitable, Callable
from typing import Protocol

MESSAGE_WAIT = 0.5
ID_CACHE = 60.0
PENDING = 100
QUEUE = 100
RETRIES = (1, 2, 4, 8, 16)

Headers = list[tuple[str, str]]
Answer = tuple[int, dict[str, str], bytes]
Origin = Callable[[str, Headers], Awaitable[Answer]]  # raises OSError where nobody listens


class Wire(Protocol):
    """The connection to a client."""

    stalled: bool
    gone: bool

    def write(self, data: bytes) -> object: ...
    def end(self) -> None: ...


class Hold:
    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.positions: dict[str, str | None] = {}
        self.link, self.timeout = "", 0.0
        self.recovering = False
        self.queue: list[dict] = []
        self.timer: asyncio.TimerHandle | None = None
        self.left = False


class Channel:
    def __init__(self) -> None:
        self.holds: dict[Hold, None] = {}
        self.last: str | None = None
        self.pending: list[tuple[float, dict]] = []


class Pushpin:
    """`origin` is the app behind it. To restart it, make a new one after `stop`."""

    def __init__(
        self,
        origin: Origin,
        chance: random.Random,
        *,
        queue: int = QUEUE,
        dropped: Callable[[dict], None] = lambda item: None,
    ) -> None:
        """`dropped` is told of the items that a hold is not given."""
        self.counts = {"recoveries": 0, "retries": 0}
        self._dropped = dropped
        self._loop = asyncio.get_running_loop()
        self._origin, self._chance, self._most = origin, chance, queue
        self._seen: dict[tuple[str, str], float] = {}
        self._channels: dict[str, Channel] = {}
        self._holds: dict[Hold, None] = {}
        self._due: dict[Hold, None] = {}
        self._ticking = False
        self._stopped = False
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, wire: Wire, path: str, headers: Headers) -> int:
        """A client's request; gives the status, and holds the stream if it is 200."""
        try:
            status, answer, body = await self._origin(path, headers)
        except OSError:
            return 502
        if status != 200 or self._stopped or wire.gone:
            return 0 if self._stopped else status
        hold = Hold(wire)
        self._holds[hold] = None
        wire.write(body)
        self._subscribe(hold, answer)
        for name, position in hold.positions.items():
            channel = self._channels[name]
            if position is not None and channel.last not in (None, position):
                self._recover(hold)
        return 200

    def leave(self, wire: Wire) -> None:
        """The client is gone."""
        for hold in [hold for hold in self._holds if hold.wire is wire]:
            self._forget(hold)

    def resume(self, wire: Wire) -> None:
        """The client reads again."""
        for hold in [hold for hold in self._holds if hold.wire is wire and not hold.recovering]:
            self._take_queued(hold)

    def post(self, path: str, body: bytes) -> None:
        if path == "recover":
            for hold in list(self._holds):
                self._recover(hold)
        else:
            for item in json.loads(body)["items"]:
                self._publish(item)

    def stop(self) -> None:
        self._stopped = True
        for hold in list(self._holds):
            self._end(hold)
        for task in self._tasks:
            task.cancel()

    def _publish(self, item: dict) -> None:
        now, name, id, prev = self._loop.time(), item["channel"], item.get("id"), item.get("prev-id")
        if id is not None:
            assert isinstance(id, str)
            assert isinstance(prev, str)
            if now - self._seen.get((name, id), -ID_CACHE) < ID_CACHE:
                return
            self._seen[name, id] = now
        channel = self._channels.get(name)
        if channel is None:
            return
        if item["http-stream"].get("action") == "hint":
            self._ask_for(list(channel.holds))
        elif id is None or channel.last in (None, prev):
            self._pass(channel, item)
            self._release(channel)
        elif len(channel.pending) < PENDING:
            channel.pending.append((now, item))
            if len(channel.pending) == 1:
                self._loop.call_later(self._chance.random(), self._look, name)

    def _look(self, name: str) -> None:
        """Once a second, while something is pending: what has waited long enough passes."""
        channel = self._channels.get(name)
        if channel is None or self._stopped:
            return
        for since, item in list(channel.pending):
            if self._loop.time() - since >= MESSAGE_WAIT and (since, item) in channel.pending:
                channel.pending.remove((since, item))
                self._pass(channel, item)
                self._release(channel)
        if channel.pending:
            self._loop.call_later(1.0, self._look, name)

    def _release(self, channel: Channel) -> None:
        again = True
        while again:
            again = False
            for entry in channel.pending:
                if entry[1]["prev-id"] == channel.last:
                    channel.pending.remove(entry)
                    self._pass(channel, entry[1])
                    again = True
                    break

    def _pass(self, channel: Channel, item: dict) -> None:
        if item.get("id") is not None:
            channel.last = item["id"]
        for hold in list(channel.holds):
            self._give(hold, item)

    def _give(self, hold: Hold, item: dict) -> None:
        if hold.recovering or hold.wire.stalled:
            if len(hold.queue) < self._most:
                hold.queue.append(item)
            else:
                self._dropped(item)
            return
        name, id = item["channel"], item.get("id")
        position = hold.positions.get(name)
        if id is not None and position is not None:
            if item["prev-id"] != position:
                return self._recover(hold)
            hold.positions[name] = id
            self._set_timer(hold)
        hold.wire.write(item["http-stream"]["content"].encode())

    def _take_queued(self, hold: Hold) -> None:
        queue, hold.queue = hold.queue, []
        while queue and not hold.recovering:
            self._give(hold, queue.pop(0))
        for item in queue:
            self._dropped(item)

    def _subscribe(self, hold: Hold, answer: dict[str, str]) -> None:
        assert answer["Grip-Hold"] == "stream"
        link = re.fullmatch(r"<([^>]+)>; rel=next; timeout=(\d+)", answer["Grip-Link"])
        assert link is not None
        hold.link, hold.timeout = link[1], float(link[2])
        before, hold.positions = hold.positions, {}
        for part in answer["Grip-Channel"].split(","):
            name, *parameters = (piece.strip() for piece in part.split(";"))
            hold.positions[name] = next(
                (p.removeprefix("prev-id=") for p in parameters if p.startswith("prev-id=")), None
            )
            if name not in before:
                if name not in self._channels:
                    self._channels[name] = Channel()
                    self._loop.call_later(1.0, self._refresh, name)
                self._channels[name].holds[hold] = None
        self._set_timer(hold)

    def _refresh(self, name: str) -> None:
        for hold in list(self._channels[name].holds) if name in self._channels else ():
            self._recover(hold)

    def _set_timer(self, hold: Hold) -> None:
        if hold.timer is not None:
            hold.timer.cancel()
        hold.timer = self._loop.call_later(hold.timeout, self._recover, hold)

    def _recover(self, hold: Hold) -> None:
        """In its turn."""
        if hold.recovering or hold.left:
            return
        self._begin(hold)
        self._due[hold] = None
        if not self._ticking:
            self._ticking = True
            self._loop.call_later(0.1, self._tick)

    def _tick(self) -> None:
        due = list(self._due)[:100]
        for hold in due:
            del self._due[hold]
        self._ticking = bool(self._due)
        if self._ticking:
            self._loop.call_later(0.1, self._tick)
        self._ask([hold for hold in due if not hold.left])

    def _ask_for(self, holds: list[Hold]) -> None:
        holds = [hold for hold in holds if not hold.recovering]
        for hold in holds:
            self._begin(hold)
        self._ask(holds)

    def _begin(self, hold: Hold) -> None:
        for item in hold.queue:
            self._dropped(item)
        hold.recovering, hold.queue = True, []

    def _ask(self, holds: list[Hold]) -> None:
        groups: dict[tuple[str, ...], list[Hold]] = {}
        for hold in holds:
            lasts = (f"{name}; last-id={id}" for name, id in hold.positions.items() if id is not None)
            groups.setdefault((hold.link, *lasts), []).append(hold)
        for (link, *lasts), group in groups.items():
            self._tasks.append(asyncio.create_task(self._get(link, [("Grip-Last", v) for v in lasts], group)))

    async def _get(self, link: str, headers: Headers, holds: list[Hold]) -> None:
        for pause in (*RETRIES, None):
            self.counts["recoveries"] += 1
            try:
                status, answer, body = await self._origin(link, headers)
            except OSError:
                status, answer, body = 502, {}, b""
            if status == 200:
                break
            if pause is None:
                for hold in holds:
                    self._end(hold)
                return
            self.counts["retries"] += 1
            await asyncio.sleep(pause + self._chance.random())
        for hold in holds:
            if hold.left:
                continue
            hold.wire.write(body)
            if "Grip-Hold" not in answer:
                self._end(hold)
                continue
            self._subscribe(hold, answer)
            hold.recovering = False
            self._skip_known(hold)
            if not hold.wire.stalled:
                self._take_queued(hold)

    def _skip_known(self, hold: Hold) -> None:
        """Of the items that begin its queue, those that the recovery brought; not behind one without an id."""
        for place, item in enumerate(hold.queue):
            if item.get("id") is None:
                break
            if item["id"] == hold.positions.get(item["channel"]):
                del hold.queue[: place + 1]
                break

    def _end(self, hold: Hold) -> None:
        self._forget(hold)
        hold.wire.end()

    def _forget(self, hold: Hold) -> None:
        hold.left = True
        self._holds.pop(hold, None)
        self._due.pop(hold, None)
        if hold.timer is not None:
            hold.timer.cancel()
        for name in hold.positions:
            channel = self._channels[name]
            channel.holds.pop(hold, None)
            if not channel.holds:
                del self._channels[name]
