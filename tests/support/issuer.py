"""An issuer of tokens, as for --jwks, which publishes its keys."""

import asyncio
import json
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from flychat.access.jwks import KeySet

PRIVATE = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
AUDIENCE, ISSUER = "chat", "https://login.example.org"


def public(algorithm: str, kid: str | None = None, key=None, **more) -> dict:
    private = key or PRIVATE[algorithm]
    shown = get_default_algorithms()[algorithm].to_jwk(private.public_key(), as_dict=True)
    shown.pop("key_ops", None)
    return {**shown, "kid": kid or algorithm, "use": "sig", **more}


def token(
    algorithm: str = "ES256", kid: str | None = "", key=None, header: dict | None = None, **claims
) -> str:
    now = int(time.time())
    claims = {"sub": "ann", "aud": AUDIENCE, "iss": ISSUER, "iat": now, "exp": now + 60, **claims}
    headers = {} if kid is None else {"kid": kid or algorithm}
    return jwt.encode(claims, key or PRIVATE[algorithm], algorithm, headers={**headers, **(header or {})})


class Issuer:
    """Who shows the keys; `asked` counts how often. While `answers` is not set, it hangs."""

    def __init__(self) -> None:
        self.keys: list = [public(algorithm) for algorithm in PRIVATE]
        self.asked, self.status, self.answer = 0, 200, None
        self.answers = asyncio.Event()
        self.answers.set()
        issuer = self

        class Keys(RequestHandler):
            async def get(self) -> None:
                issuer.asked += 1
                await issuer.answers.wait()
                self.set_status(issuer.status)
                self.write(json.dumps({"keys": issuer.keys}) if issuer.answer is None else issuer.answer)

        (sock,) = bind_sockets(0, "127.0.0.1")
        self.server = HTTPServer(Application([("/keys", Keys)], log_function=lambda handler: None))
        self.server.add_socket(sock)
        self.url = f"http://127.0.0.1:{sock.getsockname()[1]}/keys"
        self.changes = 0
        self.sets: list[KeySet] = []

    def key_set(self, audience: str = AUDIENCE, issuer: str = ISSUER) -> KeySet:
        def changed() -> None:
            self.changes += 1

        self.sets.append(KeySet(self.url, audience, issuer, changed))
        return self.sets[-1]

    async def close(self) -> None:
        self.answers.set()
        for each in self.sets:
            each.close()
        self.server.stop()
        await self.server.close_all_connections()
