// An ordinary chat with Bun.serve: a set of direct streams per room, forms in, the newest 50 in memory.
const rooms = new Map()

function roomOf (path) {
  let room = rooms.get(path)
  if (!room) rooms.set(path, room = {streams: new Set(), last: 0, kept: []})
  return room
}

const block = message => `id: ${message.id}\nevent: message\ndata: ${JSON.stringify(message)}\n\n`

function stream (room, request) {
  const position = Number(request.headers.get('last-event-id') || 0)
  const body = new ReadableStream({
    type: 'direct',
    async pull (controller) {
      const missed = room.kept.filter(message => message.id > position)
      controller.write(missed.map(block).join('') || ':\n\n')
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
    const form = new URLSearchParams(await request.text())
    const message = {
      id: ++room.last,
      from: form.get('from'),
      text: form.get('text'),
      date: new Date().toISOString(),
      provisionalId: form.get('provisionalId')
    }
    if (room.kept.push(message) > 50) room.kept.shift()
    const event = block(message)
    for (const controller of room.streams) {
      controller.write(event)
      controller.flush()
    }
    return Response.json(message)
  }
})
