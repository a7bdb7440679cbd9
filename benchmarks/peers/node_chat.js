// An ordinary chat with Node's http module: a set of responses per room, forms in, the newest 50 in memory.
import http from 'node:http'

const rooms = new Map()

function roomOf (path) {
  let room = rooms.get(path)
  if (!room) rooms.set(path, room = {streams: new Set(), last: 0, kept: []})
  return room
}

const block = message => `id: ${message.id}\nevent: message\ndata: ${JSON.stringify(message)}\n\n`

const server = http.createServer((request, response) => {
  const room = roomOf(request.url)
  if (request.method === 'GET') {
    response.writeHead(200, {'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache'})
    response.flushHeaders()
    const position = Number(request.headers['last-event-id'] || 0)
    const missed = room.kept.filter(message => message.id > position)
    if (missed.length) response.write(missed.map(block).join(''))
    room.streams.add(response)
    response.on('close', () => room.streams.delete(response))
    return
  }
  let body = ''
  request.on('data', piece => { body += piece })
  request.on('end', () => {
    const form = new URLSearchParams(body)
    const message = {
      id: ++room.last,
      from: form.get('from'),
      text: form.get('text'),
      date: new Date().toISOString(),
      provisionalId: form.get('provisionalId')
    }
    if (room.kept.push(message) > 50) room.kept.shift()
    const event = block(message)
    for (const stream of room.streams) stream.write(event)
    response.writeHead(200, {'Content-Type': 'application/json'})
    response.end(JSON.stringify(message))
  })
})
server.keepAliveTimeout = 65_000
server.listen(Number(process.argv[2]), '127.0.0.1', 4096)
