"""Figures as SVG text: the same data give the same bytes, and they read on white and on dark ground alike.

Drawn with matplotlib's objects, never with pyplot, so nothing is shared between two figures. Text stays text, in the
reader's own font. However many items or sessions there are, a figure stays below 45 kB: points are thinned first.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sessrec_pipeline.clock import DAY
from sessrec_pipeline.evaluation.estimates import Estimate
from sessrec_pipeline.report.drawing import (
    End,
    annotate,
    annotate_top,
    drawing,
    height_for,
    name_ends,
    nothing,
    short,
    shorten,
    told,
)
from sessrec_pipeline.report.looks import BLUE, GREY, ORACLE, ORANGE, looks, metric_name, model_name
from sessrec_pipeline.report.translation import gettext, ngettext
from sessrec_pipeline.text import N_, printable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

POINTS = 240
"""Most points of a curve."""


def as_markdown(svg: str, alt: str) -> str:
    """The figure as a Markdown image, for Dagster's metadata."""
    words = re.sub(r"([\\\[\]])", r"\\\1", " ".join(printable(alt).split()))
    return f"![{words}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


# --- the data --------------------------------------------------------------------------------------------------------


def popularity(events: NDArray[np.int64]) -> str:
    """Rank and frequency of the items, both logarithmic; events int64 (items,) in any order, zeros ignored."""
    from matplotlib.ticker import LogLocator, NullLocator

    counts = np.sort(events[events > 0])[::-1]
    with drawing(gettext("Events per item, most popular first, on logarithmic axes")) as (axes, svg):
        if not len(counts):
            nothing(axes)
            return svg()
        ranks = np.unique(np.geomspace(1, len(counts), POINTS).round().astype(np.int64))
        axes.plot(
            ranks, counts[ranks - 1], color=BLUE, linewidth=2, marker="o" if len(ranks) < 12 else None, markersize=4
        )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(0.9, max(len(counts) * 1.15, 10))
        axes.set_ylim(max(counts[-1] * 0.8, 0.8), max(counts[0] * 1.4, 10))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(numticks=8))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(short)
        axes.set_xlabel(gettext("item, by rank"))
        axes.set_ylabel(gettext("events"))
        top = -(-len(counts) // 10)
        share = counts[:top].sum() / counts.sum()
        note = gettext(
            "top {top} of {items} items:\n{share} % of {events} events",
            top=f"{top:,}",
            items=f"{len(counts):,}",
            share=f"{100 * share:.0f}",
            events=f"{counts.sum():,}",
        )
        axes.text(0.98, 0.96, note, transform=axes.transAxes, ha="right", va="top", fontsize=9)
        return svg()


LENGTH_BINS = [1, 2, 3, 4, 5, 6, 8, 11, 16, 26, 51]
"""Where the bins of session lengths begin: single lengths, then wider and wider."""


def session_lengths(train_lengths: NDArray[np.int64], test_lengths: NDArray[np.int64]) -> str:
    """Share of the sessions by length, train and test side by side; either may be empty. int64 (sessions,) each."""
    from matplotlib.ticker import MaxNLocator

    parts = [
        (name, lengths, colour)
        for name, lengths, colour in ((gettext("train"), train_lengths, BLUE), (gettext("test"), test_lengths, ORANGE))
        if len(lengths)
    ]
    with drawing(gettext("Share of the sessions by length")) as (axes, svg):
        if not parts:
            nothing(axes)
            return svg()
        bins = np.array(LENGTH_BINS)
        found = [np.searchsorted(bins, lengths, side="right") - 1 for _, lengths, _ in parts]
        first, last = min(int(f.min()) for f in found), max(int(f.max()) for f in found)
        width = 0.8 / len(parts)
        for i, ((name, lengths, colour), where) in enumerate(zip(parts, found, strict=True)):
            share = np.bincount(where, minlength=len(bins))[first : last + 1] / len(lengths)
            left = np.arange(len(share)) + (i - (len(parts) - 1) / 2) * width
            mean = f"{lengths.mean():.1f}"
            label = ngettext(
                "{name}: {n} session, mean {mean}",
                "{name}: {n} sessions, mean {mean}",
                len(lengths),
                name=name,
                mean=mean,
            )
            axes.bar(left, share, width * 0.92, color=colour, label=label)
        labels = [_bin_label(i) for i in range(first, last + 1)]
        size = 9 if len(labels) < 10 else 8
        axes.set_xticks(np.arange(len(labels)), labels, fontsize=size)
        axes.grid(visible=False, axis="x")
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
        axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel(gettext("events in the session"))
        axes.set_ylabel(gettext("share of sessions"))
        axes.figure.legend(frameon=False, fontsize=9, loc="outside upper right")
        return svg()


def _bin_label(i: int) -> str:
    start = LENGTH_BINS[i]
    if i + 1 == len(LENGTH_BINS):
        return f"{start}+"
    end = LENGTH_BINS[i + 1] - 1
    return str(start) if start == end else f"{start}–{end}"  # noqa: RUF001 - a range is set with an en dash


STEPS = [(DAY // 24, N_("hour"), 96), (DAY, N_("day"), 400), (7 * DAY, N_("week"), 400)]
"""Microseconds of a bar, their name, and how many bars are too many; beyond that a bar is four weeks."""


def events_over_time(times_us: NDArray[np.int64], boundary_us: int | None) -> str:
    """Events per hour, or per day (week, 4 weeks) where there would be too many bars; UTC.

    times_us int64 (events,), microseconds since 1970 in any order; boundary_us: the moment from which on sessions test.
    """
    from matplotlib.ticker import MaxNLocator

    with drawing(gettext("Events over time")) as (axes, svg):
        if not len(times_us):
            nothing(axes)
            return svg()
        span = int(times_us.max() - times_us.min())
        width, unit = next(((w, u) for w, u, most in STEPS if span / w <= most), (28 * DAY, N_("4 weeks")))
        start = int(times_us.min()) // width * width
        counts = np.bincount((times_us - start) // width)
        edges = start + width * np.arange(len(counts) + 1)
        # All bars as test, then what is earlier than the boundary painted over them.
        early = times_us if boundary_us is None else times_us[times_us < boundary_us]
        before = np.bincount((early - start) // width)
        first_test = max(len(before) - 1, 0)
        axes.stairs(counts[first_test:], edges[first_test:] / DAY, fill=True, color=ORANGE, linewidth=0)
        axes.stairs(before, edges[: len(before) + 1] / DAY, fill=True, color=BLUE, linewidth=0)
        axes.margins(x=0.01)
        axes.set_ylim(0, counts.max() * 1.15)
        axes.set_xticks(_days(edges[0] / DAY, edges[-1] / DAY))
        form = "%m-%d %H:%M" if unit == "hour" else "%Y-%m-%d"
        axes.xaxis.set_major_formatter(lambda day, _: f"{datetime.fromtimestamp(day * 86_400, UTC):{form}}")
        axes.yaxis.set_major_formatter(short)
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_ylabel(gettext("events per {unit}", unit=gettext(unit)))
        axes.set_xlabel(gettext("time, UTC"))
        if boundary_us is not None:
            x = boundary_us / DAY
            axes.axvline(x, color=GREY, linewidth=1.2, linestyle="--")
            annotate_top(axes, gettext("train"), x, (-5, -2), "right", "top")
            annotate_top(axes, gettext("test"), x, (5, -2), "left", "top")
        return svg()


def _days(start: float, stop: float) -> NDArray[np.float64]:
    """At most five ticks from start to stop, days since 1970, at midnight or at even parts of a day."""
    steps = [1 / 24, 1 / 12, 1 / 8, 1 / 4, 1 / 2, 1, 2, 3, 5, 7, 10, 14]
    step = next((s for s in steps if (stop - start) / s <= 4), np.ceil((stop - start) / 4))
    return np.arange(np.ceil(start / step), np.floor(stop / step) + 1) * step


# --- the models ------------------------------------------------------------------------------------------------------


def loss_curve(losses: Sequence[float]) -> str:
    """Training loss of each epoch, the first epoch being 1."""
    from matplotlib.ticker import MaxNLocator

    with drawing(gettext("Training loss by epoch")) as (axes, svg):
        values = np.asarray(losses, dtype=np.float64)
        epochs = np.flatnonzero(np.isfinite(values))
        if not len(epochs):
            nothing(axes)
            return svg()
        epochs = epochs[np.unique(np.linspace(0, len(epochs) - 1, POINTS).round().astype(np.int64))]
        axes.plot(
            epochs + 1, values[epochs], color=BLUE, linewidth=2, marker="o" if len(epochs) <= 30 else None, markersize=4
        )
        for place, gap, side in [(0, 8, "left"), (-1, 0, "right")][: len(epochs)]:
            epoch, beside = epochs[place], epochs[1 if place == 0 else -2] if len(epochs) > 1 else epochs[0]
            # The line comes from above at its end and leaves downwards at its start, or the other way round.
            above = values[beside] <= values[epoch]
            annotate(
                axes,
                f"{values[epoch]:.4g}",
                (epoch + 1, values[epoch]),
                (gap, 7 if above else -7),
                ha=side,
                va="bottom" if above else "top",
            )
        axes.margins(y=0.2)
        axes.set_xlim(1 - 0.04 * len(values), 1.04 * len(values) + 0.5)
        if len(values) <= 10:
            axes.set_xticks(np.arange(1, len(values) + 1))
        else:
            axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_xlabel(gettext("epoch"))
        axes.set_ylabel(gettext("mean training loss"))
        return svg()


def model_comparison(leaderboard: pd.DataFrame, metric: str, k: int) -> str:
    """One metric of all models with its 95 % interval, best on top; an oracle is the line that none should cross.

    leaderboard: a row per model, with the columns model, <metric>_at_<k>, <metric>_at_<k>_low and ..._high.
    """
    rows = leaderboard.sort_values([f"{metric}_at_{k}", "model"], ascending=[True, False], kind="stable")
    models = rows[rows["model"] != ORACLE]
    title = gettext("{metric} of each model with its 95 % interval", metric=f"{metric_name(metric)}@{k}")
    with drawing(title, height=row_height(len(models))) as (axes, svg):
        draw_rows(axes, rows, metric, k)
        return svg()


def row_height(models: int) -> float:
    """Inches of a figure with a row for each model."""
    return 1.0 + 0.27 * max(models, 1)


def draw_rows(axes: Axes, rows: pd.DataFrame, metric: str, k: int) -> None:
    """A row for each model, the last one on top: its value and its 95 % interval (see ``model_comparison``)."""
    from matplotlib.ticker import MaxNLocator

    column, name = f"{metric}_at_{k}", f"{metric_name(metric)}@{k}"
    models, oracle = rows[rows["model"] != ORACLE], rows[rows["model"] == ORACLE]
    look_of = looks([str(m) for m in rows["model"]])
    for y, row in enumerate(models.to_dict("records")):
        own, look, model = Estimate.from_row(row, column), look_of[str(row["model"])], model_name(str(row["model"]))
        line = axes.plot([own.low, own.high], [y, y], color=look.colour, linewidth=3, solid_capstyle="round", alpha=0.5)
        mark = axes.plot([own.value], [y], color=look.colour, marker=look.marker, markersize=7)
        for artist in (*line, *mark):
            told(artist, f"{model}: {name} {own.with_interval}")
        # Beside the interval, on the side where no ceiling is.
        side, bound = ("right", own.low) if len(oracle) else ("left", own.high)
        at = (bound if own.has_interval else own.value, y)
        annotate(axes, str(own), at, (-6 if len(oracle) else 6, 0), ha=side, va="center", color=look.colour)
    axes.set_yticks(np.arange(len(models)), [shorten(model_name(str(m))) for m in models["model"]])
    axes.set_ylim(-0.6, max(len(models), 1) - 0.4)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    if len(oracle):
        ceiling = Estimate.from_row(oracle.to_dict("records")[0], column)
        if ceiling.has_interval:
            axes.axvspan(ceiling.low, ceiling.high, color=GREY, alpha=0.18, linewidth=0)
        axes.axvline(ceiling.value, color=GREY, linewidth=1.6, linestyle="--")
        text = gettext("{name}, the ceiling: {value}", name=model_name(ORACLE), value=ceiling)
        annotate_top(axes, text, ceiling.value, (0, 2), "right", "bottom")
    axes.margins(x=0.22 if len(oracle) else 0.14)  # room for the values
    low, high = axes.get_xlim()
    ticks = MaxNLocator(6).tick_values(low, high)
    axes.set_xticks([tick for tick in ticks if max(low, -1e-9) <= tick <= min(high, 1 + 1e-9)])  # of what can be
    axes.set_xlabel(gettext("{metric}, with 95 % interval", metric=name))


FILLED = 4
"""With more models than this, figures with a line for each show the intervals of the two best ones alone."""


def metric_curves(metrics: pd.DataFrame, metric: str, tie_rule: str) -> str:
    """One metric over the cutoffs, a line and a band (95 % interval) per model, under one tie rule.

    metrics: rows of the metrics table (model, metric, k, tie_rule, value, low, high).
    """
    from matplotlib.ticker import NullLocator

    rows = metrics[(metrics["metric"] == metric) & (metrics["tie_rule"] == tie_rule)].sort_values(["model", "k"])
    name = metric_name(metric)
    title = gettext("{metric} of each model over K, {rule} tie rule", metric=f"{name}@K", rule=gettext(tie_rule))
    with drawing(title, height_for(rows["model"].nunique())) as (axes, svg):
        if rows.empty:
            nothing(axes)
            return svg()
        look_of = looks([str(m) for m in rows["model"].unique()])
        filled = leaders(rows, "value")
        ends: list[End] = []
        for model, own in rows.groupby("model", sort=True):
            look = look_of[str(model)]
            k, value = own["k"].to_numpy(), own["value"].to_numpy(dtype=np.float64)
            if model in filled:
                low, high = (own[end].to_numpy(dtype=np.float64) for end in ("low", "high"))
                axes.fill_between(k, low, high, color=look.colour, alpha=0.18, linewidth=0)
            (line,) = axes.plot(
                k, value, color=look.colour, linestyle=look.line, linewidth=1.8, marker=look.marker, markersize=5
            )
            values = [Estimate(row["value"], row["low"], row["high"]) for row in own.to_dict("records")]
            at_each = ", ".join(f"@{at} {found.with_interval}" for at, found in zip(k, values, strict=True))
            told(line, f"{model_name(str(model))}: {name} {at_each}")
            text = f"{shorten(model_name(str(model)), 18)} {value[-1]:.3f}"
            ends.append(End(float(k[-1]), float(value[-1]), text, look.colour))
        cutoffs = sorted(int(k) for k in rows["k"].unique())
        if cutoffs[-1] > 20 * cutoffs[0]:
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
        if len(cutoffs) == 1:
            axes.set_xlim(cutoffs[0] - 1, cutoffs[0] + 0.2)
        axes.set_xticks(cutoffs, [str(k) for k in cutoffs])
        set_limits(axes, rows[["value", "low", "high"]].to_numpy(dtype=np.float64))
        name_ends(axes, ends)
        axes.set_xlabel("K")
        axes.set_ylabel(f"{name}@K")
        return svg()


def leaders(rows: pd.DataFrame, column: str) -> list[str]:
    """The models whose intervals a figure with a line for each shows: all where they are few, else the two best."""
    means = rows[rows["model"] != ORACLE].groupby("model")[column].mean().sort_values(ascending=False)
    return [str(model) for model in means.index[: 2 if len(means) > FILLED else None]]


def set_limits(axes: Axes, values: NDArray[np.float64]) -> None:
    """Limits of the vertical axis that hold all values, NaN aside."""
    from matplotlib.ticker import MaxNLocator

    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    pad = 0.06 * (high - low or max(high, 1e-3))
    axes.set_ylim(low - pad, high + pad)
    axes.yaxis.set_major_locator(MaxNLocator(6))
