"""First-order Markov chain: what followed the current item in training, most often first.

As in the reproduction study: ``alpha`` blends the successor counts with popularity,
``(1 - alpha) * count / max count + alpha * popularity / max popularity``; at 0 the successors come first and the rest
of the catalogue follows by popularity; an item without successors falls back to popularity.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sessrec_pipeline.engine import Engine
from sessrec_pipeline.models.base import Block, Sessions
from sessrec_pipeline.settings import MarkovSettings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.sql import sql_text


def fit_markov(engine: Engine, train: Path) -> Table:
    """The fitted table (item, next_item, transitions, first_seen, successor_rank)."""
    engine.register("train", train)
    engine.write("markov", sql_text("models", "markov"))
    return engine.table("markov")


class Markov:
    """Successor counts as a sparse matrix, over items in popularity order.

    offsets int64 (n_items + 1,): successors of item i are ``next_items[offsets[i]:offsets[i + 1]]``, best first,
    with ``counts`` beside them; events float64 (n_items,): training events of each item.
    """

    def __init__(
        self,
        offsets: NDArray[np.int64],
        next_items: NDArray[np.int64],
        counts: NDArray[np.float64],
        events: NDArray[np.float64],
        config: MarkovSettings,
    ) -> None:
        self.offsets, self.next_items, self.counts = offsets, next_items, counts
        self.config = config
        n = len(events)
        self.by_popularity = np.arange(n, 0, -1, dtype=np.float64)
        if not config.padding:
            self.rest = np.zeros(n)
        elif config.alpha == 0:
            self.rest = self.by_popularity
        else:  # the last term keeps first-seen order among equal counts: less than a count, more than a rounding
            self.rest = config.alpha * events / events.max() + self.by_popularity / n * 1e-10

    @classmethod
    def from_tables(cls, popularity: pa.Table, markov: pa.Table, config: MarkovSettings) -> tuple["Markov", list[str]]:
        """The model and its vocabulary: item index = popularity rank - 1."""
        items = popularity["item"].to_pylist()
        index = popularity["item"].combine_chunks()
        current, following = (pc.index_in(markov[column], index) for column in ("item", "next_item"))
        if current.null_count or following.null_count:
            raise ValueError("markov has items that popularity lacks: fit both on the same training events")
        order = np.lexsort((markov["successor_rank"].to_numpy(), current.to_numpy()))
        offsets = np.searchsorted(current.to_numpy()[order], np.arange(len(items) + 1)).astype(np.int64)
        next_items = following.to_numpy()[order].astype(np.int64)
        counts = markov["transitions"].to_numpy()[order].astype(np.float64)
        events = popularity["events"].to_numpy().astype(np.float64)
        return cls(offsets, next_items, counts, events, config), items

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self.by_popularity)

    def after(self, item: int) -> NDArray[np.float64]:
        """Scores float64 (n_items,) of every item as the one after ``item``."""
        successors = slice(self.offsets[item], self.offsets[item + 1])
        following, counts = self.next_items[successors], self.counts[successors]
        if not len(following):
            return self.by_popularity if self.config.padding else self.rest
        row = self.rest.copy()
        if not self.config.padding:
            row[following] = counts
        elif self.config.alpha == 0:  # above all others, in their own order
            row[following] = 2 * self.n_items - np.arange(len(following))
        else:
            row[following] += (1 - self.config.alpha) * counts / counts[0]
        return row

    def score(self, sessions: Sessions, batch_size: int) -> Iterator[Block]:
        """See ``Recommender.score``."""
        for start in range(0, len(sessions.items), batch_size):
            items = sessions.items[start : start + batch_size]
            events = np.arange(start, start + len(items), dtype=np.int64)
            yield events, np.stack([self.after(item) for item in items])
