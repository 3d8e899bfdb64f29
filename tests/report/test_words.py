"""Every text of the page has a Spanish one with the same placeholders, and no other is in the catalogue."""

import ast
import string
from collections.abc import Iterator
from pathlib import Path

import jinja2
import pytest
from jinja2.ext import extract_from_ast

from sessrec_pipeline import report
from sessrec_pipeline.report.spanish import SPANISH
from sessrec_pipeline.report.words import LANGUAGES, language, listed, speaking, t, tn, word

FOLDER = Path(str(report.__file__)).parent
LOOKED_UP = {"t": 1, "tn": 2, "mark": 1}
"""Functions of words.py and how many of their first arguments are texts."""


def texts_of_module(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in LOOKED_UP:
            for argument in node.args[: LOOKED_UP[node.func.id]]:
                if path.name != "words.py":
                    assert isinstance(argument, ast.Constant), f"{path.name}:{node.lineno}: a text, or use word()"
                if isinstance(argument, ast.Constant):
                    yield str(argument.value)


def texts_of_template(path: Path) -> Iterator[str]:
    tree = jinja2.Environment(autoescape=True).parse(path.read_text(encoding="utf-8"))
    for _, _, found in extract_from_ast(tree, LOOKED_UP):
        yield from [found] if isinstance(found, str) else [text for text in found if text is not None]


def texts() -> set[str]:
    modules = [text for path in FOLDER.glob("*.py") for text in texts_of_module(path)]
    templates = [text for path in FOLDER.glob("*.j2") for text in texts_of_template(path)]
    assert len(modules) > 80
    assert len(templates) > 40
    return {*modules, *templates}


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_every_text_has_a_spanish_one_and_none_is_left_over() -> None:
    found = texts()
    assert sorted(found - SPANISH.keys()) == []
    assert sorted(SPANISH.keys() - found) == []


def test_both_texts_have_the_same_placeholders_and_edges() -> None:
    for english, spanish in SPANISH.items():
        assert placeholders(english) == placeholders(spanish), english
        assert spanish.strip(), english
        assert english[-1] == spanish[-1] or english[-1] not in ".:, ", english
        assert english[0] == spanish[0] or english[0] not in " ,", english


def test_words_are_looked_up_and_names_are_not() -> None:
    assert t("{n} predictions", n=3) == "3 predictions"
    with speaking("es"):
        assert language() == "es"
        assert t("{n} predictions", n=3) == "3 predicciones"
        assert word("{n} {") == "{n} {", "what is not in the catalogue is a name, whatever it holds"
        assert listed(["a", "b", "c"]) == "a, b y c"
        assert tn("{name}: {n} session, mean {mean}", "{name}: {n} sessions, mean {mean}", 1, name="a", mean=2).count(
            "1 sesión,"
        )
    assert language() == next(iter(LANGUAGES))
    assert listed(["a"]) == "a"
    assert listed([]) == ""


def test_the_language_is_given_back_after_an_error() -> None:
    with pytest.raises(RuntimeError), speaking("es"):
        raise RuntimeError
    assert language() == "en"
