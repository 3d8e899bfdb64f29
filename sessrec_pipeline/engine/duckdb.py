"""DuckDB inside this process: the engine that needs nothing else."""

import errno
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb
import pyarrow as pa

from sessrec_pipeline.caches import private_folder
from sessrec_pipeline.engine.base import Coded, Value, parquet_files
from sessrec_pipeline.engine.lookup import looked_up
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.files import temporary_prefix
from sessrec_pipeline.storage.lake import ROWS, Stats, Table
from sessrec_pipeline.storage.lineage import Lineage
from sessrec_pipeline.storage.sql import create_view, identifier

SPILLED = 0.5
"""Of what is free on the drive, so much may be filled with what does not fit into memory."""


class DuckDBEngine:
    """DuckDB inside this process, jailed to the feed's home and its ``scratch``, and held to a memory limit.

    What is written is in memory up to the limit, and then on disk.
    """

    def __init__(self, settings: Settings, scratch: Path | None = None) -> None:
        self.folder = _own_folder(scratch or settings.scratch)
        self.unread: set[str] = set()
        self.closed = False
        self.connection = duckdb.connect()
        options: dict[str, object] = {
            # The two folders of a home that may be links to another drive.
            "allowed_directories": [*map(str, (settings.home, *_linked(settings), self.folder))],
            "memory_limit": settings.memory_limit,
            "temp_directory": str(self.folder / "spill"),
            "max_temp_directory_size": f"{int(SPILLED * shutil.disk_usage(self.folder).free)}B",
            "TimeZone": "UTC",
            "enable_external_access": False,
            "lock_configuration": True,
        }
        if self.connection.execute("SELECT current_setting('enable_progress_bar')").fetchone() == (True,):
            # Not where it is off already: in a notebook without ipywidgets DuckDB refuses to switch off what it lacks.
            self.connection.execute("SET enable_progress_bar = false")
        for option, value in options.items():
            self.connection.execute(f"SET {identifier(option)} = $value", {"value": value})

    @property
    def label(self) -> str:
        """Name and version, for lineage."""
        return f"duckdb {duckdb.__version__}"

    def register(self, name: str, source: Path | Sequence[Path] | str) -> None:
        """Make Parquet files, or a table under its other name, readable as the table ``name``."""
        self.drop(name)
        if isinstance(source, str):
            self.connection.execute(f"CREATE VIEW {identifier(name)} AS FROM {identifier(source)}")
            return
        create_view(self.connection, name, parquet_files(source))

    def write(self, name: str, sql: str, **values: Value) -> None:
        """Run a query and keep its rows, in order, as the table ``name``; it may have read an older one of the name."""
        new = identifier(f"{identifier(name)}_new")
        self.connection.execute(f"CREATE TABLE {new} AS {sql}", values or None)
        self.drop(name)
        self.connection.execute(f"ALTER TABLE {new} RENAME TO {name}")

    def drop(self, name: str) -> None:
        """Give back the room of a table that is not needed any more, if there is one; other names for it end, too."""
        kinds = self.connection.execute(
            "SELECT table_type FROM information_schema.tables WHERE table_name = $name", {"name": name}
        ).fetchall()
        for (kind,) in kinds:
            self.connection.execute(f"DROP {'VIEW' if kind == 'VIEW' else 'TABLE'} {identifier(name)}")

    def scalar(self, sql: str, **values: Value) -> Value:
        """First column of the first row."""
        # fetchall, not fetchone: DuckDB 2 refuses other work while a result is unread.
        rows = self.connection.execute(sql, values or None).fetchall()
        value: Value = rows[0][0] if rows else None
        return value

    def rows(self, sql: str, **values: Value) -> pa.Table:
        """All rows of a query, in memory: for counts, not for events."""
        return self.connection.sql(sql, params=values or None).to_arrow_table()

    def table(
        self, name: str, stats: Stats | None = None, origins: tuple[Lineage, ...] = (), coded: Coded | None = None
    ) -> Table:
        """The rows of ``name`` for the store to publish, to be read once; they outlive the engine until then."""
        # Connections of their own, for one connection reads one result at a time.
        connection = self.connection.cursor()
        if coded is None:
            reader = connection.sql(f"FROM {identifier(name)}").to_arrow_reader(ROWS)
        else:
            rows = coded.sql
            if coded.order is not None and not self._is_sorted(rows, coded.order, coded.values):
                rows = f"FROM ({rows}) ORDER BY {coded.order}"
            reader = connection.sql(rows, params=coded.values or None).to_arrow_reader(ROWS)
            reader = looked_up(self.connection, reader, coded.lookups)
        self.unread.add(name)
        stream = pa.RecordBatchReader.from_batches(reader.schema, self._read(name, reader))
        return Table(stream, stats or {}, origins, self.label)

    def _is_sorted(self, rows: str, order: str, values: Mapping[str, Value]) -> bool:
        keys = [identifier(key.strip()) for key in order.split(",")]
        now, before = ", ".join(keys), ", ".join(f"before_{key}" for key in keys)
        lagged = ", ".join(f"LAG({key}) OVER () AS before_{key}" for key in keys)
        sql = f"SELECT COUNT(*) FROM (SELECT {now}, {lagged} FROM ({rows})) WHERE ({now}) < ({before})"
        return self.scalar(sql, **values) == 0

    def _read(self, name: str, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        try:
            yield from reader
        finally:
            self.unread.discard(name)
            if self.closed:
                self.close()

    def close(self) -> None:
        """Give back what the engine holds, once the tables that it handed out have been read."""
        self.closed = True
        if not self.unread:
            self.connection.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.unread.clear()
        self.close()


def _linked(settings: Settings) -> list[Path]:
    return [folder.resolve() for folder in (settings.landing, settings.lake) if folder.is_symlink()]


def _own_folder(scratch: Path) -> Path:
    """A folder for one engine in ``scratch``; among the user's temporary files where the home may only be read."""
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=scratch, prefix=temporary_prefix()))
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return Path(tempfile.mkdtemp(dir=private_folder("scratch"), prefix=temporary_prefix()))
