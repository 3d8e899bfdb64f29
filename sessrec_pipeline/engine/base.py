"""The verbs of bulk work: register Parquet, write a query's rows, drop them, read values, hand a table out, close.

Preparation and count models are SQL texts in a subset that DuckDB and Spark share; an engine runs them. What is written
stays in the engine. Rows leave it as a stream; only the store publishes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import pyarrow as pa

from sessrec_pipeline.engine.lookup import Lookup
from sessrec_pipeline.storage.lake import Stats, Table
from sessrec_pipeline.storage.lineage import Lineage

Value = int | float | str | bool | None


class EngineError(RuntimeError):
    """What an engine outside this process could not do: what, where, and what to do."""


class EngineLostError(EngineError, ConnectionError):
    """The server does not answer, or has stopped answering; it may pass by itself."""


@dataclass(frozen=True)
class Coded:
    """A query whose rows stand for a table, with codes where values belong that would take long to sort."""

    sql: str
    order: str | None = None
    """Columns of numbers by which its rows are put in order where they are not; None where it ends with its order."""
    lookups: Mapping[str, Lookup] = field(default_factory=dict)
    """What takes the place of codes, by column; rows for which that is null are left out."""
    values: Mapping[str, Value] = field(default_factory=dict)
    """Of the query."""


class Engine(Protocol):
    """Runs SQL over Parquet. Values are bound as ``$name`` and never become SQL text."""

    @property
    def label(self) -> str:
        """Name and version, for lineage."""
        ...

    def register(self, name: str, source: Path | Sequence[Path] | str) -> None:
        """Make Parquet files, or a table under its other name, readable as the table ``name``."""
        ...

    def write(self, name: str, sql: str, **values: Value) -> None:
        """Run a query and keep its rows, in order, as the table ``name``; it may have read an older one of the name."""
        ...

    def drop(self, name: str) -> None:
        """Give back the room of a table that is not needed any more, if there is one; other names for it end, too."""
        ...

    def scalar(self, sql: str, **values: Value) -> Value:
        """First column of the first row."""
        ...

    def rows(self, sql: str, **values: Value) -> pa.Table:
        """All rows of a query, in memory: for counts, not for events."""
        ...

    def table(
        self, name: str, stats: Stats | None = None, origins: tuple[Lineage, ...] = (), coded: Coded | None = None
    ) -> Table:
        """The rows of ``name`` for the store to publish, to be read once; they outlive the engine until then.

        They come in the order that the query of ``write`` ends with, or else are those of ``coded``.
        """
        ...

    def close(self) -> None:
        """Give back what the engine holds, once the tables that it handed out have been read."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def integer(engine: Engine, sql: str, **values: Value) -> int:
    """A count, or another whole number, that a query finds."""
    value = engine.scalar(sql, **values)
    if not isinstance(value, int):
        raise TypeError(f"expected a whole number, got {value!r} from: {sql}")
    return value


def parquet_files(source: Path | Sequence[Path]) -> list[Path]:
    """The files of Parquet tables, a folder of which is one, in order."""
    paths = [source] if isinstance(source, Path) else source
    return [file for path in paths for file in (sorted(path.glob("*.parquet")) if path.is_dir() else [path])]
