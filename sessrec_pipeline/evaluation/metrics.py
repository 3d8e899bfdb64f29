"""Metrics from stored rankings: SQL sums per session, micro-averaged, with bootstrap intervals over sessions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from sessrec_pipeline.evaluation.comparisons import between, verdict
from sessrec_pipeline.evaluation.evidence import gains_of
from sessrec_pipeline.evaluation.ranks import METRICS
from sessrec_pipeline.evaluation.resampling import Sums, resampled, shares
from sessrec_pipeline.settings import EvaluationSettings
from sessrec_pipeline.storage.sql import sql_text

if TYPE_CHECKING:
    import pandas as pd

ORACLE = "oracle"
"""The model that knows a synthetic feed's law: a ceiling, which does not compete."""
MARKS = {"p_best": pa.float64(), "vs_best": pa.string(), "p_next": pa.float64(), "vs_next": pa.string()}
"""Columns of the leaderboard that say from which models a model differs, with their types."""
SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("metric", pa.string()),
        ("k", pa.int64()),
        ("tie_rule", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("predictions", pa.int64()),
        ("sessions", pa.int64()),
        ("rankings", pa.string()),
    ]
)


def session_sums(rankings: Mapping[str, Path], cutoffs: list[int]) -> pd.DataFrame:
    """One row per model, tie rule, cutoff and session, in this order: predictions and the sums of METRICS over them."""
    with gains_of(rankings, cutoffs) as connection:
        return connection.execute(sql_text("evaluation", "metrics")).df()


def metrics_table(rankings: Mapping[str, Path], nodes: Mapping[str, str], settings: EvaluationSettings) -> pa.Table:
    """The metrics table: a row per model, metric, cutoff and tie rule, with the rankings' lineage id.

    Micro-averaged: every prediction weighs the same. The 95 % interval resamples test sessions, not predictions, for
    the predictions of a session hang together; all models see the same resamples.
    """
    sums: dict[str, Sums] = {}
    columns: list[tuple[str, str, int]] = []
    for model, path in sorted(rankings.items()):
        found = session_sums({model: path}, settings.cutoffs)
        cells = found[["tie_rule", "k"]].drop_duplicates().itertuples(index=False, name=None)
        columns = [(metric, rule, k) for rule, k in cells for metric in METRICS]
        # Every session has a row for every rule and cutoff: (rules * cutoffs, sessions, metrics) to (sessions, columns)
        table = found[["predictions", *METRICS]].to_numpy(dtype=np.float64)
        by_cell = table.reshape(len(columns) // len(METRICS), -1, 1 + len(METRICS))
        sums[model] = Sums(by_cell[:, :, 1:].transpose(1, 0, 2).reshape(-1, len(columns)), by_cell[0, :, 0])
    sizes = {model: len(own.counts) for model, own in sums.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"the models ranked different numbers of test sessions, {sizes}; rank them all again")
    draws = resampled(list(sums.values()), max(sizes.values()), settings.bootstrap_samples, settings.seed)
    rows: list[dict[str, object]] = []
    for (model, own), means in zip(sums.items(), draws, strict=True):
        rows += [
            {
                "model": model,
                "metric": metric,
                "k": int(k),
                "tie_rule": rule,
                **estimate.as_row(),
                "predictions": int(own.counts.sum()),
                "sessions": len(own.counts),
                "rankings": nodes[model],
            }
            for (metric, rule, k), estimate in zip(columns, shares(own.means, means, len(own.counts)), strict=True)
        ]
    rows.sort(key=lambda r: (r["model"], r["tie_rule"], r["metric"], r["k"]))
    return pa.Table.from_pylist(rows, SCHEMA)


def leaderboard(metrics: pa.Table, comparisons: pa.Table, settings: EvaluationSettings) -> pa.Table:
    """One row per model under the settings' tie rule, the best in the primary metric first.

    Columns: model, then value, low and high of each metric and cutoff, p_best and vs_best, p_next and vs_next,
    predictions, sessions, tie_rule, rankings. p-values, corrected by Holm over all pairs, and verdicts (``VERDICTS`` of
    comparisons) are those of the primary metric: against the best model and against the one in the next row, null
    where there is none. The oracle does not compete: it is neither best nor next.
    """
    table = metrics.to_pandas()
    table = table[table["tie_rule"] == settings.tie_rule]
    rows = []
    for model, own in table.groupby("model"):
        row: dict[str, object] = {"model": model}
        for metric in METRICS:
            for k in settings.cutoffs:
                cell = own[(own["metric"] == metric) & (own["k"] == k)].iloc[0]
                row |= {
                    f"{metric}_at_{k}": cell["value"],
                    f"{metric}_at_{k}_low": None if np.isnan(cell["low"]) else cell["low"],
                    f"{metric}_at_{k}_high": None if np.isnan(cell["high"]) else cell["high"],
                }
        last = own.iloc[0]
        row |= {
            **dict.fromkeys(MARKS),
            "predictions": last["predictions"],
            "sessions": last["sessions"],
            "tie_rule": settings.tie_rule,
            "rankings": last["rankings"],
        }
        rows.append(row)
    metric, k = settings.deciding
    best = f"{metric}_at_{k}"
    rows.sort(key=lambda r: (-float(str(r[best])), str(r["model"])))
    competing = [row for row in rows if row["model"] != ORACLE]
    pairs = comparisons.to_pandas()
    for row, after in zip(competing, [*competing[1:], None], strict=True):
        for name, other in (("best", competing[0] if row is not competing[0] else None), ("next", after)):
            if other is not None:
                found = between(pairs, str(row["model"]), str(other["model"]), metric, k)
                p = found["p_holm"]
                row |= {f"p_{name}": None if np.isnan(p) else p, f"vs_{name}": verdict(found)}
    board = pa.Table.from_pylist(rows)
    bounds = {name: pa.float64() for name in board.column_names if name.endswith(("_low", "_high"))}
    types = MARKS | bounds  # a column of nothing but nulls has no type of its own
    return board.cast(pa.schema([field.with_type(types.get(field.name, field.type)) for field in board.schema]))
