from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sessrec_pipeline.engine import DuckDBEngine
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.preparation import split as splitting
from sessrec_pipeline.settings import SplitSettings
from sessrec_pipeline.storage.lake import Stats

Feed = Callable[..., FeedSettings]
DAY = 86_400_000_000
HOUR = DAY // 24


class Event(NamedTuple):
    session: str
    item: str
    time: int
    split: str | None = None


class Row(NamedTuple):
    session: str
    session_number: int
    position: int
    item: str
    time: int
    session_start: int


class Split(NamedTuple):
    train: list[Row]
    test: list[Row]
    train_stats: Stats
    test_stats: Stats


def prepared(settings: FeedSettings, events: Sequence[Event]) -> Path:
    """The events as the sessions table."""
    sessions = defaultdict(list)
    for event in events:
        sessions[event.session].append(event)
    order = sorted((min(e.time for e in group), name) for name, group in sessions.items())
    rows = [
        (name, number, position, event.item, event.time, start, event.split)
        for number, (start, name) in enumerate(order)
        for position, event in enumerate(sorted(sessions[name], key=lambda e: e.time))
    ]
    numbers = {"session_number", "position", "time", "session_start"}
    schema = pa.schema([(n, pa.int64() if n in numbers else pa.string()) for n in (*Row._fields, "split")])
    path = settings.home / "sessions.parquet"
    pq.write_table(pa.table([list(c) for c in zip(*rows, strict=True)], schema=schema), path)
    return path


def rows_of(table: pa.Table) -> list[Row]:
    return [Row(*(row[name] for name in Row._fields)) for row in table.to_pylist()]


def split(settings: FeedSettings, rule: SplitSettings, sessions: Path) -> Split:
    with DuckDBEngine(settings) as engine:
        train = splitting.train_split(engine, rule, sessions)
        trains = train.arrow()
        pq.write_table(trains, settings.home / "made_train.parquet")
        test = splitting.test_split(engine, rule, sessions, settings.home / "made_train.parquet")
    return Split(rows_of(trains), rows_of(test.arrow()), train.stats, test.stats)


def of(feed: Feed, events: Sequence[Event], name: str = "home", **rule: Any) -> Split:
    settings = feed(name)
    return split(settings, SplitSettings(**rule), prepared(settings, events))


def visits(session: str, text: str, start: int, step: int = HOUR) -> list[Event]:
    return [Event(session, item, start + n * step) for n, item in enumerate(text)]


def items(rows: Sequence[Row]) -> dict[str, str]:
    sessions: dict[str, str] = defaultdict(str)
    for row in rows:
        sessions[row.session] += row.item
    return dict(sessions)


EVENTS = st.lists(
    st.builds(
        visits,
        st.integers(0, 99).map("s{}".format),
        st.text("abcdef", min_size=2, max_size=5),
        st.integers(0, 100).map(lambda n: n * HOUR),
        st.integers(0, 6).map(lambda n: n * HOUR),
    ),
    min_size=2,
    max_size=14,
    unique_by=lambda visit: visit[0].session,
).map(lambda groups: [event for group in groups for event in group])


def any_split(factory: pytest.TempPathFactory, events: list[Event], rule: SplitSettings) -> tuple[Split | None, Path]:
    """The split, None where a part of it is empty, which must be said with the rule's name."""
    settings = FeedSettings(home=factory.mktemp("home"))
    sessions = prepared(settings, events)
    try:
        return split(settings, rule, sessions), sessions
    except ValueError as error:
        assert f'session is left by [split] rule = "{rule.rule}"' in str(error)
        return None, sessions


def keeps_its_promises(parts: Split, rule: SplitSettings, events: list[Event]) -> None:
    train, test, train_stats, test_stats = parts
    assert {row.session for row in train}.isdisjoint(row.session for row in test)
    if not rule.keep_unseen_items:
        assert {row.item for row in test} <= {row.item for row in train}
    for rows in (train, test):
        sessions = defaultdict(list)
        for row in rows:
            sessions[row.session].append(row)
        assert [[row.position for row in s] for s in sessions.values()] == [
            list(range(len(s))) for s in sessions.values()
        ]
        assert min(len(s) for s in sessions.values()) >= 2
        assert [s[0].session_number for s in sessions.values()] == list(range(len(sessions)))
        assert rows == sorted(rows, key=lambda row: (row.session_start, row.session, row.position))
    dropped = sum(int(n) for name, n in train_stats.items() if name.startswith("dropped: "))
    assert train_stats["events_in"] == len(events) == len(train) + dropped + int(train_stats["left for test"])
    dropped = sum(int(n) for name, n in test_stats.items() if name.startswith("dropped: "))
    assert test_stats["events_in"] == train_stats["left for test"] == len(test) + dropped
    assert test_stats["predictions"] == sum(row.position > 0 for row in test)


@given(EVENTS, st.sampled_from([0.5, 1, 2]), st.booleans())
@hypothesis_settings(max_examples=30, deadline=None)
def test_split_has_no_future(
    tmp_path_factory: pytest.TempPathFactory, events: list[Event], days: float, keep: bool
) -> None:
    """Under the days rule nothing in train happened at or after the moment at which the test starts."""
    rule = SplitSettings(rule="days", days=days, keep_unseen_items=keep)
    parts, _ = any_split(tmp_path_factory, events, rule)
    if parts is None:
        return
    keeps_its_promises(parts, rule, events)
    cutoff = max(event.time for event in events) - int(days * DAY)
    assert parts.train_stats["cutoff"] == cutoff
    assert all(row.time < cutoff <= other.session_start for row in parts.train for other in parts.test)
    early = defaultdict(list)
    for event in events:
        if event.time < cutoff:
            early[event.session].append(event.time)
    assert len(parts.train) == sum(len(times) for times in early.values() if len(times) >= 2)


@given(EVENTS, st.sampled_from([0.2, 0.5, 0.8]), st.booleans())
@hypothesis_settings(max_examples=30, deadline=None)
def test_ratio_gives_the_first_sessions_to_train(
    tmp_path_factory: pytest.TempPathFactory, events: list[Event], ratio: float, keep: bool
) -> None:
    rule = SplitSettings(rule="ratio", ratio=ratio, keep_unseen_items=keep)
    parts, sessions = any_split(tmp_path_factory, events, rule)
    count = pq.read_table(sessions)["session_number"].to_pylist()[-1] + 1
    assert (parts is None) <= (int(count * ratio) == 0 or not keep)
    if parts is None:
        return
    keeps_its_promises(parts, rule, events)
    assert parts.train_stats["sessions"] == int(count * ratio)
    assert max(row.session_start for row in parts.train) <= min(row.session_start for row in parts.test)


def test_train_is_cut_at_the_moment_at_which_the_test_starts(feed: Feed) -> None:
    """The last event is at day 10, so the test starts at day 9: a's last two events belong to neither part,
    and what is left of d is too short."""
    events = visits("a", "wxyz", 9 * DAY - 2 * HOUR) + visits("b", "xw", 9 * DAY) + visits("c", "wx", 10 * DAY - HOUR)
    events += visits("d", "wx", 9 * DAY - 1)
    parts = of(feed, events, rule="days", days=1)
    assert items(parts.train) == {"a": "wx"}
    assert items(parts.test) == {"b": "xw", "c": "wx"}
    assert parts.train_stats["dropped: after the cutoff"] == 3
    assert parts.train_stats["dropped: sessions too short"] == 1


def test_items_that_training_never_saw(feed: Feed) -> None:
    events = visits("a", "wxy", 0) + visits("b", "xzw", DAY) + visits("c", "zx", DAY) + visits("d", "zzz", DAY)
    parts = of(feed, events, "dropped", ratio=0.25)
    assert items(parts.test) == {"b": "xw"}
    assert (parts.test_stats["dropped: unseen items"], parts.test_stats["dropped: sessions too short"]) == (5, 1)
    assert [row.position for row in parts.test] == [0, 1]
    kept = of(feed, events, "kept", ratio=0.25, keep_unseen_items=True)
    assert items(kept.test) == {"b": "xzw", "c": "zx", "d": "zzz"}
    assert (kept.test_stats["unseen items"], kept.test_stats["dropped: unseen items"]) == (5, 0)


def test_given_split_is_taken_as_it_is(feed: Feed) -> None:
    """Also a training session of one event and a test before the training; what has no label is counted."""
    labelled = [
        ("a", "train"),
        ("a", "train"),
        ("b", "test"),
        ("b", "test"),
        ("c", "train"),
        ("d", None),
        ("e", "valid"),
    ]
    events = [Event(s, "xy"[n % 2], DAY - n, label) for n, (s, label) in enumerate(labelled)]
    parts = of(feed, events, rule="given", test_logs=["t"])
    assert items(parts.train) == {"a": "yx", "c": "x"}
    assert items(parts.test) == {"b": "yx"}
    assert parts.train_stats["dropped: unlabelled"] == 2


def test_session_that_a_given_split_parts_counts_anew_in_both(feed: Feed) -> None:
    labels = ["test", "train", "test", "train", "test"]
    events = [Event("a", item, n, label) for n, (item, label) in enumerate(zip("xyyxx", labels, strict=True))]
    parts = of(feed, events, rule="given", test_logs=["t"])
    assert [(row.item, row.position) for row in parts.train] == [("y", 0), ("x", 1)]
    assert [(row.item, row.position) for row in parts.test] == [("x", 0), ("y", 1), ("x", 2)]


def test_input_frame_untouched(feed: Feed) -> None:
    settings = feed()
    sessions = prepared(settings, [e for n in range(10) for e in visits(f"s{n}", "ab", n * DAY)])
    before = sessions.read_bytes(), sessions.stat().st_mtime_ns
    for rule in (SplitSettings(), SplitSettings(rule="days", days=3)):
        split(settings, rule, sessions)
    assert (sessions.read_bytes(), sessions.stat().st_mtime_ns) == before
    assert sorted(path.name for path in settings.home.glob("*.parquet")) == ["made_train.parquet", "sessions.parquet"]


@pytest.mark.parametrize("rule", [{}, {"rule": "days", "days": 3}, {"tuning_rule": "days", "days": 3}])
def test_tuning_split_lies_inside_train(feed: Feed, rule: dict[str, Any]) -> None:
    settings = feed()
    sessions = prepared(settings, [e for n in range(20) for e in visits(f"s{n:02}", "ab", n * DAY)])
    outer = SplitSettings(**rule)
    parts = split(settings, outer, sessions)
    train = settings.home / "train.parquet"
    pq.write_table(pa.table({f: [getattr(row, f) for row in parts.train] for f in Row._fields}), train)
    tuning = split(settings, outer.tuning, train)
    inner = {row.session for row in tuning.train} | {row.session for row in tuning.test}
    assert inner <= {row.session for row in parts.train}
    assert inner.isdisjoint(row.session for row in parts.test)
    assert max(row.time for row in tuning.train) < min(row.time for row in tuning.test)


@pytest.mark.parametrize(
    ("rule", "part"),
    [
        ({"ratio": 0.4}, "training"),
        ({"rule": "days", "days": 30}, "training"),
        ({"rule": "days", "days": 0.01}, "test"),
    ],
)
def test_log_too_short_for_the_rule_is_said(feed: Feed, rule: dict[str, Any], part: str) -> None:
    name = rule.get("rule", "ratio")
    with pytest.raises(
        ValueError, match=rf'no {part} session is left by \[split\] rule = "{name}".*2 sessions to divide span 1.0 days'
    ):
        of(feed, visits("a", "xy", 0) + visits("b", "xy", DAY), **rule)
