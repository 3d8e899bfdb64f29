"""The same tables from a Spark cluster on this machine: a master, two workers, a Connect server, each a process.

The server's packages stand apart from ours: SESSREC_SPARK_PYTHON names the Python of an environment that has
``pyspark[connect]`` in the version of our ``pyspark-client``; Java is needed, too.
"""

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from engines import assert_same, landed, prepared
from test_engine_spark import RULES, STRANGE, free_port, visits

from sessrec_pipeline.engine import EngineError, open_engine
from sessrec_pipeline.logs.ingest import ingest_landed
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.settings import Settings, SyntheticSettings
from sessrec_pipeline.storage.store import Store

SERVER_PYTHON = os.environ.get("SESSREC_SPARK_PYTHON")
MISSING = {
    "java": shutil.which("java"),
    "pyspark-client (extra spark)": importlib.util.find_spec("pyspark"),
    "SESSREC_SPARK_PYTHON, the Python of an environment with pyspark[connect]": SERVER_PYTHON,
}
pytestmark = [
    pytest.mark.distributed,
    pytest.mark.skipif(None in MISSING.values(), reason=f"missing: {[k for k, v in MISSING.items() if v is None]}"),
]
WORKERS = 2
PATIENCE = 90
"""Seconds in which a process must listen."""


class Cluster(NamedTuple):
    url: str
    master: str
    """Address of the master's pages."""
    driver: str
    """Address of the Connect server's pages."""
    server: subprocess.Popen[bytes]


def told(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=10) as answer:
        return json.load(answer)


def wait_for(what: Callable[[], bool], name: str) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        with suppress(OSError):  # it listens before its pages are there
            if what():
                return
        assert time.monotonic() < end, f"{name} is not there after {PATIENCE} s"
        time.sleep(0.2)


def listens(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    found = "import pyspark; print(pyspark.__path__[0])"
    spark = subprocess.run([str(SERVER_PYTHON), "-c", found], check=True, capture_output=True, text=True).stdout.strip()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK_", "PYSPARK_"))}
    environment |= {"SPARK_HOME": spark, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOCAL_DIRS": str(folder)}
    processes: list[subprocess.Popen[bytes]] = []

    def start(name: str, *command: object) -> subprocess.Popen[bytes]:
        with (folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                list(map(str, command)), env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True
            )
        processes.append(process)
        return process

    run = f"{spark}/bin/spark-class"
    host = ("--host", "127.0.0.1")
    port, pages, driver, connect = free_port(), free_port(), free_port(), free_port()
    try:
        package = "org.apache.spark.deploy"
        start("master", run, f"{package}.master.Master", *host, "--port", port, "--webui-port", pages)
        wait_for(lambda: listens(port) and listens(pages), "the master")
        for n in range(WORKERS):
            size = ("--cores", 1, "--memory", "1g", "--webui-port", free_port(), "--work-dir", folder / f"worker{n}")
            start(f"worker{n}", run, f"{package}.worker.Worker", f"spark://127.0.0.1:{port}", *host, *size)
        master = f"http://127.0.0.1:{pages}/json/"
        wait_for(lambda: bool(told(master)["aliveworkers"] == WORKERS), "a worker")
        options = {
            "spark.connect.grpc.binding.address": "127.0.0.1",
            "spark.connect.grpc.binding.port": connect,
            "spark.driver.host": "127.0.0.1",
            "spark.driver.memory": "768m",
            "spark.executor.memory": "768m",
            "spark.ui.port": driver,
        }
        server = start(
            "connect", f"{spark}/bin/spark-submit", "--master", f"spark://127.0.0.1:{port}",
            *[word for key, value in options.items() for word in ("--conf", f"{key}={value}")],
            "--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal",
        )  # fmt: skip
        wait_for(lambda: listens(connect), "the Connect server")
        yield Cluster(f"sc://127.0.0.1:{connect}", master, f"http://127.0.0.1:{driver}/api/v1/applications", server)
    finally:
        for process in reversed(processes):  # the server before its workers before their master
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


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
    start = time.monotonic()
    expected = prepared(inside, raw)
    between = time.monotonic()
    made = prepared(outside, copies)
    print(f"\nDuckDB {between - start:.1f} s, Spark {time.monotonic() - between:.1f} s", end=" ")
    assert 90_000 < (expected["sessions"].rows or 0) < 110_000
    assert_same(expected, made)
    assert list(outside.scratch.iterdir()) == []

    workers = [worker for worker in told(cluster.master)["workers"] if worker["state"] == "ALIVE"]
    assert len({worker["port"] for worker in workers}) == WORKERS
    (application,) = told(cluster.driver)
    executors = [e for e in told(f"{cluster.driver}/{application['id']}/executors") if e["id"] != "driver"]
    tasks = {executor["id"]: executor["completedTasks"] for executor in executors}
    print(f"tasks by executor: {tasks}")
    assert len(tasks) == WORKERS and min(tasks.values()) > 0


@pytest.mark.parametrize("rules", ["every rule of sessions", "given by a column"])
def test_strange_names_and_every_rule(feed: Callable[..., Settings], cluster: Cluster, rules: str) -> None:
    rng = np.random.default_rng(7)
    logs = {name: visits(rng, 50, STRANGE) for name in ("1.tsv", "it's $2 {a,b}.tsv", "_3 %41.tsv")}
    rows = sum(map(len, logs.values()))
    extra = {
        'Preis "€" `x`': list(rng.choice(["1", "2", None], rows)),
        "part": list(rng.choice(["train", "TEST", None], rows, p=[0.6, 0.3, 0.1])),
    }
    made = [
        prepared(settings, landed(settings.home / "raw", logs, **extra))
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
    assert list(settings.scratch.iterdir()) == []


def test_files_that_the_cluster_lacks_are_told(feed: Callable[..., Settings], cluster: Cluster) -> None:
    settings = feed(engine={"kind": "spark", "url": cluster.url})
    with open_engine(settings) as engine, pytest.raises(EngineError, match=r"PATH_NOT_FOUND.*\[engine\] lake"):
        engine.register("t", settings.home / "t.parquet")
    assert list(settings.scratch.iterdir()) == []


@pytest.mark.filterwarnings("ignore:.*RETRIES_EXCEEDED")
def test_a_server_that_dies_while_it_writes_is_told(
    feed: Callable[..., Settings], cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last test: the cluster has no server after it."""
    from sessrec_pipeline import engine_spark

    monkeypatch.setattr(engine_spark, "RETRIES", 2)
    settings = feed(engine={"kind": "spark", "url": cluster.url})
    expected = f"no Spark Connect server answers at {cluster.url} .writing t."
    with pytest.raises(EngineError, match=expected), open_engine(settings) as engine:
        threading.Timer(3, cluster.server.kill).start()
        engine.write("t", "SELECT COUNT(*) AS n FROM range(3000000) AS a JOIN range(3000000) AS b ON a.id < b.id")
    assert list(settings.scratch.iterdir()) == []
