"""The side on which a line begins, left or right: its first letter outside of mentions and code decides.

That is the rule of Unicode, and of `unicode-bidi: plaintext`; but WebKit looks into mentions and code, too.
So before one that would decide otherwise there is an invisible mark, which is not copied. static/sides.js has
the same rule; tests/contract/texts.json has what both must make of a text.
"""

from __future__ import annotations

import re

_MARKS = "\u200e\u200f\u061c"
_RIGHT = re.compile(
    "[\u0590-\u08ff\u200f\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
)


def with_sides(parts: list[tuple[str, str, str]]) -> str:
    """The HTML of all parts. Each part: its HTML, its text that decides for the line, its isolated text."""
    made: list[str] = []
    place, own = -1, ""  # where a mark may be needed, and the first letter of the isolated text there
    settled = False  # whether the line has had the letter that decides

    def settle(letter: str) -> None:
        nonlocal place
        if place >= 0 and _side(letter) != _side(own):
            made.insert(place, f"<i class={_side(letter)}></i>")
        place = -1

    for html, said, isolated in parts:
        letter = _letter(isolated)
        if letter and not settled and place < 0:
            place, own = len(made), letter
        for line in re.split("(?<=\n)", said):
            first = "" if settled else _letter(line)
            if first:
                settle(first)
                settled = True
            if line.endswith("\n"):
                settle("")
                settled = False
        made.append(html)
    settle("")
    return "".join(made)


def _letter(text: str) -> str:
    """The first one, or a mark that stands for one."""
    return next((character for character in text if character.isalpha() or character in _MARKS), "")


def _side(letter: str) -> str:
    return "rtl" if _RIGHT.match(letter) else "ltr"
