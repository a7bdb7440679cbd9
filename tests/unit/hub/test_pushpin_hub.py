"""The hub outside: a plan as headers, a publication as an item; and its queue, before a fake control server."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import socket
import time
import types
import uuid
from collections.abc import Callable
from dataclasses import replace

import jwt
import prometheus_client
import pytest
from gripcontrol import HttpStreamFormat
from pubcontrol import Item
from tornado.httputil import HTTPHeaders

from flychat import resolver
from flychat.access import Pass
from flychat.commits import Commit
from flychat.config import Config
from flychat.errors import Misconfigured
from flychat.fields import iso_date
from flychat.hub import grip as grip_module
from flychat.hub import publisher
from flychat.hub import pushpin as pushpin_module
from flychat.hub import recoveries as recoveries_module
from flychat.hub.grip import GripUrl, grip_headers, grip_hint, grip_item, hint_channels
from flychat.hub.publisher import Post, Publisher, QueuedItem
from flychat.hub.pushpin import PushpinHub
from flychat.hub.recoveries import RECENT_SECONDS, Published, without_young
from flychat.messages import Draft
from flychat.streams import (
    OFFICIAL_PATH,
    RECOVERY_PATH,
    Page,
    StreamPlan,
    StreamRequest,
    committed,
    plan_stream,
    provisional,
)
from tests.proof.pushpin_model import Pushpin
from tests.proof.simulation.virtual import in_virtual_time
from tests.support.pushpin_proxy import ControlProxy, eventually
from tests.support.served import WAIT

gen_test = pytest.mark.gen_test
NOW = 1_800_000_000.0
KEY = "base64:" + base64.b64encode(b"k" * 32).decode()
OTHER_KEY = "base64:" + base64.b64encode(b"o" * 32).decode()


def draft(text: str = "hello", room: str = "a b", age: float = 0) -> Draft:
    return Draft(room, "Ann", text, iso_date(NOW - age), str(uuid.uuid4()))


def commit(first: int, *ages: float) -> Commit:
    return Commit.of(first, [draft(age=age) for age in ages])


# Plans and publications


def test_a_plan_becomes_a_hold_of_both_channels_at_the_position_of_its_reading():
    plan = plan_stream(StreamRequest("ä;, b"), Page(commit(1, 0, 0).messages, 2))
    assert grip_headers(plan, 20) == {
        "Grip-Hold": "stream",
        "Grip-Channel": "messages-%C3%A4%3B%2C%20b; prev-id=2, provisional-%C3%A4%3B%2C%20b",
        "Grip-Keep-Alive": "event: keep-alive\\ndata: {}\\n\\n; format=cstring; timeout=20",
        "Grip-Link": "</recover/>; rel=next; timeout=20",
    }


def test_where_there_are_signals_keep_alives_come_among_them():
    plan = plan_stream(StreamRequest("r"), Page((), 0))
    keep_alive = grip_headers(plan, 20)["Grip-Keep-Alive"]
    headers = grip_headers(plan, 20, signals=True)
    assert headers == grip_headers(plan, 20) | {"Grip-Keep-Alive": f"{keep_alive}; mode=interval"}


def test_without_provisional_events_a_hold_has_one_channel_and_a_link_of_its_own():
    """A recovery carries no query: the path says what the hold is."""
    plan = plan_stream(StreamRequest("r", provisional=False), Page(commit(1, 0, 0).messages, 2))
    headers = grip_headers(plan, 20)
    assert headers["Grip-Channel"] == "messages-r; prev-id=2"
    assert headers["Grip-Link"] == "</recover/official>; rel=next; timeout=20"
    young = without_young(
        plan_stream(replace(plan.recovery, last_id=0), Page(commit(1, 0).messages, 1)), 0, NOW
    )
    assert (young.messages, young.recovery) == ((), plan.recovery)


def test_an_empty_room_is_held_at_0():
    plan = plan_stream(StreamRequest("r"), Page((), 0))
    assert grip_headers(plan, 20)["Grip-Channel"] == "messages-r; prev-id=0, provisional-r"


def test_a_commit_is_one_item_whose_ids_are_strings():
    item = json.loads(grip_item(committed(commit(1, 0, 0))))
    assert item.pop("formats")["http-stream"]["content"].count("event: message\n") == 2
    assert item == {"channel": "messages-a%20b", "id": "2", "prev-id": "0"}


def test_a_provisional_event_has_no_ids_and_needs_no_hint():
    publication = provisional(draft("ünïcödé"))
    item = json.loads(grip_item(publication))
    assert set(item) == {"channel", "formats"}
    assert item["channel"] == "provisional-a%20b"
    assert item["formats"]["http-stream"]["content"].encode() == publication.content
    assert hint_channels(publication) == ()
    assert hint_channels(committed(commit(3, 0))) == ("provisional-a%20b", "messages-a%20b")


def test_what_is_published_has_the_prefix_of_the_channels_and_so_have_its_hints():
    publication = committed(commit(3, 0))
    item = json.loads(grip_item(publication, "one:"))
    assert item == json.loads(grip_item(publication)) | {"channel": "one:messages-a%20b"}
    assert hint_channels(publication, "one:") == ("one:provisional-a%20b", "one:messages-a%20b")


@pytest.mark.parametrize(
    "publication",
    [
        committed(commit(7, 0, 0)),
        committed(Commit.of(1, [replace(draft('"\\ \x7f \u2028 ünïcödé \U0001f600\n\t\x01'), room='"ä\\')])),
        provisional(draft()),
        provisional(draft(), retracted=True),
    ],
    ids=["a commit", "all that may be to escape", "a provisional event", "a retraction"],
)
def test_an_item_is_written_as_gripcontrol_would(publication):
    ids = (None if n is None else str(n) for n in (publication.id, publication.prev_id))
    item = Item(HttpStreamFormat(publication.content.decode()), *ids)
    assert grip_item(publication) == exported(publication.channel, item)


def test_a_hint_is_written_as_gripcontrol_would():
    assert grip_hint("provisional-ä") == exported("provisional-ä", Item(HttpStreamFormat(action="hint")))


def exported(channel: str, item: Item) -> bytes:
    members = item.export()
    formats = {"http-stream": members.pop("http-stream")}
    whole = {"channel": channel, **members, "formats": formats}
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("last_id", "ages", "published", "position"),
    [
        (2, (), 0, 2),  # nothing is missing
        (0, (0.5, 0.1), 0, 0),
        (0, (3.0, 0.1), 0, 1),  # one has waited long enough
        (0, (0.5, 0.1), 1, 1),  # one is known to be published
        (0, (0.5, 0.1), 2, 2),
        (1, (3.0, 0.1), 0, 1),  # the old one is not missing
        (0, (-30.0,), 0, 1),  # from a process whose clock is ahead
    ],
)
def test_a_recovery_leaves_what_is_very_young_to_its_publication(last_id, ages, published, position):
    page = Page(commit(1, *ages).messages, len(ages)) if ages else Page((), last_id)
    plan = plan_stream(StreamRequest("r", last_id, recover=True), page)
    answer = without_young(plan, published, NOW)
    assert (answer.position, answer.recovery) == (position, plan.recovery)
    assert [message.id for message in answer.messages] == list(range(last_id + 1, position + 1))


@pytest.mark.parametrize("request_", [StreamRequest("r"), StreamRequest("r", 0), StreamRequest("r", 9, True)])
def test_a_clients_own_request_and_a_reset_are_answered_in_full(monkeypatch, request_):
    clock = types.SimpleNamespace(monotonic=lambda: 9, time=lambda: NOW)
    monkeypatch.setattr(recoveries_module, "time", clock)
    plan, told = plan_stream(request_, Page(commit(1, 0.1).messages, 1)), []
    response = types.SimpleNamespace(asked=9.0, send=lambda headers, body: told.append((headers, body)))
    PushpinHub([]).hold(plan, response, "client")
    ((headers, body),) = told
    assert headers["Grip-Channel"].startswith("messages-r; prev-id=1,")
    assert body == plan.body()


# --grip-url, and who is proxied

TWO = ("http://b:1/", "http://c:1/")


@pytest.mark.parametrize(
    ("arguments", "environ", "urls"),
    [
        ("--grip", {}, ("http://localhost:5561",)),
        ("--grip", {"GRIP_URL": " "}, ("http://localhost:5561",)),
        ("--grip", {"GRIP_URL": "http://a:1/"}, ("http://a:1/",)),
        ("--grip", {"GRIP_URL": "http://a:1/", "FLYCHAT_GRIP_URL": " ".join(TWO)}, TWO),
        ("--grip --grip-url http://b:1/ --grip-url http://c:1/", {"GRIP_URL": "http://a:1/"}, TWO),
        ("--grip --with-pushpin", {"GRIP_URL": "http://a:1/"}, ()),
        ("--grip", {"FLYCHAT_WITH_PUSHPIN": "yes"}, ()),
        ("--standalone", {"GRIP_URL": "http://a:1/"}, ()),
    ],
)
def test_where_grip_urls_come_from(arguments, environ, urls):
    config = Config.read(arguments.split(), environ)
    assert config.grip_urls == urls
    assert config.with_pushpin == ("pushpin" in f"{arguments} {environ}".lower())
    assert config.pushpin_port == 7999


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("--standalone --with-pushpin", "--with-pushpin is for --grip"),
        ("--grip --with-pushpin --grip-url http://a:1/", "leave --grip-url out"),
        ("--grip --with-pushpin --pushpin-port 65536", "--pushpin-port must be"),
    ],
)
def test_options_that_do_not_fit_together(arguments, problem):
    with pytest.raises(Misconfigured, match=problem):
        Config.read(arguments.split(), {})


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://localhost:5561", "http://localhost:5561/publish/"),
        ("http://localhost:5561/", "http://localhost:5561/publish/"),
        (f"http://localhost:5561/?iss=me&key={KEY}", "http://localhost:5561/publish/"),
        ("https://api.example.com/service/x?key=token", "https://api.example.com/service/x/publish/"),
        ("https://example.com/realm/?iss=a&key=b&extra=1", "https://example.com/realm/publish/?extra=1"),
    ],
)
def test_every_form_of_a_grip_url_is_understood(url, endpoint):
    assert GripUrl.read(url).endpoint("publish") == endpoint


@pytest.mark.parametrize(
    "url",
    [
        *("", "localhost:5561", "tcp://localhost:5560", "http://", "http://h:x/"),
        *("http://h/?key=base64:a", "http://h/?iss=a&key=", "http://h/?key=base64:!!!"),
        *("http://h/?verify-iss=a&verify-key=", "http://h/?verify-key=base64:"),
        "http://h/?key=base64:YWJj-_-_",  # the other alphabet: without these four it would be another key
    ],
)
def test_a_bad_grip_url_is_one_line_that_does_not_repeat_its_keys(url):
    with pytest.raises(Misconfigured) as error:
        GripUrl.read(url)
    assert "--grip-url must be like" in str(error.value)


def test_what_people_are_told_of_a_proxy_is_where_it_is_and_no_password():
    url = GripUrl.read("https://somebody:secret@example.com:5561/realm")
    assert url.proxy == "example.com:5561"
    assert url.endpoint("publish") == "https://somebody:secret@example.com:5561/realm/publish/"


def test_a_key_with_a_plus_that_is_not_percent_encoded_is_one():
    key = b"\xfb\xef\xbe" * 11
    text = base64.b64encode(key).decode()
    assert "+" in text
    assert GripUrl.read(f"http://h/?verify-iss=a&verify-key=base64:{text}").verify_key == key


def test_a_key_with_an_issuer_signs_and_a_key_alone_is_a_token():
    assert GripUrl.read("http://h/").authorization(NOW) == {}
    assert GripUrl.read("http://h/?key=token").authorization(NOW) == {"Authorization": "Bearer token"}
    bearer = GripUrl.read(f"http://h/?iss=me&key={KEY}").authorization(NOW)["Authorization"]
    claims = jwt.decode(bearer.removeprefix("Bearer "), b"k" * 32, ["HS256"], {"verify_exp": False})
    assert claims == {"iss": "me", "exp": NOW + 3600}


def signature(key: bytes = b"k" * 32, iss: str = "proxy", age: float = 0) -> dict[str, str]:
    return {"Grip-Sig": jwt.encode({"iss": iss, "exp": int(time.time() + 36_000 - age)}, key, "HS256")}


async def close_at_once(hub: PushpinHub) -> None:
    """There is no proxy at its addresses, so none is waited for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publisher, "FLUSH_SECONDS", 0.0)
        await hub.close()


@pytest.mark.parametrize(
    ("headers", "proxied"),
    [
        (signature(), True),
        (signature(b"o" * 32, "other"), True),  # any of the proxies
        (signature(b"x" * 32), False),
        (signature(iss="other"), False),
        (signature(age=72_000), False),
        ({"Grip-Sig": "forged"}, False),
        ({"Grip-Sig": ""}, False),
        ({"Grip-Feature": "status"}, False),
        ({}, False),
    ],
)
@gen_test
async def test_with_a_verify_key_only_signed_requests_are_proxied(headers, proxied):
    hub = PushpinHub(
        [
            f"http://127.0.0.1:1/?verify-iss=proxy&verify-key={KEY}",
            f"http://127.0.0.1:2/?verify-iss=other&verify-key={OTHER_KEY}",
        ]
    )
    assert hub.way(HTTPHeaders(headers)) == (proxied, proxied)
    await close_at_once(hub)


@gen_test
async def test_a_signature_that_was_right_is_not_checked_again_for_a_second(monkeypatch):
    checked, now = [], [100.0]
    validate = grip_module.validate_sig

    def counted(signature, *keys):
        checked.append(signature)
        return validate(signature, *keys)

    monkeypatch.setattr(grip_module, "validate_sig", counted)
    monkeypatch.setattr(
        pushpin_module, "time", types.SimpleNamespace(monotonic=lambda: now[0], time=time.time)
    )
    hub = PushpinHub([f"http://127.0.0.1:1/?verify-iss=proxy&verify-key={KEY}"])
    right, wrong = signature(), signature(b"x" * 32)
    for _ in range(3):
        assert hub.way(HTTPHeaders(right)).vouched
    assert len(checked) == 1
    for _ in range(2):
        assert not hub.way(HTTPHeaders(wrong)).vouched
    assert len(checked) == 3, "what was wrong is checked each time"
    assert hub.way(HTTPHeaders(right)).vouched
    assert len(checked) == 3
    assert hub.way(HTTPHeaders(signature(age=60))).vouched
    assert len(checked) == 4, "another second's"
    now[0] += 1
    assert hub.way(HTTPHeaders(signature(age=60))).vouched
    assert len(checked) == 5, "a second later"
    await close_at_once(hub)


@gen_test
async def test_without_a_verify_key_the_headers_of_a_proxy_are_believed():
    hub = PushpinHub(["http://127.0.0.1:1/"])
    assert hub.way(HTTPHeaders({"Grip-Sig": "whatever"})) == (True, False)
    assert hub.way(HTTPHeaders({"Grip-Feature": "status"})) == (True, False)
    assert hub.way(HTTPHeaders({})) == (False, False)
    await close_at_once(hub)


# The queue


@gen_test
async def test_the_proxys_name_is_looked_up_again_after_ten_seconds_or_a_failure(
    started, control, monkeypatch
):
    looked_up, now = [], [100.0]

    async def resolve(self, host, port, family=0):
        looked_up.append((host, port))
        return [(socket.AF_INET, ("127.0.0.1", control.port))]

    monkeypatch.setattr(resolver.DefaultLoopResolver, "resolve", resolve)
    monkeypatch.setattr(resolver, "time", types.SimpleNamespace(monotonic=lambda: now[0], time=time.time))
    queue = started(url=f"http://proxy.test:{control.port}/")

    async def put(n: int) -> int:
        queue.put(item(n))
        await control.until(lambda: ids(control.items)[-1:] == [n])
        return len(looked_up)

    assert [await put(n) for n in (1, 2, 3)] == [1, 1, 1]
    now[0] += 10
    assert [await put(n) for n in (4, 5)] == [2, 2]
    await control.refuse()
    queue.put(item(6))
    await eventually(lambda: queue._failing)
    before = len(looked_up)
    control.listen()
    await control.until(lambda: ids(control.items)[-1:] == [6])
    assert len(looked_up) > before
    assert looked_up[0] == ("proxy.test", control.port)


class FakeControl(ControlProxy):
    """A control server that only takes notes."""

    async def forward(self, path, items):
        pass


def refuse_recoveries(control: FakeControl, status: int) -> None:
    """From now on it answers a POST /recover/ with this status, and takes all else."""
    passing = control.take

    async def take(handler, path):
        control.status = status if path == "recover" else 200
        await passing(handler, path)

    control.take = take


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A proxy that answers late is another matter: else its items came twice, or an answer was given without it."""
    monkeypatch.setattr(publisher, "ANSWER_SECONDS", 60.0)
    monkeypatch.setattr(pushpin_module, "PATIENCE", 60.0)


@pytest.fixture
def control(io_loop):
    control = FakeControl("http://127.0.0.1:1/")

    async def listen():
        control.listen()

    io_loop.run_sync(listen)
    yield control
    io_loop.run_sync(control.close)


@pytest.fixture
def started(io_loop, control, monkeypatch):
    """Starts Publishers, and ends them."""
    publishers = []

    def start(give_up: float = 60, url: str = "") -> Publisher:
        publishers.append(Publisher(GripUrl.read(url or control.grip_url), give_up=give_up))
        return publishers[-1]

    async def end():
        for each in publishers:
            await each.close()

    yield start
    monkeypatch.setattr(publisher, "FLUSH_SECONDS", 0.01)  # nobody waits for what is left
    io_loop.run_sync(end)


async def waiting(control: ControlProxy, started: Callable[[], Publisher]) -> Publisher:
    """One that has asked a proxy which does not answer, so that what it is given waits."""
    control.hanging = True
    queue = started()
    await control.until(lambda: len(control.posts) == 1)
    return queue


def item(n: int, room: str = "r", size: int = 1) -> QueuedItem:
    content = {"channel": f"messages-{room}", "id": str(n), "prev-id": str(n - 1), "x": "x" * size}
    hints = (f"provisional-{room}", f"messages-{room}")
    return QueuedItem(json.dumps(content).encode(), hints, time.monotonic())


def ids(items) -> list[int]:
    return [int(item["id"]) for item in items if "id" in item]


def hints(control) -> list[str]:
    """Without those that follow for who has official events only."""
    return [
        i["channel"]
        for i in control.items
        if i.get("formats", {}).get("http-stream", {}).get("action") == "hint"
        and not i["channel"].startswith("messages-")
    ]


@gen_test
async def test_the_first_thing_is_the_request_to_recover_everybody(control, started):
    started().put(item(1))
    await control.until(lambda: len(control.posts) == 2)
    assert [path for path, _ in control.posts] == ["recover", "publish"]


@pytest.mark.parametrize("status", [404, 405])
@gen_test
async def test_a_service_that_knows_no_recovery_is_published_to_all_the_same(
    control, started, status, caplog
):
    control.status = status
    queue = started()
    await control.until(lambda: len(control.posts) == 1)
    control.status = 200
    queue.put(item(1))
    await control.until(lambda: ids(control.items) == [1])
    assert not caplog.records


@gen_test
async def test_a_service_that_fails_at_each_recovery_is_published_to_in_the_end(control, started):
    refuse_recoveries(control, 503)
    started(give_up=0.1).put(item(1))
    await control.until(lambda: hints(control) == ["provisional-r"])


@gen_test
async def test_items_go_in_order_in_batches_with_one_post_in_flight(control, started):
    queue = await waiting(control, started)
    for n in range(250):
        queue.put(item(n))
    control.go_on()
    await control.until(lambda: len(ids(control.items)) == 250)
    assert ids(control.items) == list(range(250))
    assert [len(items) for path, items in control.posts if path == "publish"] == [100, 100, 50]


@gen_test
async def test_a_batch_stays_below_the_proxys_limit_of_bytes(control, started):
    queue = await waiting(control, started)
    for n in range(10):
        queue.put(item(n, size=150_000))
    control.go_on()
    await control.until(lambda: len(ids(control.items)) == 10)
    assert [len(items) for path, items in control.posts if path == "publish"] == [5, 5]


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408, 302])
@gen_test
async def test_the_same_batch_is_tried_again(control, started, status, caplog):
    caplog.set_level("INFO")
    queue = started()
    await control.until(lambda: len(control.posts) == 1)
    control.status = status
    queue.put(item(1))
    queue.put(item(2))
    await control.until(lambda: len(control.posts) == 3)
    queue.put(item(3))
    control.status = 200
    await control.until(lambda: 3 in ids(control.items))
    assert ids(control.items)[-5:] == [1, 2, 1, 2, 3]
    *tries, last = [len(items) for path, items in control.posts if path == "publish"]
    assert (set(tries), last) == ({2}, 1)
    await eventually(lambda: "answers again" in caplog.text)
    assert caplog.text.count("does not take publications") == 1
    queue.put(item(4))
    await control.until(lambda: 4 in ids(control.items))
    control.status = status
    queue.put(item(5))
    await eventually(lambda: caplog.text.count("does not take publications") == 2)
    control.status = 200
    await eventually(lambda: caplog.text.count("answers again") == 2)


@gen_test
async def test_a_redirection_is_not_followed_so_the_key_goes_nowhere_else(control, started, monkeypatch):
    other, passing = FakeControl("http://127.0.0.1:1/"), control.take
    other.listen()

    async def take(handler, path):
        handler.set_header("Location", f"http://127.0.0.1:{other.port}/{path}/")
        await passing(handler, path)

    monkeypatch.setattr(control, "take", take)
    control.status = 307
    started()
    await control.until(lambda: len(control.posts) == 3)
    assert not other.posts
    await other.close()


@pytest.mark.parametrize("status", [400, 413])
@gen_test
async def test_an_item_that_the_proxy_refuses_takes_no_other_with_it(control, started, monkeypatch, status):
    """A proxy takes all items of a POST or none; and a hosted one may have a lower limit than Pushpin's."""
    passing = control.take

    async def take(handler, path):
        items = json.loads(handler.request.body)["items"] if path == "publish" else []
        control.status = status if any(item.get("id") == "2" for item in items) else 200
        await passing(handler, path)

    monkeypatch.setattr(control, "take", take)
    queue = await waiting(control, started)
    for n in (2, 3):
        queue.put(item(n, "abc"[n - 1]))
    control.go_on()
    await control.until(lambda: bool(hints(control)))
    published = [ids(items) for path, items in control.posts if path == "publish"]
    assert published == [[2, 3], [2], [3], []]
    assert hints(control) == ["provisional-b"]


@gen_test
async def test_what_is_given_up_is_made_up_for_by_a_hint_before_anything_else(control, started):
    queue = started(give_up=0.2)
    await control.until(lambda: len(control.posts) == 1)
    control.status = 503
    for n, room in enumerate("abca"):
        queue.put(item(n, room))
    queue.put(QueuedItem(grip_item(provisional(draft())), (), time.monotonic()))
    await eventually(lambda: bool(hints(control)))
    queue._give_up = 60.0  # what comes now is to wait for the hints
    control.status = 200
    queue.put(item(9, "z"))
    await control.until(lambda: 9 in ids(control.items))
    assert hints(control)[-3:] == ["provisional-a", "provisional-b", "provisional-c"]
    assert control.posts[-1][1][-1]["id"] == "9"
    assert not queue.owed
    await eventually(lambda: queue.taken() is None)


@in_virtual_time
async def test_a_hint_reaches_also_those_who_have_official_events_only_and_each_once():
    asked = []

    async def origin(path, headers):
        asked.append(path)
        request = StreamRequest("r", 9, recover=True, provisional=path != OFFICIAL_PATH)
        return 200, grip_headers(StreamPlan(request, (), (), 9), 20), b""

    class Wire:
        stalled = gone = False

        def write(self, data):
            pass

    proxy = Pushpin(origin, random.Random(1))
    for path in (OFFICIAL_PATH, RECOVERY_PATH):
        assert await proxy.open(Wire(), path, []) == 200
    await asyncio.sleep(2)  # the first ones of a channel are recovered after a second
    asked.clear()
    proxy.post("publish", Post(hints=[("provisional-r", "messages-r")]).body())
    await asyncio.sleep(2)
    assert sorted(asked) == [RECOVERY_PATH, OFFICIAL_PATH]


@gen_test
async def test_what_a_proxy_leaves_without_an_answer_for_too_long_is_given_up_once(
    control, started, monkeypatch
):
    queue = started(give_up=0.2)
    await control.until(lambda: len(control.posts) == 1)
    monkeypatch.setattr(publisher, "ANSWER_SECONDS", 0.5)
    control.hanging = True
    queue.put(item(1))
    await control.until(lambda: bool(hints(control)))
    control.go_on()
    await eventually(lambda: queue.taken() is None)


@gen_test
async def test_what_has_waited_in_the_queue_for_too_long_is_given_up_too(control, started):
    queue = started(give_up=5)
    queue.put(replace(item(1), since=time.monotonic() - 6))
    await control.until(lambda: bool(hints(control)))
    assert ids(control.items) == []


@gen_test
async def test_while_a_hint_is_tried_again_nothing_grows_old_behind_it(control, started):
    queue = started(give_up=0.2)
    await control.until(lambda: len(control.posts) == 1)
    control.status = 503
    queue.put(item(1, "a"))
    await eventually(lambda: bool(hints(control)))
    queue.put(item(2, "b"))
    queue.put(QueuedItem(grip_item(provisional(draft())), (), time.monotonic()))
    await eventually(lambda: not queue._queue)
    control.status = 200
    await control.until(lambda: hints(control)[-1:] == ["provisional-b"])
    assert ids(control.items).count(2) == 0


@gen_test
async def test_a_hint_is_tried_until_it_is_taken_however_long_that_is(control, started):
    queue = started(give_up=0.01)
    await control.until(lambda: len(control.posts) == 1)
    control.status = 503
    queue.put(item(1))
    await control.until(lambda: len(hints(control)) == 4)
    control.status = 200
    tried = len(control.posts)
    await control.until(lambda: len(control.posts) > tried)
    posts = [[i["channel"] for i in items] for path, items in control.posts[tried:]]
    assert posts == [["provisional-r", "messages-r"]]


@gen_test
async def test_a_proxy_that_is_away_at_the_start_is_asked_to_recover_everybody_when_it_comes(
    control, started, caplog
):
    await control.refuse()
    queue = started(give_up=0.01)
    failures = prometheus_client.REGISTRY.get_sample_value
    proxy = {"proxy": GripUrl.read(control.grip_url).proxy}
    await eventually(lambda: failures("flychat_grip_failures_total", proxy) >= 4)
    control.listen()
    queue.put(item(1))
    await control.until(lambda: len(control.posts) == 2)
    assert [path for path, _ in control.posts] == ["recover", "publish"]


@gen_test
async def test_a_refused_batch_is_not_tried_again_but_made_up_for(control, started):
    queue = started()
    await control.until(lambda: len(control.posts) == 1)
    control.status = 400
    queue.put(item(1))
    await control.until(lambda: len(control.posts) == 3)  # and the hint, which is refused as well
    control.status = 200
    queue.put(item(2))
    await control.until(lambda: 2 in ids(control.items))
    assert ids(control.items) == [1, 2]
    assert hints(control) == ["provisional-r"]


@gen_test
async def test_a_proxy_that_refused_hints_is_asked_to_recover_everybody_when_it_takes_items_again(
    control, started
):
    """As an ingress does, which answers 404 while it finds no server behind it."""
    queue = started()
    await control.until(lambda: len(control.posts) == 1)
    control.status = 404
    queue.put(item(1))
    await control.until(lambda: len(control.posts) == 3)  # the item, and the hint that makes up for it
    control.status = 200
    queue.put(item(2))
    await control.until(lambda: len(control.posts) == 5)
    queue.put(item(3))
    await control.until(lambda: len(control.posts) == 6)
    assert [path for path, _ in control.posts[3:]] == ["publish", "recover", "publish"]


@pytest.mark.parametrize("status", [401, 403, 404])
@gen_test
async def test_a_proxy_that_refused_the_recovery_at_the_start_is_asked_for_it_once_more(
    control, started, status, caplog
):
    """It may have refused everything, for a while. A service that knows no recovery refuses the second one."""
    control.status = status
    queue = started()
    await control.until(lambda: len(control.posts) == 1)
    refuse_recoveries(control, 404)
    for n in (1, 2):
        queue.put(item(n))
        await eventually(lambda: queue.taken() is None)
    assert [path for path, _ in control.posts] == ["recover", "publish", "recover", "publish"]
    told = [record.getMessage() for record in caplog.records]
    assert told == [f"the GRIP proxy at 127.0.0.1:{control.port} refuses us: HTTP {status}"] * (status != 404)


@gen_test
async def test_a_proxy_that_refuses_everything_does_not_fill_the_log(control, started, caplog):
    """A wrong address or key, say: else who posts writes the log."""
    queue = started()
    await control.until(lambda: len(control.posts) == 1)
    control.status = 403
    for n in range(5):
        queue.put(item(n))
        await control.until(lambda n=n: len(control.posts) == 1 + 2 * (n + 1))
    assert [record.getMessage() for record in caplog.records] == [
        f"the GRIP proxy at 127.0.0.1:{control.port} does not take publications: HTTP 403",
        f"publications to the GRIP proxy at 127.0.0.1:{control.port} are given up",
    ]


@gen_test
async def test_the_queue_is_bounded_and_remembers_the_rooms_that_it_has_dropped(
    control, started, monkeypatch
):
    monkeypatch.setattr(publisher, "QUEUE_ITEMS", 10)
    monkeypatch.setattr(publisher, "ROOMS_OWED", 20)
    queue = await waiting(control, started)
    for n in range(25):
        queue.put(item(n, f"room{n}"))
    assert len(queue._queue) == 5
    control.go_on()
    await control.until(lambda: len(ids(control.items)) == 5)
    assert hints(control) == [f"provisional-room{n}" for n in range(20)]
    assert ids(control.items) == [20, 21, 22, 23, 24]


@gen_test
async def test_a_proxy_that_is_away_is_tried_more_and_more_seldom_up_to_two_seconds(
    control, started, monkeypatch
):
    longest = []
    monkeypatch.setattr(publisher.random, "uniform", lambda least, most: longest.append(most) or 0.0)
    control.status = 503
    started()
    await control.until(lambda: len(control.posts) == 9)
    assert longest[:8] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


@gen_test
async def test_what_becomes_of_publications_is_counted_by_proxy(control, started, monkeypatch):
    def counted() -> dict[str, float]:
        names = (
            "queued",
            "answering",
            *(f"{n}_total" for n in ("failures", "dropped", "hints", "recoveries")),
        )
        proxy = {"proxy": f"127.0.0.1:{control.port}"}
        return {
            n: prometheus_client.REGISTRY.get_sample_value(f"flychat_grip_{n}", proxy)
            for n in (*names, "published_total")
        }

    monkeypatch.setattr(publisher, "QUEUE_ITEMS", 10)
    queue = await waiting(control, started)
    for n in range(11):
        queue.put(item(n, f"room{n}"))
    assert (counted()["queued"], counted()["dropped_total"]) == (1, 10)
    control.go_on()
    await eventually(lambda: counted()["failures_total"] == 1)
    await eventually(lambda: counted()["published_total"] == 1)
    after = {"queued": 0, "answering": 1, "dropped_total": 10, "hints_total": 10, "recoveries_total": 1}
    assert counted() == {**after, "failures_total": 1, "published_total": 1}


@gen_test
async def test_hints_come_in_batches_and_none_where_everybody_is_recovered(control, started, monkeypatch):
    monkeypatch.setattr(publisher, "QUEUE_ITEMS", 250)
    queue = await waiting(control, started)
    for n in range(251):
        queue.put(item(n, f"room{n}"))
    assert len(queue.owed) == 250
    control.go_on()
    await control.until(lambda: 250 in ids(control.items))
    assert [len(items) for path, items in control.posts if path == "publish"] == [200, 200, 100, 1]
    control.hanging = True
    queue.put(item(251))
    await control.until(lambda: 251 in ids(control.items))
    tried = len(control.posts)
    for n in range(252, 503):
        queue.put(item(n, f"room{n}"))
    queue.recover_all()
    control.go_on()
    await control.until(lambda: 502 in ids(control.items))
    assert [len(items) for _, items in control.posts[tried:]] == [1, 0, 1]


@pytest.mark.parametrize(("name", "most"), [("QUEUE_ITEMS", 10), ("QUEUE_BYTES", 4000)])
@gen_test
async def test_a_queue_that_is_half_full_is_no_place_for_what_may_be_lost(
    name, most, control, started, monkeypatch
):
    monkeypatch.setattr(publisher, name, most)
    queue = await waiting(control, started)
    waits = []
    while not queue.pressed:
        waits.append(len(queue._queue) if name == "QUEUE_ITEMS" else queue._bytes)
        queue.put(item(1, size=300))
    assert waits[-1] <= most / 2 < (len(queue._queue) if name == "QUEUE_ITEMS" else queue._bytes)


@gen_test
async def test_the_queue_is_bounded_in_bytes(control, started, monkeypatch):
    monkeypatch.setattr(publisher, "QUEUE_BYTES", 1000)
    control.hanging = True
    queue = started()
    for n in range(10):
        queue.put(item(n, size=300))
        assert queue._bytes == sum(len(item.data) for item in queue._queue) <= 1000


@gen_test
async def test_too_many_rooms_to_remember_are_all_rooms(control, started, monkeypatch):
    monkeypatch.setattr(publisher, "QUEUE_ITEMS", 10)
    monkeypatch.setattr(publisher, "ROOMS_OWED", 15)
    queue = started()
    await control.until(lambda: len(control.posts) == 1)  # the recovery at the start
    control.hanging = True
    queue.put(item(0, "first"))
    await control.until(lambda: len(control.posts) == 2)
    for n in range(25):
        queue.put(item(n, f"room{n}"))
        assert len(queue.owed) <= 15
    control.go_on()
    before = len(control.posts)
    await control.until(lambda: len(control.posts) == before + 3)
    assert [path for path, _ in control.posts[before:]] == ["publish", "recover", "publish"]
    assert ids(control.posts[-1][1]) == [20, 21, 22, 23, 24]
    assert not hints(control)


@gen_test
async def test_all_that_a_proxy_is_told_has_the_prefix_of_the_channels(control):
    hub = PushpinHub([control.grip_url], channel_prefix="one:")
    hub.publish(committed(commit(1, 0)))
    hub.recheck("a")
    await control.until(lambda: len(control.items) == 2)
    assert {item["channel"] for item in control.items} == {"one:messages-a%20b", "one:pass-a"}
    sent: dict[str, str] = {}
    response = types.SimpleNamespace(asked=0.0, send=lambda headers, body: sent.update(headers))
    hub.hold(plan_stream(StreamRequest("r"), Page((), 0)), response, "client", Pass("a", 5, 9))
    channels = "one:messages-r; prev-id=0, one:provisional-r, one:pass-a; prev-id=5-9"
    assert sent["Grip-Channel"] == channels
    await hub.close()


@gen_test
async def test_every_proxy_is_told_and_what_was_published_long_ago_is_forgotten(control, monkeypatch):
    second = FakeControl("http://127.0.0.1:1/")
    second.listen()
    hub = PushpinHub([control.grip_url, second.grip_url])
    try:
        began = time.monotonic()
        with monkeypatch.context() as patch:
            for first in range(1, 200):
                patch.setattr(pushpin_module.time, "monotonic", lambda now=began + first: now)
                hub.publish(committed(commit(first, 0)))
        for each in (control, second):
            await each.until(lambda each=each: ids(each.items) == list(range(1, 200)))
        assert len(hub._recoveries._published._order) <= RECENT_SECONDS + 1
    finally:
        await hub.close()
        await second.close()


@gen_test
async def test_a_proxy_that_hangs_holds_nobody_else_up(control, started):
    slow = FakeControl("http://127.0.0.1:1/")
    slow.listen()
    slow.hanging = True
    queues = [started(), started(url=slow.grip_url)]
    for queue in queues:
        queue.put(item(1))
    await control.until(lambda: ids(control.items) == [1])
    await slow.until(lambda: len(slow.posts) == 1)
    slow.go_on()
    await slow.until(lambda: ids(slow.items) == [1])
    await slow.close()


@gen_test
async def test_closing_sends_what_is_queued_but_does_not_wait_for_a_proxy_that_is_gone(
    control, started, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(publisher, "FLUSH_SECONDS", 60.0)
        queue = started()
        for n in range(150):
            queue.put(item(n))
        await queue.close()
        assert ids(control.items) == list(range(150))
        for late in (lambda queue: queue.put(item(200)), lambda queue: queue.recover_all()):
            queue = started()
            await queue._idle.wait()
            tried = len(control.posts)
            late(queue)
            await queue.close()
            assert len(control.posts) == tried + 1
    await control.refuse()
    monkeypatch.setattr(publisher, "FLUSH_SECONDS", 0.05)
    queue = started()
    queue.put(item(1))
    await asyncio.wait_for(queue.close(), WAIT)


@gen_test
async def test_publications_are_signed(control, started):
    queue = started(url=f"{control.grip_url.partition('?')[0]}?iss=me&key={KEY}")
    queue.put(item(1))
    await control.until(lambda: ids(control.items) == [1])
    assert control.headers["Content-Type"] == "application/json"
    bearer = control.headers["Authorization"].removeprefix("Bearer ")
    assert jwt.decode(bearer, b"k" * 32, ["HS256"])["iss"] == "me"


# What an answer waits for


@pytest.fixture
def hub(io_loop, control):
    """A hub with two proxies, of which the second one is `hub.second`."""
    second = FakeControl("http://127.0.0.1:1/")

    async def begin():
        second.listen()
        hub = PushpinHub([control.grip_url, second.grip_url])
        hub.second = second
        await hub.passed_on()
        return hub

    async def end():
        await hub.close()
        await second.close()

    hub = io_loop.run_sync(begin)
    yield hub
    io_loop.run_sync(end)


def owed(control) -> float:
    return publisher.OWED.labels(f"127.0.0.1:{control.port}")._value.get()


@gen_test
async def test_the_recovery_at_the_start_is_waited_for(hub, control):
    for each in (control, hub.second):
        assert [path for path, _ in each.posts] == ["recover"]


@gen_test
async def test_an_answer_waits_until_every_proxy_has_taken_what_was_published(hub, control, monkeypatch):
    hub.second.status = 503
    hub.publish(committed(commit(1, 0)))
    waiting = asyncio.create_task(hub.passed_on())
    await control.until(lambda: ids(control.items) == [1])
    await hub.second.until(lambda: len(hub.second.items) == 3)
    assert not waiting.done()
    hub.second.status = 200
    await waiting
    assert hub.second.items[-1]["id"] == "1"
    assert not owed(control)
    assert not owed(hub.second)


@gen_test
async def test_an_answer_waits_until_every_proxy_was_asked_to_recover_everybody(hub, control):
    """A key has left, say: whoever is told so is not to find a stream that goes on."""
    hub.recheck(None)
    await hub.passed_on()
    for each in (control, hub.second):
        assert [path for path, _ in each.posts] == ["recover", "recover"]


@gen_test
async def test_one_proxy_whose_queue_is_half_full_is_enough_to_take_no_more(hub, control, monkeypatch):
    monkeypatch.setattr(publisher, "QUEUE_ITEMS", 4)
    hub.second.hanging = True
    for id in range(1, 5):  # the first one is on its way
        hub.publish(committed(commit(id, 0)))
        await control.until(lambda id=id: id in ids(control.items))
        await hub.second.until(lambda: 1 in ids(hub.second.items))
    assert [each.pressed for each in hub.publishers] == [False, True]
    assert hub.pressed()
    hub.second.go_on()


@gen_test
async def test_an_answer_waits_for_nothing_once_all_is_taken(hub, monkeypatch):
    hub.publish(committed(commit(1, 0)))
    for _ in range(2):
        await hub.passed_on()


@gen_test
async def test_an_answer_does_not_wait_for_what_is_published_after_it(hub, control, monkeypatch):
    hub.publish(committed(commit(1, 0)))
    waiting = asyncio.create_task(hub.passed_on())
    await asyncio.sleep(0)
    for id in range(2, 400):
        hub.publish(committed(commit(id, 0)))
    await waiting
    assert min(max(ids(proxy.items)) for proxy in (control, hub.second)) < 399, (
        "the slower one was waited for"
    )


@gen_test
async def test_an_answer_that_waited_in_vain_goes_out_and_is_counted(hub, control, monkeypatch):
    monkeypatch.setattr(pushpin_module, "PATIENCE", 0.2)
    hub.second.hanging = True
    hub.publish(committed(commit(1, 0)))
    first = hub.publishers[0]
    await eventually(lambda: first._ended == first._put)
    await hub.passed_on()
    assert (owed(control), owed(hub.second)) == (0, 1)
    hub.second.go_on()
    await hub.second.until(lambda: ids(hub.second.items) == [1, 1])


@gen_test
async def test_of_answers_that_went_out_nothing_is_kept_while_a_proxy_is_gone(hub, control, monkeypatch):
    """It may be gone for weeks, and there is one for each POST."""
    monkeypatch.setattr(pushpin_module, "PATIENCE", 0.05)
    hub.second.hanging = True
    for id in range(1, 6):
        hub.publish(committed(commit(id, 0)))
        await hub.passed_on()
    hub.publish(committed(commit(6, 0)))
    gone = asyncio.create_task(hub.passed_on())
    await control.until(lambda: 6 in ids(control.items))
    gone.cancel()
    await asyncio.wait([gone])
    assert [len(each._waiting) for each in hub.publishers] == [0, 0]
    monkeypatch.setattr(pushpin_module, "PATIENCE", 60.0)
    hub.second.go_on()
    await hub.passed_on()
    assert max(ids(hub.second.items)) == 6


@gen_test
async def test_an_answer_waits_for_the_hint_in_the_place_of_what_was_given_up(hub, control, monkeypatch):
    for each in hub.publishers:
        each._give_up = 0.2
    control.status = 503
    hub.publish(committed(commit(1, 0)))
    waiting = asyncio.create_task(hub.passed_on())
    await eventually(lambda: bool(hints(control)))
    assert not waiting.done()
    control.status = 200
    await waiting
    hint = {"formats": {"http-stream": {"action": "hint"}}}
    assert control.items[-2:] == [
        {"channel": "provisional-a%20b", **hint},
        {"channel": "messages-a%20b", **hint},
    ]


@gen_test
async def test_an_answer_waits_for_the_recovery_in_the_place_of_what_was_given_up(hub, control, monkeypatch):
    monkeypatch.setattr(publisher, "ROOMS_OWED", 0)
    control.hanging = True
    hub.publish(committed(commit(1, 0)))
    waiting = asyncio.create_task(hub.passed_on())
    await control.until(lambda: len(control.posts) == 2)
    hub.publishers[0]._give_up = 0.0
    control.go_on()  # it is cut, and so given up
    control.hanging = True
    await control.until(lambda: [path for path, _ in control.posts] == ["recover", "publish", "recover"])
    assert not waiting.done()
    control.go_on()
    await waiting


@gen_test
async def test_what_was_published_before_the_process_was_frozen_is_made_up_for_and_not_sent(
    hub, control, monkeypatch
):
    monkeypatch.setattr(publisher.random, "uniform", lambda *range: 0.5)  # the pause after a failure
    control.status = 503
    hub.publish(committed(commit(1, 0)))
    failures = publisher.FAILURES.labels(f"127.0.0.1:{control.port}")
    await eventually(lambda: failures._value.get() == 1)
    for each in hub.publishers:
        each._give_up = -1  # as if hours had passed
    count = len(control.items)
    control.status = 200
    await eventually(lambda: bool(hints(control)))
    assert ids(control.items[count:]) == []


@gen_test
async def test_who_answers_first_waits_for_nothing(control):
    control.hanging = True
    hub = PushpinHub([control.grip_url], answer_first=True)
    hub.publish(committed(commit(1, 0)))
    await asyncio.wait_for(hub.passed_on(), 0.5)
    assert not owed(control)
    control.go_on()
    await hub.close()


# Passes


def test_a_proxy_that_is_named_twice_is_one(monkeypatch):
    monkeypatch.setattr(pushpin_module, "Publisher", lambda target: target)
    hub = PushpinHub(["http://127.0.0.1:1/", "http://127.0.0.1:2/", "http://127.0.0.1:1/"])
    assert [target.proxy for target in hub.publishers] == ["127.0.0.1:1", "127.0.0.1:2"]


@pytest.mark.parametrize(("urls", "proxies"), [([], 1), (["http://127.0.0.1:1/"] * 2, 1), (TWO, 2)])
def test_links_are_as_long_as_one_proxy_needs_for_its_part_of_the_holds(monkeypatch, urls, proxies):
    counted = []
    monkeypatch.setattr(pushpin_module, "Publisher", lambda target: target)
    monkeypatch.setattr(pushpin_module, "Links", counted.append)
    PushpinHub(urls)
    assert counted == [proxies]


def test_links_know_of_every_recovery_and_of_a_pass(monkeypatch):
    hub, told = PushpinHub([]), []
    monkeypatch.setattr(hub, "_expect", lambda pass_: None)
    monkeypatch.setattr(hub._links, "recovered", lambda: told.append("recovered"))
    monkeypatch.setattr(hub._links, "seconds", lambda *, carries_pass: told.append(carries_pass) or 20)
    response = types.SimpleNamespace(asked=0.0, send=lambda headers, body: None)
    for request in (StreamRequest("r"), StreamRequest("r", 0, recover=True)):
        for pass_ in (None, Pass("a", 5, 9)):
            hub.hold(plan_stream(request, Page((), 0)), response, "client", pass_)
    assert told == [False, True, "recovered", False, "recovered", True]


@in_virtual_time
async def test_what_a_recovery_leaves_to_its_publication_is_asked_for_again_after_a_second(monkeypatch):
    loop, told = asyncio.get_running_loop(), []
    monkeypatch.setattr(
        recoveries_module, "time", types.SimpleNamespace(monotonic=loop.time, time=lambda: NOW)
    )
    response = types.SimpleNamespace(asked=0.0, send=lambda headers, body: told.append(headers))
    for age in (0, 60):
        plan = plan_stream(StreamRequest("r", 0, recover=True), Page(commit(1, age).messages, 1))
        PushpinHub([]).hold(plan, response, "client")
    young, old = (int(headers["Grip-Link"].rpartition("=")[2]) for headers in told)
    assert young == 1 < old


@in_virtual_time
async def test_the_holds_of_a_pass_are_recovered_when_it_expires_and_once_more_for_clocks_that_are_behind(
    monkeypatch,
):
    loop = asyncio.get_running_loop()
    clock = types.SimpleNamespace(monotonic=loop.time, time=lambda: NOW + loop.time())
    monkeypatch.setattr(pushpin_module, "time", clock)
    monkeypatch.setattr(pushpin_module, "EXPIRING", 2)
    hub = PushpinHub([])
    rechecked = []
    monkeypatch.setattr(hub, "recheck", lambda id: rechecked.append((id, round(loop.time(), 1))))
    plan = plan_stream(StreamRequest("r"), Page((), 0))
    response = types.SimpleNamespace(asked=0.0, send=lambda headers, body: None)
    began = round(loop.time())
    soon, later, too_many = (
        Pass(id, int(NOW), int(NOW) + began + n) for id, n in (("a", 5), ("b", 9), ("c", 7))
    )
    recovered = plan_stream(StreamRequest("r", 0, recover=True), Page((), 0))  # as after a restart
    for pass_ in (soon, soon, later, None, too_many):
        hub.hold(recovered if pass_ is later else plan, response, "client", pass_)
    await asyncio.sleep(60)
    assert rechecked == [(id, began + n) for id, n in (("a", 5.3), ("a", 8.0), ("b", 9.3), ("b", 12.0))]
    assert not hub._expiring, "there is room for others"
    hub.hold(plan, response, "client", Pass("d", 0, int(NOW) + began + 100))
    await hub.close()
    await asyncio.sleep(100)
    assert len(rechecked) == 4, "a hub that is closed asks for nothing"


@pytest.mark.parametrize(("jump", "ended"), [(3600.0, 120.0), (-3600.0, 7200.3)])
@in_virtual_time
async def test_the_holds_of_a_pass_are_recovered_when_it_expires_by_a_clock_that_jumps(
    monkeypatch, jump, ended
):
    """As it does when the machine has slept, and the loop's clock stood still."""
    loop = asyncio.get_running_loop()
    began, jumped = loop.time(), [0.0]
    clock = types.SimpleNamespace(monotonic=loop.time, time=lambda: NOW + loop.time() - began + jumped[0])
    monkeypatch.setattr(pushpin_module, "time", clock)
    hub = PushpinHub([])
    rechecked = []
    monkeypatch.setattr(hub, "recheck", lambda id: rechecked.append(loop.time() - began))
    response = types.SimpleNamespace(asked=0.0, send=lambda headers, body: None)
    plan = plan_stream(StreamRequest("r"), Page((), 0))
    hub.hold(plan, response, "client", Pass("a", int(NOW), int(NOW) + 3600))
    await asyncio.sleep(100)
    jumped[0] = jump
    await asyncio.sleep(8000)
    assert ended - 0.5 <= rechecked[0] <= ended + 1
    await hub.close()


def test_what_was_published_is_found_by_channel_and_moment_and_forgotten():
    published = Published()
    for second, channel, id in ((1, "a", 1), (2, "b", 7), (3, "a", 2), (3, "a", 3)):
        published.add(second, channel, id)
    assert [published.before(moment, "a") for moment in (1, 1.5, 3, 3.5)] == [0, 1, 1, 3]
    assert (published.before(9, "b"), published.before(9, "c")) == (7, 0)
    published.add(2 + RECENT_SECONDS, "c", 1)
    assert (published.before(99, "a"), published.before(99, "b"), len(published._order)) == (3, 7, 4)
    published.add(2.5 + RECENT_SECONDS, "c", 2)
    assert (published.before(99, "a"), published.before(99, "b"), len(published._order)) == (3, 0, 4)
    assert sorted(published._ids) == ["a", "c"], "of a room that is quiet nothing is kept"
