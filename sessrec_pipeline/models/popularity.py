"""Popularity: the same list for everyone, items by their number of training events.

It is the floor that any model has to beat, and on independent draws the ceiling as well.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from sessrec_pipeline.engine import Engine
from sessrec_pipeline.models.base import Block, Sessions
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.sql import sql_text


def fit_popularity(engine: Engine, train: Path) -> Table:
    """The fitted table (item, events, first_seen, popularity_rank), most popular first."""
    engine.register("train", train)
    engine.write("popularity", sql_text("models", "popularity"))
    return engine.table("popularity")


class Popularity:
    """Scores by popularity rank alone, so that equal counts keep their first-seen order and nothing ties."""

    def __init__(self, n_items: int) -> None:
        self._n_items = n_items

    @classmethod
    def from_table(cls, popularity: pa.Table) -> tuple["Popularity", list[str]]:
        """The model and its vocabulary: item index = popularity rank - 1."""
        return cls(popularity.num_rows), popularity["item"].to_pylist()

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return self._n_items

    def score(self, sessions: Sessions, batch_size: int) -> Iterator[Block]:
        """See ``Recommender.score``."""
        row = np.arange(self.n_items, 0, -1, dtype=np.float32)
        for start in range(0, len(sessions.items), batch_size):
            events = np.arange(start, min(start + batch_size, len(sessions.items)), dtype=np.int64)
            yield events, np.broadcast_to(row, (len(events), self.n_items))
