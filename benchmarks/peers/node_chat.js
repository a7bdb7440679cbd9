// An ordinary chat with Node's http module: a set of responses per room, forms in.
import http from 'node:http'
import { block, missed, roomOf, take } from './chat_rooms.js'

const server = http.createServer((request, response) => {
  const room = roomOf(request.url)
  if (request.method === 'GET') {
    response.writeHead(200, {'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache'})
    response.flushHeaders()
    const events = missed(room, Number(request.headers['last-event-id'] || 0))
    if (events) response.write(events)
    room.streams.add(response)
    response.on('close', () => room.streams.delete(response))
    return
  }
  let body = ''
  request.on('data', piece => { body += piece })
  request.on('end', () => {
    const message = take(room, body)
    const event = block(message)
    for (const stream of room.streams) stream.write(event)
    response.writeHead(200, {'Content-Type': 'application/json'})
    response.end(JSON.stringify(message))
  })
})
server.keepAliveTimeout = 65_000
server.listen(Number(process.argv[2]), '127.0.0.1', 4096)
