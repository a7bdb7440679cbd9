"""The shortcut: plain stream requests are held without Tornado, with the same answer; all others are Tornado's."""

import asyncio
import contextlib
import errno
import random
import re
import socket
import struct
import time
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flychat.log import reading
from flychat.storage import Broken, Unknown
from flychat.streams import StreamRequest
from flychat.web.clients import PEEK_BYTES
from flychat.web.heads import Heads
from flychat.web.plain import KNOWN, PlainStream, plain_request
from tests.support.served import WAIT, all_leave
from tests.support.two_ports import GOOD, MADE_UP, Connection, through_tornado, two_ports

GET = b"GET /rooms/room/messages/ HTTP/1.1\r\n"
HOST = b"Host: x\r\n"
ACCEPT = b"Accept: text/event-stream\r\n"
PLAIN = GET + HOST + ACCEPT + b"\r\n"
BROWSER = (
    b"GET /rooms/caf%C3%A9/messages/?lastEventId=7 HTTP/1.1\r\nHost: localhost:3000\r\nUser-Agent: Mozilla/5.0 "
    b"(X11; Linux x86_64; rv:128.0)\r\nAccept: text/event-stream\r\nAccept-Language: en-US,en;q=0.5\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\nConnection: keep-alive\r\nCookie: flychat_user=ann\r\n"
    b"Sec-Fetch-Mode: cors\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n"
)
ORDINARY = {
    PLAIN: StreamRequest("room"),
    BROWSER: StreamRequest("caf\u00e9", 7),
    GET + b"host:x\r\nLAST-EVENT-ID:  12 \r\naccept:text/event-stream\r\n\r\n": StreamRequest("room", 12),
    b"GET /rooms/a.b~c-d_e/messages/?lastEventId=1 HTTP/1.1\r\nLast-Event-ID: 2\r\n"
    + HOST
    + ACCEPT
    + b"\r\n": (StreamRequest("a.b~c-d_e", 2)),
}
UNUSUAL = {
    "official events only": PLAIN.replace(b"/ HTTP", b"/?provisional=no HTTP"),
    "HTTP/1.0": PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HEAD": b"HEAD" + PLAIN[3:].replace(HOST, HOST + b"Connection: close\r\n"),
    "an Authorization": PLAIN.replace(HOST, HOST + b"Authorization: Bearer x\r\n"),
    "a header that nobody knows": PLAIN.replace(HOST, HOST + b"X-Tomorrow: 1\r\n"),
    "a harmless header twice": PLAIN.replace(HOST, HOST + b"DNT: 1\r\n" * 2),
    "an Origin": PLAIN.replace(HOST, HOST + b"Origin: https://a.example\r\n"),
    "no Accept": GET + HOST + b"Connection: close\r\n\r\n",
    "another Accept": PLAIN.replace(ACCEPT, b"Accept: text/event-stream, */*;q=0.1\r\n"),
    "Accept: JSON": PLAIN.replace(ACCEPT, b"Accept: application/json\r\nConnection: close\r\n"),
    "two Accepts": PLAIN.replace(ACCEPT, b"Accept: text/html\r\n" + ACCEPT),
    "two Accepts, one empty": PLAIN.replace(ACCEPT, ACCEPT + b"Accept:\r\n"),
    "no Host": GET + ACCEPT + b"\r\n",
    "a Host that is none": PLAIN.replace(HOST, b"Host: a b\r\n"),
    "a Host with a user": PLAIN.replace(HOST, b"Host: x@y\r\n"),
    "a Host that is too long": PLAIN.replace(HOST, b"Host: " + b"x" * 301 + b"\r\n"),
    "two Hosts": PLAIN.replace(HOST, HOST + HOST),
    "a position that is none": PLAIN.replace(HOST, HOST + b"Last-Event-ID: x\r\n"),
    "an empty position": PLAIN.replace(HOST, HOST + b"Last-Event-ID:\r\n"),
    "two positions": PLAIN.replace(HOST, HOST + b"Last-Event-ID: 1\r\nLast-Event-ID: 2\r\n"),
    "a Grip-Last": PLAIN.replace(HOST, HOST + b"Grip-Last: messages-room; last-id=1\r\n"),
    "a body": PLAIN.replace(HOST, HOST + b"Content-Length: 2\r\n") + b"xx",
    "a body to come": PLAIN.replace(HOST, HOST + b"Content-Length: 0\r\n"),
    "chunks": PLAIN.replace(HOST, HOST + b"Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n",
    "Expect": PLAIN.replace(HOST, HOST + b"Expect: 100-continue\r\n"),
    "a folded header": PLAIN.replace(HOST, HOST + b"X-Long: a\r\n b\r\n"),
    "no colon": PLAIN.replace(HOST, HOST + b"Nonsense\r\n"),
    "a space before the colon": PLAIN.replace(HOST, b"Host : x\r\n"),
    "bytes beyond ASCII": PLAIN.replace(HOST, HOST + b"X: \xff\r\n"),
    "line feeds only": PLAIN.replace(b"\r\n", b"\n"),
    "a line feed in a header": PLAIN.replace(HOST, HOST + b"X: a\nAccept: text/html\r\n"),
    "two requests at once": PLAIN.replace(ACCEPT, b"") + PLAIN,
    "more than the request": PLAIN + b"x",
    "a blank line first": b"\r\n" + PLAIN,
    "another query": PLAIN.replace(b"/ HTTP", b"/?lastEventId=1&x=1 HTTP"),
    "an encoded query": PLAIN.replace(b"/ HTTP", b"/?lastEventId=%31 HTTP"),
    "an absolute address": PLAIN.replace(b"/rooms", b"http://x/rooms"),
    "a room that is not UTF-8": PLAIN.replace(b"/room/", b"/%ff/"),
    "a room with a slash": PLAIN.replace(b"/room/", b"/a%2fb/"),
    "a room that is too long": PLAIN.replace(b"/room/", b"/" + b"r" * 65 + b"/"),
    "a reserved room": PLAIN.replace(b"/room/", b"/metrics/"),
    "a bad escape": PLAIN.replace(b"/room/", b"/%zz/"),
    "an oversized head": PLAIN.replace(HOST, HOST + b"Cookie: " + b"c" * PEEK_BYTES + b"\r\n"),
    "a head beyond all limits": PLAIN.replace(HOST, HOST + b"Cookie: " + b"c" * 70_000 + b"\r\n"),
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2 + b"\r\n\r\n",
    "a POST": b"POST /rooms/room/messages/ HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nContent-Length: 2\r\n"
    b"Connection: close\r\n\r\n{}",
    "the page": b"GET /room?user=ann HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
}


def test_the_heads_tell_the_time():
    for head in Heads.at(86_401)[1:]:
        assert b"Date: Fri, 02 Jan 1970 00:00:01 GMT\r\n" in head


@pytest.mark.gen_test
async def test_each_answer_has_the_time_at_which_it_was_sent(monkeypatch):
    clock = SimpleNamespace(time=lambda: now, monotonic=time.monotonic)
    monkeypatch.setattr("flychat.web.shortcut.time", clock)
    async with two_ports() as (_, port, _held):
        connection = await Connection.open(port)
        for second in (1, 2):
            now = 86_400 + second
            assert b"Date: Fri, 02 Jan 1970 00:00:0%d GMT\r\n" % second in await connection.ask(GOOD)


def _patience(got: bytes, requests: int) -> float:
    """Seconds to wait for more: much where more must come, little where what has come is whole."""
    head, end, body = got.partition(b"\r\n\r\n")
    if end and got.count(b"HTTP/1.1 ") < requests:
        return WAIT
    if not end:
        return 0.2 if got else WAIT
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if length is None:
        return 0.2
    return WAIT if len(body) < int(length[1]) and b" 304 " not in head[:20] else 0.02


async def answer(port: int, *pieces: bytes) -> bytes:
    """All that is answered until the server has nothing more to say, but for the time of day."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    got, requests = b"", b"".join(pieces).count(b" HTTP/1.1\r\n")
    with contextlib.suppress(TimeoutError, ConnectionError):
        while piece := await asyncio.wait_for(reader.read(65536), _patience(got, requests)):
            got += piece
    writer.close()
    got = re.sub(rb'("date": ?"|Date: |data-now=")[^"\r]*', b"", got)
    got = re.sub(rb"expires=[^;\r]*", b"", got)  # of the cookie, a year from this second
    return re.sub(rb"[0-9a-f]{8}-[0-9a-f-]{27}|data-now=.\d+.", b"", got)


@pytest.mark.gen_test
async def test_a_stream_that_cannot_be_held_is_told_seldom_and_harms_nobody(caplog):
    """As where the kernel watches no more files for this user."""
    async with two_ports() as (chat, port, _held):
        register = chat.hub.connections._selector.register
        chat.hub.connections._selector.register = raising(OSError(errno.ENOSPC, "no space"))
        for _ in range(5):
            assert await answer(port, PLAIN) == b""
        chat.hub.connections._selector.register = register
        chat.port = port
        assert await (await chat.stream()).until_id(3) == [1, 2, 3]
        told = [record.getMessage() for record in caplog.records if record.name.startswith("flychat")]
        assert told == ["a stream cannot be held: no space"]


def raising(error: Exception):
    def fail(*_args):
        raise error

    return fail


def asked_by(head: bytes) -> StreamRequest | None:
    plain = plain_request(head)
    return plain.request if isinstance(plain, PlainStream) else None


@pytest.mark.parametrize(("head", "request_"), ORDINARY.items())
def test_a_plain_request_is_read(head, request_):
    assert asked_by(head) == request_


@pytest.mark.gen_test
@pytest.mark.parametrize("query", ["", "?lastEventId=1", "?lastEventId=3", "?lastEventId=99"])
async def test_a_plain_request_gets_the_same_answer_from_the_shortcut(query):
    plain = PLAIN.replace(b"/ HTTP", f"/{query} HTTP".encode())
    async with two_ports() as (chat, port, held):
        ours, theirs = await asyncio.gather(answer(port, plain), answer(chat.port, plain))
        assert len(held) == 1
        assert sorted(ours.split(b"\r\n")) == sorted(theirs.split(b"\r\n"))
        assert ours.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.gen_test
async def test_a_room_that_is_not_in_memory_is_waited_for_and_answered_alike():
    async with two_ports() as (chat, port, held):
        theirs = await answer(chat.port, PLAIN)
        all_leave(chat.log)
        chat.engine.calls.clear()
        ours = await answer(port, PLAIN)
        assert chat.engine.calls["tail"] == 1
        assert len(held) == 1
        assert sorted(ours.split(b"\r\n")) == sorted(theirs.split(b"\r\n"))


@pytest.mark.gen_test
@pytest.mark.parametrize("why", ["full", "the store is broken"])
@pytest.mark.parametrize("connection", ["keep-alive", "close"])
async def test_a_stream_is_refused_as_tornado_refuses_it(why, connection):
    request = PLAIN.replace(HOST, HOST + f"Connection: {connection}\r\n".encode())
    async with two_ports() as (chat, port, held):
        if why == "full":
            chat.hub.admits = lambda client: False
        counted, answers, ended = through_tornado(chat), [], []
        for each in (port, chat.port):
            all_leave(chat.log)
            chat.engine.read_faults.extend([Broken("away")] * (why != "full"))
            client = await Connection.open(each)
            answers.append(MADE_UP.sub(b"", await client.ask(request)))
            with contextlib.suppress(TimeoutError):
                ended.append(
                    await asyncio.wait_for(client.reader.read(), 0.1 if connection != "close" else WAIT)
                )
        assert sorted(answers[0].split(b"\r\n")) == sorted(answers[1].split(b"\r\n"))
        assert answers[0].startswith(b"HTTP/1.1 503 ")
        assert ended == ([b"", b""] if connection == "close" else [])
        assert counted.total() == 1
        assert not held
        assert chat.application.idle.is_set()


@pytest.mark.gen_test
async def test_a_store_that_does_not_answer_is_not_asked_twice_for_a_stream(monkeypatch):
    monkeypatch.setattr(reading, "RETRY_SECONDS", 0)
    async with two_ports() as (chat, port, held):
        answers = []
        for each in (port, chat.port):
            all_leave(chat.log)
            chat.engine.calls.clear()
            chat.engine.read_faults.append(Unknown())
            answers.append(re.sub(rb"X-Request-Id: .*\r\n", b"", await answer(each, PLAIN)))
            assert chat.engine.calls["tail"] == 1
        assert answers[0] == answers[1]
        assert answers[0].startswith(b"HTTP/1.1 503 ")
        connection = await Connection.open(port)
        all_leave(chat.log)
        chat.engine.read_faults.append(Unknown())
        assert (await connection.ask(PLAIN)).startswith(b"HTTP/1.1 503 ")
        again = await connection.ask(PLAIN)
        assert again.startswith(b"HTTP/1.1 200 "), "the connection is there for the next request"
        assert len(held) == 1
        assert chat.application.idle.is_set()


@pytest.mark.gen_test
@pytest.mark.parametrize("shortened", [True, False])
async def test_a_stream_that_waits_for_its_room_is_a_request_under_way(shortened):
    """So an ending server answers it before the hub lets the streams go."""
    async with two_ports() as (chat, port, held):
        all_leave(chat.log)
        reading, go, tail = asyncio.Event(), asyncio.Event(), chat.engine.tail

        async def slow(room, limit):
            reading.set()
            await go.wait()
            return await tail(room, limit)

        chat.engine.tail = slow
        waiting = asyncio.create_task(answer(port if shortened else chat.port, PLAIN))
        await reading.wait()
        assert not chat.application.idle.is_set()
        go.set()
        await chat.application.idle.wait()
        assert len(held) == shortened
        assert (await waiting).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.gen_test
@pytest.mark.parametrize("name", UNUSUAL)
async def test_anything_unusual_is_left_to_tornado(name):
    async with two_ports() as (chat, port, held):
        ours, theirs = await asyncio.gather(answer(port, UNUSUAL[name]), answer(chat.port, UNUSUAL[name]))
        assert ours == theirs
        assert not held


# The first two as they were recorded from an EventSource that came back, the others as they are known to be.
CLIENTS = {
    "Chromium 156": """Host: 127.0.0.1:3000
Connection: keep-alive
Pragma: no-cache
Cache-Control: no-cache
sec-ch-ua-platform: "Linux"
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36
Accept: text/event-stream
sec-ch-ua: "Not:A-Brand";v="8", "Chromium";v="156"
sec-ch-ua-mobile: ?0
Sec-Fetch-Site: same-origin
Sec-Fetch-Mode: cors
Sec-Fetch-Dest: empty
Referer: http://127.0.0.1:3000/room
Accept-Encoding: gzip, deflate, br, zstd
Accept-Language: en-US,en;q=0.9
Cookie: flychat_user=ann
Last-Event-ID: 3""",
    "Firefox 153": """Host: 127.0.0.1:3000
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0
Accept: text/event-stream
Accept-Language: en-US,en;q=0.9
Accept-Encoding: gzip, deflate, br, zstd
Referer: http://127.0.0.1:3000/room
Connection: keep-alive
Cookie: flychat_user=ann
Sec-Fetch-Dest: empty
Sec-Fetch-Mode: cors
Sec-Fetch-Site: same-origin
Priority: u=4
Pragma: no-cache
Cache-Control: no-cache""",
    "Safari": """Host: localhost:3000
Accept: text/event-stream
Sec-Fetch-Site: same-origin
Cookie: flychat_user=ann
Sec-Fetch-Dest: empty
Sec-Fetch-Mode: cors
User-Agent: Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)
Referer: http://localhost:3000/room
Accept-Language: en-GB,en;q=0.9
Priority: u=3, i
Accept-Encoding: gzip, deflate
Cache-Control: no-cache
Pragma: no-cache
Connection: keep-alive""",
    "curl": """Host: localhost:3000
User-Agent: curl/8.0
Accept: text/event-stream""",
    "behind nginx": """Host: a.example
X-Forwarded-For: 192.0.2.7
X-Forwarded-Proto: https
accept: text/event-stream
user-agent: x
sec-fetch-mode: cors""",
    "behind Caddy": """Host: a.example
User-Agent: x
Accept: text/event-stream
Accept-Encoding: gzip
X-Forwarded-For: 192.0.2.7
X-Forwarded-Host: a.example
X-Forwarded-Proto: https
Via: 2.0 Caddy""",
}


@pytest.mark.parametrize("name", CLIENTS)
def test_usual_clients_and_proxies_are_plain(name):
    head = GET + CLIENTS[name].replace("\n", "\r\n").encode() + b"\r\n\r\n"
    assert asked_by(head) == StreamRequest("room", 3 if "Last-Event-ID" in CLIENTS[name] else None)


@given(st.from_regex(r"[A-Za-z0-9-]{1,20}", fullmatch=True))
@example("Authorization")
@example("Proxy-Authorization")
@example("Grip-Sig")
@example("Origin")
@example("Content-Length")
@example("Upgrade")
def test_a_header_that_is_not_known_to_change_nothing_is_tornados_business(name):
    head = PLAIN.replace(HOST, HOST + f"{name}: 1\r\n".encode())
    assert plain_request(head) is None or name.lower() in KNOWN["GET"] - {"accept", "host"}


def test_a_host_is_read_in_a_moment_however_many_blanks_it_has():
    began = time.process_time()
    for _ in range(10):
        assert plain_request(PLAIN.replace(HOST, b"Host:" + b" " * 8000 + b"!\r\n")) is None
    assert time.process_time() - began < 0.1  # it took more than a second
    assert plain_request(PLAIN.replace(HOST, b"Host:  x  \r\n")) is not None


@pytest.mark.gen_test
async def test_what_is_called_harmless_changes_no_answer_of_tornados():
    """Any value of such a header; those that are read have their own rows in the differential test."""
    values = ["", "0", "close", "Upgrade", "*", "text/html", "bytes=0-", "flychat_user=b%00", "x" * 300]
    async with two_ports() as (chat, _port, _held):
        chat.application.cors_origins = frozenset(values)
        usual = sorted(await opening(chat.port, PLAIN))
        for name in sorted(KNOWN["GET"] - {"accept", "host", "last-event-id"}):
            for value in values:
                head = PLAIN.replace(HOST, HOST + f"{name}: {value}\r\n".encode())
                assert sorted(await opening(chat.port, head)) == usual, head


@pytest.mark.gen_test
async def test_a_head_in_pieces_is_answered():
    async with two_ports() as (chat, port, _held):
        for cut in (1, 4, len(GET), len(PLAIN) - 1):
            ours = await answer(port, PLAIN[:cut], PLAIN[cut:])
            assert sorted(ours.split(b"\r\n")) == sorted((await answer(chat.port, PLAIN)).split(b"\r\n"))


@pytest.mark.gen_test
async def test_who_takes_the_shortcut_hears_what_follows():
    async with two_ports() as (chat, port, held):
        chat.port = port
        clients = [await chat.stream(last_id=1) for _ in range(3)]
        await chat.post("four")
        for client in clients:
            assert await client.until_id(4) == [2, 3, 4]
        assert len(held) == 3


@pytest.mark.gen_test
async def test_a_client_that_is_gone_before_it_is_let_in_does_no_harm():
    async with two_ports() as (chat, port, _held):
        for _ in range(20):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.sendall(PLAIN)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        chat.port = port
        assert await (await chat.stream()).until_id(3) == [1, 2, 3]


def words(text: str) -> list[str]:
    return text.split(" ")


# What the heads of the differential test are made of: what is ordinary, and what lies just beside it.
ROOMS = [
    *words("room %72oom cold caf%C3%A9 cafe%CC%81 caf\xc3\xa9 a%2Fb %00 %ff %zz a+b .. %2e metrics a;b ~._-"),
    *("", "x" * 64, "x" * 65, "%F0%9F%98%80" * 64),
]
QUERIES = [
    *words(" ?lastEventId=1 ?lastEventId=03 ?lastEventId= ?lastEventId=%31 ?lastEventId=-1 ?lasteventid=1 ?"),
    *("?lastEventId=1&lastEventId=2", f"?lastEventId={'9' * 18}", f"?lastEventId={'9' * 19}"),
]
HEADERS = {
    "Host": [
        *words("x localhost:3000 [::1]:80 x@y x,y x/y x:y:z a_b ex%41mple [ \xe9"),
        *("", "a b", "x\t", f"x:{'9' * 60}", "x" * 254, "x" * 256, "x" * 310),
    ],
    "Accept": [
        *words("text/event-stream */* Text/Event-Stream text/event-stream;q=0 text/html"),
        *("", "text/event-stream, */*", "text/event-stream\t"),
    ],
    "Last-Event-ID": [*words("2 0 02 99 x 1,2 -1 +1 \xb2"), "", "1 2", "1\t", "9" * 18, "9" * 19],
    "X-Forwarded-For": [
        *words("1.2.3.4 ::1 [::1]:99 junk 1.2.3.4,5.6.7.8:9"),
        *("", " ", "1.2.3.4, ", ", 5.6.7.8"),
    ],
    "Connection": ["close", "keep-alive", "Upgrade"],
    "Cookie": ["flychat_user=ann", "a=b; c"],
    "Origin": ["http://x", "null"],
    "Content-Length": ["0", "2", "x"],
    "Transfer-Encoding": ["chunked", "identity"],
    "Expect": ["100-continue"],
    "Grip-Last": ["messages-room; last-id=1"],
    "Grip-Sig": ["x"],
    "Authorization": ["Bearer x"],
    "User-Agent": ["Mozilla/5.0 (X11; Linux x86_64)", ""],
    "Sec-Fetch-Mode": ["cors"],
    "Cache-Control": ["no-cache"],
    "X-Forwarded-Proto": ["https", "http, https"],
    "Forwarded": ["for=9.9.9.9;proto=https"],
    "Via": ["1.1 a"],
    "If-None-Match": ["*"],
    "Range": ["bytes=0-"],
    "Upgrade": ["websocket"],
    "X-Real-Ip": ["9.9.9.9"],
    "X-Host": ["y"],
    "X Y": ["z"],
    "X_Y": ["z"],
}
USUAL = ["Host", "Accept"]
COMMON = ["Last-Event-ID", "X-Forwarded-For", "Connection", "Cookie", "User-Agent", "Sec-Fetch-Mode"]


def made_up(chance: random.Random) -> bytes:
    """A head for the stream of a room, with something odd in it, or nothing."""

    def some(values: list[str], odd: float = 0.08) -> str:
        return chance.choice(values) if chance.random() < odd else values[0]

    names = [name for name in USUAL if chance.random() > 0.02]
    names += [name for name in COMMON if chance.random() < 0.3]
    names += [name for name in HEADERS if chance.random() < 0.02]
    chance.shuffle(names)
    lines = [f"GET /rooms/{some(ROOMS, 0.3)}/messages/{some(QUERIES, 0.3)} "]
    lines[0] += some(["HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1"], 0.04)
    for name in names:
        often = 0.5 if name in COMMON else 0.15
        value = some([" ", "", "  ", "\t"]) + some(HEADERS[name], often) + some(["", " ", "\t"])
        lines.append(some([name, name.lower(), name.upper(), name + " "], 0.2) + ":" + value)
    head = some(["\r\n", "\n", "\r"], 0.01).join([*lines, "", ""]).encode("latin-1")
    if chance.random() < 0.15:  # a byte more, fewer, or another one
        at = chance.randrange(len(head))
        other = chance.choice(
            [b"", b"\0", b"\r", b"\n", b"\t", b" ", b":", b",", b"\x80", b"\xff", b"0", b"H", b"\r\n"]
        )
        head = head[:at] + other + head[at + chance.randrange(2) :]
    return head


@pytest.mark.gen_test(timeout=600)
async def test_what_the_shortcut_takes_tornado_would_have_answered_alike():
    """One table of heads through both: the same request for the same client, and the same bytes in answer."""
    chance, taken, clients, rooms = random.Random(21), 0, set(), set()
    async with two_ports() as (chat, port, _held):
        asked = []
        for target in ("caf\u00e9", "x" * 64):
            await chat.post(room=target)
        plan_at_once, admits = chat.application.chat.plan_at_once, chat.hub.admits

        def note_client(client):
            asked.append(client)
            return admits(client)

        def note_request(request, client):
            asked.append(request)
            return plan_at_once(request, client)

        chat.application.chat.plan_at_once, chat.hub.admits = note_request, note_client
        for _ in range(7000):
            head = made_up(chance)
            if (request := asked_by(head)) is None:
                continue  # what the shortcut refuses is Tornado's anyway
            taken += 1
            asked.clear()
            ours = await opening(port, head)
            assert asked[0] == request, head
            client = asked[1]
            asked.clear()
            theirs = await opening(chat.port, head)
            assert asked[:2] == [request, client], head
            assert sorted(ours) == sorted(theirs), head
            clients.add(client)
            rooms.add(request.room)
    assert taken > 1200
    assert rooms >= {"room", "cold", "caf\u00e9", "~._-", "x" * 64, "\U0001f600" * 64}
    assert clients >= {"127.0.0.1", "1.2.3.4", "5.6.7.8", "::/64", "unknown"}


async def opening(port: int, head: bytes) -> list[bytes]:
    """The lines of an answer up to the end of its first event, but for the time of day."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    try:
        got = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT)
        if got.startswith(b"HTTP/1.1 200 "):
            got += await asyncio.wait_for(reader.readuntil(b"\n\n"), WAIT)
    except asyncio.IncompleteReadError as end:
        got = end.partial
    writer.close()
    return re.sub(rb"Date: [^\r]*", b"", got).split(b"\n")


@given(st.integers(0, len(BROWSER) - 1), st.binary(max_size=3), st.integers(0, 3))
@example(len(BROWSER) - 1, b"", 1)
def test_a_head_that_is_changed_anywhere_is_refused_or_harmless(at, inserted, removed):
    """Whatever is read from a changed head is still a room and a position."""
    request = asked_by(BROWSER[:at] + inserted + BROWSER[at + removed :])
    assert request is None or (1 <= len(request.room) <= 64 and not request.recover)


@given(st.binary(max_size=300))
def test_bytes_are_no_request(data):
    assert plain_request(data) is None
    assert plain_request(GET + data) is None
