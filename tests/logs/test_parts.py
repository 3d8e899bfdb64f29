"""A folder of Parquet parts is one log."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.logs.describe import describe
from sessrec_pipeline.logs.gate import LogRefusedError
from sessrec_pipeline.logs.ingest import ingest_each, ingest_landed
from sessrec_pipeline.logs.landing import scan
from sessrec_pipeline.logs.parts import parts_of, sha256_of, state_of
from sessrec_pipeline.storage.landed import LandedCopies
from sessrec_pipeline.storage.store import Store

T = 1_700_000_000


@pytest.fixture
def settings(feed: Callable[..., FeedSettings]) -> FeedSettings:
    return feed(logs={"format": "parquet"})


def part(path: Path, item: list[Any], time: int = T, **columns: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = len(item)
    frame = {"SessionId": ["s"] * rows, "ItemId": item, "Time": [time + n for n in range(rows)], **columns}
    pq.write_table(pa.table({name: values for name, values in frame.items() if values is not None}), path)


@pytest.fixture
def spark(settings: FeedSettings) -> Path:
    """What Spark writes, with a column that is an integer in one part and a floating number in the next."""
    folder = settings.landing / "day=1"
    part(folder / "part-00000.parquet", [7, 8])
    part(folder / "part-00001.parquet", [7.0, None, 9.0], T + 10)
    for name in ("_SUCCESS", ".part-00000.parquet.crc", "_metadata"):
        (folder / name).write_bytes(b"x")
    return folder


def test_the_rows_of_all_parts_are_read_by_their_own_types(settings: FeedSettings, spark: Path) -> None:
    done = ingest_landed(settings, spark.name, lambda _: None)
    events = done.events.arrow()
    assert events["item"].to_pylist() == ["7", "8", "7", "9"]
    assert events["line"].to_pylist() == [1, 2, 3, 5], "numbered through"
    assert done.quarantine.arrow().select(["line", "reason"]).to_pylist() == [{"line": 4, "reason": "item_missing"}]


def test_columns_of_the_path_are_columns(feed: Callable[..., FeedSettings]) -> None:
    settings = feed(logs={"format": "parquet", "time": "day", "time_unit": "iso8601", "extra_columns": ["shop"]})
    for shop, day in (("a", "2024-01-11"), ("__HIVE_DEFAULT_PARTITION__", "2024-01-12 10%3A00")):
        part(settings.landing / "log" / f"shop={shop}" / f"day={day}" / "0.parquet", ["x", "y"])
    events = ingest_landed(settings, "log", lambda _: None).events.arrow()
    assert [(row["shop"], row["time"] % 86_400_000_000 // 3_600_000_000) for row in events.to_pylist()] == [
        *((None, 10), (None, 10), ("a", 0), ("a", 0))
    ]


def test_a_folder_is_new_until_it_is_ingested_and_when_a_part_changes(settings: FeedSettings, spark: Path) -> None:
    store = Store(settings)
    assert scan(settings.landing, store, {}).new == {"day=1": sha256_of(spark)}
    store.publish("raw_sessions", ingest_landed(settings, "day=1", lambda _: None).events, partition="day=1")
    first = scan(settings.landing, store, {})
    assert first.new == {}
    state = state_of(spark)
    (spark / "_SUCCESS").unlink()
    assert state_of(spark) == state
    part(spark / "part-00002.parquet", ["z"])
    assert list(scan(settings.landing, store, first.seen).new) == ["day=1"]
    (spark / "part-00002.parquet").rename(spark / "part-00003.parquet")
    assert [p.name for p in parts_of(spark)] == ["part-00000.parquet", "part-00001.parquet", "part-00003.parquet"]


def test_a_folder_that_is_still_written_to_is_left_alone(settings: FeedSettings, spark: Path) -> None:
    store = Store(settings)
    os.utime(spark / "part-00000.parquet", (T, T))
    first = scan(settings.landing, store, {}, settle_seconds=60)
    assert (first.new, first.seen["day=1"].sha256) == ({}, "")
    assert list(scan(settings.landing, store, first.seen, settle_seconds=60).new) == ["day=1"]


def test_what_is_wrong_with_a_part_names_it(settings: FeedSettings, spark: Path) -> None:
    part(spark / "part-00002.parquet", ["z"], SessionId=None)
    with pytest.raises(LogRefusedError, match=r"day=1/part-00002.parquet: column 'SessionId' is missing"):
        ingest_landed(settings, spark.name, lambda _: None)
    (spark / "part-00002.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(LogRefusedError, match=r"day=1/part-00002.parquet: not a readable Parquet file"):
        ingest_landed(settings, spark.name, lambda _: None)


def test_a_folder_in_a_feed_of_text_is_refused(feed: Callable[..., FeedSettings]) -> None:
    settings = feed()
    part(settings.landing / "log" / "0.parquet", ["x"])
    with pytest.raises(LogRefusedError, match='with \\[logs\\] format = "tsv" a log is one file'):
        ingest_landed(settings, "log", lambda _: None)
    (settings.home / "texts").mkdir()
    (settings.home / "texts" / "a.tsv").touch()
    with pytest.raises(LogRefusedError, match="a folder without Parquet parts"):
        describe(settings.home / "texts")


def test_a_folder_without_parts_is_refused(settings: FeedSettings) -> None:
    (settings.landing / "log").mkdir()
    with pytest.raises(LogRefusedError, match="log: a folder without files"):
        ingest_landed(settings, "log", lambda _: None)


def test_a_folder_is_described(settings: FeedSettings, spark: Path) -> None:
    lines, readable = describe(spark)
    assert readable
    assert "note: A log of 2 parts, of which this is the first: part-00000.parquet." in lines
    assert any(line.startswith("  4 events in 1 session on 3 items") for line in lines)
    assert "    1 item_missing; the first in row 4: s | 1700000011" in lines


def test_a_folder_that_left_is_read_from_its_copy(feed: Callable[..., FeedSettings]) -> None:
    """With what its path and the paths of its parts say, and beside a log that is still there."""
    settings = feed(logs={"format": "parquet", "extra_columns": ["day", "shop"]})
    folder = settings.landing / "day=1"
    part(folder / "shop=7" / "a.parquet", ["x", "y"])
    part(folder / "shop=8" / "b.parquet", ["z"], T + 10)
    part(settings.landing / "day=2" / "shop=7" / "c.parquet", ["w"])
    sha256, copies = sha256_of(folder), LandedCopies(settings.kept)
    copies.keep(sha256, folder, {part.name: part.path for part in parts_of(folder)})

    def read() -> list[tuple[pa.Table, Any]]:
        found = []
        for _, done in ingest_each(settings, ["day=1", "day=2"], lambda _: None, {"day=1": sha256}):
            assert not isinstance(done, Exception)
            found.append((done.events.arrow(), done.events.origins[0].node))
        return found

    before = read()
    assert before[0][0]["shop"].to_pylist() == ["7", "7", "8"]
    shutil.rmtree(folder)
    assert read() == before
    (copies.folder / f"{sha256}.parts").unlink()
    (_, gone), (_, other) = ingest_each(settings, ["day=1", "day=2"], lambda _: None, {})
    assert isinstance(gone, LogRefusedError) and not isinstance(other, Exception)
