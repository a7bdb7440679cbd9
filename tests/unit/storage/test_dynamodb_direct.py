"""Calls without aioboto3: their signature is botocore's, their keys are always the newest, their errors the client's."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack

import aiohttp
import pytest
from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError, HTTPClientError

from flychat.errors import Misconfigured
from flychat.storage import Broken, Throttled, Unknown
from flychat.storage.dynamodb_direct import NO_TABLE, Direct, signed
from flychat.storage.dynamodb_items import failures
from flychat.storage.dynamodb_table import _connect

gen_test = pytest.mark.gen_test
NOW = time.gmtime(1_800_000_000)
ENVIRON = {"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "one", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.mark.parametrize("token", [None, "a token/of+rôle=".encode().decode("latin-1")])
@pytest.mark.parametrize(
    "url", ["https://dynamodb.eu-west-1.amazonaws.com", "http://127.0.0.1:8000", "http://127.0.0.1:8000/base"]
)
def test_the_signature_is_that_of_botocore(url, token):
    keys = ReadOnlyCredentials("AKID", "secret/key+", token)
    body = '{"Item": {"m": {"S": "ünïcödé"}}}'.encode()
    headers = signed(url, "eu-west-1", keys, "PutItem", body, NOW)
    ours = headers.pop("authorization")
    request = AWSRequest("POST", url, headers, body)
    request.context["timestamp"] = headers["x-amz-date"]
    theirs = SigV4Auth(keys, "dynamodb", "eu-west-1")
    text = theirs.string_to_sign(request, theirs.canonical_request(request))
    assert ours.endswith(f"Signature={theirs.signature(text, request)}")
    assert ours.startswith("AWS4-HMAC-SHA256 Credential=AKID/20270115/eu-west-1/dynamodb/aws4_request, ")
    names = "content-type;host;x-amz-date;" + ("x-amz-security-token;" if token else "") + "x-amz-target"
    assert f"SignedHeaders={names}, " in ours


class Keys:
    """Credentials that are others each time."""

    def __init__(self) -> None:
        self.asked = 0

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        self.asked += 1
        return ReadOnlyCredentials(f"key {self.asked}", "secret", None)


class Table:
    """Answers as it is told, and takes notes."""

    def __init__(self) -> None:
        self.status, self.answer = 200, "{}"
        self.requests: list[web.BaseRequest] = []

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        await request.read()
        self.requests.append(request)
        return web.Response(status=self.status, text=self.answer)


@pytest.fixture
def standing(io_loop):
    """(a table, the client of its address)"""
    table = Table()

    async def begin():
        runner = web.ServerRunner(web.Server(table))
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = site._server.sockets[0].getsockname()
        environ = {**ENVIRON, "AWS_ENDPOINT_URL_DYNAMODB": f"http://{host}:{port}"}
        client, _ = await _connect(stack, environ | {"FLYCHAT_DYNAMODB": "direct"})
        return client

    stack = AsyncExitStack()
    yield table, io_loop.run_sync(begin)
    io_loop.run_sync(stack.aclose)


@gen_test
async def test_each_put_is_signed_with_the_keys_of_its_time(standing):
    table, client = standing
    async with aiohttp.ClientSession() as http:
        put = Direct(client, Keys(), http)
        for _ in range(3):
            await put.put_item(TableName="t", Item={})
    used = [request.headers["Authorization"].partition("/")[0] for request in table.requests]
    assert used == [f"AWS4-HMAC-SHA256 Credential=key {n}" for n in (1, 2, 3)]
    assert {request.headers["X-Amz-Target"] for request in table.requests} == {"DynamoDB_20120810.PutItem"}


@pytest.mark.parametrize(
    ("status", "answer", "code", "message"),
    [
        (
            400,
            '{"__type": "com.amazonaws#ThrottlingException", "message": "slow"}',
            "ThrottlingException",
            "slow",
        ),
        (400, '{"__type": "a#b:http://c", "Message": "what"}', "b", "what"),
        (400, '{"__type": "b"}', "b", ""),
        (503, "<html>", "503", NO_TABLE),
        (502, "[1]", "502", NO_TABLE),
        (307, "", "307", NO_TABLE),
    ],
)
@gen_test
async def test_a_refusal_is_an_error_of_the_client(standing, status, answer, code, message):
    table, client = standing
    table.status, table.answer = status, answer
    with pytest.raises(ClientError) as error:
        await client.put_item(TableName="t", Item={})
    assert error.value.response["Error"] == {"Code": code, "Message": message}
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ThrottlingException", Throttled),
        ("ProvisionedThroughputExceededException", Throttled),
        ("RequestLimitExceeded", Throttled),
        ("TransactionConflictException", Throttled),
        ("ReplicatedWriteConflictException", Throttled),
        ("AccessDeniedException", Broken),
        ("ResourceNotFoundException", Broken),
    ],
)
@gen_test
async def test_what_passes_by_itself_is_told_from_what_does_not(standing, code, kind):
    table, client = standing
    table.status, table.answer = 400, json.dumps({"__type": f"com.amazonaws#{code}"})
    with pytest.raises(kind), failures():
        await client.put_item(TableName="t", Item={})
    table.status = 500
    with pytest.raises(Unknown), failures():
        await client.put_item(TableName="t", Item={})


@gen_test
async def test_a_query_gives_what_the_table_answers_and_what_is_no_answer_is_an_error_of_botocore(standing):
    table, client = standing
    table.answer = '{"Items": [{"seq": {"N": "1"}}], "Count": 1}'
    assert await client.query(TableName="t", Limit=1) == {"Items": [{"seq": {"N": "1"}}], "Count": 1}
    assert table.requests[0].headers["X-Amz-Target"] == "DynamoDB_20120810.Query"
    table.answer = "<html>"
    with pytest.raises(HTTPClientError):
        await client.query(TableName="t", Limit=1)


@gen_test
async def test_a_lost_race_tells_the_winner(standing):
    table, client = standing
    table.status = 400
    table.answer = '{"__type": "com.amazonaws#ConditionalCheckFailedException", "Item": {"seq": {"N": "1"}}}'
    with pytest.raises(client.exceptions.ConditionalCheckFailedException) as error:
        await client.put_item(TableName="t", Item={})
    assert error.value.response["Item"] == {"seq": {"N": "1"}}


@gen_test
async def test_a_connection_that_breaks_is_an_error_of_botocore(standing):
    table, client = standing

    async def cut(request):
        request.transport.abort()
        await asyncio.sleep(1)

    table.__class__ = type("Cut", (Table,), {"__call__": lambda self, request: cut(request)})
    with pytest.raises(HTTPClientError):
        await client.put_item(TableName="t", Item={})


@pytest.mark.parametrize("passed_by", [False, True])
@gen_test
async def test_the_proxy_of_the_environment_is_used(standing, passed_by, monkeypatch):
    """As aioboto3 does: http_proxy, and no_proxy for what is not asked through it."""
    table, client = standing
    here = client.meta.endpoint_url
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1" if passed_by else here)
    monkeypatch.setenv("no_proxy", here.removeprefix("http://") if passed_by else "")
    url = here if passed_by else "http://dynamodb.test"
    async with AsyncExitStack() as stack:
        client, _ = await _connect(
            stack, {**ENVIRON, "AWS_ENDPOINT_URL_DYNAMODB": url, "FLYCHAT_DYNAMODB": "direct"}
        )
        await client.put_item(TableName="t", Item={})
    assert table.requests[-1].headers["Host"] == url.removeprefix("http://")


@gen_test
async def test_another_way_to_put_is_refused():
    async with AsyncExitStack() as stack:
        with pytest.raises(Misconfigured, match="FLYCHAT_DYNAMODB must be aioboto3 or direct"):
            await _connect(stack, {**ENVIRON, "FLYCHAT_DYNAMODB": "fast"})
