"""From the options of access to the objects that decide: an Access and its Keeper."""

from __future__ import annotations

from ..errors import Misconfigured
from ..storage import Engine
from .gate import Access
from .keeper import Keeper, take_secret
from .options import AccessOptions
from .passwords import Passwords


def open_access(options: AccessOptions) -> Access:
    """The Access that these options describe. Raises Misconfigured."""
    passwords = Passwords(options.passwords)
    access = Access(options.rules, passwords=passwords, user_header=options.user_header)
    if options.secret or options.jwks:
        from .tokens import Tokens  # with all that it imports, which is not needed without them

        access.tokens = Tokens([])
    if options.secret:
        take_secret(access, options.secret)
    if options.jwks:
        from jwt.algorithms import has_crypto

        if not has_crypto:
            raise Misconfigured("--jwks needs the package cryptography: pip install 'flychat[jwks]'")
    return access


def open_keeper(access: Access, options: AccessOptions, engine: Engine, *, holds_here: bool) -> Keeper:
    """The Keeper of this Access, over this store. To be called in the event loop."""
    keeper = Keeper(access, options.secret, engine, holds_here=holds_here)
    if options.jwks and access.tokens is not None:
        from .jwks import KeySet

        keeper.key_set = KeySet(options.jwks, options.audience, options.issuer, access.tokens.forget)
        access.tokens.verifiers = [*access.tokens.verifiers, keeper.key_set]
    return keeper
