"""Text of strangers is made harmless, and all other text stays as it is."""

import xml.etree.ElementTree as ET

import pytest

from sessrec_pipeline.text import about, printable


@pytest.mark.parametrize("text", ["", "a\tb\nc", "ítem «ñ»", "日本語", "👟", "<b>&$x$", "\N{NO-BREAK SPACE}–−"])  # noqa: RUF001
def test_writing_stays(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    "character", ["\0", "\x1b", "\x7f", "\u061c", "\u200e", "\u202e", "\u2066", "\ud800", "\uffff"]
)
def test_controls_are_replaced(character: str) -> None:
    assert printable(f"a{character}b") == "a\ufffdb"
    ET.fromstring(f"<x>{printable(character)}</x>")


@pytest.mark.parametrize("sentence", ["a b.csv: is cut", "'a b.csv': is cut", "is cut"])
def test_a_sentence_names_once_whom_it_is_about(sentence: str) -> None:
    assert about("a b.csv", sentence).count("a b.csv") == 1
