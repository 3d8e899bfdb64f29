"""Sessions to train and test, in time order, without a look into the future."""

from pathlib import Path

from sessrec_pipeline.engine import Engine, Lookup, integer
from sessrec_pipeline.settings import SplitSettings
from sessrec_pipeline.storage.lake import Stats, Table
from sessrec_pipeline.storage.sql import sql_text

MICROSECONDS_PER_DAY = 86_400_000_000


def train_split(engine: Engine, split: SplitSettings, sessions: Path) -> Table:
    """The training events of ``sessions`` under the rule: (session, session_number, position, item, time, start).

    ValueError where no session is left to train on.
    """
    labelled, values, stats = _label(engine, split, sessions)
    shortest = 1 if split.rule == "given" else 2
    engine.write("train_sessions", labelled + sql_text("preparation", "train_sessions"), shortest=shortest, **values)
    kept = "FROM train_sessions WHERE session_number IS NOT NULL"
    stats["events"] = integer(engine, f"SELECT CAST(COALESCE(SUM(events), 0) AS BIGINT) {kept}")
    stats["sessions"] = integer(engine, f"SELECT COUNT(*) {kept}")
    if not stats["events"]:
        raise ValueError(_too_short("training", split, engine))
    in_train = f"part = 'train' AND session_number IN (SELECT code {kept})"
    stats["items"] = integer(engine, f"{labelled}SELECT COUNT(DISTINCT item) FROM labelled WHERE {in_train}", **values)
    parts = engine.rows(f"{labelled}SELECT part, COUNT(*) AS events FROM labelled GROUP BY part", **values).to_pylist()
    events = {row["part"]: int(row["events"]) for row in parts}
    stats["dropped: sessions too short"] = events.pop("train") - int(stats["events"])
    stats["left for test"] = events.pop("test", 0)
    stats["dropped: after the cutoff"] = events.pop("after cutoff", 0)
    stats["dropped: unlabelled"] = sum(events.values())
    rows = labelled + sql_text("preparation", "train")
    numbers = {"session_number": Lookup("train_sessions", "session_number", in_order=True)}
    return engine.table("train", stats, rows=rows, values=values, order="session_number, position", lookups=numbers)


def test_split(engine: Engine, split: SplitSettings, sessions: Path, train: Path) -> Table:
    """The test events of ``sessions``, on items of ``train`` alone unless the settings keep the others.

    ValueError where no session is left to test on.
    """
    labelled, values, stats = _label(engine, split, sessions)
    engine.register("train", train)
    engine.write("seen_items", "SELECT DISTINCT item FROM train")
    engine.write("test", labelled + sql_text("preparation", "test"), keep_unseen=split.keep_unseen_items, **values)
    stats["events"] = integer(engine, "SELECT COUNT(*) FROM test")
    stats["sessions"] = integer(engine, "SELECT COUNT(DISTINCT session_number) FROM test")
    stats["items"] = integer(engine, "SELECT COUNT(DISTINCT item) FROM test")
    if not stats["events"]:
        raise ValueError(_too_short("test", split, engine))
    in_test = f"{labelled}SELECT COUNT(*) FROM labelled WHERE part = 'test'"
    events_in = integer(engine, in_test, **values)
    unseen = integer(engine, f"{in_test} AND item NOT IN (SELECT item FROM seen_items)", **values)
    stats["events_in"] = events_in
    stats["unseen items"] = unseen
    stats["dropped: unseen items"] = 0 if split.keep_unseen_items else unseen
    stats["dropped: sessions too short"] = events_in - int(stats["dropped: unseen items"]) - int(stats["events"])
    stats["predictions"] = int(stats["events"]) - int(stats["sessions"])
    return engine.table("test", stats)


def _label(engine: Engine, split: SplitSettings, sessions: Path) -> tuple[str, dict[str, int], Stats]:
    """SQL that a query over ``labelled``, the sessions with their part, begins with; its values; where the line is."""
    engine.register("sessions", sessions)
    events = integer(engine, "SELECT COUNT(*) FROM sessions")
    stats: Stats = {"rule": split.rule, "events_in": events}
    values: dict[str, int] = {}
    if split.rule == "days":
        last = integer(engine, "SELECT MAX(time) FROM sessions")
        values["cutoff"] = last - int(split.days * MICROSECONDS_PER_DAY)
    elif split.rule == "ratio":
        sessions_in = integer(engine, "SELECT COUNT(DISTINCT session_number) FROM sessions")
        values["train_sessions"] = int(sessions_in * split.ratio)
    # Not a table: a copy of all events would cost more than reading them again.
    return f"WITH labelled AS ({sql_text('preparation', f'labelled_{split.rule}')}) ", values, stats | values


def _too_short(part: str, split: SplitSettings, engine: Engine) -> str:
    days = integer(engine, "SELECT MAX(time) - MIN(time) FROM sessions") / MICROSECONDS_PER_DAY
    count = integer(engine, "SELECT COUNT(DISTINCT session_number) FROM sessions")
    wanted = f", days = {split.days:g}" if split.rule == "days" else ""
    return (
        f'no {part} session is left by [split] rule = "{split.rule}"{wanted}: the {count:,} sessions to divide span '
        f"{days:.1f} days; land more logs, or set another rule (the split inside train has [split] tuning_rule)"
    )
