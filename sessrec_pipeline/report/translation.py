"""The texts of the pages in English and Spanish, by gettext.

English stands in the code: ``gettext("{n} of {all} items", n=3, all=9)``. The Spanish texts are in
``locale/es/LC_MESSAGES/report.po``, which ``make messages`` brings up to date with the code. A text that stands in a
table is marked there, ``N_("Popularity")``, and translated where it is used, ``gettext(NAMES[model])``. Numbers look
the same in both languages.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from pathlib import Path

from sessrec_pipeline.text import Said

LANGUAGES = {"en": "English", "es": "Español"}
"""Codes and their own names."""
SOURCE = "en"
"""The language of the texts in the code."""
_current = ContextVar("language", default=SOURCE)


@contextmanager
def using_language(code: str) -> Iterator[None]:
    """Translate all texts inside into a language. ValueError where there is no such language."""
    if code not in LANGUAGES:
        raise ValueError(f"no language {code!r}: use one of {', '.join(LANGUAGES)}")
    token = _current.set(code)
    try:
        yield
    finally:
        _current.reset(token)


def current_language() -> str:
    """Code of the language that texts are translated into."""
    return _current.get()


def gettext(text: str, /, **values: object) -> str:
    """``text`` in the current language; with ``values``, its placeholders are filled.

    A text that is not in the catalogue stays as it is, such as the name of a user's model.
    """
    translated = _translations(current_language()).gettext(text) if text else ""  # gettext keeps its header under ""
    return translated.format(**values) if values else translated


def ngettext(singular: str, plural: str, n: int, /, **values: object) -> str:
    """The form for ``n`` in the current language; ``{n}`` is the number, with commas between thousands."""
    return _translations(current_language()).ngettext(singular, plural, n).format(n=f"{n:,}", **values)


def translated(text: str) -> str:
    """A text of another room in the current language, with all texts inside it."""
    if not isinstance(text, Said):
        return text
    values = {name: translated(value) if isinstance(value, str) else value for name, value in text.values.items()}
    return gettext(text.template, **values)


def join_names(names: Sequence[str]) -> str:
    """Names as a sentence lists them: a, b and c."""
    if len(names) < 2:
        return "".join(names)
    return gettext("{names} and {last}", names=", ".join(names[:-1]), last=names[-1])


@cache
def _translations(code: str) -> NullTranslations:
    """The catalogue, read from its text once, so that no compiled copy of it can be out of date."""
    if code == SOURCE:
        return NullTranslations()
    # Here: English alone, in which commands and checks speak, must not wait for them.
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    with (Path(__file__).parent / "locale" / code / "LC_MESSAGES" / "report.po").open("rb") as file:
        catalogue = read_po(file)
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return GNUTranslations(compiled)
