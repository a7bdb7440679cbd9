"""Rooms that ask who somebody is: invitations, what is vouched for, and rights that end."""

from __future__ import annotations

import json
import re
import time
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import jwt
import pytest
from playwright.sync_api import BrowserContext, Request, Route, expect

from flychat.access.passwords import hashed
from tests.page.window import FRAMES, Held, Open, overflow, run_clock
from tests.support.browser import ServerProcess, Window, axe_finds, event, history, messages_url

KEY = "a key of 32 bytes or more, as it has to be"
PASSWORD = "open sesame"
ENDS = {
    "expired": "Your access to this room has expired.",
    "revoked": "Your access to this room was withdrawn.",
    "private": "This room is private, and you may not read it any more.",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Of rooms that are private (staff..., and with a password, club...), or only to be read (news, and board...)."""
    folder = tmp_path_factory.mktemp("private")
    (folder / "secret").write_text(KEY + "\n")
    rules = ("--access", "staff*=", "--access", "news=r", "--access", "club*=", "--access", "board*=r")
    passwords = ("--password", f"club*={hashed(PASSWORD)}", "--password", f"board*={hashed(PASSWORD)}")
    keys = ("--secret", str(folder / "secret"))
    server = ServerProcess(folder / "chat.db", "--standalone", *rules, *keys, *passwords)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def room() -> str:
    """A private room of the test's own."""
    return f"staff {uuid.uuid4()}"


def token(sub: str = "ann@example.org", name: str | None = "Ann", life: float = 600, **claims: Any) -> str:
    now = int(time.time())
    named = {} if name is None else {"name": name}
    return jwt.encode(
        {"sub": sub, "rooms": {"staff*": "rw"}, "iat": now, "exp": now + life, **named, **claims}, KEY
    )


def say(url: str, room: str, text: str, bearer: str = "", **content: str) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    if bearer:
        headers["Authorization"] = f"Bearer {bearer}"
    body = json.dumps({"text": text, **content}).encode()
    with urllib.request.urlopen(urllib.request.Request(messages_url(url, room), body, headers)) as answer:
        return json.load(answer)


def sign_in(context: BrowserContext, url: str, text: str) -> None:
    context.add_cookies([{"name": "flychat", "value": text, "url": url}])


def signed_in(window: Open, text: str, **options: Any) -> Window:
    made = window(**options)
    sign_in(made.context, made.url, text)
    return made


def visit(window: Window, fragment: str = "") -> None:
    window.page.goto(f"{window.url}{quote(window.room, safe='')}{fragment}")


def own(window: Window) -> Any:
    return window.log.locator("li.own")


def notice(window: Window) -> Any:
    return window.page.get_by_role("alert")


# Who somebody is


def test_what_is_vouched_for_is_marked_and_a_name_alone_is_not(window: Open, url: str, room: str) -> None:
    bob = token("bob", "Bob")
    say(url, room, "from Bob", bob)
    say(url, room, "more of him", bob)
    say(url, room, "not from Bob", token("eve", None), **{"from": "Bob"})
    ann = signed_in(window, token()).open()
    say(url, room, "live", bob)
    live = ann.row("live")
    expect(live).to_be_attached()
    mark = "row => getComputedStyle(row.querySelector('.face'), '::after').content"
    for row in (ann.row("from Bob"), live):
        assert row.evaluate(mark) == '"✓"'
        expect(row.locator("bdi")).to_have_attribute("title", "Verified: bob")
        assert row.locator("bdi + *").text_content() == "verified"
    hues = [
        ann.row(text).evaluate("row => getComputedStyle(row).getPropertyValue('--hue')")
        for text in ("from Bob", "live", "not from Bob")
    ]
    assert hues[0] == hues[1] != hues[2], "the colour is the user's"
    more = [
        ann.row(text).evaluate("row => row.classList.contains('more')")
        for text in ("more of him", "not from Bob")
    ]
    assert more == [True, False], "nobody goes under a heading that is somebody else's"


def test_who_has_not_signed_in_has_no_mark_and_cannot_draw_one(window: Open, url: str) -> None:
    room = "tea without marks"
    for name in ("Bob", "✓ Bob", "Bob ✓", "Bob verified"):
        say(url, room, f"I am {name}", **{"from": name})
    say(url, room, "I am Bob, too", token("bob", "Bob"))
    for one in (window(room=room).open(), window(room=room, java_script_enabled=False).open(connected=False)):
        marked = one.rows.evaluate_all(
            """rows => rows.filter(row =>
                getComputedStyle(row.querySelector(".face") ?? row, "::after").content.includes("✓") ||
                getComputedStyle(row.querySelector("time"), "::before").content.includes("verified")
            ).map(row => row.querySelector("p").textContent)"""
        )
        assert marked == ["I am Bob, too"]


def test_own_is_what_the_user_wrote_wherever_and_not_what_bears_the_name(
    window: Open, url: str, room: str
) -> None:
    say(url, room, "from another device", token())
    say(url, room, "from a namesake", token("eve", None), **{"from": "Ann"})
    ann = signed_in(window, token()).open()
    ann.say("from here")
    expect(ann.row("from here")).to_have_attribute("data-id", "3")
    say(url, room, "live, from another device", token())
    say(url, room, "live, from a namesake", token("eve", None), **{"from": "Ann"})
    expect(ann.rows).to_have_count(5)
    for _ in range(2):
        owned = ann.rows.evaluate_all(
            "rows => rows.filter(row => row.classList.contains('own')).map(row => row.querySelector('p').textContent)"
        )
        assert owned == ["from another device", "from here", "live, from another device"]
        ann.page.reload()
        expect(ann.status).to_have_text("Connected")
    assert len(ann.shown()) == 5, "the own one has settled under its user"


def test_without_a_session_own_is_what_this_browser_has_sent(window: Open, url: str) -> None:
    room = "tea of Ann's own"
    say(url, room, "from elsewhere", **{"from": "Ann"})
    ann = window(room=room).open()
    ann.say("from here")
    expect(ann.row("from here")).to_have_attribute("data-id", "2")
    say(url, room, "live, from elsewhere", **{"from": "Ann"})
    expect(ann.rows).to_have_count(3)
    tab = window(room=room, beside=ann).open()
    for one in (ann, tab):
        expect(own(one)).to_have_text([re.compile("from here")])
    sent = tab.page.evaluate("() => localStorage['flychat:sent']")
    held = Held(ann.page, "**/messages/")
    ann.say("while another tab looks on")
    tab.page.wait_for_function("sent => localStorage['flychat:sent'] !== sent", arg=sent)  # it knows
    held.first.continue_()
    expect(tab.row("while another tab looks on")).to_have_class(re.compile("own"))
    ann.page.reload()
    expect(own(ann)).to_have_count(2)
    expect(own(window(room=room).open())).to_have_count(0)


def test_the_name_in_the_token_is_the_name_of_every_tab(window: Open, url: str, room: str) -> None:
    ann = window("Bob", room="tea").open()
    sign_in(ann.context, url, token())
    tab = window("Bob", room=room, beside=ann).open()
    expect(tab.page.locator("summary .me")).to_have_text("Ann")
    assert tab.page.url == f"{url}{quote(room)}"
    tab.page.locator("summary").click()
    expect(tab.page.get_by_text("Signed in as ann@example.org")).to_be_visible()
    expect(tab.page.get_by_role("link", name="Change name")).to_have_count(0)
    expect(tab.button("Sign out")).to_be_visible()
    nameless = signed_in(window, token(name=None), room=room)
    visit(nameless)
    nameless.page.get_by_role("textbox", name="Name").fill("Annie")
    nameless.button("Join").click()
    nameless.say("under a name of her own")
    expect(nameless.row("under a name of her own")).to_have_attribute("data-user", "ann@example.org")


def test_the_name_in_the_token_ends_with_the_session(window: Open, url: str) -> None:
    """Or else whoever is there next would write under it."""
    room = "tea after a session"
    ann, new = window(room=room).open(), window(room=room)
    for one in (ann, new):
        sign_in(one.context, url, token("bob", "Bob"))
        visit(one)
        expect(one.page.locator("summary .me")).to_have_text("Bob")
        one.page.locator("summary").click()
        one.button("Sign out").click()
    expect(ann.page.locator("summary .me")).to_have_text("Ann")
    ann.say("as before")
    expect(ann.row("as before")).to_have_attribute("data-id", "1")
    assert [message["from"] for message in history(url, room)] == ["Ann"]
    expect(new.page.get_by_role("textbox", name="Name")).to_have_value("")


def test_who_may_only_read_is_told_so(window: Open) -> None:
    reader = window(room="news").open()
    expect(reader.text).to_be_disabled()
    expect(reader.text).to_have_attribute("placeholder", "You may read here, but not write")
    expect(reader.button("Send")).to_be_disabled()


# Rights that end


def test_a_right_that_ends_is_said_in_a_sentence_and_nothing_is_asked_for_any_more(
    window: Open, url: str, room: str
) -> None:
    """In the tab that has the stream, and in one that hears of it from that."""
    say(url, room, "before", token())
    ann = signed_in(window, token()).open()
    tabs = [ann, window(beside=ann).open()]
    ann.text.fill("half of a")
    sign_in(ann.context, url, token(life=10))  # for the stream; the rest is loaded by now
    ann.page.evaluate("() => dispatchEvent(new Event('online'))")  # a new stream
    for tab in tabs:
        expect(notice(tab)).to_contain_text(ENDS["expired"])
        expect(tab.status).to_have_text("Ended")
        expect(tab.row("before")).to_be_visible()
        expect(tab.button("Send")).to_be_disabled()
    ann.text.press("Enter")
    assert ann.text.input_value() == "half of a", "to be copied"
    ann.page.set_viewport_size({"width": 400, "height": 700})  # the text takes other lines
    ann.page.evaluate(FRAMES)
    expect(ann.button("Send")).to_be_disabled()
    asked: list[str] = []
    for tab in tabs:
        tab.page.clock.install()
        tab.page.on("request", lambda request: asked.append(request.url))
        tab.page.clock.run_for(600_000)
        for name in ("online", "pageshow"):
            tab.page.evaluate("name => dispatchEvent(new Event(name))", name)
        tab.page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
        tab.page.clock.run_for(600_000)
        expect(tab.status).to_have_text("Ended")
    assert asked == []
    ann.page.get_by_role("link", name="Enter again").click()
    expect(ann.page.get_by_role("heading")).to_contain_text("This room is private")


def ended(ann: Window, reason: str) -> Window:
    """Opens the page, whose stream ends with this reason."""
    stream = re.compile(r"lastEventId=")
    body = event("stream-open", {}) + event("stream-end", {"reason": reason})
    ann.page.route(stream, lambda route: route.fulfill(content_type="text/event-stream", body=body))
    ann.page.route(
        re.compile(r"limit=1$"),
        lambda route: route.fulfill(status=401, json={"error": {"code": "unauthorized"}}),
    )
    return ann.open(connected=False)


@pytest.mark.parametrize("reason", ENDS)
def test_the_sentence_says_why(window: Open, room: str, reason: str) -> None:
    ann = ended(signed_in(window, token()), reason)
    expect(notice(ann)).to_contain_text(ENDS[reason])


def test_a_right_that_was_lost_while_nobody_was_connected_is_found_out(window: Open, room: str) -> None:
    """A browser does not tell a page the status of a stream's answer."""
    ann = signed_in(window, token()).open()
    ann.context.clear_cookies()
    ann.page.evaluate(
        "() => dispatchEvent(new Event('online'))"
    )  # the stream of an old network is not trusted
    expect(notice(ann)).to_contain_text(ENDS["private"])


def test_a_server_that_is_away_is_not_taken_for_a_right_that_has_ended(window: Open, room: str) -> None:
    ann = signed_in(window, token())
    ann.page.clock.install()
    ann.open()

    def down(route: Route) -> None:
        route.fulfill(status=502, body="")

    ann.page.route("**/messages/**", down)
    ann.page.evaluate("() => dispatchEvent(new Event('online'))")
    run_clock(ann.page, lambda: "Reconnecting" in ann.status.text_content())
    ann.page.unroute("**/messages/**", down)
    run_clock(ann.page, lambda: ann.status.text_content() == "Connected")
    expect(notice(ann)).to_have_count(0)


def test_tabs_of_another_session_hear_nothing(window: Open, url: str, room: str) -> None:
    ann = signed_in(window, token()).open()
    eve = token("eve", "Eve", rooms={room: "rw"})
    sign_in(ann.context, url, eve)
    other = window(beside=ann).open()
    heard = """name => { window.heard = []; new BroadcastChannel(name).onmessage = ({ data }) => heard.push(data) }"""
    names = [
        tab.page.evaluate("() => document.getElementById('room').dataset.session") for tab in (ann, other)
    ]
    assert names[0] != names[1]
    path = messages_url("/", room)
    ann.page.evaluate(heard, f"flychat:{names[1]}:{path}")
    other.page.evaluate(heard, f"flychat:{path}")
    say(url, room, "for all who may", token())
    for tab in (ann, other):
        expect(tab.row("for all who may")).to_have_attribute("data-state", "official")
    ann.page.wait_for_function("() => heard.some(({ id }) => id)")  # a channel may be slower than a stream
    official = [each for each in ann.page.evaluate("() => heard") if each.get("id")]
    assert len(official) == 1, "on the channel of the other session there is what its own leader has told"
    assert other.page.evaluate("() => heard") == [], "nothing goes over the channel that has no session"


def test_what_a_guest_could_not_send_is_there_again_after_another_login(window: Open, room: str) -> None:
    """A guest is another user then: so it cannot be found out whether the server has it already."""
    guest = signed_in(window, token("guest-1", None), user="Gus").open()
    guest.context.clear_cookies(name="flychat")  # as "Sign out" in another tab does
    guest.say("dear")
    expect(guest.row("dear")).to_contain_text("Reload the page to enter again.")
    sign_in(guest.context, guest.url, token("guest-2", None))
    guest.page.reload()
    expect(guest.row("dear")).to_contain_text("may be above already")
    guest.button("Send anew").click()
    expect(guest.row("dear")).to_have_attribute("data-id", "1")
    expect(guest.rows).to_have_count(1)


@pytest.mark.parametrize("other", ["bob", None])
def test_what_one_user_wrote_is_not_sent_as_another(window: Open, url: str, other: str | None) -> None:
    """Somebody else signs in, or Ann out, in another tab of the browser, while her page is open."""
    ann = signed_in(window, token(name=None), room=f"tea of {other}").open()
    ann.say("as Ann")
    expect(ann.row("as Ann")).to_have_attribute("data-id", "1")
    ann.context.clear_cookies(name="flychat")
    if other:
        sign_in(ann.context, url, token(other, None))
    ann.say("still as Ann")
    row = ann.row("still as Ann")
    expect(row).to_contain_text("you are not signed in here any more. Reload the page to enter again.")
    expect(row.locator("button")).to_have_text(["Retry", "Discard"])
    assert [message["text"] for message in history(url, ann.room)] == ["as Ann"]
    ann.page.reload()
    expect(ann.status).to_have_text("Connected")
    expect(ann.rows).to_have_count(1)
    sign_in(ann.context, url, token(name=None))
    ann.page.reload()
    expect(row).to_have_attribute("data-id", "2")
    assert {message["user"] for message in history(url, ann.room)} == {"ann@example.org"}


# The way in


def test_a_private_room_asks_for_an_invitation_and_tells_nothing(window: Open, url: str, room: str) -> None:
    say(url, room, "a secret", token())
    for options in ({}, {"java_script_enabled": False}):
        stranger = window(**options)
        visit(stranger)
        expect(stranger.page.get_by_role("heading")).to_contain_text("This room is private")
        expect(stranger.page.get_by_text("To enter, open the link of your invitation.")).to_be_visible()
        stranger.page.get_by_text("The link does not open?").click()
        expect(stranger.page.get_by_role("textbox", name="Invitation")).to_be_visible()
        assert "secret" not in stranger.page.content()
    eve = signed_in(window, token("eve", "Eve", rooms={}))
    visit(eve)
    expect(eve.page.get_by_text("You are signed in as Eve, who may not enter this room.")).to_be_visible()


def sessions(window: Window) -> list[dict[str, str]]:
    """What the page asks for a session, and its address at that moment."""
    asked: list[dict[str, str]] = []

    def note(request: Request) -> None:
        if request.url == f"{window.url}session":
            asked.append({"page": window.page.url, **request.post_data_json})

    window.page.on("request", note)
    return asked


def test_an_invitation_leaves_the_address_and_opens_the_room(window: Open, url: str, room: str) -> None:
    ann, invitation = window(), token()
    visit(ann)
    asked = sessions(ann)
    visit(ann, f"#invite={invitation}")
    expect(ann.status).to_have_text("Connected")
    assert asked == [{"page": ann.page.url, "token": invitation}], "the address had it no more"
    assert "invite" not in ann.page.evaluate("() => location.href")
    ann.say("in")
    expect(ann.row("in")).to_have_attribute("data-user", "ann@example.org")
    ann.page.go_back()
    assert "invite" not in ann.page.url


def test_an_invitation_that_is_not_good_says_so(window: Open, room: str) -> None:
    ann = window()
    visit(ann, "#invite=nonsense")
    expect(notice(ann)).to_contain_text("This invitation is not valid, or no longer valid.")
    assert "invite" not in ann.page.url


def test_an_invitation_for_somebody_else_is_not_used_without_a_word(window: Open, room: str) -> None:
    """Or else anybody could have somebody write under a name that they have chosen."""
    ann = signed_in(window, token()).open()
    asked = sessions(ann)
    visit(ann, f"#invite={token('eve', 'Eve')}")
    expect(notice(ann)).to_contain_text("This is an invitation for Eve. You are signed in as Ann.")
    ann.button("Stay").click()
    expect(notice(ann)).to_have_count(0)
    assert asked == []
    visit(ann, f"#invite={token('eve', 'Eve')}")
    ann.button("Use it").click()
    expect(ann.page.locator("summary .me")).to_have_text("Eve")


@pytest.mark.parametrize("script", [True, False])
def test_a_room_with_a_password_is_entered_by_it_and_left_again(window: Open, script: bool) -> None:
    guest = window(room=f"club {uuid.uuid4()}", java_script_enabled=script)
    visit(guest)
    for password in ("sesame", PASSWORD):
        field = guest.page.get_by_label("Password")
        expect(field).to_be_focused()
        field.fill(password)
        guest.button("Enter").first.click()
        if password != PASSWORD:
            expect(guest.page.get_by_text("This is not the password of the room.")).to_be_visible()
    guest.page.get_by_role("textbox", name="Name").fill("Gus")
    guest.button("Join").click()
    guest.text.fill("hello")
    guest.button("Send").click()
    expect(guest.row("hello")).to_have_attribute("data-user", re.compile("^guest-"))
    expect(guest.row("hello")).to_have_class(re.compile("own"))
    guest.page.locator("summary").click()
    guest.button("Sign out").click()
    expect(guest.page.get_by_role("heading")).to_contain_text("This room is private")


def test_who_may_only_read_types_the_password_with_which_to_write(window: Open) -> None:
    guest = window("Gus", room=f"board {uuid.uuid4()}").open()
    expect(guest.text).to_be_disabled()
    assert axe_finds(guest.page) == []
    guest.page.set_viewport_size({"width": 320, "height": 400})
    assert overflow(guest.page) == 0
    guest.page.get_by_label("password").fill(PASSWORD)  # the fifth try in this file, and a minute has no more
    guest.button("Enter").click()
    guest.text.fill("hello")
    guest.button("Send").click()
    expect(guest.row("hello")).to_have_attribute("data-user", re.compile("^guest-"))
    expect(guest.page.get_by_label("password")).to_have_count(0)


def test_a_link_that_is_pasted_opens_the_room_without_a_script(window: Open, room: str) -> None:
    ann = window(room=room, java_script_enabled=False)
    visit(ann)
    ann.page.get_by_text("The link does not open?").click()
    ann.page.get_by_role("textbox", name="Invitation").fill(f"{ann.url}{quote(room)}#invite={token()}")
    ann.button("Enter").click()
    expect(ann.page.locator("summary .me")).to_have_text("Ann")


def test_axe_finds_nothing_wrong_with_what_rights_add_to_the_page(window: Open, url: str, room: str) -> None:
    say(url, room, "from Bob", token("bob", "Bob"))
    stranger = window()
    visit(stranger)
    eve = signed_in(window, token("eve", "Eve", rooms={}))
    visit(eve, f"#invite={token()}")
    ann = ended(signed_in(window, token()), "expired")
    ann.page.locator("summary").click()
    expect(notice(ann)).to_be_visible()
    assert [broken for each in (stranger, eve, ann) for broken in axe_finds(each.page)] == []


def test_narrow_windows_have_room_for_what_rights_add(window: Open, url: str, room: str) -> None:
    say(url, room, "hello", token("b" * 200, "B" * 64))
    stranger = window()
    visit(stranger)
    eve = signed_in(window, token("e" * 200, "E" * 64, rooms={}))
    visit(eve, f"#invite={token()}")
    expect(notice(eve)).to_be_visible()
    ann = ended(signed_in(window, token("a" * 200, "A" * 64)), "expired")
    ann.page.locator("summary").click()
    expect(notice(ann)).to_be_visible()
    for width in (320, 640):
        for each in (stranger, eve, ann):
            each.page.set_viewport_size({"width": width, "height": 400})
            assert overflow(each.page) == 0
