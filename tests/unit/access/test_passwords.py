"""Passwords of rooms: what is looked at is what may be one."""

import asyncio
import threading

import pytest

from flychat.access.passwords import AT_ONCE, LONGEST, Password, Passwords, hashed

gen_test = pytest.mark.gen_test


@gen_test
async def test_what_is_too_long_for_a_password_is_not_hashed(monkeypatch):
    """It would cost as much as a guess, and more."""
    tried = []
    monkeypatch.setattr(Password, "fits", lambda self, given: tried.append(len(given)))
    passwords = Passwords([Password("staff", 1 << 14, 8, 1, b"", b"", "11111111")])
    for length in (LONGEST, LONGEST + 1):
        assert await passwords.find("staff", "x" * length) is None
    assert tried == [LONGEST]


def test_half_a_character_is_a_wrong_password():
    """JSON can have one: b"\\ud800"."""
    assert not Password.read(f"staff={hashed('open sesame')}").fits("\ud800")


@gen_test
async def test_who_goes_in_the_middle_of_a_try_lets_nobody_else_begin(monkeypatch):
    """Its thread goes on: else some clients that come and go would have all threads hash, and a queue behind them."""
    tried, go_on = [], threading.Event()

    def fits(self, given):
        tried.append(given)
        go_on.wait()
        return given == "right"

    monkeypatch.setattr(Password, "fits", fits)
    passwords = Passwords([Password("staff", 1 << 14, 8, 1, b"", b"", "11111111")])
    gone = [asyncio.ensure_future(passwords.find("staff", f"wrong {number}")) for number in range(AT_ONCE)]
    while len(tried) < AT_ONCE:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)
    for trying in gone:
        trying.cancel()
    await asyncio.gather(*gone, return_exceptions=True)
    still_hashing = passwords._turn.locked()
    go_on.set()
    assert still_hashing
    assert await passwords.find("staff", "right") is not None
