"""The words of GRIP (https://pushpin.org/docs/protocols/grip/): addresses, headers, items. Pure.

A plan becomes headers and a body; a publication becomes an item of a POST to the proxy's control address;
what the proxy asks for with `Grip-Last` is a request for a stream.

All that a proxy serves shares one space of channels. `prefix` begins the names of our own, so that another
flychat behind the same proxy has rooms of its own; it is empty unless --channel-prefix is given.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

import jwt
from gripcontrol import parse_grip_uri, validate_sig
from jwt.algorithms import get_default_algorithms, has_crypto

from ..access import Pass
from ..errors import Misconfigured, Refused
from ..fields import room_name
from ..sse import compact_json, read_position
from ..streams import (
    KEEP_ALIVE,
    KEEP_ALIVE_SECONDS,
    OFFICIAL,
    OFFICIAL_PATH,
    RECOVERY_PATH,
    Publication,
    StreamPlan,
    StreamRequest,
    live_channel,
    official_channel,
)
from . import RecoveryRequest

TOKEN_SECONDS = 3600
PUBLIC = ("ES256", "RS256")  # with which a hosted proxy may sign, if not with a shared secret
SHORTEST_DER = 64  # bytes of a public key: one of P-256 has 91
_KEEP_ALIVE = KEEP_ALIVE.encode().decode().replace("\n", "\\n")
_USUAL = re.compile(  # nearly every `Grip-Last`
    rf"\s*(?:[^:;,\s]+:)?{OFFICIAL}-([^:;,\s]+); last-id=([0-9]{{1,18}})\s*"
)


def grip_headers(
    plan: StreamPlan,
    seconds: int,
    pass_: Pass | None = None,
    base_path: str = "",
    *,
    prefix: str = "",
    signals: bool = False,
) -> dict[str, str]:
    """The plan, except for its events, as instructions to the proxy; its link is for this many seconds.

    The pass is one more channel: when the proxy recovers a hold it names the channels that have a prev-id.
    With signals, keep-alives come at a fixed interval, whatever else comes: a client that ignores signals
    would hear nothing in a room where only these are sent.
    """
    # Written out, in gripcontrol's words, which took three times as long.
    channels = [f"{plan.official}; prev-id={plan.position}", *plan.others]
    if pass_ is not None:
        channels.append(f"{pass_.channel}; prev-id={pass_.position}")
    if prefix:
        channels = [prefix + channel for channel in channels]
    path = base_path + (RECOVERY_PATH if plan.request.provisional else OFFICIAL_PATH)
    mode = "; mode=interval" if signals else ""
    return {
        "Grip-Hold": "stream",
        "Grip-Channel": ", ".join(channels),
        "Grip-Keep-Alive": f"{_KEEP_ALIVE}; format=cstring; timeout={KEEP_ALIVE_SECONDS}{mode}",
        "Grip-Link": f"<{path}>; rel=next; timeout={seconds}",
    }


def read_grip_last(values: Sequence[str]) -> RecoveryRequest | None:
    """What `Grip-Last` headers ask for: `messages-ROOM; last-id=N` and perhaps a pass, also comma-joined.

    None if no part names the official channel of a room, with a position. Any prefix is good, also none: a
    hold that had another one gets ours with the answer.
    """
    if len(values) == 1 and (usual := _USUAL.fullmatch(values[0])):  # read alike, in half the time
        request = _recovery(usual[1], int(usual[2]))
        return None if request is None else RecoveryRequest(request, None)
    request, pass_ = None, None
    for part in ",".join(values).split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        channel = name.rpartition(":")[2]
        last_id = next((p.removeprefix("last-id=") for p in parameters if p.startswith("last-id=")), "")
        prefix, _, room = channel.partition("-")
        if prefix == OFFICIAL and (position := read_position(last_id)) is not None:
            request = request or _recovery(room, position)
        pass_ = pass_ or Pass.read(channel, last_id)
    return None if request is None else RecoveryRequest(request, pass_)


def _recovery(room: str, position: int) -> StreamRequest | None:
    try:
        return StreamRequest(room_name(unquote(room)), position, recover=True)
    except Refused:
        return None


def grip_item(publication: Publication, prefix: str = "") -> bytes:
    """The publication as an item of a POST to the proxy. Ids are strings there.

    Written out, in the words of pubcontrol's Item, whose objects and dictionaries took 20 us of 23.
    The member `formats` is Fastly's: Pushpin does not ask for it, and pubcontrol leaves it out.
    """
    ids = ""
    if publication.id is not None:
        ids = f'"id":"{publication.id}","prev-id":"{publication.prev_id}",'
    channel = compact_json(prefix + publication.channel)
    content = compact_json(publication.content.decode())
    return f'{{"channel":{channel},{ids}"formats":{{"http-stream":{{"content":{content}}}}}}}'.encode()


def hint_channels(publication: Publication, prefix: str = "") -> tuple[str, ...]:
    """The channels whose hints make up for a lost publication; () for a provisional one: nothing does.

    The second is the official channel, which some holds have alone. There a hint counts as a publication
    without an id, which fits no position: so all are recovered, if not as fast. A hold of both channels is
    being recovered by then, because of the first hint, and drops the second one.
    """
    room = publication.room
    return () if publication.id is None else (prefix + live_channel(room), prefix + official_channel(room))


def grip_hint(channel: str) -> bytes:
    """The item that has the proxy recover all clients of a channel."""
    return f'{{"channel":{compact_json(channel)},"formats":{{"http-stream":{{"action":"hint"}}}}}}'.encode()


@dataclass(frozen=True, slots=True)
class GripUrl:
    """A --grip-url, read: where to publish, as whom, and what requests through the proxy are signed with."""

    control_uri: str
    iss: str | None = None
    key: str | bytes | None = None
    verify_iss: str | None = None
    verify_key: Any = None  # a shared secret, or a public key as PyJWT has it

    @classmethod
    def read(cls, url: str) -> GripUrl:
        """Raises Misconfigured. The URL may hold keys, so it is not repeated."""
        try:
            known = parse_grip_uri(url)
            parts = urlsplit(known["control_uri"])
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
                raise ValueError
            for name, value in parse_qsl(urlsplit(url).query, keep_blank_values=True):
                if name in ("key", "verify-key") and not _is_key(value):
                    raise ValueError  # gripcontrol goes without such a key
        except ValueError:  # also of a key that is not base64, or a port that is none
            raise Misconfigured(
                "--grip-url must be like http://localhost:5561/ or https://host/path?iss=...&key=base64:..."
                "&verify-iss=...&verify-key=base64:..."
            ) from None
        if "verify_iss" in known and "verify_key" not in known:
            raise Misconfigured("--grip-url has a verify-iss without a verify-key: nothing could be verified")
        verify_key = known.get("verify_key") and verifying_key(known["verify_key"])
        control, iss, key = known["control_uri"], known.get("control_iss"), known.get("key")
        return cls(control, iss, key, known.get("verify_iss"), verify_key)

    @property
    def proxy(self) -> str:
        """host:port, for people."""
        return urlsplit(self.control_uri).netloc.rpartition("@")[2]

    def endpoint(self, name: str) -> str:
        parts = urlsplit(self.control_uri)
        return urlunsplit(parts._replace(path=f"{parts.path}/{name}/"))

    def authorization(self, now: float) -> dict[str, str]:
        if self.key is None:
            return {}
        if self.iss is None:
            token = self.key if isinstance(self.key, str) else self.key.decode()
        else:
            token = jwt.encode({"iss": self.iss, "exp": int(now) + TOKEN_SECONDS}, self.key, "HS256")
        return {"Authorization": f"Bearer {token}"}

    def signed(self, signature: str) -> bool:
        """Whether a `Grip-Sig` was made with the verify-key."""
        return bool(validate_sig(signature, self.verify_key, self.verify_iss))


def verifying_key(given: str | bytes) -> Any:
    """What a `Grip-Sig` is verified with: a public key, of PEM or JWK; else the shared secret, as given.

    A public key is never left as bytes: who knows it could sign with these as with a secret.
    Raises Misconfigured.
    """
    raw = given.encode() if isinstance(given, str) else given
    data = raw.strip()
    # A public key without its first and last line. A JWK is text; of secrets, which are random bytes, one in
    # 256 begins with a brace.
    bare = _is_der(raw.lstrip()) or _is_der(_from_base64(data))
    if not bare and not data.startswith(b"-----BEGIN") and not (data.startswith(b"{") and data.isascii()):
        return given
    if not has_crypto and not bare:
        raise Misconfigured(
            "the verify-key of --grip-url is a public one, which needs the package cryptography: "
            "pip install 'flychat[jwks]'"
        )
    for name in PUBLIC if b"PUBLIC KEY-----" in data or data.startswith(b"{") else ():
        try:
            algorithm = get_default_algorithms()[name]
            if not data.startswith(b"{"):
                return algorithm.prepare_key(data)
            parameters = json.loads(data)
            if "d" not in parameters:
                return algorithm.from_jwk(parameters)
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
            continue
    raise Misconfigured(
        f"the verify-key of --grip-url is no public key for {' or '.join(PUBLIC)}: "
        "it must be PEM or JWK, behind base64:, or a shared secret"
    )


def _is_der(data: bytes) -> bool:
    """Whether it is one ASN.1 sequence (DER), as keys and certificates are; anything shorter is a secret.

    White space may follow, and be its last byte.
    """
    if len(data) < SHORTEST_DER or data[0] != 0x30:
        return False
    size, rest = data[1], data[2:]
    if size >= 0x80:
        size, rest = int.from_bytes(rest[: size - 0x80]), rest[size - 0x80 :]
    return size <= len(rest) and not rest[size:].strip()


def _from_base64(data: bytes) -> bytes:
    try:
        return base64.b64decode(data)
    except ValueError:
        return b""


def _is_key(value: str) -> bool:
    """Whether it is a key, as text or as base64. Raises ValueError where it is neither."""
    text = value.removeprefix("base64:")
    if text != value:  # a + that was not percent-encoded has become a space
        return bool(base64.b64decode(text.replace(" ", "+"), validate=True))
    return bool(value)
