"""One landed log to typed events, with every row that cannot be read in quarantine under a reason.

All columns are read as text, so that no reader guesses a type; then SQL casts what it can. Rows in = events +
rows that the feed's own rules leave out + quarantine, and the counts that show it travel with the table.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb

from sessrec_pipeline.engine import DuckDBEngine, integer
from sessrec_pipeline.logs.gate import LandedLog, LogRefusedError, admit, check_name
from sessrec_pipeline.settings import LogSettings, RowRule, Settings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.lineage import Lineage, Node
from sessrec_pipeline.storage.sql import quoted

EARLIEST = 946_684_800_000_000
"""2000-01-01 in microseconds; no shop's log is older."""
DAY = 86_400_000_000
MAX_ID_BYTES = 256

TIME = {
    "s": "TRY_CAST(ROUND(TRY_CAST({column} AS DECIMAL(28, 9)) * 1000000) AS BIGINT)",
    "ms": "TRY_CAST(ROUND(TRY_CAST({column} AS DECIMAL(28, 9)) * 1000) AS BIGINT)",
    "us": "TRY_CAST(ROUND(TRY_CAST({column} AS DECIMAL(28, 9))) AS BIGINT)",
    "iso8601": "EPOCH_US(TRY_CAST({column} AS TIMESTAMPTZ))",
    "order": f"{EARLIEST} + TRY_CAST(ROUND(TRY_CAST({{column}} AS DECIMAL(28, 9))) AS BIGINT)",
}

REASON = """
CASE
    WHEN session IS NULL OR session = '' THEN 'session_missing'
    WHEN item IS NULL OR item = '' THEN 'item_missing'
    WHEN STRLEN(session) > $max_id_bytes THEN 'session_too_long'
    WHEN STRLEN(item) > $max_id_bytes THEN 'item_too_long'
    WHEN time IS NULL THEN 'time_unreadable'
    WHEN time < $earliest THEN 'time_before_2000'
    WHEN time > $latest THEN 'time_in_the_future'
END
"""


@dataclass(frozen=True)
class Ingested:
    """What became of one landed log."""

    events: Table
    """log, line (in the file), session, item (text), time (microseconds since 1970 UTC), extra columns."""
    quarantine: Table
    """log, line, reason, session, item, time (as it stood), text (of a line that the reader could not split)."""


def ingest_landed(
    settings: Settings, name: str, say: Callable[[str], None], now: Callable[[], float] = time.time
) -> Ingested:
    """Read the landed log ``name``; LogRefusedError where the file as a whole cannot be used."""
    check_name(name)
    path = settings.landing / name
    if not path.exists():
        raise LogRefusedError(f"{name} is not in {settings.landing} any more; land it again or delete its partition")
    log = admit(path, settings.logs)
    with DuckDBEngine(settings) as engine:
        try:
            counts = _read(log, settings.logs, engine)
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            raise LogRefusedError(
                f"{name}: cannot be read ({str(error).splitlines()[0]}); are its line ends mixed (LF, CRLF, CR) or its "
                "bytes damaged? Convert it, or land it again"
            ) from error
        _cast(log, settings.logs, engine, latest=int(now() * 1_000_000) + DAY)
        counts |= _count(engine)
        say(
            f"{name}: {counts['events']:,} events, {counts['left_out']:,} rows left out by rule, "
            f"{counts['quarantined']:,} quarantined{_first_bad(engine)}"
        )
        _refuse_swallowed(name, counts)
        _refuse_mostly_bad(name, counts, settings.logs.max_bad_share, _first_bad(engine))
        engine.write("events", "SELECT * EXCLUDE (reason) FROM typed WHERE reason IS NULL ORDER BY line")
        engine.write("bad_rows", "SELECT * FROM quarantine ORDER BY line, reason")
        origins = (_landed(log, counts["rows_in"]),)
        return Ingested(
            engine.table("events", dict(counts), origins),
            engine.table("bad_rows", {}, origins),
        )


def _landed(log: LandedLog, rows: int) -> Lineage:
    return Lineage(
        Node(
            asset="landing",
            partition=log.name,
            data_version=log.sha256,
            code_version="",
            config={},
            engine="",
            run_id="",
            created_at=datetime.fromtimestamp(log.path.stat().st_mtime, UTC).isoformat(timespec="seconds"),
            rows=rows,
            stats={"bytes": log.bytes},
        )
    )


def _read(log: LandedLog, settings: LogSettings, engine: DuckDBEngine) -> dict[str, int]:
    """Fill the tables ``raw`` (c0 .. cn as text, line) and ``rejected`` (line, reason, text)."""
    connection = engine.connection
    names = {column: f"c{i}" for i, column in enumerate(log.columns)}
    if settings.format == "parquet":
        columns = ", ".join(f"CAST({quoted(c)} AS VARCHAR) AS {alias}" for c, alias in names.items())
        connection.execute(
            f"CREATE TABLE raw AS SELECT {columns}, file_row_number + 1 AS line "
            "FROM read_parquet($file, file_row_number = true)",
            {"file": str(log.path)},
        )
        connection.execute("CREATE TABLE rejected (line BIGINT, reason VARCHAR, text VARCHAR)")
        return {"rows_in": log.records}
    quote = '"' if settings.format == "csv" else ""
    header = settings.columns is None
    connection.execute(
        "CREATE TABLE text AS SELECT *, ROW_NUMBER() OVER () AS ordinal FROM read_csv($file, auto_detect = false, "
        "header = $header, delim = $delim, quote = $quote, escape = $quote, columns = $columns, "
        "compression = $compression, store_rejects = true)",
        {
            "file": str(log.path),
            "header": header,
            "delim": settings.separator,
            "quote": quote,
            "columns": dict.fromkeys(names.values(), "VARCHAR"),
            "compression": "gzip" if log.compressed else "none",
        },
    )
    connection.execute(
        "CREATE TABLE rejected AS SELECT CAST(line AS BIGINT) AS line, "
        "REPLACE(LOWER(CAST(MIN(error_type) AS VARCHAR)), ' ', '_') AS reason, "
        "TRIM(MIN(csv_line), CHR(10) || CHR(13)) AS text FROM reject_errors GROUP BY line"
    )
    # The reader numbers only what it rejects. With n rejected lines before it, the k-th row read stands on line
    # header + k + n (quoted newlines and blank lines shift it).
    connection.execute(
        "CREATE TABLE raw AS "
        "WITH numbered AS (SELECT line, ROW_NUMBER() OVER (ORDER BY line) AS rejects FROM rejected), "
        "gaps AS (SELECT line - $header - rejects AS reads_before, MAX(rejects) AS rejects "
        "FROM numbered GROUP BY line - $header - rejects) "
        "SELECT text.*, $header + ordinal + COALESCE(gaps.rejects, 0) AS line "
        "FROM text ASOF LEFT JOIN gaps ON text.ordinal > gaps.reads_before",
        {"header": int(header)},
    )
    inside_reads = _further_lines(engine, "raw", list(names.values()))
    inside_rejects = _further_lines(engine, "rejected", ["text"])
    return {"rows_in": log.records - inside_reads - inside_rejects}


def _further_lines(engine: DuckDBEngine, table: str, columns: list[str]) -> int:
    """Lines after the first one of records with quoted newlines; blank ones left out, as the gate counts."""
    lines = (f"REGEXP_REPLACE({column}, '\\n[\\r\\n]*\\n', CHR(10), 'g')" for column in columns)
    counts = " + ".join(f"COALESCE(LENGTH({text}) - LENGTH(REPLACE({text}, CHR(10), '')), 0)" for text in lines)
    return integer(engine, f"SELECT COALESCE(CAST(SUM({counts}) AS BIGINT), 0) FROM {table}")


def _cast(log: LandedLog, settings: LogSettings, engine: DuckDBEngine, latest: int) -> None:
    """Fill ``typed`` (events with a reason where they are bad) and ``quarantine``, from ``raw`` and ``rejected``."""
    names = {column: f"c{i}" for i, column in enumerate(log.columns)}

    def text(column: str) -> str:
        return f"NFC_NORMALIZE(TRIM({names[column]}, ' ' || CHR(9) || CHR(13) || CHR(10)))"

    rules = [_rule(i, rule, names[rule.column]) for i, rule in enumerate(settings.keep)]
    kept = " AND ".join(f"COALESCE({condition}, false)" for condition, _ in rules) or "true"
    values = {key: value for _, bound in rules for key, value in bound.items()}
    extra = "".join(f", {names[c]} AS {quoted(c)}" for c in settings.extra_columns)
    connection = engine.connection
    connection.execute(f"CREATE TABLE kept AS SELECT * FROM raw WHERE {kept}", values or None)
    connection.execute(
        f"CREATE TABLE typed AS SELECT *, {REASON} AS reason FROM (SELECT CAST($log AS VARCHAR) AS log, line, "
        f"{text(settings.session)} AS session, {text(settings.item)} AS item, "
        f"{TIME[log.time_unit].format(column=names[settings.time])} AS time{extra} FROM kept)",
        {"log": log.name, "max_id_bytes": MAX_ID_BYTES, "earliest": EARLIEST, "latest": latest},
    )
    connection.execute(
        "CREATE TABLE quarantine AS "
        "SELECT typed.log, typed.line, typed.reason, typed.session, typed.item, "
        f"raw.{names[settings.time]} AS time, CAST(NULL AS VARCHAR) AS text "
        "FROM typed JOIN raw ON raw.line = typed.line WHERE typed.reason IS NOT NULL "
        "UNION ALL SELECT CAST($log AS VARCHAR), line, reason, NULL, NULL, NULL, text FROM rejected",
        {"log": log.name},
    )


def _rule(number: int, rule: RowRule, column: str) -> tuple[str, dict[str, object]]:
    """A rule as a SQL condition over bound values."""
    name = f"rule{number}"
    if rule.one_of is not None:
        return f"list_contains(${name}, {column})", {name: rule.one_of}
    if rule.not_prefix is not None:
        return f"NOT starts_with({column}, ${name})", {name: rule.not_prefix}
    value = f"TRY_CAST({column} AS DOUBLE)"  # NaN would be the greatest of all
    return f"NOT ISNAN({value}) AND {value} >= ${name}", {name: rule.minimum}


def _count(engine: DuckDBEngine) -> dict[str, int]:
    read = integer(engine, "SELECT COUNT(*) FROM raw")
    counts = {
        "events": integer(engine, "SELECT COUNT(*) FROM typed WHERE reason IS NULL"),
        "left_out": read - integer(engine, "SELECT COUNT(*) FROM kept"),
        "quarantined": integer(engine, "SELECT COUNT(*) FROM quarantine"),
    }
    reasons = engine.connection.execute("SELECT reason, COUNT(*) FROM quarantine GROUP BY reason ORDER BY reason")
    return counts | {f"quarantined: {reason}": int(n) for reason, n in reasons.fetchall()}


def _refuse_swallowed(name: str, counts: dict[str, int]) -> None:
    found = counts["events"] + counts["left_out"] + counts["quarantined"]
    if found != counts["rows_in"]:
        raise LogRefusedError(
            f"{name}: rows in and rows out do not add up ({counts['rows_in']:,} and {found:,}); a quote that is never "
            'closed has likely swallowed lines. Mend it, or set [logs] format = "tsv", which knows no quotes, with '
            "its delimiter"
        )


def _first_bad(engine: DuckDBEngine) -> str:
    """Reason, line and content of the first quarantined row, or nothing."""
    rows = engine.connection.execute(
        "SELECT reason, line, COALESCE(text, CONCAT_WS(', ', session, item, time)) FROM quarantine "
        "ORDER BY line, reason LIMIT 1"
    ).fetchall()
    return "".join(f" (the first on line {line}, {reason}: {text[:60]!r})" for reason, line, text in rows)


def _refuse_mostly_bad(name: str, counts: dict[str, int], max_bad_share: float, example: str) -> None:
    quarantined = counts["quarantined"]
    judged = counts["events"] + quarantined
    if not judged or quarantined / judged <= max_bad_share:
        return
    reasons = {k.removeprefix("quarantined: "): n for k, n in counts.items() if k.startswith("quarantined: ")}
    worst = max(reasons, key=lambda reason: reasons[reason])
    raise LogRefusedError(
        f"{name}: {quarantined:,} of {judged:,} rows cannot be read ({worst}: {reasons[worst]:,}){example}; the "
        "settings [logs] of sessrec.toml likely do not fit this file (time_unit, delimiter, column names); mend them "
        "and materialize again"
    )
