import tempfile
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessrec_pipeline.storage import lake
from sessrec_pipeline.storage.lake import ContentHash, batches, content_hash, read_lineage, write_table
from sessrec_pipeline.storage.lineage import METADATA_KEY, Lineage, Node

SCHEMA = pa.schema(
    [("s", pa.string()), ("i", pa.int64()), ("d", pa.float64()), ("b", pa.bool_()), ("l", pa.list_(pa.string()))]
)
text = st.none() | st.text(max_size=3)
rows = st.lists(
    st.tuples(
        text,
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.floats(allow_nan=False).map(lambda x: x or 0.0),  # -0.0 equals 0.0, but not as bytes
        st.none() | st.booleans(),
        st.none() | st.lists(text, max_size=3),
    ),
    min_size=1,
    max_size=14,
)
few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Steps of 4 rows, so that small tables cross their borders."""
    monkeypatch.setattr(lake, "ROWS", 4)
    yield


def table_of(values: list[tuple[Any, ...]]) -> pa.Table:
    return pa.table([pa.array([row[i] for row in values], field.type) for i, field in enumerate(SCHEMA)], schema=SCHEMA)


def hash_of(data: pa.Table | Path) -> str:
    schema, tables = batches(data)
    content = ContentHash(schema)
    for table in tables:
        content.update(table)
    return content.hexdigest()


def parts(table: pa.Table, cuts: list[int]) -> list[pa.Table]:
    borders = sorted({0, table.num_rows, *(cut % table.num_rows for cut in cuts)})
    return [table.slice(a, b - a) for a, b in pairwise(borders)]


@given(rows, st.lists(st.integers(0, 13), max_size=4), st.booleans(), st.integers(1, 9))
@few
def test_the_hash_is_blind_to_how_the_rows_are_stored(
    values: list[tuple[Any, ...]], cuts: list[int], dictionary: bool, row_group: int
) -> None:
    table = table_of(values)
    chunked = pa.concat_tables(parts(table, cuts))
    with tempfile.TemporaryDirectory() as name:
        scratch, file = Path(name, "scratch"), Path(name, "file.parquet")
        scratch.mkdir()
        for i, part in enumerate(parts(table, cuts)):
            pq.write_table(part, scratch / f"part-{i}.parquet", use_dictionary=dictionary, row_group_size=row_group)
        writer, written, n = write_table(file, scratch)
        writer.close()
        hashes = {hash_of(table), hash_of(chunked), content_hash(scratch), content_hash(file), written}
        assert len(hashes) == 1
        assert n == len(values)
        assert pq.read_table(file).to_pylist() == table.to_pylist()


@given(rows, rows)
@few
def test_two_tables_have_one_hash_when_they_are_equal(one: list[tuple[Any, ...]], other: list[tuple[Any, ...]]) -> None:
    assert (hash_of(table_of(one)) == hash_of(table_of(other))) == (one == other)


@given(rows, st.data())
@few
def test_one_changed_cell_changes_the_hash(values: list[tuple[Any, ...]], data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(values) - 1))
    column = data.draw(st.integers(0, len(SCHEMA) - 1))
    cell = data.draw(rows)[0][column]
    changed = list(values)
    changed[row] = (*values[row][:column], cell, *values[row][column + 1 :])
    assert (hash_of(table_of(values)) == hash_of(table_of(changed))) == (cell == values[row][column])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": ["x", None]}, {"a": ["x", ""]}),
        ({"a": [1, None]}, {"a": [1, 0]}),
        ({"a": [["x"], None]}, {"a": [["x"], []]}),
        ({"a": [["x", None]]}, {"a": [["x", ""]]}),
        ({"a": [["x"], ["y", "z"]]}, {"a": [["x", "y"], ["z"]]}),
        ({"a": ["ab", "c"]}, {"a": ["a", "bc"]}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        ({"a": [1, 2]}, {"a": [1, 2, 2]}),
        ({"a": [1]}, {"b": [1]}),
        ({"a": [1], "b": [1]}, {"b": [1], "a": [1]}),
        ({"a": [1]}, {"a": [1.0]}),
        ({"a": pa.array([1], pa.int32())}, {"a": pa.array([1], pa.int64())}),
        ({"a": pa.array(["x"], pa.string())}, {"a": pa.array(["x"], pa.large_string())}),
        ({"a": pa.array([[]], pa.list_(pa.string()))}, {"a": pa.array([[]], pa.list_(pa.int64()))}),
        ({"a": [date(2026, 1, 1)]}, {"a": [date(2026, 1, 2)]}),
        ({"a": [datetime(2026, 1, 1), None]}, {"a": [datetime(2026, 1, 1), datetime(1970, 1, 1)]}),
        ({"a": pa.array([], pa.int64())}, {"a": pa.array([], pa.string())}),
    ],
)
def test_what_differs_has_different_hashes(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert hash_of(pa.table(one)) != hash_of(pa.table(other))


@pytest.mark.parametrize("values", [[Decimal("1.5")], [b"bytes"], [{"a": 1}], [None]])
def test_a_type_that_cannot_be_hashed_is_refused(values: list[Any]) -> None:
    """As an object in memory it would have another hash at every run."""
    with pytest.raises(TypeError, match="a table may hold"):
        hash_of(pa.table({"a": values}))


def test_an_engines_lists_and_ours_are_the_same_type(tmp_path: Path) -> None:
    duckdb.sql("SELECT ['a', 'b'] AS l").write_parquet(str(tmp_path / "engine.parquet"))
    assert content_hash(tmp_path / "engine.parquet") == hash_of(pa.table({"l": [["a", "b"]]}))


def test_row_groups_do_not_depend_on_the_input(tmp_path: Path) -> None:
    table = pa.table({"a": range(10)})
    ragged = pa.concat_tables(parts(table, [1, 2, 7]))
    for name, data in (("whole", table), ("ragged", ragged)):
        writer, _, _ = write_table(tmp_path / name, data)
        writer.close()
        metadata = pq.read_metadata(tmp_path / name)
        assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [4, 4, 2]


def test_lineage_is_in_the_footer_and_not_in_the_hash(tmp_path: Path) -> None:
    table = pa.table({"a": [1, 2]})
    node = Node("naïve", "ü.tsv", hash_of(table), "1", {"k": None}, "python", "run", "2026-11-01T00:00:00+00:00")
    path = tmp_path / "table.parquet"
    writer, written, _ = write_table(path, table)
    writer.add_key_value_metadata({METADATA_KEY: Lineage(node).to_json()})
    writer.close()
    assert read_lineage(path) == Lineage(node)
    assert content_hash(path) == written == node.data_version


def test_a_table_of_somebody_else_has_no_lineage(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "x.parquet")
    assert read_lineage(tmp_path / "x.parquet") is None


@pytest.mark.parametrize("column", ["numbers", "words"])
def test_a_flipped_byte_in_a_data_page_is_seen(tmp_path: Path, column: str) -> None:
    rng = np.random.default_rng(0)
    numbers = rng.integers(2**62, size=1000)
    table = pa.table({"numbers": numbers, "words": [f"{n:x}" for n in numbers]})
    path = tmp_path / "table.parquet"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lake, "ROWS", 10_000)
        writer, before, _ = write_table(path, table)
        writer.close()
        chunk = pq.read_metadata(path).row_group(0).column(table.column_names.index(column))
        start, size = chunk.dictionary_page_offset or chunk.data_page_offset, chunk.total_compressed_size
        clean = path.read_bytes()
        for place in rng.integers(start + size // 4, start + size, size=20):
            damaged = bytearray(clean)
            damaged[place] ^= 0x10
            path.write_bytes(damaged)
            assert outcome(content_hash, path) != before
        path.write_bytes(clean)
        assert content_hash(path) == before


def outcome(function: Callable[[Path], str], path: Path) -> str:
    try:
        return function(path)
    except (OSError, pa.ArrowInvalid) as error:
        return f"refused: {error}"
