"""Spark's engine against a server of its protocol inside this process (Sail); skipped where that is not installed."""

import importlib.util
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from engines import TABLES, Made, assert_same, landed, prepared
from spark_cluster import free_port

from assets.automation import REBUILD
from assets.ingestion import landed_logs
from assets.io_manager import SECONDS
from assets.runs import execute, ingest
from sessrec_pipeline.definitions import build
from sessrec_pipeline.engine import Coded, Engine, EngineError, EngineLostError, Lookup, integer, open_engine
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.settings import Settings, SyntheticSettings
from sessrec_pipeline.storage.files import OWNER, leave
from sessrec_pipeline.storage.sql import final_order, spark_text
from sessrec_pipeline.storage.store import Store

INJECTION = "'; DROP TABLE t; --\\"
MISSING = [name for name in ("pyspark", "pysail") if importlib.util.find_spec(name) is None]
needs_sail = pytest.mark.skipif(
    bool(MISSING), reason=f"not installed: {', '.join(MISSING)}; it comes with the extra dev"
)
needs_pyspark = pytest.mark.skipif(
    "pyspark" in MISSING, reason="not installed: pyspark-client; it comes with the extra spark"
)

MINUTE, HOUR = 60_000_000, 3_600_000_000


@pytest.fixture(scope="module")
def sail() -> Iterator[str]:
    """The URL of a server; it sees this machine's disk, as a cluster with a shared folder would."""
    os.environ.setdefault("RUST_LOG", "off")
    from pysail.spark import SparkConnectServer

    server = SparkConnectServer(ip="127.0.0.1", port=0)
    server.start(background=True)
    yield f"sc://127.0.0.1:{server.listening_address[1]}"
    server.stop()


@pytest.fixture(params=["duckdb", pytest.param("spark", marks=needs_sail)])
def settings(request: pytest.FixtureRequest, feed: Callable[..., Settings]) -> Settings:
    if request.param == "duckdb":
        return feed()
    return feed(engine={"kind": "spark", "url": request.getfixturevalue("sail")})


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    with open_engine(settings) as engine:
        yield engine


@pytest.fixture
def numbers(settings: Settings) -> Path:
    """0 to 299,999 as the column i."""
    path = settings.home / "numbers.parquet"
    pq.write_table(pa.table({"i": np.arange(300_000)}), path, row_group_size=10_000)
    return path


# What every engine promises


def test_rows_leave_in_the_order_that_was_asked_for(engine: Engine, numbers: Path) -> None:
    engine.register("numbers", numbers)
    engine.write("t", "SELECT n.i, n.i % 7 AS k FROM numbers AS n ORDER BY k DESC, n.i -- descending, ascending")
    assert integer(engine, "SELECT COUNT(*) FROM t") == 300_000
    expected = sorted(range(300_000), key=lambda i: (-(i % 7), i))
    assert engine.table("t").arrow()["i"].to_pylist() == expected


def test_numbers_become_what_they_stand_for_on_their_way_out(engine: Engine, numbers: Path) -> None:
    engine.register("numbers", numbers)
    engine.write("kept", "SELECT i, i % 1000 AS code FROM numbers WHERE i < 140000")
    engine.write("names", "SELECT i AS code, CONCAT('n', CAST(i AS STRING)) AS name FROM numbers WHERE i < 1000")
    half = "CASE WHEN i % 2 = 0 THEN CAST(FLOOR(i / 2) AS BIGINT) END"
    engine.write("halves", f"SELECT i AS code, {half} AS half FROM numbers WHERE i < 140000")
    lookups = {"name": Lookup("names", "name"), "half": Lookup("halves", "half", in_order=True)}
    rows = "SELECT code AS name, i, i AS half FROM kept WHERE i >= $least"
    found = engine.table("kept", coded=Coded(rows, "i", lookups, {"least": 10})).arrow().to_pydict()
    assert found["i"] == list(range(10, 140_000, 2))
    assert found["half"] == list(range(5, 70_000))
    assert found["name"] == [f"n{i % 1000}" for i in range(10, 140_000, 2)]


def test_rows_are_sorted_where_their_query_has_no_order(engine: Engine, numbers: Path) -> None:
    engine.register("numbers", numbers)
    engine.write("t", "SELECT i, CAST(FLOOR(i / 1000) AS BIGINT) AS part FROM numbers ORDER BY i DESC")
    found = engine.table("t", coded=Coded("SELECT part, i FROM t", "part, i")).arrow()
    assert found["i"].to_pylist() == sorted(found["i"].to_pylist())


def test_a_table_has_other_names_until_it_is_dropped(engine: Engine) -> None:
    engine.write("t", "SELECT 1 AS n")
    engine.register("u", "t")
    engine.register("v", "u")
    assert integer(engine, "SELECT n FROM v") == 1
    engine.register("v", "t")
    engine.write("v", "SELECT n + 1 AS n FROM v")
    assert integer(engine, "SELECT n FROM v") == 2
    assert integer(engine, "SELECT n FROM t") == 1
    engine.register("v", "u")
    assert integer(engine, "SELECT n FROM v") == 1
    engine.drop("t")
    engine.drop("nothing")
    for name in ("t", "u"):
        with pytest.raises((duckdb.CatalogException, EngineError)):
            engine.scalar(f"SELECT n FROM {name}")


def test_a_table_can_be_rewritten_from_itself(engine: Engine, numbers: Path) -> None:
    engine.register("t", numbers)
    engine.write("t", "SELECT i FROM t WHERE i % 3 = 0 ORDER BY i")
    engine.write("t", "SELECT i FROM t WHERE i % 2 = 0 ORDER BY i DESC")
    assert engine.table("t").arrow()["i"].to_pylist() == list(range(299_994, -1, -6))
    assert numbers.exists()


def test_several_files_are_one_table(engine: Engine, settings: Settings) -> None:
    paths = [settings.home / name for name in ("a b#1.parquet", "%2Eé=1.parquet", "_hidden.parquet")]
    for n, path in enumerate(paths):
        pq.write_table(pa.table({"n": [n]}), path)
    engine.register("t", paths)
    assert integer(engine, "SELECT CAST(SUM(n) AS BIGINT) FROM t") == 3
    engine.register("u", settings.home)
    assert integer(engine, "SELECT COUNT(*) FROM u") == 3


def test_values_are_bound_and_never_become_sql(engine: Engine) -> None:
    sql = """SELECT $text AS text, '$text -- ''\\' AS "a ""b"" `c`" /* $text */ -- $text"""
    engine.write("t", sql, text=INJECTION)
    assert engine.scalar("SELECT text FROM t WHERE text = $text", text=INJECTION) == INJECTION
    assert engine.rows("SELECT * FROM t").to_pylist() == [{"text": INJECTION, 'a "b" `c`': "$text -- '\\"}]
    assert engine.scalar("SELECT CASE WHEN $yes THEN $big ELSE 0 END", yes=True, big=2**40) == 2**40
    assert engine.scalar("SELECT $none IS NULL", none=None) is True
    assert engine.scalar("SELECT $half + 1", half=0.5) == 1.5


@pytest.mark.parametrize("name", ["t; DROP TABLE u", 't"', "", "1t", "a b", "../t", "é"])
def test_names_must_be_plain(engine: Engine, settings: Settings, name: str) -> None:
    pq.write_table(pa.table({"n": [1]}), settings.home / "t.parquet")
    for attempt in (
        lambda: engine.write(name, "SELECT 1 AS one"),
        lambda: engine.register(name, settings.home / "t.parquet"),
        lambda: engine.table(name),
    ):
        with pytest.raises(ValueError, match="no plain identifier"):
            attempt()


def test_an_empty_table_has_its_types(engine: Engine) -> None:
    engine.write("t", "SELECT CAST(1 AS BIGINT) AS n, 'x' AS text, CAST(0.5 AS DOUBLE) AS part WHERE 1 = 0 ORDER BY n")
    assert integer(engine, "SELECT COUNT(*) FROM t") == 0
    table = engine.table("t").arrow()
    assert table.schema.types == [pa.int64(), pa.string(), pa.float64()]
    assert table.num_rows == 0


def test_tables_handed_out_outlive_the_engine_until_they_are_read(settings: Settings, numbers: Path) -> None:
    with open_engine(settings) as engine:
        engine.register("numbers", numbers)
        engine.write("one", "SELECT i FROM numbers ORDER BY i")
        engine.write("other", "SELECT 2 AS n ORDER BY n")
        one, other = engine.table("one", {"rows": 1}), engine.table("other")
    assert len(list(settings.scratch.iterdir())) == 1
    assert other.arrow()["n"].to_pylist() == [2]
    assert one.arrow()["i"].to_pylist() == list(range(300_000))
    assert list(settings.scratch.iterdir()) == []
    assert one.engine == engine.label and one.stats == {"rows": 1}
    with pytest.raises((duckdb.ConnectionException, EngineError)):
        engine.scalar("SELECT 1")


def test_scratch_is_empty_after_an_error(settings: Settings) -> None:
    with pytest.raises((duckdb.Error, EngineError)), open_engine(settings) as engine:
        engine.write("kept", "SELECT 1 AS n ORDER BY n")
        engine.table("kept")
        engine.write("bad", "SELECT nothing FROM nowhere")
    assert list(settings.scratch.iterdir()) == []


def test_engines_do_not_see_each_others_tables(engine: Engine, settings: Settings) -> None:
    engine.write("t", "SELECT 1 AS n")
    with pytest.raises((duckdb.Error, EngineError)), open_engine(settings) as other:
        other.scalar("SELECT n FROM t")
    assert engine.scalar("SELECT n FROM t") == 1


def test_wrong_arithmetic_is_an_error(engine: Engine) -> None:
    engine.write("t", "SELECT 'x' AS a")
    with pytest.raises((duckdb.Error, EngineError)):
        engine.rows("SELECT CAST(a AS BIGINT) AS n FROM t")


# The same tables


def visits(rng: np.random.Generator, sessions: int, items: list[str], days: int = 6) -> list[tuple[str, str, int]]:
    """Events with everything that a rule looks for: copies, repeats, ties of time, pauses, long and short sessions."""
    events: list[tuple[str, str, int]] = []
    for number in range(sessions):
        time = int(rng.integers(days * 24)) * HOUR
        for item in rng.choice(items, int(rng.choice([1, 2, 3, 5, 30], p=[0.1, 0.4, 0.3, 0.15, 0.05]))):
            events.append((f"s{number % (sessions * 9 // 10)}", str(item), time))
            if rng.random() < 0.1:
                events.append(events[-1])
            time += int(rng.choice([0, MINUTE, 45 * MINUTE]))
    return events


STRANGE = ["10", "9", "a", "B", "é", "z", "😀", "\uffff", "x y", "it's", 'quo"te', "back\\slash", "$item", "NULL", ""]
CLEAN = {"drop_consecutive_repeats": True, "min_item_support": 3, "max_session_length": 25}
RULES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "every rule of sessions": {"sessions": {**CLEAN, "inactivity_gap_minutes": 30}, "split": {"rule": "days"}},
    "given by logs": {
        "logs": {"session_scope": "log"},
        "sessions": {"drop_duplicates": False},
        "split": {"rule": "given", "test_logs": ["it's $2.tsv"], "keep_unseen_items": True},
    },
    "given by a column": {
        "logs": {"extra_columns": ['Preis "€" `x`', "part"]},
        "split": {"rule": "given", "column": "part"},
    },
}


@needs_sail
@pytest.mark.parametrize("rules", RULES.values(), ids=list(RULES))
def test_tables_are_the_same_on_both_engines(feed: Callable[..., Settings], sail: str, rules: dict[str, Any]) -> None:
    rng = np.random.default_rng(7)
    logs = {name: visits(rng, 50, STRANGE) for name in ("1.tsv", "it's $2.tsv", "_3 %41.tsv")}
    rows = sum(map(len, logs.values()))
    extra = {
        'Preis "€" `x`': list(rng.choice(["1", "2", None], rows)),
        "part": list(rng.choice(["train", "TEST", None], rows, p=[0.6, 0.3, 0.1])),
    }
    made = []
    for name, engine in (("duckdb", {}), ("spark", {"kind": "spark", "url": sail})):
        settings = feed(name, engine=engine, **rules)
        made.append(prepared(settings, landed(settings.home / "raw", logs, **extra)))
    assert_same(*made)


@needs_sail
def test_a_generated_feed_gives_the_same_assets(feed: Callable[..., Settings], sail: str) -> None:
    """About 10,000 events, from the landed logs to the fitted tables, through Dagster."""
    law = SyntheticSettings(sessions=900, items=150, days=3)
    made = []
    for name, engine in (("duckdb", {}), ("spark", {"kind": "spark", "url": sail})):
        settings = feed(name, engine=engine, synthetic=law, training={"validate_epochs": True})
        write_logs(law, settings.landing)
        definitions, logs = build(settings), sorted(path.name for path in settings.landing.iterdir())
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions(str(landed_logs.name), logs)
            assert ingest(definitions, logs, instance) == ({}, {})
            job = definitions.resolve_job_def(REBUILD)
            assert execute(job, instance, asset_selection=[dg.AssetKey(asset) for asset in TABLES]).success
            event = instance.get_latest_materialization_event(dg.AssetKey("sessions"))
        stored = {asset: Store(settings).find(asset) for asset in TABLES}
        made.append(
            {
                asset: Made(
                    s.path, s.node.data_version, s.node.rows, {k: v for k, v in s.stats.items() if k != SECONDS}
                )
                for asset, s in stored.items()
            }
        )
        assert event is not None and event.asset_materialization is not None
        assert str(event.asset_materialization.metadata["engine"].value).startswith(name)
        assert all(s.node.engine.startswith(name) for s in stored.values())
        leave()
        assert list(settings.scratch.iterdir()) == []
    assert 9_000 < (made[0]["sessions"].rows or 0) < 11_000
    assert_same(*made)


def test_every_asset_on_an_engine_is_compared(feed: Callable[..., Settings]) -> None:
    graph = build(feed(training={"validate_epochs": True})).resolve_asset_graph()
    on_engines = {
        node.key.to_user_string()
        for node in graph.asset_nodes
        if "duckdb" in node.kinds and node.group_name in ("preparation", "models")
    }
    assert on_engines == set(TABLES)


# A folder of its own


@needs_sail
def test_rows_travel_through_another_folder_where_one_is_named(
    feed: Callable[..., Settings], sail: str, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    settings = feed(engine={"kind": "spark", "url": sail, "lake": shared})
    logs = {"a.tsv": visits(np.random.default_rng(1), 50, STRANGE)}
    made = prepared(settings, landed(settings.home / "raw", logs))
    inside = feed("inside")
    assert_same(made, prepared(inside, landed(inside.home / "raw", logs)))
    (host,) = shared.iterdir()
    leave()
    assert list(host.iterdir()) == [] and not settings.scratch.exists()


@needs_sail
def test_what_dead_processes_left_in_another_folder_goes(
    feed: Callable[..., Settings], sail: str, tmp_path: Path
) -> None:
    settings = feed(engine={"kind": "spark", "url": sail, "lake": tmp_path})
    with open_engine(settings):
        left = tmp_path / "sessrec" / f".tmp-{'0' * 32}" / "sessions-1"
        left.mkdir(parents=True)
        (left.parent / OWNER).touch()  # which nobody holds
    with open_engine(settings):
        assert not left.parent.exists()


# What goes wrong is told


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    from sessrec_pipeline.engine import spark as engine_spark

    monkeypatch.setattr(engine_spark, "RETRIES", 1)


@needs_pyspark
@pytest.mark.usefixtures("impatient")
@pytest.mark.filterwarnings("ignore:.*RETRIES_EXCEEDED")
def test_a_wrong_url_is_told(feed: Callable[..., Settings]) -> None:
    address = f"sc://127.0.0.1:{free_port()}"
    settings = feed(engine={"kind": "spark", "url": f"{address}/;token=secret"})
    with pytest.raises(
        EngineLostError, match=re.escape(f"no Spark Connect server answers at {address} (connecting)")
    ) as e:
        open_engine(settings)
    assert "[engine] url in sessrec.toml" in str(e.value) and "secret" not in str(e.value)
    assert list(settings.scratch.iterdir()) == []


def test_a_missing_extra_is_told(feed: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "sessrec_pipeline.engine.spark", raising=False)
    monkeypatch.setitem(sys.modules, "pyspark.errors", None)
    settings = feed(engine={"kind": "spark", "url": "sc://127.0.0.1:1"})
    with pytest.raises(EngineError, match=re.escape("pip install 'sessrec_pipeline[spark]'")):
        open_engine(settings)
    assert not settings.scratch.exists()


SERVER = """
import sys
from pysail.spark import SparkConnectServer
server = SparkConnectServer(ip="127.0.0.1", port=int(sys.argv[1]))
server.start(background=True)
print("up", flush=True)
sys.stdin.read()
"""


class Server(NamedTuple):
    url: str
    process: subprocess.Popen[bytes]


@pytest.fixture
def server() -> Iterator[Server]:
    """A server in a process of its own, to be killed."""
    port = free_port()
    command = [sys.executable, "-c", SERVER, str(port)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        yield Server(f"sc://127.0.0.1:{port}", process)
    finally:
        process.kill()
        process.communicate()


@needs_sail
@pytest.mark.usefixtures("impatient")
@pytest.mark.filterwarnings("ignore:.*RETRIES_EXCEEDED")
def test_a_server_that_dies_between_steps_is_told(feed: Callable[..., Settings], server: Server) -> None:
    settings = feed(engine={"kind": "spark", "url": server.url})
    raw = landed(settings.home / "raw", {"a.tsv": visits(np.random.default_rng(1), 50, STRANGE)})
    with pytest.raises(EngineLostError, match=f"answers at {server.url} .* materialize again"):
        prepared(settings, raw, after={"sessions": server.process.kill})
    assert [path.name for path in (settings.home / "tables").iterdir()] == ["sessions.parquet"]
    assert list(settings.scratch.iterdir()) == []


@needs_sail
@pytest.mark.usefixtures("impatient")
@pytest.mark.filterwarnings("ignore:.*RETRIES_EXCEEDED")
def test_a_server_that_dies_while_it_writes_is_told(feed: Callable[..., Settings], server: Server) -> None:
    settings = feed(engine={"kind": "spark", "url": server.url})
    with pytest.raises(EngineLostError, match=r"answers at .* \(writing t\)"), open_engine(settings) as engine:
        threading.Timer(0.5, server.process.kill).start()
        engine.write("t", "SELECT COUNT(*) AS n FROM range(3000000) AS a JOIN range(3000000) AS b ON a.id < b.id")
    assert list(settings.scratch.iterdir()) == []


@needs_sail
def test_a_folder_that_is_not_shared_is_told(feed: Callable[..., Settings], sail: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="is no folder here; mount it"):
        open_engine(feed(engine={"kind": "spark", "url": sail, "lake": tmp_path / "nowhere"}))


@needs_sail
def test_rows_that_the_cluster_does_not_see_are_told(
    feed: Callable[..., Settings], sail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sessrec_pipeline.engine import spark as engine_spark

    settings = feed(engine={"kind": "spark", "url": sail})
    pq.write_table(pa.table({"n": [1, 2, 3]}), settings.home / "t.parquet")
    with open_engine(settings) as engine, monkeypatch.context() as patch:
        patch.setattr(engine_spark.DataFrame, "count", lambda frame: 1)
        with pytest.raises(EngineError, match=r"sees 1 of the 3 rows of t .*\[engine\] lake in sessrec.toml"):
            engine.register("t", settings.home / "t.parquet")
    monkeypatch.setattr(engine_spark.DataFrame, "count", lambda frame: 1)
    with pytest.raises(EngineError, match="of 32 rows that it wrote there it sees 1 and this machine 32"):
        open_engine(settings)
    assert list(settings.scratch.iterdir()) == []


@needs_sail
def test_a_table_without_an_order_does_not_leave(feed: Callable[..., Settings], sail: str) -> None:
    with open_engine(feed(engine={"kind": "spark", "url": sail})) as engine:
        engine.write("t", "SELECT 1 AS n")
        with pytest.raises(ValueError, match="no order to leave in: end its SQL with ORDER BY"):
            engine.table("t")


# SQL as Spark spells it


@pytest.mark.parametrize(
    ("sql", "spelled"),
    [
        ("SELECT $a, $b_1", "SELECT :a, :b_1"),
        ("SELECT '$a', 'it''s $a' -- $a\n, $a /* $a\n'*/", "SELECT '$a', 'it\\'s $a' -- $a\n, :a /* $a\n'*/"),
        (r"SELECT '\', '\''', $a", r"SELECT '\\', '\\\'', :a"),
        ('SELECT "a $b"', "SELECT `a $b`"),
        ('SELECT "a""b`c"', 'SELECT `a"b``c`'),
        ("SELECT '\"', \"'\" -- it's\n, $a", "SELECT '\"', `'` -- it's\n, :a"),
    ],
)
def test_spelling(sql: str, spelled: str) -> None:
    assert spark_text(sql) == spelled


@pytest.mark.parametrize(
    ("sql", "keys"),
    [
        ("SELECT a FROM t ORDER BY a", "a"),
        ("SELECT a FROM t order  by t.a desc,\n b NULLS LAST -- as it came, (so to say)\n", "a desc, b NULLS LAST"),
        ("SELECT a FROM t", None),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a) AS s", None),
        ("SELECT ROW_NUMBER() OVER (ORDER BY a) AS n FROM t", None),
        ("SELECT a FROM t ORDER BY a % 3", None),
        ("SELECT a FROM t ORDER BY a LIMIT 3", None),
        ("SELECT 'x ORDER BY a'", None),
        ("SELECT a FROM t -- ORDER BY a", None),
    ],
)
def test_final_order(sql: str, keys: str | None) -> None:
    assert final_order(sql) == keys
