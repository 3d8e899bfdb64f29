"""The same tables from a Spark cluster on this machine: a master, two workers, a Connect server, each a process.

``make distributed`` sets up what it needs beside Java: an environment with ``pyspark`` that stands apart from ours and
whose Python SESSREC_SPARK_PYTHON names. Every query is a handful of tasks of milliseconds, so the cluster is set up to
start them fast: few partitions, no second look at a plan, the JVM's quick compiler alone.
"""

import importlib.util
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines import TABLES, assert_same, landed, prepared
from spark_cluster import Cluster, spark_cluster
from test_engine_spark import RULES, STRANGE, visits

from sessrec_pipeline.engine import EngineError, open_engine
from sessrec_pipeline.logs.ingest import ingest_landed
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.settings import Settings, SyntheticSettings
from sessrec_pipeline.storage.files import leave
from sessrec_pipeline.storage.store import Store

SERVER_PYTHON = os.environ.get("SESSREC_SPARK_PYTHON")
NEEDED = {
    "java": shutil.which("java"),
    "pyspark-client (extra spark)": importlib.util.find_spec("pyspark"),
    "SESSREC_SPARK_PYTHON, the Python of an environment with pyspark": SERVER_PYTHON,
}
MISSING = [name for name, found in NEEDED.items() if found is None]
pytestmark = [
    pytest.mark.distributed,
    pytest.mark.skipif(bool(MISSING), reason=f"missing: {'; '.join(MISSING)} (`make distributed` sets it up)"),
]
WORKERS = 2
OPTIONS = {"spark.sql.shuffle.partitions": "2", "spark.sql.adaptive.enabled": "false"}
JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
SPLIT = ("sessions", "train_split", "test_split")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with spark_cluster(str(SERVER_PYTHON), folder, WORKERS, options=OPTIONS, java=JAVA) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def _short_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tasks a worker tell as much of two workers as 32 do, and every table has an engine of its own."""
    monkeypatch.setattr("sessrec_pipeline.engine.spark.PROBE", 2 * WORKERS)


def on_both(feed: Callable[..., Settings], cluster: Cluster, **sections: Any) -> tuple[Settings, Settings]:
    return feed("duckdb", **sections), feed("spark", engine={"kind": "spark", "url": cluster.url}, **sections)


def test_100_000_events_give_the_same_tables_on_two_workers(feed: Callable[..., Settings], cluster: Cluster) -> None:
    law = SyntheticSettings(sessions=9_200, items=2_000, days=5)
    inside, outside = on_both(feed, cluster, synthetic=law, split={"rule": "days"})
    store = Store(inside)
    raw = []
    for log in write_logs(law, inside.landing):
        events = ingest_landed(inside, log.name, lambda line: None).events
        raw.append(store.publish("raw_sessions", events, partition=log.name).path)
    # The cluster reads below its own feed's home, as it would.
    copies = [Path(shutil.copy(path, outside.landing / path.name)) for path in raw]
    tables = (*SPLIT, "popularity", "markov")
    expected, made = (prepared(*each, tables=tables) for each in ((inside, raw), (outside, copies)))
    assert 90_000 < (expected["sessions"].rows or 0) < 110_000
    assert_same(expected, made)
    leave()
    assert list(outside.scratch.iterdir()) == []

    tasks = [executor["completedTasks"] for executor in cluster.executors()]
    assert len(tasks) == WORKERS and min(tasks) > 0


@pytest.mark.parametrize(("rules", "tables"), [("every rule of sessions", TABLES), ("given by a column", SPLIT)])
def test_strange_names_and_every_rule(
    feed: Callable[..., Settings], cluster: Cluster, rules: str, tables: tuple[str, ...]
) -> None:
    rng = np.random.default_rng(7)
    logs = {name: visits(rng, 50, STRANGE) for name in ("1.tsv", "it's $2 {a,b}.tsv", "_3 %41.tsv")}
    rows = sum(map(len, logs.values()))
    extra = {
        'Preis "€" `x`': list(rng.choice(["1", "2", None], rows)),
        "part": list(rng.choice(["train", "TEST", None], rows, p=[0.6, 0.3, 0.1])),
    }
    made = [
        prepared(settings, landed(settings.home / "raw", logs, **extra), tables=tables)
        for settings in on_both(feed, cluster, **RULES[rules])
    ]
    assert_same(*made)


def test_rows_leave_in_order_and_sessions_stand_apart(feed: Callable[..., Settings], cluster: Cluster) -> None:
    settings = feed(engine={"kind": "spark", "url": cluster.url})
    with open_engine(settings) as engine, open_engine(settings) as other:
        assert engine.label.startswith("spark 4")
        engine.write("t", "SELECT id, id % 7 AS k FROM range(200000) ORDER BY k DESC, id")
        engine.write("none", "SELECT id, 'x' AS text FROM t WHERE id < 0 ORDER BY id")
        with pytest.raises(EngineError, match="TABLE_OR_VIEW_NOT_FOUND"):
            other.scalar("SELECT COUNT(*) FROM t")
        table, none = engine.table("t").arrow(), engine.table("none").arrow()
    expected = sorted(range(200_000), key=lambda i: (-(i % 7), i))
    assert table["id"].to_pylist() == expected
    assert none.num_rows == 0 and none.schema.names == ["id", "text"]
    leave()
    assert list(settings.scratch.iterdir()) == []


def test_files_that_the_cluster_lacks_are_told(feed: Callable[..., Settings], cluster: Cluster) -> None:
    settings = feed(engine={"kind": "spark", "url": cluster.url})
    with open_engine(settings) as engine, pytest.raises(EngineError, match=r"PATH_NOT_FOUND.*\[engine\] lake"):
        engine.register("t", settings.home / "t.parquet")
    leave()
    assert list(settings.scratch.iterdir()) == []


@pytest.mark.filterwarnings("ignore:.*RETRIES_EXCEEDED")
def test_a_server_that_dies_while_it_writes_is_told(
    feed: Callable[..., Settings], cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last test: the cluster has no server after it."""
    from sessrec_pipeline.engine import spark as engine_spark

    monkeypatch.setattr(engine_spark, "RETRIES", 2)
    settings = feed(engine={"kind": "spark", "url": cluster.url})
    expected = f"no Spark Connect server answers at {cluster.url} .writing t."
    with pytest.raises(EngineError, match=expected), open_engine(settings) as engine:
        threading.Timer(3, cluster.processes["connect"].kill).start()
        engine.write("t", "SELECT COUNT(*) AS n FROM range(3000000) AS a JOIN range(3000000) AS b ON a.id < b.id")
    leave()
    assert list(settings.scratch.iterdir()) == []
