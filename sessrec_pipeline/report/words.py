"""The words of the pages, in English or Spanish.

English stands in the code and is the key of the catalogue in ``spanish.py``: ``t("{n} of {all} items", n=3, all=9)``.
Words that stand in tables are marked there (``mark``) and looked up where they are used (``word``). Numbers look the
same in both languages.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from sessrec_pipeline.report.spanish import SPANISH

LANGUAGES = {"en": "English", "es": "Español"}
"""Codes and their own names; the first is the one that the code is written in."""
_spoken = ContextVar("language", default="en")


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """All words inside are in ``language``."""
    token = _spoken.set(language)
    try:
        yield
    finally:
        _spoken.reset(token)


def language() -> str:
    """Code of the language that is spoken."""
    return _spoken.get()


def mark(text: str) -> str:
    """``text`` itself: says that the catalogue must have it."""
    return text


def word(text: str) -> str:
    """``text`` in the language that is spoken; as it is where the catalogue does not know it, such as names."""
    return text if language() == "en" else SPANISH.get(text, text)


def t(text: str, /, **values: object) -> str:
    """A literal text in the language that is spoken, its placeholders filled."""
    return word(text).format(**values)


def tn(one: str, many: str, n: int, /, **values: object) -> str:
    """``one`` where ``n`` is 1, else ``many``; ``{n}`` is the number, with commas between thousands."""
    return t(one if n == 1 else many, n=f"{n:,}", **values)


def listed(names: Sequence[str]) -> str:
    """Names as a sentence lists them: a, b and c."""
    if len(names) < 2:
        return "".join(names)
    return t("{names} and {last}", names=", ".join(names[:-1]), last=names[-1])
