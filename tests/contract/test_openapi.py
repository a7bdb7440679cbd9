"""The API's description is served, true, and holds against requests made up from it."""

import json
import subprocess
import sys

import jsonschema
import pytest

from flychat.fields import RESERVED_ROOMS
from tests.conftest import need
from tests.support.asking import ask
from tests.support.program import ROOT, running
from tests.support.rights import options, token
from tests.support.served import served

DESCRIPTION = json.loads((ROOT / "static" / "openapi.json").read_text())
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,response_headers_conformance,unsupported_method"
)


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
            if path.startswith(("/rooms/", "/revocations/")):
                assert {"401", "403"} <= operation["responses"].keys()
                assert {name for needed in operation["security"] for name in needed} == schemes.keys()
            else:
                assert "security" not in operation


@pytest.mark.gen_test
async def test_a_page_of_messages_is_as_described():
    async with served() as chat:
        await chat.post()
        page = json.loads((await ask(chat, "/rooms/room/messages/")).body)
        schema = {**DESCRIPTION["components"]["schemas"]["Page"], "components": DESCRIPTION["components"]}
        jsonschema.validate(page, schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**page, "lastEventId": -1}, schema)


@pytest.mark.parametrize("private", [False, True], ids=["without tokens", "with tokens"])
def test_no_request_made_up_from_the_description_gets_an_answer_that_is_not_in_it(private, tmp_path):
    """With tokens as somebody who may do all: else most answers would be 401."""
    need("schemathesis")
    more = options(tmp_path, "--signals") if private else ()
    arguments = ("--standalone", "--port", "0", "--store", "sqlite::memory:", *more)
    if private:
        bearer = token(rooms={"*": "rwm"})  # what is no token or user is refused, and of that it would warn
        chosen = [f"--header=Authorization: Bearer {bearer}", "--warnings", "missing_test_data"]
    else:  # every removal is 401, and of that it would warn; the other two are 405, as other pages are
        others = ("/session", "/revocations/", "/rooms/{room}/signals/")  # the last one is off here
        chosen = [f"--exclude-path={path}" for path in others]
        chosen += ["--warnings", "missing_test_data,validation_mismatch"]
    with running(*arguments, cwd=tmp_path) as program:
        ran = subprocess.run(
            [
                *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"),
                *(f"{program.url}/openapi.json", "--checks", CHECKS),
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
