"""Other questions to the same rankings: only the last event of a session, or all that it still had to come."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sessrec_pipeline.evaluation.evidence import GAINS, Evidence
from sessrec_pipeline.evaluation.resampling import Sums, interval, resampled
from sessrec_pipeline.settings import EvaluationSettings
from sessrec_pipeline.storage.sql import create_view, sql_text

PROTOCOLS = {
    "next_item": "every event from the second of its session on is a target: the standard protocol",
    "last_item": "the last event of a session alone is a target, so every session weighs the same",
    "remaining_items": "a list is judged against all distinct items that its session still had to come",
}
REMAINING = ("precision", "recall", "map")
AS_LISTED = "as listed"
"""In place of a tie rule: lists stand as the models gave them, the lower item index first among equal scores."""
SCHEMA = pa.schema(
    [
        ("protocol", pa.string()),
        ("model", pa.string()),
        ("metric", pa.string()),
        ("k", pa.int64()),
        ("tie_rule", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("predictions", pa.int64()),
        ("sessions", pa.int64()),
    ]
)


def measure(rankings: Mapping[str, Path], test: Path, settings: EvaluationSettings) -> pa.Table:
    """The protocols table: a row per protocol, model, metric and cutoff, with 95 % intervals over test sessions.

    Micro-averaged over the predictions that count under the protocol. ValueError where the models ranked different
    predictions, or not those of ``test``.
    """
    evidence = Evidence.of(rankings, settings)
    every = np.arange(len(evidence.sessions))
    last = np.flatnonzero(np.append(np.diff(evidence.sessions), 1))
    cells: list[tuple[str, str, tuple[str, ...], str, Sums]] = []
    for model in sorted(rankings):
        for protocol, inside in (("next_item", every), ("last_item", last)):
            mask = np.zeros(len(every))
            mask[inside] = 1
            values = evidence.per_session(evidence.gains[model] * mask)
            cells.append((protocol, model, GAINS, settings.tie_rule, Sums(values, _counts(evidence, mask))))
        remaining = _remaining(rankings[model], test, settings.cutoffs)
        if remaining.counts.sum() != len(every):
            raise ValueError("the rankings are not those of this test split; rank the models again")
        cells.append(("remaining_items", model, REMAINING, AS_LISTED, remaining))
    drawn = resampled([sums for *_, sums in cells], evidence.n_sessions, settings.bootstrap_samples, settings.seed)
    rows = [
        row
        for (protocol, model, metrics, tie_rule, sums), means in zip(cells, drawn, strict=True)
        for row in _rows(protocol, model, [(m, k) for m in metrics for k in settings.cutoffs], tie_rule, sums, means)
    ]
    order = list(PROTOCOLS)
    rows.sort(key=lambda row: order.index(str(row["protocol"])))
    return pa.Table.from_pylist(rows, SCHEMA)


def _counts(evidence: Evidence, mask: NDArray[np.float64]) -> NDArray[np.float64]:
    return evidence.per_session(mask[None])[:, 0]


def _remaining(rankings: Path, test: Path, cutoffs: list[int]) -> Sums:
    """The sums of remaining.sql: sessions in the order of their ids, columns (REMAINING, cutoffs)."""
    with duckdb.connect() as connection:
        create_view(connection, "rankings", [rankings])
        create_view(connection, "test", [test])
        connection.execute("CREATE TABLE cutoffs AS SELECT UNNEST($cutoffs) AS k", {"cutoffs": cutoffs})
        found = connection.execute(sql_text("evaluation", "remaining")).fetchnumpy()
    by_cutoff = {name: np.asarray(found[name], np.float64).reshape(len(cutoffs), -1) for name in REMAINING}
    counts = np.asarray(found["predictions"], np.float64).reshape(len(cutoffs), -1)[0]
    return Sums(np.concatenate([by_cutoff[name] for name in REMAINING]).T, counts)


def _rows(
    protocol: str, model: str, columns: list[tuple[str, int]], tie_rule: str, sums: Sums, means: NDArray[np.float64]
) -> Iterator[dict[str, object]]:
    low, high = interval(means)
    values = sums.values.sum(axis=0) / sums.counts.sum()
    for i, (metric, k) in enumerate(columns):
        yield {
            "protocol": protocol,
            "model": model,
            "metric": metric,
            "k": k,
            "tie_rule": tie_rule,
            "value": values[i],
            "low": low[i],
            "high": high[i],
            "predictions": int(sums.counts.sum()),
            "sessions": int(np.count_nonzero(sums.counts)),
        }
