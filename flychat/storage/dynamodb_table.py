"""The table of the engine on DynamoDB: reaching it, creating it, and whether it can be used.

All of this happens once, before anything is served. So what goes wrong is Misconfigured, and says what to do.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import aioboto3
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NotConnected
from botocore.parsers import ResponseParserError

from ..errors import Misconfigured
from .calls import answered_within
from .dynamodb_direct import KEEP_ALIVE, NO_TABLE, call_directly

KEYS = [("room", "HASH", "S"), ("seq", "RANGE", "N")]
STARTING_SECONDS = 15  # for the answer to the first calls
CREATING_SECONDS = 60
NEVER = 3600  # seconds: in effect none of botocore's time-outs, which also count our waits (calls.py)
WAY_VARIABLE = "FLYCHAT_DYNAMODB"
PUTS, READS, ASIDE = 32, 32, 8  # calls at once; ASIDE: those that set an end, rewrite or delete

READY = ("ACTIVE", "UPDATING")
_SAID = re.compile(rb"<Message>([^<]{1,1000})</Message>")
NO_ANSWER = (HTTPClientError, NotConnected, ResponseParserError, TimeoutError)
INSTEAD = "or keep messages in a file with --store sqlite:FILE"


async def create_table(table: str, environ: Mapping[str, str] = os.environ) -> str:
    """Creates the table, billed per request, if there is none, and waits until it can be used.

    Returns a line that says what happened; raises Misconfigured.
    """
    async with AsyncExitStack() as stack:
        client, where = await _connect(stack, environ)
        created = await _status(client, table, where) is None
        if created:
            attributes = [{"AttributeName": name, "AttributeType": type} for name, _, type in KEYS]
            async with _starting(table, where):
                with suppress(client.exceptions.ResourceInUseException):
                    await client.create_table(
                        TableName=table,
                        BillingMode="PAY_PER_REQUEST",
                        KeySchema=[{"AttributeName": name, "KeyType": key} for name, key, _ in KEYS],
                        AttributeDefinitions=attributes,
                    )
        try:
            async with asyncio.timeout(CREATING_SECONDS):
                while await _status(client, table, where) not in READY:  # noqa: ASYNC110 - nobody calls
                    await asyncio.sleep(0.5)
        except TimeoutError as error:
            raise Misconfigured(f'table "{table}" in {where} is still not ready: look again later') from error
    return f'table "{table}" in {where} {"is created" if created else "was there already"}'


async def table_opened(
    stack: AsyncExitStack, table: str, environ: Mapping[str, str], *, expires: bool
) -> Any:
    """A client, closed with the stack; the table is ready, if it `expires` with its TTL on.

    Raises Misconfigured.
    """
    client, where = await _connect(stack, environ)
    status = await _status(client, table, where)
    if status is None:
        raise Misconfigured(
            f'no table "{table}" in {where}: create it with  '
            f"python -m flychat --create-table --store dynamodb:{table}"
        )
    if status not in READY:
        raise Misconfigured(f'table "{table}" in {where} is {status}: wait, and start again')
    if expires:
        await _expire(client, table, where)
    return client


async def _connect(stack: AsyncExitStack, environ: Mapping[str, str]) -> tuple[Any, str]:
    """A client, closed with the stack, and where it connects: "region eu-west-1", "http://127.0.0.1:8000".

    Endpoint, region and keys are taken from `environ`; all else (profiles, roles) is botocore's to find.
    """
    endpoint = environ.get("AWS_ENDPOINT_URL_DYNAMODB") or environ.get("AWS_ENDPOINT_URL") or None
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or None
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    keys = {name.lower(): environ[name] for name in names if environ.get(name)}
    way = environ.get(WAY_VARIABLE) or "aioboto3"
    if way not in ("aioboto3", "direct"):
        raise Misconfigured(f"{WAY_VARIABLE} must be aioboto3 or direct")
    try:
        found = get_session()
        # Otherwise it looks, twice, into the folders of 400 services: a fifth of the CPU of making a client.
        found.get_component("data_loader").list_available_services = lambda type_name: ["dynamodb"]
        session = aioboto3.Session(region_name=region, botocore_session=found, **keys)
        credentials = await session.get_credentials()
        if credentials is None:
            if not endpoint:
                raise Misconfigured(
                    f"no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, {INSTEAD}"
                )
            keys = {"aws_access_key_id": "flychat", "aws_secret_access_key": "flychat"}
            credentials = AioCredentials("flychat", "flychat")
        region = session.region_name or (endpoint and "us-east-1")
        if not region:
            raise Misconfigured(f"no AWS region: set AWS_REGION, for example to eu-west-1, {INSTEAD}")
        config = AioConfig(
            connector_args={"keepalive_timeout": KEEP_ALIVE},
            retries={"mode": "standard", "total_max_attempts": 1},
            connect_timeout=NEVER,
            read_timeout=NEVER,
            max_pool_connections=PUTS + READS + ASIDE,
            # Both save CPU, a quarter of a put in all: botocore would build its user agent twice per call.
            user_agent="flychat",
            parameter_validation=False,
        )
        client = await stack.enter_async_context(
            session.client("dynamodb", region, endpoint_url=endpoint, config=config, **keys)
        )
        client.meta.events.register("before-parse.dynamodb", read_plainly)
        if way == "direct":
            await call_directly(stack, client, credentials, environ.get("AWS_CA_BUNDLE"))
        return client, endpoint or f"region {region}"
    except (BotoCoreError, ValueError, OSError) as error:
        raise Misconfigured(f"DynamoDB cannot be used: {text_of(error)}") from error


def read_plainly(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Takes the items of an answer as they came: botocore would make the same of them, in 8 us each, not 1.

    (Binary values would differ; flychat has none.) An answer that is no JSON object does not come from a
    table, but from something on the way to it: botocore would take it for a success, of a put too.
    """
    try:
        answer = json.loads(response_dict["body"])
    except ValueError:
        answer = None
    if response_dict["status_code"] < 300:
        if not isinstance(answer, dict):
            raise ResponseParserError(NO_TABLE)
        if "Items" in answer:
            customized_response_dict.update(answer)
            response_dict["body"] = b"{}"
    elif not isinstance(answer, dict):
        # Botocore would fail on it, or log all of it: a page, or half an answer with a message's text.
        # Some stand-ins report a missing permission in XML.
        said = _SAID.search(response_dict["body"])
        message = said[1].decode(errors="replace") if said else NO_TABLE
        response_dict["body"] = json.dumps({"message": message}).encode()


async def _status(client: Any, table: str, where: str) -> str | None:
    """The status of the table, None where there is none."""
    async with _starting(table, where):
        try:
            description = (await client.describe_table(TableName=table)).get("Table", {})
        except client.exceptions.ResourceNotFoundException:
            return None
    attributes, schema = description.get("AttributeDefinitions", ()), description.get("KeySchema", ())
    types = {each["AttributeName"]: each["AttributeType"] for each in attributes}
    keys = [(each["AttributeName"], each["KeyType"]) for each in schema]
    if [(name, key, types.get(name)) for name, key in keys] != KEYS:
        raise Misconfigured(
            f'table "{table}" in {where} is not one of flychat\'s, with the keys room (S) and seq (N): '
            "choose another name with --store dynamodb:TABLE"
        )
    status: str = description["TableStatus"]
    return status


async def _expire(client: Any, table: str, where: str) -> None:
    """Turns the table's TTL on, unless it is: on AWS to do so twice is an error. Raises Misconfigured."""
    async with _starting(table, where):
        ttl = (await client.describe_time_to_live(TableName=table)).get("TimeToLiveDescription", {})
        if ttl.get("TimeToLiveStatus") in ("ENABLED", "ENABLING"):
            if ttl.get("AttributeName") != "exp":
                wrong = "has a TTL on another attribute than exp: turn that off, or choose another table"
                raise Misconfigured(f'table "{table}" in {where} {wrong}')
            return
        await client.update_time_to_live(
            TableName=table, TimeToLiveSpecification={"Enabled": True, "AttributeName": "exp"}
        )


@asynccontextmanager
async def _starting(table: str, where: str) -> AsyncIterator[None]:
    try:
        async with answered_within(STARTING_SECONDS):
            yield
    except NO_ANSWER as error:
        raise Misconfigured(f"no answer from DynamoDB at {where}: {text_of(error)}") from error
    except (ClientError, BotoCoreError, ValueError) as error:  # the last: an address or keys that are none
        raise Misconfigured(f'no access to table "{table}" in {where}: {text_of(error)}') from error


def code_of(error: ClientError) -> str:
    code: str = error.response["Error"]["Code"]
    return code


def text_of(error: Exception) -> str:
    if isinstance(error, ClientError):
        return f"{code_of(error)}: {error.response['Error'].get('Message', '')}"
    return str(error) or "too slow"
