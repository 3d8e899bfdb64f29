"""The figures of the studies, from their tables: Recall over a number, or under a few variations side by side."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from sessrec_pipeline.report.drawing import annotate, apart, drawing, nothing, short, shorten
from sessrec_pipeline.report.looks import looks
from sessrec_pipeline.studies.study import measured, shown

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

LINE = 0.085
"""Least distance of two labels, as a part of the axis."""
LABEL = 13
"""Most letters of a line below the axis."""


def lines(frame: pd.DataFrame, title: str, label: str, *, log: bool = False) -> str:
    """Recall over ``x``, a line and a band (95 % interval) per model."""
    from matplotlib.ticker import FixedLocator, NullLocator

    rows = frame[frame["metric"] == "recall"].sort_values(["model", "x"])
    look_of = looks([str(m) for m in rows["model"].unique()])
    with drawing(title, height=_height(rows)) as (axes, svg):
        if rows.empty:
            nothing(axes)
            return svg()
        ends: list[tuple[str, float]] = []
        for model, own in rows.groupby("model", sort=True):
            look = look_of[str(model)]
            axes.fill_between(own["x"], own["low"], own["high"], color=look.colour, alpha=0.18, linewidth=0)
            axes.plot(
                own["x"], own["value"], color=look.colour, linestyle=look.line, linewidth=2, marker=look.marker,
                markersize=6,
            )  # fmt: skip
            ends.append((str(model), float(own["value"].iloc[-1])))
        places = sorted({float(x) for x in rows["x"]})
        if log:
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
        if len(places) <= 6:
            axes.xaxis.set_major_locator(FixedLocator(places))
            axes.xaxis.set_major_formatter(lambda x, _: short(round(x, 1 if x > 1 else 2)))
        _frame(axes, rows)
        _name(axes, ends, places[-1], _height(rows))
        axes.set_xlabel(label)
        axes.set_ylabel(measured(frame))
        return svg()


def points(frame: pd.DataFrame, title: str) -> str:
    """Recall under each variation, a mark and its 95 % interval per model; a thin line joins a model's marks."""
    rows = frame[frame["metric"] == "recall"]
    models = sorted(str(m) for m in rows["model"].unique())
    names = [str(name) for name in rows["variation"].unique()]
    look_of = looks(models)
    with drawing(title, height=_height(rows)) as (axes, svg):
        if rows.empty:
            nothing(axes)
            return svg()
        ends: list[tuple[str, float]] = []
        for i, model in enumerate(models):
            own, look = rows[rows["model"] == model].set_index("variation"), look_of[model]
            shift = (i - (len(models) - 1) / 2) * min(0.1, 0.6 / len(models))
            x = np.array([names.index(str(name)) + shift for name in own.index])
            axes.vlines(x, own["low"], own["high"], color=look.colour, linewidth=3, alpha=0.55)
            axes.plot(
                x, own["value"], color=look.colour, linestyle=look.line, linewidth=0.8, marker=look.marker, markersize=7
            )
            ends.append((model, float(own["value"].iloc[-1])))
        axes.set_xticks(np.arange(len(names)), [fill(name, LABEL) for name in names], fontsize=9)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.grid(visible=False, axis="x")
        _frame(axes, rows)
        _name(axes, ends, len(names) - 0.5, _height(rows))
        axes.set_ylabel(measured(frame))
        return svg()


def _height(rows: pd.DataFrame) -> float:
    """Room for a label per model."""
    return max(3.1, 1.0 + 0.24 * rows["model"].nunique())


def _frame(axes: Axes, rows: pd.DataFrame) -> None:
    from matplotlib.ticker import MaxNLocator

    low, high = float(rows["low"].min()), float(rows["high"].max())
    pad = 0.06 * (high - low or max(high, 1e-3))
    axes.set_ylim(low - pad, high + pad)
    axes.yaxis.set_major_locator(MaxNLocator(6))


def _name(axes: Axes, ends: list[tuple[str, float]], x: float, height: float) -> None:
    """The models' names beside their last values, in a figure of so many inches."""
    low, high = axes.get_ylim()
    gap = LINE * (high - low) * 3.1 / height
    for at, (model, value) in zip(apart([value for _, value in ends], gap), ends, strict=True):
        text = f"{shorten(shown(model), 16)} {value:.3f}"
        annotate(axes, text, (x, at), (10, 0), va="center", annotation_clip=False)
