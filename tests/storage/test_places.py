"""An artefact says what it is, and is compared with where it lies, wherever it is used."""

import shutil
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.storage.checkpoints import Checkpoint, UnfitModelError, write_checkpoint
from sessrec_pipeline.storage.files import DamagedFileError, OtherVersionError
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.pages import Page
from sessrec_pipeline.storage.store import NotMaterializedError, Store, Stored, _lineage_of
from sessrec_pipeline.storage.verification import problems

ITEMS = ["b", "a", "c"]


@pytest.fixture
def store(feed: Callable[..., FeedSettings]) -> Store:
    return Store(feed())


def told(store: Store) -> str:
    return "\n".join(problems(store, lambda done, total: None))


def model(**changes: object) -> Checkpoint:
    weights = np.arange(6, dtype=np.float32).reshape(3, 2)
    return replace(Checkpoint("markov", {"weights": weights}, {"alpha": 0.5}, ITEMS), **changes)  # type: ignore[arg-type]


def fitted(store: Store, **changes: object) -> Stored:
    items = Table(pa.table({"item": ITEMS, "events": [3, 2, 1]}))
    return store.publish("markov_checkpoint", model(**changes), parents=[store.publish("popularity", items).lineage])


def forged(store: Store, stored: Stored, checkpoint: Checkpoint) -> Stored:
    """Put another model in the place of a published one, with hashes, name and pointer that fit it."""
    node = replace(stored.node, data_version=checkpoint.content_hash())
    folder = store.folder(node.asset, None, ".safetensors")
    write_checkpoint(folder.path(node.data_version), checkpoint, replace(stored.lineage, node=node))
    folder.make_current(node.data_version)
    return Stored(folder.path(node.data_version), replace(stored.lineage, node=node))


# --- models ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"items": ITEMS[::-1]}, "its 3 items are in another order than in the tables that it says"),
        ({"items": ["b", "a", "d"]}, "its 3 items are not those of the tables that it says"),
        (
            {"arrays": {"weights": np.array([1, np.nan, np.inf], np.float32)}},
            "2 of the 3 numbers in weights are NaN or",
        ),
    ],
)
def test_a_model_of_other_data_or_without_numbers_is_neither_published_nor_used(
    store: Store, change: dict[str, object], seen: str
) -> None:
    before = fitted(store)
    with pytest.raises(UnfitModelError, match=f"markov_checkpoint: {seen}.*what was published before stays"):
        fitted(store, **change)
    assert store.find("markov_checkpoint") == before and store.find("markov_checkpoint").checkpoint().items == ITEMS
    spoilt = forged(store, before, model(**change))
    for read in (
        lambda: store.find("markov_checkpoint").checkpoint(),
        lambda: store.find("markov_checkpoint").verified(),
    ):
        with pytest.raises(DamagedFileError, match=seen):
            read()
    assert seen in told(store)
    lines: list[str] = []
    store.mend(lines.append)
    assert not spoilt.path.exists() and seen in lines[0] and "set aside as" in lines[0]


def test_a_model_whose_catalogue_is_gone_is_used_as_it_is(store: Store) -> None:
    before = fitted(store)
    store.find("popularity").path.unlink()
    assert store.find("markov_checkpoint").checkpoint().content_hash() == before.node.data_version


# --- tables ----------------------------------------------------------------------------------------------------------


def test_a_partition_under_another_name_is_damage(store: Store) -> None:
    one, other = (
        store.publish("raw_sessions", Table(pa.table({"item": [n]})), partition=n) for n in ("a.tsv", "b.tsv")
    )
    shutil.copy(one.path, other.path)
    for read in (lambda: store.find("raw_sessions", "b.tsv"), lambda: store.logs(), lambda: store.restore(
        "raw_sessions", other.node.data_version, "b.tsv"
    )):  # fmt: skip
        with pytest.raises(
            DamagedFileError, match=r"it says that it is raw_sessions\[a.tsv\] .* not what was published"
        ):
            read()
    assert "it says that it is raw_sessions[a.tsv]" in told(store)
    shutil.copytree(one.path.parents[1], one.path.parents[2] / "c.tsv")
    with pytest.raises(DamagedFileError, match="not what was published here"):
        store.logs()


def test_what_is_no_row_is_sealed_too(store: Store) -> None:
    """By a smallest value of a column that is wrong, an engine leaves out rows that are right."""
    stored = store.publish("sessions", Table(pa.table({"item": ["m", "n", "o"], "time": [70_001, 70_002, 70_003]})))
    statistics = pq.read_metadata(stored.path).row_group(0).column(1).statistics
    clean, low = stored.path.read_bytes(), (70_001).to_bytes(8, "little")
    assert statistics.min == 70_001 and low in clean
    place = clean.rindex(low)
    stored.path.write_bytes(clean[:place] + (70_003).to_bytes(8, "little") + clean[place + 8 :])
    assert pq.read_metadata(stored.path).row_group(0).column(1).statistics.min == 70_003
    assert pq.ParquetFile(stored.path).read()["time"].to_pylist() == [70_001, 70_002, 70_003]
    with pytest.raises(DamagedFileError, match="differ"):
        store.find("sessions").verified()


# --- pages -----------------------------------------------------------------------------------------------------------


def test_another_page_in_the_place_of_one_is_damage_and_a_copy_is_a_person_s_own(store: Store) -> None:
    report, other = store.publish("report", Page("<p>a</p>")), store.publish("studies", Page("<p>b</p>"))
    shutil.copy(report.path, store.settings.reports / "report-may.html")
    assert not told(store) and len(store.current(pytest.fail)) == 2
    shutil.copy(other.path, report.path)
    with pytest.raises(DamagedFileError, match="it says that it is studies"):
        store.find("report")
    assert "it says that it is studies" in told(store)
    lines: list[str] = []
    store.mend(lines.append)
    assert "set aside" in lines[0] and not store.has("report") and store.has("studies")


# --- history ---------------------------------------------------------------------------------------------------------


def evaluated(store: Store, greater: int) -> Stored:
    ranked = {"session": ["s"], "position": [1], "target": ["i"], "greater": [greater], "equal": [1]}
    rankings = store.publish("markov_rankings", Table(pa.table({**ranked, "top_items": [["i", "j"]]})))
    row = {"model": ["markov"], "metric": ["recall"], "k": [5], "tie_rule": ["median"], "value": [1 / (greater + 1)]}
    rest = {"low": [0.0], "high": [1.0], "predictions": [1], "sessions": [1], "rankings": [rankings.node.id]}
    metrics = store.publish("metrics", Table(pa.table(row | rest)), parents=[rankings.lineage])
    store.remember(metrics)
    return metrics


def test_a_table_under_the_name_of_another_run_is_damage_and_kept_again_from_the_lake(store: Store) -> None:
    metrics = evaluated(store, 0)
    [kept] = store.history.evaluations()
    [ranks] = store.history.folder.glob("ranks/*/*.parquet")
    expected = kept.read_bytes(), pq.ParquetFile(ranks).read()
    for path in (kept, ranks):
        shutil.copy(store.publish("popularity", Table(pa.table({"item": ITEMS}))).path, path)
        with pytest.raises(DamagedFileError, match="it is not what was kept here"):
            store.history.read_lineage(path)
    with pytest.raises(DamagedFileError):
        list(store.history.lineages("markov_rankings"))
    assert told(store).count("it is not what was kept here") == 2
    lines: list[str] = []
    store.mend(lines.append)
    assert sum("set aside as" in line for line in lines) == 2
    assert (kept.read_bytes(), pq.ParquetFile(ranks).read()) == expected and not told(store)
    assert store.history.read_lineage(kept) == metrics.lineage


# --- pointers, manifest ----------------------------------------------------------------------------------------------


def test_a_pointer_to_a_version_that_is_not_there_names_again_what_was_published_last(store: Store) -> None:
    store.publish("metrics", Table(pa.table({"n": [1]})))
    second = store.publish("metrics", Table(pa.table({"n": [2]})))
    pointer = store.folder("metrics", None, ".parquet").pointer
    for text in ("0" * 64, "nothing"):
        pointer.write_text(text)
        with pytest.raises(DamagedFileError, match="it names"):
            store.find("metrics")
        lines: list[str] = []
        store.mend(lines.append)
        assert "names the newest version again" in lines[0] and store.find("metrics") == second and not told(store)


def test_a_damaged_manifest_is_told_of_and_written_again_and_the_good_one_before_it_stays(store: Store) -> None:
    store.publish("metrics", Table(pa.table({"n": [1]})))
    store.publish("metrics", Table(pa.table({"n": [2]})))
    expected, manifest = store.manifest.read(), store.manifest
    before = manifest.before.read_bytes()
    manifest.path.write_bytes(manifest.path.read_bytes().replace(b"metrics", b"netrics"))
    assert "manifest.json is damaged: its text differs from its own hash" in told(store)
    lines: list[str] = []
    store.mend(lines.append)
    assert "manifest.json was damaged" in lines[0]
    assert manifest.read() == expected and manifest.damage() is None and manifest.before.read_bytes() == before


# --- other versions --------------------------------------------------------------------------------------------------


def test_what_a_newer_sessrec_wrote_is_refused_and_stays_where_it_is(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        newer.setattr("sessrec_pipeline.storage.lineage.FORMAT", 99)
        paths = [store.publish("report", Page("<p>a</p>")).path]
        paths.append(store.publish("sessions", Table(pa.table({"item": ITEMS}))).path)
        paths.append(fitted(store).path)
    _lineage_of.cache_clear()
    for read in (lambda: store.find("sessions"), lambda: store.find("report"), store.mend, lambda: told(store)):
        with pytest.raises(OtherVersionError, match=r"its lineage has format 99, of a newer sessrec_pipeline"):
            read()
    with pytest.raises(NotMaterializedError):
        store.find("metrics")
    assert all(path.exists() for path in paths)
