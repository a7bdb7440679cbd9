"""The hub behind GRIP proxies (Pushpin, or a hosted one): these hold the streams, one proxy or several.

A plan becomes headers and a body, a publication becomes an item, and the proxy works by the rule in
streams.py: through `prev-id`, and through the link at which it asks for what a client misses. The link has a
time-out, so a client that hears nothing is recovered by then, whatever was lost (publisher.py is for sooner).
Where the answer to a recovery ends says recoveries.py.

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
import time
from collections.abc import Mapping, Sequence

from ..access import Pass, pass_channel
from ..errors import Misconfigured
from ..streams import Publication, StreamPlan
from . import Response, Way
from .grip import GripUrl, grip_headers, grip_hint, grip_item, hint_channels
from .links import Links
from .publisher import PATIENCE, Publisher, QueuedItem
from .recoveries import YOUNG_SECONDS, Recoveries

EXPIRED_SECONDS = 0.3, 3.0  # after its pass expires a hold is recovered: twice, as clocks differ
EXPIRING = 100_000  # passes whose end is waited for, at the most
LOOK_SECONDS = 20.0  # between two looks at the wall clock: it may be set, or the machine may sleep
SIGNED_SECONDS = 1.0  # for which a signature that was right is not checked again


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
        self._recoveries = Recoveries()
        self._expiring: dict[tuple[str, int], asyncio.TimerHandle] = {}  # by pass, and by when it expires

    def admits(self, client: str) -> bool:
        return True  # the proxy has limits of its own

    def hold(self, plan: StreamPlan, response: Response, client: str, pass_: Pass | None = None) -> None:
        answer = self._recoveries.answer(plan, response.asked)
        if plan.request.recover:
            self._links.recovered()
        if answer is not plan and self._recoveries.asks_soon(plan, answer):
            seconds = YOUNG_SECONDS
        else:
            seconds = self._links.seconds(carries_pass=pass_ is not None)
        headers = grip_headers(
            answer, seconds, pass_, self._base_path, prefix=self._prefix, signals=self._signals
        )
        response.send(headers, answer.body())
        if pass_ is not None:
            self._expect(pass_)

    def publish(self, publication: Publication) -> None:
        now = time.monotonic()
        if publication.id is not None:
            self._recoveries.note_published(now, publication.channel, publication.id)
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
