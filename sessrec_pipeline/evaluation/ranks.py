"""Metrics of predictions from the ranks of their targets, in numpy: the same numbers to the bit as gains.sql gives.

Stored rankings are measured in SQL, where they are. What is ranked in memory (validation, tuning, studies) or counted
by rank (shards) is measured here.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sessrec_pipeline.settings import TieRule

TIE_RULES: tuple[TieRule, ...] = get_args(TieRule)


def target_ranks(greater: NDArray[np.int64], equal: NDArray[np.int64], tie_rule: TieRule) -> NDArray[np.float64]:
    """Rank of each target, (predictions,), 1 for the first; under the median rule it can lie between two places.

    greater, equal (predictions,): items scored greater than the target, and as high as it, the target itself included.
    """
    above, level = greater.astype(np.float64), equal.astype(np.float64)
    if tie_rule == "standard":
        return above + 1
    if tie_rule == "median":
        return above + (level + 1) / 2
    return above + level


def _ndcg(ranks: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    # The logarithm of the C library, which the engine of gains.sql uses, too; numpy's can differ in the last digit.
    distinct, which = np.unique(ranks, return_inverse=True)
    return np.array([1.0 / math.log2(rank + 1.0) for rank in distinct.tolist()])[which]


GAIN_OF: dict[str, Callable[[NDArray[np.float64], int], NDArray[np.float64]]] = {
    "recall": lambda ranks, k: np.ones_like(ranks),
    "mrr": lambda ranks, k: 1.0 / ranks,
    "ndcg": _ndcg,
    "map": lambda ranks, k: 1.0 / ranks,
    "precision": lambda ranks, k: np.full_like(ranks, 1.0 / k),
}
"""For each metric the gain of a target within the first K, from its rank and K."""
METRICS = tuple(GAIN_OF)


def gains(ranks: NDArray[np.float64], k: int, metrics: Sequence[str] = METRICS) -> NDArray[np.float64]:
    """Each prediction's contribution to each metric at cutoff ``k``, (metrics, predictions); 0 where the rank is > k.

    ranks (predictions,): as of ``target_ranks``. A metric is the mean of its gains over predictions. With one target a
    prediction, recall is the hit rate, the ideal DCG is 1, and average precision (map) is the reciprocal rank.
    KeyError for a metric that is none of METRICS.
    """
    within = ranks <= k
    found = np.zeros((len(metrics), len(ranks)))
    for row, metric in zip(found, metrics, strict=True):
        row[within] = GAIN_OF[metric](ranks[within], k)
    return found


def recall_and_mrr(
    rankings: pa.Table, k: int, tie_rule: TieRule = "conservative"
) -> dict[Literal["recall", "mrr"], float]:
    """Recall@k and MRR@k of rankings (columns greater, equal); by default the target is last among equal scores."""
    ranks = target_ranks(rankings["greater"].to_numpy(), rankings["equal"].to_numpy(), tie_rule)
    recall, mrr = gains(ranks, k, ("recall", "mrr")).mean(axis=1).tolist()
    return {"recall": recall, "mrr": mrr}
