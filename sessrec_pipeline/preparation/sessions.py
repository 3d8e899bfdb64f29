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
    current = "events"
    count = stats["events_in"] = integer(engine, "SELECT COUNT(*) FROM raw")
    if not count:
        raise ValueError("the landed logs hold no event at all; quarantine says what was wrong with their rows")

    def dropped(name: str, reason: str, left: int) -> None:
        nonlocal count
        stats[f"dropped: {reason}"] = int(stats.get(f"dropped: {reason}", 0)) + count - left
        say(f"{name}: {left:,} of {count:,} events left")
        if not left:
            raise ValueError(f"no event is left after dropping {reason}: loosen [sessions] in sessrec.toml")
        count = left

    def step(name: str, before: str, wanted: bool, reason: str | None = None, /, **bound: int) -> None:
        nonlocal current
        if not wanted:
            engine.register(name, before)
            return
        engine.write(name, sql_text("preparation", name), **bound)
        engine.drop(current)
        current = name
        if reason is not None:
            dropped(name, reason, integer(engine, f"SELECT COUNT(*) FROM {name}"))

    sql, values = landed_events(settings)
    engine.write("events", sql, **values)
    step("deduplicated", "events", rules.drop_duplicates, "duplicates")
    gap = int((rules.inactivity_gap_minutes or 0) * 60_000_000)
    step("sessionised", "deduplicated", gap > 0, gap=gap)
    step("without_repeats", "sessionised", rules.drop_consecutive_repeats, "consecutive repeats")
    longest = integer(
        engine, "SELECT MAX(n) FROM (SELECT COUNT(*) AS n FROM without_repeats GROUP BY session) AS sizes"
    )
    too_long = longest > rules.max_session_length
    step("within_length", "without_repeats", too_long, "sessions too long", longest=rules.max_session_length)
    stats.setdefault("dropped: sessions too long", 0)

    # Each filter can undo what the other one ensured; the largest set that satisfies both is unique. What is kept is
    # found as sets of sessions and of items, which are small, and the events are copied once.
    before, arrived = -1, count
    engine.write("kept_items", "SELECT DISTINCT item FROM within_length")
    engine.write("kept_sessions", "SELECT DISTINCT session FROM within_length")
    filters = [
        ("kept_sessions", "sessions too short", "shortest", rules.min_session_length),
        ("kept_items", "rare items", "support", rules.min_item_support),
    ]
    while before != count:
        before = count
        for name, reason, value, least in filters:
            if least > 1:
                engine.write(name, sql_text("preparation", name), **{value: least})
                dropped(name, reason, integer(engine, f"SELECT CAST(COALESCE(SUM(events), 0) AS BIGINT) FROM {name}"))
    step("kept", "within_length", count < arrived)

    engine.write("ordered", sql_text("preparation", "ordered"))
    stats["sessions"] = integer(engine, "SELECT MAX(session_number) + 1 FROM ordered")
    stats["items"] = integer(engine, "SELECT COUNT(DISTINCT item) FROM ordered")
    return engine.table("ordered", stats)


def landed_events(settings: Settings) -> tuple[str, dict[str, str]]:
    """SQL over ``raw``, and its values: the events under the settings' session key, with the label of a given split.

    Columns: session, item, time, place, split, extra.
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
    # A place orders events of one time by log and line, in one number: a log has less than 2 ** 40 lines.
    sql = (
        f"SELECT {session} AS session, item, time, number * 1099511627776 + line AS place, {split} AS split, "
        f"{columns} AS extra FROM raw JOIN (SELECT log AS name, CAST(ROW_NUMBER() OVER (ORDER BY log) AS BIGINT) "
        "AS number FROM (SELECT DISTINCT log FROM raw) AS names) AS logs ON logs.name = raw.log"
    )
    return sql, values
