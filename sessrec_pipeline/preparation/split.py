"""Sessions to train and test, in time order, without a look into the future."""

from pathlib import Path

from sessrec_pipeline.clock import DAY, HOUR, lasting, moment
from sessrec_pipeline.engine import Coded, Engine, Lookup, integer
from sessrec_pipeline.quality.clocks import stray_end
from sessrec_pipeline.quality.rule import part
from sessrec_pipeline.quality.splits import LEAST_SESSIONS
from sessrec_pipeline.settings import SplitSettings
from sessrec_pipeline.storage.lake import Stats, Table
from sessrec_pipeline.storage.sql import sql_text

SMALL_PART = 0.05
"""Fewer than 10 test sessions are refused where they are less than this of all: a small feed has no more."""


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
    return engine.table("train", stats, coded=Coded(rows, "session_number, position", numbers, values))


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
    in_test = f"{labelled}SELECT COUNT(*) FROM labelled WHERE part = 'test'"
    events_in = integer(engine, in_test, **values)
    unseen = integer(engine, f"{in_test} AND item NOT IN (SELECT item FROM seen_items)", **values)
    if not stats["events"]:
        all_new = unseen and not split.keep_unseen_items
        raise ValueError(_all_new(split, unseen, events_in) if all_new else _too_short("test", split, engine))
    stats["events_in"] = events_in
    stats["unseen items"] = unseen
    stats["dropped: unseen items"] = 0 if split.keep_unseen_items else unseen
    stats["dropped: sessions too short"] = events_in - int(stats["dropped: unseen items"]) - int(stats["events"])
    stats["training events later"] = integer(
        engine, "SELECT COUNT(*) FROM train WHERE time >= (SELECT MIN(time) FROM test)"
    )
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
        values["cutoff"] = last - int(split.days * DAY)
        _refuse_stray_test(engine, split.days, values["cutoff"])
    elif split.rule == "ratio":
        sessions_in = integer(engine, "SELECT COUNT(DISTINCT session_number) FROM sessions")
        values["train_sessions"] = int(sessions_in * split.ratio)
    # Not a table: a copy of all events would cost more than reading them again.
    return f"WITH labelled AS ({sql_text('preparation', f'labelled_{split.rule}')}) ", values, stats | values


def _too_short(part: str, split: SplitSettings, engine: Engine) -> str:
    days = integer(engine, "SELECT MAX(time) - MIN(time) FROM sessions") / DAY
    count = integer(engine, "SELECT COUNT(DISTINCT session_number) FROM sessions")
    wanted = f", days = {split.days:g}" if split.rule == "days" else ""
    return (
        f'no {part} session is left by [split] rule = "{split.rule}"{wanted}: the {count:,} sessions to divide span '
        f"{days:.1f} days; land more logs, or set another rule (the split inside train has [split] tuning_rule)"
    )


def _all_new(split: SplitSettings, unseen: int, events: int) -> str:
    return (
        f'no test session is left by [split] rule = "{split.rule}": {unseen:,} of {events:,} test events were dropped '
        "because training never saw their items; set [split] keep_unseen_items = true to count them as misses (a model "
        "that knows items by their ids alone cannot recommend new ones), or choose a split whose training has them"
    )


def _refuse_stray_test(engine: Engine, days: float, cutoff: int) -> None:
    """ValueError where a few stray sessions, or next to none, would be the whole test of the days rule."""
    counted = engine.rows(sql_text("preparation", "session_hours")).sort_by("hour")
    hours, sessions = (counted[name].to_numpy() for name in ("hour", "sessions"))
    total = int(sessions.sum())
    tests = integer(
        engine, "SELECT COUNT(*) FROM sessions WHERE position = 0 AND session_start >= $cutoff", cutoff=cutoff
    )
    few = tests < LEAST_SESSIONS and tests < SMALL_PART * total
    last = "the last day, which is to test, holds" if days == 1 else f"the last {days:g} days, which are to test, hold"
    held = f"{last} {part(tests, total, 'sessions')}"
    stray = stray_end(hours, sessions)
    if (
        stray is not None
        and cutoff >= stray.before + HOUR
        and (few or stray.gap > (stray.before - hours[0] * HOUR) / 4)
    ):
        session = engine.scalar("SELECT MAX(session) FROM sessions WHERE session_start >= $cutoff", cutoff=cutoff)
        raise ValueError(
            f"{held}, {lasting(stray.gap)} after all others: a clock that is ahead, as in session {session!r} "
            f"({moment(stray.start)[:10]}), has chosen the test period; fix or take out its log, or set [split] days "
            "so that the test begins before the gap"
        )
    _refuse_stray_events(engine, held, cutoff, few=few)
    if few and tests:
        raise ValueError(f'{held}: too few for any figure; set [split] days higher, or rule = "ratio"')


def _refuse_stray_events(engine: Engine, held: str, cutoff: int, *, few: bool) -> None:
    """ValueError where the last events, in sessions that begin long before them, leave no test or next to none."""
    counted = engine.rows(sql_text("preparation", "event_hours")).sort_by("hour")
    stray = stray_end(*(counted[name].to_numpy() for name in ("hour", "events")))
    if stray is None or not (few or cutoff >= stray.before + HOUR):
        return
    last = integer(engine, "SELECT MAX(time) FROM sessions")
    session = engine.scalar("SELECT MAX(session) FROM sessions WHERE time = $last", last=last)
    start = integer(engine, "SELECT MIN(session_start) FROM sessions WHERE session = $session", session=str(session))
    raise ValueError(
        f"{held}, for session {session!r} begins at {moment(start)} and has its last event at {moment(last)}, "
        f"{lasting(stray.gap)} after all others: a clock that is ahead has chosen the test period; fix or take out its "
        "log, or cut such sessions with [sessions] inactivity_gap_minutes and set [split] days so that the test begins "
        "before the gap"
    )
