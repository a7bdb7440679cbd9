"""A hosted GRIP proxy: the model of Pushpin, behind an API as Fastly's Fanout has it, and strict about it.

It takes POSTs at /service/ID/publish/ and nowhere else, with a bearer token, and of items what its documentation
names: no hint, no /recover/. Its `Grip-Sig` is signed with a private key, ES256; all know the public one. What it
has refused is in `refused`.
"""

from __future__ import annotations

import base64
import json
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm
from tornado.httpclient import HTTPResponse
from tornado.httputil import HTTPHeaders
from tornado.web import Application, RequestHandler

from tests.support.pushpin_stand_in import StandIn

SERVICE, TOKEN = "bUkkLvWK4LhMdaEx8VqLW4", "a-token-of-the-account"
PRIVATE = ec.generate_private_key(ec.SECP256R1())
MEMBERS = {"channel", "id", "prev-id", "formats"}


def public(private: ec.EllipticCurvePrivateKey) -> bytes:
    """Its public key, as PEM."""
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


PEM = public(PRIVATE)
JWK = json.dumps(ECAlgorithm.to_jwk(PRIVATE.public_key(), as_dict=True)).encode()


def grip_url(origin: str, key: bytes = PEM, token: str = TOKEN) -> str:
    encoded = base64.b64encode(key).decode()
    return f"{origin}service/{SERVICE}?key={token}&verify-iss=fastly:{SERVICE}&verify-key=base64:{encoded}"


def signature(key: object = PRIVATE, iss: str = f"fastly:{SERVICE}", algorithm: str = "ES256") -> str:
    return jwt.encode({"iss": iss, "exp": int(time.time()) + 3600}, key, algorithm)  # type: ignore[arg-type]


class Hosted(StandIn):
    """Clients go to `url`, and so does everything else."""

    def __init__(self, app_port: int, key: bytes = PEM) -> None:
        super().__init__(app_port)
        self.refused: list[tuple[int, str]] = []
        application = Application([("/(.*)", _Api, {"proxy": self})], log_function=lambda handler: None)
        self.origin = self._listen(application)
        self.grip_url = grip_url(self.origin, key)

    async def ask(
        self, path: str, headers: HTTPHeaders, method: str = "GET", body: bytes = b""
    ) -> HTTPResponse:
        return await super().ask(path, headers, method, body, signature())


class _Api(RequestHandler):
    def initialize(self, proxy: Hosted) -> None:
        self.proxy = proxy

    def prepare(self) -> None:
        if (problem := self._problem()) is not None:
            self.proxy.refused.append((problem, self.request.path))
            self.set_status(problem)
            self.finish()

    def post(self, path: str) -> None:
        self.proxy.pushpin.post("publish", self.request.body)
        self.write("Published\n")

    def _problem(self) -> int | None:
        """The status of a refusal."""
        headers = self.request.headers
        if self.request.path != f"/service/{SERVICE}/publish/" or self.request.query:
            return 404
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401
        if self.request.method != "POST" or headers.get("Content-Type") != "application/json":
            return 405 if self.request.method != "POST" else 415
        try:
            items = json.loads(self.request.body)["items"]
            return None if all(map(_is_taken, items)) else 400
        except (ValueError, KeyError, TypeError):
            return 400


def _is_taken(item: dict) -> bool:
    content = item["formats"]["http-stream"]
    names = all(isinstance(item.get(name, ""), str) for name in ("channel", "id", "prev-id"))
    return item.keys() <= MEMBERS and names and content.keys() == {"content"}
