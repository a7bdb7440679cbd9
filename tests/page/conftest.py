"""A browser, a server, and windows that fail their test if the console complains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.page.window import PATIENCE, Open
from tests.support.browser import ServerProcess, Window, chromium


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path_factory.mktemp("server") / "chat.db")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server of the test's own, to be killed."""
    server = ServerProcess(tmp_path / "chat.db")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def url(server: ServerProcess) -> str:
    return server.url


@pytest.fixture
def room(request: pytest.FixtureRequest) -> str:
    """A room of the test's own."""
    return request.node.name[-64:]


@pytest.fixture
def window(browser: Browser, url: str, room: str) -> Iterator[Open]:
    """Makes windows; at the end none may have logged an error, or a breach of the page's policy."""
    windows: list[Window] = []

    def make(
        user: str = "Ann", *, url: str = url, room: str = room, beside: Any = None, **options: Any
    ) -> Window:
        context = beside.context if beside else browser.new_context(**options)
        context.set_default_timeout(1000 * PATIENCE)  # for whatever page of it
        windows.append(Window(context, url, room, user))
        return windows[-1]

    yield make
    for one in windows:
        one.context.close()
    assert [complaint for one in windows for complaint in one.complaints] == []
