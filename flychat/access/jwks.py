"""Tokens of another issuer: its public keys (RFC 7517), which it publishes at an address, and may change.

Fetching them never blocks the loop; verifying needs the package `cryptography`. The set is fetched again
every REFRESH_SECONDS, and when none of its keys fits a token (a new key may have the name of an old one, or
none), but not more often than every RETRY_SECONDS: otherwise anybody could make this server ask the issuer
without end. While fetching fails the old set is used, for KEPT_SECONDS (a day) at the most, which also holds
after the process was frozen. A token that no key fits is bad only once the last fetch has succeeded: while
one is under way, or has failed, its key may be a new one, and a session that was told "bad" would be gone.

Only the keys of ASYMMETRIC algorithms count: a secret key in a public set would be no secret.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Callable
from typing import Any

import jwt
from tornado.httpclient import AsyncHTTPClient

from ..errors import FlychatError
from ..resolver import Resolver
from ..seldom import Seldom
from . import JWKS, BadToken, KeyMissing
from .tokens import ASYMMETRIC, SIGNATURE_ONLY, Signed

REFRESH_SECONDS = 300.0
RETRY_SECONDS = 10.0
KEPT_SECONDS = 86_400.0
ANSWER_SECONDS = 5.0
TOTAL_SECONDS = 6.0  # with redirects: Tornado gives each of them ANSWER_SECONDS of its own
SET_BYTES = 1 << 20

logger = logging.getLogger(__name__)


class KeySet:
    """The keys at `url`. `changed` is called when they have."""

    def __init__(self, url: str, audience: str, issuer: str, changed: Callable[[], None]) -> None:
        self._url, self._audience, self._issuer, self._changed = url, audience, issuer, changed
        self._keys: list[jwt.PyJWK] = []
        self._seen: Any = None
        self._fetched_at = self._tried_at = -math.inf  # loop time
        self._fetching: asyncio.Task[None] | None = None
        self._failed = Seldom(logger)
        self._client = AsyncHTTPClient(force_instance=True, max_body_size=SET_BYTES, resolver=Resolver())

    def verify(self, text: str) -> Signed:
        """What the token claims. Raises BadToken; KeyMissing if `learn` may help."""
        try:
            header = jwt.get_unverified_header(text)
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise BadToken("it is no token") from error
        kid, algorithm = header.get("kid"), header.get("alg")
        if algorithm not in ASYMMETRIC:
            raise BadToken("no issuer signs so")
        if not self._keys or self._age > KEPT_SECONDS:
            raise KeyMissing("its key is not known")
        for key in self._keys:
            if key.algorithm_name != algorithm or kid not in (None, key.key_id):
                continue
            try:
                return Signed(self._decoded(text, key), JWKS)
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, ValueError, RecursionError) as error:
                raise BadToken("it is no token for us") from error
        if self._is_due or self._tried_at > self._fetched_at:  # under way, or failed
            raise KeyMissing("its key is not known")
        raise BadToken("it is not signed with a key of its issuer")

    def _decoded(self, text: str, key: jwt.PyJWK) -> dict[str, Any]:
        options = SIGNATURE_ONLY | {"verify_aud": True, "verify_iss": bool(self._issuer)}
        claims: dict[str, Any] = jwt.decode(
            text, key, ASYMMETRIC, options, audience=self._audience, issuer=self._issuer or None
        )
        return claims

    @property
    def _is_due(self) -> bool:
        return asyncio.get_running_loop().time() - self._tried_at >= RETRY_SECONDS

    @property
    def _age(self) -> float:
        return asyncio.get_running_loop().time() - self._fetched_at

    async def learn(self) -> None:
        """Fetches the set, or waits while it is fetched; not if that was tried just now. Never fails."""
        if self._fetching is None and self._is_due:
            self._tried_at = asyncio.get_running_loop().time()
            self._fetching = asyncio.create_task(self._fetch())
            self._fetching.add_done_callback(self._done)
        if self._fetching is not None:
            await asyncio.wait([self._fetching])

    async def keep(self) -> None:
        """Fetches it every REFRESH_SECONDS, or RETRY_SECONDS after a failure; drops one that is too old."""
        while True:
            await self.learn()
            if self._age > KEPT_SECONDS:
                self._take({"keys": []})
            await asyncio.sleep(REFRESH_SECONDS if self._age < REFRESH_SECONDS else RETRY_SECONDS)

    def close(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
        self._client.close()

    def _done(self, fetching: asyncio.Task[None]) -> None:
        self._fetching = None

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(TOTAL_SECONDS):
                answer = await self._client.fetch(
                    self._url, connect_timeout=ANSWER_SECONDS, request_timeout=ANSWER_SECONDS, max_redirects=3
                )
            self._take(json.loads(answer.body))
            self._fetched_at = asyncio.get_running_loop().time()
        except Exception as error:  # whatever it is, the keys that are known stay
            self._failed.tell(
                "the keys at %s cannot be fetched: %s", self._url, str(error) or type(error).__name__
            )

    def _take(self, found: Any) -> None:
        """Takes the set over. Raises FlychatError if it is none, or if it has keys and none for us."""
        if found == self._seen:
            return
        keys = found.get("keys") if isinstance(found, dict) else None
        if not isinstance(keys, list):
            raise FlychatError("that is no set of keys")
        usable = [key for key in map(_read_key, keys) if key is not None]
        if keys and not usable:
            raise FlychatError(f"there is no key for {', '.join(ASYMMETRIC)}")
        self._keys, self._seen = usable, found
        self._changed()


def _read_key(given: Any) -> jwt.PyJWK | None:
    """A key, if it is one for signatures that are taken here."""
    if not isinstance(given, dict) or given.get("use", "sig") != "sig":
        return None
    try:
        key = jwt.PyJWK(given)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, NotImplementedError):  # the last one for "none"
        return None
    return key if key.algorithm_name in ASYMMETRIC else None
