"""Sessions to train and test, in time order, without a look into the future."""

from pathlib import Path

from sessrec_pipeline.engine import Engine, integer
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
    engine.write("train", labelled + sql_text("preparation", "train"), shortest=shortest, **values)
    stats |= _sizes(engine, "train")
    if not stats["events"]:
        raise ValueError(_too_short("training", split, engine))

    def events(where: str) -> int:
        return integer(engine, f"{labelled}SELECT COUNT(*) FROM labelled WHERE {where}", **values)

    stats["dropped: sessions too short"] = events("part = 'train'") - int(stats["events"])
    stats["left for test"] = events("part = 'test'")
    stats["dropped: after the cutoff"] = events("part = 'after cutoff'")
    stats["dropped: unlabelled"] = events("part NOT IN ('train', 'test', 'after cutoff')")
    return engine.table("train", stats)


def test_split(engine: Engine, split: SplitSettings, sessions: Path, train: Path) -> Table:
    """The test events of ``sessions``, on items of ``train`` alone unless the settings keep the others.

    ValueError where no session is left to test on.
    """
    labelled, values, stats = _label(engine, split, sessions)
    engine.register("train", train)
    engine.write("test", labelled + sql_text("preparation", "test"), keep_unseen=split.keep_unseen_items, **values)
    stats |= _sizes(engine, "test")
    if not stats["events"]:
        raise ValueError(_too_short("test", split, engine))
    in_test = f"{labelled}SELECT COUNT(*) FROM labelled WHERE part = 'test'"
    events_in = integer(engine, in_test, **values)
    unseen = integer(engine, f"{in_test} AND item NOT IN (SELECT DISTINCT item FROM train)", **values)
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


def _sizes(engine: Engine, table: str) -> Stats:
    return {
        "events": integer(engine, f"SELECT COUNT(*) FROM {table}"),
        "sessions": integer(engine, f"SELECT COUNT(DISTINCT session) FROM {table}"),
        "items": integer(engine, f"SELECT COUNT(DISTINCT item) FROM {table}"),
    }
