"""Pushpin as observed (version 1.36), and as its source has it: the rules by which it holds streams, in any loop's time.

- A POST is answered, and its items are taken, in one turn: what one POST brought is passed on before what a later
  one brings, so a publisher that waits for its answers has its order kept.
- An id that was seen on a channel within the last minute is dropped.
- A channel with subscribers remembers its last id: an item with another prev-id waits for its predecessor,
  MESSAGE_WAIT at least, looked at once a second, 100 of them at most, and one for each prev-id; then it passes as
  it is.
- A hold takes an item on a checked channel only if its prev-id is the hold's; at any other, what is queued for
  the hold is thrown away, the channel's last id is forgotten, and the hold is recovered: a GET of its link with its
  positions in `Grip-Last`. QUEUE items wait for it meanwhile; more are dropped. Of these, the first ones that do not
  fit the answer are dropped without a word, until one fits, or is not checked.
- A hold that would send the same GET as one under way shares its answer, although that may have been read before. A GET
  that fails is tried again after 1, 2, 4, 8 and 16 s, by each hold for itself, and then the stream is ended.
- A new hold whose prev-id is not the channel's last id is recovered at once; those of a channel that had no
  subscriber are recovered a second later.
- Holds with the same link and time-out share one timer. When it ends they are recovered, except those that were given
  something on each of their channels since it began: these wait for its next end. So a hold that was just busy, and is
  given nothing more, is recovered within twice the time-out.
- Recoveries begin ten times a second; a `hint` and POST /recover/ ask for one. A hint waits its turn in the queue of a
  hold, and throws away what is behind it. A recovery that is asked for while a GET is under way follows it.
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
    """`state`: it is "holding", or "due" for a recovery, or "asking" for what it misses, or "sending" its queue."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.positions: dict[str, str | None] = {}
        self.link, self.timeout = "", 0.0
        self.state = "sending"
        self.again = ""  # the recovery that follows the one under way: "soon", "now", or none
        self.queue: list[dict] = []
        self.active: set[str] = set()  # channels that brought something since all of them had
        self.timer: Timer | None = None
        self.tries = 0
        self.left = False


class Channel:
    def __init__(self) -> None:
        self.holds: dict[Hold, None] = {}
        self.last: str | None = None
        self.pending: list[tuple[float, dict]] = []


class Timer:
    """Of the holds with one link and one time-out. `later`: those of them that are left to the next time."""

    def __init__(self, key: tuple[float, str]) -> None:
        self.key = key
        self.holds: dict[Hold, None] = {}
        self.later: dict[Hold, None] = {}
        self.handle: asyncio.TimerHandle | None = None


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
        """`dropped` is told of the items without an id that a hold is not given: nothing makes up for those."""
        self._dropped = dropped
        self._loop = asyncio.get_running_loop()
        self._origin, self._chance, self._most = origin, chance, queue
        self._seen: dict[tuple[str, str], float] = {}
        self._channels: dict[str, Channel] = {}
        self._holds: dict[Hold, None] = {}
        self._timers: dict[tuple[float, str], Timer] = {}
        self._due: dict[Hold, None] = {}
        self._asked: dict[tuple[str, ...], list[Hold]] = {}  # by the GETs under way
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
        if self._conflicts(hold):
            hold.state = "holding"
            self._update(hold)
        else:
            self._settle(hold)
        return 200

    def leave(self, wire: Wire) -> None:
        """The client is gone."""
        for hold in [hold for hold in self._holds if hold.wire is wire]:
            self._forget(hold)

    def resume(self, wire: Wire) -> None:
        """The client reads again."""
        for hold in [hold for hold in self._holds if hold.wire is wire]:
            if hold.state in ("holding", "sending"):
                self._send_queue(hold)

    def post(self, path: str, body: bytes) -> None:
        if path == "recover":
            for channel in self._channels.values():
                channel.last = None
            for hold in list(self._holds):
                self._update(hold)
        else:
            for item in json.loads(body)["items"]:
                self._publish({**item, **item.get("formats", {})})

    def stop(self) -> None:
        self._stopped = True
        for hold in list(self._holds):
            self._end(hold)
        for task in self._tasks:
            task.cancel()

    # The sequencer

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
        if prev is None or channel.last in (None, prev):
            self._pass(channel, item)
        elif len(channel.pending) < PENDING and all(prev != other["prev-id"] for _, other in channel.pending):
            channel.pending.append((now, item))
            if len(channel.pending) == 1:
                self._loop.call_later(self._chance.random(), self._look, channel)

    def _look(self, channel: Channel) -> None:
        """Once a second, while something is pending: what has waited long enough passes."""
        for entry in list(channel.pending):
            if entry in channel.pending and self._loop.time() - entry[0] >= MESSAGE_WAIT:
                channel.pending.remove(entry)
                self._pass(channel, entry[1])
        if channel.pending:
            self._loop.call_later(1.0, self._look, channel)

    def _pass(self, channel: Channel, item: dict | None) -> None:
        """To all holds; and then what waited for it, one after the other."""
        while item is not None:
            channel.last = item.get("id")
            for hold in list(channel.holds):
                self._offer(hold, item)
            follows = next(
                (entry for entry in channel.pending if entry[1]["prev-id"] == item.get("id")), None
            )
            if follows is not None:
                channel.pending.remove(follows)
            item = follows and follows[1]

    # The queue of a hold

    def _offer(self, hold: Hold, item: dict) -> None:
        if len(hold.queue) >= self._most:
            return self._throw([item])
        hold.queue.append(item)
        if hold.state == "holding":
            self._send_queue(hold)

    def _send_queue(self, hold: Hold) -> None:
        while hold.queue and not hold.wire.stalled:
            item = hold.queue.pop(0)
            name = item["channel"]
            if hold.positions[name] is not None:
                if item.get("prev-id") != hold.positions[name]:
                    self._channels[name].last = None
                    self._empty(hold)
                    self._update(hold)
                    break
                hold.positions[name] = item.get("id")
            if item["http-stream"].get("action") == "hint":
                self._empty(hold)
                self._update(hold, "now")
                break
            hold.wire.write(item["http-stream"]["content"].encode())
            hold.active.add(name)
            if len(hold.active) == len(hold.positions):
                hold.active.clear()
                self._set_timer(hold)
        if hold.state == "sending" and not hold.queue:
            self._settle(hold)
        elif hold.queue:
            self._stop_timer(hold)

    def _settle(self, hold: Hold) -> None:
        hold.state = "holding"
        hold.active.clear()
        self._set_timer(hold)
        if hold.again:
            self._update(hold, hold.again)

    def _empty(self, hold: Hold) -> None:
        queue, hold.queue = hold.queue, []
        self._throw(queue)

    def _throw(self, items: list[dict]) -> None:
        for item in items:
            if item.get("id") is None and "content" in item["http-stream"]:
                self._dropped(item)

    # Subscribing

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
                    self._loop.call_later(1.0, self._refresh, self._channels[name])
                self._channels[name].holds[hold] = None

    def _conflicts(self, hold: Hold) -> bool:
        conflict = False
        for name, position in hold.positions.items():
            if position is not None and self._channels[name].last not in (None, position):
                self._channels[name].last = None
                conflict = True
        return conflict

    def _refresh(self, channel: Channel) -> None:
        for hold in list(channel.holds):
            self._update(hold)

    # Recovering

    def _set_timer(self, hold: Hold) -> None:
        key = (hold.timeout, hold.link)
        timer = self._timers.get(key)
        if timer is None:
            self._stop_timer(hold)
            timer = self._timers[key] = Timer(key)
            timer.handle = self._loop.call_later(hold.timeout, self._time_out, timer)
        if hold.timer is timer:
            timer.later[hold] = None
        else:
            self._stop_timer(hold)
            hold.timer = timer
            timer.holds[hold] = None

    def _stop_timer(self, hold: Hold) -> None:
        timer, hold.timer = hold.timer, None
        if timer is not None:
            del timer.holds[hold]
            timer.later.pop(hold, None)
            if not timer.holds:
                del self._timers[timer.key]
                assert timer.handle is not None
                timer.handle.cancel()

    def _time_out(self, timer: Timer) -> None:
        due = [hold for hold in timer.holds if hold not in timer.later]
        timer.holds, timer.later = timer.later, {}
        if timer.holds:
            timer.handle = self._loop.call_later(timer.key[0], self._time_out, timer)
        else:
            del self._timers[timer.key]
        for hold in due:
            hold.timer = None
        for hold in due:
            self._update(hold)

    def _update(self, hold: Hold, when: str = "soon") -> None:
        """A recovery: in its turn, or now; after the one that is under way."""
        if hold.state in ("asking", "sending"):
            hold.again = "now" if "now" in (when, hold.again) else "soon"
        elif hold.state == "holding" or when == "now":
            self._due.pop(hold, None)
            self._stop_timer(hold)
            hold.again = ""
            if when == "now":
                self._ask([hold])
                return
            hold.state = "due"
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
        self._ask(due)

    def _ask(self, holds: list[Hold]) -> None:
        for hold in holds:
            hold.state = "asking"
            lasts = (f"{name}; last-id={id}" for name, id in hold.positions.items() if id is not None)
            question = (hold.link, *lasts)
            if question not in self._asked:
                self._asked[question] = []
                self._tasks.append(asyncio.create_task(self._get(*question)))
            self._asked[question].append(hold)

    async def _get(self, link: str, *lasts: str) -> None:
        try:
            status, answer, body = await self._origin(link, [("Grip-Last", last) for last in lasts])
        except OSError:
            status, answer, body = 502, {}, b""
        for hold in self._asked.pop((link, *lasts)):
            if hold.left:
                continue
            if status == 200:
                self._answer(hold, answer, body)
            elif hold.tries == len(RETRIES):
                self._end(hold)
            else:
                self._loop.call_later(RETRIES[hold.tries] + self._chance.random(), self._ask_again, hold)
                hold.tries += 1

    def _ask_again(self, hold: Hold) -> None:
        if not hold.left:
            self._ask([hold])

    def _answer(self, hold: Hold, answer: dict[str, str], body: bytes) -> None:
        hold.tries = 0
        hold.wire.write(body)
        if "Grip-Hold" not in answer:
            return self._end(hold)
        self._subscribe(hold, answer)
        while hold.queue:
            position = hold.positions[hold.queue[0]["channel"]]
            if position is None or position == hold.queue[0].get("prev-id"):
                break
            self._throw([hold.queue.pop(0)])
        hold.state = "sending"
        self._send_queue(hold)

    def _end(self, hold: Hold) -> None:
        self._forget(hold)
        hold.wire.end()

    def _forget(self, hold: Hold) -> None:
        hold.left = True
        del self._holds[hold]
        self._due.pop(hold, None)
        self._stop_timer(hold)
        for name in hold.positions:
            channel = self._channels[name]
            del channel.holds[hold]
            if not channel.holds:
                channel.pending.clear()
                del self._channels[name]
