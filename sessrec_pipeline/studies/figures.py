"""The figures of the studies, from their tables: Recall over a number, or under a few variations side by side."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from sessrec_pipeline.report.drawing import End, drawing, height_for, name_ends, nothing, short, shorten
from sessrec_pipeline.report.figures import set_limits
from sessrec_pipeline.report.looks import looks
from sessrec_pipeline.studies.study import measured, shown

if TYPE_CHECKING:
    import pandas as pd

LABEL = 13
"""Most letters of a line below the axis."""


def lines(frame: pd.DataFrame, title: str, label: str, *, log: bool = False) -> str:
    """Recall over ``x``, a line and a band (95 % interval) per model."""
    from matplotlib.ticker import FixedLocator, NullLocator

    rows = frame[frame["metric"] == "recall"].sort_values(["model", "x"])
    look_of = looks([str(m) for m in rows["model"].unique()])
    with drawing(title, height_for(rows["model"].nunique())) as (axes, svg):
        if rows.empty:
            nothing(axes)
            return svg()
        ends: list[End] = []
        for model, own in rows.groupby("model", sort=True):
            look = look_of[str(model)]
            axes.fill_between(own["x"], own["low"], own["high"], color=look.colour, alpha=0.18, linewidth=0)
            axes.plot(
                own["x"], own["value"], color=look.colour, linestyle=look.line, linewidth=2, marker=look.marker,
                markersize=6,
            )  # fmt: skip
            ends.append(_end(str(model), own["x"].iloc[-1], own["value"].iloc[-1], look.colour))
        places = sorted({float(x) for x in rows["x"]})
        if log:
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
        if len(places) <= 6:
            axes.xaxis.set_major_locator(FixedLocator(places))
            axes.xaxis.set_major_formatter(lambda x, _: short(round(x, 1 if x > 1 else 2)))
        set_limits(axes, rows[["value", "low", "high"]].to_numpy(dtype=np.float64))
        name_ends(axes, ends)
        axes.set_xlabel(label)
        axes.set_ylabel(measured(frame))
        return svg()


def points(frame: pd.DataFrame, title: str) -> str:
    """Recall under each variation, a mark and its 95 % interval per model; a thin line joins a model's marks."""
    rows = frame[frame["metric"] == "recall"]
    models = sorted(str(m) for m in rows["model"].unique())
    names = [str(name) for name in rows["variation"].unique()]
    look_of = looks(models)
    with drawing(title, height_for(rows["model"].nunique())) as (axes, svg):
        if rows.empty:
            nothing(axes)
            return svg()
        ends: list[End] = []
        for i, model in enumerate(models):
            own, look = rows[rows["model"] == model].set_index("variation"), look_of[model]
            shift = (i - (len(models) - 1) / 2) * min(0.1, 0.6 / len(models))
            x = np.array([names.index(str(name)) + shift for name in own.index])
            axes.vlines(x, own["low"], own["high"], color=look.colour, linewidth=3, alpha=0.55)
            axes.plot(
                x, own["value"], color=look.colour, linestyle=look.line, linewidth=0.8, marker=look.marker, markersize=7
            )
            ends.append(_end(model, x[-1], own["value"].iloc[-1], look.colour))
        axes.set_xticks(np.arange(len(names)), [fill(name, LABEL) for name in names], fontsize=9)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.grid(visible=False, axis="x")
        set_limits(axes, rows[["value", "low", "high"]].to_numpy(dtype=np.float64))
        name_ends(axes, ends)
        axes.set_ylabel(measured(frame))
        return svg()


def _end(model: str, x: float, value: float, colour: str) -> End:
    return End(float(x), float(value), f"{shorten(shown(model), 18)} {value:.3f}", colour)
