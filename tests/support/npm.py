"""Packages of npm that tests use: installed once, into the user's cache, outside the checkout."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import need
from tests.support.patience import patiently


def packages(wanted: Mapping[str, str]) -> Path:
    """The folder with these packages, by their versions. Skips where they are out of reach."""
    need("node")
    need("npm")
    package = json.dumps({"private": True, "dependencies": wanted})
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flychat-tests"
    folder = cache / hashlib.sha256(package.encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            (folder / "package.json").write_text(package)
            _install(folder, ", ".join(wanted))
            (folder / "installed").touch()
    return folder


def _install(folder: Path, names: str) -> None:
    command = ("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock")
    try:
        patiently(command, cwd=folder, timeout=300, capture_output=True, text=True)
    except subprocess.SubprocessError as error:
        why = f"npm cannot install {names}: {error} {error.stderr}"
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
