"""How the campaigns read an answer: one that waits for the wrong end says that flychat is slow."""

from __future__ import annotations

import asyncio

import pytest

from .oracle import read_body

NEXT = b"HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    ("headers", "coming"),
    [
        ({"transfer-encoding": "chunked"}, b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"),
        ({"content-length": "3"}, b"abc"),
    ],
)
@pytest.mark.gen_test
async def test_a_body_ends_where_its_head_says_on_a_connection_that_stays(headers, coming):
    reader = asyncio.StreamReader()
    reader.feed_data(coming + NEXT)
    assert b"".join([part async for part in read_body(reader, headers)]) == b"abc"
    assert await reader.readexactly(len(NEXT)) == NEXT


@pytest.mark.gen_test
async def test_else_it_ends_with_its_connection():
    reader = asyncio.StreamReader()
    reader.feed_data(b"abc")
    reader.feed_eof()
    assert b"".join([part async for part in read_body(reader, {})]) == b"abc"


@pytest.mark.gen_test
async def test_a_body_that_is_cut_is_no_whole_one():
    reader = asyncio.StreamReader()
    reader.feed_data(b"ab")
    reader.feed_eof()
    with pytest.raises(EOFError):
        [part async for part in read_body(reader, {"content-length": "3"})]
