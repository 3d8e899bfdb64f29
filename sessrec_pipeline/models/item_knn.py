"""Item-KNN: items that are in the same training sessions as the current one.

- Davidson et al.: The YouTube video recommendation system. RecSys 2010 (co-visits, normalised by popularity).
- Hidasi, Karatzoglou, Baltrunas, Tikk: Session-based recommendations with recurrent neural networks. ICLR 2016, arXiv
  1511.06939 (the baseline, with regularisation against chance among rare items).

similarity(a, b) = sessions with both / sqrt((sessions with a + r) * (sessions with b + r)).
"""

from pathlib import Path

from sessrec_pipeline.engine import Engine
from sessrec_pipeline.settings import ItemKNNSettings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.sql import sql_text


def fit_item_knn(engine: Engine, train: Path, config: ItemKNNSettings) -> Table:
    """The fitted table (item, other_item, similarity, similarity_rank)."""
    engine.register("train", train)
    engine.write("visited", sql_text("models", "visited"))
    engine.write("visits", sql_text("models", "visits"))
    engine.write(
        "item_knn",
        sql_text("models", "item_knn"),
        neighbours=config.neighbours,
        regularisation=float(config.regularisation),
    )
    return engine.table("item_knn")
