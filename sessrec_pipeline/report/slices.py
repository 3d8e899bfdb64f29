"""Where each model is good and where it is not: a figure for each slice of the predictions."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sessrec_pipeline.report.data import ReportData
from sessrec_pipeline.report.drawing import End, drawing, height_for, name_ends, shorten, told
from sessrec_pipeline.report.figures import leaders, set_limits
from sessrec_pipeline.report.looks import ORACLE, looks, model_name
from sessrec_pipeline.report.translation import gettext
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
TICKS, MARKED, PLACES = 8, 12, 31
"""Most bands that are named below a figure, that get a marker, and that are drawn at all: days can be many."""


def slice_figures(data: ReportData, but: Container[str] = ()) -> list[tuple[str, str]]:
    """Title and figure of each slice that the table has, but for some, Recall at the largest cutoff."""
    at_k = data.slices[data.slices["k"] == data.k]
    names = [name for name in SLICE_TITLES if name not in but and (at_k["slice"] == name).any()]
    return [(gettext(SLICE_TITLES[name][0]), slice_figure(at_k[at_k["slice"] == name], data.k)) for name in names]


def slice_figure(rows: pd.DataFrame, k: int) -> str:
    """Recall of each model over the bands of one slice, with its 95 % interval where a band has one.

    rows: of the slices table, one slice and one cutoff (model, slice, place, band, recall, low, high, predictions).
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
            (line,) = axes.plot(
                x, recall, color=look.colour, linestyle=look.line, linewidth=1.8, marker=marker, markersize=5
            )
            if marker:
                bands = [f"{gettext(str(band))} {value:.3f}" for band, value in zip(own["band"], recall, strict=True)]
                told(line, f"{model_name(str(model))}: {', '.join(bands)}")
            ends.append(End(float(x[-1]), float(recall[-1]), shorten(model_name(str(model)), 18), look.colour))
        set_limits(axes, rows, ["recall"] if len(filled) < rows["model"].nunique() - 1 else ["recall", "low", "high"])
        name_ends(axes, ends)
        shown = np.unique(np.linspace(0, len(found) - 1, TICKS).round().astype(np.int64))
        labels = [_tick(*found[["band", "predictions"]].iloc[i]) for i in shown]
        axes.set_xticks(shown, labels, fontsize=8 if len(shown) > 5 or name.startswith("day") else 9)
        axes.set_xlabel(gettext("{what}; below: predictions", what=what))
        axes.set_ylabel(f"Recall@{k}")
        return svg()


def _tick(band: str, predictions: int) -> str:
    shown = (
        band[5:]
        if len(band) == len("2026-01-05") and band[4] == "-"
        else gettext(band).replace(" in ", "\nin ").replace(" en ", "\nen ")
    )
    return f"{shown}\n{predictions:,}"


def slice_notes(data: ReportData) -> list[str]:
    """Bands where another model than the best is ahead, so far that the intervals of the two do not overlap."""
    at_k = data.slices[(data.slices["k"] == data.k) & (data.slices["model"] != ORACLE)]
    best = next(iter(data.competing), "")
    notes = []
    for name, (title, _) in SLICE_TITLES.items():
        beaten = []
        for _, own in at_k[at_k["slice"] == name].groupby("place", sort=True):
            first = own.sort_values(["recall", "model"], ascending=[False, True]).iloc[0]
            if first["model"] != best and first["low"] > own.loc[own["model"] == best, "high"].iloc[0]:
                beaten.append((str(first["band"]), str(first["model"])))
        notes += [f"{gettext(title)}: {_bands(beaten)}."] if beaten else []
    return notes


def _bands(beaten: Sequence[tuple[str, str]]) -> str:
    winners = dict.fromkeys(winner for _, winner in beaten)
    texts = [
        gettext(
            "{name} is ahead in {bands}",
            name=model_name(winner),
            bands=", ".join(gettext(band) for band, other in beaten if other == winner),
        )
        for winner in winners
    ]
    return "; ".join(texts)
