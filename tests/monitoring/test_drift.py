"""Drift of made-up feeds: what moves is told, what only wobbles is not, and too few days are said to be too few."""

import math
import tempfile
import xml.etree.ElementTree as ET
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from assets.drift import overview
from sessrec_pipeline.engine import DuckDBEngine
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.monitoring.drift import (
    DAY,
    DRIFT,
    FLOOR,
    MEASURES,
    NOT_ENOUGH,
    NOTHING,
    STEADY,
    UNDER_WAY,
    Day,
    Row,
    as_table,
    judge,
    measure_drift,
    seen,
)
from sessrec_pipeline.report.drift import drift_figure, sparkline
from sessrec_pipeline.settings import DriftSettings

MONDAY = 20_458
"""2026-01-05."""
Event = tuple[str, str, int]
"""Session, item, microseconds."""


def landed(settings: FeedSettings, events: Sequence[Event], name: str = "log") -> Path:
    sessions, items, times = zip(*events, strict=True) if events else ((), (), ())
    columns = {
        "log": pa.array([name] * len(events), pa.string()),
        "line": pa.array(range(len(events)), pa.int64()),
        "session": pa.array(sessions, pa.string()),
        "item": pa.array(items, pa.string()),
        "time": pa.array(times, pa.int64()),
    }
    settings.home.mkdir(parents=True, exist_ok=True)
    path = settings.home / f"{name}.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def measured(settings: FeedSettings, *logs: Path) -> list[Row]:
    with DuckDBEngine(settings) as engine:
        return measure_drift(engine, settings, logs)


def day_of(rows: Sequence[Row], number: int) -> dict[str, Row]:
    return {row.measure: row for row in rows if row.day == Day(number).name}


def steady_feed(days: int, sessions: int = 60, first: int = MONDAY, seed: int = 1) -> list[Event]:
    """Sessions of 1 to 5 events over 40 items by a power law, the same every day but for chance."""
    rng = np.random.default_rng(seed)
    weights = np.arange(1, 41.0) ** -1
    events = []
    for day in range(first, first + days):
        for s in range(sessions):
            for n in range(1 + s % 5):
                item = rng.choice(40, p=weights / weights.sum())
                events.append((f"{day}-{s}", f"i{item}", day * DAY + (s + 1) * (DAY // (sessions + 1)) + n))
    return events


def verdicts(rows: Sequence[Row]) -> dict[str, str]:
    return {row.measure: row.verdict for row in rows}


# --- the numbers -----------------------------------------------------------------------------------------------------


@hypothesis_settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from("abcdef"), st.sampled_from("stuv")), min_size=1, max_size=60)
)
def test_numbers_are_those_of_the_definition(drawn: list[tuple[int, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = FeedSettings(
            home=Path(folder), drift={"reference_weeks": 1, "min_days": 2}, sessions={"drop_duplicates": False}
        )
        # A session of these is of one day, so that its start cannot be beyond the reference.
        events = [(f"{day}{session}", item, (MONDAY + day) * DAY + n) for n, (day, item, session) in enumerate(drawn)]
        rows = measured(settings, landed(settings, events))
    by_day = {n: [e for e in events if e[2] // DAY == n] for n in range(MONDAY, MONDAY + 10)}
    present = [n for n in by_day if by_day[n]]
    assert sorted({row.day for row in rows}) == [Day(n).name for n in range(min(present), max(present) + 1)]
    for n in range(min(present), max(present) + 1):
        got = day_of(rows, n)
        reference = [e for m in range(n - 7, n) for e in by_day.get(m, [])]
        if sum(bool(by_day.get(m)) for m in range(n - 7, n)) < 2:
            assert {row.verdict for row in got.values()} == {NOT_ENOUGH}
            continue
        expect = expected(by_day[n], reference)
        for name, value in expect.items():
            found = got[name].value
            assert (found is None) == (value is None), name
            assert found is None or found == pytest.approx(value, abs=1e-7), name


def expected(events: list[Event], reference: list[Event]) -> dict[str, float | None]:
    """The measures of a day, by the book."""
    if not events:
        return dict.fromkeys(["new_item_share", "psi", "js_distance", "mean_session_length"])
    known = Counter(item for _, item, _ in reference)
    own = Counter(item for _, item, _ in events)
    here = {item: n for item, n in own.items() if item in known}
    lengths = [len(e) / len({s for s, _, _ in e}) for e in (events, reference)]
    values: dict[str, float | None] = {
        "new_item_share": 1 - sum(here.values()) / len(events),
        "psi": None,
        "js_distance": None,
        "mean_session_length": abs(lengths[0] - lengths[1]) / max(lengths),
    }
    if here:
        p = {item: here.get(item, 0) / sum(here.values()) for item in known}
        q = {item: n / len(reference) for item, n in known.items()}
        mixed = {item: (1 - FLOOR) * p[item] + FLOOR * q[item] for item in known}
        values["psi"] = sum((mixed[i] - q[i]) * math.log(mixed[i] / q[i]) for i in known)
        kl = [
            sum(w[i] * math.log2(2 * w[i] / (p[i] + q[i])) for i in known if w[i]) for w in (p, q)
        ]  # both against their mean
        values["js_distance"] = math.sqrt(max(sum(kl) / 2, 0.0))
    return values


def test_rows_do_not_depend_on_the_order_of_logs_and_rows(feed: Callable[..., FeedSettings]) -> None:
    settings = feed()
    events = steady_feed(20)
    rows = measured(settings, landed(settings, events[:900], "a"), landed(settings, events[900:], "b"))
    assert rows == measured(settings, landed(settings, events[:400:-1], "c"), landed(settings, events[400::-1], "d"))


# --- what is told ----------------------------------------------------------------------------------------------------


def after_four_weeks(settings: FeedSettings, last_day: Sequence[Event]) -> dict[str, Row]:
    return day_of(measured(settings, landed(settings, [*steady_feed(42), *last_day])), MONDAY + 42)


def test_a_day_like_the_others_is_steady(feed: Callable[..., FeedSettings]) -> None:
    rows = after_four_weeks(feed(), steady_feed(1, first=MONDAY + 42, seed=2))
    assert set(verdicts(list(rows.values())).values()) == {STEADY}
    assert all(row.threshold is not None and row.value is not None for row in rows.values())


@pytest.mark.parametrize(
    ("change", "measures"),
    [
        (lambda events: [(s, f"new{i}" if n % 3 else i, t) for n, (s, i, t) in enumerate(events)], {"new_item_share"}),
        (lambda events: [(s, f"i{39 - int(i[1:])}", t) for s, i, t in events], {"psi", "js_distance"}),
        (
            lambda events: [(f"{s}-{t}", i, t) for s, i, t in events],
            {"mean_session_length", "single_event_sessions", "sessions"},
        ),
        (lambda events: events[::3], {"events"}),
        (
            lambda events: [(f"{s}-{n}", i, t + n) for n in range(3) for s, i, t in events],
            {"events", "sessions"},
        ),
    ],
)
def test_what_moved_is_told(
    feed: Callable[..., FeedSettings], change: Callable[[list[Event]], list[Event]], measures: set[str]
) -> None:
    rows = after_four_weeks(feed(), change(steady_feed(1, first=MONDAY + 42, seed=2)))
    assert measures <= {name for name, row in rows.items() if row.verdict == DRIFT}
    if "psi" in measures:
        assert rows["new_item_share"].verdict == rows["events"].verdict == STEADY


def test_settings_fix_a_threshold(feed: Callable[..., FeedSettings]) -> None:
    for threshold, verdict in ((0.0, DRIFT), (10.0, STEADY)):
        settings = feed(drift={"psi": threshold})
        rows = after_four_weeks(settings, steady_feed(1, first=MONDAY + 42, seed=2))
        assert (rows["psi"].threshold, rows["psi"].verdict) == (threshold, verdict)


def test_learned_threshold_is_the_99th_percentile_of_the_reference_weeks(feed: Callable[..., FeedSettings]) -> None:
    settings = feed()
    rows = [row for row in measured(settings, landed(settings, steady_feed(50))) if row.measure == "psi"]
    values = [row.value for row in rows[-29:-1] if row.verdict != DRIFT]
    median, rare = np.percentile(values, [50, 99])  # type: ignore[arg-type]
    assert rows[-1].threshold == pytest.approx(max(rare, median + MEASURES["psi"].floor))


def test_volume_is_compared_with_the_same_weekdays() -> None:
    counts = [1000, 1000, 1000, 1000, 1000, 200, 0] * 6
    days = [Day(MONDAY + n, events=events) for n, events in enumerate(counts)]
    rows = [row for row in judge(days, DriftSettings()) if row.measure == "events"]
    assert {row.verdict for row in rows[15:]} == {STEADY} and {row.value for row in rows[15:]} == {0.0}
    days[-1] = Day(MONDAY + 41, events=200)  # on a Sunday
    assert judge(days, DriftSettings())[-2].verdict == DRIFT


def test_a_day_that_drifted_hides_no_other() -> None:
    days = [Day(MONDAY + n, events=100, psi=0.2) for n in range(60)]
    for n in (40, 45, 50):
        days[n] = Day(MONDAY + n, events=100, psi=0.5)
    verdicts = [row.verdict for row in judge(days, DriftSettings()) if row.measure == "psi"]
    assert [n for n, verdict in enumerate(verdicts) if verdict == DRIFT] == [40, 45, 50]


def test_a_level_that_stays_becomes_the_usual_one() -> None:
    days = [Day(MONDAY + n, events=100, psi=0.2 if n < 40 else 0.5) for n in range(100)]
    verdicts = [row.verdict for row in judge(days, DriftSettings()) if row.measure == "psi"]
    assert verdicts[40] == DRIFT and verdicts[-1] == STEADY
    assert set(verdicts[40:75]) == {DRIFT, NOT_ENOUGH, STEADY}


def test_a_learned_threshold_keeps_away_from_what_is_usual() -> None:
    """Values that hardly differ: one that is a little higher than all before it is no drift."""
    days = [Day(MONDAY + n, events=100, psi=1.3 + n / 1000) for n in range(40)]
    assert {row.verdict for row in judge(days, DriftSettings()) if row.measure == "psi"} == {NOT_ENOUGH, STEADY}
    days[-1] = Day(MONDAY + 39, events=100, psi=1.5)
    assert judge(days, DriftSettings())[-len(MEASURES) :][1].verdict == DRIFT


# --- few days, no days, half days ------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [0, 1, 6, 7, 10])
def test_few_days_are_not_enough(feed: Callable[..., FeedSettings], days: int) -> None:
    settings = feed()
    rows = measured(settings, landed(settings, steady_feed(days)))
    assert len(rows) == days * len(MEASURES)
    assert {row.verdict for row in rows} <= {NOT_ENOUGH}
    passed, text = seen(rows, list(MEASURES), 1)
    assert passed and "not enough days" in text


def test_a_fixed_threshold_judges_as_soon_as_there_is_a_reference(feed: Callable[..., FeedSettings]) -> None:
    settings = feed(drift={"psi": 0.0})
    rows = [row for row in measured(settings, landed(settings, steady_feed(9))) if row.measure == "psi"]
    assert [row.verdict for row in rows] == [NOT_ENOUGH] * 7 + [DRIFT] * 2


def test_a_day_without_events_is_a_day(feed: Callable[..., FeedSettings]) -> None:
    settings = feed()
    hole = MONDAY + 40
    events = [e for e in steady_feed(44) if e[2] // DAY != hole]
    rows = measured(settings, landed(settings, events))
    empty = day_of(rows, hole)
    assert verdicts(list(empty.values())) == {
        **dict.fromkeys(MEASURES, NOTHING),
        "events": DRIFT,
        "sessions": DRIFT,
    }
    assert empty["events"].value == 1.0
    assert day_of(rows, hole + 1)["psi"].verdict == STEADY


def test_a_day_of_new_items_alone_has_no_popularity_to_compare(feed: Callable[..., FeedSettings]) -> None:
    day = [(s, f"new{i}", t) for s, i, t in steady_feed(1, first=MONDAY + 42)]
    rows = after_four_weeks(feed(), day)
    assert rows["new_item_share"].value == 1.0 and rows["new_item_share"].verdict == DRIFT
    assert rows["psi"].verdict == rows["js_distance"].verdict == NOTHING


def test_a_last_day_under_way_is_not_judged(feed: Callable[..., FeedSettings]) -> None:
    settings = feed()
    half = [e for e in steady_feed(1, first=MONDAY + 42) if e[2] % DAY < DAY // 2]
    rows = after_four_weeks(settings, half)
    assert set(verdicts(list(rows.values())).values()) == {UNDER_WAY}
    whole = measured(settings, landed(settings, [*steady_feed(42), *half]))
    assert Day(MONDAY + 41).name in seen(whole, ["events"], 1)[1]


def test_days_are_those_of_the_events_not_of_the_files(feed: Callable[..., FeedSettings]) -> None:
    settings = feed()
    events = steady_feed(20)
    one = measured(settings, landed(settings, events, "all"))
    parts = [landed(settings, events[n::3], f"part{n}") for n in range(3)]
    assert measured(settings, *parts) == one


def test_copies_count_once_unless_settings_keep_them(feed: Callable[..., FeedSettings]) -> None:
    events = steady_feed(10)
    for keep in (False, True):
        settings = feed(f"keep{keep}", sessions={"drop_duplicates": not keep})
        rows = measured(settings, landed(settings, events, "a"), landed(settings, events[-90:], "again"))
        once = measured(settings, landed(settings, events, "a"))
        last = day_of(rows, MONDAY + 9)["events"].observed, day_of(once, MONDAY + 9)["events"].observed
        assert (last[0] != last[1]) == keep


def test_sessions_are_cut_at_gaps_as_settings_say(feed: Callable[..., FeedSettings]) -> None:
    events = [("visitor", "a", MONDAY * DAY + hour * (DAY // 24)) for hour in range(24)]
    whole, cut = feed("whole"), feed("cut", sessions={"inactivity_gap_minutes": 30})
    assert day_of(measured(whole, landed(whole, events)), MONDAY)["sessions"].observed == 1
    assert day_of(measured(cut, landed(cut, events)), MONDAY)["sessions"].observed == 24


def test_a_session_counts_on_the_day_on_which_it_starts(feed: Callable[..., FeedSettings]) -> None:
    settings = feed()
    midnight = (MONDAY + 1) * DAY
    rows = measured(settings, landed(settings, [("s", "a", midnight - 1), ("s", "b", midnight + 1)]))
    assert [day_of(rows, MONDAY + n)["sessions"].observed for n in (0, 1)] == [1, 0]
    assert [day_of(rows, MONDAY + n)["events"].observed for n in (0, 1)] == [1, 1]


def test_old_logs_change_nothing_in_what_is_shown(feed: Callable[..., FeedSettings]) -> None:
    settings = feed(drift={"history_days": 3, "reference_weeks": 1})
    events = steady_feed(60)
    rows = measured(settings, landed(settings, events))
    assert sorted({row.day for row in rows}) == [Day(MONDAY + n).name for n in (57, 58, 59)]
    assert rows == measured(settings, landed(settings, [e for e in events if e[2] // DAY >= MONDAY + 43]))
    everything = feed("all", drift={"reference_weeks": 1})
    assert rows == measured(everything, landed(everything, events))[-len(rows) :]


def test_several_days_that_landed_at_once_can_be_looked_at(feed: Callable[..., FeedSettings]) -> None:
    days = [Day(MONDAY + n, events=100, sessions=50, session_events=100) for n in range(40)]
    days[-2] = Day(MONDAY + 38, events=10, sessions=50, session_events=100)
    rows = judge(days, DriftSettings())
    assert seen(rows, ["events"], 1)[0]
    passed, text = seen(rows, ["events"], 2)
    assert not passed and text == f"{Day(MONDAY + 38).name}: events 0.9 (10 against 100) is above its threshold 0.5"


# --- how it is shown -------------------------------------------------------------------------------------------------


def test_pictures_stay_small_and_are_svg(feed: Callable[..., FeedSettings]) -> None:
    settings = feed()
    rows = measured(settings, landed(settings, steady_feed(84)))
    frame = as_table(rows).to_pandas()
    assert len(frame) == 84 * len(MEASURES)
    figure = drift_figure(frame)
    ET.fromstring(figure)
    assert len(figure) < 37_000  # a third more as base64
    assert drift_figure(frame) == figure
    page = overview(rows)
    assert page.count("data:image/svg+xml") == len(MEASURES)
    assert all(len(cell) < 1_000 for line in page.splitlines() for cell in line.split("|"))


def test_sparkline_of_gaps_and_of_too_little() -> None:
    assert sparkline([], 0.1, "x") == sparkline([None, 1.0, None], 0.1, "x") == ""
    text = sparkline([0.1, None, 0.3] * 200, 0.2, "psi")
    assert text.startswith("![psi](data:image/svg+xml;base64,") and len(text) < 1_000
    ET.fromstring(b64decode(text.split("base64,")[1][:-1]))
    assert sparkline([0.0, 0.0], None, "flat")


def test_nothing_to_show_is_said() -> None:
    empty = as_table([]).to_pandas()
    assert overview([]) == "no events" and "no data" in drift_figure(empty)
    assert isinstance(empty, pd.DataFrame)
