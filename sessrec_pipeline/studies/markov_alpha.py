"""Markov's blend with popularity, from the pure chain to pure popularity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.store import Stored
from sessrec_pipeline.studies.figures import lines
from sessrec_pipeline.studies.laboratory import Laboratory
from sessrec_pipeline.studies.results import Row
from sessrec_pipeline.studies.study import Study, cells, measured, variations

if TYPE_CHECKING:
    import pandas as pd

ALPHAS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def inputs(settings: Settings) -> Sequence[str]:
    """The fitted counts: the blend is made when they are loaded."""
    return ["popularity_checkpoint", "markov_checkpoint", "test_split"]


def measure(lab: Laboratory, stored: Mapping[str, Stored]) -> pa.Table:
    """A row for each alpha and metric, with Popularity beside it."""
    test = stored["test_split"].arrow()
    popularity = lab.rank(lab.load("popularity", stored), test)
    rows: list[Row] = []
    for alpha in ALPHAS:
        markov = lab.load("markov", stored, alpha=alpha, padding=True)
        rankings = {"markov": lab.rank(markov, test), "popularity": popularity}
        rows += lab.measure(rankings, variation=f"alpha {alpha:g}", x=alpha)
    return lab.results.compared(rows)


def finding(frame: pd.DataFrame) -> str:
    """The best alpha beside 0, and what 1 is."""
    by_name = {name: cells(frame, name) for name in variations(frame)}
    first, *_, last = by_name
    best = max(by_name, key=lambda name: by_name[name]["markov"].value)
    pure, top = by_name[first]["markov"], by_name[best]["markov"]
    if best == first:
        sentence = f"No blend beats the pure chain ({measured(frame)} {pure.in_brackets()})."
    else:
        # The best of several on the test sessions themselves is flattered: it may not be taken for a setting.
        sure = "more than the interval explains" if top.moved else "no difference beyond the intervals"
        sentence = (
            f"{measured(frame)} is highest at {best}, {top.in_brackets()} against {pure.in_brackets()} of the "
            f"pure chain: {sure} (the best of {len(by_name)}, picked on the test sessions)."
        )
    end, popularity = by_name[last]["markov"], by_name[last]["popularity"]
    differ = f"is not Popularity ({end.in_brackets()} against {popularity.in_brackets()})"
    same = "is Popularity" if end.value == popularity.value else differ
    return f"{sentence} {last.capitalize()} {same}."


def figure(frame: pd.DataFrame) -> str:
    """Recall over alpha."""
    return lines(frame, "Recall of Markov by its weight of popularity", "alpha, the weight of popularity")


STUDY = Study(
    "markov_alpha",
    "Markov's alpha",
    "Does the chain gain from a blend with popularity, and from how much of it?",
    inputs,
    measure,
    finding,
    figure,
    needs=("markov",),
)
