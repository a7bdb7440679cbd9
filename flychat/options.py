"""The server's options, as its command line and --help have them; what they mean is in config.py."""

from __future__ import annotations

import argparse
from typing import NoReturn

from . import __version__
from .access.options import add_options
from .errors import Misconfigured

CREATE_TABLE = "create-table"
MODES = ("standalone", "grip", CREATE_TABLE)  # so far as options go: the last one is a command


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Misconfigured(message)


def parser() -> argparse.ArgumentParser:
    """All options. What they say is checked in config.py."""
    parser = _Parser(
        prog="python -m flychat",
        description="A realtime chat. Every option is also a variable: --cors-origin is FLYCHAT_CORS_ORIGIN.",
        epilog="Also: python -m flychat check URL, tail URL/ROOM, say URL/ROOM TEXT, rooms, export ROOM, "
        "import ROOM FILE, copy, backup FILE, clear ROOM, remove ROOM ID, erase, token, password, revoke SUB "
        "(see their --help).",
        allow_abbrev=False,
    )
    mode = parser.add_mutually_exclusive_group()
    for name, help in (
        ("standalone", "hold the connections in this process"),
        ("grip", "run behind a GRIP proxy, which holds the connections"),
        (CREATE_TABLE, "create the DynamoDB table and exit"),
    ):
        mode.add_argument(f"--{name}", dest="mode", action="store_const", const=name, help=help)
    parser.add_argument(
        "--store",
        help="where messages are kept: sqlite:FILE, sqlite::memory: or dynamodb:TABLE "
        "(default: sqlite:flychat.db, with --grip dynamodb:flychat-messages)",
    )
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1; :: for all), or unix:PATH")
    parser.add_argument("--port", help="port to listen on, 0 for a free one (default: 3000)")
    parser.add_argument(
        "--base-path",
        metavar="PATH",
        help="the path under which the server is on its host, such as /chat (default: the root)",
    )
    parser.add_argument(
        "--cors-origin",
        action="append",
        metavar="ORIGIN",
        help="a web page's origin that may use the API, such as https://example.org (repeatable)",
    )
    parser.add_argument(
        "--retention", metavar="DAYS", help="delete older messages; 7 days or more (default: 0, keep all)"
    )
    parser.add_argument("--log-format", metavar="plain|json", help="of the log on stderr (default: plain)")
    parser.add_argument(
        "--log-posts",
        action="store_true",
        help="log a line for each POST: room, id, client address, user; never the text",
    )
    parser.add_argument(
        "--rate-limit",
        metavar="N",
        help="messages per second that one client address may post, with bursts of 4 N; a message over 1 kB, "
        "or a page of the past, counts as one for each kB (default: 10; 0: no limit)",
    )
    parser.add_argument(
        "--signals",
        action="store_true",
        help="clients may tell each other who is here, and who is typing; nothing of that is kept",
    )
    parser.add_argument(
        "--memory",
        metavar="MB",
        help="memory for the messages of all rooms; the least recently used rooms leave first, those with "
        "open streams last (default: 256)",
    )
    parser.add_argument(
        "--max-streams", metavar="N", help="with --standalone: streams held at once (default: 0, no cap)"
    )
    parser.add_argument(
        "--max-streams-per-client",
        metavar="N",
        help="with --standalone: streams of one client address (default: 0, no cap)",
    )
    parser.add_argument(
        "--trust-proxy",
        action="store_true",
        help="take a client's address from X-Forwarded-For, whose last entry a proxy in front must have set",
    )
    parser.add_argument(
        "--grip-url",
        action="append",
        metavar="URL",
        help="where a GRIP proxy takes publications (default: http://localhost:5561/), with its keys as in "
        "URL?iss=...&key=base64:...&verify-iss=...&verify-key=base64:... (repeatable; also GRIP_URL). "
        "Others on the machine can read options, as in ps: with keys, prefer the variable",
    )
    parser.add_argument(
        "--channel-prefix",
        metavar="NAME",
        help="with --grip: a name for each of several flychats, with stores of their own, behind one proxy; "
        "else rooms of the same name are mixed (default: none)",
    )
    parser.add_argument(
        "--answer-first",
        action="store_true",
        help="with --grip: answer a POST before the proxies have taken what it publishes, for processes that "
        "nothing stops after an answer (default: wait for them, at most a second)",
    )
    parser.add_argument(
        "--with-pushpin", action="store_true", help="with --grip: start a Pushpin too, to try it out locally"
    )
    parser.add_argument("--pushpin-port", metavar="PORT", help="where that Pushpin listens (default: 7999)")
    add_options(parser)
    parser.add_argument("--version", action="version", version=f"flychat {__version__}")
    return parser
