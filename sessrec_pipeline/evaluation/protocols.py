"""Other questions to the same rankings: only the last event of a session, or all that it still had to come."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sessrec_pipeline.evaluation.evidence import GAINS, Evidence
from sessrec_pipeline.evaluation.resampling import Sums, resampled, shares
from sessrec_pipeline.settings import EvaluationSettings
from sessrec_pipeline.storage.sql import create_view, sql_text

PROTOCOLS = {
    "next_item": "every event from the second of its session on is a target: the standard protocol",
    "last_item": "the last event of a session alone is a target, so every session weighs the same",
    "remaining_items": "a list is judged against all distinct items that its session still had to come",
}
REMAINING = ("precision", "recall", "map")
AS_LISTED = "as listed"
"""In place of a tie rule: lists are as the models gave them, the lower item index first among equal scores."""
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


def protocols_table(rankings: Mapping[str, Path], test: Path, settings: EvaluationSettings) -> pa.Table:
    """The protocols table: a row per protocol, model, metric and cutoff, with 95 % intervals over test sessions.

    Micro-averaged over the predictions that count under the protocol. ValueError where the models ranked different
    predictions, or not those of ``test``.
    """
    evidence = Evidence.of(rankings, settings)
    every = np.ones((1, len(evidence.sessions)))
    last = np.append(np.diff(evidence.sessions), 1)[None] * 1.0
    cells: list[tuple[str, str, tuple[str, ...], str, Sums]] = []
    for model, gains in sorted(evidence.gains.items()):
        for protocol, counted in (("next_item", every), ("last_item", last)):
            sums = Sums(evidence.per_session(gains * counted), evidence.per_session(counted)[:, 0])
            cells.append((protocol, model, GAINS, settings.tie_rule, sums))
        judged = remaining(rankings[model], test, settings.cutoffs)
        if judged.shape[-1] != every.size:
            raise ValueError("the rankings are not those of this test split; rank the models again")
        sums = Sums(evidence.per_session(judged), evidence.per_session(every)[:, 0])
        cells.append(("remaining_items", model, REMAINING, AS_LISTED, sums))
    drawn = resampled([sums for *_, sums in cells], evidence.n_sessions, settings.bootstrap_samples, settings.seed)
    rows = [
        row
        for (protocol, model, metrics, tie_rule, sums), means in zip(cells, drawn, strict=True)
        for row in _rows(protocol, model, [(m, k) for m in metrics for k in settings.cutoffs], tie_rule, sums, means)
    ]
    order = list(PROTOCOLS)
    rows.sort(key=lambda row: order.index(str(row["protocol"])))
    return pa.Table.from_pylist(rows, SCHEMA)


def remaining(rankings: Path, test: Path, cutoffs: list[int]) -> NDArray[np.float64]:
    """What remaining.sql says of each prediction, in session and position order, (REMAINING, cutoffs, predictions)."""
    with duckdb.connect() as connection:
        create_view(connection, "rankings", [rankings])
        create_view(connection, "test", [test])
        connection.execute("CREATE TABLE cutoffs AS SELECT UNNEST($cutoffs) AS k", {"cutoffs": cutoffs})
        found = connection.execute(sql_text("evaluation", "remaining")).fetchnumpy()
    return np.array([found[name].reshape(len(cutoffs), -1) for name in REMAINING], dtype=np.float64)


def _rows(
    protocol: str, model: str, columns: list[tuple[str, int]], tie_rule: str, sums: Sums, means: NDArray[np.float64]
) -> Iterator[dict[str, object]]:
    sessions = int(np.count_nonzero(sums.counts))
    for (metric, k), estimate in zip(columns, shares(sums.means, means, sessions), strict=True):
        yield {
            "protocol": protocol,
            "model": model,
            "metric": metric,
            "k": k,
            "tie_rule": tie_rule,
            **estimate.as_row(),
            "predictions": int(sums.counts.sum()),
            "sessions": sessions,
        }
