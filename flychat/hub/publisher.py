"""Publishing to a GRIP proxy: a queue with one POST in flight, so that the items arrive in their order.

A batch that failed is sent again as it is: the proxy drops an id that it has seen, and clients cope with
provisional events that come twice. The queue is bounded, and items that are given up are made up for:

- the proxy is asked, by a `hint`, to recover the rooms of the official items that were dropped;
- where these are too many to remember, and at the start, because the process before this one may have
  died between a write and its publication, it is asked to recover everybody (`POST /recover/`).

Either is tried until the proxy answers, and goes before the queue. If it refuses a hint, or the recovery at
the start, everybody is to be recovered as soon as it takes something. Each proxy has a Publisher of its own.

On some hosts a process is frozen, or ended, as soon as it has answered a request. So an answer waits up to
PATIENCE seconds for the proxy to take all that was put before, or what makes up for it (`taken`). After that
it goes out, and the rest is sent while the process runs. An item that was put more than GIVE_UP_SECONDS ago
is not sent any more, even if the process was frozen for most of that time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from prometheus_client import Counter, Gauge
from tornado.httpclient import AsyncHTTPClient

from ..resolver import Resolver
from ..seldom import Seldom
from .grip import GripUrl, grip_hint

BATCH_ITEMS = 100
BATCH_BYTES = 800_000  # Pushpin refuses a body over 1,000,000
QUEUE_ITEMS = 10_000  # beyond this, or QUEUE_BYTES, all items that wait are given up
QUEUE_BYTES = 16_000_000
ROOMS_OWED = 1000  # hints that are remembered; with more, everybody is recovered instead
ANSWER_SECONDS = 2.5  # for the proxy's answer to one POST
PATIENCE = 1.0  # seconds for which an answer waits for the proxy
GIVE_UP_SECONDS = 15.0  # less than the 60 during which a proxy knows the ids that it has seen
LONGEST_PAUSE = 2.0  # seconds between two tries
FLUSH_SECONDS = 1.0  # for what is queued when the process ends
REFUSED = frozenset(range(400, 500)) - {408, 429}  # statuses that another try would not change

logger = logging.getLogger(__name__)

QUEUED = Gauge("flychat_grip_queued", "Items that wait for the proxy", ["proxy"])
ANSWERING = Gauge("flychat_grip_answering", "Whether the proxy answered the last time", ["proxy"])
PUBLISHED = Counter("flychat_grip_published", "Items that the proxy took", ["proxy"])
FAILURES = Counter("flychat_grip_failures", "POSTs that the proxy did not take", ["proxy"])
DROPPED = Counter("flychat_grip_dropped", "Items that were given up", ["proxy"])
HINTS = Counter("flychat_grip_hints", "Rooms that the proxy was asked to recover", ["proxy"])
RECOVERIES = Counter("flychat_grip_recoveries", "Times the proxy was asked to recover everybody", ["proxy"])
OWED = Counter("flychat_grip_owed", "Answers given before the proxy had what was published", ["proxy"])


@dataclass(frozen=True, slots=True)
class QueuedItem:
    data: bytes
    hints: tuple[str, ...]  # the channels whose hints make up for it; (): nothing does
    since: float  # when it was published (time.monotonic)


@dataclass(frozen=True, slots=True)
class Post:
    """One POST to the proxy: a batch of items, or of hints, or the request to recover everybody."""

    items: Sequence[QueuedItem] = ()
    hints: Sequence[tuple[str, ...]] = ()

    @property
    def endpoint(self) -> str:
        return "publish" if self.items or self.hints else "recover"

    def body(self) -> bytes:
        hints = [grip_hint(channel) for channels in self.hints for channel in channels]
        items = [*(item.data for item in self.items), *hints]
        return b'{"items":[' + b",".join(items) + b"]}" if items else b""


class Publisher:
    """The queue of one proxy. What is owed to it, after something was given up, goes first."""

    def __init__(self, target: GripUrl, *, give_up: float = GIVE_UP_SECONDS) -> None:
        self.owed: dict[tuple[str, ...], None] = {}  # channels of hints, in order
        self.must_recover_all = True
        self._target = target
        self._give_up = give_up
        self._queue: deque[QueuedItem] = deque()
        self._bytes = 0
        self._put = self._ended = 0  # items since the start: all that were put; those taken or given up
        self._making_up = True  # for items that were given up, which goes on until nothing is owed
        self._waiting: dict[asyncio.Future[None], int] = {}  # until so many items have ended
        self._failing = False
        self._owes_recovery = True  # as soon as it takes something
        self._given_up = Seldom(logger)
        self._wake, self._idle = asyncio.Event(), asyncio.Event()
        self._wake.set()
        self._resolver = Resolver()
        self._client = AsyncHTTPClient(force_instance=True, resolver=self._resolver)
        for counter in (PUBLISHED, FAILURES, DROPPED, HINTS, RECOVERIES, OWED):
            counter.labels(target.proxy)
        QUEUED.labels(target.proxy).set_function(lambda: len(self._queue))
        self._task = asyncio.create_task(self._run())

    def put(self, item: QueuedItem) -> None:
        if len(self._queue) >= QUEUE_ITEMS or self._bytes + len(item.data) > QUEUE_BYTES:
            self._drop(self._take(QUEUE_ITEMS, QUEUE_BYTES))
        self._queue.append(item)
        self._bytes += len(item.data)
        self._put += 1
        self._idle.clear()
        self._wake.set()

    @property
    def pressed(self) -> bool:
        """Whether the queue is half full."""
        return len(self._queue) > QUEUE_ITEMS // 2 or self._bytes > QUEUE_BYTES // 2

    def recover_all(self) -> None:
        """Has the proxy asked to recover everybody, before anything else."""
        self.must_recover_all = self._making_up = True
        self._idle.clear()
        self._wake.set()

    def taken(self) -> asyncio.Future[None] | None:
        """Done when the proxy has taken what was put until now, or what makes up for it; None if it has."""
        if self._ended == self._put and not self._making_up:
            return None
        future = asyncio.get_running_loop().create_future()
        self._waiting[future] = self._put
        return future

    def answered_early(self) -> None:
        """An answer went out before that was done."""
        OWED.labels(self._target.proxy).inc()

    def forget(self, taken: asyncio.Future[None]) -> None:
        """Nobody waits for that any more: a proxy may be gone for weeks."""
        self._waiting.pop(taken, None)

    async def close(self) -> None:
        """Lets the queue drain, for a short time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), FLUSH_SECONDS)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._client.close()

    async def _run(self) -> None:
        while True:
            if (post := self._next()) is not None:
                await self._deliver(post)
                self._release()
            else:
                self._wake.clear()
                self._idle.set()
                await self._wake.wait()

    def _release(self) -> None:
        """Tells those who wait for what has been delivered."""
        self._making_up = bool(self.owed) or self.must_recover_all
        for future, put in list(self._waiting.items()):
            if put <= self._ended and not self._making_up:
                del self._waiting[future]
                future.set_result(None)

    def _next(self) -> Post | None:
        if self.must_recover_all:
            self.must_recover_all = False
            self.owed.clear()
            return Post()
        if self.owed:
            hints = list(self.owed)[:BATCH_ITEMS]
            for channels in hints:
                del self.owed[channels]
            return Post(hints=hints)
        return Post(self._take(BATCH_ITEMS, BATCH_BYTES)) if self._queue else None

    def _take(self, most: int, most_bytes: int) -> list[QueuedItem]:
        """The oldest items, within these limits, but one at least."""
        items: list[QueuedItem] = []
        size = 0
        while self._queue and len(items) < most:
            size += len(self._queue[0].data) + 1
            if items and size > most_bytes:
                break
            items.append(self._queue.popleft())
            self._bytes -= len(items[-1].data)
        return items

    async def _deliver(self, post: Post) -> None:
        """Tries until it is taken or refused. Items are given up after a while, and the queue with them."""
        began, pause = post.items[0].since if post.items else time.monotonic(), 0.05
        while True:
            if post.items and time.monotonic() - began > self._give_up:  # the process was frozen
                return self._drop([*post.items, *self._take(QUEUE_ITEMS, QUEUE_BYTES)])
            status, problem = await self._post(post)
            late = time.monotonic() - began > self._give_up
            if status == 200:
                return self._note_success(post)
            if post.endpoint == "recover" and (status in REFUSED or (status and late)):
                if status in (401, 403):
                    self._given_up.tell("the GRIP proxy at %s refuses us: %s", self._target.proxy, problem)
                return None  # a service that does not know it, or one that refuses everything, for now
            self._note_failure(problem)
            if status in (400, 413) and len(post.items) > 1:  # for one of them, or for all: too much
                for item in post.items:
                    await self._deliver(Post([item]))
                return None
            if status in REFUSED:
                self._owes_recovery |= bool(post.hints)
                return self._drop(post.items)
            if late:
                self._drop([*post.items, *self._take(QUEUE_ITEMS, QUEUE_BYTES)])
                if post.items:
                    return None
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(LONGEST_PAUSE, 2 * pause)

    async def _post(self, post: Post) -> tuple[int, str]:
        """The answer's status, or 0, and what is wrong."""
        try:
            answer = await self._client.fetch(
                self._target.endpoint(post.endpoint),
                method="POST",
                headers={"Content-Type": "application/json", **self._target.authorization(time.time())},
                body=post.body(),
                connect_timeout=ANSWER_SECONDS,
                request_timeout=ANSWER_SECONDS,
                follow_redirects=False,
                raise_error=False,
            )
        except Exception as error:  # whatever it is, publishing goes on
            self._resolver.forget()
            return 0, f"{type(error).__name__}: {error}"
        return (200, "") if 200 <= answer.code < 300 else (answer.code, f"HTTP {answer.code}")

    def _note_success(self, post: Post) -> None:
        proxy = self._target.proxy
        self._ended += len(post.items)
        PUBLISHED.labels(proxy).inc(len(post.items))
        HINTS.labels(proxy).inc(len(post.hints))
        RECOVERIES.labels(proxy).inc(post.endpoint == "recover")
        ANSWERING.labels(proxy).set(1)
        if self._failing:
            self._failing = False
            logger.info("the GRIP proxy at %s answers again", proxy)
        self.must_recover_all |= self._owes_recovery and post.endpoint == "publish"
        self._owes_recovery = False

    def _note_failure(self, problem: str) -> None:
        proxy = self._target.proxy
        FAILURES.labels(proxy).inc()
        ANSWERING.labels(proxy).set(0)
        if not self._failing:
            self._failing = True
            logger.warning("the GRIP proxy at %s does not take publications: %s", proxy, problem)

    def _drop(self, items: Sequence[QueuedItem]) -> None:
        if not items:
            return
        self._ended += len(items)
        DROPPED.labels(self._target.proxy).inc(len(items))
        if not self.owed and not self.must_recover_all:
            self._given_up.tell("publications to the GRIP proxy at %s are given up", self._target.proxy)
        self.owed.update((item.hints, None) for item in items if item.hints)
        if len(self.owed) > ROOMS_OWED:
            self.owed.clear()
            self.must_recover_all = True
