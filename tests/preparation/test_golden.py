"""The Preprocessing table and the split of the study, on the real logs; skipped where they are not at hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sessrec_pipeline.engine import DuckDBEngine, integer
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.logs.ingest import ingest_landed
from sessrec_pipeline.preparation import split as splitting
from sessrec_pipeline.preparation.sessions import prepare_sessions
from sessrec_pipeline.storage.lake import Stats
from sessrec_pipeline.storage.store import Store

Feed = Callable[..., FeedSettings]
Dataset = Callable[[str], Path]
Sizes = tuple[int, int, int]

FILTERS = {"drop_consecutive_repeats": True, "min_item_support": 5}


def measured(settings: FeedSettings, logs: dict[str, bytes]) -> tuple[Sizes, Sizes, Sizes, Stats]:
    """Events, sessions and items of all logs after the filters, of train and of test; the stats of test."""
    store = Store(settings)
    raw: list[Path] = []
    for name, content in logs.items():
        (settings.landing / name).write_bytes(content)
        events = ingest_landed(settings, name, lambda _: None).events
        assert events.stats["quarantined"] == 0
        raw.append(store.publish("raw_sessions", events, partition=name).path)
    with DuckDBEngine(settings) as engine:
        sessions = prepare_sessions(engine, settings, raw, lambda _: None)
        path = store.publish("sessions", sessions).path
        train = splitting.train_split(engine, settings.split, path)
        test = splitting.test_split(engine, settings.split, path, store.publish("train_split", train).path)
        kept = integer(engine, "SELECT COUNT(*) FROM ordered")
    left = (kept, int(sessions.stats["sessions"]), int(sessions.stats["items"]))
    return left, sizes(train.stats), sizes(test.stats), test.stats


def sizes(stats: Stats) -> Sizes:
    return int(stats["events"]), int(stats["sessions"]), int(stats["items"])


def contents(folder: Path, *names: str) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names}


@pytest.mark.parametrize(
    ("name", "files", "logs", "expected"),
    [
        (
            "serenade_toy",
            ["train.txt", "valid.txt", "test.txt"],
            {"session_scope": "log"},
            [(85_649, 18_056, 8_666), (83_644, 17_579, 8_666), (1_997, 477, 1_190)],
        ),
        (
            "rsc15_100k",
            ["yoochoose-clicks-100k_train_full.txt", "yoochoose-clicks-100k_test.txt"],
            {},
            [(61_197, 16_825, 2_217), (51_157, 14_080, 2_217), (10_038, 2_745, 1_496)],
        ),
    ],
)
def test_clicks(
    feed: Feed, dataset: Dataset, name: str, files: list[str], logs: dict[str, Any], expected: list[Sizes]
) -> None:
    content = contents(dataset(name), *files)
    settings = feed(logs=logs, sessions=FILTERS, split={"rule": "days", "days": 1})
    assert list(measured(settings, content)[:3]) == expected


def test_online_retail(feed: Feed, dataset: Dataset) -> None:
    """Its days are read as one log, which takes seconds instead of a minute; the golden figures keep exact copies."""
    days = sorted((dataset("online_retail") / "by-day").iterdir())
    header, _, _ = days[0].read_bytes().partition(b"\n")
    rows = b"".join(day.read_bytes().partition(b"\n")[2] for day in days)
    logs = {
        "format": "csv",
        "session": "InvoiceNo",
        "item": "StockCode",
        "time": "InvoiceDate",
        "time_unit": "iso8601",
        "keep": [{"column": "InvoiceNo", "not_prefix": "C"}, {"column": "Quantity", "minimum": 1}],
    }
    settings = feed(logs=logs, sessions={**FILTERS, "drop_duplicates": False}, split={"rule": "days", "days": 7})
    assert list(measured(settings, {"all.csv": header + b"\n" + rows})[:3]) == [
        (526_554, 18_328, 3_470),
        (505_213, 17_725, 3_470),
        (21_341, 603, 2_388),
    ]


def test_seed_demo(feed: Feed, dataset: Dataset) -> None:
    settings = feed(split={"rule": "ratio", "ratio": 0.8})
    left, train, test, stats = measured(settings, contents(dataset("seed_demo"), "synth_sessions.tsv"))
    assert left == (11_222, 1_000, 499)
    assert train[:2] == (8_837, 800)
    assert test[:2] == (2_385, 200)
    assert stats["predictions"] == 2_185
