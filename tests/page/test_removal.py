"""Messages that are removed: from the screens that show them, and for who comes later."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from playwright.sync_api import expect

from tests.page.window import OPEN, Held, Open, older, seed
from tests.support.browser import (
    ScriptedStream,
    ServerProcess,
    axe_finds,
    event,
    messages_url,
    wire_message,
)

KEY = "a key of 32 bytes or more, as it has to be"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("moderated")
    (folder / "secret").write_text(KEY + "\n")
    server = ServerProcess(folder / "chat.db", "--standalone", "--secret", str(folder / "secret"))
    server.start()
    yield server
    server.stop()


def remove(url: str, room: str, *ids: int) -> dict[str, Any]:
    now = int(time.time())
    token = jwt.encode({"sub": "mod", "name": "Mod", "rooms": {"*": "m"}, "iat": now, "exp": now + 60}, KEY)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    body = json.dumps({"removes": ids}).encode()
    with urllib.request.urlopen(urllib.request.Request(messages_url(url, room), body, headers)) as answer:
        return json.load(answer)


def texts(window: Any) -> list[str]:
    return [row["text"] for row in window.shown()]


def test_that_a_message_is_removed_can_be_read_also_where_it_was_ones_own(
    window: Open, url: str, room: str
) -> None:
    seed(url, room, 1)
    ann = window(reduced_motion="reduce").open()
    ann.say("mine")
    expect(ann.row("mine")).to_have_attribute("data-id", "2")
    remove(url, room, 1, 2)
    expect(ann.row("(removed)")).to_have_count(2)
    assert axe_finds(ann.page) == []


def test_a_removed_message_leaves_the_screens_and_comes_back_in_no_way(
    window: Open, url: str, room: str, tmp_path: Path
) -> None:
    seed(url, room, 3)
    ann = window().open()
    own = ann.page.get_by_label("Message")
    own.fill("mine, with https://example.org/link")
    own.press("Enter")
    expect(ann.rows).to_have_count(4)
    expect(ann.rows.last).to_have_attribute("data-id", "4")
    remove(url, room, 2, 4)
    expect(ann.rows).to_have_count(5)
    gone = ["message 1", "(removed)", "message 3", "(removed)", "(removed a message)"]
    assert texts(ann) == gone
    assert ann.log.locator("p a").count() == 0
    assert "message 2" not in ann.page.content()
    late = window("Bob").open()
    assert texts(late) == gone
    ann.page.reload()
    expect(ann.rows).to_have_count(5)
    assert texts(ann) == gone
    assert [row["from"] for row in ann.shown()] == ["Bob", "Bob", "Bob", "Ann", "Mod"]


def test_a_message_of_the_past_that_was_removed_meanwhile_is_not_shown(window: Open) -> None:
    """What was asked for before the removal may be answered after it."""
    ann = window()
    seed(ann.url, ann.room, 60)
    ann.open()
    expect(ann.rows).to_have_count(50)
    held = Held(ann.page, re.compile(r"/messages/\?limit="))
    older(ann.page)
    old = held.first.fetch()
    [route] = held.routes
    remove(ann.url, ann.room, 5)
    expect(ann.rows.last).to_contain_text("(removed a message)")
    assert "message 5" in [message["text"] for message in old.json()["messages"]]
    route.fulfill(response=old)
    expect(ann.row("message 4")).to_be_visible()
    expect(ann.row("message 5")).to_have_count(0)
    assert texts(ann)[4] == "(removed)"


def test_a_tombstone_takes_the_place_of_a_provisional_message(window: Open) -> None:
    ann = window()
    message = wire_message(1, "Bob", "hello", 1)
    provisional = {name: value for name, value in message.items() if name != "id"}
    tombstone = {**message, "text": "", "removed": 2}
    stream = ScriptedStream(ann.page, OPEN + event("message", provisional), event("message", tombstone))
    ann.open(connected=False)
    expect(ann.rows).to_have_count(1)
    assert stream
    expect(ann.row("(removed)")).to_have_attribute("data-removed", "2")
