"""Answers in bytes, as Tornado would write them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from tornado.httputil import format_timestamp

from ..errors import Overloaded
from ..streams import STREAM_HEADERS, answer_head
from .problems import Problem, problem_of

DEFAULT_HEADERS = {
    "Server": "flychat",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
JSON = "application/json; charset=utf-8"


class Heads(NamedTuple):
    """The parts of answers that are the same for a whole second (they have the header Date)."""

    second: int
    stream: bytes  # the head of a stream that is held here
    proxied: bytes  # the head of a stream that a proxy is to hold, up to the headers that tell it how
    message: bytes  # the head of the answer to a POST, up to the length of its body
    shed: bytes  # the whole answer to a POST that is refused

    @classmethod
    def at(cls, second: int) -> Heads:
        stream = {**DEFAULT_HEADERS, **STREAM_HEADERS, "Date": format_timestamp(second)}
        return cls(
            second,
            answer_head(stream.items(), chunked=True),
            head_of("200 OK", second, STREAM_HEADERS),
            head_of("200 OK", second, {}),
            refusal(problem_of(Overloaded()), second),
        )


def refusal(problem: Problem, second: int, more: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """What BaseHandler.write_error would answer a program in this second, with `more` headers."""
    head = head_of(f"{problem.status} {problem.title}", second, {**problem.headers, **more})
    return with_body(head, problem.json.encode())


def head_of(status: str, second: int, more: Mapping[str, str]) -> bytes:
    """The head of an answer, of JSON unless `more` says another type, up to the length of the body."""
    headers = {
        "Server": "",  # stands first; which it is, DEFAULT_HEADERS say
        "Content-Type": JSON,
        "Date": format_timestamp(second),
        **DEFAULT_HEADERS,
        **more,
    }
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items()), ""]
    return "\r\n".join(lines).encode("latin-1")


def with_body(head: bytes, body: bytes) -> bytes:
    return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)
