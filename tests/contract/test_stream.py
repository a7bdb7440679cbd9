"""What a client sees of a stream, the same in every mode: standalone, GRIP behind the model, GRIP behind Pushpin."""

from __future__ import annotations

import asyncio
import json
import re
import uuid

import pytest

from flychat import showing
from flychat.hub import grip as grip_module
from flychat.hub import local as local_module
from tests.proof import oracle
from tests.support.asking import ROOM
from tests.support.modes import MODES, ONE_PUSHPIN, Place, standing
from tests.support.served import Client, draft, fields

in_each_mode = pytest.mark.parametrize("mode", MODES)
with_one_pushpin = pytest.mark.parametrize("mode", ONE_PUSHPIN)
gen_test = pytest.mark.gen_test
FAREWELL = rb"retry: [0-9]{4}\nevent: keep-alive\ndata: \{\}\n\n"
OPEN = b"retry: 2000\nevent: stream-open\ndata: {}\n\n"


def block(message: dict) -> bytes:
    """An official message as it stands on the wire; none of these has anything to escape."""
    data = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    return f"event: message\ndata: {data}\nid: {message['id']}\n\n".encode()


@in_each_mode
@gen_test
async def test_a_new_room_and_what_is_written_in_it(mode, tmp_path):
    async with standing(mode, tmp_path) as chat:
        client = await chat.settled()
        assert client.blocks == [OPEN]
        said = [await chat.post(text) for text in ("one", "two ünïcödé", "three")]
        await client.until_id(3)
        late = await chat.stream()
        await late.until_id(3)
        assert late.blocks == [OPEN, *map(block, said)]
        assert [each for each in client.blocks if b"\nid: " in each] == late.blocks[1:], "live as replayed"


@in_each_mode
@gen_test
async def test_the_head_says_that_nothing_on_the_way_may_hold_back_or_change_the_stream(mode, tmp_path):
    async with standing(mode, tmp_path) as chat:
        lines = (await chat.stream()).head.decode().split("\r\n")
        assert lines[0] == "HTTP/1.1 200 OK"
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        assert headers["cache-control"] == "no-cache, no-transform"
        assert headers["x-accel-buffering"] == "no"
        assert headers["vary"] == "Accept"
        assert headers["transfer-encoding"] == "chunked"
        assert not headers.keys() & {"etag", "content-encoding", "content-length"}
        assert not any(name.startswith("grip-") for name in headers)


@in_each_mode
@gen_test
async def test_a_stream_begins_at_the_header_else_at_the_query_else_with_the_newest_messages(mode, tmp_path):
    async with standing(mode, tmp_path) as chat:
        await chat.fill(60)
        for query, header, first in (
            ("", "", 11),
            ("?lastEventId=0", "", 1),
            ("?lastEventId=58", "", 59),
            ("?lastEventId=1&lastEventId=58&lastEventId=", "", 59),
            ("?lastEventId=1", "Last-Event-ID: 59", 60),
            ("?lastEventId=57", "Last-Event-ID: x", 58),
            ("?lastEventId=57", "Last-Event-ID: -1", 58),
            ("?lastEventId=x", "", 11),
            ("?lastEventId=%ff", "", 11),
            ("?lastEventId=%ff&lastEventId=58", "", 59),
        ):
            client = await chat.stream(None, *[header] * bool(header), query=query)
            assert await client.until_id(60) == list(range(first, 61)), (query, header)
            assert client.blocks[0] == OPEN


@in_each_mode
@gen_test
async def test_who_has_all_is_sent_nothing_but_what_follows(mode, tmp_path):
    async with standing(mode, tmp_path) as chat:
        await chat.fill(3)
        client = await chat.opened(3)
        await chat.post()
        assert await client.until_id(4) == [4]


@in_each_mode
@gen_test
async def test_who_is_behind_or_ahead_is_reset_and_given_the_newest(mode, tmp_path):
    async with standing(mode, tmp_path) as chat:
        await chat.fill(1101)
        assert await (await chat.stream(101)).until_id(1101) == list(range(102, 1102))
        for position, reason in ((100, "behind"), (0, "behind"), (1102, "ahead"), (10**30, "ahead")):
            client = await chat.opened(position)
            reset = await client.next()
            assert fields(reset) == {"reason": reason, "lastEventId": 1101}
            assert client.blocks[-1].endswith(b"\nid: 1051\n\n")
            assert await client.until_id(1101) == list(range(1052, 1102))
        client = await chat.opened(20, room="empty")
        reset = await client.next()
        assert (reset.type, fields(reset)) == ("stream-reset", {"reason": "ahead", "lastEventId": 0})
        assert client.blocks[-1].endswith(b"\nid: 0\n\n")


@in_each_mode
@gen_test
async def test_who_is_cut_right_after_a_reset_misses_nothing_of_what_follows(mode, tmp_path):
    """The store was emptied: with the old position it would be given 21 to 25, after a gap without a reset."""
    async with standing(mode, tmp_path) as chat:
        listener = oracle.Listener(chat.url, "room", 20)
        await listener.open()
        await listener.until(lambda: listener.resets == 1)
        assert listener.position == 0
        await listener.close()
        await chat.fill(25)
        listener.closed = True
        await listener.follow(25)
        assert (listener.ids, listener.resets, listener.broken) == (list(range(1, 26)), 1, [])
        await listener.close()


@in_each_mode
@gen_test
async def test_no_client_has_a_gap_whenever_it_comes(mode, tmp_path):
    async with standing(mode, tmp_path) as chat:

        async def write(name: str) -> None:
            for n in range(10):
                await chat.post(f"{name} {n}", sender=name)

        async def join(after: int) -> Client:
            while len(first.ids) < after:  # noqa: ASYNC110 - it is read by another
                await asyncio.sleep(0.01)
            return await chat.stream(0)

        first = await chat.stream(0)
        joining = [asyncio.create_task(join(7 * n)) for n in range(6)]
        reading = asyncio.create_task(first.until_id(60))
        await asyncio.gather(*(write(f"writer {n}") for n in range(6)))
        assert await reading == list(range(1, 61))
        for client in await asyncio.gather(*joining):
            assert await client.until_id(60) == list(range(1, 61))


def hold_puts(chat: Place) -> tuple[asyncio.Event, asyncio.Event]:
    """(a put has begun, let it go on). Behind a proxy, what is stored in 3 ms is not shown before."""
    putting, go_on = asyncio.Event(), asyncio.Event()
    put = chat.engine.put

    async def held(commit):
        putting.set()
        await go_on.wait()
        await put(commit)

    chat.engine.put = held  # type: ignore[method-assign]
    return putting, go_on


@in_each_mode
@gen_test
async def test_a_provisional_message_is_seen_before_the_store_has_it(mode, tmp_path):
    async with standing(mode, tmp_path) as chat:
        client = await chat.settled()
        putting, go_on = hold_puts(chat)
        posting = asyncio.create_task(chat.post())
        shown = await client.next()
        assert (shown.type, shown.last_id, fields(shown)["text"]) == ("message", "", "hi")
        assert b"\nid:" not in client.blocks[-1]
        await putting.wait()
        assert not posting.done()
        go_on.set()
        official = await client.next()
        assert fields(official) == await posting
        assert fields(shown) == {name: value for name, value in (await posting).items() if name != "id"}


@in_each_mode
@gen_test
async def test_what_was_not_stored_is_retracted(mode, tmp_path):
    async with standing(mode, tmp_path) as chat:
        client = await chat.settled()
        chat.engine.rejects_over = 0
        _, go_on = hold_puts(chat)
        key = str(uuid.uuid4())
        posting = asyncio.create_task(oracle.post(chat.url, "room", "never", key))
        assert fields(await client.next())["provisionalId"] == key
        go_on.set()
        assert (await posting)[0] == 400
        retraction = await client.next()
        assert (retraction.type, retraction.last_id) == ("retraction", "")
        assert client.blocks[-1] == b'event: retraction\ndata: {"provisionalId":"%s"}\n\n' % key.encode()


@in_each_mode
@gen_test
async def test_without_provisional_events_a_stream_has_what_is_stored_and_what_keeps_it_going(mode, tmp_path):
    async with standing(mode, tmp_path) as chat:
        await chat.fill(2)
        (await chat.settled()).close()
        quiet = await chat.stream(1, query="?provisional=no")
        both = await chat.stream(1, query="?provisional=yes")
        for client in (quiet, both):
            assert await client.until_id(2) == [2]
        _, go_on = hold_puts(chat)
        posting = asyncio.create_task(chat.post("shown first"))
        assert (await both.next()).last_id == ""
        go_on.set()
        said = await posting
        chat.engine.rejects_over = 0
        assert (await oracle.post(chat.url, "room", "never"))[0] == 400
        chat.engine.rejects_over = None
        last = await chat.post("the last")
        for client in (quiet, both):
            assert await client.until_id(4) == [2, 3, 4]
        assert quiet.blocks[0] == OPEN
        assert quiet.blocks[2:] == [block(said), block(last)]
        late = await chat.stream(query="?provisional=no&lastEventId=3")
        assert await late.until_id(4) == [4]


@in_each_mode
@gen_test
async def test_a_stream_without_provisional_events_is_made_whole_where_a_publication_is_lost(mode, tmp_path):
    """Behind a proxy it is recovered at an address of its own, and stays what it is."""
    async with standing(mode, tmp_path) as chat:
        both = await chat.settled()
        quiet = await chat.stream(0, query="?provisional=no")
        await chat.post("one")
        assert await quiet.until_id(1) == [1]
        publish, chat.server.hub.publish = chat.server.hub.publish, lambda publication: None
        await chat.server.log.submit(draft("lost"))
        chat.server.hub.publish = publish
        await chat.post("three")
        for client in (quiet, both):
            assert await client.until_id(3) == [1, 2, 3]
        _, go_on = hold_puts(chat)
        posting = asyncio.create_task(chat.post("four"))
        assert (await both.next("stream-open")).last_id == ""
        go_on.set()
        await posting
        assert await quiet.until_id(4) == [1, 2, 3, 4]
        assert [b"\nid: " in each for each in quiet.blocks] == [False, True, True, True, True]


@with_one_pushpin
@gen_test
async def test_what_is_neither_yes_nor_no_is_refused(mode, tmp_path):
    async with standing(mode, tmp_path) as chat:
        for value in ("", "maybe", "NO", "%ff"):
            answer = await oracle.fetch(
                chat.url, f"{ROOM}?provisional={value}", headers={"Accept": "text/event-stream"}
            )
            assert (answer[0], json.loads(answer[2])["error"]["code"]) == (400, "invalid"), value


@with_one_pushpin
@gen_test
async def test_a_text_that_is_refused_as_a_conflict_retracts_nothing(mode, tmp_path):
    """Its provisional id stands for the message that is stored."""
    async with standing(mode, tmp_path) as chat:
        client = await chat.settled()
        key = str(uuid.uuid4())
        posts = (oracle.post(chat.url, "room", text, key) for text in ("first", "second"))
        assert sorted([status for status, _ in await asyncio.gather(*posts)]) == [200, 409]
        await chat.post("the last")
        assert await client.until_id(2) == [1, 2]
        assert not any(b"event: retraction" in each for each in client.blocks)


@with_one_pushpin
@gen_test
async def test_behind_a_proxy_what_is_stored_in_time_is_seen_once_and_what_fails_in_time_never(
    mode, tmp_path, monkeypatch
):
    monkeypatch.setattr(showing, "PATIENCE", 60)  # whatever else this machine does, the store is in time
    async with standing(mode, tmp_path) as chat:
        client = await chat.settled()
        await chat.post()
        chat.engine.rejects_over = 0
        assert (await oracle.post(chat.url, "room", "never"))[0] == 400
        chat.engine.rejects_over = None
        await chat.post()
        assert await client.until_id(2) == [1, 2]
        each = 2 if mode == "standalone" else 1
        assert [b"event: message" in block for block in client.blocks].count(True) == each * 2 + (each - 1)
        assert any(b"event: retraction" in block for block in client.blocks) == (mode == "standalone")


@in_each_mode
@gen_test
async def test_a_quiet_stream_is_kept_alive(mode, tmp_path, monkeypatch):
    monkeypatch.setattr(local_module, "TICK", 0.02)
    monkeypatch.setattr(grip_module, "KEEP_ALIVE_SECONDS", 1)
    async with standing(mode, tmp_path) as chat:
        if mode == "standalone":
            chat.server.hub._keep_alive = 0.1
        client = await chat.opened()
        for _ in range(2):
            assert (await client.next()).type == "keep-alive"
            assert client.blocks[-1] == b"event: keep-alive\ndata: {}\n\n"


@in_each_mode
@gen_test
async def test_when_a_server_ends_its_own_streams_say_when_to_come_back_and_those_of_a_proxy_go_on(
    mode, tmp_path
):
    async with standing(mode, tmp_path, f"--store=sqlite:{tmp_path / 'chat.db'}") as chat:
        client = await chat.settled()
        await chat.post("before")
        assert await client.until_id(1) == [1]
        await chat.server.stop()
        if mode == "standalone":
            assert re.fullmatch(FAREWELL, await client.at_end())
            assert client.body.ended
            client.close()
        await chat.begin_again()
        if mode == "standalone":
            client = await chat.opened(1)
        await chat.post("after")
        assert (await client.until_id(2))[-1] == 2


@in_each_mode
@gen_test
async def test_a_head_request_has_the_head_of_a_stream_and_nothing_else(mode, tmp_path):
    async with standing(mode, tmp_path) as chat:
        client = await chat.request(f"HEAD {ROOM} HTTP/1.1\nAccept: text/event-stream\nConnection: close")
        answer = await client.at_end()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"\r\ncontent-type: text/event-stream; charset=utf-8\r\n" in answer.lower()
        assert answer.endswith(b"\r\n\r\n")
        assert b"grip-" not in answer.lower()


@in_each_mode
@gen_test
async def test_a_head_request_for_a_stream_spoils_nothing_on_its_connection(mode, tmp_path):
    """Without a Content-Length in it, which says 0, Pushpin 1.41 would add a last chunk to the answer."""
    async with standing(mode, tmp_path) as chat:
        client = await chat.request(f"HEAD {ROOM} HTTP/1.1\nAccept: text/event-stream")
        await client.opened()
        client.writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await client.at_end()).startswith(b"HTTP/1.1 200 ")


@with_one_pushpin
@gen_test
async def test_a_page_of_another_origin_may_read_a_stream_if_it_is_listed(mode, tmp_path):
    friend = "https://friend.example"
    async with standing(mode, tmp_path, "--cors-origin", friend) as chat:
        for origin, allowed in (
            (friend, friend),
            ("https://evil.example", None),
            (chat.url.rstrip("/"), None),
        ):
            head = (await chat.stream(None, f"Origin: {origin}")).head
            exposed = header(head, "access-control-expose-headers")
            assert exposed == ("Retry-After, X-Request-Id" if allowed else None)
            assert header(head, "access-control-allow-origin") == allowed
            assert ("Origin" in header(head, "vary")) == (allowed is not None)
        client = await chat.request(
            f"OPTIONS {ROOM} HTTP/1.1\nOrigin: {friend}\nAccess-Control-Request-Method: GET"
        )
        await client.opened()
        assert client.head.startswith(b"HTTP/1.1 204 ")
        assert header(client.head, "access-control-allow-origin") == friend
        assert header(client.head, "access-control-allow-methods") == "GET, POST"
        assert "Last-Event-ID" in header(client.head, "access-control-allow-headers")


@with_one_pushpin
@gen_test
@pytest.mark.parametrize(("room", "status"), [("healthz", 404), ("a%2Fb", 400), ("x" * 65, 400)])
async def test_a_room_that_cannot_be_is_refused_a_stream(mode, tmp_path, room, status):
    async with standing(mode, tmp_path) as chat:
        answer = await oracle.fetch(
            chat.url, f"/rooms/{room}/messages/", headers={"Accept": "text/event-stream"}
        )
        assert answer[0] == status
        assert list(json.loads(answer[2])) == ["error"]


def header(head: bytes, name: str) -> str | None:
    """All values of a header, joined."""
    lines = (line.partition(": ") for line in head.decode().split("\r\n"))
    values = [value for found, _, value in lines if found.lower() == name]
    return ", ".join(values) if values else None
