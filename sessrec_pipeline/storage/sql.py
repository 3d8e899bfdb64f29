"""SQL texts and the names in them."""

import re
from functools import cache
from importlib.resources import files


def identifier(name: str) -> str:
    """``name`` if it is a plain SQL identifier (letters, digits, underscore); ValueError otherwise."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", name):
        raise ValueError(f"{name!r} is no plain identifier; use letters, digits and underscores")
    return name


def quoted(name: str) -> str:
    """Any column name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


@cache
def sql_text(package: str, name: str) -> str:
    """The text of ``name``.sql beside the modules of ``sessrec_pipeline.<package>``."""
    return (files("sessrec_pipeline") / package / f"{name}.sql").read_text(encoding="utf-8")
