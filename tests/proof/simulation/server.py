"""A process of flychat: real chat, log and hub, assembled as server.py does it; and its ways to publish."""

from __future__ import annotations

import asyncio
import contextvars
import json
import types
from collections.abc import Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flychat import streams
from flychat.access import READ, BadToken
from flychat.access.opened import open_access, open_keeper
from flychat.access.options import AccessOptions
from flychat.chat import Chat
from flychat.errors import Unavailable
from flychat.fields import iso_date
from flychat.hub import RecoveryRequest
from flychat.hub.local import LocalHub
from flychat.hub.pushpin import PushpinHub
from flychat.log import MessageLog
from flychat.messages import Draft, Message
from flychat.server import sweep
from flychat.showing import AtOnce, Patient
from flychat.signals import Signal
from flychat.streams import Publication, StreamRequest, committed

from .kernel import Response, Socket
from .passes import OPTIONS
from .scenario import RETENTION, ROOM
from .store import Way

if TYPE_CHECKING:
    from .world import World

CLIENT = "10.0.0.1"
OWNER: contextvars.ContextVar[Server | None] = contextvars.ContextVar("owner", default=None)


class Server:
    """A process of flychat. `mode` may also be "foreign": it writes, and holds nobody."""

    def __init__(self, world: World, number: int, mode: str) -> None:
        self.world, self.number, self.mode = world, number, mode
        self.up = False
        self.ahead = 0.0  # its clock, in seconds

    def start(self) -> None:
        if self.up or self.world.restoring:
            return
        self.up, self.draining = True, False
        self.tasks: list[asyncio.Task[Any]] = []
        self.posts: dict[asyncio.Task[Any], str] = {}
        self.flying: list[bytes] = []  # bodies on their way to the proxy
        self.sockets: list[Socket] = []
        self.context = contextvars.copy_context()
        self.context.run(self._assemble)
        self.world.note(f"server {self.number} starts")

    def _assemble(self) -> None:
        OWNER.set(self)
        world = self.world
        engine = Way(world, world.shared)
        self.log = MessageLog(
            engine,
            memory=self.mode == "standalone",
            committed=lambda commit: self.hub.publish(committed(commit)),
            rng=world.chance,
            now=self.time,
        )
        self.access = open_access(OPTIONS if world.scenario.private else AccessOptions())
        if self.mode == "standalone":
            self.hub: Any = LocalHub(
                self.log.plan,
                polls=engine.shared,
                note_held=self.log.note_held,
                ends_at=self.log.ends_at,
                ended=self.access.ended,
            )
        elif self.mode == "grip":
            self.hub = PushpinHub([f"http://proxy:{number}/" for number in range(1, 1 + len(world.proxies))])
        else:
            self.hub = types.SimpleNamespace(
                publish=_nobody,
                pressed=lambda: False,
                recheck=_nobody,
                passed_on=_nothing,
                close=_nothing,
            )
        self.keeper = open_keeper(self.access, OPTIONS, engine, holds_here=self.mode == "standalone")
        self.keeper.start(self.hub)
        if world.expires:
            self.sweep = world.loop.create_task(sweep(self.log, RETENTION))
        hub = Disturbed(self) if self.mode == "standalone" else self.hub
        showing = Patient if self.mode == "grip" else AtOnce
        self.chat = Chat(self.log, hub, showing(hub.publish), now=self.time)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return self.world.loop.create_task(work, context=self.context.copy())

    async def ask(self, work: Coroutine[Any, Any, Any], provisional_id: str = "") -> Any:
        """What it answers. OSError if it ends before; goes on if the one who asks does not wait."""
        if not self.up or (self.draining and self.world.chance.random() < 0.7):  # or it was connected before
            work.close()
            raise ConnectionRefusedError
        task = self.spawn(work)
        if provisional_id:
            self.posts[task] = provisional_id
            task.add_done_callback(lambda done: self.posts.pop(done, None))
        await asyncio.wait([task])
        if task.cancelled() or not self.up:
            if not task.cancelled():
                task.exception()
            raise ConnectionResetError
        return task.result()

    def busy(self) -> bool:
        """Whether it has something to answer, or to publish."""
        publishers = getattr(self.hub, "publishers", ())
        return self.up and (bool(self.posts) or not all(p._idle.is_set() for p in publishers))

    async def post(self, draft: Draft) -> Message:
        draft = replace(draft, date=iso_date(self.time()))
        return await self.ask(self.chat.post(draft), draft.provisional_id)

    def signal(self, signal: Signal) -> None:
        if self.up and not self.draining:
            self.spawn(self.chat.signal(replace(signal, date=iso_date(self.time()))))

    def time(self) -> float:
        return self.world.wall() + self.ahead

    async def stream(self, request: StreamRequest, response: Response, bearer: str = "") -> int:
        """A client's own request, with its token."""
        return await self._answer(self._stream(request, response, bearer))

    async def recover(self, asked: RecoveryRequest, response: Response) -> int:
        """A proxy's."""
        return await self._answer(self._recover(asked, response))

    async def _answer(self, work: Coroutine[Any, Any, int]) -> int:
        try:
            return await self.ask(work)
        except Unavailable:
            return 503
        except RuntimeError:
            return 500

    async def _stream(self, request: StreamRequest, response: Response, bearer: str) -> int:
        """Through a handler, or, as web/shortcut.py does, on the bare connection."""
        if self.world.scenario.private:
            return await self._private_stream(request, response, bearer)
        plan = None
        plain = self.mode == "standalone" and self.world.chance.random() < 0.5
        if plain and response.chunked:
            plan = self.chat.plan_at_once(request, CLIENT)
        if plan is None:
            self.chat.hold(await self.chat.plan(request, CLIENT), response, CLIENT)
        else:
            self.hub.hold_socket(plan, response.socket, streams.answer_head([], chunked=True), CLIENT)
        return 200

    async def _private_stream(self, request: StreamRequest, response: Response, bearer: str) -> int:
        """As web/rights.py and the handler do it."""
        try:
            token = self.access.token(bearer, self.time())
        except BadToken:
            return 401
        await self.keeper.fresh()
        if not self.access.may(token, ROOM, READ):
            return 403
        pass_ = self.access.pass_of(token, ROOM)
        self.chat.hold(await self.chat.plan(request, CLIENT), response, CLIENT, pass_)
        return 200

    async def _recover(self, asked: RecoveryRequest, response: Response) -> int:
        """As the handler does it."""
        if not self.access.is_public(ROOM):
            await self.keeper.fresh(0)
        if reason := self.access.ended(ROOM, asked.pass_, self.time()):
            response.send({}, streams.stream_end(reason).encode())
        else:
            plan = await self.chat.plan(asked.request, CLIENT)
            self.chat.hold(plan, response, CLIENT, asked.pass_)
        return 200

    def reload(self) -> None:
        """SIGHUP."""
        if self.up:
            self.context.copy().run(self.keeper.reload)

    def kill(self) -> None:
        if not self.up:
            return
        self.up = False
        self.world.note(f"server {self.number} is killed")
        self.world.excused |= set(self.posts.values())
        self.abandon()
        self._forget()

    async def terminate(self) -> None:
        """As server.py does it."""
        if not self.up or self.draining:
            return
        self.draining = True
        self.world.note(f"server {self.number} is asked to end")
        await asyncio.wait([self.spawn(self._close())], timeout=10)
        if self.up:
            self.up = False
            self._forget()

    async def _close(self) -> None:
        began = self.world.loop.time()
        if self.world.expires:
            self.sweep.cancel()
        await self.keeper.close()
        await self._answered(8)
        await self.log.close(max(0.1, 8 - (self.world.loop.time() - began)))
        await self._answered(0.5)
        await self.hub.close()
        self.abandon()

    async def _answered(self, seconds: float) -> None:
        if self.posts:
            await asyncio.wait(self.posts, timeout=seconds)

    def abandon(self) -> None:
        """What is still to be published may not be."""
        for publisher in getattr(self.hub, "publishers", ()):
            for data in [*self.flying, *(item.data for item in publisher._queue)]:
                self.world.excuse(data)

    def _forget(self) -> None:
        self.keeper._hub = None
        self.chat._presence._publish = _nobody
        self.hub.recheck = _nobody
        if self.mode == "standalone":
            self.hub._timer.cancel()
        for sock in self.sockets:
            sock.selector.callback = None
            sock.close()
        for task in self.tasks:
            task.cancel()


class Disturbed:
    """A LocalHub whose publications suffer on their way to it."""

    def __init__(self, server: Server) -> None:
        self.world, self.hub = server.world, server.hub

    def __getattr__(self, name: str) -> Any:
        return getattr(self.hub, name)

    def publish(self, publication: Publication) -> None:
        fault = self.world.fate("publish", "unpublished", "doubled", "delayed")
        if fault == "unpublished":
            return self.world.excuse(publication.content)
        for _ in range(2 if fault == "doubled" else 1):
            if fault == "delayed":
                self.world.excuse(publication.content)
                self.world.loop.call_later(self.world.chance.uniform(0.01, 3), self.hub.publish, publication)
            else:
                self.hub.publish(publication)


class HttpClient:
    """The AsyncHTTPClient of a Publisher: a way to the proxy's control port."""

    def __init__(self, force_instance: bool, resolver: object) -> None:
        server = OWNER.get()
        assert server is not None
        self.server, self.world = server, server.world

    async def fetch(self, url: str, *, body: bytes, request_timeout: float, **options: Any) -> Any:
        world = self.world
        parts = urlsplit(url)
        path, number = parts.path.strip("/"), (parts.port or 1) - 1
        fault = world.fate("publish", "unpublished", "doubled", "delayed", "refused", "unsaid")
        there, back = world.lag(), world.lag()
        if world.proxies[number] is None or fault == "refused":
            world.excuse(body)
            await asyncio.sleep(world.chance.choice((there, request_timeout)))
            self.server.abandon()  # what waits behind it may be given up too
            raise ConnectionRefusedError
        if fault in ("unpublished", "doubled") and path == "publish":
            body = self._spoiled(body, fault)
        if fault == "delayed":
            world.excuse(body)  # a provisional may come after its retraction
            there += world.chance.uniform(0.1, 6)
        if number and not world.healed:
            there += world.chance.uniform(0, 2)
        self.server.flying.append(body)
        world.loop.call_later(there, world.deliver, number, path, body, context=world.context)
        if there + back > request_timeout:
            await asyncio.sleep(request_timeout)
            self.server.abandon()
            raise TimeoutError
        await asyncio.sleep(there + back)  # it is answered when it is taken, and not before
        self.server.flying.remove(body)
        if fault == "unsaid":
            raise ConnectionResetError
        return types.SimpleNamespace(code=200)

    def _spoiled(self, body: bytes, fault: str) -> bytes:
        items = []
        for item in json.loads(body)["items"]:
            chosen = self.world.chance.random() < 0.5
            if chosen and fault == "unpublished":
                self.world.excuse(json.dumps(item).encode())
            else:
                items += [item] * (1 + chosen)
        return json.dumps({"items": items}).encode()

    def close(self) -> None:
        pass


def _nobody(told: object) -> None:
    pass


async def _nothing() -> None:
    pass
