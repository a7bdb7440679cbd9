"""flychat itself, wired by its own `start`, with two more addresses: one that hands a block straight to the
hub, as the peers do it (a real POST stores a message, and shows it twice), and one that tells the loop's lag.

Arguments: PORT, then flychat's own.
"""

import asyncio
import os
import sys

from tornado.web import RequestHandler

from flychat import large_pages
from flychat.config import Config
from flychat.hub import links
from flychat.process import collect_less
from flychat.server import start
from flychat.streams import Publication

LAG_SECONDS = 0.005
if "BENCH_SHORT_LINKS" in os.environ:  # however many are held
    links.LONGEST = 0.0


class Publish(RequestHandler):
    def initialize(self, hub) -> None:
        self.hub = hub

    def post(self) -> None:
        self.hub.publish(Publication("room", self.request.body))


class Lag(RequestHandler):
    """How late the loop was since the last question, in ms: p50, p99, most. Measured once asked for."""

    lags: list[float] = []
    measuring: list[asyncio.Task] = []

    def get(self) -> None:
        if not self.measuring:
            self.measuring.append(asyncio.create_task(measure(self.lags)))
        lags = sorted(self.lags) or [0.0]
        self.lags.clear()
        shares = (0.5, 0.99, 1)
        self.write({"lag_ms": [1000 * lags[min(len(lags) - 1, int(s * len(lags)))] for s in shares]})


async def measure(lags: list[float]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_SECONDS
        await asyncio.sleep(LAG_SECONDS)
        lags.append(loop.time() - due)


async def main() -> None:
    config = Config.read(["--port", *sys.argv[1:]], os.environ)
    server = await start(config)
    collect_less()
    server.application.add_handlers(
        ".*", [("/bench/publish", Publish, {"hub": server.hub}), ("/bench/lag", Lag)]
    )
    await asyncio.Event().wait()


large_pages.ask()  # as `python -m flychat` does
asyncio.run(main())
