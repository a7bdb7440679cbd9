"""In the place of a GRIP proxy: takes publications, and tells how many POSTs and items there were. PORT."""

import asyncio
import json
import sys

from tornado.web import Application, RequestHandler


class Publish(RequestHandler):
    counts = {"posts": 0, "items": 0}

    def post(self) -> None:
        self.counts["posts"] += 1
        self.counts["items"] += len(json.loads(self.request.body or b"{}").get("items", ()))

    def get(self) -> None:
        self.write(self.counts)


async def main(port: int) -> None:
    Application([("/", Publish), ("/publish/", Publish), ("/recover/", Publish)]).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(main(int(sys.argv[1])))
