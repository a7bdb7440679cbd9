"""The files that come with the package."""

from __future__ import annotations

from pathlib import Path


def folder(name: str) -> Path:
    """`templates` or `static`: inside the package where it is installed, beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name
