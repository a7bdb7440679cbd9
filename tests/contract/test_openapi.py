"""The API's description is served, true, and holds against requests made up from it."""

import copy
import json
import subprocess
import sys
from typing import Any

import jsonschema
import pytest

from flychat.fields import RESERVED_ROOMS
from tests.conftest import need
from tests.support.asking import JSON
from tests.support.modes import standing
from tests.support.program import ROOT, running
from tests.support.rights import ask, bearer, options, token
from tests.support.served import served

DESCRIPTION = json.loads((ROOT / "static" / "openapi.json").read_text())
OPERATORS = ("/revocations/", "/clearings/", "/erasures/")
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,response_headers_conformance,unsupported_method"
)


def closed(description: dict) -> dict:
    """The same, where no answer has a field that is not described: later versions may add some, this one may not."""
    closed = copy.deepcopy(description)
    schemas = closed["components"]["schemas"]
    for operations in closed["paths"].values():
        for operation in operations.values():
            if isinstance(operation, dict):
                _close(operation["responses"], schemas)
    _close(closed["components"].get("responses", {}), schemas)
    return closed


def _close(value: Any, schemas: dict) -> None:
    if isinstance(value, list):
        for each in value:
            _close(each, schemas)
    elif isinstance(value, dict):
        name = str(value.get("$ref", "")).removeprefix("#/components/schemas/")
        if name in schemas and "additionalProperties" not in schemas[name]:
            _close(schemas[name], schemas)
        if value.get("type") == "object" and "properties" in value:
            value["additionalProperties"] = False
        for each in value.values():
            _close(each, schemas)


@pytest.mark.gen_test
async def test_the_description_is_served():
    async with served() as chat:
        response = await ask(chat, "/openapi.json")
        assert json.loads(response.body) == DESCRIPTION
        assert response.headers["Content-Type"] == "application/json"
        assert "openapi.json" in RESERVED_ROOMS


def test_who_needs_a_token_is_told_as_described():
    schemes = DESCRIPTION["components"]["securitySchemes"]
    assert {scheme["type"] for scheme in schemes.values()} == {"http", "apiKey"}
    for path, operations in DESCRIPTION["paths"].items():
        for method in {"get", "post", "delete"} & operations.keys():
            operation = operations[method]
            if path.startswith(("/rooms/", *OPERATORS)):
                assert {"401", "403"} <= operation["responses"].keys()
                assert {name for needed in operation["security"] for name in needed} == schemes.keys()
            else:
                assert "security" not in operation


@pytest.mark.parametrize("path", OPERATORS)
@pytest.mark.gen_test
async def test_what_no_room_can_be_called_is_answered_as_described(path, tmp_path):
    async with standing("standalone", tmp_path, *options(tmp_path)) as chat:
        content = json.dumps({"room": "healthz", "user": "ann"})
        headers = bearer(token(rooms={"*": "rwm"}))
        answer = await ask(chat, path, "POST", content, Content_Type=JSON, **headers)
        assert (answer.code, "404" in DESCRIPTION["paths"][path]["post"]["responses"]) == (404, True)


@pytest.mark.gen_test
async def test_a_page_of_messages_is_as_described():
    async with served() as chat:
        await chat.post()
        page = json.loads((await ask(chat, "/rooms/room/messages/")).body)
    strict = closed(DESCRIPTION)
    jsonschema.validate(page, page_of(strict))
    for wrong in ({**page, "lastEventId": -1}, {**page, "more": 1}, with_more(page)):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, page_of(strict))


@pytest.mark.gen_test
async def test_who_reads_by_the_description_reads_what_later_versions_add():
    async with served() as chat:
        await chat.post()
        page = json.loads((await ask(chat, "/rooms/room/messages/")).body)
    jsonschema.validate({**with_more(page), "more": 1}, page_of(DESCRIPTION))
    assert "additionalProperties" not in json.dumps(DESCRIPTION)


def page_of(description: dict) -> dict:
    return {**description["components"]["schemas"]["Page"], "components": description["components"]}


def with_more(page: dict) -> dict:
    return {**page, "messages": [{**message, "more": 1} for message in page["messages"]]}


@pytest.mark.parametrize("private", [False, True], ids=["without tokens", "with tokens"])
def test_no_request_made_up_from_the_description_gets_an_answer_that_is_not_in_it(private, tmp_path):
    """With tokens as somebody who may do all: else most answers would be 401."""
    need("schemathesis")
    more = options(tmp_path, "--signals") if private else ()
    description = closed(DESCRIPTION)
    arguments = ("--standalone", "--port", "0", "--store", "sqlite::memory:", *more)
    if private:
        text = token(rooms={"*": "rwm"})  # what is no token or user is refused, and of that it would warn
        chosen = [f"--header=Authorization: Bearer {text}", "--warnings", "missing_test_data"]
    else:  # every removal is 401, and of that it would warn; the others are 405, as other pages are
        others = ("/session", *OPERATORS, "/rooms/", "/rooms/{room}/signals/")  # the last one is off here
        chosen = [f"--exclude-path={path}" for path in others]
        chosen += ["--warnings", "missing_test_data,validation_mismatch"]
        del description["paths"]["/rooms/{room}/messages/"]["post"]["parameters"]  # whose it is: 401, too
    strict = tmp_path / "openapi.json"
    strict.write_text(json.dumps(description))
    with running(*arguments, cwd=tmp_path) as program:
        ran = subprocess.run(
            [
                *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"),
                *(str(strict), "--url", program.url, "--checks", CHECKS),
                *("--max-examples", "50", "--seed", "1", "--no-color"),
                *chosen,
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout
        assert "No issues found" in ran.stdout
        assert program.end() == (0, "")
