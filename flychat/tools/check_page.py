"""The page of a deployment, for `check`: it and its files are there, and browsers can post from it."""

from __future__ import annotations

import contextlib
import json
from html.parser import HTMLParser
from urllib.parse import quote, urljoin, urlsplit

from .. import client
from ..client import http
from ..errors import FlychatError
from ..fields import new_id
from .checked import Checked, Findings, reason

FILES = 50  # of a page are looked at, at the most
KINDS = {".js": "javascript", ".css": "text/css", ".svg": "image/svg"}  # nosniff: browsers take no other
HOST = "a proxy on the way replaces Host; it has to pass it on as it is, with the port"


async def check_page(found: Findings, at: Checked) -> None:
    """Loads a page and its files, and posts with the page's Origin, as only browsers do."""
    url, allowed = at.url, await http.bearing(at.token)
    page = f"{url}/{quote(at.room)}"
    try:
        _, body = await http.fetch(f"{page}?user=check", {"Accept": "text/html", **allowed})
    except (client.Denied, OSError) as error:
        return found.problem(f"there is no page at {page}: {reason(error)}")
    loaded = Loaded()
    with contextlib.suppress(AssertionError):  # at what no browser minds: it is no page of flychat's
        loaded.feed(body.decode(errors="replace"))
    if loaded.messages is None:
        found.problem(f"the page at {page} is not flychat's page of a room, or the query was lost on the way")
    elif _address(page, loaded.messages) != http.messages_url(url, at.room):
        found.problem(f"the page posts to {loaded.messages}: {_begin_at(urlsplit(url).path)}")
    missing = [f"{name} {why}" for name in loaded.files if (why := await _file(page, name))]
    number = f"{len(loaded.files)} files"
    found.that(not missing, f"the page and its {number} are there", f"the page's files: {'; '.join(missing)}")

    origin, messages = _origin(url), http.messages_url(url, at.room)
    headers = {"Content-Type": "application/json", **allowed}
    fields = {"text": "A test message.", "provisionalId": new_id()}
    if at.sender is not None:
        fields["from"] = at.sender

    async def refused(**more: str) -> Exception | None:
        try:
            await http.fetch(messages, {**headers, **more}, json.dumps(fields).encode())
        except (client.Denied, OSError) as error:
            return error
        return None

    refusal = await refused(Origin=origin)
    if refusal is None:
        return found.good("browsers can post from the page: Host is passed on")
    cause = f": {reason(refusal)}"
    if isinstance(refusal, client.Denied) and refusal.code == "forbidden" and await refused() is None:
        cause = f", for flychat takes {origin} for another site's: {HOST}"
    found.problem(f"browsers cannot post from the page{cause}")


class Loaded(HTMLParser):
    """What a page loads, and where its form posts messages (None: it is no page of a room)."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[str] = []
        self.messages: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        file = found.get({"link": "href", "script": "src", "img": "src"}.get(tag, ""))
        if file and file not in self.files and len(self.files) < FILES:
            self.files.append(file)
        if tag == "form" and found.get("method") == "post":
            self.messages = found.get("action")


def _address(page: str, link: str) -> str:
    """Where the link of a page leads to; "" if it is none."""
    try:
        _origin(address := urljoin(page, link))
    except ValueError:
        return ""
    return address


async def _file(page: str, name: str) -> str:
    """What is wrong with a file of the page, or nothing."""
    address = _address(page, name)
    if _origin(address) != _origin(page):
        return "is somewhere else"
    try:
        head, _ = await http.fetch(address, {})
    except (FlychatError, OSError) as error:
        return reason(error)
    given, path = head.get("content-type", ""), urlsplit(address).path
    wanted = next((kind for end, kind in KINDS.items() if path.endswith(end)), "")
    return "" if wanted in given else f"is said to be {given or 'nothing'}, not {wanted}"


def _begin_at(path: str) -> str:
    if not path:
        return "flychat's --base-path is not where this address leads to"
    return f"flychat has to be started with --base-path {path}, and a proxy to pass paths on as they are"


def _origin(url: str) -> str:
    """The origin as a browser writes it: without the default port."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{host}" + ("" if parts.port in (None, usual) else f":{parts.port}")
