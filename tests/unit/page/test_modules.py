"""The modules of the page, by themselves, in Node: all tests/unit/page/*.test.mjs."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import need

HERE = Path(__file__).parent
OLDEST = 18  # the first Node with `--test`


def test_the_modules_of_the_page() -> None:
    need("node")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.strip().lstrip("v").partition(".")[0]) < OLDEST:
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up(f"Node {version} is older than {OLDEST}")
    files = sorted(HERE.glob("*.test.mjs"))
    ran = subprocess.run(["node", "--test", *files], cwd=HERE, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    passed = re.search(r"^\S+ pass (\d+)", ran.stdout, re.MULTILINE)
    assert passed, ran.stdout
    assert int(passed[1]) > 90, ran.stdout  # all of the files have run
