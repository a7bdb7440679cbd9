"""The page, in a real browser: what two people see, whatever happens to the network or the server."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.conftest import need
from tests.support.browser import (
    BreakingProxy,
    ScriptedStream,
    ServerProcess,
    Window,
    axe,
    chromium,
    event,
    history,
    messages_url,
    post,
    reset,
    wire_message,
)

expect.set_options(timeout=15_000)  # the machine may be busy with other tests
pytestmark = pytest.mark.xdist_group("browser")

OPEN = event("stream-open", {})
HISTORY = re.compile("limit=100")
LIMIT = 60_000  # bytes of everything that the first load transfers
NASTY = [
    "<script>document.title = 'gone'</script>",
    "<img src=x onerror=\"document.title='gone'\">",
    "{{ 7 * 7 }} ${7 * 7} <!-- &amp; &lt;",
    "\"'><b>bold</b> </template></li></ol>",
    "javascript:alert(1) data:text/html,x",
    "a\u202egnp.exe \u2066 \u200b \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "  two  spaces,\n\n\ta tab and lines  ",
    "separators \u2028 of lines \u2029 and paragraphs",
    "**not bold** `not code` <https://example.org/>",
]
NASTY_NAMES = [
    "<i>Eve</i>",
    "\"onclick='x'",
    "\u202eevE",
    "{{ user }}",
    "__proto__",
    "a b&c=d#e?f%41",
    "名前",
]

Open = Callable[..., Window]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
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
        windows.append(Window(context, url, room, user))
        windows[-1].page.set_default_timeout(15_000)
        return windows[-1]

    yield make
    for one in windows:
        one.context.close()
    assert [complaint for one in windows for complaint in one.complaints] == []


def seed(url: str, room: str, count: int, sender: str = "Bob") -> None:
    for number in range(1, count + 1):
        post(url, room, sender, f"message {number}")


def run_clock(page: Page, condition: Callable[[], bool]) -> None:
    """Lets the page's time go by until the condition holds."""
    for _ in range(600):
        if condition():
            return
        page.clock.run_for(500)
    pytest.fail("it did not happen within five minutes of the page's time")


# --- joining ---


def test_a_person_joins_with_a_name_that_is_remembered(window: Open, url: str, room: str) -> None:
    ann = window()
    page = ann.page
    page.goto(url + room)
    expect(page).to_have_title(f"Join {room} · flychat")
    page.get_by_role("textbox", name="Name").fill("Ann Ö. ")  # as the keyboards of phones complete words
    page.get_by_role("button", name="Join").click()
    expect(ann.status).to_have_text("Connected")
    expect(page.locator(".sheet .me")).to_have_text(re.compile(r"^Ann Ö\.$"))
    expect(page).to_have_url(url + room)  # nobody's name is in the address that is shared
    expect(page).to_have_title(f"{room} · flychat")
    page.reload()
    expect(page.get_by_text("You are Ann Ö.")).to_be_attached()
    expect(ann.status).to_have_text("Connected")

    page.locator("summary").click()
    page.get_by_role("link", name="Change name").click()
    page.get_by_role("textbox", name="Name").fill("Anna")
    page.get_by_role("button", name="Join").click()
    ann.say("it is me")
    expect(ann.row("it is me")).to_have_attribute("data-id", "1")
    assert history(url, room)[0]["from"] == "Anna"


def test_a_name_that_breaks_the_rules_is_explained_in_the_form(window: Open, url: str, room: str) -> None:
    page = window().page
    page.goto(url + room)
    name = page.get_by_role("textbox", name="Name")
    name.press_sequentially("x" * 66)
    expect(name).to_have_value("x" * 64)
    page.goto(url + room + "?user=" + "x" * 65)
    expect(name).to_have_value("x" * 65)  # nobody has to type it again
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(name).to_have_accessible_description("A name must have 1 to 64 characters.")


def test_a_remembered_name_that_breaks_the_rules_is_asked_for_again(
    window: Open, url: str, room: str
) -> None:
    ann = window()
    ann.context.add_cookies([{"name": "flychat_user", "value": "a%0Ab", "url": url}])
    ann.page.goto(url + room)
    expect(ann.button("Join")).to_be_visible()


def test_rooms_are_switched_and_created_from_the_page_and_the_recent_ones_are_offered(
    window: Open, url: str, room: str
) -> None:
    ann = window().open()
    page = ann.page
    page.locator("summary").click()
    page.get_by_role("textbox", name="Room").fill("the café / no")
    page.get_by_role("button", name="Go").click()
    assert page.get_by_role("textbox", name="Room").evaluate("field => field.validity.patternMismatch")
    page.goto(f"{url}?room=the+café+/+no")
    expect(page.get_by_role("heading")).to_contain_text("A room cannot have this name")
    expect(page.get_by_text("It must not contain '/'.")).to_be_visible()
    page.go_back()
    page.locator("summary").click()
    page.get_by_role("textbox", name="Room").fill("the café?")
    page.get_by_role("button", name="Go").click()
    expect(page.get_by_role("heading")).to_have_text("the café?")
    expect(ann.status).to_have_text("Connected")
    expect(page).to_have_url(url + "the%20caf%C3%A9%3F")
    page.locator("summary").click()
    page.get_by_role("navigation", name="Recent rooms").get_by_role("link", name=room).click()
    expect(page.get_by_role("heading")).to_have_text(room)


def test_two_tabs_of_a_browser_keep_their_own_names(window: Open) -> None:
    ann = window("Ann").open()
    bob = window("Bob", beside=ann).open()
    for one in (ann, bob):
        one.page.reload()
        expect(one.page.get_by_text(f"You are {one.user}.")).to_be_attached()


# --- the conversation ---


def converse(ann: Window, bob: Window) -> None:
    """A hundred messages, interleaved as fast as the browser goes: the same in both windows, each once."""
    for number in range(50):
        ann.say(f"from Ann {number}")
        bob.say(f"from Bob {number}")
    wanted = list(range(1, 101))
    for one in (ann, bob):
        expect(one.log.locator("li[data-id='100']")).to_be_attached()
        expect(one.log.locator("li[data-id]")).to_have_count(100)
        assert one.ids() == wanted
    assert ann.shown() == bob.shown()
    for name in ("Ann", "Bob"):
        mine = [row["text"] for row in ann.shown() if row["from"] == name]
        assert mine == [f"from {name} {number}" for number in range(50)]


def test_two_people_see_a_hundred_interleaved_messages_in_the_same_order_each_once(
    window: Open, url: str, room: str
) -> None:
    ann, bob = window("Ann").open(), window("Bob").open()
    converse(ann, bob)
    stored = [{"id": m["id"], "from": m["from"], "text": m["text"]} for m in history(url, room)]
    assert ann.shown() == stored
    ann.page.reload()
    expect(ann.status).to_have_text("Connected")
    assert ann.shown() == stored[-50:]


def test_the_conversation_behind_a_real_pushpin(window: Open, room: str, tmp_path: Path) -> None:
    need("pushpin")
    server = ServerProcess(tmp_path / "chat.db", "--grip", "--with-pushpin", "--pushpin-port", "0")
    server.start()
    try:
        ann, bob = (window(name, url=server.url).open() for name in ("Ann", "Bob"))
        converse(ann, bob)
    finally:
        server.stop()


def test_a_server_that_is_killed_and_started_again_leaves_the_pages_whole(
    window: Open, mortal: ServerProcess, room: str
) -> None:
    ann, bob = (window(name, url=mortal.url).open() for name in ("Ann", "Bob"))
    ann.say("before")
    expect(bob.row("before")).to_have_attribute("data-id", "1")
    mortal.kill()
    bob.say("into the void")
    expect(bob.row("into the void")).to_contain_text("cannot be reached")
    mortal.start()
    post(mortal.url, room, "Cid", "while you were away")
    for one in (ann, bob):
        expect(one.row("while you were away")).to_have_attribute("data-id", "2")
    bob.button("Retry").click()
    for one in (ann, bob):
        expect(one.row("into the void")).to_have_attribute("data-id", "3")
        expect(one.status).to_have_text("Connected")
        assert one.ids() == [1, 2, 3]


def test_a_proxy_that_answers_502_for_a_while_costs_nothing_but_time(
    window: Open, server: ServerProcess, room: str
) -> None:
    proxy = BreakingProxy(server.port)
    ann = window(url=proxy.url)
    ann.page.clock.install()
    ann.open()
    proxy.break_with("502")
    post(server.url, room, "Bob", "missed")
    expect(ann.status).to_have_text("Connected")  # no word of it for the first seconds
    ann.page.clock.fast_forward(4_000)
    expect(ann.status).to_have_text(re.compile(r"Reconnecting( in \d+ s|…)"))
    with ann.page.expect_response(lambda response: response.status == 502):
        ann.page.clock.fast_forward(30_000)
    proxy.break_with(None)
    ann.page.clock.fast_forward(30_000)
    expect(ann.row("missed")).to_have_attribute("data-id", "1")
    expect(ann.status).to_have_text("Connected")
    post(server.url, room, "Bob", "live again")
    expect(ann.row("live again")).to_be_visible()
    proxy.close()


def test_a_stream_that_falls_silent_is_opened_again_after_50_seconds(
    window: Open, server: ServerProcess, room: str
) -> None:
    proxy = BreakingProxy(server.port)
    ann = window(url=proxy.url)
    ann.page.clock.install()
    ann.open()
    proxy.break_with("mute", cut=False)
    post(server.url, room, "Bob", "swallowed")
    ann.page.clock.fast_forward(45_000)
    expect(ann.row("swallowed")).to_have_count(0)
    proxy.break_with(None, cut=False)
    ann.page.clock.fast_forward(6_000)
    ann.page.clock.fast_forward(3_000)
    expect(ann.row("swallowed")).to_have_attribute("data-id", "1")
    proxy.close()


def test_another_log_behind_the_same_address_is_shown_after_a_divider(
    window: Open, mortal: ServerProcess, room: str, tmp_path: Path
) -> None:
    ann = window(url=mortal.url).open()
    for text in ("one", "two"):
        ann.say(text)
        expect(ann.row(text)).to_have_attribute("data-id", re.compile(r"\d"))
    mortal.kill()
    mortal.store = tmp_path / "other.db"
    mortal.start()
    post(mortal.url, room, "Bob", "a new world")
    expect(ann.log.get_by_text("Some messages were missed")).to_be_visible()
    expect(ann.row("a new world")).to_have_attribute("data-id", "1")
    assert ann.ids() == [1]


# --- sending ---


def test_an_own_message_is_shown_at_once_and_settles_while_typing_goes_on(window: Open, url: str) -> None:
    ann, bob = window("Ann").open(), window("Bob").open()
    held: list[Route] = []
    ann.page.route("**/messages/", lambda route: held.append(route))
    ann.say("slow one")
    expect(ann.row("slow one")).to_have_attribute("data-state", "pending")
    ann.text.press_sequentially("typed mean")
    bob.say("faster")
    expect(ann.row("faster")).to_have_attribute("data-id", "1")
    assert [row["text"] for row in ann.shown()] == ["faster", "slow one"]
    held[0].continue_()
    expect(ann.row("slow one")).to_have_attribute("data-id", "2")
    ann.text.press_sequentially("while")
    expect(ann.text).to_have_value("typed meanwhile")
    expect(ann.text).to_be_focused()
    expect(ann.row("slow one")).to_have_class(re.compile("own"))
    expect(bob.row("slow one")).not_to_have_class(re.compile("own"))


def test_enter_sends_and_shift_enter_breaks_the_line(window: Open) -> None:
    ann = window().open()
    ann.text.press_sequentially("two")
    ann.text.press("Shift+Enter")
    ann.text.press_sequentially("lines")
    before = ann.text.bounding_box()["height"]
    ann.text.dispatch_event("keydown", {"key": "Enter", "isComposing": True})  # chooses a word, elsewhere
    expect(ann.text).to_have_value("two\nlines")
    ann.text.press("Enter")
    expect(ann.row("two lines")).to_have_attribute("data-id", "1")  # the locator folds white space
    assert ann.shown()[0]["text"] == "two\nlines"
    assert ann.text.bounding_box()["height"] < before
    ann.text.fill("  \n ")
    ann.text.press("Enter")
    ann.button("Send").click()
    ann.text.fill("by mouse")
    ann.button("Send").click()
    expect(ann.row("by mouse")).to_have_attribute("data-id", "2")


def test_a_failed_message_keeps_its_text_and_is_retried_under_the_same_id(
    window: Open, url: str, room: str
) -> None:
    ann = window()
    ScriptedStream(ann.page, OPEN)  # which never tells that the message was stored
    ann.open(connected=False)
    bodies: list[dict[str, Any]] = []

    def lose_the_answer(route: Route) -> None:
        bodies.append(route.request.post_data_json)
        route.fetch()
        route.abort()

    ann.page.route("**/messages/", lose_the_answer, times=1)
    ann.say("precious")
    expect(ann.row("precious")).to_contain_text("Not sent: the server cannot be reached.")
    with ann.page.expect_request("**/messages/") as request:
        ann.button("Retry").click()
    assert request.value.post_data_json == bodies[0]
    expect(ann.text).to_be_focused()
    expect(ann.row("precious")).to_have_attribute("data-state", "stored")
    expect(ann.button("Retry")).to_have_count(0)
    assert [message["text"] for message in history(url, room)] == ["precious"]


def test_a_repeat_carries_the_position_at_which_the_message_was_first_sent(
    window: Open, url: str, room: str
) -> None:
    seed(url, room, 2)
    ann = window().open()
    ann.page.route("**/messages/", lambda route: route.abort())
    sent = []

    def sends(by: Callable[[], None]) -> None:
        with ann.page.expect_request(lambda request: request.method == "POST") as request:
            by()
        sent.append(request.value.post_data_json)
        expect(ann.button("Retry")).to_be_visible()

    sends(lambda: ann.say("patient"))
    seed(url, room, 2)
    expect(ann.log.locator("li[data-id='4']")).to_be_attached()
    sends(ann.button("Retry").click)
    ann.page.reload()
    sends(ann.button("Retry").click)
    assert sent == [sent[0]] * 3
    assert sent[0]["lastEventId"] == 2
    ann.page.unroute("**/messages/")
    ann.button("Retry").click()
    expect(ann.row("patient")).to_have_attribute("data-id", "5")


def test_what_waits_for_another_message_has_the_position_of_when_it_is_sent_itself(
    window: Open, url: str, room: str
) -> None:
    ann = window().open()
    held: list[Route] = []
    ann.page.route("**/messages/", lambda route: held.append(route))
    with ann.page.expect_request("**/messages/") as first:
        ann.say("one")
    ann.say("two")
    seed(url, room, 2)
    expect(ann.log.locator("li[data-id='2']")).to_be_attached()
    with ann.page.expect_request("**/messages/") as second:
        held[0].continue_()
    assert first.value.post_data_json["lastEventId"] == 0
    assert second.value.post_data_json["lastEventId"] in (2, 3)  # 3 is "one", if the stream was quicker
    expect(ann.row("one")).to_have_attribute("data-id", "3")
    seed(url, room, 1)
    ann.page.reload()
    expect(ann.log.locator("li[data-id='4']")).to_be_attached()
    ann.page.unroute("**/messages/")
    with ann.page.expect_request("**/messages/") as repeat:
        ann.button("Retry").click()
    assert repeat.value.post_data_json == second.value.post_data_json
    expect(ann.row("two")).to_have_attribute("data-id", "5")


def test_a_repeat_that_comes_too_late_to_be_looked_for_is_left_to_the_person(
    window: Open, url: str, room: str
) -> None:
    ann = window().open()
    refusal = {"error": {"code": "too_old", "message": "the servers own words"}}
    bodies: list[dict[str, Any]] = []

    def refuse(route: Route) -> None:
        bodies.append(route.request.post_data_json)
        route.fulfill(status=409, json=refusal)

    ann.page.route("**/messages/", refuse, times=1)
    ann.say("from long ago")
    expect(ann.row("from long ago")).to_contain_text("may be above already")
    expect(ann.button("Retry")).to_have_count(0)
    expect(ann.button("Discard")).to_be_visible()
    with ann.page.expect_request("**/messages/") as request:
        ann.button("Send anew").click()
    assert request.value.post_data_json["provisionalId"] != bodies[0]["provisionalId"]
    expect(ann.row("from long ago")).to_have_attribute("data-id", "1")
    expect(ann.rows).to_have_count(1)
    ann.page.reload()
    expect(ann.status).to_have_text("Connected")
    assert [row["text"] for row in ann.shown()] == ["from long ago"]


def test_a_failed_message_survives_a_reload_and_can_be_discarded(window: Open, url: str, room: str) -> None:
    ann = window().open()
    ann.page.route("**/messages/", lambda route: route.abort())
    ann.say("doomed")
    expect(ann.button("Discard")).to_be_visible()
    ann.page.reload()
    expect(ann.row("doomed")).to_contain_text("Not confirmed")
    ann.button("Discard").click()
    expect(ann.row("doomed")).to_have_count(0)
    expect(ann.text).to_be_focused()
    ann.page.reload()
    expect(ann.status).to_have_text("Connected")
    assert ann.shown() == []
    assert history(url, room) == []


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (429, "Too many messages"),
        *((n, "The server is busy") for n in (500, 502, 503, 504, 507, 520, 530, 598)),
    ],
)
def test_a_server_that_asks_for_patience_is_explained_and_obeyed(
    window: Open, status: int, words: str
) -> None:
    ann = window()
    ann.page.clock.install()
    ann.open()
    ann.page.route(
        "**/messages/",
        lambda route: route.fulfill(
            status=status, headers={"Retry-After": "7"}, json={"error": {"code": "x", "message": "y"}}
        ),
        times=1,
    )
    ann.say("first")
    ann.say("second")
    expect(ann.row("first")).to_contain_text(f"{words}")
    expect(ann.row("first")).to_contain_text("Trying again in 7 s")
    expect(ann.row("second")).to_have_attribute("data-state", "pending")
    ann.page.clock.fast_forward(7_000)
    expect(ann.row("second")).to_have_attribute("data-id", "2")  # in the order in which they were written
    expect(ann.row("first")).to_have_attribute("data-id", "1")


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ("Fri, 01 Jan 2100 00:00:30 GMT", r"Trying again in [123]\d s"),
        ("Fri, 01 Jan 2100 00:30:00 GMT", r"The server is busy. Try again in (29|30) min"),
        ("150", r"The server is busy. Try again in 3 min"),
    ],
    ids=["soon", "far", "long"],
)
def test_a_date_to_come_back_is_understood_and_a_long_wait_is_left_to_the_person(
    window: Open, after: str, words: str
) -> None:
    ann = window()
    ann.page.clock.install(time="2100-01-01T00:00:00Z")
    ann.open()
    headers = {"Retry-After": after}
    ann.page.route("**/messages/", lambda route: route.fulfill(status=503, headers=headers, json={}), times=1)
    ann.say("patient")
    expect(ann.row("patient")).to_contain_text(re.compile(words))
    ann.button("Retry").click()
    expect(ann.row("patient")).to_have_attribute("data-id", "1")


def test_what_does_not_come_from_the_chat_is_no_answer(window: Open) -> None:
    ann = window().open()
    portal = {"content_type": "text/html", "body": "<h1>Welcome to the hotel's network</h1>"}
    ann.page.route("**/messages/", lambda route: route.fulfill(**portal), times=1)
    ann.say("from the hotel")
    expect(ann.row("from the hotel")).to_contain_text("Not sent: something else answered")
    ann.button("Retry").click()
    expect(ann.row("from the hotel")).to_have_attribute("data-id", "1")


def test_messages_behind_one_that_cannot_be_sent_are_told_with_it(window: Open) -> None:
    ann = window()
    ann.page.clock.install()
    ann.open()
    held: list[Route] = []
    ann.page.route("**/messages/", lambda route: held.append(route))
    texts = ["one", "two", "three"]
    for text in texts:
        ann.say(text)
        expect(ann.row(text)).to_have_attribute("data-state", "pending")
    ann.page.clock.fast_forward(3_100)
    expect(ann.log.get_by_text("sending…")).to_have_count(3)
    held[0].abort()
    for text in texts:
        expect(ann.row(text)).to_contain_text("Not sent: the server cannot be reached.")
    assert len(held) == 1


def test_a_failed_message_waits_for_the_name_that_it_was_written_under(window: Open) -> None:
    ann = window().open()
    ann.page.route("**/messages/", lambda route: route.abort())
    ann.say("doomed")
    expect(ann.button("Retry")).to_be_visible()
    ann.user = "Bob"
    ann.open()
    expect(ann.row("doomed")).to_have_count(0)
    ann.user = "Ann"
    ann.open()
    expect(ann.row("doomed")).to_contain_text("Not confirmed")


def test_a_refusal_is_told_in_the_servers_words(window: Open) -> None:
    ann = window().open()
    ann.page.route(
        "**/messages/",
        lambda route: route.fulfill(status=409, json={"error": {"code": "conflict", "message": "in use"}}),
    )
    ann.say("again")
    expect(ann.row("again")).to_contain_text("Not sent: in use.")


def test_a_retraction_says_why_and_the_text_is_kept(window: Open) -> None:
    ann = window()
    theirs, retracted = wire_message(None, "Bob", "theirs", 1), []
    stream = ScriptedStream(ann.page, OPEN + event("message", theirs))
    ann.page.route("**/messages/", lambda route: None)
    ann.page.clock.install()
    ann.open()
    with ann.page.expect_request("**/messages/") as request:
        ann.say("mine")
    expect(ann.row("mine")).to_have_attribute("data-state", "pending")
    expect(ann.row("theirs")).to_have_attribute("data-state", "provisional")
    for key in (request.value.post_data_json["provisionalId"], theirs["provisionalId"]):
        retracted.append(event("retraction", {"provisionalId": key}))
    stream.then(OPEN + "".join(retracted))
    ann.page.clock.fast_forward(3_000)
    expect(ann.row("mine")).to_contain_text("Withdrawn: the server could not store it.")
    expect(ann.row("theirs")).to_contain_text("withdrawn: it could not be stored")
    expect(ann.button("Retry")).to_be_visible()
    ann.page.clock.fast_forward(11_000)
    expect(ann.row("theirs")).to_have_count(0)


def test_the_limit_is_counted_down_in_characters_as_the_server_counts(window: Open) -> None:
    ann = window().open()
    counter = ann.page.locator("#counter")
    ann.text.fill("x" * 3_000)
    expect(counter).to_be_hidden()
    ann.text.fill("😀" * 4_000)
    expect(counter).to_have_text("96 left")
    ann.text.fill("😀" * 4_099)
    expect(counter).to_have_text("3 too many")
    expect(ann.button("Send")).to_be_disabled()
    ann.text.press("Enter")
    ann.text.fill("😀" * 4_096)
    ann.text.press("Enter")
    expect(ann.log.locator("li[data-id='1']")).to_be_attached()
    assert ann.shown()[0]["text"] == "😀" * 4_096


def test_the_counter_is_read_out_at_steps_and_not_at_every_key(window: Open) -> None:
    ann = window().open()
    ann.page.evaluate(
        """() => {
            window.spoken = [];
            const counter = document.getElementById("counter");
            new MutationObserver(() => counter.ariaLive === "polite" && spoken.push(counter.textContent))
                .observe(counter, { childList: true });
        }"""
    )
    for left in (150, 101, 100, 99, 51, 50, 49, 10, 9, 1, 0, -1, -2):
        ann.text.fill("x" * (4_096 - left))
    assert ann.page.evaluate("() => spoken") == ["100 left", "50 left", "10 left", "0 left", "1 too many"]


# --- reading ---


def test_rows_are_grouped_by_author_and_day_with_local_times(window: Open) -> None:
    ann = window(timezone_id="Asia/Kolkata", locale="en-GB")
    rows = [
        ("Bob", "night", "2026-01-30T18:29:00.000Z"),  # 23:59 in Kolkata
        ("Bob", "morning", "2026-01-30T18:31:00.000Z"),  # 00:01 on the next day
        ("Bob", "soon after", "2026-01-30T18:32:00.000Z"),
        ("Cid", "another", "2026-01-30T18:33:00.000Z"),
        ("Cid", "much later", "2026-01-30T20:00:00.000Z"),
    ]
    messages = [wire_message(n, who, text, n, date) for n, (who, text, date) in enumerate(rows, 1)]
    ann.page.clock.set_fixed_time("2026-01-31T12:00:00Z")
    ScriptedStream(ann.page, OPEN + "".join(event("message", message) for message in messages))
    ann.open(connected=False)
    expect(ann.row("much later")).to_be_visible()
    expect(ann.log.locator(".day")).to_have_text(["Yesterday", "Today"])
    more = [text for _, text, _ in rows if "more" in (ann.row(text).get_attribute("class") or "")]
    assert more == ["soon after"]
    time = ann.row("morning").locator("time")
    expect(time).to_have_text("00:01")
    expect(time).to_have_attribute("title", re.compile("Saturday.* 31 January 2026"))
    hues = ann.rows.evaluate_all("rows => rows.map(row => row.style.getPropertyValue('--hue'))")
    assert hues[0] == hues[1] != hues[3] == hues[4]


@pytest.mark.parametrize("touch", [False, True])
def test_a_long_monologue_has_headings_and_on_a_touch_screen_times(window: Open, touch: bool) -> None:
    ann = window(has_touch=touch, is_mobile=touch)
    dates = [f"2026-01-31T12:{minute:02}:00.000Z" for minute in range(0, 36, 3)]
    messages = [wire_message(n, "Bob", f"at {date}", n, date) for n, date in enumerate(dates, 1)]
    ScriptedStream(ann.page, OPEN + "".join(event("message", message) for message in messages))
    ann.open(connected=False)
    expect(ann.rows).to_have_count(12)
    grouped = ann.rows.evaluate_all("rows => rows.map(row => row.classList.contains('more'))")
    assert grouped == [False, True, True, True, False, True, True, False, True, True, False, True]
    seen = ann.rows.evaluate_all(
        "rows => rows.map(row => getComputedStyle(row.querySelector('time')).opacity === '1')"
    )
    assert seen == [touch or not more for more in grouped]


def test_at_midnight_today_becomes_yesterday(window: Open) -> None:
    ann = window(timezone_id="Asia/Kolkata")
    messages = [
        wire_message(1, "Bob", "late", 1, "2026-01-30T18:29:30.000Z"),
        wire_message(2, "Bob", "early", 2, "2026-01-30T18:30:30.000Z"),
    ]
    ann.page.clock.install(time="2026-01-30T18:29:40Z")
    ScriptedStream(ann.page, *(OPEN + event("message", message) for message in messages))
    ann.open(connected=False)
    expect(ann.log.locator(".day")).to_have_text(["Today"])
    ann.page.clock.fast_forward(60_000)
    expect(ann.log.locator(".day")).to_have_text(["Yesterday", "Today"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_name_has_a_colour_that_can_be_read(window: Open, url: str, room: str, scheme: str) -> None:
    post(url, room, "Bob", "hello")
    ann = window(color_scheme=scheme).open()
    contrasts = ann.rows.first.evaluate(
        """row => {
            const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
            const luminance = colour => {
                canvas.fillStyle = colour;
                canvas.fillRect(0, 0, 1, 1);
                const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(value =>
                    value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const contrast = (one, other) => {
                const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
                return (light + 0.05) / (dark + 0.05);
            };
            const paper = getComputedStyle(document.documentElement).backgroundColor;
            const name = getComputedStyle(row.querySelector("bdi"));
            const face = getComputedStyle(row.querySelector(".face"));
            return Array.from({ length: 360 }, (_, hue) => {
                row.style.setProperty("--hue", hue);
                return Math.min(contrast(name.color, paper), contrast(face.color, face.backgroundColor));
            });
        }"""
    )
    assert len(contrasts) == 360
    assert min(contrasts) >= 4.5


def test_rows_of_the_server_look_like_those_of_the_stream(window: Open, url: str, room: str) -> None:
    talk(url, room)
    looks = "rows => rows.map(row => [row.className, row.dataset.id, row.style.cssText, row.innerHTML])"
    ann = window().open()
    live = window("Ann", room=f"{room}, live").open()
    assert ann.log.locator("li.more").count() == 1
    ScriptedStream(
        live.page,
        OPEN + "".join(event("message", message) for message in history(url, room)),
    )
    live.page.reload()
    expect(live.rows).to_have_count(8)
    assert live.rows.evaluate_all(looks) == ann.rows.evaluate_all(looks)


def test_links_are_clickable_and_nothing_else_is_interpreted(window: Open, url: str, room: str) -> None:
    text = (
        "See https://example.org/a_(b)?c=d&e=%20#f, (http://example.com/x). HTTPS://EXAMPLE.ORG! "
        "not ftp://example.org javascript:alert(1) xhttp://no.example http://"
    )
    wanted = ["https://example.org/a_(b)?c=d&e=%20#f", "http://example.com/x", "HTTPS://EXAMPLE.ORG"]
    post(url, room, "Bob", text)
    ann = window().open()  # rendered by the server, decorated by the page
    post(url, room, "Bob", text)  # live
    expect(ann.rows).to_have_count(2)
    for row in (ann.rows.nth(0), ann.rows.nth(1)):
        links = row.get_by_role("link")
        expect(links).to_have_text(wanted)
        for link in links.all():
            expect(link).to_have_attribute("rel", "noopener nofollow ugc")
            assert link.get_attribute("href") == link.text_content()
        expect(row.locator("p")).to_have_text(text)


def test_hostile_names_and_texts_are_shown_literally_everywhere(window: Open, url: str) -> None:
    room = "<b>&{{ 7*7 }}\"'\u202e?#%41"
    ann = window("<u>Ann</u>\"'", room=room).open()
    sent = [(name, text) for text in NASTY for name in NASTY_NAMES[:2]] + [
        (name, "hi") for name in NASTY_NAMES
    ]
    for name, text in sent:
        post(url, room, name, text)
    for text in NASTY:
        ann.text.fill(text)
        ann.text.press("Enter")
    wanted = sent + [(ann.user, text) for text in NASTY]
    expect(ann.log.locator("li[data-id]")).to_have_count(len(wanted))
    assert [(row["from"], row["text"]) for row in ann.shown()] == wanted
    ann.page.reload()
    expect(ann.status).to_have_text("Connected")
    assert [(row["from"], row["text"]) for row in ann.shown()] == wanted
    expect(ann.page).to_have_title(f"{room} · flychat")
    expect(ann.page.get_by_role("heading")).to_have_text(room)
    expect(ann.page.locator(".sheet .me")).to_have_text(ann.user)
    assert ann.log.locator("script, img, b, i, u, code").count() == 0
    links = ann.log.get_by_role("link")
    expect(links).to_have_text(["https://example.org/"] * links.count())
    ann.page.goto(f"{url}{'x' * 65}?user=%3Cb%3E")
    expect(ann.page.get_by_role("heading")).to_contain_text("A room cannot have this name")
    ann.page.goto(messages_url(url, room).replace("/rooms", "") + "?user=")


DISGUISES = [
    "an\u200bn",
    "\u202eann",
    "ann\u2066",
    "a\u00adnn",
    "an\u200dn",
    "an\u200cn",
    "ann\ufe0f",
    "ann ",
    " ann",
]
NEEDED = [
    "می\u200cخواهم",
    "क्\u200dष",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "Ann ❤\ufe0f",
    "山田\u3000太郎",
]


def test_names_that_differ_in_what_nobody_sees_do_not_look_alike(window: Open, url: str, room: str) -> None:
    names = ["ann", *DISGUISES, *NEEDED]
    for name in names:
        post(url, room, name, "rendered")
    plain = window(java_script_enabled=False).open(connected=False)
    ann = window("ann").open()
    for name in names:
        post(url, room, name, "live")
    expect(ann.rows).to_have_count(2 * len(names))
    for one, count in ((plain, 1), (ann, 2)):
        assert [row["from"] for row in one.shown()] == names * count  # the real name stays the key
        looks = one.log.locator("bdi").all_text_contents()
        assert looks == looks[: len(names)] * count
        assert [look for look in looks if look == "ann"] == ["ann"] * count
        for name, look in zip(names, looks, strict=False):
            assert ("\ufffd" in look) == (name in DISGUISES), ascii(name)
    classes = ann.rows.evaluate_all("rows => rows.map(row => row.className)")
    assert [name for name, each in zip(names * 2, classes, strict=True) if "own" in each] == ["ann", "ann"]
    assert not any("more" in each for each in classes)
    disguised = window("an\u200bn").open()
    expect(disguised.page.locator(".sheet .me")).to_have_text("an\ufffdn")
    disguised.say("from the page")
    expect(disguised.row("from the page")).to_have_attribute("data-id", re.compile(r"\d"))
    assert history(url, room)[-1]["from"] == "an\u200bn"


def test_a_text_cannot_turn_what_stands_beside_it(window: Open, url: str, room: str) -> None:
    turned, open_ended = "\u202eabc https://example.org/", "\u2067\u202b\u202e abc"
    # whether the characters of an element's text go to the right, the first three of them
    rightwards = """element => {
        const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
        const node = walker.nextNode();
        const from = node.data.search(/[a-z0-9]/);
        const left = at => {
            const range = document.createRange();
            range.setStart(node, at);
            range.setEnd(node, at + 1);
            return range.getBoundingClientRect().left;
        };
        return left(from) < left(from + 1);
    }"""
    ann = window().open(connected=False)
    expect(ann.status).to_have_text("Connected")
    for number in range(2):
        for sender, text in (("Bob", turned), ("Cid", open_ended), ("Dan", "abc")):
            post(url, room, sender, text)
        expect(ann.rows).to_have_count(3 * number + 3)  # the first three live, and then rendered
        ann.page.reload()
        expect(ann.status).to_have_text("Connected")
    for row in ann.rows.all():
        assert row.locator("bdi").evaluate(rightwards)
        assert row.locator("time").evaluate(rightwards)
    directions = [row.locator("p").evaluate(rightwards) for row in ann.rows.all()]
    assert directions == [False, False, True] * 2  # inside of a message it is its author's business
    for link in ann.log.get_by_role("link").all():
        assert link.evaluate(rightwards)  # but for where a link leads


def test_the_log_sticks_to_the_bottom_only_when_the_reader_is_there(
    window: Open, url: str, room: str
) -> None:
    seed(url, room, 40)
    ann = window().open()
    assert ann.from_bottom() < 2
    post(url, room, "Bob", "seen")
    expect(ann.row("seen")).to_be_in_viewport()
    assert ann.from_bottom() < 2
    ann.scroll(200)
    reading = ann.row("message 10").bounding_box()
    for number in range(3):
        post(url, room, "Bob", f"unseen {number}")
    expect(ann.button("3 new")).to_be_visible()
    assert ann.row("message 10").bounding_box() == reading
    expect(ann.page).to_have_title(f"(3) {room} · flychat")
    ann.button("3 new").click()
    expect(ann.row("unseen 2")).to_be_in_viewport()
    expect(ann.button("3 new")).to_be_hidden()
    expect(ann.page).to_have_title(f"{room} · flychat")
    ann.scroll(0)
    ann.say("own messages lead to the bottom")
    expect(ann.row("own messages lead to the bottom")).to_be_in_viewport()


def test_a_growing_text_does_not_cover_the_last_message(window: Open, url: str, room: str) -> None:
    seed(url, room, 40)
    ann = window().open()
    ann.text.fill("a\nb\nc\nd\ne")
    expect(ann.row("message 40")).to_be_in_viewport(ratio=1)
    ann.page.set_viewport_size({"width": 400, "height": 350})  # a phone's keyboard
    expect(ann.row("message 40")).to_be_in_viewport(ratio=1)
    assert ann.from_bottom() < 2


def test_a_scroll_event_that_comes_with_a_change_of_size_does_not_take_the_reader_away(
    window: Open, url: str, room: str
) -> None:
    seed(url, room, 40)
    ann = window().open()
    assert ann.from_bottom() < 2
    # A frame has its scroll events before its observers of sizes: this is the order of a scroll and a phone's keyboard.
    ann.page.evaluate(
        """() => {
            const log = document.getElementById("log");
            log.style.maxHeight = `${log.clientHeight - 100}px`;
            log.dispatchEvent(new Event("scroll"));
        }"""
    )
    expect(ann.row("message 40")).to_be_in_viewport(ratio=1)
    assert ann.from_bottom() < 2
    ann.scroll(200)
    ann.page.evaluate("document.getElementById('log').style.maxHeight = ''")
    assert ann.from_bottom() > 200


def test_older_messages_are_loaded_on_the_way_up_without_a_jump(window: Open, url: str, room: str) -> None:
    seed(url, room, 170)
    ann = window().open()
    expect(ann.rows).to_have_count(50)
    ann.scroll(100)
    reading = ann.row("message 123").bounding_box()
    expect(ann.rows).to_have_count(150)
    after = ann.row("message 123").bounding_box()
    assert abs(after["y"] - reading["y"]) <= 1
    ann.button("Older messages").click()
    expect(ann.rows).to_have_count(170)
    assert ann.ids() == list(range(1, 171))
    expect(ann.button("Older messages")).to_be_hidden()


def test_at_most_500_rows_are_kept_in_either_direction(
    window: Open, mortal: ServerProcess, room: str
) -> None:
    seed(mortal.url, room, 60)
    ann = window(url=mortal.url).open()
    threads = [threading.Thread(target=seed, args=(mortal.url, room, 60)) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(ann.log.locator("li[data-id='600']")).to_be_in_viewport()
    assert ann.ids() == list(range(101, 601))
    ann.button("Older messages").click()
    expect(ann.log.locator("li[data-id='1']")).to_be_attached()
    assert ann.ids() == list(range(1, 501))
    post(mortal.url, room, "Bob", "far below")
    expect(ann.button("1 new")).to_be_visible()
    assert len(ann.ids()) == 500
    ann.scroll(10**6)  # the rows below come back
    expect(ann.log.locator("li[data-id='600']")).to_be_attached()
    ann.scroll(10**6)
    expect(ann.row("far below")).to_be_attached()
    assert ann.ids() == list(range(102, 602))
    ann.scroll(0)
    expect(ann.log.locator("li[data-id='2']")).to_be_attached()
    post(mortal.url, room, "Bob", "even farther")
    ann.page.get_by_role("button", name=re.compile(r"\d new")).click()
    expect(ann.row("even farther")).to_be_in_viewport()
    assert ann.ids()[-1] == 602
    assert len(ann.ids()) <= 500


def test_the_messages_on_the_way_are_fetched_before_scrolling_rests(
    window: Open, url: str, room: str
) -> None:
    seed(url, room, 60)
    ann = window()
    ann.page.clock.install()
    ann.open()
    ann.page.clock.pause_at("2100-01-01")
    with ann.page.expect_response(HISTORY) as answer:
        ann.scroll(300)
    answer.value.finished()
    expect(ann.rows).to_have_count(50)  # nothing moves under the finger
    run_clock(ann.page, lambda: ann.rows.count() == 60)


def detached(ann: Window) -> ScriptedStream:
    """Opens a window with 500 rows, from the second message on, and its reader far above the newest one."""
    messages = [event("message", wire_message(n, "Bob", f"number {n}", n)) for n in range(1, 503)]
    ann.page.clock.install()
    stream = ScriptedStream(ann.page, OPEN + "".join(messages[:501]))
    ann.open()
    expect(ann.rows).to_have_count(500)
    ann.page.route(HISTORY, lambda route: route.abort())
    ann.scroll(0)
    stream.then(OPEN + messages[501])
    run_clock(ann.page, lambda: ann.button("1 new").is_visible())
    return stream


def answer_with(route: Route, *ids: int) -> None:
    messages = [wire_message(n, "Bob", f"number {n}", n) for n in ids]
    route.fulfill(json={"messages": messages, "lastEventId": ids[-1]})


def test_messages_that_cannot_be_loaded_leave_the_others_where_they_are(window: Open) -> None:
    ann = window()
    detached(ann)
    refusal = {"error": {"code": "unavailable", "message": "Please try again."}}
    ann.page.route(HISTORY, lambda route: route.fulfill(status=503, json=refusal))
    ann.button("1 new").click()
    expect(ann.page.get_by_text("The messages could not be loaded")).to_be_in_viewport()
    assert ann.ids() == list(range(2, 502))
    ann.page.clock.run_for(500)
    expect(ann.log).to_have_attribute("aria-live", "polite")
    ann.page.route(HISTORY, lambda route: answer_with(route, *range(403, 503)))
    ann.button("1 new").click()
    expect(ann.row("number 502")).to_be_in_viewport()
    expect(ann.page.get_by_text("The messages could not be loaded")).to_be_hidden()


def test_messages_that_are_loaded_before_the_stream_brings_them_are_shown_once(window: Open) -> None:
    ann = window()
    stream = detached(ann)
    ann.page.route(HISTORY, lambda route: answer_with(route, *range(404, 506)))
    ann.button("1 new").click()
    expect(ann.row("number 505")).to_be_in_viewport()
    stream.then(
        OPEN + "".join(event("message", wire_message(n, "Bob", f"number {n}", n)) for n in range(503, 508))
    )
    run_clock(ann.page, lambda: ann.row("number 507").is_visible())
    assert ann.ids() == list(range(404, 508))


def test_an_answer_from_before_a_reset_is_not_mixed_with_what_follows(window: Open) -> None:
    ann = window()
    stream = detached(ann)
    held: list[Route] = []
    ann.page.route(HISTORY, lambda route: held.append(route))
    with ann.page.expect_request(HISTORY):
        ann.button("1 new").click()
    new = [event("message", wire_message(n, "Bob", f"new {n}", n)) for n in range(1, 3)]
    stream.then(OPEN + reset("ahead", 2) + "".join(new))
    run_clock(ann.page, lambda: ann.row("new 2").is_visible())
    with ann.page.expect_response(HISTORY):
        answer_with(held[0], *range(403, 503))
    stream.then(OPEN + event("message", wire_message(3, "Bob", "new 3", 3)))
    run_clock(ann.page, lambda: ann.row("new 3").is_visible())
    assert ann.ids() == [1, 2, 3]


@pytest.mark.parametrize("least", [5, 100])
def test_the_way_back_to_the_newest_message_has_no_hole_however_few_come_at_once(
    window: Open, least: int
) -> None:
    ann = window()
    stream = detached(ann)
    asked: list[str] = []

    def some(route: Route) -> None:
        """A page that is cut short, as if its messages were large."""
        asked.append(route.request.url.partition("&")[2])
        after = int(asked[-1].removeprefix("after="))
        answer_with(route, *range(after + 1, min(after + least, 512) + 1))

    stream.then(
        OPEN + "".join(event("message", wire_message(n, "Bob", f"number {n}", n)) for n in range(503, 513))
    )
    run_clock(ann.page, lambda: ann.button("11 new").is_visible())
    ann.page.route(HISTORY, some)
    places = cycle([5_000, 10**6, 10**6, 10**6])  # up, and down, and a rest

    def back() -> bool:
        ann.scroll(next(places))
        return ann.row("number 512").is_visible()

    run_clock(ann.page, back)
    assert ann.ids() == list(range(13, 513))
    assert asked == [f"after={after}" for after in range(501, 512, least)]


def test_older_messages_go_on_from_where_a_page_was_cut_short(window: Open, url: str, room: str) -> None:
    seed(url, room, 60)
    ann = window().open()
    messages = history(url, room)[:10]
    cut = {"messages": messages[7:], "lastEventId": 60, "before": 8}
    asked: list[str] = []
    ann.page.on("request", lambda request: asked.append(request.url.partition("limit=100&")[2]))
    ann.page.route(HISTORY, lambda route: route.fulfill(json=cut), times=1)
    ann.scroll(0)
    expect(ann.row("message 8")).to_be_attached()
    ann.scroll(0)
    expect(ann.rows).to_have_count(60)
    assert ann.ids() == list(range(1, 61))
    assert asked == ["before=11", "before=8"]


def test_a_limit_on_what_is_read_is_waited_for_and_told_as_no_failure(
    window: Open, url: str, room: str
) -> None:
    seed(url, room, 60)
    ann = window()
    ann.page.clock.install()
    ann.open()
    refusal = {"error": {"code": "too_many_requests", "message": "too much"}}
    ann.page.route(
        HISTORY, lambda route: route.fulfill(status=429, headers={"Retry-After": "20"}, json=refusal), times=2
    )
    ann.button("Older messages").click()
    for _ in range(2):
        expect(ann.page.get_by_text("More messages in 20 s")).to_be_in_viewport()
        with ann.page.expect_request(HISTORY):
            ann.page.clock.fast_forward(20_000)
    expect(ann.rows).to_have_count(60)
    expect(ann.page.get_by_text("More messages")).to_be_hidden()


def test_a_long_wait_for_older_messages_is_left_to_the_person(window: Open, url: str, room: str) -> None:
    seed(url, room, 60)
    ann = window().open()
    headers = {"Retry-After": "150"}
    ann.page.route(HISTORY, lambda route: route.fulfill(status=429, headers=headers, json={}))
    ann.button("Older messages").click()
    expect(ann.page.get_by_text("The messages could not be loaded")).to_be_visible()
    ann.page.unroute(HISTORY)
    ann.button("Older messages").click()
    expect(ann.rows).to_have_count(60)


def test_who_writes_far_above_the_newest_message_sees_the_own_one_at_once(window: Open) -> None:
    ann = window()
    detached(ann)
    held: list[Route] = []
    ann.page.route(HISTORY, lambda route: held.append(route))
    ann.page.route("**/messages/", lambda route: None)
    with ann.page.expect_request(HISTORY):
        ann.say("mine")
    expect(ann.row("mine")).to_be_in_viewport()
    assert "mine" in ann.page.evaluate("() => JSON.stringify(sessionStorage)")
    answer_with(held[0], *range(403, 503))
    expect(ann.row("number 502")).to_be_in_viewport()
    expect(ann.row("mine")).to_be_in_viewport()


def test_unread_messages_are_counted_in_the_title(window: Open, url: str, room: str) -> None:
    ann = window().open()
    hide(ann.page, True)
    for text in ("one", "two"):
        post(url, room, "Bob", text)
    expect(ann.page).to_have_title(f"(2) {room} · flychat")
    hide(ann.page, False)
    expect(ann.page).to_have_title(f"{room} · flychat")


def hide(page: Page, hidden: bool) -> None:
    """Headless windows are never hidden: this is how it looks to the page."""
    page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


# --- streams ---


def test_ids_never_go_back_and_a_late_provisional_is_ignored(window: Open) -> None:
    ann = window()
    first, second = wire_message(1, "Bob", "first", 1), wire_message(2, "Bob", "second", 2)
    late = {name: value for name, value in second.items() if name != "id"}
    early = wire_message(None, "Bob", "early", 3)
    script = [
        ("message", m) for m in (first, first, early, early, second, late, first, {"id": 3, **early}, early)
    ]
    ScriptedStream(ann.page, OPEN + "".join(event(*line) for line in script))
    ann.open(connected=False)
    expect(ann.log.locator("li[data-id='3']")).to_be_attached()
    assert [(row["id"], row["text"]) for row in ann.shown()] == [(1, "first"), (2, "second"), (3, "early")]
    expect(ann.log.locator("li[data-state=provisional]")).to_have_count(0)


def test_provisional_messages_settle_into_the_order_of_ids(window: Open) -> None:
    ann = window()
    drafts = [wire_message(None, "Bob", text, key) for key, text in enumerate("abcd")]
    officials = [{"id": id, **drafts[key]} for id, key in enumerate((2, 0, 3), 1)]
    bodies = [OPEN + "".join(event("message", message) for message in part) for part in (drafts, officials)]
    ann.page.clock.install()
    ScriptedStream(ann.page, *bodies)
    ann.open(connected=False)
    expect(ann.rows).to_have_count(4)
    listen(ann.page)
    ann.page.clock.fast_forward(2_500)
    expect(ann.log.locator("li[data-id='3']")).to_be_attached()
    assert ann.page.evaluate("() => window.spoken") == []  # a row that moves is no news
    assert [(row["id"], row["text"]) for row in ann.shown()] == [(1, "c"), (2, "a"), (3, "d"), (None, "b")]


def test_a_gap_is_never_shown_but_asked_for_again(window: Open) -> None:
    ann = window()
    ann.page.clock.install()
    messages = [event("message", wire_message(n, "Bob", f"number {n}", n)) for n in range(1, 5)]
    stream = ScriptedStream(ann.page, OPEN + messages[0] + messages[3], OPEN + "".join(messages[1:]))
    ann.open(connected=False)
    expect(ann.row("number 1")).to_be_visible()
    expect(ann.row("number 4")).to_have_count(0)
    ann.page.clock.fast_forward(5_000)
    expect(ann.row("number 4")).to_be_visible()
    assert ann.ids() == [1, 2, 3, 4]
    assert stream.positions[:2] == ["0", "1"]


def test_a_message_lost_on_the_way_is_fetched_when_the_next_one_comes(
    window: Open, server: ServerProcess, room: str
) -> None:
    proxy = BreakingProxy(server.port)
    ann, witness = window(url=proxy.url).open(), window("Cid").open()
    proxy.break_with("mute", cut=False)
    for text in ("lost", "lost as well"):
        post(server.url, room, "Bob", text)
        expect(witness.row(text)).to_have_attribute("data-id", re.compile(r"\d"))
    proxy.break_with(None, cut=False)
    post(server.url, room, "Bob", "the next one")
    expect(ann.row("the next one")).to_have_attribute("data-id", "3")
    assert ann.ids() == [1, 2, 3]
    assert streams(proxy) == 2
    proxy.close()


def test_a_provisional_message_that_is_not_confirmed_is_marked(window: Open) -> None:
    ann = window()
    ann.page.clock.install()
    ScriptedStream(ann.page, OPEN + event("message", wire_message(None, "Bob", "perhaps", 1)))
    ann.open(connected=False)
    expect(ann.row("perhaps")).to_have_attribute("data-state", "provisional")
    ann.page.clock.fast_forward(31_000)
    expect(ann.row("perhaps")).to_contain_text("not confirmed")


def test_a_reset_drops_what_is_shown_and_goes_on_after_a_divider(window: Open, url: str, room: str) -> None:
    seed(url, room, 3)
    ann = window()
    messages = [event("message", wire_message(n, "Bob", f"number {n}", n)) for n in (2000, 2001)]
    ScriptedStream(ann.page, OPEN + reset("behind", 2001, 1999) + "".join(messages))
    ann.open(connected=False)
    expect(ann.row("number 2001")).to_be_visible()
    expect(ann.log.get_by_text("Some messages were missed")).to_be_visible()
    expect(ann.button("Older messages")).to_be_visible()
    assert ann.ids() == [2000, 2001]


def test_a_reset_for_a_tab_far_behind_is_none_for_those_that_missed_nothing(window: Open) -> None:
    ann = window()
    messages = [event("message", wire_message(n, "Bob", f"number {n}", n)) for n in range(1, 5)]
    ScriptedStream(ann.page, OPEN + "".join([*messages[:3], reset("behind", 3, 1), *messages[1:]]))
    ann.open(connected=False)
    expect(ann.row("number 4")).to_be_visible()
    expect(ann.log.get_by_text("Some messages were missed")).to_have_count(0)
    assert ann.ids() == [1, 2, 3, 4]


def test_messages_that_come_again_after_a_reset_are_not_unread(window: Open, room: str) -> None:
    ann = window()
    ann.page.clock.install()
    messages = [event("message", wire_message(n, "Bob", f"number {n}", n)) for n in range(1, 4)]
    stream = ScriptedStream(ann.page, OPEN + "".join(messages[:2]))
    ann.open()
    expect(ann.rows).to_have_count(2)
    hide(ann.page, True)
    stream.then(OPEN + reset("behind", 3) + "".join(messages))
    ann.page.clock.fast_forward(3_000)
    expect(ann.page).to_have_title(f"(1) {room} · flychat")
    expect(ann.log.get_by_text("Some messages were missed")).to_be_attached()


@pytest.mark.parametrize("first", ["answer", "reset"])
def test_an_own_message_stored_among_the_missed_ones_does_not_wait_for_ever(window: Open, first: str) -> None:
    ann = window()
    held: list[Route] = []
    ann.page.clock.install()
    last = event("message", wire_message(2001, "Bob", "last", 1))
    ScriptedStream(ann.page, OPEN, OPEN + reset("behind", 2001, 2000) + last)
    ann.page.route("**/messages/", lambda route: held.append(route))
    ann.open(connected=False)
    ann.say("mine")
    expect(ann.row("mine")).to_have_attribute("data-state", "pending")
    stored = {"id": 1_900, **held[0].request.post_data_json}
    if first == "answer":
        held[0].fulfill(json=stored)
        expect(ann.row("mine")).to_have_attribute("data-state", "stored")
    ann.page.clock.fast_forward(2_500)
    expect(ann.row("last")).to_be_visible()
    if first == "reset":
        expect(ann.row("mine")).to_have_attribute("data-state", "pending")  # it is still on its way
        held[0].fulfill(json=stored)
    expect(ann.row("mine")).to_have_count(0)


def test_a_stream_that_is_refused_is_asked_for_again_with_its_position(window: Open) -> None:
    ann = window()
    ann.page.clock.install()
    message = event("message", wire_message(1, "Bob", "at last", 1))
    no_streams = (500, 501, 502, 507, 520, 530, 598, 404, 204, 200)
    stream = ScriptedStream(ann.page, *no_streams, OPEN + message, 503)
    ann.open(connected=False)
    run_clock(ann.page, lambda: len(stream.positions) == 12)
    expect(ann.row("at last")).to_be_visible()
    assert stream.positions == ["0"] * 11 + ["1"]


def test_a_proxys_answer_while_the_server_is_away_is_not_shown_as_a_connection(window: Open) -> None:
    ann = window()
    ann.page.clock.install()
    ann.page.add_init_script(
        "states = []; new MutationObserver(() => states.push(document.documentElement.dataset.state))"
        ".observe(document, { subtree: true, attributeFilter: ['data-state'] })"
    )
    away = "retry: 3000\n" + event("keep-alive", {})
    stream = ScriptedStream(ann.page, away, away, away)
    ann.open(connected=False)
    run_clock(ann.page, lambda: len(stream.positions) > 3)
    assert "connected" not in ann.page.evaluate("states")
    stream.then(OPEN)
    run_clock(ann.page, lambda: "connected" in ann.page.evaluate("states"))


@pytest.mark.parametrize(("reason", "last", "before"), [("ahead", 2, 0), ("behind", 1_953, 1_950)])
def test_a_stream_that_is_cut_after_a_reset_goes_on_from_the_resets_id(
    window: Open, reason: str, last: int, before: int
) -> None:
    ann = window()
    ann.page.clock.install()
    known = [event("message", wire_message(n, "Bob", f"number {n}", n)) for n in range(1, 4)]
    missed = [event("message", wire_message(before + n, "Bob", f"missed {n}", n)) for n in range(1, 4)]
    stream = ScriptedStream(ann.page, OPEN + "".join(known))
    ann.open(connected=False)
    expect(ann.rows).to_have_count(3)
    stream.then(OPEN + reset(reason, last, before))
    stream.then(OPEN + "".join(missed))
    run_clock(ann.page, lambda: ann.row("missed 3").is_visible())
    assert stream.positions[:3] == ["0", "3", f"{before}"]
    assert ann.ids() == [before + n for n in range(1, 4)]
    expect(ann.button("Older messages")).to_be_visible(visible=before > 0)


def test_after_the_reset_of_a_cleared_room_the_next_message_is_taken_whatever_its_id(window: Open) -> None:
    ann = window()
    ann.page.clock.install()
    after = [event("message", wire_message(n, "Bob", f"number {n}", n)) for n in (12, 13)]
    stream = ScriptedStream(ann.page, OPEN + reset("behind", 11) + "".join(after))
    ann.open(connected=False)
    run_clock(ann.page, lambda: len(stream.positions) == 2)
    assert ann.ids() == [12, 13]
    assert stream.positions == ["0", "13"]


def test_who_is_cut_right_after_the_reset_of_an_emptied_store_gets_everything_that_was_written_since(
    window: Open, mortal: ServerProcess, room: str, tmp_path: Path
) -> None:
    proxy = BreakingProxy(mortal.port)
    ann = window(url=proxy.url).open()
    for n in range(20):
        post(mortal.url, room, "Bob", f"gone {n}")
    expect(ann.rows).to_have_count(20)
    mortal.kill()
    mortal.store = tmp_path / "empty.db"
    mortal.start()
    expect(ann.log.get_by_text("Some messages were missed")).to_be_visible()
    expect(ann.rows).to_have_count(0)
    proxy.break_with("502")
    seed(mortal.url, room, 60)
    proxy.break_with(None)
    expect(ann.row("message 60")).to_be_visible()
    assert ann.ids() == list(range(1, 61))
    proxy.close()


def test_a_tab_of_a_log_that_was_emptied_shares_the_stream_as_it_is(
    window: Open, mortal: ServerProcess, room: str, tmp_path: Path
) -> None:
    seed(mortal.url, room, 3)
    proxy = BreakingProxy(mortal.port)
    leader = window(url=proxy.url).open()
    post(mortal.url, room, "Bob", "the stream was here")
    expect(leader.rows).to_have_count(4)
    mortal.kill()
    mortal.store = tmp_path / "empty.db"
    mortal.start()
    expect(leader.rows).to_have_count(0)
    before = streams(proxy)
    follower = window(
        url=proxy.url, beside=leader
    ).open()  # it begins at 0 as well, and asks for nothing before that
    post(mortal.url, room, "Bob", "a new world")
    expect(follower.row("a new world")).to_have_attribute("data-id", "1")
    assert streams(proxy) == before
    proxy.close()


def test_waking_up_ends_the_waiting(window: Open, server: ServerProcess, room: str) -> None:
    proxy = BreakingProxy(server.port)
    ann = window(url=proxy.url)
    ann.page.clock.install()
    ann.open()
    ann.page.clock.pause_at("2100-01-01")  # from here on no delay ends by itself
    for target, name in [("window", "online"), ("document", "visibilitychange"), ("window", "pageshow")]:
        proxy.break_with("502")
        post(server.url, room, "Bob", f"before {name}")
        run_clock(ann.page, lambda: "Reconnecting" in ann.status.text_content())
        proxy.break_with(None)
        ann.page.evaluate(f"() => {target}.dispatchEvent(new Event('{name}'))")
        expect(ann.status).to_have_text("Connected")
        ann.page.clock.run_for(100)
        expect(ann.row(f"before {name}")).to_be_visible()
    proxy.close()


def test_a_page_that_is_shown_again_by_the_back_button_catches_up_and_shares_its_stream_again(
    window: Open, server: ServerProcess, room: str
) -> None:
    proxy = BreakingProxy(server.port)
    ann = window(url=proxy.url).open()
    with ann.page.expect_event("requestfailed"):  # the stream ends: nobody reads it
        ann.page.evaluate("() => dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    post(server.url, room, "Bob", "while it was put away")
    ann.page.evaluate("() => dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    expect(ann.row("while it was put away")).to_have_attribute("data-id", "1")
    other = window(url=proxy.url, beside=ann).open()
    post(server.url, room, "Bob", "live again")
    for tab in (ann, other):
        expect(tab.row("live again")).to_have_attribute("data-id", "2")
    assert streams(proxy) == 2
    proxy.close()


def test_the_back_button_leads_to_the_room_and_not_to_the_form_before_it(
    window: Open, url: str, room: str
) -> None:
    ann = window()
    ann.page.goto(url + room)
    ann.page.get_by_role("textbox", name="Name").fill("Ann")
    ann.button("Join").click()
    expect(ann.status).to_have_text("Connected")
    expect(ann.page).to_have_url(url + room)
    ann.page.goto(url + "healthz")
    ann.page.go_back()
    expect(ann.status).to_have_text("Connected")


def test_a_browser_without_a_network_says_so(window: Open, server: ServerProcess, room: str) -> None:
    proxy = BreakingProxy(server.port)
    ann = window(url=proxy.url)
    ann.page.clock.install()
    ann.open()
    ann.page.clock.pause_at("2100-01-01")  # from here on no delay ends by itself
    ann.context.set_offline(True)
    proxy.break_with("502")
    run_clock(ann.page, lambda: "Offline" in ann.status.text_content())
    proxy.break_with(None)
    ann.context.set_offline(False)
    expect(ann.status).to_have_text("Connected")
    proxy.close()


def test_eight_tabs_share_one_stream_and_a_closed_leader_hands_over(
    window: Open, server: ServerProcess, room: str
) -> None:
    proxy = BreakingProxy(server.port)
    tabs = [window("Ann", url=proxy.url)]
    tabs[0].open()
    tabs += [window("Ann", url=proxy.url, beside=tabs[0]).open() for _ in range(7)]
    assert streams(proxy) == 1
    post(server.url, room, "Bob", "to all")
    for tab in tabs:
        expect(tab.row("to all")).to_be_attached()
    tabs[-1].say("a tab without a stream of its own can send")
    expect(tabs[1].row("a tab without a stream of its own can send")).to_have_attribute("data-id", "2")
    tabs[
        1
    ].page.evaluate(  # each tab tells a new leader where it is: who does so after a message is served again
        """name => {
            const channel = new BroadcastChannel(name);
            let left = 6;
            window.greeted = new Promise(
                all => (channel.onmessage = ({ data }) => data.kind === "hello" && !--left && all())
            );
        }""",
        "flychat:" + messages_url("/", room),
    )
    tabs.pop(0).page.close()
    tabs[0].page.evaluate("() => window.greeted")
    post(server.url, room, "Bob", "after the leader")
    for tab in tabs:
        expect(tab.row("after the leader")).to_be_attached()
        assert tab.ids() == [1, 2, 3]
    assert streams(proxy) == 2
    proxy.close()


def test_a_tab_gets_what_the_leader_heard_while_it_was_loading(window: Open, url: str, room: str) -> None:
    leader, witness = window().open(), window("Cid").open()
    # In a hidden tab short timers are slow: it passes on what it hears, but shows it later.
    leader.page.evaluate(
        """() => {
            const timeout = setTimeout;
            window.setTimeout = (task, delay) => timeout(task, delay < 100 ? 60_000 : delay);
        }"""
    )
    follower = window(beside=leader)

    def load_slowly(route: Route) -> None:
        page = route.fetch()
        post(url, room, "Bob", "just now")
        expect(witness.row("just now")).to_be_attached()
        route.fulfill(response=page)

    follower.page.route(re.compile(r"\?user="), load_slowly)
    follower.open()
    expect(follower.row("just now")).to_be_attached()


def test_a_tab_in_sight_does_not_wait_for_the_slow_timers_of_a_hidden_leader(
    window: Open, server: ServerProcess, room: str
) -> None:
    proxy = BreakingProxy(server.port)
    leader = window(url=proxy.url).open()
    follower = window(url=proxy.url, beside=leader).open()
    leader.page.evaluate(
        "() => { const timeout = setTimeout; window.setTimeout = task => timeout(task, 60_000) }"
    )
    proxy.break_with(None)  # cuts the stream
    post(server.url, room, "Bob", "already here")
    expect(follower.row("already here")).to_be_attached()
    proxy.close()


def test_a_leader_that_does_not_answer_loses_its_place(window: Open, url: str, room: str) -> None:
    leader = window().open()
    follower = window(beside=leader)
    follower.page.clock.install()
    follower.open()
    leader.page.evaluate("() => { BroadcastChannel.prototype.postMessage = () => {} }")  # as if frozen
    post(url, room, "Bob", "unheard")
    expect(leader.row("unheard")).to_be_attached()
    follower.page.clock.fast_forward(51_000)
    follower.page.clock.fast_forward(6_000)
    expect(follower.row("unheard")).to_be_attached()
    post(url, room, "Bob", "heard by one")
    expect(follower.row("heard by one")).to_be_attached()


def test_a_lost_network_is_told_while_the_stream_seems_to_live_and_a_new_one_is_not_trusted_with_it(
    window: Open, server: ServerProcess
) -> None:
    proxy = BreakingProxy(server.port)
    ann = window(url=proxy.url)
    ann.page.clock.install(time="2100-01-01T00:00:00Z")
    ann.open()
    ann.page.clock.pause_at("2100-01-01T00:00:40Z")  # before the stream has been silent for too long
    asked: list[str] = []
    ann.page.on("request", lambda request: asked.append(request.url))
    network(ann.page, False)
    expect(ann.status).to_have_text("Connected")  # no word of it for the first seconds
    ann.page.clock.run_for(4_000)
    expect(ann.status).to_have_text(re.compile("^Offline"))
    assert asked == []
    with ann.page.expect_response(re.compile("lastEventId")):
        network(ann.page, True)
    expect(ann.status).to_have_text("Connected")
    before = ann.page.evaluate("() => Date.now()")

    def reopened() -> bool:
        ann.page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
        return len(asked) == 2

    run_clock(ann.page, reopened)
    assert 22_000 < ann.page.evaluate("() => Date.now()") - before < 29_000
    proxy.close()


def network(page: Page, there: bool) -> None:
    page.evaluate(
        """there => {
            Object.defineProperty(navigator, "onLine", { value: there, configurable: true });
            dispatchEvent(new Event(there ? "online" : "offline"));
        }""",
        there,
    )


@pytest.mark.parametrize("locks", [True, False])
def test_hidden_tabs_of_many_rooms_leave_connections_for_the_one_in_sight(
    window: Open, url: str, room: str, locks: bool
) -> None:
    rooms = [f"{number} {locks} {room}"[:64] for number in range(8)]
    first = window(room=rooms[0])
    if not locks:
        first.context.add_init_script("delete Navigator.prototype.locks")
    first.open()
    tabs = [first]
    for each in rooms[1:]:
        hide(tabs[-1].page, True)
        tabs.append(window(beside=first, room=each).open())
    for each in rooms:
        post(url, each, "Bob", "to all rooms")
    expect(tabs[-1].row("to all rooms")).to_be_visible()
    tabs[-1].say("there is a connection left")
    expect(tabs[-1].row("there is a connection left")).to_have_attribute("data-id", "2")
    going_on = tabs[:4] if locks else []
    for tab in going_on:
        expect(tab.row("to all rooms")).to_be_attached()
    for tab in tabs[len(going_on) : -1]:
        assert tab.ids() == []
    if locks:  # a leader out of sight that has no place of its own serves the tab in sight
        follower = window(beside=first, room=tabs[5].room).open()
        expect(follower.row("to all rooms")).to_be_visible()
        expect(tabs[5].row("to all rooms")).to_be_attached()
        post(url, follower.room, "Bob", "live")
        expect(follower.row("live")).to_be_visible()
        hide(follower.page, True)
    hide(tabs[-1].page, True)
    hide(tabs[6].page, False)
    expect(tabs[6].row("to all rooms")).to_be_visible()


def test_plain_http_with_its_poorer_browser_is_enough(window: Open, url: str, room: str) -> None:
    ann = window()
    ann.context.add_init_script("delete Navigator.prototype.locks; delete Crypto.prototype.randomUUID")
    ann.open()
    other = window(beside=ann).open()
    assert not ann.page.evaluate("() => navigator.locks || crypto.randomUUID")
    ann.say("without locks")
    for tab in (ann, other):
        expect(tab.row("without locks")).to_have_attribute("data-id", "1")


def streams(proxy: BreakingProxy) -> int:
    return sum("lastEventId" in line for line in proxy.requests)


# --- without the script, and for everybody ---


def test_it_works_without_javascript(window: Open, url: str, room: str) -> None:
    seed(url, room, 60)
    ann = window(java_script_enabled=False)
    page = ann.page
    page.goto(url + room)
    page.get_by_role("textbox", name="Name").fill("Ann")
    page.get_by_role("button", name="Join").click()
    expect(ann.row("message 60")).to_be_in_viewport()
    page.get_by_role("link", name="Older messages").click()
    assert ann.ids() == list(range(1, 11))
    page.get_by_role("link", name="Reload for new messages").click()
    assert ann.ids() == list(range(11, 61))
    text = ann.row("message 60").locator("p").bounding_box()
    assert text["x"] == ann.text.bounding_box()["x"]  # no place is kept for the faces that the script draws
    ann.text.fill("by form\nin two lines")
    ann.button("Send").click()
    expect(ann.row("by form in two lines")).to_be_in_viewport()
    assert page.url == url + room
    page.locator("summary").click()
    page.get_by_role("textbox", name="Room").fill("elsewhere")
    page.get_by_role("button", name="Go").click()
    expect(page.get_by_role("heading")).to_have_text("elsewhere")
    expect(page.get_by_text("Nothing here yet")).to_be_visible()
    assert [message["text"] for message in history(url, room)][-1] == "by form\nin two lines"


def test_without_javascript_the_same_form_sent_again_is_not_a_second_message(
    window: Open, url: str, room: str
) -> None:
    seed(url, room, 3)
    ann = window(java_script_enabled=False).open(connected=False)
    ann.page.goto(url + room)  # what went before varies by the cookie: it would be fetched anew
    assert ann.page.locator("#composer input[name=lastEventId]").input_value() == "3"

    def lose_the_answer(route: Route) -> None:
        route.fetch(max_redirects=0)
        route.fulfill(status=503, content_type="text/html", body="<h1>Perhaps</h1>")

    ann.page.route("**/messages/", lose_the_answer, times=1)
    ann.text.fill("once")
    ann.button("Send").click()
    expect(ann.page.get_by_role("heading")).to_have_text("Perhaps")
    ann.page.go_back()
    ann.text.fill("once")
    ann.button("Send").click()
    expect(ann.row("once")).to_have_attribute("data-id", "4")
    ann.text.fill("once")  # and from a form that is fresh it is one more
    ann.button("Send").click()
    expect(ann.log.locator("li[data-id='5']")).to_be_visible()
    assert [message["text"] for message in history(url, room)][3:] == ["once", "once"]


def test_without_javascript_a_text_that_is_refused_can_be_sent_from_the_page_that_says_so(
    window: Open, url: str, room: str
) -> None:
    ann = window(java_script_enabled=False).open(connected=False)
    key = ann.page.locator("#composer input[name=provisionalId]").input_value()
    form = {"from": "Ann", "text": "from the same form", "provisionalId": key}
    assert ann.context.request.post(messages_url(url, room), form=form).ok
    ann.text.fill("\nanother\ntext")
    ann.button("Send").click()
    expect(ann.page.get_by_role("heading")).to_contain_text("409")
    expect(ann.text).to_have_value("\nanother\ntext")
    expect(ann.page.get_by_text("Sent from here it is a new message")).to_be_visible()
    assert overflow(ann.page) == 0
    ann.button("Send").click()
    expect(ann.page).to_have_url(url + room)
    assert [message["text"] for message in history(url, room)] == ["from the same form", "\nanother\ntext"]


def test_a_page_around_the_proxy_says_why_it_is_not_live(window: Open, room: str, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "chat.db", "--grip", "--grip-url", "http://127.0.0.1:9/")
    server.start()
    try:
        ann = window(url=server.url)
        ann.page.clock.install()
        ann.open(connected=False)
        expect(ann.page.locator(".banner")).to_contain_text("around the proxy")
        run_clock(ann.page, lambda: "Reconnecting" in ann.status.text_content())
        ann.say("sent all the same")
        expect(ann.row("sent all the same")).to_have_attribute("data-state", "stored")
    finally:
        server.stop()


def test_axe_finds_nothing_serious(
    window: Open, url: str, room: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = axe(tmp_path_factory.mktemp("axe"))
    talk(url, room)
    findings = []

    def check(page: Page, where: str) -> None:
        page.evaluate(source + "; undefined")
        result = page.evaluate("() => axe.run()")
        findings.extend(
            f"{where}: {violation['id']}: {node['html']}"
            for violation in result["violations"]
            for node in violation["nodes"]
        )

    for scheme in ("light", "dark"):
        ann = window(color_scheme=scheme, reduced_motion="reduce")
        ann.page.goto(url + room)
        check(ann.page, f"join, {scheme}")
        ann.open()
        ann.page.route("**/messages/", lambda route: route.abort())
        ann.say("fails")
        expect(ann.button("Retry")).to_be_visible()
        check(ann.page, f"room, {scheme}")
        ann.page.locator("summary").click()
        check(ann.page, f"menu, {scheme}")
        ann.page.goto(url + "no/such/page")
        check(ann.page, f"error, {scheme}")
        refused = {"from": "Ann", "text": "x", "provisionalId": "none"}
        answer = ann.context.request.post(
            messages_url(url, room), form=refused, headers={"Accept": "text/html"}
        )
        ann.page.set_content(answer.text())
        expect(ann.text).to_be_visible()
        check(ann.page, f"form again, {scheme}")
    assert findings == []


def test_everything_is_reached_by_keyboard_and_focus_is_seen(window: Open, url: str, room: str) -> None:
    seed(url, room, 60)
    ann = window().open()
    expect(ann.text).to_be_focused()
    reached = []
    for _ in range(6):
        ann.page.keyboard.press("Shift+Tab")
        focused = ann.page.locator(":focus")
        reached.append(focused.get_attribute("id") or focused.evaluate("element => element.tagName"))
        assert focused.evaluate("element => getComputedStyle(element).outlineStyle") != "none"
        if reached[-1] == "SUMMARY":
            break
    assert reached == ["older", "log", "SUMMARY"]
    ann.page.keyboard.press("Enter")
    expect(ann.page.get_by_role("link", name="Change name")).to_be_visible()
    ann.page.keyboard.press("Escape")
    expect(ann.page.get_by_role("link", name="Change name")).to_be_hidden()
    menu = ann.page.locator("summary")
    expect(menu).to_be_focused()
    expect(menu).to_have_accessible_name("You are Ann: name and rooms")
    assert menu.bounding_box()["height"] >= 44
    ann.page.keyboard.press("Enter")
    for _ in range(4):  # by the link, the field and the button, and out of the menu
        expect(ann.page.get_by_role("link", name="Change name")).to_be_visible()
        ann.page.keyboard.press("Tab")
    expect(ann.page.get_by_role("link", name="Change name")).to_be_hidden()
    ann.text.focus()
    ann.page.evaluate("() => { document.querySelector('.menu').open = true }")
    ann.page.keyboard.press("Escape")
    expect(ann.page.get_by_role("link", name="Change name")).to_be_hidden()


@pytest.mark.parametrize(("motion", "animation"), [("reduce", "none"), ("no-preference", "blink")])
def test_who_wants_less_motion_gets_less(window: Open, motion: str, animation: str) -> None:
    ann = window(reduced_motion=motion)
    ann.page.clock.install()
    ScriptedStream(ann.page, *[502] * 9)
    ann.open(connected=False)
    ann.page.clock.run_for(4_000)
    expect(ann.status).to_have_text(re.compile("^Reconnecting"))
    seen = ann.status.evaluate("line => getComputedStyle(line, '::before').animationName")
    assert seen == animation


def test_the_log_is_polite_and_old_rows_are_not_read_out(window: Open, url: str, room: str) -> None:
    seed(url, room, 60)
    ann = window().open()
    expect(ann.log).to_have_attribute("aria-live", "polite")
    listen(ann.page)
    ann.button("Older messages").click()
    expect(ann.rows).to_have_count(60)
    expect(ann.log).to_have_attribute("aria-live", "polite")
    held: list[Route] = []
    ann.page.route("**/messages/", lambda route: held.append(route))
    with ann.page.expect_request("**/messages/"):
        ann.say("mine")
    ann.page.evaluate("() => (document.querySelector('li:last-child time').textContent = '1:23')")
    ann.page.evaluate("() => void window.spoken.splice(1)")
    held[0].continue_()
    expect(ann.row("mine")).to_have_attribute("data-id", "61")
    expect(ann.row("mine").locator("time")).not_to_have_text("1:23")
    spoken = ann.page.evaluate("() => window.spoken")
    assert len(spoken) == 1
    assert "mine" in spoken[0]


def listen(page: Page) -> None:
    """Notes, in `spoken`, what a screen reader would be told of: rows, and texts in them."""
    page.evaluate(
        """() => {
            window.spoken = [];
            new MutationObserver(changes => {
                for (const { target, addedNodes } of changes)
                    if (target.closest("[aria-live]").getAttribute("aria-live") !== "off")
                        window.spoken.push(...[...addedNodes].map(node => node.textContent));
            }).observe(document.querySelector("[role=log]"), { childList: true, subtree: true });
        }"""
    )


@pytest.mark.parametrize("width", [320, 640])
def test_narrow_windows_need_no_sideways_scrolling(window: Open, url: str, room: str, width: int) -> None:
    post(url, room, "B" * 64, "wide" * 200)
    post(url, room, "Ann", "https://example.org/" + "x" * 300)
    ann = window(viewport={"width": width, "height": 360})
    ann.page.goto(url + room)
    assert overflow(ann.page) == 0
    ann.open()
    assert overflow(ann.page) == 0
    expect(ann.button("Send")).to_be_in_viewport(ratio=1)
    window(room="w" * 64, beside=ann).open()
    ann.page.reload()  # now it knows of a recent room with a long name
    ann.page.locator("summary").click()
    expect(ann.page.get_by_role("link", name="w" * 64)).to_be_visible()
    assert overflow(ann.page) == 0


def test_on_a_phone_fingers_find_the_buttons_and_nothing_breaks_in_two(window: Open) -> None:
    ann = window(
        "A name of some length", viewport={"width": 320, "height": 560}, has_touch=True, is_mobile=True
    )
    ann.open()
    field, send = ann.text.bounding_box(), ann.button("Send").bounding_box()
    assert (field["y"], field["height"]) == (send["y"], send["height"])  # so it has one line
    ann.page.route("**/messages/", lambda route: route.abort())
    ann.say("fails")
    for name in ("Retry", "Discard"):
        assert ann.button(name).bounding_box()["height"] >= 40
    ann.page.locator("summary").click()
    assert (
        ann.page.get_by_role("link", name="Change name").evaluate("link => link.getClientRects().length") == 1
    )
    ann.page.goto(ann.url + ann.room + "?user=")
    name, join = (ann.page.locator(place).bounding_box() for place in ("#name", ".primary"))
    assert name["width"] == join["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_browser_around_the_page_has_the_pages_colour(window: Open, scheme: str) -> None:
    ann = window(color_scheme=scheme).open()
    assert ann.page.evaluate(
        """() => [...document.querySelectorAll("meta[name=theme-color]")].filter(
            meta => matchMedia(meta.media).matches
        ).map(meta => meta.content)[0] === getComputedStyle(document.documentElement).getPropertyValue("--paper")"""
    )


def test_an_empty_room_offers_its_link(window: Open, url: str, room: str) -> None:
    ann = window(permissions=["clipboard-read", "clipboard-write"]).open()
    ann.button("Copy link").click()
    expect(ann.button("Copied")).to_be_visible()
    assert ann.page.evaluate("() => navigator.clipboard.readText()") == url + room
    ann.say("somebody is here")
    expect(ann.button("Copied")).to_be_hidden()


def overflow(page: Page) -> int:
    return page.evaluate(
        """() => Math.max(...[document.scrollingElement, ...document.querySelectorAll("#log, .sheet, .card")]
            .map(element => element.scrollWidth - element.clientWidth))"""
    )


@pytest.mark.parametrize(("words", "least"), [(7, 46), (16, 36), (40, 20), (600, 2)])
def test_the_first_load_is_small_and_comes_from_this_server_only(
    window: Open, url: str, room: str, words: int, least: int
) -> None:
    for number in range(60):
        post(url, room, f"Person {number % 7}", " ".join([f"{number}", *["words"] * (words - 1)]))
    ann = window(viewport={"width": 400, "height": 700})
    sizes: dict[str, int] = {}
    ann.page.on("response", lambda response: sizes.update({response.url: len(response.body())}))
    ann.page.route(re.compile("lastEventId"), lambda route: None)
    ann.open(connected=False)
    ann.page.wait_for_load_state("networkidle")
    ids = ann.ids()
    assert ids == list(range(61 - len(ids), 61))
    assert least <= len(ids) <= 50
    assert all(address.startswith(url) for address in sizes)
    assert len(sizes) == 4, sizes
    assert sum(sizes.values()) <= LIMIT, sizes
    ann.button("Older messages").click()
    expect(ann.rows).to_have_count(60)


def test_pages_and_static_files_have_the_headers_they_need(window: Open, url: str, room: str) -> None:
    ann = window()
    answers: dict[str, Any] = {}
    ann.page.on("response", lambda response: answers.update({response.url.partition("?")[0]: response}))
    ann.open()
    page = answers[url + room].headers
    assert page["cache-control"] == "no-cache"
    assert page["x-content-type-options"] == "nosniff"
    assert "referrer-policy" in page
    policy = page["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    script = answers[url + "static/chat.js"]
    assert re.search(r"\?v=\w+$", script.url)
    assert "etag" in script.headers
    assert int(re.search(r"max-age=(\d+)", script.headers["cache-control"])[1]) > 10**6
    for other in ("", "?v=0123456789abcdef"):  # as a server of the version before is asked for the next one
        answer = ann.context.request.get(url + "static/chat.js" + other)
        assert answer.headers["cache-control"] == "no-cache"
        assert "expires" not in answer.headers


# --- pictures for the README ---


def talk(url: str, room: str) -> None:
    for name, text in [
        ("Mira", "Morning! Is the boat still on for Saturday?"),
        ("Jonas", "Yes, 9:30 at the north pier: https://example.org/harbour"),
        ("Jonas", "The forecast says light wind until noon."),
        ("Ann", "Great, I'll bring coffee and the good rolls."),
        ("Mira", "You are a hero, Ann."),
        ("Noor", "Is there room for one more?"),
        ("Ann", "Always! The more the merrier.\nWe need someone who can tie knots anyway."),
        ("Jonas", "Knots are my department."),
    ]:
        post(url, room, name, text)


@pytest.mark.parametrize(
    ("name", "scheme", "width", "height"),
    [("light", "light", 900, 640), ("dark", "dark", 900, 640), ("phone", "dark", 360, 640)],
)
def test_screenshots(
    window: Open, url: str, tmp_path: Path, name: str, scheme: str, width: int, height: int
) -> None:
    room = "Saturday sailing"
    if not history(url, room):
        talk(url, room)
    ann = window(room=room, color_scheme=scheme, viewport={"width": width, "height": height})
    ann.open()
    folder = Path(os.environ.get("FLYCHAT_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    picture = ann.page.screenshot(path=folder / f"{name}.png")
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 150_000
    assert ann.ids() == list(range(1, 9))


def test_without_javascript_a_text_that_was_refused_is_kept_and_sent_again(
    window: Open, url: str, room: str
) -> None:
    ann = window(java_script_enabled=False).open(connected=False)
    ann.text.fill("once")
    ann.button("Send").click()
    expect(ann.row("once")).to_be_visible()
    ann.page.go_back()
    ann.text.fill("\nanother, with the old id")
    ann.button("Send").click()
    expect(ann.page.get_by_role("heading")).to_have_text("409 Conflict", use_inner_text=True)
    expect(ann.text).to_have_value("\nanother, with the old id")
    ann.button("Send").click()
    expect(ann.row("another, with the old id")).to_be_visible()
    assert [message["text"] for message in history(url, room)] == ["once", "\nanother, with the old id"]


def test_without_javascript_back_from_a_room_that_was_joined_is_not_the_join_form(
    window: Open, url: str, room: str
) -> None:
    ann = window(java_script_enabled=False)
    ann.page.goto(url + room)
    ann.page.get_by_role("textbox", name="Name").fill("Ann")
    ann.button("Join").click()
    expect(ann.text).to_be_visible()
    ann.page.go_back()
    assert ann.page.url == url + room
    expect(ann.text).to_be_visible()
