"""All rules. ``sessrec describe`` asks those about logs and sessions of a file, the asset checks ask all of them."""

from collections.abc import Iterator
from dataclasses import replace

from sessrec_pipeline.quality import clocks, ids, sessions, splits
from sessrec_pipeline.quality.rule import Asset, Evidence, Finding, Rule
from sessrec_pipeline.storage.lake import Stats

RULES = (
    Rule(
        "ids_are_exact",
        "raw_sessions",
        "At most 0.1 % of the events have an id in scientific notation, or a long one whose digits from the 16th on "
        "were rounded to zeros.",
        0.001,
        ids.scientific,
    ),
    Rule(
        "ids_have_no_separators",
        "raw_sessions",
        "At most 1 % of the events have an id with a separator before each three digits, such as 12.000.",
        0.01,
        ids.separated,
    ),
    Rule(
        "ids_are_readable",
        "raw_sessions",
        "At most 0.1 % of the events have an id with a character that a program could not read (U+FFFD).",
        0.001,
        ids.unreadable,
    ),
    Rule(
        "ids_name_something",
        "raw_sessions",
        'At most 0.1 % of the events have a word for nothing, such as "null" or "(not set)", as session or item.',
        0.001,
        ids.nothing,
    ),
    Rule(
        "ids_differ_visibly",
        "raw_sessions",
        "At most 1 % of the events are on ids that differ from a commoner one by capitals, leading zeros or "
        "characters that cannot be seen.",
        0.01,
        ids.lookalikes,
    ),
    Rule(
        "columns_are_not_swapped",
        "raw_sessions",
        "In no log are half of the session ids, or more, items of the other logs while its own items are not.",
        0.5,
        ids.swapped,
    ),
    Rule(
        "times_go_forward",
        "raw_sessions",
        "Where a log's rows stand in order of time, at most 5 % of the steps inside sessions go back, and not most of "
        "them within one hour or by whole hours; where its newest row is first, at most 5 % are between equal times.",
        0.05,
        clocks.goes_back,
        clock=True,
    ),
    Rule(
        "local_times_are_one",
        "raw_sessions",
        "At most 0.1 % of the events lie in an hour that the clock showed twice without a sign of which it is.",
        0.001,
        clocks.doubled_hours,
        clock=True,
    ),
    Rule(
        "times_have_a_clock",
        "raw_sessions",
        "At most a quarter of the sessions start at one time of day.",
        0.25,
        clocks.one_time_of_day,
        clock=True,
    ),
    Rule(
        "times_have_all_parts",
        "raw_sessions",
        "At most half of the events are in one minute of the hour, and some are in the afternoon.",
        0.5,
        clocks.part_of_the_clock,
        clock=True,
    ),
    Rule(
        "few_single_events",
        "raw_sessions",
        "At most 90 % of the sessions have one event alone.",
        0.9,
        sessions.one_event,
    ),
    Rule(
        "no_stray_times",
        "sessions",
        "No sessions begin long after, or before, all others, and no events come long after them.",
        0,
        clocks.strays,
        clock=True,
    ),
    Rule(
        "order_is_known",
        "sessions",
        "At most a quarter of the steps inside sessions are between events of the same time.",
        0.25,
        clocks.same_time_steps,
        clock=True,
    ),
    Rule(
        "sessions_are_visits",
        "sessions",
        "At most 2 % of the sessions pause for 12 hours or more, or last for a day or more.",
        0.02,
        sessions.pauses,
        clock=True,
    ),
    Rule(
        "no_catch_all",
        "sessions",
        "Sessions of more than 500 events have at most 3 % of all events together, no session has more than 10 %, no "
        "five more than 30 %, and no item more than 30 %; of fewer than 50 sessions or 100 events nothing is said.",
        0.03,
        sessions.catch_all,
    ),
    Rule(
        "few_repeats_at_once",
        "sessions",
        "At most 10 % of the steps inside sessions repeat an item within 2 seconds.",
        0.1,
        sessions.repeats_at_once,
        clock=True,
    ),
    Rule(
        "few_duplicates",
        "sessions",
        "At most 10 % of the events are dropped as exact copies.",
        0.1,
        sessions.duplicates,
    ),
    Rule(
        "few_too_long",
        "sessions",
        "At most 10 % of the events are dropped with sessions that are too long.",
        0.1,
        sessions.too_long,
    ),
    Rule(
        "no_future_in_train",
        "test_split",
        "No training event at or after the start of the first test session under the days rule; under the others, "
        "which cut between sessions, at most 1 %.",
        splits.LATE,
        splits.late_training,
        clock=True,
        blocking=True,
    ),
    Rule(
        "enough_test_sessions",
        "test_split",
        "There are 100 test sessions or more.",
        100,
        splits.few_sessions,
    ),
    Rule(
        "cut_in_time",
        "test_split",
        "At most 1 % of the sessions start in the very moment of the cut, on both of its sides.",
        0.01,
        splits.same_moment,
        clock=True,
    ),
    Rule(
        "targets_are_known",
        "test_split",
        "At most 20 % of the test events are dropped because training never saw their items.",
        0.2,
        splits.unseen_items,
    ),
)


def examine_log(evidence: Evidence) -> Iterator[tuple[Rule, Finding]]:
    """What the rules about logs and sessions find in ``events`` before anything is prepared: ids are sessions."""
    evidence.connection.execute(
        "CREATE TEMP TABLE sessions AS SELECT session, item, time, "
        "ROW_NUMBER() OVER (PARTITION BY session ORDER BY time, line) - 1 AS position, "
        "MIN(time) OVER (PARTITION BY session) AS session_start FROM events"
    )
    (different,) = evidence.row("SELECT COUNT(*) FROM (SELECT DISTINCT * EXCLUDE (log, line) FROM events)")
    (total,) = evidence.row("SELECT COUNT(*) FROM events")
    (too_long,) = evidence.row(
        "SELECT COALESCE(SUM(n), 0) FROM (SELECT COUNT(*) AS n FROM events GROUP BY session) WHERE n > $longest",
        longest=evidence.settings.sessions.max_session_length,
    )
    counts: Stats = {
        "events_in": total,
        "dropped: duplicates": total - different,
        "dropped: sessions too long": too_long,
    }
    assets: tuple[Asset, ...] = ("raw_sessions", "sessions")
    for asset in assets:
        yield from examine(asset, replace(evidence, stats={**evidence.stats, "sessions": counts}))


def examine(asset: Asset, evidence: Evidence) -> Iterator[tuple[Rule, Finding]]:
    """What the rules of an asset find; those about clocks find nothing where only the order of events is known."""
    ordered_only = evidence.settings.logs.time_unit == "order"
    table = {"raw_sessions": "events", "sessions": "sessions"}.get(asset)
    empty = table is not None and evidence.row(f"SELECT COUNT(*) FROM {table}") == (0,)
    for rule in RULES:
        if rule.asset == asset:
            if empty:
                yield rule, Finding(False, "there are no events")
            elif rule.clock and ordered_only:
                yield rule, Finding(False, 'the times say the order alone: [logs] time_unit = "order"')
            else:
                yield rule, rule.measure(evidence, rule.threshold)
