"""Text that is safe anywhere: in a page, an XML file, a message or a terminal."""

import difflib
import re
from collections.abc import Iterable, Mapping


def printable(text: str) -> str:
    """``text`` without the characters that XML forbids and without those that turn the writing direction."""
    return re.sub(
        "[^\t\n -~\xa0-\u061b\u061d-\u200d\u2010-\u2029\u202f-\u2065\u206a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]",
        "\ufffd",
        text,
    )


def counted(number: int, what: str) -> str:
    """A number of things of a regular plural: ``1 row``, ``2,000 rows``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def about(name: str, text: str) -> str:
    """A sentence that says whom it is about: ``text``, after the name where it does not begin with it."""
    return text if text.startswith((name, repr(name))) else f"{name}: {text}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence that asks for the one of ``known`` that is nearly ``name``; "" where none is."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f" (did you mean {near[0]}?)" if near else ""


def N_(text: str) -> str:  # noqa: N802 - its usual name
    """``text`` itself, marked for the catalogue."""
    return text


class Said(str):
    """An English text that knows what it was made of, so that a page can say it in another language.

    ``Said(N_("{n} days"), n=3)``; the values may be such texts themselves (``report/translation.py``, ``translated``).
    """

    __slots__ = ("template", "values")
    template: str
    values: Mapping[str, object]

    def __new__(cls, template: str, /, **values: object) -> "Said":
        """Fill the template's placeholders; all braces of a template are placeholders."""
        said = super().__new__(cls, template.format(**values))
        said.template, said.values = template, values
        return said
