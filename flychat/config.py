"""The configuration: flags, else FLYCHAT_* variables, else defaults; read once, checked, and frozen."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from . import __version__
from .access.options import AccessOptions, add_options
from .errors import Misconfigured

CREATE_TABLE = "create-table"
MODES = ("standalone", "grip", CREATE_TABLE)  # so far as options go: the last one is a command
TABLE_STORE = "dynamodb:flychat-messages"
_TABLE = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_ORIGIN = re.compile(r"https?://[^/\s?#@]+")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"", "0", "false", "no", "off"}
DAY = 86_400  # seconds
UNIX = "unix:"


@dataclass(frozen=True, slots=True)
class Config:
    """What the program was told to do. `engine` and `location` are the two parts of --store."""

    mode: str
    engine: str
    location: str
    host: str
    port: int
    cors_origins: tuple[str, ...]
    log_format: str = "plain"
    log_posts: bool = False
    retention: int | None = None  # seconds; None: for ever
    rate_limit: float = 10.0
    trust_proxy: bool = False
    memory: int = 256  # MB
    max_streams: int = 0
    max_streams_per_client: int = 0
    grip_urls: tuple[str, ...] = ()
    answer_first: bool = False
    with_pushpin: bool = False
    pushpin_port: int = 7999
    base_path: str = ""
    access: AccessOptions = field(default_factory=AccessOptions)

    @property
    def socket_file(self) -> str | None:
        """The PATH of --host unix:PATH."""
        return self.host.removeprefix(UNIX) if self.host.startswith(UNIX) else None

    @classmethod
    def read(cls, arguments: Sequence[str], environ: Mapping[str, str]) -> Config:
        """Raises Misconfigured with one line; --help and --version print and exit."""
        given = _parser().parse_args(arguments)

        def option(name: str, default: Any = None) -> Any:
            value = getattr(given, name)
            return environ.get(f"FLYCHAT_{name.upper()}") or default if value in (None, []) else value

        mode = given.mode or _mode(environ)
        if mode == CREATE_TABLE:
            raise Misconfigured("--create-table is not for a server")
        engine, location = store(
            option("store", "sqlite:flychat.db" if mode == "standalone" else TABLE_STORE)
        )
        with_pushpin = bool(given.with_pushpin) or _flag(environ, "with-pushpin")
        if with_pushpin and mode != "grip":
            raise Misconfigured("--with-pushpin is for --grip")
        answer_first = bool(given.answer_first) or _flag(environ, "answer-first")
        if answer_first and mode != "grip":
            raise Misconfigured("--answer-first is for --grip")
        if with_pushpin and given.grip_url:
            raise Misconfigured("--with-pushpin brings a proxy of its own: leave --grip-url out")
        if with_pushpin and option("host", "").startswith(UNIX):
            raise Misconfigured(
                "--with-pushpin cannot reach flychat in a file: it needs a --host with a port"
            )
        grip_urls = _several(option("grip_url", environ.get("GRIP_URL") or "http://localhost:5561"))
        trust_proxy = bool(given.trust_proxy) or _flag(environ, "trust-proxy")
        return cls(
            mode=mode,
            engine=engine,
            location=location,
            host=_host(option("host", "127.0.0.1")),
            port=_port(option("port", "3000")),
            cors_origins=tuple(map(_origin, _several(option("cors_origin", [])))),
            log_format=_log_format(option("log_format", "plain")),
            log_posts=bool(given.log_posts) or _flag(environ, "log-posts"),
            retention=_retention(option("retention", "0")),
            rate_limit=_rate(option("rate_limit", "10")),
            trust_proxy=trust_proxy,
            memory=_memory(option("memory", "256")),
            max_streams=_cap("max_streams", option("max_streams", "0")),
            max_streams_per_client=_cap("max_streams_per_client", option("max_streams_per_client", "0")),
            grip_urls=tuple(grip_urls) if mode == "grip" and not with_pushpin else (),
            answer_first=answer_first,
            with_pushpin=with_pushpin,
            pushpin_port=_port(option("pushpin_port", "7999"), "--pushpin-port"),
            base_path=_base_path(option("base_path", "")),
            access=AccessOptions.read(option, trust_proxy=trust_proxy),
        )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Misconfigured(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m flychat",
        description="A realtime chat. Every option is also a variable: --cors-origin is FLYCHAT_CORS_ORIGIN.",
        epilog="Also: python -m flychat check URL, tail URL/ROOM, say URL/ROOM TEXT, rooms, export ROOM, "
        "import ROOM FILE, copy, backup FILE, clear ROOM, token, password, revoke SUB (see their --help).",
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
        help="where it begins on its host, such as /chat (default: at the root)",
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
        help="messages per second that one client address may post, with bursts of 4 N; one over 1 kB "
        "counts by its kB, and so does what is read of the past (default: 10; 0: any)",
    )
    parser.add_argument(
        "--memory",
        metavar="MB",
        help="for the messages of all rooms in memory; the least recently used room leaves first, those with "
        "held streams last (default: 256)",
    )
    parser.add_argument(
        "--max-streams", metavar="N", help="with --standalone: streams held at once (default: 0, no cap)"
    )
    parser.add_argument(
        "--max-streams-per-client",
        metavar="N",
        help="with --standalone: of one client address (default: 0, no cap)",
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


def _mode(environ: Mapping[str, str]) -> str:
    modes = [mode for mode in MODES if _flag(environ, mode)]
    if len(modes) != 1:
        raise Misconfigured("say one of --standalone, --grip and --create-table (see --help)")
    return modes[0]


def table_asked_for(arguments: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """The --store whose table is to be created, if it is so that the server's options, or variables, say.

    `--create-table` stands among these, and is the command create-table. Raises Misconfigured.
    """
    given = _parser().parse_args(arguments)
    if (given.mode or _mode(environ)) != CREATE_TABLE:
        return None
    asked: str = given.store or environ.get("FLYCHAT_STORE") or TABLE_STORE
    return asked


def store(value: str) -> tuple[str, str]:
    """A --store, as its two parts: the engine, and where. Raises Misconfigured."""
    engine, _, location = value.partition(":")
    if engine == "sqlite" and location:
        return engine, location
    if engine == "dynamodb" and _TABLE.fullmatch(location):
        return engine, location
    raise Misconfigured(
        "--store must be sqlite:FILE, sqlite::memory: or dynamodb:TABLE (3 to 255 letters, digits and _.-)"
    )


def _flag(environ: Mapping[str, str], option: str) -> bool:
    """Whether the variable of an option without a value is set."""
    variable = f"FLYCHAT_{option.upper().replace('-', '_')}"
    value = environ.get(variable, "").lower()
    if value not in _TRUE | _FALSE:
        raise Misconfigured(f"{variable} must be 1 or 0")
    return value in _TRUE


def _port(value: str, option: str = "--port") -> int:
    if not re.fullmatch(r"[0-9]{1,5}", value) or int(value) > 65535:
        raise Misconfigured(f"{option} must be a number from 0 to 65535")
    return int(value)


def _host(value: str) -> str:
    if value == UNIX:
        raise Misconfigured("--host unix:PATH needs the path")
    return value


def _base_path(value: str) -> str:
    path = value.removesuffix("/")
    if path and (not _PATH.fullmatch(path) or {".", ".."} & set(path.split("/"))):
        raise Misconfigured("--base-path must be like /chat, of letters, digits and .-_~")
    return path


def _retention(value: str) -> int | None:
    if not re.fullmatch(r"[0-9]{1,5}", value) or 0 < int(value) < 7:
        raise Misconfigured("--retention must be a number of days, 7 or more, or 0")
    return int(value) * DAY or None


def _log_format(value: str) -> str:
    if value not in ("plain", "json"):
        raise Misconfigured("--log-format must be plain or json")
    return value


def _rate(value: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", value):
        raise Misconfigured("--rate-limit must be a number of messages per second, or 0")
    return float(value)


def _memory(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", value) or int(value) < 16:
        raise Misconfigured("--memory must be a number of megabytes, 16 or more")
    return int(value)


def _cap(name: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise Misconfigured(f"--{name.replace('_', '-')} must be a number of streams, or 0")
    return int(value)


def _several(value: str | Sequence[str]) -> Sequence[str]:
    return value.replace(",", " ").split() if isinstance(value, str) else value


def _origin(value: str) -> str:
    if not _ORIGIN.fullmatch(value):
        raise Misconfigured("--cors-origin must be an origin such as https://example.org")
    return value.lower()
