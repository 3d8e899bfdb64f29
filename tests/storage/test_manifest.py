"""What was published and is gone is noticed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.manifest import Manifest
from sessrec_pipeline.storage.store import GoneError, Store


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return Manifest(tmp_path)


def test_it_keeps_what_was_entered(manifest: Manifest) -> None:
    assert manifest.read() is None
    manifest.change({("a", None): "1", ("raw_sessions", "x.tsv"): "2"})
    manifest.change({("a", None): "3"}, gone=[("raw_sessions", "x.tsv")])
    assert manifest.read() == {("a", None): "3"}


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_file_leaves_the_one_before_it(manifest: Manifest, damage: str) -> None:
    for version in ("1", "2"):
        manifest.change({("a", None): version})
    text = manifest.path.read_bytes()
    if damage == "gone":
        manifest.path.unlink()
    else:
        manifest.path.write_bytes(text[:40] if damage == "cut" else text.replace(b'"2"', b'"7"'))
    assert manifest.read() == {("a", None): "1"}
    manifest.change({("b", None): "5"})
    assert manifest.read() == {("a", None): "1", ("b", None): "5"}


def test_no_bit_of_it_changes_unnoticed(manifest: Manifest) -> None:
    manifest.change({("raw_sessions", "a.tsv"): "0af3", ("sessions", None): "77"})
    expected, text = manifest.read(), manifest.path.read_bytes()
    for place in range(len(text)):
        manifest.path.write_bytes(text[:place] + bytes([text[place] ^ 4]) + text[place + 1 :])
        assert manifest.read() in (None, expected)


@pytest.fixture
def store(feed: Callable[..., FeedSettings]) -> Store:
    store = Store(feed())
    for log in ("a.tsv", "b.tsv"):
        store.publish("raw_sessions", Table(pa.table({"item": [log]})), partition=log)
    return store


def test_a_log_that_is_gone_is_named_until_it_is_given_up(store: Store) -> None:
    assert list(store.logs()) == list(store.ingested()) == ["a.tsv", "b.tsv"]
    shutil.rmtree(store.find("raw_sessions", "a.tsv").path.parents[1])
    for other in (store, Store(store.settings)):
        other.mend()
        with pytest.raises(GoneError, match=r"raw_sessions\[a.tsv\] was ingested and is gone.*sessrec withdraw a.tsv"):
            other.ingested()
    store.give_up(["a.tsv"])
    assert list(store.logs()) == ["b.tsv"]


def test_a_log_that_is_removed_is_not_missed(store: Store) -> None:
    store.remove("raw_sessions", "a.tsv")
    assert list(store.logs()) == ["b.tsv"]


def test_a_home_without_a_manifest_gets_one(store: Store) -> None:
    for path in (store.manifest.path, store.manifest.before):
        path.unlink(missing_ok=True)
    store.mend()
    assert set(store.manifest.read() or {}) == {("raw_sessions", "a.tsv"), ("raw_sessions", "b.tsv")}
