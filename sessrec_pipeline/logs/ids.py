"""What text an id is: one id is one text, whatever type, format or writer it came through.

Everything that takes ids asks here: ``id_text`` for one value, and the SQL for columns, which says the same. Text is
trimmed of blanks and of what cannot be seen, taken out of the quotes that spreadsheets and TSV writers put around it
(="7", "7", '7), composed (NFC), and a whole number that a writer of floating numbers made of it (7.0, 7., 7,0, 4.46E7
of Java) is written as the integer. Other numbers with a point stay text (1.10 is a version, 12.000 are twelve thousand
in many countries); numbers whose digits are lost (4.46E+07 of a spreadsheet) cannot be an id: ``SPOILT`` finds them.
"""

import math
import re
import unicodedata
from decimal import Decimal
from uuid import UUID

import numpy as np

from sessrec_pipeline.quality.ids import SCIENTIFIC

BLANK = "".join(
    chr(code)
    for first, last in (
        *((0x0000, 0x0020), (0x007F, 0x00A0), (0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160)),
        *((0x1680, 0x1680), (0x180E, 0x180E), (0x2000, 0x200F), (0x2028, 0x202F), (0x205F, 0x206F), (0x2800, 0x2800)),
        *((0x3000, 0x3000), (0x3164, 0x3164), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF9, 0xFFFB)),
        *((0x1D173, 0x1D17A), (0xE0001, 0xE0001)),
    )
    for code in range(first, last + 1)
)
"""White space, control and format characters, and letters without a shape: nothing that a person sees at an end.

The selectors and tags that make other emoji of emoji are left out. Listed, for categories change with Unicode.
"""
_BLANKS = "".join(f"\\x{{{ord(character):X}}}" for character in BLANK)
"""The same inside the brackets of a regular expression of DuckDB."""

FLOAT = r"-?(?:(?:0|[1-9][0-9]{0,15})(?:\.(?:0{0,2}|0{4,})|,0)|[1-9]\.[0-9]{1,16}[eE][1-9][0-9]?)"
"""Three zeros after a point may be a thousand: 12.000 is 12 to some and 12000 to others."""
UNSURE = 2.0**53
"""From here on a double stands for several whole numbers."""
SPOILT = rf"-?{SCIENTIFIC}|-?[1-9]\.[0-9]+[eE][0-9]{{2,3}}|-?[0-9]{{16,}}\.0+"
"""What spreadsheets, R and floating numbers make of long ids. Product codes such as 15E2 are none of these."""
MOST_SPOILT = 0.05
"""A larger share of an id column makes the whole log useless; single ones may be codes that look so."""


def _quoted(blanks: str) -> str:
    """Regular expression of an id in quotes, whose text is ``\\1\\2``; ``blanks`` as they stand in brackets."""
    return rf"""^(?:=?"([^"'={blanks}](?:[^"]*[^"{blanks}])?)"|'(-?[0-9]+))$"""


QUOTED, QUOTED_SQL = re.compile(_quoted(re.escape(BLANK))), _quoted(_BLANKS).replace("'", "''")


def id_text(value: object) -> str:
    """The text of an id; TypeError, with what is wrong, where the value is none."""
    if isinstance(value, str):
        return _whole(QUOTED.sub(r"\1\2", unicodedata.normalize("NFC", value.strip(BLANK))))
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"has {value!r}, but ids are whole numbers or text")
    if isinstance(value, int | np.integer | UUID):
        return str(value)
    if isinstance(value, float | np.floating):
        number = float(value)
        if not math.isfinite(number) or number % 1:
            raise TypeError(f"has {value!r}, but ids are whole numbers or text")
        digits = np.finfo(value.dtype).nmant + 1 if isinstance(value, np.floating) else 53
        if abs(number) >= 2**digits:
            raise TypeError(f"has {value!r}, a number with a point, which cannot hold so many digits: give text")
        return str(int(number))
    if isinstance(value, Decimal):
        if not value.is_finite() or value != value.to_integral_value():
            raise TypeError(f"has {value!r}, but ids are whole numbers or text")
        return str(int(value))
    if isinstance(value, bytes):
        try:
            return id_text(value.decode())
        except UnicodeDecodeError:
            raise TypeError(f"has {value!r}, which is no UTF-8 text") from None
    raise TypeError(f"has {value!r}, but ids are whole numbers or text")


def _whole(text: str) -> str:
    if ("." in text or "," in text) and re.fullmatch(FLOAT, text):
        number = float(text.replace(",", "."))
        if number == math.trunc(number) and abs(number) < UNSURE:
            return str(int(number))
    return text


def simple(column: str) -> str:
    """SQL: whether there is nothing to fix in an id. In most there is not, and looking is as fast as can be."""
    return f"REGEXP_FULL_MATCH({column}, '[0-9A-Za-z_-]+')"


def printable(column: str) -> str:
    """SQL: whether an id is printable ASCII: nothing to trim and nothing to compose."""
    return f"REGEXP_FULL_MATCH({column}, '[!-~]+')"


def trimmed(column: str) -> str:
    """SQL: text without what nobody sees at its ends and without quotes around it, composed."""

    def bare(text: str) -> str:
        return f"REGEXP_REPLACE({text}, '{QUOTED_SQL}', '\\1\\2')"

    return f"""CASE
    WHEN {simple(column)} THEN {column}
    WHEN {printable(column)} THEN CASE WHEN {column}[1] IN ('=', '"', '''') THEN {bare(column)} ELSE {column} END
    WHEN REGEXP_MATCHES({column}, '^[{_BLANKS}]|[{_BLANKS}]$')
    THEN {bare(f"NFC_NORMALIZE(REGEXP_REPLACE({column}, '^[{_BLANKS}]+|[{_BLANKS}]+$', '', 'g'))")}
    ELSE {bare(f"NFC_NORMALIZE({column})")}
END"""


def whole(column: str) -> str:
    """SQL: the id, of text that ``trimmed`` made."""
    number = f"TRY_CAST(REPLACE({column}, ',', '.') AS DOUBLE)"
    digits = f"CAST(TRY_CAST({number} AS BIGINT) AS VARCHAR)"
    return f"""CASE
    WHEN NOT CONTAINS({column}, '.') AND NOT CONTAINS({column}, ',') THEN {column}
    WHEN {column} LIKE '%.0' AND ABS({number}) < {UNSURE} AND {digits} || '.0' = {column} THEN {digits}
    WHEN REGEXP_FULL_MATCH({column}, '{FLOAT}')
        AND {number} = TRUNC({number}) AND ABS({number}) < {UNSURE}
    THEN {digits}
    ELSE {column}
END"""


def has_control(column: str) -> str:
    """SQL: whether control characters stand inside an id, as damage and unclosed quotes leave them."""
    control = r"[\x00-\x1f\x7f-\x9f]"
    return f"""CASE
    WHEN {simple(column)} THEN false
    WHEN {printable(column)} THEN false
    WHEN REGEXP_MATCHES({column}, '{control}')
    THEN REGEXP_MATCHES({column}, '(?s)[^{_BLANKS}].*{control}.*[^{_BLANKS}]')
    ELSE false
END"""


def is_spoilt(column: str) -> str:
    """SQL: whether an id is a number whose digits are lost."""
    return f"((CONTAINS({column}, '+') OR CONTAINS({column}, '.')) AND REGEXP_FULL_MATCH({column}, '{SPOILT}'))"


def is_list(column: str) -> str:
    """SQL: whether an id is a list or a structure that was written as text."""
    return (
        f"((STARTS_WITH({column}, '[') AND ENDS_WITH({column}, ']')) OR "
        f"(STARTS_WITH({column}, '{{') AND ENDS_WITH({column}, '}}') AND CONTAINS({column}, ':')))"
    )
