"""SR, sequential rules: what came within a few events after the current item, the nearer the more weight.

- Kamehkhosh, Jannach, Ludewig: A comparison of frequent pattern techniques and a deep learning method for
  session-based recommendation. RecTemp at RecSys 2017.
- Ludewig, Jannach: Evaluation of session-based recommendation algorithms. UMUAI 28, 2018, arXiv 1803.09587.

The weight of the rule a -> b is the sum of w(d) over all events of b that come d <= ``steps`` events after one of
a; an item that comes again has a rule to itself.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from sessrec_pipeline.engine import Engine, Table, sql_text
from sessrec_pipeline.models.base import Card, Choice, FittedTable, Look, Share, Span
from sessrec_pipeline.models.counts.popularity import POPULARITY
from sessrec_pipeline.models.sparse import fit_rules, load_rules, row_of_weights
from sessrec_pipeline.settings import Section
from sessrec_pipeline.text import N_

UNIT = 100 * 2520**2
"""Weights are counted in parts of this: 1/d and 1/d**2 are whole numbers of them up to d = 10, the default steps."""


class SequentialRulesSettings(Section):
    """SR: items that came a few steps after the current one (Kamehkhosh et al. 2017, Ludewig & Jannach 2018)."""

    steps: Annotated[int, Field(ge=1)] = 10
    """How many events after an item its rules look."""
    weighting: Literal["div", "linear", "quadratic", "log", "same"] = "div"
    """What a pair of items d steps apart weighs: 1/d, 1 - d/10 (0 from 10 on), 1/d**2, 1/log10(d + 1.7), 1."""
    pruning: Annotated[int, Field(ge=1)] = 20
    """Rules kept for each item, the strongest ones."""
    padding: bool = True
    """Rank the items without a rule by popularity; without it they all tie at zero."""


def fit_sequential_rules(engine: Engine, train: Path, read: Mapping[str, Any]) -> Table:
    """The fitted table (item, next_item, weight, rule_rank)."""
    engine.register("train", train)
    engine.write(
        "sr",
        sql_text("models/counts", "sequential_rules"),
        steps=read["sr.steps"],
        weighting=read["sr.weighting"],
        unit=UNIT,
        pruning=read["sr.pruning"],
    )
    return engine.table("sr")


SR = FittedTable(
    "sr",
    "Sequential rules: what came within a few events after each item, the nearer the more weight.",
    {
        "item": ("string", "Item id"),
        "next_item": ("string", "Item that came a few events later in a training session"),
        "weight": ("int64", "Sum of the weights by distance, in parts of 1 / 635,040,000"),
        "rule_rank": ("int64", "1 for the item's strongest rule, first seen first among equals"),
    },
    fit_sequential_rules,
    reads=("sr.steps", "sr.weighting", "sr.pruning"),
)

CARD = Card(
    name="sr",
    title="SR",
    summary=N_("items that came a few events after the current one"),
    source="Kamehkhosh, Jannach, Ludewig: A comparison of frequent pattern techniques and a deep learning method for "
    "session-based recommendation. RecTemp at RecSys 2017",
    settings=SequentialRulesSettings,
    tables=(POPULARITY, SR),
    fit=fit_rules("sr"),
    load=load_rules,
    space={
        "steps": Span(1, 20, log=True),
        "weighting": Choice(("same", "div", "linear", "quadratic", "log")),
        "pruning": Span(5, 500, log=True),
    },
    share=Share(N_("its part of the weight of the current item's rules"), row_of_weights),
    look=Look("#2A9BC8", ">", "--"),
)
