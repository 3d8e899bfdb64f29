"""Where each model is good and where it is not: a figure for each slice of the predictions."""

from __future__ import annotations

from collections.abc import Container, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from sessrec_pipeline.evaluation.comparisons import VERDICT_SESSIONS
from sessrec_pipeline.report.data import ReportData
from sessrec_pipeline.report.drawing import End, drawing, height_for, name_ends, shorten, ticks_with_room, told
from sessrec_pipeline.report.figures import leaders, set_limits
from sessrec_pipeline.report.looks import ORACLE, looks, model_name
from sessrec_pipeline.report.recommendation import recommendation
from sessrec_pipeline.report.translation import gettext, join_names
from sessrec_pipeline.text import N_

if TYPE_CHECKING:
    import pandas as pd

SLICE_TITLES = {
    "session_length": (N_("By session length"), N_("events in the session")),
    "position": (N_("By position"), N_("events before the target")),
    "popularity": (N_("By popularity of the target"), N_("items, by training events")),
    "item_age": (N_("By age of the target"), N_("since its first training event")),
    "repeat": (N_("By repetition"), N_("the target in its session")),
    "day": (N_("By day"), N_("day of the target, UTC")),
    "days_since": (N_("By days since training"), N_("days since the end of training")),
}
"""Title of each slice's figure and what its bands count, in the order of the page."""
BANDS = (
    N_("top 1 %"),
    N_("next 9 %"),
    N_("next 40 %"),
    N_("rarest 50 %"),
    N_("< 1 day"),
    N_("1-3 days"),
    N_("3-7 days"),
    N_("7-30 days"),
    N_("30+ days"),
    N_("new in session"),
    N_("seen in session"),
    N_("not in training"),
)
"""Bands whose names are words, for the catalogue."""
MARKED, PLACES = 12, 31
"""Most bands that get a marker, and that are drawn at all: days can be many."""
TICK = 11
"""Characters of a line below a figure."""
FAINT = 0.35
"""Opacity of bands of fewer than VERDICT_SESSIONS sessions."""


def slice_figures(data: ReportData, but: Container[str] = ()) -> list[tuple[str, str]]:
    """Title and figure of each slice of two bands or more, but for some, Recall at the cutoff that decides."""
    at_k = data.slices[data.slices["k"] == data.k]
    found = at_k.groupby("slice")["place"].nunique()
    names = [name for name in SLICE_TITLES if name not in but and found.get(name, 0) > 1]
    return [(gettext(SLICE_TITLES[name][0]), slice_figure(at_k[at_k["slice"] == name], data.k)) for name in names]


def slice_figure(rows: pd.DataFrame, k: int) -> str:
    """Recall of each model over the bands of one slice, with its 95 % interval where a band has one.

    Bands of too few sessions for a verdict are drawn faint. rows: of the slices table, one slice and one cutoff (model,
    slice, place, band, recall, low, high, predictions, sessions).
    """
    name = str(rows["slice"].iloc[0])
    title, what = (gettext(text) for text in SLICE_TITLES[name])
    found = rows.drop_duplicates("place").sort_values("place")
    found = found.iloc[np.unique(np.linspace(0, len(found) - 1, PLACES).round().astype(np.int64))]
    x_of = {place: x for x, place in enumerate(found["place"])}
    rows = rows[rows["place"].isin(x_of)]
    with drawing(gettext("Recall@{k} of each model", k=k) + f" {title[0].lower()}{title[1:]}",
                 height_for(rows["model"].nunique()) + 0.2) as (axes, svg):  # fmt: skip
        look_of = looks([str(model) for model in rows["model"].unique()])
        filled = leaders(rows, "recall")
        ends: list[End] = []
        for model, own in rows.sort_values(["model", "place"]).groupby("model", sort=True):
            look = look_of[str(model)]
            x = own["place"].map(x_of).to_numpy()
            recall, low, high = (own[column].to_numpy(dtype=np.float64) for column in ("recall", "low", "high"))
            if model in filled:
                axes.fill_between(x, low, high, color=look.colour, alpha=0.16, linewidth=0)
            marker = look.marker if len(x_of) <= MARKED else None
            firm = own["sessions"].to_numpy() >= VERDICT_SESSIONS
            bands = [f"{gettext(str(band))} {value:.3f}" for band, value in zip(own["band"], recall, strict=True)]
            drawn = [(recall, 1.0)] if firm.all() else [(recall, FAINT), (np.where(firm, recall, np.nan), 1.0)]
            for values, opacity in drawn:
                (line,) = axes.plot(
                    x,
                    values,
                    color=look.colour,
                    linestyle=look.line,
                    linewidth=1.8,
                    marker=marker,
                    markersize=5,
                    alpha=opacity,
                )
                if marker:
                    told(line, f"{model_name(str(model))}: {', '.join(bands)}")
            ends.append(End(float(x[-1]), float(recall[-1]), shorten(model_name(str(model)), 18), look.colour))
        bounds = rows.loc[rows["model"].isin(filled), ["low", "high"]].to_numpy(dtype=np.float64)
        set_limits(axes, np.append(rows["recall"].to_numpy(dtype=np.float64), bounds))
        name_ends(axes, ends)
        labels = [_tick(*row) for row in found[["band", "predictions"]].itertuples(index=False)]
        size = 8.0 if len(found) > 5 or name.startswith("day") else 9.0
        shown = ticks_with_room(labels, ends, size)
        axes.set_xticks(shown, [labels[i] for i in shown], fontsize=size)
        axes.set_xlabel(gettext("{what}; below: predictions", what=what))
        axes.set_ylabel(f"Recall@{k}")
        return svg()


def _tick(band: str, predictions: int) -> str:
    day = len(band) == len("2026-01-05") and band[4] == "-"
    shown = band[5:] if day else fill(gettext(band), TICK, break_long_words=False)
    return f"{shown}\n{predictions:,}"


def reference(data: ReportData) -> str:
    """The model with which the others are compared in groups: the one to take, or the best; empty without one."""
    found = recommendation(data)
    return found.model if found is not None else next(iter(data.competing), "")


def slice_notes(data: ReportData) -> list[str]:
    """Bands where another model is ahead of the reference, so far that the intervals of the two do not overlap.

    Of bands with sessions enough for a verdict.
    """
    at_k = data.slices[(data.slices["k"] == data.k) & (data.slices["model"] != ORACLE)]
    at_k = at_k[at_k["sessions"] >= VERDICT_SESSIONS]
    other = reference(data)
    notes = []
    for name, (title, _) in SLICE_TITLES.items():
        beaten = []
        for _, own in at_k[at_k["slice"] == name].groupby("place", sort=True):
            first = own.sort_values(["recall", "model"], ascending=[False, True]).iloc[0]
            if first["model"] != other and first["low"] > own.loc[own["model"] == other, "high"].iloc[0]:
                beaten.append((str(first["band"]), str(first["model"])))
        notes += [f"{gettext(title)}: {_bands(beaten, other)}."] if beaten else []
    return notes


def whole_slices(data: ReportData) -> list[str]:
    """Slices that are no figure, for all predictions are in one band."""
    at_k = data.slices[data.slices["k"] == data.k]
    notes = []
    for name, (title, _) in SLICE_TITLES.items():
        own = at_k[at_k["slice"] == name]
        if own["place"].nunique() == 1:
            band, n = own[["band", "predictions"]].iloc[0]
            notes.append(
                gettext(
                    "{slice}: all {n} predictions are in one group, {band}.",
                    slice=gettext(title),
                    n=f"{n:,}",
                    band=gettext(band),
                )
            )
    return notes


def _bands(beaten: Sequence[tuple[str, str]], than: str) -> str:
    winners = dict.fromkeys(winner for _, winner in beaten)
    texts = [
        gettext(
            "{name} is ahead of {other} in {bands}",
            name=model_name(winner),
            other=model_name(than),
            bands=join_names([gettext("“{text}”", text=gettext(band)) for band, other in beaten if other == winner]),
        )
        for winner in winners
    ]
    return "; ".join(texts)
