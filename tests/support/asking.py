"""One request and its answer: how most tests of the wire contract ask."""

import json
from urllib.parse import urlencode

from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from tests.support.served import Served

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
ROOM = "/rooms/room/messages/"


async def ask(chat: Served, path: str, method: str = "GET", body=None, **headers) -> HTTPResponse:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return await AsyncHTTPClient().fetch(
        chat.url + path,
        method=method,
        body=body,
        headers=headers,
        follow_redirects=False,
        raise_error=False,
        allow_nonstandard_methods=True,
        decompress_response=False,
    )


async def post(chat: Served, content: dict, path: str = ROOM, kind: str = FORM, **headers) -> HTTPResponse:
    body = json.dumps(content) if kind == JSON else urlencode(content)
    return await ask(chat, path, "POST", body, Content_Type=kind, **headers)


def error(response: HTTPResponse) -> tuple[int, str]:
    """(status, code); checks that the body is what an error's body has to be."""
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    (value,) = json.loads(response.body).values()
    assert list(json.loads(response.body)) == ["error"]
    assert sorted(value) == ["code", "message"]
    assert value["message"]
    return response.code, value["code"]
