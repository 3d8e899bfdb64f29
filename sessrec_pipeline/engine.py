"""The four verbs of bulk work: register Parquet, write a query's rows as Parquet, read one value, close.

Preparation and count models are SQL texts in a subset that DuckDB and Spark share; an engine runs them. Rows
leave an engine as Parquet in scratch space; only the store publishes them.
"""

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import duckdb

from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.files import TEMPORARY
from sessrec_pipeline.storage.lake import Stats, Table
from sessrec_pipeline.storage.lineage import Lineage
from sessrec_pipeline.storage.sql import create_view, identifier

Value = int | float | str | bool | None


class Engine(Protocol):
    """Runs SQL over Parquet. Values are bound as ``$name`` and never become SQL text."""

    @property
    def label(self) -> str:
        """Name and version, for lineage."""
        ...

    def register(self, name: str, parquet: Path | Sequence[Path]) -> None:
        """Make Parquet files readable as the table ``name``."""
        ...

    def write(self, name: str, sql: str, **values: Value) -> Path:
        """Run a query, write its rows in order to a scratch folder of Parquet, and register it as ``name``."""
        ...

    def scalar(self, sql: str, **values: Value) -> Value:
        """First column of the first row."""
        ...

    def table(self, name: str, stats: Stats | None = None, origins: tuple[Lineage, ...] = ()) -> Table:
        """What was written as ``name``, for the store to publish; it outlives the engine until then."""
        ...

    def close(self) -> None:
        """Give back what the engine holds, and its scratch files but for the tables that it handed out."""
        ...


def integer(engine: Engine, sql: str, **values: Value) -> int:
    """A count, or another whole number, that a query finds."""
    value = engine.scalar(sql, **values)
    if not isinstance(value, int):
        raise TypeError(f"expected a whole number, got {value!r} from: {sql}")
    return value


class DuckDBEngine:
    """DuckDB inside this process, jailed to the feed's home and held to a memory limit."""

    def __init__(self, settings: Settings) -> None:
        settings.scratch.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(dir=settings.scratch, prefix=f"{TEMPORARY}{os.getpid()}-"))
        self.handed_out: set[str] = set()
        self.connection = duckdb.connect()
        options: dict[str, object] = {
            "allowed_directories": [str(settings.home)],
            "memory_limit": settings.memory_limit,
            "temp_directory": str(self.folder / "spill"),
            "TimeZone": "UTC",
            "enable_progress_bar": False,
            "enable_external_access": False,
            "lock_configuration": True,
        }
        for option, value in options.items():
            self.connection.execute(f"SET {identifier(option)} = $value", {"value": value})

    @property
    def label(self) -> str:
        """Name and version, for lineage."""
        return f"duckdb {duckdb.__version__}"

    def register(self, name: str, parquet: Path | Sequence[Path]) -> None:
        """Make Parquet files readable as the table ``name``."""
        paths = [parquet] if isinstance(parquet, Path) else parquet
        files = [file for path in paths for file in (sorted(path.glob("*.parquet")) if path.is_dir() else [path])]
        create_view(self.connection, name, files)

    def write(self, name: str, sql: str, **values: Value) -> Path:
        """Run a query, write its rows in order to a scratch folder of Parquet, and register it as ``name``."""
        folder = self.folder / identifier(name)
        folder.mkdir(exist_ok=True)
        self.connection.sql(sql, params=values or None).write_parquet(str(folder / "part-0.parquet"))
        self.register(name, folder)
        return folder

    def scalar(self, sql: str, **values: Value) -> Value:
        """First column of the first row."""
        # fetchall, not fetchone: DuckDB 2 refuses other work while a result is unread.
        rows = self.connection.execute(sql, values or None).fetchall()
        value: Value = rows[0][0] if rows else None
        return value

    def table(self, name: str, stats: Stats | None = None, origins: tuple[Lineage, ...] = ()) -> Table:
        """What was written as ``name``, for the store to publish; it outlives the engine until then."""
        self.handed_out.add(identifier(name))
        return Table(self.folder / name, stats or {}, origins, self.label)

    def close(self) -> None:
        """Give back what the engine holds, and its scratch files but for the tables that it handed out."""
        self.connection.close()
        for path in self.folder.iterdir():
            if path.name not in self.handed_out:
                shutil.rmtree(path)
        if not self.handed_out:
            self.folder.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.handed_out.clear()
        self.close()
