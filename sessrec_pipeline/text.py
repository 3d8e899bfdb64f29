"""Text that is safe anywhere: in a page, an XML file, a message or a terminal."""

import difflib
import json
import re
import sys
from collections.abc import Iterable, Mapping

UNSAFE = "[^\t\n -~\xa0-\u061b\u061d-\u200d\u2010-\u2029\u202f-\u2065\u206a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
"""Characters that XML forbids or a terminal obeys, and those that turn the writing direction."""


def printable(text: str) -> str:
    """``text`` with a replacement character for each that is ``UNSAFE``, for pages and XML."""
    return re.sub(UNSAFE, "\ufffd", text)


def visible(text: str) -> str:
    """``text`` with an escape such as ``\\x1b`` for each character that is ``UNSAFE``, for terminals and logs."""
    return re.sub(UNSAFE, lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """``visible`` text in which strangers cannot begin a line of their own."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def say(text: str = "", *, err: bool = False) -> None:
    """Print to the terminal: all that commands print goes through here, and nothing that is in it can steer it."""
    stream = sys.stderr if err else sys.stdout
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(visible(f"{text}\n").encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except OSError as error:  # such as of a full drive behind `>`
        error.filename = "standard error" if err else "standard output"
        raise


def say_json(value: object) -> None:
    """Print a value as one line of JSON, which it stays: what is unsafe is escaped as JSON does it."""
    text = json.dumps(value, ensure_ascii=(sys.stdout.encoding or "").lower() != "utf-8")
    say(re.sub(UNSAFE, lambda found: json.dumps(found[0])[1:-1], text))


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
