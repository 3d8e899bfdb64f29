"""Text of strangers is made harmless, and all other text stays as it is."""

import io
import json
import sys
import xml.etree.ElementTree as ET

import pytest

from sessrec_pipeline.text import about, one_line, printable, say, say_json, visible


@pytest.mark.parametrize("text", ["", "a\tb\nc", "ítem «ñ»", "日本語", "👟", "<b>&$x$", "\N{NO-BREAK SPACE}–−"])  # noqa: RUF001
def test_writing_stays(text: str) -> None:
    assert printable(text) == visible(text) == text


@pytest.mark.parametrize(
    "character", ["\0", "\x1b", "\x7f", "\u061c", "\u200e", "\u202e", "\u2066", "\ud800", "\uffff"]
)
def test_controls_are_replaced(character: str) -> None:
    assert printable(f"a{character}b") == "a\ufffdb"
    ET.fromstring(f"<x>{printable(character)}</x>")


@pytest.mark.parametrize("sentence", ["a b.csv: is cut", "'a b.csv': is cut", "is cut"])
def test_a_sentence_names_once_whom_it_is_about(sentence: str) -> None:
    assert about("a b.csv", sentence).count("a b.csv") == 1


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m\x7f", "\\x9b31m\\x7f"),
        ("over\rwritten", "over\\rwritten"),
        ("abc\u202ecba", "abc\\u202ecba"),
        ("name\udcff", "name\\udcff"),
    ],
)
def test_controls_are_seen_on_a_terminal(text: str, seen: str) -> None:
    assert visible(text) == one_line(text) == seen


def test_a_strangers_text_begins_no_line() -> None:
    assert one_line("a.tsv\nError: none\t") == "a.tsv\\nError: none\\t"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_of_any_encoding_gets_all_text(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    say("é日\x1b")
    say_json({"item": "é日👟\x9b\u202e"})
    said, answer = stream.buffer.getvalue().decode(encoding).splitlines()  # type: ignore[attr-defined]
    assert said == {"ascii": "\\xe9\\u65e5", "latin-1": "é\\u65e5", "utf-8": "é日"}[encoding] + "\\x1b"
    assert json.loads(answer) == {"item": "é日👟\x9b\u202e"} and not set(answer) & {"\x9b", "\u202e"}
