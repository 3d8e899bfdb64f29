"""AR, association rules of size two: what shares a session with the current item, most often first.

- Ludewig, Jannach: Evaluation of session-based recommendation algorithms. UMUAI 28, 2018, arXiv 1803.09587.
- Kamehkhosh, Jannach, Ludewig: A comparison of frequent pattern techniques and a deep learning method for
  session-based recommendation. RecTemp at RecSys 2017.

The weight of the rule a -> b is the number of pairs of events, first one of a and then one of b, in the same session
and in any order; an item that comes again has a rule to itself.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from sessrec_pipeline.engine import Engine, Table, sql_text
from sessrec_pipeline.models.base import Card, FittedTable, Look, Share, Span
from sessrec_pipeline.models.counts.popularity import POPULARITY
from sessrec_pipeline.models.sparse import fit_rules, load_rules, row_of_weights
from sessrec_pipeline.settings import Section
from sessrec_pipeline.text import N_


class AssociationRulesSettings(Section):
    """AR: items that share a session with the current one (Ludewig & Jannach 2018)."""

    pruning: Annotated[int, Field(ge=1)] = 20
    """Rules kept for each item, the strongest ones."""
    padding: bool = True
    """Rank the items without a rule by popularity; without it they all tie at zero."""


def fit_association_rules(engine: Engine, train: Path, read: Mapping[str, Any]) -> Table:
    """The fitted table (item, other_item, pairs, rule_rank)."""
    engine.register("train", train)
    engine.write("numbered", sql_text("models/counts", "numbered"))
    engine.write("ar", sql_text("models/counts", "association_rules"), pruning=read["ar.pruning"])
    return engine.table("ar")


AR = FittedTable(
    "ar",
    "Association rules: how often two items shared a training session, the strongest rules of each item.",
    {
        "item": ("string", "Item id"),
        "other_item": ("string", "Item of the same training session"),
        "pairs": ("int64", "Pairs of events of the two in the same session"),
        "rule_rank": ("int64", "1 for the item's strongest rule, first seen first among equals"),
    },
    fit_association_rules,
    reads=("ar.pruning",),
)

CARD = Card(
    name="ar",
    title="AR",
    summary=N_("items that share a session with the current one"),
    source="Ludewig, Jannach: Evaluation of session-based recommendation algorithms. UMUAI 28, 2018, arXiv 1803.09587",
    settings=AssociationRulesSettings,
    tables=(POPULARITY, AR),
    fit=fit_rules("ar"),
    load=load_rules,
    space={"pruning": Span(5, 500, log=True)},
    share=Share(N_("its part of the weight of the current item's rules"), row_of_weights),
    look=Look("#C46A9B", "<", "--"),
)
