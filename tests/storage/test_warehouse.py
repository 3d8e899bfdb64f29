import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from holding import holding

from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.lineage import Lineage, Node
from sessrec_pipeline.storage.store import Store
from sessrec_pipeline.storage.warehouse import DamagedWarehouseError, Warehouse, WarehouseBusyError, enter, load

NODE = Node("asset", None, "0", "1", {}, "python", "run", "2026-11-01T00:00:00+00:00")

PUBLISHER = """
import sys
from pathlib import Path
import pyarrow as pa
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.store import Store

store, number = Store(FeedSettings(home=Path(sys.argv[1]))), int(sys.argv[2])
sys.stdin.readline()  # all start together
raw = store.publish("raw", Table(pa.table({"n": [number]})), partition=str(number))
store.publish("metrics", Table(pa.table({"n": [number] * 1000})), parents=[raw.lineage])
"""
HOLDER = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.readline()
"""
READER = HOLDER.replace("sys.argv[1])", "sys.argv[1], read_only=True)")
LOCKER = """
import sys
from pathlib import Path
from sessrec_pipeline.storage.warehouse import Warehouse
with Warehouse(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.readline()
"""
ENTERER = """
import sys
from pathlib import Path
from sessrec_pipeline.storage.lineage import Lineage, Node
from sessrec_pipeline.storage.warehouse import Warehouse, enter
number = int(sys.argv[2])
while True:
    for _ in range(2):
        log = Node("log", str(number), "0", "1", {}, "", "", "2026-11-01T00:00:00+00:00")
        raw = Node("raw", str(number), "0", "1", {}, "", "", "2026-11-01T00:00:00+00:00", parents=(log.id,))
        with Warehouse(Path(sys.argv[1])).connect() as connection:
            enter(connection, Lineage(raw, (log,)))
        number += 1
    print(number, flush=True)
"""


def command(script: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", script, *map(str, arguments)]


def child(script: str, *arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(command(script, *arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def record(warehouse: Warehouse, lineages: Iterable[Lineage]) -> None:
    with warehouse.connect() as connection:
        for lineage in lineages:
            enter(connection, lineage)


def loaded(warehouse: Warehouse, lineage: Lineage, parquet: Path) -> None:
    with warehouse.connect() as connection:
        load(connection, lineage.node.asset, parquet)
        enter(connection, lineage)


def node(asset: str, *parents: Lineage, **fields: Any) -> Lineage:
    ids = tuple(sorted(parent.node.id for parent in parents))
    return Lineage.of(replace(NODE, asset=asset, parents=ids, **fields), parents)


def rows(warehouse: Warehouse, sql: str) -> list[tuple[Any, ...]]:
    with warehouse.connect() as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path / "warehouse.duckdb", lock_seconds=20)


def test_eight_processes_publish_at_once(tmp_path: Path) -> None:
    children = [child(PUBLISHER, tmp_path, number) for number in range(8)]
    for process in children:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in children:
        process.communicate(timeout=120)
        assert process.returncode == 0

    warehouse = Warehouse(tmp_path / "warehouse.duckdb")
    assert rows(warehouse, "SELECT asset, COUNT(*) FROM lineage.node GROUP BY asset ORDER BY asset") == [
        ("metrics", 8),
        ("raw", 8),
    ]
    assert rows(warehouse, "SELECT COUNT(*) FROM lineage.edge") == [(8,)]
    # One version won, whole, and the table that people query is that version.
    winner = Store(Settings(home=tmp_path)).find("metrics").arrow()["n"].to_pylist()
    assert winner == [winner[0]] * 1000
    assert rows(warehouse, "SELECT n, COUNT(*) FROM metrics GROUP BY n") == [(winner[0], 1000)]


def test_a_program_that_has_the_file_open_is_named(warehouse: Warehouse) -> None:
    record(warehouse, [node("before")])
    impatient = Warehouse(warehouse.path, patience=0.3)
    with holding(command(HOLDER, warehouse.path)) as holder:
        with pytest.raises(WarehouseBusyError, match=rf"PID {holder.pid}\).*close that program"):
            record(impatient, [node("after")])
        # The wait is over, and so is our own lock: the next one does not find us in the way.
        with pytest.raises(WarehouseBusyError, match="PID"), impatient.connect():
            pass
    record(impatient, [node("after")])
    assert rows(warehouse, "SELECT asset FROM lineage.node ORDER BY asset") == [("after",), ("before",)]


def test_a_person_who_reads_keeps_nobody_from_publishing(tmp_path: Path) -> None:
    store = Store(Settings(home=tmp_path))
    store.warehouse.patience = 0.1
    store.publish("metrics", Table(pa.table({"n": [1]})))
    with holding(command(READER, store.warehouse.path)):
        store.publish("metrics", Table(pa.table({"n": [2]})))
        said: list[str] = []
        store.mend(said.append)
        assert "is entered in the warehouse by a later command" in said[-1]
        with store.warehouse.reading() as connection:
            assert connection.execute("SELECT n FROM metrics").fetchall() == [(1,)]
    assert store.find("metrics").arrow()["n"].to_pylist() == [2]
    store.mend(said.append)
    assert said[-1] == "entered 1 artefacts that the catalogue did not know"
    assert rows(store.warehouse, "SELECT n FROM metrics") == [(2,)]


def test_another_sessrec_process_that_stays_in_is_reported(warehouse: Warehouse) -> None:
    busy = pytest.raises(WarehouseBusyError, match=r"holds \S+warehouse\.duckdb\.lock; `kill \d+` ends that")
    with holding(command(LOCKER, warehouse.path)), busy:
        record(Warehouse(warehouse.path, lock_seconds=0.2), [node("after")])
    record(warehouse, [node("after")])


@pytest.mark.parametrize("script", [HOLDER, LOCKER])
def test_a_short_use_is_waited_for(warehouse: Warehouse, script: str) -> None:
    with holding(command(script, warehouse.path)) as holder:
        threading.Timer(0.4, holder.kill).start()
        record(warehouse, [node("after")])
        assert holder.wait() != 0, "we got in before the other one was gone"
    assert rows(warehouse, "SELECT asset FROM lineage.node") == [("after",)]


def test_a_file_that_is_no_warehouse_is_not_called_busy(warehouse: Warehouse) -> None:
    warehouse.path.write_bytes(b"not a database" * 1000)
    with pytest.raises(DamagedWarehouseError, match="rebuild-catalog"), warehouse.connect():
        pass


def test_a_warehouse_with_foreign_bytes_is_damaged_and_a_wrong_query_is_not(warehouse: Warehouse) -> None:
    with pytest.raises(duckdb.CatalogException), warehouse.connect() as connection:
        connection.execute("FROM nowhere")
    with warehouse.connect() as connection:
        connection.execute(
            "CREATE TABLE a AS SELECT RANGE AS i, MD5(CAST(RANGE AS VARCHAR)) AS text FROM RANGE(100000)"
        )
    content = bytearray(warehouse.path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4096] = bytes(4096)
    warehouse.path.write_bytes(content)
    with pytest.raises(DamagedWarehouseError, match="rebuild-catalog"), warehouse.connect() as connection:
        connection.execute("SELECT MAX(text) FROM a").fetchall()


def test_a_block_that_raises_leaves_nothing(warehouse: Warehouse, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "old.parquet")
    pq.write_table(pa.table({"a": [2]}), tmp_path / "new.parquet")
    with warehouse.connect() as connection:
        load(connection, "metrics", tmp_path / "old.parquet")
    with pytest.raises(ZeroDivisionError), warehouse.connect() as connection:
        enter(connection, node("asset"))
        load(connection, "metrics", tmp_path / "new.parquet")
        raise ZeroDivisionError
    assert rows(warehouse, "SELECT a FROM metrics") == [(1,)]
    assert rows(warehouse, "SELECT COUNT(*) FROM lineage.node") == [(0,)]


def test_loading_replaces_rows_and_lineage_as_one_step(warehouse: Warehouse, tmp_path: Path) -> None:
    parquet = tmp_path / "x.parquet"
    for value in (1, 2):
        pq.write_table(pa.table({"a": [value]}), parquet)
        loaded(warehouse, node("metrics", data_version=str(value)), parquet)
    with pytest.raises(duckdb.Error):
        loaded(warehouse, node("metrics", data_version="3"), tmp_path / "missing.parquet")
    assert rows(warehouse, "SELECT a FROM metrics") == [(2,)]
    assert rows(warehouse, "SELECT data_version FROM lineage.node ORDER BY 1") == [("1",), ("2",)]


def test_a_path_is_no_pattern_and_brings_no_columns(warehouse: Warehouse, tmp_path: Path) -> None:
    for folder, value in (("shop=nl [a]*", 1), ("shop=nl ab", 2), ("shop=nl [a]*?", 3)):
        (tmp_path / folder).mkdir()
        pq.write_table(pa.table({"a": [value]}), tmp_path / folder / "x.parquet")
    with warehouse.connect() as connection:
        load(connection, "metrics", tmp_path / "shop=nl [a]*" / "x.parquet")
        assert connection.execute("SELECT * FROM metrics").fetchall() == [(1,)]


@pytest.mark.parametrize("name", ["metrics; DROP TABLE x", "", "a b", '"a"', "lineage.node"])
def test_a_table_has_a_plain_name(warehouse: Warehouse, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="identifier"), warehouse.connect() as connection:
        load(connection, name, tmp_path)


def origin(warehouse: Warehouse, lineage: Lineage) -> list[str]:
    with warehouse.connect() as connection:
        found = connection.execute(
            "SELECT partition_key FROM lineage.origin WHERE id = $id AND asset = 'landing' ORDER BY 1",
            {"id": lineage.node.id},
        ).fetchall()
    return [name for (name,) in found]


def test_origin_answers_which_landed_logs_made_a_node(warehouse: Warehouse) -> None:
    logs = [node("landing", partition=f"{day}.tsv") for day in range(3)]
    raw = [node("raw", log, partition=log.node.partition) for log in logs]
    first, second = node("sessions", *raw[:2]), node("sessions", *raw, data_version="1")
    old, new = node("metrics", node("train", first), first), node("metrics", node("train", second), second)
    record(warehouse, [*raw, first, second, old, new])
    assert origin(warehouse, old) == ["0.tsv", "1.tsv"]
    assert origin(warehouse, new) == ["0.tsv", "1.tsv", "2.tsv"]
    assert origin(warehouse, raw[2]) == ["2.tsv"]
    assert rows(warehouse, f"SELECT asset FROM lineage.origin WHERE id = '{old.node.id}' ORDER BY asset") == [
        ("landing",),
        ("landing",),
        ("metrics",),
        ("raw",),
        ("raw",),
        ("sessions",),
        ("train",),
    ]


def everything(warehouse: Warehouse) -> list[list[tuple[Any, ...]]]:
    return [rows(warehouse, f"SELECT * FROM lineage.{t} ORDER BY ALL") for t in ("node", "edge", "origin")]


def test_entering_twice_changes_nothing(warehouse: Warehouse) -> None:
    child_of = node("child", node("parent", node("landing", partition="a"), config={"k": [1]}), stats={"n": 1})
    record(warehouse, [child_of])
    once = everything(warehouse)
    record(warehouse, [child_of, child_of])
    assert everything(warehouse) == once
    assert [len(table) for table in once] == [3, 2, 6]


def test_a_descendants_copy_does_not_replace_an_artefacts_own_row(warehouse: Warehouse) -> None:
    parent = node("parent", stats={"rows": 3})
    child_of = node("child", parent)
    for order in ([child_of, parent], [parent, child_of]):
        record(warehouse, order)
        assert rows(warehouse, "SELECT stats FROM lineage.node WHERE asset = 'parent'") == [('{"rows": 3}',)]


def test_kill_9_in_a_transaction_is_all_or_nothing(warehouse: Warehouse) -> None:
    rng, number = random.Random(5), 0
    for _ in range(3):
        process = child(ENTERER, warehouse.path, number)
        assert process.stdout is not None
        number = int(process.stdout.readline())
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        output, _ = process.communicate()
        number = max([number, *map(int, output.split())])
        logs, raws, edges = rows(
            warehouse,
            "SELECT COUNT(*) FILTER (asset = 'log'), COUNT(*) FILTER (asset = 'raw'), "
            "(SELECT COUNT(*) FROM lineage.edge) FROM lineage.node",
        )[0]
        assert logs == raws == edges >= number, "what was committed is there, whole"
