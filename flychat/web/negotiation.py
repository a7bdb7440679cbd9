"""What the headers Accept and Accept-Encoding ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

PARTS = 50  # of a header that are looked at: browsers name ten, and a head has room for 16,000
_QUALITY = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.ASCII)


@lru_cache(maxsize=256)  # there are few browsers
def prefers(accept: str, wanted: str, otherwise: str) -> bool:
    """Whether an Accept header asks for media type `wanted` rather than for `otherwise`.

    The higher quality wins, then the more specific range, then the earlier one (RFC 9110, 12.5.1);
    one range that matches both, such as */*, asks for nothing in particular.
    """
    return _rank(accept, wanted) > _rank(accept, otherwise)


@lru_cache(maxsize=256)
def takes_gzip(accept_encoding: str) -> bool:
    """By name, or by `*`; a quality of 0 refuses it. Without the header nothing is compressed."""
    qualities = {}
    for coding, parameters in _parts(accept_encoding):
        qualities[coding] = _quality(parameters)
    return qualities.get("gzip", qualities.get("*", 0.0)) > 0


def _rank(accept: str, media_type: str) -> tuple[float, int, int]:
    """(quality, specificity, -place) of the most specific range that matches; zeros if none does."""
    best = (0.0, 0, 0)
    for place, (media_range, parameters) in enumerate(_parts(accept)):
        if media_range not in (media_type, media_type.split("/")[0] + "/*", "*/*"):
            continue
        specificity = 3 - media_range.count("*")
        if specificity > best[1]:
            best = (_quality(parameters), specificity, -place)
    return best if best[0] > 0 else (0.0, 0, 0)


def _parts(header: str) -> Iterator[tuple[str, list[str]]]:
    """What is named, each with its parameters."""
    for part in header.lower().split(",", PARTS)[:PARTS]:
        name, *parameters = (piece.strip() for piece in part.split(";", PARTS)[:PARTS])
        yield name, parameters


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        if match := _QUALITY.fullmatch(parameter):
            return float(match[1])
        if parameter.startswith("q="):
            return 0.0  # not a quality: such a range asks for nothing
    return 1.0
