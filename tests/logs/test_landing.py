import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.logs.ingest import ingest_landed
from sessrec_pipeline.logs.landing import Seen, from_cursor, scan, to_cursor
from sessrec_pipeline.logs.parts import sha256_of, state_of
from sessrec_pipeline.storage.store import Store
from sessrec_pipeline.storage.withdrawal import landed_sha256


@pytest.fixture
def settings(feed: Callable[..., FeedSettings]) -> FeedSettings:
    return feed()


@pytest.fixture
def store(settings: FeedSettings) -> Store:
    return Store(settings)


def land(settings: FeedSettings, name: str, item: str = "a") -> Path:
    path = settings.landing / name
    path.write_text(f"SessionId\tItemId\tTime\n1\t{item}\t1700000000\n")
    return path


def ingest(settings: FeedSettings, store: Store, name: str) -> None:
    store.publish("raw_sessions", ingest_landed(settings, name, lambda _: None).events, partition=name)


def touch(path: Path) -> None:
    later = path.stat().st_mtime_ns + 1_000_000_000
    os.utime(path, ns=(later, later))


def test_new_log_is_new_until_it_is_ingested(settings: FeedSettings, store: Store) -> None:
    path = land(settings, "a.tsv")
    assert scan(settings.landing, store, {}).new == {"a.tsv": sha256_of(path)}
    ingest(settings, store, "a.tsv")
    assert landed_sha256(store, "a.tsv") == sha256_of(path)
    look = scan(settings.landing, store, {})
    assert (look.new, list(look.seen), look.refused) == ({}, ["a.tsv"], {})


def test_unchanged_log_is_not_read_again(settings: FeedSettings, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    land(settings, "a.tsv")
    first = scan(settings.landing, store, {})
    monkeypatch.setattr("sessrec_pipeline.logs.landing.sha256_of", lambda path: pytest.fail(f"{path} was read again"))
    second = scan(settings.landing, store, first.seen)
    assert (second.seen, second.new) == (first.seen, {})


def test_changed_content_under_the_same_name_is_new(settings: FeedSettings, store: Store) -> None:
    land(settings, "a.tsv")
    ingest(settings, store, "a.tsv")
    first = scan(settings.landing, store, {})
    path = land(settings, "a.tsv", item="b")
    touch(path)
    assert scan(settings.landing, store, first.seen).new == {"a.tsv": sha256_of(path)}


def test_changed_content_of_the_same_size_and_time_is_new(settings: FeedSettings, store: Store) -> None:
    """As ``cp -p``, ``rsync -t``, tar and reproducible exports leave it."""
    path = settings.landing / "a.tsv"
    path.write_text("SessionId\tItemId\tTime\ns\t1\t1700000000\n")
    first = scan(settings.landing, store, {})
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    other = settings.home / "other"
    other.write_text("SessionId\tItemId\tTime\ns\t2\t1700000000\n")
    os.utime(other, ns=times)
    other.replace(path)
    second = scan(settings.landing, store, first.seen)
    assert second.new["a.tsv"] != first.new["a.tsv"]
    path.write_text("SessionId\tItemId\tTime\ns\t3\t1700000000\n")
    os.utime(path, ns=times)
    assert scan(settings.landing, store, second.seen).new["a.tsv"] not in (first.new["a.tsv"], second.new["a.tsv"])


def test_a_log_is_read_again_after_some_time_whatever_its_state_says(settings: FeedSettings, store: Store) -> None:
    names = ("a.tsv", "b.tsv")
    for name in names:
        land(settings, name)
        ingest(settings, store, name)
    first = scan(settings.landing, store, {})
    hidden = {n: Seen(seen.state, "0" * 64, time.time() - 7200 - (n == "a.tsv")) for n, seen in first.seen.items()}
    for options in ({}, {"reread_seconds": 7300.0}):
        assert scan(settings.landing, store, hidden, **options).seen == hidden
    second = scan(settings.landing, store, hidden, reread_seconds=7200)
    assert (second.seen["a.tsv"].sha256, second.seen["b.tsv"]) == (first.seen["a.tsv"].sha256, hidden["b.tsv"])
    land(settings, "a.tsv", item="z")
    changed = {**first.seen, "a.tsv": Seen(state_of(settings.landing / "a.tsv"), first.seen["a.tsv"].sha256, 0)}
    assert list(scan(settings.landing, store, changed, reread_seconds=7200).new) == ["a.tsv"]


def test_a_cursor_of_an_earlier_version_only_means_another_look(settings: FeedSettings, store: Store) -> None:
    (settings.landing / "a.tsv").write_text("SessionId\tItemId\tTime\ns\t1\t1700000000\n")
    assert set(scan(settings.landing, store, from_cursor('{"a.tsv": [40, 1700000000000000000, "ab"]}')).new) == {
        "a.tsv"
    }


def test_same_content_touched_again_is_not_new(settings: FeedSettings, store: Store) -> None:
    path = land(settings, "a.tsv")
    ingest(settings, store, "a.tsv")
    first = scan(settings.landing, store, {})
    touch(path)
    second = scan(settings.landing, store, first.seen)
    assert second.new == {}
    assert second.seen["a.tsv"].state != first.seen["a.tsv"].state


def test_same_content_under_another_name_is_new(settings: FeedSettings, store: Store) -> None:
    land(settings, "a.tsv")
    ingest(settings, store, "a.tsv")
    land(settings, "b.tsv")
    assert list(scan(settings.landing, store, {}).new) == ["b.tsv"]


def test_what_cannot_be_taken_is_refused_with_a_reason(settings: FeedSettings, store: Store) -> None:
    good = land(settings, "good.tsv")
    land(settings, "a*.tsv")
    (settings.landing / "link.tsv").symlink_to(good)
    (settings.landing / "folder").mkdir()
    look = scan(settings.landing, store, {})
    assert list(look.seen) == list(look.new) == ["good.tsv"]
    assert sorted(look.refused) == ["a*.tsv", "folder", "link.tsv"]
    assert "name may hold" in look.refused["a*.tsv"]
    assert "not a regular file" in look.refused["link.tsv"]
    assert "only where it holds Parquet parts" in look.refused["folder"]


def test_hidden_files_and_files_under_way_are_left_alone(settings: FeedSettings, store: Store) -> None:
    for name in (
        ".gitkeep",
        "a.tsv.part",
        "a.tsv.tmp",
        "_SUCCESS",
        "_committed_1",
        "part-0.parquet.crc",
        "a.tsv.filepart",
        "a.TMP",
    ):
        land(settings, name)
    look = scan(settings.landing, store, {})
    assert (look.seen, look.new, look.refused) == ({}, {}, {})


def test_removed_log_is_forgotten(settings: FeedSettings, store: Store) -> None:
    path = land(settings, "a.tsv")
    first = scan(settings.landing, store, {})
    path.unlink()
    assert scan(settings.landing, store, first.seen).seen == {}


def test_no_landing_folder_is_an_empty_one(settings: FeedSettings, store: Store) -> None:
    assert scan(settings.home / "nowhere", store, {}).seen == {}


def test_cursor_keeps_what_was_seen() -> None:
    seen = {"a.tsv": Seen((3, 7, 1_700_000_000_123_456_789, 2), "ab", 1.7e9), "Day 1.csv": Seen((0, 1, 1, 1), "")}
    assert from_cursor(to_cursor(seen)) == seen
    assert from_cursor(None) == from_cursor("") == {}
