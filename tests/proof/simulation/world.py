"""One conversation: its parts, its troubles, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import random
import uuid
from dataclasses import replace
from typing import Any

from flychat import streams
from flychat.commits import Commit
from flychat.errors import Conflict, Unavailable
from flychat.fields import iso_date
from flychat.hub.grip import read_grip_last
from flychat.messages import Draft
from flychat.signals import HERE, Signal
from flychat.streams import StreamRequest
from tests.support.wire import wire_json

from ..judge import BOUND, Ledger, Stored, at_the_end, judge_prefix, judge_witness, unresolved
from ..pushpin_model import ID_CACHE, Answer, Headers, Pushpin
from .client import Client
from .kernel import Response, Socket, Wire
from .passes import Passes
from .scenario import ASIDE, FAULTS, LARGE, ROOM, Report, Scenario
from .server import OWNER, Server
from .store import Store, Way
from .troubles import TROUBLES
from .virtual import VirtualLoop

NOON = 1_800_000_000.0
UNSEEN = {  # faults that nobody knows of until something follows (docs/streams.md says so)
    "standalone": {"unpublished", "delayed"},  # inside one process: nothing is lost there
    "grip": {"stall"},  # Pushpin drops what is too much for a hold that does not read
}


class World:
    """One conversation."""

    def __init__(self, scenario: Scenario, loop: VirtualLoop, trace: bool) -> None:
        self.scenario, self.loop, self.tracing = scenario, loop, trace
        self.report = Report(scenario)
        self.chance = random.Random(scenario.seed)
        self.store = Store(self)
        self.passes = Passes(self)
        self.ledger = Ledger()
        self.excused: set[str] = set()
        self.context = contextvars.copy_context()  # in which no server owns anything
        self.operator = asyncio.Lock()  # who does one thing after the other
        self.healed = self.down = self.restoring = self.calm = False
        self.published_at = 0.0
        self.proxies: list[Pushpin | None] = [None] * (2 if "two" in scenario.faults else 1)
        self.tasks: list[asyncio.Task[Any]] = []
        several = scenario.servers > 1 or {"foreign", "clear", "asleep", "erase"} & set(scenario.faults)
        self.shared = bool(several) or self.chance.random() < 0.5
        self.expires = bool({"expire", "asleep"} & set(scenario.faults))
        self.slept = 0.0  # seconds in which no loop's clock went on
        narrow = scenario.mode == "standalone" and "stall" in scenario.faults
        self.socket_room = 400 if narrow else 1 << 30
        self.impatience = self.chance.choice((0.05, 0.5))
        self.quick = self.chance.random() < 0.7
        self.rates = {fault: self.chance.choice((0.1, 0.3, 0.6)) for fault in sorted(set(FAULTS) - ASIDE)}
        loop.set_task_factory(self._make_task)
        loop.set_exception_handler(self._unexpected)

    # what the parts ask

    def fate(self, of: str, *faults: str) -> str:
        if self.healed:
            return "pass"
        for fault in faults:
            if fault in self.scenario.faults and self.chance.random() < self.rates[fault]:
                self.report.suffered[fault] += 1
                self.note(f"{of}: {fault}")
                return fault
        return "pass"

    def lag(self) -> float:
        return self.chance.uniform(0.001, 0.02 if self.quick else 0.3)

    def wall(self) -> float:
        """What a clock that is right shows."""
        return NOON + self.loop.time() + self.slept

    def seen_by(self, way: Way) -> list[Commit]:
        return self.store.in_order()

    def excuse(self, content: bytes) -> None:
        """The provisional ids in these bytes may stay unresolved: docs/streams.md says why."""
        for part in content.replace(b'\\"', b'"').split(b'"provisionalId":"')[1:]:
            self.excused.add(part[:36].decode())

    def forget(self, lost: set[Stored]) -> None:
        """What the log has lost, nobody asks for."""
        self.ledger.forget(lost)
        self.excused |= {message.provisional_id for message in lost}

    def note(self, *words: object) -> None:
        if self.tracing:
            self.report.trace.append(f"{self.loop.time():8.3f}  " + "  ".join(map(str, words)))

    def deliver(self, number: int, path: str, body: bytes) -> None:
        if (proxy := self.proxies[number]) is not None:
            self.note(f"published to {number}", body.decode())
            if path != "publish" or body.count(b'"channel"') > body.count(b"event: signal"):
                self.published_at = self.loop.time()
            proxy.post(path, body)

    def _make_task(self, loop: Any, coro: Any, context: Any = None) -> asyncio.Task[Any]:
        owner = (context.get(OWNER) if context is not None else OWNER.get()) or None
        task = asyncio.Task(coro, loop=loop, context=context)
        (owner.tasks if owner else self.tasks).append(task)
        return task

    def _unexpected(self, loop: Any, context: dict[str, Any]) -> None:
        self.report.broken.append(f"unexpected: {context.get('exception') or context['message']!r}")

    # the network

    async def connect(self, wire: Wire, position: int | None) -> int:
        await asyncio.sleep(self.lag())
        if self.scenario.mode == "grip":
            proxy = self.chance.choice(self.proxies)
            if proxy is None:
                return 0
            headers = [] if position is None else [("Last-Event-ID", str(position))]
            if wire.pass_ is not None:
                headers.append(("Authorization", wire.pass_.text))
            return await proxy.open(wire, f"/rooms/{ROOM}/messages/", headers)
        server = self.servers[0]
        sock = Socket(wire)
        if server.up:
            server.sockets.append(sock)
        try:
            bearer = wire.pass_.text if wire.pass_ is not None else ""
            return await server.stream(StreamRequest(ROOM, position), Response(sock), bearer)
        except OSError:
            return 0

    async def origin(self, path: str, headers: Headers) -> Answer:
        """What the proxy is answered."""
        await asyncio.sleep(self.lag())
        up = [server for server in self.servers if server.up]
        if not up:
            raise ConnectionRefusedError
        response, server = Response(), self.chance.choice(up)
        if path == "/recover/":
            asked = read_grip_last([value for name, value in headers])
            assert asked is not None
            status = await server.recover(asked, response)
        else:
            request = streams.read_request(ROOM, dict(headers), [])
            status = await server.stream(request, response, dict(headers).get("Authorization", ""))
        await asyncio.sleep(self.lag())
        return status, response.headers, response.body

    def left(self, wire: Wire) -> None:
        for proxy in self.proxies:
            if proxy is not None:
                self.loop.call_later(0.2, proxy.leave, wire)

    # the conversation

    async def run(self) -> Report:
        chance, scenario = self.chance, self.scenario
        self.span = chance.choice((0.3, 2.0, 8.0, 25.0))
        foreign = ["foreign"] if "foreign" in scenario.faults else []
        modes = [scenario.mode] * scenario.servers + foreign
        self.servers = [Server(self, number, mode) for number, mode in enumerate(modes)]
        for server in self.servers:
            server.start()
        if scenario.mode == "grip":
            for number in range(len(self.proxies)):
                self.start_proxy(number)
        self.clients: list[Client] = []
        joins = [self.loop.create_task(self.join(n)) for n in range(scenario.clients)]
        senders = [self.loop.create_task(self.send(f"sender {n}")) for n in range(scenario.senders)]
        troubles = [
            self.loop.create_task(self.trouble(fault))
            for fault in TROUBLES
            if fault in scenario.faults
            for _ in range(chance.randint(1, 2))
        ]
        if "evict" in scenario.faults:
            self.loop.create_task(self.use_another_room())
        if "signal" in scenario.faults:
            self.loop.create_task(self.signal())
        await asyncio.sleep(self.span)
        await asyncio.gather(*joins, *troubles)
        self.healed = True
        self.note("all is well from now on")
        healed_at = self.loop.time()
        patience = 60 + max(0.0, self.store.stuck_until - self.loop.time())
        _, late = await asyncio.wait(senders, timeout=patience)
        if late:
            self.report.broken.append("a sender is never answered")
        if UNSEEN[scenario.mode] & set(scenario.faults):
            # Its id may be one of before.
            await asyncio.sleep(ID_CACHE if "restored" in scenario.faults else 0)
            await self.loop.create_task(self.send("the last", 1))
        await self.converge(healed_at)
        self.judge()
        return self.report

    async def converge(self, healed_at: float) -> None:
        """Until all clients have had everything for 5 s: what is still on its way should change nothing."""
        bound, excused = BOUND[self.scenario.mode], self.excused.__contains__
        whole_for = 0.0
        while whole_for < 5:
            await asyncio.sleep(0.25)
            now, stored, ever = self.loop.time(), self.store.messages(), self.store.ever.values()
            applied = self.store.applied[-1][0] if self.store.applied else 0.0
            last = max(healed_at, applied, self.store.stuck_until, self.published_at)
            here = [client for client in self.clients if client.stays]
            whole = all(client.on and at_the_end(client.witness, stored) for client in here)
            whole = whole and not any(client.on for client in self.clients if not client.stays)
            self.calm = self.calm or whole
            if not whole:
                self.report.converged = now - last
            busy = self.store.coming or any(server.busy() for server in self.servers)
            quiet = whole and not any(unresolved(c.witness, ever, excused) for c in here)
            late = now > last + bound
            if late and not whole:
                self.report.broken.append(f"not everybody has everything {bound:.0f} s after the last fault")
                break
            if late and any(server.up and server.posts for server in self.servers):
                self.report.broken.append(f"somebody has no answer {bound:.0f} s after the last fault")
                break
            whole_for = whole_for + 0.25 if whole and not busy and (quiet or late) else 0.0

    def judge(self) -> None:
        report, stored = self.report, self.store.messages()
        report.broken += self.ledger.judge(stored, self.store.log.floor)
        if self.store.voids > report.suffered["clear"]:
            report.broken.append("to clear the room took more than one id")
        for client in self.clients:
            witness = client.witness
            if client.left:
                report.broken += [f"{client.name}: {line}" for line in witness.broken]
            elif not client.stays:
                report.broken += [f"{client.name}: {line}" for line in judge_prefix(witness, stored)]
                report.counts["prefixes"] += 1
            else:
                broken = judge_witness(witness, stored, self.excused.__contains__, self.store.ever.values())
                report.broken += [f"{client.name}: {line}" for line in broken]
            report.counts += witness.counts
        for each in self.passes.all:
            report.broken += [f"{each.sub}, of {each.issued}: {line}" for line in each.right.broken]
        report.counts["messages"] += len(stored)
        for status, count in self.ledger.answers.items():
            report.counts[f"answers {status}"] += count

    def start_proxy(self, number: int) -> None:
        queue = self.chance.choice((3, 100))
        self.proxies[number] = Pushpin(
            self.origin,
            self.chance,
            queue=queue,
            dropped=lambda item: self.excuse(json.dumps(item).encode()),
        )

    async def join(self, number: int) -> None:
        chance = self.chance
        await asyncio.sleep(chance.choice((0, chance.uniform(0, self.span))))
        if "stranger" in self.scenario.faults and chance.random() < 0.5:
            client = Client(self, f"client {number}", 10**6, invented=True)
        else:
            known = max(self.ledger.acknowledged.values(), default=None)
            client = Client(self, f"client {number}", chance.choice((None, 0, known)))
        self.clients.append(client)
        self.loop.create_task(client.live())
        if chance.random() < 0.1:
            await asyncio.sleep(chance.uniform(0, self.span))
            client.left = True
            client.cut()

    async def send(self, sender: str, messages: int = 0) -> None:
        chance, drafts = self.chance, []
        await asyncio.sleep(chance.uniform(0, self.span / 2))
        for n in range(messages or self.scenario.messages):
            draft = self.draft(sender, f"{sender} says {n}")
            drafts.append(draft)
            while draft.key not in self.ledger.acknowledged:
                copies = 2 if "impatient" in self.scenario.faults and chance.random() < 0.5 else 1
                posts = [self.loop.create_task(self.post(draft)) for _ in range(copies)]
                if "forge" in self.scenario.faults and chance.random() < 0.5:
                    posts.append(self.loop.create_task(self.forge(draft)))
                await asyncio.wait(posts)
                if draft.key not in self.ledger.acknowledged:
                    if chance.random() < self.impatience:
                        break  # it gives up
                    await asyncio.sleep(chance.uniform(0.05, 2))
            await asyncio.sleep(chance.uniform(0, self.span / 4))
            if "again" in self.scenario.faults and chance.random() < 0.5:
                self.report.suffered["again"] += 1
                await self.post(chance.choice(drafts))

    def draft(self, sender: str, text: str = "") -> Draft:
        """A draft as its sender first sends it."""
        if "large" in self.scenario.faults and self.chance.random() < 0.4:
            self.report.suffered["large"] += 1
            text += " and so on" * (LARGE // 10)
        provisional_id = str(uuid.UUID(int=self.chance.getrandbits(128)))
        since = self.store.last_id() if "again" in self.scenario.faults else None
        if since is not None:
            since = self.chance.choice((since, max(0, since - 2), 0))
        user = f"the user {sender}" if "forge" in self.scenario.faults else None
        draft = Draft(ROOM, sender, text, iso_date(self.wall()), provisional_id, user, since)
        self.ledger.send(draft.key, draft.text)
        return draft

    async def forge(self, draft: Draft) -> None:
        """Somebody else is perhaps quicker."""
        self.report.suffered["forge"] += 1
        user = self.chance.choice((None, "mallory"))
        forged = replace(draft, user=user, text="not that")
        self.ledger.send(forged.key, forged.text)
        await self.post(forged)

    async def post(self, draft: Draft) -> None:
        chance, status, stored = self.chance, 0, None
        if draft.since is not None:  # a position of another log is none
            draft = replace(draft, since=min(draft.since, *self.store.log.copies, draft.since))
        up = [server for server in self.servers if server.up]
        await asyncio.sleep(self.lag())
        if up:
            with contextlib.suppress(OSError, TimeoutError):
                try:
                    async with asyncio.timeout(chance.choice((20, 1)) if self.scenario.faults else 20):
                        message = await chance.choice(up).post(draft)
                    status = 200
                    stored = Stored.read(wire_json(message))
                except Unavailable:
                    status = 503
                except Conflict:
                    status = 409
        if self.fate("post", "unanswered") == "unanswered":
            status = 0
        self.note(f"{draft.sender}, {draft.text!r}: {status}", draft.provisional_id)
        self.ledger.answer(draft.key, status, stored, self.store.floor())

    async def signal(self) -> None:
        """As clients do, and more often; what they disturb would not come to its end."""
        chance = random.Random(f"{self.scenario.seed}/signals")
        often = chance.choice((0.05, 0.5, 5))
        while not self.calm:
            await asyncio.sleep(chance.uniform(0, often))
            kind = chance.choice(("typing", HERE))
            name = f"client {chance.randrange(4)}"
            chance.choice(self.servers).signal(Signal(ROOM, name, kind, ""))
            self.report.suffered["signal"] += 1

    async def use_another_room(self) -> None:
        """Where it is looked for rooms that are in nobody's use; memory is full at times, and little is to leave."""
        while not self.healed:
            await asyncio.sleep(self.chance.uniform(0.5, 3))
            for server in self.servers:
                if server.up and not server.draining:
                    rooms = server.log._rooms
                    most, rooms._most = rooms._most, self.chance.choice((rooms._most, rooms.bytes - 1, 0))
                    rooms.use("elsewhere")
                    rooms._most = most
                    self.report.suffered["evict"] += ROOM not in rooms

    async def trouble(self, fault: str) -> None:
        """One event of its kind, and its end."""
        await asyncio.sleep(self.chance.uniform(0, self.span))
        self.report.suffered[fault] += 1
        await TROUBLES[fault](self)
