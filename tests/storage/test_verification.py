"""A home is verified byte by byte, and stays as it is."""

import random
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.storage import lake
from sessrec_pipeline.storage.checkpoints import Checkpoint
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.pages import Page
from sessrec_pipeline.storage.store import Store
from sessrec_pipeline.storage.verification import damaged_files, problems


@pytest.fixture
def store(feed: Callable[..., FeedSettings]) -> Store:
    store = Store(feed())
    for item in ("a", "b"):
        store.publish("raw_sessions", Table(pa.table({"item": [item]})), partition="x.tsv")
    store.publish("gru4rec", Checkpoint("gru4rec", {"items": np.ones((2, 3), np.float32)}, {}, ["a", "b"], {}))
    row = {"model": "a", "metric": "recall", "k": 20, "tie_rule": "standard", "value": 0.5, "low": 0.4, "high": 0.6}
    row |= {"predictions": 9, "sessions": 3, "rankings": "r"}
    store.publish("metrics", Table(pa.Table.from_pylist([row])))
    store.remember(store.find("metrics"))
    store.publish("report", Page("<html></html>"))
    return store


def found(store: Store) -> list[str]:
    return list(problems(Store(store.settings), lambda done, total: None))


def test_a_sound_home_has_no_problem(store: Store) -> None:
    assert found(store) == []
    steps: list[tuple[int, int]] = []
    assert not list(damaged_files(store, lambda done, total: steps.append((done, total))))
    assert steps[-1][0] == steps[-1][1] > 0


def test_a_file_that_was_cut_off_is_noticed_and_set_aside(store: Store) -> None:
    files = [path for path in store.home.rglob("*") if path.suffix in (".parquet", ".safetensors", ".html")]
    assert len(files) == 6, "also of the version that is not current, and of the history"
    for path in files:
        text = path.read_bytes()
        path.write_bytes(text[: len(text) // 2])
        assert [problem for problem in found(store) if str(path) in problem], path
        store.set_aside(next(damaged_files(store, lambda done, total: None)))
        assert not path.exists() and (store.home / "damaged" / path.relative_to(store.home)).exists()
        path.write_bytes(text)
        assert found(store) == []


def test_no_flipped_bit_changes_rows_or_origin_unnoticed(store: Store) -> None:
    """Some bits of Parquet say nothing, such as those of how a page was packed."""
    path, rng = store.find("metrics").path, random.Random(3)
    text, lineage, rows = path.read_bytes(), lake.read_lineage(path), pq.read_table(path)
    noticed = 0
    for _ in range(150):
        place = rng.randrange(len(text))
        path.write_bytes(text[:place] + bytes([text[place] ^ 1 << rng.randrange(8)]) + text[place + 1 :])
        if any(str(path) in problem for problem in found(store)):
            noticed += 1
        else:
            assert (lake.read_lineage(path), pq.ParquetFile(path).read()) == (lineage, rows), place
    assert noticed > 75


def test_what_is_gone_or_not_entered_is_noticed(store: Store) -> None:
    store.find("metrics").path.unlink()
    assert found(store) == [
        "metrics was published and is gone",
        f"{store.warehouse.path} knows another version of metrics than the lake has",
    ]
    store.warehouse.path.unlink()
    assert "is not there; the next command makes it anew" in found(store)[-1]
    store.warehouse.path.write_bytes(b"x" * 100)
    assert "is damaged" in found(store)[-1]
    store.warehouse.path.unlink()
    Store(store.settings).mend()
    for path in (store.manifest.path, store.manifest.before):
        path.unlink()
    assert "nobody knows whether something is gone" in found(store)[0]
