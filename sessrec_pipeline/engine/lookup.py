"""Numbers on their way out of an engine become what they stand for, batch by batch.

A join would do it as well, but gives its rows in any order, and sorting events with their texts costs several times as
much as sorting their numbers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from sessrec_pipeline.storage.sql import identifier


@dataclass(frozen=True)
class Lookup:
    """Where the values of a column of numbers are: in a table with the columns code (0, 1, 2, ...) and ``column``."""

    table: str
    column: str
    in_order: bool = False
    """Whether the rows come in the order of the codes, so that only the part that a batch needs is ever in memory."""


class Values:
    """The values of one lookup, as far as they are needed."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, lookup: Lookup) -> None:
        self.connection, self.lookup = connection, lookup
        self.whole = None if lookup.in_order else self._read("")

    def of(self, codes: pa.Array) -> pa.Array:
        """What the codes stand for; null where the table has null."""
        if self.whole is not None:
            return self.whole.take(codes)
        bounds = pc.min_max(codes)
        low, high = bounds["min"].as_py(), bounds["max"].as_py()
        return self._read(f"WHERE code BETWEEN {int(low)} AND {int(high)}").take(pc.subtract(codes, low))

    def _read(self, where: str) -> pa.Array:
        sql = f"SELECT {identifier(self.lookup.column)} FROM {identifier(self.lookup.table)} {where} ORDER BY code"
        return self.connection.cursor().sql(sql).to_arrow_table().column(0).combine_chunks()


def looked_up(
    connection: duckdb.DuckDBPyConnection, rows: pa.RecordBatchReader, lookups: Mapping[str, Lookup]
) -> pa.RecordBatchReader:
    """``rows`` with values in the place of the codes; rows for which one of them is null are left out."""
    values = {name: Values(connection, lookup) for name, lookup in lookups.items()}
    types = {
        name: connection.sql(f"SELECT {identifier(lookup.column)} FROM {identifier(lookup.table)} LIMIT 0")
        .to_arrow_table()
        .schema.field(0)
        .type
        for name, lookup in lookups.items()
    }
    schema = pa.schema([pa.field(field.name, types.get(field.name, field.type)) for field in rows.schema])

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in rows:
            if not batch.num_rows:
                continue
            found = {name: each.of(batch.column(name)) for name, each in values.items()}
            columns = [found.get(name, batch.column(name)) for name in schema.names]
            decoded = pa.RecordBatch.from_arrays(columns, schema=schema)
            missing = [array for array in found.values() if array.null_count]
            yield decoded.filter(reduce(pc.and_, map(pc.is_valid, missing))) if missing else decoded

    return pa.RecordBatchReader.from_batches(schema, batches())
