"""How addresses are written, and which of them leads where."""

from __future__ import annotations


def reachable(host: str) -> str:
    """The address at which a listener on `host` is reached from here."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def host_and_port(host: str, port: int) -> str:
    """As an address has them: that of IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
