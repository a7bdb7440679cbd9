"""Plain POSTs by the shortcut: the same answers as Tornado's, on connections that stay and come back."""

import asyncio
import contextlib
import json
import random
import socket
import uuid
from collections import Counter
from urllib.parse import quote

import pytest

from flychat import errors
from flychat.access import Rules
from flychat.access.gate import Access
from flychat.web import clients
from flychat.web.accepting import SERVED_AT_ONCE
from flychat.web.plain import PlainPost, begun_post, plain_request
from flychat.web.rate import RateLimit
from flychat.web.shedding import Shedding
from flychat.web.shortcut import Shortcut
from flychat.web.turns import Turns
from tests.support.served import WAIT
from tests.support.two_ports import (
    FORM,
    SIGNATURE,
    SIGNING,
    Connection,
    asked,
    proxies,
    through_tornado,
    two_ports,
)

PAGE = b"GET /rooms/room/messages/ HTTP/1.1\r\nHost: x\r\n\r\n"


def a_post(
    body: bytes = FORM, kind: str = "application/x-www-form-urlencoded", room="room", more=""
) -> bytes:
    head = f"POST /rooms/{room}/messages/ HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


# What the requests of the differential test are made of: what is ordinary first, then what lies just beside it.
ROOMS = ["room", "caf%C3%A9", "other", "cold", "", "x" * 65, "a%2Fb", "metrics", "%ff", ".."]
KINDS = [
    "application/x-www-form-urlencoded", "application/json", "application/json; charset=utf-8",
    "application/x-www-form-urlencoded;charset=UTF-8", "application/json;charset=latin-1", "text/plain",
    "multipart/form-data; boundary=b", "application/json;x=y", "",
]  # fmt: skip
TEXTS = [
    "hello",
    "two\r\nlines",
    "\u00fcn\u00ef \U0001f600 \u2028 &=+%",
    "x" * 4096,
    "x" * 4097,
    "",
    "\0",
    "\ud800",
    " ",
    7,
    None,
]
NAMES = ["ann", "b\u00f6b", "x" * 64, "x" * 65, "", "a\tb", None, ["ann"]]
IDS = [None, "new", "again", "not a uuid", "", 5]
POSITIONS = [None, 0, "2", 10**18, -1, True, "x"]
HEADERS = {
    "Accept": [
        "*/*",
        "application/json",
        "text/html",
        "text/html;q=0.1, application/json",
        "text/html, */*",
        "",
    ],
    "Origin": ["http://x", "https://X", "http://y", "null", ""],
    "Connection": ["keep-alive", "Keep-Alive", "close", "Upgrade"],
    "Cookie": ["flychat_user=ann", "a=b"],
    "X-Forwarded-For": ["1.2.3.4", "junk", "1.2.3.4, ::1"],
    "User-Agent": ["Mozilla/5.0"],
    "Referer": ["http://x/room"],
    "Sec-Fetch-Site": ["same-origin", "cross-site"],
    "Last-Event-ID": ["7"],
    "Content-Encoding": ["identity", "gzip"],
    "Grip-Sig": ["x", SIGNATURE, f"{SIGNATURE}, x"],
    "Grip-Feature": ["status, session, link:next"],
}


def made_up(chance: random.Random, used: list[dict]) -> bytes:
    """A POST, with something odd in it, or nothing."""

    def some(values, odd=0.1):
        return chance.choice(values) if chance.random() < odd else values[0]

    fields = {
        "from": some(NAMES),
        "text": some(TEXTS, 0.3),
        "provisionalId": some(IDS, 0.5),
        "lastEventId": some(POSITIONS),
        "unknown": some([None, "x"]),
    }
    if fields["provisionalId"] == "new":
        fields["provisionalId"] = str(uuid.UUID(int=chance.getrandbits(128)))
        used.append(dict(fields))
    elif fields["provisionalId"] == "again" and used:
        fields = {**chance.choice(used), **({"text": "other"} if chance.random() < 0.3 else {})}
    fields = {name: value for name, value in fields.items() if value is not None}
    kind = some(KINDS, 0.5)
    if "json" in kind:
        body = json.dumps(some([fields, [], 3], 0.03)).encode()
    elif "multipart" in kind:
        part = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
        body = ("".join(part.format(*each) for each in fields.items()) + "--b--\r\n").encode(errors="replace")
    else:
        quoted = {name: quote(str(value), errors="replace") for name, value in fields.items()}
        body = "&".join(f"{name}={value}" for name, value in quoted.items()).encode()
        body = some([body, body + b"&text=last", body + b"&_charset_=latin-1", body + b"%", b"%ff=%ff"], 0.05)
    lines = [f"POST /rooms/{some(ROOMS, 0.4)}/messages{some(['/', '', '/?x=1'])} HTTP/1.1", "Host: x"]
    lines += [f"Content-Type: {kind}"] if kind or chance.random() < 0.5 else []
    lines += [f"{name}: {some(HEADERS[name], 0.5)}" for name in HEADERS if chance.random() < 0.15]
    chance.shuffle(lines[1:])
    length = some([len(body), f"0{len(body)}", f"+{len(body)}"], 0.02)
    return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode() + body


@pytest.mark.gen_test(timeout=600)
@pytest.mark.parametrize("grip", [False, True], ids=["standalone", "grip"])
async def test_what_the_shortcut_takes_tornado_would_have_answered_alike(grip):
    """The same POSTs in the same order to two chats, one without the shortcut: what is stored is alike as well.

    Each mode has POSTs of its own.
    """
    chance, used, plain, statuses = random.Random(5 + grip), [], 0, Counter()
    async with contextlib.AsyncExitStack() as stack:
        hub = await stack.enter_async_context(proxies(SIGNING)) if grip else None
        ours, port, _ = await stack.enter_async_context(two_ports(proxies=hub))
        theirs, _, _ = await stack.enter_async_context(two_ports(proxies=hub))
        counted = through_tornado(ours)
        for _ in range(4000):
            request = made_up(chance, used)
            if not isinstance(plain_request(request), PlainPost) and chance.random() < 0.8:
                continue
            plain += isinstance(plain_request(request), PlainPost)
            got, expected = await asked(port, request), await asked(theirs.port, request)
            assert got == expected, request
            statuses[got[9:12]] += 1
        for room in ("room", "caf\u00e9", "other", "cold"):
            mine, other = [(await chat.log.page(room)).messages for chat in (ours, theirs)]
            assert [(m.id, m.sender, m.text) for m in mine] == [(m.id, m.sender, m.text) for m in other]
        assert ours.application.idle.is_set()
    taken = statuses.total() - counted["requests"]
    assert plain > 1000
    assert taken > 800
    assert statuses.keys() >= {b"200", b"303", b"400", b"403", b"404", b"409", b"415"}


@pytest.mark.gen_test
async def test_who_came_through_a_proxy_that_signs_is_counted_by_the_address_that_it_tells():
    """And with a signature that is none by that of the proxy: as Tornado has it."""
    signed = [a_post(more=f"Grip-Sig: {SIGNATURE}\r\nX-Forwarded-For: 192.0.2.{n}\r\n") for n in (1, 2)]
    forged = a_post(more="Grip-Sig: x\r\nX-Forwarded-For: 192.0.2.3\r\n")
    async with proxies(SIGNING) as hub, two_ports(proxies=hub) as (chat, port, _):
        chat.application.rate_limit = RateLimit(0.001, 5)
        counted = through_tornado(chat)
        for request in (*signed, forged, *signed, forged):
            assert (await asked(port, request)).startswith(b"HTTP/1.1 200 ")
        assert chat.application.rate_limit._buckets.keys() == {"192.0.2.1", "192.0.2.2", "127.0.0.1"}
        assert counted["requests"] == 0, "the shortcut has answered them"


@pytest.mark.gen_test
async def test_where_a_proxy_holds_streams_they_are_tornados_and_the_posts_between_them_are_not():
    stream = b"GET /rooms/room/messages/ HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"
    async with proxies() as hub, two_ports(proxies=hub) as (chat, port, held):
        counted = through_tornado(chat)
        connection = await Connection.open(port)
        for number in range(1, 4):
            assert (await connection.ask(stream)).startswith(b"HTTP/1.1 501 "), "it came around the proxy"
            assert (await connection.ask(a_post())).startswith(b"HTTP/1.1 200 ")
            assert counted["requests"] == number
        assert not held


@pytest.mark.gen_test
async def test_an_answer_waits_until_what_was_published_is_passed_on():
    """The process may be frozen once it has answered."""
    async with two_ports() as (chat, port, _):
        passed, asked_for = asyncio.Event(), asyncio.Event()

        async def passed_on():
            asked_for.set()
            await passed.wait()

        chat.hub.passes_on_at_once, chat.hub.passed_on = False, passed_on
        connection = await Connection.open(port)
        answer = asyncio.create_task(connection.ask(a_post()))
        await asyncio.wait_for(asked_for.wait(), WAIT)
        assert (await chat.log.page("room")).last_id == 4, "it is stored"
        assert not answer.done()
        assert not chat.application.idle.is_set(), "a request is under way"
        passed.set()
        assert (await answer).startswith(b"HTTP/1.1 200 ")
        assert (await connection.ask(a_post())).startswith(b"HTTP/1.1 200 ")


FAILURES = [
    errors.Conflict("no"),
    errors.TooOld(),
    errors.Unstorable(),
    errors.Overloaded(),
    errors.Unavailable("away"),
]


@pytest.mark.gen_test
@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize("body", [FORM, FORM + b"&provisionalId=" + str(uuid.UUID(int=1)).encode()])
async def test_what_fails_after_a_message_was_taken_is_told_as_tornado_tells_it(failure, body, caplog):
    def failing(_draft, _searched, told):
        future = asyncio.get_running_loop().create_future()
        future.set_exception(failure)
        asyncio.get_running_loop().call_soon(told, future)
        return future

    answers = []
    for shortened in (True, False):
        async with two_ports() as (chat, port, _):
            chat.log.submit = failing
            answers.append(await asked(port if shortened else chat.port, a_post(body)))
            assert chat.application.idle.is_set()
    assert answers[0] == answers[1]
    assert not answers[0].startswith(b"HTTP/1.1 200")
    assert len(caplog.messages) % 2 == 0  # both are logged, or neither


@pytest.mark.gen_test
async def test_a_client_over_its_limit_is_told_so_by_tornado_and_is_charged_once():
    async with two_ports() as (chat, port, _):
        chat.application.rate_limit = RateLimit(0.001, 3)
        counted = through_tornado(chat)
        connection = await Connection.open(port)
        answers = [await connection.ask(a_post()) for _ in range(5)]
        assert [answer[9:12] for answer in answers] == [b"200"] * 3 + [b"429"] * 2
        assert counted["requests"] == 2
        assert (await chat.log.page("room")).last_id == 3 + 3


@pytest.mark.gen_test
async def test_a_connection_comes_back_from_tornado():
    async with two_ports() as (chat, port, _):
        counted = through_tornado(chat)
        connection = await Connection.open(port)
        for _ in range(3):
            assert (await connection.ask(PAGE)).startswith(b"HTTP/1.1 200")
            assert (await connection.ask(a_post())).startswith(b"HTTP/1.1 200")
            assert (await connection.ask(a_post())).startswith(b"HTTP/1.1 200")
        assert counted["requests"] == 0  # the JSON page asks nobody who they are
        assert (await chat.log.page("room")).last_id == 3 + 6


@pytest.mark.gen_test
async def test_a_stream_may_follow_on_a_connection_that_comes_back():
    async with two_ports() as (chat, port, held):
        connection = await Connection.open(port)
        await connection.ask(PAGE)
        stream = b"GET /rooms/room/messages/ HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"
        connection.writer.write(stream)
        assert b"200 OK" in await asyncio.wait_for(connection.reader.readuntil(b"stream-open"), WAIT)
        assert len(held) == 1
        await chat.post("four")
        await asyncio.wait_for(connection.reader.readuntil(b"id: 4\n"), WAIT)


@pytest.mark.gen_test
@pytest.mark.parametrize("cut", [1, 30, -19, -1])
async def test_a_post_in_two_pieces_and_two_in_one_are_answered_in_order(cut):
    async with two_ports() as (chat, port, _):
        connection = await Connection.open(port)
        for number in range(3):
            request = a_post(f"from=ann&text=piece{number:05d}".encode())
            connection.writer.write(request[:cut])
            await connection.writer.drain()
            await asyncio.sleep(0)
            connection.writer.write(request[cut:])
            assert f"piece{number:05d}".encode() in await connection.answer()
            connection.writer.write(a_post(b"from=ann&text=first") + a_post(b"from=ann&text=second"))
            assert b'"first"' in await connection.answer()
            assert b'"second"' in await connection.answer()
        assert (await chat.log.page("room")).last_id == 3 + 9


@pytest.mark.gen_test
@pytest.mark.parametrize("before", [b"", b"GET /rooms/room/messages/ HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_a_body_that_comes_after_its_head_is_waited_for(before):
    """As most browsers and proxies send it; also on a connection that Tornado has had."""
    async with two_ports() as (chat, port, _):
        counted = through_tornado(chat)
        connection = await Connection.open(port)
        if before:
            await connection.ask(before)
        for number in range(3):
            request = a_post(f"from=ann&text=piece{number}".encode())
            head = request.index(b"\r\n\r\n") + 4
            for cut in (head, head + 5, -1):
                connection.writer.write(request[:cut])
                await asked(port, a_post(b"from=ann&text=between"))  # it was looked at meanwhile
                connection.writer.write(request[cut:])
                assert f'"piece{number}"'.encode() in await connection.answer()
            assert b'"whole"' in await connection.ask(a_post(b"from=ann&text=whole"))
        assert counted["requests"] == 0, "the shortcut has answered them all"


@pytest.mark.parametrize(
    ("post", "begun"),
    [
        (a_post(), True),
        (a_post(more="X-Odd: 1\r\n"), False),
        (a_post(more="Expect: 100-continue\r\n"), False),
        (a_post(more="Authorization: Bearer x\r\n"), False),
        (a_post(kind="text/plain"), False),
        (a_post(b"from=ann&text=" + b"x" * 9000), False),
    ],
)
def test_a_body_is_waited_for_where_the_head_is_plain_and_all_of_it_can_be_peeked_at(post, begun):
    """Else it is Tornado's to read, and to refuse before it is there."""
    head = post.index(b"\r\n\r\n") + 4
    for cut in (head, head + 1, len(post) - 1):
        assert begun_post(post[:cut], 8192) == (len(post) if begun else 0)
    for cut in (0, 10, head - 1, len(post)):
        assert begun_post(post[:cut], 8192) == 0
    assert begun_post(post + b"x", 8192) == 0


@pytest.mark.gen_test
async def test_a_client_that_ends_in_the_middle_of_a_body_is_not_waited_for():
    async with two_ports() as (chat, port, _):
        connection = await Connection.open(port)
        connection.writer.write(a_post()[:-3])
        await asked(port, a_post(b"from=ann&text=between"))
        connection.writer.write_eof()
        assert await asyncio.wait_for(connection.reader.read(), WAIT) == b""
        assert (await chat.log.page("room")).last_id == 3 + 1


@pytest.mark.gen_test
async def test_a_request_whose_body_is_waited_for_is_under_way():
    """A server that ends waits for it, until its client has gone."""
    async with two_ports() as (chat, port, _):
        idle = chat.application.idle
        for cut in (-3, -5):
            connection = await Connection.open(port)
            connection.writer.write(a_post()[:cut])
            await asked(port, a_post(b"from=ann&text=between"))
            assert not idle.is_set()
            if cut == -3:
                chat.application.draining = True
                connection.writer.write(a_post()[cut:])
                assert (await connection.answer()).startswith(b"HTTP/1.1 200 ")
                chat.application.draining = False
            else:
                connection.writer.transport.abort()
            await asyncio.wait_for(idle.wait(), WAIT)
        assert (await chat.log.page("room")).last_id == 3 + 3


@pytest.mark.gen_test
async def test_a_request_whose_body_does_not_come_is_under_way_until_its_client_is_given_up():
    async with two_ports(idle_connection_timeout=0) as (chat, port, _):
        begun, begin = asyncio.Event(), chat.application.begin
        chat.application.begin = lambda request: (begin(request), begun.set())
        connection = await Connection.open(port)
        connection.writer.write(a_post()[:-3])
        await asyncio.wait_for(begun.wait(), WAIT)
        with contextlib.suppress(ConnectionResetError):  # what it has sent was not read
            assert await asyncio.wait_for(connection.reader.read(), WAIT) == b""
        await asyncio.wait_for(chat.application.idle.wait(), WAIT)


def holding(chat) -> asyncio.Event:
    """From now on nothing that is put is answered before the event is set."""
    go, submit = asyncio.Event(), chat.engine.submit

    def held(commit, done):
        async def later():
            await go.wait()
            assert submit(commit, done)

        chat.held = [*getattr(chat, "held", []), asyncio.create_task(later())]
        return True

    chat.engine.submit = held
    return go


@pytest.mark.gen_test
@pytest.mark.parametrize("shortened", [True, False])
async def test_a_message_whose_client_has_gone_is_not_stored_unless_the_store_has_it(shortened):
    async with two_ports() as (chat, port, _):
        port = port if shortened else chat.port
        listener = await chat.stream()
        await listener.until_id(3)
        go = holding(chat)
        for text in (b"first", b"second", b"third"):
            connection = await Connection.open(port)
            connection.writer.write(a_post(b"from=ann&text=" + text))
            event = await listener.next("keep-alive")
            assert json.loads(event.data)["text"].encode() == text
            if text != b"third":
                connection.writer.close()
            if text == b"second":  # the first is on its way
                retraction = await listener.next("keep-alive")
                assert retraction.type == "retraction"
                assert json.loads(event.data)["provisionalId"] in retraction.data
        go.set()
        assert b'"third"' in await connection.answer()
        page = await chat.log.page("room")
        assert [message.text for message in page.messages[3:]] == ["first", "third"]


@pytest.mark.gen_test
async def test_a_request_that_comes_before_the_last_answer_waits_for_it():
    async with two_ports() as (chat, port, _):
        go = holding(chat)
        connection = await Connection.open(port)
        connection.writer.write(a_post(b"from=ann&text=first"))
        await busy(chat)
        connection.writer.write(a_post(b"from=ann&text=second"))
        await busy(chat)
        go.set()
        assert b'"first"' in await connection.answer()
        assert b'"second"' in await connection.answer()


async def busy(chat) -> None:
    while chat.application.idle.is_set():  # noqa: ASYNC110
        await asyncio.sleep(0)


@pytest.mark.gen_test
async def test_who_does_not_read_the_answers_gets_them_whole_later(monkeypatch):
    unsent, hand_over = [], Shortcut.hand_over
    monkeypatch.setattr(Shortcut, "hand_over", lambda *args: unsent.extend(args[2:]) or hand_over(*args))
    monkeypatch.setattr(Shedding, "refuses", lambda *_: False)
    async with two_ports(send=2048) as (chat, port, _):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.connect(("127.0.0.1", port))
        connection = Connection(*await asyncio.open_connection(sock=sock, limit=1024))
        connection.writer.transport.pause_reading()
        for number in range(300):
            connection.writer.write(a_post(b"from=ann&text=%05d" % number))
            while not any(unsent) and (await chat.log.page("room")).last_id < number + 4:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert any(unsent), (
            "the kernel has taken a part of an answer: the rest, and what follows, is Tornado's"
        )
        connection.writer.transport.resume_reading()
        for number in range(300):
            assert b'"%05d"' % number in await connection.answer()


@pytest.mark.gen_test
async def test_a_connection_that_says_nothing_is_given_up():
    async with two_ports(idle_connection_timeout=0.05) as (_chat, port, _):
        fresh = await Connection.open(port)
        used = await Connection.open(port)
        assert (await used.ask(a_post())).startswith(b"HTTP/1.1 200")
        for connection in (fresh, used):
            assert await asyncio.wait_for(connection.reader.read(), WAIT) == b""


@pytest.fixture
def jump(io_loop, monkeypatch):
    """Lets so many seconds go by in which the process does nothing."""
    loop, ahead, clock = io_loop.asyncio_loop, [0.0], io_loop.asyncio_loop.time
    monkeypatch.setattr(loop, "time", lambda: clock() + sum(ahead))
    return ahead.append


@pytest.mark.gen_test
async def test_who_spoke_while_the_process_was_frozen_has_not_been_idle(jump):
    """There are more than are served in a turn of the loop, before the next look for those who are idle."""
    async with two_ports(idle_connection_timeout=50) as (_chat, port, _):
        connections = [await Connection.open(port) for _ in range(2 * SERVED_AT_ONCE)]
        for connection in connections:
            await connection.ask(a_post())
        for connection in connections:
            connection.writer.write(a_post())
        jump(51)
        answers = await asyncio.gather(*(connection.answer() for connection in connections))
        assert {answer.split(b" ", 2)[1] for answer in answers} <= {b"200", b"503"}


@pytest.mark.gen_test
async def test_who_speaks_in_the_turn_in_which_the_time_ends_has_not_been_idle(jump):
    async with two_ports(idle_connection_timeout=50) as (_chat, port, _):
        connection = await Connection.open(port)
        await connection.ask(a_post())
        # After this turn has asked the kernel who has something to say, and before the look for the idle ones.
        asyncio.get_running_loop().call_later(0, connection.writer.write, a_post())
        jump(52)
        assert (await connection.answer()).startswith(b"HTTP/1.1 200")


@pytest.mark.gen_test
async def test_a_body_that_is_waited_for_keeps_no_other_connection(jump, monkeypatch):
    monkeypatch.setattr(clients, "TICK", 0.05)
    async with two_ports(idle_connection_timeout=30) as (chat, port, _):
        half, silent = await Connection.open(port), await Connection.open(port)
        for connection in (half, silent):
            await connection.ask(a_post())
        jump(24)  # so much longer has the silent one been idle
        half.writer.write(a_post()[:-1])
        await busy(chat)
        late = asyncio.create_task(half.reader.read())
        jump(12)
        assert await asyncio.wait_for(silent.reader.read(), WAIT) == b""
        assert not late.done()
        jump(24)
        with contextlib.suppress(ConnectionResetError):  # what it sent was not read
            assert await asyncio.wait_for(late, WAIT) == b""


@pytest.mark.gen_test
@pytest.mark.parametrize("why", ["draining", "access", "cors"])
async def test_what_stands_against_a_plain_post_is_tornados_business(why):
    async with two_ports() as (chat, port, _):
        counted = through_tornado(chat)
        if why == "draining":
            chat.application.draining = True
        elif why == "access":
            chat.application.access = Access(Rules((("*", frozenset("r")),)))
        else:
            chat.application.cors_origins = frozenset({"http://x"})
        answer = await asked(port, a_post(more="Origin: http://x\r\n"))
        assert counted["requests"] == 1
        assert (b"Access-Control-Allow-Origin" in answer) == (why == "cors")


@pytest.mark.gen_test
async def test_while_the_server_ends_what_comes_on_a_connection_of_tornados_waits_for_no_turn(monkeypatch):
    async with two_ports() as (chat, port, _):
        connection = await Connection.open(port)
        assert (await connection.ask(PAGE)).startswith(b"HTTP/1.1 200")
        chat.application.draining = True
        monkeypatch.setattr(Turns, "take", lambda self: False)
        for request in (a_post(), PAGE):
            assert (await connection.ask(request)).startswith(b"HTTP/1.1 200")


@pytest.mark.gen_test
async def test_a_client_that_resets_its_connection_harms_nobody():
    async with two_ports() as (chat, port, _):
        go = holding(chat)
        for _ in range(5):
            connection = await Connection.open(port)
            connection.writer.write(a_post())
            await busy(chat)
            connection.writer.transport.abort()
        go.set()
        assert (await asked(port, a_post(b"from=ann&text=last"))).startswith(b"HTTP/1.1 200")
        await chat.application.idle.wait()


@pytest.mark.gen_test
async def test_a_post_that_asks_for_a_removal_is_left_to_tornado():
    body = json.dumps({"from": "ann", "text": "hi", "removes": [1]}).encode()
    async with two_ports() as (chat, port, _):
        for each in (port, chat.port):
            assert b" 401 " in await asked(each, a_post(body, "application/json"))
        assert (await chat.log.page("room")).last_id == 3
