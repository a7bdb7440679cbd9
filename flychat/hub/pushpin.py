"""The hub behind GRIP proxies (Pushpin, or a hosted one): these hold the streams, one proxy or several.

A plan becomes headers and a body, a publication becomes an item, and the proxy works by the rule in
streams.py: through `prev-id`, and through the link at which it asks for what a client misses. The link has a
time-out, so a client that hears nothing is recovered by then, whatever was lost (publisher.py is for sooner).

A recovery must not run ahead of the publications:

    time ->   proxy asks       P published   message 8 stored   8 published   answer: 1..8
    proxy     queue is empty   queue: P                         queue: P, 8   goes on after 8

While a recovery is under way, the proxy keeps what is published for the client. With the answer it goes on
after the answer's position, and skips from the front of its queue what the answer has already. But it does
not look behind a provisional event (P) at the front: it passes P on, meets 8, which does not follow 8, takes
that for a gap, drops the queue and asks again. In a busy room this went on without end, and nobody saw a
message there before it was stored. So a message younger than YOUNG_SECONDS is left to its publication, unless
that was sent from here before the recovery was asked for: the answer ends before the message, and its link
times out after a second, in case the publication is lost.

Which messages are young is a guess by their dates: the clock of the process that wrote them may be wrong, and
a slow store may have taken longer. Where it was wrong, the hold drops its queue and asks again from where the
answer ended. Then the next answer does the opposite: if the last one left something out, it has all there is;
else it has only what was published from here. (Clocks that were 3 seconds apart: in a room with 20 messages a
second a hold that had missed one asked 7 times a second, and one that had missed 100 was 4 seconds late.)

A hold with a pass is recovered when the pass expires, which ends the hold. The time-out of its link does that
too, but not always: when a client did not read for a while, Pushpin 1.36 forgets the hold's link until all
its channels have brought something, and the channel of a pass never does.

Which requests came through the proxy? If a --grip-url has a verify-key: those with a `Grip-Sig` made with it.
Else: those with a `Grip-Sig` or a `Grip-Feature` header, as Pushpin sends both. That is no protection, only a
help for people who opened the wrong port: whoever reaches this server directly can pretend to be a proxy. It
gains them only, with `Grip-Last`, what every client may read; if some rooms are not for every client, each
URL must have a key.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..access import Pass, pass_channel
from ..errors import Misconfigured
from ..fields import iso_date
from ..streams import Publication, StreamPlan
from . import Response, Way
from .grip import GripUrl, grip_headers, grip_hint, grip_item, hint_channels
from .links import Links
from .publisher import PATIENCE, Publisher, QueuedItem

YOUNG_SECONDS = 1  # a message is left to its publication: a store that is slow, and the proxy's own queue
RECENT_SECONDS = 5.0  # publications and answers are remembered: longer than a recovery takes
SENDING_SECONDS = 0.1  # that a publication takes to the proxy
EXPIRED_SECONDS = 0.3, 3.0  # after its pass expires a hold is recovered: twice, as clocks differ
EXPIRING = 100_000  # passes whose end is waited for, at the most
LOOK_SECONDS = 20.0  # between two looks at the wall clock: it may be set, or the machine may sleep
SIGNED_SECONDS = 1.0  # for which a signature that was right is not checked again


def without_young(plan: StreamPlan, published: int, now: float) -> StreamPlan:
    """The plan of a recovery up to the first message that is young and beyond `published`; else the plan."""
    young = iso_date(now - YOUNG_SECONDS), iso_date(now + YOUNG_SECONDS)  # clocks may differ
    for message in plan.messages:
        if message.id > published and young[0] < message.date < young[1]:
            return up_to(plan, message.id - 1)
    return plan


def up_to(plan: StreamPlan, id: int) -> StreamPlan:
    """The plan of a recovery up to a message."""
    if id >= plan.position:
        return plan
    messages = tuple(message for message in plan.messages if message.id <= id)
    return replace(plan, messages=messages, position=id)


class Verifier:
    """Says whether a request was signed by a proxy.

    Remembers the last signature that was right: to check one takes 90 us, and Pushpin uses the same one for
    all requests of a second.
    """

    def __init__(self, target: GripUrl) -> None:
        self._target = target
        self._right = ""
        self._until = 0.0

    def signed(self, headers: Mapping[str, str]) -> bool:
        now, signature = time.monotonic(), headers.get("grip-sig", "").strip()
        if signature and signature == self._right and now < self._until:
            return True
        if not self._target.signed(signature):
            return False
        self._right, self._until = signature, now + SIGNED_SECONDS
        return True


class Published:
    """What this process lately published. Moments are time.monotonic, and ids of a channel come in order."""

    def __init__(self) -> None:
        self._ids: dict[str, deque[tuple[float, int]]] = {}  # by channel
        self._order: deque[tuple[float, str]] = deque()

    def add(self, now: float, channel: str, id: int) -> None:
        self._ids.setdefault(channel, deque()).append((now, id))
        self._order.append((now, channel))
        while self._order[0][0] < now - RECENT_SECONDS:
            channel = self._order.popleft()[1]
            self._ids[channel].popleft()
            if not self._ids[channel]:
                del self._ids[channel]

    def before(self, moment: float, channel: str) -> int:
        """The last id that it had published of the channel, if that was lately; else 0."""
        return next((id for when, id in reversed(self._ids.get(channel, ())) if when < moment), 0)


class Answered:
    """Where this process lately ended the answers to recoveries. Moments are time.monotonic."""

    def __init__(self) -> None:
        self._ends: OrderedDict[tuple[str, int], tuple[float, bool]] = OrderedDict()  # by channel and id

    def add(self, now: float, channel: str, id: int, *, whole: bool) -> None:
        """`whole`: the log ended there; else something young was left out."""
        self._ends[channel, id] = now, whole
        self._ends.move_to_end((channel, id))
        while (oldest := next(iter(self._ends.items())))[1][0] < now - RECENT_SECONDS:
            del self._ends[oldest[0]]

    def take(self, now: float, channel: str, id: int) -> bool | None:
        """Whether the answer that ended there was whole, and forgets it; None if there was none lately."""
        when, whole = self._ends.pop((channel, id), (-math.inf, None))
        return whole if now - when < RECENT_SECONDS else None


class PushpinHub:
    """Holds and publishes through the proxies at `urls`."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        all_verified: bool = False,
        answer_first: bool = False,
        base_path: str = "",
        channel_prefix: str = "",
        signals: bool = False,
    ) -> None:
        """`all_verified`: each URL must have a verify-key. `answer_first`: no answer waits for the proxies.

        `base_path`: the path under which the server is. `channel_prefix`: begins the names of all channels.
        `signals`: these are on (see `grip_headers`).
        Raises Misconfigured.
        """
        self._signals = signals
        self._base_path, self._prefix = base_path, channel_prefix
        targets = list(map(GripUrl.read, dict.fromkeys(urls)))
        self._links = Links(len(targets) or 1)
        self._verifiers = [Verifier(target) for target in targets if target.verify_key is not None]
        if all_verified and len(self._verifiers) < len(targets):
            raise Misconfigured(
                "--access makes private rooms: then every --grip-url needs a verify-key, "
                "or else whoever reaches this server could read them"
            )
        self.publishers = list(map(Publisher, targets))
        self.passes_on_at_once = answer_first
        self._published, self._answered = Published(), Answered()
        self._left: OrderedDict[str, float] = OrderedDict()  # by channel: since when something is left out
        self._expiring: dict[tuple[str, int], asyncio.TimerHandle] = {}  # by pass, and by when it expires

    def admits(self, client: str) -> bool:
        return True  # the proxy has limits of its own

    def hold(self, plan: StreamPlan, response: Response, client: str, pass_: Pass | None = None) -> None:
        answer = self._answer(plan, response.asked)
        if plan.request.recover:
            self._links.recovered()
        if answer is not plan and self._asks_soon(plan, answer):
            seconds = YOUNG_SECONDS
        else:
            seconds = self._links.seconds(carries_pass=pass_ is not None)
        headers = grip_headers(
            answer, seconds, pass_, self._base_path, prefix=self._prefix, signals=self._signals
        )
        response.send(headers, answer.body())
        if pass_ is not None:
            self._expect(pass_)

    def _answer(self, plan: StreamPlan, asked: float) -> StreamPlan:
        """The plan; of a recovery perhaps only its beginning, without what the proxy has in its queue."""
        if plan.opening or not plan.messages:  # a client's own request, or a reset; or nothing is missing
            return plan
        channel, position, now = plan.official, plan.messages[0].id - 1, time.monotonic()
        published = self._published.before(asked - SENDING_SECONDS, channel)
        ran_ahead = self._answered.take(now, channel, position)
        if ran_ahead is None:
            answer = without_young(plan, published, time.time())
        else:
            answer = up_to(plan, max(position, published)) if ran_ahead else plan
        if answer.messages:
            self._answered.add(now, channel, answer.position, whole=answer is plan)
        return answer

    def _asks_soon(self, plan: StreamPlan, answer: StreamPlan) -> bool:
        """Whether the proxy asks again in a second for what the answer leaves out.

        In a busy room something is always left out, and each hold would be asked for every second. So it does
        not if it did so lately, and this process has published all that is left out.
        """
        now, channel = time.monotonic(), plan.official
        first = self._left.get(channel, -math.inf)
        if now - first < RECENT_SECONDS:
            flows = not answer.messages and plan.position <= self._published.before(math.inf, channel)
            return not flows or now - first < YOUNG_SECONDS
        self._left.pop(channel, None)
        self._left[channel] = now
        while (oldest := next(iter(self._left.items())))[1] < now - RECENT_SECONDS:
            del self._left[oldest[0]]
        return True

    def publish(self, publication: Publication) -> None:
        now = time.monotonic()
        if publication.id is not None:
            self._published.add(now, publication.channel, publication.id)
        item = QueuedItem(grip_item(publication, self._prefix), hint_channels(publication, self._prefix), now)
        for publisher in self.publishers:
            publisher.put(item)

    def pressed(self) -> bool:
        return any(publisher.pressed for publisher in self.publishers)

    async def passed_on(self) -> None:
        if self.passes_on_at_once:
            return
        waiting = {future: each for each in self.publishers if (future := each.taken()) is not None}
        if not waiting:
            return
        try:
            for future in (await asyncio.wait(waiting, timeout=PATIENCE))[1]:
                waiting[future].answered_early()
        finally:
            for future, publisher in waiting.items():
                publisher.forget(future)

    def recheck(self, id: str | None) -> None:
        for publisher in self.publishers:
            if id is None:
                publisher.recover_all()
            else:
                channel = self._prefix + pass_channel(id)
                publisher.put(QueuedItem(grip_hint(channel), (channel,), time.monotonic()))

    def _expect(self, pass_: Pass) -> None:
        """Has the holds of the pass recovered when it has expired."""
        key = (pass_.id, pass_.expires)
        if key not in self._expiring and len(self._expiring) < EXPIRING:
            self._wait_for(key)

    def _wait_for(self, key: tuple[str, int]) -> None:
        seconds = min(LOOK_SECONDS, key[1] - time.time() + EXPIRED_SECONDS[0])
        self._expiring[key] = asyncio.get_running_loop().call_later(seconds, self._expired, key)

    def _expired(self, key: tuple[str, int]) -> None:
        if time.time() < key[1]:
            return self._wait_for(key)
        self.recheck(key[0])
        seconds = EXPIRED_SECONDS[1] - EXPIRED_SECONDS[0]
        self._expiring[key] = asyncio.get_running_loop().call_later(seconds, self._expired_twice, key)
        return None

    def _expired_twice(self, key: tuple[str, int]) -> None:
        del self._expiring[key]
        self.recheck(key[0])

    def way(self, headers: Mapping[str, str]) -> Way:
        signed = any(verifier.signed(headers) for verifier in self._verifiers)
        named = "grip-sig" in headers or "grip-feature" in headers
        return Way(proxied=signed if self._verifiers else named, vouched=signed)

    async def close(self) -> None:
        for handle in self._expiring.values():
            handle.cancel()
        await asyncio.gather(*(publisher.close() for publisher in self.publishers))
