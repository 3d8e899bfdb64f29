"""Landed events to clean sessions: the SQL texts of this folder, one after another."""

from collections.abc import Callable, Sequence
from pathlib import Path

from sessrec_pipeline.engine import Engine, integer
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.sql import quoted, sql_text


def prepare_sessions(engine: Engine, settings: Settings, raw: Sequence[Path], say: Callable[[str], None]) -> Table:
    """All landed events as one table (session, session_number, position, item, time, session_start, split).

    The stats say for each step how many events it dropped: events in = rows + the drops. ValueError where nothing
    is left, with the step that took the last of it.
    """
    engine.register("raw", raw)
    rules = settings.sessions
    stats: dict[str, int | float | str] = {}

    sql, values = landed_events(settings)
    current = engine.write("events", sql, **values)
    count = stats["events_in"] = integer(engine, "SELECT COUNT(*) FROM events")
    if not count:
        raise ValueError("the landed logs hold no event at all; quarantine says what was wrong with their rows")

    def step(name: str, reason: str, wanted: bool, /, **bound: int) -> None:
        nonlocal current, count
        if not wanted:
            engine.register(name, current)
            return
        current = engine.write(name, sql_text("preparation", name), **bound)
        left = integer(engine, f"SELECT COUNT(*) FROM {name}")
        stats[f"dropped: {reason}"] = int(stats.get(f"dropped: {reason}", 0)) + count - left
        say(f"{name}: {left:,} of {count:,} events left")
        if count and not left:
            raise ValueError(f"no event is left after dropping {reason}: loosen [sessions] in sessrec.toml")
        count = left

    step("deduplicated", "duplicates", rules.drop_duplicates)
    gap = int((rules.inactivity_gap_minutes or 0) * 60_000_000)
    step("sessionised", "nothing (sessions are cut)", gap > 0, gap=gap)
    stats.pop("dropped: nothing (sessions are cut)", None)
    step("without_repeats", "consecutive repeats", rules.drop_consecutive_repeats)
    step("within_length", "sessions too long", True, longest=rules.max_session_length)

    # Each filter can undo what the other one ensured; the largest set that satisfies both is unique.
    engine.register("candidates", current)
    before = -1
    while before != count:
        before = count
        step("long_enough", "sessions too short", rules.min_session_length > 1, shortest=rules.min_session_length)
        engine.register("candidates", current)
        step("supported", "rare items", rules.min_item_support > 1, support=rules.min_item_support)
        engine.register("candidates", current)

    engine.write("ordered", sql_text("preparation", "ordered"))
    stats["sessions"] = integer(engine, "SELECT COUNT(DISTINCT session) FROM ordered")
    stats["items"] = integer(engine, "SELECT COUNT(DISTINCT item) FROM ordered")
    return engine.table("ordered", stats)


def landed_events(settings: Settings) -> tuple[str, dict[str, str]]:
    """SQL over ``raw``, and its values: the events under the settings' session key, with the label of a given split.

    Columns: session, item, time, log, line, split, extra.
    """
    session = "log || '/' || session" if settings.logs.session_scope == "log" else "session"
    values: dict[str, str] = {}
    split = "CAST(NULL AS VARCHAR)"
    if settings.split.rule == "given":
        if settings.split.column is not None:
            split = f"LOWER({quoted(settings.split.column)})"
        else:
            values = {f"test{i}": name for i, name in enumerate(settings.split.test_logs)}
            split = f"CASE WHEN log IN ({', '.join(f'${name}' for name in values)}) THEN 'test' ELSE 'train' END"
    columns = " || CHR(31) || ".join(f"COALESCE({quoted(c)}, '')" for c in settings.logs.extra_columns) or "''"
    sql = f"SELECT {session} AS session, item, time, log, line, {split} AS split, {columns} AS extra FROM raw"
    return sql, values
