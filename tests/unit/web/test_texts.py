"""What the server makes of a text, by the table that the page's script goes through, too."""

import html
import json
import re
import time
from pathlib import Path

import pytest

from flychat.web.texts import html_of, is_big, is_long, without_blank_lines

CASES = json.loads((Path(__file__).parents[2] / "contract/texts.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: ascii(case["text"][:40]))
def test_a_text_has_its_elements_and_nothing_of_it_is_lost(case):
    text = case["text"]
    made = html_of(text)
    assert case == {"text": text, "html": made, "big": is_big(text), "long": is_long(text)}
    assert html.unescape(re.sub("<[^>]*>", "", made)) == text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("hello", "hello"),
        ("\n \n\thello\n\nyou \n\t\n", "\thello\n\nyou "),
        ("  indented", "  indented"),
        (" \n ", " "),
        ("\n", ""),
        ("", ""),
        ("a\n \nb", "a\n \nb"),
        ("a \n\u00a0\n", "a \n\u00a0"),
    ],
)
def test_blank_lines_around_a_text_are_taken_off(text, left):
    assert without_blank_lines(text) == left


def test_blank_lines_within_a_text_that_is_far_too_long_are_passed_over_in_a_moment():
    """It is not known yet that it is too long: a form of 64 kB may have nothing but line breaks."""
    began = time.process_time()
    for blank in ("\n", "\n ", "\n\t ", " "):
        text = "a" + blank * (65_536 // len(blank)) + "a"
        assert without_blank_lines(text) == text
    assert time.process_time() - began < 0.05


def test_a_text_of_backticks_is_read_in_a_moment():
    for text in ("`" * 4096, "```a" * 1024, "``` " + "`" * 4000, "@" * 4096, "@a " * 1365, "\n" * 4096):
        assert re.sub("<[^>]*>", "", html_of(text)) == text
