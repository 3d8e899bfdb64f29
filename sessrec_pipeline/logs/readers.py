"""An admitted log to the tables ``raw`` and ``rejected``, a reader per format; every value stays text.

``raw`` holds c0 .. cn (the columns of ``LandedLog.columns``), ``session_of_line`` (of JSON Lines with a session a
line, else null), ``wrong`` (a reason that the reader itself found, else null), ``line`` (in the file) and ``row``, in
whose order it is. ``rejected`` holds line, reason and text of lines that could not be split.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sessrec_pipeline.engine import DuckDBEngine, Value, integer
from sessrec_pipeline.logs.gate import LandedLog, LogRefusedError
from sessrec_pipeline.logs.ids import UNSURE, is_spoilt
from sessrec_pipeline.logs.parts import Part, parts_of
from sessrec_pipeline.logs.unpack import ALWAYS_FINE, MAX_RATIO
from sessrec_pipeline.settings import LogSettings
from sessrec_pipeline.storage.sql import quoted

NO_DELIMITER = "\x01"
"""Keeps lines whole. JSON writes control characters as escapes, so a line that holds this one is broken anyway."""
MANY = 10_000
"""Rows that are looked at at once."""
MAX_TEXT = 10_000
"""Characters of a bad line that are kept; the engine's own limit."""

REJECTED = """
CREATE TABLE rejected AS
SELECT
    CAST(line AS BIGINT) AS line,
    REPLACE(LOWER(COALESCE(MIN(error) FILTER (error = 'LINE SIZE OVER MAXIMUM'), MIN(error))), ' ', '_') AS reason,
    TRIM(MIN(csv_line), CHR(10) || CHR(13)) AS text
FROM (SELECT line, csv_line, CAST(error_type AS VARCHAR) AS error FROM {table}_errors) AS errors GROUP BY line
"""

# The engine numbers only the rows that it rejects. With n skipped ones before it, the k-th row read is row
# header + k + n.
NUMBERED = """
CREATE TABLE {table}_gaps AS
WITH counted AS (SELECT line, ROW_NUMBER() OVER (ORDER BY line) AS skipped FROM ({skipped}) AS skipped_lines)
SELECT line - {header} - skipped AS reads_before, {header} + MAX(skipped) AS moved
FROM counted GROUP BY line - {header} - skipped;
CREATE VIEW {table}_numbered AS
SELECT {table}.*, ordinal + COALESCE(moved, {header}) AS line
FROM {table} ASOF LEFT JOIN {table}_gaps ON ordinal > reads_before
"""

# A row with newlines inside quotes is several lines, and moves the rows after it.
SHIFTS = """
CREATE TABLE shifts AS
SELECT line, CAST(SUM(newlines) OVER (ORDER BY line) AS BIGINT) AS lines
FROM (
    SELECT line, {in_raw} AS newlines FROM raw UNION ALL SELECT line, {in_rejected} FROM rejected
) AS counted
WHERE newlines > 0
"""
SHIFTED = """
CREATE TABLE shifted AS
SELECT {table}.* REPLACE ({table}.line + COALESCE(shifts.lines, 0) AS line)
FROM {table} ASOF LEFT JOIN shifts ON {table}.line > shifts.line ORDER BY {order};
DROP TABLE {table};
ALTER TABLE shifted RENAME TO {table}
"""

# CASE, for json_type must not see text that is no JSON.
BAD_LINE = """
CASE
    WHEN NOT json_valid(text) THEN 'broken_json'
    WHEN json_type(text) <> 'OBJECT' THEN 'not_an_object'
    {events}
END
"""
BAD_EVENTS = """
WHEN COALESCE(json_type(text, $events), 'NULL') NOT IN ('ARRAY', 'NULL') THEN 'events_not_a_list'
WHEN COALESCE(json_array_length(text, $events), 0) = 0 THEN 'events_missing'
"""
EVENT_A_LINE = """
SELECT
    ordinal, ordinal AS row, text AS event,
    CAST(NULL AS VARCHAR) AS session_of_line, CAST(NULL AS VARCHAR) AS session_kind
FROM text WHERE {good}
"""
# From the table, not from its view: a join would not keep the order of the lines.
SESSION_A_LINE = """
SELECT ordinal, ROW_NUMBER() OVER () AS row, event, session_of_line, session_kind
FROM (
    SELECT
        ordinal, json_extract_string(text, $session) AS session_of_line, json_type(text, $session) AS session_kind,
        UNNEST(CAST(json_extract(text, $events) AS JSON[])) AS event
    FROM text WHERE {good}
) AS unnested
"""
JSON_ROWS = """
CREATE TABLE raw AS
SELECT
    {columns}, session_of_line, ordinal + COALESCE(moved, 0) AS line, row,
    CASE
        WHEN COALESCE(json_type(event), 'NULL') <> 'OBJECT' THEN 'event_not_an_object'
        WHEN LIST_UNIQUE(keys) < LEN(keys) THEN 'key_stands_twice'
        {bad_session}
        {bad_item}
    END AS wrong
FROM (
    SELECT
        *, json_keys(event) AS keys, json_type(event, $paths) AS kinds, json_extract_string(event, $paths) AS texts
    FROM ({events}) AS events
) AS extracted
ASOF LEFT JOIN text_gaps ON ordinal > reads_before
ORDER BY row
"""
NO_ID = """
        WHEN {kind} NOT IN ('NULL', 'VARCHAR', 'BIGINT', 'UBIGINT', 'DOUBLE')
            OR ({kind} = 'DOUBLE' AND {text} IN ('NaN', 'Infinity', '-Infinity')) THEN '{role}_not_text_or_number'
        WHEN {kind} = 'DOUBLE' AND NOT REGEXP_FULL_MATCH({text}, '-?[0-9]+([.]0+)?') THEN '{role}_not_whole'
        WHEN {kind} = 'DOUBLE' AND {lost} THEN '{role}_digits_lost'
"""
"""A number that is too large for 64 bits is a DOUBLE, too; its text is exact all the same, unless it has a point."""
WHOLE_NUMBERS = {
    f"{sign}{size}" for sign in ("", "U") for size in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
}
FLOATS = {"FLOAT": 2.0**24, "DOUBLE": UNSURE}
"""From where on they stand for several whole numbers."""


def read(log: LandedLog, settings: LogSettings, engine: DuckDBEngine) -> int:
    """Fill ``raw`` and ``rejected``; return how many rows there must be, by the gate's count of lines."""
    if settings.format == "parquet":
        return _parquet(log, settings, engine)
    if settings.format == "jsonl":
        return _json_lines(log, settings, engine)
    return _delimited(log, settings, engine)


def _parquet(log: LandedLog, settings: LogSettings, engine: DuckDBEngine) -> int:
    """The rows of all parts, numbered through; each is read by its own types."""
    parts = [(part, pq.read_metadata(part.path)) for part in parts_of(log.path)]
    refuse_bomb(
        log.name,
        [(part.path, footer) for part, footer in parts],
        settings,
        lambda sql, file: integer(engine, sql, file=file),
    )
    before = 0
    for number, (part, footer) in enumerate(parts):
        values, wrong, bound = _parquet_columns(log, part, settings, engine)
        judged = f"CASE {' '.join(wrong)} END" if wrong else "CAST(NULL AS VARCHAR)"
        engine.connection.execute(
            f"{'INSERT INTO raw' if number else 'CREATE TABLE raw AS'} SELECT {''.join(values)} "
            f"CAST(NULL AS VARCHAR) AS session_of_line, {judged} AS wrong, "
            f"file_row_number + {before + 1} AS line, file_row_number + {before + 1} AS row "
            "FROM read_parquet($file, file_row_number = true, hive_partitioning = false)",
            {"file": str(part.path), **bound},
        )
        before += footer.num_rows
    engine.connection.execute("CREATE TABLE rejected (line BIGINT, reason VARCHAR, text VARCHAR)")
    return log.records


def refuse_bomb(
    name: str,
    parts: Sequence[tuple[Path, pq.FileMetaData]],
    settings: LogSettings,
    ask: Callable[[str, str], int],
) -> None:
    """LogRefusedError where a file's rows would be far larger than itself: a page says one value for a million rows.

    Its footers say it of most; else the engine is asked, by SQL and the ``$file`` in it, how long the texts are.
    """
    most = max(ALWAYS_FINE, MAX_RATIO * sum(path.stat().st_size for path, _ in parts))
    needed = {
        path: [field for field in footer.schema.to_arrow_schema() if field.name in settings.needed_columns]
        for path, footer in parts
    }
    size = 0
    for path, footer in parts:
        groups = [footer.row_group(g) for g in range(footer.num_row_groups)]
        unpacked = sum(group.column(c).total_uncompressed_size for group in groups for c in range(footer.num_columns))
        # Other values than texts take 8 bytes or so; of these the engine counts one that many rows have as one.
        size += max(unpacked, 8 * footer.num_rows * len(needed[path]))
    for path, _ in parts:
        texts = [f"{length}({quoted(field.name)})" for field in needed[path] if (length := _length_of(field.type))]
        if size <= most and texts:
            lengths = " + ".join(f"COALESCE(SUM({length}), 0)" for length in texts)
            sql = f"SELECT CAST({lengths} AS BIGINT) FROM read_parquet($file, hive_partitioning = false)"
            size += ask(sql, str(path))
    if size > most:
        raise LogRefusedError(
            f"{name}: the rows are more than {MAX_RATIO} times as large as the file; if this is a log nevertheless, "
            "land it in parts, or as text"
        )


def _length_of(kind: pa.DataType) -> str | None:
    """The engine's function for the bytes of values of this type; None where all take as many."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "STRLEN"
    return "OCTET_LENGTH" if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) else None


def _parquet_columns(
    log: LandedLog, part: Part, settings: LogSettings, engine: DuckDBEngine
) -> tuple[list[str], list[str], dict[str, str | None]]:
    """SQL for the needed columns of a part and for what is wrong with its ids, with the values that its path says."""
    rows = engine.connection.execute(
        "DESCRIBE FROM read_parquet($file, hive_partitioning = false)", {"file": str(part.path)}
    ).fetchall()
    kinds = {name: kind for name, kind, *_ in rows}
    ids = {"session": settings.session, "item": settings.item}
    values, wrong = [], []
    bound: dict[str, str | None] = {}
    for i, column in enumerate(log.columns):
        if column not in settings.needed_columns:
            continue
        if column not in kinds:  # the path says it
            bound[f"path{i}"] = part.values[column]
            values.append(f"CAST($path{i} AS VARCHAR) AS c{i}, ")
            continue
        name, kind = quoted(column), kinds[column]
        roles = [role for role, taken in ids.items() if taken == column]
        if not _readable(kind, roles, is_time=column == settings.time):
            raise LogRefusedError(
                f"{log.name}: column {column!r} holds {kind}; "
                + ("an id is text or a whole number" if roles else "only text, numbers and times are read")
                + ": write the log with such a column, one row for each event"
            )
        text = f"CAST({name} AS VARCHAR)"
        if kind == "BLOB":  # text of writers that do not say so
            text = f"TRY(DECODE({name}))"
            wrong += [f"WHEN {name} IS NOT NULL AND {text} IS NULL THEN '{role}_not_text'" for role in roles]
        elif roles and kind in FLOATS:
            number = f"CAST({name} AS DOUBLE)"
            # By its text: with the file's statistics, which leave it out, the engine takes ISNAN for false.
            text = f"NULLIF(CAST({number} AS VARCHAR), 'nan')"
            wrong += [
                f"WHEN ABS({number}) >= {FLOATS[kind]} AND ISFINITE({number}) THEN '{role}_digits_lost' "
                f"WHEN NOT ISNAN({number}) AND {number} IS DISTINCT FROM TRUNC({number}) OR ISINF({number}) "
                f"THEN '{role}_not_whole'"
                for role in roles
            ]
        elif roles and kind.startswith("DECIMAL"):
            wrong += [f"WHEN {name} <> TRUNC({name}) THEN '{role}_not_whole'" for role in roles]
            text = f"REGEXP_REPLACE({text}, '[.]0+$', '')"
        values.append(f"{text} AS c{i}, ")
    return values, wrong, bound


def _readable(kind: str, roles: list[str], *, is_time: bool) -> bool:
    """Whether a column of this type of DuckDB can be an id, a time, or what else is asked for."""
    name = kind.partition("(")[0]
    if kind.endswith("]") or name in ("STRUCT", "MAP", "UNION", "VARIANT", "GEOMETRY"):
        return False
    if roles:
        return kind in WHOLE_NUMBERS or kind in FLOATS or name in ("VARCHAR", "ENUM", "UUID", "BLOB", "DECIMAL")
    return not is_time or not (kind.startswith(("TIME ", "TIME_")) or kind in ("TIME", "BOOLEAN", "INTERVAL", "UUID"))


def _delimited(log: LandedLog, settings: LogSettings, engine: DuckDBEngine) -> int:
    connection = engine.connection
    names = [f"c{i}" for i in range(len(log.columns))]
    quote = '"' if settings.format == "csv" else ""
    header = settings.columns is None
    _read_text(log, engine, "fields", names, settings.separator, quote, header)
    connection.execute(REJECTED.format(table="fields"))
    inside = _sum(engine, "fields", _newlines(names)) + _sum(engine, "rejected", _newlines(["text"])) if quote else 0
    skipped = "SELECT line FROM rejected"
    if log.blank_lines and not inside:
        # Beside quoted newlines nobody knows which blank lines stand inside quotes; the numbers of rows are then too
        # small by the blank lines before them.
        _whole_lines(log, engine)
        skipped += " UNION ALL SELECT line FROM text_numbered WHERE text IS NULL"
    columns = f"{', '.join(names)}, CAST(NULL AS VARCHAR) AS session_of_line, CAST(NULL AS VARCHAR) AS wrong"
    if not inside and not _sum(engine, f"({skipped}) AS skipped_lines", "1"):
        # As nearly every log is: nothing moves its lines, and no copy of its rows is needed.
        connection.execute(
            f"CREATE VIEW raw AS SELECT {columns}, ordinal + {int(header)} AS line, ordinal AS row FROM fields"
        )
        return log.records
    connection.execute(NUMBERED.format(table="fields", skipped=skipped, header=int(header)))
    connection.execute(f"CREATE TABLE raw AS SELECT {columns}, line, ordinal AS row FROM fields_numbered ORDER BY row")
    if not inside:
        return log.records
    connection.execute(SHIFTS.format(in_raw=_newlines(names), in_rejected=_newlines(["text"])))
    for table, order in (("raw", "row"), ("rejected", "line")):
        connection.execute(SHIFTED.format(table=table, order=order))
    _refuse_open_quotes(log, settings, engine, names)
    further = _sum(engine, "raw", _newlines(names, blank=False))
    further += _sum(engine, "rejected", _newlines(["text"], blank=False))
    return log.records - further


def _refuse_open_quotes(log: LandedLog, settings: LogSettings, engine: DuckDBEngine, names: list[str]) -> None:
    """LogRefusedError where quotes hold what seems to be other rows: one is not closed, or stands alone.

    A session, item or time with a newline and a delimiter in it is none; other columns may have both, but no lines
    that would be rows by themselves: as many fields, with a time that is written as the row's own.
    """
    place = log.columns.index(settings.time)
    keys = [log.columns.index(column) for column in (settings.session, settings.item, settings.time)]
    found = engine.connection.execute(
        f"SELECT line, {', '.join(names)} FROM raw WHERE {_newlines(names)} > 0 ORDER BY line"
    )
    while rows := found.fetchmany(MANY):
        for line, *fields in rows:
            shape = _shape(fields[place] or "")
            inside = [field for field in fields if field is not None and "\n" in field]
            if any(field in inside and settings.separator in field for field in (fields[key] for key in keys)) or any(
                _is_row(part, log, settings, place, shape) for field in inside for part in field.split("\n")[1:]
            ):
                raise LogRefusedError(_open_quote(log, line, max(inside, key=len)))
    rejected = engine.connection.execute(
        f"SELECT line, text FROM rejected WHERE {_newlines(['text'])} > 0 ORDER BY line"
    )
    while rows := rejected.fetchmany(MANY):
        for line, text in rows:
            if any(len(part.split(settings.separator)) == len(log.columns) for part in text.split("\n")[1:]):
                raise LogRefusedError(_open_quote(log, line, text))


def _is_row(text: str, log: LandedLog, settings: LogSettings, place: int, shape: str) -> bool:
    fields = text.split(settings.separator)
    return len(fields) == len(log.columns) and _shape(fields[place].strip(' "\r')) == shape != ""


def _shape(text: str) -> str:
    """A text with all digits alike."""
    return re.sub("[0-9]", "0", text.strip())


def _open_quote(log: LandedLog, line: int, text: str) -> str:
    return (
        f"{log.name}: a quote that opens on line {line} swallows the lines after it ({text[:60]!r}): fix it and land "
        'the log again, or set [logs] format = "tsv", which knows no quotes, with its delimiter'
    )


def _json_lines(log: LandedLog, settings: LogSettings, engine: DuckDBEngine) -> int:
    connection = engine.connection
    _whole_lines(log, engine)
    connection.execute(REJECTED.format(table="text"))
    connection.execute("UPDATE rejected SET reason = 'broken_json' WHERE reason = 'too_many_columns'")
    lists = {"events": _pointer(settings.events)} if settings.events is not None else {}
    bad = BAD_LINE.format(events=BAD_EVENTS if lists else "")
    connection.execute(
        f"INSERT INTO rejected SELECT line, reason, LEFT(text, {MAX_TEXT}) "
        f"FROM (SELECT line, text, {bad} AS reason FROM text_numbered WHERE text IS NOT NULL) WHERE reason IS NOT NULL",
        lists or None,
    )
    good = f"text IS NOT NULL AND {bad} IS NULL"
    place = {column: i for i, column in enumerate(log.columns, 1)}
    item = {"kind": f"kinds[{place[settings.item]}]", "text": f"texts[{place[settings.item]}]"}
    session = {"kind": f"kinds[{place[settings.session]}]", "text": f"texts[{place[settings.session]}]"}
    values: dict[str, object] = {"paths": [_pointer(column) for column in log.columns]}
    if lists:
        session = {"kind": "session_kind", "text": "session_of_line"}
        values |= {**lists, "session": _pointer(settings.session)}
    connection.execute(
        JSON_ROWS.format(
            columns=", ".join(f"texts[{i}] AS c{i - 1}" for i in place.values()),
            bad_session=NO_ID.format(role="session", lost=is_spoilt(session["text"]), **session),
            bad_item=NO_ID.format(role="item", lost=is_spoilt(item["text"]), **item),
            events=(SESSION_A_LINE if lists else EVENT_A_LINE).format(good=good),
        ),
        values,
    )
    further = "CASE WHEN {good} THEN json_array_length(text, $events) - 1 END"
    return log.records + (_sum(engine, "text", further.format(good=good), **lists) if lists else 0)


def _read_text(
    log: LandedLog, engine: DuckDBEngine, table: str, columns: list[str], delimiter: str, quote: str, header: bool
) -> None:
    """Make ``table`` of the columns and ``ordinal`` from 1, and ``<table>_errors`` of what was rejected."""
    engine.connection.execute(
        f"CREATE TABLE {table}_rows AS SELECT * FROM read_csv($file, auto_detect = false, "
        "header = $header, delim = $delim, quote = $quote, escape = $quote, columns = $columns, compression = "
        "$compression, store_rejects = true, rejects_table = $errors, rejects_scan = $scans)",
        {
            "file": str(log.path),
            "header": header,
            "delim": delimiter,
            "quote": quote,
            "columns": dict.fromkeys(columns, "VARCHAR"),
            "compression": log.compression,
            "errors": f"{table}_errors",
            "scans": f"{table}_scans",
        },
    )
    # Rows stand as they were read; to number them while they are read would take one thread instead of all.
    engine.connection.execute(f"CREATE VIEW {table} AS SELECT *, rowid + 1 AS ordinal FROM {table}_rows")


def _whole_lines(log: LandedLog, engine: DuckDBEngine) -> None:
    """Make the table ``text`` (ordinal and text, null where the line is blank) and the view that has its lines."""
    _read_text(log, engine, "text", ["text"], NO_DELIMITER, quote="", header=False)
    engine.connection.execute(NUMBERED.format(table="text", skipped="SELECT DISTINCT line FROM text_errors", header=0))


def _pointer(key: str) -> str:
    """JSON pointer to a key of an object, whatever it holds."""
    return "/" + key.replace("~", "~0").replace("/", "~1")


def _newlines(columns: list[str], *, blank: bool = True) -> str:
    """SQL: newlines inside a row; without ``blank`` those that end a blank line do not count, as at the gate."""
    texts = columns if blank else [f"REGEXP_REPLACE({c}, '\\n[\\r\\n]*\\n', CHR(10), 'g')" for c in columns]
    return " + ".join(f"COALESCE(LENGTH({text}) - LENGTH(REPLACE({text}, CHR(10), '')), 0)" for text in texts)


def _sum(engine: DuckDBEngine, table: str, expression: str, **values: Value) -> int:
    return integer(engine, f"SELECT COALESCE(CAST(SUM({expression}) AS BIGINT), 0) FROM {table}", **values)
