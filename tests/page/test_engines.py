"""What people do most, in Firefox and in WebKit: the other tests of the page have Chromium."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest

from tests.page.window import seed
from tests.support.browser import BreakingProxy, ServerProcess, history, post
from tests.support.webdriver import ENTER, NO_SCRIPTS, OpenTab, Tab, firefox, until, webkit

ENGINES = {"firefox": firefox, "webkit": webkit}

STATUS = "document.querySelector('[role=status]')?.textContent"
ROWS = "[...document.querySelectorAll('#messages > [data-key]')]"
SHOWN = f"{ROWS}.map(row => [Number(row.dataset.id), row.querySelector('p').textContent])"
FOCUS = "document.activeElement.id"


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[OpenTab]:
    with ENGINES[request.param]() as open_tab:
        yield open_tab


@pytest.fixture
def tab(engine: OpenTab) -> Iterator[Callable[[], Tab]]:
    tabs: list[Tab] = []

    def opened() -> Tab:
        tabs.append(engine())
        return tabs[-1]

    yield opened
    for one in tabs:
        one.close()


def enter(tab: Tab, url: str, room: str, user: str = "Ann") -> Tab:
    """Into the room by the join form: another window may have another name."""
    tab.go(f"{url}{quote(room, safe='')}?user=")
    tab.js(f"document.getElementById('name').value = {json.dumps(user)}")
    tab.click("form .primary")
    tab.see(STATUS, "Connected")
    tab.see(FOCUS, "text")  # a browser gives it when it draws, which may be later
    return tab


def test_two_windows_see_what_is_written_in_either_at_once(
    tab: Callable[[], Tab], url: str, room: str
) -> None:
    ann = tab()
    ann.go(f"{url}{quote(room, safe='')}?user=")
    ann.see(FOCUS, "name")
    ann.js("void (document.getElementById('name').value = '')")  # an earlier test may have left one
    ann.type("Ann" + ENTER)
    ann.see(STATUS, "Connected")
    bob = enter(tab(), url, room, "Bob")
    for one, text in [(ann, "hello"), (bob, "hi Ann, see www.example.org。"), (ann, "bye 👋🏽")]:
        one.see(FOCUS, "text")
        one.type(text + ENTER)
        for each in (ann, bob):
            each.see(f"{SHOWN}.at(-1)[1]", text)
            each.see(f"{ROWS}.at(-1).dataset.state", "official")
    for each, own in [(ann, [True, False, True]), (bob, [False, True, False])]:
        assert [id for id, _ in each.js(SHOWN)] == [1, 2, 3]
        assert each.js(f"{ROWS}.map(row => row.classList.contains('own'))") == own
        assert each.js("document.querySelector('li p a').href") == "https://www.example.org/"
    assert [message["from"] for message in history(url, room)] == ["Ann", "Bob", "Ann"]


def test_a_page_that_is_loaded_again_goes_on(tab: Callable[[], Tab], url: str, room: str) -> None:
    ann = enter(tab(), url, room)
    post(url, room, "Bob", "before")
    ann.see(SHOWN, [[1, "before"]])
    ann.type("half a thought")
    ann.js("void location.reload()")
    post(url, room, "Bob", "meanwhile")
    ann.see(SHOWN, [[1, "before"], [2, "meanwhile"]])
    ann.see(STATUS, "Connected")
    post(url, room, "Bob", "after")
    ann.see(SHOWN, [[1, "before"], [2, "meanwhile"], [3, "after"]])
    assert ann.js("document.getElementById('text').value") == "half a thought"


def test_older_messages_are_loaded_on_the_way_up_without_a_jump(
    tab: Callable[[], Tab], url: str, room: str
) -> None:
    seed(url, room, 120)
    ann = enter(tab(), url, room)
    assert ann.js("log.scrollHeight - log.scrollTop - log.clientHeight < 2")
    ann.js("log.scrollTop = 100")
    first = "document.getElementById('75').getBoundingClientRect().top"
    before = ann.js(first)
    ann.see(f"{SHOWN}.length", 120)
    assert abs(ann.js(first) - before) <= 1
    ann.js("void (location.hash = '#60')")
    ann.see("document.querySelector('.marked')?.id", "60")
    ann.click("#fresh")
    ann.see("log.scrollHeight - log.scrollTop - log.clientHeight < 2")


@pytest.mark.parametrize("change", ["documentElement.style.fontSize = '150%'", "body.style.width = '25rem'"])
def test_the_readers_place_survives(tab: Callable[[], Tab], url: str, room: str, change: str) -> None:
    for number in range(40):
        post(url, room, "Bob" if number % 3 else "Cid", f"{number} " + "words " * (number * 7 % 60))
    ann = enter(tab(), url, room)
    ann.js("log.scrollTop = log.scrollHeight / 2")
    frames = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    first = """(() => {
        const { top } = log.getBoundingClientRect();
        return [...log.querySelectorAll("li")].find(row => row.getBoundingClientRect().bottom > top + 2).id;
    })()"""
    ann.js(frames)
    before = ann.js(first)
    ann.js(f"void (document.{change})")
    ann.js(frames)
    assert ann.js(first) == before


def test_texts_stand_on_the_side_where_they_begin(tab: Callable[[], Tab], url: str, room: str) -> None:
    sides = {"שלום": "right", "hello": "left", "@Ann שלום": "right", "www.example.org שלום": "right"}
    sides |= {"`code` שלום": "right", "@דנה hello": "left", "@Ann hello": "left"}
    for text in sides:
        post(url, room, "Bob", text + "\n" + "." * 60)
    ann = enter(tab(), url, room)
    found = ann.js(
        """[...document.querySelectorAll("li p")].map((text) => {
            const range = document.createRange();
            range.setStart(text, 0);
            range.setEnd(text.lastChild, text.lastChild.data.indexOf("\\n"));
            const [box, words] = [text.getBoundingClientRect(), range.getBoundingClientRect()];
            return words.left - box.left < box.right - words.right ? "left" : "right";
        })"""
    )
    assert dict(zip(sides, found, strict=True)) == sides


def test_a_server_that_is_killed_and_comes_back_costs_nothing(
    tab: Callable[[], Tab], mortal: ServerProcess, room: str
) -> None:
    ann = enter(tab(), mortal.url, room)
    ann.type("before" + ENTER)
    ann.see(f"{ROWS}.at(-1)?.dataset.state", "official")
    mortal.kill()
    ann.type("meanwhile" + ENTER)
    ann.see(f"{ROWS}.at(-1).dataset.state", "waiting")
    ann.see("document.querySelector('.band p').textContent.startsWith('The server cannot be reached.')")
    mortal.start()
    ann.js("document.querySelector('.band .primary:not([hidden])').click()")  # if its own try was not quicker
    ann.see(SHOWN, [[1, "before"], [2, "meanwhile"]])
    ann.see(STATUS, "Connected")
    post(mortal.url, room, "Bob", "after")
    ann.see(f"{SHOWN}.at(-1)", [3, "after"])


def test_a_form_is_enough_where_no_script_runs(
    tab: Callable[[], Tab], server: ServerProcess, room: str
) -> None:
    proxy = BreakingProxy(server.port)
    proxy.headers = f"Content-Security-Policy: {NO_SCRIPTS}\r\n"
    ann = tab()
    ann.go(f"{proxy.url}{quote(room, safe='')}?user=Ann")
    ann.click("#text")
    ann.type("by form")
    ann.click("#composer .primary")
    until(lambda: [message["text"] for message in history(server.url, room)], ["by form"])
    ann.see(f"{SHOWN}", [[1, "by form"]])
    assert not ann.js("document.documentElement.classList.contains('js')")
    proxy.close()
