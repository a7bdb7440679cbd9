"""How the name of a sender is shown: so that no two names look the same because of invisible characters.

The page shows live names by the same rules (static/names.js). tests/contract/names.json has what both must
make of a name, and a test compares both for every character.
"""

from __future__ import annotations

import re
from functools import lru_cache
from unicodedata import category, normalize

# Invisible characters, in the syntax that Python and JavaScript (without lookbehind) share. The group matches
# what stays as it is: joiners between emoji, and in the scripts from Arabic to Sinhala, which need them;
# variation selectors behind emoji, and in keycaps; the three flags that are made of tags. A single space is
# visible, except at the beginning or the end.
_EMOJI, _JOINING = "[\u2190-\u27ff\u2900-\u2bff\U0001f000-\U0001faff]", "[\u0600-\u0dff]"
_ENGLAND, _SCOTLAND, _WALES = (
    "".join(chr(0xE0000 + ord(letter)) for letter in code) for code in ("gbeng", "gbsct", "gbwls")
)
UNSEEN = (
    f"(\U0001f3f4(?:{_ENGLAND}|{_SCOTLAND}|{_WALES})\U000e007f"
    f"|{_EMOJI}\ufe0f?(?:\u200d(?={_EMOJI}))?|{_JOINING}[\u200c\u200d](?={_JOINING})|[0-9#*]\ufe0f\u20e3)"
    "|[\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f"
    "\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
    "|^[ \u3000]|[ \u3000](?![^ \u3000])"
)
_UNSEEN = re.compile(UNSEEN)
_UNTOLD = "\N{REPLACEMENT CHARACTER}"
_APART = "\N{DOTTED CIRCLE}"
HUES = 36  # a class of the style sheet for each


@lru_cache(2_000)
def name_to_show(name: str) -> str:
    """A sender as people see it: what is invisible in it is made visible.

    Letters that only look alike, such as a Cyrillic a, are not changed. The name itself stays the key.
    """
    return _UNSEEN.sub(lambda match: match[1] or _UNTOLD, _taken_apart(name))


def _taken_apart(name: str) -> str:
    """A name in which a dotted circle stands before each combining character that NFC would compose.

    So "e" with an accent behind it looks different from the letter that has one, which is the usual form.
    """
    if normalize("NFC", name) == name:
        return name
    shown, before = "", ""
    for end, character in enumerate(name, 1):
        composed = normalize("NFC", name[:end])
        shown += character if composed == before + character else _APART + character
        before = composed
    return shown


@lru_cache(2_000)
def initial(shown: str) -> str:
    """The letter in the avatar of a name: its first character as people count them, as a capital."""
    first = before = shown[:1]
    for character in shown[1:]:
        flag = first == before and all("\U0001f1e6" <= each <= "\U0001f1ff" for each in (before, character))
        if flag or before == "\u200d" or _extends(character):
            first += character
            before = character
        else:
            break
    return first.upper()


def _extends(character: str) -> bool:
    """Whether a character belongs to the one before it."""
    return (
        category(character)[0] == "M"
        or character in "\u200c\u200d\u0e33\u0eb3"
        or "\U0001f3fb" <= character <= "\U0001f3ff"
        or "\U000e0020" <= character <= "\U000e007f"
    )


@lru_cache(2_000)
def hue(name: str) -> int:
    """The colour of a name, from 0 to HUES - 1; the style sheet gives it a lightness that can be read."""
    hash = 0
    for character in name:
        hash = (hash * 31 + ord(character)) & 0xFFFFFFFF
    return int(hash * 137.508 % 360 / (360 / HUES))
