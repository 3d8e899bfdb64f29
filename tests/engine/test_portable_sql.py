"""A lint: SQL that may run on any engine keeps to what DuckDB and Spark share.

It goes by patterns, not by a grammar: it catches what slips in by habit, and a run on both engines has the last word.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sessrec_pipeline
from sessrec_pipeline.preparation.sessions import landed_events
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.sql import final_order

TEXTS = sorted(
    path
    for room in ("preparation", "models", "monitoring")
    for path in (Path(sessrec_pipeline.__file__).parent / room).rglob("*.sql")
)
PUBLISHED = {
    "ordered", "test", "markov", "popularity", "recent_popularity", "association_rules", "sequential_rules",
    "item_knn", "recent_sessions", "popularity_shift", "session_days",
}  # fmt: skip
"""Texts whose rows are stored, so that their order must be said; the others feed further SQL."""
UNIQUE = {
    "code", "day", "id", "line", "place", "position", "session", "session_number", "first_seen", "popularity_rank",
    "successor_rank", "recent_rank", "rule_rank", "similarity_rank", "recency",
}  # fmt: skip
"""Columns that settle every tie as the last key of an ORDER BY."""

NEVER = {
    "QUALIFY": r"\bQUALIFY\b",
    "// division": r"//",
    "DIV": r"\bDIV\b",
    "EXCLUDE": r"\bEXCLUDE\b",
    "GROUP BY ALL": r"\bGROUP\s+BY\s+ALL\b",
    "ORDER BY ALL": r"\bORDER\s+BY\s+ALL\b",
    "BY NAME": r"\bBY\s+NAME\b",
    "IGNORE NULLS": r"\bIGNORE\s+NULLS\b",
    "LEFT SEMI JOIN": r"\bLEFT\s+(SEMI|ANTI)\b",
    "list or array function": r"\b((LIST|ARRAY)(_\w+)?|STRING_AGG|LISTAGG|GROUP_CONCAT|COLLECT_LIST|UNNEST)\s*\(",
    "engine hash function": r"\b\w*HASH\w*\s*\(",
    ":: cast": r"::",
    "VARCHAR without a length (write STRING)": r"\bVARCHAR\b(?!\s*\()",
    "division without NULLIF": r"/\s*(?!\s|NULLIF\b|[1-9])",
    "cast of a quotient without FLOOR": r"\bCAST\((?!\s*FLOOR\b)[^()]*/[^()]*(\([^()]*\))?[^()]*\bAS\s+BIGINT",
}
WIDE = re.compile(r"\b(ROW_NUMBER|RANK|DENSE_RANK|NTILE|COUNT|SUM)\s*\(")
CAST = re.compile(r"\bCAST\s*\(.*\bAS\s+(BIGINT|INT)\s*\)", re.DOTALL)
ORDERED = re.compile(r"\bORDER\s+BY\b(?P<keys>.*?)(?=\bROWS\b|\bRANGE\b|\bLIMIT\b|[()]|$)", re.DOTALL)


def plain(sql: str) -> str:
    """In capitals, without comments and without what stands in quotes."""
    return re.sub(r"'[^']*'", "''", re.sub(r"--[^\n]*", "", sql)).upper()


def select_lists(sql: str) -> list[list[tuple[str, str]]]:
    """For each SELECT, the outermost first, its columns as (expression, name)."""
    return [columns(sql[found.end() :]) for found in re.finditer(r"\bSELECT\b", sql)]


def columns(text: str) -> list[tuple[str, str]]:
    """The columns of a select list that ``text`` starts with, up to its FROM."""
    depth, parts, current = 0, [], ""
    for token in re.findall(r"\w+|\s+|.", text):
        depth += (token == "(") - (token == ")")
        if depth < 0 or (depth == 0 and token == "FROM"):
            break
        if depth == 0 and token == ",":
            parts.append(current)
            current = ""
        else:
            current += token
    named = [re.fullmatch(r"(.*?)(?:\s+AS\s+(\w+))?", part.strip(), re.DOTALL) for part in [*parts, current]]
    return [(m[1], m[2] or re.split(r"\W", m[1])[-1]) for m in named if m]


def lint(sql: str, published: bool = True) -> list[str]:
    """What the text does that the engines do not share, in words."""
    text = plain(sql)
    faults = [name for name, pattern in NEVER.items() if re.search(pattern, text)]
    lists = select_lists(text)
    output = {name for _, name in lists[0]}
    for found in lists:
        for n, (expression, name) in enumerate(found):
            if name in output and WIDE.search(CAST.sub("", expression)):
                faults.append(f"{name} is not cast to BIGINT or INT")
            own = re.search(rf"\b{name}\b", expression)
            if not own and any(re.search(rf"\b{name}\b", later) for later, _ in found[n + 1 :]):
                faults.append(f"lateral alias {name}")
    for order in ORDERED.finditer(text):
        last = order["keys"].split(",")[-1].split()
        if not last or last[0].lower().rpartition(".")[2] not in UNIQUE:
            faults.append(f"ties are not broken: ORDER BY{order['keys'].rstrip()}")
    if published and not re.search(r"\bORDER\s+BY\b[^()]*$", text):
        faults.append("no ORDER BY at the end")
    return faults


def test_the_texts_are_found() -> None:
    assert {path.stem for path in TEXTS} >= PUBLISHED
    assert len(TEXTS) >= 27


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_text_is_portable(path: Path) -> None:
    assert lint(path.read_text(encoding="utf-8"), published=path.stem in PUBLISHED) == []


@pytest.mark.parametrize("path", [path for path in TEXTS if path.stem in PUBLISHED], ids=lambda path: path.stem)
def test_rows_leave_in_an_order_of_their_own_columns(path: Path) -> None:
    """Another engine leaves files, which are put in order by what is in them."""
    text = plain(path.read_text(encoding="utf-8"))
    order = final_order(text)
    assert order is not None
    assert {key.split()[0] for key in order.split(", ")} <= {name for _, name in select_lists(text)[0]}


@pytest.mark.parametrize("logs", [{}, {"session_scope": "log"}, {"extra_columns": ["a", "part"]}])
@pytest.mark.parametrize("split", [{}, {"rule": "given", "test_logs": ["x"]}, {"rule": "given", "column": "part"}])
def test_text_of_landed_events_is_portable(
    feed: Callable[..., Settings], logs: dict[str, Any], split: dict[str, Any]
) -> None:
    if "column" in split:
        logs = {"extra_columns": ["part"]}
    sql, _ = landed_events(feed(logs=logs, split=split))
    assert [name for name, pattern in NEVER.items() if re.search(pattern, plain(sql))] == []


GOOD = "SELECT item, CAST(COUNT(*) AS BIGINT) AS n FROM t GROUP BY item ORDER BY n DESC, position"


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        ("SELECT a FROM t QUALIFY ROW_NUMBER() OVER (ORDER BY line) = 1 ORDER BY line", "QUALIFY"),
        ("SELECT time // 7 AS week FROM t ORDER BY line", "// division"),
        ("SELECT time DIV 7 AS week FROM t ORDER BY line", "DIV"),
        ("SELECT * EXCLUDE (a) FROM t ORDER BY line", "EXCLUDE"),
        ("SELECT a FROM t GROUP BY ALL ORDER BY line", "GROUP BY ALL"),
        ("SELECT a FROM t ORDER BY ALL", "ORDER BY ALL"),
        ("SELECT a FROM t UNION ALL BY NAME SELECT a FROM u ORDER BY line", "BY NAME"),
        ("SELECT LAG(a IGNORE NULLS) OVER (ORDER BY line) AS b FROM t ORDER BY line", "IGNORE NULLS"),
        ("SELECT a FROM t LEFT SEMI JOIN u ON t.a = u.a ORDER BY line", "LEFT SEMI JOIN"),
        ("SELECT array_agg(a ORDER BY line) AS b FROM t ORDER BY line", "list or array function"),
        ("SELECT list(a) AS b FROM t ORDER BY line", "list or array function"),
        ("SELECT list_contains(a, 1) AS b FROM t ORDER BY line", "list or array function"),
        ("SELECT string_agg(a) AS b FROM t ORDER BY line", "list or array function"),
        ("SELECT hash(a) AS b FROM t ORDER BY line", "engine hash function"),
        ("SELECT xxhash64(a) AS b FROM t ORDER BY line", "engine hash function"),
        ("SELECT a::BIGINT AS b FROM t ORDER BY line", ":: cast"),
        ("SELECT CAST(a AS VARCHAR) AS b FROM t ORDER BY line", "VARCHAR without a length (write STRING)"),
        ("SELECT a / b AS c FROM t ORDER BY line", "division without NULLIF"),
        ("SELECT CAST(a / 7 AS BIGINT) AS c FROM t ORDER BY line", "cast of a quotient without FLOOR"),
        ("SELECT COUNT(*) AS n FROM t ORDER BY line", "N is not cast to BIGINT or INT"),
        ("SELECT COALESCE(SUM(a), 0) AS n FROM t ORDER BY line", "N is not cast to BIGINT or INT"),
        ("SELECT n FROM (SELECT SUM(a) AS n FROM t) AS s ORDER BY line", "N is not cast to BIGINT or INT"),
        ("SELECT ROW_NUMBER() OVER (ORDER BY line) - 1 AS n FROM t ORDER BY line", "N is not cast to BIGINT or INT"),
        ("SELECT a + 1 AS b, b * 2 AS c FROM t ORDER BY line", "lateral alias B"),
        ("SELECT a FROM t", "no ORDER BY at the end"),
        ("SELECT a FROM (SELECT a FROM t ORDER BY line) AS s", "no ORDER BY at the end"),
        ("SELECT a FROM t ORDER BY time", "ties are not broken: ORDER BY TIME"),
        (
            "SELECT LAG(a) OVER (PARTITION BY s ORDER BY time) AS b FROM t ORDER BY line",
            "ties are not broken: ORDER BY TIME",
        ),
    ],
)
def test_lint_catches(bad: str, fault: str) -> None:
    assert fault in lint(bad)


@pytest.mark.parametrize(
    "good",
    [
        GOOD,
        "-- QUALIFY, a::b, x // y\n" + GOOD,
        "SELECT '::' || a AS a FROM t ORDER BY line",
        "SELECT CAST(FLOOR(a / 7) AS BIGINT) AS week FROM t ORDER BY line",
        "SELECT CAST(SUM(a) AS BIGINT) / NULLIF(b, 0) AS c FROM t ORDER BY line",
        "SELECT a FROM (SELECT a, COUNT(*) OVER (PARTITION BY a) AS n FROM t) AS s WHERE n > 1 ORDER BY line",
        "SELECT MD5(a) AS b FROM t ORDER BY time DESC, line",
    ],
)
def test_lint_lets_portable_text_through(good: str) -> None:
    assert lint(good) == []
