import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sessrec_pipeline.evaluation.metrics import metrics_table
from sessrec_pipeline.evaluation.ranking import MISS, SCHEMA, rank
from sessrec_pipeline.evaluation.shards import COUNTS, bounds, metrics_of, rank_counts, shard_of, summed
from sessrec_pipeline.models.counts.popularity import Popularity
from sessrec_pipeline.settings import EvaluationSettings

LENGTHS = st.lists(st.integers(1, 9), max_size=40)
SHARDS = st.integers(1, 12)
EVIDENCE = st.lists(st.tuples(st.one_of(st.integers(0, 25), st.just(MISS)), st.integers(1, 6)), min_size=1, max_size=60)


def numbers(lengths: list[int], gap: int = 1) -> np.ndarray:
    return np.repeat(np.arange(len(lengths)) * gap + 7, lengths)


@given(LENGTHS, SHARDS, st.integers(1, 3))
def test_every_event_is_in_one_shard_and_no_session_in_two(lengths: list[int], shards: int, gap: int) -> None:
    own = numbers(lengths, gap)
    found = bounds(own, shards)
    assert len(found) == shards + 1 and found[0] == 0 and found[-1] == len(own)
    assert (np.diff(found) >= 0).all()
    inner = [edge for edge in found[1:-1] if 0 < edge < len(own)]
    assert all(own[edge - 1] != own[edge] for edge in inner)


@given(LENGTHS, SHARDS)
def test_shards_are_even_but_for_a_session(lengths: list[int], shards: int) -> None:
    own = numbers(lengths)
    assert (np.abs(np.diff(bounds(own, shards)) - len(own) / shards) <= max(lengths, default=0)).all()


@given(LENGTHS, SHARDS, st.integers(1, 50))
@hypothesis_settings(deadline=None, max_examples=50)
def test_the_shards_of_a_file_are_the_file(lengths: list[int], shards: int, row_group: int) -> None:
    """Whatever the row groups, of which a shard reads its own alone."""
    own = numbers(lengths)
    table = pa.table({"session_number": own, "item": [f"i{n}" for n in range(len(own))]})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "test.parquet"
        pq.write_table(table, path, row_group_size=row_group)
        parts = [shard_of(path, shard, shards) for shard in range(shards)]
    assert pa.concat_tables(parts).equals(table)


def rankings_of(evidence: list[tuple[int, int]]) -> pa.Table:
    greater, equal = zip(*evidence, strict=True)
    return pa.table({"greater": pa.array(greater, pa.int64()), "equal": pa.array(equal, pa.int64())})


@given(EVIDENCE, st.data())
def test_counts_do_not_depend_on_the_cut(evidence: list[tuple[int, int]], data: st.DataObject) -> None:
    table = rankings_of(evidence)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(evidence)), max_size=5)))
    edges = [0, *cuts, len(evidence)]
    parts = [rank_counts(table.slice(a, b - a)) for a, b in pairwise(edges)]
    data.draw(st.randoms()).shuffle(parts)
    whole = rank_counts(table)
    assert summed(parts).equals(whole) and whole.schema == COUNTS
    assert metrics_of(summed(parts), [5, 20]) == metrics_of(whole, [5, 20])
    by_rule = whole.group_by("tie_rule").aggregate([("predictions", "sum")])["predictions_sum"].to_pylist()
    assert by_rule == [len(evidence)] * 3


@given(EVIDENCE)
@hypothesis_settings(deadline=None, max_examples=25)
def test_counts_give_the_metrics_of_the_table(evidence: list[tuple[int, int]]) -> None:
    """Recall to the bit; the others but for what rounds in the table's sum over predictions."""
    table = rankings_of(evidence)
    for name, values in {
        "position": range(len(evidence)),
        "session": [f"s{n // 3}" for n in range(len(evidence))],
    }.items():
        table = table.append_column(name, pa.array(values))
    settings = EvaluationSettings(cutoffs=[1, 5, 20], bootstrap_samples=100)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.parquet"
        pq.write_table(table, path)
        rows = metrics_table({"model": path}, {"model": "id"}, settings).to_pylist()
    expected = {(row["metric"], row["tie_rule"], row["k"]): row["value"] for row in rows}
    found = metrics_of(rank_counts(table), settings.cutoffs)
    assert len(found) == 3 * 3 * 3
    for cell, value in found.items():
        if cell[0] == "recall":
            assert value == expected[cell], cell
        else:
            assert value == pytest.approx(expected[cell], rel=1e-14), cell


def test_half_ranks_are_counted() -> None:
    """Two at the target's score, one above: conservative 3, median 2.5, standard 2."""
    assert rank_counts(rankings_of([(1, 2)])).to_pylist() == [
        {"tie_rule": "conservative", "twice_rank": 6, "predictions": 1},
        {"tie_rule": "median", "twice_rank": 5, "predictions": 1},
        {"tie_rule": "standard", "twice_rank": 4, "predictions": 1},
    ]


def test_a_shard_without_sessions_is_ranked() -> None:
    test = pa.table({"session": ["s"], "session_number": [0], "position": [0], "item": ["a"]})
    ranked = rank(Popularity(2), ["a", "b"], test.slice(0, 0), batch_size=8, top=1)
    assert (ranked.num_rows, ranked.schema) == (0, SCHEMA)
    assert summed([rank_counts(ranked), rank_counts(rankings_of([(0, 1)]))]) == rank_counts(rankings_of([(0, 1)]))
