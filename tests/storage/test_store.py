import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.storage import checkpoints
from sessrec_pipeline.storage.checkpoints import Checkpoint
from sessrec_pipeline.storage.files import OWNER, DamagedFileError
from sessrec_pipeline.storage.lake import Table, content_hash
from sessrec_pipeline.storage.lineage import Lineage, Node
from sessrec_pipeline.storage.pages import Page
from sessrec_pipeline.storage.store import NotMaterializedError, Publishable, Store, Stored
from sessrec_pipeline.storage.warehouse import Warehouse, WarehouseBusyError

Make = Callable[..., FeedSettings]


@pytest.fixture
def store(feed: Make) -> Store:
    return Store(feed())


def table(*values: Any, **stats: int) -> Table:
    return Table(pa.table({"item": [str(v) for v in values]}), dict(stats))


QUERIED = ("markov", "leaderboard", "sknn_tuning", "study_training_sessions")


def checkpoint(value: float = 0.5) -> Checkpoint:
    arrays = {"items": np.full((2, 3), value, np.float32)}
    return Checkpoint("gru4rec", arrays, {"layers": [3]}, ["a", "b"], {"device": "cpu"})


def landed(name: str) -> Lineage:
    return Lineage(Node("landing", name, f"sha of {name}", "", {}, "", "", "2026-11-01T00:00:00+00:00"))


def ask(store: Store, sql: str, **values: object) -> list[tuple[Any, ...]]:
    with store.warehouse.connect() as connection:
        return connection.execute(sql, values or None).fetchall()


def files(store: Store) -> list[str]:
    """Everything in the home but the warehouse's own files, the lock, the manifest and the number of the layout."""
    names = (path.relative_to(store.home) for path in store.home.rglob("*") if path.is_file())
    return sorted(
        str(name) for name in names if not name.name.startswith(("warehouse", "store.lock", "layout", "manifest"))
    )


def parts(stored: Stored, folder: str) -> list[str]:
    """The files of an artefact of one version."""
    return [f"{folder}/current", f"{folder}/versions/{stored.path.name}"]


# --- publish and find -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "folder"),
    [(table(1, 2, kept=2), "lake/asset"), (checkpoint(), "checkpoints/asset"), (Page("<html></html>"), None)],
)
def test_what_is_published_is_found(store: Store, value: Publishable, folder: str | None) -> None:
    parent = store.publish("parent", table(0))
    published = store.publish(
        "asset", value, code_version="1-2", config={"k": 5}, run_id="run", parents=[parent.lineage]
    )
    found = store.find("asset")

    assert found == published
    assert found.node.asset == "asset"
    assert (found.node.code_version, found.node.config, found.node.run_id) == ("1-2", {"k": 5}, "run")
    assert found.node.parents == (parent.node.id,)
    assert [n.id for n in found.lineage.ancestors] == [parent.node.id]
    own = ["reports/asset.html"] if folder is None else parts(found, folder)
    assert store.current_path("asset") == found.path == store.home / own[-1]
    assert files(store) == sorted([*own, *parts(parent, "lake/parent")])


def test_a_tables_rows_stats_and_hash(store: Store) -> None:
    stored = store.publish("asset", table("a", "b", kept=2))
    assert stored.arrow().to_pydict() == {"item": ["a", "b"]}
    assert stored.arrow(["item"]).column_names == ["item"]
    assert stored.stats == {"kept": 2}
    assert stored.node.rows == 2
    assert stored.node.data_version == content_hash(stored.path)


def test_lists_keep_their_hash_in_the_file(store: Store) -> None:
    stored = store.publish("asset", Table(pa.table({"top": [["a", "b"], [], None]})))
    assert stored.node.data_version == content_hash(stored.path)


def test_a_checkpoint_comes_back_verified(store: Store) -> None:
    stored = store.publish("model", checkpoint())
    assert stored.checkpoint().items == ["a", "b"]
    assert stored.stats == {"device": "cpu"}
    stored.path.write_bytes(stored.path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(DamagedFileError):
        store.find("model").checkpoint()


def test_origins_are_parents_too(store: Store) -> None:
    stored = store.publish("raw", Table(pa.table({"a": [1]}), origins=(landed("a.tsv"),)), partition="a.tsv")
    assert stored.node.parents == (landed("a.tsv").node.id,)
    assert stored.lineage.ancestors == (landed("a.tsv").node,)


ODD = [
    "a.tsv",
    "a b.csv.gz",
    "../../x",
    "/etc/passwd",
    ".hidden",
    "",
    "a*b",
    "[ab]",
    "x=1",
    "naïve 日本",
    "a\nb",
    "%2F",
]


def test_partitions_with_odd_names_stay_apart_and_at_home(store: Store) -> None:
    for name in ODD:
        store.publish("raw", table(name), partition=name)
    for name in ODD:
        stored = store.find("raw", name)
        assert stored.node.partition == name
        assert stored.arrow()["item"].to_pylist() == [name]
        assert stored.path.parents[2] == store.home / "lake" / "raw" / "partitions"
    assert {stored.node.partition for stored in store.partitions("raw").values()} == set(ODD)
    assert len(files(store)) == 2 * len(ODD)
    assert store.rebuild_catalogue() == len(ODD)
    assert {row[0] for row in ask(store, "SELECT partition_key FROM lineage.node")} == set(ODD)


def test_what_is_not_there_is_said_in_a_sentence(store: Store) -> None:
    with pytest.raises(NotMaterializedError, match=r"^metrics is not there yet; materialize metrics first$"):
        store.find("metrics")
    with pytest.raises(NotMaterializedError, match=r"^raw\[a.tsv\] is not there yet; materialize raw first$"):
        store.find("raw", "a.tsv")


def test_a_file_of_somebody_else_is_not_taken_for_ours(store: Store) -> None:
    other = store.publish("sessions", table(1))
    for write in (lambda path: pq.write_table(pa.table({"a": [1]}), path), lambda path: shutil.copy(other.path, path)):
        path = store.publish("metrics", table(1)).path
        write(path)
        with pytest.raises(DamagedFileError, match="it is not what was published here; `sessrec materialize` makes it"):
            store.find("metrics")
        path.unlink()
        with pytest.raises(NotMaterializedError):
            store.find("metrics")


@pytest.mark.parametrize("make", [lambda: table(1, 2), checkpoint, lambda: Page("<html></html>")])
def test_the_same_content_from_the_same_parents_has_the_same_id(store: Store, make: Callable[[], Publishable]) -> None:
    parents = [store.publish(name, table(name)).lineage for name in ("one", "two")]
    first = store.publish("asset", make(), parents=parents, run_id="monday")
    second = store.publish("asset", make(), parents=parents[::-1], run_id="tuesday")
    assert second.node.id == first.node.id
    assert second.node.data_version == first.node.data_version
    assert ask(store, "SELECT run_id FROM lineage.node WHERE asset = 'asset'") == [("tuesday",)]


def test_another_content_or_parent_has_another_id(store: Store) -> None:
    parent = store.publish("parent", table(0)).lineage
    nodes = [
        store.publish("asset", table(1)).node,
        store.publish("asset", table(2)).node,
        store.publish("asset", table(1), parents=[parent]).node,
        store.publish("asset", table(1), config={"k": 1}).node,
        store.publish("asset", table(1), code_version="2").node,
    ]
    assert len({n.id for n in nodes}) == 5
    assert len({n.data_version for n in nodes}) == 2


def test_tables_for_people_are_loaded_into_the_warehouse(store: Store) -> None:
    events = ("sessions", "raw_sessions", "recent_sessions", "quarantine", "tuning_test_split", "markov_rankings")
    for asset in (*QUERIED, *events):
        store.publish(asset, table("old", "old"))
        store.publish(asset, table(asset))
    for asset in QUERIED:
        assert ask(store, f"SELECT item FROM {asset}") == [(asset,)]
    names = ask(store, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main' ORDER BY 1")
    assert [name for (name,) in names] == sorted([*QUERIED, "history"])


# --- faults -----------------------------------------------------------------------------------------------------------


def test_a_folder_that_was_published_from_is_left_alone(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "precious"
    folder.mkdir()
    pq.write_table(pa.table({"item": ["1"]}), folder / "part-0.parquet")
    store.publish("asset", Table(folder))
    assert list(folder.iterdir()) == [folder / "part-0.parquet"]


def no_space(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pyarrow tries to close once more
@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        (table(1), table(2), (pq.ParquetWriter, "write_table")),
        (table(1), table(2), (pq.ParquetWriter, "close")),
        (checkpoint(1), checkpoint(2), (checkpoints, "save_file")),
        (Page("1"), Page("2"), (Path, "write_bytes")),
        (table(1), table(2), (os, "fsync")),
    ],
)
def test_a_full_disk_leaves_the_old_version(
    store: Store, monkeypatch: pytest.MonkeyPatch, old: Publishable, new: Publishable, place: tuple[object, str]
) -> None:
    before = store.publish("asset", old)
    content, names = before.path.read_bytes(), files(store)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(*place, no_space)
        store.publish("asset", new)
    assert before.path.read_bytes() == content
    assert files(store) == names
    assert store.find("asset") == before
    assert store.publish("asset", new).node.data_version != before.node.data_version


@pytest.mark.parametrize("asset", ["sessions", "metrics"])
def test_a_crash_between_file_and_catalogue_is_mended_by_running_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, asset: str
) -> None:
    def crash(*_: object) -> None:
        raise SystemExit("killed")

    old, value = store.publish(asset, table("old")), table("7")
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Warehouse, "connect", crash)
        store.publish(asset, value)
    stray = store.find(asset)
    assert stray.arrow()["item"].to_pylist() == ["7"], "the file is whole, only the catalogue is behind"
    assert ask(store, "SELECT COUNT(*) FROM lineage.node WHERE id = $id", id=stray.node.id) == [(0,)]

    again = store.publish(asset, value)
    assert again.node.id == stray.node.id
    kept = [old.path.name, again.path.name]
    assert ask(store, "SELECT COUNT(*) FROM lineage.node WHERE id = $id", id=stray.node.id) == [(1,)]
    if asset == "metrics":
        assert ask(store, "SELECT item FROM metrics") == [("7",)]
    assert files(store) == sorted(f"lake/{asset}/{name}" for name in ("current", *(f"versions/{n}" for n in kept)))


# --- the catalogue is made of the files -------------------------------------------------------------------------------


def graph(store: Store) -> dict[str, Stored]:
    """Two logs, everything made from them, then a third log and new sessions that the metrics do not know yet."""

    def raw(name: str) -> Lineage:
        return store.publish("raw", Table(pa.table({"a": [name]}), origins=(landed(name),)), partition=name).lineage

    def made(asset: str, *parents: Stored, value: Publishable | None = None) -> Stored:
        return store.publish(asset, value or table(asset, rows_in=3), parents=[p.lineage for p in parents])

    logs = [raw("1.tsv"), raw("2.tsv")]
    sessions = store.publish("sessions", table(1, 2), parents=logs)
    train = made("train", sessions)
    popularity = made("popularity", train)
    markov = made("markov", train)
    model = made("model", train, popularity, value=checkpoint())
    metrics = made("metrics", popularity, markov, model)
    board = made("leaderboard", metrics)
    report = made("report", board, value=Page("<html></html>"))
    new = store.publish("sessions", table(1, 2, 3), parents=[*logs, raw("3.tsv")])
    new_train = made("train", new, value=table("new"))
    return {"metrics": metrics, "report": report, "old": sessions, "new": new, "train": new_train}


def origins(store: Store, stored: Stored) -> list[tuple[Any, ...]]:
    sql = "SELECT ancestor, asset, partition_key, data_version, code_version, config FROM lineage.origin"
    return ask(store, f"{sql} WHERE id = $id ORDER BY ALL", id=stored.node.id)


def picture(store: Store, made: dict[str, Stored]) -> list[object]:
    return [
        *(origins(store, stored) for stored in made.values()),
        *(ask(store, f"FROM {name}") for name in ("popularity", "markov", "metrics", "leaderboard")),
        ask(store, "SELECT DISTINCT asset, partition_key FROM lineage.node ORDER BY ALL"),
    ]


def test_the_catalogue_can_be_rebuilt_from_the_files(store: Store) -> None:
    made = graph(store)
    before = picture(store, made)
    logs = [[row[2] for row in origins(store, made[name]) if row[1] == "landing"] for name in ("metrics", "new")]
    assert [sorted(names) for names in logs] == [["1.tsv", "2.tsv"], ["1.tsv", "2.tsv", "3.tsv"]]

    store.warehouse.path.unlink()
    assert store.rebuild_catalogue() == 11

    assert picture(store, made) == before
    # The counts of what still has a file are back as well.
    stats = ask(store, "SELECT stats FROM lineage.node WHERE id = $id", id=made["metrics"].node.id)
    assert stats == [('{"rows_in": 3}',)]
    assert not list(store.home.rglob(".tmp-*"))


@pytest.mark.parametrize("content", [b"", b"not a database" * 1000, None])
def test_a_spoilt_warehouse_does_not_stop_the_rebuilding(store: Store, content: bytes | None) -> None:
    made = graph(store)
    before = picture(store, made)
    if content is None:  # a process that dies with a commit that is only in DuckDB's log file
        code = (
            "import duckdb, os, sys; c = duckdb.connect(sys.argv[1]); c.execute('CREATE TABLE x (a INT)'); os._exit(0)"
        )
        subprocess.run([sys.executable, "-c", code, str(store.warehouse.path)], check=True)
        assert store.warehouse.path.with_name("warehouse.duckdb.wal").exists()
    else:
        store.warehouse.path.write_bytes(content)
    store.rebuild_catalogue()
    assert picture(store, made) == before


def test_rebuilding_that_fails_leaves_the_old_warehouse(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = graph(store)
    before = picture(store, made)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr("sessrec_pipeline.storage.store.enter", no_space)
        store.rebuild_catalogue()
    assert picture(store, made) == before


def test_rebuilding_waits_for_who_is_publishing(store: Store) -> None:
    """Else what is entered meanwhile would go to the file that is about to be replaced."""
    graph(store)
    store.warehouse = Warehouse(store.warehouse.path, lock_seconds=0.2)
    with store.warehouse.connect(), pytest.raises(WarehouseBusyError):
        store.rebuild_catalogue()


def test_rebuilding_an_empty_home(store: Store) -> None:
    assert store.rebuild_catalogue() == 0
    assert ask(store, "SELECT COUNT(*) FROM lineage.origin") == [(0,)]


def test_files_of_others_are_not_entered(store: Store) -> None:
    store.publish("metrics", table(1))
    shutil.copy(store.find("metrics").path, store.settings.lake / ".hidden.parquet")
    pq.write_table(pa.table({"a": [1]}), store.settings.lake / "metrics" / "versions" / "foreign.parquet")
    (store.settings.lake / "notes.txt").write_text("x")
    assert store.rebuild_catalogue() == 1


# --- after a process died ---------------------------------------------------------------------------------------------


def mended(store: Store) -> list[str]:
    lines: list[str] = []
    store.mend(lines.append)
    return lines


def test_what_was_published_and_not_entered_is_entered(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the catalogue knows that version from earlier, and the table holds the rows of a later one."""
    store.publish("metrics", table("old"))
    store.publish("metrics", table("new"))
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Warehouse, "connect", lambda *_: sys.exit("killed"))
        store.publish("metrics", table("old"))
    assert ask(store, "SELECT item FROM metrics") == [("new",)]
    (line,) = mended(store)
    assert "entered 1 artefacts" in line
    assert ask(store, "SELECT item FROM metrics") == [("old",)]
    assert mended(store) == []


@pytest.mark.parametrize("content", [b"", b"not a database" * 1000])
def test_a_spoilt_warehouse_is_set_aside_and_made_anew(store: Store, content: bytes) -> None:
    made = graph(store)
    before = picture(store, made)
    store.warehouse.path.write_bytes(content)
    lines = mended(store)
    assert picture(store, made) == before
    if content:  # DuckDB takes an empty file for a new database
        assert "damaged" in lines[0]
        assert store.warehouse.path.with_name("warehouse.duckdb.damaged").read_bytes() == content
    assert mended(store) == []


def test_a_deleted_warehouse_is_made_anew_by_the_next_who_publishes(store: Store) -> None:
    made = graph(store)
    before = picture(store, made)
    store.warehouse.path.unlink()
    store.publish("leaderboard", table("leaderboard", rows_in=3), parents=[made["metrics"].lineage])
    assert picture(store, made) == before


def test_unfinished_files_are_removed_and_counted(store: Store) -> None:
    left = store.home / "lake" / f".tmp-{'0' * 32}"
    left.mkdir(parents=True)
    (left / OWNER).touch()  # which nobody holds
    (left / ".new.parquet").write_bytes(b"half")
    assert mended(store) == ["removed 1 unfinished files of processes that died"]
    assert files(store) == []
