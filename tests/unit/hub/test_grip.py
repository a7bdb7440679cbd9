"""The words of GRIP."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flychat.hub.grip import read_grip_last
from flychat.streams import StreamRequest


@pytest.mark.parametrize(
    ("headers", "request_"),
    [
        (["messages-a%20b; last-id=117"], StreamRequest("a b", 117, recover=True)),
        (
            ["provisional-a%20b; last-id=3", "messages-a%20b; last-id=4"],
            StreamRequest("a b", 4, recover=True),
        ),
        (["x; last-id=1, messages-a%2Cb;last-id=0"], StreamRequest("a,b", 0, recover=True)),
        (["messages-a-b; x=y; last-id=2"], StreamRequest("a-b", 2, recover=True)),
        ([], None),
        (["messages-a"], None),
        (["messages-; last-id=1"], None),
        (["messages-a; last-id=x"], None),
        (["messages-healthz; last-id=1"], None),
        (["messages-a%2Fb%00; last-id=1"], None),
        (["messages-%2E; last-id=1, messages-b; last-id=2"], StreamRequest("b", 2, recover=True)),
    ],
)
def test_a_recovery_is_read_from_grip_last(headers, request_):
    assert read_grip_last(headers) == request_


@given(st.lists(st.text()))
def test_any_grip_last_is_a_recovery_or_nothing(values):
    request = read_grip_last(values)
    assert request is None or (request.recover and request.last_id is not None)
