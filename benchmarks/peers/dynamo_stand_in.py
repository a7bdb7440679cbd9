"""A stand-in for DynamoDB that is fast: as much of it as flychat uses, in memory. PORT, SECONDS per answer,
and perhaps MESSAGES that each room has from the beginning.

It is one process beside a service of thousands, so it does as little as it can: bare HTTP, and items are kept
as the JSON that they are asked for in. A GET tells how many PutItems there were and how many write units they
cost (a unit is 1 KB, begun), and how many Queries, of how many items.
"""

import asyncio
import json
import sys

KEYS = [("room", "HASH", "S"), ("seq", "RANGE", "N")]
DESCRIPTION = {
    "Table": {
        "TableStatus": "ACTIVE",
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": type} for name, _, type in KEYS],
        "KeySchema": [{"AttributeName": name, "KeyType": key} for name, key, _ in KEYS],
    }
}


class Rooms(dict):
    """Each room's items by their places; of the first `messages`, one message each, a room is made with."""

    messages = 0

    def __missing__(self, room: str) -> dict[int, str]:
        self[room] = {id: self.item(room, id) for id in range(1, self.messages + 1)}
        return self[room]

    @staticmethod
    def item(room: str, id: int) -> str:
        date, key = "2026-01-01T00:00:00.000Z", f"00000000-0000-4000-9000-{id:012}"
        payload = json.dumps([["ann", "x" * 50, date, key]])
        return json.dumps({"room": {"S": room}, "seq": {"N": str(id)}, "n": {"N": "1"}, "m": {"S": payload}})


class Table:
    def __init__(self, seconds: float, messages: int) -> None:
        self.seconds = seconds
        self.rooms = Rooms()
        self.rooms.messages = messages
        self.counts = {"puts": 0, "units": 0, "queries": 0, "items": 0}

    def describetable(self, asked: dict) -> tuple[int, str]:
        return 200, json.dumps(DESCRIPTION)

    def putitem(self, asked: dict) -> tuple[int, str]:
        item = asked["Item"]
        room = self.rooms[item["room"]["S"]]
        place = int(item["seq"]["N"])
        self.counts["puts"] += 1
        self.counts["units"] += -(-sum(len(k) + len(*v.values()) for k, v in item.items()) // 1024)
        if place in room:
            code = "com.amazonaws#ConditionalCheckFailedException"
            return 400, f'{{"__type": "{code}", "Item": {room[place]}}}'
        room[place] = json.dumps(item)
        return 200, "{}"

    def query(self, asked: dict) -> tuple[int, str]:
        values = asked["ExpressionAttributeValues"]
        name, backwards = values[":room"]["S"], not asked["ScanIndexForward"]
        lowest, highest = int(values[":lowest"]["N"]), int(values[":highest"]["N"])
        if start := asked.get("ExclusiveStartKey"):
            place = int(start["seq"]["N"])
            lowest, highest = (lowest, place - 1) if backwards else (place + 1, highest)
        room = self.rooms[name]
        places = sorted((n for n in room if lowest <= n <= highest), reverse=backwards)
        page = places[: asked.get("Limit")]
        self.counts["queries"] += 1
        self.counts["items"] += len(page)
        more = ""
        if len(places) > len(page):
            key = {"room": {"S": name}, "seq": {"N": str(page[-1])}}
            more = f', "LastEvaluatedKey": {json.dumps(key)}'
        return 200, f'{{"Items": [{", ".join(room[n] for n in page)}], "Count": {len(page)}{more}}}'


class Connection(asyncio.Protocol):
    def __init__(self, table: Table) -> None:
        self.table = table
        self.buffer = b""

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, _, rest = self.buffer.partition(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            length = int(headers.get("content-length", 0))
            if len(rest) < length:
                return
            body, self.buffer = rest[:length], rest[length:]
            if first.startswith("GET "):
                self.answer(200, json.dumps(self.table.counts))
                continue
            action = headers["x-amz-target"].partition(".")[2]
            answer = getattr(self.table, action.lower())(json.loads(body))
            seconds = self.table.seconds if action in ("PutItem", "Query") else 0
            asyncio.get_running_loop().call_later(seconds, self.answer, *answer)

    def answer(self, status: int, body: str) -> None:
        kind = "application/x-amz-json-1.0"
        data = body.encode()
        head = f"HTTP/1.1 {status} -\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n"
        self.transport.write(head.encode() + data)


async def main(port: int, seconds: float, messages: int = 0) -> None:
    table = Table(seconds, messages)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(table), "127.0.0.1", port, backlog=1024
    )
    await server.serve_forever()


asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), *map(int, sys.argv[3:])))
