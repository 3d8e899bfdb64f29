import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sessrec_pipeline.engine import DuckDBEngine, integer
from sessrec_pipeline.settings import Settings

INJECTION = "'; DROP TABLE t; --"


@pytest.fixture
def settings(feed: Callable[..., Settings]) -> Settings:
    return feed()


@pytest.fixture
def engine(settings: Settings) -> Iterator[DuckDBEngine]:
    with DuckDBEngine(settings) as engine:
        yield engine


def test_rows_are_written_in_order_and_registered(engine: DuckDBEngine) -> None:
    engine.write("t", "SELECT i FROM range(100000) AS r(i) ORDER BY i DESC")
    assert integer(engine, "SELECT COUNT(*) FROM t") == 100_000
    assert engine.table("t").arrow()["i"].to_pylist() == list(range(99_999, -1, -1))


def test_a_table_has_other_names_until_it_is_dropped(engine: DuckDBEngine) -> None:
    engine.write("t", "SELECT 1 AS n")
    engine.register("u", "t")
    engine.register("v", "u")
    assert integer(engine, "SELECT n FROM v") == 1
    engine.register("v", "t")
    engine.write("v", "SELECT n + 1 AS n FROM v")
    assert integer(engine, "SELECT n FROM v") == 2
    engine.register("v", "u")
    assert integer(engine, "SELECT n FROM v") == 1
    engine.drop("t")
    engine.drop("nothing")
    with pytest.raises(duckdb.CatalogException):
        engine.scalar("SELECT n FROM u")


def test_a_table_can_be_rewritten_from_itself(engine: DuckDBEngine) -> None:
    engine.write("t", "SELECT i FROM range(300000) AS r(i)")
    engine.write("t", "SELECT i FROM t WHERE i % 3 = 0")
    assert integer(engine, "SELECT COUNT(*) FROM t") == 100_000


def test_several_files_are_one_table(engine: DuckDBEngine, settings: Settings) -> None:
    paths = [settings.home / f"{n}.parquet" for n in range(3)]
    for n, path in enumerate(paths):
        pq.write_table(pa.table({"n": [n]}), path)
    engine.register("t", paths)
    assert integer(engine, "SELECT CAST(SUM(n) AS BIGINT) FROM t") == 3


def test_values_are_bound_and_never_become_sql(engine: DuckDBEngine) -> None:
    engine.write("t", "SELECT $text AS text", text=INJECTION)
    assert engine.scalar("SELECT text FROM t WHERE text = $text", text=INJECTION) == INJECTION
    assert integer(engine, "SELECT COUNT(*) FROM t") == 1


@pytest.mark.parametrize("name", ["t; DROP TABLE u", 't"', "", "1t", "a b", "../t", "é"])
def test_names_must_be_plain(engine: DuckDBEngine, settings: Settings, name: str) -> None:
    pq.write_table(pa.table({"n": [1]}), settings.home / "t.parquet")
    for attempt in (
        lambda: engine.write(name, "SELECT 1 AS one"),
        lambda: engine.register(name, settings.home / "t.parquet"),
        lambda: engine.table(name),
    ):
        with pytest.raises(ValueError, match="no plain identifier"):
            attempt()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('{home}/../../../../../../../etc/passwd')",
        "SELECT * FROM read_text('{home}/link')",
        "COPY (SELECT 1) TO '{home}/../outside.csv'",
        "ATTACH '{home}/../outside.duckdb'",
        "SET enable_external_access = true",
        "SET memory_limit = '900GB'",
        "SET allowed_directories = ['/']",
        "INSTALL httpfs",
    ],
)
def test_jail_holds(engine: DuckDBEngine, settings: Settings, sql: str) -> None:
    (settings.home / "link").symlink_to("/etc/passwd")
    with pytest.raises(duckdb.Error):
        engine.connection.execute(sql.format(home=settings.home))
    assert [path.name for path in settings.home.parent.iterdir()] == [settings.home.name]


def test_reading_and_writing_inside_the_home_is_allowed(engine: DuckDBEngine, settings: Settings) -> None:
    engine.connection.execute(f"COPY (SELECT 7 AS n) TO '{settings.home}/in.csv'")
    assert engine.scalar(f"SELECT n FROM read_csv('{settings.home}/in.csv')") == 7


def test_tables_handed_out_outlive_the_engine_until_they_are_read(settings: Settings) -> None:
    with DuckDBEngine(settings) as engine:
        engine.write("one", "SELECT n FROM range(300000) AS r(n)")
        engine.write("other", "SELECT 2 AS n")
        one, other = engine.table("one", {"rows": 1}), engine.table("other")
    assert len(list(settings.scratch.iterdir())) == 1
    assert other.arrow()["n"].to_pylist() == [2]
    assert one.arrow()["n"].to_pylist() == list(range(300_000))
    assert list(settings.scratch.iterdir()) == []
    assert one.engine.startswith("duckdb ")
    with pytest.raises(duckdb.ConnectionException):
        engine.scalar("SELECT 1")


def test_what_spilled_can_still_be_read(feed: Callable[..., Settings]) -> None:
    with DuckDBEngine(feed(memory_limit="64MB")) as engine:
        engine.write("t", "SELECT n, md5(CAST(n AS VARCHAR)) AS text FROM range(3000000) AS r(n)")
        table = engine.table("t")
    assert any(engine.folder.rglob("*.tmp"))
    assert table.arrow()["n"].to_numpy().tolist() == list(range(3_000_000))


def test_scratch_is_empty_when_nothing_is_handed_out(settings: Settings) -> None:
    with DuckDBEngine(settings) as engine:
        engine.write("gone", "SELECT 1 AS n")
    assert list(settings.scratch.iterdir()) == []


def test_scratch_is_empty_after_an_error(settings: Settings) -> None:
    with pytest.raises(duckdb.Error), DuckDBEngine(settings) as engine:
        engine.write("kept", "SELECT 1 AS n")
        engine.table("kept")
        engine.write("bad", "SELECT nothing FROM nowhere")
    assert list(settings.scratch.iterdir()) == []


@pytest.mark.parametrize(("limit", "shown"), [("1GiB", "1.0 GiB"), ("256MiB", "256.0 MiB")])
def test_memory_limit_is_the_setting(feed: Callable[..., Settings], limit: str, shown: str) -> None:
    with DuckDBEngine(feed(memory_limit=limit)) as engine:
        assert engine.scalar("SELECT current_setting('memory_limit')") == shown


def test_spilling_leaves_room_on_the_drive(feed: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "sessrec_pipeline.engine.duckdb.shutil.disk_usage", lambda folder: SimpleNamespace(free=10 << 20)
    )
    with DuckDBEngine(feed(memory_limit="16MB")) as engine:
        assert engine.scalar("SELECT current_setting('max_temp_directory_size')") == "5.0 MiB"
        with pytest.raises(duckdb.OutOfMemoryException, match="max_temp_directory_size"):
            engine.write("t", "SELECT i, MD5(CAST(i AS VARCHAR)) AS text FROM range(2000000) AS r(i)")


def test_the_jail_takes_in_a_landing_folder_on_another_drive(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "drive").mkdir()
    (tmp_path / "drive" / "log.tsv").write_text("a\n1\n")
    settings.landing.rmdir()
    settings.landing.symlink_to(tmp_path / "drive")
    with DuckDBEngine(settings) as engine:
        assert integer(engine, "SELECT SUM(a) FROM read_csv($file)", file=str(settings.landing / "log.tsv")) == 1
        with pytest.raises(duckdb.PermissionException):
            engine.scalar("SELECT COUNT(*) FROM read_text($file)", file=str(tmp_path / "elsewhere"))


def test_integer_refuses_what_is_no_whole_number(engine: DuckDBEngine) -> None:
    assert integer(engine, "SELECT 3") == 3
    with pytest.raises(TypeError, match="expected a whole number, got None"):
        integer(engine, "SELECT NULL")


def test_it_starts_in_a_notebook_that_draws_no_bars(settings: Settings) -> None:
    """DuckDB takes no word about its progress bar where IPython runs and ipywidgets are not installed."""
    kernel = (
        "import sys, types\n"
        "sys.modules |= {'IPython': types.ModuleType('IPython'), 'ipywidgets': None}\n"
        "sys.modules['IPython'].get_ipython = lambda: types.SimpleNamespace(config={'IPKernelApp': {}})\n"
        "from pathlib import Path\n"
        "from sessrec_pipeline.engine import DuckDBEngine\n"
        "from sessrec_pipeline.settings import Settings\n"
        f"with DuckDBEngine(Settings(home=Path({str(settings.home)!r}))) as engine:\n"
        "    print(engine.connection.execute(\"SELECT current_setting('enable_progress_bar')\").fetchone())\n"
    )
    done = subprocess.run([sys.executable, "-c", kernel], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(False,)\n", "")
