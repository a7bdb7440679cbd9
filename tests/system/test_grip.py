"""GRIP mode behind a real Pushpin: what 20 held clients and more are given while everything goes wrong.

All of it is tried with the machine's own Pushpin. What rests on what Pushpin does by itself (its links, recoveries
and retries, what it drops, how it ends and starts) is also tried with that of FLYCHAT_TEST_PUSHPIN, if there is one.
Nothing here sleeps to let something happen: a test waits for what it is about, and fails when it is late. Most apps
are processes of their own, because they are to be killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import socket
import statistics
import time
import uuid
from urllib.parse import urlsplit

import pytest

from flychat.config import Config
from flychat.hub import links
from flychat.log import room as log_room
from flychat.server import HEAD_SECONDS, start
from tests.conftest import both_pushpins
from tests.proof.oracle import Crowd, Listener, fetch, history, post
from tests.support.ports import free_port
from tests.support.pushpin_proxy import Stage, eventually, new_room

gen_test = pytest.mark.gen_test
WHOLE = 80  # seconds: more than Pushpin takes where it loses something that nothing follows (docs/streams.md)


async def one_of_each(stage: Stage, *arguments: str, **options):
    """A Pushpin, the proxy before its control port, and an app that publishes through it."""
    port = free_port()
    pushpin = await stage.pushpin(port)
    control = stage.control(pushpin)
    app = await stage.app(port, [control.grip_url], *arguments, **options)
    await control.until(lambda: bool(control.posts))  # the recovery at the start is over
    return pushpin, control, app


@contextlib.asynccontextmanager
async def app_in_this_loop(stage: Stage, store: str, environ: dict[str, str] | None = None):
    """(a Pushpin, the proxy before its control port, the URL of an app whose numbers the test may change)"""
    port = free_port()
    pushpin = await stage.pushpin(port)
    control = stage.control(pushpin)
    options = ["--grip", "--port", str(port), "--store", store, "--grip-url", control.grip_url]
    server = await start(Config.read(options, {}), environ or {})
    try:
        yield pushpin, control, server.url
    finally:
        await server.stop()


async def reads(url: str) -> float:
    """How often the app at `url` has read its store."""
    metrics = (await fetch(url, "/metrics"))[2].decode()
    return float(re.search(r"^flychat_read_seconds_count (.*)$", metrics, re.MULTILINE)[1])


async def quiet_crowd(stage: Stage, pushpin, app_url: str) -> Crowd:
    """20 clients of a new room that Pushpin has recovered, as it does once, a second after the first came.

    Until then that recovery would hide whether anything else makes up for a loss.
    """
    crowd = await stage.crowd(pushpin.url, new_room())
    before = await reads(app_url)

    async def recovered() -> bool:
        return await reads(app_url) > before

    await eventually(recovered)
    return crowd


async def say(url: str, room: str, *texts: str) -> None:
    """Comes again if it is refused because many do this at once, as clients do: nothing was done then."""
    for text in texts:
        key = str(uuid.uuid4())
        while (said := await post(url, room, text, key))[0] != 200:
            status, answer = said
            assert (status, answer.get("error", {}).get("code")) == (503, "overloaded"), said
            await asyncio.sleep(1)


def official(id: int):
    return lambda item: item.get("id") == str(id)


# Publications that do not arrive as they should


@both_pushpins
@gen_test
async def test_a_lost_publication_is_made_up_for(stage):
    pushpin, control, app = await one_of_each(stage)
    crowd = await quiet_crowd(stage, pushpin, app.url)
    room = crowd.listeners[0].room
    control.fate = lambda item: "lose" if item.get("id") in ("2", "3") else "pass"
    await say(pushpin.url, room, "one", "two", "three", "four")
    await crowd.until_id(4)
    crowd.check(4)


@gen_test
async def test_a_recovery_that_comes_before_a_lost_publication_could_have_is_not_the_last(stage):
    """It leaves the young message to its publication, and so has to come again soon."""
    pushpin, control, app = await one_of_each(stage)
    crowd = await quiet_crowd(stage, pushpin, app.url)
    room = crowd.listeners[0].room
    control.fate = lambda item: "lose" if "id" in item else "pass"
    await say(pushpin.url, room, "one")
    await control.forward("recover", [])
    await crowd.until_id(1, 6)
    crowd.check(1)


@both_pushpins
@gen_test
async def test_publications_of_two_processes_that_cross_on_the_way_are_delivered_in_order(
    stage, dynamo_table
):
    ports = [free_port(), free_port()]
    pushpin = await stage.pushpin(*ports)
    control = stage.control(pushpin)
    table, environ, _ = dynamo_table
    one, other = [await stage.app(port, [control.grip_url], store=table, environ=environ) for port in ports]
    crowd = await stage.crowd(pushpin.url, room := new_room())
    for first in (1, 3, 5):
        control.fate = lambda item, first=first: "late" if official(first)(item) else "pass"
        await say(one.url, room, "one")
        await say(other.url, room, "two")
        await control.until(lambda first=first: any(map(official(first + 1), control.items)))
        await control.release()
    await crowd.until_id(6)
    crowd.check(6)


@both_pushpins
@gen_test
async def test_a_doubled_publication_is_delivered_once(stage, dynamo_table):
    store, environ, dynamo = dynamo_table
    pushpin, control, app = await one_of_each(stage, store=store, environ=environ)
    dynamo.delay = 0.02  # so that there are provisional events
    crowd = await quiet_crowd(stage, pushpin, app.url)  # a recovery drops provisional ones on their way
    room = crowd.listeners[0].room
    control.fate = lambda item: "double"
    await say(pushpin.url, room, "one", "two", "three")
    await crowd.until_id(3)
    crowd.check(3)
    for listener in crowd.listeners:
        assert len(listener.provisional) == 3


@gen_test
async def test_a_publication_is_delivered_once_though_its_answer_is_lost(stage):
    """The batch is passed on, but the app is told that it failed, and sends it again."""
    pushpin, control, app = await one_of_each(stage)
    crowd = await stage.crowd(pushpin.url, room := new_room())
    passing = control.take
    failures = []

    async def take(handler, path):
        await passing(handler, path)
        if not failures:
            failures.append(path)
            handler.set_status(500)

    control.take = take
    await say(pushpin.url, room, "one", "two")
    await crowd.until_id(2)
    crowd.check(2)
    assert failures == ["publish"]
    assert "does not take publications: HTTP 500" in app.log()


@pytest.mark.parametrize(
    ("order", "endless"),
    [((), ["ANSWER_SECONDS"]), (("--answer-first",), ["ANSWER_SECONDS", "PATIENCE"])],
)
@gen_test
async def test_while_the_control_port_hangs_posts_are_answered_and_then_nothing_is_missing(
    stage, order, endless
):
    """An answer waits for a second; with --answer-first not even that; and never as long as the port may hang."""
    changed = "; ".join(
        ["from flychat.hub import publisher, pushpin", *(f"publisher.{name} = 600" for name in endless)]
    )
    pushpin, control, app = await one_of_each(
        stage, *order, changed=f"{changed}; pushpin.PATIENCE = publisher.PATIENCE"
    )
    crowd = await quiet_crowd(stage, pushpin, app.url)
    room = crowd.listeners[0].room
    control.hanging = True
    await say(pushpin.url, room, *"abc")
    control.go_on()
    await eventually(lambda: "does not take publications" in app.log())
    await crowd.until_id(3)
    crowd.check(3)
    await eventually(lambda: "answers again" in app.log())


@gen_test
async def test_a_control_port_that_refuses_and_comes_back(stage):
    pushpin, control, app = await one_of_each(stage)
    crowd = await quiet_crowd(stage, pushpin, app.url)
    room = crowd.listeners[0].room
    await say(pushpin.url, room, "one")
    await crowd.until_id(1)
    await control.refuse()
    await say(pushpin.url, room, "two", "three")
    await eventually(lambda: "does not take publications" in app.log())
    metrics = (await fetch(app.url, "/metrics"))[2].decode()
    assert f'flychat_grip_answering{{proxy="127.0.0.1:{control.port}"}} 0.0' in metrics
    control.listen()
    await crowd.until_id(3)
    crowd.check(3)


# Processes that die


@both_pushpins
@gen_test
async def test_an_app_that_is_killed_and_started_again_is_not_noticed(stage):
    """One stream of each room: who asks for the same while nobody listens, Pushpin may forget (docs/streams.md)."""
    pushpin, _, app = await one_of_each(stage)
    crowds = [await stage.crowd(pushpin.url, new_room(), 1) for _ in range(10)]
    rooms = [crowd.listeners[0].room for crowd in crowds]

    async def say_everywhere(text: str) -> None:
        await asyncio.gather(*(say(pushpin.url, room, text) for room in rooms))

    await say_everywhere("one")
    await app.kill()
    assert (await post(pushpin.url, rooms[0], "into the void"))[0] == 502
    await app.start()
    await say_everywhere("two")
    assert await app.kill(signal.SIGTERM) == 0
    await app.start()
    await say_everywhere("three")
    for crowd in crowds:
        await crowd.until_id(3, WHOLE)
        crowd.check(3)


@both_pushpins
@gen_test
async def test_where_its_port_stays_open_an_app_that_is_killed_is_not_missed_by_a_room_of_many(stage):
    """Their recovery is one request, which waits for the next app, and is not refused."""
    with socket.create_server(("127.0.0.1", free_port()), backlog=4096) as listening:
        port = listening.getsockname()[1]
        pushpin = await stage.pushpin(port)
        control = stage.control(pushpin)
        app = await stage.app(port, [control.grip_url], listening=listening)
        await control.until(
            lambda: bool(control.posts)
        )  # before it takes those, Pushpin accepts no streams either
        crowd = await stage.crowd(pushpin.url, room := new_room(), 100)
        await say(pushpin.url, room, "1")
        for id in (2, 3, 4):
            await crowd.until_id(id - 1, WHOLE)
            await app.kill()
            await control.forward("recover", [])
            posting = asyncio.create_task(say(pushpin.url, room, str(id)))
            await app.start()
            await posting
        await crowd.until_id(4, WHOLE)
        crowd.check(4)


@both_pushpins
@gen_test
async def test_a_message_that_was_written_but_not_published_reaches_a_quiet_room_after_a_restart(
    stage, capsys
):
    late = (
        "from flychat.hub import links; links.LINK_SECONDS = [600]"  # the time-out of a link is another way
    )
    pushpin, control, app = await one_of_each(stage, changed=late)
    crowd = await quiet_crowd(stage, pushpin, app.url)
    room = crowd.listeners[0].room
    await say(pushpin.url, room, "one")
    await crowd.until_id(1)
    control.hanging = True
    await say(pushpin.url, room, "two")
    await app.kill()
    control.hanging = False
    began = time.monotonic()
    await app.start()
    await crowd.until_id(2)
    with capsys.disabled():
        print(f"\nwritten but not published: seen {time.monotonic() - began:.1f} s after the restart")
    crowd.check(2)


@both_pushpins
@gen_test
async def test_without_a_restart_the_time_out_of_the_link_does_it(stage, monkeypatch):
    """No /recover/, nothing more is said in the room; only the app that answers is another one."""
    monkeypatch.setattr(links, "LINK_SECONDS", [3])
    async with app_in_this_loop(stage, f"sqlite:{stage.directory / 'chat.db'}") as (pushpin, control, url):
        await control.until(lambda: bool(control.posts))
        crowd = await quiet_crowd(stage, pushpin, url)
        room = crowd.listeners[0].room
        control.fate = lambda item: "lose"
        await say(pushpin.url, room, "one")
        await crowd.until_id(1, WHOLE)
        crowd.check(1)


@both_pushpins
@gen_test
async def test_an_app_killed_during_a_recovery(stage, dynamo_table):
    """Its port stays open: 20 streams that ask again for the same, and are refused, Pushpin may forget."""
    with socket.create_server(("127.0.0.1", free_port())) as listening:
        port = listening.getsockname()[1]
        pushpin = await stage.pushpin(port)
        control = stage.control(pushpin)
        table, environ, dynamo = dynamo_table
        app = await stage.app(port, [control.grip_url], store=table, environ=environ, listening=listening)
        crowd = await stage.crowd(pushpin.url, room := new_room())
        await say(app.url, room, "one")
        await crowd.until_id(1)
        control.fate = lambda item: "lose" if official(2)(item) else "pass"
        await say(app.url, room, "two")
        before = dynamo.calls["Query"]
        dynamo.script("Query", *["hang"] * 50)
        await say(app.url, room, "three")
        await eventually(lambda: dynamo.calls["Query"] > before)
        await app.kill()
        dynamo._scripts.clear()
        await app.start()
        await crowd.until_id(3, WHOLE)
        crowd.check(3)


@gen_test
async def test_two_processes_write_into_one_table_and_one_is_killed(stage, dynamo_table):
    """Every message that was acknowledged is there, once; the killed process's writers go on at the other."""
    ports = [free_port(), free_port()]
    pushpin = await stage.pushpin(*ports)
    store, environ, _ = dynamo_table
    apps = [await stage.app(port, [pushpin.grip_url], store=store, environ=environ) for port in ports]
    crowd = await stage.crowd(pushpin.url, room := new_room(), 25)
    sent: list[str] = []
    half = asyncio.Event()

    async def write(name: str, at: int) -> None:
        for n in range(10):
            key = str(uuid.uuid4())
            while (await post(apps[at].url, room, f"{name} {n}", key, name))[0] != 200:
                at = 0
            sent.append(key)
            if len(sent) == 30:
                half.set()

    writers = [asyncio.create_task(write(f"writer {i}", i % 2)) for i in range(6)]
    await half.wait()
    await apps[1].kill()
    await asyncio.gather(*writers)
    stored = await history(apps[0].url, room)
    assert sorted(message["provisionalId"] for message in stored) == sorted(sent)
    await crowd.until_id(60)
    crowd.check(60)


@gen_test
async def test_a_table_that_cannot_be_reached_for_as_long_as_a_message_is_tried(
    stage, dynamo_table, monkeypatch
):
    """The POST is a 503, the message is retracted everywhere, and its repetition arrives; streams stay."""
    store, environ, dynamo = dynamo_table
    async with app_in_this_loop(stage, store, environ) as (pushpin, _, url):
        crowd = await quiet_crowd(stage, pushpin, url)
        room = crowd.listeners[0].room
        await say(url, room, "one")
        await crowd.until_id(1)
        dynamo.refusing = True
        monkeypatch.setattr(log_room, "DEADLINE", 1.5)
        key = str(uuid.uuid4())
        began = time.monotonic()
        status, answer = await post(url, room, "two", key)
        assert (status, answer["error"]["code"]) == (503, "unavailable")
        assert time.monotonic() - began > 1.4
        await crowd.until(lambda listener: key in listener.retracted)
        monkeypatch.undo()  # a machine may need longer
        dynamo.refusing = False
        assert (await post(url, room, "two", key))[0] == 200
        await crowd.until_id(2)
        crowd.check(2)


# Many at once


@both_pushpins
@gen_test
async def test_clients_that_join_during_a_burst_of_200_messages(stage):
    pushpin, _, app = await one_of_each(stage)
    room = new_room()
    posted = 0
    progress = asyncio.Condition()

    async def write(name: str) -> None:
        nonlocal posted
        for n in range(25):
            await say(app.url, room, f"{name} {n}")
            async with progress:
                posted += 1
                progress.notify_all()

    async def join(after: int) -> Listener:
        async with progress:
            await progress.wait_for(lambda: posted >= after)
        listener = Listener(pushpin.url, room, 0)
        await listener.open()
        return listener

    joining = [asyncio.create_task(join(5 * n)) for n in range(40)]
    await asyncio.gather(*(write(f"writer {i}") for i in range(8)))
    crowd = Crowd(list(await asyncio.gather(*joining)))
    await crowd.until_id(200, WHOLE)
    crowd.check(200)
    await crowd.close()


@both_pushpins
@gen_test
async def test_the_first_listener_of_a_room_misses_nothing_that_is_said_while_it_comes(stage):
    """25 rooms, each with a listener that opens while something is written, and is the only one."""
    pushpin, _, app = await one_of_each(stage)
    rooms = [new_room() for _ in range(25)]
    listeners = [Listener(pushpin.url, room, 0) for room in rooms]
    await asyncio.gather(*(say(app.url, room, "one") for room in rooms), *(each.open() for each in listeners))
    crowd = Crowd(listeners)
    await crowd.until_id(1)
    for listener in listeners:
        assert (listener.ids, listener.broken) == ([1], [])
    await crowd.close()


@both_pushpins
@gen_test
async def test_80_rooms_opened_at_once_do_not_keep_a_message_waiting(stage):
    pushpin, _, app = await one_of_each(stage)
    rooms = [new_room() for _ in range(80)]
    crowd = Crowd([Listener(pushpin.url, room) for room in rooms])
    await crowd.all(Listener.open)
    await asyncio.gather(*(say(app.url, room, "one") for room in rooms))
    await crowd.until_id(1)
    await asyncio.gather(*(say(app.url, room, "two", "three") for room in rooms))
    await crowd.until_id(3)
    for listener in crowd.listeners:
        assert (listener.ids, listener.broken, listener.closed) == ([1, 2, 3], [], False)
    await crowd.close()


# Proxies that die, and several of them


@both_pushpins
@gen_test
async def test_clients_come_back_to_a_new_pushpin_where_they_were(stage):
    pushpin, _, app = await one_of_each(stage)
    port, control_port = (urlsplit(url).port for url in (pushpin.url, pushpin.grip_url))
    room = new_room()
    await say(app.url, room, "one", "two")
    crowds = [await stage.crowd(pushpin.url, room, 20), await stage.crowd(pushpin.url, room, 20)]
    await pushpin.stop()
    for crowd in crowds:
        await crowd.all(Listener.until_closed)
    await say(app.url, room, "three", "four")
    await stage.pushpin(app.port, port=port, control_port=control_port)
    for crowd, by in zip(crowds, ("header", "query"), strict=True):
        await crowd.all(lambda listener, by=by: listener.open(by))
    await say(app.url, room, "five")
    for crowd, by in zip(crowds, ("header", "query"), strict=True):
        # seldom, and on a busy machine, a new Pushpin cuts a client once more
        await crowd.all(lambda listener, by=by: listener.follow(5, by))
        crowd.check(5, connections=None)


@gen_test
async def test_two_pushpins_are_given_the_same_and_one_that_hangs_holds_nobody_up(stage):
    port = free_port()
    pushpins = [await stage.pushpin(port), await stage.pushpin(port)]
    controls = [stage.control(pushpin) for pushpin in pushpins]
    app = await stage.app(port, [control.grip_url for control in controls])
    room = new_room()
    crowds = [await stage.crowd(pushpin.url, room) for pushpin in pushpins]
    await say(pushpins[0].url, room, "one")
    await say(pushpins[1].url, room, "two")
    for crowd in crowds:
        await crowd.until_id(2)
    controls[0].hanging = True
    await say(app.url, room, "three", "four")
    await crowds[1].until_id(4)  # while the other still hangs
    controls[0].hanging = False
    await crowds[0].until_id(4)
    assert crowds[0].check(4) == crowds[1].check(4)


# The same as in standalone mode


TEXTS = [
    "hello",
    "two\nlines\tand a tab",
    "ünïcödé \N{PILE OF POO} \u2028",
    '"quoted" \\ <b>',
    "data: x",
    "z" * 4096,
]


async def conversation(stage: Stage, url: str, app_url: str, room: str) -> dict[int, bytes]:
    """The official blocks that 20 clients see of it."""
    crowd = await stage.crowd(url, room)
    for n, text in enumerate(TEXTS):
        key = str(uuid.UUID(int=n))
        assert (await post(app_url, room, text, key))[0] == 200
        assert (await post(app_url, room, text, key))[0] == 200  # the same again
    await crowd.until_id(len(TEXTS))
    return crowd.check(len(TEXTS))


def undated(blocks: dict[int, bytes]) -> dict[int, bytes]:
    return {id: re.sub(rb'"date":"[^"]*"', b'"date":""', block) for id, block in blocks.items()}


@gen_test
async def test_the_official_events_are_the_same_in_both_modes_and_on_both_stores(stage, dynamo_table):
    """The same but for the date; byte for byte, if the other mode reads what one has written."""
    table, environ, _ = dynamo_table
    room = f"röom; of, signs? {uuid.uuid4()}"

    async def both(store: str, env: dict[str, str], grip_writes: bool) -> dict[int, bytes]:
        """One mode writes, in the presence of a crowd; the other is asked for all of it."""
        port = free_port()
        pushpin = await stage.pushpin(port)
        name, blocks = f"{room} {grip_writes}", []
        for grip in (grip_writes, not grip_writes):
            app = await stage.app(port, [pushpin.grip_url] if grip else [], store=store, environ=env)
            url = pushpin.url if grip else app.url
            if not blocks:
                blocks.append(await conversation(stage, url, app.url, name))
            else:
                crowd = await stage.crowd(url, name, last_id=0)
                await crowd.until_id(len(TEXTS))
                blocks.append(crowd.check(len(TEXTS)))
            assert await app.kill(signal.SIGTERM) == 0
        assert blocks[0] == blocks[1]
        return undated(blocks[0])

    files = [f"sqlite:{stage.directory / name}.db" for name in "ab"]
    seen = await asyncio.gather(
        both(files[0], {}, True),
        both(files[1], {}, False),
        both(table, environ, True),
        both(table, environ, False),
    )
    assert all(blocks == seen[0] for blocks in seen)


# First sight


@gen_test
async def test_first_sight_does_not_depend_on_the_latency_of_the_database(stage, dynamo_table, capsys):
    port = free_port()
    pushpin = await stage.pushpin(port)
    store, environ, dynamo = dynamo_table
    app = await stage.app(port, [pushpin.grip_url], store=store, environ=environ)
    crowd = await quiet_crowd(stage, pushpin, app.url)
    room = crowd.listeners[0].room
    await say(app.url, room, "the first opens the connections")
    medians, latest = {}, 1
    for delay, posts in ((2.0, 3), (0.0, 7)):
        dynamo.delay = delay
        times = []
        for n in range(posts):
            key, began = str(uuid.uuid4()), time.monotonic()
            assert (await post(pushpin.url, room, str(n), key))[0] == 200
            assert time.monotonic() - began >= delay
            await crowd.until(lambda listener, key=key: key in listener.sights)
            times += [listener.sights[key] - began for listener in crowd.listeners]
        medians[delay] = statistics.median(times)
        latest += posts
    await crowd.until_id(latest)
    crowd.check(latest)
    with capsys.disabled():
        print(
            "\nfirst sight, median: "
            + ", ".join(
                f"{1000 * t:.1f} ms with the database {1000 * d:.0f} ms away" for d, t in medians.items()
            )
        )
    assert medians[2.0] < 2.0, "it is seen before the database has it"


# Several flychats behind one proxy


@both_pushpins
@gen_test
async def test_flychats_with_stores_of_their_own_have_rooms_of_their_own_behind_one_pushpin(stage, tmp_path):
    """The channels of a proxy are one space of names: one of them would get the other's messages for its own."""
    ports = {name: free_port() for name in ("one", "two")}
    pushpin = await stage.pushpin(*ports.values())
    routes = [f"*,path_beg=/{name}/ 127.0.0.1:{port}\n" for name, port in ports.items()]
    (pushpin.directory / "routes").write_text("".join(routes))
    controls, room = [], new_room()
    for name, port in ports.items():
        control = stage.control(pushpin)
        options = (f"--base-path=/{name}", f"--channel-prefix={name}", "--signals")
        await stage.app(port, [control.grip_url], *options, store=f"sqlite:{tmp_path / name}.db")
        await control.until(lambda control=control: bool(control.posts))
        controls.append(control)

    async def routed() -> bool:
        answers = [await fetch(pushpin.url, f"/{name}/healthz") for name in ports]
        return all(status == 200 for status, _, _ in answers)

    await eventually(routed)
    crowds = {name: await stage.crowd(f"{pushpin.url}{name}", room, 3) for name in ports}
    controls[0].fate = lambda item: "lose" if item.get("id") == "2" else "pass"
    for n in range(3):
        for name in ports:
            await say(f"{pushpin.url}{name}", room, f"{n} of {name}")
    for name, crowd in crowds.items():
        await crowd.until_id(3, WHOLE)
        crowd.check(3)
        body = json.dumps({"from": name, "kind": "x"}).encode()
        path = f"/rooms/{room.replace(' ', '%20')}/signals/"
        sent = {"Content-Type": "application/json"}
        assert (await fetch(f"{pushpin.url}{name}", path, "POST", sent, body))[0] == 202
        await crowd.until(lambda listener: any(event.type == "signal" for _, event in listener.events))
    for name, crowd in crowds.items():
        for listener in crowd.listeners:
            seen = b"".join(listener.raw)
            assert f"0 of {name}".encode() in seen
            assert not any(f"of {other}".encode() in seen for other in ports if other != name)
            assert seen.count(b"event: signal") == 1


@both_pushpins
@gen_test
async def test_streams_go_on_when_the_prefix_of_the_channels_is_another_one(stage):
    pushpin, control, app = await one_of_each(stage, "--channel-prefix=one")
    crowd = await stage.crowd(pushpin.url, new_room(), 3)
    room = crowd.listeners[0].room
    await say(pushpin.url, room, "before")
    await crowd.until_id(1)
    await app.kill()
    await stage.app(app.port, [control.grip_url], "--channel-prefix=two")
    await say(pushpin.url, room, "after")
    await crowd.until_id(2)
    crowd.check(2)


# Around the proxy


@both_pushpins
@gen_test
async def test_what_follows_a_head_on_its_connection_is_answered_at_once(stage):
    """A proxy in front keeps the connection for the next client, who waited for 19 s with Pushpin 1.41."""
    pushpin, _, _ = await one_of_each(stage)
    address = urlsplit(pushpin.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    async with contextlib.AsyncExitStack() as opened, asyncio.timeout(HEAD_SECONDS / 2):
        opened.push_async_callback(writer.wait_closed)
        opened.callback(writer.close)
        for path in ("/healthz", "/x", "/rooms/x/messages/"):
            writer.write(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readuntil(b'{"status":"ok"}\n')).startswith(b"HTTP/1.1 200 ")


@both_pushpins
@gen_test
async def test_only_the_proxy_is_given_streams(stage):
    pushpin, _, app = await one_of_each(stage)
    room = new_room()
    await say(app.url, room, "posting is possible")
    path = f"/rooms/{room.replace(' ', '%20')}/messages/"
    for headers in ({}, {"Grip-Sig": "forged"}, {"Grip-Feature": "status"}):
        status, _, body = await fetch(app.url, path, headers={"Accept": "text/event-stream", **headers})
        assert status == 501
        assert json.loads(body)["error"]["code"] == "unproxied"
    last = {"Grip-Last": "messages-x; last-id=0"}
    assert (await fetch(app.url, "/recover/", headers=last))[0] == 501
    assert (await fetch(pushpin.url, "/recover/", headers=last))[0] == 404  # Pushpin has removed it
    assert b"opened around the proxy" in (await fetch(app.url, "/x?user=ann"))[2]
    assert b"opened around the proxy" not in (await fetch(pushpin.url, "/x?user=ann"))[2]
    assert app.log().count("around the proxy") == 1
    crowd = await stage.crowd(pushpin.url, room)
    crowd.check(1)
