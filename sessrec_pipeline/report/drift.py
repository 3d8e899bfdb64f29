"""Drift over time: the last day in numbers, a sparkline for a table's cell, and all measures in one figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from sessrec_pipeline.report.drawing import drawing, nothing
from sessrec_pipeline.report.figures import POINTS, as_markdown
from sessrec_pipeline.report.looks import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION
from sessrec_pipeline.report.translation import gettext
from sessrec_pipeline.text import N_

if TYPE_CHECKING:
    import pandas as pd

SPARK_POINTS = 60
LOOKS = [
    (colour, line)
    for line, colours in (("-", (BLUE, VERMILLION, GREEN, PURPLE)), ("--", (SKY, ORANGE, GREY)))
    for colour in colours
]
"""The colour never carries the difference alone."""
MEASURES = {
    "new_item_share": N_("new item share"),
    "psi": N_("PSI"),
    "js_distance": N_("JS distance"),
    "mean_session_length": N_("mean session length"),
    "single_event_sessions": N_("single event sessions"),
    "events": N_("events"),
    "sessions": N_("sessions"),
}
"""What measures are called."""


@dataclass(frozen=True)
class DriftRow:
    """A measure on the last judged day, as text."""

    measure: str
    numbers: list[str]
    """Observed, reference, value, threshold."""
    drifted: bool


def last_judged(drift: pd.DataFrame) -> tuple[str, list[DriftRow]]:
    """The last day with a verdict and its measures; no rows where no day has one yet."""
    import pandas as pd

    judged = drift[drift["verdict"].isin(["drift", "steady"])]
    if judged.empty:
        return "", []
    day = str(judged["day"].iloc[-1])
    numbers = ("observed", "reference", "value", "threshold")
    return day, [
        DriftRow(
            _called(row["measure"]),
            ["–" if pd.isna(row[name]) else _number(row[name]) for name in numbers],  # noqa: RUF001 - as elsewhere
            row["verdict"] == "drift",
        )
        for row in judged[judged["day"] == day].to_dict("records")
    ]


def _called(measure: str) -> str:
    return gettext(MEASURES[measure])


def _number(number: float) -> str:
    """Three significant digits, and whole from 100 on."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def sparkline(values: Sequence[float | None], threshold: float | None, alt: str) -> str:
    """The last values as a Markdown image of fewer than 1,000 characters, the threshold as a thin line.

    None leaves a gap out. Empty where there are fewer than two values.
    """
    points = [(x, y) for x, y in enumerate(values[-SPARK_POINTS:]) if y is not None and np.isfinite(y)]
    if len(points) < 2:
        return ""
    width, height, top = 120, 20, max([y for _, y in points] + [threshold or 0.0]) or 1.0
    step = width / points[-1][0]

    def place(y: float) -> int:
        return round(height - 1 - y / top * (height - 2))

    line = " ".join(f"{round(x * step)},{place(y)}" for x, y in points)
    limit = "" if threshold is None else f'<path d="M0 {place(threshold)}H{width}" stroke="{VERMILLION}"/>'
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" fill="none">'
        f'{limit}<polyline points="{line}" stroke="{BLUE}"/></svg>'
    )
    return as_markdown(svg, alt)


def drift_figure(drift: pd.DataFrame) -> str:
    """Each measure's value as a part of its threshold, so that all share one scale; 1 is where drift begins.

    drift: the table of that name; rows without a value or a threshold are left out.
    """
    known = drift[drift["value"].notna() & (drift["threshold"] > 0)]
    with drawing(gettext("Drift: each measure as a part of its threshold")) as (axes, svg):
        if known.empty:
            nothing(axes)
            return svg()
        for (colour, line), (measure, rows) in zip(LOOKS, known.groupby("measure", sort=False), strict=False):
            shown = rows.iloc[-POINTS // 2 :]
            days = [datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() / 86_400 for day in shown["day"]]
            axes.plot(
                days,
                shown["value"] / shown["threshold"],
                color=colour,
                linestyle=line,
                linewidth=1.6,
                marker="o" if len(shown) < 3 else None,
                markersize=4,
                label=_called(str(measure)),
            )
        axes.axhline(1, color=GREY, linewidth=1.2, linestyle=":")
        axes.set_ylim(0, max(axes.get_ylim()[1], 1.1))
        axes.locator_params(axis="x", nbins=4, integer=True)
        axes.xaxis.set_major_formatter(lambda day, _: f"{datetime.fromtimestamp(day * 86_400, UTC):%m-%d}")
        axes.set_ylabel(gettext("value / threshold"))
        axes.figure.legend(frameon=False, fontsize=8, loc="outside upper center", ncols=3)
        return svg()
