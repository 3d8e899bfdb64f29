"""How long a training lasts: Recall on each test day, counted from the end of training."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import numpy as np

from sessrec_pipeline.evaluation.comparisons import VERDICT_SESSIONS
from sessrec_pipeline.evaluation.estimates import Estimate
from sessrec_pipeline.report.data import ReportData
from sessrec_pipeline.report.looks import model_name
from sessrec_pipeline.report.slices import slice_figure
from sessrec_pipeline.report.translation import gettext

if TYPE_CHECKING:
    import pandas as pd


LEAST_DAYS = 3
"""With fewer days there is no line to fit."""


def test_days(data: ReportData) -> pd.DataFrame:
    """The slices by day at the largest cutoff, with ``days``, the days since the one in which training ended.

    Days with too few sessions for a verdict are left out. Empty where fewer than two remain, or where the split is not
    one in time.
    """
    rows = data.slices[(data.slices["slice"] == "day") & (data.slices["k"] == data.k)]
    rows = rows[rows["sessions"] >= VERDICT_SESSIONS]
    if data.boundary_us is None or rows["band"].nunique() < 2:
        return rows.iloc[:0].assign(days=[])
    ended = datetime.fromtimestamp(data.boundary_us / 1e6, UTC).date()
    return rows.assign(days=[(date.fromisoformat(band) - ended).days for band in rows["band"]])


def ageing_figure(data: ReportData) -> str:
    """Recall of each model over the days since training."""
    rows = test_days(data)
    return slice_figure(rows.assign(slice="days_since", band=[f"+{day}" for day in rows["days"]]), data.k)


def ageing_note(data: ReportData) -> str:
    """What became of the best model from the first test day to the last, in words; empty without two such days."""
    rows = test_days(data)
    best = next(iter(data.competing), "")
    own = rows[rows["model"] == best].sort_values("days")
    if own.empty:
        return ""
    first, last = own.iloc[0], own.iloc[-1]
    values = {
        "name": model_name(best),
        "k": data.k,
        "first": Estimate(first["recall"], first["low"], first["high"]).with_interval,
        "last": Estimate(last["recall"], last["low"], last["high"]).with_interval,
        "from_day": int(first["days"]),
        "to_day": int(last["days"]),
    }
    seen = gettext("{name}: Recall@{k} {first} on day {from_day} after training, {last} on day {to_day}.", **values)
    if len(own) >= LEAST_DAYS:
        change = f"{slope(own):+.4f}".replace("-", "−")  # noqa: RUF001 - a minus sign
        seen += " " + gettext("A straight line through all days: {slope} a day.", slope=change)
    if last["high"] < first["low"]:
        judged = gettext(
            "The last day is below the first beyond their intervals: age is one reason, another kind of day another; "
            "the study of sliding windows tells them apart."
        )
    elif last["low"] > first["high"]:
        judged = gettext("The last day is above the first beyond their intervals: the days differ in more than age.")
    else:
        judged = gettext(
            "The intervals of the first and the last day overlap: these days do not show whether a training ages."
        )
    return f"{seen} {judged}"


def slope(own: pd.DataFrame) -> float:
    """Change of Recall a day: the straight line through one model's days, each weighed by its predictions."""
    days, recall, n = (own[name].to_numpy(dtype=np.float64) for name in ("days", "recall", "predictions"))
    centred = days - np.average(days, weights=n)
    return float((n * centred * recall).sum() / (n * centred**2).sum())
