"""PutItem and Query without aioboto3, if asked for (FLYCHAT_DYNAMODB=direct): signed here, sent by aiohttp.

Of the 430 us of CPU that a put takes, aioboto3 uses 250 for the same steps in each call: it finds the
endpoint, builds and copies requests, and runs its handlers (measured: benchmarks.puts). All else is still
aioboto3's: the credentials, also when they change, the address of the table, every other call, and what
errors mean.

The signature is AWS Signature Version 4: a hash of what is sent, made with a key that is good for one day,
region and service.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
import time
from contextlib import AsyncExitStack
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from botocore.exceptions import HTTPClientError
from botocore.httpsession import get_cert_path

KEEP_ALIVE = 60  # seconds; the default, 12, would have a quiet room pay for TCP and TLS again
NO_TABLE = "it was no table that answered"


class Direct:
    """`put_item` and `query` with the same arguments, answers and errors as the client's."""

    def __init__(self, client: Any, credentials: Any, http: aiohttp.ClientSession) -> None:
        self._client, self._credentials, self._http = client, credentials, http
        self._url, self._region = client.meta.endpoint_url, client.meta.region_name

    async def put_item(self, **request: Any) -> None:
        await self._call("PutItem", request)

    async def query(self, **request: Any) -> Any:
        return await self._call("Query", request)

    async def _call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps(request).encode()
        keys = await self._credentials.get_frozen_credentials()  # new ones, where the old ones end soon
        headers = signed(self._url, self._region, keys, operation, body, time.gmtime())
        try:
            async with self._http.post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as response:
                status, answer = response.status, await response.read()
        except aiohttp.ClientError as error:
            raise HTTPClientError(error=error) from error
        if status != 200:
            raise self._failure(operation, status, answer)
        try:
            said = json.loads(answer)
        except ValueError:
            said = None
        if not isinstance(said, dict):  # something on the way to the table has answered
            raise HTTPClientError(error=NO_TABLE)
        return said

    def _failure(self, operation: str, status: int, answer: bytes) -> Exception:
        try:
            said = json.loads(answer)
            code = said["__type"].rpartition("#")[2].partition(":")[0]
        except (ValueError, LookupError, TypeError, AttributeError):
            said, code = {"message": NO_TABLE}, str(status)  # of something between us and the table
        told = {"Code": code, "Message": said.get("message") or said.get("Message") or ""}
        parsed = {**said, "Error": told, "ResponseMetadata": {"HTTPStatusCode": status}}
        failure: Exception = self._client.exceptions.from_code(code)(parsed, operation)
        return failure


async def call_directly(stack: AsyncExitStack, client: Any, credentials: Any, trusted: str | None) -> None:
    """Gives the client these calls, closed with the stack. `trusted`: a file of certificates."""
    context = ssl.create_default_context(cafile=trusted or get_cert_path(True))
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE, ssl=context)
    unlimited = aiohttp.ClientTimeout(total=None)  # see calls.py
    address = urlsplit(client.meta.endpoint_url)
    # Looked for once: aiohttp's `trust_env` looks for it, and for a .netrc, at each request: 130 us.
    proxy = None if proxy_bypass(address.netloc) else getproxies().get(address.scheme)
    session = aiohttp.ClientSession(connector=connector, timeout=unlimited, proxy=proxy)
    direct = Direct(client, credentials, await stack.enter_async_context(session))
    client.put_item, client.query = direct.put_item, direct.query


def signed(
    url: str, region: str, keys: Any, operation: str, body: bytes, now: time.struct_time
) -> dict[str, str]:
    """The headers of a request to DynamoDB, with their signature."""
    parts, date = urlsplit(url), time.strftime("%Y%m%dT%H%M%SZ", now)
    headers = {"content-type": "application/x-amz-json-1.0", "host": parts.netloc, "x-amz-date": date}
    if keys.token:
        headers["x-amz-security-token"] = keys.token
    headers["x-amz-target"] = f"DynamoDB_20120810.{operation}"
    names, lines = ";".join(headers), "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = f"POST\n{parts.path or '/'}\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{date[:8]}/{region}/dynamodb/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.digest(_key(keys.secret_key, scope), text.encode(), "sha256").hex()
    credential = f"Credential={keys.access_key}/{scope}"
    headers["authorization"] = f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, Signature={signature}"
    return headers


@lru_cache(4)
def _key(secret: str, scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
