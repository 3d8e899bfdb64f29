"""Item-KNN: items that are in the same training sessions as the current one.

- Davidson et al.: The YouTube video recommendation system. RecSys 2010 (co-visits, normalised by popularity).
- Hidasi, Karatzoglou, Baltrunas, Tikk: Session-based recommendations with recurrent neural networks. ICLR 2016, arXiv
  1511.06939 (the baseline, with regularisation against chance among rare items).

similarity(a, b) = sessions with both / sqrt((sessions with a + r) * (sessions with b + r)).
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


class ItemKNNSettings(Section):
    """Item-KNN: items whose training sessions are much the same as those of the current one."""

    neighbours: Annotated[int, Field(ge=1)] = 100
    """Most similar items kept for each item."""
    regularisation: Annotated[float, Field(ge=0)] = 20
    """Sessions added to those of each item under the root of the cosine: rare items look less alike by chance."""
    padding: bool = True
    """Rank the items that are not similar by popularity; without it they all tie at zero."""


def fit_item_knn(engine: Engine, train: Path, read: Mapping[str, Any]) -> Table:
    """The fitted table (item, other_item, similarity, similarity_rank)."""
    engine.register("train", train)
    engine.write("visited", sql_text("models/neighbours", "visited"))
    engine.write("visits", sql_text("models/neighbours", "visits"))
    engine.write(
        "item_knn",
        sql_text("models/neighbours", "item_knn"),
        neighbours=read["item_knn.neighbours"],
        regularisation=float(read["item_knn.regularisation"]),
    )
    return engine.table("item_knn")


ITEM_KNN = FittedTable(
    "item_knn",
    "The items whose training sessions are most like those of each item: regularised cosine over co-occurrence.",
    {
        "item": ("string", "Item id"),
        "other_item": ("string", "Item of the same training sessions"),
        "similarity": ("double", "Cosine of the two items' sessions, regularised"),
        "similarity_rank": ("int64", "1 for the most similar item, among equals the one that training saw first"),
    },
    fit_item_knn,
    reads=("item_knn.neighbours", "item_knn.regularisation"),
)

CARD = Card(
    name="item_knn",
    title="Item-KNN",
    summary=N_("items whose training sessions are much the same as those of the current one"),
    source="Hidasi, Karatzoglou, Baltrunas, Tikk: Session-based recommendations with recurrent neural networks. "
    "ICLR 2016, arXiv 1511.06939",
    settings=ItemKNNSettings,
    tables=(POPULARITY, ITEM_KNN),
    fit=fit_rules("item_knn"),
    load=load_rules,
    space={"neighbours": Span(20, 500, log=True), "regularisation": Span(0.0, 100.0)},
    share=Share(N_("its part of the similarities of the current item"), row_of_weights),
    look=Look("#B8820A", "*", "--"),
)
