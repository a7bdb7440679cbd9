"""The files of static/, as they are served: without comments and needless white space, and the same code."""

import re
import subprocess

import pytest

from flychat.packaged import folder
from flychat.web.assets import Asset
from tests.conftest import need

FILES = sorted(folder("static").iterdir())


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".js"], ids=lambda path: path.name)
def test_a_script_is_served_without_its_comments_indentation_and_empty_lines(path, tmp_path):
    need("node")
    source, served = path.read_text().splitlines(), Asset.read(path).plain.decode().splitlines()
    kept = [line.strip() for line in source if line.strip() and not line.strip().startswith("//")]
    assert served == [re.sub(r"\s+// .*", "", line) for line in kept]
    # Nor is there a text of several lines, which would be another one.
    assert not [line for line in served if re.sub(r'"(\\.|[^"\\])*"', "", line).count("`") % 2]
    module = tmp_path / "served.mjs"
    module.write_text("\n".join(served))
    checked = subprocess.run(["node", "--check", module], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_styles_are_served_without_comments_and_needless_space_and_all_else_as_it_is():
    for path in FILES:
        served = Asset.read(path).plain
        if path.suffix == ".css":
            source = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
            assert served.decode().split() == re.sub(r"(?<=[{}:;,])\s+|\s+(?=[{}])", "", source).split()
            assert "".join(served.decode().split()) == "".join(source.split())
        elif path.suffix != ".js":
            assert served == path.read_bytes()
