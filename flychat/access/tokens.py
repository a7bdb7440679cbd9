"""Tokens, read and made: JSON Web Tokens (RFC 7519) with a few claims of our own. No I/O, no clock.

The configuration decides which algorithm is right, never the token: with a key of --secret it is HS256, with
one of --jwks RS256, ES256 or EdDSA, each tried with its own kind of keys only.

The claims: `sub`, `iat`, `exp` are required; `name` is the name under which its bearer writes, `rooms` has
rights by patterns; others are ignored, but for `nbf` and, in tokens of --secret, `pw` (the id of a room's
password). Clocks differ, so `iat` and `nbf` may lie LEEWAY seconds ahead; `exp` is exact. A token is valid
for LIFE after its `iat` at the most, whatever its `exp`, so that revocations need not be kept for longer.

Verifying takes 0.1 ms or more, and clients come back with the same token, so verified tokens are remembered.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jwt
from jwt.types import Options

from ..errors import Invalid, Misconfigured, NotFound
from ..fields import sender_name, user_id
from . import LEEWAY, LIFE, SECRET, BadToken, KeyMissing, Rules, Token, read_pattern, read_rights

ALGORITHM = "HS256"
ASYMMETRIC = ("RS256", "ES256", "EdDSA")
KEY_BYTES = 32  # that a key of HS256 must have (RFC 7518, 3.2)
TOKEN_CHARACTERS = 4096  # at the most, as a cookie has no more
ROOMS = 100  # patterns in one token, at the most
REMEMBERED = 10_000  # verified tokens
LAST_DATE = 10**11  # seconds since the epoch: the year 5138

# Claims are checked by `token_of`, with a clock that is handed in.
SIGNATURE_ONLY: Options = {
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
    "verify_sub": False,
    "verify_jti": False,
    "verify_aud": False,
    "verify_iss": False,
}


class Signed(NamedTuple):
    """What a token claims, once its signature is right."""

    claims: Mapping[str, Any]
    kind: str
    key: str = ""  # the id of its key, if that is one of --secret


class Verifier(Protocol):
    """Keys of one kind."""

    def verify(self, text: str) -> Signed:
        """Raises BadToken."""


class Secret:
    """The keys of --secret: the first one signs, all verify. `read_at` is when they were read."""

    def __init__(self, keys: Sequence[bytes], read_at: int = 0) -> None:
        """Raises Misconfigured."""
        if not keys or min(map(len, keys)) < KEY_BYTES:
            raise Misconfigured(
                f"--secret must name a file of keys, one a line, of {KEY_BYTES} bytes or more"
            )
        self.read_at = read_at
        self.signing = keys[0]
        self.keys = {key_id(key): key for key in keys}
        try:
            for key in keys:
                jwt.encode({}, key, ALGORITHM)
        except jwt.PyJWTError:  # a public key in PEM: what is known to all keeps no secret
            raise Misconfigured("--secret must not hold keys of certificates or SSH") from None
        if any(map(_is_object, keys)):  # an issuer's set of keys, on one line
            raise Misconfigured("--secret must not hold keys of an issuer: these are for --jwks")

    @classmethod
    def of_lines(cls, data: bytes, read_at: int = 0) -> Secret:
        """A key is the bytes of its line; empty lines are none. Raises Misconfigured."""
        lines = (line.removesuffix(b"\r") for line in data.split(b"\n"))
        return cls([line for line in lines if line], read_at)

    @property
    def fingerprint(self) -> str:
        """Of the key that signs: if processes differ in it, they refuse each other's tokens."""
        return key_id(self.signing)

    def verify(self, text: str) -> Signed:
        for id, key in self.keys.items():
            try:
                return Signed(jwt.decode(text, key, [ALGORITHM], options=SIGNATURE_ONLY), SECRET, id)
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, ValueError, RecursionError) as error:
                raise BadToken("it is no token of ours") from error
        raise BadToken("it is not signed with a key of ours")

    def sign(self, claims: Mapping[str, Any]) -> str:
        return jwt.encode(dict(claims), self.signing, ALGORITHM)


def _is_object(key: bytes) -> bool:
    try:
        return isinstance(json.loads(key), dict)
    except (ValueError, RecursionError):
        return False


def key_id(key: bytes) -> str:
    """A name for a key, from which the key cannot be found out."""
    return hashlib.sha256(b"flychat key\0" + key).hexdigest()[:8]


class Tokens:
    """Reads tokens, and remembers those that were valid."""

    def __init__(self, verifiers: Sequence[Verifier]) -> None:
        self.verifiers = verifiers
        self._known: OrderedDict[bytes, Token] = OrderedDict()  # by a hash of the text

    def forget(self) -> None:
        """Forgets all verified tokens, since keys have changed."""
        self._known.clear()

    def read(self, text: str, now: float) -> Token:
        """The token of this text, if it is valid at `now`. Raises BadToken."""
        if len(text) > TOKEN_CHARACTERS or not text.isascii():
            raise BadToken("it is too long, or not in ASCII")
        digest = hashlib.sha256(text.encode()).digest()
        token = self._known.get(digest)
        if token is None:
            token = token_of(self._verify(text), now)
            self._known[digest] = token
        self._known.move_to_end(digest)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        if token.expires <= now:
            del self._known[digest]
            raise BadToken("it has expired")
        return token

    def _verify(self, text: str) -> Signed:
        bad = BadToken("no tokens are taken here")
        for verifier in self.verifiers:
            try:
                return verifier.verify(text)
            except BadToken as error:
                bad = bad if isinstance(bad, KeyMissing) else error
        raise bad


def token_of(signed: Signed, now: float) -> Token:
    """The token with these claims. Raises BadToken."""
    claims, sub = signed.claims, signed.claims.get("sub")
    if not isinstance(sub, str):
        raise BadToken("sub is missing")
    issued, expires = (_date(claims.get(claim), claim) for claim in ("iat", "exp"))
    starts = [issued] if "nbf" not in claims else [issued, _date(claims["nbf"], "nbf")]
    if max(starts) > now + LEEWAY:
        raise BadToken("it is not valid yet")
    try:
        user_id(sub)
        name = None if claims.get("name") is None else sender_name(claims["name"])
        rooms = _rooms(claims.get("rooms", {}))
    except (Invalid, NotFound, TypeError, AttributeError):
        raise BadToken("sub, name or rooms are not as they must be") from None
    password = claims.get("pw", "") if signed.kind == SECRET else ""
    if not isinstance(password, str):
        raise BadToken("pw is not a string")
    expires = min(expires, issued + LIFE)  # also for what a hold carries
    return Token(sub, name, rooms, issued, expires, signed.kind, signed.key, password)


def _rooms(rooms: Mapping[str, str]) -> Rules:
    if len(rooms) > ROOMS:
        raise BadToken("it has too many rooms")
    return Rules.of_rules((read_pattern(pattern), read_rights(rights)) for pattern, rights in rooms.items())


def _date(value: Any, claim: str) -> int:
    """A NumericDate, in whole seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < LAST_DATE:
        raise BadToken(f"{claim} is missing, or not a date")
    return int(value)


def claims_of(
    sub: str, rooms: Mapping[str, str], *, issued: int, expires: int, name: str | None = None, pw: str = ""
) -> dict[str, Any]:
    """The claims of a token that is to be signed here."""
    claims: dict[str, Any] = {"sub": sub, "rooms": dict(rooms), "iat": issued, "exp": expires}
    return claims | ({} if name is None else {"name": name}) | ({"pw": pw} if pw else {})
