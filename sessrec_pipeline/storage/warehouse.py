"""The warehouse: one DuckDB file with the lineage catalogue and the tables that people query.

A DuckDB file has one writing process, which shuts out readers of other processes too. So every use is short and
stands behind one file lock. All that it holds can be rebuilt from the files of the lake.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from sessrec_pipeline.storage.files import DamagedFileError, make_folder
from sessrec_pipeline.storage.lineage import Lineage
from sessrec_pipeline.storage.owners import BusyError, Waiting, locked
from sessrec_pipeline.storage.sql import create_view, identifier, quoted, sql_text

LOCK_SECONDS = 60
PATIENCE = 1.0
"""Seconds that publishing waits for a person's own DuckDB session, which may have the file open for hours."""
DAMAGE = re.compile("not a valid DuckDB|corrupt|could not read enough bytes|deserialize", re.IGNORECASE)
"""What DuckDB says of files with changed, missing or foreign bytes, under several classes of error."""


class WarehouseBusyError(BusyError):
    """Someone holds the warehouse file; the text says who and what to do."""


class DamagedWarehouseError(DamagedFileError):
    """The warehouse file is no DuckDB database any more; it can be made anew from the lake."""


class Warehouse:
    """Short transactions on the file at ``path``; it is made where there is none."""

    def __init__(self, path: Path, lock_seconds: float = LOCK_SECONDS, patience: float = PATIENCE) -> None:
        self.path = path
        self.lock_seconds = lock_seconds
        self.patience = patience

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The file as it is, for queries alone, beside all who read it.

        Raises WarehouseBusyError when somebody who writes holds it for longer than ``lock_seconds``.
        """
        with self._open(self.lock_seconds, read_only=True) as connection:
            try:
                yield connection
            except duckdb.Error as error:
                self._refuse_damaged(error)
                raise

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """One transaction: committed at the end, undone when the block raises.

        Raises WarehouseBusyError when another sessrec process holds the file for longer than ``lock_seconds``, or any
        other program for longer than ``patience``.
        """
        with self.locked():
            connection = self._open(self.patience)
            try:
                connection.execute("BEGIN")
                connection.execute(sql_text("storage", "catalogue"))
                yield connection
                connection.execute("COMMIT")
            except duckdb.Error as error:
                self._refuse_damaged(error)
                raise
            finally:
                connection.close()  # rolls back what is not committed

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other sessrec processes out; WarehouseBusyError when one stays in for longer than ``lock_seconds``."""
        make_folder(self.path.parent)
        with locked(self.path.with_name(self.path.name + ".lock"), self.lock_seconds, WarehouseBusyError):
            yield

    def _open(self, seconds: float, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
        said = ""
        waiting = Waiting(
            seconds, lambda: f"{self.path} is open elsewhere: {said}; close that program", WarehouseBusyError
        )
        while True:
            try:
                return duckdb.connect(str(self.path), read_only=read_only)
            except duckdb.Error as error:
                # A person's own DuckDB session does not know our lock file; DuckDB's message names its PID.
                if not isinstance(error, duckdb.IOException) or "lock" not in str(error).lower():
                    self._refuse_damaged(error)
                    raise
                said = str(error).partition(". See also")[0]
                waiting.on(0.1)

    def _refuse_damaged(self, error: duckdb.Error) -> None:
        """DamagedWarehouseError where DuckDB says that the file is spoilt."""
        if DAMAGE.search(str(error)):
            reason = str(error).splitlines()[0]
            raise DamagedWarehouseError(
                self.path,
                f"it cannot be read ({reason})",
                "`sessrec rebuild-catalog` makes it anew from the lake's files",
            ) from error


def enter(connection: duckdb.DuckDBPyConnection, *lineages: Lineage, current: bool = True) -> None:
    """Write the nodes and edges of versions of artefacts; those already there are renewed."""
    nodes = {n.id: n for lineage in lineages for n in lineage.nodes}
    own = {lineage.node.id: lineage.node for lineage in lineages}
    rows = connection.execute("SELECT id FROM lineage.node WHERE id IN (SELECT UNNEST($ids))", {"ids": list(nodes)})
    known = {key for (key,) in rows.fetchall()}
    # An ancestor that is known already stays as it is; only the artefacts' own rows are renewed.
    _insert(
        connection,
        "node",
        [
            (
                n.id,
                n.asset,
                n.partition,
                n.data_version,
                n.code_version,
                json.dumps(n.config, sort_keys=True),
                n.engine,
                n.run_id,
                n.created_at,
                n.rows,
                json.dumps(n.stats),
            )
            for n in (nodes | own).values()
            if n.id not in known or n.id in own
        ],
    )
    edges = {(n.id, parent): None for n in nodes.values() for parent in n.parents if n.id not in known}
    _insert(connection, "edge", list(edges))
    if current:
        _insert(connection, "current", [(n.asset, n.partition or "", n.id) for n in own.values()])


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: list[tuple[Any, ...]]) -> None:
    """Put rows into a table of the catalogue, in the place of those with the same key, all in one statement."""
    if rows:
        columns = [list(column) for column in zip(*rows, strict=True)]
        values = ", ".join(f"UNNEST($c{i})" for i in range(len(columns)))
        connection.execute(
            f"INSERT OR REPLACE INTO lineage.{table} SELECT {values}", {f"c{i}": c for i, c in enumerate(columns)}
        )


def remember(connection: duckdb.DuckDBPyConnection, lineage: Lineage, metrics: Path) -> None:
    """Add the metrics of a run to the table ``history``, and their origin."""
    node = lineage.node
    enter(connection, lineage, current=False)
    create_view(connection, "incoming", [metrics])
    connection.execute(
        "DELETE FROM history WHERE evaluation = $id AND created_at = $at", {"id": node.id, "at": node.created_at}
    )
    connection.execute(
        "INSERT INTO history BY NAME SELECT CAST($at AS TIMESTAMPTZ) AS created_at, $run AS run_id, $id AS evaluation, "
        "model, metric, k, tie_rule, value, low, high, predictions, sessions, rankings FROM incoming",
        {"at": node.created_at, "run": node.run_id, "id": node.id},
    )
    connection.execute("DROP VIEW incoming")


def remembered(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Ids of the evaluations whose metrics are in the table ``history``."""
    return {evaluation for (evaluation,) in connection.execute("SELECT DISTINCT evaluation FROM history").fetchall()}


def forget(connection: duckdb.DuckDBPyConnection, asset: str, partition: str) -> None:
    """Drop the current version of a partition that was deleted; what was made from it keeps its origin."""
    connection.execute(
        "DELETE FROM lineage.current WHERE asset = $asset AND partition_key = $partition",
        {"asset": asset, "partition": partition},
    )


def inputs_of_current(connection: duckdb.DuckDBPyConnection, asset: str, partition: str | None) -> set[str]:
    """Content hashes of the versions of an artefact that something current was made from."""
    rows = connection.execute(
        "SELECT DISTINCT parent.data_version FROM lineage.current "
        "JOIN lineage.edge ON edge.child = current.id JOIN lineage.node AS parent ON parent.id = edge.parent "
        "WHERE parent.asset = $asset AND parent.partition_key IS NOT DISTINCT FROM $partition",
        {"asset": asset, "partition": partition},
    ).fetchall()
    return {version for (version,) in rows}


def seen(connection: duckdb.DuckDBPyConnection) -> set[tuple[str, str | None, str]]:
    """Asset, partition and id of the versions that were entered last."""
    rows = connection.execute("SELECT asset, NULLIF(partition_key, ''), id FROM lineage.current").fetchall()
    return {(asset, partition, node) for asset, partition, node in rows}


def load(connection: duckdb.DuckDBPyConnection, name: str, parquet: Path) -> None:
    """Replace the table ``name`` by the rows of ``parquet``."""
    table = quoted(identifier(name))  # a model may be called as a word of SQL
    create_view(connection, "incoming", [parquet])
    connection.execute(f"CREATE OR REPLACE TABLE {table} AS SELECT * FROM incoming")
    connection.execute("DROP VIEW incoming")
