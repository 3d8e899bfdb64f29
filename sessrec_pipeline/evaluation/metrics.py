"""Metrics from stored rankings: SQL sums per session, micro-averaged, with bootstrap intervals over sessions."""

from collections.abc import Mapping
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from sessrec_pipeline.settings import EvaluationSettings
from sessrec_pipeline.storage.sql import create_view, identifier, sql_text

METRICS = ("recall", "mrr", "ndcg")
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
    """One row per model, tie rule, cutoff and session: predictions and the sums of METRICS over them."""
    with duckdb.connect() as connection:
        for model, path in rankings.items():
            create_view(connection, f"rankings_{model}", [path])
        union = " UNION ALL ".join(
            f"SELECT '{identifier(model)}' AS model, session, greater, equal FROM rankings_{identifier(model)}"
            for model in rankings
        )
        connection.execute(f"CREATE VIEW rankings AS {union}")
        return connection.execute(sql_text("evaluation", "metrics"), {"cutoffs": cutoffs}).df()


def measure(rankings: Mapping[str, Path], nodes: Mapping[str, str], settings: EvaluationSettings) -> pa.Table:
    """The metrics table: a row per model, metric, cutoff and tie rule, with the rankings' lineage id.

    Micro-averaged: every prediction weighs the same. The 95 % interval resamples test sessions, not predictions, for
    the predictions of a session hang together; all models see the same resamples.
    """
    sums = session_sums(rankings, settings.cutoffs)
    rows: list[dict[str, object]] = []
    for model, own in sums.groupby("model", sort=True):
        wide = own.pivot(index="session", columns=["tie_rule", "k"], values=["predictions", *METRICS])
        counts = wide["predictions"].to_numpy(dtype=np.float64)[:, 0]
        columns = wide.columns[wide.columns.get_level_values(0) != "predictions"]
        values = wide[columns].to_numpy(dtype=np.float64)
        low, high = bootstrap(values, counts, settings.bootstrap_samples, settings.seed)
        means = values.sum(axis=0) / counts.sum()
        for i, column in enumerate(columns.to_list()):
            metric, tie_rule, k = tuple(column)
            rows.append(
                {
                    "model": model,
                    "metric": metric,
                    "k": int(k),
                    "tie_rule": tie_rule,
                    "value": means[i],
                    "low": low[i],
                    "high": high[i],
                    "predictions": int(counts.sum()),
                    "sessions": len(counts),
                    "rankings": nodes[str(model)],
                }
            )
    rows.sort(key=lambda r: (r["model"], r["tie_rule"], r["metric"], r["k"]))
    return pa.Table.from_pylist(rows, SCHEMA)


def bootstrap(
    sums: NDArray[np.float64], counts: NDArray[np.float64], samples: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile interval (2.5 %, 97.5 %) of ``sums.sum(0) / counts.sum()`` over resampled sessions.

    sums float64 (sessions, metrics), counts float64 (sessions,); returns low and high, float64 (metrics,).
    """
    rng = np.random.default_rng(seed)
    sessions = len(counts)
    means = np.empty((samples, sums.shape[1]))
    for i in range(samples):
        weights = np.bincount(rng.integers(sessions, size=sessions), minlength=sessions)
        means[i] = weights @ sums / (weights @ counts)
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return low, high


def leaderboard(metrics: pa.Table, settings: EvaluationSettings) -> pa.Table:
    """One row per model under the settings' tie rule, best Recall at the largest cutoff first.

    Columns: model, then value, low and high of each metric and cutoff, predictions, sessions, tie_rule, rankings.
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
                    f"{metric}_at_{k}_low": cell["low"],
                    f"{metric}_at_{k}_high": cell["high"],
                }
        last = own.iloc[0]
        row |= {
            "predictions": last["predictions"],
            "sessions": last["sessions"],
            "tie_rule": settings.tie_rule,
            "rankings": last["rankings"],
        }
        rows.append(row)
    best = f"recall_at_{max(settings.cutoffs)}"
    rows.sort(key=lambda r: (-float(str(r[best])), str(r["model"])))
    return pa.Table.from_pylist(rows)
