"""The verbs of bulk work on a Spark cluster, through Spark Connect: no JVM in this process, only a thin client.

What is written becomes Parquet in a folder that the cluster and this process both see, so that a table is computed once
and survives a lost executor. On the way to the store DuckDB reads that Parquet here and puts it in its final order,
within its memory limit: files of a cluster have no order that could be relied on, and rows that were sent through the
server would all have to fit into its memory.
"""

import logging
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from sessrec_pipeline.engine.base import Coded, EngineError, EngineLostError, Value, parquet_files
from sessrec_pipeline.engine.duckdb import DuckDBEngine
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.files import sweep, works_in
from sessrec_pipeline.storage.lake import Stats, Table
from sessrec_pipeline.storage.lineage import Lineage
from sessrec_pipeline.storage.sql import final_order, identifier, spark_text

# pyspark takes a main module without a file, as processes have that somebody else started, for a run of its doctests.
vars(sys.modules["__main__"]).setdefault("__file__", __file__)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # of pandas 3, through which no row goes here
    from grpc import RpcError, StatusCode
    from pyspark.errors import PySparkException
    from pyspark.errors.exceptions.connect import SparkConnectGrpcException
    from pyspark.sql.connect.client import DefaultChannelBuilder
    from pyspark.sql.connect.client.retries import DefaultPolicy
    from pyspark.sql.connect.dataframe import DataFrame
    from pyspark.sql.connect.session import SparkSession

RETRIES = 5
"""How often a call is tried again before the server counts as lost: about 20 s in all."""
SESSION = {"spark.sql.ansi.enabled": "true", "spark.sql.session.timeZone": "UTC"}
"""A cluster may have other defaults."""
PROBE = 32
"""Rows, each by a task of its own, with which a new engine tries whether all of the cluster sees its folder."""
UNSEEN = ("PATH_NOT_FOUND", "FILE_NOT_EXIST", "FileNotFoundException", "Mkdirs failed", "Permission denied")
"""What Spark says of a folder that it cannot use."""


@dataclass(frozen=True)
class Kept:
    """A table: its Parquet, the folder of it that is ours to remove, and the order in which its rows leave."""

    name: str
    files: list[Path]
    folder: Path | None
    order: str | None


class SparkEngine:
    """Spark, or another server of its protocol, in a session of our own.

    EngineLostError where the server cannot be reached or is lost on the way, EngineError where it does not see what it
    has to read or write, or refuses a query.
    """

    def __init__(self, settings: Settings) -> None:
        url = str(settings.engine.url)
        self.where = url.partition("/;")[0]  # options hold secrets
        self.lake = settings.engine.lake
        if self.lake is not None and not self.lake.is_dir():
            raise EngineError(f"[engine] lake = {self.lake} is no folder here; mount it, or make it")
        scratch = None if self.lake is None else self.lake / "sessrec"
        if scratch is not None:
            works_in(scratch)
            sweep(scratch)
        self.tables: dict[str, Kept] = {}
        self.numbers = count()
        for name in ("pyspark", "pyspark.sql.connect.logging", "SQLQueryContextLogger"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # pages of Java; EngineError tells the first line
        self.door = DuckDBEngine(settings, scratch)
        self.door.folder.chmod(0o770)  # the cluster may run as somebody else of our group
        self.session: SparkSession | None = None
        try:
            with self._asking("connecting"):
                self.session = SparkSession(DefaultChannelBuilder(url))
                self.session.client.set_retry_policies([DefaultPolicy(max_retries=RETRIES)])
                for option, value in SESSION.items():
                    self.session.conf.set(option, value)
                server = str(self.session.sql("SELECT version()").toArrow().column(0)[0])
            self.label = _label(str(self.session.version), server)
            self._probe()
        except BaseException:
            self.close()
            raise

    @property
    def spark(self) -> SparkSession:
        """The session while the engine is open."""
        if self.session is None:
            raise EngineError("the engine is closed")
        return self.session

    def register(self, name: str, source: Path | Sequence[Path] | str) -> None:
        """Make Parquet files, or a table under its other name, readable as the table ``name``."""
        self.drop(name)
        if isinstance(source, str):
            kept = self._kept(source)
            self._enter(name, kept, self._read(kept))
            return
        kept = self._within_reach(name, parquet_files(source))
        frame = self._read(kept)
        with self._asking(f"reading {name}"):
            seen = frame.count()
        there = sum(pq.read_metadata(file).num_rows for file in kept.files)
        if seen != there:  # some servers take a file that they do not see for an empty one
            raise EngineError(
                f"Spark at {self.where} sees {seen:,} of the {there:,} rows of {name} ({kept.files[0]}): "
                f"{self._advice()}"
            )
        self._enter(name, kept, frame)

    def write(self, name: str, sql: str, **values: Value) -> None:
        """Run a query and keep its rows, in order, as the table ``name``; it may have read an older one of the name."""
        folder = self._folder(name)
        with self._asking(f"writing {name}"):
            found = self.spark.sql(spark_text(sql), values)
            found.write.parquet(str(folder))
            if not list(folder.glob("*.parquet")):  # Spark writes a file for no rows, too; not every server does
                folder.mkdir(exist_ok=True)
                pq.write_table(found.limit(0).toArrow(), folder / "empty.parquet")
        kept = Kept(name, parquet_files(folder), folder, final_order(sql))
        frame = self._read(kept)
        self.drop(name)
        self._enter(name, kept, frame)

    def drop(self, name: str) -> None:
        """Give back the room of a table that is not needed any more, if there is one; other names for it end, too."""
        kept = self.tables.get(identifier(name))
        if kept is None:
            return
        for other in [n for n, k in self.tables.items() if n == name or (k is kept and kept.name == name)]:
            with self._asking(f"dropping {other}"):
                self.spark.catalog.dropTempView(other)
            del self.tables[other]
        if kept.name == name and kept.folder:
            shutil.rmtree(kept.folder, ignore_errors=True)

    def scalar(self, sql: str, **values: Value) -> Value:
        """First column of the first row."""
        with self._asking("reading a value"):
            found = self.spark.sql(spark_text(sql), values).limit(1).toArrow()
        value: Value = found.column(0)[0].as_py() if found.num_rows else None
        return value

    def rows(self, sql: str, **values: Value) -> pa.Table:
        """All rows of a query, in memory: for counts, not for events."""
        with self._asking("reading rows"):
            return self.spark.sql(spark_text(sql), values).toArrow()

    def table(
        self, name: str, stats: Stats | None = None, origins: tuple[Lineage, ...] = (), coded: Coded | None = None
    ) -> Table:
        """The rows of ``name`` for the store to publish, to be read once; they outlive the engine until then.

        ValueError where the query that wrote them did not end with an order, and ``coded`` gives none.
        """
        if coded is None:
            order = self._kept(name).order
            if order is None:
                raise ValueError(f"{name} has no order to leave in: end its SQL with ORDER BY, over its columns")
            coded = Coded(f"FROM {identifier(name)} ORDER BY {order}")
        for other, kept in self.tables.items():
            self.door.register(other, kept.files)
        return replace(self.door.table(name, stats, origins, coded), engine=self.label)

    def close(self) -> None:
        """Give back what the engine holds, once the tables that it handed out have been read."""
        if self.session is not None:
            self.session.stop()
            self.session = None
        self.door.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.door.unread.clear()
        self.close()

    def _kept(self, name: str) -> Kept:
        if identifier(name) not in self.tables:
            raise EngineError(f"there is no table {name}")
        return self.tables[name]

    def _folder(self, name: str) -> Path:
        return self.door.folder / f"{identifier(name)}-{next(self.numbers)}"

    def _within_reach(self, name: str, files: list[Path]) -> Kept:
        """``files``; copies of them where the cluster does not see them or, for the first letter, passes them over."""
        if self.lake is None and not any(file.name.startswith("_") for file in files):
            return Kept(name, files, None, None)
        folder = self._folder(name)
        folder.mkdir()
        copies = [Path(shutil.copy(file, folder / f"{n}.parquet")) for n, file in enumerate(files)]
        return Kept(name, copies, folder, None)

    def _read(self, kept: Kept) -> DataFrame:
        with self._asking(f"reading {kept.name}"):
            return self.spark.read.parquet(*map(str, kept.files))

    def _enter(self, name: str, kept: Kept, frame: DataFrame) -> None:
        with self._asking(f"naming {name}"):
            frame.createOrReplaceTempView(name)
        self.tables[name] = kept

    def _probe(self) -> None:
        """Workers that do not share the folder would write to their own disks, and rows would be missing in silence."""
        folder = self._folder("probe")
        with self._asking("trying its folder"):
            self.spark.range(0, PROBE, 1, PROBE).write.parquet(str(folder))
            seen = self.spark.read.parquet(str(folder)).count() if folder.is_dir() else 0
        here = sum(pq.read_metadata(file).num_rows for file in folder.glob("*.parquet"))
        if (seen, here) != (PROBE, PROBE):
            raise EngineError(
                f"Spark at {self.where} does not share {self.door.folder}: of {PROBE} rows that it wrote there it sees "
                f"{seen} and this machine {here}; {self._advice()}"
            )
        shutil.rmtree(folder, ignore_errors=True)

    def _advice(self) -> str:
        return (
            "keep the feed's home on a folder that this machine and the whole cluster mount under the same path and "
            "may write to, or name such a folder as [engine] lake in sessrec.toml"
        )

    @contextmanager
    def _asking(self, doing: str) -> Iterator[None]:
        """What goes wrong with the server, as an EngineError."""
        try:
            yield
        except (PySparkException, RpcError) as error:
            code = error.getGrpcStatusCode() if isinstance(error, SparkConnectGrpcException) else None
            text = " ".join(str(error).split("JVM stacktrace:")[0].split())
            if code == StatusCode.UNAVAILABLE and self.session is not None:
                self.session.release_session_on_close = False  # nobody is there to be told
                raise EngineLostError(
                    f"no Spark Connect server answers at {self.where} ({doing}): start it or fix [engine] url in "
                    'sessrec.toml, or set kind = "duckdb"; nothing was published, so materialize again'
                ) from error
            hint = f"; {self._advice()}" if any(word in text for word in UNSEEN) else ""
            raise EngineError(f"Spark at {self.where} failed while {doing}: {text[:500]}{hint}") from error


def _label(protocol: str, server: str) -> str:
    """Spark names its version and build; other servers of the protocol name their own version."""
    if server.startswith(protocol):
        return f"spark {protocol}"
    return f"spark connect {protocol} (server {server})"
