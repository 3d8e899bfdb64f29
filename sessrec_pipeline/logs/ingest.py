"""One landed log to typed events, with every row that cannot be read in quarantine under a reason.

All columns are read as text, so that no reader guesses a type; then SQL casts what it can. Rows in = events +
rows that the feed's own rules leave out + quarantine, and the counts that show it travel with the table.
"""

import shutil
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from sessrec_pipeline.clock import DAY
from sessrec_pipeline.engine import DuckDBEngine, integer
from sessrec_pipeline.logs.gate import LandedLog, LogRefusedError, admit, check_name
from sessrec_pipeline.logs.ids import MOST_SPOILT, has_control, is_list, is_spoilt, simple, trimmed, whole
from sessrec_pipeline.logs.parts import state_of, written_at
from sessrec_pipeline.logs.readers import read
from sessrec_pipeline.logs.times import NUMBERS, POWERS, Clock, clock_of, formats_of, is_rounded, reading_of
from sessrec_pipeline.quality.clocks import UNSURE_HOUR
from sessrec_pipeline.quality.ids import are_rounded, is_rounded_id
from sessrec_pipeline.settings import LogSettings, RowRule, Settings
from sessrec_pipeline.storage.lake import Stats, Table
from sessrec_pipeline.storage.landed import LandedCopies
from sessrec_pipeline.storage.lineage import Lineage, Node
from sessrec_pipeline.storage.sql import quoted
from sessrec_pipeline.text import counted

MAX_ID_BYTES = 256
AHEAD = DAY
"""How far after now a time may be: clocks of visitors and zones differ."""
OUT_OF_ORDER = 0.001
"""Share of rows that may go back in time, by half of the change, around a change of the clock in a log in order."""
FUTURE = "first_time_in_the_future"
"""Among a log's counts: the first of the times that are in quarantine because they have not come yet."""

REASON = """
CASE
    WHEN wrong IS NOT NULL THEN wrong
    WHEN session IS NULL OR session = '' THEN 'session_missing'
    WHEN item IS NULL OR item = '' THEN 'item_missing'
    WHEN session_control THEN 'session_with_control_character'
    WHEN item_control THEN 'item_with_control_character'
    WHEN STRLEN(session) > $max_id_bytes THEN 'session_too_long'
    WHEN STRLEN(item) > $max_id_bytes THEN 'item_too_long'
    WHEN time IS NULL AND zone_unclear THEN 'time_zone_unclear'
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
    with DuckDBEngine(settings) as engine:
        return _ingest(settings, settings.landing / name, report, now, engine)


def ingest_each(
    settings: Settings, names: Iterable[str], report: Callable[[str], None], kept: Mapping[str, str]
) -> Iterator[tuple[str, Ingested | Exception]]:
    """Read landed logs one after the other: of each what became of it, or why it was not taken.

    ``kept``: sha256 of those of which there is a copy, which is read where the file itself has left landing.

    They share an engine, which takes longer to open than a small log to read: the tables of one are to be read before
    the next is asked for.
    """
    waiting = deque(names)
    while waiting:
        with DuckDBEngine(settings) as engine:
            while waiting:
                name = waiting.popleft()
                _drop_tables(engine)
                try:
                    check_name(name)
                    path = settings.landing / name
                    if name in kept and not path.exists():
                        path = _laid_out(settings, name, kept[name], engine)
                    ingested = _ingest(settings, path, report, time.time, engine)
                except Exception as error:
                    yield name, error
                    break  # the engine may be spoilt, too
                yield name, ingested


def _laid_out(settings: Settings, name: str, sha256: str, engine: DuckDBEngine) -> Path:
    """The copy of a landed log, unpacked under its name for as long as the engine is open."""
    folder = engine.folder / "kept"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    LandedCopies(settings.kept).lay_out(sha256, folder / name)
    return folder / name


def _ingest(
    settings: Settings, path: Path, report: Callable[[str], None], now: Callable[[], float], engine: DuckDBEngine
) -> Ingested:
    name = path.name
    if not path.exists():
        raise LogRefusedError(f"{name} is not in {settings.landing} any more; land it again or delete its partition")
    before = state_of(path)
    log = admit(path, settings.logs)
    try:
        counts = {"rows_in": read(log, settings.logs, engine)}
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        raise LogRefusedError(
            f"{name}: cannot be read ({str(error).splitlines()[0]}); are its line ends mixed (LF, CRLF, CR) or its "
            "bytes damaged? Convert it, or land it again"
        ) from error
    try:
        changed = state_of(path) != before
    except FileNotFoundError:
        changed = True
    if changed:
        raise LogRefusedError(f"{name}: changed while it was read; it can be taken once it stays the same")
    latest = int(now() * 1_000_000) + AHEAD
    zone = settings.logs.time_zone
    clock = None if zone is None else clock_of(zone, settings.logs.earliest, latest)
    left_out = _cast(log, settings.logs, engine, clock, latest)
    counts |= _count(engine, left_out)
    moved: dict[str, int] = {} if clock is None else _changed_clocks(engine, clock)
    example = _first_bad(engine) if counts["quarantined"] else ""
    report(
        f"{name}: {counted(counts['events'], 'event')}, {counted(counts['left_out'], 'row')} left out by rule, "
        f"{counts['quarantined']:,} quarantined{example}"
        + "".join(f", {n:,} {what.replace('_', ' ')} of {zone}" for what, n in moved.items() if n)
    )
    _refuse_swallowed(name, counts)
    _refuse_mostly_bad(name, counts, settings.logs, example)
    counts |= moved
    span: Stats = {}
    if counts["events"]:
        ((first, last),) = engine.connection.execute(
            "SELECT MIN(time), MAX(time) FROM typed WHERE reason IS NULL"
        ).fetchall()
        span = {"first_time": first, "last_time": last}
    if counts.get("quarantined: time_in_the_future"):
        soonest = "SELECT MIN(time) FROM typed WHERE reason = 'time_in_the_future'"
        counts[FUTURE] = integer(engine, soonest)
    _write(log, settings.logs, engine)
    origins = (_landed(log, counts["rows_in"]),)
    return Ingested(
        engine.table("events", counts | span, origins),
        engine.table("bad_rows", span, origins),
        left_out,
    )


def _drop_tables(engine: DuckDBEngine, only: Collection[str] | None = None) -> None:
    """Give back the room of tables and views of a log, by default all of them."""
    there = engine.connection.execute(
        "SELECT 'VIEW', view_name FROM duckdb_views() WHERE NOT internal "
        "UNION ALL SELECT 'TABLE', table_name FROM duckdb_tables()"
    ).fetchall()
    for kind, name in there:
        if only is None or name in only:
            engine.connection.execute(f"DROP {kind} {quoted(name)}")


def _write(log: LandedLog, settings: LogSettings, engine: DuckDBEngine) -> None:
    """Make ``events`` and ``bad_rows``."""
    # Line parts events of the same time; where a line is a session, the running number of the event does.
    line = "line" if settings.events is None else "row"
    extra = "".join(f", extra{i} AS {quoted(c)}" for i, c in enumerate(settings.extra_columns))
    engine.connection.execute("CREATE TABLE this_log AS SELECT CAST($log AS VARCHAR) AS log", {"log": log.name})
    # A view, for its rows are streamed from it; they come in the order of ``typed``, which is that of the file.
    engine.connection.execute(
        f"CREATE VIEW events AS SELECT (SELECT log FROM this_log) AS log, {line} AS line, session, item, time{extra} "
        "FROM typed WHERE reason IS NULL"
    )
    engine.connection.execute(
        "CREATE VIEW bad_rows AS SELECT (SELECT log FROM this_log) AS log, line, reason, session, item, time, text "
        "FROM quarantine ORDER BY line, row, reason"
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
            created_at=datetime.fromtimestamp(written_at(state_of(log.path)), UTC).isoformat(timespec="seconds"),
            rows=rows,
            stats={"bytes": log.bytes},
        )
    )


def _cast(
    log: LandedLog, settings: LogSettings, engine: DuckDBEngine, clock: Clock | None, latest: int
) -> dict[str, tuple[int, int]]:
    """Fill ``typed`` (events with a reason where they are bad) and ``quarantine``, from ``raw`` and ``rejected``.

    Return what the rules left out, as ``Ingested`` has it.
    """
    names = {column: f"c{i}" for i, column in enumerate(log.columns)}

    rules = [_rule(i, rule, names[rule.column]) for i, rule in enumerate(settings.keep)]
    values = {key: value for _, bound in rules for key, value in bound.items()}
    values |= {f"reason{i}": rule.reason for i, rule in enumerate(settings.keep)}
    bound = dict(values)
    broken = [f"WHEN NOT COALESCE({condition}, false) THEN $reason{i}" for i, (condition, _) in enumerate(rules)]
    broken_rule = f"CASE {' '.join(broken)} END" if rules else "NULL"
    session = "session_of_line" if settings.events is not None else names[settings.session]
    item, moment = names[settings.item], names[settings.time]
    reading = reading_of(moment, log.time_unit, settings, clock)
    time = "instant" if clock is None else f"COALESCE(instant, {clock.to_utc('wall')})"
    if settings.time_offset is not None:
        time += f" + {NUMBERS['ms'].format(column=names[settings.time_offset])}"
    offset = "" if settings.time_offset is None else f", {names[settings.time_offset]}"
    if log.time_unit == "format":
        values["formats"] = formats_of(settings.time_format or "")
    extra = "".join(f", {names[c]} AS extra{i}" for i, c in enumerate(settings.extra_columns))
    kept = "".join(f", extra{i}" for i, _ in enumerate(settings.extra_columns))
    connection = engine.connection
    connection.execute(
        "CREATE TABLE typed AS "
        f"SELECT line, row, session, item, session_simple, item_simple, time{', wall' if clock else ''}{kept}, "
        f"{REASON.format(earliest_year=settings.earliest_year)} AS reason FROM ("
        f"SELECT * EXCLUDE (session, item), {whole('session')} AS session, {whole('item')} AS item, "
        f"TRY_CAST({time} AS BIGINT) AS time FROM ("
        f"SELECT line, row, wrong, {trimmed(session)} AS session, {has_control(session)} AS session_control, "
        f"{trimmed(item)} AS item, {has_control(item)} AS item_control, {simple(session)} AS session_simple, "
        f"{simple(item)} AS item_simple, {reading.instant} AS instant, "
        f"{reading.local} AS wall, {reading.unclear} AS zone_unclear{offset}{extra} "
        f"FROM raw WHERE {broken_rule} IS NULL))",
        {"max_id_bytes": MAX_ID_BYTES, "earliest": settings.earliest, "latest": latest} | values,
    )
    _refuse_spoilt(log, settings, engine)
    shown = [names[c] for c in (settings.time, settings.time_offset) if c is not None]
    connection.execute(
        "CREATE TABLE quarantine (line BIGINT, row BIGINT, reason VARCHAR, session VARCHAR, item VARCHAR, "
        "time VARCHAR, text VARCHAR)"
    )
    connection.execute("INSERT INTO quarantine BY NAME SELECT line, reason, text FROM rejected")
    if integer(engine, "SELECT COUNT(*) FROM typed WHERE reason IS NOT NULL"):
        connection.execute(
            "INSERT INTO quarantine BY NAME SELECT typed.line, typed.row, typed.reason, typed.session, typed.item, "
            f"NULLIF(CONCAT_WS(' + ', {', '.join(f'raw.{name}' for name in shown)}), '') AS time "
            "FROM typed JOIN raw ON raw.row = typed.row WHERE typed.reason IS NOT NULL"
        )
    counted = f"SELECT {broken_rule} AS reason, COUNT(*), MIN(line) FROM raw GROUP BY reason ORDER BY reason"
    left_out = connection.execute(counted, bound).fetchall() if rules else []
    _drop_tables(engine, only=("raw", "fields_rows", "text_rows"))
    return {reason: (rows, line) for reason, rows, line in left_out if reason is not None}


def _changed_clocks(engine: DuckDBEngine, clock: Clock) -> dict[str, int]:
    """Put events of an hour that the clock shows twice into the second one, where the log would go back in time.

    Where a log does not stand in order of time, its sessions may: one whose other events do not says nothing about it.
    In a log with its newest row first, the hours are gone through from its end. Return how many events lie in hours
    that are there twice, of how many of these nothing says in which, and how many lie in hours that are skipped.
    """
    connection = engine.connection
    (first, last), *_ = connection.execute(
        "SELECT COALESCE(MIN(wall), 1), COALESCE(MAX(wall), 0) FROM typed WHERE reason IS NULL"
    ).fetchall()
    changes = [change for change in clock.changes if first < change.end and last >= change.first]
    connection.execute("CREATE TABLE changes (first BIGINT, beyond BIGINT, hour BIGINT)")
    if changes:
        rows = [[change.first, change.end, change.before - change.after] for change in changes]
        connection.executemany("INSERT INTO changes VALUES (?, ?, ?)", rows)
    connection.execute(
        "CREATE TABLE unsure AS SELECT row, session, time AS early, wall, first, hour "
        "FROM typed JOIN changes ON wall >= first AND wall < beyond WHERE reason IS NULL"
    )
    (newest_first,) = connection.execute(
        "SELECT COALESCE(SUM(SIGN(time - before)) < 0, false) FROM (SELECT time, LAG(time) OVER "
        "(PARTITION BY session ORDER BY row) AS before FROM typed WHERE reason IS NULL)"
    ).fetchall()[0]
    order = "row DESC" if newest_first else "row"
    _second_hours_by_file(engine, order)
    connection.execute(
        f"""
        UPDATE typed SET time = typed.time + second.hour FROM (
            SELECT row, hour FROM (
                SELECT row, hour, BOOL_OR(gone_back) OVER (PARTITION BY session, first ORDER BY {order}) AS again,
                    BOOL_OR(stray) OVER (PARTITION BY session) AS strays
                FROM (
                    SELECT *,
                        hour > 0 AND time < before AND time + hour >= before AS gone_back,
                        hour IS NULL AND time < MAX(time) FILTER (hour IS NULL) OVER past AS stray
                    FROM (
                        SELECT typed.row, typed.session, time, first, hour, MAX(time) OVER past AS before
                        FROM typed LEFT JOIN unsure ON typed.row = unsure.row
                        WHERE reason IS NULL AND typed.session IN (SELECT session FROM unsure WHERE hour > 0)
                            AND COALESCE(first NOT IN (FROM by_file), true)
                        WINDOW past AS (PARTITION BY typed.session ORDER BY typed.{order}
                            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
                    ) AS events
                    WINDOW past AS (PARTITION BY session ORDER BY {order}
                        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
                ) AS judged
            ) AS marked WHERE again AND hour > 0 AND NOT COALESCE(strays, false)
        ) AS second WHERE typed.row = second.row
        """
    )
    return {
        "in_doubled_hours": integer(engine, "SELECT COUNT(*) FROM unsure WHERE hour > 0"),
        UNSURE_HOUR: integer(
            engine,
            "SELECT COUNT(*) FROM unsure WHERE hour > 0 AND first NOT IN (FROM by_file) AND (session, first) NOT IN ("
            "SELECT u.session, first FROM unsure AS u JOIN typed ON u.row = typed.row WHERE time <> u.early)",
        ),
        "in_skipped_hours": integer(engine, "SELECT COUNT(*) FROM unsure WHERE hour < 0"),
    }


def _second_hours_by_file(engine: DuckDBEngine, order: str) -> None:
    """Do so by the order of the whole log, for changes around which it stands in order of time; name them in by_file.

    A row is in the second hour where one before it is later by half of what the clock was set back, and in the first
    where one after it is earlier by as much; one between, where rows of the second hour came before it.
    """
    connection = engine.connection
    connection.execute("CREATE TABLE by_file (first BIGINT)")
    if not integer(engine, "SELECT COUNT(*) FROM unsure WHERE hour > 0"):
        return
    before = f"(PARTITION BY first ORDER BY {order} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
    after = f"(PARTITION BY first ORDER BY {order} ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING)"
    connection.execute(
        f"""
        CREATE TABLE hours_by_file AS
        WITH around AS (
            SELECT row, first, time < MAX(time) OVER {before} - hour / 2 AS back
            FROM typed JOIN changes ON hour > 0 AND (
                wall BETWEEN first - {DAY} AND first - 1 OR wall BETWEEN beyond AND beyond + {DAY}
            ) WHERE reason IS NULL
        ),
        in_order AS (
            SELECT first FROM changes WHERE hour > 0 AND first NOT IN (
                SELECT first FROM around GROUP BY first HAVING COUNT(*) FILTER (back) > {OUT_OF_ORDER} * COUNT(*)
            )
        ),
        seen AS (
            SELECT row, first, hour, wall < MAX(wall) OVER {before} - hour / 2 AS second,
                COALESCE(wall > MIN(wall) OVER {after} + hour / 2, false) AS early
            FROM unsure WHERE first IN (FROM in_order)
        )
        SELECT row, first, hour, COALESCE(second, false) OR
            (NOT early AND COALESCE(BOOL_OR(second) OVER {before}, false)) AS second
        FROM seen
        """
    )
    connection.execute("INSERT INTO by_file SELECT first FROM hours_by_file GROUP BY first HAVING BOOL_OR(second)")
    connection.execute(
        "UPDATE typed SET time = typed.time + hour FROM hours_by_file AS h WHERE typed.row = h.row AND h.second"
    )


def _refuse_spoilt(log: LandedLog, settings: LogSettings, engine: DuckDBEngine) -> None:
    """Refuse a log whose ids, or times, a program has rounded or written as lists: nobody knows what they were."""
    kinds = {"session": settings.session, "item": settings.item}
    lost = {kind: f"COALESCE(reason = '{kind}_digits_lost', false)" for kind in kinds}
    spoilt = {kind: f"(NOT {kind}_simple AND ({lost[kind]} OR {is_spoilt(kind)}))" for kind in kinds}
    lists = {kind: f"(NOT {kind}_simple AND reason IS NULL AND {is_list(kind)})" for kind in kinds}
    counted = ", ".join(f"COUNT(*) FILTER ({spoilt[kind]}), COUNT(*) FILTER ({lists[kind]})" for kind in kinds)
    unusual = "NOT session_simple OR NOT item_simple"
    ((rows, judged),) = engine.connection.execute(f"SELECT COUNT(*), COUNT(*) FILTER ({unusual}) FROM typed").fetchall()
    counts: tuple[int, ...] = (0, 0, 0, 0)
    if judged:  # in most logs none is, and the patterns take longer to make ready than a small log to be read
        (counts,) = engine.connection.execute(f"SELECT {counted} FROM typed WHERE {unusual}").fetchall()
    for (kind, column), rounded, listed in zip(kinds.items(), counts[::2], counts[1::2], strict=True):
        for wrong, count, most, what, advice in (
            (spoilt[kind], rounded, MOST_SPOILT, "have lost digits", "export it as text or whole numbers"),
            (lists[kind], listed, 0.5, "are lists or structures", "write one row for each of them"),
        ):
            if count > most * rows:
                found = engine.connection.execute(
                    f"SELECT {kind} FROM typed WHERE {wrong} GROUP BY {kind} ORDER BY COUNT(*) DESC, {kind} LIMIT 3"
                ).fetchall()
                raise LogRefusedError(
                    f"{log.name}: column {column!r} holds ids that {what}, {count:,} of {rows:,} "
                    f"({', '.join(text[:60] for (text,) in found)}): what they were cannot be known; {advice}, and "
                    "land the log again"
                )
    _refuse_rounded(log, kinds, rows, engine)
    if settings.format in ("tsv", "csv") and log.time_unit in POWERS:
        column = f"c{log.columns.index(settings.time)}"
        (count, example), *_ = engine.connection.execute(
            f"SELECT COUNT(*), MIN({column}) FROM raw WHERE {is_rounded(column, log.time_unit)}"
        ).fetchall()
        if count > 0.5 * rows:
            raise LogRefusedError(
                f"{log.name}: column {settings.time!r} holds times that are rounded to more than a second, {count:,} "
                f"of {rows:,} ({example}): export it as whole numbers, and land the log again"
            )


def _refuse_rounded(log: LandedLog, kinds: dict[str, str], rows: int, engine: DuckDBEngine) -> None:
    """Refuse a log in which all ids of more than 15 digits have zeros there: a spreadsheet keeps 15."""
    seem = [f"STRLEN({kind}) > 15 AND ENDS_WITH({kind}, '0') AND {is_rounded_id(kind)}" for kind in kinds]
    (counts,) = engine.connection.execute(
        f"SELECT {', '.join(f'COUNT(*) FILTER ({condition})' for condition in seem)} FROM typed"
    ).fetchall()
    for (kind, column), count in zip(kinds.items(), counts, strict=True):
        if count <= MOST_SPOILT * rows:
            continue
        ids = f"SELECT {kind} AS id, COUNT(*) AS rows FROM typed WHERE STRLEN({kind}) > 15 GROUP BY id"
        ((rounded, examples),) = engine.connection.execute(
            f"SELECT {are_rounded('id')}, LIST(id ORDER BY rows DESC, id) FILTER ({is_rounded_id('id')}) FROM ({ids})"
        ).fetchall()
        if rounded:
            raise LogRefusedError(
                f"{log.name}: column {column!r} holds ids of more than 15 digits that are zeros from the 16th on, "
                f"{count:,} of {rows:,} ({', '.join(examples[:3])}): a spreadsheet has rounded them, and what they "
                "were cannot be known; export it as text, and land the log again"
            )


def _rule(number: int, rule: RowRule, column: str) -> tuple[str, dict[str, object]]:
    """A rule as a SQL condition over bound values."""
    name = f"rule{number}"
    if rule.one_of is not None:
        # Not list_contains, which is IN: of many values the engine makes a join, which keeps no order of rows.
        return f"LIST_POSITION(${name}, {column}) > 0", {name: rule.one_of}
    if rule.not_prefix is not None:
        return f"NOT starts_with({column}, ${name})", {name: rule.not_prefix}
    if rule.not_one_of is not None:
        return f"COALESCE(LIST_POSITION(${name}, COALESCE({column}, '')), 0) = 0", {name: rule.not_one_of}
    value = f"TRY_CAST(REPLACE({column}, ',', '.') AS DOUBLE)"  # NaN would be the greatest of all
    return f"NOT ISNAN({value}) AND {value} >= ${name}", {name: rule.minimum}


def _count(engine: DuckDBEngine, left_out: dict[str, tuple[int, int]]) -> dict[str, int]:
    counts = {
        "events": integer(engine, "SELECT COUNT(*) FROM typed WHERE reason IS NULL"),
        "left_out": sum(rows for rows, _ in left_out.values()),
        "quarantined": integer(engine, "SELECT COUNT(*) FROM quarantine"),
    }
    if not counts["quarantined"]:
        return counts
    reasons = engine.connection.execute("SELECT reason, COUNT(*) FROM quarantine GROUP BY reason ORDER BY reason")
    return counts | {f"quarantined: {reason}": int(n) for reason, n in reasons.fetchall()}


def _refuse_swallowed(name: str, counts: dict[str, int]) -> None:
    found = counts["events"] + counts["left_out"] + counts["quarantined"]
    if found != counts["rows_in"]:
        raise LogRefusedError(
            f"{name}: rows in and rows out do not add up ({counts['rows_in']:,} and {found:,}); a quote that is never "
            'closed has likely swallowed lines. Fix it, or set [logs] format = "tsv", which knows no quotes, with '
            "its delimiter"
        )


def _first_bad(engine: DuckDBEngine) -> str:
    """Reason, line and content of the first quarantined row, or nothing."""
    rows = engine.connection.execute(
        "SELECT reason, line, COALESCE(text, CONCAT_WS(', ', session, item, time)) FROM quarantine "
        "ORDER BY line, reason LIMIT 1"
    ).fetchall()
    return "".join(f" (the first on line {line}, {reason}: {text[:60]!r})" for reason, line, text in rows)


ADVICE = {
    "time_zone_unclear": "its letters mean several zones; set [logs] time_zone to the place, or write the offset",
}
"""What to do about a reason that is not the settings' fault."""


def _refuse_mostly_bad(name: str, counts: dict[str, int], settings: LogSettings, example: str) -> None:
    quarantined = counts["quarantined"]
    judged = counts["events"] + quarantined
    if not judged or quarantined / judged <= settings.max_bad_share:
        return
    reasons = {k.removeprefix("quarantined: "): n for k, n in counts.items() if k.startswith("quarantined: ")}
    worst = max(reasons, key=lambda reason: reasons[reason])
    columns = {"session": settings.session, "item": settings.item, "time": settings.time}
    column = columns.get(worst.partition("_")[0])
    where = "" if column is None else f", in column {column!r}"
    advice = ADVICE.get(
        worst,
        "the settings [logs] of sessrec.toml likely do not fit this file (time_unit, delimiter, column names); fix "
        "them and materialize again",
    )
    raise LogRefusedError(
        f"{name}: {quarantined:,} of {judged:,} rows cannot be read ({worst}: {reasons[worst]:,}){example}{where}; "
        f"{advice}"
    )
