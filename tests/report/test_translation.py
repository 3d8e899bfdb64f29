"""Every text of the pages is in the Spanish catalogue, and every entry fits its text."""

import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.frontend import CommandLineInterface
from babel.messages.pofile import read_po

from sessrec_pipeline.report import translation
from sessrec_pipeline.report.translation import (
    LANGUAGES,
    SOURCE,
    current_language,
    gettext,
    join_names,
    ngettext,
    using_language,
)
from sessrec_pipeline.text import N_

ROOT = Path(__file__).parents[2]
CATALOGUE = Path(translation.__file__).parent / "locale/es/LC_MESSAGES/report.po"


def read(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, abort_invalid=True)


def extracted(folder: Path, *sources: str | Path) -> Catalog:
    """The texts in the code, as `make messages` finds them."""
    template = folder / "report.pot"
    mapping = ROOT / "pyproject.toml"
    command = ["pybabel", "--quiet", "extract", "--mapping-file", mapping, "--output-file", template, *sources]
    CommandLineInterface().run([str(word) for word in command])
    return read(template)


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return extracted(tmp_path_factory.mktemp("code"), ROOT / "sessrec_pipeline", ROOT / "docs/make.py")


def pairs(message: Message) -> Iterator[tuple[str, str]]:
    """Each English text of an entry with its Spanish one."""
    if isinstance(message.id, str):
        assert isinstance(message.string, str), message.id
        yield message.id, message.string
    else:
        yield from zip(message.id, message.string, strict=True)


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def fits(english: str, spanish: str) -> bool:
    """Whether a translation has the placeholders of its text, and the same spaces and punctuation at its ends."""
    return (
        bool(spanish.strip())
        and placeholders(english) == placeholders(spanish)
        and (english[-1] == spanish[-1] or english[-1] not in ".:, ")
        and (english[0] == spanish[0] or english[0] not in " ,")
    )


def faults(code: Catalog, catalogue: Catalog) -> dict[object, str]:
    """What is wrong, by text; empty where the catalogue is complete."""
    wanted, there = ({m.id for m in messages if m.id} for messages in (code, catalogue))
    gone = (there - wanted) | {m.id for m in catalogue.obsolete.values()}
    found: dict[object, str] = dict.fromkeys(wanted - there, "is not in the catalogue")
    found |= dict.fromkeys(gone, "is no longer in the code")
    for message in catalogue:
        if message.id and message.fuzzy:
            found[message.id] = "is fuzzy"
        elif message.id and not all(fits(*pair) for pair in pairs(message)):
            found[message.id] = f"does not fit its translation {message.string!r}"
    return found


def test_the_catalogue_is_complete(code: Catalog) -> None:
    assert len(code) > 200
    found = faults(code, read(CATALOGUE))
    assert found == {}, "run `make messages` and fill in what is empty or fuzzy"


GOOD = 'msgid "{n} items"\nmsgstr "{n} ítems"\n'


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        (GOOD, None),
        ("", "is not in the catalogue"),
        (GOOD.replace("{n} ítems", ""), "does not fit"),
        (GOOD.replace("{n} ítems", "{m} ítems"), "does not fit"),
        (f"#, fuzzy\n{GOOD}", "is fuzzy"),
        (f'{GOOD}\nmsgid "old"\nmsgstr "viejo"\n', "is no longer in the code"),
        (f'{GOOD}\n#~ msgid "old"\n#~ msgstr "viejo"\n', "is no longer in the code"),
    ],
)
def test_faults_of_a_catalogue_are_found(tmp_path: Path, entries: str, fault: str | None) -> None:
    source, catalogue = tmp_path / "code.py", tmp_path / "report.po"
    source.write_text('gettext("{n} items", n=3)\n', encoding="utf-8")
    catalogue.write_text(
        f'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n\n{entries}', encoding="utf-8"
    )
    found = list(faults(extracted(tmp_path, source), read(catalogue)).values())
    assert len(found) == (fault is not None)
    assert all(text.startswith(str(fault)) for text in found)


def test_texts_of_code_and_templates_are_extracted(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text('gettext("a" "b", x=gettext("c"))\nngettext("{n} d", "{n} ds", 2)\nN_("e")\n')
    (tmp_path / "page.j2").write_text('{{ gettext("f {x}", x=y or gettext("g")) }} {{ ngettext("h", "i", n) }}')
    found = {m.id for m in extracted(tmp_path, tmp_path) if m.id}
    assert found == {"ab", "c", ("{n} d", "{n} ds"), "e", "f {x}", "g", ("h", "i")}


def test_texts_are_translated_and_names_are_not() -> None:
    assert current_language() == SOURCE
    assert gettext("{n} predictions", n=3) == "3 predictions"
    with using_language("es"):
        assert current_language() == "es"
        assert gettext("{n} predictions", n=3) == "3 predicciones"
        assert gettext(N_("Model")) == "Modelo"
        assert gettext("{n} {") == "{n} {", "what is not in the catalogue is a name, whatever it holds"
        assert gettext("") == "", "and not the header of the catalogue"
        assert join_names(["a", "b", "c"]) == "a, b y c"
    assert gettext("") == join_names([]) == ""
    assert join_names(["a"]) == "a"
    assert join_names(["a", "b"]) == "a and b"


@pytest.mark.parametrize(
    ("n", "english", "spanish"),
    [
        (0, "0 trials, 5 s, tuning split", "0 pruebas, 5 s, partición de ajuste"),
        (1, "1 trial, 5 s, tuning split", "1 prueba, 5 s, partición de ajuste"),
        (1234, "1,234 trials, 5 s, tuning split", "1,234 pruebas, 5 s, partición de ajuste"),
    ],
)
def test_numbers_choose_the_form(n: int, english: str, spanish: str) -> None:
    for language, expected in {"en": english, "es": spanish}.items():
        with using_language(language):
            text = ngettext("{n} trial, {time}, tuning split", "{n} trials, {time}, tuning split", n, time="5 s")
        assert text == expected


def test_the_language_is_given_back_after_an_error() -> None:
    with pytest.raises(RuntimeError), using_language("es"):
        raise RuntimeError
    assert current_language() == SOURCE


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ValueError, match="no language 'fr': use one of en, es"), using_language("fr"):
        pass
    assert set(LANGUAGES) == {"en", "es"}
