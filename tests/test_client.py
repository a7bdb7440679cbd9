"""The client: the stream rules event by event, then through connections that fail in every way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid

import pytest

from flychat import client, streams
from flychat.client import Denied, Follower, Later, Reset, Retraction
from flychat.errors import Misconfigured, Unavailable
from flychat.messages import Draft, Message, wire_json
from flychat.sse import Event, Parser, to_json
from tests.pushpin_proxy import App, free_port

gen_test = pytest.mark.gen_test(timeout=30)
OPEN = Event("stream-open", "{}", retry=1)


def message(id: int) -> Message:
    return Message(id, "ann", f"text {id}", "2026-01-31T12:00:00.000Z", f"pid-{id}")


def draft(id: int) -> Draft:
    return Draft("tea", "ann", f"text {id}", "2026-01-31T12:00:00.000Z", f"pid-{id}")


def shown(id: int) -> Event:
    return Event("message", to_json(wire_json(draft(id))))


def official(message: Message) -> Event:
    return Event("message", to_json(wire_json(message)), id=message.id)


def retracted(id: int) -> Event:
    return Event("retraction", to_json({"provisionalId": f"pid-{id}"}))


def reset(last_id: int, reason: str = "behind", id: int | None = None) -> Event:
    return Event("stream-reset", to_json({"reason": reason, "lastEventId": last_id}), id=id)


def official_events(*ids: int) -> list[Event]:
    return [official(message(id)) for id in ids]


# One event after the other


FOLLOWED = {
    "official messages pass": (None, official_events(7, 8), [message(7), message(8)], 8),
    "ids never go back": (None, official_events(7, 8, 7, 8, 9), [message(7), message(8), message(9)], 9),
    "what is at or below the position is known": (8, official_events(7, 8, 9), [message(9)], 9),
    "a provisional message does not move it": (3, [shown(4)], [draft(4)], 3),
    "a provisional message that comes twice is shown once": (3, [shown(4), shown(4)], [draft(4)], 3),
    "one that comes after its official one is not shown": (
        3,
        [*official_events(4), shown(4)],
        [message(4)],
        4,
    ),
    "a retraction is told": (3, [shown(4), retracted(4)], [draft(4), Retraction("pid-4")], 3),
    "what was retracted may be sent again": (
        3,
        [shown(4), retracted(4), shown(4)],
        [draft(4), Retraction("pid-4"), draft(4)],
        3,
    ),
    "after a reset any id is the next": (
        3,
        [reset(90), *official_events(89, 90)],
        [Reset("behind", 90), message(89), message(90)],
        90,
    ),
    "after a reset its id is the position": (3, [reset(90, id=40)], [Reset("behind", 90)], 40),
    "after a reset without an id everything is asked for": (3, [reset(90)], [Reset("behind", 90)], 0),
    "a reset to an empty log is a position": (3, [reset(0, "ahead")], [Reset("ahead", 0)], 0),
    "a room that opened empty is followed from its beginning": (None, [OPEN], [], 0),
    "a stream that opens with its newest messages": (
        None,
        [OPEN, *official_events(41, 42)],
        [message(41), message(42)],
        42,
    ),
    "an event of an unknown type is left alone": (3, [Event("keep-alive"), Event("news", "?")], [], 3),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_the_follower(name):
    position, events, expected, then = FOLLOWED[name]
    follower = Follower("tea", position)
    follower.connected()
    assert [seen for event in events if (seen := follower.take(event)) is not None] == expected
    assert follower.position == then


@pytest.mark.parametrize(
    ("position", "event"),
    [
        (3, official(message(5))),
        (0, official(message(2))),
        (None, Event("message", "no JSON")),
        (None, Event("message", "[]")),
        (None, Event("message", '{"id": 1}')),
        (None, Event("message", "[" * 100_000)),
        (None, Event("message", '{"id": "1", "from": "", "text": "", "date": "", "provisionalId": ""}')),
        (None, Event("message", '{"from": 1, "text": "", "date": "", "provisionalId": ""}')),
        (
            None,
            Event(
                "message", f'{{"id": 1{"0" * 18}, "from": "", "text": "", "date": "", "provisionalId": ""}}'
            ),
        ),
        (None, Event("retraction", '{"provisionalId": 7}')),
        (None, Event("retraction", "{}")),
        (None, Event("stream-reset", "null")),
    ],
)
def test_an_event_that_cannot_be_right_ends_the_connection(position, event):
    follower = Follower("tea", position)
    with pytest.raises(ConnectionError):
        follower.take(event)
    assert follower.position == position


def connected(follower: Follower, log: list[Message]) -> list[client.StreamEvent]:
    """What a new connection of `follower` is given by a server that has this log: 50 of it, or all of it."""
    follower.connected()
    after = [each for each in log if follower.position is None or each.id > follower.position]
    page = streams.Page(tuple(after if len(after) <= streams.REPLAY else log[-50:]), log[-1].id)
    plan = streams.plan_stream(streams.StreamRequest("tea", follower.position), page)
    return [seen for event in Parser().feed(plan.body()) if (seen := follower.take(event)) is not None]


@pytest.mark.parametrize("posts", [60, 1001])
def test_who_is_cut_off_between_a_reset_and_the_next_message_is_given_all_that_follows_or_another_reset(
    posts,
):
    follower = Follower("tea", 3)
    follower.connected()
    assert follower.take(reset(11)) == Reset("behind", 11)  # the room was cleared: 11 is void
    log = [message(id) for id in range(12, 12 + posts)]
    assert connected(follower, log) == [Reset("behind", log[-1].id), *log[-50:]]
    assert connected(follower, log) == []


async def parsed(*pieces: bytes) -> list[Event]:
    async def body():
        for piece in pieces:
            yield piece

    return [event async for event in client.parse(body())]


@gen_test
async def test_what_the_server_encodes_is_read_wherever_it_is_cut():
    events = [OPEN, shown(1), *official_events(1, 2), Event("keep-alive"), reset(2), retracted(3)]
    stream = b"".join(event.encode() for event in events)
    assert await parsed(*(bytes([byte]) for byte in stream)) == events
    assert await parsed(stream.replace(b"\n", b"\r\n")) == events
    assert await parsed(stream[:-1]) == events[:-1], "a block that does not end was never there"


@gen_test
async def test_a_block_without_data_is_read_for_its_retry_only():
    assert await parsed(b"retry: 5\n\n:comment\n\nid: 7\n\n") == [Event("message", "", None, 5)]
    assert await parsed(b"data: a\ndata: b\n\n") == [Event("message", "a\nb")]


@gen_test
async def test_a_comment_within_a_block_does_not_end_it():
    assert await parsed(b"id: 7\n: a comment\nevent: x\ndata: a\n\n") == [Event("x", "a", 7)]


@gen_test
async def test_an_address_that_cannot_be_asked_is_not_asked_again():
    for url in ("example.org", "ftp://example.org", "http://", "http://h:99999", "http://[", "http://a..b"):
        with pytest.raises(Misconfigured, match="no such address"):
            await followed(url, 1)


# Through connections that fail


class Scripted:
    """A server whose every connection is given the next of the `answers`, which are bytes, and then closed.

    An answer that ends with `HANG` stays open. `heads` and `bodies` are what was asked.
    """

    HANG = b"<hang>"

    def __init__(self, answers: list[bytes]) -> None:
        self.answers, self.heads, self.bodies = list(answers), [], []
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Scripted:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        length = next(
            (int(line[16:]) for line in head.split("\r\n") if line.startswith("Content-Length: ")), 0
        )
        self.bodies.append(await reader.readexactly(length))
        answer = self.answers.pop(0)
        writer.write(answer.removesuffix(self.HANG))
        if not answer.endswith(self.HANG):
            writer.close()

    @property
    def positions(self) -> list[str | None]:
        lines = [dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line) for head in self.heads]
        return [each.get("Last-Event-ID") for each in lines]


def streamed(*events: Event, cut: bool = True) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"
    return head + b"".join(event.encode() for event in events) + (b"" if cut else Scripted.HANG)


def chunked(*events: Event) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(e.encode()), e.encode()) for e in events)


def answered(status: int, value: object, *headers: str) -> bytes:
    body = json.dumps(value).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def refusal(status: int, *headers: str) -> bytes:
    return answered(status, {"error": {"code": "x", "message": "so it is"}}, *headers)


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.01)


async def followed(url: str, until: int, **options) -> list[client.StreamEvent]:
    """What the stream says until the official message `until`."""
    seen = []
    async with contextlib.aclosing(client.stream(url, "tea", **options)) as events:
        async for event in events:
            seen.append(event)
            if isinstance(event, Message) and event.id >= until:
                break
    return seen


def official_ids(events: list[client.StreamEvent]) -> list[int]:
    return [event.id for event in events if isinstance(event, Message)]


@gen_test
async def test_a_stream_goes_on_from_its_position_whatever_ends_the_connection(caplog):
    one, two, three, four, five, six = official_events(1, 2, 3, 4, 5, 6)
    answers = [
        streamed(OPEN, one, two),
        refusal(503, "Retry-After: 0"),
        b"",  # closed without a word
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </static/chat.css>\r\n\r\n"
        + chunked(OPEN, three)
        + b"fff\r\nid: 4",  # cut off within a chunk
        streamed(OPEN, two, three, five),  # goes back, then skips one
        b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>",
        streamed(OPEN, four, five, shown(6), six, cut=False),
    ]
    async with Scripted(answers) as server:
        seen = await followed(server.url, 6)
    assert seen == [message(1), message(2), message(3), message(4), message(5), draft(6), message(6)]
    assert server.positions == [None, *["2"] * 4, *["3"] * 3]
    assert "so it is" in caplog.text
    assert "message 5 after 3" in caplog.text


@gen_test
async def test_a_stream_that_falls_silent_is_left(monkeypatch):
    monkeypatch.setattr(client, "SILENCE", 0.1)
    (one, two) = official_events(1, 2)
    async with Scripted([streamed(OPEN, one, cut=False), streamed(OPEN, two)]) as server:
        assert official_ids(await followed(server.url, 2)) == [1, 2]


@gen_test
async def test_a_reset_is_told_and_the_newest_messages_follow():
    async with Scripted([streamed(OPEN, reset(2, "ahead"), *official_events(1, 2))]) as server:
        seen = [Reset("ahead", 2), message(1), message(2)]
        assert await followed(server.url, 2, last_id=5) == seen
        assert server.positions == ["5"]


@gen_test
async def test_official_only():
    answer = streamed(OPEN, shown(1), retracted(1), reset(0, "ahead"), *official_events(1))
    async with Scripted([answer]) as server:
        assert await followed(server.url, 1, provisional=False) == [Reset("ahead", 0), message(1)]


@gen_test
async def test_a_refusal_is_final_and_says_why():
    for answer, text in (
        (refusal(501), "501 so it is"),
        (
            b"HTTP/1.1 301 Moved Permanently\r\nLocation: https://x/\r\n\r\n",
            "301 Moved Permanently, to https://x/",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>", "not a stream"),
    ):
        async with Scripted([answer]) as server:
            with pytest.raises(Denied, match=text):
                await followed(server.url, 1)


@gen_test
async def test_the_server_says_how_long_to_wait():
    """By `retry:` at the end of its stream, and by Retry-After."""
    (one,) = official_events(1)
    farewell = streamed(OPEN) + b"retry: 400\n\n"
    async with Scripted([farewell, refusal(503, "Retry-After: 1"), streamed(OPEN, one)]) as server:
        began = time.monotonic()
        await followed(server.url, 1)
        assert time.monotonic() - began >= 0.2 + 1.0


def test_pauses_grow_are_bounded_and_differ():
    pauses = [client._pause(1.0, failures) for failures in range(100)]
    assert all(pause <= client.LONGEST_PAUSE for pause in pauses)
    assert all(2**n / 2 <= pauses[n] <= 2**n for n in range(5))
    assert len(set(pauses)) > 90
    for value, seconds in (("7", 7.0), ("9999999", client.LONGEST_ASKED), ("tomorrow", 0.0), (None, 0.0)):
        headers = {} if value is None else {"Retry-After": value}
        assert client.patience(headers) == seconds


# Posting


@gen_test
async def test_a_post_is_repeated_with_its_provisional_id_until_its_fate_is_known():
    stored = wire_json(message(1))
    answers = [
        b"",
        refusal(503, "Retry-After: 0"),
        refusal(429, "Retry-After: 0"),
        answered(200, stored)[:-5],  # stored, but the answer was cut off
        b"HTTP/1.1 200 OK\r\n\r\n<html>captive",
        answered(200, stored),
    ]
    async with Scripted(answers) as server:
        assert await client.post(server.url, "Grüße/1", "ann", "hi\n☕") == message(1)
    assert len(set(server.bodies)) == 1
    body = json.loads(server.bodies[0])
    assert (body["from"], body["text"], str(uuid.UUID(body["provisionalId"]))) == (
        "ann",
        "hi\n☕",
        body["provisionalId"],
    )
    assert server.heads[0].startswith("POST /rooms/Gr%C3%BC%C3%9Fe%2F1/messages/ HTTP/1.1\r\n")


@gen_test
async def test_a_post_is_not_repeated_after_a_no():
    for status in (400, 403, 404, 409, 413):
        async with Scripted([refusal(status)]) as server:
            with pytest.raises(Denied, match="so it is") as denied:
                await client.post(server.url, "tea", "ann", "hi")
            assert denied.value.status == status


@gen_test
async def test_a_post_is_given_up_in_time():
    with pytest.raises(Unavailable, match="Connect call failed"):
        await client.post(f"http://127.0.0.1:{free_port()}", "tea", "ann", "hi", seconds=0.2)
    async with Scripted([refusal(503, "Retry-After: 60")]) as server:
        with pytest.raises(Unavailable, match="so it is"):
            await client.post(server.url, "tea", "ann", "hi", seconds=0.2)
    assert issubclass(Later, ConnectionError)


# Against flychat itself


@gen_test
async def test_a_server_that_is_killed_and_started_again_costs_no_message(tmp_path):
    """Posts and stream go on by themselves, over three processes on one file."""
    store = f"sqlite:{tmp_path / 'chat.db'}"
    arguments = ["--standalone", "--rate-limit", "0", "--store", store]
    app = App(free_port(), arguments, {}, tmp_path / "app.log")
    await app.start()
    following = asyncio.create_task(followed(app.url, 30))
    for n in range(30):
        posting = asyncio.create_task(client.post(app.url, "tea", "ann", f"text {n + 1}"))
        if n in (10, 20):
            await app.kill()
            await app.start()
        assert (await posting).id == n + 1
    seen = await following
    past = await client.page(app.url, "tea", before=10, limit=5)
    await app.kill()
    assert official_ids(seen) == list(range(1, 31))
    assert (past.messages, past.last_id) == (tuple(e for e in seen if isinstance(e, Message))[4:9], 30)
    assert [event.text for event in seen if isinstance(event, Message)] == [
        f"text {n + 1}" for n in range(30)
    ]
