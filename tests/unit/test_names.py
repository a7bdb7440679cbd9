"""How a name is shown, as a table."""

import pytest

from flychat.names import name_to_show


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Ann Ö. 名前", "Ann Ö. 名前"),
        ("an\u200bn", "an\ufffdn"),
        ("\u200e\u200f\u061c\u202a\u202e\u2066\u2069\u2060\ufeff\u00ad", "\ufffd" * 10),
        ("\u3164\u115f\u2800\U000e0041", "\ufffd" * 4),
        (" a  b ", "\ufffda\ufffd b\ufffd"),
        ("a\u00a0b\u2003c", "a\ufffdb\ufffdc"),
        ("山田\u3000太郎\u3000", "山田\u3000太郎\ufffd"),
        ("می\u200cخ an\u200cn \u200cخ خ\u200c", "می\u200cخ an\ufffdn \ufffdخ خ\ufffd"),
        ("क्\u200dष क\u200d", "क्\u200dष क\ufffd"),
        ("\u2764\ufe0f\u200d\U0001f525 \U0001f468\u200dn", "\u2764\ufe0f\u200d\U0001f525 \U0001f468\ufffdn"),
        ("n\ufe0f 1\ufe0f\u20e3", "n\ufffd 1\ufe0f\u20e3"),
        ("\ufffd", "\ufffd"),
    ],
)
def test_what_is_invisible_in_a_name_is_shown(name, shown):
    assert name_to_show(name) == shown
