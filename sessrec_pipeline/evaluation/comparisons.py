"""Which differences between models are more than chance: paired tests on the same sessions, corrected by Holm.

Two models answered the same predictions, so what one session makes easy or hard is common to both and drops out of
their difference: intervals of single models may overlap where their difference is certain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sessrec_pipeline.evaluation.estimates import Estimate
from sessrec_pipeline.evaluation.evidence import GAINS, Evidence
from sessrec_pipeline.evaluation.resampling import CHUNK, Sums, estimates, resampled
from sessrec_pipeline.quality.splits import LEAST_SESSIONS
from sessrec_pipeline.settings import EvaluationSettings

if TYPE_CHECKING:
    import pandas as pd

VERDICT_SESSIONS = 50
"""From fewer test sessions nothing is said of two models: resampling too few makes intervals too narrow still (from 50
sessions of very different lengths some 93 % of those called 95 % hold the truth, from 10 some 88 %)."""
Verdict = Literal["differs", "differs within margin", "equivalent", "not told apart", "too few sessions"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""A difference that is significant and may matter; one that is significant and too small to matter; one that is not,
and is surely too small to matter; one of which these sessions tell neither; one of which nothing is said."""

SCHEMA = pa.schema(
    [
        ("model_a", pa.string()),
        ("model_b", pa.string()),
        ("metric", pa.string()),
        ("k", pa.int64()),
        ("tie_rule", pa.string()),
        ("difference", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("p", pa.float64()),
        ("p_holm", pa.float64()),
        ("significant", pa.bool_()),
        ("margin", pa.float64()),
        ("equivalent", pa.bool_()),
        ("predictions", pa.int64()),
        ("sessions", pa.int64()),
    ]
)


def compare(rankings: Mapping[str, Path], settings: EvaluationSettings) -> pa.Table:
    """The comparisons table: a row per pair of models, metric and cutoff, under the settings' tie rule.

    That a test finds no difference does not make two models equal. They are ``equivalent`` where the whole interval of
    their difference lies within ``margin`` to both sides: the settings' share of the better one's value.

    The difference is that of the micro-averages, a - b; its 95 % interval comes from the resamples behind the metrics'
    intervals, its p-value from ``sign_flips``; ``p_holm`` is corrected over all pairs of the metric and cutoff. From
    fewer than LEAST_SESSIONS sessions there is neither interval nor p, from fewer than VERDICT_SESSIONS no verdict
    (significant, equivalent): null.
    ValueError where the models ranked different predictions.
    """
    evidence = Evidence.of(rankings, settings)
    counts = evidence.per_session(np.ones((1, len(evidence.sessions))))[:, 0]
    sums = {model: evidence.per_session(evidence.gains[model]) for model in sorted(rankings)}
    drawn = resampled(
        [Sums(own, counts) for own in sums.values()], len(counts), settings.bootstrap_samples, settings.seed
    )
    means = dict(zip(sums, drawn, strict=True))
    pairs = list(combinations(sums, 2))
    p = sign_flips(sums, pairs, settings.permutations, settings.seed)
    corrected = holm(p)
    rows: list[dict[str, object]] = []
    cells = [(metric, k) for metric in GAINS for k in settings.cutoffs]
    tested, judged = len(counts) >= LEAST_SESSIONS, len(counts) >= VERDICT_SESSIONS
    for pair, (a, b) in enumerate(pairs):
        differences = estimates(Sums(sums[a] - sums[b], counts).means, means[a] - means[b], len(counts))
        better = np.maximum(Sums(sums[a], counts).means, Sums(sums[b], counts).means)
        margins = (settings.equivalence_margin * better).tolist()
        rows += [
            {
                "model_a": a,
                "model_b": b,
                "metric": metric,
                "k": k,
                "tie_rule": settings.tie_rule,
                **_named(differences[i]),
                "p": p[pair, i] if tested else None,
                "p_holm": corrected[pair, i] if tested else None,
                "significant": bool(corrected[pair, i] < settings.alpha) if judged else None,
                "margin": margins[i],
                "equivalent": _within(differences[i], margins[i]) if judged else None,
                "predictions": len(evidence.sessions),
                "sessions": len(counts),
            }
            for i, (metric, k) in enumerate(cells)
        ]
    return pa.Table.from_pylist(rows, SCHEMA)


def _named(difference: Estimate) -> dict[str, float | None]:
    row = difference.as_row()
    return {"difference": row.pop("value"), **row}


def _within(difference: Estimate, margin: float) -> bool:
    """Whether the whole interval lies within the margin; no two models that find nothing are equivalent."""
    return margin > 0 and -margin <= difference.low and difference.high <= margin


def difference_in(row: Mapping[str, Any]) -> Estimate:
    """The difference in a row of the comparisons table, with its interval."""
    low, high = (math.nan if row[end] is None else float(row[end]) for end in ("low", "high"))
    return Estimate(float(row["difference"]), low, high)


def verdict(row: Mapping[str, Any]) -> Verdict:
    """What a row of the comparisons table says of its two models."""
    significant, equivalent = row["significant"], row["equivalent"]
    if significant is None or equivalent is None:
        return "too few sessions"
    if significant:
        return "differs within margin" if equivalent else "differs"
    return "equivalent" if equivalent else "not told apart"


def sign_flips(
    sums: Mapping[str, NDArray[np.float64]], pairs: Sequence[tuple[str, str]], permutations: int, seed: int
) -> NDArray[np.float64]:
    """Two-sided p-values of the pairs' differences, (pairs, metrics); sums (sessions, metrics) for each model.

    If two models were equally good, either could have had either's result in a session: so in every permutation the
    results are swapped in half of the sessions, at random, which flips the sign of their differences. p is the share of
    permutations, the observed one among them, whose total difference is at least as large. Sessions are swapped whole,
    and in the same way for all pairs. No distribution is assumed.
    """
    rng = np.random.default_rng(seed)
    sessions, metrics = next(iter(sums.values())).shape
    observed = np.array([np.abs((sums[a] - sums[b]).sum(axis=0)) for a, b in pairs]).reshape(len(pairs), metrics)
    reached = np.ones((len(pairs), metrics))
    bound = observed * (1 - 1e-12) - 1e-9  # equal totals may differ in their last digits
    for start in range(0, permutations, CHUNK):
        size = min(CHUNK, permutations - start)
        bits = np.frombuffer(rng.bytes(size * (sessions // 8 + 1)), np.uint8).reshape(size, -1)
        signs = np.unpackbits(bits, axis=1, count=sessions) * 2.0 - 1.0
        flipped = {model: signs @ own for model, own in sums.items()}
        for i, (a, b) in enumerate(pairs):
            reached[i] += (np.abs(flipped[a] - flipped[b]) >= bound[i]).sum(axis=0)
    return reached / (permutations + 1)


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's step-down correction of p-values over the first axis (pairs, metrics): never smaller, at most 1.

    S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979.
    """
    order = np.argsort(p, axis=0, kind="stable")
    left = np.arange(len(p), 0, -1)[:, None]
    stepped = np.minimum(np.maximum.accumulate(np.take_along_axis(p, order, axis=0) * left, axis=0), 1.0)
    corrected = np.empty_like(p)
    np.put_along_axis(corrected, order, stepped, axis=0)
    return corrected


def between(comparisons: pd.DataFrame, a: str, b: str, metric: str, k: int) -> dict[str, Any]:
    """The row of two models with the difference as a - b, whichever way it is stored; LookupError without one."""
    at_k = comparisons[(comparisons["metric"] == metric) & (comparisons["k"] == k)]
    rows: list[dict[str, Any]] = [{str(name): cell for name, cell in row.items()} for row in at_k.to_dict("records")]
    for row in rows:
        if (row["model_a"], row["model_b"]) == (a, b):
            return row
        if (row["model_a"], row["model_b"]) == (b, a):
            turned = {"difference": -row["difference"], "low": -row["high"], "high": -row["low"]}
            return row | {"model_a": a, "model_b": b} | turned
    raise LookupError(f"{a} and {b} are not compared in {metric}@{k}; materialize comparisons again")
