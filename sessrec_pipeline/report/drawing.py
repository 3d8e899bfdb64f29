"""How figures are drawn: our style, labels that do not touch, and SVG text that is safe in a page."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

from sessrec_pipeline.report.looks import GREY
from sessrec_pipeline.report.translation import current_language, gettext

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HOVER = "hover: "
WIDTH = 5.4
"""Inches. Small, so that the text is still readable when a phone shrinks the figure to its width."""

STYLE = {
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],  # ships with matplotlib, so text is measured the same on every machine
    "font.size": 10,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "text.color": GREY,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GREY,
    "grid.alpha": 0.22,
    "grid.linewidth": 0.7,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
}


@contextmanager
def drawing(title: str, height: float = 3.1) -> Iterator[tuple[Axes, Callable[[], str]]]:
    """Empty axes and what turns their figure into text, under our style whatever the user's matplotlibrc says."""
    from matplotlib import style
    from matplotlib.figure import Figure

    with style.context(["default", STYLE | {"svg.hashsalt": f"{current_language()} {title}"}]):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        yield figure.add_subplot(), partial(_svg, figure, title)


def _svg(figure: Figure, title: str) -> str:
    text = StringIO()
    figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    # Inside a page, a style element would reach the whole page and equal ids would clash.
    svg = re.sub(r"\s*<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(f' id="{HOVER}([^"]*)">', r"><title>\1</title>", svg)
    used = set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]+", r"font: \1 system-ui, sans-serif", svg)
    head = f'<svg role="img" aria-label="{escape(title)}" stroke-linejoin="round"'
    return svg.replace("<svg", head, 1).rstrip() + "\n"


def nothing(axes: Axes) -> None:
    """Say that there is nothing to draw."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, gettext("no data"), transform=axes.transAxes, ha="center", va="center")


def annotate(axes: Axes, text: str, at: tuple[float, float], offset: tuple[float, float], **more: Any) -> None:
    """Small text ``offset`` points from a place in the data."""
    axes.annotate(text, at, offset, textcoords="offset points", fontsize=9, **more)


def annotate_top(axes: Axes, text: str, x: float, offset: tuple[float, float], ha: str, va: str) -> None:
    """Small text ``offset`` points from the top of the vertical line at ``x``."""
    annotate(axes, text, (x, 1), offset, xycoords=("data", "axes fraction"), ha=ha, va=va, annotation_clip=False)


@dataclass(frozen=True)
class End:
    """Where a model's line ends, and what is written beside it."""

    x: float
    value: float
    text: str
    colour: str


LABEL, MARGINS, BESIDE, ENDS = 12.5, 74.0, 66.0, 9.0
"""Points: height of a label; what a figure needs above and below its axes, and beside them without the labels; size of
the labels."""


def height_for(labels: int) -> float:
    """Inches of a figure in which so many labels have room beside its axes."""
    return max(3.1, (LABEL * labels + MARGINS) / 72)


def name_ends(axes: Axes, ends: Sequence[End]) -> None:
    """Each line's label right of the axes, in the line's colour, with a thin line that leads from its end.

    Call it when the limits of the axes are set; on linear axes of a figure of ``height_for`` so many labels.
    """
    low, high = axes.get_ylim()
    gap = LABEL / (axes.figure.bbox.height / axes.figure.dpi * 72 - MARGINS)
    places = apart([(end.value - low) / (high - low) for end in ends], gap, gap / 2, 1 - gap / 2)
    axes.set_xlim(axes.get_xlim())  # as it is: a place in the data is now one on the axes
    to_axes = axes.transData - axes.transAxes
    for end, place in zip(ends, places, strict=True):
        x, y = to_axes.transform((end.x, end.value))
        # A line and a text: matplotlib's arrows look the same and take ten times as long.
        axes.plot(
            [x, 1.05], [y, place], transform=axes.transAxes, color=end.colour, linewidth=0.8, clip_on=False, zorder=1.5
        )
        axes.text(1.06, place, end.text, transform=axes.transAxes, fontsize=ENDS, va="center", color=end.colour)


def apart(values: Sequence[float], gap: float, low: float = -math.inf, high: float = math.inf) -> list[float]:
    """Places for labels near ``values``, in their order, no two nearer than ``gap``: runs that touch are centred.

    None lies below ``low``, nor above ``high`` where there is room for all.
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    runs: list[list[float]] = []  # each: sum of values, number of labels
    for i in order:
        runs.append([values[i], 1])
        while len(runs) > 1:
            (below, n), (above, m) = runs[-2:]
            if above / m - below / n >= gap * (n + m) / 2:
                break
            runs[-2:] = [[below + above, n + m]]
    placed = [total / n + (j - (n - 1) / 2) * gap for total, n in runs for j in range(int(n))]
    for j in reversed(range(len(placed))):  # down from the top, then up from the bottom
        placed[j] = min(placed[j], high if j == len(placed) - 1 else placed[j + 1] - gap)
    for j in range(len(placed)):
        placed[j] = max(placed[j], low if j == 0 else placed[j - 1] + gap)
    places = [0.0] * len(values)
    for i, place in zip(order, placed, strict=True):
        places[i] = place
    return places


def ticks_with_room(labels: Sequence[str], ends: Sequence[End], size: float) -> list[int]:
    """Which of evenly spaced ticks to label so that no two labels touch: the first, and each so many after it.

    labels: of all ticks, of one or more lines. ends: the lines' labels right of the axes, which take from their width.
    """
    beside = max((_width(end.text, ENDS) for end in ends), default=0.0) * 1.06
    room = WIDTH * 72 - BESIDE - beside
    widest = max(_width(line, size) for label in labels for line in label.split("\n")) + 1.2 * size
    step = max(1, math.ceil(widest * (len(labels) - 1) / room))
    return list(range(0, len(labels), step))


@cache
def _width(line: str, size: float) -> float:
    """Points that a line of text takes."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    width, _, _ = text_to_path.get_text_width_height_descent(line, FontProperties(size=size), ismath=False)
    return float(width)


def told(artist: Artist, text: str) -> None:
    """Show ``text`` while the pointer is over what was drawn."""
    artist.set_gid(HOVER + text)


def short(value: float, position: float | None = None) -> str:
    """A count as an axis shows it: 20, 1.5k, 3M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def shorten(name: str, longest: int = 22) -> str:
    """A name that leaves room for the figure."""
    return name if len(name) <= longest else name[: longest - 1] + "…"
