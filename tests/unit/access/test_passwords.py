"""Passwords of rooms: what is looked at is what may be one."""

import pytest

from flychat.access.passwords import LONGEST, Password, Passwords

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
