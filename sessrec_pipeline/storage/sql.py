"""SQL texts and the names in them."""

import glob
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

import duckdb


def identifier(name: str) -> str:
    """``name`` if it is a plain SQL identifier (letters, digits, underscore); ValueError otherwise."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", name):
        raise ValueError(f"{name!r} is no plain identifier; use letters, digits and underscores")
    return name


def quoted(name: str) -> str:
    """Any column name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def create_view(connection: duckdb.DuckDBPyConnection, name: str, parquet: Sequence[Path]) -> None:
    """Make Parquet files readable as ``name``; nothing in their paths is a pattern or a column."""
    paths = [glob.escape(str(path)) for path in parquet]
    connection.from_parquet(paths, hive_partitioning=False).create_view(identifier(name), replace=True)


@cache
def sql_text(package: str, name: str) -> str:
    """The text of ``name``.sql beside the modules of ``sessrec_pipeline.<package>``."""
    return (files("sessrec_pipeline") / package / f"{name}.sql").read_text(encoding="utf-8")
