"""Opening what the options of access name."""

from __future__ import annotations

import time

from ..errors import Misconfigured
from .gate import Access
from .options import AccessOptions


def open_access(options: AccessOptions) -> Access:
    """What answers the one question. Raises Misconfigured."""
    access = Access(options.rules, user_header=options.user_header)
    if options.secret:
        take_secret(access, options.secret)
    return access


def take_secret(access: Access, file: str) -> None:
    """Reads the keys of the file, from now on the ones that are believed. Raises Misconfigured."""
    from .tokens import Secret, Tokens

    try:
        with open(file, "rb") as opened:
            secret = Secret.of_lines(opened.read(), int(time.time()))
    except OSError as error:
        raise Misconfigured(f"--secret: {file} cannot be read: {error.strerror}") from None
    access.secret = secret
    access.tokens = access.tokens or Tokens([])
    access.tokens.verifiers = [secret]
    access.tokens.forget()
    access.on = True
