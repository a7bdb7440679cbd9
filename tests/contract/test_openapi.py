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


@pytest.mark.gen_test
async def test_a_page_of_messages_is_as_described():
    async with served() as chat:
        await chat.post()
        page = json.loads((await ask(chat, "/rooms/room/messages/")).body)
        schema = {**DESCRIPTION["components"]["schemas"]["Page"], "components": DESCRIPTION["components"]}
        jsonschema.validate(page, schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**page, "lastEventId": -1}, schema)


def test_no_request_made_up_from_the_description_gets_an_answer_that_is_not_in_it(tmp_path):
    need("schemathesis")
    with running("--standalone", "--port", "0", "--store", "sqlite::memory:", cwd=tmp_path) as program:
        ran = subprocess.run(
            [
                *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"),
                *(f"{program.url}/openapi.json", "--checks", CHECKS),
                # Without a token to give, every removal is 401, which it warns of.
                *("--warnings", "missing_test_data,validation_mismatch"),
                *("--max-examples", "50", "--seed", "1", "--no-color"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout
        assert "No issues found" in ran.stdout
        assert program.end() == (0, "")
