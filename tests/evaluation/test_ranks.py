import math
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sessrec_pipeline.evaluation.evidence import gains_of
from sessrec_pipeline.evaluation.ranking import MISS
from sessrec_pipeline.evaluation.ranks import METRICS, TIE_RULES, gains, recall_and_mrr, target_ranks

COUNTS = st.lists(
    st.tuples(st.integers(0, 3000) | st.integers(0, 30) | st.just(MISS), st.integers(1, 3000) | st.integers(1, 12)),
    min_size=1,
    max_size=60,
)
CUTOFFS = st.sets(st.integers(1, 4000) | st.integers(1, 40), min_size=1, max_size=4).map(sorted)


def rankings_of(counts: list[tuple[int, int]]) -> pa.Table:
    greater, equal = zip(*counts, strict=True)
    return pa.table(
        {
            "session": ["s"] * len(counts),
            "position": range(len(counts)),
            "greater": pa.array(greater, pa.int64()),
            "equal": pa.array(equal, pa.int64()),
        }
    )


@given(COUNTS, CUTOFFS)
@example([(rank - 1, 1) for rank in range(1, 2001)] + [(rank - 1, 2) for rank in range(1, 2001)], [2000])
@hypothesis_settings(max_examples=40, deadline=None)
def test_numpy_and_sql_give_the_same_gains_to_the_last_bit(counts: list[tuple[int, int]], cutoffs: list[int]) -> None:
    table = rankings_of(counts)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.parquet"
        pq.write_table(table, path)
        with gains_of({"m": path}, cutoffs) as connection:
            columns = ", ".join(METRICS)
            sql = connection.execute(f"SELECT {columns} FROM gains ORDER BY tie_rule, k, position").fetchnumpy()
    greater, equal = (table[name].to_numpy() for name in ("greater", "equal"))
    ours = [gains(target_ranks(greater, equal, rule), k) for rule in sorted(TIE_RULES) for k in cutoffs]
    for metric, found in zip(METRICS, np.concatenate(ours, axis=1), strict=True):
        np.testing.assert_array_equal(found, sql[metric], strict=True)


@given(COUNTS, st.integers(1, 40))
def test_recall_and_mrr_are_the_means_of_a_loop(counts: list[tuple[int, int]], k: int) -> None:
    ranks = [greater + equal for greater, equal in counts]
    hits = [rank for rank in ranks if rank <= k]
    found = recall_and_mrr(rankings_of(counts), k)
    assert found["recall"] == len(hits) / len(ranks)
    assert found["mrr"] == pytest.approx(math.fsum(1 / rank for rank in hits) / len(ranks), rel=1e-12)


def test_the_rule_decides_among_equal_scores() -> None:
    """Two at the target's score, one above: places 2 and 3."""
    rankings = rankings_of([(1, 2)])
    assert {rule: recall_and_mrr(rankings, 3, rule)["mrr"] for rule in TIE_RULES} == {
        "standard": 1 / 2,
        "median": 1 / 2.5,
        "conservative": 1 / 3,
    }
    assert recall_and_mrr(rankings, 2, "standard")["recall"] == 1
    assert recall_and_mrr(rankings, 2, "conservative")["recall"] == 0


def test_only_known_metrics_are_given_and_in_the_order_asked() -> None:
    ranks = np.array([1.0, 2.0, 5.0])
    np.testing.assert_array_equal(gains(ranks, 2, ("precision", "recall")), [[0.5, 0.5, 0], [1, 1, 0]])
    with pytest.raises(KeyError):
        gains(ranks, 2, ("accuracy",))
    assert gains(ranks[:0], 2).shape == (len(METRICS), 0)
