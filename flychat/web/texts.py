"""The text of a message as HTML. Without its elements it is exactly the text again.

    a mention in front of a line    <bdi>: a name of another script does not turn the sentence behind it
    code between backticks          <code>, single ones within a line, triple ones with their lines: nothing
                                    else of Markdown. The backticks stay, in <s>, which is not displayed
    a mark (sides.py)               where a line would stand on another side in WebKit than elsewhere
    a few emoji and nothing else    are large
    a long text                     is folded, if there are scripts to unfold it

Only the first PARTS mentions and pieces of code have elements: else a text could have 1,365, with three
elements each.

Links are made by the page's scripts alone (static/links.js). All else static/texts.js does by the same rules:
tests/contract/texts.json has what both must make of a text. The patterns use only what Python and JavaScript
read alike: no \\s or \\w, and only \\n ends a line.
"""

from __future__ import annotations

import re
from html import escape
from itertools import islice

from .sides import with_sides

LONG = 1_500  # characters
LONG_LINES = 24
BIG = 3  # emoji
PARTS = 100  # with elements: so that a page of 500 rows stays quick, whatever is in them

_PARTS = re.compile(
    r"(?P<open>```(?:[A-Za-z0-9+#.-]*\n)?)(?P<block>(?!`)[\s\S]+?)(?P<close>\n?```\n?)"
    r"|`(?P<code>[^`\n]+)`"
    r"|(?P<before>^|\n)(?P<mention>@[^ \t\n`]+(?:[ \t]+@[^ \t\n`]+)*)"
)
_PICTURE = (
    "[\U0001f300-\U0001f64f\U0001f680-\U0001f6ff\U0001f7e0-\U0001f7eb\U0001f90c-\U0001f9ff\U0001fa70-\U0001faff"
    "\u231a\u231b\u23e9-\u23ec\u23f0\u23f3\u2614\u2615\u2648-\u2653\u267f\u2693\u26a1\u26bd\u26be\u26c4\u26c5"
    "\u26ce\u26d4\u26ea\u26f2\u26f3\u26f5\u26fa\u26fd\u2705\u270a\u270b\u2728\u274c\u274e\u2753-\u2755\u2757"
    "\u2795-\u2797\u27b0\u27bf\u2b50\u2b55]\ufe0f?|[\u2190-\u2bff]\ufe0f"
)
_EMOJI = (
    f"(?:{_PICTURE})[\U0001f3fb-\U0001f3ff]?(?:\u200d(?:{_PICTURE}|[\u2640\u2642\u2695\u2696\u2708\u2764])"
    "[\U0001f3fb-\U0001f3ff]?)*(?:[\U000e0020-\U000e007e]+\U000e007f)?|[\U0001f1e6-\U0001f1ff]{2}"
)
_BIG = re.compile(f"(?:(?:{_EMOJI})[ \n]*){{1,{BIG}}}")
_BIG_CHARACTERS = 60  # no three emoji have more


def html_of(text: str) -> str:
    """The text, with its elements."""
    if "`" not in text and "@" not in text:
        return escape(text)
    parts: list[tuple[str, str, str]] = []
    end = 0
    for part in islice(_PARTS.finditer(text), PARTS):
        plain = text[end : part.start()] + (part["before"] or "")
        parts += [(escape(plain), plain, ""), _element(part)]
        end = part.end()
    return with_sides([*parts, (escape(text[end:]), text[end:], "")])


def _element(part: re.Match[str]) -> tuple[str, str, str]:
    if part["block"] is not None:
        return _code("code class=block tabindex=0", part["open"], part["block"], part["close"]), "\n", ""
    if part["code"] is not None:
        return _code("code", "`", part["code"], "`"), "", part["code"]
    return f"<bdi>{escape(part['mention'])}</bdi>", "", part["mention"]


def _code(tag: str, opened: str, code: str, closed: str) -> str:
    return f"<{tag} dir=ltr translate=no><s>{opened}</s>{escape(code)}<s>{closed}</s></code>"


def is_big(text: str) -> bool:
    return not text.isascii() and len(text) <= _BIG_CHARACTERS and _BIG.fullmatch(text) is not None


def is_long(text: str) -> bool:
    return len(text) > LONG or text.count("\n") >= LONG_LINES


def without_blank_lines(text: str) -> str:
    """The text without blank lines before and after it, which nobody means to send. Takes linear time."""
    seen = len(text) - len(text.lstrip(" \t\n"))
    text = text[text.rfind("\n", 0, seen) + 1 :]
    end = text.find("\n", len(text.rstrip(" \t\n")))
    return text if end < 0 else text[:end]
