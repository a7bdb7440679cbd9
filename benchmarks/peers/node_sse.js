// What one writes with Node's http module: a response per stream, a write per message and stream.
import http from 'node:http'

const streams = new Set()
const kept = [] // kept[n - 1] is message n

http.createServer((request, response) => {
  if (request.method === 'GET') {
    response.writeHead(200, {'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache'})
    response.flushHeaders()
    const last = request.headers['last-event-id']
    if (last !== undefined && Number(last) < kept.length) response.write(kept.slice(Number(last)).join(''))
    streams.add(response)
    response.on('close', () => streams.delete(response))
    return
  }
  const pieces = []
  request.on('data', piece => pieces.push(piece))
  request.on('end', () => {
    const block = Buffer.concat(pieces)
    kept.push(block.toString())
    for (const stream of streams) stream.write(block)
    response.end()
  })
}).listen(Number(process.argv[2]), '127.0.0.1', 4096)
