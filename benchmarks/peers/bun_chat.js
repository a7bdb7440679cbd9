// An ordinary chat with Bun.serve: a set of direct streams per room, forms in.
import { block, missed, roomOf, take } from './chat_rooms.js'

function stream (room, request) {
  const position = Number(request.headers.get('last-event-id') || 0)
  const body = new ReadableStream({
    type: 'direct',
    async pull (controller) {
      controller.write(missed(room, position) || ':\n\n')
      controller.flush()
      room.streams.add(controller)
      await new Promise(resolve => request.signal.addEventListener('abort', resolve))
      room.streams.delete(controller)
    }
  })
  return new Response(body, {headers: {'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache'}})
}

Bun.serve({
  port: Number(process.argv[2]),
  hostname: '127.0.0.1',
  idleTimeout: 0,
  async fetch (request) {
    const room = roomOf(new URL(request.url).pathname)
    if (request.method === 'GET') return stream(room, request)
    const message = take(room, await request.text())
    const event = block(message)
    for (const controller of room.streams) {
      controller.write(event)
      controller.flush()
    }
    return Response.json(message)
  }
})
