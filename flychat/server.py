"""The wiring: which parts there are, how they start, drain and stop.

Only `mode_of` decides between the modes. A server stops in this order: it takes no new connections, answers
the requests under way, closes the log with its last commit published, and ends the streams.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from . import logging_setup
from .access.gate import Access
from .access.keeper import Keeper
from .access.opened import open_access, open_keeper
from .addresses import host_and_port, reachable
from .chat import Chat
from .config import UNIX, Config, misspelt
from .errors import Misconfigured, Unavailable
from .fields import iso_date
from .hub import Hub, Recovery
from .hub.local import LocalHub
from .listening import listen, url_of
from .log import MessageLog
from .packaged import folder
from .process import allow_files, collect_less, give_up, watch_loop, when_told_to_end
from .showing import AtOnce, Patient, Publish, Showing
from .storage import Engine
from .storage.metrics import MeasuredEngine
from .storage.opened import open_engine
from .streams import committed
from .web import ChatApplication
from .web.held import HeldByProxy, HeldHere
from .web.listener import Listener
from .web.rate import RateLimit
from .web.signals import signal_limit

if TYPE_CHECKING:
    from .private_pushpin import PushpinChild

SWEEP_SECONDS = 3600.0  # between two deletions of messages that are too old
COUNTED = 7 << 17  # bytes of each MB of --memory that messages get: the rest is lost to fragmentation

HEAD_SECONDS = 20.0  # for a request's head, and for the next request of an idle connection
BODY_SECONDS = 10.0  # for a request's body
HEAD_BYTES = 16_384  # of a request, at the most
DRAIN_SECONDS = 7.0  # of the 10 within which the process ends
LAST_ANSWERS_SECONDS = 0.5  # for the answers to what the log refuses when it closes
EXIT_SECONDS = 9.0  # after which the process ends, whatever is left

logger = logging.getLogger(__name__)

Holding: TypeAlias = tuple[Hub, Callable[..., Listener]]


class Mode(NamedTuple):
    """All that differs between the modes."""

    memory: bool  # whether readers are answered from memory, if the store is not shared
    recovery: Recovery | None  # reads `Grip-Last`, what a GRIP proxy asks for
    showing: Callable[[Publish], Showing]  # when a draft is shown
    hold: Callable[[MessageLog, Engine, Access, Sequence[str]], Holding]  # the strings: addresses of proxies


@dataclass(frozen=True)
class Server:
    """A started server: `url` is where clients go. `pushpin` is the private Pushpin, if there is one."""

    url: str
    log: MessageLog
    hub: Hub
    application: ChatApplication
    http: Listener
    tasks: Sequence[asyncio.Task[None]]
    keeper: Keeper
    pushpin: PushpinChild | None

    async def stop(self) -> None:
        """Drains and ends, in the order that loses nothing, within 10 s."""
        deadline = time.monotonic() + DRAIN_SECONDS
        self.application.draining = True
        self.http.stop()
        await cancelled(self.tasks)
        await self.keeper.close()
        await self._answered(DRAIN_SECONDS)
        await self.log.close(max(0.1, deadline - time.monotonic()))
        await self._answered(LAST_ANSWERS_SECONDS)  # those that the log has just refused
        await self.hub.close()
        await self.http.close_all_connections()
        if self.pushpin:
            await self.pushpin.stop()

    async def _answered(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.application.idle.wait(), seconds)


async def start(config: Config, environ: Mapping[str, str] = os.environ) -> Server:
    """Starts every part, and listens once the store is known to work. Raises Misconfigured.

    If anything fails, all that was started before is ended.
    """
    mode = mode_of(config)
    access = open_access(config.access)
    async with contextlib.AsyncExitStack() as undo:
        engine = MeasuredEngine(await open_engine(config.engine, config.location, environ, config.retention))
        undo.push_async_callback(engine.close)
        log = MessageLog(
            engine,
            memory=mode.memory,
            committed=lambda commit: hub.publish(committed(commit)),
            most_bytes=config.memory * COUNTED,
        )
        undo.pop_all()  # the log closes its engine
        undo.push_async_callback(log.close)
        sockets = listen(config, environ)
        for sock in sockets:
            undo.callback(sock.close)
        pushpin = await start_pushpin(config, sockets) if config.with_pushpin else None
        if pushpin:
            undo.push_async_callback(pushpin.stop)
        grip_urls = [pushpin.grip_url] if pushpin else config.grip_urls
        hub, listener = mode.hold(log, engine, access, grip_urls)
        undo.push_async_callback(hub.close)
        keeper = open_keeper(access, config.access, engine, holds_here=mode.memory)
        undo.push_async_callback(keeper.close)
        keeper.start(hub)
        application = ChatApplication(
            Chat(log, hub, mode.showing(hub.publish)),
            hub.way,
            keeper,
            cors_origins=config.cors_origins,
            public_url=pushpin.url if pushpin else None,
            rate_limit=RateLimit(config.rate_limit, math.ceil(4 * config.rate_limit)),
            trust_proxy=config.trust_proxy,
            log_posts=config.log_posts,
            recovery=mode.recovery,
            base_path=config.base_path,
            signals=signal_limit(config.rate_limit) if config.signals else None,
        )
        http = listener(
            application,
            idle_connection_timeout=HEAD_SECONDS,
            body_timeout=BODY_SECONDS,
            max_header_size=HEAD_BYTES,
            max_body_size=1 << 20,
        )
        undo.push_async_callback(http.close_all_connections)
        undo.callback(http.stop)
        await hub.passed_on()  # the proxies were asked to recover what an earlier process may have left
        tasks = [asyncio.create_task(watch_loop())]
        undo.push_async_callback(cancelled, tasks)
        if engine.retention is not None:
            tasks.append(asyncio.create_task(sweep(log, engine.retention)))
        http.add_sockets(sockets)
        url = pushpin.url if pushpin else url_of(sockets, config.base_path)
        server = Server(url, log, hub, application, http, tasks, keeper, pushpin)
        undo.pop_all()
    return server


def mode_of(config: Config) -> Mode:
    """The mode is decided here, and nowhere else."""
    if config.mode == "standalone":
        return Mode(memory=True, recovery=None, showing=AtOnce, hold=partial(hold_here, config))
    from .hub.grip import read_grip_last

    return Mode(memory=False, recovery=read_grip_last, showing=Patient, hold=partial(held_by_proxies, config))


def hold_here(
    config: Config, log: MessageLog, engine: Engine, access: Access, grip_urls: Sequence[str]
) -> Holding:
    hub = LocalHub(
        log.plan,
        polls=engine.shared,
        note_held=log.note_held,
        ends_at=log.ends_at,
        max_streams=config.max_streams,
        max_streams_per_client=config.max_streams_per_client,
        ended=access.ended,
    )
    return hub, partial(HeldHere, hold=hub.hold_socket)


def held_by_proxies(
    config: Config, log: MessageLog, engine: Engine, access: Access, grip_urls: Sequence[str]
) -> Holding:
    from .hub.pushpin import PushpinHub  # with all that gripcontrol brings, a tenth of a second

    hub = PushpinHub(
        grip_urls,
        all_verified=not access.all_public,
        answer_first=config.answer_first,
        base_path=config.base_path,
        channel_prefix=config.channel_prefix,
        signals=config.signals,
    )
    return hub, partial(HeldByProxy, hold=hub.hold)


async def cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancels them, and waits until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def sweep(log: MessageLog, seconds: float) -> None:
    """Deletes messages older than so many seconds, every SWEEP_SECONDS."""
    while True:
        try:
            await log.upkeep.expire(iso_date(time.time() - seconds))
        except Unavailable as error:
            logger.warning("old messages could not be deleted: %s", error)
        await asyncio.sleep(SWEEP_SECONDS)


async def start_pushpin(config: Config, sockets: list[socket.socket]) -> PushpinChild:
    """A private Pushpin in front of the server that listens on `sockets`. Raises Misconfigured."""
    from .private_pushpin import PushpinChild

    # Rather IPv4: Pushpin 1.36 cannot reach a server by IPv6.
    first = min(sockets, key=lambda sock: sock.family != socket.AF_INET)
    if first.family == socket.AF_UNIX:
        raise Misconfigured("--with-pushpin cannot reach flychat on a Unix socket: give it a port")
    host, port = first.getsockname()[:2]
    target = host_and_port(reachable(host), port)
    return await PushpinChild.start(
        folder("deploy"), [target], host=config.host, port=config.pushpin_port, base_path=config.base_path
    )


async def serve(config: Config) -> int:
    """Runs until SIGTERM or SIGINT. Returns the exit status."""
    stopping = asyncio.Event()
    allow_files()
    server = await start(config)
    collect_less()
    loop = asyncio.get_running_loop()
    if config.access.secret:
        loop.add_signal_handler(signal.SIGHUP, server.keeper.reload)
    when_told_to_end(stopping.set)
    line = f"flychat: {address_line(config, server)}  ({config.mode}; messages are kept in {kept_in(config)})"
    try:
        print(line, flush=True)
    except OSError:  # a full disk, or nobody reads: it would be tried again at exit
        sys.stdout = None
    died = await ended(server.pushpin, stopping)
    loop.call_later(EXIT_SECONDS, give_up, int(died))  # a cancellation might be caught by Tornado
    await server.stop()
    return int(died)


async def ended(pushpin: PushpinChild | None, stopping: asyncio.Event) -> bool:
    """Waits until we are to stop; says whether that is because Pushpin has ended, and logs why."""
    ends: list[asyncio.Future[Any]] = [asyncio.ensure_future(stopping.wait())]
    if pushpin:
        ends.append(asyncio.ensure_future(pushpin.ended()))
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        end.cancel()
    if pushpin and not stopping.is_set():
        logger.error("Pushpin has ended, and so do we: %s", pushpin.why())
    return not stopping.is_set()


def address_line(config: Config, server: Server) -> str:
    if config.grip_urls:
        return f"{server.url} is for the GRIP proxy: open the address of that one"
    return f"{'listens on' if server.url.startswith(UNIX) else 'open'} {server.url}"


def kept_in(config: Config) -> str:
    if config.location == ":memory:":
        return "memory, until the process ends"
    return f"{'the DynamoDB table' if config.engine == 'dynamodb' else 'the file'} {config.location}"


def main(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> int:
    """The program. 0: ended as asked; 1: Pushpin died. Raises Misconfigured where it could not start."""
    config = Config.read(arguments, environ)
    logging_setup.start(config.log_format)
    for name in misspelt(environ):
        logger.warning("%s is no option of flychat, so nothing is done by it (see --help)", name)
    return asyncio.run(serve(config))
