"""Landed events to clean sessions: the SQL texts of this folder, one after another."""

from collections.abc import Callable, Sequence
from pathlib import Path

from sessrec_pipeline.engine import Coded, Engine, Lookup, integer
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.sql import quoted, sql_text


def prepare_sessions(engine: Engine, settings: Settings, raw: Sequence[Path], log: Callable[[str], None]) -> Table:
    """All landed events as one table (session, session_number, position, item, time, session_start, split).

    The stats say for each step how many events it dropped: events in = rows + the drops. ValueError where nothing
    is left, with the step that took the last of it.
    """
    engine.register("raw", raw)
    rules = settings.sessions
    steps = Steps(engine, log, integer(engine, "SELECT COUNT(*) FROM raw"))
    cut_sessions(engine, settings)
    steps.dropped("duplicates", "sessionised")
    steps.take("without_repeats", sql_text("preparation", "without_repeats"), rules.drop_consecutive_repeats)
    steps.dropped("consecutive repeats", "without_repeats")
    engine.write("session_lengths", sql_text("preparation", "session_lengths"))
    shortest, longest = rules.min_session_length, rules.max_session_length
    too_long = integer(engine, "SELECT MAX(events) FROM session_lengths") > longest
    steps.take("within_length", sql_text("preparation", "within_length"), too_long, longest=longest)
    steps.dropped("sessions too long", "within_length")

    # Each filter can undo what the other one ensured; the largest set that satisfies both is unique. What is kept is
    # found as sets of sessions and of items, which are small, and the events are copied once.
    arrived, before = steps.count, -1
    engine.write("kept_sessions", sql_text("preparation", "usable_sessions"), shortest=shortest, longest=longest)
    steps.dropped("sessions too short", "kept_sessions", "SUM(events)")
    while before != steps.count:
        before = steps.count
        engine.write("kept_items", sql_text("preparation", "kept_items"), support=rules.min_item_support)
        steps.dropped("rare items", "kept_items", "SUM(events)")
        if before != steps.count:
            engine.write("kept_sessions", sql_text("preparation", "kept_sessions"), shortest=shortest)
            steps.dropped("sessions too short", "kept_sessions", "SUM(events)")
    steps.take("kept", sql_text("preparation", "kept"), steps.count < arrived)

    engine.write("numbered", sql_text("preparation", "numbered"))
    engine.write("ordered", sql_text("preparation", "ordered"))
    steps.stats["sessions"] = integer(engine, "SELECT COUNT(*) FROM numbered")
    steps.stats["items"] = integer(engine, "SELECT COUNT(DISTINCT item) FROM ordered")
    lookups = {
        "session": Lookup("numbered", "id", in_order=True),
        "session_start": Lookup("numbered", "session_start", in_order=True),
        "item": Lookup("item_ids", "id"),
    }
    rows = sql_text("preparation", "sessions")
    return engine.table("ordered", steps.stats, coded=Coded(rows, "session_number, position", lookups))


def cut_sessions(engine: Engine, settings: Settings, since: int | None = None) -> None:
    """The events of ``raw`` from ``since`` (microseconds) as the table ``sessionised``: copies dropped, sessions cut.

    Columns: session, item, time, place, split. Sessions and items are numbers, for everything that follows compares,
    groups and sorts them; ``session_ids`` and ``item_ids`` (id, code) have their ids.
    """
    landed, values = landed_events(settings, since)
    events = f"WITH landed AS ({landed}) "
    engine.write("session_ids", events + sql_text("preparation", "session_ids"), **values)
    engine.write("item_ids", events + sql_text("preparation", "item_ids"), **values)
    encoded = events + sql_text("preparation", "encoded")
    if settings.sessions.drop_duplicates:
        encoded = f"WITH encoded AS ({encoded}) {sql_text('preparation', 'deduplicated')}"
    gap = int((settings.sessions.inactivity_gap_minutes or 0) * 60_000_000)
    if not gap:
        engine.write("sessionised", encoded, **values)
        return
    engine.write("deduplicated", encoded, **values)
    engine.write("parts", sql_text("preparation", "parts"), gap=gap)
    engine.drop("deduplicated")
    engine.write("part_ids", sql_text("preparation", "part_ids"))
    engine.write("sessionised", sql_text("preparation", "sessionised"))
    engine.drop("parts")
    engine.register("session_ids", "part_ids")


class Steps:
    """The way of the events through tables of which each is the next one's source, and the count of what is lost."""

    def __init__(self, engine: Engine, log: Callable[[str], None], events: int) -> None:
        if not events:
            raise ValueError("the landed logs hold no event at all; quarantine says what was wrong with their rows")
        self.engine, self.log = engine, log
        self.count = events
        self.stats: dict[str, int | float | str] = {"events_in": events}
        self.last, self.made = "sessionised", "sessionised"

    def take(self, name: str, sql: str, wanted: bool, **bound: int) -> None:
        """Make the table ``name`` by its SQL, or let it be another name of the one before."""
        if not wanted:
            self.engine.register(name, self.last)
        else:
            self.engine.write(name, sql, **bound)
            self.engine.drop(self.made)  # with the names that it had
            self.made = name
        self.last = name

    def dropped(self, reason: str, table: str, counted: str = "COUNT(*)") -> None:
        """Enter what a step left under the reason of what is gone; ValueError where that is all."""
        left = integer(self.engine, f"SELECT CAST(COALESCE({counted}, 0) AS BIGINT) FROM {table}")
        self.stats[f"dropped: {reason}"] = int(self.stats.get(f"dropped: {reason}", 0)) + self.count - left
        self.log(f"{table}: {left:,} of {self.count:,} events left")
        if not left:
            raise ValueError(f"no event is left after dropping {reason}: loosen [sessions] in sessrec.toml")
        self.count = left


def landed_events(settings: Settings, since: int | None = None) -> tuple[str, dict[str, int | str]]:
    """SQL over ``raw``, and its values: the events under the settings' session key, with the label of a given split.

    Columns: session, item, time, place, split, extra. ``since`` leaves out what happened before that microsecond.
    """
    session = "log || '/' || session" if settings.logs.session_scope == "log" else "session"
    values: dict[str, int | str] = {}
    split = "CAST(NULL AS STRING)"
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
    if since is not None:
        sql, values = f"{sql} WHERE time >= $since", values | {"since": since}
    return sql, values
