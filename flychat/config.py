"""The configuration: flags, else FLYCHAT_* variables, else defaults; read once, checked, and frozen."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .access.options import AccessOptions, several
from .errors import Misconfigured
from .options import CREATE_TABLE, MODES, parser

FILE_STORE, TABLE_STORE = "sqlite:flychat.db", "dynamodb:flychat-messages"  # unless --store says another
_TABLE = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_ORIGIN = re.compile(r"https?://[^/\s?#@]+")
_USUAL_PORTS = {"http": ":80", "https": ":443"}  # browsers leave them out
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"", "0", "false", "no", "off"}
DAY = 86_400  # seconds
PORTS = range(65_536), "from 0 to 65535"
CAPS = range(10**9), "of streams, or 0"
UNIX = "unix:"
_PREFIX = "FLYCHAT_"
_NO_OPTIONS = {"FLYCHAT_TOKEN", "FLYCHAT_DYNAMODB"}  # of `tail`, `say` and `check`; of DynamoDB's store
# Said on the command line, these are for one mode; as variables, which are set for a whole machine, for any.
_MODE_OF = {
    "grip_url": "grip",
    "channel_prefix": "grip",
    "pushpin_port": "grip",
    "max_streams": "standalone",
    "max_streams_per_client": "standalone",
}


@dataclass(frozen=True, slots=True)
class Config:
    """What the program was told to do. `engine` and `location` are the two parts of --store."""

    mode: str
    engine: str
    location: str
    host: str
    port: int
    cors_origins: tuple[str, ...]
    log_format: str
    log_posts: bool
    retention: int | None  # seconds; None: for ever
    rate_limit: float
    trust_proxy: bool
    memory: int  # MB
    max_streams: int
    max_streams_per_client: int
    grip_urls: tuple[str, ...]
    channel_prefix: str
    answer_first: bool
    with_pushpin: bool
    pushpin_port: int
    base_path: str
    signals: bool
    access: AccessOptions

    @property
    def socket_file(self) -> str | None:
        """The PATH of --host unix:PATH."""
        return self.host.removeprefix(UNIX) if self.host.startswith(UNIX) else None

    @classmethod
    def read(cls, arguments: Sequence[str], environ: Mapping[str, str]) -> Config:
        """Raises Misconfigured with one line; --help and --version print and exit."""
        given = parser().parse_args(arguments)
        try:
            return cls._of(given, environ)
        except Misconfigured as error:
            raise Misconfigured(_as_given(str(error), given, environ)) from None

    @classmethod
    def _of(cls, given: argparse.Namespace, environ: Mapping[str, str]) -> Config:
        def option(name: str, default: Any = None) -> Any:
            value = getattr(given, name)
            return variable(environ, name) or default if value in (None, []) else value

        def switch(name: str) -> bool:
            return bool(getattr(given, name)) or _flag(environ, name)

        def number(name: str, default: str, allowed: range, what: str) -> int:
            value, digits = option(name, default), len(str(allowed[-1]))
            if not re.fullmatch(f"[0-9]{{1,{digits}}}", value) or int(value) not in allowed:
                raise Misconfigured(f"--{name.replace('_', '-')} must be a number {what}")
            return int(value)

        mode = given.mode or _mode(environ)
        if mode == CREATE_TABLE:
            raise Misconfigured("--create-table is not for a server")
        for name, wanted in _MODE_OF.items():
            if getattr(given, name) is not None and mode != wanted:
                raise Misconfigured(f"--{name.replace('_', '-')} is for --{wanted}")
        engine, location = store(option("store", FILE_STORE if mode == "standalone" else TABLE_STORE))
        with_pushpin = switch("with_pushpin")
        if with_pushpin and mode != "grip":
            raise Misconfigured("--with-pushpin is for --grip")
        answer_first = switch("answer_first")
        if answer_first and mode != "grip":
            raise Misconfigured("--answer-first is for --grip")
        if given.pushpin_port is not None and not with_pushpin:
            raise Misconfigured("--pushpin-port is for --with-pushpin")
        if with_pushpin and given.grip_url:
            raise Misconfigured("--with-pushpin brings a proxy of its own: leave --grip-url out")
        if with_pushpin and option("host", "").startswith(UNIX):
            raise Misconfigured(
                "--with-pushpin cannot reach flychat on a Unix socket: give --host an address"
            )
        grip_urls = several(option("grip_url", environ.get("GRIP_URL", ""))) or ["http://localhost:5561"]
        trust_proxy = switch("trust_proxy")
        return cls(
            mode=mode,
            engine=engine,
            location=location,
            host=_host(option("host", "127.0.0.1")),
            port=number("port", "3000", *PORTS),
            cors_origins=tuple(map(_origin, several(option("cors_origin", [])))),
            log_format=_log_format(option("log_format", "plain")),
            log_posts=switch("log_posts"),
            retention=_retention(option("retention", "0")),
            rate_limit=_rate(option("rate_limit", "10")),
            trust_proxy=trust_proxy,
            memory=number("memory", "256", range(16, 10**6), "of megabytes, 16 or more"),
            max_streams=number("max_streams", "0", *CAPS),
            max_streams_per_client=number("max_streams_per_client", "0", *CAPS),
            grip_urls=tuple(grip_urls) if mode == "grip" and not with_pushpin else (),
            channel_prefix=_channel_prefix(option("channel_prefix", "")),
            answer_first=answer_first,
            with_pushpin=with_pushpin,
            pushpin_port=number("pushpin_port", "7999", *PORTS),
            base_path=_base_path(option("base_path", "")),
            signals=switch("signals"),
            access=AccessOptions.read(option, trust_proxy=trust_proxy),
        )


def variable_of(option: str) -> str:
    """The variable's name: FLYCHAT_CORS_ORIGIN for --cors-origin, or cors_origin."""
    return _PREFIX + option.removeprefix("--").replace("-", "_").upper()


def variable(environ: Mapping[str, str], option: str) -> str:
    """What the option's variable says; empty if there is none.

    White space around it is no part of it: a file of variables may have that at the end of a line, or CRLF.
    """
    return environ.get(variable_of(option), "").strip()


def misspelt(environ: Mapping[str, str]) -> Iterator[str]:
    """The variables with our prefix that are of no option: what they should have said is not done."""
    known = {variable_of(name) for action in parser()._actions for name in (*action.option_strings, *MODES)}
    return (name for name in sorted(environ) if name.startswith(_PREFIX) and name not in known | _NO_OPTIONS)


def _as_given(error: str, given: argparse.Namespace, environ: Mapping[str, str]) -> str:
    """An error that begins with an option begins with its variable instead, if that is what was given."""
    option = error.partition(" ")[0]
    said = vars(given).get(option.removeprefix("--").replace("-", "_"))
    return error.replace(option, variable_of(option), 1) if not said and variable(environ, option) else error


def _mode(environ: Mapping[str, str]) -> str:
    modes = [mode for mode in MODES if _flag(environ, mode)]
    if len(modes) != 1:
        raise Misconfigured("say one of --standalone, --grip and --create-table (see --help)")
    return modes[0]


def table_asked_for(arguments: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """The --store whose table is to be created, if it is so that the server's options, or variables, say.

    `--create-table` stands among these, and is the command create-table. Raises Misconfigured.
    """
    given = parser().parse_args(arguments)
    if (given.mode or _mode(environ)) != CREATE_TABLE:
        return None
    asked: str = given.store or variable(environ, "store") or TABLE_STORE
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


def _flag(environ: Mapping[str, str], name: str) -> bool:
    """Whether the variable of an option without a value is set."""
    value = variable(environ, name).lower()
    if value not in _TRUE | _FALSE:
        raise Misconfigured(f"{variable_of(name)} must be 1 or 0")
    return value in _TRUE


def _host(value: str) -> str:
    if value == UNIX:
        raise Misconfigured("--host unix:PATH needs the path")
    return value


def _base_path(value: str) -> str:
    path = value.removesuffix("/")
    if path and (not _PATH.fullmatch(path) or {".", ".."} & set(path.split("/"))):
        raise Misconfigured("--base-path must be like /chat, of letters, digits and .-_~")
    return path


def _channel_prefix(value: str) -> str:
    """With the end of the name: no room or channel has a colon."""
    if value and not re.fullmatch(r"[A-Za-z0-9._~-]{1,64}", value):
        raise Misconfigured("--channel-prefix must be of letters, digits and .-_~, 64 at the most")
    return value and f"{value}:"


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


def _origin(value: str) -> str:
    if not _ORIGIN.fullmatch(value) or not value.isascii():
        raise Misconfigured(
            "--cors-origin must be, as browsers send it, an origin such as https://example.org"
        )
    origin = value.lower()
    return origin.removesuffix(_USUAL_PORTS[origin.partition(":")[0]])
