from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import groupby
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
from sessrec_pipeline.preparation.sessions import prepare_sessions
from sessrec_pipeline.settings import SessionSettings
from sessrec_pipeline.storage.lake import Stats
from sessrec_pipeline.storage.store import Store

Feed = Callable[..., FeedSettings]
MINUTE = 60_000_000


class Event(NamedTuple):
    session: str
    item: str
    time: int
    log: str = "a.tsv"
    extra: str | None = None


class Row(NamedTuple):
    session: str
    session_number: int
    position: int
    item: str
    time: int
    session_start: int


def land(settings: FeedSettings, events: Sequence[Event]) -> list[Path]:
    """The events as ingested logs, one Parquet file a log; lines in the order given."""
    folder = settings.home / "raw_sessions"
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for log in sorted({event.log for event in events} or {"a.tsv"}):
        rows = [event for event in events if event.log == log]
        columns: dict[str, Any] = {
            "log": pa.array([log] * len(rows), pa.string()),
            "line": pa.array(range(2, len(rows) + 2), pa.int64()),
            "session": pa.array([e.session for e in rows], pa.string()),
            "item": pa.array([e.item for e in rows], pa.string()),
            "time": pa.array([e.time for e in rows], pa.int64()),
            "Extra": pa.array([e.extra for e in rows], pa.string()),
        }
        paths.append(folder / f"{log}.parquet")
        pq.write_table(pa.table(columns), paths[-1])
    return paths


def prepare(settings: FeedSettings, events: Sequence[Event]) -> tuple[list[Row], Stats]:
    with DuckDBEngine(settings) as engine:
        table = prepare_sessions(engine, settings, land(settings, events), lambda _: None)
        rows = table.arrow().to_pylist()
    assert table.stats["events_in"] == len(rows) + sum(int(n) for name, n in table.stats.items() if "dropped" in name)
    return [Row(*(row[name] for name in Row._fields)) for row in rows], table.stats


def items(rows: Sequence[Row]) -> dict[str, str]:
    """Session id to its items in order."""
    return {session: "".join(row.item for row in group) for session, group in groupby(rows, lambda row: row.session)}


def clicks(session: str, text: str, start: int = 0, log: str = "a.tsv") -> list[Event]:
    return [Event(session, item, start + n * MINUTE, log) for n, item in enumerate(text)]


# Duplicates.


def test_exact_copies_are_dropped_also_across_logs(feed: Feed) -> None:
    events = clicks("s", "ab") + clicks("s", "ab") + clicks("s", "ab", log="b.tsv")
    rows, stats = prepare(feed(), events)
    assert items(rows) == {"s": "ab"}
    assert stats["dropped: duplicates"] == 4


def test_copies_stay_where_duplicates_are_wanted(feed: Feed) -> None:
    rows, _ = prepare(feed(sessions={"drop_duplicates": False}), clicks("s", "ab") * 2)
    assert items(rows) == {"s": "aabb"}


@pytest.mark.parametrize(
    "other",
    [Event("t", "a", 0), Event("s", "b", 0), Event("s", "a", 1), Event("s", "a", 0, extra="x")],
)
def test_rows_that_differ_anywhere_are_no_copies(feed: Feed, other: Event) -> None:
    settings = feed(logs={"extra_columns": ["Extra"]}, sessions={"min_session_length": 1})
    assert len(prepare(settings, [Event("s", "a", 0), other])[0]) == 2


def test_same_session_in_two_logs_is_one_or_two_sessions(feed: Feed) -> None:
    events = clicks("s", "ab") + clicks("s", "cd", start=2 * MINUTE, log="b.tsv")
    assert items(prepare(feed("one"), events)[0]) == {"s": "abcd"}
    rows, _ = prepare(feed("two", logs={"session_scope": "log"}), events)
    assert items(rows) == {"a.tsv/s": "ab", "b.tsv/s": "cd"}


# Order.


def test_events_stand_in_order_of_time_then_log_then_line(feed: Feed) -> None:
    events = [Event("s", "d", 5, "b.tsv"), Event("s", "c", 5), Event("s", "b", 5), Event("s", "a", 1, "b.tsv")]
    assert items(prepare(feed(), events)[0]) == {"s": "acbd"}


def test_sessions_stand_in_order_of_start_then_name(feed: Feed) -> None:
    rows, _ = prepare(feed(), clicks("z", "ab") + clicks("10", "ab", 7) + clicks("9", "ab", 7) + clicks("y", "ab", 3))
    numbers = {row.session: (row.session_number, row.session_start) for row in rows}
    assert numbers == {"z": (0, 0), "y": (1, 3), "10": (2, 7), "9": (3, 7)}
    assert [row.position for row in rows] == [0, 1] * 4


def test_order_in_which_logs_are_passed_does_not_matter(feed: Feed) -> None:
    settings = feed()
    events = [e for n in range(8) for e in clicks(f"s{n % 5}", "abcab"[n % 3 :], n // 3 * MINUTE, f"{n % 4}.tsv")]
    paths = land(settings, events)
    versions = set()
    for order in (paths, paths[::-1], paths[2:] + paths[:2]):
        with DuckDBEngine(settings) as engine:
            table = prepare_sessions(engine, settings, order, lambda _: None)
            versions.add(Store(settings).publish("sessions", table).node.data_version)
    assert len(paths) == 4
    assert len(versions) == 1


# Cuts and filters.


def test_session_is_cut_after_a_gap(feed: Feed) -> None:
    events = clicks("s", "ab") + clicks("s", "cd", 31 * MINUTE) + clicks("s", "ef", 62 * MINUTE + 1) + clicks("t", "gh")
    rows, stats = prepare(feed(sessions={"inactivity_gap_minutes": 30}), events)
    assert items(rows) == {"s#1": "abcd", "t#1": "gh", "s#2": "ef"}
    assert [name for name in stats if "nothing" in name] == []


def test_part_of_a_cut_session_is_never_merged_with_another_session(feed: Feed) -> None:
    events = clicks("s", "ab") + clicks("s", "cd", 60 * MINUTE) + clicks("s#2", "ef", 60 * MINUTE)
    rows, _ = prepare(feed(sessions={"inactivity_gap_minutes": 30}), events)
    assert sorted(items(rows).values()) == ["ab", "cd", "ef"]


def test_consecutive_repeats_are_dropped_on_request(feed: Feed) -> None:
    events = clicks("s", "aabbba") + clicks("t", "ba", 6 * MINUTE)
    assert items(prepare(feed("off"), events)[0]) == {"s": "aabbba", "t": "ba"}
    rows, stats = prepare(feed("on", sessions={"drop_consecutive_repeats": True}), events)
    assert items(rows) == {"s": "aba", "t": "ba"}
    assert stats["dropped: consecutive repeats"] == 3


def test_session_longer_than_the_maximum_is_dropped_whole(feed: Feed) -> None:
    rows, stats = prepare(feed(sessions={"max_session_length": 3}), clicks("s", "abc") + clicks("t", "abcd"))
    assert items(rows) == {"s": "abc"}
    assert stats["dropped: sessions too long"] == 4


def test_filters_run_until_nothing_changes(feed: Feed) -> None:
    """c is rare, so s falls short, so b is rare, so t falls short; u and v stay."""
    events = clicks("s", "bc") + clicks("t", "ba", 9) + clicks("u", "ad", 10) + clicks("v", "da", 11)
    rows, stats = prepare(feed(sessions={"min_item_support": 2}), events)
    assert items(rows) == {"u": "ad", "v": "da"}
    assert (stats["dropped: rare items"], stats["dropped: sessions too short"]) == (2, 2)
    assert (stats["sessions"], stats["items"]) == (2, 2)


def reference(events: Sequence[Event], rules: SessionSettings) -> list[Row]:
    """The same in plain Python, slowly."""
    lines: Counter[str] = Counter()
    rows = []
    for event in events:
        lines[event.log] += 1
        rows.append((event, (event.time, event.log, lines[event.log])))
    rows.sort(key=lambda row: row[1])
    if rules.drop_duplicates:
        first: dict[tuple[str, str, int], tuple[Event, tuple[int, str, int]]] = {}
        for row in rows:
            first.setdefault(row[0][:3], row)
        rows = list(first.values())
    sessions: dict[str, list[Event]] = defaultdict(list)
    parts: Counter[str] = Counter()
    before: dict[str, Event] = {}
    for event, _ in rows:
        name = event.session
        if rules.inactivity_gap_minutes:
            if name in before and event.time - before[name].time > rules.inactivity_gap_minutes * MINUTE:
                parts[name] += 1
            before[name] = event
            name = f"{name}#{parts[name] + 1}"
        if not (rules.drop_consecutive_repeats and sessions[name] and sessions[name][-1].item == event.item):
            sessions[name].append(event)
    kept = {name: s for name, s in sessions.items() if len(s) <= rules.max_session_length}
    while True:
        long = {name: s for name, s in kept.items() if len(s) >= rules.min_session_length}
        support = Counter(e.item for s in long.values() for e in s)
        frequent = {n: [e for e in s if support[e.item] >= rules.min_item_support] for n, s in long.items()}
        if frequent == kept:
            break
        kept = frequent
    order = sorted((s[0].time, name) for name, s in kept.items() if s)
    return [
        Row(name, number, position, event.item, event.time, start)
        for number, (start, name) in enumerate(order)
        for position, event in enumerate(kept[name])
    ]


EVENTS = st.builds(
    Event,
    st.sampled_from(["s", "t", "u", "v"]),
    st.sampled_from("abcde"),
    st.integers(0, 12).map(lambda n: n * 10 * MINUTE),
    st.sampled_from(["a.tsv", "b.tsv"]),
)
RULES = st.builds(
    SessionSettings,
    drop_duplicates=st.booleans(),
    inactivity_gap_minutes=st.sampled_from([None, 20, 40]),
    drop_consecutive_repeats=st.booleans(),
    min_session_length=st.integers(1, 3),
    max_session_length=st.sampled_from([2, 5, 2000]),
    min_item_support=st.integers(1, 4),
)


@given(st.lists(EVENTS, min_size=1, max_size=40), RULES)
@hypothesis_settings(max_examples=30, deadline=None)
def test_every_rule_does_what_plain_python_does(
    tmp_path_factory: pytest.TempPathFactory, events: list[Event], rules: SessionSettings
) -> None:
    settings = FeedSettings(home=tmp_path_factory.mktemp("home"), sessions=rules)
    expected = reference(events, rules)
    if not expected:
        with pytest.raises(ValueError, match="no event is left after dropping"):
            prepare(settings, events)
        return
    assert prepare(settings, events)[0] == expected


# A split that the log brings.


def labels(settings: FeedSettings, events: Sequence[Event]) -> dict[str, str | None]:
    with DuckDBEngine(settings) as engine:
        table = prepare_sessions(engine, settings, land(settings, events), lambda _: None)
    return {row["session"]: row["split"] for row in table.arrow().to_pylist()}


def test_split_given_by_a_column(feed: Feed) -> None:
    settings = feed(logs={"extra_columns": ["Extra"]}, split={"rule": "given", "column": "Extra"})
    events = [Event(s, item, 0, extra=label) for s, label in (("s", "TRAIN"), ("t", "test")) for item in "ab"]
    assert labels(settings, events) == {"s": "train", "t": "test"}


def test_split_given_by_logs(feed: Feed) -> None:
    settings = feed(split={"rule": "given", "test_logs": ["b.tsv", "'; --"]})
    events = clicks("s", "ab") + clicks("t", "ab", log="b.tsv") + clicks("u", "ab", log="c.tsv")
    assert labels(settings, events) == {"s": "train", "t": "test", "u": "train"}


def test_other_rules_label_nothing(feed: Feed) -> None:
    assert labels(feed(), clicks("s", "ab")) == {"s": None}


# Nothing left.


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({"max_session_length": 2}, "sessions too long"),
        ({"min_session_length": 4}, "sessions too short"),
        ({"min_item_support": 2}, "rare items"),
    ],
)
def test_filter_that_takes_the_last_event_is_named(feed: Feed, rules: dict[str, int], reason: str) -> None:
    with pytest.raises(ValueError, match=f"no event is left after dropping {reason}: loosen"):
        prepare(feed(sessions=rules), clicks("s", "abc"))


def test_logs_without_a_single_event_are_an_error(feed: Feed) -> None:
    with pytest.raises(ValueError, match="hold no event at all"):
        prepare(feed(), [])
