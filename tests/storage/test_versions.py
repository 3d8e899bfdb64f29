"""What is kept of an artefact that is published again, what is current, and what a crash leaves of both."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from dying import publish_and_die

from sessrec_pipeline.settings import SessionSettings, Settings, StorageSettings
from sessrec_pipeline.storage.checkpoints import Checkpoint
from sessrec_pipeline.storage.files import DamagedFileError
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.layout import LAYOUT, LayoutError
from sessrec_pipeline.storage.pages import Page
from sessrec_pipeline.storage.retention import prunable
from sessrec_pipeline.storage.store import NotMaterializedError, Publishable, Store, Stored, UnknownVersionError

Make = Callable[..., Settings]


@pytest.fixture
def store(feed: Make) -> Store:
    return Store(feed())


def rows(*values: int) -> Table:
    return Table(pa.table({"n": values}))


def model(value: float) -> Checkpoint:
    return Checkpoint("gru4rec", {"items": np.full((2, 3), value, np.float32)}, {"layers": [3]}, ["a", "b"])


def kept(store: Store, asset: str, partition: str | None = None) -> set[str]:
    """Content hashes of the files that are there."""
    return {version.stored.node.data_version for version in store.versions(asset, partition)}


def hashes(*stored: Stored) -> set[str]:
    return {artefact.node.data_version for artefact in stored}


def in_warehouse(store: Store, sql: str) -> list[tuple[Any, ...]]:
    with store.warehouse.connect() as connection:
        return connection.execute(sql).fetchall()


# --- publishing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "new"), [(rows(1), rows(2)), (model(1), model(2))])
@pytest.mark.parametrize("partition", [None, "versions", "current", "a.tsv"])
def test_a_held_version_stays_as_it_was(
    store: Store, old: Publishable, new: Publishable, partition: str | None
) -> None:
    held = store.publish("asset", old, partition=partition)
    content = held.path.read_bytes()
    newer = store.publish("asset", new, partition=partition)
    assert store.find("asset", partition) == newer != held
    assert held.path.read_bytes() == content
    listed = store.versions("asset", partition)
    assert [(v.stored, v.current) for v in listed] == [(newer, True), (held, False)]


def test_the_same_rows_from_another_origin_are_current_with_that_origin(store: Store) -> None:
    held = store.publish("asset", rows(1), code_version="1")
    parent = store.publish("parent", rows(0))
    again = store.publish("asset", rows(1), code_version="2", parents=[parent.lineage])
    assert again.path == held.path and again.node.id != held.node.id
    assert store.find("asset").lineage == again.lineage
    assert store.is_current(again.node) and not store.is_current(held.node)
    assert held.arrow() == again.arrow()
    assert len(store.versions("asset")) == 1


def test_a_version_that_comes_back_is_current_again(store: Store) -> None:
    first, second = store.publish("metrics", rows(1)), store.publish("metrics", rows(2))
    assert store.publish("metrics", rows(1)).path == first.path
    assert [(v.stored.path, v.current) for v in store.versions()] == [(first.path, True), (second.path, False)]
    assert in_warehouse(store, "FROM metrics") == [(1,)]


def test_pages_stay_where_people_look_for_them(store: Store) -> None:
    for text in ("one", "two"):
        assert store.publish("report", Page(text)).path == store.settings.reports / "report.html"
    assert store.versions() == []
    assert "two" in (store.settings.reports / "report.html").read_text()


def test_a_damaged_pointer_is_told_and_written_again(store: Store) -> None:
    stored = store.publish("asset", rows(1))
    pointer = stored.path.parents[1] / "current"
    pointer.write_text("../../elsewhere")
    with pytest.raises(DamagedFileError, match="names no version; `sessrec restore` writes it again"):
        store.find("asset")
    told: list[str] = []
    assert [v.current for v in store.versions(report=told.append)] == [False] and len(told) == 1
    store.restore("asset", stored.node.data_version)
    assert store.find("asset") == stored
    pointer.write_text("")
    store.publish("asset", rows(2))
    assert store.find("asset").arrow()["n"].to_pylist() == [2]


def test_a_lost_pointer_costs_no_version(store: Store) -> None:
    stored = store.publish("asset", rows(1))
    (stored.path.parents[1] / "current").unlink()
    with pytest.raises(NotMaterializedError):
        store.find("asset")
    store.mend()
    assert store.restore("asset", stored.node.data_version) == store.find("asset") == stored


# --- dying at any moment ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asset", "old", "new"),
    [("metrics", None, rows(2)), ("metrics", rows(1), rows(2)), ("model", model(1), model(2))],
    ids=["new home", "table", "model"],
)
def test_a_kill_leaves_the_old_current_version_or_the_new_one(
    feed: Make, asset: str, old: Publishable | None, new: Publishable
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sessrec_pipeline.storage.store"])
    # The renames of a publish: the number of the layout in a new home, then the version, then the pointer.
    renames = 2 if old else 3
    for moment, before in [(n, before) for n in range(1, renames + 1) for before in (True, False)]:
        settings = feed(f"{moment}-{before}")
        store = Store(settings)
        current = store.publish(asset, old) if old else None
        process = context.Process(target=publish_and_die, args=(settings, asset, new, moment, before))
        process.start()
        process.join()
        assert process.exitcode == 9
        found = found_now(store, asset)
        assert (found == current) is not (moment == renames and not before)
        if found is not None:
            found.verified()

        store.mend()
        assert not list(settings.home.rglob(".tmp-*"))
        assert found_now(store, asset) == found, "a version that was not made current stays so"
        published = moment > renames - 1 or (moment == renames - 1 and not before)
        assert (len(kept(store, asset)) == 1 + bool(old)) is published, "whether it was complete"
        again = store.publish(asset, new)
        assert store.find(asset) == again
        assert kept(store, asset) == hashes(again, *filter(None, [current]))
        if asset == "metrics":
            assert in_warehouse(store, "FROM metrics") == [(2,)]


def found_now(store: Store, asset: str) -> Stored | None:
    return store.find(asset) if store.has(asset) else None


def test_a_kill_between_the_pointer_and_the_catalogue_of_a_restore_is_mended(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store.publish("metrics", rows(1))
    store.publish("metrics", rows(2))
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Store, "_entered", lambda *_: (_ for _ in ()).throw(SystemExit))
        store.restore("metrics", first.node.data_version)
    assert store.find("metrics") == first and in_warehouse(store, "FROM metrics") == [(2,)]
    store.mend()
    assert in_warehouse(store, "FROM metrics") == [(1,)]


# --- how many are kept ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("partition", [None, "a.tsv"])
@pytest.mark.parametrize("keep", [1, 3])
def test_older_versions_go(feed: Make, keep: int, partition: str | None) -> None:
    store = Store(feed(storage=StorageSettings(keep_versions=keep)))
    other = store.publish("asset", rows(0), partition="another")
    made = [store.publish("asset", rows(n), partition=partition) for n in range(1, 6)]
    assert kept(store, "asset", partition) == hashes(*made[-keep:], *([other] if partition is None else []))
    assert store.find("asset", partition) == made[-1]
    assert store.find("asset", "another") == other


def test_what_is_pinned_or_needed_or_current_stays(feed: Make) -> None:
    store = Store(feed(storage=StorageSettings(keep_versions=1)))
    pinned = store.publish("table", rows(1))
    store.pin("table", pinned.node.data_version[:6])
    read = store.publish("table", rows(2))
    store.publish("result", rows(0), parents=[read.lineage])
    store.publish("table", rows(3))
    last = store.publish("table", rows(4))
    assert store.pinned() == {("table", None, pinned.node.data_version)}
    assert {v.stored.node.data_version for v in store.versions("table") if v.pinned} == hashes(pinned)
    assert kept(store, "table") == hashes(pinned, read, last)

    store.unpin("table", pinned.node.data_version)
    store.publish("result", rows(0), parents=[last.lineage])
    newest = store.publish("table", rows(5))
    assert store.pinned() == set()
    assert kept(store, "table") == hashes(last, newest)


def test_what_was_restored_counts_as_the_newest(feed: Make) -> None:
    store = Store(feed(storage=StorageSettings(keep_versions=2)))
    good = store.publish("asset", rows(1))
    store.publish("asset", rows(2))
    store.restore("asset", good.node.data_version)
    newest = store.publish("asset", rows(3))
    assert kept(store, "asset") == hashes(good, newest)


def test_a_reader_between_pointer_and_file_gets_the_newer_version(feed: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version that the pointer named goes before it is opened."""
    from sessrec_pipeline.storage.versions import VersionFolder

    store = Store(feed(storage=StorageSettings(keep_versions=1)))
    store.publish("asset", rows(1))
    path = VersionFolder.path

    def late(self: VersionFolder, version: str) -> Path:
        monkeypatch.setattr(VersionFolder, "path", path)
        store.publish("asset", rows(2))
        return path(self, version)

    monkeypatch.setattr(VersionFolder, "path", late)
    assert store.find("asset").arrow()["n"].to_pylist() == [2]


def test_removing_a_partition_takes_all_its_versions_but_pinned_ones(store: Store) -> None:
    first = {key: store.publish("raw", rows(1), partition=key) for key in ("a", "b", "c")}
    for key in first:
        store.publish("raw", rows(2), partition=key)
    store.pin("raw", first["b"].node.data_version, "b")
    store.keep_partitions("raw", ["c"])
    assert set(store.partitions("raw")) == {"b", "c"}
    assert kept(store, "raw", "a") == set() and len(kept(store, "raw", "b")) == 2
    assert in_warehouse(store, "SELECT partition_key FROM lineage.current ORDER BY 1") == [("b",), ("c",)]
    assert not list(store.home.rglob(".tmp-*"))


def test_a_pinned_log_is_not_pruned(feed: Make) -> None:
    store = Store(feed(sessions=SessionSettings(window_days=1)))
    day = 86_400_000_000
    for number, log in enumerate(("old", "pinned", "new")):
        time = day * (1 if log != "new" else 9)
        stored = store.publish("raw_sessions", Table(pa.table({"n": [number]}), {"last_time": time}), partition=log)
        if log == "pinned":
            store.pin("raw_sessions", stored.node.data_version, log)
    assert [log for log, _ in prunable(store.settings, store)] == ["old"]


# --- restoring --------------------------------------------------------------------------------------------------------


def test_restoring_brings_back_rows_catalogue_and_table(store: Store) -> None:
    first, second = store.publish("metrics", rows(1)), store.publish("metrics", rows(2))
    assert store.restore("metrics", first.node.data_version[:5]) == first == store.find("metrics")
    assert in_warehouse(store, "FROM metrics") == [(1,)]
    assert in_warehouse(store, "SELECT id FROM lineage.current") == [(first.node.id,)]
    assert kept(store, "metrics") == hashes(first, second)

    before = store.publish("model", model(1))
    store.publish("model", model(2))
    assert store.restore("model", before.node.data_version).checkpoint().arrays["items"][0, 0] == 1


def test_a_version_that_is_not_there_is_told_with_those_that_are(store: Store) -> None:
    made = [store.publish("metrics", rows(n)) for n in range(2)]
    store.publish("raw", rows(1), partition="a.tsv")
    store.publish("report", Page("x"))
    names = ", ".join(stored.node.data_version[:12] for stored in reversed(made))
    with pytest.raises(UnknownVersionError, match=f"^no version of metrics begins with 'zz'; there are {names}$"):
        store.restore("metrics", "zz")
    with pytest.raises(UnknownVersionError, match=r"^more than one version of metrics begins with ''; there are"):
        store.restore("metrics", "")
    with pytest.raises(UnknownVersionError, match=r"^there is no version of nothing: `sessrec versions` lists"):
        store.restore("nothing", "0")
    with pytest.raises(UnknownVersionError, match=r"^raw has partitions"):
        store.restore("raw", "0")
    with pytest.raises(UnknownVersionError, match=r"^report is a page, of which one version is kept"):
        store.restore("report", "0")


@pytest.mark.parametrize(("old", "new"), [(rows(*range(5000)), rows(2)), (model(1), model(2))])
def test_a_damaged_version_is_not_restored(store: Store, old: Publishable, new: Publishable) -> None:
    damaged, current = store.publish("asset", old), store.publish("asset", new)
    content = bytearray(damaged.path.read_bytes())
    content[len(content) // 3 if isinstance(old, Table) else -1] ^= 1
    damaged.path.write_bytes(content)
    with pytest.raises(DamagedFileError):
        store.restore("asset", damaged.node.data_version)
    assert store.find("asset") == current


def test_the_catalogue_that_is_made_anew_knows_older_versions(store: Store) -> None:
    log = store.publish("raw", rows(0), partition="a.tsv")
    first = store.publish("metrics", rows(1), parents=[log.lineage])
    second = store.publish("metrics", rows(2))
    store.warehouse.path.unlink()
    assert store.rebuild_catalogue() == 2
    nodes = {node for (node,) in in_warehouse(store, "SELECT id FROM lineage.node")}
    assert nodes == {log.node.id, first.node.id, second.node.id}
    assert in_warehouse(store, "SELECT id FROM lineage.current WHERE asset = 'metrics'") == [(second.node.id,)]
    assert in_warehouse(store, "FROM metrics") == [(2,)]
    assert store.live() == set(), "the current version of metrics was made from nothing"


# --- the layout -------------------------------------------------------------------------------------------------------


def test_an_empty_home_gets_the_number_of_the_layout(store: Store) -> None:
    assert not (store.home / "layout").exists()
    store.publish("asset", rows(1))
    assert (store.home / "layout").read_text() == f"{LAYOUT}\n"
    Store(store.settings).find("asset")


@pytest.mark.parametrize("number", [None, "3"])
def test_a_home_of_another_layout_is_refused(store: Store, number: str | None) -> None:
    store.publish("asset", rows(1))
    layout = store.home / "layout"
    layout.unlink() if number is None else layout.write_text(number)
    for manifest in (store.manifest.path, store.manifest.before):
        manifest.write_text('{"sha256": "", "of": "another version"}')
    with pytest.raises(LayoutError, match="home migrate" if number is None else "update sessrec"):
        Store(store.settings)


@pytest.mark.parametrize("text", [None, "", "6", ":", "\x12", "\xb2"])
def test_a_spoilt_number_of_the_layout_is_written_again(store: Store, text: str | None) -> None:
    store.publish("asset", rows(1))
    layout = store.home / "layout"
    layout.unlink() if text is None else layout.write_text(text)
    Store(store.settings).mend()
    assert layout.read_text() == f"{LAYOUT}\n"
