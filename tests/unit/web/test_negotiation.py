"""What an Accept header asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flychat.web.negotiation import prefers


@pytest.mark.parametrize(
    ("accept", "stream"),
    [
        ("text/event-stream", True),
        ("TEXT/Event-Stream", True),
        ("text/event-stream, */*;q=0.1", True),
        ("text/event-stream, */*", True),
        ("text/event-stream;q=0.9, application/json;q=0.8", True),
        ("text/event-stream;charset=utf-8", True),
        ("text/*", True),
        ("text/event-stream, application/json", True),
        ("application/json, text/event-stream", False),
        ("application/json", False),
        ("*/*", False),
        ("", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        ("text/event-stream;q=0", False),
        ("text/event-stream;q=0, */*", False),
        ("text/event-stream;q=x", False),
        ("application/json;q=0.5, text/event-stream;q=0.4", False),
        ("text/event-stream, text/event-stream;q=0", True),  # of two for one type the first
        ("x/y," * 10 + "text/event-stream", True),
        ("x/y," * 1000 + "text/event-stream", False),  # so many are not looked at: that would take a while
        ("text/event-stream" + ";x" * 1000, True),
    ],
)
def test_a_stream_is_for_those_who_prefer_it(accept, stream):
    assert prefers(accept, "text/event-stream", "application/json") is stream


@given(st.text())
def test_any_accept_header_can_be_read(accept):
    assert prefers(accept, "text/event-stream", "application/json") in (True, False)
