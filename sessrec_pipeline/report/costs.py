"""What quality costs: seconds to fit, microseconds to answer, bytes to hold and to keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sessrec_pipeline.report.data import ReportData
from sessrec_pipeline.report.drawing import annotate, apart, drawing, nothing, short, shorten
from sessrec_pipeline.report.looks import ORACLE, looks, model_name
from sessrec_pipeline.report.translation import gettext

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class CostRow:
    """A model's costs as text."""

    name: str
    fit: str
    predict: str
    memory: str
    size: str


def cost_rows(data: ReportData) -> list[CostRow]:
    """The models' costs in the order of the leaderboard, the oracle aside: it is no one's to run."""
    found = {str(row["model"]): row for row in data.costs.to_dict("records")}
    return [
        CostRow(
            model_name(model),
            _number(found[model]["fit_seconds"], " s"),
            _number(found[model]["predict_microseconds"], " µs"),
            _bytes(found[model]["bytes_in_memory"]),
            _bytes(found[model]["bytes_on_disk"]),
        )
        for model in map(str, data.leaderboard["model"])
        if model != ORACLE and model in found
    ]


def _number(number: float, unit: str) -> str:
    return "–" if np.isnan(number) else f"{number:,.{0 if number >= 100 else 1 if number >= 10 else 2}f}{unit}"  # noqa: RUF001


def _bytes(size: float) -> str:
    if np.isnan(size):
        return "–"  # noqa: RUF001 - a dash for nothing
    for limit, unit in ((1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")):
        if size >= limit:
            return f"{size / limit:.1f} {unit}"
    return f"{size:.0f} B"


def cost_figure(data: ReportData) -> str:
    """Recall at the largest cutoff with its 95 % interval over microseconds per prediction, a point a model."""
    column = f"recall_at_{data.k}"
    names = {column: "value", f"{column}_low": "low", f"{column}_high": "high"}
    rows = data.leaderboard[["model", *names]].rename(columns=names).merge(data.costs, on="model")
    rows = rows[(rows["model"] != ORACLE) & (rows["predict_microseconds"].astype(float) > 0)]
    return quality_against_cost(rows, f"Recall@{data.k}")


def quality_against_cost(rows: pd.DataFrame, metric: str) -> str:
    """rows: a row per model, with the columns model, value, low, high, predict_microseconds."""
    from matplotlib.ticker import MaxNLocator, NullLocator

    with drawing(gettext("{metric} of each model over microseconds per prediction", metric=metric)) as (axes, svg):
        if rows.empty:
            nothing(axes)
            return svg()
        look_of = looks([str(model) for model in rows["model"]])
        cost = rows["predict_microseconds"].to_numpy(dtype=np.float64)
        value, low, high = (rows[name].to_numpy(dtype=np.float64) for name in ("value", "low", "high"))
        left, right = cost.min() / 1.6, cost.max() * 1.6
        bottom, top = low.min(), high.max()
        pad = 0.08 * (top - bottom or max(top, 1e-3))
        places = apart(value.tolist(), 0.075 * (top - bottom + 2 * pad))
        for i, model in enumerate(rows["model"]):
            look = look_of[str(model)]
            axes.plot([cost[i]] * 2, [low[i], high[i]], color=look.colour, linewidth=3, alpha=0.55,
                      solid_capstyle="round")  # fmt: skip
            axes.plot([cost[i]], [value[i]], color=look.colour, marker=look.marker, markersize=8)
            late = np.log(cost[i] / left) > 0.6 * np.log(right / left)
            annotate(axes, shorten(model_name(str(model)), 16), (cost[i], places[i]), (-9 if late else 9, 0),
                     ha="right" if late else "left", va="center")  # fmt: skip
        axes.set_xscale("log")
        axes.set_xlim(left, right)
        axes.set_ylim(bottom - pad, top + pad)
        axes.set_xticks(_ticks(left, right))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(short)
        axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel(gettext("microseconds per prediction, logarithmic"))
        axes.set_ylabel(gettext("{metric}, with 95 % interval", metric=metric))
        return svg()


def _ticks(left: float, right: float) -> list[float]:
    """1, 2 and 5 times the powers of ten in a range, or the powers alone where those would be many."""
    powers = 10.0 ** np.arange(np.floor(np.log10(left)), np.ceil(np.log10(right)) + 1)
    ticks = sorted(float(m * p) for p in powers for m in (1, 2, 5) if left <= m * p <= right)
    return ticks if len(ticks) <= 7 else [float(p) for p in powers if left <= p <= right]
