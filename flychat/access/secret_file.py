"""Reading the file of --secret."""

from __future__ import annotations

import time

from ..errors import Misconfigured
from .tokens import Secret


def read_secret(file: str) -> Secret:
    """Its keys. Raises Misconfigured."""
    try:
        with open(file, "rb") as opened:
            return Secret.of_lines(opened.read(), int(time.time()))
    except OSError as error:
        raise Misconfigured(f'--secret "{file}" cannot be read: {error.strerror}') from None
