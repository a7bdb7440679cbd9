"""What one writes with Tornado: a handler per stream, `write` and `flush` per message and stream."""

import asyncio
import sys

from tornado.iostream import StreamClosedError
from tornado.web import Application, RequestHandler

streams: set["Stream"] = set()
kept: list[bytes] = []  # kept[n - 1] is message n


class Stream(RequestHandler):
    async def get(self) -> None:
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-cache")
        last = self.request.headers.get("Last-Event-ID")
        if last is not None:
            self.write(b"".join(kept[int(last) :]))
        await self.flush()
        streams.add(self)
        self.gone = asyncio.Event()
        await self.gone.wait()

    def on_connection_close(self) -> None:
        streams.discard(self)
        self.gone.set()

    def post(self) -> None:
        kept.append(self.request.body)
        for stream in streams:
            stream.write(self.request.body)
            stream.flush().add_done_callback(seen)


def seen(flushed: "asyncio.Future[None]") -> None:
    if not flushed.cancelled() and not isinstance(flushed.exception(), (StreamClosedError, type(None))):
        raise flushed.exception()


async def main(port: int) -> None:
    Application([("/", Stream)]).listen(port, "127.0.0.1", backlog=4096)
    await asyncio.Event().wait()


asyncio.run(main(int(sys.argv[1])))
