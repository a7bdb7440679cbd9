"""Passwords of rooms: a visitor who knows one is given a token, as a guest. Kept as scrypt$N$r$p$SALT$HASH.

A guest's token says for which password it was given, and is valid as long as that is among the options: when
the password is changed, everybody has to enter the new one. To hash one takes 60 ms and 16 MB, which makes
guessing expensive. It is done in threads, AT_ONCE at a time, and each address has few tries. While WAITING of
them wait, others are refused: else an attacker with many addresses would have everybody wait for minutes.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import Invalid, Misconfigured, NotFound, Overloaded
from . import covers, typed_pattern, vagueness

COST, BLOCK, PARALLEL = 1 << 14, 8, 1
SALT_BYTES, HASH_BYTES = 16, 32
COSTS = {1 << power for power in range(14, 18)}  # that an option may have
MEMORY = 256 << 20  # bytes that hashing may take
AT_ONCE, WAITING = 2, 100  # tries at the most: the last one waits for some 4 s
LONGEST = 256  # characters of a password
FORM = "--password must be like staff-*=scrypt$..., as python -m flychat password prints it"


@dataclass(frozen=True, slots=True)
class Password:
    """The hash of a password that opens the rooms of a pattern. `id` is a name for it that is not secret."""

    pattern: str
    cost: int
    block: int
    parallel: int
    salt: bytes
    hash: bytes
    id: str

    @classmethod
    def read(cls, option: str) -> Password:
        """PATTERN=HASH. Raises Misconfigured."""
        text, equals, kept = option.partition("=scrypt$")
        try:
            pattern = typed_pattern(text)
            cost, block, parallel, salt, digest = kept.split("$")
            numbers = int(cost), int(block), int(parallel)
            salts, hashes = (base64.b64decode(part, validate=True) for part in (salt, digest))
        except (ValueError, Invalid, NotFound):
            raise Misconfigured(FORM) from None
        known = equals and numbers[0] in COSTS and numbers[1:] == (BLOCK, PARALLEL)
        if not known or len(salts) < SALT_BYTES or len(hashes) != HASH_BYTES:
            raise Misconfigured(FORM)
        return cls(pattern, *numbers, salts, hashes, hashlib.sha256(option.encode()).hexdigest()[:8])

    def fits(self, password: str) -> bool:
        """Whether it is this one. Takes 60 ms or more."""
        given = scrypt(password.encode(errors="replace"), self.salt, self.cost, self.block, self.parallel)
        return hmac.compare_digest(given, self.hash)


def hashed(password: str) -> str:
    """The password as it is kept."""
    salt = os.urandom(SALT_BYTES)
    digest = scrypt(password.encode(), salt, COST, BLOCK, PARALLEL)
    parts = (base64.b64encode(part).decode() for part in (salt, digest))
    return "$".join(["scrypt", str(COST), str(BLOCK), str(PARALLEL), *parts])


def scrypt(password: bytes, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    return hashlib.scrypt(password, salt=salt, n=cost, r=block, p=parallel, maxmem=MEMORY, dklen=HASH_BYTES)


class Passwords:
    """All that are in use."""

    def __init__(self, passwords: Sequence[Password] = ()) -> None:
        self.by_id = {password.id: password for password in passwords}
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._tries = 0  # under way

    def of(self, room: str) -> list[Password]:
        """Those that open the room: of the longest pattern that fits."""
        fitting = [password for password in self.by_id.values() if covers(password.pattern, room)]
        longest = min((vagueness(password.pattern) for password in fitting), default=None)
        return [password for password in fitting if vagueness(password.pattern) == longest]

    def known(self, ids: str) -> list[Password]:
        """Those with these ids, which have dots between them, that are in use still."""
        return [self.by_id[id] for id in ids.split(".") if id in self.by_id]

    async def find(self, room: str, given: str) -> Password | None:
        """Which of the room's passwords this is; None: none of them. Raises Overloaded."""
        if len(given) > LONGEST:
            return None
        if self._tries >= WAITING:
            raise Overloaded
        self._tries += 1
        try:
            await self._turn.acquire()
            trying = asyncio.ensure_future(asyncio.to_thread(_fitting, self.of(room), given))
            trying.add_done_callback(lambda _: self._turn.release())  # not sooner, if the client goes
            await asyncio.wait([trying])
            return trying.result()
        finally:
            self._tries -= 1


def _fitting(passwords: Sequence[Password], given: str) -> Password | None:
    return next((password for password in passwords if password.fits(given)), None)
