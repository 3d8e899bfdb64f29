"""First-order Markov chain: what followed the current item in training, most often first.

As in the reproduction study: ``alpha`` blends the successor counts with popularity,
``(1 - alpha) * count / max count + alpha * popularity / max popularity``; at 0 the successors come first and the rest
of the catalogue follows by popularity; an item without successors falls back to popularity.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sessrec_pipeline.engine import Engine
from sessrec_pipeline.models.padding import listed, rest_of
from sessrec_pipeline.models.sparse import SparseRows, sparse_matrix
from sessrec_pipeline.settings import MarkovSettings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.sql import sql_text


def fit_markov(engine: Engine, train: Path) -> Table:
    """The fitted table (item, next_item, transitions, first_seen, successor_rank)."""
    engine.register("train", train)
    engine.write("markov", sql_text("models", "markov"))
    return engine.table("markov")


class Markov(SparseRows):
    """Successor counts as a sparse matrix, over items in popularity order.

    offsets int64 (n_items + 1,): successors of item i are ``next_items[offsets[i]:offsets[i + 1]]``, best first,
    with ``counts`` beside them; events float64 (n_items,): training events of each item.
    """

    def __init__(
        self,
        offsets: NDArray[np.int64],
        next_items: NDArray[np.int32],
        counts: NDArray[np.float64],
        events: NDArray[np.float64],
        config: MarkovSettings,
    ) -> None:
        n = len(events)
        by_popularity = rest_of(n, config.padding)
        lengths = np.diff(offsets)
        if not config.padding:
            super().__init__(offsets, next_items, counts, by_popularity, by_popularity)
        elif config.alpha == 0:  # above all others, in their own order
            places = np.arange(len(counts)) - np.repeat(offsets[:-1], lengths)
            super().__init__(offsets, next_items, listed(places, n), by_popularity, by_popularity)
        else:  # the last term keeps first-seen order among equal counts: less than a count, more than a rounding
            rest = config.alpha * events / events.max() + by_popularity / n * 1e-10
            most = np.repeat(counts[offsets[:-1][lengths > 0]], lengths[lengths > 0])
            blended = rest[next_items] + (1 - config.alpha) * counts / most
            super().__init__(offsets, next_items, blended, rest, by_popularity)

    @classmethod
    def from_tables(cls, popularity: pa.Table, markov: pa.Table, config: MarkovSettings) -> tuple["Markov", list[str]]:
        """The model and its vocabulary: item index = popularity rank - 1."""
        counted = markov.select(["item", "next_item", "transitions", "successor_rank"])
        events = popularity["events"].to_numpy().astype(np.float64)
        return cls(*sparse_matrix(popularity, counted), events, config), popularity["item"].to_pylist()
