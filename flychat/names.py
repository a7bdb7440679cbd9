"""How the name of a sender is shown: no two look the same because of what nobody sees in them."""

from __future__ import annotations

import re

# What nobody sees, in the syntax that Python and JavaScript (without lookbehind) share: the page shows live
# names by this pattern too. The group is what stays: joiners between emoji, and in the scripts from Arabic to
# Sinhala, that need them; variation selectors behind emoji. A single space is seen, but not at an end.
_EMOJI, _JOINING = "[\u2190-\u27ff\u2900-\u2bff\U0001f000-\U0001faff]", "[\u0600-\u0dff]"
UNSEEN = (
    f"({_EMOJI}\ufe0f?(?:\u200d(?={_EMOJI}))?|{_JOINING}[\u200c\u200d](?={_JOINING})|\ufe0f\u20e3)"
    "|[\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f"
    "\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
    "|^[ \u3000]|[ \u3000](?![^ \u3000])"
)
_UNSEEN = re.compile(UNSEEN)


def name_to_show(name: str) -> str:
    """A sender as people are to see it: what is invisible in it is not, so that no two look the same by that.

    Look-alikes that can be seen, such as a Cyrillic a, are left to the eye. The name itself stays the key.
    """
    return _UNSEEN.sub(lambda match: match[1] or "\N{REPLACEMENT CHARACTER}", name)
