"""One landed log to typed events, with every row that cannot be read in quarantine under a reason.

All columns are read as text, so that no reader guesses a type; then SQL casts what it can. Rows in = events +
rows that the feed's own rules leave out + quarantine, and the counts that show it travel with the table.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from sessrec_pipeline.engine import DuckDBEngine, integer
from sessrec_pipeline.logs.gate import LandedLog, LogRefusedError, admit, check_name
from sessrec_pipeline.logs.readers import read
from sessrec_pipeline.settings import LogSettings, RowRule, Settings
from sessrec_pipeline.storage.lake import Stats, Table
from sessrec_pipeline.storage.lineage import Lineage, Node
from sessrec_pipeline.storage.sql import quoted

DAY = 86_400_000_000
MAX_ID_BYTES = 256

NUMBER = """CASE
    WHEN REGEXP_FULL_MATCH({column}, '[0-9]{{1,18}}') THEN CAST({column} AS HUGEINT) * {times}
    ELSE CAST(ROUND(TRY_CAST({column} AS DECIMAL(28, 9)) * {times}) AS HUGEINT)
END"""
"""Whole numbers, which most logs have, are read several times as fast as decimal ones."""
TIME = {
    "s": NUMBER.replace("{times}", "1000000"),
    "ms": NUMBER.replace("{times}", "1000"),
    "us": NUMBER.replace("{times}", "1"),
    "iso8601": "CAST(EPOCH_US(TRY_CAST({column} AS TIMESTAMPTZ)) AS HUGEINT)",
    "order": NUMBER.replace("{times}", "1") + " + $earliest",
}
"""Microseconds by the unit of the column; wide enough for sums that no BIGINT holds."""
TEXT = """CASE
    WHEN REGEXP_FULL_MATCH({column}, '[!-~]+') THEN {column}
    ELSE NFC_NORMALIZE(TRIM({column}, ' ' || CHR(9) || CHR(13) || CHR(10)))
END"""
"""Printable ASCII, which most ids are, stays as it is; looking is several times as fast as trimming."""

REASON = """
CASE
    WHEN wrong IS NOT NULL THEN wrong
    WHEN session IS NULL OR session = '' THEN 'session_missing'
    WHEN item IS NULL OR item = '' THEN 'item_missing'
    WHEN STRLEN(session) > $max_id_bytes THEN 'session_too_long'
    WHEN STRLEN(item) > $max_id_bytes THEN 'item_too_long'
    WHEN time IS NULL THEN 'time_unreadable'
    WHEN time < $earliest THEN 'time_before_{earliest_year}'
    WHEN time > $latest THEN 'time_in_the_future'
END
"""


@dataclass(frozen=True)
class Ingested:
    """What became of one landed log."""

    events: Table
    """log, line (in the file; the event's number, where a line is a session), session, item (text), time (microseconds
    since 1970 UTC), extra columns."""
    quarantine: Table
    """log, line, reason, session, item, time (as it stood), text (of a line that the reader could not split)."""
    left_out: dict[str, tuple[int, int]]
    """Rows that a rule of the feed leaves out: by its reason, how many and the line of the first one."""


def ingest_landed(
    settings: Settings, name: str, report: Callable[[str], None], now: Callable[[], float] = time.time
) -> Ingested:
    """Read the landed log ``name``; LogRefusedError where the file as a whole cannot be used."""
    check_name(name)
    path = settings.landing / name
    if not path.exists():
        raise LogRefusedError(f"{name} is not in {settings.landing} any more; land it again or delete its partition")
    before = _version(path)
    log = admit(path, settings.logs)
    with DuckDBEngine(settings) as engine:
        try:
            counts = {"rows_in": read(log, settings.logs, engine)}
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            raise LogRefusedError(
                f"{name}: cannot be read ({str(error).splitlines()[0]}); are its line ends mixed (LF, CRLF, CR) or its "
                "bytes damaged? Convert it, or land it again"
            ) from error
        if _version(path) != before:
            raise LogRefusedError(f"{name}: changed while it was read; it can be taken once it stays the same")
        left_out = _cast(log, settings.logs, engine, latest=int(now() * 1_000_000) + DAY)
        counts |= _count(engine, left_out)
        report(
            f"{name}: {counts['events']:,} events, {counts['left_out']:,} rows left out by rule, "
            f"{counts['quarantined']:,} quarantined{_first_bad(engine)}"
        )
        _refuse_swallowed(name, counts)
        _refuse_mostly_bad(name, counts, settings.logs.max_bad_share, _first_bad(engine))
        span: Stats = {}
        if counts["events"]:
            span["first_time"] = integer(engine, "SELECT MIN(time) FROM typed WHERE reason IS NULL")
            span["last_time"] = integer(engine, "SELECT MAX(time) FROM typed WHERE reason IS NULL")
        _write(log, settings.logs, engine)
        origins = (_landed(log, counts["rows_in"]),)
        return Ingested(
            engine.table("events", counts | span, origins),
            engine.table("bad_rows", span, origins),
            left_out,
        )


def _version(path: Path) -> tuple[int, int, int] | None:
    """What differs once a file was written to or replaced; None where it is gone."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _write(log: LandedLog, settings: LogSettings, engine: DuckDBEngine) -> None:
    """Make ``events`` and ``bad_rows``."""
    # Line parts events of the same time; where a line is a session, the running number of the event does.
    line = "line" if settings.events is None else "row"
    extra = "".join(f", extra{i} AS {quoted(c)}" for i, c in enumerate(settings.extra_columns))
    engine.write("this_log", "SELECT CAST($log AS VARCHAR) AS log", log=log.name)
    # A view, for its rows are streamed from it; they come in the order of ``typed``, which is that of the file.
    engine.connection.execute(
        f"CREATE VIEW events AS SELECT (SELECT log FROM this_log) AS log, {line} AS line, session, item, time{extra} "
        "FROM typed WHERE reason IS NULL"
    )
    engine.write(
        "bad_rows",
        "SELECT (SELECT log FROM this_log) AS log, line, reason, session, item, time, text FROM quarantine "
        "ORDER BY line, row, reason",
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


def _cast(log: LandedLog, settings: LogSettings, engine: DuckDBEngine, latest: int) -> dict[str, tuple[int, int]]:
    """Fill ``typed`` (events with a reason where they are bad) and ``quarantine``, from ``raw`` and ``rejected``.

    Return what the rules left out, as ``Ingested`` has it.
    """
    names = {column: f"c{i}" for i, column in enumerate(log.columns)}

    def text(column: str) -> str:
        return TEXT.format(column=column)

    rules = [_rule(i, rule, names[rule.column]) for i, rule in enumerate(settings.keep)]
    values = {key: value for _, bound in rules for key, value in bound.items()}
    values |= {f"reason{i}": rule.reason for i, rule in enumerate(settings.keep)}
    broken = [f"WHEN NOT COALESCE({condition}, false) THEN $reason{i}" for i, (condition, _) in enumerate(rules)]
    broken_rule = f"CASE {' '.join(broken)} END" if rules else "NULL"
    session = text("session_of_line" if settings.events is not None else names[settings.session])
    time = TIME[log.time_unit].format(column=names[settings.time])
    if settings.time_offset is not None:
        time += f" + {TIME['ms'].format(column=names[settings.time_offset])}"
    extra = "".join(f", {names[c]} AS extra{i}" for i, c in enumerate(settings.extra_columns))
    connection = engine.connection
    connection.execute(
        f"CREATE TABLE typed AS SELECT *, {REASON.format(earliest_year=settings.earliest_year)} AS reason FROM ("
        f"SELECT line, row, wrong, {session} AS session, {text(names[settings.item])} AS item, "
        f"TRY_CAST({time} AS BIGINT) AS time{extra} FROM raw WHERE {broken_rule} IS NULL)",
        {"max_id_bytes": MAX_ID_BYTES, "earliest": settings.earliest, "latest": latest} | values,
    )
    shown = [names[c] for c in (settings.time, settings.time_offset) if c is not None]
    connection.execute(
        "CREATE TABLE quarantine AS "
        "SELECT typed.line, typed.row, typed.reason, typed.session, typed.item, "
        f"NULLIF(CONCAT_WS(' + ', {', '.join(f'raw.{name}' for name in shown)}), '') AS time, NULL AS text "
        "FROM typed JOIN raw ON raw.row = typed.row WHERE typed.reason IS NOT NULL "
        "UNION ALL SELECT line, NULL, reason, NULL, NULL, NULL, text FROM rejected"
    )
    left_out = connection.execute(
        f"SELECT {broken_rule} AS reason, COUNT(*), MIN(line) FROM raw GROUP BY reason ORDER BY reason", values or None
    ).fetchall()
    for read_through in ("raw", "fields_rows", "text_rows"):
        engine.drop(read_through)
    return {reason: (rows, line) for reason, rows, line in left_out if reason is not None}


def _rule(number: int, rule: RowRule, column: str) -> tuple[str, dict[str, object]]:
    """A rule as a SQL condition over bound values."""
    name = f"rule{number}"
    if rule.one_of is not None:
        return f"list_contains(${name}, {column})", {name: rule.one_of}
    if rule.not_prefix is not None:
        return f"NOT starts_with({column}, ${name})", {name: rule.not_prefix}
    value = f"TRY_CAST({column} AS DOUBLE)"  # NaN would be the greatest of all
    return f"NOT ISNAN({value}) AND {value} >= ${name}", {name: rule.minimum}


def _count(engine: DuckDBEngine, left_out: dict[str, tuple[int, int]]) -> dict[str, int]:
    counts = {
        "events": integer(engine, "SELECT COUNT(*) FROM typed WHERE reason IS NULL"),
        "left_out": sum(rows for rows, _ in left_out.values()),
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
