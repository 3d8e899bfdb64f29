"""Text that is safe anywhere: in a page, an XML file, a message or a terminal."""

import re


def printable(text: str) -> str:
    """``text`` without the characters that XML forbids and without those that turn the writing direction."""
    return re.sub(
        "[^\t\n -~\xa0-\u061b\u061d-\u200d\u2010-\u2029\u202f-\u2065\u206a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]",
        "\ufffd",
        text,
    )


def N_(text: str) -> str:  # noqa: N802 - its usual name
    """``text`` itself, marked for the catalogue."""
    return text
