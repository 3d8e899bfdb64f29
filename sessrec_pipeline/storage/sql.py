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


TOKEN = re.compile(
    r"""(?P<text>'(?:[^']|'')*') | "(?P<name>(?:[^"]|"")*)" | (?P<comment>--[^\n]*|/\*.*?\*/) | \$(?P<value>\w+)""",
    re.VERBOSE | re.DOTALL,
)
LAST_ORDER = re.compile(r"\bORDER\s+BY\s+([^()]+?)\s*$", re.IGNORECASE)
KEY = re.compile(r"(?:\w+\.)?(\w+(?:\s+(?:ASC|DESC))?(?:\s+NULLS\s+(?:FIRST|LAST))?)", re.IGNORECASE)


def spark_text(sql: str) -> str:
    """``sql`` as Spark spells it: ``:name`` for ``$name``, names quoted by backticks, backslashes in text."""

    def spelled(token: re.Match[str]) -> str:
        if token["value"]:
            return f":{token['value']}"
        if token["name"] is not None:
            return "`" + token["name"].replace('""', '"').replace("`", "``") + "`"
        if token["text"]:
            text = token["text"][1:-1].replace("''", "'")
            return "'" + text.replace("\\", r"\\").replace("'", r"\'") + "'"
        return token[0]

    return TOKEN.sub(spelled, sql)


def final_order(sql: str) -> str | None:
    """The keys of the ORDER BY that ends ``sql``, as columns of its rows; None where it ends otherwise."""
    bare = TOKEN.sub(lambda token: " " if token["comment"] else "''" if token["text"] else token[0], sql)
    found = LAST_ORDER.search(bare)
    keys = [KEY.fullmatch(key.strip()) for key in found[1].split(",")] if found else [None]
    return ", ".join(key[1] for key in keys if key) if all(keys) else None


@cache
def sql_text(package: str, name: str) -> str:
    """The text of ``name``.sql beside the modules of ``sessrec_pipeline.<package>``."""
    return (files("sessrec_pipeline") / package / f"{name}.sql").read_text(encoding="utf-8")
