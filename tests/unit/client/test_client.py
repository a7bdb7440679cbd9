"""The client: the stream rules event by event, then through connections that fail in every way."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import itertools
import json
import ssl
import subprocess
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from flychat import client, streams
from flychat.client import Denied, Later, Reset, Retraction, Signal, http
from flychat.client.follower import Follower, StreamEvent
from flychat.errors import Invalid, Misconfigured, Unavailable, without_password
from flychat.messages import Draft, Message
from flychat.signals import signal_json
from flychat.sse import EVENT_BYTES, Event, Parser, to_json
from tests.conftest import need
from tests.support.ports import free_port
from tests.support.pushpin_proxy import App
from tests.support.served import WAIT
from tests.support.wire import wire_json

gen_test = pytest.mark.gen_test
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


FOLLOWED = {  # what is handed on; the rule itself is in tests/contract/stream_rule.json
    "official messages pass": (None, official_events(7, 8), [message(7), message(8)], 8),
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
        (None, Event("retraction", '{"provisionalId": "p", "user": 7}')),
        (None, Event("message", '{"from": "", "text": "", "date": "", "provisionalId": "", "user": null}')),
        (None, Event("stream-reset", "null")),
    ],
)
def test_an_event_that_cannot_be_right_ends_the_connection(position, event):
    follower = Follower("tea", position)
    with pytest.raises(ConnectionError):
        follower.take(event)
    assert follower.position == position


def test_a_retraction_is_for_the_message_of_its_user():
    """What was retracted may be shown again; what was not, is known already."""
    by_ann = replace(draft(4), user="ann")
    follower = Follower("tea", 3)
    follower.connected()
    sight, others = Event("message", to_json(wire_json(by_ann))), shown(4)
    assert [follower.take(each) for each in (sight, others, sight)] == [by_ann, draft(4), None]
    retraction = Event("retraction", to_json({"provisionalId": "pid-4", "user": "ann"}))
    assert follower.take(retraction) == Retraction("pid-4", "ann")
    assert [follower.take(each) for each in (others, sight)] == [None, by_ann]
    assert follower.take(retracted(4)) == Retraction("pid-4")
    assert [follower.take(each) for each in (sight, others)] == [None, draft(4)]


def connected(follower: Follower, log: list[Message]) -> list[StreamEvent]:
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


@pytest.mark.parametrize("before", [reset(90, id=40), reset(11), OPEN])
def test_a_new_connection_is_held_to_the_position_that_was_asked_for(before):
    follower = Follower("tea", None)
    follower.take(before)
    follower.connected()
    with pytest.raises(ConnectionError, match="message 42 after"):
        follower.take(official(message(42)))


async def parsed(*pieces: bytes) -> list[Event]:
    async def body():
        for piece in pieces:
            yield piece

    return [event async for event in http.parse(body())]


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
    for url in (
        "example.org",
        "ftp://example.org",
        "http://",
        "http://h:99999",
        "http://[",
        "http://a..b",
        "http://xn--axn--",
        "http://a\x01b",
    ):
        with pytest.raises(Misconfigured, match="no such address"):
            await followed(url, 1)


@gen_test
async def test_pauses_begin_anew_after_a_connection_that_told_something(monkeypatch):
    failures = []
    monkeypatch.setattr(client, "_pause", lambda base, number: failures.append(number) or 0.0)
    away = b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n"
    answers = [away, away, streamed(OPEN), away, streamed(OPEN, official(message(1)))]
    async with Scripted(answers) as server:
        await followed(server.url, 1)
    assert failures == [0, 1, 0, 1], "the third one is counted from the connection that was open"


def test_a_pause_is_bounded_however_often_it_has_failed():
    assert client.LONGEST_PAUSE / 2 <= client._pause(1.0, 5000) <= client.LONGEST_PAUSE


@pytest.mark.parametrize("believed", [False, True])
def test_a_certificate_is_doubted_only_before_the_address_was_believed(believed):
    assert http.is_final(ssl.SSLCertVerificationError(), believed=believed) is not believed


@gen_test
async def test_a_position_that_is_none_is_refused_before_anything_is_asked():
    for position in (-1, "5", True):
        with pytest.raises(Invalid, match="last_id: must be a whole number"):
            await followed("http://127.0.0.1:1", 1, last_id=position)
        with pytest.raises(Invalid, match="last_id: must be a whole number"):
            await client.post("http://127.0.0.1:1", "tea", "ann", "hi", last_id=position, seconds=0)


def test_what_programs_have_to_catch_is_part_of_the_client():
    assert {"Denied", "Later", "Misconfigured", "Unavailable"} <= set(client.__all__)
    assert all(hasattr(client, name) for name in client.__all__)


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
        with contextlib.suppress(OSError, EOFError):  # a client that has waited for too long, and leaves
            await self._answer(reader, writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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


def refusal(status: int, *headers: str, code: str = "x") -> bytes:
    return answered(status, {"error": {"code": code, "message": "so it is"}}, *headers)


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(client, "LEAST_PAUSE", 0.001)


async def followed(url: str, until: int, **options) -> list[StreamEvent]:
    """What the stream says until the official message `until`."""
    seen = []
    async with contextlib.aclosing(client.stream(url, "tea", **options)) as events:
        async for event in events:
            seen.append(event)
            if isinstance(event, Message) and event.id >= until:
                break
    return seen


def official_ids(events: list[StreamEvent]) -> list[int]:
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
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>",
        b"HTTP/1.1 404 Not Found\r\n\r\n",  # of a proxy whose server is away
        b"HTTP/1.1 302 Found\r\nLocation: http://gate/login\r\n\r\n",
        streamed(OPEN, four, five, shown(6), six, cut=False),
    ]
    async with Scripted(answers) as server:
        seen = await followed(server.url, 6)
    assert seen == [message(1), message(2), message(3), message(4), message(5), draft(6), message(6)]
    assert server.positions == [None, *["2"] * 4, *["3"] * 6]
    assert "so it is" in caplog.text
    assert "message 5 after 3" in caplog.text


@gen_test
async def test_what_is_wrong_with_a_connection_is_said_in_plain_words(monkeypatch):
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(ConnectionError) as refused:
        await client.page(f"http://{address}", "tea")
    assert str(refused.value) == f"cannot connect to {address}: Connection refused"
    monkeypatch.setattr(http, "ANSWER_SECONDS", 1.0)
    async with Scripted([Scripted.HANG]) as mute:
        with pytest.raises(TimeoutError) as late:
            await client.page(mute.url, "tea")
    assert str(late.value) == "no answer within 1 s"


@gen_test
async def test_who_may_take_longer_for_an_answer_is_given_the_time(monkeypatch):
    monkeypatch.setattr(http, "ANSWER_SECONDS", 2.0)
    monkeypatch.setattr(http, "SILENCE", 2.0)
    in_vain, asked = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await in_vain.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        patient = asyncio.create_task(http.fetch(url, {}, seconds=100))
        await asked.wait()
        with pytest.raises(TimeoutError):
            await http.fetch(url, {})
        in_vain.set()
        assert (await patient)[1] == b"done"


@pytest.fixture
def self_signed(tmp_path) -> ssl.SSLContext:
    need("openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


@gen_test
async def test_a_certificate_that_nobody_vouches_for_is_refused_in_plain_words(self_signed):
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=self_signed)
    address = f"localhost:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(ssl.SSLCertVerificationError) as refused:
        await client.page(f"https://{address}", "tea")
    assert str(refused.value).startswith(f"cannot connect to {address}: its certificate is refused: ")
    server.close()
    await server.wait_closed()


@gen_test
async def test_a_stream_that_falls_silent_is_left(monkeypatch):
    monkeypatch.setattr(http, "SILENCE", 1.0)
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
    """The server is asked for no more, and one that does not know the question is understood all the same."""
    answer = streamed(OPEN, shown(1), retracted(1), reset(0, "ahead"), *official_events(1))
    async with Scripted([answer]) as server:
        assert await followed(server.url, 1, provisional=False) == [Reset("ahead", 0), message(1)]
        assert "/messages/?provisional=no HTTP/1.1" in server.heads[0]


TYPING = {"from": "bob", "kind": "typing", "date": "d", "data": {"a": 1}, "user": "b"}
GATHERED = {"kind": "here", "date": "d", "data": {"names": ["ann", "bob"], "more": 0}}


def told(fields: dict) -> Event:
    return Event("signal", json.dumps(fields))


@gen_test
async def test_signals_are_told_to_those_who_ask_for_them_and_change_nothing():
    answer = streamed(OPEN, told(TYPING), *official_events(1), told(GATHERED), *official_events(2))
    async with Scripted([answer, answer]) as server:
        assert await followed(server.url, 2) == [message(1), message(2)]
        typing, here = (
            Signal("tea", "bob", "typing", "d", {"a": 1}, "b"),
            Signal("tea", "", "here", "d", GATHERED["data"]),
        )
        assert await followed(server.url, 2, signals=True) == [typing, message(1), here, message(2)]
        assert [signal_json(typing), signal_json(here)] == [TYPING, GATHERED]


@gen_test
async def test_who_would_wait_for_signals_in_vain_is_told():
    with pytest.raises(Invalid, match="signals: are not sent without provisional events"):
        await anext(client.stream("http://127.0.0.1:1", "tea", provisional=False, signals=True))


@pytest.mark.parametrize(
    "fields", [[], {}, {**TYPING, "from": 1}, {**TYPING, "data": []}, {**TYPING, "user": None}]
)
@gen_test
async def test_what_flychat_would_not_signal_is_another_answer(fields):
    async with Scripted([streamed(OPEN, told(fields)), streamed(OPEN, *official_events(1))]) as server:
        assert await followed(server.url, 1, signals=True) == [message(1)]
    assert len(server.heads) == 2


@gen_test
async def test_a_signal_is_sent_once():
    answers = [answered(202, {}), refusal(429, "Retry-After: 0")]
    async with Scripted(answers) as server:
        await client.signal(server.url, "a/b", "ann", "typing", data={"a": 1})
        with pytest.raises(Later):
            await client.signal(server.url, "a/b", None, "typing", token="t")
    assert server.heads[0].startswith("POST /rooms/a%2Fb/signals/ HTTP/1.1\r\n")
    sent = [{"from": "ann", "kind": "typing", "data": {"a": 1}}, {"kind": "typing"}]
    assert list(map(json.loads, server.bodies)) == sent


@gen_test
async def test_a_refusal_is_final_and_says_why():
    for answer, text in (
        (refusal(501, code="unproxied"), "501 so it is"),
        (refusal(400), "400 so it is"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "404 Not Found"),
        (
            b"HTTP/1.1 301 Moved Permanently\r\nLocation: https://x/\r\n\r\n",
            "301 Moved Permanently, to https://x/",
        ),
    ):
        async with Scripted([answer]) as server:
            with pytest.raises(Denied, match=text):
                await followed(server.url, 1)


@gen_test
async def test_what_flychat_refuses_ends_a_stream_that_was_open():
    answers = [streamed(OPEN, *official_events(1)), refusal(403)]
    async with Scripted(answers) as server:
        with pytest.raises(Denied, match="403 so it is"):
            await followed(server.url, 2)


@gen_test
async def test_every_status_from_500_on_is_only_later():
    statuses = [408, 425, 429, *range(500, 600), 999]
    plain = [f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode() for status in statuses]
    (one,) = official_events(1)
    for later in (*plain, refusal(501), answered(503, [])):
        async with Scripted(
            [later, streamed(OPEN, one), later, answered(200, wire_json(message(1)))]
        ) as server:
            assert official_ids(await followed(server.url, 1)) == [1]
            assert await client.post(server.url, "tea", "ann", "hi") == message(1)


@gen_test
async def test_the_server_says_how_long_to_wait():
    """By `retry:` at the end of its stream, and by Retry-After."""
    (one,) = official_events(1)
    farewell = streamed(OPEN, Event("keep-alive", "{}", retry=400))
    async with Scripted([farewell, refusal(503, "Retry-After: 1"), streamed(OPEN, one)]) as server:
        began = time.monotonic()
        await followed(server.url, 1)
        assert time.monotonic() - began >= 0.2 + 1.0


@gen_test
async def test_a_server_that_would_have_no_pause_is_not_stormed(monkeypatch):
    monkeypatch.setattr(client, "LEAST_PAUSE", 0.3)
    (one,) = official_events(1)
    at_once = streamed(Event("stream-open", "{}", retry=0))
    async with Scripted([at_once, at_once, at_once, streamed(OPEN, one)]) as server:
        began = time.monotonic()
        await followed(server.url, 1)
        assert time.monotonic() - began >= 3 * 0.15


def test_pauses_grow_are_bounded_and_differ():
    pauses = [client._pause(1.0, failures) for failures in range(100)]
    assert all(pause <= client.LONGEST_PAUSE for pause in pauses)
    assert all(2**n / 2 <= pauses[n] <= 2**n for n in range(5))
    assert len(set(pauses)) > 90
    for value, seconds in (("7", 7.0), ("9999999", http.LONGEST_ASKED), ("tomorrow", 0.0), (None, 0.0)):
        headers = {} if value is None else {"Retry-After": value}
        assert http.patience(headers) == seconds


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
        b"HTTP/1.1 404 Not Found\r\n\r\n",
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
async def test_what_programs_say_to_each_other_is_posted_and_told():
    stored = dataclasses.replace(message(1), data={"a": [1, None]})
    page = {
        "messages": [wire_json(dataclasses.replace(stored, data=None, text="", removed=2))],
        "lastEventId": 2,
    }
    async with Scripted([answered(200, wire_json(stored)), answered(200, page)]) as server:
        assert await client.post(server.url, "tea", "ann", "hi", data={"a": [1, None]}) == stored
        [removed] = (await client.page(server.url, "tea")).messages
        assert (removed.removed, removed.removes, removed.data) == (2, (), None)
    assert json.loads(server.bodies[0])["data"] == {"a": [1, None]}


@pytest.mark.parametrize(
    "strange",
    [{"removes": 1}, {"removes": ["1"]}, {"removed": "1"}, {"removed": True}, {"data": []}, {"data": "x"}],
)
@gen_test
async def test_what_flychat_would_not_say_of_a_message_is_another_answer(strange):
    page = {"messages": [wire_json(message(1)) | strange], "lastEventId": 2}
    async with Scripted([answered(200, page)]) as server:
        with pytest.raises(ConnectionError, match="not written by flychat"):
            await client.page(server.url, "tea")


@gen_test
async def test_a_post_is_not_repeated_after_a_no():
    for status in (400, 403, 404, 409, 413):
        async with Scripted([refusal(status)]) as server:
            with pytest.raises(Denied, match="so it is") as denied:
                await client.post(server.url, "tea", "ann", "hi")
            assert denied.value.status == status


@gen_test
async def test_a_post_is_given_up_in_time(monkeypatch):
    """Which is over, here, as soon as it waits for its second try."""
    loop, over = asyncio.get_running_loop(), [0.0]
    now = loop.time
    monkeypatch.setattr(loop, "time", lambda: now() + over[0])

    def pause(base: float, failures: int) -> float:
        over[0] += 30.0
        return 1000.0

    monkeypatch.setattr(client, "_pause", pause)
    with pytest.raises(Unavailable, match="Connection refused"):
        await client.post(f"http://127.0.0.1:{free_port()}", "tea", "ann", "hi", seconds=30)
    async with Scripted([refusal(503, "Retry-After: 60")]) as server:
        with pytest.raises(Unavailable, match="so it is"):
            await client.post(server.url, "tea", "ann", "hi", seconds=30)
    assert issubclass(Later, ConnectionError)


@gen_test
async def test_a_post_carries_the_position_of_its_first_attempt():
    stored = answered(200, wire_json(message(8)))
    async with Scripted([b"", refusal(503, "Retry-After: 0"), stored]) as server:
        assert await client.post(server.url, "tea", "ann", "hi", last_id=7) == message(8)
    assert len(set(server.bodies)) == 1
    assert json.loads(server.bodies[0])["lastEventId"] == 7


@gen_test
async def test_a_post_that_may_outlast_the_servers_memory_asks_for_the_position_once():
    empty = answered(200, {"messages": [], "lastEventId": 7})
    async with Scripted([b"", empty, b"", answered(200, wire_json(message(8)))]) as server:
        assert await client.post(server.url, "tea", "ann", "hi", seconds=client.RECOGNISED + 1) == message(8)
    assert [head.split()[:2] for head in server.heads] == [
        *[["GET", "/rooms/tea/messages/?limit=1"]] * 2,
        *[["POST", "/rooms/tea/messages/"]] * 2,
    ]
    assert [json.loads(body)["lastEventId"] for body in server.bodies[2:]] == [7, 7]


# Pages


@gen_test
async def test_a_page_says_where_it_goes_on():
    messages = [wire_json(message(id)) for id in (3, 4)]
    answers = {
        "limit=50": ({}, (None, None)),
        "limit=50&before=5": ({"before": 3}, (3, None)),
        "limit=2&after=2": ({"after": 4}, (None, 4)),
    }
    scripted = [
        answered(200, {"messages": messages, "lastEventId": 9, **more}) for more, _ in answers.values()
    ]
    async with Scripted(scripted) as server:
        pages = [
            await client.page(server.url, "tea"),
            await client.page(server.url, "tea", 5),
            await client.page(server.url, "tea", limit=2, after=2),
        ]
    assert [head.split()[1].partition("?")[2] for head in server.heads] == list(answers)
    assert [(page.before, page.after) for page in pages] == [more for _, more in answers.values()]
    assert all(page.messages == (message(3), message(4)) and page.last_id == 9 for page in pages)


# What is read, and by which way


@gen_test
async def test_an_event_and_an_answer_are_read_up_to_a_bound(monkeypatch, caplog):
    endless = b"data: " + b"x" * (EVENT_BYTES + 1) + Scripted.HANG
    async with Scripted([streamed(OPEN) + endless, streamed(OPEN, *official_events(1))]) as server:
        assert official_ids(await followed(server.url, 1)) == [1]
    assert "an event of more than 1048576 bytes" in caplog.text
    monkeypatch.setattr(http, "ANSWER_BYTES", 1000)
    answer = b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 1001 + Scripted.HANG
    async with Scripted([answer]) as server:
        with pytest.raises(ConnectionError, match="an answer of more than 1000 bytes"):
            await client.page(server.url, "tea")


@gen_test
async def test_of_a_refusal_without_an_end_no_more_is_read_than_a_reason_takes(monkeypatch):
    monkeypatch.setattr(http, "REASON_BYTES", 1000)
    monkeypatch.setattr(http, "REASON_SECONDS", 1000.0)
    async with Scripted([b"HTTP/1.1 404 X\r\n\r\n" + b" " * 1001 + Scripted.HANG]) as server:
        with pytest.raises(Denied, match="404 Not Found"):
            await asyncio.wait_for(client.page(server.url, "tea"), WAIT)


PROXIES = [f"{name}_proxy" for name in ("http", "https", "all", "no")]


@pytest.fixture
def environ(monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@gen_test
@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_the_proxy_of_the_environment_is_gone_through(name, environ):
    (one,) = official_events(1)
    answers = [streamed(OPEN, one), answered(200, wire_json(message(1))), b"HTTP/1.1 407 X\r\n\r\n"]
    async with Scripted(answers) as proxy:
        environ.setenv(name, proxy.url.replace("//", "//ann:pa%40ss@"))
        assert official_ids(await followed("http://chat.example.org/x", 1)) == [1]
        await client.post("http://chat.example.org/x", "tea", "ann", "hi")
        with pytest.raises(Denied, match="407 Proxy Auth"):
            await client.page("http://chat.example.org/x", "tea")
    assert proxy.heads[0].startswith("GET http://chat.example.org/x/rooms/tea/messages/ HTTP/1.1\r\n")
    assert proxy.heads[1].startswith("POST http://chat.example.org/x/rooms/tea/messages/ HTTP/1.1\r\n")
    access = base64.b64encode(b"ann:pa@ss").decode()
    assert all(f"\r\nProxy-Authorization: Basic {access}\r\n" in head for head in proxy.heads)


@gen_test
async def test_an_https_address_is_reached_by_a_tunnel(environ):
    async with Scripted([b"HTTP/1.1 403 Not That Host\r\n\r\n"]) as proxy:
        environ.setenv("HTTPS_PROXY", proxy.url.removeprefix("http://"))
        with pytest.raises(ConnectionError, match="the proxy answers 403 Not That Host"):
            await client.page("https://chat.example.org", "tea")
    assert proxy.heads[0].startswith("CONNECT chat.example.org:443 HTTP/1.1\r\n")


@gen_test
@pytest.mark.parametrize("exempt", ["127.0.0.1", "example.org,127.0.0.1:{port}", "*"])
async def test_the_proxy_is_not_for_the_hosts_of_no_proxy(exempt, environ):
    empty = answered(200, {"messages": [], "lastEventId": 0})
    async with Scripted([empty]) as server:
        environ.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        environ.setenv("NO_PROXY", exempt.format(port=server.url.rpartition(":")[2]))
        assert (await client.page(server.url, "tea")).last_id == 0


@gen_test
async def test_a_proxy_that_cannot_be_used_is_said_plainly_and_without_its_password(environ):
    for proxy in ("socks5://ann:secret@h:1080", "http://ann:secret@h:x", "http://"):
        environ.setenv("ALL_PROXY", proxy)
        with pytest.raises(Misconfigured, match=r"no such proxy: .*; say http://HOST:PORT") as error:
            await client.page("http://chat.example.org", "tea")
        assert "secret" not in str(error.value)


@gen_test
async def test_a_password_is_sent_and_never_told():
    with pytest.raises(Misconfigured, match=r"no such address: http://a\.\.b/"):
        await client.page("http://ann:secret@a..b", "tea")
    async with Scripted([answered(200, {"messages": [], "lastEventId": 0})]) as server:
        await client.page(server.url.replace("//", "//ann:secret@"), "tea")
    assert "\r\nAuthorization: Basic YW5uOnNlY3JldA==\r\n" in server.heads[0]
    for name in ("ann:secret", "ann", ":secret"):
        with pytest.raises(Misconfigured, match="takes no token") as refused:
            await client.page(f"http://{name}@127.0.0.1:1", "tea", token="a.b.c")
        assert "secret" not in str(refused.value)
    for text, told in {
        "to https://ann:p@s:s@h/x@y, http://b@h": "to https://h/x@y, http://h",
        "http://h/a:b@c mail a@b": "http://h/a:b@c mail a@b",
    }.items():
        assert without_password(text) == told


# Against flychat itself


@contextlib.asynccontextmanager
async def started(directory: Path, store: str) -> AsyncIterator[App]:
    app = App(free_port(), ["--standalone", "--store", store], {}, directory / "app.log")
    await app.start()
    try:
        yield app
    finally:
        await app.kill()


@gen_test
async def test_a_server_that_is_killed_and_started_again_costs_no_message(tmp_path):
    """Posts and stream go on by themselves, over three processes on one file."""
    async with started(tmp_path, f"sqlite:{tmp_path / 'chat.db'}") as app:
        following = asyncio.create_task(followed(app.url, 30))
        for n in range(30):
            posting = asyncio.create_task(client.post(app.url, "tea", "ann", f"text {n + 1}"))
            if n in (10, 20):
                await app.kill()
                await app.start()
            assert (await posting).id == n + 1
        seen = await following
        past = await client.page(app.url, "tea", before=10, limit=5)
    assert official_ids(seen) == list(range(1, 31))
    assert (past.messages, past.last_id) == (tuple(e for e in seen if isinstance(e, Message))[4:9], 30)
    assert [event.text for event in seen if isinstance(event, Message)] == [
        f"text {n + 1}" for n in range(30)
    ]


@gen_test
async def test_a_room_of_large_messages_is_read_page_by_page_both_ways(tmp_path):
    async with started(tmp_path, "sqlite::memory:") as app:
        sent = [await client.post(app.url, "tea", "ann", "\U0001f680" * 4096) for _ in range(40)]
        page = await client.page(app.url, "tea", limit=200)
        backwards = [page.messages]
        while page.before is not None:
            page = await client.page(app.url, "tea", page.before, limit=200)
            backwards.append(page.messages)
        page = await client.page(app.url, "tea", limit=200, after=0)
        forwards = [page.messages]
        while page.after is not None:
            page = await client.page(app.url, "tea", limit=200, after=page.after)
            forwards.append(page.messages)
    assert len(forwards) > 1
    assert [message for messages in forwards for message in messages] == sent
    assert [message for messages in reversed(backwards) for message in messages] == sent


# With a token


def bearers(server: Scripted) -> list[str | None]:
    lines = [dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line) for head in server.heads]
    return [each.get("Authorization") for each in lines]


@gen_test
async def test_a_token_goes_with_every_request_and_is_asked_for_anew_each_time():
    count = itertools.count(1)

    async def token() -> str:
        return f"token-{next(count)}"

    ok = answered(200, wire_json(replace(message(2), user="ann")))
    answers = [
        streamed(OPEN, *official_events(1)),
        refusal(503),
        streamed(OPEN, *official_events(2), cut=False),
        answered(200, {"messages": [], "lastEventId": 1}),
        refusal(503),
        ok,
        answered(200, {"messages": [], "lastEventId": 1}),
    ]
    async with Scripted(answers) as server:
        await followed(server.url, 2, token=token)
        made = await client.post(server.url, "tea", None, "hi", seconds=200, token=token)
        await client.position(server.url, "tea", token="fixed.one")
    assert (made.user, made.key) == ("ann", ("ann", "ann", "pid-2"))
    assert bearers(server) == [*(f"Bearer token-{n}" for n in range(1, 7)), "Bearer fixed.one"]
    assert "from" not in json.loads(server.bodies[5]), "the token says it"


@gen_test
async def test_without_a_token_nothing_of_it_is_sent():
    async with Scripted([streamed(OPEN, *official_events(1), cut=False)]) as server:
        await followed(server.url, 1)
        assert "authorization" not in server.heads[0].lower()


@pytest.mark.parametrize("token", ["", "two words", "a\r\nCookie: b", "\xfc", "a\n"])
@gen_test
async def test_a_token_that_cannot_be_sent_is_refused_and_not_told(token):
    async with Scripted([]) as server:
        with pytest.raises(Misconfigured) as refused:
            await client.page(server.url, "tea", token=token)
        assert str(refused.value) == "the token must be one word of ASCII"
        assert server.heads == []


@pytest.mark.parametrize(("status", "code"), [(401, "unauthorized"), (403, "forbidden")])
@gen_test
async def test_a_right_that_is_missing_or_has_ended_ends_the_stream_and_the_post(status, code):
    """After `stream-end` the stream is asked for once more: with a token that may be a new one."""
    end = Event("stream-end", '{"reason":"expired"}')
    no = refusal(status, code=code)
    async with Scripted([no, streamed(OPEN, *official_events(1), end), no, no]) as server:
        with pytest.raises(Denied) as denied:
            await followed(server.url, 1, token="t")
        events = client.stream(server.url, "tea", token="t")
        assert await anext(events) == message(1)
        with pytest.raises(Denied):
            await anext(events)
        with pytest.raises(Denied):
            await client.post(server.url, "tea", "ann", "hi", last_id=1, token="t")
        assert (denied.value.status, denied.value.code) == (status, code)
        assert len(server.heads) == 4
