"""The rows of a study's table: recall and MRR of each variation and model with intervals, and their differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from sessrec_pipeline.evaluation.estimates import Estimate
from sessrec_pipeline.evaluation.metrics import session_sums
from sessrec_pipeline.evaluation.resampling import Sums, estimates, resampled, shares
from sessrec_pipeline.settings import EvaluationSettings, TieRule

if TYPE_CHECKING:
    import pandas as pd

RULE: TieRule = "conservative"
"""The tie rule of every study but that of the tie rules."""
METRICS = ("recall", "mrr")

Row = dict[str, Any]
SCHEMA = pa.schema(
    [
        ("variation", pa.string()),
        ("x", pa.float64()),
        ("model", pa.string()),
        ("metric", pa.string()),
        ("k", pa.int64()),
        ("tie_rule", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("difference", pa.float64()),
        ("difference_low", pa.float64()),
        ("difference_high", pa.float64()),
        ("predictions", pa.int64()),
        ("sessions", pa.int64()),
        ("train_sessions", pa.int64()),
        ("items", pa.int64()),
        ("left_out", pa.int64()),
    ]
)
"""Columns of a study's table; ``study.COLUMNS`` says what they mean."""


@dataclass
class Results:
    """What a study has measured so far, at cutoff ``k``: rows, and the sums by session behind them.

    Sums by session are a frame with the columns predictions and METRICS, indexed by session.
    """

    k: int
    evaluation: EvaluationSettings
    sums: dict[tuple[str, str], pd.DataFrame] = field(default_factory=dict)
    """By variation and model."""

    def from_rankings(self, rankings: Mapping[str, Path], rule: TieRule = RULE, **about: Any) -> list[Row]:
        """Rows from stored rankings by model; ``about`` (variation, x, ...) is put into each."""
        sums = session_sums(rankings, [self.k])
        return [
            row
            for model, own in sums[sums["tie_rule"] == rule].groupby("model", sort=True)
            for row in self.from_sums(str(model), own.set_index("session"), tie_rule=rule, **about)
        ]

    def from_sums(self, model: str, sums: pd.DataFrame, variation: str, **about: Any) -> list[Row]:
        """The rows of one model, a row a metric, with 95 % intervals over sessions."""
        self.sums[variation, model] = sums
        own = _sums_of(sums)
        found = shares(own.means, _resampled([sums], self.evaluation)[0], len(own.counts))
        common = {"variation": variation, "model": model, "k": self.k, **about}
        common |= {"predictions": int(own.counts.sum()), "sessions": len(own.counts)}
        return [
            {"metric": metric, **estimate.as_row(), **common} for metric, estimate in zip(METRICS, found, strict=True)
        ]

    def compared(self, rows: list[Row], model: str | None = None) -> pa.Table:
        """The study's table (SCHEMA): each row with its difference from the first variation, and that one's interval.

        With ``model``, from that model under the same variation. Both sides see the same resamples of the sessions.
        """
        first = rows[0]["variation"] if rows else ""
        found: dict[tuple[str, str], list[Estimate]] = {}
        for variation, name in self.sums:
            other = (first, name) if model is None else (variation, model)
            if other in self.sums and other != (variation, name):
                found[variation, name] = difference(self.sums[variation, name], self.sums[other], self.evaluation)
        for row in rows:
            key = row["variation"], row["model"]
            if key in found:
                own = found[key][METRICS.index(row["metric"])]
                row |= {
                    "difference": own.value,
                    "difference_low": own.as_row()["low"],
                    "difference_high": own.as_row()["high"],
                }
        return pa.Table.from_pylist(rows, SCHEMA)


def difference(ours: pd.DataFrame, other: pd.DataFrame, evaluation: EvaluationSettings) -> list[Estimate]:
    """Difference of the means of each of METRICS, from sums by session (see ``Results``).

    Sessions of both sides are drawn together, so what the sides have in common does not widen their difference.
    """
    draws = _resampled([ours, other], evaluation)
    least = min(len(ours), len(other))
    return estimates(_sums_of(ours).means - _sums_of(other).means, draws[0] - draws[1], least)


def _resampled(sides: Sequence[pd.DataFrame], evaluation: EvaluationSettings) -> list[np.ndarray[Any, Any]]:
    """``resampled`` over the sessions of all sides, one at once."""
    sessions = sides[0].index
    for side in sides[1:]:
        sessions = sessions.union(side.index)
    together = [_sums_of(side[[*METRICS, "predictions"]].reindex(sessions, fill_value=0)) for side in sides]
    return resampled(together, len(sessions), evaluation.bootstrap_samples, evaluation.seed, at_once=1)


def _sums_of(frame: pd.DataFrame) -> Sums:
    return Sums(frame[list(METRICS)].to_numpy(np.float64), frame["predictions"].to_numpy(np.float64))
