"""On which side a line stands: where its first letter beyond mentions and code belongs.

So Unicode has it, and `unicode-bidi: plaintext`; but WebKit looks into those as well. So before one that says
something else there is a mark that nobody sees or copies. The same rule as in static/sides.js;
tests/contract/texts.json is what both must make of a text.
"""

from __future__ import annotations

import re

_MARKS = "\u200e\u200f\u061c"
_RIGHT = re.compile(
    "[\u0590-\u08ff\u200f\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
)


def with_sides(parts: list[tuple[str, str, str]]) -> str:
    """The HTML of all parts: each has its HTML, what it says for its line, and what only for itself."""
    made: list[str] = []
    place, own = -1, ""  # of a mark, and the letter that stands only for itself there
    settled = False  # the line has a letter that decides

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
