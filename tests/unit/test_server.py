"""The wiring: whichever step fails, what was started before it is ended."""

from __future__ import annotations

import asyncio

import pytest

from flychat import server
from flychat.config import Config
from flychat.hub import publisher
from flychat.hub import pushpin as pushpin_module
from flychat.storage import Unknown
from flychat.storage.sqlite import SqliteEngine
from flychat.web.listener import Listener
from flychat.web.shortcut import Shortcut
from tests.support.served import draft

STEPS = {  # what is made to fail, and the parts that are there by then
    "open_engine": "",
    "MessageLog": "engine",
    "listen": "engine",
    "start_pushpin": "engine sockets",
    "mode.hold": "engine sockets pushpin",
    "ChatApplication": "engine sockets pushpin hub",
    "url_of": "engine sockets pushpin hub http",
    "watch_loop": "engine sockets pushpin hub http",
    "sweep": "engine sockets pushpin hub http",
    "add_sockets": "engine sockets pushpin hub http",
    "Server": "engine sockets pushpin hub http",
}


class Failed(Exception):
    pass


class Child:
    """In the place of a private Pushpin."""

    url, grip_url = "http://127.0.0.1:1/", "http://127.0.0.1:2/"

    def __init__(self, ended: set[str]) -> None:
        self._ended = ended

    async def stop(self) -> None:
        self._ended.add("pushpin")


@pytest.fixture
def parts(monkeypatch):
    """The parts that have been started, and those that were ended."""
    started, ended = {}, set()
    monkeypatch.setattr(publisher, "FLUSH_SECONDS", 0.01)  # nobody is there to be told what is left

    def watched(name, part, method):
        close = getattr(part, method)

        async def closing(*given):
            ended.add(name)
            await close(*given)

        monkeypatch.setattr(part, method, closing, raising=False)
        started[name] = part
        return part

    open_engine, listen = server.open_engine, server.listen

    async def engine(*given):
        return watched("engine", await open_engine(*given), "close")

    def sockets(*given):
        started["sockets"] = listen(*given)
        return started["sockets"]

    async def child(config, sockets):
        started["pushpin"] = Child(ended)
        return started["pushpin"]

    class Hub(pushpin_module.PushpinHub):
        def __init__(self, *given, **options):
            super().__init__(*given, **options)
            watched("hub", self, "close")

    def local(*given, **options):
        return watched("hub", LocalHub(*given, **options), "close")

    LocalHub = server.LocalHub
    initialize = Listener.initialize

    def http(self, *given, **options):
        initialize(self, *given, **options)
        watched("http", self, "close_all_connections")
        stop = self.stop
        monkeypatch.setattr(self, "stop", lambda: (ended.add("listening"), stop()), raising=False)

    monkeypatch.setattr(server, "open_engine", engine)
    monkeypatch.setattr(server, "listen", sockets)
    monkeypatch.setattr(server, "start_pushpin", child)
    monkeypatch.setattr(server, "LocalHub", local)
    monkeypatch.setattr(pushpin_module, "PushpinHub", Hub)
    monkeypatch.setattr(Listener, "initialize", http)
    return started, ended


async def ended_but(tasks) -> None:
    """All other tasks end; that of a connection that was under way may take a moment."""
    while asyncio.all_tasks() != tasks:  # noqa: ASYNC110 - a leak runs into the time-out of the test
        await asyncio.sleep(0.01)


def fail(*given, **options):
    raise Failed


def read(mode: str) -> Config:
    options = ["--standalone"] if mode == "standalone" else ["--grip", "--with-pushpin"]
    return Config.read([*options, "--store", "sqlite::memory:", "--port", "0", "--retention", "7"], {})


@pytest.mark.parametrize(
    ("mode", "step"),
    [
        (mode, step)
        for mode in ("standalone", "grip")
        for step in STEPS
        if (mode, step) not in (("standalone", "start_pushpin"), ("grip", "url_of"))  # which it has not
    ],
)
@pytest.mark.gen_test
async def test_a_failure_in_any_step_leaks_no_socket_no_task_and_no_pushpin(mode, step, parts, monkeypatch):
    if step == "mode.hold":
        whose, name = (server, "LocalHub") if mode == "standalone" else (pushpin_module, "PushpinHub")
    elif step == "add_sockets":
        whose, name = Shortcut, step
    else:
        whose, name = server, step
    monkeypatch.setattr(whose, name, fail)
    tasks = asyncio.all_tasks()
    with pytest.raises(Failed):
        await server.start(read(mode))
    started, ended = parts
    expected = set(STEPS[step].split()) - ({"pushpin"} if mode == "standalone" else set())
    assert started.keys() == expected
    assert ended == expected - {"sockets"} | ({"listening"} if "http" in expected else set())
    assert all(sock.fileno() == -1 for sock in started.get("sockets", ()))
    await ended_but(tasks)


@pytest.mark.parametrize("mode", ["standalone", "grip"])
@pytest.mark.gen_test
async def test_what_was_started_ends_with_the_server(mode, parts):
    tasks = asyncio.all_tasks()
    running = await server.start(read(mode))
    started, ended = parts
    assert not ended
    await running.stop()
    assert ended == started.keys() - {"sockets"} | {"listening"}
    assert all(sock.fileno() == -1 for sock in started["sockets"])
    await ended_but(tasks)


@pytest.mark.gen_test
async def test_what_is_older_than_the_retention_is_deleted_and_what_has_become_so_later(monkeypatch):
    """Nor does it end with a store that did not answer once."""
    expire, failures = SqliteEngine.expire, [Unknown()]

    async def failing(self, before):
        if failures:
            raise failures.pop()
        await expire(self, before)

    monkeypatch.setattr(SqliteEngine, "expire", failing)
    monkeypatch.setattr(server, "SWEEP_SECONDS", 0.01)
    running = await server.start(read("standalone"))
    try:
        await running.log.submit(draft())
        for _ in range(2):
            newest = await running.log.submit(draft())  # stays, so that ids go on
            while len((await running.log.page("room")).messages) > 1:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
            assert (await running.log.page("room")).messages[0].id == newest.id
    finally:
        await running.stop()


@pytest.mark.gen_test
async def test_the_log_is_told_by_the_hub_which_rooms_are_held():
    running = await server.start(read("standalone"))
    try:
        assert running.hub.note_held == running.log.note_held
        assert running.hub.plan == running.log.plan
    finally:
        await running.stop()
