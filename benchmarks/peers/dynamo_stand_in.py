"""A stand-in for DynamoDB that is fast: as much of it as flychat uses, in memory. PORT, SECONDS per answer,
and perhaps MESSAGES that each room has from the beginning.

A GET tells how many PutItems there were and how many write units they cost (a unit is 1 KB, begun).
"""

import asyncio
import json
import sys

from tornado.web import Application, RequestHandler

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

    def __missing__(self, room: str) -> dict[int, dict]:
        self[room] = {id: self.item(room, id) for id in range(1, self.messages + 1)}
        return self[room]

    @staticmethod
    def item(room: str, id: int) -> dict:
        date, key = "2026-01-01T00:00:00.000Z", f"00000000-0000-4000-9000-{id:012}"
        payload = json.dumps([["ann", "x" * 50, date, key]])
        return {"room": {"S": room}, "seq": {"N": str(id)}, "n": {"N": "1"}, "m": {"S": payload}}


class Table(RequestHandler):
    rooms = Rooms()
    counts = {"puts": 0, "units": 0}
    seconds = 0.0

    async def post(self) -> None:
        action = self.request.headers["X-Amz-Target"].partition(".")[2]
        answer = getattr(self, action.lower())(json.loads(self.request.body))
        if self.seconds and action in ("PutItem", "Query"):
            await asyncio.sleep(self.seconds)
        self.set_header("Content-Type", "application/x-amz-json-1.0")
        self.write(answer)

    def get(self) -> None:
        self.write(self.counts)

    def describetable(self, asked: dict) -> dict:
        return DESCRIPTION

    def putitem(self, asked: dict) -> dict:
        item = asked["Item"]
        room = self.rooms[item["room"]["S"]]
        place = int(item["seq"]["N"])
        self.counts["puts"] += 1
        self.counts["units"] += -(-sum(len(k) + len(*v.values()) for k, v in item.items()) // 1024)
        if place in room:
            self.set_status(400)
            return {"__type": "com.amazonaws#ConditionalCheckFailedException", "Item": room[place]}
        room[place] = item
        return {}

    def query(self, asked: dict) -> dict:
        values = asked["ExpressionAttributeValues"]
        room, edge = self.rooms[values[":room"]["S"]], int(values[":edge"]["N"])
        forward = asked["ScanIndexForward"]
        start = asked.get("ExclusiveStartKey")
        if start:
            edge = int(start["seq"]["N"])
        places = sorted((n for n in room if (n > edge if forward else n < edge)), reverse=not forward)
        items = [room[n] for n in places[: asked["Limit"]]]
        answer = {"Items": items, "Count": len(items)}
        if len(places) > len(items):
            answer["LastEvaluatedKey"] = {key: items[-1][key] for key in ("room", "seq")}
        return answer


async def main(port: int, seconds: float, messages: int = 0) -> None:
    Table.seconds = seconds
    Table.rooms.messages = messages
    Application([("/", Table)]).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), *map(int, sys.argv[3:])))
