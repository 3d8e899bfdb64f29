"""Logs that strangers had trouble with, through the graph: each gives the check, or the sentence, that it needs."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest

from assets.runs import materialize_all, run_checks
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.monitoring.verdicts import Verdict
from sessrec_pipeline.quality.stored import broken_rules
from sessrec_pipeline.storage.store import Store

pytestmark = pytest.mark.usefixtures("no_drawings")

START = 1_704_068_000
DAY = 86_400
Feed = Callable[..., FeedSettings]
Row = tuple[str, str, int]


def visits(sessions: int = 200, days: float = 10, prefix: str = "s", start: int = START) -> Iterator[Row]:
    """Sessions of three to five events on 30 items, which follow one another."""
    for n in range(sessions):
        for k in range(3 + n % 3):
            yield f"{prefix}{n:04}", str((n * 7 + k) % 30), start + int(n * days * DAY / sessions) + 40 * k


def landed(settings: FeedSettings, *logs: list[Row]) -> FeedSettings:
    for name, rows in zip("abc", logs, strict=False):
        lines = "".join(f"{session}\t{item}\t{time}\n" for session, item, time in rows)
        (settings.landing / f"{name}.tsv").write_text(f"SessionId\tItemId\tTime\n{lines}")
    return settings


def of_run(settings: FeedSettings, up_to: str = "test_split") -> tuple[dict[str, str], dict[str, Verdict]]:
    """Why steps failed, and the checks that warn or fail of those that could run, by name."""
    with dg.DagsterInstance.ephemeral() as instance:
        failed = materialize_all(settings, instance, up_to=[up_to]).failed
        verdicts = run_checks(settings, instance)
    return failed, {v.check: v for v in verdicts if v.outcome in ("warning", "FAILED")}


def test_logs_that_the_split_names_must_be_there(feed: Feed) -> None:
    split = {"rule": "given", "test_logs": ["b.tsv", "aa.tsv"]}
    failed, _ = of_run(landed(feed(split=split), list(visits()), list(visits(prefix="t"))))
    sentence = "[split] test_logs names aa.tsv, which is no ingested log (did you mean a.tsv?); `sessrec versions"
    assert failed.keys() == {"sessions"} and failed["sessions"].startswith(sentence)


def test_a_healthy_feed_has_no_warning(feed: Feed) -> None:
    failed, warned = of_run(landed(feed(split={"ratio": 0.4}), list(visits())))
    assert (failed, warned) == ({}, {})


def test_a_session_for_all_visitors_without_an_id(feed: Feed) -> None:
    rows = [("(not set)" if n % 5 < 2 else session, item, time) for n, (session, item, time) in enumerate(visits())]
    settings = landed(feed(), rows)
    failed, warned = of_run(settings)
    assert failed == {}
    store = Store(settings)
    tables = {name: [store.find(name)] for name in ("sessions", "train_split", "test_split")}
    tables = {name.removesuffix("_split"): found for name, found in tables.items()}
    told = broken_rules(settings, tables | {"events": [store.find("raw_sessions", "a.tsv")]})
    assert {rule.name: finding.sentence for rule, finding in told} == {name: v.seen for name, v in warned.items()}, (
        "the report says what the checks say"
    )
    assert "'(not set)'" in warned["ids_name_something"].seen and "'(not set)'" in warned["no_catch_all"].seen
    assert "320 of 799 events (40.1 %)" in warned["ids_name_something"].seen
    assert not any(verdict.red for verdict in warned.values())


def test_a_clock_ahead_chooses_no_test_period(feed: Feed) -> None:
    """One session 200 days later: refused where it would be the test, named where it is not."""
    stray = [("z1", item, START + 210 * DAY) for item in "345"]
    failed, warned = of_run(landed(feed("days", split={"rule": "days", "days": 2}), list(visits()), stray))
    (sentence,) = failed.values()
    assert "the last 2 days, which are to test, hold 1 of 201 sessions (0.5 %), 200 days after all others" in sentence
    assert "'z1'" in sentence and "set [split] days" in sentence
    assert "'z1'" in warned["no_stray_times"].seen
    failed, warned = of_run(landed(feed("ratio"), list(visits()), stray))
    assert failed == {} and "'z1'" in warned["no_stray_times"].seen


@pytest.mark.parametrize("ahead", [924 * DAY, 36 * 3_600])
def test_one_event_ahead_inside_an_early_session(feed: Feed, ahead: int) -> None:
    """Refused where it leaves no test, named where it takes a part of it."""
    rows = list(visits())
    end = max(time for *_, time in rows)
    session, item, _ = rows[5]
    rows[5] = (session, item, end + ahead)
    failed, warned = of_run(landed(feed(split={"rule": "days", "days": 2}), rows))
    assert f"'{session}' (" in warned["no_stray_times"].seen and "1 of " in warned["no_stray_times"].seen
    if ahead > 2 * DAY:
        (sentence,) = failed.values()
        assert "hold 0 of 200 sessions (0.0 %), for session '" + session in sentence and "924 days after" in sentence
    else:
        assert failed == {}


def test_a_clock_ahead_moves_no_window(feed: Feed) -> None:
    stray = [("z1", item, START + 210 * DAY) for item in "345"]
    first, second = list(visits(100, 5)), list(visits(100, 5, "t", START + 5 * DAY))
    failed, _ = of_run(landed(feed(sessions={"window_days": 30}), first, second, stray), "sessions")
    assert "[sessions] window_days = 30 would take 3 of 801 events (0.4 %) alone" in failed["sessions"]
    assert "(c.tsv)" in failed["sessions"]
    failed, _ = of_run(landed(feed("healthy", sessions={"window_days": 5}), first, second), "sessions")
    assert failed == {}


def test_one_event_with_a_clock_ahead_moves_no_window(feed: Feed) -> None:
    first, second = list(visits(100, 5)), list(visits(150, 5, "t", START + 20 * DAY))
    session, item, time = first[-1]
    first[-1] = (session, item, time + 300 * DAY)
    failed, _ = of_run(landed(feed(sessions={"window_days": 30}), first, second), "sessions")
    assert "the last event of a.tsv comes" in failed["sessions"] and "moves the window" in failed["sessions"]


def test_a_log_without_events_does_no_harm(feed: Feed) -> None:
    settings = landed(feed(split={"ratio": 0.4}), list(visits()), [])
    failed, warned = of_run(settings)
    assert failed == {} and not any(verdict.red for verdict in warned.values())


def test_days_without_sessions_to_test_on(feed: Feed) -> None:
    rows = [*visits(300), *visits(4, 2, "t", START + 10 * DAY)]
    failed, _ = of_run(landed(feed(split={"rule": "days", "days": 1}), rows))
    (sentence,) = failed.values()
    assert "the last day, which is to test, holds 2 of 304 sessions (0.7 %)" in sentence and "[split] days" in sentence


def test_local_times_over_the_end_of_summer_time(feed: Feed) -> None:
    def local(time: int) -> str:
        return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S}"

    end = START + 5 * DAY
    over = [(f"x{n}", str(k), end + 600 * k + n - 3600 * (k > 2)) for n in range(8) for k in range(6)]
    settings = feed(logs={"time_unit": "iso8601"})
    landed(settings, [(s, i, local(t)) for s, i, t in [*visits(), *over]])  # type: ignore[misc]
    failed, warned = of_run(settings)
    assert failed == {}
    seen = warned["times_go_forward"].seen
    assert "8 of 639 steps (1.3 %)" in seen and "[logs] time_zone" in seen


def test_one_time_for_all(feed: Feed) -> None:
    failed, warned = of_run(landed(feed(), [(session, item, START) for session, item, _ in visits()]))
    assert failed == {}
    assert "200 of 200 sessions (100.0 %) start in the very moment of the cut" in warned["cut_in_time"].seen
    assert {"times_have_a_clock", "order_is_known"} <= warned.keys()


def test_session_ids_that_begin_anew(feed: Feed) -> None:
    failed, warned = of_run(landed(feed(), list(visits()), list(visits(start=START + 150 * DAY))))
    assert failed == {}
    seen = warned["sessions_are_visits"].seen
    assert "200 of 200 sessions (100.0 %)" in seen and "the longest for 150 days" in seen
    assert "inactivity_gap_minutes" in seen and "session_scope" in seen
    late = warned["no_future_in_train"]
    assert late.outcome == "warning" and "of 1,278 training events (50.0 %) are not before" in late.seen
    assert 'rule = "days"' in late.seen
    settings = landed(
        feed("cut", sessions={"inactivity_gap_minutes": 30}), list(visits()), list(visits(start=START + 150 * DAY))
    )
    assert "no_future_in_train" not in of_run(settings)[1]


def test_items_that_are_all_new(feed: Feed) -> None:
    rows = [(session, f"u{n}", time) for n, (session, _, time) in enumerate(visits())]
    failed, _ = of_run(landed(feed(), rows))
    assert "160 of 160 test events were dropped because training never saw their items" in failed["test_split"]
    assert "[split] keep_unseen_items = true" in failed["test_split"]
    assert of_run(landed(feed("kept", split={"keep_unseen_items": True}), rows))[0] == {}


def test_copies_of_rows(feed: Feed) -> None:
    rows = [(session, "446", 1_704_070_000 + (time - START) // 10_000) for session, _, time in visits()]
    failed, warned = of_run(landed(feed(), rows), "sessions")
    assert failed == {}
    assert "of 799 events (" in warned["few_duplicates"].seen and "drop_duplicates" in warned["few_duplicates"].seen


def test_twenty_rows_have_a_leaderboard_and_a_warning(feed: Feed) -> None:
    settings = landed(feed(models=["markov", "sknn"]), list(visits(5, 1)))
    assert len((settings.landing / "a.tsv").read_text().splitlines()) == 1 + 19
    failed, warned = of_run(settings, "report")
    assert failed == {}
    assert Store(settings).find("leaderboard").node.rows == 3
    assert "too few for any interval or verdict" in warned["enough_test_sessions"].seen
