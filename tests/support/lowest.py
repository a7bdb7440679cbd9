"""Installs the oldest releases that setup.cfg allows, into the Python that runs this: `tox -e lowest`.

A lower bound is a promise like any other. It is where we know of no hole and where the tests pass, and neither
shows in an environment that always has the newest of everything.
"""

from __future__ import annotations

import sys
from importlib.metadata import requires

from packaging.requirements import Requirement

from tests.support.patience import patiently


def lowest(requirements: list[str]) -> list[str]:
    """`name==version` for each that the program itself needs."""
    pins = []
    for requirement in map(Requirement, requirements):
        if requirement.marker is None:  # else it is an extra
            (bound,) = (spec.version for spec in requirement.specifier if spec.operator == ">=")
            pins.append(f"{requirement.name}=={bound}")
    return pins


if __name__ == "__main__":
    pins = lowest(requires("flychat") or [])
    print("the lowest:", *pins, flush=True)
    patiently([sys.executable, "-m", "pip", "install", "--quiet", *pins])
