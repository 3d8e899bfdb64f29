"""Tables: one Parquet file each, with the hash of its rows, its lineage and a seal over every byte in the footer.

The hash of the rows says what a table is, whoever wrote it. The seal says that the file is as it was written: engines
also go by what is no row, such as the smallest and the largest value of a column, by which they leave out rows unread.
"""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sessrec_pipeline.storage.files import undamaged
from sessrec_pipeline.storage.lineage import METADATA_KEY, Lineage

SEAL_KEY = "sessrec.seal"
"""Name of the seal in a Parquet footer: sha256 of all bytes of the file, with zeros in the place of the seal itself."""
BLANK = "0" * 64
ROWS = 131_072
"""Rows of a row group, and of a step of the content hash; fixed, so both are the same whatever wrote the table."""


Stats = dict[str, int | float | str]
"""Counts that are published with an artefact, for checks and the report."""
Rows: TypeAlias = pa.Table | Path | pa.RecordBatchReader
"""Rows in order: in memory, as Parquet (a file, or a folder of them), or a stream that is read once."""


@dataclass(frozen=True)
class Table:
    """What a table asset returns. ``origins`` are lineages beyond the upstream assets' (landed logs)."""

    data: Rows
    stats: Stats = field(default_factory=dict)
    origins: tuple[Lineage, ...] = ()
    engine: str = "python"

    def arrow(self) -> pa.Table:
        """All rows; of a stream this is the one reading."""
        schema, tables = batches(self.data)
        return pa.concat_tables([schema.empty_table(), *tables])


def batches(data: Rows) -> tuple[pa.Schema, Iterator[pa.Table]]:
    """The schema and the rows, in order, in tables of ``ROWS`` rows (the last one shorter)."""
    stream: Iterator[pa.RecordBatch]
    if isinstance(data, Path):
        files = sorted(data.glob("*.parquet")) if data.is_dir() else [data]
        schema = pq.read_schema(files[0])
        stream = (batch for file in files for batch in pq.ParquetFile(file).iter_batches(ROWS, use_threads=False))
    else:
        schema = data.schema
        stream = iter(data.to_batches(max_chunksize=ROWS)) if isinstance(data, pa.Table) else iter(data)
    return schema.remove_metadata(), _even(schema.remove_metadata(), stream)


def _even(schema: pa.Schema, stream: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in stream:
        held.append(batch)
        rows += batch.num_rows
        while rows >= ROWS:
            table = pa.Table.from_batches(held, schema)
            yield table.slice(0, ROWS)
            held = table.slice(ROWS).to_batches()
            rows -= ROWS
    if rows:
        yield pa.Table.from_batches(held, schema)


class ContentHash:
    """sha256 of a table's column names, types and values in row order; blind to encoding and row groups.

    TypeError where a column's type has no fixed bytes to hash.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.hash = hashlib.sha256(repr([(f.name, _spelled(f.type)) for f in schema]).encode())

    def update(self, table: pa.Table) -> None:
        """Add the next ``ROWS`` rows."""
        for column in table.columns:
            self._add(pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0))

    def _add(self, array: pa.Array) -> None:
        self._numbers(array.is_valid())
        if pa.types.is_list(array.type):
            self._numbers(_filled(array.value_lengths()))
            self._add(array.flatten())
        elif pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            text = _filled(array.cast(pa.large_string()))
            _, offset_buffer, characters = text.buffers()
            offsets = np.frombuffer(offset_buffer, np.int64)[text.offset : text.offset + len(text) + 1]
            self.hash.update(np.diff(offsets).tobytes())
            self.hash.update(memoryview(characters)[offsets[0] : offsets[-1]] if characters else b"")
        else:
            self._numbers(_filled(array))

    def _numbers(self, array: pa.Array) -> None:
        """Add values without nulls, from where they lie: ``to_numpy`` would load pandas."""
        if pa.types.is_boolean(array.type):
            array = array.cast(pa.uint8())
        elif pa.types.is_date32(array.type):
            array = array.cast(pa.int32()).cast(pa.int64())  # as numpy has days
        width = array.type.bit_width // 8
        if len(array):
            values = memoryview(array.buffers()[1])
            self.hash.update(values[array.offset * width : (array.offset + len(array)) * width])

    def hexdigest(self) -> str:
        """64 hexadecimal digits."""
        return self.hash.hexdigest()


def _filled(array: pa.Array) -> pa.Array:
    """Zeros, or empty texts, in place of nulls; made of bytes, for a scalar made of a Python value loads pandas."""
    zeros = pa.py_buffer(bytes(16))
    buffers = [None, zeros, zeros] if pa.types.is_large_string(array.type) else [None, zeros]
    return array.fill_null(pa.Array.from_buffers(array.type, 1, buffers)[0]) if array.null_count else array


def _spelled(kind: pa.DataType) -> str:
    """A type's name without the inner names of lists, which Parquet does not keep."""
    if pa.types.is_list(kind):
        return f"list<{_spelled(kind.value_type)}>"
    t = pa.types
    plain = (t.is_string, t.is_large_string, t.is_boolean, t.is_integer, t.is_floating, t.is_timestamp, t.is_date)
    if not any(is_one(kind) for is_one in plain):
        raise TypeError(f"a table may hold text, numbers, booleans, dates and lists of them, not {kind}; cast it")
    return str(kind)


def write_table(path: Path, data: Rows) -> tuple[pq.ParquetWriter, str, int]:
    """Write all rows; return the writer, open for the lineage that ends the file, the content hash and the rows."""
    schema, tables = batches(data)
    content = ContentHash(schema)
    # Text is mostly ids: a dictionary of them takes longer to make, and more room, than the ids themselves.
    writer = pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=[c for c in schema.names if c == "log"])
    rows = 0
    with ThreadPoolExecutor(1) as beside:  # hashing and compressing take about as long
        for table in tables:
            hashed = beside.submit(content.update, table)
            writer.write_table(table, row_group_size=ROWS)
            hashed.result()
            rows += table.num_rows
    return writer, content.hexdigest(), rows


def end_table(writer: pq.ParquetWriter, path: Path, lineage: Lineage) -> None:
    """End a table's file with its lineage and its seal; files of before there was one have none."""
    writer.add_key_value_metadata({METADATA_KEY: lineage.to_json(), SEAL_KEY: BLANK})
    writer.close()
    place = _seal_place(path)
    seal = _sealed(path, place)
    with path.open("r+b") as file:
        file.seek(place)
        file.write(seal.encode())


def _seal_place(path: Path) -> int:
    """Where in a file its seal stands. ValueError where it has none."""
    with path.open("rb") as file:
        size = file.seek(-8, os.SEEK_END) + 8
        footer = 8 + int.from_bytes(file.read(4), "little")
        file.seek(-min(footer, size), os.SEEK_END)
        # A text in the footer: its length as one byte, before that the kind of the field.
        key = f"{SEAL_KEY}\x18\x40".encode()
        return file.tell() + file.read().rindex(key) + len(key)


def _sealed(path: Path, place: int) -> str:
    """The seal that a file should have."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        left = place
        while left:
            part = file.read(min(left, 1 << 20))
            digest.update(part)
            left -= len(part)
        digest.update(BLANK.encode())
        file.seek(place + len(BLANK))
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def is_as_written(path: Path, content: str) -> bool:
    """Whether a table's file is what was written; of one without a seal, whether its rows have this content hash."""
    seal = (pq.read_metadata(path).metadata or {}).get(SEAL_KEY.encode())
    return content_hash(path) == content if seal is None else seal.decode() == _sealed(path, _seal_place(path))


def content_hash(path: Path) -> str:
    """The content hash of a Parquet file's rows."""
    schema, tables = batches(path)
    content = ContentHash(schema)
    for table in tables:
        content.update(table)
    return content.hexdigest()


def read_lineage(path: Path) -> Lineage | None:
    """The lineage in a Parquet footer, None where there is none; DamagedFileError where it is not what was written."""
    with undamaged(path):
        text = (pq.read_metadata(path).metadata or {}).get(METADATA_KEY.encode())
        return None if text is None else Lineage.from_json(text.decode())
