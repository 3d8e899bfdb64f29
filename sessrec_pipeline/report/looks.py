"""What models and metrics are called and how they look, the same in every figure and table."""

from collections.abc import Sequence
from functools import cache

from sessrec_pipeline.evaluation import metrics
from sessrec_pipeline.models.base import Look
from sessrec_pipeline.models.registry import cards
from sessrec_pipeline.report.translation import gettext
from sessrec_pipeline.text import printable

GREY = "#7d7d7d"
"""Text, axes and the oracle: contrast of 4 to 1 or more on white and on near-black."""
BLUE, VERMILLION, GREEN, SKY, PURPLE, ORANGE = "#0072B2", "#D55E00", "#009E73", "#2A9BC8", "#C46A9B", "#B8820A"
"""The Okabe-Ito palette, which the colour-blind can tell apart, less its black and its yellow; sky, purple and orange
are darker, for a contrast of 3 to 1 or more on white and on near-black."""

METRIC_NAMES = {"recall": "Recall", "mrr": "MRR", "ndcg": "NDCG"}
ORACLE = metrics.ORACLE
"""Name of the model that is the ceiling of the others."""


SPARE_LOOKS = [
    Look(colour, marker, line)
    for line in ("-.", "--")
    for colour, marker in zip((BLUE, VERMILLION, GREEN, SKY, PURPLE, ORANGE), "1234|_", strict=True)
]
"""For models whose cards say nothing."""


DASHES = {"-": "", "--": "5 2.4", "-.": "5 1.6 1.2 1.6", ":": "1.4 2"}
"""SVG's dashes of matplotlib's lines."""


@cache
def swatch(look: Look) -> str:
    """A model's line and marker as they are in the figures, as a small SVG."""
    from matplotlib.markers import MarkerStyle

    style = MarkerStyle(look.marker)
    path = style.get_path().transformed(style.get_transform())
    codes = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}
    place = [
        (codes[int(code)], " ".join(f"{14 + 8 * x:.2f} {6 - 8 * y:.2f}" for x, y in vertices.reshape(-1, 2)))
        for vertices, code in path.iter_segments(curves=True)
    ]
    drawn = "".join(code if code == "Z" else code + points for code, points in place)
    fill = "none" if not style.is_filled() else look.colour
    dashes = f' stroke-dasharray="{DASHES[look.line]}"' if DASHES[look.line] else ""
    return (
        f'<svg class="look" width="28" height="12" viewBox="0 0 28 12" aria-hidden="true">'
        f'<path d="M1 6H27" stroke="{look.colour}" stroke-width="1.6"{dashes}/>'
        f'<path d="{drawn}" fill="{fill}" stroke="{look.colour}"/></svg>'
    )


def model_name(model: str) -> str:
    """A model's name for people."""
    return gettext(cards()[model].title) if model in cards() else printable(model)


def metric_name(metric: str) -> str:
    """A metric's name for people."""
    return METRIC_NAMES.get(metric, printable(metric))


def looks(models: Sequence[str]) -> dict[str, Look]:
    """A look for each model; those that everyone knows look the same in every figure."""
    own = {name: card.look for name, card in cards().items() if card.look is not None}
    others = sorted(set(models) - set(own))
    return own | {model: SPARE_LOOKS[i % len(SPARE_LOOKS)] for i, model in enumerate(others)}
