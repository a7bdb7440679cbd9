"""Who may do what in which room: rights, rules that give them, tokens, and passes. Pure.

*A right decides whether a plan is given, never what is in it.* So plans stay shared among all who are given
them, and the log knows nothing of rights:

    visitor      who asks, perhaps with a Token; checked once, before anything is read (gate.py)
    rights       r read, w write, m moderate: those that the rules give everybody, and those of the token
    pass         what a hold in a private room carries: who it is for, and when it was issued and expires

A GRIP proxy tells about a hold nothing but its channels and their positions. So a pass is one more channel,
with a position that never changes: every recovery brings it back, and so checks the right again.
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from ..errors import FlychatError, Invalid
from ..fields import CONTROL, NFC_SHRINKS, ROOM_CHARACTERS, room_name

READ, WRITE, MODERATE = "r", "w", "m"
SECRET, JWKS, HEADER = "secret", "jwks", "header"  # the kinds of tokens, by who vouches for them
UNSURE = "unsure"  # why a hold ends if revocations cannot be read for too long: its client may come back
LEEWAY = 60  # seconds that an `iat` may lie ahead: clocks differ
LIFE = 400 * 86_400  # seconds for which a token is believed; a browser keeps a cookie for as long
ID_CHARACTERS = 16  # of the 43 of a hash: 96 bits

Rights: TypeAlias = frozenset[str]
NONE: Rights = frozenset()
_SAME: dict[Rights, Rights] = {}

_RULE_BEFORE = re.compile(r"=[rwm]*[\s,;]")  # the end of one that stands before another
_PASS = re.compile(
    r"([0-9]{1,12})-([0-9]{1,12})(?:-([0-9a-f]{8}))?(?:-([0-9a-f]{8}(?:\.[0-9a-f]{8})*))?", re.ASCII
)


class BadToken(FlychatError):
    """The token is not valid."""


class KeyMissing(BadToken):
    """The token's key is not known yet: it may be in the issuer's set when that is fetched again."""


def read_rights(letters: str, known: str = READ + WRITE + MODERATE) -> Rights:
    """The rights that these letters stand for. Raises Invalid."""
    if not set(letters) <= set(known) or len(set(letters)) < len(letters):
        raise Invalid("rights", f"must be some of the letters {known}, each once")
    rights = frozenset(letters)
    return _SAME.setdefault(rights, rights)  # each takes 216 bytes, and a token may have a hundred


def read_pattern(text: str) -> str:
    """A pattern: the name of a room, or the beginning of names and a `*`. Raises Invalid, NotFound."""
    if not text.endswith("*"):
        return room_name(text)
    if len(text) <= NFC_SHRINKS * ROOM_CHARACTERS + 1:
        beginning = unicodedata.normalize("NFC", text)
        if len(beginning) <= ROOM_CHARACTERS + 1 and "/" not in beginning and not CONTROL.search(beginning):
            return beginning
    raise Invalid("pattern", "must be the name of a room, or its beginning and *")


def typed_pattern(text: str) -> str:
    """A pattern that an operator gives: a * amid it was not meant to be part of a name. Raises Invalid."""
    if "*" in text[:-1]:
        raise Invalid("pattern", "can only have a * as its last character")
    return read_pattern(text)


def read_rule(text: str, known: str = READ + WRITE + MODERATE) -> tuple[str, Rights]:
    """PATTERN=RIGHTS, as an operator gives it. Raises Invalid, NotFound.

    Two in one are refused: taken for one, of a room of a strange name, they would close no other.
    """
    pattern, equals, letters = text.rpartition("=")
    if not equals:
        raise Invalid("rule", "must be a pattern, = and rights")
    if _RULE_BEFORE.search(pattern):
        raise Invalid("rule", "must be one: each is given by itself")
    return typed_pattern(pattern), read_rights(letters, known)


def covers(pattern: str, room: str) -> bool:
    return pattern == room or (pattern.endswith("*") and room.startswith(pattern[:-1]))


def vagueness(pattern: str) -> tuple[int, bool]:
    """A key to sort patterns by: the longest first, and a name before a beginning of the same length."""
    return -len(pattern.removesuffix("*")), pattern.endswith("*")


@dataclass(frozen=True, slots=True)
class Rules:
    """Rights by patterns: the longest pattern that fits a room decides; if none fits, there are no rights."""

    rules: tuple[tuple[str, Rights], ...] = ()  # longest pattern first

    @classmethod
    def of_rules(cls, rules: Iterable[tuple[str, Rights]]) -> Rules:
        """Of rules in any order."""
        return cls(tuple(sorted(rules, key=lambda rule: vagueness(rule[0]))))

    def of(self, room: str) -> Rights:
        for pattern, rights in self.rules:
            if covers(pattern, room):
                return rights
        return NONE

    def everywhere(self, right: str) -> bool:
        """Whether they give a right in every room."""
        return all(right in rights for _, rights in self.rules) and "*" in dict(self.rules)


EVERYBODY = Rules((("*", frozenset((READ, WRITE))),))  # the rights of everybody, unless options say others


@dataclass(frozen=True, slots=True)
class Token:
    """What a trusted issuer says of a visitor. Times are in whole seconds since the epoch."""

    sub: str  # the user's id at the issuer
    name: str | None  # under which they write; None: under any
    rooms: Rules
    issued: int
    expires: int  # it is valid until just before this
    kind: str  # SECRET, JWKS or HEADER
    key: str = ""  # the id of the key in --secret with which it is signed
    password: str = ""  # the ids of the passwords for which it was given, with dots between

    @property
    def is_guest(self) -> bool:
        return bool(self.password)

    def pass_(self) -> Pass:
        """The pass that a hold of its bearer carries."""
        return Pass(pass_id(self.kind, self.sub), self.issued, self.expires, self.key, self.password)


def pass_id(kind: str, sub: str) -> str:
    """The id of a user's passes: a hash, since proxies log it."""
    digest = hashlib.sha256(f"{kind}\0{sub}".encode()).digest()
    return base64.urlsafe_b64encode(digest).decode()[:ID_CHARACTERS]


def passes_of(sub: str) -> list[str]:
    """The ids of all passes that a user may have."""
    return [pass_id(kind, sub) for kind in (SECRET, JWKS)]


@dataclass(frozen=True, slots=True)
class Pass:
    """The right that a hold carries: whose it is, and what it depends on. Not the token, which is secret."""

    id: str
    issued: int
    expires: int
    key: str = ""
    password: str = ""

    @property
    def channel(self) -> str:
        return pass_channel(self.id)

    @property
    def position(self) -> str:
        """The prev-id of its channel: ISSUED-EXPIRES, then the ids of its key and its passwords, if any."""
        parts = [str(self.issued), str(self.expires), self.key, self.password]
        return "-".join(part for part in parts if part)

    @classmethod
    def read(cls, channel: str, position: str) -> Pass | None:
        """The pass of a channel at a position, if it is one."""
        prefix, dash, id = channel.partition("-")
        match = _PASS.fullmatch(position)
        if prefix + dash != "pass-" or match is None or len(id) != ID_CHARACTERS:
            return None
        return cls(id, int(match[1]), int(match[2]), match[3] or "", match[4] or "")


def pass_channel(id: str) -> str:
    """The channel that all holds of one bearer are subscribed to."""
    return f"pass-{id}"
