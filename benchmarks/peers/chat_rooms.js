// The rooms of an ordinary chat, for Node and Bun: the streams of each, and its newest 50 messages, in memory.
const rooms = new Map()

export function roomOf (path) {
  let room = rooms.get(path)
  if (!room) rooms.set(path, room = {streams: new Set(), last: 0, kept: []})
  return room
}

export const block = message => `id: ${message.id}\nevent: message\ndata: ${JSON.stringify(message)}\n\n`

export const missed = (room, position) => room.kept.filter(message => message.id > position).map(block).join('')

// The message that a form makes, kept.
export function take (room, body) {
  const form = new URLSearchParams(body)
  const message = {
    id: ++room.last,
    from: form.get('from'),
    text: form.get('text'),
    date: new Date().toISOString(),
    provisionalId: form.get('provisionalId')
  }
  if (room.kept.push(message) > 50) room.kept.shift()
  return message
}
