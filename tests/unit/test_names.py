"""How a name is shown, as a table, and that the page's script shows every name like the server."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flychat.names import hue, initial, name_to_show
from tests.conftest import need

ROOT = Path(__file__).parents[2]
CASES = json.loads((ROOT / "tests/contract/names.json").read_text())
EVERY = """
import { shown } from "%s";
const told = [];
for (let code = 1; code < 0x110000; code += 1) {
  if (code >= 0xd800 && code < 0xe000) continue;
  const character = String.fromCodePoint(code);
  if (shown(character + "x").startsWith("\ufffd")) told.push(code);
}
console.log(JSON.stringify(told));
"""


@pytest.mark.parametrize("case", CASES, ids=lambda case: ascii(case["name"]))
def test_what_is_invisible_in_a_name_is_shown(case):
    shown = name_to_show(case["name"])
    assert case == {"name": case["name"], "shown": shown, "initial": initial(shown), "hue": hue(case["name"])}


def test_no_two_names_of_the_table_look_the_same():
    shown = [case["shown"] for case in CASES]
    assert len(set(shown)) > len(shown) - 2  # an invisible character is a mark, and so is the mark itself


def test_the_page_marks_the_same_characters_as_the_server():
    need("node")
    script = EVERY % (ROOT / "static/names.js").as_uri()
    ran = subprocess.run(
        ["node", "--input-type=module", "-e", script], capture_output=True, text=True, check=True
    )
    here = [
        code
        for code in [*range(1, 0xD800), *range(0xE000, sys.maxunicode + 1)]
        if name_to_show.__wrapped__(chr(code) + "x").startswith("\ufffd")
    ]
    assert json.loads(ran.stdout) == here
    assert len(here) > 4_000
