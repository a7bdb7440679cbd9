"""The page beneath a base path: all that it asks for is there, and what it remembers is its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.page.window import Open
from tests.support.browser import ServerProcess
from tests.support.rights import options, token

BASE = "/chat"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    guarded = (*options(tmp_path), "--base-path", BASE)
    server = ServerProcess(tmp_path / "chat.db", "--standalone", *guarded)
    yield server.start()
    server.kill()


def test_rooms_messages_and_invitations_work_beneath_it_and_nothing_else_is_asked_for(
    window: Open, url: str, room: str
) -> None:
    assert url.endswith(f"{BASE}/")
    ann = window()
    asked: list[str] = []
    ann.page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    ann.open()
    ann.say("hello")
    expect(ann.row("hello")).to_have_attribute("data-id", "1")
    ann.page.get_by_label("You are Ann: name and rooms").click()
    ann.page.get_by_label("Room", exact=True).fill("another")
    ann.button("Go").click()
    expect(ann.page).to_have_url(re.compile(f"{BASE}/another"))
    expect(ann.status).to_have_text("Connected")
    ann.page.get_by_label("You are Ann: name and rooms").click()
    ann.page.get_by_role("navigation").get_by_role("link", name=room).click()
    expect(ann.page).to_have_url(f"{url}{room}")
    expect(ann.row("hello")).to_have_count(1)
    assert (
        ann.page.evaluate("Object.keys(localStorage).filter(key => !key.startsWith('flychat/chat:'))") == []
    )
    ann.page.goto(f"{url}staff#invite={token(name='Ann')}")
    expect(ann.status).to_have_text("Connected")
    ann.page.goto(f"{url}tea?user=Ann")
    ann.page.get_by_label("You are Ann: name and rooms").click()
    ann.button("Sign out").click()
    expect(ann.page).to_have_url(re.compile(f"{BASE}/tea"))
    assert asked
    assert [path for path in asked if not path.startswith(f"{BASE}/")] == []
