"""The wiring: which parts there are, how they start, drain and stop.

The mode is decided in one line of `start`. The order of the end is: no new connections, the requests under
way are answered and their commits published, the streams are let go, the log closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from .chat import Chat
from .config import Config
from .errors import Misconfigured
from .hub import Hub
from .hub.local import LocalHub
from .log import MessageLog
from .storage import Engine
from .web import ChatApplication

BACKLOG = 4096  # connections that the kernel keeps for us while we are busy
HEAD_SECONDS = 10.0  # for a request's head, or an idle connection's next one
BODY_SECONDS = 10.0
HEAD_BYTES = 16_384
DRAIN_SECONDS = 8.0  # of the 10 within which the process is gone


class Server:
    """A started server: `url` is where it answers."""

    def __init__(self, config: Config, log: MessageLog, hub: Hub, application: ChatApplication) -> None:
        self._log, self._hub, self._application = log, hub, application
        self._http = HTTPServer(
            application,
            idle_connection_timeout=60.0,
            body_timeout=BODY_SECONDS,
            max_header_size=HEAD_BYTES,
            max_body_size=1 << 20,
        )
        try:
            sockets = bind_sockets(config.port, config.host, backlog=BACKLOG)
        except OSError as error:
            raise Misconfigured(f"cannot listen on {config.host}:{config.port}: {error.strerror}") from None
        self._http.add_sockets(sockets)
        host, port = sockets[0].getsockname()[:2]
        self.url = f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    async def stop(self) -> None:
        """Drains and ends, in the order that loses nothing, within 10 s."""
        deadline = time.monotonic() + DRAIN_SECONDS
        self._application.draining = True
        self._http.stop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._application.idle.wait(), DRAIN_SECONDS)
        await self._hub.close()
        await self._log.close(max(0.1, deadline - time.monotonic()))
        await self._http.close_all_connections()


async def start(config: Config, environ: Mapping[str, str] = os.environ) -> Server:
    """Starts every part, and listens once the store is known to work. Raises Misconfigured."""
    engine = await open_engine(config, environ)
    log = MessageLog(engine, memory=config.mode == "standalone")
    hub = open_hub(config, log, engine)
    try:
        return Server(config, log, hub, ChatApplication(Chat(log, hub), cors_origins=config.cors_origins))
    except Misconfigured:
        await hub.close()
        await log.close()
        raise


async def open_engine(config: Config, environ: Mapping[str, str]) -> Engine:
    """The store that is configured; only its own technology is imported. Raises Misconfigured."""
    if config.engine == "sqlite":
        from .storage.sqlite import SqliteEngine

        return await SqliteEngine.open(config.location)
    from .storage.dynamodb import DynamoEngine

    return await DynamoEngine.open(config.location, environ)


def open_hub(config: Config, log: MessageLog, engine: Engine) -> Hub:
    return LocalHub(log.plan, log.refresh if engine.shared else None)


async def serve(config: Config) -> None:
    """Runs until SIGTERM or SIGINT; a second one ends the process at once."""
    stopping = asyncio.Event()
    server = await start(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: os._exit(1) if stopping.is_set() else stopping.set())
    print(f"flychat: open {server.url}  ({config.mode}; messages are kept in {kept_in(config)})", flush=True)
    await stopping.wait()
    await server.stop()


def kept_in(config: Config) -> str:
    if config.location == ":memory:":
        return "memory, until the process ends"
    return (
        f"the DynamoDB table {config.location}"
        if config.engine == "dynamodb"
        else f"the file {config.location}"
    )


async def create_table(config: Config) -> None:
    from .storage import dynamodb

    print(f"flychat: {await dynamodb.create_table(config.location, os.environ)}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """The program. 0: ended as asked; 2: it could not start, and one line on stderr says why."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        config = Config.read(sys.argv[1:] if arguments is None else arguments, os.environ)
        asyncio.run(create_table(config) if config.mode == "create-table" else serve(config))
    except Misconfigured as error:
        print(f"flychat: {error}", file=sys.stderr)
        return 2
    return 0
