"""The wire contract, row by row: requests, answers, limits and errors."""

import asyncio
import gzip
import html
import json
import re
import shutil
import time
import types
import uuid
from dataclasses import replace
from urllib.parse import quote, urlencode

import pytest
from tornado import httputil

from flychat import errors
from flychat import log as log_module
from flychat.log import reading as reading_module
from flychat.log import room as room_module
from flychat.packaged import folder
from flychat.sse import to_json
from flychat.storage import Broken, Unknown
from flychat.web import ChatApplication, assets, base
from flychat.web import messages as messages_module
from flychat.web.forms import SHORT_BYTES, read_fields
from flychat.web.messages import BODY_BYTES, MessagesHandler
from flychat.web.rate import RateLimit
from tests.support.asking import BROWSER, FORM, JSON, ROOM, ask, error, post
from tests.support.fakes import raising
from tests.support.served import WAIT, all_leave, draft, fields, served


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/", "/default"),
        ("/?user=ann%20b&x=1", "/default?user=ann%20b&x=1"),
        ("/?room=tea%2Ftime", None),
        ("/?room=tea+time", "/tea%20time"),
        ("/?room=tea&user=ann+b", "/tea?user=ann+b"),
        ("/?room=%2F%2Fevil.example", None),
        ("/?room=healthz", None),
        ("/?room=", "/default?room="),
    ],
)
async def test_the_root_leads_to_a_room_and_nowhere_else(path, location):
    async with served() as chat:
        response = await ask(chat, path)
        if location is None:
            assert response.code in (400, 404)
        else:
            assert (response.code, response.headers["Location"]) == (302, location)


@pytest.mark.gen_test
async def test_a_room_is_a_join_form_without_a_nickname_and_a_page_with_history_with_one():
    async with served() as chat:
        await chat.post("<b>bold & sweet</b>")
        joining = (await ask(chat, "/room")).body.decode()
        assert "bold" not in joining
        assert re.search(r"<button[^>]*>\s*Join", joining)
        response = await ask(chat, "/room?user=ann")
        page = response.body.decode()
        assert response.code == 200
        assert "&lt;b&gt;bold &amp; sweet&lt;/b&gt;" in page
        assert response.headers["Cache-Control"] == "no-cache"
        cookie = response.headers["Set-Cookie"]
        assert cookie.startswith("flychat_user=ann;")
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        remembered = await ask(chat, "/room", Cookie="flychat_user=ann")
        assert "bold" in remembered.body.decode()
        assert "bold" not in (await ask(chat, "/room?user=", Cookie="flychat_user=ann")).body.decode()


@pytest.mark.gen_test
async def test_pages_allow_nothing_but_what_is_ours_and_contain_nothing_inline():
    async with served() as chat:
        for path in ("/room", "/room?user=ann", "/%00", "/no/such"):
            response = await ask(chat, path, Accept=BROWSER)
            assert response.headers["Content-Security-Policy"].startswith("default-src 'none'; ")
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            page = response.body.decode()
            assert not re.search(
                r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|javascript:|https?://", page
            ), path


@pytest.mark.gen_test
async def test_a_message_says_its_user_where_it_has_one_and_no_field_of_a_post_does():
    user = 'ann"<b>@example.org'
    async with served() as chat:
        stream = await chat.stream()
        await chat.log.submit(replace(draft(), user=user))
        await post(chat, {"from": "ann", "text": "hi", "user": user, "u": user})
        given = [fields(await stream.next()), fields(await stream.next()), fields(await stream.next())]
        page = json.loads((await ask(chat, "/rooms/room/messages/")).body)["messages"]
        for messages in (given, page):
            assert [message.get("user") for message in messages if "id" in message] == [user, None]
        (sight,) = (message for message in given if "id" not in message)
        assert "user" not in sight
        rows = (await ask(chat, "/room?user=ann")).body.decode()
        assert [html.unescape(found) for found in re.findall(r'data-user="([^"]*)">', rows)] == [user]


@pytest.mark.gen_test
@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", "\x1b"])
async def test_a_nickname_that_breaks_the_rules_is_explained_in_the_form(name):
    async with served() as chat:
        response = await ask(chat, f"/room?user={quote(name)}")
        assert response.code == (400 if name else 200)
        assert "Join" in response.body.decode()


@pytest.mark.gen_test
async def test_different_spellings_are_the_same_room():
    async with served() as chat:
        for spelling in ("%C3%A9", "e%CC%81"):
            await post(chat, {"from": "ann", "text": "hi"}, f"/rooms/{spelling}/messages/")
        await post(chat, {"from": "ann", "text": "hi"}, "/rooms/A/messages/")
        assert json.loads((await ask(chat, "/rooms/%C3%A9/messages/")).body)["lastEventId"] == 2
        assert json.loads((await ask(chat, "/rooms/%41/messages/")).body)["lastEventId"] == 1


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("room", "status"),
    [
        (quote("x" * 64), 200),
        (quote("a b;c,d?#%\"'<>\\&=+é\N{GRINNING FACE}"), 200),
        ("rooms", 200),
        (quote("x" * 65), 400),
        ("a%2Fb", 400),
        ("%00", 400),
        ("%FF", 400),
        ("a%0Ab", 400),
        ("healthz", 404),
        ("static", 404),
        ("robots.txt", 404),
    ],
)
async def test_room_names_are_checked_wherever_they_come_in(room, status):
    async with served() as chat:
        assert (await ask(chat, f"/rooms/{room}/messages/")).code == status
        assert (await post(chat, {"from": "ann", "text": "hi"}, f"/rooms/{room}/messages/")).code == status
        if status == 200:
            assert (await ask(chat, f"/{room}?user=ann")).code == 200
            client = await chat.stream(room=room)
            assert await client.until_id(1) == [1]
        else:
            code = "invalid" if status == 400 else "not_found"
            assert error(await ask(chat, f"/rooms/{room}/messages/")) == (status, code)


@pytest.mark.gen_test
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/robots.txt", "/favicon.ico"])
async def test_reserved_paths_answer_for_themselves(path):
    async with served() as chat:
        response = await ask(chat, path)
        assert response.code == 200
        assert b"Join" not in response.body


async def asset_links(chat):
    page = (await ask(chat, "/room?user=ann")).body.decode()
    return sorted(set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page)))


@pytest.mark.gen_test
async def test_static_files_are_kept_for_ever_by_the_address_of_their_version():
    async with served() as chat:
        links = await asset_links(chat)
        assert len(links) > 10
        assert len({link.rpartition("/")[0] for link in links}) == 1
        for link in links:
            response = await ask(chat, link)
            assert response.code == 200
            assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            again = await ask(chat, link, If_None_Match=response.headers["Etag"])
            assert (again.code, again.body) == (304, b"")
            assert "immutable" in again.headers["Cache-Control"]
        for path in (
            "no-such-file",
            "..%2fsetup.cfg",
            "..%2fsetup.cfg/chat.js",
            "a/b/chat.js",
            "%00/chat.js%00",
            "",
        ):
            assert (await ask(chat, f"/static/{path}")).code == 404


@pytest.mark.gen_test
@pytest.mark.parametrize("version", ["", "0123456789abcdef/"])
async def test_a_file_of_another_version_or_none_is_the_current_one_and_is_asked_for_again(version):
    """As a server of the release before is asked for the modules of the next one's page."""
    async with served() as chat:
        for link in await asset_links(chat):
            current = await ask(chat, link)
            other = await ask(chat, f"/static/{version}{link.rpartition('/')[2]}")
            assert (other.code, other.body) == (200, current.body)
            assert other.headers["Cache-Control"] == "no-cache"
            assert other.headers["Etag"] == current.headers["Etag"]


@pytest.mark.gen_test
async def test_the_module_for_other_pages_may_be_imported_by_any_origin_and_what_it_imports_but_nothing_else():
    wanted, found = {"flychat.js"}, set()
    while wanted:
        name = wanted.pop()
        found.add(name)
        source = (folder("static") / name).read_text()
        wanted |= set(re.findall(r'(?m)^(?:import|export) .* from "\./(.+)";', source)) - found
    async with served() as chat:
        for link in [*(await asset_links(chat)), "/static/flychat.js"]:
            headers = (await ask(chat, link, Origin="https://example.org")).headers
            shared = link.rpartition("/")[2] in found
            assert headers.get("Access-Control-Allow-Origin") == ("*" if shared else None)
            assert headers.get("Cross-Origin-Resource-Policy") == ("cross-origin" if shared else None)
    assert found == {"flychat.js", "conversation.js", "stream.js"}


@pytest.mark.gen_test
async def test_a_page_with_what_no_link_may_know_is_not_compressed_since_its_length_would_tell():
    async with served() as chat:
        renamed = {"Cookie": "flychat_user=ann", "Accept": BROWSER, "Accept_Encoding": "gzip"}
        page = await ask(chat, "/room?user=bob", **renamed)
        assert 'name="asked"' in page.body.decode()
        assert "Content-Encoding" not in page.headers


@pytest.mark.gen_test
async def test_static_files_and_pages_are_compressed_for_those_who_ask_for_it():
    async with served() as chat:
        for path in [*(await asset_links(chat)), "/room?user=ann", "/room", "/a/page/that/is/not/there"]:
            accept = {"Accept": "text/html"}
            plain = await ask(chat, path, **accept)
            assert "Content-Encoding" not in plain.headers
            small = await ask(chat, path, **accept, Accept_Encoding="br, gzip")
            assert small.headers["Content-Encoding"] == "gzip"
            assert len(small.body) == int(small.headers["Content-Length"]) < len(plain.body)
            same = re.compile(
                rb'name="provisionalId" value="[^"]*"|data-now="\d+"'
            )  # but for what is made anew in each page
            assert same.sub(b"", gzip.decompress(small.body)) == same.sub(b"", plain.body)
            assert small.headers.get("Etag", "none") != plain.headers.get("Etag", "")
            refused = await ask(chat, path, **accept, Accept_Encoding="gzip;q=0, *")
            assert "Content-Encoding" not in refused.headers
            for answer in (plain, small, refused):
                assert "Accept-Encoding" in answer.headers["Vary"]
            head = await ask(chat, path, method="HEAD", **accept, Accept_Encoding="gzip")
            assert (head.body, head.headers["Content-Encoding"]) == (b"", "gzip")
            if path.startswith("/static/"):
                assert head.headers["Content-Length"] == small.headers["Content-Length"]
                again = await ask(chat, path, Accept_Encoding="gzip", If_None_Match=small.headers["Etag"])
                assert (again.code, again.body) == (304, b"")
                assert "Accept-Encoding" in again.headers["Vary"]
        assert "Cookie" in (await ask(chat, "/room")).headers["Vary"]


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "path",
    ["/openapi.json", "/healthz", "/metrics", "/rooms/room/messages/", "/rooms/room/messages/?before=x"],
)
async def test_what_programs_read_is_never_compressed(path):
    async with served() as chat:
        response = await ask(chat, path, Accept="application/json", Accept_Encoding="gzip, deflate, br")
        assert "Content-Encoding" not in response.headers
        assert "Accept-Encoding" not in response.headers.get("Vary", "")


@pytest.mark.gen_test
async def test_a_stream_is_never_compressed():
    async with served() as chat:
        await chat.post("hello")
        response = await ask(
            chat,
            "/rooms/room/messages/",
            method="HEAD",
            Accept="text/event-stream",
            Accept_Encoding="gzip, deflate, br",
        )
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert "Content-Encoding" not in response.headers
        assert "Accept-Encoding" not in response.headers["Vary"]


@pytest.mark.gen_test
async def test_messages_are_read_as_json_and_paged_into_the_past():
    async with served() as chat:
        await asyncio.gather(*(chat.post(f"{n}") for n in range(1, 301)))

        async def ids(query: str) -> list[int]:
            response = await ask(chat, ROOM + query)
            page = json.loads(response.body)
            assert (response.headers["Vary"], response.headers["Cache-Control"]) == ("Accept", "no-cache")
            assert page["lastEventId"] == 300
            head = await ask(chat, ROOM + query, "HEAD")
            assert (head.body, head.headers["Content-Length"]) == (b"", f"{len(response.body)}")
            return [message["id"] for message in page["messages"]]

        assert await ids("") == list(range(251, 301))
        assert await ids("?limit=3") == [298, 299, 300]
        assert await ids("?before=100&limit=2") == [98, 99]
        assert await ids("?before=3") == [1, 2]
        assert await ids("?before=1") == []
        assert await ids(f"?before={'9' * 40}&limit=1") == [300]
        assert await ids("?limit=100000") == list(range(101, 301))
        assert await ids("?after=297") == [298, 299, 300]
        assert await ids("?after=0&limit=2") == [1, 2]
        assert await ids("?after=300") == await ids("?after=999") == []
        for query in (
            "?before=x",
            "?before=0",
            "?before=-1",
            "?limit=0",
            "?limit=1.5",
            "?limit=",
            "?after=x",
        ):
            assert error(await ask(chat, ROOM + query)) == (400, "invalid")
        for query in ("?after=-1", "?after=", "?after=1&before=9"):
            assert error(await ask(chat, ROOM + query)) == (400, "invalid")
        assert (await ask(chat, "/rooms/empty/messages/")).body == b'{"messages":[],"lastEventId":0}\n'


@pytest.mark.gen_test
@pytest.mark.parametrize("memory", [True, False])
async def test_a_page_is_one_line_of_json_in_the_words_of_the_stream(memory):
    async with served() as chat:
        chat.log._memory = memory  # False: as in GRIP mode
        said = [await post(chat, {"from": "ann", "text": f'{each}"\u2028'}) for each in range(3)]
        for query in ("", "?limit=1", "?after=0&limit=2"):
            page = (await ask(chat, ROOM + query)).body
            assert page == to_json(json.loads(page)).encode() + b"\n"
        assert said[0].body.rstrip() + b"," + said[1].body.rstrip() + b'],"lastEventId":3,"after":2}' in page


@pytest.mark.gen_test
@pytest.mark.parametrize("memory", [True, False])
async def test_pages_are_bounded_in_bytes_and_lead_through_the_whole_room_either_way(memory):
    text = "\N{GRINNING FACE}" * 4096  # 16 kB
    async with served() as chat:
        chat.log._memory = memory  # False: as in GRIP mode
        for _ in range(30):
            await asyncio.gather(*(chat.post(text) for _ in range(3)))
        seen, query = [], "?limit=200"
        while query:
            response = await ask(chat, ROOM + query)
            page = json.loads(response.body)
            assert len(response.body) < 270_000
            ids = [message["id"] for message in page["messages"]]
            assert ids, "it goes on"
            seen = ids + seen
            query = f"?limit=200&before={page['before']}" if "before" in page else ""
            assert "after" not in page
        assert seen == list(range(1, 91))
        seen, query = [], "?limit=20&after=0"
        while query:
            page = json.loads((await ask(chat, ROOM + query)).body)
            assert len(page["messages"]) <= 20
            seen += [message["id"] for message in page["messages"]]
            query = f"?limit=20&after={page['after']}" if "after" in page else ""
            assert "before" not in page
        assert seen == list(range(1, 91))


@pytest.mark.gen_test
async def test_what_is_read_of_the_past_from_the_store_counts_by_its_kilobytes(monkeypatch):
    monkeypatch.setattr(log_module, "REPLAY", 100)
    async with served() as chat:
        for _ in range(20):
            await asyncio.gather(*(chat.post("x" * 900) for _ in range(20)))
        all_leave(chat.log)
        chat.application.rate_limit = limit = RateLimit(0.001, 40)
        for path in [ROOM, "/room?user=ann"] + [ROOM + "?before=399&limit=40", ROOM + "?after=360"] * 2:
            assert (await ask(chat, path)).code == 200
        assert limit._buckets["127.0.0.1"][0] == 40, "what is in memory costs nothing"
        assert (await ask(chat, ROOM + "?before=50")).code == 200
        for path in (ROOM + "?before=50", ROOM + "?after=1", "/room?user=ann&before=50", ROOM + "?limit=51"):
            refused = await ask(chat, path)
            assert refused.code == 429
            assert int(refused.headers["Retry-After"]) > 1000
        assert (await ask(chat, ROOM)).code == (await ask(chat, "/room?user=ann")).code == 200
        await chat.stream()


@pytest.mark.gen_test
@pytest.mark.parametrize("warm", [True, False])
async def test_a_late_repeat_for_which_the_store_is_searched_counts_by_how_far_back(warm):
    async with served() as chat:
        content = {"from": "ann", "text": "hi", "provisionalId": str(uuid.uuid4()), "lastEventId": 0}
        first = await post(chat, content, kind=JSON)
        for _ in range(50):
            await asyncio.gather(*(chat.post() for _ in range(64)))
        all_leave(chat.log)
        if warm:
            await ask(chat, ROOM)
        chat.application.rate_limit = limit = RateLimit(0.001, 4)
        assert (
            await post(chat, {**content, "provisionalId": str(uuid.uuid4()), "lastEventId": 3201})
        ).code == 200
        assert limit.wait("127.0.0.1", time.monotonic(), 0) == 0, "an ordinary one costs one"
        assert (await post(chat, content, kind=JSON)).body == first.body
        assert limit.wait("127.0.0.1", time.monotonic(), 0) > 1000, "one, and more than two for the search"


@pytest.mark.gen_test
@pytest.mark.parametrize("position", ["7", 7])
async def test_the_position_of_an_author_is_taken_from_any_kind_of_post(position):
    async with served() as chat:
        drafts = []
        post_draft = chat.application.chat.post

        async def note(draft, *args):
            drafts.append(draft.since)
            return await post_draft(draft, *args)

        chat.application.chat.post = note
        content = {"from": "ann", "text": "hi"}
        for kind in (FORM, JSON):
            assert (await post(chat, {**content, "lastEventId": position}, kind=kind)).code == 200
            for none in ("", "x", "1.5", "-1"):
                assert (await post(chat, {**content, "lastEventId": none}, kind=kind)).code == 200
        assert drafts == [7, None, None, None, None] * 2


@pytest.mark.gen_test
@pytest.mark.parametrize("kind", [FORM, JSON, "multipart"])
async def test_a_message_is_posted_in_any_of_three_forms(kind):
    async with served() as chat:
        content = {
            "from": "Zoë",
            "text": " two\nlines\t& <b>\N{GRINNING FACE} ",
            "provisionalId": str(uuid.uuid4()),
        }
        if kind == "multipart":
            parts = "".join(
                f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
                for name, value in content.items()
            )
            response = await ask(
                chat,
                ROOM,
                "POST",
                (parts + "--x--\r\n").encode(),
                Content_Type="multipart/form-data; boundary=x",
            )
        else:
            response = await post(chat, content, kind=kind)
        message = json.loads(response.body)
        assert response.code == 200
        assert list(message) == ["id", "from", "text", "date", "provisionalId"]
        assert message == {"id": 1, "date": message["date"], **content}
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", message["date"])
        assert json.loads((await ask(chat, ROOM)).body)["messages"] == [message]


@pytest.mark.gen_test
async def test_a_html_form_is_led_back_to_its_room():
    async with served() as chat:
        content = {"from": "ann b", "text": "a\r\nb"}
        response = await post(chat, content, "/rooms/t%C3%A9/messages/", Accept=BROWSER)
        assert (response.code, response.headers["Location"]) == (303, "/t%C3%A9?user=ann%20b")
        response = await post(chat, content, Accept=BROWSER, Cookie="flychat_user=ann%20b")
        assert response.headers["Location"] == "/room"
        assert json.loads((await ask(chat, ROOM)).body)["messages"][0]["text"] == "a\nb"
        refused = await post(chat, {"from": "ann", "text": ""}, Accept=BROWSER)
        assert (refused.code, refused.headers["Content-Type"]) == (400, "text/html; charset=utf-8")
        assert 'href="/room"' in refused.body.decode(), "the way back"


@pytest.mark.gen_test
async def test_the_same_post_again_gets_the_same_message_and_another_text_a_conflict():
    async with served() as chat:
        client = await chat.stream()
        content = {"from": "ann", "text": "hi", "provisionalId": str(uuid.uuid4())}
        first = await post(chat, content)
        assert (await post(chat, content, kind=JSON)).body == first.body
        assert error(await post(chat, {**content, "text": "ho"})) == (409, "conflict")
        assert json.loads((await post(chat, {**content, "from": "bob"})).body)["id"] == 2
        await client.until_id(2)
        assert [b"\nid:" in block or b"id:" in block[:3] for block in client.blocks[1:]] == [False, True] * 2


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        (FORM, "text=hi", (400, "invalid")),
        (FORM, "from=ann", (400, "invalid")),
        (FORM, "from=&text=hi", (400, "invalid")),
        (FORM, "from=ann&text=%00", (400, "invalid")),
        (FORM, "from=ann&text=%FF", (400, "invalid")),
        (FORM, "from=ann&text=hi&provisionalId=1", (400, "invalid")),
        (FORM, f"from=ann&text={'x' * 4097}", (400, "invalid")),
        (JSON, "", (400, "invalid")),
        (JSON, "[]", (400, "invalid")),
        (JSON, "{", (400, "invalid")),
        (JSON, "[" * 20_000, (400, "invalid")),
        (JSON, b'{"from": "ann", "text": "\xff"}', (400, "invalid")),
        (JSON, '{"from": "ann", "text": "\\ud800"}', (400, "invalid")),
        (JSON, '{"from": "ann", "text": 5}', (400, "invalid")),
        ("multipart/form-data", "x", (400, "invalid")),
        ("multipart/form-data; boundary=x", "--x\r\n\r\n", (400, "invalid")),
        ("text/plain", "from=ann&text=hi", (415, "unsupported_media_type")),
        ("", "from=ann&text=hi", (415, "unsupported_media_type")),
        (f"{FORM}; charset=iso-8859-1", "from=ann&text=hi", (415, "unsupported_media_type")),
        (f'{JSON};charset="UTF-16"', '{"from": "ann", "text": "hi"}', (415, "unsupported_media_type")),
        (FORM, "from=ann&text=hi&_charset_=windows-1252", (415, "unsupported_media_type")),
        (FORM, "from=ann&text=" + "x" * 65_536, (413, "too_large")),
        (JSON, "x" * 5_000_000, (413, "too_large")),
    ],
)
async def test_what_cannot_be_a_message_is_refused_with_a_reason_and_stores_nothing(kind, body, expected):
    async with served() as chat:
        assert error(await ask(chat, ROOM, "POST", body, Content_Type=kind)) == expected
        assert json.loads((await ask(chat, ROOM)).body)["lastEventId"] == 0


@pytest.mark.gen_test
async def test_a_body_that_is_compressed_is_refused():
    """Not taken for what its bytes happen to say."""
    async with served() as chat:
        body = "from=ann&text=hi"
        for encoding in ("gzip", "br", "identity, gzip"):
            response = await ask(chat, ROOM, "POST", body, Content_Type=FORM, Content_Encoding=encoding)
            assert error(response) == (415, "unsupported_media_type")
        assert (
            await ask(chat, ROOM, "POST", body, Content_Type=FORM, Content_Encoding="Identity")
        ).code == 200


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "kind",
    [
        f"{FORM}; charset=UTF-8",
        f"{FORM};charset=us-ascii",
        "Application/X-WWW-Form-Urlencoded",
        'application/json; charset="utf8"',
        "APPLICATION/JSON",
        'Multipart/Form-Data; charset=utf-8; boundary="x"',
    ],
)
async def test_a_type_counts_in_any_spelling_and_utf_8_by_any_name(kind):
    content = {"from": "Zo\u00eb", "text": "hi"}
    if "json" in kind.lower():
        body = json.dumps(content, ensure_ascii=False)
    elif "form-data" in kind.lower():
        parts = (
            f'--x\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in content.items()
        )
        body = "".join(parts) + "--x--\r\n"
    else:
        body = urlencode(content)
    async with served() as chat:
        response = await ask(chat, ROOM, "POST", body.encode(), Content_Type=kind)
        assert response.code == 200
        assert json.loads(response.body)["from"] == "Zo\u00eb"


@pytest.mark.gen_test
async def test_a_body_at_the_limit_is_taken():
    async with served() as chat:
        content = json.dumps({"from": "ann", "text": "hi"})
        body = content + " " * (65_536 - len(content))
        assert (await ask(chat, ROOM, "POST", body, Content_Type=JSON)).code == 200
        assert (await ask(chat, ROOM, "POST", body + " ", Content_Type=JSON)).code == 413


@pytest.mark.gen_test
async def test_an_enormous_body_is_refused_before_it_is_sent():
    async with served() as chat:
        for length in ("999999999999", "9" * 5000):
            client = await chat.request(
                f"POST {ROOM} HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nContent-Length: {length}\r\n"
            )
            assert (await client.at_end()).startswith(b"HTTP/1.1 413 ")


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "request_line",
    [
        "GET /rooms/%FF/messages/ HTTP/1.1",
        "TRACE /rooms/tea/messages/ HTTP/1.1",
        "POST /rooms/tea/messages/ HTTP/1.1\r\nContent-Length: 9999999",
    ],
)
async def test_a_refusal_that_ends_its_connection_says_so(request_line):
    """A proxy that was not told sends the next client's request there: Pushpin 1.41 answered that with 502."""
    async with served() as chat:
        client = await chat.request(f"{request_line}\r\nHost: x\r\n")
        head, _, body = (await client.at_end()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 4")
        assert b"\r\nconnection: close" in head.lower()
        assert json.loads(body)["error"]["code"]


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", ROOM, "GET, HEAD, POST, OPTIONS"),
        ("DELETE", ROOM, "GET, HEAD, POST, OPTIONS"),
        ("POST", "/room", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
    ],
)
async def test_a_method_that_is_not_there_is_answered_with_those_that_are(method, path, allow):
    async with served() as chat:
        response = await ask(chat, path, method, "")
        assert response.code == 405
        assert response.headers["Allow"] == allow


@pytest.mark.gen_test
@pytest.mark.parametrize(("path", "method", "status"), [("/room", "POST", 405), ("/%FF", "GET", 400)])
async def test_an_error_where_a_page_would_be_is_a_page_unless_json_is_preferred(path, method, status):
    async with served() as chat:
        for accept in ("*/*", BROWSER):
            page = await ask(chat, path, method, "" if method == "POST" else None, Accept=accept)
            assert (page.code, page.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
        for accept in ("application/json", "application/json, text/*;q=0.5"):
            refused = await ask(chat, path, method, "" if method == "POST" else None, Accept=accept)
            assert error(refused)[0] == status


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "path",
    [
        "/no/such",
        "/rooms//messages/",
        "/rooms/a",
        "/rooms/a/b/messages/",
        "/recover/",
        "/recover/official",
        "/static/a%00b",
    ],
)
async def test_what_is_not_there_is_404_for_programs_and_a_page_for_browsers(path):
    async with served() as chat:
        assert error(await ask(chat, path)) == (404, "not_found")
        page = await ask(chat, path, Accept=BROWSER)
        assert (page.code, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
        assert "<title>Not Found \xb7 flychat</title>" in page.body.decode()


@pytest.mark.gen_test
async def test_errors_do_not_repeat_the_input():
    async with served() as chat:
        marker = "MARKERxyz"
        for response in (
            await ask(chat, f"/no/such/{marker}", Accept=BROWSER),
            await ask(chat, f"/{marker * 20}", Accept=BROWSER),
            await post(chat, {"from": marker * 20, "text": "hi"}, Accept=BROWSER),
            await post(chat, {"from": "ann", "text": "hi", "provisionalId": marker}),
        ):
            assert response.code >= 400
            assert marker not in response.body.decode()


@pytest.mark.gen_test
async def test_a_store_that_fails_is_a_503_that_may_be_tried_again(monkeypatch):
    monkeypatch.setattr(reading_module, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(room_module, "DEADLINE", 0.5)
    async with served() as chat:
        client = await chat.stream()
        content = {"from": "ann", "text": "hi", "provisionalId": str(uuid.uuid4())}
        chat.engine.faults = iter(["lose"] * 8)
        response = await post(chat, content)
        assert error(response) == (503, "unavailable")
        assert int(response.headers["Retry-After"]) > 0
        shown, retracted = await client.next(), await client.next()
        assert (shown.type, retracted.type) == ("message", "retraction")
        assert fields(retracted) == {"provisionalId": content["provisionalId"]}
        chat.engine.faults = iter([])
        monkeypatch.setattr(room_module, "DEADLINE", 60.0)
        assert (await post(chat, content)).code == 200
        assert await client.until_id(1) == [1]
        for problem in (Unknown("secret"), Broken("secret")):
            all_leave(chat.log)
            chat.engine.read_faults.extend([problem] * 100)
            for path, page in ((ROOM, False), ("/room?user=ann", True), ("/readyz", False)):
                response = await ask(chat, path)
                assert response.code == 503
                assert page or error(response)[0] == 503
                assert b"secret" not in response.body
            stream = await ask(chat, ROOM, Accept="text/event-stream")
            assert stream.code == 503
            chat.engine.read_faults.clear()
        for path in ("/readyz", "/healthz"):
            assert json.loads((await ask(chat, path)).body) == {"status": "ok"}


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("refusal", "expected"),
    [(errors.TooOld(), (409, "too_old")), (errors.Overloaded(), (503, "overloaded"))],
)
async def test_a_post_that_is_too_old_or_one_too_many_is_told_so(refusal, expected):
    async with served() as chat:
        refused = asyncio.get_running_loop().create_future()
        refused.set_exception(refusal)
        chat.log.submit = lambda draft, searched, told: refused
        response = await post(chat, {"from": "ann", "text": "hi"})
        assert error(response) == expected
        assert json.loads(response.body)["error"]["message"] == str(refusal)
        assert ("Retry-After" in response.headers) == (response.code == 503)


@pytest.mark.gen_test
async def test_other_origins_may_neither_write_nor_read_unless_they_are_listed():
    async with served() as chat:
        content = {"from": "ann", "text": "hi"}
        ours = chat.url
        assert (await post(chat, content, Origin=ours)).code == 200
        assert (await post(chat, content, Origin=ours.replace("http", "https"))).code == 200, (
            "TLS ends before us"
        )
        for origin in ("http://evil.example", "null", "http://127.0.0.1", "", "http://[", "http://x]y", "//"):
            assert error(await post(chat, content, Origin=origin)) == (403, "forbidden")
        for site in ("same-site", "cross-site", "none", "same-origin, cross-site"):
            refused = await post(chat, content, Origin="null", Sec_Fetch_Site=site)
            assert error(refused) == (403, "forbidden")
        assert error(
            await post(chat, content, Origin="http://evil.example", Sec_Fetch_Site="same-origin")
        ) == (403, "forbidden")
        assert (
            "Access-Control-Allow-Origin" not in (await ask(chat, ROOM, Origin="http://evil.example")).headers
        )
        assert json.loads((await ask(chat, ROOM)).body)["lastEventId"] == 2

        chat.application.cors_origins = frozenset({"https://friend.example"})
        for response in (
            await post(chat, content, Origin="https://friend.example"),
            await post(chat, {}, Origin="https://friend.example"),
            await ask(chat, ROOM, Origin="https://friend.example"),
            await ask(chat, ROOM, "OPTIONS", Origin="https://friend.example"),
        ):
            assert response.headers["Access-Control-Allow-Origin"] == "https://friend.example"
            assert response.headers["Access-Control-Expose-Headers"] == "Retry-After, X-Request-Id"
            assert "Origin" in response.headers["Vary"]
        preflight = await ask(chat, ROOM, "OPTIONS", Origin="https://friend.example")
        assert (preflight.code, preflight.headers["Allow"]) == (204, "GET, HEAD, POST, OPTIONS")
        assert preflight.headers["Access-Control-Allow-Methods"] == "GET, POST"
        assert preflight.headers["Access-Control-Max-Age"] == "600"
        assert "Content-Type" in preflight.headers["Access-Control-Allow-Headers"]
        assert (await post(chat, content, Origin="http://evil.example")).code == 403


@pytest.mark.gen_test
async def test_a_page_whose_origin_is_withheld_is_ours_if_its_browser_says_so():
    async with served() as chat:
        content = {"from": "ann", "text": "hi"}
        response = await post(chat, content, Origin="null", Sec_Fetch_Site="same-origin")
        assert response.code == 200
        assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.gen_test
async def test_a_new_name_can_be_taken_by_the_form_though_the_cookie_that_shows_it_was_emptied():
    async with served() as chat:
        form = await ask(chat, "/room?user=", Cookie="flychat_user=ann; flychat_asked=")
        asked = re.search(r'name="asked" value="([^"]+)"', form.body.decode())[1]
        assert form.headers["Set-Cookie"].startswith(f"flychat_asked={asked};")


@pytest.mark.gen_test
async def test_the_room_and_its_join_form_have_one_address_and_are_told_apart_by_the_cookie():
    """Or else a browser that goes back shows the form to one who has joined."""
    async with served() as chat:
        for headers in ({}, {"Cookie": "flychat_user=ann"}):
            assert (await ask(chat, "/room", **headers)).headers["Vary"] == "Cookie,Accept-Encoding"
            for path in ("/room?user=ann", "/room?user=", "/room?user=%00"):
                assert (await ask(chat, path, **headers)).headers["Vary"] == "Accept-Encoding"


def hidden(page: str) -> tuple[str, dict[str, str]]:
    """Where the page's form for a message goes, and what a browser without scripts would send with it."""
    action, form = re.search(
        r'<form[^>]* action="(/rooms/[^"]+)" method="post">(.*?)</form>', page, re.DOTALL
    ).groups()
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)" autocomplete="off">', form))
    fields |= dict(re.findall(r'<input type="hidden" name="(from)" value="([^"]*)">', form))
    text = re.search(r"<textarea[^>]*>(.*)</textarea>", form, re.DOTALL)[1]
    # As browsers do.
    text = html.unescape(text.replace("\r\n", "\n").removeprefix("\n")).replace("\n", "\r\n")
    return action, {name: html.unescape(value) for name, value in fields.items()} | {"text": text}


@pytest.mark.gen_test
async def test_the_form_has_a_new_id_and_the_position_of_its_page():
    async with served() as chat:
        for _ in range(3):
            await chat.post()
        pages = [(await ask(chat, "/room?user=ann")).body.decode() for _ in range(2)]
        (action, first), (_, second) = map(hidden, pages)
        assert action == ROOM
        assert first["lastEventId"] == second["lastEventId"] == "3"
        assert first["provisionalId"] != second["provisionalId"] == str(uuid.UUID(second["provisionalId"]))


@pytest.mark.gen_test
async def test_a_form_that_failed_can_be_sent_again_as_it_is_and_is_stored_once(monkeypatch):
    monkeypatch.setattr(room_module, "DEADLINE", 0.5)
    async with served() as chat:
        action, form = hidden((await ask(chat, "/room?user=ann")).body.decode())
        form["text"] = '\r\n<b>two</b>\r\nlines & "more"\r\n'
        chat.engine.faults = iter(["drop"] * 8)  # stored, but nobody is told
        failed = await post(chat, form, action, Accept=BROWSER)
        page = failed.body.decode()
        assert (failed.code, failed.headers["Cache-Control"]) == (503, "no-store")
        assert "nothing is sent twice" in page
        assert hidden(page) == (action, form)
        chat.engine.faults = iter([])
        monkeypatch.setattr(room_module, "DEADLINE", 60.0)
        assert (await post(chat, form, action, Accept=BROWSER)).code == 303
        messages = json.loads((await ask(chat, ROOM)).body)["messages"]
        assert [message["text"] for message in messages] == [form["text"].replace("\r\n", "\n").strip("\n")]


@pytest.mark.gen_test
async def test_a_form_keeps_its_text_whatever_it_is_refused_for():
    async with served() as chat:
        action, form = hidden((await ask(chat, "/room?user=ann")).body.decode())
        await post(chat, {**form, "text": "first"}, action, Accept=BROWSER)
        for text, refusal, status in (
            ("second", None, 409),
            ("second", errors.TooOld(), 409),
            ("second", errors.Overloaded(), 503),
            ("second", RuntimeError("a bug"), 500),
            ("x" * 5000, None, 400),
            ("\0", None, 400),
        ):
            if refusal is not None:
                chat.application.chat.post = raising(refusal)
            refused = await post(chat, {**form, "text": text}, action, Accept=BROWSER)
            again = hidden(refused.body.decode())[1]
            assert (refused.code, again["text"], again["from"]) == (status, text, "ann")
            fresh = again["provisionalId"] != form["provisionalId"]
            assert fresh == (status == 409), "the id stands for another text, or is too old to be looked for"
        chat.application.rate_limit = RateLimit(0.001, 0)
        refused = await post(chat, {**form, "text": "third"}, action, Accept=BROWSER)
        assert (refused.code, hidden(refused.body.decode())[1]) == (429, {**form, "text": "third"})


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "given", [{}, {"provisionalId": ""}, {"text": "hi", "provisionalId": "x", "lastEventId": "7"}]
)
async def test_a_form_that_was_refused_has_an_id_by_which_it_is_recognised(given):
    async with served() as chat:
        refused = await post(chat, {"from": "ann", "text": "\0", **given}, Accept=BROWSER)
        again = hidden(refused.body.decode())[1]
        assert (refused.code, again["lastEventId"]) == (400, "")
        assert str(uuid.UUID(again["provisionalId"])) == again["provisionalId"]


@pytest.mark.gen_test
async def test_a_form_that_nobody_could_send_is_not_shown_again():
    async with served() as chat:
        refused = await post(chat, {"from": "\0", "text": "hi"}, Accept=BROWSER)
        assert (refused.code, b"<form" in refused.body, b"</html>" in refused.body) == (400, False, True)


@pytest.mark.gen_test
async def test_what_another_origin_or_a_program_wrote_is_not_put_into_a_form_of_ours():
    async with served() as chat:
        chat.application.chat.post = raising(errors.Unavailable())
        content = {"from": "ann", "text": "secret"}
        for kind, headers in ((FORM, {"Origin": "http://evil.example"}), (JSON, {})):
            response = await post(chat, content, kind=kind, Accept=BROWSER, **headers)
            assert response.code in (403, 503)
            assert "secret" not in response.body.decode()
        too_large = await post(chat, {**content, "text": "secret" * 20_000}, Accept=BROWSER)
        assert (too_large.code, b"secret" in too_large.body) == (413, False)


@pytest.mark.gen_test
async def test_a_form_that_has_waited_for_too_long_is_shown_again_if_it_is_of_ours(monkeypatch):
    def shed(_handler):
        raise errors.Overloaded

    monkeypatch.setattr(MessagesHandler, "admit_in_time", shed)
    async with served() as chat:
        content = {"from": "ann", "text": "secret"}
        for origin, shown in (("http://evil.example", False), (chat.url, True)):
            response = await post(chat, content, kind=FORM, Accept=BROWSER, Origin=origin)
            assert (response.code, b"secret" in response.body) == (503, shown)


@pytest.mark.gen_test
async def test_a_failure_promises_that_nothing_is_sent_twice_only_where_it_is_recognised():
    async with served() as chat:
        chat.application.chat.post = raising(errors.Unavailable())
        chat.log.page = raising(errors.Unavailable())
        content = {"from": "ann", "text": "hi"}
        promise = "nothing is sent twice"
        for kind in (FORM, JSON):
            unknown = await post(chat, content, kind=kind)
            assert promise not in unknown.body.decode()
            assert "may have been stored" in unknown.body.decode()
            known = await post(chat, {**content, "provisionalId": str(uuid.uuid4())}, kind=kind)
            assert promise in known.body.decode()
        for path in (ROOM, "/room?user=ann"):
            page = await ask(chat, path)
            assert (page.code, promise in page.body.decode()) == (503, False)


@pytest.mark.gen_test
@pytest.mark.parametrize("path", [ROOM, "/room?user=ann", "/readyz", "stream"])
async def test_who_goes_while_the_store_is_asked_has_nothing_done_for_him_any_more(path, caplog):
    async with served() as chat:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def endless(*_args, **_options):
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        chat.log.page = chat.log.check = chat.application.chat.plan = endless
        accept = "text/event-stream" if path == "stream" else "*/*"
        target = ROOM if path == "stream" else path
        client = await chat.request(f"GET {target} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n")
        await begun.wait()
        client.writer.transport.abort()
        await asyncio.wait_for(ended.wait(), WAIT)
        await chat.application.idle.wait()
        assert not caplog.records


@pytest.mark.gen_test
async def test_nothing_is_begun_for_a_client_that_has_gone_already(monkeypatch):
    prepare = base.BaseHandler.prepare
    prepared = asyncio.Event()

    def close_first(handler):
        prepare(handler)
        handler.request.connection.stream.close()
        prepared.set()

    monkeypatch.setattr(base.BaseHandler, "prepare", close_first)
    async with served() as chat:
        asked = []

        async def note(*args, **_options):
            asked.append(args)

        chat.log.page = chat.application.chat.plan = note
        for accept in ("*/*", "text/event-stream"):
            prepared.clear()
            client = await chat.request(f"GET {ROOM} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n")
            await prepared.wait()
            assert await client.at_end() == b""
            await chat.application.idle.wait()
        assert not asked


@pytest.mark.gen_test
async def test_a_message_is_stored_though_its_author_has_gone():
    async with served() as chat:
        reader = await chat.stream()
        putting, go = asyncio.Event(), asyncio.Event()
        put = chat.engine.engine.put

        async def gated(commit):
            putting.set()
            await go.wait()
            await put(commit)

        chat.engine.engine.put = gated
        body = urlencode({"from": "ann", "text": "hi"})
        author = await chat.request(
            f"POST {ROOM} HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nContent-Length: {len(body)}\r\n"
        )
        author.writer.write(body.encode())
        await putting.wait()
        author.writer.transport.abort()
        await chat.application.idle.wait()
        go.set()
        assert await reader.until_id(1) == [1]


@pytest.mark.gen_test
async def test_nobody_is_asked_to_come_back_at_once():
    async with served() as chat:
        chat.application.rate_limit = limit = RateLimit(10, 1)  # so there is a token again within a second
        wait = limit.wait
        limit.wait = lambda client, now, cost: wait(client, 0.0, cost)  # which does not pass here
        refused = [await post(chat, {"from": "ann", "text": "hi"}) for _ in range(2)][1]
        assert refused.headers["Retry-After"] == "1"


def test_of_a_body_over_the_limit_no_more_is_kept_than_shows_it():
    handler = types.SimpleNamespace(_body=bytearray())
    for _ in range(100):
        MessagesHandler.data_received(handler, b"x" * BODY_BYTES)
    assert len(handler._body) <= 2 * BODY_BYTES


@pytest.mark.gen_test
async def test_of_a_query_field_that_comes_twice_the_last_one_counts():
    async with served() as chat:
        for _ in range(3):
            await chat.post()
        messages = json.loads((await ask(chat, f"{ROOM}?limit=3&limit=1")).body)["messages"]
        assert [message["id"] for message in messages] == [3]


@pytest.mark.gen_test
async def test_who_posts_too_often_is_told_when_to_come_back():
    async with served() as chat:
        chat.application.rate_limit = RateLimit(0.001, 3)
        content = {"from": "ann", "text": "hi"}
        assert [(await post(chat, content)).code for _ in range(3)] == [200] * 3
        refused = await post(chat, content)
        assert error(refused) == (429, "too_many_requests")
        assert 0 < int(refused.headers["Retry-After"]) <= 1000
        assert json.loads((await ask(chat, ROOM)).body)["lastEventId"] == 3, "reading is not limited"
        assert (await post(chat, content, X_Forwarded_For="192.0.2.1")).code == 429, "anybody can write that"
        chat.application.trust_proxy = True
        assert (await post(chat, content, X_Forwarded_For="192.0.2.1")).code == 200
        assert (await post(chat, content, X_Forwarded_For="spoofed, 192.0.2.2")).code == 200
        assert (await post(chat, content, X_Forwarded_For="another spoof, 192.0.2.2")).code == 200
        assert chat.application.rate_limit._buckets.keys() == {"127.0.0.1", "192.0.2.1", "192.0.2.2"}


@pytest.mark.gen_test
async def test_of_a_post_over_the_limit_no_field_is_read(monkeypatch):
    read = []
    monkeypatch.setattr(
        messages_module, "read_fields", lambda *given: read.append(given) or read_fields(*given)
    )
    async with served() as chat:
        chat.application.rate_limit = RateLimit(0.001, 1)
        content = {"from": "ann", "text": "hi"}
        assert [(await post(chat, content, kind=JSON)).code for _ in range(3)] == [200, 429, 429]
        assert error(await post(chat, {"removes": [1]}, kind=JSON)) == (429, "too_many_requests")
        assert len(read) <= 1


@pytest.mark.gen_test
async def test_a_large_message_counts_by_its_kilobytes():
    async with served() as chat:
        chat.application.rate_limit = RateLimit(0.001, 40)
        large = {"from": "ann", "text": "\N{GRINNING FACE}" * 4096}
        assert (await post(chat, large, kind=JSON)).code == 200, "49 kB as it is sent"
        refused = await post(chat, {"from": "ann", "text": "hi"})
        assert error(refused) == (429, "too_many_requests")
        assert int(refused.headers["Retry-After"]) > 9000, "the debt is to be paid first"


@pytest.mark.gen_test
@pytest.mark.parametrize("caps", [{"max_streams": 2}, {"max_streams_per_client": 2}])
async def test_streams_beyond_a_cap_are_503_and_one_that_ends_makes_room(caps):
    async with served(**caps) as chat:
        clients = [await chat.stream() for _ in range(2)]
        response = await ask(chat, ROOM, Accept="text/event-stream")
        assert error(response) == (503, "full")
        assert int(response.headers["Retry-After"]) > 0
        assert (await ask(chat, ROOM)).code == 200, "everything else goes on"
        if "max_streams_per_client" in caps:
            chat.application.trust_proxy = True
            other = await chat.request(
                f"GET {ROOM} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nX-Forwarded-For: 192.0.2.1\r\n"
            )
            assert (await other.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        gone = asyncio.Event()
        cut = chat.hub.connections.cut
        chat.hub.connections.cut = lambda held, why: (cut(held, why), gone.set())
        clients[0].close()
        await asyncio.wait_for(gone.wait(), WAIT)
        await chat.stream()


@pytest.mark.gen_test
@pytest.mark.parametrize("caps", [{"max_streams": 2}, {"max_streams_per_client": 2}])
async def test_a_cap_holds_for_those_who_come_while_the_room_is_read(caps):
    async with served(**caps) as chat:
        head = f"GET {ROOM} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
        clients = [await chat.request(head) for _ in range(9)]
        answers = [await client.reader.readuntil(b"\r\n\r\n") for client in clients]
        assert sorted(answer[9:12] for answer in answers) == [b"200"] * 2 + [b"503"] * 7


@pytest.mark.gen_test
async def test_its_files_may_be_replaced_while_it_runs_as_an_upgrade_does_before_the_restart(
    tmp_path, monkeypatch
):
    copies = [shutil.copytree(folder(name), tmp_path / name) for name in ("templates", "static")]
    for module in ("flychat.web", "flychat.web.application"):
        monkeypatch.setattr(f"{module}.folder", tmp_path.joinpath)
    async with served() as chat:
        for copy in copies:
            shutil.rmtree(copy)
        for path, status in (("/room", 200), ("/room?user=ann", 200), ("/a/b/c", 404)):
            page = await ask(chat, path, Accept=BROWSER)
            assert (page.code, b"</html>" in page.body) == (status, True)
            for file in re.findall(r'"(/static/[^"]+)"', page.body.decode()):
                assert (await ask(chat, file)).code == 200


@pytest.mark.gen_test
async def test_a_draining_server_is_not_ready_but_alive():
    async with served() as chat:
        chat.application.draining = True
        response = await ask(chat, "/readyz")
        assert error(response) == (503, "not_ready")
        assert "is shutting down" in response.body.decode()
        assert (await ask(chat, "/healthz")).code == 200


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "garbage",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0" * 100 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
    ],
)
async def test_garbage_closes_its_connection_and_nothing_else(garbage):
    async with served() as chat:
        reader, writer = await asyncio.open_connection("127.0.0.1", chat.port)
        writer.write(garbage)
        answer = await asyncio.wait_for(reader.read(), WAIT)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
        writer.close()
        assert (await ask(chat, "/healthz")).code == 200


def test_every_route_has_a_handler_of_ours():
    """So that every answer, also an error of Tornado's own, goes through one place."""
    assert issubclass(assets.AssetHandler, base.BaseHandler)
    assert issubclass(base.MissingHandler, base.BaseHandler)
    assert ChatApplication


def test_the_last_value_of_a_repeated_field_counts():
    assert read_fields(FORM, b"from=a&from=b&text=c") == ({"from": "b", "text": "c"}, True)


def test_a_form_has_a_bounded_number_of_fields():
    assert len(read_fields(FORM, b"&".join(b"%d=" % each for each in range(1000)))[0]) == 1000
    with pytest.raises(errors.Invalid):
        read_fields(FORM, b"&" * 1000)


@pytest.mark.gen_test
async def test_data_are_stored_delivered_and_told_again_and_the_page_ignores_them():
    data = {"poll": {"question": "tea?", "answers": ["yes", "no"]}, "n": 1, "\u2028": "\u2028"}
    content = {"from": "ann", "text": "tea?", "provisionalId": str(uuid.uuid4()), "data": data, "other": 7}
    async with served() as chat:
        stream = await chat.stream()
        answer = await post(chat, content, kind=JSON)
        assert answer.code == 200
        message = json.loads(answer.body)
        assert message["data"] == data
        assert "other" not in message, "an unknown field is ignored"
        events = [fields(await stream.next()), fields(await stream.next())]
        assert [event["data"] for event in events] == [data, data]
        assert json.loads((await ask(chat, ROOM)).body)["messages"] == [message]
        assert json.loads((await post(chat, content, kind=JSON)).body) == message
        for other in ({**data, "n": True}, {}, None):
            assert error(await post(chat, {**content, "data": other}, kind=JSON)) == (409, "conflict")
        for bad in ("x", [1], {"a": "x" * 5000}):
            assert error(await post(chat, {**content, "data": bad}, kind=JSON)) == (400, "invalid")
        assert "question" not in (await ask(chat, "/room?user=ann")).body.decode()


@pytest.mark.gen_test
async def test_of_a_form_in_parts_no_long_heads_are_read_wherever_it_is_sent():
    """A hundred of 10 kB, which other handlers have read before they are asked, take a quarter of a second."""
    kind = {"Content_Type": "multipart/form-data; boundary=x"}
    head = 'Content-Disposition: form-data; name="from"'
    async with served() as chat:
        for more, status in (("", 405), ("\r\nA: b" * 60, 405), ("\r\nA: b" * 100, 400)):
            body = f"--x\r\n{head}{more}\r\n\r\nann\r\n--x--\r\n"
            assert (await ask(chat, "/room", "POST", body, **kind)).code == status
            assert (await ask(chat, ROOM, "POST", body, **kind)).code == 400  # there is no text


@pytest.mark.gen_test
@pytest.mark.parametrize("kind", [FORM, "multipart/form-data; boundary=x"])
async def test_of_a_body_that_is_too_long_for_its_handler_nothing_is_read(kind, monkeypatch):
    """Tornado read 1 MB of percent signs for a handler that takes no body at all, in 0.1 s."""
    read, parse = [], httputil.parse_body_arguments

    def noted(content_type, body, *more, **named):
        if content_type:  # else it does nothing
            read.append(len(body))
        return parse(content_type, body, *more, **named)

    monkeypatch.setattr(httputil, "parse_body_arguments", noted)
    head, end = '--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n', "\r\n--x--\r\n"
    for size in (SHORT_BYTES, SHORT_BYTES + 1, 900_000):
        body = "%" * size if kind == FORM else head + "%" * (size - len(head + end)) + end
        async with served() as chat:
            for path in ("/healthz", "/room", "/nowhere/at/all"):
                answer = await ask(chat, path, "POST", body, Content_Type=kind)
                assert answer.code == (404 if "all" in path else 405)
        assert read == ([SHORT_BYTES] * 3 if size == SHORT_BYTES else [])
        read.clear()
