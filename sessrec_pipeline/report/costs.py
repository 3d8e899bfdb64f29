"""What quality costs: seconds to fit, microseconds to answer, bytes to hold and to keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sessrec_pipeline.report.data import ReportData
from sessrec_pipeline.report.drawing import drawing, nothing, short, told
from sessrec_pipeline.report.figures import draw_rows, row_height
from sessrec_pipeline.report.looks import ORACLE, looks, metric_name, model_name
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
            in_microseconds(found[model]["predict_microseconds"]),
            in_bytes(found[model]["bytes_in_memory"]),
            in_bytes(found[model]["bytes_on_disk"]),
        )
        for model in map(str, data.leaderboard["model"])
        if model != ORACLE and model in found
    ]


def in_microseconds(time: float | None) -> str:
    """The time of a prediction as text; a dash for none."""
    return _number(np.nan if time is None else time, " µs")


def _number(number: float, unit: str) -> str:
    return "–" if np.isnan(number) else f"{number:,.{0 if number >= 100 else 1 if number >= 10 else 2}f}{unit}"  # noqa: RUF001


def in_bytes(size: float) -> str:
    """A size as text; a dash for none."""
    if np.isnan(size):
        return "–"  # noqa: RUF001 - a dash for nothing
    for limit, unit in ((1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")):
        if size >= limit:
            return f"{size / limit:.1f} {unit}"
    return f"{size:.0f} B"


def cost_figure(data: ReportData) -> str:
    """The metric that decides, with its 95 % interval, beside the time of a prediction; a row for each model."""
    rows = data.leaderboard.merge(data.costs[["model", "predict_microseconds"]], on="model")
    rows = rows[(rows["model"] != ORACLE) & (rows["predict_microseconds"].astype(float) > 0)]
    return quality_beside_cost(rows, *data.primary)


def quality_beside_cost(rows: pd.DataFrame, metric: str, k: int) -> str:
    """rows: of the leaderboard, with the column predict_microseconds."""
    from matplotlib.ticker import NullLocator

    name = f"{metric_name(metric)}@{k}"
    title = gettext("{metric} of each model beside the microseconds of a prediction", metric=name)
    with drawing(title, row_height(len(rows))) as (axes, svg):
        if rows.empty:
            nothing(axes)
            return svg()
        rows = rows.sort_values([f"{metric}_at_{k}", "model"], ascending=[True, False], kind="stable")
        grid = axes.figure.add_gridspec(1, 2, width_ratios=(3, 2))
        axes.set_subplotspec(grid[0])
        times = axes.figure.add_subplot(grid[1], sharey=axes)
        draw_rows(axes, rows, metric, k)
        look_of = looks([str(model) for model in rows["model"]])
        cost = rows["predict_microseconds"].to_numpy(dtype=np.float64)
        for y, (model, time) in enumerate(zip(rows["model"], cost, strict=True)):
            look = look_of[str(model)]
            (bar,) = times.plot([cost.min() / 1.6, time], [y, y], color=look.colour, linewidth=3, alpha=0.5)
            (mark,) = times.plot([time], [y], color=look.colour, marker=look.marker, markersize=7)
            for artist in (bar, mark):
                told(artist, f"{model_name(str(model))}: {in_microseconds(time)}")
        times.set_xscale("log")
        times.set_xlim(cost.min() / 1.6, cost.max() * 1.6)
        times.set_xticks(_ticks(cost.min() / 1.6, cost.max() * 1.6))
        times.xaxis.set_minor_locator(NullLocator())
        times.xaxis.set_major_formatter(short)
        times.tick_params(axis="y", labelleft=False, length=0)
        times.grid(visible=False, axis="y")
        times.spines["left"].set_visible(False)
        times.set_xlabel(gettext("µs per prediction"))
        return svg()


def _ticks(left: float, right: float) -> list[float]:
    """1, 2 and 5 times the powers of ten in a range, or the powers alone where those would be many."""
    powers = 10.0 ** np.arange(np.floor(np.log10(left)), np.ceil(np.log10(right)) + 1)
    ticks = sorted(float(m * p) for p in powers for m in (1, 2, 5) if left <= m * p <= right)
    return ticks if len(ticks) <= 4 else [float(p) for p in powers if left <= p <= right]
