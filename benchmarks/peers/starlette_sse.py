"""What one writes with Starlette and sse-starlette: a queue per stream."""

import asyncio
import sys

import uvicorn
from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

queues: set[asyncio.Queue] = set()
kept: list[bytes] = []  # kept[n - 1] is message n


async def stream(request):
    queue = asyncio.Queue()
    last = request.headers.get("last-event-id")

    async def blocks():
        queues.add(queue)
        try:
            if last is not None:
                yield b"".join(kept[int(last) :])
            while True:
                yield await queue.get()
        finally:
            queues.discard(queue)

    return EventSourceResponse(blocks(), ping=3600)


async def publish(request):
    block = await request.body()
    kept.append(block)
    for queue in queues:
        queue.put_nowait(block)
    return Response()


app = Starlette(routes=[Route("/", stream, methods=["GET"]), Route("/", publish, methods=["POST"])])
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), backlog=4096, log_level="warning")
